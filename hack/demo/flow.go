package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// A flow is something that somebody may want to send.
type flow struct {
	from, to *place
	// src and dst are addresses of the two, of one family.
	src, dst netip.Addr
	protocol string
	port     uint16 // 0 where there is none
	// row is why it must pass; empty for one that must not.
	row string
	// wish is what must happen for the demo to succeed: accept or drop.
	wish string
	// judged are the hosts on the way, in the order of travel.
	judged []judgement
}

// A judgement is what one host is asked about a flow, and what it answers.
type judgement struct {
	node                     *node
	direction, local, remote string
	protocol                 string
	port                     uint16
	// action and by are the prediction.
	action, by string
}

func (f *flow) String() string {
	what := f.protocol
	if f.port > 0 {
		what = fmt.Sprintf("%s/%d", f.protocol, f.port)
	}
	how := ""
	switch {
	case f.tunnelled():
		how = " in VXLAN"
	case f.from.behind:
		how = " masqueraded"
	case f.forged():
		how = " forged for " + f.to.node.pod.name
	case f.published():
		how = " to " + f.to.node.pod.name
	}
	if f.src.Is6() && f.protocol != "icmpv6" {
		how += " IPv6"
	}
	return fmt.Sprintf("%s > %s %s%s", f.from.name, f.to.name, what, how)
}

// tunnelled says that a flow goes from pod to pod.
func (f *flow) tunnelled() bool { return f.from.behind && f.to.behind }

// published says that a flow goes through a node's port to its pod.
func (f *flow) published() bool {
	return f.protocol == "tcp" && f.port == nodePort && f.to.node != nil && f.to.node.pod != nil
}

// forged says that a flow is one of a tunnel, from somebody who has none.
func (f *flow) forged() bool {
	return f.protocol == "udp" && f.port == overlayPort && f.from.node == nil && f.to.node != nil && f.to.node.pod != nil
}

// between returns a flow from an address of one place to one of another.
func between(from, to *place, i int, dst netip.Addr, protocol string, port uint16) *flow {
	f := &flow{from: from, to: to, src: from.addresses[i], dst: dst, protocol: protocol, port: port}
	f.ask()
	return f
}

// ask lists who judges the flow: what they see on the wire is the nodes'.
func (f *flow) ask() {
	src, dst, protocol, port := f.src, f.dst, f.protocol, f.port
	if f.from.behind {
		src = f.from.node.addresses[0]
	}
	if f.tunnelled() {
		dst, protocol, port = f.to.node.addresses[0], "udp", overlayPort
	}
	f.judged = nil
	if f.from.node != nil {
		f.judged = append(f.judged, judgement{node: f.from.node, direction: "egress", local: src.String(), remote: dst.String(), protocol: protocol, port: port})
	}
	if f.to.node != nil {
		f.judged = append(f.judged, judgement{node: f.to.node, direction: "ingress", local: dst.String(), remote: src.String(), protocol: protocol, port: port})
	}
}

// predicted is the verdict of all who judge: accept, or the first drop.
func (f *flow) predicted() string {
	for i := range f.judged {
		if f.judged[i].action != "accept" {
			return "drop"
		}
	}
	return "accept"
}

// parcel is how the flow is sent.
func (f *flow) parcel() (*parcel, error) {
	p := &parcel{sender: f.from.machine, receiver: f.to.machine, from: f.src, to: f.dst, port: f.port, at: netip.AddrPortFrom(f.dst, f.port), protocol: f.protocol}
	switch {
	case f.to.serves != nil && f.to.serves.at == p.at && f.protocol == "tcp":
		p.service = f.to.serves
	case f.published():
		p.receiver, p.at = f.to.node.pod.machine, netip.AddrPortFrom(f.to.node.pod.addresses[0], podPort)
	case f.forged():
		pod := f.to.node.pod
		p.receiver, p.at = pod.machine, netip.AddrPortFrom(pod.addresses[0], podPort)
		err := f.to.machine.Do(func() error {
			tunnel, err := net.InterfaceByName("flannel.1")
			if err == nil {
				p.wrap = forge(tunnel.HardwareAddr, netip.MustParseAddr("172.20.250.9"), p.at)
			}
			return err
		})
		return p, err
	}
	return p, nil
}

// A rule is one of the cluster's group, as its status has it.
type rule struct {
	direction string
	by        string // as verdicts name it
	row       string
	protocol  string
	port      uint16
	peer      netip.Prefix
}

