package apply

import (
	"fmt"
	"iter"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
)

// addElements collects elements of m, as many a message as fit.
func (k *Kernel) addElements(s *nftables.Set, m *nft.Map, list []nft.Element, timeout time.Duration) error {
	return k.send(s, func(yield func(nftables.SetElement) bool) {
		for _, e := range list {
			for _, raw := range elements(m, e) {
				raw.Timeout = timeout
				if !yield(raw) {
					return
				}
			}
		}
	})
}

// send collects elements to be added, as many a message as fit.
func (k *Kernel) send(s *nftables.Set, list iter.Seq[nftables.SetElement]) error {
	var part []nftables.SetElement
	bytes := 0
	send := func() error {
		k.messages, k.elements = k.messages+1, k.elements+len(part)
		err := k.conn.SetAddElements(s, part)
		part, bytes = part[:0], 0
		if err != nil {
			return fmt.Errorf("cannot add to map %s: %w", s.Name, err)
		}
		return nil
	}
	for e := range list {
		size := wireSize(e)
		if len(part) == maxElements || bytes+size > maxBytes {
			if err := send(); err != nil {
				return err
			}
		}
		part, bytes = append(part, e), bytes+size
	}
	if len(part) == 0 {
		return nil
	}
	return send()
}

// wireSize is how many bytes of a message an element takes at most.
func wireSize(e nftables.SetElement) int {
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
			var list []nftables.SetElement
			for _, a := range part.Remove[i:min(i+maxElements, len(part.Remove))] {
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
	if m.Interval {
		want = 0
		for _, e := range m.Elements {
			want += len(elements(m, e))
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
