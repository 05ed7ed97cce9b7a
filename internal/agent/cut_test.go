package agent

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/conntrack"
	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/internal/statedir"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// A call is a flow between two ends that both may speak at any time.
type call struct {
	t         *testing.T
	what      string
	near, far net.Conn // who called, and who was called
	said      int
}

// calls opens a TCP connection to an address at which a node listens: its own
// unless something leads there from elsewhere.
func (a *node) calls(at netip.AddrPort, to *node, listening netip.AddrPort) *call {
	a.t.Helper()
	var l net.Listener
	a.network.must(in(to.ns, func() error {
		var err error
		l, err = (&net.ListenConfig{}).Listen(a.t.Context(), "tcp", listening.String())
		return err
	}))
	defer func() { _ = l.Close() }()
	c := &call{t: a.t, what: fmt.Sprintf("TCP from %s to %s", a.name, at)}
	a.network.must(in(a.ns, func() error {
		var err error
		c.near, err = (&net.Dialer{Timeout: long}).DialContext(a.t.Context(), "tcp", at.String())
		return err
	}))
	var err error
	c.far, err = l.Accept()
	a.network.must(err)
	return c.begin()
}

// callsUDP lets two sockets with fixed ends talk to each other.
func (a *node) callsUDP(from uint16, to *node, port uint16) *call {
	a.t.Helper()
	near, far := netip.AddrPortFrom(a.addr, from), netip.AddrPortFrom(to.addr, port)
	c := &call{t: a.t, what: fmt.Sprintf("UDP from %s to %s", near, far)}
	socket := func(ns int, own, peer netip.AddrPort) net.Conn {
		var out net.Conn
		a.network.must(in(ns, func() error {
			var err error
			out, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(own), net.UDPAddrFromAddrPort(peer))
			return err
		}))
		return out
	}
	c.near, c.far = socket(a.ns, near, far), socket(to.ns, far, near)
	return c.begin()
}

// begin wants the flow to work both ways, so that it is established.
func (c *call) begin() *call {
	c.t.Helper()
	c.t.Cleanup(func() { _, _ = c.near.Close(), c.far.Close() })
	c.wantTalks("at first")
	return c
}

func (c *call) wantTalks(when string) {
	c.t.Helper()
	for _, way := range [][2]net.Conn{{c.near, c.far}, {c.far, c.near}} {
		if !c.says(way[0], way[1], long) {
			c.t.Fatalf("%s: %s does not go on", when, c.what)
		}
	}
}

// says sends a word and reports whether it arrives in time.
func (c *call) says(from, to net.Conn, patience time.Duration) bool {
	c.t.Helper()
	c.said++
	word := fmt.Sprintf("<%06d>", c.said)
	if _, err := io.WriteString(from, word); err != nil {
		return false
	}
	return c.hears(to, word, patience)
}

func (c *call) hears(at net.Conn, word string, patience time.Duration) bool {
	c.t.Helper()
	if err := at.SetReadDeadline(time.Now().Add(patience)); err != nil { //nolint:forbidigo // the kernel's own clock
		c.t.Fatal(err)
	}
	heard := ""
	var b [64]byte
	for !strings.Contains(heard, word) {
		n, err := at.Read(b[:])
		if heard += string(b[:n]); err != nil {
			return false
		}
	}
	return true
}

// wantCut wants neither end to hear the other, although both speak again and
// again: until the host has dropped some of it, each way. An empty leaf is one
// that cannot be told.
func (c *call) wantCut(when string, host *node, fromNear, fromFar string) {
	c.t.Helper()
	for _, way := range []struct {
		from, to net.Conn
		leaf     string
	}{{c.near, c.far, fromNear}, {c.far, c.near, fromFar}} {
		before := host.dropped(way.leaf)
		if c.says(way.from, way.to, short) {
			c.t.Errorf("%s: %s goes on", when, c.what)
		}
		again := wait(func() bool {
			if c.says(way.from, way.to, 20*time.Millisecond) {
				c.t.Fatalf("%s: %s goes on", when, c.what)
			}
			return way.leaf == "" || host.dropped(way.leaf) >= before+2
		})
		if !again {
			c.t.Errorf("%s: %s: leaf %s counts %d, then %d: the host drops nothing", when, c.what, way.leaf, before, host.dropped(way.leaf))
		}
	}
}

