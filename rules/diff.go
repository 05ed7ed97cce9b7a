package rules

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"strconv"

	"ringfence.dev/ringfence/rules/flowset"
)

// A Change is what becomes possible and what stops between two policies, for
// flows that can occur.
type Change struct {
	Opens, Closes [2]Set // by Direction
}

// Diff compares two policies of one workspace, or of two over the same arena.
// The error is [flowset.ErrBudget].
func Diff(old, updated *Policy) (Change, error) {
	var c Change
	possible, err := old.space.possibleFlows()
	if err != nil {
		return c, err
	}
	for _, d := range []Direction{Ingress, Egress} {
		before, after := old.allowed(d).Intersect(possible), updated.allowed(d).Intersect(possible)
		c.Opens[d] = Set{d, after.Subtract(before)}
		c.Closes[d] = Set{d, before.Subtract(after)}
	}
	return c, old.space.arena.Err()
}

// IsEmpty reports whether both policies accept the same flows.
func (c *Change) IsEmpty() bool {
	return c.Opens[Ingress].IsEmpty() && c.Opens[Egress].IsEmpty() && c.Closes[Ingress].IsEmpty() && c.Closes[Egress].IsEmpty()
}

// Subtract returns the flows of s that are not in other. Both must be of one
// direction.
func (s Set) Subtract(other Set) Set {
	return Set{s.direction, s.diagram.Subtract(other.diagram)}
}

// Contains reports whether a flow is in s, which is of this workspace.
func (ws *Workspace) Contains(s Set, f *Flow) bool {
	point := ws.point(f)
	return f.Direction == s.direction && s.in(ws).Lookup(&point) != 0
}

// Meet reports whether some flow is in both sets, which must be of one
// direction.
func (s Set) Meet(other Set) bool {
	return !s.IsEmpty() && !other.IsEmpty() && s.diagram.Meets(other.diagram)
}

// Intersect returns the flows of both sets, which must be of one direction.
func (s Set) Intersect(other Set) Set {
	return Set{s.direction, s.diagram.Intersect(other.diagram)}
}

// Meets reports whether some flow of s is one of a need's, and returns one.
func (ws *Workspace) Meets(s Set, n *Need, lists map[string]PrefixList) (Flow, bool, error) {
	if n.Direction != s.direction {
		return Flow{}, false, nil
	}
	need, err := ws.NeedSet(n.Direction, []Need{*n}, lists)
	if err != nil {
		return Flow{}, false, err
	}
	point, _, ok := need.diagram.Intersect(s.diagram).Example()
	return ws.flow(s.direction, &point), ok, nil
}

// A Region is a part of a set in the words of rules: some peers, protocols and ports.
type Region struct {
	Direction Direction
	// Peers are CIDRs, or names of groups whose members are unknown.
	Peers []string
	// Protocols is a name, ALL, or a range of numbers such as 2-5.
	Protocols string
	// Ports is FIRST/LAST, or -1/-1 where there is nothing to say. For ICMP
	// it is a range of types, if not all.
	Ports string
	// Member and SourcePorts are empty unless the region is restricted by them.
	Member, SourcePorts string
	// Example is one flow of the region.
	Example Flow
}

// Regions describes a set: peers with the same flows are put together. The
// order is that of protocols and ports.
func (ws *Workspace) Regions(s Set) []Region {
	type shape struct {
		protocol, port, source flowset.Range
		member                 flowset.AddrRange
		space                  flowset.Space // of the member's family
	}
	type group struct {
		shape   shape
		example flowset.Point
		boxes   []flowset.Box
	}
	index := map[shape]int{}
	var groups []group
	for b, point := range ws.boxes(s.diagram) {
		key := shape{b.Protocol, b.Port, b.SourcePort, b.Member, memberSpace(b.Space)}
		i, ok := index[key]
		if !ok {
			i = len(groups)
			index[key] = i
			groups = append(groups, group{shape: key, example: point})
		}
		groups[i].boxes = append(groups[i].boxes, b)
	}
	slices.SortStableFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.shape.protocol.First, b.shape.protocol.First), cmp.Compare(a.shape.port.First, b.shape.port.First))
	})
	regions := make([]Region, 0, len(groups))
	for i := range groups {
		regions = append(regions, ws.region(ws.flow(s.direction, &groups[i].example), groups[i].boxes))
	}
	return regions
}

