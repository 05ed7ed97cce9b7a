package apply

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
)

// addElements collects elements of m, as many a message as fit.
func (k *Kernel) addElements(s *nftables.Set, m *nft.Map, list []nft.Element, timeout time.Duration) error {
	p := parcel{kernel: k, set: s, elements: make([]nftables.SetElement, 0, min(len(list), maxElements))}
	for _, e := range list {
		first := begin(m, e)
		first.Timeout = timeout
		if err := p.add(&first); err != nil {
			return err
		}
		if after, ok := end(m, e); ok {
			if err := p.add(&after); err != nil {
				return err
			}
		}
	}
	return p.send()
}

// fill is addElements for a map that no chain asks yet.
func (k *Kernel) fill(s *nftables.Set, m *nft.Map) error {
	for part := range slices.Chunk(m.Elements, maxFill) {
		if err := k.addElements(s, m, part, 0); err != nil {
			return err
		}
		if len(part) < maxFill {
			break
		}
		if err := k.commit("fill map " + m.Name); err != nil {
			return err
		}
	}
	return nil
}

// A parcel is the elements of one message to be.
type parcel struct {
	kernel   *Kernel
	set      *nftables.Set
	elements []nftables.SetElement
	bytes    int
}

// add adds an element, and sends those before it if it does not fit. Elements
// are large and many: it is copied once.
func (p *parcel) add(e *nftables.SetElement) error {
	size := wireSize(e)
	if len(p.elements) == maxElements || p.bytes+size > maxBytes {
		if err := p.send(); err != nil {
			return err
		}
	}
	p.elements, p.bytes = append(p.elements, *e), p.bytes+size
	return nil
}

func (p *parcel) send() error {
	if len(p.elements) == 0 {
		return nil
	}
	p.kernel.messages, p.kernel.elements = p.kernel.messages+1, p.kernel.elements+len(p.elements)
	err := p.kernel.conn.SetAddElements(p.set, p.elements)
	p.elements, p.bytes = p.elements[:0], 0
	if err != nil {
		return fmt.Errorf("cannot add to map %s: %w", p.set.Name, err)
	}
	return nil
}

// wireSize is how many bytes of a message an element takes at most.
func wireSize(e *nftables.SetElement) int {
	const header, align, timeoutSize = unix.SizeofNlAttr, unix.NLA_ALIGNTO, 8
	size := 2*header + len(e.Key) + align                  // key
	size += header + header + align + header + timeoutSize // element, flags, timeout
	if e.VerdictData != nil {
		size += 2*header + header + align + header + len(e.VerdictData.Chain) + align
	}
	return size
}

// Move changes members in one transaction, after one that builds those of the
// nodes they need that the kernel does not have.
func (k *Kernel) Move(needs []*nft.Node, moves []nft.Move) error {
	if k.known == nil {
		if _, _, err := k.present(); err != nil {
			return err
		}
	}
	if err := k.make(needs, k.known); err != nil {
		return err
	}
	for _, part := range nft.ByMap(moves) {
		m := nft.Map{Name: part.Map, Key: part.Key, Set: part.Set}
		s := k.set(&m)
		for i := 0; i < len(part.Remove); i += maxElements {
			chunk := part.Remove[i:min(i+maxElements, len(part.Remove))]
			list := make([]nftables.SetElement, 0, len(chunk))
			for _, a := range chunk {
				list = append(list, nftables.SetElement{Key: key(m.Key, a)})
			}
			if err := k.conn.SetDeleteElements(s, list); err != nil {
				return fmt.Errorf("cannot remove from map %s: %w", m.Name, err)
			}
		}
		if err := k.addElements(s, &m, part.Add, 0); err != nil {
			return err
		}
	}
	return k.commit(fmt.Sprintf("change %d members", len(moves)))
}

// Verify counts the elements of the maps in the kernel that members and ranges
// of a version are in, and of all that took more than one message.
func (k *Kernel) Verify(v *nft.Version) error {
	for _, n := range v.Nodes() {
		for i := range n.Maps {
			if m := &n.Maps[i]; len(n.Maps) > 1 || len(m.Elements) >= maxElements/2 {
				if err := k.verifyMap(m); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (k *Kernel) verifyMap(m *nft.Map) error {
	want := len(m.Elements)
	for _, e := range m.Elements {
		if _, ok := end(m, e); ok {
			want++
		}
	}
	got := 0
	if err := k.each(m.Name, func() { got = 0 }, func(*liveElement) { got++ }); err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("map %s has %d elements in the kernel, %d were sent: build it again", m.Name, got, want)
	}
	return nil
}

// A Tally is what a leaf has seen since it was made.
type Tally struct{ Packets, Bytes uint64 }

// Tallies reads the counters of all leaves, by name.
func (k *Kernel) Tallies() (map[string]Tally, error) {
	list, err := k.conn.GetNamedObjects(k.table)
	if err != nil {
		return nil, fmt.Errorf("cannot read the counters: %w", err)
	}
	out := map[string]Tally{}
	for _, o := range list {
		named, ok := o.(*nftables.NamedObj)
		if !ok {
			continue
		}
		if c, ok := named.Obj.(*expr.Counter); ok {
			out[named.Name] = Tally{c.Packets, c.Bytes}
		}
	}
	return out, nil
}
