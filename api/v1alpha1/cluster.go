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
// +kubebuilder:resource:categories=ringfence,shortName=cl
// +kubebuilder:printcolumn:name="VPC",type=string,JSONPath=`.spec.vpcName`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.network.mode`
// +kubebuilder:printcolumn:name="Group",type=string,JSONPath=`.status.securityGroupName`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Needs met",type=string,JSONPath=`.status.conditions[?(@.type=="NeedsMet")].status`
// +kubebuilder:printcolumn:name="Profile",type=string,JSONPath=`.spec.securityGroup.profile`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:selectablefield:JSONPath=`.spec.vpcName`
type Cluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec ClusterSpec `json:"spec"`
	// Status is written by the controllers only.
	Status ClusterStatus `json:"status,omitzero"`
}

// A ClusterList is a list of Clusters.
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
	// VPCName names the VPC that the nodes live in. Required, and never changed.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: make another cluster",reason="FieldValueForbidden"
	VPCName Name `json:"vpcName"`
	// Network says how pods are wired. Required.
	Network Network `json:"network"`
	// APIServer says where nodes and pods reach the API server.
	APIServer APIServer `json:"apiServer,omitzero"`
	// WebhookPorts are the ports of admission webhooks on nodes and pods, 1 to
	// 65535.
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	WebhookPorts []Port `json:"webhookPorts,omitempty"`
	// Exposures are what somebody outside must reach, or what the cluster must
	// reach outside.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Exposures []Exposure `json:"exposures,omitempty"`
	// Discovery says how the controllers read the running cluster. Nil means
	// that they do not.
	Discovery *Discovery `json:"discovery,omitempty"`
	// SecurityGroup is the cluster's own group: an existing one, or what to make.
	SecurityGroup ClusterSecurityGroup `json:"securityGroup,omitzero"`

	// Etcd says that members of etcd run in the cluster's groups. A Host of the
	// cluster with role Etcd says the same.
	Etcd bool `json:"etcd,omitempty"`
	// NodePorts says who reaches node ports. Nil means nobody.
	NodePorts *NodePorts `json:"nodePorts,omitempty"`
	// HealthChecks says which load balancers probe nodes. Nil means none.
	HealthChecks *HealthChecks `json:"healthChecks,omitempty"`
	// AdminCIDRs are where people open SSH sessions from.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	AdminCIDRs []CIDR `json:"adminCIDRs,omitempty"`
	// NTPServers are the time servers outside the VPC.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	NTPServers []CIDR `json:"ntpServers,omitempty"`
	// MetadataAddresses are the instance metadata service, TCP 80.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	MetadataAddresses []CIDR `json:"metadataAddresses,omitempty"`
	// DHCP says that nodes get their addresses by DHCP.
	DHCP bool `json:"dhcp,omitempty"`
	// Poseidon says that the network policy component Poseidon is installed.
	Poseidon bool `json:"poseidon,omitempty"`
}

