package cli_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/cli"
)

func TestClusters(t *testing.T) {
	file := write(t, t.TempDir(), "all.yaml", manifests)
	var got struct {
		Users      []struct{ Kind, Name, Cluster string }
		AlsoHeldBy []string
	}
	r := run(t, "", "clusters", "web", "-f", file, "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	if len(got.Users) != 2 || got.Users[0].Kind != "NodePool" || got.Users[1].Kind != "Cluster" {
		t.Errorf("users %+v, want the node pool, then the cluster", got.Users)
	}
	if held := strings.Join(got.AlsoHeldBy, "; "); held != "group db names it in 1 of its rules; 2 network interfaces or hosts wear it" {
		t.Errorf("also held by: %s", held)
	}
	if r := run(t, "", "clusters", "db", "-f", file); r.code != 0 || !strings.Contains(r.out, "no cluster of these files uses group db") {
		t.Errorf("an unused group: exit %d: %s", r.code, r.out)
	}
	if r := run(t, "", "clusters", "gone", "-f", file); r.code != 2 || !strings.Contains(r.err, `no group "gone"`) {
		t.Errorf("no such group: exit %d: %s", r.code, r.err)
	}
}

func TestDiff(t *testing.T) {
	dir := t.TempDir()
	old := write(t, dir, "old.yaml", manifests)
	for name, tc := range map[string]struct {
		reason, from, to string
		code             int
		want             []string
	}{
		"SameMeaning":   {"two halves are the whole", "peer: {cidr: 0.0.0.0/0}}\n", "peer: {cidr: 0.0.0.0/1}}\n  - {policy: Accept, priority: 1, protocol: TCP, ports: 443/443, peer: {cidr: 128.0.0.0/1}}\n", 0, []string{"no flow opens or closes"}},
		"Opens":         {"one port more", "ports: 443/443", "ports: 443/444", 0, []string{"opens", "ingress TCP 444/444"}},
		"ClosesANeed":   {"inner access is what the nodes' needs rest on", "innerAccess: Accept", "innerAccess: Drop", 1, []string{"closes", "BREAKS", "BI-L3"}},
		"ClosesNoNeeds": {"nobody needs 443 from the lower half", "peer: {cidr: 0.0.0.0/0}}", "peer: {cidr: 128.0.0.0/1}}", 0, []string{"closes  ingress TCP 443/443"}},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(manifests, tc.from, tc.to, 1)
			if changed == manifests {
				t.Fatal("the case changes nothing")
			}
			updated := write(t, t.TempDir(), "new.yaml", changed)
			r := run(t, "", "diff", old, updated)
			if r.code != tc.code {
				t.Errorf("%s: exit %d, want %d: %s%s", tc.reason, r.code, tc.code, r.out, r.err)
			}
			for _, want := range tc.want {
				if !strings.Contains(r.out, want) {
					t.Errorf("%s: no %q in\n%s", tc.reason, want, r.out)
				}
			}
			if r := run(t, "", "diff", old, updated, "-o", "json"); !json.Valid([]byte(r.out)) {
				t.Errorf("-o json: %s", r.out)
			}
		})
	}
	if r := run(t, "", "diff", old, filepath.Join(dir, "gone")); r.code != 2 {
		t.Errorf("no such file: exit %d", r.code)
	}
}

