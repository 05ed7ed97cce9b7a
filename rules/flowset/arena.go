package flowset

import (
	"errors"
	"math"
	"slices"
)

// A Leaf is a value of a diagram: 0 and 1 in sets, whatever the caller means
// in decision lists. At most MaxLeaf.
type Leaf uint32

// MaxLeaf is the greatest leaf: references use the 32nd bit to tell leaves
// from nodes.
const MaxLeaf Leaf = leafBit - 1

const leafBit = 1 << 31

// A ref is a leaf (leafBit set) or the index of a node.
type ref uint32

func leaf(v Leaf) ref { return ref(v) | leafBit }

func (r ref) isLeaf() bool { return r&leafBit != 0 }

func (r ref) value() Leaf { return Leaf(r &^ leafBit) }

// The levels of nodes, in the order in which a flow is decided. IPv4 addresses
// and symbols use the last of their field's four levels, IPv6 all of them.
const (
	levelPeer       = 0
	levelProtocol   = 4
	levelPort       = 5
	levelMember     = 6
	levelSourcePort = 10
	levelLeaf       = 11
)

// A node splits the values of its level into adjacent ranges, each with a
// child. Its edges are starts[first:first+count] and kids[...] of the arena;
// the first start is always 0, neighbours have different children, and there
// are at least two.
type node struct {
	first, count uint32
	hash         uint32
	level        uint8
}

// An Arena holds the nodes of diagrams, each node once. The zero value is not
// usable; see [NewArena].
type Arena struct {
	nodes  []node
	starts []uint32
	kids   []ref
	// unique finds a node by its content: open addressing, 0 is free, n+1
	// stands for node n.
	unique []uint32
	memo   []memoEntry
	// scratch is a stack of edges under construction.
	scratchStarts []uint32
	scratchKids   []ref
	// combine holds apply for each operation: made once, so that operations
	// allocate no closures.
	combine  [opExcept + 1]func(x, y ref) ref
	maxEdges int
	full     bool
}

// ErrBudget says that a diagram would have more edges than its arena allows.
var ErrBudget = errors.New("the rules need more edges than the budget allows")

// NewArena returns an empty arena that holds at most maxEdges edges, those of
// intermediate results included; 0 or less means no bound but that of 32-bit
// indexes.
func NewArena(maxEdges int) *Arena {
	if maxEdges <= 0 || maxEdges > math.MaxInt32 {
		maxEdges = math.MaxInt32
	}
	a := &Arena{
		unique:   make([]uint32, 256),
		memo:     make([]memoEntry, 256),
		maxEdges: maxEdges,
	}
	for o := opGreater; o <= opExcept; o++ {
		a.combine[o] = func(x, y ref) ref { return a.apply(o, x, y) }
	}
	return a
}

// Err returns ErrBudget once an operation went over the arena's budget; the
// results of that and every later operation are worthless.
func (a *Arena) Err() error {
	if a.full {
		return ErrBudget
	}
	return nil
}

// Nodes and Edges return what the arena holds, garbage included.
func (a *Arena) Nodes() int { return len(a.nodes) }

// Edges returns the number of edges in the arena, garbage included.
func (a *Arena) Edges() int { return len(a.starts) }

// Bytes returns the memory that the arena has reserved.
func (a *Arena) Bytes() int {
	return 16*cap(a.nodes) + 4*(cap(a.starts)+cap(a.kids)+cap(a.unique)+cap(a.scratchStarts)+cap(a.scratchKids)) + 16*cap(a.memo)
}

func (a *Arena) level(r ref) uint8 {
	if r.isLeaf() {
		return levelLeaf
	}
	return a.nodes[r].level
}

// edges returns the edges of a node. They are never changed.
func (a *Arena) edges(r ref) ([]uint32, []ref) {
	n := a.nodes[r]
	return a.starts[n.first : n.first+n.count], a.kids[n.first : n.first+n.count]
}

// push adds an edge to the node under construction that began at base,
// unless the edge before it has the same child.
func (a *Arena) push(base int, start uint32, kid ref) {
	if n := len(a.scratchKids); n > base && a.scratchKids[n-1] == kid {
		return
	}
	a.scratchStarts = append(a.scratchStarts, start)
	a.scratchKids = append(a.scratchKids, kid)
}

