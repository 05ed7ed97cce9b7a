package judge

import (
	"cmp"
	"slices"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// GroupFacts returns the facts of a cluster as seen from one group of its own,
// for a profile to be made from, and the profile that the group asks for, empty
// if it does not. Of the group only name, type and inner access count; without a
// name it is the cluster's own. The inventory knows the other groups.
func GroupFacts(inv *convert.Inventory, c *convert.Cluster, g *rules.Group) (profiles.Facts, profiles.Scope) {
	asked := *g
	named := *c
	if g.Name == "" || c.Group == "" {
		// A name that no group can have tells the cluster's own from its pools'.
		asked.Name = cmp.Or(g.Name, c.Group, "\x00")
		named.Group = cmp.Or(c.Group, asked.Name)
	}
	f := factsFor(inv, &named, []*rules.Group{&asked})
	f.Group = g.Name
	scope := c.Profile
	if i := slices.IndexFunc(c.Pools, func(p convert.NodePool) bool { return slices.Contains(p.Groups, g.Name) }); i >= 0 {
		scope = cmp.Or(c.Pools[i].Profile, scope)
	}
	return f, scope
}

// factsFor returns the facts as seen by whoever wears some groups together, the
// first of which is the one whose rules are made or judged.
func factsFor(inv *convert.Inventory, c *convert.Cluster, worn []*rules.Group) profiles.Facts {
	g := worn[0]
	f := c.Facts
	f.Cluster = c.Title
	f.Group, f.GroupType, f.InnerAccess = g.Name, g.Type, g.InnerAccess
	if i := slices.IndexFunc(worn, func(o *rules.Group) bool { return o.InnerAccess }); i > 0 && !g.InnerAccess {
		f.InnerAccess, f.InnerGroup = true, worn[i].Name
	}
	for _, set := range setsOf(c) {
		if o, apart := otherThan(inv, worn, set); apart && !slices.Contains(f.Others, o) {
			f.Others = append(f.Others, o)
		}
	}
	return f
}

// setsOf lists the sets of groups that a cluster's control plane, its node pools
// and its pods wear, in this order.
func setsOf(c *convert.Cluster) [][]string {
	sets := [][]string{nil, c.PodGroups}
	if c.Group != "" {
		sets[0] = []string{c.Group}
	}
	for i := range c.Pools {
		sets = append(sets, c.Pools[i].Groups)
	}
	return slices.DeleteFunc(sets, func(s []string) bool { return len(s) == 0 })
}

// otherThan tells by which group those who wear a set are known to those who
// wear some groups; false if these are the same, or inner access lets them in.
// A type that no file tells is taken for that of the wearers' own group: a
// cluster of both types is rare, and check has a finding about the group.
func otherThan(inv *convert.Inventory, worn []*rules.Group, set []string) (profiles.OtherGroup, bool) {
	shared := 0
	for _, g := range worn {
		if !slices.Contains(set, g.Name) {
			continue
		}
		if shared++; g.InnerAccess {
			return profiles.OtherGroup{}, false
		}
	}
	known := profiles.OtherGroup{Name: set[0], Type: worn[0].Type}
	if other, ok := inv.Group(known.Name); ok && !other.TypeUnknown {
		known.Type = other.Type
	}
	if shared > 0 { // no group tells them from the wearers themselves
		known.Name = ""
	}
	return known, shared < max(len(set), len(worn))
}
