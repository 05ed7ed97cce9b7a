package flowset

// An op is a built-in binary operation.
type op uint8

const (
	opGreater op = iota + 1 // the greater leaf
	opOnly                  // a's leaf where b's is not 0
	opExcept                // a's leaf where b's is 0
)

// maxMemo bounds the memo: 2^20 entries of 16 bytes.
const maxMemo = 1 << 20

// A memoEntry remembers one result. The table is direct-mapped: a newer result
// may push an older one out, which costs time and never correctness.
type memoEntry struct {
	a, b, result ref
	op           op
}

// Union returns the flows of either set. Of two decision lists it keeps, for
// each flow, the greater leaf.
func (d Diagram) Union(e Diagram) Diagram { return d.apply(opGreater, e) }

// Intersect returns the flows of both sets. Of a decision list it keeps the
// leaves at the flows of the set e, and 0 elsewhere.
func (d Diagram) Intersect(e Diagram) Diagram { return d.apply(opOnly, e) }

// Subtract returns the flows of d that are not in e. Of a decision list it
// keeps the leaves outside the set e.
func (d Diagram) Subtract(e Diagram) Diagram { return d.apply(opExcept, e) }

// Complement returns the flows that are not in d.
func (d Diagram) Complement() Diagram { return d.arena.Const(1).Subtract(d) }

// IsEmpty reports whether every flow's leaf is 0.
func (d Diagram) IsEmpty() bool { return d == d.arena.Empty() }

// SubsetOf reports whether every flow of d is in e.
func (d Diagram) SubsetOf(e Diagram) bool { return d.Subtract(e).IsEmpty() }

// Meets reports whether some flow is in both. It builds nothing.
func (d Diagram) Meets(e Diagram) bool {
	if d.arena != e.arena {
		panic("flowset: diagrams of different arenas")
	}
	for s := range d.roots {
		if d.arena.meet(d.roots[s], e.roots[s]) {
			return true
		}
	}
	return false
}

func (a *Arena) meet(x, y ref) bool {
	if zero := leaf(0); x == zero || y == zero {
		return false
	}
	if x == y || x.isLeaf() || y.isLeaf() { // every node has a child that is not 0
		return true
	}
	level := min(a.level(x), a.level(y))
	xs, xk := a.edgesAt(x, level)
	ys, yk := a.edgesAt(y, level)
	for i, j := 0, 0; ; {
		if a.meet(kidAt(xk, i, x), kidAt(yk, j, y)) {
			return true
		}
		nextX, nextY := nextStart(xs, i), nextStart(ys, j)
		next := min(nextX, nextY)
		if next == noStart {
			return false
		}
		if nextX == next {
			i++
		}
		if nextY == next {
			j++
		}
	}
}

// apply panics if the diagrams are of different arenas: their references mean
// different things, and any answer would be wrong.
func (d Diagram) apply(o op, e Diagram) Diagram {
	if d.arena != e.arena {
		panic("flowset: diagrams of different arenas")
	}
	for s := range d.roots {
		d.roots[s] = d.arena.apply(o, d.roots[s], e.roots[s])
	}
	return d
}

func (a *Arena) apply(o op, x, y ref) ref {
	if r, done := terminal(o, x, y); done {
		return r
	}
	if a.full {
		return leaf(0)
	}
	if o == opGreater && x > y { // commutative: one memo entry for both orders
		x, y = y, x
	}
	if m := a.memoAt(o, x, y); m.op == o && m.a == x && m.b == y {
		return m.result
	}
	r := a.zip(x, y, a.combine[o])
	*a.memoAt(o, x, y) = memoEntry{x, y, r, o}
	return r
}

// zip builds the node over every pair of children of x and y that share a
// range of the upper one's level.
func (a *Arena) zip(x, y ref, combine func(x, y ref) ref) ref {
	level := min(a.level(x), a.level(y))
	base := len(a.scratchKids)
	xs, xk := a.edgesAt(x, level)
	ys, yk := a.edgesAt(y, level)
	for i, j, start := 0, 0, uint32(0); ; {
		a.push(base, start, combine(kidAt(xk, i, x), kidAt(yk, j, y)))
		nextX, nextY := nextStart(xs, i), nextStart(ys, j)
		next := min(nextX, nextY)
		if next == noStart {
			return a.take(base, level)
		}
		if nextX == next {
			i++
		}
		if nextY == next {
			j++
		}
		start = uint32(next) //nolint:gosec // below noStart
	}
}

// terminal answers what needs no walk.
func terminal(o op, x, y ref) (ref, bool) {
	zero := leaf(0)
	switch o {
	case opGreater:
		switch {
		case x == y || y == zero:
			return x, true
		case x == zero:
			return y, true
		case x.isLeaf() && y.isLeaf():
			return max(x, y), true
		}
	case opOnly:
		switch {
		case x == zero || y == zero:
			return zero, true
		case y.isLeaf():
			return x, true
		}
	case opExcept:
		switch {
		case x == zero || y == zero:
			return x, true
		case y.isLeaf():
			return zero, true
		}
	}
	return 0, false
}

// memoAt returns the one place where a result may be remembered. It changes
// when the tables grow, so it must be asked for again after recursion.
func (a *Arena) memoAt(o op, x, y ref) *memoEntry {
	h := (uint64(x)<<32 | uint64(y)) * 0x9e3779b97f4a7c15
	h = (h ^ uint64(o)<<57) * 0xff51afd7ed558ccd
	return &a.memo[int(h>>32)&(len(a.memo)-1)]
}

// noStart is beyond every start: there is no further edge.
const noStart = uint64(1) << 32

// edgesAt returns the edges of r if it belongs to level, and none if it lies
// below: then it is the only child of that level itself.
func (a *Arena) edgesAt(r ref, level uint8) ([]uint32, []ref) {
	if a.level(r) != level {
		return nil, nil
	}
	return a.edges(r)
}

func kidAt(kids []ref, i int, whole ref) ref {
	if kids == nil {
		return whole
	}
	return kids[i]
}

func nextStart(starts []uint32, i int) uint64 {
	if i+1 >= len(starts) {
		return noStart
	}
	return uint64(starts[i+1])
}

// Merge returns the diagram that decides each flow with f of the two leaves.
// f must be a function of its arguments alone.
func (d Diagram) Merge(e Diagram, f func(x, y Leaf) Leaf) Diagram {
	if d.arena != e.arena {
		panic("flowset: diagrams of different arenas")
	}
	m := merger{d.arena, f, map[[2]ref]ref{}}
	for s := range d.roots {
		d.roots[s] = m.merge(d.roots[s], e.roots[s])
	}
	return d
}

// Map returns the diagram with f applied to every leaf. f must be a function
// of its argument alone.
func (d Diagram) Map(f func(Leaf) Leaf) Diagram {
	return d.Merge(d.arena.Empty(), func(x, _ Leaf) Leaf { return f(x) })
}

type merger struct {
	arena *Arena
	f     func(x, y Leaf) Leaf
	memo  map[[2]ref]ref
}

func (m *merger) merge(x, y ref) ref {
	if x.isLeaf() && y.isLeaf() {
		return leaf(m.f(x.value(), y.value()))
	}
	if r, ok := m.memo[[2]ref{x, y}]; ok {
		return r
	}
	r := m.arena.zip(x, y, m.merge)
	m.memo[[2]ref{x, y}] = r
	return r
}
