package rules

import (
	"fmt"
	"net/netip"

	"ringfence.dev/ringfence/rules/flowset"
)

// A Workspace compiles rulesets and needs to diagrams of one arena, so that
// they can be compared. It is bound to one World, and not safe for concurrent
// use.
type Workspace struct {
	world   *World
	budget  int
	arena   *flowset.Arena
	symbols *symbols
	// possible remembers the flows that can occur; shared, like the arena.
	possible *flowset.Diagram
}

// symbols number the groups whose members are unknown, in order of appearance.
type symbols struct {
	number map[string]uint32
	names  []string
}

// NewWorkspace returns a workspace whose diagrams may take up to budget edges
// together, intermediate results included; 0 means no bound.
func NewWorkspace(w *World, budget int) *Workspace {
	return &Workspace{world: w, budget: budget, arena: flowset.NewArena(budget), symbols: &symbols{number: map[string]uint32{}}, possible: new(flowset.Diagram)}
}

// In returns a workspace over the same arena that is bound to another world:
// what the two compile can be compared.
func (ws *Workspace) In(w *World) *Workspace {
	other := *ws
	other.world = w
	return &other
}

// A Policy is a compiled ruleset: for each direction the diagram of who
// decides what.
type Policy struct {
	Rules *Ruleset
	space *Workspace
	sides [2]side // by Direction
	// matches remembers the sets of single rules.
	matches map[*MergedRule]flowset.Diagram
}

// A side is one direction of a policy. Leaf 0 is the default.
type side struct {
	diagram  flowset.Diagram
	verdicts []Verdict // by leaf
}

// Compile turns a ruleset into diagrams.
//
// An error that wraps [flowset.ErrBudget] names the rule that went over the
// workspace's budget; the workspace must then be dropped.
func (ws *Workspace) Compile(rs *Ruleset) (*Policy, error) {
	p := &Policy{Rules: rs, space: ws, matches: map[*MergedRule]flowset.Diagram{}}
	for _, d := range []Direction{Ingress, Egress} {
		c := compiler{ws: ws, rs: rs, direction: d}
		s, err := c.side()
		if err != nil {
			return nil, err
		}
		p.sides[d] = s
	}
	return p, nil
}

// Verdict decides one flow by look-up. It agrees with [Evaluate] and allocates nothing.
func (p *Policy) Verdict(f *Flow) Verdict {
	s := &p.sides[f.Direction]
	point := p.space.point(f)
	return s.verdicts[s.diagram.Lookup(&point)]
}

// Size returns what the diagrams of a direction take.
func (p *Policy) Size(d Direction) flowset.Size { return p.sides[d].diagram.Size() }

// allowed is the set of flows that a direction accepts.
func (p *Policy) allowed(d Direction) flowset.Diagram {
	s := &p.sides[d]
	return s.diagram.Map(func(v flowset.Leaf) flowset.Leaf { return flowset.Leaf(s.verdicts[v].Action) })
}

// otherGroup is the symbol of every group that nothing in the workspace names.
const otherGroup = 1<<32 - 1

// point returns f as the diagrams see it.
func (ws *Workspace) point(f *Flow) flowset.Point {
	p := flowset.Point{
		Space:      flowset.SpaceOf(f.Local),
		Protocol:   uint32(f.Protocol), //nolint:gosec // 0 to 255 in a flow
		Member:     flowset.AddrFrom(f.Local),
		SourcePort: flowset.UnknownSourcePort,
	}
	switch {
	case f.Protocol.HasPorts():
		p.Port = uint32(f.Port)
		if f.HasSourcePort {
			p.SourcePort = uint32(f.SourcePort)
		}
	case f.Protocol == ICMP || f.Protocol == ICMPv6:
		p.Port = uint32(f.ICMPType)
	}
	if f.RemoteGroup == "" {
		p.Peer = flowset.AddrFrom(f.Remote)
		return p
	}
	p.Space += flowset.Symbol4
	p.Peer = flowset.Addr{Lo: otherGroup}
	if symbol, ok := ws.symbols.number[f.RemoteGroup]; ok {
		p.Peer.Lo = uint64(symbol)
	}
	return p
}