// TestDiffOfExports compares exports that hold no cluster, group by group.
func TestDiffOfExports(t *testing.T) {
	groups := examples + "ack-terway-advanced/security-groups.json"
	rules := copyExport(t, "ack-terway-advanced")
	addRule(t, rules, map[string]any{"Direction": "egress", "IpProtocol": "UDP", "PortRange": "123/123", "DestCidrIp": "0.0.0.0/0", "Policy": "Accept", "Priority": "1"})
	both := func(path string) string {
		dir := t.TempDir()
		for name, from := range map[string]string{"groups.json": groups, "rules.json": path} {
			var v any
			readJSON(t, from, &v)
			writeJSON(t, filepath.Join(dir, name), v)
		}
		return dir
	}
	r := run(t, "", "diff", both(examples+"ack-terway-advanced/security-group.json"), both(filepath.Join(rules, "security-group.json")))
	if r.code != 0 || !strings.Contains(r.out, "opens   egress UDP 123/123") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// TestBadInput checks the promise for bad input: exit 2, nothing on standard
// output, and one message that names the place.
func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	noInner := func(dir string) []string {
		file := write(t, dir, "inner.json", `{"SecurityGroupId":"sg-1","Permissions":{"Permission":[]}}`)
		return []string{"-f", file, "--network-mode", "Terway", "--node-subnets", "10.0.0.0/24", "--pod-subnets", "10.0.1.0/24", "--api-server", "10.0.0.200"}
	}
	for inner, code := range map[string]int{"accept": 0, "drop": 1} { // the answer that is asked for
		if r := run(t, "", append(append([]string{"check"}, noInner(dir)...), "--group-type", "basic", "--inner-access", inner)...); r.code != code {
			t.Errorf("--inner-access %s: exit %d, want %d: %s%s", inner, r.code, code, r.out, r.err)
		}
	}
	edit := func(name, from, to string) string {
		changed := strings.Replace(manifests, from, to, 1)
		if changed == manifests {
			t.Fatalf("%s changes nothing", name)
		}
		return write(t, dir, name+".yaml", changed)
	}
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"NoFiles":          {nil, []string{"nothing to read", "-f"}},
		"Gone":             {[]string{"-f", filepath.Join(dir, "gone")}, []string{"gone"}},
		"TruncatedJSON":    {[]string{"-f", write(t, dir, "cut.json", `{"Permissions":{"Permission":[{"IpProtocol":"TCP"`)}, []string{"cut.json:1", "/Permissions/Permission/0"}},
		"WrongType":        {[]string{"-f", write(t, dir, "type.json", `{"SecurityGroupId":"sg-1","Permissions":"none"}`)}, []string{"type.json", "/Permissions", "want an object"}},
		"PortsOfTCP":       {[]string{"-f", edit("ports", "ports: 443/443", "ports: -1/-1")}, []string{"ports.yaml:19", "must name its ports"}},
		"IPv6InIPv4":       {[]string{"-f", write(t, dir, "six.json", `{"SecurityGroupId":"sg-1","Permissions":{"Permission":[{"Direction":"ingress","IpProtocol":"TCP","PortRange":"1/2","SourceCidrIp":"2001:db8::/32","Policy":"Accept","Priority":"1"}]}}`)}, []string{"six.json", "SourceCidrIp", "Ipv6SourceCidrIp"}},
		"NoPrefixList":     {[]string{"-f", edit("list", "prefixListName: offices", "prefixListName: homes")}, []string{"list.yaml:20", "homes"}},
		"MixedTypes":       {[]string{"-f", edit("mixed", "securityGroupNames: [db]", "securityGroupNames: [db, adv]"), "-f", write(t, dir, "adv.yaml", "apiVersion: ringfence.dev/v1alpha1\nkind: SecurityGroup\nmetadata: {name: adv}\nspec: {vpcName: prod, type: Advanced}\n")}, []string{"mixed.yaml", "adv", "db", "type"}},
		"Nonsense":         {[]string{"-f", write(t, dir, "nonsense", strings.Repeat("%!\x01 nonsense ", 10<<20/12))}, []string{"nonsense:"}},
		"TooMuchYAML":      {[]string{"-f", write(t, dir, "big.yaml", "a:\n"+strings.Repeat("- {b: c}\n", 17<<20/9))}, []string{"big.yaml", "16"}},
		"UnknownField":     {[]string{"-f", edit("field", "innerAccess: Accept", "inerAccess: Accept")}, []string{"field.yaml:17", "inerAccess"}},
		"NoCluster":        {[]string{"-f", examples + "ack-terway-advanced/security-group.json"}, []string{"no file describes a cluster", "--network-mode"}},
		"BadFlag":          {[]string{"-f", examples + "ack-terway-advanced", "--node-subnets", "10.0.0.0/40"}, []string{"--node-subnets", "no CIDR"}},
		"BadWebhookPort":   {[]string{"-f", examples + "ack-terway-advanced", "--webhook-ports", "70000"}, []string{"--webhook-ports 70000"}},
		"BadExposure":      {[]string{"-f", examples + "ack-terway-advanced", "--expose", "443"}, []string{"--expose"}},
		"BadProfile":       {[]string{"-f", examples + "ack-terway-advanced", "--profile", "tight"}, []string{"--profile"}},
		"BadFormat":        {[]string{"-f", examples + "ack-terway-advanced", "-o", "pdf"}, []string{"-o pdf: want table"}},
		"BadThreshold":     {[]string{"-f", examples + "ack-terway-advanced", "--fail-on", "worst"}, []string{"--fail-on"}},
		"NoSuchCluster":    {[]string{"-f", examples + "ack-terway-advanced", "--cluster", "gone"}, []string{`no cluster "gone"`, "shop"}},
		"UnknownFlag":      {[]string{"--nonsense"}, []string{"--nonsense"}},
		"EmptyDirectory":   {[]string{"-f", t.TempDir()}, []string{"holds no files"}},
		"BadAPIServer":     {[]string{"-f", examples + "ack-terway-advanced", "--api-server", "api.example.com"}, []string{"--api-server"}},
		"APIServerPort0":   {[]string{"-f", examples + "ack-terway-advanced", "--api-server", "10.0.0.1:0"}, []string{`--api-server "10.0.0.1:0"`}},
		"BadInnerAccess":   {[]string{"-f", examples + "ack-terway-advanced", "--inner-access", "maybe"}, []string{"--inner-access"}},
		"NoInnerAccess":    {append(noInner(dir), "--group-type", "basic"), []string{"no file tells the inner access of group sg-1", "--inner-access accept or drop"}},
		"BadNodePortsFrom": {[]string{"-f", examples + "ack-terway-advanced", "--node-ports-from", "everywhere"}, []string{"--node-ports-from"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, "", append([]string{"check"}, tc.args...)...)
			if r.code != 2 || r.out != "" {
				t.Errorf("exit %d, output %.200q; want 2 and none", r.code, r.out)
			}
			for _, want := range tc.want {
				if !strings.Contains(r.err, want) {
					t.Errorf("no %q in %.500s", want, r.err)
				}
			}
		})
	}
}

