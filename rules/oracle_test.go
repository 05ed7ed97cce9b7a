package rules_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"ringfence.dev/ringfence/rules"
)

var (
	oraclePackets = flag.Int("oracle.packets", 60_000, "packets that TestOracle tries")
	oracleSeed    = flag.Uint64("oracle.seed", 1, "seed of the first scene of TestOracle")
)

// A maker draws scenes and flows whose values sit at each other's borders.
type maker struct{ *rand.Rand }

func newMaker(seed uint64) maker { return maker{rand.New(rand.NewPCG(seed, 20))} }

// one draws an element of a list.
func one[T any](m maker, list []T) T { return list[m.IntN(len(list))] }

func (m maker) chance(percent int) bool { return m.IntN(100) < percent }

var (
	oraclePrefixes4 = []string{
		"0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.128/25", "10.0.1.0/24", "10.0.0.5/32", "10.0.0.6/31",
		"10.255.255.255/32", "11.0.0.0/8", "128.0.0.0/1", "255.255.255.255/32", "0.0.0.0/32", "127.0.0.0/8",
	}
	oraclePrefixes6 = []string{
		"::/0", "2001:db8::/32", "2001:db8::/64", "2001:db8:0:1::/64", "2001:db8::5/128", "2001:db8::1:0:0:0/80",
		"8000::/1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "::1/128",
	}
	oraclePorts     = []uint16{1, 22, 53, 80, 81, 1024, 2379, 30000, 32767, 65534, 65535}
	oracleProtocols = []rules.Protocol{rules.AllProtocols, rules.TCP, rules.UDP, rules.ICMP, rules.ICMPv6, rules.GRE, rules.SCTP, rules.IPIP, 0, 255}
	oracleGroups    = []string{"a", "b", "c", "d", "e"}
)

func (m maker) prefix(six bool) netip.Prefix {
	if six {
		return netip.MustParsePrefix(one(m, oraclePrefixes6)).Masked()
	}
	return netip.MustParsePrefix(one(m, oraclePrefixes4)).Masked()
}

func (m maker) ports() rules.PortRange {
	x, y := one(m, oraclePorts), one(m, oraclePorts)
	return rules.PortRange{First: min(x, y), Last: max(x, y)}
}

// rule draws a legal rule of a group.
func (m maker) rule(g *rules.Group, d rules.Direction) rules.Rule {
	r := rules.Rule{
		Direction: d,
		Action:    rules.Action(m.IntN(2)),
		Priority:  uint8(one(m, []int{1, 1, 2, 10, 100})),
		Protocol:  one(m, oracleProtocols),
	}
	six := m.chance(40)
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
	case m.chance(20) && g.Type == rules.Basic:
		r.Peer = rules.GroupPeer{Name: one(m, slices.DeleteFunc(slices.Clone(oracleGroups), func(n string) bool { return n == g.Name }))}
	case m.chance(15):
		r.Peer = rules.PrefixListPeer{Name: "list"}
	}
	return r
}

// A scene is some groups that a host wears, and the world around.
type scene struct {
	groups []*rules.Group
	lists  map[string]rules.PrefixList
	world  rules.World
	merged *rules.Ruleset
}

func (m maker) scene(tb testing.TB) *scene {
	tb.Helper()
	s := &scene{lists: map[string]rules.PrefixList{"list": {Name: "list"}}}
	list := s.lists["list"]
	for range m.IntN(4) {
		p := m.prefix(m.chance(40))
		list.Entries = append(list.Entries, rules.CIDR{Prefix: p, Text: p.String()})
	}
	s.lists["list"] = list
	typ := rules.GroupType(m.IntN(2))
	names := slices.Clone(oracleGroups)
	m.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:1+m.IntN(3)] {
		g := &rules.Group{Name: name, Type: typ, InnerAccess: typ == rules.Basic && m.chance(40)}
		for range m.IntN(9) {
			g.Ingress = append(g.Ingress, m.rule(g, rules.Ingress))
		}
		for range m.IntN(9) {
			g.Egress = append(g.Egress, m.rule(g, rules.Egress))
		}
		if err := g.Validate(); err != nil {
			tb.Fatalf("the maker made an illegal group: %v", err)
		}
		s.groups = append(s.groups, g)
	}
	m.members(s)
	var err error
	if s.merged, err = rules.Merge(s.groups, s.lists); err != nil {
		tb.Fatal(err)
	}
	return s
}

