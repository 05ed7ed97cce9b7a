package flowset

import "iter"

// runs appends the runs of an address field, whose nodes begin at level and
// take digits levels, to list. Neighbours have different children.
func (a *Arena) runs(r ref, level uint8, digits int) []run {
	return a.appendRuns(nil, r, Addr{}, addressLevels{level, digits})
}

// addressLevels are the levels of one address field that are still to be read.
type addressLevels struct {
	level  uint8
	digits int
}

func (a *Arena) appendRuns(list []run, r ref, base Addr, at addressLevels) []run {
	if a.level(r) >= at.level+uint8(at.digits) { //nolint:gosec // 1 to 4 digits
		if n := len(list); n > 0 && list[n-1].kid == r {
			return list
		}
		return append(list, run{base, r})
	}
	// r belongs to at.level: to skip a level of an address, all 2^32 values of
	// that digit would have to begin runs of their own.
	digit := 4 - at.digits
	below := addressLevels{at.level + 1, at.digits - 1}
	starts, kids := a.edges(r)
	for i, kid := range kids {
		last := uint32(1<<32 - 1)
		if i+1 < len(starts) {
			last = starts[i+1] - 1
		}
		if below.digits > 0 && a.level(kid) < below.level+uint8(below.digits) { //nolint:gosec // as above
			list = a.everyDigit(list, Range{starts[i], last}, kid, base, at)
			continue
		}
		list = a.appendRuns(list, kid, base.withDigit(digit, starts[i]), below)
	}
	return list
}

// everyDigit reads the child once for each value of the digit: the runs below
// begin anew in each. There are never more values than runs went into the
// diagram, since neighbouring values with equal children come from equal runs.
func (a *Arena) everyDigit(list []run, values Range, kid ref, base Addr, at addressLevels) []run {
	below := addressLevels{at.level + 1, at.digits - 1}
	for v := values.First; ; v++ {
		list = a.appendRuns(list, kid, base.withDigit(4-at.digits, v), below)
		if v == values.Last {
			return list
		}
	}
}

// fieldRuns returns the runs of any field.
func (a *Arena) fieldRuns(r ref, f int, s Space) []run {
	return a.runs(r, levelOf(f, s), digitsOf(f, s))
}

// Boxes yields the flows whose leaf is not 0 as disjoint boxes with their
// leaves, in the order of their fields. Equal diagrams yield equal boxes.
func (d Diagram) Boxes() iter.Seq2[Box, Leaf] {
	return func(yield func(Box, Leaf) bool) {
		for s, r := range d.roots {
			w := boxWalker{d.arena, Space(s), yield}
			if !w.walk(r, 0, All(w.space)) {
				return
			}
		}
	}
}

type boxWalker struct {
	arena *Arena
	space Space
	yield func(Box, Leaf) bool
}

// walk yields the boxes of r from field f on and reports whether to go on.
func (w *boxWalker) walk(r ref, f int, box Box) bool {
	if r == leaf(0) {
		return true
	}
	if f == fields {
		return w.yield(box, r.value())
	}
	_, all := span(&box, f)
	list := w.arena.fieldRuns(r, f, w.space)
	for i, at := range list {
		last := all.Last
		if i+1 < len(list) {
			last = list[i+1].start.Prev()
		}
		if !w.walk(at.kid, f+1, box.with(f, AddrRange{at.start, last})) {
			return false
		}
	}
	return true
}

// with returns b with field f set, ICMP types cut to the 256 that exist.
func (b Box) with(f int, r AddrRange) Box {
	narrow := Range{uint32(r.First.Lo), uint32(r.Last.Lo)} //nolint:gosec // only used for narrow fields
	switch f {
	case 0:
		b.Peer = r
	case 1:
		b.Protocol = narrow
	case 2:
		if b.Protocol.First == b.Protocol.Last && HasTypes(b.Protocol.First) && narrow != AnyPort() {
			narrow.Last = min(narrow.Last, 255)
		}
		b.Port = narrow
	case 3:
		b.Member = r
	default:
		b.SourcePort = narrow
	}
	return b
}

// Example returns the first flow, in the order of the fields, whose leaf is
// not 0, and that leaf; false if there is none.
func (d Diagram) Example() (Point, Leaf, bool) {
	for b, v := range d.Boxes() {
		return b.First(), v, true
	}
	return Point{}, 0, false
}

