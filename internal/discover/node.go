package discover

import (
	"fmt"
	"net/netip"
	"strings"
)

// A node is what we read of a Node.
type node struct {
	object

	// internal are the addresses within the cluster, external those that the
	// world may know it by.
	internal, external []netip.Addr
	kubelet            uint16
	podCIDRs           []netip.Prefix
	controlPlane       bool
}

func (r *reader) node() {
	var o struct {
		Spec struct {
			PodCIDR  string   `json:"podCIDR"`
			PodCIDRs []string `json:"podCIDRs"`
		} `json:"spec"`
		Status struct {
			Addresses []struct {
				Type    string `json:"type"`
				Address string `json:"address"`
			} `json:"addresses"`
			DaemonEndpoints struct {
				KubeletEndpoint struct {
					Port int64 `json:"Port"`
				} `json:"kubeletEndpoint"`
			} `json:"daemonEndpoints"`
		} `json:"status"`
	}
	if !r.decode(&o) {
		return
	}
	n := &node{object: r.object, kubelet: r.port("/status/daemonEndpoints/kubeletEndpoint/Port", o.Status.DaemonEndpoints.KubeletEndpoint.Port)}
	for i, a := range o.Status.Addresses {
		at := fmt.Sprintf("/status/addresses/%d/address", i)
		switch a.Type {
		case "InternalIP":
			n.internal = append(n.internal, r.addr(at, a.Address))
		case "ExternalIP":
			n.external = append(n.external, r.addr(at, a.Address))
		}
	}
	if len(o.Spec.PodCIDRs) == 0 && o.Spec.PodCIDR != "" {
		n.podCIDRs = append(n.podCIDRs, r.prefix("/spec/podCIDR", o.Spec.PodCIDR))
	}
	for i, text := range o.Spec.PodCIDRs {
		n.podCIDRs = append(n.podCIDRs, r.prefix(fmt.Sprintf("/spec/podCIDRs/%d", i), text))
	}
	for label := range r.labels {
		role, ok := strings.CutPrefix(label, "node-role.kubernetes.io/")
		n.controlPlane = n.controlPlane || ok && (role == "control-plane" || role == "master")
	}
	if !r.bad {
		r.keep(n)
	}
}
