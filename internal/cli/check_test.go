package cli_test

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const examples = "../../examples/"

// copyExport copies a bundled export into a directory of the test.
func copyExport(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(examples+name)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// words splits a command as a shell does, as far as our own commands go:
// spaces, single quotes, and a backslash before a quote.
func words(command string) []string {
	var out []string
	word, quoted, started := "", false, false
	for i := 0; i < len(command); i++ {
		switch c := command[i]; {
		case c == '\'':
			quoted, started = !quoted, true
		case c == '\\' && !quoted:
			i++
			word += string(command[i])
		case c == ' ' && !quoted:
			if started {
				out = append(out, word)
			}
			word, started = "", false
		default:
			word, started = word+string(c), true
		}
	}
	if started {
		out = append(out, word)
	}
	return out
}

// applyFix makes in an export what an aliyun command would make in the cloud.
func applyFix(t *testing.T, dir, command string) {
	t.Helper()
	w := words(command)
	if len(w) < 8 || w[0] != "aliyun" || w[1] != "ecs" || w[3] != "--RegionId" || w[4] != "cn-hangzhou" || w[5] != "--SecurityGroupId" {
		t.Fatalf("not a command that changes a group: %q", command)
	}
	fields := map[string]map[string]any{}
	for i := 7; i+1 < len(w); i += 2 {
		parts := strings.SplitN(strings.TrimPrefix(w[i], "--Permissions."), ".", 2)
		if fields[parts[0]] == nil {
			fields[parts[0]] = map[string]any{}
		}
		fields[parts[0]][parts[1]] = w[i+1]
	}
	path := filepath.Join(dir, "security-group.json")
	var export map[string]any
	readJSON(t, path, &export)
	permissions := export["Permissions"].(map[string]any)
	list := permissions["Permission"].([]any)
	direction := "ingress"
	if strings.HasSuffix(w[2], "Egress") {
		direction = "egress"
	}
	for n := 1; n <= len(fields); n++ {
		rule := fields[strconv.Itoa(n)]
		rule["Direction"] = direction
		if strings.HasPrefix(w[2], "Authorize") {
			list = append(list, rule)
			continue
		}
		before := len(list)
		list = slices.DeleteFunc(list, func(have any) bool { return sameRule(have.(map[string]any), rule) })
		if len(list) != before-1 {
			t.Fatalf("%q revokes %d rules, want 1", command, before-len(list))
		}
	}
	permissions["Permission"] = list
	writeJSON(t, path, export)
}

func sameRule(have, want map[string]any) bool {
	for k, v := range want {
		h, _ := have[k].(string)
		if n, ok := have[k].(float64); ok {
			h = strconv.Itoa(int(n))
		}
		if !strings.EqualFold(h, v.(string)) {
			return false
		}
	}
	return true
}

func readJSON(t *testing.T, path string, to any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, to); err != nil {
		t.Fatal(err)
	}
}

