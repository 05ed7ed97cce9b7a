package cli_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// decodeAll reads the documents of a YAML stream.
func decodeAll(t *testing.T, text string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var o map[string]any
		if err := d.Decode(&o); err != nil {
			return out
		}
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		o = nil
		if err := json.Unmarshal(data, &o); err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
}

// TestLiveAnswersAsFilesDo asks the API server what the same manifests answer.
func TestLiveAnswersAsFilesDo(t *testing.T) {
	file := write(t, t.TempDir(), "all.yaml", manifests)
	ns := namespace(t, decodeAll(t, manifests)...)
	live := []string{"--kubeconfig", adminFile(), "-n", ns}
	for _, args := range [][]string{
		{"check", "-o", "json"},
		{"rules", "-o", "json"},
		{"explain", "--from", "10.0.0.11", "--to", "10.0.0.12", "--port", "443", "-o", "json"},
		{"clusters", "web", "-o", "json"},
	} {
		t.Run(args[0], func(t *testing.T) {
			fromFile, fromAPI := run(t, "", append(args, "-f", file)...), run(t, "", append(args, live...)...)
			if fromAPI.code != fromFile.code || fromFile.code == 2 {
				t.Fatalf("exit %d, from the file %d: %s%s", fromAPI.code, fromFile.code, fromAPI.err, fromFile.err)
			}
			if diff := cmp.Diff(placeless(t, fromFile.out), placeless(t, fromAPI.out)); diff != "" {
				t.Errorf("-file +API:\n%s", diff)
			}
		})
	}
	t.Run("diff", func(t *testing.T) {
		changed := write(t, t.TempDir(), "new.yaml", strings.Replace(manifests, "innerAccess: Accept", "innerAccess: Drop", 1))
		if r := run(t, "", append([]string{"diff", changed}, live...)...); r.code != 1 || !strings.Contains(r.out, "BREAKS") {
			t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
		}
		if r := run(t, "", append([]string{"diff", file}, live...)...); r.code != 0 || !strings.Contains(r.out, "no flow opens or closes") {
			t.Errorf("no change: exit %d: %s%s", r.code, r.out, r.err)
		}
		if r := run(t, "", "diff", file); r.code != 2 || !strings.Contains(r.err, "want two states") {
			t.Errorf("one state: exit %d: %s", r.code, r.err)
		}
	})
}

// placeless decodes JSON without what tells where an object was read from.
func placeless(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var strip func(any)
	strip = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if s, ok := v["source"].(string); ok && (strings.Contains(s, ".yaml:") || strings.Contains(s, "/securitygroups")) {
				delete(v, "source")
			}
			for _, e := range v {
				strip(e)
			}
		case []any:
			for _, e := range v {
				strip(e)
			}
		}
	}
	strip(v)
	return v
}

// TestLiveReadsEveryPage has more objects than come at once.
func TestLiveReadsEveryPage(t *testing.T) {
	objects := decodeAll(t, manifests)
	for i := range 600 {
		objects = append(objects, map[string]any{
			"kind": "PrefixList", "metadata": map[string]any{"name": fmt.Sprintf("list-%d", i)},
			"spec": map[string]any{"addressFamily": "IPv4", "entries": []any{map[string]any{"cidr": "203.0.113.0/24"}}},
		})
	}
	ns := namespace(t, objects...)
	if r := run(t, "", "clusters", "web", "--kubeconfig", adminFile(), "-n", ns); r.code != 0 || !strings.Contains(r.out, "shop") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// TestLiveRefusals says what stands in the way of an answer.
func TestLiveRefusals(t *testing.T) {
	for name, tc := range map[string]struct{ args, want string }{
		"NoSuchFile": {"--kubeconfig /nowhere/kubeconfig", "cannot read the kubeconfig"},
		"Empty":      {"--kubeconfig " + adminFile() + " -n no-such-namespace", "no file describes a cluster"},
	} {
		if r := run(t, "", append([]string{"check"}, strings.Fields(tc.args)...)...); r.code != 2 || !strings.Contains(r.err, tc.want) {
			t.Errorf("%s: exit %d: %s, want %q", name, r.code, r.err, tc.want)
		}
	}
}
