package gather

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
)

// A Circle is a group with those who have to do with it.
type Circle struct {
	Group *v1alpha1.SecurityGroup
	// Objects hold the group, its VPC and prefix lists, and bare the groups
	// that its rules name.
	Objects convert.Objects
	// Clusters, Pools and Hosts use the group by themselves; Naming are the
	// groups whose rules name it. Each sorted by name.
	Clusters []*v1alpha1.Cluster
	Pools    []*v1alpha1.NodePool
	Hosts    []*v1alpha1.Host
	Naming   []*v1alpha1.SecurityGroup
	// Slices hold the addresses of its members.
	Slices []*v1alpha1.AddressSlice
}

// Group reads the circle of a group; nil if there is none.
func Group(ctx context.Context, from client.Reader, key types.NamespacedName) (*Circle, error) {
	r := &reader{ctx: ctx, from: from, namespace: key.Namespace}
	g := get[v1alpha1.SecurityGroup](r, key.Name)
	if r.err != nil || g == nil {
		return nil, r.err
	}
	c := &Circle{
		Group:    g,
		Clusters: list[v1alpha1.Cluster](r, &v1alpha1.ClusterList{}, byUse, g.Name),
		Pools:    list[v1alpha1.NodePool](r, &v1alpha1.NodePoolList{}, byUse, g.Name),
		Hosts:    list[v1alpha1.Host](r, &v1alpha1.HostList{}, byUse, g.Name),
		Naming:   list[v1alpha1.SecurityGroup](r, &v1alpha1.SecurityGroupList{}, byPeer, g.Name),
		Slices:   list[v1alpha1.AddressSlice](r, &v1alpha1.AddressSliceList{}, bySlice, g.Name),
	}
	c.Objects.VPCs = some(get[v1alpha1.VPC](r, g.Spec.VPCName))
	c.Objects.SecurityGroups = []*v1alpha1.SecurityGroup{g}
	for _, name := range Peers(g) {
		if peer := get[v1alpha1.SecurityGroup](r, name); peer != nil && name != g.Name {
			c.Objects.SecurityGroups = append(c.Objects.SecurityGroups, bare(peer, g.Spec.VPCName))
		}
	}
	for _, name := range Lists(g) {
		c.Objects.PrefixLists = append(c.Objects.PrefixLists, some(get[v1alpha1.PrefixList](r, name))...)
	}
	if r.err != nil {
		return nil, fmt.Errorf("cannot read what concerns security group %s: %w", g.Name, r.err)
	}
	return c, nil
}