func writeJSON(t *testing.T, path string, from any) {
	t.Helper()
	text, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// addRule appends a rule to a copied export.
func addRule(t *testing.T, dir string, rule map[string]any) {
	t.Helper()
	path := filepath.Join(dir, "security-group.json")
	var export map[string]any
	readJSON(t, path, &export)
	permissions := export["Permissions"].(map[string]any)
	permissions["Permission"] = append(permissions["Permission"].([]any), rule)
	writeJSON(t, path, export)
}

func applyAll(t *testing.T, dir string, got *report) {
	t.Helper()
	done := map[string]bool{}
	for _, list := range [][]item{got.Missing, got.Findings} {
		for _, it := range list {
			for _, fix := range it.Fix {
				if !done[fix] { // two findings may advise the same
					done[fix] = true
					applyFix(t, dir, fix)
				}
			}
		}
	}
}

// TestAdvancedGroupLacksPorts is the main story: an advanced group of a Terway
// cluster lacks TCP 8443 and 6443, and following the advice makes it whole.
func TestAdvancedGroupLacksPorts(t *testing.T) {
	dir := copyExport(t, "ack-terway-advanced")
	got, code := check(t, "-f", dir, "--webhook-ports", "8443")
	if code != 1 {
		t.Fatalf("exit %d, want 1", code)
	}
	ports := map[string]item{}
	for _, m := range got.Missing {
		ports[m.Direction+" "+m.Protocol+" "+m.Ports] = m
		if m.Example == nil || m.Example.Local == "" || m.Example.Remote == "" || m.Example.Protocol != "tcp" || m.Example.Port == 0 {
			t.Errorf("missing %s has no whole packet: %+v", m.ID, m.Example)
		}
		if m.Component == "" || m.Why == "" || m.Source == "" || len(m.Fix) == 0 || m.Severity != "high" {
			t.Errorf("missing %+v lacks component, why, source, fix or severity", m)
		}
	}
	for key, want := range map[string]struct{ row, component string }{
		"ingress TCP 6443/6443": {"AI-L3", "API server"},
		"ingress TCP 8443/8443": {"AI-L3", "Gatekeeper"},
		"egress TCP 6443/6443":  {"AO-L3", "API server"},
		"egress TCP 8443/8443":  {"AO-L3W", "Gatekeeper"},
	} {
		m, ok := ports[key]
		if !ok || m.ID != want.row || !strings.Contains(m.Component, want.component) {
			t.Errorf("%s: got row %q, component %q, want %s and %s", key, m.ID, m.Component, want.row, want.component)
		}
	}
	if len(ports) != 4 {
		t.Errorf("missing %v, want just 6443 and 8443, both ways", ports)
	}
	applyAll(t, dir, &got)
	if got, code := check(t, "-f", dir, "--webhook-ports", "8443"); code != 0 || len(got.Missing) != 0 {
		t.Errorf("after the advice: exit %d, missing %+v, findings %+v", code, got.Missing, above(got.Findings, "info"))
	}
}

func TestBasicGroupLacksPodCIDR(t *testing.T) {
	dir := copyExport(t, "ack-flannel-basic")
	got, code := check(t, "-f", dir)
	if code != 1 || len(got.Missing) == 0 {
		t.Fatalf("exit %d, missing %+v; want 1 and the pod CIDR's rows", code, got.Missing)
	}
	for _, m := range got.Missing {
		if m.Peer != "172.20.0.0/16" || !strings.HasPrefix(m.ID, "BI-L") {
			t.Errorf("missing %s from %s, want rows of the basic table from the pod CIDR alone", m.ID, m.Peer)
		}
	}
	applyAll(t, dir, &got)
	if got, code := check(t, "-f", dir); code != 0 {
		t.Errorf("after the advice: exit %d, missing %+v", code, got.Missing)
	}
}

// TestFixGoesBeforeDrops checks that advice works where drop rules stand in
// the way: an accept at their priority, or behind them, would not help.
func TestFixGoesBeforeDrops(t *testing.T) {
	for name, priority := range map[string]string{"Priority1": "1", "Priority7": "7"} {
		t.Run(name, func(t *testing.T) {
			dir := copyExport(t, "ack-flannel-basic")
			if priority == "1" { // the accepts are there, at the drop's priority
				first, _ := check(t, "-f", dir)
				applyAll(t, dir, &first)
			}
			addRule(t, dir, map[string]any{
				"Direction": "ingress", "IpProtocol": "ALL", "PortRange": "-1/-1", "SourceCidrIp": "172.20.0.0/17", "Policy": "Drop", "Priority": priority, "NicType": "intranet",
			})
			got, code := check(t, "-f", dir)
			if code != 1 || len(got.Missing) == 0 {
				t.Fatalf("exit %d, want 1: the drop cuts pods off", code)
			}
			for _, m := range got.Missing {
				if !strings.Contains(m.Why, "drops it") {
					t.Errorf("%s: why does not name the rule that drops: %s", m.ID, m.Why)
				}
			}
			applyAll(t, dir, &report{Missing: got.Missing})
			if got, code := check(t, "-f", dir); code != 0 {
				t.Errorf("after the advice: exit %d, missing %+v", code, got.Missing)
			}
		})
	}
}

// TestFixOpensNothingElse has an accept for everybody that is dead only because
// a drop has its priority: to move the drop must not bring it to life. Two
// drops in a row are seen at once.
func TestFixOpensNothingElse(t *testing.T) {
	dir := copyExport(t, "ack-flannel-basic")
	rule := func(policy, protocol, ports, cidr string) {
		addRule(t, dir, map[string]any{
			"Direction": "ingress", "IpProtocol": protocol, "PortRange": ports, "SourceCidrIp": cidr, "Policy": policy, "Priority": "1", "NicType": "intranet",
		})
	}
	rule("Drop", "ALL", "-1/-1", "0.0.0.0/0")
	rule("Drop", "TCP", "1/65535", "172.16.0.0/12")
	rule("Accept", "TCP", "3389/3389", "0.0.0.0/0")
	rdp := func() string {
		r := run(t, "", "explain", "-f", dir, "--local", "192.168.0.9", "--remote", "203.0.113.7", "--port", "3389", "-o", "json")
		var got struct{ Action string }
		if err := json.Unmarshal([]byte(r.out), &got); err != nil {
			t.Fatal(err, r.err)
		}
		return got.Action
	}
	if rdp() != "drop" {
		t.Fatal("the case is wrong: RDP is open before")
	}
	got, code := check(t, "-f", dir)
	if code != 1 {
		t.Fatalf("exit %d, want 1", code)
	}
	for _, m := range got.Missing {
		if strings.Contains(m.Why, "careful") {
			t.Errorf("a fix with side effects: %s", m.Why)
		}
	}
	applyAll(t, dir, &got) // the findings' advice too: it must not undo the other
	if got, code := check(t, "-f", dir); code != 0 || len(got.Missing) != 0 {
		t.Errorf("after the advice: exit %d, missing %+v", code, got.Missing)
	}
	if rdp() != "drop" {
		t.Error("the advice opened RDP to the world")
	}
}

// TestFixSaysWhatItCannotAvoid has a drop of priority 2 that the moved accept
// would now lose to.
func TestFixSaysWhatItCannotAvoid(t *testing.T) {
	dir := copyExport(t, "ack-flannel-basic")
	rule := func(policy, ports, cidr, priority string) {
		addRule(t, dir, map[string]any{
			"Direction": "ingress", "IpProtocol": "TCP", "PortRange": ports, "SourceCidrIp": cidr, "Policy": policy, "Priority": priority, "NicType": "intranet",
		})
	}
	rule("Drop", "1/65535", "172.16.0.0/12", "1")
	rule("Accept", "8000/8000", "0.0.0.0/0", "1")
	rule("Drop", "8000/8000", "203.0.113.0/24", "2")
	got, _ := check(t, "-f", dir)
	if len(got.Missing) == 0 || !strings.Contains(got.Missing[0].Why, "closes ingress TCP 8000/8000 with 203.0.113.0/24") {
		t.Errorf("no word about what else closes: %+v", got.Missing)
	}
}

func TestFailOn(t *testing.T) {
	dir := copyExport(t, "ack-terway-advanced")
	got, _ := check(t, "-f", dir, "--webhook-ports", "8443")
	applyAll(t, dir, &got)
	for threshold, want := range map[string]int{"high": 0, "medium": 0, "low": 0, "info": 0, "never": 0} {
		if _, code := check(t, "-f", dir, "--webhook-ports", "8443", "--fail-on", threshold); code != want {
			t.Errorf("whole group, --fail-on %s: exit %d, want %d", threshold, code, want)
		}
	}
	for threshold, want := range map[string]int{"high": 1, "info": 1, "never": 0} {
		if _, code := check(t, "-f", examples+"ack-terway-advanced", "--fail-on", threshold); code != want {
			t.Errorf("lacking group, --fail-on %s: exit %d, want %d", threshold, code, want)
		}
	}
}

func TestSARIF(t *testing.T) {
	r := run(t, "", "check", "-f", examples+"ack-terway-advanced", "-o", "sarif")
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Rules []struct{ ID string }
				}
			}
			Results []struct {
				RuleID    string
				RuleIndex int
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct{ ArtifactLocation struct{ URI string } }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(r.out), &log); err != nil || r.code != 1 {
		t.Fatalf("exit %d, %v: %s", r.code, err, r.err)
	}
	results := log.Runs[0].Results
	if log.Version != "2.1.0" || log.Runs[0].Tool.Driver.Name != "ringfence" || len(results) == 0 {
		t.Fatalf("version %s, tool %s, %d results", log.Version, log.Runs[0].Tool.Driver.Name, len(results))
	}
	for _, got := range results {
		if log.Runs[0].Tool.Driver.Rules[got.RuleIndex].ID != got.RuleID || got.Message.Text == "" || !slices.Contains([]string{"note", "warning", "error"}, got.Level) {
			t.Errorf("result %+v does not fit the rules", got)
		}
		if uri := got.Locations[0].PhysicalLocation.ArtifactLocation.URI; uri != examples+"ack-terway-advanced/security-group.json" && uri != examples+"ack-terway-advanced/security-groups.json" {
			t.Errorf("result %s is placed in %q", got.RuleID, uri)
		}
	}
}

