package judge

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// Complete returns the inventory with the groups that clusters and node pools
// ask for and that have yet to be made, as they would be made: named after the
// cluster, or CLUSTER-POOL, with the rules of their profile. Hosts of those
// pools wear them. An inventory that asks for none is returned as it is.
//
// Clusters of clouds are left alone: their groups exist, if no file tells them
// either.
func Complete(inv *convert.Inventory, tables *profiles.Tables) (*convert.Inventory, error) {
	m := groupMaker{inv: inv, tables: tables, clusters: slices.Clone(inv.Clusters)}
	for i := range m.clusters {
		if m.clusters[i].Origin == convert.Manifest {
			if err := m.name(&m.clusters[i]); err != nil {
				return nil, err
			}
		}
	}
	if len(m.made) == 0 {
		return inv, nil
	}
	m.dress()
	// Now that every group has its name, each can have rules about the others.
	out := inv.With(m.made, m.clusters, m.interfaces)
	for i, o := range m.orders {
		g := &m.made[i]
		if err := m.fill(out, o, g); err != nil {
			return nil, fmt.Errorf("%s: cannot make group %s: %w", g.Place, g.Name, err)
		}
	}
	return inv.With(m.made, m.clusters, m.interfaces), nil
}

type groupMaker struct {
	inv        *convert.Inventory
	tables     *profiles.Tables
	clusters   []convert.Cluster
	interfaces []convert.Interface
	// made are the groups, and orders who asks for each.
	made   []convert.Group
	orders []order
}

// An order is what a group is made from.
type order struct {
	cluster *convert.Cluster
	profile profiles.Scope
}

// name names the groups that one cluster and its pools ask for.
func (m *groupMaker) name(c *convert.Cluster) error {
	c.Pools = slices.Clone(c.Pools)
	if c.Group == "" {
		wish := convert.GroupWish{Type: c.GroupType, InnerAccess: c.InnerAccess, Profile: c.Profile}
		if err := m.take(c, c.ID, &wish); err != nil {
			return err
		}
		c.Group = c.ID
	}
	for i := range c.Pools {
		p := &c.Pools[i]
		switch {
		case p.Wants != nil:
			name := c.ID + "-" + p.ID
			if err := m.take(c, name, p.Wants); err != nil {
				return err
			}
			p.Groups = []string{name}
		case len(p.Groups) == 0:
			p.Groups = []string{c.Group}
		}
	}
	return nil
}

// take takes a name for a group to be made.
func (m *groupMaker) take(c *convert.Cluster, name string, wish *convert.GroupWish) error {
	_, taken := m.inv.Group(name)
	if taken || slices.ContainsFunc(m.made, func(g convert.Group) bool { return g.Name == name }) {
		return fmt.Errorf("%s: the group to be made for cluster %s would be called %s, and a group of that name exists: name it in the cluster's securityGroup, or rename it", c.Place, c.Title, name)
	}
	m.made = append(m.made, convert.Group{
		Group:  rules.Group{Name: name, Type: wish.Type, InnerAccess: wish.InnerAccess, VPC: c.VPC},
		Origin: convert.Manifest, Place: c.Place,
	})
	m.orders = append(m.orders, order{c, cmp.Or(wish.Profile, c.Profile, profiles.Recommended)})
	return nil
}

// fill gives a group the rules of its profile.
func (m *groupMaker) fill(inv *convert.Inventory, o order, g *convert.Group) error {
	f, _ := GroupFacts(inv, o.cluster, &g.Group)
	e, err := m.tables.Expand(&f, o.profile)
	if err != nil {
		return err
	}
	for _, r := range e.Rules {
		g.AppendAt(r, g.Place)
	}
	return WithinLimits(&g.Group, m.inv.PrefixLists)
}

// WithinLimits tells what a group is over, so that no host could wear it.
func WithinLimits(g *rules.Group, lists map[string]rules.PrefixList) error {
	if n := g.GroupPeers(); n > rules.MaxGroupPeers {
		return fmt.Errorf("%d of its rules would name a group, and at most %d may: let exposures name CIDRs or prefix lists instead", n, rules.MaxGroupPeers)
	}
	rs, err := rules.Merge([]*rules.Group{g}, lists)
	if err != nil {
		return err
	}
	if err := rs.Limits(); err != nil {
		return fmt.Errorf("%w: give larger CIDRs, or expose less", err)
	}
	return nil
}

// dress lets the hosts of pools wear the groups that were made.
func (m *groupMaker) dress() {
	m.interfaces = slices.Clone(m.inv.Interfaces)
	members := map[string][]netip.Prefix{}
	for i := range m.interfaces {
		f := &m.interfaces[i]
		for _, name := range m.poolGroups(f) {
			if slices.ContainsFunc(m.made, func(g convert.Group) bool { return g.Name == name }) {
				f.Groups = slices.Sorted(slices.Values(append(slices.Clone(f.Groups), name)))
				members[name] = append(members[name], f.Addresses...)
			}
		}
	}
	for i := range m.made {
		list := members[m.made[i].Name]
		slices.SortFunc(list, netip.Prefix.Compare)
		m.made[i].Members = slices.Compact(list)
	}
}

// poolGroups returns the groups of a host's pool; of a host without pool,
// none.
func (m *groupMaker) poolGroups(f *convert.Interface) []string {
	for i := range m.clusters {
		c := &m.clusters[i]
		for k := range c.Pools {
			if c.ID == f.Cluster && c.Pools[k].ID == f.Pool && f.Pool != "" {
				return c.Pools[k].Groups
			}
		}
	}
	return nil
}
