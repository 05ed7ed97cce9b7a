// Package gather reads, from a cache, the objects that a decision about one
// cluster or one group depends on, and tells which decisions an object concerns.
// It reads names, never what they mean, and decides nothing.
//
// What it returns is the cache's own: to be read, never to be changed.
package gather

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
)

// A Unit is a cluster with all that concerns it. What is named and not there is
// left out: convert tells.
//
// Groups that only rules or exposures name are there without rules of their own,
// so that their mistakes stay theirs.
type Unit struct {
	Cluster *v1alpha1.Cluster
	// Objects hold the cluster, its VPC, node pools, groups, prefix lists and
	// hosts, oldest first, and those who share an address or a group with them:
	// a name, addresses and groups, in no cluster.
	Objects convert.Objects
	// Own are the hosts of the cluster, by name.
	Own map[string]*v1alpha1.Host
	// Groups are those of Objects, by name; Bare those among them without rules.
	Groups map[string]*v1alpha1.SecurityGroup
	Bare   map[string]bool
}

// Cluster reads the unit of a cluster; nil if there is none.
func Cluster(ctx context.Context, from client.Reader, key types.NamespacedName) (*Unit, error) {
	r := &reader{ctx: ctx, from: from, namespace: key.Namespace}
	c := get[v1alpha1.Cluster](r, key.Name)
	if r.err != nil || c == nil {
		return nil, r.err
	}
	u := &Unit{Cluster: c, Own: map[string]*v1alpha1.Host{}, Groups: map[string]*v1alpha1.SecurityGroup{}, Bare: map[string]bool{}}
	u.Objects.Clusters = []*v1alpha1.Cluster{c}
	u.Objects.NodePools = list[v1alpha1.NodePool](r, &v1alpha1.NodePoolList{}, byCluster, c.Name)
	u.elders(r)
	u.hosts(r)
	u.groups(r)
	u.neighbours(r)
	if r.err != nil {
		return nil, fmt.Errorf("cannot read what concerns cluster %s: %w", c.Name, r.err)
	}
	return u, nil
}

// elders are the clusters of the VPC that were there before.
func (u *Unit) elders(r *reader) {
	for _, other := range list[v1alpha1.Cluster](r, &v1alpha1.ClusterList{}, byVPC, u.Cluster.Spec.VPCName) {
		if other.Name != u.Cluster.Name && older(other, u.Cluster) < 0 {
			u.Objects.Elders = append(u.Objects.Elders, other)
		}
	}
}

func (u *Unit) hosts(r *reader) {
	own := list[v1alpha1.Host](r, &v1alpha1.HostList{}, byCluster, u.Cluster.Name)
	pools := map[string]bool{"": true}
	for _, p := range u.Objects.NodePools {
		pools[p.Name] = true
		own = append(own, list[v1alpha1.Host](r, &v1alpha1.HostList{}, byPool, p.Name)...)
	}
	for _, h := range own {
		// One that names another cluster is that one's, whatever its pool is.
		if u.Own[h.Name] != nil || h.Spec.ClusterName != "" && h.Spec.ClusterName != u.Cluster.Name {
			continue
		}
		u.Own[h.Name] = h
		u.Objects.Hosts = append(u.Objects.Hosts, h)
		if name := h.Spec.NodePoolName; !pools[name] {
			pools[name] = true
			u.Objects.Strange = append(u.Objects.Strange, some(get[v1alpha1.NodePool](r, name))...)
		}
	}
}

