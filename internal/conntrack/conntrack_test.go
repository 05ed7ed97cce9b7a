package conntrack_test

import (
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/conntrack"
)

// enter puts the test into a network namespace of its own, in which the
// loopback interface is up and connections are followed.
func enter(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("needs root, to make a network namespace: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	check(t, err)
	check(t, netlink.LinkSetUp(lo))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T) []conntrack.Entry {
	t.Helper()
	out, err := conntrack.Find(100, func(*conntrack.Entry) bool { return true })
	check(t, err)
	return out
}

// create makes the kernel follow a flow that no packet was sent for.
func create(t *testing.T, source, destination string, zone uint16) {
	t.Helper()
	from, to := netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)
	family := uint8(unix.AF_INET)
	if from.Addr().Is6() {
		family = unix.AF_INET6
	}
	ip := func(a netip.AddrPort) net.IP { return a.Addr().AsSlice() }
	flow := &netlink.ConntrackFlow{
		FamilyType: family, TimeOut: 600, Zone: zone,
		Forward: netlink.IPTuple{Protocol: unix.IPPROTO_UDP, SrcIP: ip(from), DstIP: ip(to), SrcPort: from.Port(), DstPort: to.Port()},
		Reverse: netlink.IPTuple{Protocol: unix.IPPROTO_UDP, SrcIP: ip(to), DstIP: ip(from), SrcPort: to.Port(), DstPort: from.Port()},
	}
	check(t, netlink.ConntrackCreate(netlink.ConntrackTable, netlink.InetFamily(family), flow))
}

func TestFindAndDelete(t *testing.T) {
	enter(t)
	create(t, "10.0.0.1:1000", "10.0.0.2:53", 0)
	create(t, "[2001:db8::1]:1000", "[2001:db8::2]:53", 0)
	create(t, "10.0.0.1:1001", "10.0.0.2:53", 0)
	all := list(t)
	if len(all) != 3 {
		t.Fatalf("%d entries, want 3: %+v", len(all), all)
	}
	var gone []conntrack.Entry
	for _, e := range all {
		if e.Protocol != unix.IPPROTO_UDP || e.Original.Destination.Port() != 53 || e.Reply.Source != e.Original.Destination || e.Reply.Destination != e.Original.Source {
			t.Errorf("read %+v", e)
		}
		if e.Original.Source.Port() == 1000 {
			gone = append(gone, e)
		}
	}
	check(t, conntrack.Delete(gone))
	check(t, conntrack.Delete(gone)) // gone already
	left := list(t)
	if len(left) != 1 || left[0].Original.Source.String() != "10.0.0.1:1001" {
		t.Errorf("left are %+v, want the one that was not deleted", left)
	}

	create(t, "10.0.0.1:1000", "10.0.0.2:53", 0)
	check(t, conntrack.Delete(gone))
	if left := list(t); len(left) != 2 {
		t.Errorf("a later flow of the same ends was deleted: left are %+v", left)
	}
}

func BenchmarkFind(b *testing.B) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		b.Skipf("needs root, to make a network namespace: %v", err)
	}
	const n = 20_000
	for i := range n {
		flow := &netlink.ConntrackFlow{FamilyType: unix.AF_INET, TimeOut: 600}
		from, to := net.IPv4(10, 1, byte(i>>8), byte(i)), net.IPv4(10, 0, 0, 1)
		flow.Forward = netlink.IPTuple{Protocol: unix.IPPROTO_UDP, SrcIP: from.To4(), DstIP: to.To4(), SrcPort: 1000, DstPort: 53}
		flow.Reverse = netlink.IPTuple{Protocol: unix.IPPROTO_UDP, SrcIP: to.To4(), DstIP: from.To4(), SrcPort: 53, DstPort: 1000}
		if err := netlink.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, flow); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		seen := 0
		_, err := conntrack.Find(0, func(*conntrack.Entry) bool {
			seen++
			return true
		})
		if err != nil || seen != n {
			b.Fatalf("%d of %d entries: %v", seen, n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/entry")
}
