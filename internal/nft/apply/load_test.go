package apply_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
)

var loadSwaps = flag.Int("load.swaps", 8, "swaps that TestSwapUnderLoad makes, each with ten changes of members")

// Who sends in the load tests. Groups and ranges let some in by both versions,
// and nobody lets the others in by any.
var (
	goodMembers = []netip.Addr{netip.MustParseAddr("10.9.0.0"), netip.MustParseAddr("2001:db8:9::")}
	goodRangers = []netip.Addr{netip.MustParseAddr("10.7.0.0"), netip.MustParseAddr("2001:db8:7::")}
	badMembers  = []netip.Addr{netip.MustParseAddr("10.8.0.0"), netip.MustParseAddr("2001:db8:8::")}
	tcpClient   = netip.MustParseAddr("10.0.0.2")
	loadHost    = netip.MustParseAddr("10.0.0.1")
	loadHost6   = netip.MustParseAddr("2001:db8::1")
)

const (
	loadPort = 80   // UDP
	tcpPort  = 5432 // where a real server accepts
	senders  = 8    // addresses of each kind and family
)

// TestSwapUnderLoad swaps versions and lets members change groups while new
// flows come, thousands a second. Those that both versions accept must all pass,
// those that both drop must all be dropped.
func TestSwapUnderLoad(t *testing.T) {
	l := newLoad(t, 0)
	l.start()
	l.change(*loadSwaps, l.swap)
	l.wantNoneWrong(fmt.Sprintf("%d swaps and %d changes of members", l.swaps, l.changes))
}

// wantNoneWrong ends the traffic, of which nothing may have been judged wrongly.
func (l *load) wantNoneWrong(what string) {
	l.st.t.Helper()
	got := l.stop(func(o outcome) bool {
		return o.wrongDrops == 0 && l.st.tallies()[nft.Leaf(rules.Ingress, rules.Verdict{}, false)].Packets >= o.bad
	})
	l.st.t.Logf("%s: %s", what, got)
	if got.wrongDrops+got.wrongAccepts+got.refused > 0 || got.good == 0 || got.bad == 0 || got.connections == 0 {
		l.st.t.Errorf("%s: %d wrong drops, %d wrong accepts, %d connections failed: want none of many", what, got.wrongDrops, got.wrongAccepts, got.refused)
	}
}

// TestLoadNoticesAFault plants faults into how, and to what, is swapped. A test
// that cannot fail proves nothing.
func TestLoadNoticesAFault(t *testing.T) {
	for name, c := range map[string]struct {
		swap    func(*load, *nft.Version)
		without int // see newLoad
		noticed func(outcome) bool
	}{
		"deletes first": {
			func(l *load, v *nft.Version) {
				l.st.check(l.st.kernel.Uninstall())
				l.st.check(l.st.kernel.Build(v, []string{uplink}))
				l.st.check(l.st.kernel.Confirm(v.Name))
			}, 0, func(o outcome) bool { return o.wrongAccepts > 0 },
		},
		"wrong version": {(*load).swap, 1, func(o outcome) bool { return o.wrongDrops > 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoad(t, c.without)
			l.start()
			l.change(4, func(v *nft.Version) { c.swap(l, v) })
			got := l.stop(c.noticed)
			if t.Log(got); !c.noticed(got) {
				t.Error("nobody noticed")
			}
		})
	}
}

// A load is a host with two versions to swap, under traffic.
type load struct {
	*traffic
	versions [2]*nft.Compiler
	members  roster
	now      int // the version in force
	next     int // the sender that changes its groups next
	swaps    int
	changes  int
}

// newLoad puts the first version in force. Without is how many of the rules that
// both need are left out of both.
func newLoad(t *testing.T, without int) *load {
	t.Helper()
	l := &load{traffic: newTraffic(t), members: loadMembers()}
	l.compile(without)
	v, err := l.versions[0].Version(l.members.membership())
	l.st.check(err)
	l.st.check(l.st.kernel.Build(v, []string{uplink}))
	l.st.check(l.st.kernel.Confirm(v.Name))
	return l
}

// loadMembers are the members at first.
func loadMembers() roster {
	out := roster{}
	for a := netip.MustParseAddr("10.100.0.0"); len(out) < 2000; a = a.Next() {
		out[a] = []string{"a"}
	}
	for i := range senders {
		for _, a := range goodMembers {
			out[nth(a, i)] = []string{"a"}
		}
	}
	return out
}

func (l *load) compile(without int) {
	l.st.t.Helper()
	for i := range l.versions {
		l.versions[i] = l.compiler(i, without)
	}
}

// nth is the address that many after a.
func nth(a netip.Addr, i int) netip.Addr {
	for range i {
		a = a.Next()
	}
	return a
}

