package apply_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// A maker draws scenes and packets whose values sit at each other's borders,
// as the oracle of package rules does, but of packets that a kernel accepts
// from the wire, or sends: no loopback, multicast or nonsense addresses.
type maker struct{ *rand.Rand }

func newMaker(seed uint64) maker { return maker{rand.New(rand.NewPCG(seed, 44))} }

func one[T any](m maker, list []T) T { return list[m.IntN(len(list))] }

func (m maker) chance(percent int) bool { return m.IntN(100) < percent }

var (
	prefixes4 = prefixes("0.0.0.0/0 10.0.0.0/8 10.0.0.0/24 10.0.0.128/25 10.0.1.0/24 10.0.0.5/32 10.0.0.6/31 192.168.0.0/16 10.255.255.255/32 11.0.0.0/8 128.0.0.0/1 172.16.0.0/12")
	prefixes6 = prefixes("::/0 2001:db8::/32 2001:db8::/64 2001:db8:0:1::/64 2001:db8::5/128 2001:db8::1:0:0:0/80 2001:db8:ffff::/48 8000::/1 fd00::/8")
	ports     = []uint16{1, 22, 53, 80, 81, 1024, 2379, vxlan, 30000, 32767, 65534, 65535}
	protocols = []rules.Protocol{rules.TCP, rules.UDP, rules.ICMP, rules.ICMPv6, rules.GRE, rules.SCTP, rules.IPIP, rules.ESP, rules.VRRP, 255}
	groups    = []string{"a", "b", "c", "d", "e"}
)

