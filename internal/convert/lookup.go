package convert

import (
	"cmp"
	"net/netip"
	"slices"
)

// An index finds the parts of an inventory. The zero index finds nothing.
type index struct {
	groups map[string]int
	// addresses has the interfaces of each prefix, lengths the lengths of the
	// prefixes that there are, longest first, of IPv4 and of IPv6.
	addresses map[netip.Prefix][]int32
	lengths   [2][]int
}

func newIndex(v *Inventory) index {
	x := index{
		groups:    make(map[string]int, len(v.Groups)),
		addresses: make(map[netip.Prefix][]int32, len(v.Interfaces)),
	}
	for i := range v.Groups {
		x.groups[v.Groups[i].Name] = i
	}
	var seen [2][129]bool
	for i := range v.Interfaces {
		for _, p := range v.Interfaces[i].Addresses {
			x.addresses[p] = append(x.addresses[p], int32(i))
			seen[family(p.Addr())][p.Bits()] = true
		}
	}
	for f := range seen {
		for bits := 128; bits >= 0; bits-- {
			if seen[f][bits] {
				x.lengths[f] = append(x.lengths[f], bits)
			}
		}
	}
	return x
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// Group returns the group with an ID.
func (v *Inventory) Group(id string) (*Group, bool) {
	i, ok := v.index.groups[id]
	if !ok {
		return nil, false
	}
	return &v.Groups[i], true
}

// InterfacesAt returns the interfaces with an address, by longest prefix. More
// than one has it only if networks use the same addresses; they are sorted by
// ID then.
func (v *Inventory) InterfacesAt(a netip.Addr) []*Interface {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return nil
	}
	for _, bits := range v.index.lengths[family(a)] {
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		if found := v.index.addresses[p]; len(found) > 0 {
			list := make([]*Interface, len(found))
			for i, j := range found {
				list[i] = &v.Interfaces[j]
			}
			return list
		}
	}
	return nil
}

// InterfaceAt returns the interface with an address, by longest prefix; false
// if there is none, or several in different networks.
func (v *Inventory) InterfaceAt(a netip.Addr) (*Interface, bool) {
	if found := v.InterfacesAt(a); len(found) == 1 {
		return found[0], true
	}
	return nil, false
}

// Cluster returns the cluster with an ID, or else the only one with a title.
func (v *Inventory) Cluster(idOrTitle string) (*Cluster, bool) {
	var titled []*Cluster
	for i := range v.Clusters {
		c := &v.Clusters[i]
		if c.ID == idOrTitle {
			return c, true
		}
		if c.Title == idOrTitle {
			titled = append(titled, c)
		}
	}
	if len(titled) == 1 {
		return titled[0], true
	}
	return nil, false
}

// ClusterByPodAddress returns the cluster whose pod CIDRs hold an address, by
// longest prefix; false if there is none, or if two clusters tie.
func (v *Inventory) ClusterByPodAddress(a netip.Addr) (*Cluster, bool) {
	a = a.Unmap().WithZone("")
	best := -1
	var found []*Cluster
	for i := range v.Clusters {
		c := &v.Clusters[i]
		bits := longest(c, a)
		switch cmp.Compare(bits, best) {
		case 1:
			best, found = bits, []*Cluster{c}
		case 0:
			found = append(found, c)
		}
	}
	if best < 0 || len(found) != 1 {
		return nil, false
	}
	return found[0], true
}

// longest returns the length of the longest pod CIDR that holds a; -1 if none does.
func longest(c *Cluster, a netip.Addr) int {
	bits := -1
	for _, p := range c.Facts.PodCIDRs {
		if p.Prefix.Contains(a) {
			bits = max(bits, p.Prefix.Bits())
		}
	}
	return bits
}

// With returns the inventory with more groups, and with other clusters and
// interfaces in place of its own: what it would be once something is made.
func (v *Inventory) With(groups []Group, clusters []Cluster, interfaces []Interface) *Inventory {
	out := *v
	out.Groups = slices.Concat(v.Groups, groups)
	slices.SortStableFunc(out.Groups, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	out.Clusters, out.Interfaces = clusters, interfaces
	out.index = newIndex(&out)
	return &out
}
