package convert

import (
	"errors"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/rules"
)

// Objects are objects of the API that are read together, all of one namespace.
// Nothing here changes them, and they may be shared with others who read.
type Objects struct {
	VPCs           []*v1alpha1.VPC
	PrefixLists    []*v1alpha1.PrefixList
	SecurityGroups []*v1alpha1.SecurityGroup
	Clusters       []*v1alpha1.Cluster
	NodePools      []*v1alpha1.NodePool
	// Hosts are in an order of right: where two name one address, the later is
	// at fault.
	Hosts []*v1alpha1.Host
	// Elders are clusters that were there before, of which only the pod CIDRs
	// count: those of Clusters must not overlap them within one VPC.
	Elders []*v1alpha1.Cluster
	// Strange are node pools of clusters that are not here. A host that names
	// one is told whose it is.
	Strange []*v1alpha1.NodePool
}

// FromObjects reads and cross-checks objects as [Parse] does files. Places in
// errors name the object, such as "Cluster shop: /spec/vpcName".
//
// Errors are *InputError; several are joined, all of them.
func FromObjects(o *Objects) (*Inventory, error) {
	b := builder{live: true}
	b.manifests.elders = eldersOf(o.Elders)
	b.manifests.strange = make(map[string]string, len(o.Strange))
	for _, p := range o.Strange {
		b.manifests.strange[p.Name] = p.Spec.ClusterName
	}
	mistakes := slices.Concat(
		readAll(&b, o.VPCs, v1alpha1.KindVPC, (*reader).vpc),
		readAll(&b, o.PrefixLists, v1alpha1.KindPrefixList, (*reader).prefixList),
		readAll(&b, o.SecurityGroups, v1alpha1.KindSecurityGroup, (*reader).securityGroup),
		readAll(&b, o.Clusters, v1alpha1.KindCluster, (*reader).cluster),
		readAll(&b, o.NodePools, v1alpha1.KindNodePool, (*reader).nodePool),
		readAll(&b, o.Hosts, v1alpha1.KindHost, (*reader).host),
	)
	if len(mistakes) > 0 {
		return nil, join(mistakes)
	}
	return b.finish()
}

// Sound is FromObjects that leaves out node pools and hosts with mistakes, and
// the hosts of such pools, so that one host cannot hold up a cluster. It returns
// every mistake. The inventory is nil if anything else has one.
//
// What is left out is unknown, not gone: whoever compares with an earlier state
// leaves alone what belongs to it.
func Sound(o *Objects) (*Inventory, []*InputError) {
	rest := *o
	var all []*InputError
	for {
		inv, err := FromObjects(&rest)
		if err == nil {
			return inv, all
		}
		mistakes := Mistakes(err)
		all = append(all, mistakes...)
		if !rest.leaveOut(mistakes) {
			return nil, all
		}
	}
}

// leaveOut takes out the objects that the mistakes are about; false if one of
// them cannot be done without.
func (o *Objects) leaveOut(mistakes []*InputError) bool {
	bad := make(map[Object]bool, len(mistakes))
	for _, m := range mistakes {
		switch m.Place.Object.Kind {
		case v1alpha1.KindNodePool, v1alpha1.KindHost:
			bad[m.Place.Object] = true
		default:
			return false
		}
	}
	before := len(o.NodePools) + len(o.Hosts)
	o.NodePools = slices.DeleteFunc(slices.Clone(o.NodePools), func(p *v1alpha1.NodePool) bool {
		return bad[Object{v1alpha1.KindNodePool, p.Name}]
	})
	o.Hosts = slices.DeleteFunc(slices.Clone(o.Hosts), func(h *v1alpha1.Host) bool {
		return bad[Object{v1alpha1.KindHost, h.Name}] || bad[Object{v1alpha1.KindNodePool, h.Spec.NodePoolName}]
	})
	return len(o.NodePools)+len(o.Hosts) < before
}

// Mistakes returns the input errors that are joined in an error of this package.
func Mistakes(err error) []*InputError {
	var list []*InputError
	for _, one := range flatten(nil, err) {
		if e, ok := errors.AsType[*InputError](one); ok {
			list = append(list, e)
			continue
		}
		list = append(list, &InputError{Err: one})
	}
	return list
}

func readAll[T any, P interface {
	*T
	metav1.Object
}](b *builder, list []P, kind string, read func(*reader, *T)) []error {
	var mistakes []error
	for _, o := range list {
		r := reader{builder: b, document: &document{base: &Place{Object: Object{kind, o.GetName()}}}}
		read(&r, o)
		mistakes = append(mistakes, r.mistakes...)
	}
	return mistakes
}

// eldersOf returns the pod ranges of clusters, without those that are none.
func eldersOf(list []*v1alpha1.Cluster) []clusterRange {
	var elders []clusterRange
	for _, c := range list {
		for _, text := range c.Spec.Network.PodCIDRs {
			if cidr, err := rules.ParseCIDR(text); err == nil {
				elders = append(elders, clusterRange{cidr: cidr, cluster: c.Name, vpc: c.Spec.VPCName})
			}
		}
	}
	return elders
}
