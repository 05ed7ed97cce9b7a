package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A Direction says which way a flow goes, seen from the host that wears the group.
type Direction uint8

// The two directions. The zero value is Ingress.
const (
	// Ingress is traffic from the peer to the member.
	Ingress Direction = iota
	// Egress is traffic from the member to the peer.
	Egress
)

// String returns "ingress" or "egress".
func (d Direction) String() string {
	if d == Egress {
		return "egress"
	}
	return "ingress"
}

// An Action is what happens to a flow.
type Action uint8

// The two actions. The zero value drops, so that what is forgotten is refused.
const (
	// Drop discards the packet silently.
	Drop Action = iota
	// Accept lets the flow pass, replies included.
	Accept
)

// String returns "drop" or "accept".
func (a Action) String() string {
	if a == Accept {
		return "accept"
	}
	return "drop"
}

// A Protocol is an IANA protocol number, 0 to 255, or AllProtocols.
type Protocol int16

// The protocols with a name of their own in rules.
const (
	// AllProtocols stands for every protocol number.
	AllProtocols Protocol = -1
	ICMP         Protocol = 1
	IPIP         Protocol = 4
	TCP          Protocol = 6
	UDP          Protocol = 17
	GRE          Protocol = 47
	ESP          Protocol = 50
	ICMPv6       Protocol = 58
	VRRP         Protocol = 112
	SCTP         Protocol = 132
)

// HasPorts reports whether a rule for p must name ports: TCP, UDP and SCTP.
func (p Protocol) HasPorts() bool { return p == TCP || p == UDP || p == SCTP }

// String returns the name that ECS prints (upper case, ICMPv6 excepted), or the number.
func (p Protocol) String() string {
	switch p {
	case AllProtocols:
		return "ALL"
	case ICMP:
		return "ICMP"
	case IPIP:
		return "IPIP"
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case GRE:
		return "GRE"
	case ESP:
		return "ESP"
	case ICMPv6:
		return "ICMPv6"
	case VRRP:
		return "VRRP"
	case SCTP:
		return "SCTP"
	}
	return strconv.Itoa(int(p))
}

// ParseProtocol reads a protocol's name, in any case, or its number.
func ParseProtocol(s string) (Protocol, error) {
	for _, p := range []Protocol{AllProtocols, ICMP, IPIP, TCP, UDP, GRE, ESP, ICMPv6, VRRP, SCTP} {
		if strings.EqualFold(s, p.String()) {
			return p, nil
		}
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("unknown protocol %q: want ALL, TCP, UDP, ICMP, ICMPv6, GRE, SCTP, IPIP, ESP, VRRP or a number from 0 to 255", s)
	}
	return Protocol(n), nil
}

// A PortRange is a range of ports, both ends included. The zero value means
// "no ports": the rule's protocol has none, or the rule does not name any.
type PortRange struct {
	First, Last uint16
}

// IsZero reports whether r names no ports.
func (r PortRange) IsZero() bool { return r == PortRange{} }

// Overlaps reports whether some port is in both ranges; one that names no ports
// overlaps every other.
func (r PortRange) Overlaps(other PortRange) bool {
	return r.IsZero() || other.IsZero() || r.First <= other.Last && other.First <= r.Last
}

// String returns FIRST/LAST, or -1/-1 for no ports.
func (r PortRange) String() string {
	if r.IsZero() {
		return "-1/-1"
	}
	return strconv.Itoa(int(r.First)) + "/" + strconv.Itoa(int(r.Last))
}

// ParsePortRange reads FIRST/LAST with 1 <= FIRST <= LAST <= 65535, or -1/-1
// for no ports. A single number is not a range: ECS refuses it too.
func ParsePortRange(s string) (PortRange, error) {
	if s == "-1/-1" {
		return PortRange{}, nil
	}
	first, last, ok := strings.Cut(s, "/")
	f, err1 := strconv.ParseUint(first, 10, 16)
	l, err2 := strconv.ParseUint(last, 10, 16)
	if !ok || err1 != nil || err2 != nil || f == 0 || f > l {
		return PortRange{}, fmt.Errorf("port range %q: want FIRST/LAST from 1 to 65535 with FIRST <= LAST, or -1/-1 for protocols without ports", s)
	}
	return PortRange{uint16(f), uint16(l)}, nil
}

// A Peer is who is on the other end of a rule: a CIDR, a GroupPeer or a
// PrefixListPeer.
//
//sumtype:decl
type Peer interface {
	isPeer()
	// String returns what the user wrote: the CIDR's text, or the name.
	String() string
}

// A CIDR is a peer given by addresses. Text keeps what the user wrote, host
// bits included; Prefix is what it means, host bits cleared.
type CIDR struct {
	Prefix netip.Prefix
	Text   string
}

// A GroupPeer is a peer given by the current members of a security group.
type GroupPeer struct{ Name string }

// A PrefixListPeer is a peer given by the entries of a prefix list.
type PrefixListPeer struct{ Name string }

