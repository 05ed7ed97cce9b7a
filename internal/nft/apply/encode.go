package apply

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules/flowset"
)

// The conntrack states as `ct state` gives them.
const (
	stateEstablished = 1 << 1
	stateRelated     = 1 << 2
	stateUntracked   = 1 << 6
)

// hopLimitOffset is where an IPv6 header has its hop limit.
const hopLimitOffset = 7

// A field says how the kernel loads a key.
type field struct {
	datatype nftables.SetDatatype
	// family or protocol is what the packet must be; 0 for any.
	family, protocol byte
	load             expr.Any
}

func network(offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}
}

func transport(offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: length}
}

func meta(k expr.MetaKey) expr.Any { return &expr.Meta{Key: k, Register: 1} }

func fieldOf(k nft.Key) field {
	return [...]field{
		nft.Family:          {nftables.TypeNFProto, 0, 0, meta(expr.MetaKeyNFPROTO)},
		nft.Source4:         {nftables.TypeIPAddr, unix.NFPROTO_IPV4, 0, network(12, 4)},
		nft.Source6:         {nftables.TypeIP6Addr, unix.NFPROTO_IPV6, 0, network(8, 16)},
		nft.Destination4:    {nftables.TypeIPAddr, unix.NFPROTO_IPV4, 0, network(16, 4)},
		nft.Destination6:    {nftables.TypeIP6Addr, unix.NFPROTO_IPV6, 0, network(24, 16)},
		nft.L4Protocol:      {nftables.TypeInetProto, 0, 0, meta(expr.MetaKeyL4PROTO)},
		nft.DestinationPort: {nftables.TypeInetService, 0, 0, transport(2, 2)},
		nft.SourcePort:      {nftables.TypeInetService, 0, 0, transport(0, 2)},
		nft.ICMPType:        {nftables.TypeICMPType, 0, unix.IPPROTO_ICMP, transport(0, 1)},
		nft.ICMPv6Type:      {nftables.TypeICMP6Type, 0, unix.IPPROTO_ICMPV6, transport(0, 1)},
	}[k]
}

func equal(data ...byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

func goTo(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain} }

func accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }

func object(t nftables.ObjType, name string) expr.Any { return &expr.Objref{Type: int(t), Name: name} }

