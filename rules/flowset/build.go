package flowset

import (
	"fmt"
	"slices"
)

// A Weighted is a box with the leaf of its flows.
type Weighted struct {
	Box  Box
	Leaf Leaf
}

// Build returns the diagram in which every flow has the greatest leaf of the
// boxes that hold it, or 0. It costs about n log n for boxes whose addresses
// are disjoint or nested, and what the result's own size forces for others.
//
// A box that does not pass [Box.Validate] is an error, and so is a leaf above
// MaxLeaf. [ErrBudget] means that the arena is full.
func (a *Arena) Build(boxes []Weighted) (Diagram, error) {
	b := builder{arena: a, boxes: boxes, tails: make([]ref, len(boxes)*fields)}
	var bySpace [spaces][]int32
	for i := range boxes {
		if err := boxes[i].Box.Validate(); err != nil {
			return Diagram{}, fmt.Errorf("box %d: %w", i, err)
		}
		if boxes[i].Leaf > MaxLeaf {
			return Diagram{}, fmt.Errorf("box %d: leaf %d is above %d", i, boxes[i].Leaf, MaxLeaf)
		}
		s := boxes[i].Box.Space
		bySpace[s] = append(bySpace[s], int32(i))
	}
	d := a.Empty()
	for s := range d.roots {
		d.roots[s] = b.field(0, bySpace[s])
	}
	return d, a.Err()
}

// SetOf returns the set of the flows that any of the boxes holds. Errors are
// those of [Arena.Build].
func (a *Arena) SetOf(boxes []Box) (Diagram, error) {
	weighted := make([]Weighted, len(boxes))
	for i := range boxes {
		weighted[i] = Weighted{boxes[i], 1}
	}
	return a.Build(weighted)
}

// fields is how many fields a flow has; an address is one field here, whatever
// number of levels its nodes take.
const fields = 5

// span returns box b's range of field f as addresses, and the field's whole range.
func span(b *Box, f int) (r, all AddrRange) {
	switch f {
	case 0:
		return b.Peer, b.Space.allPeers()
	case 1:
		return wide(b.Protocol), wide(AnyProtocol())
	case 2:
		return wide(b.normalPort()), wide(AnyPort())
	case 3:
		return b.Member, b.Space.allMembers()
	}
	return wide(b.SourcePort), wide(AnySourcePort())
}

func wide(r Range) AddrRange {
	return AddrRange{Addr{Lo: uint64(r.First)}, Addr{Lo: uint64(r.Last)}}
}

// A builder turns boxes into one diagram, field by field. Its lists are
// stacks that nested fields share, so that small fields allocate nothing.
type builder struct {
	arena *Arena
	boxes []Weighted
	// tails remembers, per box and field, the diagram of that box alone from
	// the field on; 0 is unset. (A ref of 0 is a node, and node 0 is then built
	// again: harmless.)
	tails   []ref
	ids     []int32
	spans   []indexSpan
	borders []Addr
	runs    []run
}

// A run is a range of addresses with one child; it ends where the next begins.
type run struct {
	start Addr
	kid   ref
}

// field builds the diagram of some boxes of one space from field f on. It may
// reorder items.
func (b *builder) field(f int, items []int32) ref {
	switch {
	case len(items) == 0:
		return leaf(0)
	case len(items) == 1:
		return b.single(f, items[0])
	case f == fields:
		best := Leaf(0)
		for _, i := range items {
			best = max(best, b.boxes[i].Leaf)
		}
		return leaf(best)
	}
	return b.split(f, items)
}

// single builds the diagram of one box from field f on.
func (b *builder) single(f int, item int32) ref {
	if f == fields {
		return leaf(b.boxes[item].Leaf)
	}
	if known := b.tails[int(item)*fields+f]; known != 0 {
		return known
	}
	box := &b.boxes[item].Box
	kid := b.single(f+1, item)
	r, all := span(box, f)
	if r != all && kid != leaf(0) {
		list := make([]run, 0, 3)
		if r.First != (Addr{}) {
			list = append(list, run{Addr{}, leaf(0)})
		}
		list = append(list, run{r.First, kid})
		if r.Last != all.Last {
			list = append(list, run{r.Last.Next(), leaf(0)})
		}
		kid = b.arena.fromRuns(levelOf(f, box.Space), digitsOf(f, box.Space), list)
	}
	b.tails[int(item)*fields+f] = kid
	return kid
}

// split cuts field f at every border of the items and builds the node.
func (b *builder) split(f int, items []int32) ref {
	space := b.boxes[items[0]].Box.Space
	base := len(b.borders)
	b.pushBorders(f, items)
	defer func() { b.borders = b.borders[:base] }()
	if len(b.borders) == base+1 { // every item has the full range
		return b.field(f+1, items)
	}
	s := splitter{b: b, field: f, borders: b.borders[base:], firstRun: len(b.runs)}
	firstSpan := len(b.spans)
	for _, i := range items {
		b.spans = append(b.spans, s.indexSpan(i))
	}
	s.cut(0, int32(len(s.borders)), b.spans[firstSpan:], leaf(0)) //nolint:gosec // twice as many as boxes at most
	b.spans = b.spans[:firstSpan]
	r := b.arena.fromRuns(levelOf(f, space), digitsOf(f, space), b.runs[s.firstRun:])
	b.runs = b.runs[:s.firstRun]
	return r
}

