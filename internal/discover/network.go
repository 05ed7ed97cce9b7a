package discover

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// A network is how pods' packets cross the wire between hosts. The zero value
// is not known.
type network struct {
	wire Wire
	// in names the overlay: set iff wire is Overlay.
	in string
	// toHosts is with which address pods reach hosts, toOutside what is neither
	// a host nor a pod.
	toHosts, toOutside sender
}

// A sender is whose address a packet of a pod has once it has left the pods.
type sender uint8

const (
	senderUnknown sender = iota
	// asNode: something masquerades it.
	asNode
	// asPod: nothing does.
	asPod
	// asEither: it depends on the pod.
	asEither
)

// masqueraded returns asNode if something masquerades, else asPod.
func masqueraded(does bool) sender { //nolint:revive // a fact of the configuration, no mode of ours
	if does {
		return asNode
	}
	return asPod
}

// sends says with which address pods reach both hosts and what is outside.
func (n *network) sends(as sender) { n.toHosts, n.toOutside = as, as }

// An overlay is what wraps packets of pods between nodes.
type overlay struct {
	name     string // VXLAN
	protocol rules.Protocol
	port     uint16 // 0 for protocols without ports
}

func (o overlay) String() string {
	if o.port == 0 {
		return fmt.Sprintf("%s, protocol %d", o.name, o.protocol)
	}
	return fmt.Sprintf("%s %s/%d", o.name, strings.ToLower(o.protocol.String()), o.port)
}

// deriveNetwork finds how pods reach each other, from the configuration of what
// makes them.
func (d *derivation) deriveNetwork() {
	d.configured, d.seen, d.overlays = network{}, Network{}, nil
	for _, plugin := range []struct {
		mode   string // as in a Cluster object
		derive func() bool
	}{
		{"Flannel", d.flannel}, {"Calico", d.calico}, {"Cilium", d.cilium}, {"Antrea", d.antrea}, {"OVNKubernetes", d.ovn}, {"KubeRouter", d.kubeRouter}, {"Terway", d.terway},
	} {
		if plugin.derive() {
			d.seen = d.seenAs(plugin.mode)
			return
		}
	}
	why := d.orUnread("none of the objects configures one that is read here", append(podKinds(), "ConfigMap", "IPPool")...)
	var because []Evidence
	for _, p := range d.running("antrea-agent", "ovnkube", "ovnkube.sh", "kube-router", "terwayd", "weaver", "weaveworks/weave-kube", "weave-kube") {
		why = "the configuration of this network is not there, or not read"
		because = append(because, p.pod.at("%s%s", p.pod.root, p.container.field))
	}
	d.dontKnow(&Unknown{
		About: "the network of pods: its overlay, its ports, and whether pods' own addresses are on the wire", Why: why,
		Tell: "the DaemonSet of the network, and beside it: for Flannel ConfigMap kube-flannel-cfg; for Calico IPPools, FelixConfigurations and BGPConfigurations; for Cilium ConfigMap cilium-config; for Antrea ConfigMap antrea-config",
	}, because...)
}

const noPodNetwork = "pods on different nodes cannot reach each other"

// wraps adds the need of an overlay between all nodes.
func (d *derivation) wraps(o overlay, because ...Evidence) {
	n := Need{From: Party{Kind: Nodes}, To: Party{Kind: Nodes}, Protocol: o.protocol, Class: Essential, Wire: Host, Why: noPodNetwork}
	if o.port != 0 {
		n.Ports = one(o.port)
	}
	d.overlays = append(d.overlays, o)
	d.need(&n, because...)
}

// seenAs is the network as a Cluster object has it; zero if none of its words fits.
func (d *derivation) seenAs(mode string) Network {
	switch d.configured.wire {
	case RoutedPod:
		return Network{Mode: mode, Encapsulation: "None"}
	case Overlay:
		i := slices.IndexFunc(d.overlays, func(o overlay) bool { return o.String() == d.configured.in })
		if i < 0 {
			break
		}
		if o := d.overlays[i]; slices.Contains([]string{"VXLAN", "Geneve", "IPIP", "WireGuard"}, o.name) {
			return Network{Mode: mode, Encapsulation: o.name, Port: o.port}
		}
	case WireUnknown, Host:
	}
	return Network{}
}

// routes adds the need of pods for each other where their addresses are on the wire.
func (d *derivation) routes(because ...Evidence) {
	d.need(&Need{From: Party{Kind: AllPods}, To: Party{Kind: AllPods}, Protocol: rules.AllProtocols, Class: Essential, Wire: RoutedPod, Why: noPodNetwork}, because...)
}

// A found is a container with its pod, or template.
type found struct {
	pod       *podLike
	container *container
}

// running returns the containers that run one of some programs.
func (d *derivation) running(programs ...string) []found {
	var out []found
	for _, program := range programs {
		d.asks(aProgram, program)
		for _, p := range d.cluster.byProgram[program] {
			out = append(out, p.running(program)...)
		}
	}
	slices.SortFunc(out, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.pod.rank(), b.pod.rank()), a.pod.compare(b.pod.Ref), cmp.Compare(a.container.field, b.container.field))
	})
	return slices.Compact(out)
}

// rank puts templates before pods: they are what comes next.
func (p *podLike) rank() int {
	if p.isPod {
		return 1
	}
	return 0
}

// running returns the containers that run a program.
func (p *podLike) running(program string) []found {
	var out []found
	for i := range p.containers {
		if slices.Contains(p.containers[i].ids(), program) {
			out = append(out, found{p, &p.containers[i]})
		}
	}
	return out
}

// ids are what a container is recognised by.
func (c *container) ids() []string {
	return slices.DeleteFunc([]string{c.program(), c.imagePath()}, func(s string) bool { return s == "" })
}

// programs are what the containers are recognised by, each once.
func (p *podLike) programs() []string {
	var out []string
	for i := range p.containers {
		out = append(out, p.containers[i].ids()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// defaultPorts of overlays, by their registrations or their implementations.
const (
	linuxVXLANPort  = 8472
	vxlanPort       = 4789
	genevePort      = 6081
	wireguardPort   = 51820
	wireguardPortV6 = 51821
)
