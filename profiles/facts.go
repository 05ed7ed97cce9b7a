package profiles

import (
	"slices"

	"ringfence.dev/ringfence/rules"
)

// A NetworkMode names the network plugin: how pod addresses appear on the wire.
type NetworkMode string

// The network modes. Any other text is refused by [Facts.Validate].
const (
	Terway        NetworkMode = "Terway"
	Flannel       NetworkMode = "Flannel"
	Calico        NetworkMode = "Calico"
	Cilium        NetworkMode = "Cilium"
	Antrea        NetworkMode = "Antrea"
	OVNKubernetes NetworkMode = "OVNKubernetes"
	KubeRouter    NetworkMode = "KubeRouter"
	OtherNetwork  NetworkMode = "Other"
)

// NetworkModes returns all network modes.
func NetworkModes() []NetworkMode {
	return []NetworkMode{Terway, Flannel, Calico, Cilium, Antrea, OVNKubernetes, KubeRouter, OtherNetwork}
}

// An Encapsulation is how pod traffic between nodes is wrapped.
type Encapsulation string

// The encapsulations. The zero value means the mode's own default, which is
// none for Terway and for Flannel (Alibaba Cloud routes pod addresses).
const (
	NoEncapsulation Encapsulation = "None"
	VXLAN           Encapsulation = "VXLAN"
	Geneve          Encapsulation = "Geneve"
	IPIP            Encapsulation = "IPIP"
	WireGuard       Encapsulation = "WireGuard"
)

// Encapsulations returns all encapsulations.
func Encapsulations() []Encapsulation {
	return []Encapsulation{NoEncapsulation, VXLAN, Geneve, IPIP, WireGuard}
}

// A Scope is how much a profile's rows let through.
type Scope string

// The two profiles of the seed.
const (
	Recommended    Scope = "Recommended"
	LeastPrivilege Scope = "LeastPrivilege"
)

// An Exposure is an application or component that somebody outside must
// reach, or that the cluster must reach outside.
type Exposure struct {
	// Direction is Ingress for what the cluster exposes, Egress for the
	// targets that its workloads call.
	Direction rules.Direction
	Protocol  rules.Protocol
	Ports     rules.PortRange
	Peers     []rules.Peer
}

// Facts are what a profile must know about a cluster and the group that is
// made or judged for it. Empty lists mean "there is none".
type Facts struct {
	// Cluster is the cluster's name, for messages.
	Cluster string
	// Group is the group whose rules are made or judged; may be empty when
	// it has no name yet.
	Group     string
	GroupType rules.GroupType
	// InnerAccess says that whoever wears the group lets the others who do in
	// before any rule: by this group's inner access, or by that of InnerGroup
	// where all of them wear that one as well. Empty means Group.
	InnerAccess bool
	InnerGroup  string
	// Others are the groups by which the rest of the cluster is known: its
	// nodes and pods that the group at hand does not let in by inner access.
	// Empty means that the whole cluster wears the group at hand.
	Others []OtherGroup

	Mode          NetworkMode
	Encapsulation Encapsulation
	// EncapsulationPort overrides the port that the mode and encapsulation
	// use by default; 0 means that default.
	EncapsulationPort uint16

	VPC           []rules.CIDR // primary, of both families
	SecondaryVPC  []rules.CIDR
	NodeSubnets   []rules.CIDR
	PodSubnets    []rules.CIDR // Terway: where pod interfaces live
	PodCIDRs      []rules.CIDR // other modes: the cluster's pod range
	APIServer     []rules.CIDR // addresses of the load balancer, as /32 or /128
	APIServerPort uint16       // 0 means 6443
	WebhookPorts  []uint16
	Exposures     []Exposure
	// Hooks are the ports of what the API server calls, and Callers where it
	// calls from: the addresses of its hosts, whatever its load balancer's are.
	// They were seen in the running cluster; WebhookPorts are what somebody said.
	Hooks   []uint16
	Callers []rules.CIDR

	// What ACK's tables leave out; each row is off while its fact is empty.
	Poseidon         bool         // the newer page's TCP 9082
	BGP              bool         // TCP 179 between nodes
	Etcd             bool         // members run in this cluster's groups
	NodePorts        *NodePorts   // who reaches NodePorts
	HealthCheckPeers []rules.CIDR // load balancers that probe health-check ports
	// HealthCheckPorts are what they probe; zero means kube-proxy's 10256/10256.
	HealthCheckPorts rules.PortRange
	AdminCIDRs       []rules.CIDR // SSH from here
	NTPServers       []rules.CIDR
	Metadata         []rules.CIDR // instance metadata addresses, TCP 80
	DHCP             bool

	// OmitLegacy leaves out the ports that only old components listen on: the
	// kubelet's read-only 10255 and heapster's 8082.
	OmitLegacy bool
}

// An OtherGroup is a group that a part of the cluster wears.
type OtherGroup struct {
	// Name is empty if no rule can tell that part by a group: it is known by
	// the addresses of all subnets then, as those of advanced groups are.
	Name string
	Type rules.GroupType
}

// nameable reports whether rules of a basic group can name it.
func (o OtherGroup) nameable() bool { return o.Name != "" && o.Type == rules.Basic }

// NodePorts says which node ports are used by whom.
type NodePorts struct {
	// Ports is the range; zero means 30000/32767.
	Ports rules.PortRange
	Peers []rules.CIDR
}

// DualStack reports whether any of the cluster's own ranges is IPv6.
func (f *Facts) DualStack() bool {
	for _, list := range [][]rules.CIDR{f.VPC, f.SecondaryVPC, f.NodeSubnets, f.PodSubnets, f.PodCIDRs} {
		if slices.ContainsFunc(list, isIPv6) {
			return true
		}
	}
	return false
}

func isIPv6(c rules.CIDR) bool { return c.Prefix.Addr().Is6() }

// vSwitches returns the node and pod subnets in that order, each once.
func (f *Facts) vSwitches() []rules.CIDR {
	var out []rules.CIDR
	for _, c := range slices.Concat(f.NodeSubnets, f.PodSubnets) {
		if !slices.ContainsFunc(out, func(o rules.CIDR) bool { return o.Prefix == c.Prefix }) {
			out = append(out, c)
		}
	}
	return out
}

// isAdvanced reports whether a name is that of an advanced group of the cluster.
func (f *Facts) isAdvanced(group string) bool {
	return slices.Contains(f.Others, OtherGroup{group, rules.Advanced})
}
