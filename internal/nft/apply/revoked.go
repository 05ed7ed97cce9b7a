package apply

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
	"ringfence.dev/ringfence/rules/flowset"
)

// A Revoked is a flow that was cut, by its ends as packets on the wire have
// them, whichever way they go.
type Revoked struct {
	// Direction is who had begun it.
	Direction rules.Direction
	// Protocol is one with ports.
	Protocol  rules.Protocol
	Peer, Own netip.AddrPort
}

// word is the size of a register: each part of a key takes whole ones.
const word = 4

// The lengths of addresses.
const net4, net6 = 4, 16

// wire loads the key of a set of flows that were cut into the registers from
// the first on.
func wire(d rules.Direction, s flowset.Space) []expr.Any {
	source, destination := []nft.Key{nft.Source4, nft.SourcePort}, []nft.Key{nft.Destination4, nft.DestinationPort}
	if s == flowset.IPv6 {
		source[0], destination[0] = nft.Source6, nft.Destination6
	}
	parts := slices.Concat(source, destination) // the peer first
	if d == rules.Egress {
		parts = slices.Concat(destination, source)
	}
	out := []expr.Any{meta(expr.MetaKeyNFPROTO), equal(fieldOf(source[0]).family), meta(expr.MetaKeyL4PROTO)}
	at := uint32(1)
	for _, k := range parts {
		if p, ok := fieldOf(k).load.(*expr.Payload); ok {
			p.DestRegister = register(at)
			out = append(out, p)
			at += (p.Len + word - 1) / word
		}
	}
	return out
}

// register names the register that begins after so many words, as the kernel
// itself names it: the old, wide name if there is one.
func register(words uint32) uint32 {
	if words%word == 0 {
		return unix.NFT_REG_1 + words/word
	}
	return unix.NFT_REG32_00 + words
}

func (k *Kernel) revokedSet(s flowset.Space) *nftables.Set {
	k.nextID++
	addr := nftables.TypeIPAddr
	if s == flowset.IPv6 {
		addr = nftables.TypeIP6Addr
	}
	return &nftables.Set{
		Table: k.table, ID: k.nextID, Name: nft.RevokedSet(s), Size: nft.MaxRevoked, KeyByteOrder: binaryutil.BigEndian,
		KeyType: nftables.MustConcatSetType(nftables.TypeInetProto, addr, nftables.TypeInetService, addr, nftables.TypeInetService),
		Dynamic: true, HasTimeout: true, Timeout: nft.RevokedTime * time.Second,
	}
}

// makeRevoked collects what makes the sets of flows that were cut, if there
// are none.
func (k *Kernel) makeRevoked(sets map[string]bool) error {
	for _, s := range nft.Spaces {
		if sets[nft.RevokedSet(s)] {
			continue
		}
		if err := k.conn.AddSet(k.revokedSet(s), nil); err != nil {
			return fmt.Errorf("cannot make set %s: %w", nft.RevokedSet(s), err)
		}
	}
	return nil
}

func (r *Revoked) element() nftables.SetElement {
	var b []byte
	put := func(part []byte) {
		b = append(b, part...)
		b = append(b, make([]byte, (word-len(part)%word)%word)...)
	}
	put([]byte{byte(r.Protocol)}) //nolint:gosec // a protocol with ports
	for _, end := range []netip.AddrPort{r.Peer, r.Own} {
		put(end.Addr().AsSlice())
		put(binary.BigEndian.AppendUint16(nil, end.Port()))
	}
	return nftables.SetElement{Key: b, Comment: r.Direction.String()}
}

// readRevoked is the inverse of element; false for what we did not write.
func readRevoked(e *nftables.SetElement) (Revoked, bool) {
	length := len(e.Key)/2 - word - word/2
	if length != net4 && length != net6 {
		return Revoked{}, false
	}
	end := func(at int) netip.AddrPort {
		a, _ := netip.AddrFromSlice(e.Key[at : at+length])
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(e.Key[at+length:]))
	}
	r := Revoked{Protocol: rules.Protocol(e.Key[0]), Peer: end(word), Own: end(word + length + word)}
	if e.Comment == rules.Egress.String() {
		r.Direction = rules.Egress
	}
	return r, true
}

// Revoke lets no packet of these flows pass that belongs to no established one,
// for a time that begins again with each. Their entries in the kernel's table
// of connections are to be deleted next.
func (k *Kernel) Revoke(list []Revoked) error {
	err := k.eachRevoked(list, func(s *nftables.Set, part []nftables.SetElement) error { return k.conn.SetAddElements(s, part) })
	if err != nil {
		return err
	}
	return k.commit(fmt.Sprintf("revoke %d flows", len(list)))
}

// Revoked lists the flows that were cut and may not begin anew yet. Load must
// have made the table.
func (k *Kernel) Revoked() ([]Revoked, error) {
	var out []Revoked
	for _, s := range nft.Spaces {
		list, err := k.conn.GetSetElements(k.revokedSet(s))
		if err != nil {
			return nil, fmt.Errorf("cannot read set %s: %w", nft.RevokedSet(s), err)
		}
		for i := range list {
			if r, ok := readRevoked(&list[i]); ok {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// Pardon lets flows that were cut begin anew. Those whose time has ended
// meanwhile are no error.
func (k *Kernel) Pardon(list []Revoked) error {
	const attempts = 5 // a time may end between a look and the transaction
	for range attempts - 1 {
		err := k.pardon(list)
		if !errors.Is(err, unix.ENOENT) {
			return err
		}
		there, err := k.Revoked()
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(r Revoked) bool {
			return !slices.ContainsFunc(there, func(t Revoked) bool { return t.Protocol == r.Protocol && t.Peer == r.Peer && t.Own == r.Own })
		})
	}
	return k.pardon(list)
}

func (k *Kernel) pardon(list []Revoked) error {
	if len(list) == 0 {
		return nil
	}
	err := k.eachRevoked(list, func(s *nftables.Set, part []nftables.SetElement) error {
		for i := range part {
			part[i].Comment = ""
		}
		return k.conn.SetDeleteElements(s, part)
	})
	if err != nil {
		return err
	}
	return k.commit(fmt.Sprintf("pardon %d flows", len(list)))
}

// PardonAll lets all flows that were cut begin anew.
func (k *Kernel) PardonAll() error {
	for _, s := range nft.Spaces {
		k.conn.FlushSet(k.revokedSet(s))
	}
	return k.commit("pardon all flows")
}

// eachRevoked collects changes of the two sets, at most maxElements a message.
func (k *Kernel) eachRevoked(list []Revoked, change func(*nftables.Set, []nftables.SetElement) error) error {
	for _, space := range nft.Spaces {
		var all []nftables.SetElement
		for i := range list {
			if flowset.SpaceOf(list[i].Peer.Addr()) == space {
				all = append(all, list[i].element())
			}
		}
		s := k.revokedSet(space)
		for part := range slices.Chunk(all, maxElements) {
			if err := change(s, part); err != nil {
				return fmt.Errorf("cannot change set %s: %w", s.Name, err)
			}
		}
	}
	return nil
}
