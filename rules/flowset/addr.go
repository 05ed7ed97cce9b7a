package flowset

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// A Space is one of the separate worlds that a flow's peer can be in. Each has
// a root of its own in every diagram.
type Space uint8

// The spaces. In the symbol spaces the peer is no address but a number that
// the caller gave to "some member of a group whose addresses are unknown"; the
// member address is of the family that the space's name tells.
const (
	IPv4 Space = iota
	IPv6
	Symbol4
	Symbol6
	spaces = 4
)

// memberIs6 reports whether member addresses in s are IPv6.
func (s Space) memberIs6() bool { return s == IPv6 || s == Symbol6 }

// An Addr is an address of either family as a 128-bit number; IPv4 addresses
// and symbols use the low 32 bits.
type Addr struct{ Hi, Lo uint64 }

// AddrFrom returns a's number. The family is lost: keep the Space beside it.
func AddrFrom(a netip.Addr) Addr {
	if a.Is4() {
		b := a.As4()
		return Addr{Lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return Addr{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// In4 returns the IPv4 address with number a.
func (a Addr) In4() netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(a.Lo)) //nolint:gosec // IPv4 numbers have 32 bits
	return netip.AddrFrom4(b)
}

// In6 returns the IPv6 address with number a.
func (a Addr) In6() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.Hi)
	binary.BigEndian.PutUint64(b[8:], a.Lo)
	return netip.AddrFrom16(b)
}

// Compare returns -1, 0 or 1 as a is less than, equal to or greater than b.
func (a Addr) Compare(b Addr) int {
	switch {
	case a == b:
		return 0
	case a.less(b):
		return -1
	}
	return 1
}

func (a Addr) less(b Addr) bool { return a.Hi < b.Hi || a.Hi == b.Hi && a.Lo < b.Lo }

// Next returns a+1. It wraps to zero after the last number.
func (a Addr) Next() Addr {
	a.Lo++
	if a.Lo == 0 {
		a.Hi++
	}
	return a
}

// Prev returns a-1. It wraps to the last number before zero.
func (a Addr) Prev() Addr {
	if a.Lo == 0 {
		a.Hi--
	}
	a.Lo--
	return a
}

// digit returns the i-th group of 32 bits, 0 being the highest.
func (a Addr) digit(i int) uint32 {
	switch i {
	case 0:
		return uint32(a.Hi >> 32)
	case 1:
		return uint32(a.Hi) //nolint:gosec // the low half is meant
	case 2:
		return uint32(a.Lo >> 32)
	}
	return uint32(a.Lo) //nolint:gosec // the low half is meant
}

// withDigit returns a with its i-th group of 32 bits, zero so far, set to d.
func (a Addr) withDigit(i int, d uint32) Addr {
	switch i {
	case 0:
		a.Hi |= uint64(d) << 32
	case 1:
		a.Hi |= uint64(d)
	case 2:
		a.Lo |= uint64(d) << 32
	case 3:
		a.Lo |= uint64(d)
	}
	return a
}

// zeroBelow reports whether all groups of 32 bits after the i-th, 0 to 2, are zero.
func (a Addr) zeroBelow(i int) bool {
	switch i {
	case 0:
		return uint32(a.Hi) == 0 && a.Lo == 0 //nolint:gosec // the low half is meant
	case 1:
		return a.Lo == 0
	}
	return uint32(a.Lo) == 0 //nolint:gosec // the low half is meant
}

// An AddrRange is a range of addresses of one family, both ends included.
type AddrRange struct{ First, Last Addr }

// AllIPv4 and AllIPv6 return the whole range of a family.
func AllIPv4() AddrRange { return AddrRange{Last: Addr{Lo: 1<<32 - 1}} }

// AllIPv6 returns the whole IPv6 range.
func AllIPv6() AddrRange { return AddrRange{Last: Addr{1<<64 - 1, 1<<64 - 1}} }

// RangeOf returns the addresses of a prefix.
func RangeOf(p netip.Prefix) AddrRange {
	first := AddrFrom(p.Masked().Addr())
	host := p.Addr().BitLen() - p.Bits()
	last := first
	switch {
	case host >= 128:
		last = Addr{1<<64 - 1, 1<<64 - 1}
	case host >= 64:
		last.Hi |= 1<<(host-64) - 1
		last.Lo = 1<<64 - 1
	default:
		last.Lo |= 1<<host - 1
	}
	return AddrRange{first, last}
}

// SpaceOf returns the space that addresses of a's family are in.
func SpaceOf(a netip.Addr) Space {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// allPeers returns every peer that s has room for.
func (s Space) allPeers() AddrRange {
	if s == IPv6 {
		return AllIPv6()
	}
	return AllIPv4()
}

// allMembers returns every member address of s.
func (s Space) allMembers() AddrRange {
	if s.memberIs6() {
		return AllIPv6()
	}
	return AllIPv4()
}

// String names the space.
func (s Space) String() string {
	switch s {
	case IPv4:
		return "ipv4"
	case IPv6:
		return "ipv6"
	case Symbol4:
		return "symbol4"
	case Symbol6:
		return "symbol6"
	}
	return fmt.Sprintf("space %d", uint8(s))
}
