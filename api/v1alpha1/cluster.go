package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A Cluster is a Kubernetes cluster: what must be known of its network to
// decide which flows it needs, and the group that it uses.
type Cluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec ClusterSpec `json:"spec"`
	// Status is written by the controllers only.
	Status ClusterStatus `json:"status,omitzero"`
}

// A ClusterSpec holds the facts of a cluster. Addresses and CIDRs may be of
// either family; an address alone means that address.
type ClusterSpec struct {
	// VPCName names the VPC that the nodes live in. Required.
	VPCName string `json:"vpcName"`
	// Network says how pods are wired. Required.
	Network Network `json:"network"`
	// APIServer says where nodes and pods reach the API server.
	APIServer APIServer `json:"apiServer,omitzero"`
	// WebhookPorts are the ports of admission webhooks on nodes and pods, 1 to
	// 65535.
	WebhookPorts []int32 `json:"webhookPorts,omitempty"`
	// Exposures are what somebody outside must reach, or what the cluster must
	// reach outside.
	Exposures []Exposure `json:"exposures,omitempty"`
	// SecurityGroup is the cluster's own group: an existing one, or what to make.
	SecurityGroup ClusterSecurityGroup `json:"securityGroup,omitzero"`

	// Etcd says that members of etcd run in the cluster's groups.
	Etcd bool `json:"etcd,omitempty"`
	// NodePorts says who reaches node ports. Nil means nobody.
	NodePorts *NodePorts `json:"nodePorts,omitempty"`
	// HealthChecks says which load balancers probe nodes. Nil means none.
	HealthChecks *HealthChecks `json:"healthChecks,omitempty"`
	// AdminCIDRs are where people open SSH sessions from.
	AdminCIDRs []string `json:"adminCIDRs,omitempty"`
	// NTPServers are the time servers outside the VPC.
	NTPServers []string `json:"ntpServers,omitempty"`
	// MetadataAddresses are the instance metadata service, TCP 80.
	MetadataAddresses []string `json:"metadataAddresses,omitempty"`
	// DHCP says that nodes get their addresses by DHCP.
	DHCP bool `json:"dhcp,omitempty"`
	// Poseidon says that the network policy component Poseidon is installed.
	Poseidon bool `json:"poseidon,omitempty"`
}

// A Network says how pod addresses appear on the wire.
type Network struct {
	// Mode is the network plugin. Required.
	Mode NetworkMode `json:"mode"`
	// Encapsulation is how pod traffic between nodes is wrapped; empty means
	// the mode's default.
	Encapsulation Encapsulation `json:"encapsulation,omitempty"`
	// EncapsulationPort is the UDP port of the encapsulation, 1 to 65535; 0
	// means the default of mode and encapsulation.
	EncapsulationPort int32 `json:"encapsulationPort,omitempty"`
	// BGP says that nodes exchange routes with each other, TCP 179.
	BGP bool `json:"bgp,omitempty"`
	// NodeSubnets are the VPC's subnets that nodes live in, by name.
	NodeSubnets []string `json:"nodeSubnets,omitempty"`
	// PodSubnets are the VPC's subnets that pods live in, by name. Only for Terway.
	PodSubnets []string `json:"podSubnets,omitempty"`
	// PodCIDRs are the ranges of pod addresses, disjoint from the VPC's and the
	// services'. For every mode but Terway.
	PodCIDRs []string `json:"podCIDRs,omitempty"`
	// ServiceCIDRs are the ranges of service addresses, which never appear on
	// the wire between nodes.
	ServiceCIDRs []string `json:"serviceCIDRs,omitempty"`
	// PodSecurityGroupNames name the groups of pod interfaces. Only for Terway;
	// none means that pods wear their node's groups.
	PodSecurityGroupNames []string `json:"podSecurityGroupNames,omitempty"`
}

// A NetworkMode is a network plugin.
type NetworkMode string

// The network plugins.
const (
	NetworkTerway        NetworkMode = "Terway"
	NetworkFlannel       NetworkMode = "Flannel"
	NetworkCalico        NetworkMode = "Calico"
	NetworkCilium        NetworkMode = "Cilium"
	NetworkAntrea        NetworkMode = "Antrea"
	NetworkOVNKubernetes NetworkMode = "OVNKubernetes"
	NetworkKubeRouter    NetworkMode = "KubeRouter"
	NetworkOther         NetworkMode = "Other"
)

// An Encapsulation is a way to wrap pod traffic between nodes.
type Encapsulation string

// The encapsulations.
const (
	EncapsulationNone      Encapsulation = "None"
	EncapsulationVXLAN     Encapsulation = "VXLAN"
	EncapsulationGeneve    Encapsulation = "Geneve"
	EncapsulationIPIP      Encapsulation = "IPIP"
	EncapsulationWireGuard Encapsulation = "WireGuard"
)

// An APIServer says where the API server is.
type APIServer struct {
	// Addresses are single addresses, those of the load balancer if there is one.
	Addresses []string `json:"addresses,omitempty"`
	// Port is 1 to 65535; 0 means 6443.
	Port int32 `json:"port,omitempty"`
}

// An Exposure is a flow between the cluster and somebody outside. It has at
// least one peer.
type Exposure struct {
	// Direction is Ingress for what the cluster offers, Egress for what it
	// calls; empty means Ingress.
	Direction Direction `json:"direction,omitempty"`
	// Protocol is as in a rule. Required.
	Protocol intstr.IntOrString `json:"protocol"`
	// Ports are as in a rule.
	Ports string `json:"ports,omitempty"`
	// CIDRs, GroupNames and PrefixListNames are who is outside, all together.
	CIDRs           []string `json:"cidrs,omitempty"`
	GroupNames      []string `json:"groupNames,omitempty"`
	PrefixListNames []string `json:"prefixListNames,omitempty"`
}

// A ClusterSecurityGroup is an existing group, or says what group to make.
// The zero value makes a basic one.
type ClusterSecurityGroup struct {
	// Name names an existing SecurityGroup, whose rules stay as they are. With
	// a name, neither type nor innerAccess may be set.
	Name string `json:"name,omitempty"`
	// Type is the type of group to make; empty means Basic. Never changed.
	Type GroupType `json:"type,omitempty"`
	// InnerAccess is that of the group to make, as in a SecurityGroup.
	InnerAccess InnerAccess `json:"innerAccess,omitempty"`
	// Profile is the table of needs that the group is made from, or that an
	// existing one is judged by. Empty leaves the choice to who asks.
	Profile Profile `json:"profile,omitempty"`
}

// A Profile is a table of needs and rules.
type Profile string

// The profiles.
const (
	ProfileRecommended    Profile = "Recommended"
	ProfileLeastPrivilege Profile = "LeastPrivilege"
)

// A NodePorts says who reaches the node ports of a cluster.
type NodePorts struct {
	// Ports is the range, FIRST/LAST; empty means 30000/32767.
	Ports string `json:"ports,omitempty"`
	// CIDRs are who reaches them. Required.
	CIDRs []string `json:"cidrs"`
}

// A HealthChecks says which load balancers probe the nodes.
type HealthChecks struct {
	// Ports are what they probe, FIRST/LAST. Required.
	Ports string `json:"ports"`
	// CIDRs are where they probe from. Required.
	CIDRs []string `json:"cidrs"`
}

// A ClusterStatus is what the controllers know of a cluster.
type ClusterStatus struct {
	// SecurityGroupName names the group that the cluster uses: the one that
	// the spec names, or the one that was made. Empty until there is one.
	SecurityGroupName string             `json:"securityGroupName,omitempty"`
	Conditions        []metav1.Condition `json:"conditions,omitempty"`
}
