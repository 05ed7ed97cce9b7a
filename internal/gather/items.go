package gather

import (
	"cmp"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// pointers returns the items of a list, sorted by name.
func pointers[T any](from client.ObjectList) []*T {
	var all any
	switch l := from.(type) {
	case *v1alpha1.ClusterList:
		all = sorted(l.Items)
	case *v1alpha1.NodePoolList:
		all = sorted(l.Items)
	case *v1alpha1.HostList:
		all = sorted(l.Items)
	case *v1alpha1.SecurityGroupList:
		all = sorted(l.Items)
	case *v1alpha1.AddressSliceList:
		all = sorted(l.Items)
	}
	typed, _ := all.([]*T)
	return typed
}

func sorted[T any, P interface {
	*T
	client.Object
}](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	slices.SortFunc(out, func(a, b *T) int { return cmp.Compare(P(a).GetName(), P(b).GetName()) })
	return out
}
