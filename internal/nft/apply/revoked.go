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

// wire loads the key of a set of flows that were cut into the registers from
// the first on.
func wire(egress, six bool) []expr.Any {
	family, length := byte(unix.NFPROTO_IPV4), uint32(4)
	source, destination := uint32(12), uint32(16) // where the header has them
	if six {
		family, length, source, destination = unix.NFPROTO_IPV6, 16, 8, 24
	}
	peer, own, peerPort, ownPort := source, destination, uint32(0), uint32(2)
	if egress {
		peer, own, peerPort, ownPort = own, peer, ownPort, peerPort
	}
	out := []expr.Any{meta(expr.MetaKeyNFPROTO), equal(family), meta(expr.MetaKeyL4PROTO)}
	at := uint32(1)
	put := func(base expr.PayloadBase, offset, length uint32) {
		out = append(out, &expr.Payload{DestRegister: register(at), Base: base, Offset: offset, Len: length})
		at += (length + word - 1) / word
	}
	put(expr.PayloadBaseNetworkHeader, peer, length)
	put(expr.PayloadBaseTransportHeader, peerPort, 2)
	put(expr.PayloadBaseNetworkHeader, own, length)
	put(expr.PayloadBaseTransportHeader, ownPort, 2)
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

func (k *Kernel) revokedSet(six bool) *nftables.Set {
	k.nextID++
	addr := nftables.TypeIPAddr
	if six {
		addr = nftables.TypeIP6Addr
	}
	return &nftables.Set{
		Table: k.table, ID: k.nextID, Name: nft.RevokedSet(six), Size: nft.MaxRevoked, KeyByteOrder: binaryutil.BigEndian,
		KeyType: nftables.MustConcatSetType(nftables.TypeInetProto, addr, nftables.TypeInetService, addr, nftables.TypeInetService),
		Dynamic: true, HasTimeout: true, Timeout: nft.RevokedTime * time.Second,
	}
}

// makeRevoked collects what makes the sets of flows that were cut, if there
// are none.
func (k *Kernel) makeRevoked(sets map[string]bool) error {
	for _, six := range []bool{false, true} {
		if sets[nft.RevokedSet(six)] {
			continue
		}
		if err := k.conn.AddSet(k.revokedSet(six), nil); err != nil {
			return fmt.Errorf("cannot make set %s: %w", nft.RevokedSet(six), err)
		}
	}
	return nil
}

func (r *Revoked) six() bool { return r.Peer.Addr().Is6() }

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
func readRevoked(e *nftables.SetElement, six bool) (Revoked, bool) {
	length := 4
	if six {
		length = 16
	}
	if len(e.Key) != word+2*(length+word) {
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

// Revoked lists the flows that were cut and may not begin anew yet.
func (k *Kernel) Revoked() ([]Revoked, error) {
	_, sets, err := k.present()
	if err != nil {
		return nil, err
	}
	var out []Revoked
	for _, six := range []bool{false, true} {
		if !sets[nft.RevokedSet(six)] {
			continue
		}
		list, err := k.conn.GetSetElements(k.revokedSet(six))
		if err != nil {
			return nil, fmt.Errorf("cannot read set %s: %w", nft.RevokedSet(six), err)
		}
		for i := range list {
			if r, ok := readRevoked(&list[i], six); ok {
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
	k.conn.FlushSet(k.revokedSet(false))
	k.conn.FlushSet(k.revokedSet(true))
	return k.commit("pardon all flows")
}

// eachRevoked collects changes of the two sets, at most maxElements a message.
func (k *Kernel) eachRevoked(list []Revoked, change func(*nftables.Set, []nftables.SetElement) error) error {
	for _, six := range []bool{false, true} {
		var all []nftables.SetElement
		for i := range list {
			if list[i].six() == six {
				all = append(all, list[i].element())
			}
		}
		s := k.revokedSet(six)
		for part := range slices.Chunk(all, maxElements) {
			if err := change(s, part); err != nil {
				return fmt.Errorf("cannot change set %s: %w", s.Name, err)
			}
		}
	}
	return nil
}
