package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"

	"ringfence.dev/ringfence/test/netns"
)

// The site is the network of the demo.
//
//	          pod-2   pod-3                  172.20.0.0/16, in VXLAN from node to node
//	            |       |
//	node-1   node-2   node-3   control       192.168.0.0/19, with an agent on each node
//	  +---------+-------+-------+
//	                router                   192.168.0.1, also answers DNS
//	         +---------+---------+
//	     internet            services        clients, a registry; load balancer, metadata
type site struct {
	*netns.Lab
	// places are in the order in which one is looked for as the peer of a rule.
	places []*place
	nodes  []*node
	// control is where hosts reach the server: at a machine that passes all on.
	control netip.AddrPort
	door    *netns.Machine
	open    []io.Closer
}

// A place is where packets come from and go to.
type place struct {
	name      string
	machine   *netns.Machine
	addresses []netip.Addr
	// node judges what comes and goes; nil if nobody does.
	node *node
	// serves is where the place listens all the time; nil for nowhere.
	serves *service
	// behind says that the place is a pod, whose packets leave its node in
	// disguise: wrapped on the way to pods, masqueraded to all others.
	behind bool
}

// A node is a host with an agent.
type node struct {
	*place
	pod      *place // nil if it has none
	stateDir string
	agent    *netns.Process
}

// What the manifest in shop.yaml says of the network.
const (
	overlayPort    = 8472
	firstNodePort  = 30000
	nodePort       = 30080
	podPort        = 8080
	apiPort        = 6443
	etcdPort       = 2379
	resolver       = "192.168.0.1"
	controlPlane   = "192.168.0.5"
	uplink         = "eth0"
	registryRange  = "198.51.100.0/24"
	servicesRange  = "100.64.0.0/10"
	balancersRange = "192.168.64.0/24"
)

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// newSite builds the network, and what listens in it all the time.
func newSite(ctx context.Context) (*site, error) {
	s := &site{Lab: netns.New()}
	if !netns.HasIPv6() {
		return s, errors.New("the demo needs IPv6, which this kernel was started without")
	}
	s.control = netip.AddrPortFrom(netip.MustParseAddr(controlPlane), apiPort)
	subnet, outside := s.Switch("nodes-a"), s.Switch("outside")
	for _, n := range []string{"1", "2", "3"} {
		s.addNode(subnet, n)
	}
	s.door = s.Machine("control")
	s.door.Plug(subnet, uplink, prefixes(controlPlane+"/19")...)
	s.tunnel("2", "3")
	s.tunnel("3", "2")
	s.addOutside(subnet, outside)
	if err := s.Ready(); err != nil {
		return s, err
	}
	router, api := s.place("router"), s.place("node-1")
	return s, errors.Join(s.answerDNS(router), s.standIn(ctx, api))
}

func (s *site) close() error {
	for _, c := range s.open {
		_ = c.Close() // it is over
	}
	return s.Close()
}

func (s *site) place(name string) *place {
	for _, p := range s.places {
		if p.name == name {
			return p
		}
	}
	return nil
}

func (s *site) add(name string, machine *netns.Machine, addresses ...string) *place {
	p := &place{name: name, machine: machine, addresses: addrs(addresses...)}
	s.places = append(s.places, p)
	return p
}

func (s *site) addNode(subnet *netns.Switch, n string) {
	machine := s.Machine("node-" + n)
	v4, v6 := "192.168.0.1"+n, "fd00:192:168::1"+n
	machine.Plug(subnet, uplink, prefixes(v4+"/19", v6+"/64")...)
	machine.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr(resolver))
	machine.Route(netip.MustParsePrefix("::/0"), netip.MustParseAddr("fd00:192:168::1"))
	machine.Resolver(netip.MustParseAddr(resolver))
	at := s.add("node-"+n, machine, v4, v6)
	at.node = &node{place: at}
	s.nodes = append(s.nodes, at.node)
}

// tunnel puts a pod behind a node, with a tunnel to the pods of another.
func (s *site) tunnel(n, other string) {
	node, pod := s.place("node-"+n).node, s.Machine("pod-"+n)
	node.machine.Forward()
	pod.Behind(node.machine, "pod", netip.MustParseAddr("172.20."+n+".2"))
	node.machine.Tunnel(netns.VXLAN{
		Name: "flannel.1", Port: overlayPort,
		Local: netip.MustParseAddr("192.168.0.1" + n), Remote: netip.MustParseAddr("192.168.0.1" + other),
		Address: netip.MustParseAddr("172.20." + n + ".0"), Peer: netip.MustParseAddr("172.20." + other + ".0"),
		Far: netip.MustParsePrefix("172.20." + other + ".0/24"),
	})
	node.machine.Masquerade(netip.MustParsePrefix("172.20.0.0/16"), uplink)
	node.machine.NodePort(nodePort, netip.AddrPortFrom(netip.MustParseAddr("172.20."+n+".2"), podPort))
	node.pod = &place{name: "pod-" + n, machine: pod, addresses: addrs("172.20." + n + ".2"), node: node, behind: true}
}

