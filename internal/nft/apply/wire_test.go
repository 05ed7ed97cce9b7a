package apply_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
)

const (
	nodePort    = 30080
	servicePort = 8080
	vxlan       = 8472
)

func to(p rules.Protocol, port uint16, peer string) rules.Rule {
	return rules.Rule{Action: rules.Accept, Priority: 1, Protocol: p, Ports: rules.PortRange{First: port, Last: port}, Peer: rules.MustCIDR(peer)}
}

// enforceGroup puts an advanced group in force; it drops what it does not name.
func (st *stand) enforceGroup(ingress, egress []rules.Rule) {
	st.t.Helper()
	for i := range egress {
		egress[i].Direction = rules.Egress
	}
	rs, err := rules.Merge([]*rules.Group{{Name: "g", Type: rules.Advanced, Ingress: ingress, Egress: egress}}, nil)
	st.check(err)
	st.enforce(rs, &rules.World{})
}

func (st *stand) address(ns int, link, cidr string) {
	st.t.Helper()
	st.on(ns, func() {
		l, err := netlink.LinkByName(link)
		st.check(err)
		a, err := netlink.ParseAddr(cidr)
		st.check(err)
		st.check(netlink.LinkSetARPOn(l))
		st.check(netlink.AddrAdd(l, a))
	})
}

// nat makes a table with the NAT of others: a NodePort, and masqueraded pods.
func (st *stand) nat() {
	st.t.Helper()
	conn := st.witness.conn
	table := conn.AddTable(&nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4})
	pre := conn.AddChain(&nftables.Chain{Table: table, Name: "services", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
	post := conn.AddChain(&nftables.Chain{Table: table, Name: "masquerade", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	conn.AddRule(&nftables.Rule{Table: table, Chain: pre, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{nodePort >> 8, nodePort & 0xff}},
		&expr.Immediate{Register: 1, Data: []byte{10, 0, 0, 1}},
		&expr.Immediate{Register: 2, Data: []byte{servicePort >> 8, servicePort & 0xff}},
		&expr.Counter{},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	}})
	conn.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{172, 20}},
		&expr.Counter{},
		&expr.Masq{},
	}})
	st.witness.flush()
}

// notrack makes a table that keeps the kernel from following anything.
func (st *stand) notrack() {
	st.t.Helper()
	conn, policy := st.witness.conn, nftables.ChainPolicyAccept
	table := conn.AddTable(&nftables.Table{Name: "raw", Family: nftables.TableFamilyINet})
	for name, hook := range map[string]*nftables.ChainHook{"in": nftables.ChainHookPrerouting, "out": nftables.ChainHookOutput} {
		c := conn.AddChain(&nftables.Chain{Table: table, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityRaw, Policy: &policy})
		conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: []expr.Any{&expr.Notrack{}}})
	}
	st.witness.flush()
}

// translated returns how many flows each chain of nat has changed.
func (st *stand) translated(chain string) uint64 {
	st.t.Helper()
	table := &nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4}
	list, err := st.witness.conn.GetRules(table, &nftables.Chain{Table: table, Name: chain})
	st.check(err)
	for _, e := range list[0].Exprs {
		if c, ok := e.(*expr.Counter); ok {
			return c.Packets
		}
	}
	st.t.Fatalf("chain %s has no counter", chain)
	return 0
}

// passesOne sends one packet, and waits until it was dropped or has passed.
func (st *stand) passesOne(f rules.Flow) bool {
	st.t.Helper()
	drop := nft.Leaf(f.Direction, rules.Verdict{}, false)
	st.witness.forget()
	before := st.tallies()[drop]
	st.check(st.sender.send(&packet{id: 1, hopLimit: 64, flow: f}))
	var passed bool
	ended := st.wait(func() bool {
		passed = st.witness.passed()[1]
		return passed || st.tallies()[drop] != before
	})
	if !ended {
		st.t.Fatalf("%+v neither passed nor was dropped", f)
	}
	return passed
}

