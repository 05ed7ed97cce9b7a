package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A Cluster is a Kubernetes cluster: what must be known of its network to
// decide which flows it needs, and the group that it uses.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=ringfence
// +kubebuilder:printcolumn:name=Mode,type=string,JSONPath=`.spec.network.mode`
// +kubebuilder:printcolumn:name=VPC,type=string,JSONPath=`.spec.vpcName`
// +kubebuilder:printcolumn:name=Group,type=string,JSONPath=`.status.securityGroupName`
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type Cluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec ClusterSpec `json:"spec"`
	// Status is written by the controllers only.
	Status ClusterStatus `json:"status,omitzero"`
}

// A ClusterList is several of them, as the API lists them.
//
// +kubebuilder:object:root=true
type ClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []Cluster `json:"items"`
}

// A ClusterSpec holds the facts of a cluster. Addresses and CIDRs may be of
// either family; an address alone means that address.
type ClusterSpec struct {
	// VPCName names the VPC that the nodes live in. Required.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a cluster never moves to another VPC"
	VPCName string `json:"vpcName"`
	// Network says how pods are wired. Required.
	Network Network `json:"network"`
	// APIServer says where nodes and pods reach the API server.
	APIServer APIServer `json:"apiServer,omitzero"`
	// WebhookPorts are the ports of admission webhooks on nodes and pods, 1 to
	// 65535.
	//
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	// +listType=set
	WebhookPorts []int32 `json:"webhookPorts,omitempty"`
	// Exposures are what somebody outside must reach, or what the cluster must
	// reach outside.
	//
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
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
	//
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) || isIP(self)",message="no CIDR: want one like 10.0.0.0/8, or an address"
	AdminCIDRs []string `json:"adminCIDRs,omitempty"`
	// NTPServers are the time servers outside the VPC.
	//
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) || isIP(self)",message="no CIDR: want one like 10.0.0.0/8, or an address"
	NTPServers []string `json:"ntpServers,omitempty"`
	// MetadataAddresses are the instance metadata service, TCP 80.
	//
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) || isIP(self)",message="no CIDR: want one like 10.0.0.0/8, or an address"
	MetadataAddresses []string `json:"metadataAddresses,omitempty"`
	// DHCP says that nodes get their addresses by DHCP.
	DHCP bool `json:"dhcp,omitempty"`
	// Poseidon says that the network policy component Poseidon is installed.
	Poseidon bool `json:"poseidon,omitempty"`
}

// A Network says how pod addresses appear on the wire.
//
// +kubebuilder:validation:XValidation:rule="self.mode != 'Terway' || !has(self.podCIDRs) || self.podCIDRs.size() == 0",fieldPath=".podCIDRs",message="Terway's pods have addresses of podSubnets: want no podCIDRs"
// +kubebuilder:validation:XValidation:rule="self.mode == 'Terway' || !has(self.podSubnets) || self.podSubnets.size() == 0",fieldPath=".podSubnets",message="pod subnets go with Terway: want podCIDRs"
// +kubebuilder:validation:XValidation:rule="self.mode == 'Terway' || !has(self.podSecurityGroupNames) || self.podSecurityGroupNames.size() == 0",fieldPath=".podSecurityGroupNames",message="pods wear groups of their own with Terway only"
// +kubebuilder:validation:XValidation:rule="!has(self.podCIDRs) || !has(self.serviceCIDRs) || self.podCIDRs.all(p, !isCIDR(p) || self.serviceCIDRs.all(s, !isCIDR(s) || (!cidr(p).containsCIDR(s) && !cidr(s).containsCIDR(p))))",fieldPath=".serviceCIDRs",message="pod and service ranges overlap: want disjoint ones"
type Network struct {
	// Mode is the network plugin. Required.
	//
	// +kubebuilder:validation:Enum=Terway;Flannel;Calico;Cilium;Antrea;OVNKubernetes;KubeRouter;Other
	Mode NetworkMode `json:"mode"`
	// Encapsulation is how pod traffic between nodes is wrapped; empty means
	// the mode's default.
	//
	// +kubebuilder:validation:Enum=None;VXLAN;Geneve;IPIP;WireGuard
	Encapsulation Encapsulation `json:"encapsulation,omitempty"`
	// EncapsulationPort is the UDP port of the encapsulation, 1 to 65535; 0
	// means the default of mode and encapsulation.
	//
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	EncapsulationPort int32 `json:"encapsulationPort,omitempty"`
	// BGP says that nodes exchange routes with each other, TCP 179.
	BGP bool `json:"bgp,omitempty"`
	// NodeSubnets are the VPC's subnets that nodes live in, by name.
	//
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	NodeSubnets []string `json:"nodeSubnets,omitempty"`
	// PodSubnets are the VPC's subnets that pods live in, by name. Only for Terway.
	//
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	PodSubnets []string `json:"podSubnets,omitempty"`
	// PodCIDRs are the ranges of pod addresses, disjoint from the VPC's and the
	// services'. For every mode but Terway.
	//
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) || isIP(self)",message="no CIDR: want one like 10.0.0.0/8, or an address"
	PodCIDRs []string `json:"podCIDRs,omitempty"`
	// ServiceCIDRs are the ranges of service addresses, which never appear on
	// the wire between nodes.
	//
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) || isIP(self)",message="no CIDR: want one like 10.0.0.0/8, or an address"
	ServiceCIDRs []string `json:"serviceCIDRs,omitempty"`
	// PodSecurityGroupNames name the groups of pod interfaces. Only for Terway;
	// none means that pods wear their node's groups.
	//
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
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
	//
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",message="no address: want one like 192.168.0.200"
	Addresses []string `json:"addresses,omitempty"`
	// Port is 1 to 65535; 0 means 6443.
	//
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// An Exposure is a flow between the cluster and somebody outside. It has at
// least one peer.
//
// +kubebuilder:validation:XValidation:rule="(has(self.cidrs) && self.cidrs.size() > 0) || (has(self.groupNames) && self.groupNames.size() > 0) || (has(self.prefixListNames) && self.prefixListNames.size() > 0)",message="nobody is outside: want cidrs, groupNames or prefixListNames"
// +kubebuilder:validation:XValidation:rule="type(self.protocol) == int ? self.protocol >= 0 && self.protocol <= 255 : self.protocol in ['ALL', 'TCP', 'UDP', 'ICMP', 'ICMPv6', 'GRE', 'SCTP', 'IPIP', 'ESP', 'VRRP']",fieldPath=".protocol",message="unknown protocol: want ALL, TCP, UDP, ICMP, ICMPv6, GRE, SCTP, IPIP, ESP, VRRP, or a number from 0 to 255"
// +kubebuilder:validation:XValidation:rule="(self.protocol in ['TCP', 'UDP', 'SCTP'] || self.protocol in [6, 17, 132]) ? has(self.ports) : !has(self.ports)",fieldPath=".ports",message="TCP, UDP and SCTP must name ports, FIRST/LAST such as 443/443; every other protocol has none"
type Exposure struct {
	// Direction is Ingress for what the cluster offers, Egress for what it
	// calls; empty means Ingress.
	//
	// +kubebuilder:validation:Enum=Ingress;Egress
	Direction Direction `json:"direction,omitempty"`
	// Protocol is as in a rule. Required.
	Protocol intstr.IntOrString `json:"protocol"`
	// Ports are as in a rule.
	//
	// +kubebuilder:validation:MaxLength=11
	// +kubebuilder:validation:Pattern=`^[1-9][0-9]{0,4}/[1-9][0-9]{0,4}$`
	// +kubebuilder:validation:XValidation:rule="int(self.split('/')[0]) <= int(self.split('/')[1]) && int(self.split('/')[1]) <= 65535",message="want FIRST/LAST with 1 <= FIRST <= LAST <= 65535"
	Ports string `json:"ports,omitempty"`
	// CIDRs, GroupNames and PrefixListNames are who is outside, all together.
	//
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) || isIP(self)",message="no CIDR: want one like 10.0.0.0/8, or an address"
	CIDRs []string `json:"cidrs,omitempty"`
	//
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	GroupNames []string `json:"groupNames,omitempty"`
	//
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	PrefixListNames []string `json:"prefixListNames,omitempty"`
}