// goesOn talks until it is told to stop; then it reports whether every word
// arrived.
func (c *call) goesOn() (stop func()) {
	quit, ended := make(chan struct{}), make(chan int)
	go func() {
		words := 0
		for {
			select {
			case <-quit:
				ended <- words
				return
			default:
			}
			if !c.says(c.near, c.far, long) || !c.says(c.far, c.near, long) {
				<-quit
				ended <- -1
				return
			}
			words++
		}
	}()
	return func() {
		c.t.Helper()
		close(quit)
		if words := <-ended; words < 0 {
			c.t.Errorf("%s: a word was lost although the flow is let through before and after", c.what)
		}
	}
}

// ask asks the nftables of a node.
func (a *node) ask(f func(k *apply.Kernel) error) {
	a.t.Helper()
	a.network.must(in(a.ns, func() error {
		k, err := apply.Open()
		if err != nil {
			return err
		}
		return errors.Join(f(k), k.Close())
	}))
}

// follows returns how many flows that another node began the kernel follows.
func (a *node) follows(other *node) int {
	a.t.Helper()
	n := 0
	a.network.must(in(a.ns, func() error {
		_, err := conntrack.Find(0, func(e *conntrack.Entry) bool {
			if e.Original.Source.Addr() == other.addr {
				n++
			}
			return false
		})
		return err
	}))
	return n
}

func (a *node) dropped(leaf string) uint64 {
	a.t.Helper()
	var out uint64
	a.ask(func(k *apply.Kernel) error {
		list, err := k.Tallies()
		out = list[leaf].Packets
		return err
	})
	return out
}

func (a *node) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(a.addr, port) }

// wornBy1 is a host that wears a basic group with these rules; node-2 wears
// app, node-3 what is said.
func wornBy1(node3, observe string, rules ...string) string {
	text := groupsText(node3)
	var in, out string
	for _, r := range rules {
		d, rest, _ := strings.Cut(r, " ")
		line := "  - {" + rest + ", priority: 1}\n"
		if d == "in" {
			in += line
		} else {
			out += line
		}
	}
	spec := "  ingress:\n" + in
	if out != "" {
		spec += "  egress:\n" + out
	}
	text = strings.Replace(text, "  ingress:\n", spec, 1)
	return strings.Replace(text, "securityGroupNames: [db]", "securityGroupNames: [db]"+observe, 1)
}

var inDrop, outDrop = nft.Revoked(rules.Ingress), nft.Revoked(rules.Egress)

// TestRevokeRule takes rules away under flows: TCP and UDP stop at once and
// cannot be picked up, and what is still let through loses nothing.
func TestRevokeRule(t *testing.T) {
	t.Parallel()
	node1, node2, node3 := three(t)
	dir := t.TempDir()
	node1.network.must(in(node1.ns, func() error { return translate(node1.addr, 1, 1) })) // the kernel follows flows from here on
	stranger := node3.calls(node1.at(80), node1, node1.at(80))
	const app = "peer: {groupName: app}, policy: Accept"
	all := []string{"in protocol: TCP, ports: 80/81, " + app, "in protocol: UDP, ports: 90/91, " + app}
	write(t, dir, wornBy1("other", "", all...))
	if out := node1.must(node1.flags(dir, "--dry-run")...); !strings.Contains(out, "# 1 established flows would be cut\n#   ingress TCP 10.50.0.13:") {
		t.Errorf("the dry run does not say what would be cut:\n%s", out[:min(len(out), 1000)])
	}
	stranger.wantTalks("after a dry run")
	o := node1.run(node1.flags(dir, "--once", "--confirm=probe")...)
	if o.code != 0 || !strings.Contains(o.err, `msg="flows will be cut once this is confirmed" flows=1`) || !strings.Contains(o.err, "10.50.0.13:") {
		t.Errorf("exit code %d, it said %s; want what will be cut", o.code, o.err)
	}
	stranger.wantCut("the first rules", node1, inDrop, outDrop)

	tcp, udp := node2.calls(node1.at(80), node1, node1.at(80)), node2.callsUDP(4000, node1, 90)
	stays, stop := node2.calls(node1.at(81), node1, node1.at(81)), node2.callsUDP(4001, node1, 91).goesOn()
	less := []string{"in protocol: TCP, ports: 81/81, " + app, "in protocol: UDP, ports: 91/91, " + app}
	write(t, dir, wornBy1("other", "", less...))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	tcp.wantCut("the rule is gone", node1, inDrop, outDrop)
	udp.wantCut("the rule is gone", node1, inDrop, outDrop)
	stays.wantTalks("its rule stays")
	stop()
	node1.wantNoDrift("with flows that were cut")

	write(t, dir, wornBy1("other", "", all...))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	udp.wantTalks("the rule is back")
	node1.ask(func(k *apply.Kernel) error {
		list, err := k.Revoked()
		for _, r := range list {
			if r.Peer.Addr() == node2.addr {
				t.Errorf("%+v is still cut", r)
			}
		}
		return err
	})
}

