package discover

import "slices"

func (s *service) enter(c *Cluster) {
	put(&c.services, s.id(), s)
	if s.isDNS() {
		c.dns++
	}
	s.touch(c)
}

func (s *service) leave(c *Cluster) {
	delete(c.services, s.id())
	if s.isDNS() {
		c.dns--
	}
	s.touch(c)
}

// touch marks what may have asked for the Services that this is one of.
func (s *service) touch(c *Cluster) {
	for k, v := range s.labels {
		c.touch(key{what: aServiceLabel, a: k, b: v})
	}
}

func (s *service) derive(d *derivation) {
	d.dns(s)
	d.exposed(s)
}

func (s *slice) enter(c *Cluster) {
	if s.Kind == "Endpoints" {
		put(&c.endpoints, s.id(), s)
	} else {
		put(&c.slices, s.of, append(c.slices[s.of], s))
	}
	c.touch(key{what: someSlices, a: s.of.namespace, b: s.of.name})
}

func (s *slice) leave(c *Cluster) {
	if s.Kind == "Endpoints" {
		delete(c.endpoints, s.id())
	} else if c.slices[s.of] = without(c.slices[s.of], s); len(c.slices[s.of]) == 0 {
		delete(c.slices, s.of)
	}
	c.touch(key{what: someSlices, a: s.of.namespace, b: s.of.name})
}

func (*slice) derive(*derivation) {}

func (p *podLike) enter(c *Cluster) {
	if p.isPod {
		put(&c.pods, p.id(), p)
	} else {
		put(&c.workloads, p.Ref, p)
	}
	for k, v := range p.labels {
		key := labelKey{p.Namespace, k, v}
		put(&c.byLabel, key, append(c.byLabel[key], p))
	}
	for _, id := range p.programs() {
		put(&c.byProgram, id, append(c.byProgram[id], p))
	}
	p.touch(c)
}

func (p *podLike) leave(c *Cluster) {
	if p.isPod {
		delete(c.pods, p.id())
	} else {
		delete(c.workloads, p.Ref)
	}
	for k, v := range p.labels {
		takeOut(c.byLabel, labelKey{p.Namespace, k, v}, p)
	}
	for _, id := range p.programs() {
		takeOut(c.byProgram, id, p)
	}
	p.touch(c)
}

func takeOut[K comparable](m map[K][]*podLike, k K, p *podLike) {
	if m[k] = without(m[k], p); len(m[k]) == 0 {
		delete(m, k)
	}
}

// touch marks what may have asked for the pods that this is one of.
func (p *podLike) touch(c *Cluster) {
	if c.derived == nil {
		return
	}
	for k, v := range p.labels {
		c.touch(key{aSelector, p.Namespace, k, v})
	}
	for _, id := range p.programs() {
		c.touch(key{what: aProgram, a: id})
	}
	if p.isPod && (p.hostNetwork || len(c.nodes) == 0) {
		put(&c.moved.pods, p.id(), true)
	}
}

func (n *node) enter(c *Cluster) {
	put(&c.nodes, n.Name, n)
	n.count(c, +1)
}

func (n *node) leave(c *Cluster) {
	delete(c.nodes, n.Name)
	n.count(c, -1)
}

// count adds a node to what is counted, or takes it out.
func (n *node) count(c *Cluster, by int) {
	for _, a := range slices.Concat(n.internal, n.external) {
		tally(&c.hosts, a, by)
		put(&c.moved.addresses, a, true)
	}
	if n.kubelet != 0 {
		tally(&c.kubeletPorts, n.kubelet, by)
	}
	if n.controlPlane {
		c.controlPlane += by * len(n.internal)
	}
}

func tally[K comparable](m *map[K]int, k K, by int) {
	put(m, k, (*m)[k]+by)
	if (*m)[k] == 0 {
		delete(*m, k)
	}
}

func (*hook) enter(*Cluster) {}
func (*hook) leave(*Cluster) {}

func (m *configMap) enter(c *Cluster) { put(&c.configMaps, m.id(), m) }
func (m *configMap) leave(c *Cluster) { delete(c.configMaps, m.id()) }
func (*configMap) derive(*derivation) {}

func (p *ipPool) enter(c *Cluster) { put(&c.pools, p.Ref, p) }
func (p *ipPool) leave(c *Cluster) { delete(c.pools, p.Ref) }
func (*ipPool) derive(*derivation) {}

func (f *felixConfiguration) enter(c *Cluster) { c.felix = f }
func (*felixConfiguration) leave(c *Cluster)   { c.felix = nil }
func (*felixConfiguration) derive(*derivation) {}

func (b *bgpConfiguration) enter(c *Cluster) { c.bgp = b }
func (*bgpConfiguration) leave(c *Cluster)   { c.bgp = nil }
func (*bgpConfiguration) derive(*derivation) {}

func (p *bgpPeer) enter(c *Cluster) { put(&c.peers, p.Ref, p) }
func (p *bgpPeer) leave(c *Cluster) { delete(c.peers, p.Ref) }
func (*bgpPeer) derive(*derivation) {}

func (*volume) enter(*Cluster) {}
func (*volume) leave(*Cluster) {}

func (*monitor) enter(*Cluster) {}
func (*monitor) leave(*Cluster) {}

func (*router) enter(*Cluster) {}
func (*router) leave(*Cluster) {}
