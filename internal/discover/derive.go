package discover

import (
	"net/netip"
	"slices"

	"ringfence.dev/ringfence/rules"
)

// Derive returns what the cluster needs, as far as its objects tell. It is a
// function of the objects, whatever their order, and whatever was derived
// before: what has not changed is remembered.
func (c *Cluster) Derive() (*Report, error) {
	if c.derived == nil {
		d, err := newDerivation(c)
		if err != nil {
			return nil, err
		}
		c.derived = d
	}
	c.derived.settle()
	report := c.derived.tell()
	report.Network = c.derived.seen
	return report, nil
}

func newDerivation(c *Cluster) (*derivation, error) {
	catalog, err := loadCatalog()
	if err != nil {
		return nil, err
	}
	d := &derivation{
		cluster: c, components: map[string][]*component{}, readers: map[key][]*part{}, dirty: map[*part]bool{},
		networkPart: &part{derive: (*derivation).deriveNetwork}, apiServerPart: &part{derive: (*derivation).deriveAPIServer},
		missingPart: &part{derive: (*derivation).deriveMissing}, result: newResult(),
	}
	for i := range catalog {
		for _, id := range slices.Concat(catalog[i].Programs, catalog[i].Images) {
			d.components[id] = append(d.components[id], &catalog[i])
		}
	}
	d.dirty[d.networkPart], d.dirty[d.apiServerPart] = true, true
	for _, e := range c.entries {
		d.fresh = append(d.fresh, e)
	}
	return d, nil
}

func one(port uint16) rules.PortRange { return rules.PortRange{First: port, Last: port} }

// need adds a need.
func (d *derivation) need(n *Need, because ...Evidence) {
	n.Because.Evidence = slices.Clone(because)
	d.part.needs = append(d.part.needs, *n)
}

func (d *derivation) dontKnow(u *Unknown, because ...Evidence) {
	u.Because.Evidence = slices.Clone(because)
	d.part.unknown = append(d.part.unknown, *u)
}

// located adds addresses to a party.
func (d *derivation) located(p Party, addresses ...netip.Addr) {
	prefixes := make([]netip.Prefix, 0, len(addresses))
	for _, a := range addresses {
		if a.IsValid() {
			prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	d.ranged(p, prefixes...)
}

// ranged adds ranges of addresses to a party.
func (d *derivation) ranged(p Party, prefixes ...netip.Prefix) {
	prefixes = slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool { return !p.IsValid() })
	if len(prefixes) > 0 {
		d.part.places = append(d.part.places, Located{p, prefixes})
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

// workloadOf names what a pod belongs to, so that all of its pods are one party.
func (d *derivation) workloadOf(p *podLike) string {
	// What owns the others makes no pods itself.
	if !p.isPod && p.Kind != "ReplicaSet" || p.owner.kind == "" || p.owner.kind == "Node" {
		return p.String()
	}
	by := Ref{p.owner.kind, p.Namespace, p.owner.name}
	if by.Kind != "ReplicaSet" {
		return by.String()
	}
	d.asksFor(by)
	if set := d.cluster.workloads[by]; set != nil && set.owner.kind != "" { // a Deployment's
		by.Kind, by.Name = set.owner.kind, set.owner.name
	}
	return by.String()
}
