package apply_test

import (
	"context"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A bench is two network namespaces of this test alone: the host that is
// judged, in which the calling goroutine runs from now on, and the wire that
// its only uplink leads to.
type bench struct {
	t          *testing.T
	host, wire int // namespaces
	link       netlink.Link
}

const uplink = "eth0"

// newBench skips the test if it may not make namespaces.
func newBench(t *testing.T) *bench {
	t.Helper()
	runtime.LockOSThread()
	before := openNamespace(t)
	b := &bench{t: t}
	for _, ns := range []*int{&b.wire, &b.host} {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			t.Skipf("needs root, to make network namespaces: %v", err)
		}
		*ns = openNamespace(t)
		b.quiet() // before there are links: they take over what is the default then
	}
	t.Cleanup(func() {
		enter(t, before)
		runtime.UnlockOSThread()
		for _, ns := range []int{b.host, b.wire, before} {
			_ = unix.Close(ns)
		}
	})
	attributes := netlink.NewLinkAttrs()
	attributes.Name = uplink
	b.check(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "wire", PeerNamespace: netlink.NsFd(b.wire)}))
	b.link = b.up(uplink)
	for _, to := range []string{"0.0.0.0/0", "::/0"} {
		dst, err := netlink.ParseIPNet(to)
		b.check(err)
		b.check(netlink.RouteAdd(&netlink.Route{LinkIndex: b.link.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK}))
	}
	// Without an IPv6 address of its own the host sends from no other either.
	lo := b.up("lo")
	own, err := netlink.ParseAddr("fd00:eeee::1/128")
	b.check(err)
	b.check(netlink.AddrAdd(lo, own))
	b.on(b.wire, func() { b.up("wire") })
	return b
}

func openNamespace(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func enter(t *testing.T, ns int) {
	t.Helper()
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

// on runs f in another namespace.
func (b *bench) on(ns int, f func()) {
	b.t.Helper()
	enter(b.t, ns)
	defer enter(b.t, b.host)
	f()
}

// quiet keeps the kernel from sending packets of its own accord.
func (b *bench) quiet() {
	b.t.Helper()
	for file, value := range map[string]string{"default/addr_gen_mode": "1", "default/router_solicitations": "0", "default/accept_dad": "0"} {
		b.check(os.WriteFile("/proc/sys/net/ipv6/conf/"+file, []byte(value), 0o600))
	}
}

func (b *bench) up(name string) netlink.Link {
	b.t.Helper()
	link, err := netlink.LinkByName(name)
	b.check(err)
	b.check(netlink.LinkSetARPOff(link))
	b.check(netlink.LinkSetUp(link))
	return link
}

func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// wait asks until the answer is yes, and reports whether it ever was.
func (b *bench) wait(done func() bool) bool {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	for !done() {
		if ctx.Err() != nil {
			return false
		}
	}
	return true
}

// A sender puts packets on the wire and into the host's own stack.
type sender struct {
	wire, raw4, raw6 int
	to               unix.SockaddrLinklayer
	mac              []byte
}

func (b *bench) sender() *sender {
	b.t.Helper()
	s := &sender{mac: b.link.Attrs().HardwareAddr}
	socket := func(domain, kind, protocol int) int {
		fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
		b.check(err)
		b.t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	b.on(b.wire, func() {
		link, err := netlink.LinkByName("wire")
		b.check(err)
		s.wire = socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		s.to = unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Halen: 6}
	})
	s.raw4 = socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	s.raw6 = socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_RAW)
	b.check(unix.SetsockoptInt(s.raw6, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL, 1))
	b.check(unix.SetsockoptInt(s.raw4, unix.IPPROTO_IP, unix.IP_HDRINCL, 1))
	for _, fd := range []int{s.raw4, s.raw6} {
		b.check(unix.BindToDevice(fd, uplink))
	}
	return s
}
