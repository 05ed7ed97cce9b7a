package rules

import (
	"net/netip"

	"ringfence.dev/ringfence/rules/flowset"
)

// A Missing is a need that a policy does not let through, or not wholly.
type Missing struct {
	Need Need
	// Example is one flow that the need asks for and the policy drops.
	Example Flow
	// Verdict says what drops Example.
	Verdict Verdict
	// Blockers are the drop rules that match some of the missing flows, in the
	// order tried, also those that others come before today. Empty if only the
	// default drops.
	Blockers []*MergedRule
	// OnlyUnknown is true if every missing flow comes from members of a group
	// whose addresses are unknown: the answer needs those addresses.
	OnlyUnknown bool
}

// A Set is a set of flows of one direction, bound to its workspace. The zero
// value is the empty set of ingress flows.
type Set struct {
	direction Direction
	diagram   flowset.Diagram
}

// in returns the set's diagram; that of the zero value in the arena of ws.
func (s Set) in(ws *Workspace) flowset.Diagram {
	if s.diagram == (flowset.Diagram{}) {
		return ws.arena.Empty()
	}
	return s.diagram
}

// IsEmpty reports whether no flow is in s.
func (s Set) IsEmpty() bool { return s.diagram == (flowset.Diagram{}) || s.diagram.IsEmpty() }

// NeedSet returns the flows of some needs in one direction.
func (ws *Workspace) NeedSet(d Direction, needs []Need, lists map[string]PrefixList) (Set, error) {
	var boxes []flowset.Box
	for i := range needs {
		if needs[i].Direction == d {
			boxes = append(boxes, ws.needBoxes(&needs[i], lists)...)
		}
	}
	set, err := ws.flows(boxes)
	return Set{d, set}, err
}

// RuleSet returns the flows that accept rules of one direction match, priorities
// and drops left aside: what a list of accepts lets through.
func (ws *Workspace) RuleSet(d Direction, list []Rule, lists map[string]PrefixList) (Set, error) {
	var needs []Need
	for _, r := range list {
		if r.Action == Accept {
			needs = append(needs, Need{Direction: r.Direction, Protocol: r.Protocol, Ports: r.Ports, Peer: r.Peer})
		}
	}
	return ws.NeedSet(d, needs, lists)
}

// Union returns the flows of either set. Both must be of one direction.
func (s Set) Union(other Set) Set {
	return Set{s.direction, s.diagram.Union(other.diagram)}
}

func (ws *Workspace) needBoxes(n *Need, lists map[string]PrefixList) []flowset.Box {
	r := Rule{Protocol: n.Protocol, Ports: n.Ports}
	var prefixes []netip.Prefix
	switch p := n.Peer.(type) {
	case CIDR:
		prefixes = []netip.Prefix{p.Prefix}
	case PrefixListPeer:
		for _, e := range lists[p.Name].Entries {
			prefixes = append(prefixes, e.Prefix)
		}
	case GroupPeer:
		return ws.memberBoxes(&r, p.Name)
	}
	return peerBoxes(&r, prefixes)
}

// anyRealPort is the range of source ports that packets have.
func anyRealPort() flowset.Range { return flowset.Range{First: 1, Last: flowset.MaxPort} }

// flows returns the flows of boxes that can occur.
func (ws *Workspace) flows(boxes []flowset.Box) (flowset.Diagram, error) {
	possible, err := ws.possibleFlows()
	if err != nil {
		return possible, err
	}
	set, err := ws.arena.SetOf(boxes)
	if err != nil {
		return set, err
	}
	return set.Intersect(possible), ws.arena.Err()
}

// possibleFlows is the set of flows that can occur: their source port is a
// port, and ICMP goes with IPv4, ICMPv6 with IPv6. It cuts from what is missing,
// in excess or changed the values that only rules can tell apart.
func (ws *Workspace) possibleFlows() (flowset.Diagram, error) {
	if *ws.possible == (flowset.Diagram{}) {
		var boxes []flowset.Box
		for _, space := range []flowset.Space{flowset.IPv4, flowset.IPv6, flowset.Symbol4, flowset.Symbol6} {
			boxes = append(boxes, possibleBoxes(space)...)
		}
		set, err := ws.arena.SetOf(boxes)
		if err != nil {
			return set, err
		}
		*ws.possible = set
	}
	return *ws.possible, nil
}

func possibleBoxes(space flowset.Space) []flowset.Box {
	other := uint32(ICMPv6)
	if memberSpace(space) == flowset.IPv6 {
		other = uint32(ICMP)
	}
	var boxes []flowset.Box
	for p := uint32(0); p <= flowset.MaxProtocol; p++ {
		if p == other {
			continue
		}
		b := flowset.All(space)
		b.Protocol = flowset.Range{First: p, Last: p}
		if flowset.HasPorts(p) {
			b.SourcePort = anyRealPort()
		}
		boxes = append(boxes, b)
	}
	return boxes
}

// Cover returns the needs that p does not let through, each with an example:
// ingress before egress, else in the order given. Prefix lists are looked up in
// lists. The error is [flowset.ErrBudget].
func (p *Policy) Cover(needs []Need, lists map[string]PrefixList) ([]Missing, error) {
	ws := p.space
	var missing []Missing
	for _, d := range []Direction{Ingress, Egress} {
		allowed := p.allowed(d)
		for i := range needs {
			if needs[i].Direction != d {
				continue
			}
			set, err := ws.NeedSet(d, needs[i:i+1], lists)
			if err != nil {
				return nil, err
			}
			lacks := set.diagram.Subtract(allowed)
			if lacks.IsEmpty() {
				continue
			}
			m, err := p.missing(needs[i], lacks)
			if err != nil {
				return nil, err
			}
			missing = append(missing, m)
		}
	}
	return missing, ws.arena.Err()
}