func ctState(bit uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bit), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// expressions returns a rule as the kernel takes it.
func expressions(r nft.Rule) []expr.Any {
	switch r := r.(type) {
	case nft.Lookup:
		return lookup(r)
	case nft.GotoIn:
		return append(load(r.Key), &expr.Lookup{SourceRegister: 1, SetName: r.Set}, goTo(r.Chain))
	case nft.GotoFamily:
		family := byte(unix.NFPROTO_IPV4)
		if r.Six {
			family = unix.NFPROTO_IPV6
		}
		return []expr.Any{meta(expr.MetaKeyNFPROTO), equal(family), goTo(r.Chain)}
	case nft.GotoProtocol:
		return []expr.Any{meta(expr.MetaKeyL4PROTO), equal(r.Protocol), goTo(r.Chain)}
	case nft.GotoKnown:
		return append(load(r.Key), &expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: key(r.Key, r.Key.Last())}, goTo(r.Chain))
	case nft.Goto:
		return []expr.Any{goTo(r.Chain)}
	case nft.CountAccept:
		return []expr.Any{object(nftables.ObjTypeCounter, r.Counter), accept()}
	case nft.Count:
		return []expr.Any{object(nftables.ObjTypeCounter, r.Counter)}
	case nft.Log:
		const given = 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_SNAPLEN
		return []expr.Any{
			object(nftables.ObjTypeLimit, nft.LogLimit),
			&expr.Log{Key: given, Group: nft.LogGroup, Snaplen: nft.LogSnap, Data: []byte(r.Prefix)},
		}
	case nft.Drop:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	case nft.Accept:
		return []expr.Any{accept()}
	case nft.AcceptForeign:
		name := expr.MetaKeyIIFNAME
		if r.Egress {
			name = expr.MetaKeyOIFNAME
		}
		return []expr.Any{meta(name), &expr.Lookup{SourceRegister: 1, SetName: nft.UplinkSet, Invert: true}, accept()}
	case nft.AcceptEstablished:
		return append(ctState(stateEstablished), accept())
	case nft.JumpRelated:
		return append(ctState(stateRelated), &expr.Verdict{Kind: expr.VerdictJump, Chain: r.Chain})
	case nft.GotoUntracked:
		return append(ctState(stateUntracked), goTo(r.Chain))
	case nft.GotoRevoked:
		return append(wire(r.Direction, r.Space), &expr.Lookup{SourceRegister: 1, SetName: nft.RevokedSet(r.Space)}, goTo(r.Chain))
	case nft.RenewRevoked:
		return append(wire(r.Direction, r.Space), &expr.Dynset{SrcRegKey: 1, SetName: nft.RevokedSet(r.Space), Operation: unix.NFT_DYNSET_OP_UPDATE})
	case nft.AcceptProtocol:
		return []expr.Any{meta(expr.MetaKeyL4PROTO), equal(r.Protocol), accept()}
	case nft.AcceptLinkLocal:
		return []expr.Any{
			meta(expr.MetaKeyNFPROTO), equal(unix.NFPROTO_IPV6),
			meta(expr.MetaKeyL4PROTO), equal(unix.IPPROTO_ICMPV6),
			transport(0, 1), &expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{r.First}, ToData: []byte{r.Last}},
			network(hopLimitOffset, 1), equal(255), //nolint:mnd // the greatest hop limit
			accept(),
		}
	}
	panic(fmt.Sprintf("apply: no expressions for a rule of type %T", r))
}

func lookup(r nft.Lookup) []expr.Any {
	return append(load(r.Key), &expr.Lookup{SourceRegister: 1, IsDestRegSet: true, SetName: r.Map})
}

// load brings a field into the register, if the packet has it.
func load(k nft.Key) []expr.Any {
	f := fieldOf(k)
	var out []expr.Any
	if f.family != 0 {
		out = append(out, meta(expr.MetaKeyNFPROTO), equal(f.family))
	}
	// Without the family that nft adds to an ICMP type: the walk knows no
	// family of a protocol either.
	if f.protocol != 0 {
		out = append(out, meta(expr.MetaKeyL4PROTO), equal(f.protocol))
	}
	return append(out, f.load)
}

// key returns a value of a map as the kernel has it.
func key(k nft.Key, a flowset.Addr) []byte {
	switch k {
	case nft.Family, nft.L4Protocol, nft.ICMPType, nft.ICMPv6Type:
		return []byte{byte(a.Lo)} //nolint:gosec // a key of one byte
	case nft.DestinationPort, nft.SourcePort:
		return []byte{byte(a.Lo >> 8), byte(a.Lo)} //nolint:gosec // a key of two bytes
	case nft.Source4, nft.Destination4:
		return a.In4().AsSlice()
	case nft.Source6, nft.Destination6:
	}
	return a.In6().AsSlice()
}

// elements returns an element as the kernel has it: a range of an interval map
// is where it begins and the first value after it, unless nothing comes after.
func elements(m *nft.Map, e nft.Element) []nftables.SetElement {
	out := []nftables.SetElement{begin(m, e)}
	if after, ok := end(m, e); ok {
		out = append(out, after)
	}
	return out
}

func begin(m *nft.Map, e nft.Element) nftables.SetElement {
	out := nftables.SetElement{Key: key(m.Key, e.Range.First)}
	if !m.Set {
		out.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: e.Goto}
	}
	return out
}

func end(m *nft.Map, e nft.Element) (after nftables.SetElement, ok bool) {
	if !m.Interval || e.Range.Last == m.Key.Last() {
		return nftables.SetElement{}, false
	}
	return nftables.SetElement{Key: key(m.Key, e.Range.Last.Next()), IntervalEnd: true}, true
}
