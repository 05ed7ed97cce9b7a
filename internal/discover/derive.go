package discover

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"ringfence.dev/ringfence/rules"
)

// Derive returns what the cluster needs, as far as its objects tell. It is a
// function of the objects, whatever their order.
func (c *Cluster) Derive() (*Report, error) {
	catalog, err := loadCatalog()
	if err != nil {
		return nil, err
	}
	d := derivation{
		cluster: c, catalog: catalog,
		needs: map[needKey]*Need{}, unknown: map[string]*Unknown{}, parties: map[Party]map[netip.Prefix]bool{}, hosts: map[netip.Addr]bool{},
	}
	d.index()
	d.deriveNodes()
	d.deriveNetwork()
	d.deriveAPIServer()
	d.deriveComponents()
	d.deriveKubeProxy()
	d.deriveHooks()
	d.deriveDNS()
	d.deriveExposed()
	d.deriveHostPorts()
	d.deriveBroken()
	d.deriveUnread()
	return d.report(), nil
}

// A derivation is one run of Derive.
type derivation struct {
	cluster *Cluster
	catalog []component
	network network

	needs   map[needKey]*Need
	unknown map[string]*Unknown
	parties map[Party]map[netip.Prefix]bool

	// hosts are the addresses of nodes, controlPlane those of them with that role.
	hosts           map[netip.Addr]bool
	controlPlane    map[netip.Addr]bool
	podsByName      map[name]*podLike
	pods, workloads []*podLike // sorted
	// byLabel finds what a selector matches; replicaSets who owns them.
	byLabel  map[labelKey][]*podLike
	owners   map[name]owner
	findings []Finding
	// claimed are ports of containers that a component of the catalog explains.
	claimed map[claim]bool
}

// A needKey is what makes two needs one.
type needKey struct {
	from, to Party
	protocol rules.Protocol
	ports    rules.PortRange
	wire     Wire
}

type labelKey struct{ namespace, key, value string }

func one(port uint16) rules.PortRange { return rules.PortRange{First: port, Last: port} }

// index prepares the look-ups.
func (d *derivation) index() {
	d.podsByName, d.byLabel, d.owners = map[name]*podLike{}, map[labelKey][]*podLike{}, map[name]owner{}
	d.claimed, d.controlPlane = map[claim]bool{}, map[netip.Addr]bool{}
	byRef := func(a, b *podLike) int { return a.compare(b.Ref) }
	d.pods = slices.SortedFunc(maps.Values(d.cluster.pods), byRef)
	d.workloads = slices.SortedFunc(maps.Values(d.cluster.workloads), byRef)
	for _, p := range d.pods {
		d.podsByName[p.id()] = p
	}
	for _, p := range slices.Concat(d.pods, d.workloads) {
		for k, v := range p.labels {
			key := labelKey{p.Namespace, k, v}
			d.byLabel[key] = append(d.byLabel[key], p)
		}
		if p.Kind == "ReplicaSet" {
			d.owners[p.id()] = p.owner
		}
	}
}

// matching returns the pods and templates that a selector matches.
func (d *derivation) matching(namespace string, selector map[string]string) []*podLike {
	var best []*podLike
	first := true
	for k, v := range selector {
		if list := d.byLabel[labelKey{namespace, k, v}]; first || len(list) < len(best) {
			best, first = list, false
		}
	}
	var out []*podLike
	for _, p := range best {
		ok := true
		for k, v := range selector {
			ok = ok && p.labels[k] == v
		}
		if ok {
			out = append(out, p)
		}
	}
	return out
}

// workloadOf names what a pod belongs to, so that all of its pods are one party.
func (d *derivation) workloadOf(p *podLike) string {
	kind, of := p.Kind, p.id()
	for range 2 { // pod, ReplicaSet, Deployment
		o := p.owner
		if kind != p.Kind || of != p.id() {
			o = d.owners[of]
		}
		if o.kind == "" || o.kind == "Node" {
			break
		}
		kind, of = o.kind, name{p.Namespace, o.name}
	}
	return kind + " " + of.String()
}