// A Network says how pod addresses appear on the wire.
//
// +kubebuilder:validation:XValidation:rule="self.mode != 'Terway' || !has(self.podCIDRs) || self.podCIDRs.size() == 0",message="Terway has no pod CIDRs: its pods have addresses of podSubnets",fieldPath=".podCIDRs"
// +kubebuilder:validation:XValidation:rule="self.mode == 'Terway' || !has(self.podSubnets) || self.podSubnets.size() == 0",message="pod subnets go with Terway: with every other mode, pods have addresses of podCIDRs",fieldPath=".podSubnets"
// +kubebuilder:validation:XValidation:rule="self.mode == 'Terway' || !has(self.podSecurityGroupNames) || self.podSecurityGroupNames.size() == 0",message="groups of pod interfaces go with Terway: with every other mode, pods have none",fieldPath=".podSecurityGroupNames"
// +kubebuilder:validation:XValidation:rule="!has(self.podCIDRs) || !has(self.serviceCIDRs) || !(self.podCIDRs + self.serviceCIDRs).all(c, isCIDR(c)) || !self.podCIDRs.exists(p, self.serviceCIDRs.exists(s, cidr(p).containsCIDR(s) || cidr(s).containsCIDR(p)))",messageExpression="'pod CIDR %s overlaps a service CIDR: want disjoint ranges'.format([self.podCIDRs.filter(p, self.serviceCIDRs.exists(s, cidr(p).containsCIDR(s) || cidr(s).containsCIDR(p)))[0]])",message="pod CIDRs overlap service CIDRs: want disjoint ranges",fieldPath=".podCIDRs"
type Network struct {
	// Mode is the network plugin. Required.
	Mode NetworkMode `json:"mode"`
	// Encapsulation is how pod traffic between nodes is wrapped; empty means
	// the mode's default.
	Encapsulation Encapsulation `json:"encapsulation,omitempty"`
	// EncapsulationPort is the UDP port of the encapsulation, 1 to 65535; 0
	// means the default of mode and encapsulation.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	EncapsulationPort int32 `json:"encapsulationPort,omitempty"`
	// BGP says that nodes exchange routes with each other, TCP 179.
	BGP bool `json:"bgp,omitempty"`
	// NodeSubnets are the VPC's subnets that nodes live in, by name.
	// +listType=set
	// +kubebuilder:validation:MaxItems=200
	NodeSubnets []Name `json:"nodeSubnets,omitempty"`
	// PodSubnets are the VPC's subnets that pods live in, by name. Only for Terway.
	// +listType=set
	// +kubebuilder:validation:MaxItems=200
	PodSubnets []Name `json:"podSubnets,omitempty"`
	// PodCIDRs are the ranges of pod addresses, disjoint from the VPC's and the
	// services'. For every mode but Terway.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="!self.all(c, isCIDR(c)) || self.all(a, self.exists_one(b, cidr(a).containsCIDR(b) || cidr(b).containsCIDR(a)))",message="pod CIDRs overlap each other: want disjoint ranges"
	PodCIDRs []Block `json:"podCIDRs,omitempty"`
	// ServiceCIDRs are the ranges of service addresses, which never appear on
	// the wire between nodes.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="!self.all(c, isCIDR(c)) || self.all(a, self.exists_one(b, cidr(a).containsCIDR(b) || cidr(b).containsCIDR(a)))",message="service CIDRs overlap each other: want disjoint ranges"
	ServiceCIDRs []Block `json:"serviceCIDRs,omitempty"`
	// PodSecurityGroupNames name the groups of pod interfaces. Only for Terway;
	// none means that pods wear their node's groups.
	// +listType=set
	// +kubebuilder:validation:MaxItems=10
	PodSecurityGroupNames []Name `json:"podSecurityGroupNames,omitempty"`
}

// A NetworkMode is a network plugin.
//
// +kubebuilder:validation:Enum=Terway;Flannel;Calico;Cilium;Antrea;OVNKubernetes;KubeRouter;Other
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
//
// +kubebuilder:validation:Enum=None;VXLAN;Geneve;IPIP;WireGuard
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
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	Addresses []SingleCIDR `json:"addresses,omitempty"`
	// Port is 1 to 65535; 0 means 6443.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// A Discovery says how to read a running cluster, and what of it opens by itself.
type Discovery struct {
	// KubeconfigSecretName names a Secret of the namespace that holds, as its key
	// "kubeconfig", who may read the cluster: with everything in the text itself,
	// no file and no program. Empty means the API server that has this object,
	// as the controllers.
	KubeconfigSecretName Name `json:"kubeconfigSecretName,omitempty"`
	// Open says what of the needs opens by itself in groups that are made;
	// empty means Essential.
	Open DiscoveryOpen `json:"open,omitempty"`
	// CloseAfterSeconds is how long a need must be gone before its port closes,
	// up to a week; nil means 600.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=604800
	CloseAfterSeconds *int32 `json:"closeAfterSeconds,omitempty"`
}

// A DiscoveryOpen is what opens by itself: Essential, the ports of what the API
// server calls and cannot do without, for the API server's hosts only; or
// Nothing.
//
// +kubebuilder:validation:Enum=Essential;Nothing
type DiscoveryOpen string

