package nft_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
	"ringfence.dev/ringfence/rules/flowset"
)

// TestRefuses: what cannot be laid out truly is not laid out at all.
func TestRefuses(t *testing.T) {
	group := func() []*rules.Group {
		return []*rules.Group{{Name: "web", Ingress: []rules.Rule{fromGroup(1, rules.TCP, "80/80", "db")}}}
	}
	for name, tc := range map[string]struct {
		reason string
		s      scenario
		want   string
	}{
		"Unknown": {"unknown is not empty", scenario{groups: group()}, "the members of group db are unknown"},
		"Wide":    {"a hash map has single addresses", scenario{groups: group(), members: map[string][]string{"db": {"10.0.0.0/24"}}}, "member 10.0.0.0/24 is more than one address"},
	} {
		in, members := tc.s.input(t)
		c, err := nft.New(in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Version(members); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %s: error %v, want one with %q", name, tc.reason, err, tc.want)
		}
	}
	in, _ := (&scenario{groups: group()}).input(t)
	in.Exempt = []rules.Exempt{{Name: "odd", Protocol: rules.UDP, HopLimit255: true}}
	if _, err := nft.New(in); err == nil || !strings.Contains(err.Error(), "exemption odd") {
		t.Errorf("a hop limit for UDP: error %v, want one that names it", err)
	}
}

// TestBudgets: a host that would need more keeps what it has, and is told why.
func TestBudgets(t *testing.T) {
	var list []*rules.Group
	for g := range 10 {
		group := &rules.Group{Name: fmt.Sprintf("g%d", g), Type: rules.Advanced}
		for i := range 500 {
			cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(g), byte(i >> 1), byte(i << 7)}), 25).Masked()
			group.Ingress = append(group.Ingress, accept(1, rules.TCP, fmt.Sprintf("%d/%d", i+1, i+1), cidr.String()))
		}
		list = append(list, group)
	}
	in, members := (&scenario{groups: list}).input(t)
	c, err := nft.New(in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Version(members); !errors.Is(err, nft.ErrClasses) || !strings.Contains(err.Error(), "which rule g8/ingress/") {
		t.Errorf("5,000 classes: error %v, want ErrClasses and the rule", err)
	}
	var tuples []rules.Rule
	for i := range 2000 {
		r := accept(1, rules.TCP, fmt.Sprintf("%d/%d", i+1, 60000-i), "10.0.0.0/8")
		r.Member = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
		r.SourcePorts = rules.PortRange{First: uint16(i + 1), Last: uint16(30000 + i)}
		tuples = append(tuples, r)
	}
	in, _ = (&scenario{groups: []*rules.Group{{Name: "narrow", Type: rules.Advanced, Ingress: tuples}}}).input(t)
	if _, err := nft.New(in); !errors.Is(err, flowset.ErrBudget) || !strings.Contains(err.Error(), "narrow/ingress/") {
		t.Errorf("rules beyond all edges: error %v, want ErrBudget and the rule", err)
	}
}

// TestCountersFollowTheRule: the leaf of a rule is the same when another rule
// is put before it, and another one when the rule itself changes.
func TestCountersFollowTheRule(t *testing.T) {
	leaves := func(list ...rules.Rule) string {
		s := scenario{groups: []*rules.Group{{Name: "web", Type: rules.Advanced, Ingress: list}}}
		var names []string
		for _, n := range s.version(t).Leaves {
			names = append(names, n.Name)
		}
		return strings.Join(names, " ")
	}
	web := accept(1, rules.TCP, "80/80", "0.0.0.0/0")
	alone := ""
	for name := range strings.FieldsSeq(leaves(web)) {
		if strings.HasPrefix(name, "rule_") {
			alone = name
		}
	}
	if alone == "" || !strings.Contains(leaves(accept(1, rules.TCP, "22/22", "10.0.0.0/8"), web), alone) {
		t.Errorf("leaf %q is lost when a rule is put before its rule", alone)
	}
	if strings.Contains(leaves(accept(1, rules.TCP, "80/81", "0.0.0.0/0")), alone) {
		t.Error("another rule has the same leaf")
	}
	longest := accept(1, rules.TCP, "80/80", "0.0.0.0/0")
	s := scenario{groups: []*rules.Group{{Name: strings.Repeat("n", 200), Type: rules.Advanced, Ingress: []rules.Rule{drop(1, rules.TCP, "1/2", "0.0.0.0/0"), longest}}}}
	for _, n := range s.version(t).Leaves {
		for _, r := range n.Rules {
			if l, ok := r.(nft.Log); ok && len(l.Prefix) > 127 {
				t.Errorf("log prefix of %d bytes: the kernel keeps 127", len(l.Prefix))
			}
		}
	}
}
