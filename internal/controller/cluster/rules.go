package cluster

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// systemRules are the system rules of one group.
type systemRules struct{ ingress, egress []v1alpha1.SystemRule }

func (s systemRules) size() int { return len(s.ingress) + len(s.egress) }

func (s systemRules) equal(other systemRules) bool {
	return equality.Semantic.DeepEqual(s.ingress, other.ingress) && equality.Semantic.DeepEqual(s.egress, other.egress)
}

func rulesOf(g *v1alpha1.SecurityGroup) systemRules {
	return systemRules{g.Status.SystemIngress, g.Status.SystemEgress}
}

// expand returns the rules that a profile means for a group of the clusters of
// the inventories that use it: those of the first, then what the others need
// beside. The same profile for all of them: one that ends in a drop would cut
// what another leaves to the default.
func expand(tables *profiles.Tables, group string, scope profiles.Scope, users []*convert.Inventory) ([]rules.Rule, error) {
	var all []rules.Rule
	seen := map[rules.Rule]bool{}
	for _, inv := range users {
		for i := range inv.Clusters {
			list, err := expandFor(tables, inv, &inv.Clusters[i], group, scope)
			if err != nil {
				return nil, err
			}
			for _, r := range list {
				if key := plain(r); !seen[key] {
					seen[key] = true
					all = append(all, r)
				}
			}
		}
	}
	return all, nil
}

func expandFor(tables *profiles.Tables, inv *convert.Inventory, c *convert.Cluster, group string, scope profiles.Scope) ([]rules.Rule, error) {
	g, ok := inv.Group(group)
	if !ok {
		return nil, fmt.Errorf("cannot find the rules of group %s: it is not there", group)
	}
	f, _ := judge.GroupFacts(inv, c, &g.Group)
	e, err := tables.Expand(&f, cmp.Or(scope, c.Profile, profiles.Recommended))
	if err != nil {
		return nil, fmt.Errorf("cannot find the rules of group %s: %w", group, err)
	}
	return e.Rules, nil
}

// plain is a rule without what does not decide.
func plain(r rules.Rule) rules.Rule {
	r.Description, r.Row = "", ""
	r.Peer = rules.PlainPeer(r.Peer)
	return r
}

// A ruleKey is a system rule without what does not decide.
type ruleKey struct {
	policy                v1alpha1.Policy
	priority              int32
	protocol              string
	ports, source, member string
	peer                  v1alpha1.Peer
}

func keyOf(r *v1alpha1.SystemRule) ruleKey {
	return ruleKey{r.Policy, *priority(r), r.Protocol.String(), r.Ports, r.SourcePorts, r.MemberCIDR, r.Peer}
}

func priority(r *v1alpha1.SystemRule) *int32 {
	if r.Priority == nil {
		return new(int32)
	}
	return r.Priority
}

// steps returns the writes that lead from the rules that are to those that shall
// be: additions in a first, removals in the next. Every one of them has all of
// the wanted rules. Where both do not fit a host's quota, one write replaces
// them: no state in between lacks anything.
func steps(have, want systemRules) []systemRules {
	if have.equal(want) {
		return nil
	}
	both := systemRules{with(want.ingress, have.ingress), with(want.egress, have.egress)}
	adds, removes := both.size() > have.size(), both.size() > want.size()
	if !adds || !removes || both.size() > rules.MaxRulesPerHost {
		return []systemRules{want}
	}
	return []systemRules{both, want}
}

// with returns the wanted rules and behind them those that are no longer.
func with(want, have []v1alpha1.SystemRule) []v1alpha1.SystemRule {
	wanted := make(map[ruleKey]bool, len(want))
	for i := range want {
		wanted[keyOf(&want[i])] = true
	}
	out := slices.Clip(slices.Clone(want))
	for i := range have {
		if !wanted[keyOf(&have[i])] {
			out = append(out, have[i])
		}
	}
	return out
}
