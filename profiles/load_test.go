package profiles_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// shipped are the tables as shipped, for a test to edit.
func shipped(t *testing.T) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	for _, name := range []string{"ack", "extra", "modes", "exempt", "keep"} {
		file := "tables/" + name + ".yaml"
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[file] = &fstest.MapFile{Data: data}
	}
	return out
}

// aRow is a row without fault.
const aRow = `rows:
- id: T-1
  groupTypes: [Basic]
  direction: Ingress
  scope: LeastPrivilege
  source: a test
  protocols: [TCP]
  ports:
  - ports: 80/80
    component: web
    why: pages do not load
  peers: [$VSW]
`

func TestLoadRowErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		reason   string
		old, new string // an edit of aRow
		want     string // in the error, behind file, line and row; empty means no error
	}{
		"Fine":           {reason: "the row without an edit is fine"},
		"UnknownKey":     {reason: "a misspelt key must not be lost", old: "scope:", new: "scpoe:", want: `line 5: unknown key "scpoe"`},
		"UnknownPortKey": {reason: "nor one of a port", old: "component:", new: "componnet:", want: `line 10: unknown key "componnet"`},
		"KeyTwice":       {reason: "which one would count?", old: "  source: a test\n", new: "  source: a test\n  source: b\n", want: `mapping key "source" already defined`},
		"WrongKind":      {reason: "a list is no word", old: "source: a test", new: "source: [a, test]", want: "cannot unmarshal"},
		"PortNotMapping": {reason: "a port is a mapping", old: "  ports:\n", new: "  ports:\n  - 80\n", want: "port at line 9: line 9: want a mapping"},
		"GroupType":      {reason: "there are two types", old: "[Basic]", new: "[Fancy]", want: `group type "Fancy": want one of Advanced, Basic`},
		"NoGroupTypes":   {reason: "a row is for some type", old: "[Basic]", new: "[]", want: "no group types"},
		"Direction":      {reason: "there are two directions", old: "direction: Ingress", new: "direction: ingress", want: `direction "ingress"`},
		"Scope":          {reason: "there are two scopes", old: "scope: LeastPrivilege", new: "scope: Both", want: `scope "Both"`},
		"Action":         {reason: "there are two actions", old: "  source:", new: "  action: Reject\n  source:", want: `action "Reject"`},
		"Priority":       {reason: "clouds know 1 to 100", old: "  source:", new: "  priority: 101\n  source:", want: "priority 101"},
		"Protocol":       {reason: "a protocol has a name or number", old: "[TCP]", new: "[TPC]", want: `unknown protocol "TPC"`},
		"NoProtocols":    {reason: "a row is about some protocol", old: "[TCP]", new: "[]", want: "no protocols"},
		"NoPortsThere":   {reason: "ICMP has no ports", old: "[TCP]", new: "[ICMP]", want: "protocol ICMP: TCP, UDP and SCTP need ports"},
		"PortRange":      {reason: "a range goes upwards", old: "80/80", new: "80/79", want: `port range "80/79"`},
		"PortOrSymbol":   {reason: "one or the other", old: "ports: 80/80", new: "legacy: true", want: "want either ports or a symbol"},
		"PortSymbol":     {reason: "symbols are listed", old: "ports: 80/80", new: "symbol: AllPorts", want: `symbol "AllPorts"`},
		"PortDefault":    {reason: "NodePorts may be left open", old: "ports: 80/80", new: "symbol: NodePorts", want: `default ""`},
		"NoPortDefault":  {reason: "webhooks may not", old: "ports: 80/80", new: "symbol: WebhookPorts\n    default: 1/2", want: `default "1/2"`},
		"PortCondition":  {reason: "conditions are listed", old: "    component:", new: "    when: [Sunny]\n    component:", want: `condition "Sunny"`},
		"PortWhy":        {reason: "each port says what breaks", old: "    why: pages do not load\n", want: "want a component and a why"},
		"Condition":      {reason: "conditions are listed", old: "  source:", new: "  when: [Rainy]\n  source:", want: `condition "Rainy"`},
		"Family":         {reason: "there are two families", old: "  source:", new: "  family: IPv5\n  source:", want: `family "IPv5"`},
		"Peer":           {reason: "a peer is a symbol or a CIDR", old: "$VSW", new: "$WSV", want: `peer "$WSV"`},
		"NoPeers":        {reason: "an empty cell must say whose peers it takes", old: "[$VSW]", new: "[]", want: "want either peers or peersOf"},
		"PeersTwice":     {reason: "one or the other", old: "  peers: [$VSW]", new: "  peers: [$VSW]\n  peersOf: BI-L1", want: "want either peers or peersOf"},
		"PeersOfNobody":  {reason: "the row must be there", old: "peers: [$VSW]", new: "peersOf: BI-L99", want: "peersOf BI-L99: want a row that has peers of its own"},
		"PeersOfChain":   {reason: "one step is enough", old: "peers: [$VSW]", new: "peersOf: BI-L2", want: "peersOf BI-L2: want a row that has peers of its own"},
		"PeersOfOther":   {reason: "peers of another direction are no cell of this table", old: "peers: [$VSW]", new: "peersOf: BO-L2", want: "peersOf BO-L2: want a row of the same direction"},
		"ExposureShape":  {reason: "exposures bring their protocols", old: "$VSW", new: "$EXP", want: "a row about exposures has the peer $EXP"},
		"NoOrigin":       {reason: "each row says where it comes from", old: "  source: a test\n", want: "want either seed"},
		"PageForNothing": {reason: "a page without a row on it", old: "  source:", new: "  page: today\n  source:", want: `page "today"`},
		"SeedNoPage":     {reason: "which version of the page?", old: "source: a test", new: "seed: first row", want: `page ""`},
		"Reading":        {reason: "there are 17", old: "  source:", new: "  readings: [18]\n  source:", want: "reading 18"},
		"WhyTwice":       {reason: "ports have their own", old: "  source:", new: "  why: because\n  source:", want: "component and why belong to each port"},
		"LongWhy":        {reason: "clouds cut descriptions", old: "pages do not load", new: strings.Repeat("long ", 110), want: "want at most 512"},
		"NoWhy":          {reason: "a row without ports says what breaks", old: "[TCP]\n  ports:\n  - ports: 80/80\n    component: web\n    why: pages do not load", new: "[ALL]", want: "want a component and a why"},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := shipped(t)
			text := strings.Replace(aRow, tc.old, tc.new, 1)
			fsys["tables/extra.yaml"] = &fstest.MapFile{Data: []byte(text)}
			fsys["tables/keep.yaml"] = &fstest.MapFile{Data: []byte("keep: []\n")} // it names rows that are gone
			_, err := profiles.LoadFrom(fsys)
			if tc.want == "" {
				if err != nil {
					t.Errorf("%s\nload: %v", tc.reason, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%s\nload: error %v, want %q in it", tc.reason, err, tc.want)
			}
			if !strings.Contains(err.Error(), "tables/extra.yaml:2: row T-1: ") {
				t.Errorf("%s\nload: error %q names no file, line and row", tc.reason, err)
			}
		})
	}
}

func TestLoadFileErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		reason   string
		file     string
		old, new string // an edit of the shipped file; old "" replaces it all
		want     string
	}{
		"NoID":            {"a row needs a name", "ack", "- id: BI-R1\n  groupTypes", "- groupTypes", "row without id: id \"\": want a word"},
		"IDTwice":         {"findings name rows", "ack", "id: BI-R2", "id: BI-R1", "row BI-R1: id is taken by the row at tables/ack.yaml:"},
		"IDTwiceInFiles":  {"also across tables", "extra", "id: BO-L3W", "id: BI-R1", "row BI-R1: id is taken by the row at tables/ack.yaml:"},
		"TopKey":          {"a misspelt key must not be lost", "ack", "page:", "pages:", `unknown key "pages"`},
		"NoMapping":       {"a table is a mapping", "ack", "", "- a\n", "tables/ack.yaml: line 1: want a mapping"},
		"NoYAML":          {"a table is YAML", "ack", "", "a: [", "tables/ack.yaml: yaml:"},
		"Empty":           {"a table is there", "ack", "", "# nothing\n", "tables/ack.yaml: EOF"},
		"TwoDocuments":    {"one table a file", "ack", "", "rows: []\n---\nrows: []\n", "tables/ack.yaml:2: want one document"},
		"Modes":           {"modes are a mapping", "modes", "", "- a\n", "tables/modes.yaml: line 1: want a mapping"},
		"ModeKey":         {"a misspelt key must not be lost", "modes", "bareIPv6: IPIP", "bare: IPIP", `unknown key "bare"`},
		"Mode":            {"modes are listed", "modes", "mode: Other\n", "mode: Weave\n", `mode "Weave": want one of`},
		"ModeMissing":     {"each mode has an entry", "modes", "mode: Other\n", "mode: Weave\n", "mode Other is missing"},
		"ModeTwice":       {"which one would count?", "modes", "mode: Other\n", "mode: Calico\n", "mode Calico: listed twice"},
		"ModeDefault":     {"encapsulations are listed", "modes", "encapsulation: IPIP", "encapsulation: GRE", `encapsulation "GRE"`},
		"ModeBare":        {"encapsulations are listed", "modes", "bareIPv6: IPIP", "bareIPv6: GRE", `bareIPv6 "GRE"`},
		"ModePorts":       {"each encapsulation has a port", "modes", "{VXLAN: 8472, Geneve: 6081, WireGuard: 51871, WireGuardIPv6: 51871}", "{VXLAN: 8472, STT: 7471, WireGuard: 0}", "mode Cilium: 3 ports"},
		"ModePortZero":    {"a port is not zero", "modes", "WireGuardIPv6: 51871", "WireGuardIPv6: 0", "port of WireGuardIPv6"},
		"ModeWhy":         {"defaults have reasons", "modes", "  why: OVN builds its logical networks on Geneve\n", "", "mode OVNKubernetes: want a why"},
		"Exempt":          {"exemptions are a mapping", "exempt", "", "- a\n", "tables/exempt.yaml: line 1: want a mapping"},
		"ExemptKey":       {"a misspelt key must not be lost", "exempt", "hopLimit255", "hopLimit", `unknown key "hopLimit"`},
		"ExemptTypesKey":  {"nor one of the types", "exempt", "{first: 133, last: 136}", "{from: 133, to: 136}", `unknown key "from"`},
		"ExemptName":      {"explanations name it", "exempt", "- name: dhcp\n  protocol", "- protocol", "exemption without name: want a name and a why"},
		"ExemptProtocol":  {"protocols are known", "exempt", "protocol: ICMP\n", "protocol: IMCP\n", `unknown protocol "IMCP"`},
		"ExemptPorts":     {"a range goes upwards", "exempt", "67/68", "68/67", `port range "68/67"`},
		"ExemptNoPorts":   {"UDP needs ports", "exempt", "  ports: 67/68\n", "", "exemption dhcp: protocol UDP: TCP, UDP and SCTP need ports"},
		"ExemptPeer":      {"a peer is a CIDR", "exempt", "127.0.0.0/8", "localhost", `"localhost" is no CIDR`},
		"ExemptNoTypes":   {"ICMP needs types", "exempt", "  types: {first: 3, last: 3}\n", "", "protocol ICMP: ICMP and ICMPv6 need types"},
		"KeepKey":         {"a misspelt key must not be lost", "keep", "roles:", "role:", `unknown key "role"`},
		"KeepRow":         {"a row that is not there explains nothing", "keep", "[BO-L3, AO-L3]", "[BO-L33]", "row BO-L33"},
		"KeepRole":        {"a role that no host has keeps nothing", "keep", "roles: [APIServer]", "roles: [Boss]", `role "Boss"`},
		"KeepPeer":        {"a peer must be one that is resolved there", "keep", "peers: [$APISLB]", "peers: [$VPC]", `peer "$VPC"`},
		"KeepPorts":       {"ports are a range or the API server's", "keep", "ports: 10250/10250", "ports: 10250", `port range "10250"`},
		"KeepComponent":   {"people read it", "keep", "  component: etcd\n", "", "a component"},
		"ExemptTypeOrder": {"types go upwards", "exempt", "{first: 1, last: 4}", "{first: 4, last: 1}", "types 4 to 1"},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := shipped(t)
			file := fsys["tables/"+tc.file+".yaml"]
			text := tc.new
			if tc.old != "" {
				if !strings.Contains(string(file.Data), tc.old) {
					t.Fatalf("%s has no %q to edit", tc.file, tc.old)
				}
				text = strings.Replace(string(file.Data), tc.old, tc.new, 1)
			}
			file.Data = []byte(text)
			_, err := profiles.LoadFrom(fsys)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nload: error %v, want %q in it", tc.reason, err, tc.want)
			}
		})
	}
}

