package gather

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
)

// A Lone is a host that is in no cluster's unit: it names none, or one that is
// not there.
type Lone struct {
	Host *v1alpha1.Host
	// Pool is its node pool, whose cluster is not there; nil if it has none.
	Pool *v1alpha1.NodePool
	// Objects hold the host, its groups, bare, and their VPCs, and older hosts
	// with one of its addresses.
	Objects convert.Objects
}

// LoneHost reads a host; nil if it is not there, or in some cluster's unit.
func LoneHost(ctx context.Context, from client.Reader, key types.NamespacedName) (*Lone, error) {
	r := &reader{ctx: ctx, from: from, namespace: key.Namespace}
	h := get[v1alpha1.Host](r, key.Name)
	if h == nil {
		return nil, r.err
	}
	l := &Lone{Host: h, Pool: get[v1alpha1.NodePool](r, h.Spec.NodePoolName)}
	cluster := h.Spec.ClusterName
	if cluster == "" && l.Pool != nil {
		cluster = l.Pool.Spec.ClusterName
	}
	if get[v1alpha1.Cluster](r, cluster) != nil {
		return nil, r.err
	}
	l.gather(r)
	if r.err != nil {
		return nil, fmt.Errorf("cannot read what concerns host %s: %w", h.Name, r.err)
	}
	return l, nil
}

func (l *Lone) gather(r *reader) {
	var vpcs []string
	for _, name := range names(append([]string(nil), l.Host.Spec.SecurityGroupNames...)) {
		if g := get[v1alpha1.SecurityGroup](r, name); g != nil {
			vpcs = append(vpcs, g.Spec.VPCName)
			l.Objects.SecurityGroups = append(l.Objects.SecurityGroups, bare(g, g.Spec.VPCName))
		}
	}
	for _, name := range names(vpcs) {
		l.Objects.VPCs = append(l.Objects.VPCs, some(get[v1alpha1.VPC](r, name))...)
	}
	strangers := map[string]*v1alpha1.Host{}
	for _, a := range l.Host.Spec.Addresses {
		for _, other := range list[v1alpha1.Host](r, &v1alpha1.HostList{}, byAddress, a) {
			if older(other, l.Host) < 0 {
				stranger(strangers, other.Name, other).wear("", a)
			}
		}
	}
	for _, h := range strangers {
		l.Objects.Hosts = append(l.Objects.Hosts, h)
	}
	l.Objects.Hosts = append(l.Objects.Hosts, l.Host)
}

// LonePool returns a node pool whose cluster is not there; nil if it is, or if
// there is no such pool.
func LonePool(ctx context.Context, from client.Reader, key types.NamespacedName) (*v1alpha1.NodePool, error) {
	r := &reader{ctx: ctx, from: from, namespace: key.Namespace}
	p := get[v1alpha1.NodePool](r, key.Name)
	if p == nil || get[v1alpha1.Cluster](r, p.Spec.ClusterName) != nil {
		return nil, r.err
	}
	return p, r.err
}

// Hosts returns the hosts that an object may leave without a cluster, or give
// one, when it comes or goes.
func Hosts(ctx context.Context, from client.Reader, o client.Object) []types.NamespacedName {
	r := &reader{ctx: ctx, from: from, namespace: o.GetNamespace()}
	var found []string
	hosts := func(field, key string) {
		for _, h := range list[v1alpha1.Host](r, &v1alpha1.HostList{}, field, key) {
			found = append(found, h.Name)
		}
	}
	switch o := o.(type) {
	case *v1alpha1.Host:
		found = []string{o.Name}
		for _, a := range o.Spec.Addresses {
			hosts(byAddress, a)
		}
	case *v1alpha1.Cluster:
		hosts(byCluster, o.Name)
		for _, p := range list[v1alpha1.NodePool](r, &v1alpha1.NodePoolList{}, byCluster, o.Name) {
			hosts(byPool, p.Name)
		}
	case *v1alpha1.NodePool:
		hosts(byPool, o.Name)
	case *v1alpha1.SecurityGroup:
		hosts(byUse, o.Name)
	}
	return r.keys(found)
}

// Pools is Hosts for node pools.
func Pools(ctx context.Context, from client.Reader, o client.Object) []types.NamespacedName {
	r := &reader{ctx: ctx, from: from, namespace: o.GetNamespace()}
	var found []string
	switch o := o.(type) {
	case *v1alpha1.NodePool:
		found = []string{o.Name}
	case *v1alpha1.Cluster:
		for _, p := range list[v1alpha1.NodePool](r, &v1alpha1.NodePoolList{}, byCluster, o.Name) {
			found = append(found, p.Name)
		}
	}
	return r.keys(found)
}