// TestJudgedOnTheWire: with the NAT of others in place, a NodePort is judged by
// the port that the client sees, a masqueraded pod by the node's address, and
// each way of an overlay's outer packets by its own rules.
func TestJudgedOnTheWire(t *testing.T) {
	st := newOpenStand(t)
	st.witness = newWitnessAt(t, -90, 160) // behind the NAT
	st.address(st.host, uplink, "10.0.0.1/24")
	st.nat()
	node, client, pod := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("172.20.0.5")
	sport := uint16(20000)
	flow := func(d rules.Direction, p rules.Protocol, local netip.Addr, port uint16) rules.Flow {
		sport++ // every flow is new
		return rules.Flow{Direction: d, Protocol: p, Local: local, Remote: client, Port: port, SourcePort: sport, HasSourcePort: true}
	}
	fromMember := func(member string) []rules.Rule {
		r := to(rules.UDP, 53, "10.0.0.0/24")
		r.Member = netip.MustParsePrefix(member)
		return []rules.Rule{r}
	}
	overlay := func() []rules.Rule { return []rules.Rule{to(rules.UDP, vxlan, "10.0.0.0/24")} }
	for name, tc := range map[string]struct {
		ingress, egress []rules.Rule
		flow            rules.Flow
		want            bool
		chain           string // of nat, that must have seen the flow
	}{
		"NodePort accepted by its number":       {[]rules.Rule{to(rules.TCP, nodePort, "0.0.0.0/0")}, nil, flow(rules.Ingress, rules.TCP, node, nodePort), true, "services"},
		"NodePort not accepted by the target's": {[]rules.Rule{to(rules.TCP, servicePort, "0.0.0.0/0")}, nil, flow(rules.Ingress, rules.TCP, node, nodePort), false, ""},
		"masqueraded pod is the node":           {nil, fromMember("10.0.0.1/32"), flow(rules.Egress, rules.UDP, pod, 53), true, "masquerade"},
		"masqueraded pod is no pod":             {nil, fromMember("172.20.0.0/16"), flow(rules.Egress, rules.UDP, pod, 53), false, ""},
		"overlay in":                            {overlay(), nil, flow(rules.Ingress, rules.UDP, node, vxlan), true, ""},
		"overlay out":                           {nil, overlay(), flow(rules.Egress, rules.UDP, node, vxlan), true, ""},
		"overlay in without a rule":             {nil, overlay(), flow(rules.Ingress, rules.UDP, node, vxlan), false, ""},
		"overlay out without a rule":            {overlay(), nil, flow(rules.Egress, rules.UDP, node, vxlan), false, ""},
	} {
		before := uint64(0)
		if tc.chain != "" {
			before = st.translated(tc.chain)
		}
		st.enforceGroup(tc.ingress, tc.egress)
		if got := st.passesOne(tc.flow); got != tc.want {
			t.Errorf("%s: passes %t, want %t", name, got, tc.want)
		}
		if tc.chain != "" && st.translated(tc.chain) != before+1 {
			t.Errorf("%s: the flow was not translated, so the case proves nothing", name)
		}
	}
}

// TestConnections: a real connection is let in by the rule for its first
// packet alone, and its replies need no rule; one without a rule gets nowhere.
func TestConnections(t *testing.T) {
	st := newOpenStand(t)
	st.address(st.host, uplink, "10.0.0.1/24")
	st.address(st.wire, "wire", "10.0.0.2/24")
	st.enforceGroup([]rules.Rule{to(rules.TCP, servicePort, "10.0.0.2/32")}, nil) // no egress at all
	server := st.socket()
	st.check(unix.Bind(server, &unix.SockaddrInet4{Port: servicePort}))
	st.check(unix.Listen(server, 1))
	var good, bad int
	st.on(st.wire, func() { good, bad = st.socket(), st.socket() })
	st.check(unix.Connect(good, &unix.SockaddrInet4{Port: servicePort, Addr: [4]byte{10, 0, 0, 1}}))
	conn, _, err := unix.Accept(server)
	st.check(err)
	defer func() { _ = unix.Close(conn) }()
	for _, way := range [][2]int{{good, conn}, {conn, good}} {
		_, err := unix.Write(way[0], []byte("hello"))
		st.check(err)
		got := make([]byte, 16)
		n, err := unix.Read(way[1], got)
		if err != nil || string(got[:n]) != "hello" {
			t.Errorf("read %q, %v; want hello", got[:max(n, 0)], err)
		}
	}
	st.check(unix.SetNonblock(bad, true))
	if err := unix.Connect(bad, &unix.SockaddrInet4{Port: servicePort + 1, Addr: [4]byte{10, 0, 0, 1}}); !errors.Is(err, unix.EINPROGRESS) {
		t.Errorf("a connection without a rule: %v at once, want silence", err)
	}
	if !st.wait(func() bool { return st.tallies()["default_in_drop"].Packets > 0 }) {
		t.Error("a connection without a rule is not dropped")
	}
}

// socket returns a TCP socket of the namespace at hand that waits for nothing
// longer than the test does.
func (st *stand) socket() int {
	st.t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	st.check(err)
	st.t.Cleanup(func() { _ = unix.Close(fd) })
	timeout := unix.NsecToTimeval(patience.Nanoseconds())
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		st.check(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &timeout))
	}
	return fd
}
