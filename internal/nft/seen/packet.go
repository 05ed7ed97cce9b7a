package seen

import (
	"encoding/binary"
	"net/netip"

	"ringfence.dev/ringfence/rules"
)

// A Packet is what its headers say.
type Packet struct {
	Source, Destination netip.Addr
	// Protocol is what follows the headers of IP, as far as they were logged.
	Protocol rules.Protocol
	// Port is the destination port; 0 if the protocol has none, or the packet
	// is cut off before it or a later fragment.
	Port uint16
}

// ReadPacket reads a packet that begins with its IPv4 or IPv6 header and may
// end anywhere; false if not even the addresses are there.
func ReadPacket(b []byte) (Packet, bool) {
	if len(b) == 0 {
		return Packet{}, false
	}
	switch b[0] >> 4 {
	case 4:
		return readIPv4(b)
	case 6:
		return readIPv6(b)
	}
	return Packet{}, false
}

// What is where in headers, in bytes.
const (
	ipv4Header = 20
	ipv6Header = 40
	// block is the unit of lengths of IPv6 extension headers, and what a header
	// of fragments takes.
	block = 8
)

func readIPv4(b []byte) (Packet, bool) {
	if len(b) < ipv4Header {
		return Packet{}, false
	}
	p := Packet{
		Source: netip.AddrFrom4([4]byte(b[12:16])), Destination: netip.AddrFrom4([4]byte(b[16:20])),
		Protocol: rules.Protocol(b[9]),
	}
	header := int(b[0]&0xf) * 4
	offset := binary.BigEndian.Uint16(b[6:8]) & 0x1fff
	if offset == 0 && header >= ipv4Header && header <= len(b) {
		p.readPort(b[header:])
	}
	return p, true
}

func readIPv6(b []byte) (Packet, bool) {
	if len(b) < ipv6Header {
		return Packet{}, false
	}
	p := Packet{
		Source: netip.AddrFrom16([16]byte(b[8:24])), Destination: netip.AddrFrom16([16]byte(b[24:40])),
		Protocol: rules.Protocol(b[6]),
	}
	rest := b[ipv6Header:]
	for {
		size, first := extension(p.Protocol, rest)
		if size == 0 {
			p.readPort(rest)
			return p, true
		}
		if len(rest) < size { // cut off: what follows is not known
			return p, true
		}
		p.Protocol, rest = rules.Protocol(rest[0]), rest[size:]
		if !first {
			return p, true
		}
	}
}

// extension returns how long the extension header is that b begins with, 0 if
// the protocol is none, and whether what follows is the beginning of a payload.
// One whose length is cut off is longer than b.
func extension(p rules.Protocol, b []byte) (size int, first bool) {
	const (
		hopByHop, routing, fragment, authentication, options = 0, 43, 44, 51, 60
		mobility, identity, shim                             = 135, 139, 140
	)
	switch p {
	case hopByHop, routing, options, mobility, identity, shim:
		if len(b) < 2 {
			return block, true
		}
		return (int(b[1]) + 1) * block, true
	case authentication:
		if len(b) < 2 {
			return block, true
		}
		return (int(b[1]) + 2) * 4, true
	case fragment:
		if len(b) < block {
			return block, true
		}
		return block, binary.BigEndian.Uint16(b[2:4])&0xfff8 == 0
	}
	return 0, true
}

func (p *Packet) readPort(b []byte) {
	if p.Protocol.HasPorts() && len(b) >= 4 {
		p.Port = binary.BigEndian.Uint16(b[2:4])
	}
}
