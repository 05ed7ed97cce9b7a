package flowset

import "iter"

// A Field is one of the fields by which a flow is decided, in that order.
type Field uint8

// The fields.
const (
	Peer Field = iota
	Protocol
	// Port is the destination port, or the ICMP type.
	Port
	Member
	SourcePort
)

// A Branch is what is left of a diagram once the fields before some field are
// known. Branches of one arena are equal, with ==, exactly when they decide the
// remaining fields alike. The zero value is not usable.
type Branch struct {
	arena *Arena
	ref   ref
}

// Branch returns all of d for the flows of one space: nothing is known yet.
func (d Diagram) Branch(s Space) Branch { return Branch{d.arena, d.roots[s]} }

// Leaf returns the leaf of b, and whether b needs no further field.
func (b Branch) Leaf() (Leaf, bool) {
	if !b.ref.isLeaf() {
		return 0, false
	}
	return b.ref.value(), true
}

// Field returns the first field that b asks for; false if it needs none.
func (b Branch) Field() (Field, bool) {
	switch l := b.arena.level(b.ref); {
	case l < levelProtocol:
		return Peer, true
	case l == levelProtocol:
		return Protocol, true
	case l == levelPort:
		return Port, true
	case l < levelSourcePort:
		return Member, true
	case l == levelSourcePort:
		return SourcePort, true
	}
	return 0, false
}

// Runs yields the ranges of a field's values that b decides alike, in order and
// without gaps, each with what is left. Neighbours differ. Flows are of space s.
// The values of narrow fields are in the low part of an Addr. f must not come
// after the field that b asks for first.
//
// ICMP types are 0 to 255, yet the last range reaches to MaxPort.
func (b Branch) Runs(f Field, s Space) iter.Seq2[AddrRange, Branch] {
	return func(yield func(AddrRange, Branch) bool) {
		box := All(s)
		_, all := span(&box, int(f))
		runs := b.arena.fieldRuns(b.ref, int(f), s)
		for i, r := range runs {
			last := all.Last
			if i+1 < len(runs) {
				last = runs[i+1].start.Prev()
			}
			if !yield(AddrRange{r.start, last}, Branch{b.arena, r.kid}) {
				return
			}
		}
	}
}

// Compare orders branches of one arena, by when they were made. It is 0 for
// equal ones only.
func (b Branch) Compare(c Branch) int { return int(int64(b.ref) - int64(c.ref)) }