// TestJUnitFailsAsTheExitCodeDoes checks that one threshold rules both.
func TestJUnitFailsAsTheExitCodeDoes(t *testing.T) {
	for threshold, code := range map[string]int{"never": 0, "high": 1, "info": 1} {
		r := run(t, "", "check", "-f", examples+"ack-terway-advanced", "-o", "junit", "--fail-on", threshold)
		if failed := strings.Contains(r.out, "<failure"); r.code != code || failed != (code == 1) {
			t.Errorf("--fail-on %s: exit %d, a failure in the file: %t", threshold, r.code, failed)
		}
	}
}

func TestJUnit(t *testing.T) {
	r := run(t, "", "check", "-f", examples+"ack-terway-advanced", "-o", "junit")
	var suites struct {
		Suites []struct {
			Name     string `xml:"name,attr"`
			Tests    int    `xml:"tests,attr"`
			Failures int    `xml:"failures,attr"`
			Cases    []struct {
				Failure *struct{} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(r.out), &suites); err != nil || r.code != 1 {
		t.Fatalf("exit %d, %v", r.code, err)
	}
	for _, s := range suites.Suites {
		failures := 0
		for _, c := range s.Cases {
			if c.Failure != nil {
				failures++
			}
		}
		if s.Tests != len(s.Cases) || s.Failures != failures {
			t.Errorf("%s says %d tests and %d failures, holds %d and %d", s.Name, s.Tests, s.Failures, len(s.Cases), failures)
		}
	}
}

// TestTableIsNarrow checks what people read: nothing but unbreakable words
// reaches beyond 100 columns, and no colour goes into a pipe.
func TestTableIsNarrow(t *testing.T) {
	r := run(t, "", "check", "-f", examples+"ack-terway-advanced", "--webhook-ports", "8443")
	if r.code != 1 || strings.Contains(r.out, "\x1b") {
		t.Errorf("exit %d, escape codes: %t", r.code, strings.Contains(r.out, "\x1b"))
	}
	for line := range strings.Lines(r.out) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if coloured := run(t, "", "check", "-f", examples+"ack-terway-advanced", "--color", "always"); !strings.Contains(coloured.out, "\x1b[31;1mMISSING") {
		t.Error("--color always gives no colour")
	}
}