// What may open by itself.
const (
	DiscoveryOpenEssential DiscoveryOpen = "Essential"
	DiscoveryOpenNothing   DiscoveryOpen = "Nothing"
)

// An Exposure is a flow between the cluster and somebody outside. It has at
// least one peer.
//
// +kubebuilder:validation:XValidation:rule="has(self.cidrs) && self.cidrs.size() > 0 || has(self.groupNames) && self.groupNames.size() > 0 || has(self.prefixListNames) && self.prefixListNames.size() > 0",message="no peers: want cidrs, groupNames or prefixListNames; there is no default"
// +kubebuilder:validation:XValidation:rule="string(self.protocol).upperAscii() in ['TCP', 'UDP', 'SCTP', '6', '17', '132'] ? has(self.ports) && self.ports.size() > 0 && self.ports != '-1/-1' : true",message="TCP, UDP and SCTP must name their ports: want FIRST/LAST such as 443/443, or 1/65535 for all",fieldPath=".ports"
// +kubebuilder:validation:XValidation:rule="string(self.protocol).upperAscii() in ['TCP', 'UDP', 'SCTP', '6', '17', '132'] || !has(self.ports) || self.ports.size() == 0 || self.ports == '-1/-1'",message="only TCP, UDP and SCTP have ports: want -1/-1, or leave ports out",fieldPath=".ports"
// +kubebuilder:validation:XValidation:rule="!has(self.cidrs) || !(string(self.protocol).upperAscii() in ['ICMP', '1']) || self.cidrs.all(c, !c.contains(':'))",message="protocol ICMP goes with IPv4 peers: use ICMPv6 for IPv6",fieldPath=".cidrs"
// +kubebuilder:validation:XValidation:rule="!has(self.cidrs) || !(string(self.protocol).upperAscii() in ['ICMPV6', '58']) || self.cidrs.all(c, c.contains(':'))",message="protocol ICMPv6 goes with IPv6 peers: use ICMP for IPv4",fieldPath=".cidrs"
type Exposure struct {
	// Direction is Ingress for what the cluster offers, Egress for what it
	// calls; empty means Ingress.
	Direction Direction `json:"direction,omitempty"`
	// Protocol is as in a rule. Required.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=6
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? 0 <= self && self <= 255 : self.upperAscii() in ['ALL', 'TCP', 'UDP', 'ICMP', 'ICMPV6', 'GRE', 'SCTP', 'IPIP', 'ESP', 'VRRP'] || self.matches('^(0|[1-9][0-9]{0,2})$') && int(self) <= 255",message="want ALL, TCP, UDP, ICMP, ICMPv6, GRE, SCTP, IPIP, ESP, VRRP or a number from 0 to 255"
	Protocol intstr.IntOrString `json:"protocol"`
	// Ports are as in a rule.
	Ports PortRange `json:"ports,omitempty"`
	// CIDRs, and the two lists below, are who is outside, all together.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	CIDRs []CIDR `json:"cidrs,omitempty"`
	// GroupNames name SecurityGroups.
	// +listType=set
	// +kubebuilder:validation:MaxItems=20
	GroupNames []Name `json:"groupNames,omitempty"`
	// PrefixListNames name PrefixLists.
	// +listType=set
	// +kubebuilder:validation:MaxItems=20
	PrefixListNames []Name `json:"prefixListNames,omitempty"`
}

