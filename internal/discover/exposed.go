package discover

import (
	"fmt"
	"net/netip"

	"ringfence.dev/ringfence/rules"
)

// exposed finds what comes in from outside by a Service.
func (d *derivation) exposed(s *service) {
	from := d.clients(s)
	for i := range s.ports {
		d.exposedPort(s, i, from)
	}
	if s.kind == "LoadBalancer" && s.local {
		d.healthCheck(s)
	}
}

// clients returns who may use a Service from outside.
func (d *derivation) clients(s *service) []Party {
	if s.kind != "LoadBalancer" || len(s.sourceRanges) == 0 {
		return []Party{{Kind: Anywhere}}
	}
	var out []Party
	for _, p := range s.sourceRanges {
		party := Party{CIDR, p.String()}
		d.ranged(party, p)
		out = append(out, party)
	}
	return out
}

func (d *derivation) exposedPort(s *service, i int, from []Party) {
	p := &s.ports[i]
	why := "Service " + s.id().String() + " cannot be reached from outside"
	nodes := s.kind == "NodePort" || s.kind == "LoadBalancer" && !s.noNodePorts
	if nodes {
		d.nodePort(s, i, why)
	}
	for _, ip := range s.externalIPs {
		d.incoming(s, []Party{{Kind: Anywhere}}, ip, p, why)
	}
	for _, ip := range s.ingress {
		d.incoming(s, from, ip, p, why)
	}
	// What comes in on a node without a backend goes on to one that has it.
	if (nodes || len(s.externalIPs)+len(s.ingress) > 0) && !s.local {
		d.callPort(&call{from: Party{Kind: Nodes}, service: s.id(), class: Expected, why: why, because: s.at("/spec/externalTrafficPolicy")}, s, i)
	}
}

func (d *derivation) nodePort(s *service, i int, why string) {
	p := &s.ports[i]
	if p.nodePort == 0 {
		d.dontKnow(&Unknown{
			About: fmt.Sprintf("the node port of %s, %s", s.Ref, p.words()), Why: "the API server has not allocated it yet, from " + d.nodePortRange(),
			Tell: "the Service as the API server has it",
		}, s.at("/spec/ports/%d", i))
		return
	}
	from := []Party{{Kind: Anywhere}}
	if s.kind == "LoadBalancer" {
		from = append(d.clients(s), Party{LoadBalancer, s.id().String()})
		if len(s.sourceRanges) == 0 {
			from = from[1:]
		}
	}
	for _, f := range from {
		d.need(&Need{From: f, To: Party{Kind: Nodes}, Protocol: p.protocol, Ports: one(p.nodePort), Class: Expected, Wire: Host, Why: why}, s.at("/spec/ports/%d/nodePort", i))
	}
}

// incoming adds what reaches nodes with an address of the Service on the wire.
func (d *derivation) incoming(s *service, from []Party, ip netip.Addr, p *servicePort, why string) {
	to := Party{Address, ip.String()}
	d.located(to, ip)
	for _, f := range from {
		d.need(&Need{From: f, To: to, Protocol: p.protocol, Ports: one(p.port), Class: Expected, Wire: Host, Why: why}, s.at("/spec/ports"))
	}
}

func (d *derivation) healthCheck(s *service) {
	lb := Party{LoadBalancer, s.id().String()}
	if s.healthCheck == 0 {
		d.dontKnow(&Unknown{
			About: "the health check port of " + s.String(), Why: "externalTrafficPolicy is Local, and no healthCheckNodePort is allocated yet",
			Tell: "the Service as the API server has it",
		}, s.at("/spec/externalTrafficPolicy"))
		return
	}
	d.need(&Need{From: lb, To: Party{Kind: Nodes}, Protocol: rules.TCP, Ports: one(s.healthCheck), Class: Expected, Wire: Host, Why: "the load balancer takes every node for dead"}, s.at("/spec/healthCheckNodePort"))
}

// derive adds what a pod listens on, on the addresses of its host, and what the
// components in it are known for.
func (p *podLike) derive(d *derivation) {
	d.claimed = map[claim]bool{}
	d.componentsOf(p)
	d.kubeProxy(p)
	d.nodeLocalDNS(p)
	d.metricsServer(p)
	for i := range p.mounts {
		d.mount(&p.mounts[i], p.at("%s", p.mounts[i].field))
	}
	for i := range p.containers {
		for k := range p.containers[i].ports {
			d.hostPort(p, &p.containers[i], k)
		}
	}
}

func (d *derivation) hostPort(p *podLike, c *container, k int) {
	port := c.ports[k]
	n := Need{From: Party{Kind: Anywhere}, Protocol: port.protocol, Ports: one(port.hostPort), Class: Expected, Wire: Host}
	switch {
	case port.hostIP.IsLoopback() || d.claimed[claim{port.protocol, port.port}]:
		return
	case p.hostNetwork: // what it says of its ports binds nobody
		n.Ports, n.Class = one(port.port), Optional
	case port.hostPort == 0:
		return
	}
	of := d.workloadOf(p)
	n.To, n.Why = Party{Hosts, of}, of+" cannot be reached on its hosts"
	d.hostsOf(n.To, p)
	d.need(&n, p.at("%s%s/ports/%d", p.root, c.field, k))
}

// hostsOf adds the hosts of a pod to a party.
func (d *derivation) hostsOf(to Party, p *podLike) {
	if p.hostNetwork {
		d.located(to, p.addresses...)
	}
	if p.node == "" {
		return
	}
	d.asks(anObject, "Node", "", p.node)
	if n := d.cluster.nodes[p.node]; n != nil {
		d.located(to, n.internal...)
	}
}

// nodePortRange says from where node ports are taken.
func (d *derivation) nodePortRange() string {
	for _, f := range d.running("kube-apiserver") {
		if text, ok := f.container.flag("service-node-port-range"); ok {
			return text
		}
	}
	return "30000-32767 unless kube-apiserver has --service-node-port-range"
}