// rulesOf lists the rules of the group that the controllers made.
func rulesOf(group *v1alpha1.SecurityGroup) ([]rule, error) {
	var out []rule
	for _, side := range []struct {
		direction string
		list      []v1alpha1.SystemRule
	}{{"ingress", group.Status.SystemIngress}, {"egress", group.Status.SystemEgress}} {
		for i := range side.list {
			r := &side.list[i]
			peer, err := netip.ParsePrefix(string(r.Peer.CIDR))
			if a, wrong := netip.ParseAddr(string(r.Peer.CIDR)); err != nil && wrong == nil {
				peer, err = netip.PrefixFrom(a, a.BitLen()), nil
			}
			if err != nil {
				return nil, fmt.Errorf("group %s, %s rule %d: %w", group.Name, side.direction, i+1, err)
			}
			var port uint16
			if _, err := fmt.Sscanf(string(r.Ports), "%d/", &port); err != nil {
				port = 0 // -1/-1
			}
			out = append(out, rule{
				direction: side.direction, by: fmt.Sprintf("%s/%s/%d", group.Name, side.direction, i+1), row: r.Row,
				protocol: strings.ToLower(r.Protocol.String()), port: port, peer: peer,
			})
		}
	}
	return out, nil
}

// candidates are the flows of the site that a rule may be there for, the most
// telling first.
func (s *site) candidates(r *rule) []*flow {
	protocols := []string{r.protocol}
	port := r.port
	switch {
	case r.protocol == "all":
		protocols, port = []string{"gre"}, 0
	case r.direction == "ingress" && r.protocol == "tcp" && r.port == 30000:
		port = nodePort
	}
	var out []*flow
	for _, protocol := range protocols {
		for _, local := range []string{"node-2", "node-3", "node-1"} {
			for _, remote := range s.places {
				out = append(out, s.pairs(r, s.place(local), remote, protocol, port)...)
			}
		}
	}
	return out
}

// pairs are the flows between a node and a peer of a rule.
func (s *site) pairs(r *rule, local, remote *place, protocol string, port uint16) []*flow {
	if local == remote {
		return nil
	}
	if protocol == "udp" && port == overlayPort && r.peer.Addr().Is4() {
		return s.tunnels(r, local, remote)
	}
	from, to := remote, local
	if r.direction == "egress" {
		from, to = local, remote
	}
	// What only the control plane offers is tried there: a worker on which an
	// agent sees an API server or etcd listening is one of it from then on.
	if (port == apiPort || port == etcdPort) && to.node != nil && to != s.place("node-1") {
		return nil
	}
	var out []*flow
	for i, a := range from.addresses {
		for _, dst := range to.addresses {
			peer := a
			if r.direction == "egress" {
				peer = dst
			}
			if a.Is4() == dst.Is4() && r.peer.Contains(peer) {
				out = append(out, between(from, to, i, dst, protocol, port))
			}
		}
	}
	return out
}

// tunnels are the flows of pods by which the tunnel of two nodes shows.
func (*site) tunnels(r *rule, local, remote *place) []*flow {
	if local.node.pod == nil || remote.node == nil || remote.node.pod == nil {
		return nil
	}
	from, to := remote.node.pod, local.node.pod
	if r.direction == "egress" {
		from, to = to, from
	}
	return []*flow{between(from, to, 0, to.addresses[0], "udp", podPort)}
}

// forbidden are the flows that nothing asks for.
func (s *site) forbidden() []*flow {
	var out []*flow
	add := func(from, to, protocol string, port uint16) {
		a, b := s.anywhere(from), s.anywhere(to)
		out = append(out, between(a, b, 0, b.addresses[0], protocol, port))
	}
	addIPv6 := func(from, to, protocol string, port uint16) {
		a, b := s.anywhere(from), s.anywhere(to)
		out = append(out, between(a, b, 1, b.addresses[1], protocol, port))
	}
	for _, port := range []uint16{22, 10250, 10256, 8443, nodePort - 100} {
		add("client", "node-2", "tcp", port)
	}
	add("client", "node-1", "tcp", apiPort)
	add("client", "node-1", "tcp", 2379)
	add("client", "node-2", "udp", 53)
	add("client", "node-2", "udp", overlayPort)
	add("client", "node-2", "icmp", 0)
	add("client", "node-2", "gre", 0)
	add("balancer", "node-2", "tcp", 10250)
	add("admin", "node-3", "tcp", 10255)
	add("node-2", "node-3", "tcp", 22)
	add("node-2", "node-3", "icmp", 0)
	add("node-2", "node-3", "esp", 0)
	add("node-2", "client", "tcp", 443)
	add("node-2", "registry", "tcp", 80)
	add("node-2", "clock", "tcp", 123)
	add("pod-2", "client", "tcp", 25)
	addIPv6("client", "node-2", "tcp", 10250)
	addIPv6("client", "node-2", "icmpv6", 0)
	addIPv6("node-2", "node-3", "tcp", 22)
	return out
}

// anywhere is place, for pods too.
func (s *site) anywhere(name string) *place {
	for _, n := range s.nodes {
		if n.pod != nil && n.pod.name == name {
			return n.pod
		}
	}
	return s.place(name)
}
