package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A SecurityGroup is a list of rules that hosts wear. It cannot be deleted
// while a cluster or a node pool uses it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=ringfence,shortName=sg
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="VPC",type=string,JSONPath=`.spec.vpcName`
// +kubebuilder:printcolumn:name="Rules",type=integer,JSONPath=`.status.ruleCount`
// +kubebuilder:printcolumn:name="Members",type=integer,JSONPath=`.status.members`
// +kubebuilder:printcolumn:name="Protected",type=boolean,JSONPath=`.status.protected`
// +kubebuilder:printcolumn:name="Used by",type=string,JSONPath=`.status.usedBy`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Inner access",type=string,JSONPath=`.spec.innerAccess`,priority=1
// +kubebuilder:printcolumn:name="Management",type=string,JSONPath=`.spec.management`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:selectablefield:JSONPath=`.spec.vpcName`
// +kubebuilder:validation:XValidation:rule="!has(self.spec.ingress) || self.spec.ingress.all(r, !has(r.peer.groupName) || r.peer.groupName != self.metadata.name)",message="a group cannot name itself as a peer: use innerAccess, or addresses",fieldPath=".spec.ingress"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.egress) || self.spec.egress.all(r, !has(r.peer.groupName) || r.peer.groupName != self.metadata.name)",message="a group cannot name itself as a peer: use innerAccess, or addresses",fieldPath=".spec.egress"
// +kubebuilder:validation:XValidation:rule="self.spec.type != 'Advanced' || !has(self.status) || !has(self.status.systemIngress) || self.status.systemIngress.all(r, !has(r.peer.groupName))",message="an advanced group cannot name groups: use their addresses",fieldPath=".status.systemIngress"
// +kubebuilder:validation:XValidation:rule="self.spec.type != 'Advanced' || !has(self.status) || !has(self.status.systemEgress) || self.status.systemEgress.all(r, !has(r.peer.groupName))",message="an advanced group cannot name groups: use their addresses",fieldPath=".status.systemEgress"
type SecurityGroup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec SecurityGroupSpec `json:"spec"`
	// Status is written by the controllers only.
	Status SecurityGroupStatus `json:"status,omitzero"`
}

// A SecurityGroupList is a list of SecurityGroups.
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
// +kubebuilder:validation:XValidation:rule="(has(self.ingress) ? self.ingress.size() : 0) + (has(self.egress) ? self.egress.size() : 0) <= 1000",message="ingress and egress have more than 1000 rules together: no host could wear the group"
// +kubebuilder:validation:XValidation:rule="(has(self.ingress) ? self.ingress.filter(r, has(r.peer.groupName)).size() : 0) + (has(self.egress) ? self.egress.filter(r, has(r.peer.groupName)).size() : 0) <= 20",message="more than 20 rules name a group as their peer: want CIDRs or prefix lists for some of them"
// +kubebuilder:validation:XValidation:rule="self.type != 'Advanced' || !has(self.ingress) || self.ingress.all(r, !has(r.peer.groupName))",message="an advanced group cannot name groups: use their addresses, by cidr or prefixListName",fieldPath=".ingress"
// +kubebuilder:validation:XValidation:rule="self.type != 'Advanced' || !has(self.egress) || self.egress.all(r, !has(r.peer.groupName))",message="an advanced group cannot name groups: use their addresses, by cidr or prefixListName",fieldPath=".egress"
// +kubebuilder:validation:XValidation:rule="self.type != 'Advanced' || !has(self.innerAccess) || self.innerAccess == 'Drop'",message="an advanced group has no inner access, members reach each other by rules only: want Drop, or leave it out",fieldPath=".innerAccess"
// +kubebuilder:validation:XValidation:rule="!has(self.provider) || !has(self.provider.type) || self.provider.type != 'AlibabaCloud' || !has(self.ingress) || self.ingress.all(r, string(r.protocol).upperAscii() in ['ALL', 'TCP', 'UDP', 'ICMP', 'ICMPV6', 'GRE', '1', '6', '17', '47', '58'])",message="alibaba cloud has rules for TCP, UDP, ICMP, ICMPv6, GRE and ALL only: use ALL, or keep the group on own hosts",fieldPath=".ingress"
// +kubebuilder:validation:XValidation:rule="!has(self.provider) || !has(self.provider.type) || self.provider.type != 'AlibabaCloud' || !has(self.egress) || self.egress.all(r, string(r.protocol).upperAscii() in ['ALL', 'TCP', 'UDP', 'ICMP', 'ICMPV6', 'GRE', '1', '6', '17', '47', '58'])",message="alibaba cloud has rules for TCP, UDP, ICMP, ICMPv6, GRE and ALL only: use ALL, or keep the group on own hosts",fieldPath=".egress"
type SecurityGroupSpec struct {
	// VPCName names the VPC that the group belongs to. Required, and never
	// changed.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: make another group, and let its users move there",reason="FieldValueForbidden"
	VPCName Name `json:"vpcName"`
	// Type is Basic or Advanced; empty means Basic. Never changed.
	// +kubebuilder:default=Basic
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: make another group, and let its users move there",reason="FieldValueForbidden"
	Type GroupType `json:"type,omitempty"`
	// InnerAccess Accept lets members reach each other before any rule is
	// tried. Empty means Accept for a basic group. An advanced group has none:
	// empty or Drop.
	InnerAccess InnerAccess `json:"innerAccess,omitempty"`
	// Ingress are the user's rules for flows from the peer to the member.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Ingress []Rule `json:"ingress,omitempty"`
	// Egress are the user's rules for flows from the member to the peer.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Egress []Rule `json:"egress,omitempty"`
	// Management says whether controllers add system rules; empty means Manual.
	// +kubebuilder:default=Manual
	Management Management `json:"management,omitempty"`
	// Provider says where the group is enforced. Nil means on own hosts.
	Provider *Provider `json:"provider,omitempty"`
}