// A ClusterSecurityGroup is an existing group, or says what group to make.
// The zero value makes a basic one.
//
// +kubebuilder:validation:XValidation:rule="!has(self.name) || (!has(self.type) && !has(self.innerAccess))",message="name stands for an existing group, type and innerAccess for a new one: want one or the other"
// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'Advanced' || !has(self.innerAccess) || self.innerAccess == 'Drop'",fieldPath=".innerAccess",message="an advanced group has no inner access"
type ClusterSecurityGroup struct {
	// Name names an existing SecurityGroup, whose rules stay as they are. With
	// a name, neither type nor innerAccess may be set.
	Name string `json:"name,omitempty"`
	// Type is the type of group to make; empty means Basic. Never changed.
	//
	// +kubebuilder:validation:Enum=Basic;Advanced
	Type GroupType `json:"type,omitempty"`
	// InnerAccess is that of the group to make, as in a SecurityGroup.
	//
	// +kubebuilder:validation:Enum=Accept;Drop
	InnerAccess InnerAccess `json:"innerAccess,omitempty"`
	// Profile is the table of needs that the group is made from, or that an
	// existing one is judged by. Empty leaves the choice to who asks.
	//
	// +kubebuilder:validation:Enum=Recommended;LeastPrivilege
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
	//
	// +kubebuilder:validation:MaxLength=11
	// +kubebuilder:validation:Pattern=`^[1-9][0-9]{0,4}/[1-9][0-9]{0,4}$`
	// +kubebuilder:validation:XValidation:rule="int(self.split('/')[0]) <= int(self.split('/')[1]) && int(self.split('/')[1]) <= 65535",message="want FIRST/LAST with 1 <= FIRST <= LAST <= 65535"
	Ports string `json:"ports,omitempty"`
	// CIDRs are who reaches them. Required.
	//
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) || isIP(self)",message="no CIDR: want one like 10.0.0.0/8, or an address"
	CIDRs []string `json:"cidrs"`
}

// A HealthChecks says which load balancers probe the nodes.
type HealthChecks struct {
	// Ports are what they probe, FIRST/LAST. Required.
	//
	// +kubebuilder:validation:MaxLength=11
	// +kubebuilder:validation:Pattern=`^[1-9][0-9]{0,4}/[1-9][0-9]{0,4}$`
	// +kubebuilder:validation:XValidation:rule="int(self.split('/')[0]) <= int(self.split('/')[1]) && int(self.split('/')[1]) <= 65535",message="want FIRST/LAST with 1 <= FIRST <= LAST <= 65535"
	Ports string `json:"ports"`
	// CIDRs are where they probe from. Required.
	//
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) || isIP(self)",message="no CIDR: want one like 10.0.0.0/8, or an address"
	CIDRs []string `json:"cidrs"`
}

// A ClusterStatus is what the controllers know of a cluster.
type ClusterStatus struct {
	// SecurityGroupName names the group that the cluster uses: the one that
	// the spec names, or the one that was made. Empty until there is one.
	SecurityGroupName string `json:"securityGroupName,omitempty"`
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