// A ClusterSecurityGroup is an existing group, or says what group to make.
// The zero value makes a basic one.
//
// +kubebuilder:validation:XValidation:rule="!has(self.name) || !has(self.type) && !has(self.innerAccess)",message="name stands for an existing group, type and innerAccess for a new one: want one or the other"
// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'Advanced' || !has(self.innerAccess) || self.innerAccess == 'Drop'",message="an advanced group has no inner access, members reach each other by rules only: want Drop, or leave it out",fieldPath=".innerAccess"
// +kubebuilder:validation:XValidation:rule="has(self.name) || has(oldSelf.name) || (has(self.type) ? self.type : 'Basic') == (has(oldSelf.type) ? oldSelf.type : 'Basic')",message="cannot be changed: name an existing group of the other type instead",fieldPath=".type",reason="FieldValueForbidden"
type ClusterSecurityGroup struct {
	// Name names an existing SecurityGroup, whose rules stay as they are. With
	// a name, neither type nor innerAccess may be set.
	Name Name `json:"name,omitempty"`
	// Type is the type of group to make; empty means Basic. Never changed.
	Type GroupType `json:"type,omitempty"`
	// InnerAccess is that of the group to make, as in a SecurityGroup. Once it is
	// made, the group's own spec says: change it there, and its rules follow.
	InnerAccess InnerAccess `json:"innerAccess,omitempty"`
	// Profile is the table of needs that the group is made from, or that an
	// existing one is judged by. Empty leaves the choice to who asks.
	Profile Profile `json:"profile,omitempty"`
}

// A Profile is a table of needs and rules.
//
// +kubebuilder:validation:Enum=Recommended;LeastPrivilege
type Profile string

// The profiles.
const (
	ProfileRecommended    Profile = "Recommended"
	ProfileLeastPrivilege Profile = "LeastPrivilege"
)

// A NodePorts says who reaches the node ports of a cluster.
type NodePorts struct {
	// Ports is the range, FIRST/LAST; empty means 30000/32767.
	// +kubebuilder:validation:XValidation:rule="self != '-1/-1'",message="want FIRST/LAST, such as 30000/32767"
	Ports PortRange `json:"ports,omitempty"`
	// CIDRs are who reaches them. Required.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	CIDRs []CIDR `json:"cidrs"`
}

// A HealthChecks says which load balancers probe the nodes.
type HealthChecks struct {
	// Ports are what they probe, FIRST/LAST. Required.
	// +kubebuilder:validation:XValidation:rule="self.size() > 0 && self != '-1/-1'",message="no ports: want FIRST/LAST, the ports that are probed"
	Ports PortRange `json:"ports"`
	// CIDRs are where they probe from. Required.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	CIDRs []CIDR `json:"cidrs"`
}

// A ClusterStatus is what the controllers know of a cluster.
type ClusterStatus struct {
	// SecurityGroupName names the group that the cluster uses: the one that
	// the spec names, or the one that was made. Empty until there is one.
	// +kubebuilder:validation:MaxLength=253
	SecurityGroupName string `json:"securityGroupName,omitempty"`
	// Discovered is what was seen of the running cluster and is open because of
	// it. Nil while the cluster is not read.
	Discovered *Discovered `json:"discovered,omitempty"`
	// Conditions are what is true of it, one a type.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// A Discovered is what of a running cluster takes part in its rules.
type Discovered struct {
	// Callers are the API server's hosts, where its calls come from.
	// +listType=map
	// +listMapKey=address
	// +kubebuilder:validation:MaxItems=32
	Callers []Caller `json:"callers,omitempty"`
	// Hooks are the ports of what the API server calls.
	// +listType=map
	// +listMapKey=port
	// +kubebuilder:validation:MaxItems=64
	Hooks []Hook `json:"hooks,omitempty"`
}

// A Caller is an address of the API server's hosts.
type Caller struct {
	Address Address `json:"address"`
	// GoneSince is when it was first seen gone. Nil while it is there. It stops
	// being one when that is long enough ago.
	GoneSince *metav1.Time `json:"goneSince,omitempty"`
}

// A Hook is a port that is open because the API server calls it.
type Hook struct {
	Port Port `json:"port"`
	// Because is the object because of which it is open, as KIND NAMESPACE/NAME
	// /FIELD.
	// +kubebuilder:validation:MaxLength=1024
	Because string `json:"because"`
	// GoneSince is when the need was first seen gone. Nil while it is there. The
	// port closes when that is long enough ago.
	GoneSince *metav1.Time `json:"goneSince,omitempty"`
}