func TestLoadMissingFiles(t *testing.T) {
	_, err := profiles.LoadFrom(fstest.MapFS{})
	if err == nil {
		t.Fatal("load of nothing: no error")
	}
	for _, file := range []string{"tables/ack.yaml", "tables/extra.yaml", "tables/modes.yaml", "tables/exempt.yaml"} {
		if !strings.Contains(err.Error(), file) {
			t.Errorf("load of nothing: error %q, want all files named, also %s", err, file)
		}
	}
}

func TestExempt(t *testing.T) {
	got := mustLoad(t).Exempt()
	for i := range got {
		if got[i].Why == "" {
			t.Errorf("exemption %s: no why", got[i].Name)
		}
		got[i].Why = ""
	}
	want := []rules.Exempt{
		{Name: "loopback-ipv4", Protocol: rules.AllProtocols, Peer: rules.MustCIDR("127.0.0.0/8")},
		{Name: "loopback-ipv6", Protocol: rules.AllProtocols, Peer: rules.MustCIDR("::1/128")},
		{Name: "neighbour-discovery", Protocol: rules.ICMPv6, FirstType: 133, LastType: 136, HopLimit255: true},
		{Name: "multicast-listener", Protocol: rules.ICMPv6, FirstType: 130, LastType: 132},
		{Name: "multicast-listener-v2", Protocol: rules.ICMPv6, FirstType: 143, LastType: 143},
		{Name: "icmp-unreachable", Protocol: rules.ICMP, FirstType: 3, LastType: 3},
		{Name: "icmpv6-errors", Protocol: rules.ICMPv6, FirstType: 1, LastType: 4},
		{Name: "dhcp", Protocol: rules.UDP, Ports: ports(67, 68)},
		{Name: "dhcpv6", Protocol: rules.UDP, Ports: ports(546, 547)},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b rules.CIDR) bool { return a == b })); diff != "" {
		t.Errorf("Exempt(): -want +got:\n%s", diff)
	}
}
