package discover

import (
	"net/netip"
	"slices"
)

// A part is what one object, or one question about the whole, adds to the
// report. It is derived again when something that it has read changes.
type part struct {
	derive func(*derivation)
	reads  []key

	needs    []Need
	unknown  []Unknown
	places   []Located
	findings []Finding
}

func (p *part) isEmpty() bool {
	return len(p.reads)+len(p.needs)+len(p.unknown)+len(p.places)+len(p.findings) == 0
}

// A key is something that a part asks the cluster for.
type key struct {
	what    what
	a, b, c string
}

type what uint8

const (
	// anObject is one by its kind, namespace and name.
	anObject what = iota
	// aSelector is pods of a namespace with a label and its value.
	aSelector
	// aServiceLabel is Services with a label and its value.
	aServiceLabel
	// someSlices are those of a Service, by namespace and name.
	someSlices
	// aProgram is containers by what they run.
	aProgram
	// allOfKind is every object of a kind.
	allOfKind
)

// facts are what so much hangs on that all is derived anew when they change.
type facts struct {
	network network
	// apiServerIsNode is set if the API server is known to be on nodes.
	apiServerIsNode bool
	// kubeletPorts is set if nodes have different ones.
	kubeletPorts bool
	// nodesUnread is set if there may be nodes, and none is known.
	nodesUnread bool
	// unread counts what Unread and Read said.
	unread int
}

// A derivation is what was derived, kept so that a change costs no more than
// what hangs on it.
type derivation struct {
	cluster *Cluster
	// components of the catalog by program and by image.
	components map[string][]*component

	facts
	// configured is the network as networkPart found it.
	configured network
	// seen is the same in the words of a Cluster object, and overlays are all
	// that were found.
	seen     Network
	overlays []overlay
	// part is the one that is being derived.
	part *part
	// asked are the keys of its reads.
	asked map[key]bool
	// claimed are ports of the pod in it that the catalog explains.
	claimed map[claim]bool
	readers map[key][]*part
	dirty   map[*part]bool
	// fresh are entries that were never derived.
	fresh []*entry
	// network and apiServer tell facts; missing is what is not there at all.
	networkPart, apiServerPart, missingPart *part

	result
}

// touch marks what has asked for something that has changed.
func (d *derivation) touch(k key) {
	for _, p := range d.readers[k] {
		d.dirty[p] = true
	}
}

// asks notes that the part that is being derived hangs on something.
func (d *derivation) asks(w what, abc ...string) {
	k := key{what: w, a: abc[0]}
	if len(abc) > 1 {
		k.b = abc[1]
	}
	if len(abc) > 2 {
		k.c = abc[2]
	}
	if !d.asked[k] {
		put(&d.asked, k, true)
		d.part.reads = append(d.part.reads, k)
	}
}

func (d *derivation) asksFor(r Ref) { d.asks(anObject, r.Kind, r.Namespace, r.Name) }

// redo derives a part again.
func (d *derivation) redo(p *part) {
	d.drop(p)
	d.part = p
	clear(d.asked)
	p.derive(d)
	d.part = nil
	for _, k := range p.reads {
		d.readers[k] = append(d.readers[k], p)
	}
	d.include(p)
}

// drop takes back what a part has added.
func (d *derivation) drop(p *part) {
	delete(d.dirty, p)
	d.exclude(p)
	for _, k := range p.reads {
		if rest := without(d.readers[k], p); len(rest) > 0 {
			d.readers[k] = rest
		} else {
			delete(d.readers, k)
		}
	}
	*p = part{derive: p.derive}
}

// without takes one element out of a list whose order does not matter.
func without[T comparable](list []T, x T) []T {
	i := slices.Index(list, x)
	if i < 0 {
		return list
	}
	last := len(list) - 1
	list[i] = list[last]
	clear(list[last:])
	return list[:last]
}

// settle brings the result up to date with the objects.
func (d *derivation) settle() {
	d.touchMoved()
	for _, p := range []*part{d.networkPart, d.apiServerPart} {
		if d.dirty[p] || d.unread != d.cluster.said {
			d.redo(p)
		}
	}
	if now := d.factsNow(); now != d.facts {
		d.facts = now
		d.restart()
	}
	for p := range d.dirty {
		d.redo(p)
	}
	for _, e := range d.fresh {
		d.deriveEntry(e)
	}
	d.fresh = nil
	d.redo(d.missingPart)
}

func (d *derivation) factsNow() facts {
	c := d.cluster
	now := facts{network: d.configured, kubeletPorts: len(c.kubeletPorts) > 1, unread: c.said}
	now.apiServerIsNode = d.findAPIServer()
	now.nodesUnread = len(c.nodes) == 0 && c.unreadKind("Node") != ""
	return now
}

// restart forgets all that hangs on facts.
func (d *derivation) restart() {
	d.fresh = d.fresh[:0]
	for _, e := range d.cluster.entries {
		if e.part != nil {
			d.drop(e.part)
			e.part = nil
		}
		d.fresh = append(d.fresh, e)
	}
	clear(d.dirty)
}

// deriveEntry derives an object for the first time.
func (d *derivation) deriveEntry(e *entry) {
	if e.gone || e.part != nil {
		return
	}
	p := &part{derive: e.derive}
	if d.redo(p); !p.isEmpty() {
		e.part = p
	}
}

// derive adds what an object asks for.
func (e *entry) derive(d *derivation) {
	d.part.findings = append(d.part.findings, e.findings...)
	if e.broken {
		d.dontKnow(&Unknown{About: e.ref.String(), Why: "it was read, but makes no sense", Tell: "the finding about it says which field to mend"}, Evidence{Object: e.ref, Place: e.place})
	}
	for _, i := range e.items {
		i.derive(d)
	}
}

// moved is where endpoints may have another meaning.
type moved struct {
	addresses map[netip.Addr]bool
	pods      map[name]bool
}

// touchMoved marks the Services with endpoints at addresses that have become a
// host's, or no longer are, and with pods that may have. Looking at all slices
// costs less than remembering who asked for each of their addresses.
func (d *derivation) touchMoved() {
	m := &d.cluster.moved
	if len(m.addresses)+len(m.pods) == 0 {
		return
	}
	for of, list := range d.cluster.slices {
		for _, s := range list {
			if m.touches(s) {
				d.touch(key{what: someSlices, a: of.namespace, b: of.name})
			}
		}
	}
	for of, s := range d.cluster.endpoints {
		for ; s != nil; s = s.rest {
			if m.touches(s) {
				d.touch(key{what: someSlices, a: of.namespace, b: of.name})
			}
		}
	}
	*m = moved{}
}

func (m *moved) touches(s *slice) bool {
	return slices.ContainsFunc(s.endpoints, func(e endpoint) bool {
		return len(m.addresses) > 0 && m.addresses[e.address] || len(m.pods) > 0 && e.pod != "" && m.pods[name{s.Namespace, e.pod}]
	})
}