// TestRevokeAfterDeath: an agent that was killed after it had confirmed, and
// before it cut anything, leaves that to the next one.
func TestRevokeAfterDeath(t *testing.T) {
	t.Parallel()
	node1, node2, _ := three(t)
	dir := t.TempDir()
	write(t, dir, groupsText("other", 80, 81))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	goes, stays := node2.calls(node1.at(80), node1, node1.at(80)), node2.calls(node1.at(81), node1, node1.at(81))
	write(t, dir, groupsText("other", 81))
	node1.ask(func(k *apply.Kernel) error {
		tables, err := profiles.Load()
		if err != nil {
			return err
		}
		wanted, err := (&Config{}).aim(&folder{dir: dir, host: "node-1", tables: tables})
		if err != nil {
			return err
		}
		next, err := lay(&wanted.order, tables.Exempt())
		if err != nil {
			return err
		}
		r := &record{Version: next.version.Name, Uplinks: []string{"eth0"}, Order: wanted.order}
		return errors.Join(disk{statedir.Dir(node1.state)}.write(candidateFile, r), k.Build(next.version, nil), k.Confirm(next.version.Name))
	})
	goes.wantTalks("nobody has cut it yet")
	node1.must("restore", "--state-dir", node1.state)
	goes.wantCut("the next agent came", node1, inDrop, outDrop)
	stays.wantTalks("its rule stays")
	node1.wantNoDrift("after the death of an agent")
}

// TestRevokeMember lets a member leave a group under a running agent.
func TestRevokeMember(t *testing.T) {
	t.Parallel()
	node1, node2, node3 := three(t)
	dir := t.TempDir()
	list := []string{"in protocol: TCP, ports: 80/80, peer: {groupName: app}, policy: Accept", "in protocol: UDP, ports: 90/91, peer: {groupName: app}, policy: Accept"}
	write(t, dir, wornBy1("app", "", list...))
	node1.start(node1.flags(dir, "--confirm=never")...)
	if !wait(func() bool { return node1.status().Version != "" }) {
		t.Fatal("nothing is enforced")
	}
	version := node1.status().Version
	tcp, udp := node3.calls(node1.at(80), node1, node1.at(80)), node3.callsUDP(4000, node1, 90)
	stop := node2.callsUDP(4000, node1, 91).goesOn()
	stays := node2.calls(node1.at(80), node1, node1.at(80))
	write(t, dir, wornBy1("other", "", list...))
	if !wait(func() bool { return node1.follows(node3) == 0 }) {
		t.Fatal("nothing is cut when a member leaves")
	}
	tcp.wantCut("it left app", node1, inDrop, outDrop)
	udp.wantCut("it left app", node1, inDrop, outDrop)
	stays.wantTalks("it stays in app")
	stop()
	write(t, dir, wornBy1("app", "", list...))
	node3.wantPasses("it is back", node1, 80)
	udp.wantTalks("it is back")
	if s := node1.status(); s.Version != version {
		t.Errorf("a change of members made version %s of %s", s.Version, version)
	}
}

