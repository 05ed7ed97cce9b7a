package cluster

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/gather"
	"ringfence.dev/ringfence/profiles"
)

// A want is a group that a cluster or a node pool asks for.
type want struct {
	name    string
	owner   client.Object // the Cluster or NodePool
	kind    string        // of the owner
	spec    v1alpha1.SecurityGroupSpec
	profile profiles.Scope // may be empty: the cluster's
	// have is the group that was made; nil if there is none yet.
	have *v1alpha1.SecurityGroup
}

// A prepared is a unit in the form to decide by: every group that is asked for
// is there, made or not, and the cluster and its pools have it. System rules are
// left out, since they are what is decided: a mistake in them must not keep them
// as they are.
type prepared struct {
	unit     *gather.Unit
	wants    []want
	objects  convert.Objects
	mistakes []*convert.InputError
}

func prepare(u *gather.Unit) *prepared {
	p := &prepared{unit: u, objects: u.Objects}
	c := *u.Cluster
	c.Status = v1alpha1.ClusterStatus{Discovered: u.Cluster.Status.Discovered}
	ask := &u.Cluster.Spec.SecurityGroup
	if ask.Name == "" {
		p.want(want{name: c.Name, owner: u.Cluster, kind: v1alpha1.KindCluster, profile: profiles.Scope(ask.Profile), spec: spec(u.Cluster, ask.Type, ask.InnerAccess)})
		c.Status.SecurityGroupName = c.Name
	}
	p.objects.Clusters = []*v1alpha1.Cluster{&c}
	p.objects.NodePools = nil
	for _, pool := range u.Objects.NodePools {
		asked := &pool.Spec.SecurityGroup
		copied := *pool
		copied.Status = v1alpha1.NodePoolStatus{}
		if asked.Type != "" {
			copied.Status.SecurityGroupName = gather.PoolGroup(pool)
			p.want(want{
				name: gather.PoolGroup(pool), owner: pool, kind: v1alpha1.KindNodePool,
				profile: profiles.Scope(asked.Profile), spec: spec(u.Cluster, asked.Type, asked.InnerAccess),
			})
		}
		p.objects.NodePools = append(p.objects.NodePools, &copied)
	}
	p.groups()
	return p
}

func spec(c *v1alpha1.Cluster, groupType v1alpha1.GroupType, inner v1alpha1.InnerAccess) v1alpha1.SecurityGroupSpec {
	if groupType == "" {
		groupType = v1alpha1.GroupTypeBasic
	}
	return v1alpha1.SecurityGroupSpec{VPCName: c.Spec.VPCName, Type: groupType, InnerAccess: inner, Management: v1alpha1.ManagementManaged}
}

// want notes that a group is asked for, or that it cannot be had.
func (p *prepared) want(w want) {
	have := p.unit.Groups[w.name]
	switch {
	case have == nil:
	case !owned(have, w.owner):
		p.refusef(&w, "the group to be made would be called %s, and a group of that name exists: name it in securityGroup, or rename it", w.name)
		return
	case have.Spec.Type != w.spec.Type:
		p.refusef(&w, "a %s group is wanted, and group %s that was made before is %s: delete it first", w.spec.Type, w.name, have.Spec.Type)
		return
	}
	w.have = have
	p.wants = append(p.wants, w)
}

func (p *prepared) refusef(w *want, format string, args ...any) {
	p.mistakes = append(p.mistakes, &convert.InputError{
		Place:  convert.Place{Object: convert.Object{Kind: w.kind, Name: w.owner.GetName()}, Path: "/spec/securityGroup"},
		Err:    fmt.Errorf(format, args...),
		Reason: v1alpha1.ReasonNameTaken,
	})
}

// owned reports whether a group was made for an owner.
func owned(g *v1alpha1.SecurityGroup, owner client.Object) bool {
	return g.Spec.Management == v1alpha1.ManagementManaged && slices.ContainsFunc(g.OwnerReferences, func(ref metav1.OwnerReference) bool {
		return ref.UID == owner.GetUID()
	})
}

// made reports whether a group was made for some cluster or node pool.
func made(g *v1alpha1.SecurityGroup) bool {
	return g.Spec.Management == v1alpha1.ManagementManaged && slices.ContainsFunc(g.OwnerReferences, func(ref metav1.OwnerReference) bool {
		return ref.APIVersion == v1alpha1.APIVersion && (ref.Kind == v1alpha1.KindCluster || ref.Kind == v1alpha1.KindNodePool)
	})
}

// groups adds those that are yet to be made, and takes the system rules off.
func (p *prepared) groups() {
	p.objects.SecurityGroups = nil
	for _, g := range p.unit.Objects.SecurityGroups {
		if made(g) {
			plain := *g
			plain.Status = v1alpha1.SecurityGroupStatus{}
			g = &plain
		}
		p.objects.SecurityGroups = append(p.objects.SecurityGroups, g)
	}
	for i := range p.wants {
		if w := &p.wants[i]; w.have == nil {
			p.objects.SecurityGroups = append(p.objects.SecurityGroups, w.group())
		}
	}
}

// group is the group that is asked for, as it is made.
func (w *want) group() *v1alpha1.SecurityGroup {
	g := &v1alpha1.SecurityGroup{Spec: w.spec}
	g.Namespace, g.Name = w.owner.GetNamespace(), w.name
	controls := true
	g.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1alpha1.APIVersion, Kind: w.kind, Name: w.owner.GetName(), UID: w.owner.GetUID(), Controller: &controls,
	}}
	g.Finalizers = []string{v1alpha1.FinalizerInUse}
	return g
}

// sound reads the objects: see convert.Sound. Node pools whose group cannot be
// had are left out as well.
func (p *prepared) sound() (*convert.Inventory, []*convert.InputError) {
	mistakes := slices.Clone(p.mistakes)
	rest := p.objects
	for _, m := range p.mistakes {
		if m.Place.Object.Kind == v1alpha1.KindCluster {
			return nil, mistakes
		}
		name := m.Place.Object.Name
		rest.NodePools = slices.DeleteFunc(slices.Clone(rest.NodePools), func(o *v1alpha1.NodePool) bool { return o.Name == name })
		rest.Hosts = slices.DeleteFunc(slices.Clone(rest.Hosts), func(h *v1alpha1.Host) bool { return h.Spec.NodePoolName == name })
	}
	inv, more := convert.Sound(&rest)
	return inv, append(mistakes, more...)
}