func (m maker) members(s *scene) {
	for _, name := range oracleGroups {
		if m.chance(25) {
			continue // unknown
		}
		var list []netip.Prefix
		for range m.IntN(8) {
			p := m.prefix(m.chance(40))
			if m.chance(80) {
				p = netip.PrefixFrom(m.near(p), p.Addr().BitLen())
			}
			list = append(list, p)
		}
		s.world.Members.Set(name, list)
	}
	if m.chance(50) {
		s.world.Exempt = []rules.Exempt{
			{Name: "unreachable", Protocol: rules.ICMP, FirstType: 3, LastType: 3},
			{Name: "neighbours", Protocol: rules.ICMPv6, FirstType: 133, LastType: 136},
			{Name: "dhcp", Protocol: rules.UDP, Ports: rules.PortRange{First: 67, Last: 68}},
			{Name: "loopback", Protocol: rules.AllProtocols, Peer: rules.MustCIDR("127.0.0.0/8")},
		}
	}
}

// near draws an address at a border of p.
func (m maker) near(p netip.Prefix) netip.Addr {
	first := p.Addr()
	last := lastOf(p)
	a := one(m, []netip.Addr{first, last, first.Prev(), last.Next()})
	if !a.IsValid() {
		return first
	}
	return a
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// flow draws a flow, mostly around the values of one rule of the scene.
func (m maker) flow(s *scene) rules.Flow {
	f := rules.Flow{Direction: rules.Direction(m.IntN(2))}
	six := m.chance(40)
	f.Protocol = one(m, oracleProtocols[1:])
	port := one(m, oraclePorts)
	list := s.merged.Rules(f.Direction)
	if len(list) > 0 && m.chance(80) {
		r := &list[m.IntN(len(list))]
		if r.Protocol != rules.AllProtocols {
			f.Protocol = r.Protocol
		}
		if !r.Ports.IsZero() {
			port = one(m, []uint16{r.Ports.First, r.Ports.Last, r.Ports.First - 1, r.Ports.Last + 1})
		}
		if len(r.Prefixes) > 0 {
			p := one(m, r.Prefixes)
			six, f.Remote = p.Addr().Is6(), m.near(p)
		}
		if g, ok := r.Peer.(rules.GroupPeer); ok {
			if list := s.world.Members.Prefixes(g.Name); len(list) > 0 {
				p := one(m, list)
				six, f.Remote = p.Addr().Is6(), m.near(p)
			} else if !s.world.Members.Known(g.Name) && m.chance(50) {
				f.RemoteGroup = g.Name
			}
		}
		if r.Member.IsValid() && r.Member.Addr().Is6() == six {
			f.Local = m.near(r.Member)
		}
	}
	return m.complete(s, f, six, port)
}

func (m maker) complete(s *scene, f rules.Flow, six bool, port uint16) rules.Flow {
	if m.chance(10) {
		f.RemoteGroup = one(m, []string{"a", "b", "c", "d", "e", "f"})
	}
	if s.world.Members.Known(f.RemoteGroup) {
		f.RemoteGroup = ""
	}
	switch {
	case f.RemoteGroup != "":
		f.Remote = netip.Addr{}
		if f.Protocol == rules.ICMP || f.Protocol == rules.ICMPv6 {
			six, f.Local = f.Protocol == rules.ICMPv6, netip.Addr{}
		}
	case !f.Remote.IsValid():
		f.Remote = m.near(m.prefix(six))
	}
	if !f.Local.IsValid() {
		f.Local = m.near(m.prefix(six))
	}
	switch {
	case f.Protocol.HasPorts():
		f.Port = port
		if m.chance(70) {
			f.HasSourcePort, f.SourcePort = true, one(m, oraclePorts)
		}
	case f.Protocol == rules.ICMP || f.Protocol == rules.ICMPv6:
		f.ICMPType = one(m, []uint8{0, 3, 4, 8, 132, 133, 136, 137, 255})
	}
	return f
}

func compile(tb testing.TB, s *scene) *rules.Policy {
	tb.Helper()
	p, err := rules.NewWorkspace(&s.world, 0).Compile(s.merged)
	if err != nil {
		tb.Fatalf("Compile: %v", err)
	}
	return p
}

func describeScene(s *scene) string {
	out := fmt.Sprintf("%s, inner access of %v\n", s.merged.Type, s.merged.InnerAccess)
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		for _, r := range s.merged.Rules(d) {
			out += fmt.Sprintf("  %s: %s %d %s %s peer %s %v member %s from %s\n", &r, r.Action, r.Priority, r.Protocol, r.Ports, r.Peer, r.Prefixes, r.Member, r.SourcePorts)
		}
	}
	for _, g := range oracleGroups {
		out += fmt.Sprintf("  members of %s: %v (known: %t)\n", g, s.world.Members.Prefixes(g), s.world.Members.Known(g))
	}
	return out
}