// TestOpenCutsNothing lets a member leave while the host is open: only when it
// is enforced again is the member cut.
func TestOpenCutsNothing(t *testing.T) {
	t.Parallel()
	node1, _, node3 := three(t)
	dir := t.TempDir()
	write(t, dir, groupsText("app", 80))
	node1.start(node1.flags(dir, "--confirm=never")...)
	if !wait(func() bool { return node1.status().Version != "" }) {
		t.Fatal("nothing is enforced")
	}
	tcp := node3.calls(node1.at(80), node1, node1.at(80))
	members := node1.status().Members
	node1.must("open", "--for", "1h", "--state-dir", node1.state)
	write(t, dir, groupsText("other", 80))
	if !wait(func() bool { return node1.status().Members != members }) {
		t.Fatal("nobody left")
	}
	tcp.wantTalks("the host is open")
	node1.must("resume", "--state-dir", node1.state)
	if !wait(func() bool { return node1.follows(node3) == 0 }) {
		t.Error("nothing is cut when the host is enforced again")
	}
	tcp.wantCut("enforced again", node1, inDrop, outDrop)
}

// TestRevokeEgress closes what the host itself began, while everything from the
// peer is let in: its packets must not begin the flow anew.
func TestRevokeEgress(t *testing.T) {
	t.Parallel()
	node1, node2, _ := three(t)
	dir := t.TempDir()
	open := []string{"in protocol: TCP, ports: 1/65535, peer: {groupName: app}, policy: Accept", "in protocol: UDP, ports: 1/65535, peer: {groupName: app}, policy: Accept"}
	write(t, dir, wornBy1("other", "", open...))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	tcp, udp := node1.calls(node2.at(80), node2, node2.at(80)), node1.callsUDP(4000, node2, 90)
	stays := node1.calls(node2.at(81), node2, node2.at(81))
	write(t, dir, wornBy1("other", "", append(open, "out protocol: TCP, ports: 80/80, peer: {cidr: 10.50.0.0/16}, policy: Drop", "out protocol: UDP, ports: 90/90, peer: {groupName: app}, policy: Drop")...))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	tcp.wantCut("egress is closed", node1, outDrop, inDrop)
	udp.wantCut("egress is closed", node1, outDrop, inDrop)
	stays.wantTalks("egress to it is open")
}

// pod is a machine behind a node, which forwards for it, gives it away at a
// NodePort, and masquerades it.
func (a *node) pod(nodePort, port uint16) *node {
	a.t.Helper()
	p := &node{t: a.t, network: a.network, name: "pod", addr: netip.MustParseAddr("172.20.0.5"), ns: a.network.namespace()}
	a.network.must(in(a.ns, func() error {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = "pod"
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "eth0", PeerNamespace: netlink.NsFd(p.ns)}); err != nil {
			return err
		}
		if err := up("pod", "172.20.0.1/24"); err != nil {
			return err
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
			return err
		}
		return translate(p.addr, nodePort, port)
	}))
	a.network.must(in(p.ns, func() error {
		if err := errors.Join(up("lo", ""), up("eth0", "172.20.0.5/24")); err != nil {
			return err
		}
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		dst, err := netlink.ParseIPNet("0.0.0.0/0")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Gw: net.IPv4(172, 20, 0, 1)})
	}))
	return p
}

// translate makes the table that a node has for its pods.
func translate(pod netip.Addr, nodePort, port uint16) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	two := func(n uint16) []byte { return []byte{byte(n >> 8), byte(n)} }
	table := c.AddTable(&nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4})
	pre := c.AddChain(&nftables.Chain{Table: table, Name: "services", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
	post := c.AddChain(&nftables.Chain{Table: table, Name: "masquerade", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	c.AddRule(&nftables.Rule{Table: table, Chain: pre, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: two(nodePort)},
		&expr.Immediate{Register: 1, Data: pod.AsSlice()},
		&expr.Immediate{Register: 2, Data: two(port)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	}})
	uplink := make([]byte, 16)
	copy(uplink, "eth0")
	c.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: uplink},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{172, 20}},
		&expr.Masq{ToPorts: false},
	}})
	return c.Flush()
}