// need adds a need, or what speaks for one that is there.
func (d *derivation) need(n *Need, because ...Evidence) {
	key := needKey{n.From, n.To, n.Protocol, n.Ports, n.Wire}
	have := d.needs[key]
	if have == nil {
		have = n
		d.needs[key] = n
	}
	// Of several reasons the one of the highest class is told, and of those the first.
	if n.Class > have.Class || n.Class == have.Class && n.Why < have.Why {
		have.Class, have.Why = n.Class, n.Why
	}
	have.Because.Evidence = append(have.Because.Evidence, because...)
}

func (d *derivation) dontKnow(u *Unknown, because ...Evidence) {
	have := d.unknown[u.About]
	if have == nil {
		have = u
		d.unknown[u.About] = u
	}
	if u.Why < have.Why {
		have.Why, have.Tell = u.Why, u.Tell
	}
	have.Because.Evidence = append(have.Because.Evidence, because...)
}

// located adds addresses to a party.
func (d *derivation) located(p Party, addresses ...netip.Addr) {
	for _, a := range addresses {
		if a.IsValid() {
			d.ranged(p, netip.PrefixFrom(a, a.BitLen()))
		}
	}
}

func (d *derivation) ranged(p Party, prefixes ...netip.Prefix) {
	if d.parties[p] == nil {
		d.parties[p] = map[netip.Prefix]bool{}
	}
	for _, prefix := range prefixes {
		if prefix.IsValid() {
			d.parties[p][prefix] = true
		}
	}
}

// outside returns the party of a host that is none of the cluster's, as far as
// is known: a name, or an address, which is its own place.
func (d *derivation) outside(host string) Party {
	p := Party{External, host}
	if a, err := netip.ParseAddr(host); err == nil {
		d.located(p, a)
		return p
	}
	d.dontKnow(&Unknown{About: "the addresses of " + host, Why: "it is a name of DNS", Tell: "looking it up where it is called"})
	return p
}

// report puts everything in order and drops what would be too much.
func (d *derivation) report() *Report {
	r := &Report{Findings: append(slices.Collect(maps.Keys(d.cluster.nameless)), d.findings...)}
	used := map[Party]bool{}
	for _, n := range d.needs {
		n.Because.limit()
		used[n.From], used[n.To] = true, true
		r.Needs = append(r.Needs, *n)
	}
	for _, u := range d.unknown {
		u.Because.limit()
		r.Unknown = append(r.Unknown, *u)
	}
	for p := range used {
		if prefixes := d.parties[p]; len(prefixes) > 0 {
			sorted := slices.SortedFunc(maps.Keys(prefixes), netip.Prefix.Compare)
			r.Parties = append(r.Parties, Located{p, sorted})
		}
	}
	slices.SortFunc(r.Needs, compareNeeds)
	slices.SortFunc(r.Unknown, func(a, b Unknown) int { return cmp.Compare(a.About, b.About) })
	slices.SortFunc(r.Parties, func(a, b Located) int { return a.Party.compare(b.Party) })
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(a.Object.compare(b.Object), cmp.Compare(a.Place, b.Place), cmp.Compare(a.Why, b.Why))
	})
	return r
}

func (p Party) compare(o Party) int {
	return cmp.Or(cmp.Compare(p.Kind, o.Kind), cmp.Compare(p.Name, o.Name))
}

// compareNeeds orders needs: the essential ones first.
func compareNeeds(a, b Need) int {
	return cmp.Or(cmp.Compare(b.Class, a.Class), a.To.compare(b.To), a.From.compare(b.From),
		cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Ports.First, b.Ports.First), cmp.Compare(a.Ports.Last, b.Ports.Last), cmp.Compare(a.Wire, b.Wire))
}

// limit sorts evidence and keeps the first few pieces.
func (b *Because) limit() {
	slices.SortFunc(b.Evidence, func(a, b Evidence) int {
		return cmp.Or(a.Object.compare(b.Object), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Place, b.Place))
	})
	b.Evidence = slices.Compact(b.Evidence)
	if over := len(b.Evidence) - maxEvidence; over > 0 {
		b.Evidence, b.More = slices.Clone(b.Evidence[:maxEvidence]), over
	}
}