// TestOracle compares the ordered walk with the diagram on random scenes. It
// is the test behind `make fuzz-long`, with -oracle.packets.
func TestOracle(t *testing.T) {
	const perScene = 500
	verdicts := map[string]int{}
	for n := 0; n*perScene < *oraclePackets; n++ {
		m := newMaker(*oracleSeed + uint64(n))
		s := m.scene(t)
		p := compile(t, s)
		for range perScene {
			f := m.flow(s)
			want, got := rules.Evaluate(s.merged, &s.world, &f), p.Verdict(&f)
			verdicts[want.By()[:1]+want.Action.String()]++
			if got != want {
				t.Fatalf("seed %d: %+v\ndiagram: %s by %s\nwalk:    %s by %s\n%s",
					*oracleSeed+uint64(n), f, got.Action, got.By(), want.Action, want.By(), describeScene(s))
			}
		}
	}
	t.Logf("first seed %d, %d packets; verdicts by first letter of what decided: %v", *oracleSeed, *oraclePackets, verdicts)
	if accepted := share(verdicts, "accept"); accepted < 0.3 || accepted > 0.7 {
		t.Errorf("%.0f %% of the packets are accepted: the test should try both verdicts about equally", 100*accepted)
	}
}

func share(verdicts map[string]int, suffix string) float64 {
	part, all := 0, 0
	for k, n := range verdicts {
		all += n
		if k[1:] == suffix {
			part += n
		}
	}
	return float64(part) / float64(all)
}

// TestOracleNoticesAWrongRule plants a fault: the diagram of rules of which
// one is changed. A test that cannot fail proves nothing.
func TestOracleNoticesAWrongRule(t *testing.T) {
	for name, plant := range map[string]func(r *rules.MergedRule){
		"Action":   func(r *rules.MergedRule) { r.Action = 1 - r.Action },
		"LastPort": func(r *rules.MergedRule) { r.Ports.Last++ },
		"Protocol": func(r *rules.MergedRule) {
			r.Protocol, r.Ports, r.SourcePorts = rules.AllProtocols, rules.PortRange{}, rules.PortRange{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			noticed := false
			for seed := uint64(1); seed < 60 && !noticed; seed++ {
				m := newMaker(seed)
				s := m.scene(t)
				wrong := *s.merged
				wrong.Ingress = slices.Clone(s.merged.Ingress)
				i := slices.IndexFunc(wrong.Ingress, func(r rules.MergedRule) bool { return r.Protocol.HasPorts() && r.Ports.Last < 65535 })
				if i < 0 {
					continue
				}
				plant(&wrong.Ingress[i])
				p, err := rules.NewWorkspace(&s.world, 0).Compile(&wrong)
				if err != nil {
					t.Fatal(err)
				}
				for range 2000 {
					f := m.flow(s)
					walk, look := rules.Evaluate(s.merged, &s.world, &f), p.Verdict(&f)
					noticed = noticed || walk.Action != look.Action
				}
			}
			if !noticed {
				t.Error("a wrong rule in the diagram went unnoticed")
			}
		})
	}
}

// TestCoverAndDiffAgreeWithTheWalk samples flows: what Cover calls missing the
// walk drops, what it does not mention the walk accepts; the same for Diff.
func TestCoverAndDiffAgreeWithTheWalk(t *testing.T) {
	for seed := uint64(1); seed <= 150; seed++ {
		m := newMaker(seed)
		s := m.scene(t)
		ws := rules.NewWorkspace(&s.world, 0)
		p, err := ws.Compile(s.merged)
		if err != nil {
			t.Fatal(err)
		}
		checkCover(t, m, s, p)
		changed := *s.merged
		changed.Ingress = changed.Ingress[:len(changed.Ingress)/2]
		q, err := ws.Compile(&changed)
		if err != nil {
			t.Fatal(err)
		}
		checkDiff(t, m, s, ws, p, q)
	}
}

