package flowset_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"ringfence.dev/ringfence/rules/flowset"
)

// boxesOf makes n boxes of TCP flows, as groups have them.
func boxesOf(shape string, n int) []flowset.Box {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	boxes := make([]flowset.Box, n)
	for i := range boxes {
		b := flowset.All(flowset.IPv4)
		b.Protocol = flowset.Range{First: 6, Last: 6}
		port := uint32(1 + r.IntN(60000))
		b.Port = flowset.Range{First: port, Last: port + uint32(r.IntN(2000))}
		switch shape {
		case "disjoint":
			b.Peer = flowset.RangeOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24))
		case "nested":
			b.Peer = flowset.RangeOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i * 7), byte(i >> 3), byte(r.IntN(256))}), nestedBits(i)))
		case "crowded":
			b.Peer = flowset.RangeOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 4), byte(i), byte(r.IntN(256))}), 8+r.IntN(25)))
		case "random":
			x, y := r.Uint32(), r.Uint32()
			b.Peer = flowset.AddrRange{First: flowset.Addr{Lo: uint64(min(x, y))}, Last: flowset.Addr{Lo: uint64(max(x, y))}}
		}
		boxes[i] = b
	}
	return boxes
}

// nestedBits is a mix of prefix lengths as groups have it: a few rules for the
// whole network, and many for its parts: ranges, subnets, hosts.
func nestedBits(i int) int {
	switch {
	case i < 4:
		return 8
	case i%10 == 0:
		return 16
	case i%2 == 0:
		return 24
	}
	return 32
}

func BenchmarkUnion(b *testing.B) {
	for _, shape := range []string{"disjoint", "nested", "crowded", "random"} {
		for _, n := range []int{100, 400, 2000} {
			b.Run(fmt.Sprintf("%s/%d", shape, n), func(b *testing.B) {
				boxes := boxesOf(shape, n)
				var a *flowset.Arena
				var d flowset.Diagram
				b.ReportAllocs()
				for b.Loop() {
					var err error
					a = flowset.NewArena(0)
					if d, err = a.SetOf(boxes); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(d.Size().Edges), "edges")
				b.ReportMetric(float64(a.Bytes()), "arena-bytes")
			})
		}
	}
}
