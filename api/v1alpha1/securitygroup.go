package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A SecurityGroup is a list of rules that hosts wear. It cannot be deleted
// while a cluster or a node pool uses it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=sg,categories=ringfence
// +kubebuilder:printcolumn:name=Type,type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name=VPC,type=string,JSONPath=`.spec.vpcName`
// +kubebuilder:printcolumn:name=Rules,type=integer,JSONPath=`.status.ruleCount`
// +kubebuilder:printcolumn:name=Members,type=integer,JSONPath=`.status.members`
// +kubebuilder:printcolumn:name=Clusters,type=string,JSONPath=`.status.clusters[*].name`
// +kubebuilder:printcolumn:name=Protected,type=boolean,JSONPath=`.status.protected`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!has(self.spec.ingress) || self.spec.ingress.all(r, !has(r.peer.groupName) || r.peer.groupName != self.metadata.name)",fieldPath=".spec.ingress",message="a group cannot name itself: use inner access, or the members' addresses"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.egress) || self.spec.egress.all(r, !has(r.peer.groupName) || r.peer.groupName != self.metadata.name)",fieldPath=".spec.egress",message="a group cannot name itself: use the members' addresses"
type SecurityGroup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec SecurityGroupSpec `json:"spec"`
	// Status is written by the controllers only.
	Status SecurityGroupStatus `json:"status,omitzero"`
}

// A SecurityGroupList is several of them, as the API lists them.
//
// +kubebuilder:object:root=true
type SecurityGroupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []SecurityGroup `json:"items"`
}

// A SecurityGroupSpec is what a user wants of a group. The effective rules are
// the system rules of the status, then the user's of the spec.
//
// +kubebuilder:validation:XValidation:rule="self.type != 'Advanced' || ((!has(self.ingress) || self.ingress.all(r, !has(r.peer.groupName))) && (!has(self.egress) || self.egress.all(r, !has(r.peer.groupName))))",message="an advanced group cannot name groups: use their addresses"
// +kubebuilder:validation:XValidation:rule="self.type != 'Advanced' || !has(self.innerAccess) || self.innerAccess == 'Drop'",fieldPath=".innerAccess",message="an advanced group has no inner access: members reach each other by rules only; want Drop, or nothing"
// +kubebuilder:validation:XValidation:rule="(has(self.ingress) ? self.ingress.filter(r, has(r.peer.groupName)).size() : 0) + (has(self.egress) ? self.egress.filter(r, has(r.peer.groupName)).size() : 0) <= 20",message="at most 20 rules of a group may name groups"
// +kubebuilder:validation:XValidation:rule="!has(self.provider) || !has(self.provider.type) || self.provider.type != 'AlibabaCloud' || ((!has(self.ingress) || self.ingress.all(r, r.protocol in ['ALL', 'TCP', 'UDP', 'ICMP', 'ICMPv6', 'GRE'] || r.protocol in [1, 6, 17, 47, 58])) && (!has(self.egress) || self.egress.all(r, r.protocol in ['ALL', 'TCP', 'UDP', 'ICMP', 'ICMPv6', 'GRE'] || r.protocol in [1, 6, 17, 47, 58])))",message="Alibaba Cloud knows ALL, TCP, UDP, ICMP, ICMPv6 and GRE only: use ALL, or keep the group on own hosts"
type SecurityGroupSpec struct {
	// VPCName names the VPC that the group belongs to. Required, and never
	// changed.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a group never moves to another VPC: make a new one"
	VPCName string `json:"vpcName"`
	// Type is Basic or Advanced; empty means Basic. Never changed.
	//
	// +kubebuilder:validation:Enum=Basic;Advanced
	// +kubebuilder:default=Basic
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the type of a group never changes: make a new one"
	Type GroupType `json:"type,omitempty"`
	// InnerAccess Accept lets members reach each other before any rule is
	// tried. Empty means Accept for a basic group. An advanced group has none:
	// empty or Drop.
	//
	// +kubebuilder:validation:Enum=Accept;Drop
	InnerAccess InnerAccess `json:"innerAccess,omitempty"`
	// Ingress are the user's rules for flows from the peer to the member.
	//
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Ingress []Rule `json:"ingress,omitempty"`
	// Egress are the user's rules for flows from the member to the peer.
	//
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	Egress []Rule `json:"egress,omitempty"`
	// Management says whether controllers add system rules; empty means Manual.
	//
	// +kubebuilder:validation:Enum=Manual;Managed
	Management Management `json:"management,omitempty"`
	// Provider says where the group is enforced. Nil means on own hosts.
	Provider *Provider `json:"provider,omitempty"`
}

