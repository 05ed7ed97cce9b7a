package ruleset

import (
	"net/netip"
	"slices"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/rules"
)

// onlyOpens reports whether it is proved that a candidate lets through all that
// the stable Ruleset does, and opens no port of [rules.TakeoverPorts]. What cannot be proved,
// within the budget too, is not.
//
// Who the members of a group are changes without a new Ruleset, and a member may
// lie in any CIDR and in other groups too. So the two are compared for peers in
// no group, and for each group as if its members were everybody. That is enough
// if no rule of the candidate drops the members of a group: then being in one
// more group lets nothing less through, and what is let through is so by one
// rule, of one group at most.
func onlyOpens(stable, candidate *v1alpha1.RulesetSpec, exempt []rules.Exempt) bool {
	old, err1 := convert.ReadRuleset(stable)
	updated, err2 := convert.ReadRuleset(candidate)
	if err1 != nil || err2 != nil || dropsMembers(updated) {
		return false
	}
	groups := peerGroups(old, updated)
	for i := -1; i < len(groups); i++ {
		world := &rules.World{Exempt: exempt}
		for n, g := range groups {
			world.Members.Set(g, nil)
			if n == i {
				world.Members.Set(g, everybody())
			}
		}
		if !opensIn(world, old, updated) {
			return false
		}
	}
	return true
}

func everybody() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

func dropsMembers(rs *rules.Ruleset) bool {
	return slices.ContainsFunc(slices.Concat(rs.Ingress, rs.Egress), func(r rules.MergedRule) bool {
		_, group := r.Peer.(rules.GroupPeer)
		return group && r.Action == rules.Drop
	})
}

// peerGroups are the groups whose members are treated differently, sorted.
func peerGroups(sets ...*rules.Ruleset) []string {
	var out []string
	for _, rs := range sets {
		out = append(out, rs.InnerAccess...)
		for _, r := range slices.Concat(rs.Ingress, rs.Egress) {
			if g, ok := r.Peer.(rules.GroupPeer); ok {
				out = append(out, g.Name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// opensIn is onlyOpens where it is known who the members are.
func opensIn(world *rules.World, old, updated *rules.Ruleset) bool {
	ws := rules.NewWorkspace(world, budget)
	before, err := ws.Compile(old)
	if err != nil {
		return false
	}
	after, err := ws.Compile(updated)
	if err != nil {
		return false
	}
	change, err := rules.Diff(before, after)
	if err != nil || !change.Closes[rules.Ingress].IsEmpty() || !change.Closes[rules.Egress].IsEmpty() {
		return false
	}
	for _, ports := range rules.TakeoverPorts() {
		for _, anybody := range []string{"0.0.0.0/0", "::/0"} {
			need := rules.Need{Direction: rules.Ingress, Protocol: rules.TCP, Ports: ports, Peer: rules.MustCIDR(anybody)}
			if _, meets, err := ws.Meets(change.Opens[rules.Ingress], &need, nil); meets || err != nil {
				return false
			}
		}
	}
	return true
}
