package discover

import (
	"reflect"
	"slices"

	"ringfence.dev/ringfence/internal/convert"
)

// An item is what an object, or a part of it, comes to.
type item interface {
	// enter and leave are called once each, in this order.
	enter(c *Cluster)
	leave(c *Cluster)
	// derive adds what there is because of the item.
	derive(d *derivation)
}

// An entry is what is kept of an object.
type entry struct {
	ref      Ref
	place    string
	items    []item
	findings []Finding
	// broken is set if something in the object makes no sense.
	broken bool

	// part is what was derived from it; nil if that is nothing.
	part *part
	// gone is set once the cluster has it no more.
	gone bool
}

func (e *entry) same(o *entry) bool {
	return e.place == o.place && e.broken == o.broken && slices.Equal(e.findings, o.findings) && reflect.DeepEqual(e.items, o.items)
}

// Add reads one object of a dump. Kinds that say nothing about needs are passed
// over. An object with a field that makes no sense is a finding, and unknown
// otherwise. Of two objects with one identity the first counts.
func (c *Cluster) Add(f *convert.Foreign) {
	e := c.read(f)
	if e == nil {
		return
	}
	if first := c.entries[e.ref]; first != nil {
		again := *first
		again.part, again.findings = nil, append(slices.Clone(first.findings), Finding{e.ref, e.place, "the object stands twice, first at " + first.place + ": this one is left out"})
		c.leave(first)
		c.enter(&again)
		return
	}
	c.enter(e)
}

// Put reads one object of a live cluster, in place of what was read of it before.
// One that makes no sense now is unknown, as with Add. False means that nothing of what is read of it has changed.
func (c *Cluster) Put(f *convert.Foreign) bool {
	e := c.read(f)
	if e == nil {
		return false
	}
	if have := c.entries[e.ref]; have != nil {
		if have.same(e) {
			return false
		}
		c.leave(have)
	}
	c.enter(e)
	return true
}

// Remove forgets an object, with its findings. False means that it was not there.
func (c *Cluster) Remove(ref Ref) bool {
	have := c.entries[ref]
	if have == nil {
		return false
	}
	c.leave(have)
	return true
}

// Unread says that the objects of a resource that the cluster serves cannot be
// listed, or have not been yet, and why. Those that were put before stay as they
// are, and what hangs on the others is unknown. A resource that the cluster does
// not serve is none of this: there are no such objects.
func (c *Cluster) Unread(r Resource, why string) {
	if have, ok := c.unread[r]; !ok || have != why {
		put(&c.unread, r, why)
		c.said++
	}
}

// Read takes back what Unread said.
func (c *Cluster) Read(r Resource) {
	if _, ok := c.unread[r]; ok {
		delete(c.unread, r)
		c.said++
	}
}

// read turns a document into an entry; nil if it is of no kind that is read, or
// there is no telling which object it is.
func (c *Cluster) read(f *convert.Foreign) *entry {
	k := c.kindOf(f)
	if k == nil {
		return nil
	}
	r := reader{doc: f}
	if !r.head(k) {
		for _, finding := range r.findings {
			put(&c.nameless, finding, true)
		}
		return nil
	}
	if r.meta() {
		k.read(&r)
	}
	return &entry{ref: r.Ref, place: r.place, items: r.items, findings: r.findings, broken: r.bad}
}

// enter adds an object.
func (c *Cluster) enter(e *entry) {
	put(&c.entries, e.ref, e)
	for _, i := range e.items {
		i.enter(c)
	}
	c.touchObject(e.ref)
	if c.derived != nil {
		c.derived.fresh = append(c.derived.fresh, e)
	}
}

// leave takes an object away, with all that was derived from it.
func (c *Cluster) leave(e *entry) {
	delete(c.entries, e.ref)
	for _, i := range e.items {
		i.leave(c)
	}
	c.touchObject(e.ref)
	if e.gone = true; e.part != nil {
		c.derived.drop(e.part)
	}
}

func (c *Cluster) touchObject(r Ref) {
	c.touch(key{anObject, r.Kind, r.Namespace, r.Name})
	c.touch(key{what: allOfKind, a: r.Kind})
}

func (c *Cluster) touch(k key) {
	if c.derived != nil {
		c.derived.touch(k)
	}
}

func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}