// TestRevokeTranslated: a NodePort is cut by the port that the client sees, a
// masqueraded pod as its node, and what pods and their node say to each other
// is not touched.
func TestRevokeTranslated(t *testing.T) {
	t.Parallel()
	node1, node2, _ := three(t)
	dir := t.TempDir()
	pod := node1.pod(30080, 8080)
	const app = "peer: {groupName: app}, policy: Accept"
	const noDNS = "out protocol: TCP, ports: 53/53, peer: {cidr: 10.50.0.0/16}, policy: Drop"
	write(t, dir, wornBy1("other", "", "in protocol: TCP, ports: 30080/30080, "+app, "in protocol: TCP, ports: 8081/8081, "+app))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	service := node2.calls(node1.at(30080), pod, netip.AddrPortFrom(pod.addr, 8080))
	within := node1.calls(netip.AddrPortFrom(pod.addr, 8080), pod, netip.AddrPortFrom(pod.addr, 8080))
	masked := pod.calls(node2.at(53), node2, node2.at(53))
	stays := pod.calls(node2.at(80), node2, node2.at(80))
	if from, ok := masked.far.RemoteAddr().(*net.TCPAddr); !ok || from.AddrPort().Addr() != node1.addr {
		t.Fatalf("the pod is not masqueraded: it comes from %s", masked.far.RemoteAddr())
	}
	// The pod's own port is open all the time: it is not what the client sees.
	write(t, dir, wornBy1("other", "", "in protocol: TCP, ports: 8080/8081, "+app, noDNS))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	service.wantCut("no rule for the NodePort", node1, inDrop, "")
	masked.wantCut("egress is closed", node1, "", inDrop)
	stays.wantTalks("egress is open")
	within.wantTalks("it passes no uplink")
}

// TestTrialCutsNothing: a trial that fails has cut nothing, whoever ends it,
// and what only observes cuts nothing either.
func TestTrialCutsNothing(t *testing.T) {
	t.Parallel()
	node1, node2, node3 := three(t)
	dir := t.TempDir()
	const port80, port81 = "in protocol: TCP, ports: 80/80, peer: {groupName: app}, policy: Accept", "in protocol: TCP, ports: 81/81, peer: {groupName: app}, policy: Accept"
	write(t, dir, wornBy1("other", "", port80))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	tcp := node2.calls(node1.at(80), node1, node1.at(80))
	write(t, dir, wornBy1("other", "", port81))
	p := node1.start(node1.flags(dir, "--once", "--confirm=manual", "--confirm-timeout=2s")...)
	node2.wantPasses("on trial", node1, 81)
	tcp.wantTalks("on trial")
	if o := p.end(); o.code != exitFailed {
		t.Errorf("nobody confirmed, and it ended with %+v", o)
	}
	tcp.wantTalks("after the trial")
	node2.wantPasses("after the trial", node1, 80)

	write(t, dir, wornBy1("other", ", enforcement: Observe", port81))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	tcp.wantTalks("observed")
	more := node3.calls(node1.at(99), node1, node1.at(99))
	write(t, dir, wornBy1("other", "", port81))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	tcp.wantCut("enforced", node1, inDrop, outDrop)
	more.wantCut("enforced", node1, inDrop, outDrop)
	node1.must("open", "--for", "1h", "--state-dir", node1.state)
	node1.ask(func(k *apply.Kernel) error {
		list, err := k.Revoked()
		if len(list) > 0 {
			t.Errorf("the host is open, and these are cut still: %v", list)
		}
		return err
	})
}

// TestOlderThanTheTable: of flows that are older than the kernel's table nobody
// knows who began them. The first rules cut none that may have begun so that it
// passes, whichever end was heard first.
func TestOlderThanTheTable(t *testing.T) {
	t.Parallel()
	node1, node2, node3 := three(t)
	out := node1.calls(node2.at(443), node2, node2.at(443))
	in80 := node2.calls(node1.at(80), node1, node1.at(80))
	forbidden := node3.calls(node1.at(81), node1, node1.at(81))
	node1.network.must(in(node1.ns, func() error { return translate(node1.addr, 1, 1) })) // the kernel follows flows from here on
	for _, c := range []struct {
		*call
		answers, hears net.Conn
	}{{out, out.far, out.near}, {in80, in80.far, in80.near}} {
		if !c.says(c.answers, c.hears, long) {
			t.Fatalf("%s: no answer", c.what)
		}
	}
	forbidden.wantTalks("before any rules")
	dir := t.TempDir()
	write(t, dir, wornBy1("other", "", "in protocol: TCP, ports: 80/80, peer: {groupName: app}, policy: Accept"))
	node1.must(node1.flags(dir, "--once", "--confirm=probe")...)
	out.wantTalks("out, its answer heard first")
	in80.wantTalks("in, its answer heard first")
	forbidden.wantCut("in, and dropped", node1, inDrop, outDrop)
}
