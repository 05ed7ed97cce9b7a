package profiles

import (
	"cmp"
	"slices"

	"ringfence.dev/ringfence/rules"
)

// A target is what a peer of a row stands for. Rules and needs differ where a
// group's own members are meant: no rule can name them, yet the need does.
type target struct {
	rules, needs []rules.Peer
	// reason says why there are no rules; empty if there are.
	reason string
}

func plain(cidrs []rules.CIDR, reason string) target {
	if len(cidrs) == 0 {
		return target{reason: reason}
	}
	p := peers(cidrs)
	return target{rules: p, needs: p}
}

func peers(cidrs []rules.CIDR) []rules.Peer {
	out := make([]rules.Peer, len(cidrs))
	for i, c := range cidrs {
		out[i] = c
	}
	return out
}

func (e *expander) resolve(d rules.Direction, s Symbol) target {
	f := e.facts
	switch s {
	case PeerClusterGroup:
		return e.clusterGroup(d)
	case PeerNodes:
		return e.nodes(d)
	case PeerPodCIDRs:
		return e.podCIDRs()
	case PeerVSwitches:
		return plain(f.vSwitches(), "the cluster has no subnets")
	case PeerVPC:
		return plain(f.VPC, "the VPC has no primary CIDR")
	case PeerSecondaryVPC:
		return plain(f.SecondaryVPC, "the VPC has no secondary CIDR")
	case PeerAPIServer:
		return plain(f.APIServer, "the API server has no address")
	case PeerCallers:
		return plain(f.Callers, "nobody has seen where the API server calls from")
	case PeerAnyIPv4:
		return plain([]rules.CIDR{rules.MustCIDR("0.0.0.0/0")}, "")
	case PeerAnyIPv6:
		if f.DualStack() {
			return plain([]rules.CIDR{rules.MustCIDR("::/0")}, "")
		}
		return target{reason: "the cluster has no IPv6 range"}
	case PeerNodePorts:
		if f.NodePorts == nil {
			return target{reason: "nobody is said to reach NodePorts"}
		}
		return plain(f.NodePorts.Peers, "")
	case PeerHealthChecks:
		return plain(f.HealthCheckPeers, "no load balancer is said to probe the nodes")
	case PeerAdmins:
		return plain(f.AdminCIDRs, "nobody is said to log in by SSH")
	case PeerNTP:
		return plain(f.NTPServers, "no time server is named")
	case PeerMetadata:
		return plain(f.Metadata, "no metadata address is named")
	case PeerExposures: // resolved one by one, see resolveExposed
		return target{}
	}
	return plain([]rules.CIDR{rules.MustCIDR(string(s))}, "") // the loader has parsed it
}

// clusterGroup resolves the cluster's group: the group at hand, and beside it
// the others that the cluster wears. The tables speak of one group for all, and
// a pool whose nodes cannot ask another's DNS pods is cut off from half of its
// answers. Others are named where a basic group may do so; else the CIDRs of all
// subnets stand for everybody.
func (e *expander) clusterGroup(d rules.Direction) target {
	own := e.ownGroup(d)
	if len(e.facts.Others) == 0 {
		return own
	}
	if e.facts.GroupType == rules.Advanced || e.byAddress || !all(e.facts.Others, OtherGroup.nameable) {
		return plain(e.facts.vSwitches(), "")
	}
	var t target
	for _, o := range e.facts.Others {
		t.rules = append(t.rules, rules.GroupPeer{Name: o.Name})
	}
	t.needs = slices.Concat(t.rules, own.needs)
	t.rules = append(t.rules, own.rules...)
	return t
}

func all[T any](list []T, is func(T) bool) bool {
	return !slices.ContainsFunc(list, func(v T) bool { return !is(v) })
}

// ownGroup resolves the group at hand, which cannot name itself: inner access
// lets its members in, and all else takes the CIDRs of all subnets.
func (e *expander) ownGroup(d rules.Direction) target {
	t := plain(e.facts.vSwitches(), "")
	if !e.innerAccess(d) {
		return t
	}
	t.rules, t.reason = nil, "granted by inner access"
	if inner := e.innerGroup(); inner.Name != "" {
		t.needs = []rules.Peer{inner}
	}
	return t
}

// innerGroup is the group by which those who wear the group at hand let each
// other in; without a name if it has none yet.
func (e *expander) innerGroup() rules.GroupPeer {
	return rules.GroupPeer{Name: cmp.Or(e.facts.InnerGroup, e.facts.Group)}
}

// innerAccess reports whether members of the group at hand let each other in
// before any rule. Only ingress knows it.
func (e *expander) innerAccess(d rules.Direction) bool {
	return d == rules.Ingress && e.facts.GroupType == rules.Basic && e.facts.InnerAccess
}