// pushBorders puts the first values of all ranges that the items cut field f
// into on the stack of borders, sorted; the first is 0.
func (b *builder) pushBorders(f int, items []int32) {
	base := len(b.borders)
	b.borders = append(b.borders, Addr{})
	for _, i := range items {
		r, all := span(&b.boxes[i].Box, f)
		if r.First != (Addr{}) {
			b.borders = append(b.borders, r.First)
		}
		if r.Last != all.Last {
			b.borders = append(b.borders, r.Last.Next())
		}
	}
	slices.SortFunc(b.borders[base:], Addr.Compare)
	b.borders = b.borders[:base+len(slices.Compact(b.borders[base:]))]
}

// An indexSpan is a box's range of the field being cut, as indexes of borders:
// from low up to and without high.
type indexSpan struct{ item, low, high int32 }

// A splitter cuts one field into runs, which it leaves on the builder's stack.
type splitter struct {
	b        *builder
	field    int
	borders  []Addr
	firstRun int
}

func (s *splitter) indexSpan(item int32) indexSpan {
	r, all := span(&s.b.boxes[item].Box, s.field)
	low, _ := slices.BinarySearchFunc(s.borders, r.First, Addr.Compare)
	high := len(s.borders)
	if r.Last != all.Last {
		high, _ = slices.BinarySearchFunc(s.borders, r.Last.Next(), Addr.Compare)
	}
	return indexSpan{item, int32(low), int32(high)} //nolint:gosec // indexes of borders
}

// cut emits the runs between borders low and high. The items reach into that
// range, or lie outside; above is what covers all of it already. It may
// reorder items.
func (s *splitter) cut(low, high int32, items []indexSpan, above ref) {
	// In place: items that cover the range, then those that reach into it.
	cover, reach := 0, 0
	for i, item := range items {
		if item.high <= low || high <= item.low {
			continue
		}
		items[i], items[reach] = items[reach], item
		if item.low <= low && high <= item.high {
			items[reach], items[cover] = items[cover], item
			cover++
		}
		reach++
	}
	if cover > 0 {
		above = s.b.arena.apply(opGreater, above, s.below(items[:cover]))
	}
	if cover == reach {
		s.emit(s.borders[low], above)
		return
	}
	rest := items[cover:reach] // none if low and high are neighbours
	mid := (low + high) / 2
	s.cut(low, mid, rest, above)
	s.cut(mid, high, rest, above)
}

// below builds the diagram of some items from the next field on.
func (s *splitter) below(items []indexSpan) ref {
	b := s.b
	if len(items) == 1 {
		return b.single(s.field+1, items[0].item)
	}
	base := len(b.ids)
	for _, i := range items {
		b.ids = append(b.ids, i.item)
	}
	r := b.field(s.field+1, b.ids[base:])
	b.ids = b.ids[:base]
	return r
}

func (s *splitter) emit(start Addr, kid ref) {
	if n := len(s.b.runs); n > s.firstRun && s.b.runs[n-1].kid == kid {
		return
	}
	s.b.runs = append(s.b.runs, run{start, kid})
}

// levelOf returns the first level of field f's nodes, and digitsOf how many
// levels an address of it takes.
func levelOf(f int, s Space) uint8 {
	switch f {
	case 0:
		if s == IPv6 {
			return levelPeer
		}
		return levelPeer + 3
	case 1:
		return levelProtocol
	case 2:
		return levelPort
	case 3:
		if s.memberIs6() {
			return levelMember
		}
		return levelMember + 3
	}
	return levelSourcePort
}

func digitsOf(f int, s Space) int {
	if f == 0 && s == IPv6 || f == 3 && s.memberIs6() {
		return 4
	}
	return 1
}

// fromRuns returns the node, or chain of nodes, over runs that cover the whole
// range of a field from 0 on. No two neighbours have the same child.
func (a *Arena) fromRuns(level uint8, digits int, runs []run) ref {
	digit := 4 - digits
	base := len(a.scratchKids)
	if digits == 1 {
		for _, r := range runs {
			a.push(base, r.start.digit(digit), r.kid)
		}
		return a.take(base, level)
	}
	current := runs[0].kid // what the addresses before the next run have
	for i := 0; i < len(runs); {
		d := runs[i].start.digit(digit)
		j := i + 1
		for j < len(runs) && runs[j].start.digit(digit) == d {
			j++
		}
		a.push(base, d, a.inDigit(level, digits, runs[i:j], current))
		current = runs[j-1].kid
		if d != 1<<32-1 && (j == len(runs) || runs[j].start.digit(digit) > d+1) {
			a.push(base, d+1, current)
		}
		i = j
	}
	return a.take(base, level)
}

// inDigit returns the child for one value of an address's digit, given the
// runs that begin inside it and what was there before them.
func (a *Arena) inDigit(level uint8, digits int, runs []run, before ref) ref {
	digit := 4 - digits
	whole := runs[0].start.zeroBelow(digit)
	if whole && len(runs) == 1 {
		return runs[0].kid
	}
	if !whole {
		start := runs[0].start
		first := run{kid: before}
		for i := 0; i <= digit; i++ {
			first.start = first.start.withDigit(i, start.digit(i))
		}
		runs = append([]run{first}, runs...)
	}
	return a.fromRuns(level+1, digits-1, runs)
}