func (p *Policy) missing(n Need, lacks flowset.Diagram) (Missing, error) {
	s := &p.sides[n.Direction]
	point, _, _ := lacks.Example()
	m := Missing{
		Need:        n,
		Example:     p.space.flow(n.Direction, &point),
		OnlyUnknown: point.Space == flowset.Symbol4 || point.Space == flowset.Symbol6,
	}
	m.Verdict = s.verdicts[s.diagram.Lookup(&point)]
	list := p.Rules.Rules(n.Direction)
	for i := range list {
		if list[i].Action != Drop {
			continue
		}
		matched, err := p.matched(&list[i])
		if err != nil {
			return m, err
		}
		if matched.Meets(lacks) {
			m.Blockers = append(m.Blockers, &list[i])
		}
	}
	return m, nil
}

// matched returns the set of the flows that a rule matches and that can occur,
// other rules left aside.
func (p *Policy) matched(r *MergedRule) (flowset.Diagram, error) {
	if d, ok := p.matches[r]; ok {
		return d, nil
	}
	d, err := p.space.flows(p.space.ruleBoxes(r))
	p.matches[r] = d
	return d, err
}

// Within reports whether every flow that a rule of p matches is in s.
func (p *Policy) Within(r *MergedRule, s Set) (bool, error) {
	d, err := p.matched(r)
	return err == nil && d.SubsetOf(s.in(p.space)), err
}

// Meet reports whether some flow matches both rules of p.
func (p *Policy) Meet(a, b *MergedRule) (bool, error) {
	x, err := p.matched(a)
	if err != nil {
		return false, err
	}
	y, err := p.matched(b)
	return err == nil && x.Meets(y), err
}

// ruleBoxes returns the flows that a rule matches, other rules left aside.
func (ws *Workspace) ruleBoxes(r *MergedRule) []flowset.Box {
	if g, ok := r.Peer.(GroupPeer); ok {
		return ws.memberBoxes(&r.Rule, g.Name)
	}
	return peerBoxes(&r.Rule, r.Prefixes)
}

// memberBoxes returns the flows of r with the members of a group, known or not.
func (ws *Workspace) memberBoxes(r *Rule, group string) []flowset.Box {
	if ws.world.Members.Known(group) {
		return peerBoxes(r, ws.world.Members.Prefixes(group))
	}
	return ws.symbolBoxes(r, group)
}

// peerBoxes returns the flows of r with some peers.
func peerBoxes(r *Rule, prefixes []netip.Prefix) []flowset.Box {
	boxes := make([]flowset.Box, 0, len(prefixes))
	for _, p := range prefixes {
		if b, ok := r.box(flowset.SpaceOf(p.Addr())); ok {
			b.Peer = flowset.RangeOf(p)
			boxes = append(boxes, b)
		}
	}
	return boxes
}

// symbolBoxes returns the flows of r with the unknown members of a group.
func (ws *Workspace) symbolBoxes(r *Rule, group string) []flowset.Box {
	at := flowset.Addr{Lo: uint64(ws.symbols.of(group))}
	var boxes []flowset.Box
	for _, space := range []flowset.Space{flowset.IPv4, flowset.IPv6} {
		if b, ok := r.box(space); ok {
			b.Space += flowset.Symbol4
			b.Peer = flowset.AddrRange{First: at, Last: at}
			boxes = append(boxes, b)
		}
	}
	return boxes
}

// An Excess is what one cause lets through beyond a set of flows.
type Excess struct {
	Verdict Verdict
	// Example is one such flow.
	Example Flow
	// Needed is true if the same cause also lets through flows of the set.
	Needed bool
}

// Excess returns what p accepts in one direction outside the set, one entry a
// rule (or inner access, or the default), in the order tried. Exempt traffic is
// never excess. The error is [flowset.ErrBudget].
func (p *Policy) Excess(needed Set) ([]Excess, error) {
	s := &p.sides[needed.direction]
	possible, err := p.space.possibleFlows()
	if err != nil {
		return nil, err
	}
	// Leaf v becomes v+1, so that the default has a leaf that is not 0.
	accepting := s.diagram.Map(func(v flowset.Leaf) flowset.Leaf {
		if s.verdicts[v].Action == Accept && s.verdicts[v].Cause != ByExempt {
			return v + 1
		}
		return 0
	}).Intersect(possible)
	examples := accepting.Subtract(needed.in(p.space)).Examples()
	used := accepting.Intersect(needed.in(p.space)).Examples()
	var out []Excess
	for v := flowset.Leaf(len(s.verdicts)); v > 0; v-- { //nolint:gosec // far fewer than 2^31
		if point, ok := examples[v]; ok {
			_, needs := used[v]
			out = append(out, Excess{s.verdicts[v-1], p.space.flow(needed.direction, &point), needs})
		}
	}
	return out, p.space.arena.Err()
}

// Accepts returns the flows that p accepts in one direction.
func (p *Policy) Accepts(d Direction) Set { return Set{d, p.allowed(d)} }

// deciding returns, for every rule of a direction that decides some flow, one
// such flow.
func (p *Policy) deciding(d Direction) map[*MergedRule]flowset.Point {
	s := &p.sides[d]
	out := map[*MergedRule]flowset.Point{}
	for v, point := range s.diagram.Examples() {
		if r := s.verdicts[v].Rule; r != nil {
			out[r] = point
		}
	}
	return out
}