// A SecurityGroupStatus is what the controllers know of a group.
type SecurityGroupStatus struct {
	// SystemIngress and SystemEgress are the rules of the profile that the
	// group's clusters ask for. They come before the user's.
	//
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	SystemIngress []SystemRule `json:"systemIngress,omitempty"`
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	SystemEgress []SystemRule `json:"systemEgress,omitempty"`
	// Members is the number of addresses that the members have.
	Members int32 `json:"members,omitempty"`
	// RuleCount is what the group counts for in a host's quota of 1,000: its
	// rules, with each prefix list for its MaxEntries.
	RuleCount int32 `json:"ruleCount,omitempty"`
	// Clusters are the clusters that use the group, by name.
	//
	// +kubebuilder:validation:MaxItems=1000
	// +listType=map
	// +listMapKey=name
	Clusters []GroupUser `json:"clusters,omitempty"`
	// Protected is true while the group cannot be deleted. Nil means that its
	// use was never computed, which protects it too.
	Protected *bool `json:"protected,omitempty"`
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// A GroupUser is a cluster that uses a group.
type GroupUser struct {
	// Name is the cluster's name.
	Name string `json:"name"`
	// NodePools are those of its node pools that use the group, by name. None
	// means that only the cluster itself does.
	//
	// +kubebuilder:validation:MaxItems=1000
	NodePools []string `json:"nodePools,omitempty"`
}

// A GroupType is Basic or Advanced (ECS: normal, enterprise).
type GroupType string

// The types of group.
const (
	// GroupTypeBasic may name groups and lets egress pass by default.
	GroupTypeBasic GroupType = "Basic"
	// GroupTypeAdvanced has CIDR and prefix-list peers only and drops egress by
	// default.
	GroupTypeAdvanced GroupType = "Advanced"
)

// An InnerAccess says whether members reach each other before any rule.
type InnerAccess string

// The two answers.
const (
	InnerAccessAccept InnerAccess = "Accept"
	InnerAccessDrop   InnerAccess = "Drop"
)

// A Management says who keeps the rules of a group.
type Management string

// The kinds of management.
const (
	// ManagementManual leaves the rules to the user.
	ManagementManual Management = "Manual"
	// ManagementManaged lets controllers keep system rules beside the user's.
	ManagementManaged Management = "Managed"
)

// A Provider says where a group is enforced.
//
// +kubebuilder:validation:XValidation:rule="(!has(self.regionID) && !has(self.id)) || (has(self.type) && self.type == 'AlibabaCloud')",message="regionID and id go with type AlibabaCloud"
type Provider struct {
	// Type is Hosts or AlibabaCloud; empty means Hosts.
	//
	// +kubebuilder:validation:Enum=Hosts;AlibabaCloud
	Type ProviderType `json:"type,omitempty"`
	// RegionID is the region of Alibaba Cloud, such as cn-hangzhou. Only for
	// AlibabaCloud.
	RegionID string `json:"regionID,omitempty"`
	// ID is the group's id there, such as sg-bp1; empty to make one. Only for
	// AlibabaCloud.
	ID string `json:"id,omitempty"`
}

// A ProviderType is a kind of place where groups are enforced.
type ProviderType string

// The kinds of provider.
const (
	// ProviderHosts enforces with nftables on the hosts that wear the group.
	ProviderHosts ProviderType = "Hosts"
	// ProviderAlibabaCloud enforces through Alibaba Cloud's API, which knows
	// fewer protocols.
	ProviderAlibabaCloud ProviderType = "AlibabaCloud"
)
