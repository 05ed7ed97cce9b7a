package upstream

import (
	"context"
	"fmt"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// Wearing reads which hosts wear all of these groups, and their addresses. It is
// asked now and then, and keeps nothing: there may be ten thousand.
func (c *Client) Wearing(ctx context.Context, groups []string) (map[string][]netip.Addr, error) {
	var out map[string][]netip.Addr
	for _, g := range groups {
		in, err := c.hostsOf(ctx, g)
		if err != nil {
			return nil, err
		}
		for host := range out {
			if in[host] == nil {
				delete(out, host)
			}
		}
		if out == nil {
			out = in
		}
	}
	return out, nil
}

func (c *Client) hostsOf(ctx context.Context, group string) (map[string][]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	list := &v1alpha1.AddressSliceList{}
	err := c.ours.Get().Namespace(c.Host.Namespace).Resource("addressslices").VersionedParams(&metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.securityGroupName", group).String(), ResourceVersion: "0",
	}, metav1.ParameterCodec).Do(ctx).Into(list)
	if err != nil {
		return nil, fmt.Errorf("cannot read the members of group %s: %w", group, err)
	}
	out := map[string][]netip.Addr{}
	for i := range list.Items {
		members := read(&list.Items[i])
		if members.err != nil {
			return nil, fmt.Errorf("cannot read the members of group %s: %w", group, members.err)
		}
		for n, m := range list.Items[i].Spec.Members {
			if m.HostName != "" {
				out[m.HostName] = append(out[m.HostName], members.list[n])
			}
		}
	}
	return out, nil
}
