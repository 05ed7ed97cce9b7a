package rules_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	"ringfence.dev/ringfence/rules"
)

const benchMembers = 65_000

// bigWorld has one group of 65,000 single addresses, scattered over 10.0.0.0/8.
func bigWorld() *rules.World {
	r := rand.New(rand.NewPCG(3, 4))
	list := make([]netip.Prefix, benchMembers)
	for i := range list {
		list[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))}), 32)
	}
	w := &rules.World{}
	w.Members.Set("peers", list)
	return w
}

// bigGroup has n ingress rules as a grown-up group has them: most by CIDR, some by group.
func bigGroup(n int) *rules.Group {
	r := rand.New(rand.NewPCG(5, uint64(n)))
	g := &rules.Group{Name: "big"}
	for i := range n {
		port := uint16(1 + r.IntN(60000))
		rule := rules.Rule{Action: rules.Accept, Priority: uint8(1 + r.IntN(100)), Protocol: rules.TCP, Ports: rules.PortRange{First: port, Last: port + uint16(r.IntN(20))}}
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(10 + i%4), byte(r.IntN(256)), byte(r.IntN(256)), 0}), 8+r.IntN(17)).Masked()
		rule.Peer = rules.CIDR{Prefix: p, Text: p.String()}
		if i%100 == 1 {
			rule.Peer = rules.GroupPeer{Name: "peers"}
		}
		if i%10 == 0 {
			rule.Action = rules.Drop
		}
		g.Ingress = append(g.Ingress, rule)
	}
	return g
}

func mergeOne(b *testing.B, g *rules.Group) *rules.Ruleset {
	b.Helper()
	rs, err := rules.Merge([]*rules.Group{g}, nil)
	if err != nil {
		b.Fatal(err)
	}
	return rs
}

// benchFlows are flows that mostly come from members, half of them matching late or never.
func benchFlows(w *rules.World) []rules.Flow {
	r := rand.New(rand.NewPCG(7, 8))
	members := w.Members.Prefixes("peers")
	flows := make([]rules.Flow, 1024)
	for i := range flows {
		flows[i] = rules.Flow{
			Local: netip.MustParseAddr("10.0.0.1"), Remote: members[r.IntN(len(members))].Addr(),
			Protocol: rules.TCP, Port: uint16(r.IntN(65536)),
		}
	}
	return flows
}

func BenchmarkVerdict(b *testing.B) {
	w := bigWorld()
	flows := benchFlows(w)
	for _, n := range []int{10, 200, 1000} {
		rs := mergeOne(b, bigGroup(n))
		p, err := rules.NewWorkspace(w, 0).Compile(rs)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("walk/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				rules.Evaluate(rs, w, &flows[i%len(flows)])
			}
		})
		b.Run(fmt.Sprintf("lookup/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p.Verdict(&flows[i%len(flows)])
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	w := bigWorld()
	for name, g := range map[string]*rules.Group{
		"five-tuple/1000":        fiveTupleGroup(1000),
		"members-65000/rules-10": bigGroup(10), "members-65000/rules-1000": bigGroup(1000),
	} {
		b.Run(name, func(b *testing.B) {
			rs := mergeOne(b, g)
			var p *rules.Policy
			b.ReportAllocs()
			for b.Loop() {
				ws := rules.NewWorkspace(w, 0)
				var err error
				if p, err = ws.Compile(rs); err != nil {
					b.Fatal(err)
				}
			}
			size := p.Size(rules.Ingress)
			b.ReportMetric(float64(size.Edges), "edges")
			b.ReportMetric(float64(size.Children), "classes")
		})
	}
}

// BenchmarkSingleAddresses shows that memory is linear in single addresses.
func BenchmarkSingleAddresses(b *testing.B) {
	for _, n := range []int{8_000, 16_000, 32_000, 65_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := &rules.World{}
			w.Members.Set("peers", bigWorld().Members.Prefixes("peers")[:n])
			rs := mergeOne(b, bigGroup(10))
			var before, after runtime.MemStats
			var p *rules.Policy
			for b.Loop() {
				runtime.GC()
				runtime.ReadMemStats(&before)
				var err error
				if p, err = rules.NewWorkspace(w, 0).Compile(rs); err != nil {
					b.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "bytes/address")
			b.ReportMetric(float64(p.Size(rules.Ingress).Edges)/float64(n), "edges/address")
		})
	}
}

// fiveTupleGroup has n random rules that restrict all five fields.
func fiveTupleGroup(n int) *rules.Group {
	r := rand.New(rand.NewPCG(9, uint64(n)))
	prefix := func() netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))}), 8+r.IntN(25)).Masked()
	}
	span := func() rules.PortRange {
		x := uint16(1 + r.IntN(65000))
		return rules.PortRange{First: x, Last: x + uint16(r.IntN(500))}
	}
	g := &rules.Group{Name: "five"}
	for range n {
		p := prefix()
		g.Ingress = append(g.Ingress, rules.Rule{
			Action: rules.Action(r.IntN(2)), Priority: uint8(1 + r.IntN(100)), Protocol: []rules.Protocol{rules.TCP, rules.UDP}[r.IntN(2)],
			Ports: span(), SourcePorts: span(), Member: prefix(), Peer: rules.CIDR{Prefix: p, Text: p.String()},
		})
	}
	return g
}