// flow is the inverse of point.
func (ws *Workspace) flow(d Direction, p *flowset.Point) Flow {
	f := Flow{Direction: d, Protocol: Protocol(p.Protocol)} //nolint:gosec // 0 to 255 in a point
	f.Local = addrOf(p.Member, p.Space)
	if p.Space == flowset.IPv4 || p.Space == flowset.IPv6 {
		f.Remote = addrOf(p.Peer, p.Space)
	} else {
		f.RemoteGroup = ws.symbol(p.Peer)
	}
	switch {
	case f.Protocol.HasPorts():
		f.Port = uint16(p.Port)             //nolint:gosec // at most 65535
		f.SourcePort = uint16(p.SourcePort) //nolint:gosec // unknown is told apart below
		f.HasSourcePort = p.SourcePort != flowset.UnknownSourcePort
		if !f.HasSourcePort {
			f.SourcePort = 0
		}
	case f.Protocol == ICMP || f.Protocol == ICMPv6:
		f.ICMPType = uint8(p.Port) //nolint:gosec // at most 255
	}
	return f
}

// addrOf returns a as an address of the family that members of a space have.
func addrOf(a flowset.Addr, s flowset.Space) netip.Addr {
	if memberSpace(s) == flowset.IPv6 {
		return a.In6()
	}
	return a.In4()
}

func (ws *Workspace) symbol(a flowset.Addr) string {
	if a.Lo < uint64(len(ws.symbols.names)) {
		return ws.symbols.names[a.Lo]
	}
	return "another group"
}

// of numbers a group with unknown members.
func (s *symbols) of(group string) uint32 {
	n, ok := s.number[group]
	if !ok {
		n = uint32(len(s.names)) //nolint:gosec // far fewer than 2^32 groups
		s.number[group] = n
		s.names = append(s.names, group)
	}
	return n
}

// A compiler makes one side of a policy. A rule's leaf is its strength: the
// default is 0, the last rule 1, the first rule len(rules); inner access is
// above all rules, and exempt entries above that.
type compiler struct {
	ws        *Workspace
	rs        *Ruleset
	direction Direction
	verdicts  []Verdict
	// base are the boxes that hold whatever groups the peer is in.
	base []flowset.Weighted
	// named are the parts that hold for members of a group only.
	named []groupBoxes
}

// groupBoxes are the boxes that apply to the members of one group, their
// peers being the whole space.
type groupBoxes struct {
	group string
	boxes []flowset.Weighted
}

func (c *compiler) side() (side, error) {
	c.collect()
	d, err := c.diagram()
	if err != nil {
		return side{}, c.overBudget(err)
	}
	return side{d, c.verdicts}, nil
}

// collect turns rules, inner access and exempt entries into boxes.
func (c *compiler) collect() {
	list := c.rs.Rules(c.direction)
	c.verdicts = append(c.verdicts, Verdict{Action: c.rs.Default(c.direction)})
	for i := len(list) - 1; i >= 0; i-- {
		c.rule(&list[i])
	}
	if c.direction == Ingress && len(c.rs.InnerAccess) > 0 {
		leaf := c.verdict(Verdict{Action: Accept, Cause: ByInnerAccess})
		for _, g := range c.rs.InnerAccess {
			c.addNamed(g, everything(leaf))
		}
	}
	for i := len(c.ws.world.Exempt) - 1; i >= 0; i-- {
		e := &c.ws.world.Exempt[i]
		leaf := c.verdict(Verdict{Action: Accept, Cause: ByExempt, Exempt: e})
		c.base = append(c.base, exemptBoxes(e, leaf)...)
	}
}

// verdict numbers the next stronger verdict.
func (c *compiler) verdict(v Verdict) flowset.Leaf {
	c.verdicts = append(c.verdicts, v)
	return flowset.Leaf(len(c.verdicts) - 1) //nolint:gosec // far fewer than 2^31 rules
}