// groups reads those that somebody of the cluster uses, and bare those that
// their rules and the exposures name; the VPCs of the former, and prefix lists.
func (u *Unit) groups(r *reader) {
	lists := exposedLists(u.Cluster)
	peers := exposedGroups(u.Cluster)
	vpcs := []string{u.Cluster.Spec.VPCName}
	for _, name := range u.used() {
		g := get[v1alpha1.SecurityGroup](r, name)
		if g == nil {
			continue
		}
		u.Groups[name] = g
		vpcs = append(vpcs, g.Spec.VPCName)
		lists = append(lists, Lists(g)...)
		peers = append(peers, Peers(g)...)
	}
	for _, name := range names(peers) {
		if u.Groups[name] != nil {
			continue
		}
		if g := get[v1alpha1.SecurityGroup](r, name); g != nil {
			u.Groups[name], u.Bare[name] = bare(g, u.Cluster.Spec.VPCName), true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(u.Groups)) {
		u.Objects.SecurityGroups = append(u.Objects.SecurityGroups, u.Groups[name])
	}
	for _, name := range names(vpcs) {
		u.Objects.VPCs = append(u.Objects.VPCs, some(get[v1alpha1.VPC](r, name))...)
	}
	for _, name := range names(lists) {
		u.Objects.PrefixLists = append(u.Objects.PrefixLists, some(get[v1alpha1.PrefixList](r, name))...)
	}
}

// used returns the names of the groups that the cluster, its node pools and its
// hosts use or are about to.
func (u *Unit) used() []string {
	used := UsedByCluster(u.Cluster)
	if u.Cluster.Spec.SecurityGroup.Name == "" {
		used = append(used, u.Cluster.Name)
	}
	for _, p := range u.Objects.NodePools {
		used = append(used, UsedByPool(p)...)
		if p.Spec.SecurityGroup.Type != "" {
			used = append(used, PoolGroup(p))
		}
	}
	for _, h := range u.Objects.Hosts {
		used = append(used, h.Spec.SecurityGroupNames...)
	}
	return names(used)
}

// bare is a group of which only name and type count.
func bare(g *v1alpha1.SecurityGroup, vpc string) *v1alpha1.SecurityGroup {
	out := &v1alpha1.SecurityGroup{ObjectMeta: g.ObjectMeta}
	out.Spec.VPCName, out.Spec.Type, out.Spec.InnerAccess = vpc, g.Spec.Type, g.Spec.InnerAccess
	return out
}

// neighbours are the hosts of others that wear a group of the unit, with the
// addresses that AddressSlices say, and those older ones that claim the address
// of an own host.
func (u *Unit) neighbours(r *reader) {
	claimed := map[string]bool{}
	strangers := map[string]*v1alpha1.Host{}
	for _, h := range u.Own {
		for _, a := range slices.Concat(h.Spec.Addresses, h.Status.Addresses) {
			claimed[a] = true
		}
		for _, a := range h.Spec.Addresses {
			for _, other := range list[v1alpha1.Host](r, &v1alpha1.HostList{}, byAddress, a) {
				if u.Own[other.Name] == nil && older(other, h) < 0 {
					stranger(strangers, other.Name, other).wear("", a)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(u.Groups)) {
		for _, s := range list[v1alpha1.AddressSlice](r, &v1alpha1.AddressSliceList{}, bySlice, name) {
			for _, m := range s.Spec.Members {
				// A slice may still name whoever had the address before.
				if m.HostName != "" && u.Own[m.HostName] == nil && !claimed[m.Address] {
					stranger(strangers, m.HostName, nil).wear(name, m.Address)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(strangers)) {
		u.Objects.Hosts = append(u.Objects.Hosts, strangers[name])
	}
	slices.SortStableFunc(u.Objects.Hosts, older)
}

// A worn is a host of somebody else, as far as it is seen from here.
type worn struct{ host *v1alpha1.Host }

func stranger(of map[string]*v1alpha1.Host, name string, seen *v1alpha1.Host) worn {
	h := of[name]
	if h == nil {
		h = &v1alpha1.Host{}
		h.Name = name
		of[name] = h
	}
	if seen != nil {
		h.CreationTimestamp = seen.CreationTimestamp
	}
	return worn{h}
}

func (w worn) wear(group, address string) {
	w.host.Spec.Addresses = names(append(w.host.Spec.Addresses, address))
	w.host.Spec.SecurityGroupNames = names(append(w.host.Spec.SecurityGroupNames, group))
}

// older orders objects by age, those of one second by name.
func older[T client.Object](a, b T) int {
	return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName()))
}

// A reader reads from one namespace until the first error.
type reader struct {
	ctx       context.Context //nolint:containedctx // lives as long as one call of this package
	from      client.Reader
	namespace string
	err       error
}

// get returns nil for what is not there.
func get[T any, P interface {
	*T
	client.Object
}](r *reader, name string) P {
	if r.err != nil || name == "" {
		return nil
	}
	o := P(new(T))
	err := r.from.Get(r.ctx, types.NamespacedName{Namespace: r.namespace, Name: name}, o)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		r.err = err
		return nil
	}
	return o
}

// list returns what an index finds, by name.
func list[T any, L client.ObjectList](r *reader, into L, field, key string) []*T {
	if r.err != nil || key == "" {
		return nil
	}
	if r.err = r.from.List(r.ctx, into, client.InNamespace(r.namespace), client.MatchingFields{field: key}, client.UnsafeDisableDeepCopy); r.err != nil {
		return nil
	}
	return pointers[T](into)
}

// some is a list of what is there.
func some[T any](o *T) []*T {
	if o == nil {
		return nil
	}
	return []*T{o}
}

// Sharing returns the names of the clusters that use one of the groups, but for
// one, sorted.
func Sharing(ctx context.Context, from client.Reader, but types.NamespacedName, groups []string) ([]string, error) {
	r := &reader{ctx: ctx, from: from, namespace: but.Namespace}
	var found []string
	for _, g := range groups {
		found = append(found, r.using(g)...)
	}
	return slices.DeleteFunc(names(found), func(name string) bool { return name == but.Name }), r.err
}
