package discover

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCatalog: the data is right, and each component in it has a test that
// names it.
func TestCatalog(t *testing.T) {
	components, err := loadCatalog()
	if err != nil {
		t.Fatal(err)
	}
	var tests []byte
	for _, file := range []string{"discover_test.go", "networks_test.go", "components_test.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tests = append(tests, text...)
	}
	for _, c := range components {
		named := false
		for _, id := range append([]string{c.Name}, append(c.Programs, c.Images...)...) {
			named = named || strings.Contains(string(tests), id)
		}
		if !named {
			t.Errorf("component %s: no test names it", c.Name)
		}
		if !strings.HasPrefix(c.Source, "https://") {
			t.Errorf("component %s: source %q: want a page", c.Name, c.Source)
		}
	}
}

func TestCatalogMistakes(t *testing.T) {
	const good = `components: [{name: x, programs: [x], source: "https://example.org", ports: [{port: 1, protocols: [TCP], from: nodes, class: optional, why: y}]}]`
	if _, err := parseCatalog([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, replacement, want string }{
		{"programs: [x], ", "", "want name, programs or images"},
		{"from: nodes", "from: nobody", `from "nobody"`},
		{"class: optional", "class: vital", `class "vital"`},
		{"[TCP]", "[ICMP]", "protocol ICMP has no ports"},
		{"[TCP]", "[ALL]", `protocol "ALL"`},
		{"port: 1,", "port: 7, last: 6,", "last 6"},
		{"port: 1,", "port: 7, last: 9, flag: x,", "last 9"},
		{"port: 1, ", "", "want a port, or a flag"},
		{"name: x", "name: x, as: y", `as "y"`},
		{"name: x", "nane: x", "nane"},
	} {
		_, err := parseCatalog([]byte(strings.Replace(good, c.old, c.replacement, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s instead of %s: error %v: want one with %q", c.replacement, c.old, err, c.want)
		}
	}
}

func TestParseListens(t *testing.T) {
	for text, want := range map[string][]listen{
		"10259":           {{"", 10259}},
		"0.0.0.0:10256":   {{"0.0.0.0", 10256}},
		":9100":           {{"", 9100}},
		"[2001:db8::1]:1": {{"2001:db8::1", 1}},
		"https://127.0.0.1:2379,https://192.0.2.1:2380": {{"127.0.0.1", 2379}, {"192.0.2.1", 2380}},
	} {
		got, err := parseListens(text)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(listen{})); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", text, err, diff)
		}
	}
	for _, text := range []string{"x", "1.2.3.4:x", "70000", "https://1.2.3.4"} {
		if got, err := parseListens(text); err == nil {
			t.Errorf("%s: %v: want an error", text, got)
		}
	}
}

func TestFlag(t *testing.T) {
	c := container{command: []string{"x", "--a=1", "-b", "2", "--c", "--d=3=4", "--a=5"}}
	for flagName, want := range map[string]string{"a": "5", "b": "2", "c": "", "d": "3=4", "e": ""} {
		if got, _ := c.flag(flagName); got != want {
			t.Errorf("--%s: %q: want %q", flagName, got, want)
		}
	}
}
