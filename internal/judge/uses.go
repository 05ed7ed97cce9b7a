package judge

import (
	"fmt"
	"slices"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/rules"
)

// A User is a cluster, or a node pool, that uses a group.
type User struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	ID      string `json:"id"`
	Cluster string `json:"cluster"`
}

// A Use says who uses a group.
type Use struct {
	Group string `json:"group"`
	// Users are in the order in which to delete them: what belongs to a cluster first.
	Users []User `json:"users"`
	// AlsoHeldBy says in words what else keeps the group from being deleted.
	AlsoHeldBy []string `json:"alsoHeldBy"`
}

// Uses tells who uses a group.
func Uses(inv *convert.Inventory, group string) Use {
	u := Use{Group: group, Users: []User{}, AlsoHeldBy: []string{}}
	for i := range inv.Clusters {
		c := &inv.Clusters[i]
		for k := range c.Pools {
			if p := &c.Pools[k]; slices.Contains(p.Groups, group) {
				u.Users = append(u.Users, User{"NodePool", p.Title, p.ID, c.Title})
			}
		}
		if c.Group == group || slices.Contains(c.PodGroups, group) {
			u.Users = append(u.Users, User{"Cluster", c.Title, c.ID, c.Title})
		}
	}
	for i := range inv.Groups {
		g := &inv.Groups[i]
		if n := naming(&g.Group, group); n > 0 {
			u.AlsoHeldBy = append(u.AlsoHeldBy, fmt.Sprintf("group %s names it in %d of its rules", g.Name, n))
		}
	}
	if n := wearing(inv, group); n > 0 {
		u.AlsoHeldBy = append(u.AlsoHeldBy, fmt.Sprintf("%d network interfaces or hosts wear it", n))
	}
	return u
}

func naming(g *rules.Group, group string) int {
	n := 0
	for _, list := range [][]rules.Rule{g.Ingress, g.Egress} {
		for _, r := range list {
			if p, ok := r.Peer.(rules.GroupPeer); ok && p.Name == group {
				n++
			}
		}
	}
	return n
}

func wearing(inv *convert.Inventory, group string) int {
	n := 0
	for i := range inv.Interfaces {
		if slices.Contains(inv.Interfaces[i].Groups, group) {
			n++
		}
	}
	return n
}