// nodes resolves the nodes to their subnets. Where all of the cluster wears one
// basic group with inner access the need is only that members let each other
// in; the rules still name the subnets, for the day when that changes.
func (e *expander) nodes(d rules.Direction) target {
	t := plain(e.facts.NodeSubnets, "")
	if inner := e.innerGroup(); e.innerAccess(d) && len(e.facts.Others) == 0 && inner.Name != "" {
		t.needs = []rules.Peer{inner}
	}
	return t
}

// podCIDRs resolves the pod CIDRs to those whose addresses appear on the wire.
func (e *expander) podCIDRs() target {
	f := e.facts
	if f.Mode == Terway {
		return target{reason: "Terway's pods have addresses of pod subnets"}
	}
	if e.encapsulation == NoEncapsulation {
		return plain(f.PodCIDRs, "the cluster has no pod CIDR")
	}
	reason := "pod addresses are wrapped in " + string(e.encapsulation) + " on the wire"
	if e.encapsulation != e.network.bareIPv6 {
		return target{reason: reason}
	}
	var bare []rules.CIDR
	for _, c := range f.PodCIDRs {
		if isIPv6(c) {
			bare = append(bare, c)
		}
	}
	return plain(bare, reason)
}

// resolveExposed resolves a peer that an exposure names: itself, unless it is
// the group at hand.
func (e *expander) resolveExposed(d rules.Direction, peer rules.Peer) target {
	if g, ok := peer.(rules.GroupPeer); ok && g.Name == e.facts.Group {
		return e.ownGroup(d)
	}
	return target{rules: []rules.Peer{peer}, needs: []rules.Peer{peer}}
}

// letsThrough reports whether a flow passes by the recommended rows alone, and
// is false outside the second pass. It errs on the side of one rule too many:
// a union of rules, or a group within a CIDR, does not count.
func (e *expander) letsThrough(d rules.Direction, p rules.Protocol, ports rules.PortRange, peer rules.Peer) bool {
	if !e.filling {
		return false
	}
	if d == rules.Egress && e.facts.GroupType == rules.Basic {
		return true // by default; the recommended rows drop nothing
	}
	if e.innerAccess(d) && peer == rules.Peer(e.innerGroup()) {
		return true
	}
	return slices.ContainsFunc(e.broad, func(r rules.Rule) bool {
		return (r.Protocol == rules.AllProtocols || r.Protocol == p) &&
			(r.Ports.IsZero() || r.Ports.First <= ports.First && ports.Last <= r.Ports.Last) &&
			within(peer, r.Peer)
	})
}

// within reports whether every address of a is provably one of b.
func within(a, b rules.Peer) bool {
	ca, ok := a.(rules.CIDR)
	if !ok {
		return a == b
	}
	cb, ok := b.(rules.CIDR)
	return ok && cb.Prefix.Bits() <= ca.Prefix.Bits() && cb.Prefix.Overlaps(ca.Prefix)
}

// FixRules returns the rules that meet a need of the facts' group: one, or one
// for each subnet where the need's peer is a group that no rule of this group
// may name. They are legal for the group's type; whether another rule drops
// the flow first is not looked at.
func FixRules(need rules.Need, f *Facts) []rules.Rule {
	var out []rules.Rule
	for _, peer := range fixPeers(need, f) {
		out = append(out, rules.Rule{
			Direction: need.Direction, Action: rules.Accept, Priority: 1,
			Protocol: need.Protocol, Ports: need.Ports, Peer: peer,
			Description: need.ID + " " + need.Component, Row: need.ID,
		})
	}
	return out
}

// ByAddress returns the needs that mean the same as one whose peer is another
// group of the cluster, told by the addresses of the subnets that all of the
// cluster lives in; nil if the peer is none.
func ByAddress(need rules.Need, f *Facts) []rules.Need {
	g, ok := need.Peer.(rules.GroupPeer)
	if !ok || !slices.ContainsFunc(f.Others, func(o OtherGroup) bool { return o.Name == g.Name }) {
		return nil
	}
	var out []rules.Need
	for _, peer := range f.subnetPeers(need.Protocol) {
		need.Peer = peer
		out = append(out, need)
	}
	return out
}

func fixPeers(need rules.Need, f *Facts) []rules.Peer {
	g, ok := need.Peer.(rules.GroupPeer)
	nameable := f.GroupType == rules.Basic && g.Name != f.Group && !f.isAdvanced(g.Name)
	if !ok || nameable {
		return []rules.Peer{need.Peer}
	}
	return f.subnetPeers(need.Protocol)
}

// subnetPeers returns the subnets that packets of a protocol go to and from.
func (f *Facts) subnetPeers(p rules.Protocol) []rules.Peer {
	var out []rules.Peer
	for _, c := range f.vSwitches() {
		if hasFamily(p, c) {
			out = append(out, c)
		}
	}
	return out
}

// hasFamily reports whether packets of p can go to and from c.
func hasFamily(p rules.Protocol, c rules.CIDR) bool {
	switch p {
	case rules.ICMP, rules.IPIP:
		return !isIPv6(c)
	case rules.ICMPv6:
		return isIPv6(c)
	}
	return true
}
