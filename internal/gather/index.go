package gather

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// The indexes, named after what they find objects by.
const (
	byVPC     = "vpc"
	byCluster = "cluster"
	byPool    = "pool"
	byAddress = "address"
	// byUse finds the clusters, node pools and hosts that use a group, by spec
	// or by status.
	byUse = "use"
	// byMade finds the clusters and node pools whose own group would have a name.
	byMade = "made"
	// byPeer and byList find what names a group or a prefix list as a peer.
	byPeer = "peer"
	byList = "list"
	// bySlice finds the AddressSlices of a group.
	bySlice = "slice"
)

// Index adds the indexes to a cache that the functions of this package read
// from. Once for each cache, before it starts.
func Index(ctx context.Context, cache client.FieldIndexer) error {
	for _, add := range []func() error{
		func() error {
			return index(ctx, cache, byVPC, func(o *v1alpha1.Cluster) []string { return []string{o.Spec.VPCName} })
		},
		func() error { return index(ctx, cache, byUse, UsedByCluster) },
		func() error {
			return index(ctx, cache, byMade, func(o *v1alpha1.Cluster) []string { return []string{o.Name} })
		},
		func() error { return index(ctx, cache, byPeer, exposedGroups) },
		func() error { return index(ctx, cache, byList, exposedLists) },
		func() error {
			return index(ctx, cache, byCluster, func(o *v1alpha1.NodePool) []string { return []string{o.Spec.ClusterName} })
		},
		func() error { return index(ctx, cache, byUse, UsedByPool) },
		func() error {
			return index(ctx, cache, byMade, func(o *v1alpha1.NodePool) []string { return []string{PoolGroup(o)} })
		},
		func() error {
			return index(ctx, cache, byCluster, func(o *v1alpha1.Host) []string { return []string{o.Spec.ClusterName} })
		},
		func() error {
			return index(ctx, cache, byPool, func(o *v1alpha1.Host) []string { return []string{o.Spec.NodePoolName} })
		},
		func() error {
			return index(ctx, cache, byAddress, func(o *v1alpha1.Host) []string { return o.Spec.Addresses })
		},
		func() error {
			return index(ctx, cache, byUse, func(o *v1alpha1.Host) []string { return o.Spec.SecurityGroupNames })
		},
		func() error {
			return index(ctx, cache, byVPC, func(o *v1alpha1.SecurityGroup) []string { return []string{o.Spec.VPCName} })
		},
		func() error { return index(ctx, cache, byPeer, Peers) },
		func() error { return index(ctx, cache, byList, Lists) },
		func() error {
			return index(ctx, cache, bySlice, func(o *v1alpha1.AddressSlice) []string { return []string{o.Spec.SecurityGroupName} })
		},
	} {
		if err := add(); err != nil {
			return err
		}
	}
	return nil
}

func index[T any, P interface {
	*T
	client.Object
}](ctx context.Context, cache client.FieldIndexer, name string, keys func(P) []string) error {
	err := cache.IndexField(ctx, P(new(T)), name, func(o client.Object) []string {
		typed, ok := o.(P)
		if !ok {
			return nil
		}
		return slices.DeleteFunc(slices.Clone(keys(typed)), func(key string) bool { return key == "" })
	})
	if err != nil {
		return fmt.Errorf("cannot index objects by %s: %w", name, err)
	}
	return nil
}

// PoolGroup is the name of the group that is made for a node pool, if it wants
// one of its own.
func PoolGroup(p *v1alpha1.NodePool) string { return p.Spec.ClusterName + "-" + p.Name }

// UsedByCluster returns the names of the groups that a cluster uses: those that
// it asks for and the one that it was given. Sorted, each once.
func UsedByCluster(c *v1alpha1.Cluster) []string {
	return names(append(slices.Clone(c.Spec.Network.PodSecurityGroupNames), c.Spec.SecurityGroup.Name, c.Status.SecurityGroupName))
}

// UsedByPool is UsedByCluster for a node pool.
func UsedByPool(p *v1alpha1.NodePool) []string {
	return names(slices.Concat(p.Spec.SecurityGroup.Names, []string{p.Status.SecurityGroupName}, p.Status.EffectiveSecurityGroupNames))
}

// Peers returns the names of the groups that the rules of a group name, system
// rules included. Sorted, each once.
func Peers(g *v1alpha1.SecurityGroup) []string {
	var list []string
	for p := range peers(g) {
		list = append(list, p.GroupName)
	}
	return names(list)
}

// HeldPeers returns those of the Peers that cannot go before the rules do. The
// system rules of a group that no cluster uses any more hold nothing: two groups
// that were made for one cluster name each other, and go together.
func HeldPeers(g *v1alpha1.SecurityGroup) []string {
	plain := *g
	if len(g.Status.Clusters) == 0 {
		plain.Status = v1alpha1.SecurityGroupStatus{}
	}
	return Peers(&plain)
}

// Lists is Peers for prefix lists.
func Lists(g *v1alpha1.SecurityGroup) []string {
	var list []string
	for p := range peers(g) {
		list = append(list, p.PrefixListName)
	}
	return names(list)
}

func peers(g *v1alpha1.SecurityGroup) func(yield func(*v1alpha1.Peer) bool) {
	return func(yield func(*v1alpha1.Peer) bool) {
		for _, list := range [][]v1alpha1.Rule{g.Spec.Ingress, g.Spec.Egress} {
			for i := range list {
				if !yield(&list[i].Peer) {
					return
				}
			}
		}
		for _, list := range [][]v1alpha1.SystemRule{g.Status.SystemIngress, g.Status.SystemEgress} {
			for i := range list {
				if !yield(&list[i].Peer) {
					return
				}
			}
		}
	}
}

func exposedGroups(c *v1alpha1.Cluster) []string {
	var list []string
	for i := range c.Spec.Exposures {
		list = append(list, c.Spec.Exposures[i].GroupNames...)
	}
	return names(list)
}

func exposedLists(c *v1alpha1.Cluster) []string {
	var list []string
	for i := range c.Spec.Exposures {
		list = append(list, c.Spec.Exposures[i].PrefixListNames...)
	}
	return names(list)
}

// names sorts names and leaves out what is empty or stands there before.
func names(list []string) []string {
	list = slices.DeleteFunc(list, func(name string) bool { return name == "" })
	slices.Sort(list)
	return slices.Compact(list)
}