// boxes yields the boxes of a set, as wide as flows that cannot occur allow
// ("all protocols" is one box then, instead of one for each kind of packet),
// each with a flow of it that can.
func (ws *Workspace) boxes(set flowset.Diagram) iter.Seq2[flowset.Box, flowset.Point] {
	return func(yield func(flowset.Box, flowset.Point) bool) {
		possible, err := ws.possibleFlows()
		if err != nil {
			return // the arena is full, and nothing in it is true
		}
		for b := range set.Union(possible.Complement()).Boxes() {
			box, err := ws.arena.SetOf([]flowset.Box{b})
			if err != nil {
				return
			}
			if point, _, ok := set.Intersect(box).Example(); ok && !yield(b, point) {
				return
			}
		}
	}
}

func (ws *Workspace) region(example Flow, boxes []flowset.Box) Region {
	first := boxes[0]
	r := Region{Direction: example.Direction, Protocols: protocols(first.Protocol), Ports: portsOf(&first), Example: example}
	all := flowset.All(first.Space)
	if first.Member != all.Member {
		r.Member = rangeText(first.Member, memberSpace(first.Space))
	}
	if first.SourcePort != all.SourcePort {
		r.SourcePorts = rangeOfPorts(flowset.Range{First: max(first.SourcePort.First, 1), Last: first.SourcePort.Last})
	}
	for _, b := range touching(boxes) {
		r.Peers = append(r.Peers, ws.peers(&b)...)
	}
	r.Peers = slices.CompactFunc(r.Peers, func(a, b string) bool { return a == anyOtherGroup && b == a })
	return r
}

// memberSpace returns the space of addresses of the family that members of a
// space have.
func memberSpace(s flowset.Space) flowset.Space {
	if s == flowset.IPv6 || s == flowset.Symbol6 {
		return flowset.IPv6
	}
	return flowset.IPv4
}

// touching joins boxes, which come in the order of their peers, whose peers
// touch: what tells them apart lies in flows outside the region.
func touching(boxes []flowset.Box) []flowset.Box {
	out := boxes[:1:1]
	for _, b := range boxes[1:] {
		last := &out[len(out)-1]
		if b.Space == last.Space && last.Peer.Last.Next() == b.Peer.First {
			last.Peer.Last = b.Peer.Last
			continue
		}
		out = append(out, b)
	}
	return out
}

// anyOtherGroup stands for all groups that nothing names, whose numbers may lie
// on both sides of one that something does.
const anyOtherGroup = "any other group"

func (ws *Workspace) peers(b *flowset.Box) []string {
	if b.Space == flowset.Symbol4 || b.Space == flowset.Symbol6 {
		var names []string
		for n := b.Peer.First; n.Compare(b.Peer.Last) <= 0 && n.Lo < uint64(len(ws.symbols.names)); n = n.Next() {
			names = append(names, ws.symbol(n))
		}
		if len(names) == 0 {
			return []string{anyOtherGroup}
		}
		return names
	}
	var out []string
	for _, p := range prefixesOf(b.Peer, b.Space) {
		out = append(out, p.String())
	}
	return out
}

// prefixesOf splits a range of addresses into the fewest CIDRs.
func prefixesOf(r flowset.AddrRange, s flowset.Space) []netip.Prefix {
	var out []netip.Prefix
	width := 32
	if s == flowset.IPv6 {
		width = 128
	}
	for at := r.First; ; {
		bits := width
		for bits > 0 {
			wider := netip.PrefixFrom(addrOf(at, s), bits-1)
			span := flowset.RangeOf(wider)
			if span.First != at || span.Last.Compare(r.Last) > 0 {
				break
			}
			bits--
		}
		p := netip.PrefixFrom(addrOf(at, s), bits)
		out = append(out, p)
		last := flowset.RangeOf(p).Last
		if last == r.Last {
			return out
		}
		at = last.Next()
	}
}

func rangeText(r flowset.AddrRange, s flowset.Space) string {
	if list := prefixesOf(r, s); len(list) == 1 {
		return list[0].String()
	}
	return addrOf(r.First, s).String() + "-" + addrOf(r.Last, s).String()
}

func protocols(r flowset.Range) string {
	switch {
	case r == flowset.AnyProtocol():
		return AllProtocols.String()
	case r.First == r.Last:
		return Protocol(r.First).String() //nolint:gosec // at most 255
	}
	return strconv.Itoa(int(r.First)) + "-" + strconv.Itoa(int(r.Last))
}

func portsOf(b *flowset.Box) string {
	if b.Protocol.First != b.Protocol.Last || !flowset.HasPorts(b.Protocol.First) && b.Port == flowset.AnyPort() {
		return PortRange{}.String()
	}
	return rangeOfPorts(b.Port)
}

func rangeOfPorts(r flowset.Range) string {
	return strconv.Itoa(int(r.First)) + "/" + strconv.Itoa(int(min(r.Last, flowset.MaxPort)))
}
