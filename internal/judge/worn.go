package judge

import (
	"cmp"
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
	// profile is what the groups were meant to be made from; empty if nothing says.
	profile profiles.Scope
}

// wearers lists who wears groups of a cluster: its control plane, which wears
// the cluster's own, its node pools, its pods where they wear others, and the
// hosts and interfaces that are the cluster's, or wear any of these groups:
// they may wear more. Who has no group yet is left out.
func wearers(inv *convert.Inventory, c *convert.Cluster) []worn {
	var out []worn
	add := func(who string, names []string, profile profiles.Scope, host *convert.Interface) {
		if w, ok := newWorn(inv, who, names); ok {
			w.cluster, w.host, w.profile = c, host, cmp.Or(profile, c.Profile)
			// The cluster's own group is the one to fix, wherever it stands.
			slices.SortStableFunc(w.groups, func(a, b *convert.Group) int { return rank(a, c) - rank(b, c) })
			out = append(out, w)
		}
	}
	if c.Group != "" {
		add("cluster "+c.Title, []string{c.Group}, "", nil)
	}
	for i := range c.Pools {
		p := &c.Pools[i]
		add(fmt.Sprintf("node pool %s of cluster %s", p.Title, c.Title), p.Groups, p.Profile, nil)
	}
	add("pods of cluster "+c.Title, c.PodGroups, "", nil)
	ofCluster := map[string]bool{}
	for _, w := range out {
		for _, g := range w.groups {
			ofCluster[g.Name] = true
		}
	}
	for i := range inv.Interfaces {
		f := &inv.Interfaces[i]
		if f.Cluster == c.ID || f.Cluster == "" && slices.ContainsFunc(f.Groups, func(g string) bool { return ofCluster[g] }) {
			add(f.ID+" of cluster "+c.Title, f.Groups, poolProfile(c, f.Pool), f)
		}
	}
	return out
}

func poolProfile(c *convert.Cluster, pool string) profiles.Scope {
	i := slices.IndexFunc(c.Pools, func(p convert.NodePool) bool { return p.ID == pool })
	if i < 0 {
		return ""
	}
	return c.Pools[i].Profile
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

// facts returns the cluster's facts as seen from the set, the first of which is
// the one to fix.
func (w *worn) facts(inv *convert.Inventory) profiles.Facts {
	return factsFor(inv, w.cluster, w.list())
}

func (w *worn) list() []*rules.Group {
	list := make([]*rules.Group, len(w.groups))
	for i, g := range w.groups {
		list[i] = &g.Group
	}
	return list
}

// merge merges the set's rules.
func (w *worn) merge(inv *convert.Inventory) (*rules.Ruleset, error) {
	return rules.Merge(w.list(), inv.PrefixLists)
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
