package flowset

import "fmt"

// A Range is a range of numbers, both ends included.
type Range struct{ First, Last uint32 }

// The largest value of each narrow field.
const (
	MaxProtocol = 255
	MaxPort     = 65535
	// UnknownSourcePort stands for a source port that nobody told. It is a value
	// of its own: no range of real ports holds it.
	UnknownSourcePort = 65536
)

// AnyProtocol returns all protocols.
func AnyProtocol() Range { return Range{0, MaxProtocol} }

// AnyPort returns all destination ports.
func AnyPort() Range { return Range{0, MaxPort} }

// AnySourcePort returns all source ports, the unknown one included.
func AnySourcePort() Range { return Range{0, UnknownSourcePort} }

// A Box is a product of ranges: the flows whose every field is in its range.
type Box struct {
	Space Space
	// Peer is the remote address, or the symbol.
	Peer     AddrRange
	Protocol Range
	// Port is the destination port, or the ICMP type for ICMP (1) and ICMPv6
	// (58). Protocols that have neither must have the full range.
	Port Range
	// Member is the local address.
	Member AddrRange
	// SourcePort must be the full range for protocols without ports.
	SourcePort Range
}

// All returns the box of every flow in a space.
func All(s Space) Box {
	return Box{s, s.allPeers(), AnyProtocol(), AnyPort(), s.allMembers(), AnySourcePort()}
}

// Validate reports the first mistake in b: a range that is empty or reaches
// beyond its field, or ports where no protocol of the box has any.
func (b Box) Validate() error {
	if b.Space >= spaces {
		return fmt.Errorf("no such space: %d", b.Space)
	}
	for _, r := range []struct {
		name string
		r    Range
		last uint32
	}{
		{"protocols", b.Protocol, MaxProtocol},
		{"ports", b.Port, MaxPort},
		{"source ports", b.SourcePort, UnknownSourcePort},
	} {
		if r.r.First > r.r.Last || r.r.Last > r.last {
			return fmt.Errorf("%s %d-%d: want a range within 0-%d", r.name, r.r.First, r.r.Last, r.last)
		}
	}
	for _, r := range []struct {
		name   string
		r, all AddrRange
	}{{"peers", b.Peer, b.Space.allPeers()}, {"members", b.Member, b.Space.allMembers()}} {
		if r.r.Last.less(r.r.First) || r.all.Last.less(r.r.Last) {
			return fmt.Errorf("%s: empty or too large a range for %s", r.name, b.Space)
		}
	}
	return b.validatePorts()
}

func (b Box) validatePorts() error {
	one := b.Protocol.First == b.Protocol.Last
	hasPorts := one && HasPorts(b.Protocol.First)
	hasTypes := one && HasTypes(b.Protocol.First)
	if b.Port != AnyPort() && !hasPorts && !hasTypes {
		return fmt.Errorf("protocols %d-%d have no ports", b.Protocol.First, b.Protocol.Last)
	}
	if b.SourcePort != AnySourcePort() && !hasPorts {
		return fmt.Errorf("protocols %d-%d have no source ports", b.Protocol.First, b.Protocol.Last)
	}
	if hasTypes && b.Port != AnyPort() && b.Port.Last > 255 {
		return fmt.Errorf("ICMP types %d-%d: want 0-255", b.Port.First, b.Port.Last)
	}
	return nil
}

// HasPorts reports whether flows of an IANA protocol have ports: TCP, UDP, SCTP.
func HasPorts(protocol uint32) bool { return protocol == 6 || protocol == 17 || protocol == 132 }

// HasTypes reports whether flows of an IANA protocol have ICMP types.
func HasTypes(protocol uint32) bool { return protocol == 1 || protocol == 58 }

// normalPort returns b's port range as nodes store it. ICMP has 256 types but
// the level has room for 65,536 values: all that come after the last type
// follow it, so that "all types" is the full range and nothing else is.
func (b Box) normalPort() Range {
	if HasTypes(b.Protocol.First) && b.Protocol.First == b.Protocol.Last && b.Port.Last == 255 {
		return Range{b.Port.First, MaxPort}
	}
	return b.Port
}

// A Point is one flow.
type Point struct {
	Space    Space
	Peer     Addr
	Protocol uint32
	// Port is the destination port or ICMP type; 0 for protocols that have neither.
	Port   uint32
	Member Addr
	// SourcePort is UnknownSourcePort where it is not known or there is none.
	SourcePort uint32
}
