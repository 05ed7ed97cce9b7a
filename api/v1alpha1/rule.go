package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// A Rule lets flows pass or drops them. The rules of all groups on a host are
// tried by ascending priority, at equal priority those that drop first; the
// first that matches decides.
//
// +kubebuilder:validation:XValidation:rule="string(self.protocol).upperAscii() in ['TCP', 'UDP', 'SCTP', '6', '17', '132'] ? has(self.ports) && self.ports.size() > 0 && self.ports != '-1/-1' : true",message="TCP, UDP and SCTP must name their ports: want FIRST/LAST such as 443/443, or 1/65535 for all",fieldPath=".ports"
// +kubebuilder:validation:XValidation:rule="string(self.protocol).upperAscii() in ['TCP', 'UDP', 'SCTP', '6', '17', '132'] || !has(self.ports) || self.ports.size() == 0 || self.ports == '-1/-1'",message="only TCP, UDP and SCTP have ports: want -1/-1, or leave ports out",fieldPath=".ports"
// +kubebuilder:validation:XValidation:rule="string(self.protocol).upperAscii() in ['TCP', 'UDP', 'SCTP', '6', '17', '132'] || !has(self.sourcePorts) || self.sourcePorts.size() == 0 || self.sourcePorts == '-1/-1'",message="only TCP, UDP and SCTP have ports: leave sourcePorts out",fieldPath=".sourcePorts"
// +kubebuilder:validation:XValidation:rule="!has(self.peer.cidr) || !(string(self.protocol).upperAscii() in ['ICMP', '1']) || !self.peer.cidr.contains(':')",message="protocol ICMP goes with IPv4 peers: use ICMPv6 for IPv6",fieldPath=".peer.cidr"
// +kubebuilder:validation:XValidation:rule="!has(self.peer.cidr) || !(string(self.protocol).upperAscii() in ['ICMPV6', '58']) || self.peer.cidr.contains(':')",message="protocol ICMPv6 goes with IPv6 peers: use ICMP for IPv4",fieldPath=".peer.cidr"
// +kubebuilder:validation:XValidation:rule="!has(self.memberCIDR) || !(string(self.protocol).upperAscii() in ['ICMP', '1']) || !self.memberCIDR.contains(':')",message="protocol ICMP goes with IPv4 members: use ICMPv6 for IPv6",fieldPath=".memberCIDR"
// +kubebuilder:validation:XValidation:rule="!has(self.memberCIDR) || !(string(self.protocol).upperAscii() in ['ICMPV6', '58']) || self.memberCIDR.contains(':')",message="protocol ICMPv6 goes with IPv6 members: use ICMP for IPv4",fieldPath=".memberCIDR"
// +kubebuilder:validation:XValidation:rule="!has(self.memberCIDR) || !has(self.peer.cidr) || self.memberCIDR.contains(':') == self.peer.cidr.contains(':')",message="peer and member must be of one address family: no packet has both",fieldPath=".memberCIDR"
type Rule struct {
	// Policy is Accept or Drop; empty means Accept.
	Policy Policy `json:"policy,omitempty"`
	// Priority is 1 (tried first) to 100 (last). Nil means 1.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Priority *int32 `json:"priority,omitempty"`
	// Protocol is ALL, TCP, UDP, ICMP, ICMPv6, GRE, SCTP, IPIP, ESP or VRRP, in
	// any case, or an IANA number from 0 to 255, as a number or as text.
	// Required.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=6
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? 0 <= self && self <= 255 : self.upperAscii() in ['ALL', 'TCP', 'UDP', 'ICMP', 'ICMPV6', 'GRE', 'SCTP', 'IPIP', 'ESP', 'VRRP'] || self.matches('^(0|[1-9][0-9]{0,2})$') && int(self) <= 255",message="want ALL, TCP, UDP, ICMP, ICMPv6, GRE, SCTP, IPIP, ESP, VRRP or a number from 0 to 255"
	Protocol intstr.IntOrString `json:"protocol"`
	// Ports are the destination ports, FIRST/LAST with 1 <= FIRST <= LAST <=
	// 65535. Required for TCP, UDP and SCTP; for every other protocol empty or
	// -1/-1.
	Ports PortRange `json:"ports,omitempty"`
	// Peer is who is on the other end. Required: there is no default.
	Peer Peer `json:"peer"`
	// MemberCIDR restricts the rule to some of the group's own addresses. Empty
	// means all of them. Of the same family as a peer's CIDR.
	MemberCIDR CIDR `json:"memberCIDR,omitempty"`
	// SourcePorts restricts the rule to flows from these ports, as in Ports.
	// Empty means every port. Only for TCP, UDP and SCTP.
	SourcePorts PortRange `json:"sourcePorts,omitempty"`
	// Description is for people; at most 512 characters.
	// +kubebuilder:validation:MaxLength=512
	Description string `json:"description,omitempty"`
}

// A SystemRule is a rule that a controller wrote, with its reason.
type SystemRule struct {
	Rule `json:",inline"`
	// Row is the row of the profile that the rule comes from, such as AI-L3.
	// +kubebuilder:validation:MaxLength=63
	Row string `json:"row,omitempty"`
}

// A Peer is who is on the other end of a rule. Exactly one field is set.
//
// +kubebuilder:validation:XValidation:rule="[has(self.cidr), has(self.groupName), has(self.prefixListName)].filter(x, x).size() == 1",message="want exactly one of cidr, groupName and prefixListName: there is no default"
type Peer struct {
	// CIDR is a range of either family, or an address for that address alone.
	CIDR CIDR `json:"cidr,omitempty"`
	// GroupName names a basic SecurityGroup and means the current addresses of
	// its members. Only for rules of basic groups, and never the group itself.
	GroupName Name `json:"groupName,omitempty"`
	// PrefixListName names a PrefixList.
	PrefixListName Name `json:"prefixListName,omitempty"`
}

// A Policy is what a rule does with the flows that it matches.
//
// +kubebuilder:validation:Enum=Accept;Drop
type Policy string

// The policies.
const (
	PolicyAccept Policy = "Accept"
	PolicyDrop   Policy = "Drop"
)

// A Direction says which way a flow goes, seen from the host.
//
// +kubebuilder:validation:Enum=Ingress;Egress
type Direction string

// The directions.
const (
	DirectionIngress Direction = "Ingress"
	DirectionEgress  Direction = "Egress"
)
