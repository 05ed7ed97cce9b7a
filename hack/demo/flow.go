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
	pair
	kind
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
	kind
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

// A pair is where a packet comes from and goes to: addresses of one family.
type pair struct{ src, dst netip.Addr }

// ipv4 and ipv6 pair the first addresses of two places that have both.
func ipv4(from, to *place) pair { return pair{from.addresses[0], to.addresses[0]} }
func ipv6(from, to *place) pair { return pair{from.addresses[1], to.addresses[1]} }

// A kind of flow is a protocol, and a port where there are any.
type kind struct {
	protocol string
	port     uint16
}

// between returns a flow of a kind from one place to another.
func between(from, to *place, at pair, k kind) *flow {
	f := &flow{from: from, to: to, pair: at, kind: k}
	f.ask()
	return f
}

// ask lists who judges the flow: what they see on the wire is the nodes'.
func (f *flow) ask() {
	src, dst, k := f.src, f.dst, f.kind
	if f.from.behind {
		src = f.from.node.addresses[0]
	}
	if f.tunnelled() {
		dst, k = f.to.node.addresses[0], kind{"udp", overlayPort}
	}
	f.judged = nil
	if f.from.node != nil {
		f.judged = append(f.judged, judgement{node: f.from.node, direction: "egress", local: src.String(), remote: dst.String(), kind: k})
	}
	if f.to.node != nil {
		f.judged = append(f.judged, judgement{node: f.to.node, direction: "ingress", local: dst.String(), remote: src.String(), kind: k})
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
	p := &parcel{sender: f.from.machine, receiver: f.to.machine, pair: f.pair, kind: f.kind, at: netip.AddrPortFrom(f.dst, f.port)}
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
				p.wrap = forge(tunnel.HardwareAddr, netip.MustParseAddr("172.20.3.9"), p.at)
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
	kind
	peer netip.Prefix
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
			peer, err := netip.ParsePrefix(r.Peer.CIDR)
			if a, wrong := netip.ParseAddr(r.Peer.CIDR); err != nil && wrong == nil {
				peer, err = netip.PrefixFrom(a, a.BitLen()), nil
			}
			if err != nil {
				return nil, fmt.Errorf("group %s, %s rule %d: %w", group.Name, side.direction, i+1, err)
			}
			var port uint16
			if _, err := fmt.Sscanf(r.Ports, "%d/", &port); err != nil {
				port = 0 // -1/-1
			}
			out = append(out, rule{
				direction: side.direction, by: fmt.Sprintf("%s/%s/%d", group.Name, side.direction, i+1), row: r.Row,
				kind: kind{strings.ToLower(r.Protocol.String()), port}, peer: peer,
			})
		}
	}
	return out, nil
}

// candidates are the flows of the site that a rule may be there for, the most
// telling first.
func (s *site) candidates(r *rule) []*flow {
	k := r.kind
	switch {
	case r.protocol == "all":
		k = kind{protocol: "gre"}
	case k == kind{"tcp", firstNodePort}:
		k.port = nodePort
	}
	var out []*flow
	for _, local := range []string{"node-2", "node-3", "node-1"} {
		for _, remote := range s.places {
			out = append(out, s.pairs(r, s.place(local), remote, k)...)
		}
	}
	return out
}

// pairs are the flows between a node and a peer of a rule.
func (s *site) pairs(r *rule, local, remote *place, k kind) []*flow {
	if local == remote {
		return nil
	}
	if (k == kind{"udp", overlayPort}) && r.peer.Addr().Is4() {
		return s.tunnels(r, local, remote)
	}
	from, to := remote, local
	if r.direction == "egress" {
		from, to = local, remote
	}
	// What only the control plane offers is tried there: a worker on which an
	// agent sees an API server or etcd listening is one of it from then on.
	if (k.port == apiPort || k.port == etcdPort) && to.node != nil && to != s.place("node-1") {
		return nil
	}
	var out []*flow
	for _, src := range from.addresses {
		for _, dst := range to.addresses {
			peer := src
			if r.direction == "egress" {
				peer = dst
			}
			if src.Is4() == dst.Is4() && r.peer.Contains(peer) {
				out = append(out, between(from, to, pair{src, dst}, k))
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
	return []*flow{between(from, to, ipv4(from, to), kind{"udp", podPort})}
}

// forbidden are the flows that nothing asks for.
func (s *site) forbidden() []*flow {
	var out []*flow
	add := func(from, to string, family func(from, to *place) pair, k kind) {
		a, b := s.anywhere(from), s.anywhere(to)
		out = append(out, between(a, b, family(a, b), k))
	}
	for _, port := range []uint16{22, 10250, 10256, 8443, firstNodePort - 1} {
		add("client", "node-2", ipv4, kind{"tcp", port})
	}
	add("client", "node-1", ipv4, kind{"tcp", apiPort})
	add("client", "node-1", ipv4, kind{"tcp", etcdPort})
	add("client", "node-2", ipv4, kind{"udp", 53})
	add("client", "node-2", ipv4, kind{"udp", overlayPort})
	add("client", "node-2", ipv4, kind{"icmp", 0})
	add("client", "node-2", ipv4, kind{"gre", 0})
	add("balancer", "node-2", ipv4, kind{"tcp", 10250})
	add("admin", "node-3", ipv4, kind{"tcp", 10255})
	add("node-2", "node-3", ipv4, kind{"tcp", 22})
	add("node-2", "node-3", ipv4, kind{"icmp", 0})
	add("node-2", "node-3", ipv4, kind{"esp", 0})
	add("node-2", "client", ipv4, kind{"tcp", 443})
	add("node-2", "registry", ipv4, kind{"tcp", 80})
	add("node-2", "clock", ipv4, kind{"tcp", 123})
	add("pod-2", "client", ipv4, kind{"tcp", 25})
	add("client", "node-2", ipv6, kind{"tcp", 10250})
	add("client", "node-2", ipv6, kind{"icmpv6", 0})
	add("node-2", "node-3", ipv6, kind{"tcp", 22})
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
