package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A Ruleset is what a host enforces that wears a certain set of groups: their
// rules in the order in which they are tried. It is never changed, since its
// name is its content: the first 40 hexadecimal digits of the SHA-256 of the
// spec as JSON. Controllers write it, agents read it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=ringfence,shortName=rset
// +kubebuilder:printcolumn:name="Groups",type=string,JSONPath=`.spec.securityGroupNames`
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[0-9a-f]{40}$')",message="a Ruleset is named by its content: want the first 40 hexadecimal digits of the SHA-256 of its spec"
type Ruleset struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// Spec is never changed.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a Ruleset cannot be changed: make another one, with a name of its own",reason="FieldValueForbidden"
	Spec RulesetSpec `json:"spec"`
}

// A RulesetList is a list of Rulesets.
//
// +kubebuilder:object:root=true
type RulesetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []Ruleset `json:"items"`
}

// A RulesetSpec is the merged rules of a set of groups.
//
// +kubebuilder:validation:XValidation:rule="(has(self.ingress) ? self.ingress.size() : 0) + (has(self.egress) ? self.egress.size() : 0) <= 1000",message="ingress and egress have more than 1000 rules together"
// +kubebuilder:validation:XValidation:rule="self.type != 'Advanced' || !has(self.innerAccessGroupNames)",message="advanced groups have no inner access",fieldPath=".innerAccessGroupNames"
// +kubebuilder:validation:XValidation:rule="!has(self.innerAccessGroupNames) || self.innerAccessGroupNames.all(g, g in self.securityGroupNames)",message="want some of securityGroupNames",fieldPath=".innerAccessGroupNames"
// +kubebuilder:validation:XValidation:rule="self.type != 'Advanced' || !has(self.ingress) || self.ingress.all(r, !has(r.groupName))",message="rules of advanced groups name no groups",fieldPath=".ingress"
// +kubebuilder:validation:XValidation:rule="self.type != 'Advanced' || !has(self.egress) || self.egress.all(r, !has(r.groupName))",message="rules of advanced groups name no groups",fieldPath=".egress"
type RulesetSpec struct {
	// SecurityGroupNames name the groups, sorted. Required, 1 to 10.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	SecurityGroupNames []Name `json:"securityGroupNames"`
	// Type is the one type of all of them, which decides what happens to
	// egress that no rule matches. Required.
	Type GroupType `json:"type"`
	// InnerAccessGroupNames name those of the groups whose members reach each
	// other before any rule is tried, sorted.
	// +listType=set
	// +kubebuilder:validation:MaxItems=10
	InnerAccessGroupNames []Name `json:"innerAccessGroupNames,omitempty"`
	// Ingress are the rules for flows to the host, first the one that is tried
	// first.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Ingress []RulesetRule `json:"ingress,omitempty"`
	// Egress are the rules for flows from the host, in the same order.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Egress []RulesetRule `json:"egress,omitempty"`
	// Keep are the flows that no host may lose: an agent refuses a ruleset or
	// a membership that cuts one.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Keep []KeepFlow `json:"keep,omitempty"`
}

// A RulesetRule is a rule with nothing left to look up but the members of
// groups.
//
// +kubebuilder:validation:XValidation:rule="has(self.cidrs) != has(self.groupName)",message="want exactly one of cidrs and groupName"
// +kubebuilder:validation:XValidation:rule="(string(self.protocol).upperAscii() in ['TCP', 'UDP', 'SCTP', '6', '17', '132']) == (has(self.ports) && self.ports.size() > 0 && self.ports != '-1/-1')",message="TCP, UDP and SCTP must name their ports, and only they have any",fieldPath=".ports"
type RulesetRule struct {
	// By is the rule that this one comes from, as verdicts name it:
	// GROUP/ingress/N or GROUP/egress/N, counted from 1, system rules first.
	// Required.
	// +kubebuilder:validation:MaxLength=275
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9.-]+/(ingress|egress)/[1-9][0-9]*$')",message="want GROUP/ingress/N or GROUP/egress/N"
	By string `json:"by"`
	// Policy is Accept or Drop. Required.
	Policy Policy `json:"policy"`
	// Priority is 1 (tried first) to 100 (last). Required.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Priority int32 `json:"priority"`
	// Protocol is as in a Rule. Required.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=6
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? 0 <= self && self <= 255 : self.upperAscii() in ['ALL', 'TCP', 'UDP', 'ICMP', 'ICMPV6', 'GRE', 'SCTP', 'IPIP', 'ESP', 'VRRP'] || self.matches('^(0|[1-9][0-9]{0,2})$') && int(self) <= 255",message="want ALL, TCP, UDP, ICMP, ICMPv6, GRE, SCTP, IPIP, ESP, VRRP or a number from 0 to 255"
	Protocol intstr.IntOrString `json:"protocol"`
	// Ports are as in a Rule.
	Ports PortRange `json:"ports,omitempty"`
	// CIDRs are the peer's addresses: one, or all entries of a prefix list. A
	// list without entries leaves no rule.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=200
	CIDRs []CIDR `json:"cidrs,omitempty"`
	// PrefixListName names the list that the CIDRs come from. Empty for others.
	PrefixListName Name `json:"prefixListName,omitempty"`
	// GroupName names the group whose AddressSlices are the peer.
	GroupName Name `json:"groupName,omitempty"`
	// MemberCIDR is as in a Rule.
	MemberCIDR CIDR `json:"memberCIDR,omitempty"`
	// SourcePorts are as in a Rule.
	SourcePorts PortRange `json:"sourcePorts,omitempty"`
}

// A KeepFlow is a flow that certain hosts may not lose.
//
// +kubebuilder:validation:XValidation:rule="has(self.cidrs) != has(self.groupName)",message="want exactly one of cidrs and groupName"
// +kubebuilder:validation:XValidation:rule="(string(self.protocol).upperAscii() in ['TCP', 'UDP', 'SCTP', '6', '17', '132']) == (has(self.ports) && self.ports.size() > 0 && self.ports != '-1/-1')",message="TCP, UDP and SCTP must name their ports, and only they have any",fieldPath=".ports"
type KeepFlow struct {
	// Row is the row of the profile that says why, such as AI-L3. Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Row string `json:"row"`
	// ClusterName names the cluster whose hosts need the flow. Empty means all
	// hosts that run the Ruleset.
	ClusterName Name `json:"clusterName,omitempty"`
	// Roles are those of the hosts that need it, one of them. None means all.
	// +listType=set
	// +kubebuilder:validation:MaxItems=4
	Roles []HostRole `json:"roles,omitempty"`
	// Direction is seen from the host. Required.
	Direction Direction `json:"direction"`
	// Protocol is as in a Rule. Required.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=6
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? 0 <= self && self <= 255 : self.upperAscii() in ['ALL', 'TCP', 'UDP', 'ICMP', 'ICMPV6', 'GRE', 'SCTP', 'IPIP', 'ESP', 'VRRP'] || self.matches('^(0|[1-9][0-9]{0,2})$') && int(self) <= 255",message="want ALL, TCP, UDP, ICMP, ICMPv6, GRE, SCTP, IPIP, ESP, VRRP or a number from 0 to 255"
	Protocol intstr.IntOrString `json:"protocol"`
	// Ports are as in a Rule.
	Ports PortRange `json:"ports,omitempty"`
	// CIDRs are who is on the other end.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=200
	CIDRs []CIDR `json:"cidrs,omitempty"`
	// GroupName names the group whose members are on the other end.
	GroupName Name `json:"groupName,omitempty"`
}