// A SecurityGroupStatus is what the controllers know of a group.
type SecurityGroupStatus struct {
	// SystemIngress are the rules of the profile that the
	// group's clusters ask for, for ingress. They come before the user's.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	SystemIngress []SystemRule `json:"systemIngress,omitempty"`
	// SystemEgress are those for egress.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	SystemEgress []SystemRule `json:"systemEgress,omitempty"`
	// Members is the number of addresses that the members have.
	Members int32 `json:"members,omitempty"`
	// RuleCount is what the group counts for in a host's quota of 1,000: its
	// rules, with each prefix list for its MaxEntries.
	RuleCount int32 `json:"ruleCount,omitempty"`
	// Clusters are the clusters that use the group, by name.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Clusters []GroupUser `json:"clusters,omitempty"`
	// UsedBy is the same in one line, for people, with what else holds the
	// group: shop (workers), rules of group web, host node-1. What is too long
	// ends in dots.
	// +kubebuilder:validation:MaxLength=256
	UsedBy string `json:"usedBy,omitempty"`
	// Protected is true while the group cannot be deleted. Nil means that its
	// use was never computed, which protects it too.
	Protected *bool `json:"protected,omitempty"`
	// HeldRemovals are hosts whose addresses stay although they are gone,
	// because too many went at once. AnnotationReleaseRemovals lets them go.
	// +listType=map
	// +listMapKey=hostName
	// +kubebuilder:validation:MaxItems=1000
	HeldRemovals []HeldRemoval `json:"heldRemovals,omitempty"`
	// Conditions are what is true of it, one a type.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// A GroupUser is a cluster that uses a group.
type GroupUser struct {
	// Name is the cluster's name.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// NodePools are those of its node pools that use the group, by name. None
	// means that only the cluster itself does.
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=253
	NodePools []string `json:"nodePools,omitempty"`
}

// A HeldRemoval is a host that is gone and not let go.
type HeldRemoval struct {
	// HostName is the name that the host had.
	// +kubebuilder:validation:MaxLength=253
	HostName string `json:"hostName"`
	// Since is when it was seen gone.
	Since metav1.Time `json:"since"`
}

// A GroupType is Basic or Advanced (ECS: normal, enterprise).
//
// +kubebuilder:validation:Enum=Basic;Advanced
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
//
// +kubebuilder:validation:Enum=Accept;Drop
type InnerAccess string

// The two answers.
const (
	InnerAccessAccept InnerAccess = "Accept"
	InnerAccessDrop   InnerAccess = "Drop"
)

// A Management says who keeps the rules of a group.
//
// +kubebuilder:validation:Enum=Manual;Managed
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
// +kubebuilder:validation:XValidation:rule="has(self.type) && self.type == 'AlibabaCloud' || !has(self.regionID) && !has(self.id)",message="regionID and id go with type AlibabaCloud: a group on own hosts has neither"
type Provider struct {
	// Type is Hosts or AlibabaCloud; empty means Hosts.
	Type ProviderType `json:"type,omitempty"`
	// RegionID is the region of Alibaba Cloud, such as cn-hangzhou. Only for
	// AlibabaCloud.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	RegionID string `json:"regionID,omitempty"`
	// ID is the group's id there, such as sg-bp1; empty to make one. Only for
	// AlibabaCloud.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	ID string `json:"id,omitempty"`
}

// A ProviderType is a kind of place where groups are enforced.
//
// +kubebuilder:validation:Enum=Hosts;AlibabaCloud
type ProviderType string

// The kinds of provider.
const (
	// ProviderHosts enforces with nftables on the hosts that wear the group.
	ProviderHosts ProviderType = "Hosts"
	// ProviderAlibabaCloud enforces through Alibaba Cloud's API, which knows
	// fewer protocols.
	ProviderAlibabaCloud ProviderType = "AlibabaCloud"
)
