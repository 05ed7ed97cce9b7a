package gather

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// Clusters returns the clusters whose units an object is in, or was in while
// others still say so. What cannot be read is left out: the cache's next event
// comes, and nothing is decided by this list.
func Clusters(ctx context.Context, from client.Reader, o client.Object) []types.NamespacedName {
	r := &reader{ctx: ctx, from: from, namespace: o.GetNamespace()}
	var found []string
	switch o := o.(type) {
	case *v1alpha1.Cluster:
		found = append(r.inVPC(o.Spec.VPCName), o.Name)
		found = append(found, r.sharing(UsedByCluster(o))...)
	case *v1alpha1.ClusterNeeds:
		found = []string{o.Name}
	case *v1alpha1.NodePool:
		found = append(r.sharing(UsedByPool(o)), o.Spec.ClusterName)
	case *v1alpha1.Host:
		found = r.ofHost(o)
		for _, a := range o.Spec.Addresses {
			for _, other := range list[v1alpha1.Host](r, &v1alpha1.HostList{}, byAddress, a) {
				found = append(found, r.ofHost(other)...)
			}
		}
	case *v1alpha1.SecurityGroup:
		found = r.concernedBy(o.Name)
	case *v1alpha1.AddressSlice:
		found = r.concernedBy(o.Spec.SecurityGroupName)
	case *v1alpha1.VPC:
		found = r.inVPC(o.Name)
		for _, g := range list[v1alpha1.SecurityGroup](r, &v1alpha1.SecurityGroupList{}, byVPC, o.Name) {
			found = append(found, r.using(g.Name)...)
		}
	case *v1alpha1.PrefixList:
		for _, c := range list[v1alpha1.Cluster](r, &v1alpha1.ClusterList{}, byList, o.Name) {
			found = append(found, c.Name)
		}
		for _, g := range list[v1alpha1.SecurityGroup](r, &v1alpha1.SecurityGroupList{}, byList, o.Name) {
			found = append(found, r.using(g.Name)...)
		}
	}
	return r.keys(found)
}

// Groups returns the groups that an object says something about.
func Groups(ctx context.Context, from client.Reader, o client.Object) []types.NamespacedName {
	r := &reader{ctx: ctx, from: from, namespace: o.GetNamespace()}
	var found []string
	groups := func(field, key string) {
		for _, g := range list[v1alpha1.SecurityGroup](r, &v1alpha1.SecurityGroupList{}, field, key) {
			found = append(found, g.Name)
		}
	}
	switch o := o.(type) {
	case *v1alpha1.SecurityGroup:
		found = append(Peers(o), o.Name)
		groups(byPeer, o.Name)
	case *v1alpha1.Cluster:
		found = append(UsedByCluster(o), o.Name)
	case *v1alpha1.NodePool:
		found = append(UsedByPool(o), PoolGroup(o))
	case *v1alpha1.Host:
		found = slices.Clone(o.Spec.SecurityGroupNames)
	case *v1alpha1.AddressSlice:
		found = []string{o.Spec.SecurityGroupName}
	case *v1alpha1.VPC:
		groups(byVPC, o.Name)
	case *v1alpha1.PrefixList:
		groups(byList, o.Name)
	}
	return r.keys(found)
}

func (r *reader) keys(found []string) []types.NamespacedName {
	var keys []types.NamespacedName
	for _, name := range names(found) {
		keys = append(keys, types.NamespacedName{Namespace: r.namespace, Name: name})
	}
	return keys
}

func (r *reader) inVPC(vpc string) []string {
	var found []string
	for _, c := range list[v1alpha1.Cluster](r, &v1alpha1.ClusterList{}, byVPC, vpc) {
		found = append(found, c.Name)
	}
	return found
}

// sharing returns the clusters that use one of the groups, or own it.
func (r *reader) sharing(groups []string) []string {
	var found []string
	for _, name := range groups {
		found = append(found, r.using(name)...)
		if g := get[v1alpha1.SecurityGroup](r, name); g != nil {
			found = append(found, r.owning(g)...)
		}
	}
	return found
}

func (r *reader) owning(g *v1alpha1.SecurityGroup) []string {
	var found []string
	for _, ref := range g.OwnerReferences {
		switch ref.Kind {
		case v1alpha1.KindCluster:
			found = append(found, ref.Name)
		case v1alpha1.KindNodePool:
			if p := get[v1alpha1.NodePool](r, ref.Name); p != nil {
				found = append(found, p.Spec.ClusterName)
			}
		}
	}
	return found
}

// using returns the clusters that use a group or would make one of that name,
// by themselves, their node pools or their hosts.
func (r *reader) using(group string) []string {
	var found []string
	for _, field := range []string{byUse, byMade} {
		for _, c := range list[v1alpha1.Cluster](r, &v1alpha1.ClusterList{}, field, group) {
			found = append(found, c.Name)
		}
		for _, p := range list[v1alpha1.NodePool](r, &v1alpha1.NodePoolList{}, field, group) {
			found = append(found, p.Spec.ClusterName)
		}
	}
	for _, h := range list[v1alpha1.Host](r, &v1alpha1.HostList{}, byUse, group) {
		found = append(found, r.ofHost(h)...)
	}
	return found
}

// concernedBy is using, with those who use a group whose rules name this one.
func (r *reader) concernedBy(group string) []string {
	found := r.sharing([]string{group})
	for _, c := range list[v1alpha1.Cluster](r, &v1alpha1.ClusterList{}, byPeer, group) {
		found = append(found, c.Name)
	}
	for _, g := range list[v1alpha1.SecurityGroup](r, &v1alpha1.SecurityGroupList{}, byPeer, group) {
		found = append(found, r.using(g.Name)...)
	}
	return found
}

func (r *reader) ofHost(h *v1alpha1.Host) []string {
	found := []string{h.Spec.ClusterName}
	if p := get[v1alpha1.NodePool](r, h.Spec.NodePoolName); p != nil {
		found = append(found, p.Spec.ClusterName)
	}
	return found
}