// compiler lays out one of two versions that differ in hundreds of elements of
// every kind of map, and agree on what the load is about.
func (l *load) compiler(version, without int) *nft.Compiler {
	l.st.t.Helper()
	g := &rules.Group{Name: "g", Ingress: []rules.Rule{
		to(rules.UDP, loadPort, "10.7.0.0/24"),
		to(rules.UDP, loadPort, "2001:db8:7::/48"),
		{Action: rules.Accept, Priority: 1, Protocol: rules.UDP, Ports: rules.PortRange{First: loadPort, Last: loadPort}, Peer: rules.GroupPeer{Name: "a"}},
		to(rules.TCP, tcpPort, "10.0.0.0/24"),
	}[without:]}
	for n := range 60 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(version), byte(n), 0}), 25)
		port := uint16(100 + 10*n + version)
		r := rules.Rule{Action: rules.Accept, Priority: 2, Protocol: rules.UDP, Ports: rules.PortRange{First: port, Last: port + 3}}
		for _, peer := range []rules.Peer{rules.CIDR{Prefix: p, Text: p.String()}, rules.GroupPeer{Name: "a"}, rules.GroupPeer{Name: "b"}} {
			if _, ok := peer.(rules.GroupPeer); !ok || n < 30 {
				r.Peer = peer
				g.Ingress = append(g.Ingress, r)
			}
			r.Ports.First, r.Ports.Last = r.Ports.First+4, r.Ports.Last+4
		}
	}
	rs, err := rules.Merge([]*rules.Group{g}, nil)
	l.st.check(err)
	c, err := nft.New(nft.Input{Ruleset: rs})
	l.st.check(err)
	return c
}

// swap is what a good agent does.
func (l *load) swap(v *nft.Version) {
	l.st.check(l.st.kernel.Build(v, nil))
	l.st.check(l.st.kernel.Trial(v.Name, time.Hour))
	l.st.check(l.st.kernel.ConfirmTrial(v.Name))
	l.st.check(l.st.kernel.Delete(v))
}

// change swaps, and lets members change groups after each swap.
func (l *load) change(swaps int, swap func(*nft.Version)) {
	l.st.t.Helper()
	for range swaps {
		l.now = 1 - l.now
		v, err := l.versions[l.now].Version(l.members.membership())
		l.st.check(err)
		swap(v)
		l.swaps++
		for range 5 {
			family := l.next % 2
			l.regroup(nth(goodMembers[family], l.next/2), "a") // whose flow passes either way
			l.regroup(nth(badMembers[family], l.next/2))       // whose flow does not
			l.next = (l.next + 1) % (2 * senders)
		}
	}
}

// regroup lets a sender join group b, or leave it; it stays in its others.
func (l *load) regroup(a netip.Addr, others ...string) {
	l.st.t.Helper()
	before := l.members[a]
	after := others
	if len(before) == len(others) {
		after = append(after, "b")
	}
	moves, err := l.versions[l.now].Moves([]nft.Change{{Address: a, Before: before, After: after}})
	l.st.check(err)
	if len(moves) == 0 {
		l.st.t.Fatalf("%s from %v to %v changes nothing in the kernel", a, before, after)
	}
	l.st.check(l.st.kernel.Move(l.versions[l.now].Needs(moves), moves))
	l.members[a] = after
	l.changes++
}

// An outcome is what a load test has seen.
type outcome struct {
	span                     time.Duration
	good, bad                uint64 // UDP packets, each a new flow, and SYNs among the bad
	tcp                      uint64 // packets of connections
	connections, refused     uint64
	wrongDrops, wrongAccepts uint64
}

// String says how much there was.
func (o outcome) String() string {
	rate := func(n uint64) string { return fmt.Sprintf("%d (%.0f a second)", n, float64(n)/o.span.Seconds()) }
	return fmt.Sprintf("in %.1f s, new UDP flows that must pass %s, that must not %s; TCP connections %s, with %d packets; %d wrong drops, %d wrong accepts, %d connections failed",
		o.span.Seconds(), rate(o.good), rate(o.bad), rate(o.connections), o.tcp, o.wrongDrops, o.wrongAccepts, o.refused)
}

// frame is a datagram from an address.
func (s *sender) frame(from netip.Addr) []byte {
	p := packet{hopLimit: 64, flow: rules.Flow{Protocol: rules.UDP, Remote: from, Local: loadHost, Port: loadPort, HasSourcePort: true}}
	if from.Is6() {
		p.flow.Local = loadHost6
	}
	return s.ethernet(&p)
}

// setSourcePort makes a frame one of another flow. What the checksum loses by
// the port, it gets back by a word of the payload.
func setSourcePort(frame []byte, port uint16) {
	const ethernet, udp = 14, 8
	at := ethernet + 20
	if frame[ethernet]>>4 == 6 {
		at = ethernet + 40
	}
	binary.BigEndian.PutUint16(frame[at:], port)
	binary.BigEndian.PutUint16(frame[at+udp:], ^port)
}