func checkCover(t *testing.T, m maker, s *scene, p *rules.Policy) {
	t.Helper()
	var needs []rules.Need
	for i := range 12 {
		r := m.rule(&rules.Group{Name: "z"}, rules.Direction(i%2))
		needs = append(needs, rules.Need{ID: fmt.Sprint(i), Direction: r.Direction, Protocol: r.Protocol, Ports: r.Ports, Peer: r.Peer})
	}
	missing, err := p.Cover(needs, s.lists)
	if err != nil {
		t.Fatal(err)
	}
	lacking := map[string]bool{}
	blockers := map[string][]*rules.MergedRule{}
	for _, miss := range missing {
		lacking[miss.Need.ID], blockers[miss.Need.ID] = true, miss.Blockers
		if !miss.Example.HasSourcePort && miss.Example.Protocol.HasPorts() {
			t.Errorf("example %+v has no source port: no packet is like that", miss.Example)
		}
		if got := rules.Evaluate(s.merged, &s.world, &miss.Example); got != miss.Verdict || got.Action != rules.Drop {
			t.Fatalf("Cover says %s drops %+v; the walk says %s by %s", miss.Verdict.By(), miss.Example, got.Action, got.By())
		}
		if !needHolds(s, &miss.Need, &miss.Example) {
			t.Fatalf("example %+v is no flow of need %+v", miss.Example, miss.Need)
		}
	}
	for range 300 {
		f := m.packet(s)
		v := rules.Evaluate(s.merged, &s.world, &f)
		for i := range needs {
			if v.Action == rules.Drop && !lacking[needs[i].ID] && needHolds(s, &needs[i], &f) {
				t.Fatalf("Cover finds nothing missing of %+v, yet the walk drops %+v by %s", needs[i], f, v.By())
			}
			if v.Action == rules.Drop && v.Rule != nil && needHolds(s, &needs[i], &f) && !slices.Contains(blockers[needs[i].ID], v.Rule) {
				t.Fatalf("%s drops %+v of %+v and is no blocker", v.By(), f, needs[i])
			}
		}
	}
}

// packet makes a flow that can occur: with a source port if the protocol has
// any, and ICMP of the family of its addresses.
func (m maker) packet(s *scene) rules.Flow {
	for {
		f := m.flow(s)
		if f.Protocol == rules.ICMP && f.Local.Is6() || f.Protocol == rules.ICMPv6 && f.Local.Is4() {
			continue
		}
		if f.Protocol.HasPorts() {
			f.HasSourcePort, f.SourcePort = true, max(f.SourcePort, 1)
		}
		return f
	}
}

// needHolds asks the walk whether a flow is one of a need's, by making the
// need the only rule of a group.
func needHolds(s *scene, n *rules.Need, f *rules.Flow) bool {
	if n.Direction != f.Direction {
		return false
	}
	g := &rules.Group{Name: "probe", Type: rules.Advanced}
	r := rules.Rule{Direction: n.Direction, Action: rules.Accept, Priority: 1, Protocol: n.Protocol, Ports: n.Ports, Peer: n.Peer}
	g.Ingress, g.Egress = []rules.Rule{r}, []rules.Rule{r}
	rs, err := rules.Merge([]*rules.Group{g}, s.lists)
	if err != nil {
		panic(err)
	}
	v := rules.Evaluate(rs, &rules.World{Members: s.world.Members}, f)
	return v.Action == rules.Accept
}

func checkDiff(t *testing.T, m maker, s *scene, ws *rules.Workspace, p, q *rules.Policy) {
	t.Helper()
	change, err := rules.Diff(p, q)
	if err != nil {
		t.Fatal(err)
	}
	same := true
	for range 300 {
		f := m.packet(s)
		old, updated := rules.Evaluate(p.Rules, &s.world, &f), rules.Evaluate(q.Rules, &s.world, &f)
		same = same && old.Action == updated.Action
	}
	if !same && change.IsEmpty() {
		t.Fatal("Diff finds no change, yet some flow's verdict changed")
	}
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		for i, set := range []rules.Set{change.Opens[d], change.Closes[d]} {
			for _, region := range ws.Regions(set) {
				f := region.Example
				if f.RemoteGroup == "another group" {
					continue
				}
				old, updated := rules.Evaluate(p.Rules, &s.world, &f), rules.Evaluate(q.Rules, &s.world, &f)
				if old.Action == updated.Action || (updated.Action == rules.Accept) != (i == 0) {
					t.Fatalf("Diff lists %+v, example %+v: %s before, %s after", region, f, old.Action, updated.Action)
				}
			}
		}
	}
}

func FuzzOracle(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed, seed+100)
	}
	f.Fuzz(func(t *testing.T, sceneSeed, flowSeed uint64) {
		s := newMaker(sceneSeed).scene(t)
		p := compile(t, s)
		m := newMaker(flowSeed)
		for range 50 {
			flow := m.flow(s)
			want, got := rules.Evaluate(s.merged, &s.world, &flow), p.Verdict(&flow)
			if got != want {
				t.Fatalf("%+v: diagram says %s by %s, walk says %s by %s\n%s", flow, got.Action, got.By(), want.Action, want.By(), describeScene(s))
			}
		}
	})
}
