package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// A Rule lets flows pass or drops them. The rules of all groups on a host are
// tried by ascending priority, at equal priority those that drop first; the
// first that matches decides.
//
// +kubebuilder:validation:XValidation:rule="type(self.protocol) == int ? self.protocol >= 0 && self.protocol <= 255 : self.protocol in ['ALL', 'TCP', 'UDP', 'ICMP', 'ICMPv6', 'GRE', 'SCTP', 'IPIP', 'ESP', 'VRRP']",fieldPath=".protocol",message="unknown protocol: want ALL, TCP, UDP, ICMP, ICMPv6, GRE, SCTP, IPIP, ESP, VRRP, or a number from 0 to 255"
// +kubebuilder:validation:XValidation:rule="(self.protocol in ['TCP', 'UDP', 'SCTP'] || self.protocol in [6, 17, 132]) ? has(self.ports) && self.ports != '-1/-1' : !has(self.ports) || self.ports == '-1/-1'",fieldPath=".ports",message="TCP, UDP and SCTP must name ports, FIRST/LAST such as 443/443; every other protocol has none, -1/-1 or nothing"
// +kubebuilder:validation:XValidation:rule="!has(self.sourcePorts) || ((self.protocol in ['TCP', 'UDP', 'SCTP'] || self.protocol in [6, 17, 132]) && self.sourcePorts != '-1/-1')",fieldPath=".sourcePorts",message="source ports go with TCP, UDP and SCTP, FIRST/LAST such as 1024/65535"
// +kubebuilder:validation:XValidation:rule="!has(self.ports) || self.ports == '-1/-1' || (int(self.ports.split('/')[0]) <= int(self.ports.split('/')[1]) && int(self.ports.split('/')[1]) <= 65535)",fieldPath=".ports",message="want FIRST/LAST with 1 <= FIRST <= LAST <= 65535"
// +kubebuilder:validation:XValidation:rule="!has(self.sourcePorts) || self.sourcePorts == '-1/-1' || (int(self.sourcePorts.split('/')[0]) <= int(self.sourcePorts.split('/')[1]) && int(self.sourcePorts.split('/')[1]) <= 65535)",fieldPath=".sourcePorts",message="want FIRST/LAST with 1 <= FIRST <= LAST <= 65535"
// +kubebuilder:validation:XValidation:rule="!has(self.peer.cidr) || !(self.protocol in ['ICMP'] || self.protocol in [1]) || !self.peer.cidr.contains(':')",fieldPath=".peer",message="ICMP goes with IPv4 peers: use ICMPv6"
// +kubebuilder:validation:XValidation:rule="!has(self.peer.cidr) || !(self.protocol in ['ICMPv6'] || self.protocol in [58]) || self.peer.cidr.contains(':')",fieldPath=".peer",message="ICMPv6 goes with IPv6 peers: use ICMP"
// +kubebuilder:validation:XValidation:rule="!has(self.peer.cidr) || !has(self.memberCIDR) || self.peer.cidr.contains(':') == self.memberCIDR.contains(':')",fieldPath=".memberCIDR",message="of another address family than the peer"
type Rule struct {
	// Policy is Accept or Drop; empty means Accept.
	//
	// +kubebuilder:validation:Enum=Accept;Drop
	Policy Policy `json:"policy,omitempty"`
	// Priority is 1 (tried first) to 100 (last). Nil means 1.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Priority *int32 `json:"priority,omitempty"`
	// Protocol is ALL, TCP, UDP, ICMP, ICMPv6, GRE, SCTP, IPIP, ESP or VRRP, or
	// an IANA number from 0 to 255. Required. (Files may write names in any case
	// and numbers as text.)
	Protocol intstr.IntOrString `json:"protocol"`
	// Ports are the destination ports, FIRST/LAST with 1 <= FIRST <= LAST <=
	// 65535. Required for TCP, UDP and SCTP; for every other protocol empty or
	// -1/-1.
	//
	// +kubebuilder:validation:MaxLength=11
	// +kubebuilder:validation:Pattern=`^(-1/-1|[1-9][0-9]{0,4}/[1-9][0-9]{0,4})$`
	Ports string `json:"ports,omitempty"`
	// Peer is who is on the other end. Required: there is no default.
	Peer Peer `json:"peer"`
	// MemberCIDR restricts the rule to some of the group's own addresses. Empty
	// means all of them. Of the same family as a peer's CIDR.
	//
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) || isIP(self)",message="no CIDR: want one like 10.0.0.0/8 or 2001:db8::/32, or an address"
	MemberCIDR string `json:"memberCIDR,omitempty"`
	// SourcePorts restricts the rule to flows from these ports, as in Ports.
	// Empty means every port. Only for TCP, UDP and SCTP.
	//
	// +kubebuilder:validation:MaxLength=11
	// +kubebuilder:validation:Pattern=`^[1-9][0-9]{0,4}/[1-9][0-9]{0,4}$`
	SourcePorts string `json:"sourcePorts,omitempty"`
	// Description is for people; at most 512 characters.
	//
	// +kubebuilder:validation:MaxLength=512
	Description string `json:"description,omitempty"`
}

// A SystemRule is a rule that a controller wrote, with its reason.
type SystemRule struct {
	Rule `json:",inline"`
	// Row is the row of the profile that the rule comes from, such as AI-L3.
	//
	// +kubebuilder:validation:MaxLength=32
	Row string `json:"row,omitempty"`
}

// A Peer is who is on the other end of a rule. Exactly one field is set.
//
// +kubebuilder:validation:XValidation:rule="(has(self.cidr) ? 1 : 0) + (has(self.groupName) ? 1 : 0) + (has(self.prefixListName) ? 1 : 0) == 1",message="want one of cidr, groupName and prefixListName; there is no default"
type Peer struct {
	// CIDR is a range of either family, or an address for that address alone.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) || isIP(self)",message="no CIDR: want one like 10.0.0.0/8 or 2001:db8::/32, or an address"
	CIDR string `json:"cidr,omitempty"`
	// GroupName names a basic SecurityGroup and means the current addresses of
	// its members. Only for rules of basic groups, and never the group itself.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	GroupName string `json:"groupName,omitempty"`
	// PrefixListName names a PrefixList.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	PrefixListName string `json:"prefixListName,omitempty"`
}

// A Policy is what a rule does with the flows that it matches.
type Policy string

// The policies.
const (
	PolicyAccept Policy = "Accept"
	PolicyDrop   Policy = "Drop"
)

// A Direction says which way a flow goes, seen from the host.
type Direction string

// The directions.
const (
	DirectionIngress Direction = "Ingress"
	DirectionEgress  Direction = "Egress"
)
