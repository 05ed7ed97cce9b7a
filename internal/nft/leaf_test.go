package nft_test

import (
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
)

// TestPrefixes reads back what the leaves of a version log: every drop, of
// both directions, and whose leaf it is.
func TestPrefixes(t *testing.T) {
	long := strings.Repeat("long-name.", 20) + "x"
	for _, observe := range []bool{false, true} {
		s := scenario{observe: observe, groups: []*rules.Group{{
			Name: long, Type: rules.Advanced,
			Ingress: []rules.Rule{accept(1, rules.TCP, "80/80", "10.0.0.0/8"), drop(2, rules.TCP, "22/22", "10.0.0.0/8")},
			Egress:  []rules.Rule{drop(1, rules.UDP, "53/53", "0.0.0.0/0"), accept(2, rules.UDP, "1/65535", "0.0.0.0/0")},
		}}}
		v := s.version(t)
		logged := map[string]bool{}
		for _, n := range v.Leaves {
			for _, r := range n.Rules {
				l, ok := r.(nft.Log)
				if !ok {
					continue
				}
				logged[n.Name] = true
				d, ok := nft.ReadPrefix(l.Prefix)
				want := nft.Denial{Leaf: n.Name, Observed: observe}
				if strings.Contains(n.Name, "_out_") {
					want.Direction = rules.Egress
				}
				if !ok || d != want {
					t.Errorf("%q: %+v, %t; want %+v", l.Prefix, d, ok, want)
				}
			}
		}
		in, _ := s.input(t)
		for _, list := range [][]rules.MergedRule{in.Ruleset.Rules(rules.Ingress), in.Ruleset.Rules(rules.Egress)} {
			for i := range list {
				leaf := nft.Leaf(list[i].Direction, rules.Verdict{Action: list[i].Action, Cause: rules.ByRule, Rule: &list[i]}, observe)
				if logged[leaf] != (list[i].Action == rules.Drop) {
					t.Errorf("%s, observe %t: logged %t", &list[i], observe, logged[leaf])
				}
			}
		}
		for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
			if !logged[nft.Unreadable(d, observe)] {
				t.Errorf("observe %t: %s is not logged", observe, nft.Unreadable(d, observe))
			}
		}
	}
	for _, text := range []string{
		"", "ringfence", "ringfence drop", "ringfence drop ", "ringfence drop x", "ringfence drop default_in_accept default",
		"ringfence would drop default_in_drop default", "ringfence drop default_in_would default", "ringfence drop default_up_drop x",
		"another ringfence drop default_in_drop default",
	} {
		if d, ok := nft.ReadPrefix(text); ok {
			t.Errorf("%q: read as %+v", text, d)
		}
	}
}