// TestFactsByFlags checks an export without cluster, described by flags.
func TestFactsByFlags(t *testing.T) {
	e := examples + "ack-terway-advanced/"
	args := []string{
		"-f", e + "security-group.json", "-f", e + "vpcs.json", "--group-type", "advanced", "--network-mode", "terway", "--node-subnets", "192.168.0.0/20,192.168.16.0/20",
		"--pod-subnets", "192.168.32.0/19,192.168.64.0/19", "--api-server", "192.168.0.200:6443", "--webhook-ports", "8443",
	}
	got, code := check(t, args...)
	if code != 1 || len(got.Missing) == 0 {
		t.Errorf("exit %d, missing %d needs; want what the whole export lacks", code, len(got.Missing))
	}
	whole, _ := check(t, "-f", e, "--webhook-ports", "8443")
	if len(got.Missing) != len(whole.Missing) {
		t.Errorf("described by flags %d needs are missing, by files %d", len(got.Missing), len(whole.Missing))
	}
	more, _ := check(t, append(args, "--expose", "tcp:8080:10.0.0.0/8", "--admin-cidrs", "10.1.0.0/16", "--ntp-servers", "10.2.0.1", "--node-ports-from", "10.3.0.0/16", "--etcd", "--bgp", "--poseidon", "--dhcp", "--health-checks-from", "10.4.0.0/16", "--metadata-addresses", "100.100.100.200")...)
	if len(more.Missing) <= len(got.Missing) {
		t.Errorf("more facts, %d needs missing, before %d", len(more.Missing), len(got.Missing))
	}
}

func TestRulesOfFlags(t *testing.T) {
	base := []string{"rules", "--network-mode", "Terway", "--node-subnets", "192.168.0.0/19", "--pod-subnets", "192.168.32.0/19", "--vpc-cidr", "192.168.0.0/16", "--api-server", "192.168.0.200"}
	if r := run(t, "", base...); r.code != 2 || !strings.Contains(r.err, "--group-type") {
		t.Errorf("without a type: exit %d: %s", r.code, r.err)
	}
	for _, args := range [][]string{
		{"--group-type", "advanced", "--profile", "least-privilege"},
		{"--group-type", "basic", "--inner-access", "drop"},
		{"--group-type", "basic", "-o", "json"},
		{"--group-type", "basic", "-o", "aliyun", "--group", ""},
		{"--group-type", "advanced", "-o", "yaml"},
	} {
		if r := run(t, "", append(append([]string{}, base...), args...)...); r.code != 0 || r.out == "" {
			t.Errorf("%v: exit %d: %s", args, r.code, r.err)
		}
	}
	for _, args := range [][]string{{"--group-type", "huge"}, {"--group-type", "advanced", "--inner-access", "accept"}, {"--group-type", "basic", "--inner-access", "maybe"}, {"--group-type", "basic", "--encapsulation", "Magic"}} {
		if r := run(t, "", append(append([]string{}, base...), args...)...); r.code != 2 || r.out != "" {
			t.Errorf("%v: exit %d, output %q; want 2 and none", args, r.code, r.out)
		}
	}
}

// TestTerraformFormat asks the real formatter, where there is one.
func TestTerraformFormat(t *testing.T) {
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("no terraform on this machine: the format was not checked by it")
	}
	r := run(t, "", "rules", "-f", examples+"ack-flannel-basic", "--profile", "least-privilege", "-o", "terraform")
	file := write(t, t.TempDir(), "rules.tf", r.out)
	if out, err := exec.Command(terraform, "fmt", "-check", "-diff", file).CombinedOutput(); err != nil {
		t.Errorf("terraform fmt would change it: %v\n%s", err, out)
	}
}