func (CIDR) isPeer()           {}
func (GroupPeer) isPeer()      {}
func (PrefixListPeer) isPeer() {}

// PlainPeer returns a peer without the text that it was written with: two that
// mean one are equal then.
func PlainPeer(p Peer) Peer {
	if c, ok := p.(CIDR); ok {
		return CIDR{Prefix: c.Prefix}
	}
	return p
}

// String returns the text that the user wrote.
func (c CIDR) String() string { return c.Text }

// String returns the group's name.
func (g GroupPeer) String() string { return g.Name }

// String returns the prefix list's name.
func (l PrefixListPeer) String() string { return l.Name }

// ParseCIDR reads a CIDR or a bare address, which means that address alone.
// Host bits are tolerated, as ECS does. IPv4-mapped IPv6 and zones are refused.
func ParseCIDR(s string) (CIDR, error) {
	p, err := parsePrefix(s)
	if err != nil {
		return CIDR{}, fmt.Errorf("%q is no CIDR: want one like 10.0.0.0/8 or 2001:db8::/32: %w", s, err)
	}
	return CIDR{Prefix: p.Masked(), Text: s}, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err == nil && p.Addr().Is4In6() {
			return netip.Prefix{}, errors.New("IPv4-mapped IPv6 is not supported")
		}
		return p, err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if a.Zone() != "" || a.Is4In6() {
		return netip.Prefix{}, errors.New("zones and IPv4-mapped IPv6 are not supported")
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// MustCIDR is ParseCIDR for constants; it panics on a bad one.
func MustCIDR(s string) CIDR {
	c, err := ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return c
}

// A Rule lets flows pass or drops them.
type Rule struct {
	Direction Direction
	Action    Action
	// Priority orders rules: 1 is tried first, 100 last. Zero is invalid.
	Priority uint8
	Protocol Protocol
	// Ports are the flow's destination ports: the member's on ingress, the
	// peer's on egress. Zero iff the protocol has no ports.
	Ports PortRange
	// Peer is who is on the other end. Never nil.
	Peer Peer
	// Member restricts the rule to some of the group's own addresses (the
	// five-tuple form). The zero prefix means all of them.
	Member netip.Prefix
	// SourcePorts restricts the flow's source ports (the five-tuple form).
	// Zero means any, also an unknown one.
	SourcePorts PortRange
	Description string
	// Row is the id of the profile's row that this rule comes from; empty for
	// a rule that a user wrote.
	Row string
}

// A GroupType is basic or advanced (ECS: normal, enterprise).
type GroupType uint8

// The two types of group. The zero value is Basic.
const (
	// Basic groups may name groups and let egress pass by default.
	Basic GroupType = iota
	// Advanced groups have CIDR peers only and drop egress by default.
	Advanced
)

// String returns "basic" or "advanced".
func (t GroupType) String() string {
	if t == Advanced {
		return "advanced"
	}
	return "basic"
}

// A Group is a security group.
type Group struct {
	// Name identifies the group: an ECS id or an object's name. Never empty.
	Name string
	Type GroupType
	// InnerAccess accepts ingress between members before any rule. Only
	// basic groups have it; false on advanced ones.
	InnerAccess bool
	// VPC is the id of the network that the group belongs to; empty if unknown.
	VPC string
	// Ingress and Egress are in the order written, system rules first.
	// Positions in verdicts count from 1 in this order.
	Ingress, Egress []Rule
}

// Rules returns the group's rules of one direction.
func (g *Group) Rules(d Direction) []Rule {
	if d == Egress {
		return g.Egress
	}
	return g.Ingress
}

// Append adds a rule at the end of its direction.
func (g *Group) Append(r Rule) {
	if r.Direction == Egress {
		g.Egress = append(g.Egress, r)
		return
	}
	g.Ingress = append(g.Ingress, r)
}

// A PrefixList is a named list of CIDRs, all of one address family.
type PrefixList struct {
	Name    string
	Entries []CIDR
	// MaxEntries is what the list counts for in rule quotas; 0 means the
	// number of entries.
	MaxEntries int
}

// A Flow is the first packet of a connection, seen from the host Local.
type Flow struct {
	Direction Direction
	// Local is the member's address, Remote the peer's; same family.
	// Remote is the zero Addr iff RemoteGroup is set.
	Local, Remote netip.Addr
	// RemoteGroup stands for "some member of this group". Valid only for a
	// group whose members the World does not know; empty for a real packet.
	RemoteGroup string
	// Protocol is an IANA number, 0 to 255; AllProtocols is invalid here.
	Protocol Protocol
	// Port is the destination port. Valid iff the protocol has ports.
	Port uint16
	// ICMPType is valid iff Protocol is ICMP or ICMPv6.
	ICMPType uint8
	// SourcePort is valid iff HasSourcePort. A flow whose source port is
	// unknown matches no rule that names source ports.
	SourcePort    uint16
	HasSourcePort bool
}