// First returns the flow with the least value in every field of b.
func (b Box) First() Point {
	p := Point{b.Space, b.Peer.First, b.Protocol.First, b.Port.First, b.Member.First, b.SourcePort.First}
	if b.SourcePort == AnySourcePort() {
		p.SourcePort = UnknownSourcePort
	}
	return p
}

// A Size is what a diagram takes, shared parts counted once.
type Size struct {
	Nodes, Edges int
	// Children is the number of distinct diagrams that a peer can have: what a
	// compiler makes one class of each.
	Children int
}

// Size counts d's nodes and edges.
func (d Diagram) Size() Size {
	var size Size
	seen := map[ref]bool{}
	var visit func(r ref)
	visit = func(r ref) {
		if seen[r] {
			return
		}
		seen[r] = true
		if d.arena.level(r) >= levelProtocol {
			size.Children++
		}
		if r.isLeaf() {
			return
		}
		_, kids := d.arena.edges(r)
		size.Nodes++
		size.Edges += len(kids)
		if d.arena.level(r) < levelProtocol {
			for _, kid := range kids {
				visit(kid)
			}
		}
	}
	for _, r := range d.roots {
		visit(r)
	}
	size.countBelow(d.arena, seen)
	return size
}

// countBelow adds the nodes under the children already seen.
func (s *Size) countBelow(a *Arena, seen map[ref]bool) {
	var todo []ref
	for r := range seen {
		if !r.isLeaf() && a.level(r) >= levelProtocol {
			todo = append(todo, r)
		}
	}
	for len(todo) > 0 {
		_, kids := a.edges(todo[len(todo)-1])
		todo = todo[:len(todo)-1]
		for _, kid := range kids {
			if kid.isLeaf() || seen[kid] {
				continue
			}
			seen[kid] = true
			_, grandkids := a.edges(kid)
			s.Nodes++
			s.Edges += len(grandkids)
			todo = append(todo, kid)
		}
	}
}

// Import returns d as a diagram of arena a: to compare diagrams that were
// built apart, or to save one before its arena is dropped.
func (a *Arena) Import(d Diagram) Diagram {
	c := copier{from: d.arena, to: a, memo: map[ref]ref{}}
	out := a.Empty()
	for s, r := range d.roots {
		out.roots[s] = c.copy(r)
	}
	return out
}

type copier struct {
	from, to *Arena
	memo     map[ref]ref
}

func (c *copier) copy(r ref) ref {
	if r.isLeaf() {
		return r
	}
	if done, ok := c.memo[r]; ok {
		return done
	}
	starts, kids := c.from.edges(r)
	base := len(c.to.scratchKids)
	for i, kid := range kids {
		c.to.push(base, starts[i], c.copy(kid))
	}
	out := c.to.take(base, c.from.level(r))
	c.memo[r] = out
	return out
}

// Examples returns, for every leaf but 0 that some flow has, the first such
// flow in the order of the fields.
func (d Diagram) Examples() map[Leaf]Point {
	out := make(map[Leaf]Point)
	for s, r := range d.roots {
		space := Space(s)
		e := explorer{arena: d.arena, seen: map[ref]bool{}, out: out}
		e.visit(r, Point{Space: space, SourcePort: UnknownSourcePort})
	}
	return out
}

type explorer struct {
	arena *Arena
	seen  map[ref]bool
	out   map[Leaf]Point
}

// visit walks each node once: what a second visit would find, the first one did.
func (e *explorer) visit(r ref, p Point) {
	if e.seen[r] {
		return
	}
	e.seen[r] = true
	if r.isLeaf() {
		if v := r.value(); v != 0 {
			if _, ok := e.out[v]; !ok {
				e.out[v] = p
			}
		}
		return
	}
	level := e.arena.nodes[r].level
	starts, kids := e.arena.edges(r)
	for i, kid := range kids {
		e.visit(kid, p.withDigit(level, starts[i]))
	}
}

// withDigit returns p with its value at a level, zero so far, set to v.
func (p *Point) withDigit(level uint8, v uint32) Point {
	out := *p
	switch {
	case level < levelProtocol:
		out.Peer = p.Peer.withDigit(int(level)-levelPeer, v)
	case level == levelProtocol:
		out.Protocol = v
	case level == levelPort:
		out.Port = v
	case level < levelSourcePort:
		out.Member = p.Member.withDigit(int(level)-levelMember, v)
	default:
		out.SourcePort = v
	}
	return out
}
