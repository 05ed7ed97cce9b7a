package convert

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/intstr"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/rules"
)

func rulesetOf(t *testing.T) *v1alpha1.RulesetSpec {
	t.Helper()
	cidr, other := rules.MustCIDR("10.0.0.0/8"), rules.MustCIDR("2001:db8::/32")
	g := &rules.Group{Name: "web", Type: rules.Basic, InnerAccess: true}
	for _, r := range []rules.Rule{
		{Action: rules.Accept, Priority: 1, Protocol: rules.TCP, Ports: rules.PortRange{First: 80, Last: 90}, Peer: cidr},
		{Action: rules.Drop, Priority: 100, Protocol: rules.AllProtocols, Peer: other},
		{Action: rules.Accept, Priority: 2, Protocol: rules.ICMP, Peer: rules.GroupPeer{Name: "db"}},
		{Direction: rules.Egress, Action: rules.Accept, Priority: 7, Protocol: rules.UDP, Ports: rules.PortRange{First: 53, Last: 53}, SourcePorts: rules.PortRange{First: 1024, Last: 65535}, Member: cidr.Prefix, Peer: rules.PrefixListPeer{Name: "offices"}},
		{Direction: rules.Egress, Action: rules.Accept, Priority: 8, Protocol: 112, Peer: cidr},
	} {
		g.Append(r)
	}
	lists := map[string]rules.PrefixList{"offices": {Name: "offices", Entries: []rules.CIDR{cidr, rules.MustCIDR("192.168.1.0/24")}}}
	rs, err := rules.Merge([]*rules.Group{g}, lists)
	if err != nil {
		t.Fatal(err)
	}
	spec := RulesetSpec(rs, nil)
	return &spec
}

// TestReadRuleset: writing and reading a ruleset loses nothing, through JSON too.
func TestReadRuleset(t *testing.T) {
	spec := rulesetOf(t)
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	var stored v1alpha1.RulesetSpec
	if err := json.Unmarshal(text, &stored); err != nil {
		t.Fatal(err)
	}
	back, err := ReadRuleset(&stored)
	if err != nil {
		t.Fatal(err)
	}
	again := RulesetSpec(back, nil)
	if diff := cmp.Diff(*spec, again); diff != "" {
		t.Errorf("read and written again (-first +again):\n%s", diff)
	}
	if got := len(back.Ingress) + len(back.Egress); got != 5 {
		t.Errorf("%d rules, want 5", got)
	}
}

func TestReadRulesetMistakes(t *testing.T) {
	for want, change := range map[string]func(*v1alpha1.RulesetSpec){
		"want Basic or Advanced":  func(s *v1alpha1.RulesetSpec) { s.Type = "" },
		"want GROUP/ingress/N":    func(s *v1alpha1.RulesetSpec) { s.Ingress[0].By = "web/egress/1" },
		"invalid syntax":          func(s *v1alpha1.RulesetSpec) { s.Ingress[0].By = "web/ingress/first" },
		"want Accept or Drop":     func(s *v1alpha1.RulesetSpec) { s.Ingress[0].Policy = "Allow" },
		"want 1 to 100":           func(s *v1alpha1.RulesetSpec) { s.Egress[0].Priority = 300 },
		"2 CIDRs: want one":       func(s *v1alpha1.RulesetSpec) { s.Egress[0].PrefixListName = "" },
		"TCQ":                     func(s *v1alpha1.RulesetSpec) { s.Ingress[0].Protocol = intstr.FromString("TCQ") },
		"10.0.0.0/99":             func(s *v1alpha1.RulesetSpec) { s.Ingress[0].CIDRs = []v1alpha1.CIDR{"10.0.0.0/99"} },
		"rule web/ingress/1: por": func(s *v1alpha1.RulesetSpec) { s.Ingress[0].Ports = "90/80" },
	} {
		spec := rulesetOf(t)
		change(spec)
		if rs, err := ReadRuleset(spec); rs != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, error %v", want, rs, err)
		}
	}
}
