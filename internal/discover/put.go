package discover

import (
	"reflect"

	"ringfence.dev/ringfence/internal/convert"
)

// An item is what an object, or a part of it, comes to.
type item interface {
	// enter and leave are called once each, in this order.
	enter(c *Cluster)
	leave(c *Cluster)
}

// An entry is what is kept of an object.
type entry struct {
	place    string
	items    []item
	findings []Finding
	// broken is set if something in the object makes no sense.
	broken bool
}

// Add reads one object of a dump. Kinds that say nothing about needs are passed
// over. An object with a field that makes no sense is a finding, and unknown
// otherwise. Of two objects with one identity the first counts.
func (c *Cluster) Add(f *convert.Foreign) {
	ref, e, ok := c.read(f)
	if !ok {
		return
	}
	if first := c.entries[ref]; first != nil {
		first.findings = append(first.findings, Finding{ref, e.place, "the object stands twice, first at " + first.place + ": this one is left out"})
		return
	}
	c.enter(ref, e)
}

// Put reads one object of a live cluster, in place of what was read of it before.
// One that makes no sense now is unknown, as with Add. False means that nothing of what is read of it has changed.
func (c *Cluster) Put(f *convert.Foreign) bool {
	ref, e, ok := c.read(f)
	if !ok {
		return false
	}
	if have := c.entries[ref]; have != nil {
		if reflect.DeepEqual(have, e) {
			return false
		}
		c.leave(ref, have)
	}
	c.enter(ref, e)
	return true
}

// Remove forgets an object, with its findings. False means that it was not there.
func (c *Cluster) Remove(ref Ref) bool {
	have := c.entries[ref]
	if have == nil {
		return false
	}
	c.leave(ref, have)
	return true
}

// Unread says that the objects of a resource that the cluster serves cannot be
// listed, or have not been yet, and why. Those that were put before stay as they
// are, and what hangs on the others is unknown. A resource that the cluster does
// not serve is none of this: there are no such objects.
func (c *Cluster) Unread(r Resource, why string) { put(&c.unread, r, why) }

// Read takes back what Unread said.
func (c *Cluster) Read(r Resource) { delete(c.unread, r) }

// read turns a document into an entry; false if it is of no kind that is read,
// or there is no telling which object it is.
func (c *Cluster) read(f *convert.Foreign) (Ref, *entry, bool) {
	k := c.kindOf(f)
	if k == nil {
		return Ref{}, nil, false
	}
	r := reader{doc: f}
	if !r.head(k) {
		for _, finding := range r.findings {
			put(&c.nameless, finding, true)
		}
		return Ref{}, nil, false
	}
	if r.meta() {
		k.read(&r)
	}
	return r.Ref, &entry{r.place, r.items, r.findings, r.bad}, true
}

func (c *Cluster) enter(ref Ref, e *entry) {
	put(&c.entries, ref, e)
	for _, i := range e.items {
		i.enter(c)
	}
}

func (c *Cluster) leave(ref Ref, e *entry) {
	delete(c.entries, ref)
	for _, i := range e.items {
		i.leave(c)
	}
}

func (s *service) enter(c *Cluster) { put(&c.services, s.id(), s) }
func (s *service) leave(c *Cluster) { delete(c.services, s.id()) }

func (s *slice) enter(c *Cluster) {
	if s.Kind == "Endpoints" {
		put(&c.endpoints, s.id(), s)
		return
	}
	of := c.slices[s.of]
	put(&of, s.Ref, s)
	put(&c.slices, s.of, of)
}

func (s *slice) leave(c *Cluster) {
	if s.Kind == "Endpoints" {
		delete(c.endpoints, s.id())
		return
	}
	if delete(c.slices[s.of], s.Ref); len(c.slices[s.of]) == 0 {
		delete(c.slices, s.of)
	}
}

func (p *podLike) enter(c *Cluster) {
	if p.isPod {
		put(&c.pods, p.Ref, p)
		return
	}
	put(&c.workloads, p.Ref, p)
}

func (p *podLike) leave(c *Cluster) {
	delete(c.pods, p.Ref)
	delete(c.workloads, p.Ref)
}

func (n *node) enter(c *Cluster) { put(&c.nodes, n.Name, n) }
func (n *node) leave(c *Cluster) { delete(c.nodes, n.Name) }

func (h *hook) enter(c *Cluster) { put(&c.hooks, h.Ref, append(c.hooks[h.Ref], h)) }
func (h *hook) leave(c *Cluster) { delete(c.hooks, h.Ref) } // all of the object go at once

func (m *configMap) enter(c *Cluster) { put(&c.configMaps, m.id(), m) }
func (m *configMap) leave(c *Cluster) { delete(c.configMaps, m.id()) }

func (p *ipPool) enter(c *Cluster) { put(&c.pools, p.Ref, p) }
func (p *ipPool) leave(c *Cluster) { delete(c.pools, p.Ref) }

func (f *felixConfiguration) enter(c *Cluster) { c.felix = f }
func (*felixConfiguration) leave(c *Cluster) { c.felix = nil }

func (b *bgpConfiguration) enter(c *Cluster) { c.bgp = b }
func (*bgpConfiguration) leave(c *Cluster) { c.bgp = nil }

func (p *bgpPeer) enter(c *Cluster) { put(&c.peers, p.Ref, p) }
func (p *bgpPeer) leave(c *Cluster) { delete(c.peers, p.Ref) }

func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}