func TestVersionAndHelp(t *testing.T) {
	if r := run(t, "", "version"); r.code != 0 || !strings.HasPrefix(r.out, "ringfence ") {
		t.Errorf("version: exit %d: %s", r.code, r.out)
	}
	if r := run(t, "", "completion", "bash"); r.code != 0 || !strings.Contains(r.out, "__start_ringfence") {
		t.Errorf("completion: exit %d", r.code)
	}
	if r := run(t, "", "nonsense"); r.code != 2 || r.out != "" {
		t.Errorf("unknown command: exit %d, %q", r.code, r.out)
	}
	for _, command := range []string{"check", "rules", "explain", "diff", "clusters"} {
		if r := run(t, "", command, "--help"); r.code != 0 || !strings.Contains(r.out, "Examples:") {
			t.Errorf("%s --help: exit %d, no examples", command, r.code)
		}
	}
}

// TestPlugin checks that the program is at home as a kubectl plugin.
func TestPlugin(t *testing.T) {
	var out strings.Builder
	code := cli.Main([]string{"/usr/local/bin/kubectl-ringfence", "check", "--help"}, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out})
	if code != 0 || !strings.Contains(out.String(), "kubectl ringfence check") {
		t.Errorf("exit %d, help says:\n%s", code, out.String())
	}
}

// TestDiffOfHosts checks that what one host wears together is compared
// together, in clusters and outside.
func TestDiffOfHosts(t *testing.T) {
	const open = `
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: open}
spec:
  vpcName: prod
  type: Basic
  innerAccess: Drop
  ingress: [{policy: Accept, priority: 1, protocol: TCP, ports: 3389/3389, peer: {cidr: 0.0.0.0/0}}]
`
	old := write(t, t.TempDir(), "old.yaml", manifests+open)
	for name, tc := range map[string]struct{ from, to, who string }{
		"OutsideClusters": {"securityGroupNames: [db]", "securityGroupNames: [db, open]", "db-1"},
		"InACluster":      {"addresses: [10.0.0.12], clusterName: shop", "addresses: [10.0.0.12], securityGroupNames: [open], clusterName: shop", "node-2 of cluster shop"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(manifests, tc.from, tc.to, 1) + open
			r := run(t, "", "diff", old, write(t, t.TempDir(), "new.yaml", changed))
			if r.code != 0 || !strings.Contains(r.out, tc.who) || !strings.Contains(r.out, "opens   ingress TCP 3389/3389") {
				t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
			}
		})
	}
}

// TestCheckOfWhatOneHostWears checks that a group which only one host wears
// beside its pool's is judged with them.
func TestCheckOfWhatOneHostWears(t *testing.T) {
	const drop = `
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: closed}
spec:
  vpcName: prod
  type: Basic
  innerAccess: Drop
  ingress: [{policy: Drop, priority: 1, protocol: ALL, peer: {cidr: 172.20.0.0/16}}]
`
	pods := strings.Replace(manifests, "  ingress:\n", "  ingress:\n  - {policy: Accept, priority: 1, protocol: ALL, peer: {cidr: 172.20.0.0/16}}\n", 1)
	whole := write(t, t.TempDir(), "whole.yaml", pods+drop)
	if got, code := check(t, "-f", whole); code != 0 {
		t.Fatalf("the case is wrong: exit %d, missing %+v", code, got.Missing)
	}
	worn := strings.Replace(pods, "addresses: [10.0.0.12], clusterName", "addresses: [10.0.0.12], securityGroupNames: [closed], clusterName", 1) + drop
	got, code := check(t, "-f", write(t, t.TempDir(), "worn.yaml", worn))
	if code != 1 || len(got.Missing) == 0 || !strings.Contains(got.Missing[0].Why, "closed/ingress/1") {
		t.Errorf("exit %d, missing %+v; want pods cut off from one node", code, got.Missing)
	}
}

// TestDropOfUnknownMembers checks that nobody passes whose needs may be among
// what a rule about strangers drops.
func TestDropOfUnknownMembers(t *testing.T) {
	dir := copyExport(t, "ack-flannel-basic")
	first, _ := check(t, "-f", dir)
	applyAll(t, dir, &first)
	addRule(t, dir, map[string]any{"Direction": "ingress", "IpProtocol": "TCP", "PortRange": "1/65535", "SourceGroupId": "sg-stranger", "Policy": "Drop", "Priority": "1"})
	got, code := check(t, "-f", dir)
	if code != 1 || len(got.Findings) == 0 || got.Findings[0].ID != "unknown-members" || got.Findings[0].Severity != "high" {
		t.Errorf("exit %d, findings %+v; want unknown-members, high", code, got.Findings)
	}
}

func TestAPIErrorIsNoExport(t *testing.T) {
	file := write(t, t.TempDir(), "groups.json", `{"RequestId":"R","HostId":"ecs.example.com","Code":"Forbidden.RAM","Message":"User not authorized."}`)
	if r := run(t, "", "check", "-f", file); r.code != 2 || !strings.Contains(r.err, "Forbidden.RAM") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}
