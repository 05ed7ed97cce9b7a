package settings

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.String("data-dir", "default", "")
	f.StringSlice("etcd-servers", []string{"default"}, "")
	f.Bool("quiet", false, "")
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPrecedence(t *testing.T) {
	env := map[string]string{"RINGFENCE_DATA_DIR": "env", "RINGFENCE_ETCD_SERVERS": "env-1,env-2", "RINGFENCE_SERVER_PORT": "a Service's"}
	file := "data-dir: file\netcd-servers: [file-1, file-2]\nquiet: true\n"
	for name, tc := range map[string]struct {
		reason string
		args   []string
		env    bool
		file   string
		want   []string
	}{
		"Default":        {"nothing said", nil, false, "", []string{"default", "[default]", "false"}},
		"File":           {"a file replaces defaults, lists as a whole", nil, false, file, []string{"file", "[file-1,file-2]", "true"}},
		"Environment":    {"the environment beats the file", nil, true, file, []string{"env", "[env-1,env-2]", "true"}},
		"Flag":           {"a flag beats both", []string{"--data-dir=flag"}, true, file, []string{"flag", "[env-1,env-2]", "true"}},
		"FlagAsDefault":  {"a flag that says the default was given", []string{"--quiet=false"}, true, file, []string{"env", "[env-1,env-2]", "false"}},
		"OneValueAsList": {"a list of one needs no brackets", nil, false, "etcd-servers: one", []string{"default", "[one]", "false"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := flags(t, tc.args...)
			lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok && tc.env }
			if err := Environment(f, lookup); err != nil {
				t.Fatal(err)
			}
			if err := File(f, []byte(tc.file)); err != nil {
				t.Fatal(err)
			}
			var got []string
			f.VisitAll(func(f *pflag.Flag) { got = append(got, f.Value.String()) })
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		got    error
		want   []string
	}{
		"All":         {"all that is wrong is told, with what would be right", File(flags(t), []byte("data: x\nquiet: perhaps\n")), []string{"data is no setting; there are data-dir, etcd-servers, quiet", `for "--quiet" flag`}},
		"List":        {"a list where one value belongs", File(flags(t), []byte("data-dir: [a, b]")), []string{"data-dir takes one value, not 2"}},
		"NotYAML":     {"not YAML at all", File(flags(t), []byte("\t")), []string{"cannot read the settings"}},
		"Environment": {"the variable is named", Environment(flags(t), func(n string) (string, bool) { return "perhaps", n == "RINGFENCE_QUIET" }), []string{"cannot use RINGFENCE_QUIET"}},
	} {
		t.Run(name, func(t *testing.T) {
			has := func(part string) bool { return tc.got != nil && strings.Contains(tc.got.Error(), part) }
			if i := slices.IndexFunc(tc.want, func(part string) bool { return !has(part) }); i >= 0 {
				t.Errorf("%s: got %v, want %q in it", tc.reason, tc.got, tc.want[i])
			}
		})
	}
}