// take ends the node under construction that began at base and returns the
// one node of the arena that equals it, or its only child.
func (a *Arena) take(base int, level uint8) ref {
	starts, kids := a.scratchStarts[base:], a.scratchKids[base:]
	a.scratchStarts, a.scratchKids = a.scratchStarts[:base], a.scratchKids[:base]
	if len(kids) == 1 {
		return kids[0]
	}
	hash := hashNode(level, starts, kids)
	slot := a.find(hash, level, starts, kids)
	if a.unique[slot] != 0 {
		return ref(a.unique[slot] - 1)
	}
	if len(a.starts)+len(starts) > a.maxEdges {
		a.full = true
		return leaf(0)
	}
	return a.insert(slot, node{hash: hash, level: level}, starts, kids)
}

func (a *Arena) insert(slot uint32, n node, starts []uint32, kids []ref) ref {
	n.first = uint32(len(a.starts)) //nolint:gosec // maxEdges keeps it below 2^31
	n.count = uint32(len(starts))   //nolint:gosec // as above
	a.starts = append(a.starts, starts...)
	a.kids = append(a.kids, kids...)
	a.nodes = append(a.nodes, n)
	a.unique[slot] = uint32(len(a.nodes)) //nolint:gosec // a node has two edges or more
	r := ref(len(a.nodes) - 1)            //nolint:gosec // as above
	if len(a.nodes)*2 > len(a.unique) {
		a.growTables()
	}
	return r
}

// find returns the slot of the node with this content, or the free slot where
// it belongs.
func (a *Arena) find(hash uint32, level uint8, starts []uint32, kids []ref) uint32 {
	mask := uint32(len(a.unique) - 1) //nolint:gosec // at most 2^32 slots
	for slot := hash & mask; ; slot = (slot + 1) & mask {
		found := a.unique[slot]
		if found == 0 || a.same(&a.nodes[found-1], hash, level, starts, kids) {
			return slot
		}
	}
}

func (a *Arena) same(n *node, hash uint32, level uint8, starts []uint32, kids []ref) bool {
	if n.hash != hash || n.level != level {
		return false
	}
	last := n.first + n.count
	return slices.Equal(a.starts[n.first:last], starts) && slices.Equal(a.kids[n.first:last], kids)
}

// growTables doubles the table of nodes and, up to its cap, the memo.
func (a *Arena) growTables() {
	a.unique = make([]uint32, 2*len(a.unique))
	mask := uint32(len(a.unique) - 1) //nolint:gosec // at most 2^32 slots
	for i := range a.nodes {
		slot := a.nodes[i].hash & mask
		for a.unique[slot] != 0 {
			slot = (slot + 1) & mask
		}
		a.unique[slot] = uint32(i + 1)
	}
	if len(a.memo) < maxMemo {
		a.memo = make([]memoEntry, 2*len(a.memo))
	}
}

func hashNode(level uint8, starts []uint32, kids []ref) uint32 {
	h := uint64(level) + 1
	for i, s := range starts {
		h = (h ^ (uint64(s)<<32 | uint64(kids[i]))) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return uint32(h >> 32)
}

// A Diagram is a function from flows to leaves. Diagrams of one arena are
// comparable with ==. The zero value belongs to no arena and decides nothing:
// only Lookup may be called on it, and it answers 0.
type Diagram struct {
	arena *Arena
	roots [spaces]ref
}

// Const returns the diagram that decides every flow with v.
func (a *Arena) Const(v Leaf) Diagram {
	return Diagram{a, [spaces]ref{leaf(v), leaf(v), leaf(v), leaf(v)}}
}

// Empty returns the empty set.
func (a *Arena) Empty() Diagram { return a.Const(0) }

// Lookup returns the leaf for one flow. It allocates nothing.
func (d Diagram) Lookup(p *Point) Leaf {
	if d.arena == nil {
		return 0
	}
	r := d.roots[p.Space]
	for !r.isLeaf() {
		n := &d.arena.nodes[r]
		r = d.arena.child(n, p.digit(n.level))
	}
	return r.value()
}

// child returns the child of n for value v: a binary search for the last
// start that is not above v.
func (a *Arena) child(n *node, v uint32) ref {
	starts := a.starts[n.first : n.first+n.count]
	low, high := 0, len(starts)
	for high-low > 1 {
		mid := int(uint(low+high) >> 1)
		if starts[mid] <= v {
			low = mid
		} else {
			high = mid
		}
	}
	return a.kids[int(n.first)+low]
}

// digit returns p's value at a level.
func (p *Point) digit(level uint8) uint32 {
	switch {
	case level < levelProtocol:
		return p.Peer.digit(int(level) - levelPeer)
	case level == levelProtocol:
		return p.Protocol
	case level == levelPort:
		return p.Port
	case level < levelSourcePort:
		return p.Member.digit(int(level) - levelMember)
	}
	return p.SourcePort
}
