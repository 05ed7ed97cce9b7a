package apply

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules/flowset"
)

// A liveElement is an element as the kernel tells it. It is valid during the
// visit only.
type liveElement struct {
	key, chain []byte
	// end says that it is no element but the first value after a range.
	end bool
}

// errMoved says that a map changed while it was read.
var errMoved = errors.New("it changes faster than it can be read")

// each visits the elements of a map in no order, page by page: of the tens of
// thousands that a map may have, none is kept. If the map changes meanwhile,
// again is called, and all is read once more.
func (k *Kernel) each(name string, again func(), visit func(e *liveElement)) error {
	const attempts = 5
	for range attempts {
		err := k.dump(name, visit)
		if !errors.Is(err, errMoved) {
			return err
		}
		again()
	}
	return fmt.Errorf("cannot read map %s: %w", name, errMoved)
}

func (k *Kernel) dump(name string, visit func(e *liveElement)) error {
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_SET_ELEM_LIST_TABLE, Data: append([]byte(k.table.Name), 0)},
		{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: append([]byte(name), 0)},
	})
	if err == nil {
		_, err = k.socket.Send(netlink.Message{
			Header: netlink.Header{
				Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETSETELEM,
				Flags: netlink.Request | netlink.Dump,
			},
			Data: append([]byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}, attributes...),
		})
	}
	if err != nil {
		return fmt.Errorf("cannot read map %s: %w", name, err)
	}
	moved := false
	for m, err := range k.socket.ReceiveIter() {
		if err != nil {
			return fmt.Errorf("cannot read map %s: %w", name, err)
		}
		moved = moved || m.Header.Flags&netlink.DumpInterrupted != 0
		if moved || len(m.Data) < 4 {
			continue
		}
		list := nested(m.Data[4:], unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for kind, element := range attributesOf(list) {
			if kind == unix.NFTA_LIST_ELEM {
				visit(readElement(element))
			}
		}
	}
	if moved {
		return errMoved
	}
	return nil
}

func readElement(b []byte) *liveElement {
	e := &liveElement{key: nested(b, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE)}
	if flags := nested(b, unix.NFTA_SET_ELEM_FLAGS); len(flags) == 4 { //nolint:mnd // a number of 32 bits
		e.end = binary.BigEndian.Uint32(flags)&unix.NFT_SET_ELEM_INTERVAL_END != 0
	}
	if !e.end {
		e.chain = trimZero(nested(b, unix.NFTA_SET_ELEM_DATA, unix.NFTA_DATA_VERDICT, unix.NFTA_VERDICT_CHAIN))
	}
	return e
}

func trimZero(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == 0 {
		return b[:n-1]
	}
	return b
}

// nested returns the attribute at the end of a path of types; nil if there is
// none.
func nested(b []byte, path ...uint16) []byte {
	for _, want := range path {
		var found []byte
		for kind, data := range attributesOf(b) {
			if kind == want {
				found = data
				break
			}
		}
		b = found
	}
	return b
}

// attributesOf walks over netlink attributes without copying them, as far as
// they make sense.
func attributesOf(b []byte) func(yield func(kind uint16, data []byte) bool) {
	const header, flags = unix.SizeofNlAttr, unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= header {
			length := int(binary.NativeEndian.Uint16(b))
			kind := binary.NativeEndian.Uint16(b[2:]) &^ flags
			if length < header || length > len(b) || !yield(kind, b[header:length]) {
				return
			}
			b = b[min(len(b), (length+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
		}
	}
}

// A comparison is how the elements of a map in the kernel differ from those
// that it should have.
type comparison struct {
	m *nft.Map
	// begins and ends say which of the elements of m were found, by where they
	// begin and by where their ranges end; extra is what else is there.
	begins, ends []bool
	extra        []nftables.SetElement
}

// compare reads a map.
func (k *Kernel) compare(m *nft.Map) (*comparison, error) {
	c := &comparison{m: m}
	c.reset()
	return c, k.each(m.Name, c.reset, c.take)
}

func (c *comparison) reset() {
	c.begins, c.ends, c.extra = make([]bool, len(c.m.Elements)), nil, nil
	if c.m.Interval {
		c.ends = make([]bool, len(c.m.Elements))
	}
}

// take finds the element that a live one is.
func (c *comparison) take(live *liveElement) {
	at := number(live.key)
	if live.end {
		i, _ := slices.BinarySearchFunc(c.m.Elements, at, byFirst) // the first that begins at the end, or behind
		if i > 0 && c.hasEnd(i-1) && c.m.Elements[i-1].Range.Last.Next() == at {
			c.ends[i-1] = true
			return
		}
	} else if i, ok := slices.BinarySearchFunc(c.m.Elements, at, byFirst); ok && (c.m.Set || c.m.Elements[i].Goto == string(live.chain)) {
		c.begins[i] = true
		return
	}
	c.extra = append(c.extra, nftables.SetElement{Key: slices.Clone(live.key), IntervalEnd: live.end})
}

func byFirst(e nft.Element, at flowset.Addr) int { return e.Range.First.Compare(at) }

// hasEnd reports whether the kernel has an element for the end of the i-th.
func (c *comparison) hasEnd(i int) bool {
	return c.m.Interval && c.m.Elements[i].Range.Last != c.m.Key.Last()
}

// same reports whether nothing differs.
func (c *comparison) same() bool {
	for i := range c.m.Elements {
		if !c.begins[i] || c.hasEnd(i) && !c.ends[i] {
			return false
		}
	}
	return len(c.extra) == 0
}

// missing returns what the kernel lacks.
func (c *comparison) missing() []nftables.SetElement {
	var out []nftables.SetElement
	for i, e := range c.m.Elements {
		if c.begins[i] && (!c.hasEnd(i) || c.ends[i]) {
			continue
		}
		for _, raw := range elements(c.m, e) {
			if raw.IntervalEnd && !c.ends[i] || !raw.IntervalEnd && !c.begins[i] {
				out = append(out, raw)
			}
		}
	}
	return out
}

// number is the inverse of key: the bytes of a key as a number.
func number(key []byte) flowset.Addr {
	var a flowset.Addr
	for _, b := range key {
		a.Hi = a.Hi<<8 | a.Lo>>56
		a.Lo = a.Lo<<8 | uint64(b)
	}
	return a
}
