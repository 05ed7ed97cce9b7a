package judge

import (
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// A worn is one set of groups that hosts of a cluster wear together.
type worn struct {
	cluster *convert.Cluster
	groups  []*convert.Group   // in the order written; the first is the one to fix
	who     string             // for messages: who wears them
	host    *convert.Interface // the one that wears them; nil for clusters, pools and pods
}

// wearers lists who wears groups of a cluster: its control plane, which wears
// the cluster's own, its node pools, its pods where they wear others, and the
// hosts and interfaces that are the cluster's, or wear any of these groups:
// they may wear more. Who has no group yet is left out.
func wearers(inv *convert.Inventory, c *convert.Cluster) []worn {
	var out []worn
	add := func(who string, names []string, host *convert.Interface) {
		if w, ok := newWorn(inv, who, names); ok {
			w.cluster, w.host = c, host
			// The cluster's own group is the one to fix, wherever it stands.
			slices.SortStableFunc(w.groups, func(a, b *convert.Group) int { return rank(a, c) - rank(b, c) })
			out = append(out, w)
		}
	}
	if c.Group != "" {
		add("cluster "+c.Title, []string{c.Group}, nil)
	}
	for i := range c.Pools {
		add(fmt.Sprintf("node pool %s of cluster %s", c.Pools[i].Title, c.Title), c.Pools[i].Groups, nil)
	}
	add("pods of cluster "+c.Title, c.PodGroups, nil)
	ofCluster := map[string]bool{}
	for _, w := range out {
		for _, g := range w.groups {
			ofCluster[g.Name] = true
		}
	}
	for i := range inv.Interfaces {
		f := &inv.Interfaces[i]
		if f.Cluster == c.ID || f.Cluster == "" && slices.ContainsFunc(f.Groups, func(g string) bool { return ofCluster[g] }) {
			add(f.ID+" of cluster "+c.Title, f.Groups, f)
		}
	}
	return out
}

// newWorn returns the set of the named groups; false if there is none.
func newWorn(inv *convert.Inventory, who string, names []string) (worn, bool) {
	w := worn{who: who}
	for _, n := range names {
		if g, ok := inv.Group(n); ok {
			w.groups = append(w.groups, g)
		}
	}
	return w, len(w.groups) > 0
}

// wornSets lists the distinct sets of groups of a cluster.
func wornSets(inv *convert.Inventory, c *convert.Cluster) []worn {
	seen := map[string]bool{}
	return slices.DeleteFunc(wearers(inv, c), func(w worn) bool {
		again := seen[w.key()]
		seen[w.key()] = true
		return again
	})
}

// names returns the names of the set's groups, sorted.
func (w *worn) names() []string {
	names := make([]string, len(w.groups))
	for i, g := range w.groups {
		names[i] = g.Name
	}
	slices.Sort(names)
	return names
}

// key identifies the set.
func (w *worn) key() string { return strings.Join(w.names(), "\x00") }

func rank(g *convert.Group, c *convert.Cluster) int {
	if g.Name == c.Group {
		return 0
	}
	return 1
}

// facts returns the cluster's facts as seen from the set's first group.
func (w *worn) facts(inv *convert.Inventory) profiles.Facts {
	g := w.groups[0]
	own, ok := inv.Group(w.cluster.Group)
	if !ok {
		own = g
	}
	return FactsOf(w.cluster, &g.Group, &own.Group)
}

// FactsOf returns the facts of a cluster for one of its groups, own being the
// cluster's default group. Of both only name, type and inner access count.
func FactsOf(c *convert.Cluster, g, own *rules.Group) profiles.Facts {
	f := c.Facts
	f.Cluster = c.Title
	f.Group, f.GroupType, f.InnerAccess = g.Name, g.Type, g.InnerAccess
	f.ClusterGroup, f.ClusterGroupType = own.Name, own.Type
	return f
}

// merge merges the set's rules.
func (w *worn) merge(inv *convert.Inventory) (*rules.Ruleset, error) {
	list := make([]*rules.Group, len(w.groups))
	for i, g := range w.groups {
		list[i] = &g.Group
	}
	return rules.Merge(list, inv.PrefixLists)
}

// place returns where a rule of the set stands.
func (w *worn) place(r *rules.MergedRule) convert.Place {
	for _, g := range w.groups {
		if places := g.Places(r.Direction); g.Name == r.Group && r.Position <= len(places) {
			return places[r.Position-1]
		}
	}
	return convert.Place{}
}