func prefixes(text string) []netip.Prefix {
	var out []netip.Prefix
	for s := range strings.FieldsSeq(text) {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func (m maker) prefix(six bool) netip.Prefix {
	if six {
		return one(m, prefixes6)
	}
	return one(m, prefixes4)
}

func (m maker) ports() rules.PortRange {
	x, y := one(m, ports), one(m, ports)
	return rules.PortRange{First: min(x, y), Last: max(x, y)}
}

func (m maker) rule(g *rules.Group, d rules.Direction) rules.Rule {
	r := rules.Rule{
		Direction: d, Action: rules.Action(m.IntN(2)), Priority: one(m, []uint8{1, 1, 2, 10, 100}),
		Protocol: one(m, append(slices.Clone(protocols), rules.AllProtocols, rules.TCP, rules.UDP)),
	}
	six := m.chance(50)
	if r.Protocol == rules.ICMP || r.Protocol == rules.ICMPv6 {
		six = r.Protocol == rules.ICMPv6
	}
	if r.Protocol.HasPorts() {
		r.Ports = m.ports()
		if m.chance(15) {
			r.SourcePorts = m.ports()
		}
	}
	if m.chance(15) {
		r.Member = m.prefix(six)
	}
	p := m.prefix(six)
	r.Peer = rules.CIDR{Prefix: p, Text: p.String()}
	switch {
	case m.chance(25) && g.Type == rules.Basic:
		r.Peer = rules.GroupPeer{Name: one(m, slices.DeleteFunc(slices.Clone(groups), func(n string) bool { return n == g.Name }))}
	case m.chance(15):
		r.Peer = rules.PrefixListPeer{Name: "list"}
	}
	return r
}

// A scene is what a host enforces, and the world around it.
type scene struct {
	merged *rules.Ruleset
	world  rules.World
	// routed is the world for packets with a hop limit below 255.
	routed rules.World
}

func (m maker) scene(t *testing.T) *scene {
	t.Helper()
	s := &scene{}
	list := rules.PrefixList{Name: "list"}
	for range m.IntN(4) {
		p := m.prefix(m.chance(50))
		list.Entries = append(list.Entries, rules.CIDR{Prefix: p, Text: p.String()})
	}
	typ := rules.GroupType(m.IntN(2))
	names := slices.Clone(groups)
	m.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var worn []*rules.Group
	for _, name := range names[:1+m.IntN(3)] {
		g := &rules.Group{Name: name, Type: typ, InnerAccess: typ == rules.Basic && m.chance(60)}
		for range m.IntN(12) {
			g.Append(m.rule(g, rules.Ingress))
			g.Append(m.rule(g, rules.Egress))
		}
		if err := g.Validate(); err != nil {
			t.Fatalf("the maker made an illegal group: %v", err)
		}
		worn = append(worn, g)
	}
	var err error
	if s.merged, err = rules.Merge(worn, map[string]rules.PrefixList{"list": list}); err != nil {
		t.Fatal(err)
	}
	m.members(s)
	tables, err := profiles.Load()
	if err != nil {
		t.Fatal(err)
	}
	s.world.Exempt = append(tables.Exempt(),
		rules.Exempt{Name: "control-plane", Protocol: rules.TCP, Ports: rules.PortRange{First: 6443, Last: 6443}, Peer: rules.MustCIDR("10.0.1.0/32")},
		rules.Exempt{Name: "station-ipv4", Protocol: rules.AllProtocols, Peer: rules.MustCIDR("10.0.0.6/31")},
		rules.Exempt{Name: "station-ipv6", Protocol: rules.AllProtocols, Peer: rules.MustCIDR("2001:db8::5/128")})
	s.routed.Members = s.world.Members
	s.routed.Exempt = slices.DeleteFunc(slices.Clone(s.world.Exempt), func(e rules.Exempt) bool { return e.HopLimit255 })
	return s
}

func (m maker) members(s *scene) {
	for _, name := range groups {
		var list []netip.Prefix
		for range m.IntN(8) {
			a := m.near(m.prefix(m.chance(50)))
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
		}
		s.world.Members.Set(name, list)
	}
}

// near draws an address at a border of p.
func (m maker) near(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(b)
	a := one(m, []netip.Addr{p.Addr(), last, p.Addr().Prev(), last.Next()})
	if !a.IsValid() {
		return p.Addr()
	}
	return a
}

// travels reports whether a kernel takes a packet from or to a.
func travels(a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		return b[0] != 0 && b[0] != 127 && b[0] < 224
	}
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.Is4In6() && a.As16()[0] >= 0x10
}

// packet draws a packet, mostly around the values of one rule of the scene.
func (m maker) packet(s *scene) packet {
	for {
		p := m.draw(s)
		f := &p.flow
		wrongFamily := f.Protocol == rules.ICMP && f.Local.Is6() || f.Protocol == rules.ICMPv6 && f.Local.Is4()
		if travels(f.Local) && travels(f.Remote) && f.Local.Is4() == f.Remote.Is4() && !wrongFamily {
			return p
		}
	}
}

func (m maker) draw(s *scene) packet {
	f := rules.Flow{Direction: rules.Direction(m.IntN(2)), Protocol: one(m, protocols)}
	six := m.chance(50)
	port := one(m, ports)
	if list := s.merged.Rules(f.Direction); len(list) > 0 && m.chance(70) {
		r := &list[m.IntN(len(list))]
		if r.Protocol != rules.AllProtocols {
			f.Protocol = r.Protocol
		}
		if !r.Ports.IsZero() {
			port = one(m, []uint16{r.Ports.First, r.Ports.Last, r.Ports.First - 1, r.Ports.Last + 1})
		}
		around := r.Prefixes
		if g, ok := r.Peer.(rules.GroupPeer); ok {
			around = s.world.Members.Prefixes(g.Name)
		}
		if len(around) > 0 {
			f.Remote = m.near(one(m, around))
			six = f.Remote.Is6()
		}
		if r.Member.IsValid() && r.Member.Addr().Is6() == six {
			f.Local = m.near(r.Member)
		}
	}
	m.special(s, &f, &six)
	if !f.Remote.IsValid() {
		f.Remote = m.near(m.prefix(six))
	}
	if !f.Local.IsValid() {
		f.Local = m.near(m.prefix(six))
	}
	p := packet{flow: f, hopLimit: one(m, []uint8{64, 255})}
	m.ends(&p.flow, port)
	return p
}

// special turns to peers that rules seldom lead to: members, and the exempt.
func (m maker) special(s *scene, f *rules.Flow, six *bool) {
	var list []netip.Prefix
	switch {
	case m.chance(12):
		list = prefixes("10.0.0.6/31 2001:db8::5/128 10.0.1.0/32")
	case len(s.merged.InnerAccess) > 0 && m.chance(30):
		list = s.world.Members.Prefixes(one(m, s.merged.InnerAccess))
	}
	if len(list) > 0 {
		f.Remote, f.Local = m.near(one(m, list)), netip.Addr{}
		*six = f.Remote.Is6()
	}
}

// ends sets ports and types.
func (m maker) ends(f *rules.Flow, port uint16) {
	switch {
	case f.Protocol.HasPorts():
		f.Port, f.HasSourcePort, f.SourcePort = port, true, one(m, ports)
		if f.Protocol == rules.UDP && m.chance(10) {
			f.Port = one(m, []uint16{66, 67, 68, 69, 545, 546, 547, 548})
		}
		if f.Protocol == rules.TCP && m.chance(5) {
			f.Port = one(m, []uint16{6442, 6443, 6444})
		}
	case f.Protocol == rules.ICMP:
		f.ICMPType = one(m, []uint8{0, 2, 3, 4, 8, 8, 11, 255})
	case f.Protocol == rules.ICMPv6:
		f.ICMPType = one(m, []uint8{0, 1, 4, 5, 128, 128, 129, 130, 132, 133, 136, 137, 142, 143, 144, 255})
	}
}

// world is what decides about a packet.
func (s *scene) worldOf(p *packet) *rules.World {
	if p.hopLimit == 255 {
		return &s.world
	}
	return &s.routed
}

func (s *scene) String() string {
	out := fmt.Sprintf("%s, inner access of %v\n", s.merged.Type, s.merged.InnerAccess)
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		for _, r := range s.merged.Rules(d) {
			out += fmt.Sprintf("  %s: %s %d %s %s peer %s %v member %s from %s\n", &r, r.Action, r.Priority, r.Protocol, r.Ports, r.Peer, r.Prefixes, r.Member, r.SourcePorts)
		}
	}
	for _, g := range groups {
		out += fmt.Sprintf("  members of %s: %v\n", g, s.world.Members.Prefixes(g))
	}
	return out
}
