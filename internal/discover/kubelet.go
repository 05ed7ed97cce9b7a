package discover

import (
	"fmt"
	"maps"
	"slices"

	"ringfence.dev/ringfence/rules"
)

// kubeletPort is where a kubelet listens that has not said otherwise.
const kubeletPort = 10250

// kubelets is the party of the nodes whose kubelet has a port.
func (d *derivation) kubelets(port uint16) Party {
	if d.kubeletPorts {
		return Party{Nodes, fmt.Sprintf("kubelet port %d", port)}
	}
	return Party{Kind: Nodes}
}

// metricsServer finds which kubelets a metrics-server asks, by its flags.
func (d *derivation) metricsServer(p *podLike) {
	for _, f := range append(p.running("metrics-server"), p.running("metrics-server/metrics-server")...) {
		at := p.at("%s%s", p.root, f.container.field)
		port, ok := d.flagPort(&f, "kubelet-port", kubeletPort)
		if !ok {
			continue
		}
		asks := map[Party]uint16{{Kind: Nodes}: port}
		if f.container.switched("kubelet-use-node-status-port", false) {
			d.asks(allOfKind, "Node")
			clear(asks)
			for known := range d.cluster.kubeletPorts {
				asks[d.kubelets(known)] = known
			}
		}
		from := Party{Kind: Nodes}
		if !p.hostNetwork {
			from = d.podsOf(p)
		}
		for _, to := range slices.SortedFunc(maps.Keys(asks), Party.compare) {
			d.hostNeed(&Need{From: from, To: to, Protocol: rules.TCP, Ports: one(asks[to]), Class: Expected, Why: "kubectl top and autoscaling have no figures"}, at)
		}
	}
}