func (c *compiler) rule(r *MergedRule) {
	leaf := c.verdict(Verdict{Action: r.Action, Cause: ByRule, Rule: r})
	if g, ok := r.Peer.(GroupPeer); ok {
		var boxes []flowset.Weighted
		for _, space := range []flowset.Space{flowset.IPv4, flowset.IPv6} {
			if box, ok := r.box(space); ok {
				boxes = append(boxes, flowset.Weighted{Box: box, Leaf: leaf})
			}
		}
		c.addNamed(g.Name, boxes)
		return
	}
	for _, p := range r.Prefixes {
		if box, ok := r.box(flowset.SpaceOf(p.Addr())); ok {
			box.Peer = flowset.RangeOf(p)
			c.base = append(c.base, flowset.Weighted{Box: box, Leaf: leaf})
		}
	}
}

func (c *compiler) addNamed(group string, boxes []flowset.Weighted) {
	for i := range c.named {
		if c.named[i].group == group {
			c.named[i].boxes = append(c.named[i].boxes, boxes...)
			return
		}
	}
	c.named = append(c.named, groupBoxes{group, boxes})
}

// box returns the flows of r from every peer of a space; false if none, since
// the member that the rule is about is of the other family.
func (r *Rule) box(space flowset.Space) (flowset.Box, bool) {
	b := flowset.All(space)
	if r.Protocol != AllProtocols {
		b.Protocol = flowset.Range{First: uint32(r.Protocol), Last: uint32(r.Protocol)} //nolint:gosec // not negative here
	}
	if !r.Ports.IsZero() {
		b.Port = r.Ports.wide()
	}
	if !r.SourcePorts.IsZero() {
		b.SourcePort = r.SourcePorts.wide()
	}
	if r.Member.IsValid() {
		if flowset.SpaceOf(r.Member.Addr()) != space {
			return b, false
		}
		b.Member = flowset.RangeOf(r.Member)
	}
	return b, true
}

func (r PortRange) wide() flowset.Range {
	return flowset.Range{First: uint32(r.First), Last: uint32(r.Last)}
}

func everything(leaf flowset.Leaf) []flowset.Weighted {
	return []flowset.Weighted{{Box: flowset.All(flowset.IPv4), Leaf: leaf}, {Box: flowset.All(flowset.IPv6), Leaf: leaf}}
}

func exemptBoxes(e *Exempt, leaf flowset.Leaf) []flowset.Weighted {
	r := Rule{Protocol: e.Protocol, Ports: e.Ports}
	var out []flowset.Weighted
	for _, space := range []flowset.Space{flowset.IPv4, flowset.IPv6, flowset.Symbol4, flowset.Symbol6} {
		b, _ := r.box(space)
		if e.hasTypes() {
			b.Port = flowset.Range{First: uint32(e.FirstType), Last: uint32(e.LastType)}
		}
		if p, ok := e.Peer.(CIDR); ok {
			if flowset.SpaceOf(p.Prefix.Addr()) != space {
				continue
			}
			b.Peer = flowset.RangeOf(p.Prefix)
		}
		out = append(out, flowset.Weighted{Box: b, Leaf: leaf})
	}
	return out
}

// overBudget finds the rule with which the budget was first exceeded, by
// halving: each try compiles the first rules in an arena of its own.
func (c *compiler) overBudget(err error) error {
	list := c.rs.Rules(c.direction)
	low, high := 0, len(list) // list[:low] fits, list[:high] does not
	for high-low > 1 {
		mid := (low + high) / 2
		part := *c.rs
		part.Ingress, part.Egress = list[:mid], list[:mid]
		try := compiler{ws: NewWorkspace(c.ws.world, c.ws.budget), rs: &part, direction: c.direction}
		try.collect()
		if _, err := try.diagram(); err != nil {
			high = mid
		} else {
			low = mid
		}
	}
	if high == 0 {
		return fmt.Errorf("%s of %v: %w (%d)", c.direction, c.rs.Groups, err, c.ws.budget)
	}
	return fmt.Errorf("%w (%d): rule %s, number %d of %d in the order tried, is the first that does not fit",
		err, c.ws.budget, &list[high-1], high, len(list))
}