// addOutside adds everybody who is no node, behind a router.
func (s *site) addOutside(subnet, outside *netns.Switch) {
	router, internet, services := s.Machine("router"), s.Machine("internet"), s.Machine("services")
	router.Plug(subnet, uplink, prefixes(resolver+"/19", "fd00:192:168::1/64")...)
	router.Plug(outside, "eth1", prefixes("203.0.113.1/24", "2001:db8:9::1/64")...)
	router.Forward()
	internet.Plug(outside, uplink, prefixes("203.0.113.9/24", "203.0.113.200/24", "198.51.100.10/32", "198.51.100.123/32", "2001:db8:9::9/64")...)
	services.Plug(outside, uplink, prefixes("203.0.113.2/24", "192.168.64.4/32", "100.100.100.200/32", "100.100.2.136/32")...)
	for _, m := range []*netns.Machine{internet, services} {
		m.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("203.0.113.1"))
	}
	internet.Route(netip.MustParsePrefix("::/0"), netip.MustParseAddr("2001:db8:9::1"))
	for to, via := range map[string]string{registryRange: "203.0.113.9", servicesRange: "203.0.113.2", balancersRange: "203.0.113.2"} {
		router.Route(netip.MustParsePrefix(to), netip.MustParseAddr(via))
	}
	s.add("router", router, resolver, "fd00:192:168::1")
	s.add("client", internet, "203.0.113.9", "2001:db8:9::9")
	s.add("admin", internet, "203.0.113.200")
	s.add("registry", internet, "198.51.100.10")
	s.add("clock", internet, "198.51.100.123")
	s.add("cloud", services, "100.100.2.136")
	s.add("balancer", services, "192.168.64.4")
	s.add("metadata", services, "100.100.100.200")
}

// answerDNS says of every name that there is none, which is an answer.
func (s *site) answerDNS(at *place) error {
	return at.machine.Do(func() error {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at.addresses[0], 53))) // DNS
		if err != nil {
			return err
		}
		s.open = append(s.open, c)
		go func() {
			for buffer := make([]byte, 512); ; { // the longest query
				n, from, err := c.ReadFromUDPAddrPort(buffer)
				if err != nil {
					return
				}
				if n < 12 { // no header
					continue
				}
				const isAnswer, noSuchName = 0x8180, 3
				binary.BigEndian.PutUint16(buffer[2:], isAnswer|noSuchName)
				_, _ = c.WriteToUDPAddrPort(buffer[:n], from)
			}
		}()
		return nil
	})
}

// standIn listens where the cluster's API server would.
func (s *site) standIn(ctx context.Context, at *place) error {
	l, err := listen(ctx, at.machine, netip.AddrPortFrom(at.addresses[0], apiPort))
	if err != nil {
		return err
	}
	s.open = append(s.open, l)
	at.serves = &service{at: netip.AddrPortFrom(at.addresses[0], apiPort)}
	go echo(l, at.serves.hear)
	return nil
}

// A service listens all the time, and lets one at a time listen with it.
type service struct {
	at  netip.AddrPort
	got atomic.Pointer[func([]byte)]
}

func (s *service) hear(text []byte) {
	if got := s.got.Load(); got != nil {
		(*got)(text)
	}
}

// listen hands what comes to a function, until it is closed.
func (s *service) listen(got func([]byte)) io.Closer {
	s.got.Store(&got)
	return s
}

// Close ends listen.
func (s *service) Close() error {
	s.got.Store(nil)
	return nil
}

// forward makes the server, which runs on this machine, reachable for the hosts:
// what connects to the control plane's address is passed on.
func (s *site) forward(ctx context.Context, server string) error {
	l, err := listen(ctx, s.door, s.control)
	if err != nil {
		return err
	}
	s.open = append(s.open, l)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go pass(c, server)
		}
	}()
	return nil
}

// pass connects a connection to another, until one side has said all.
func pass(c net.Conn, server string) {
	defer c.Close()                    //nolint:errcheck // it is over
	to, err := net.Dial("tcp", server) //nolint:noctx // it ends with the other one
	if err != nil {
		return
	}
	defer to.Close() //nolint:errcheck // it is over
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{c, to}, {to, c}} {
		go func() {
			_, _ = io.Copy(way[0], way[1]) // whatever ended it, it has ended
			ended <- struct{}{}
		}()
	}
	<-ended
}
