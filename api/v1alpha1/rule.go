package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// A Rule lets flows pass or drops them. The rules of all groups on a host are
// tried by ascending priority, at equal priority those that drop first; the
// first that matches decides.
type Rule struct {
	// Policy is Accept or Drop; empty means Accept.
	Policy Policy `json:"policy,omitempty"`
	// Priority is 1 (tried first) to 100 (last). Nil means 1.
	Priority *int32 `json:"priority,omitempty"`
	// Protocol is ALL, TCP, UDP, ICMP, ICMPv6, GRE, SCTP, IPIP, ESP or VRRP, in
	// any case, or an IANA number from 0 to 255, as a number or as text.
	// Required.
	Protocol intstr.IntOrString `json:"protocol"`
	// Ports are the destination ports, FIRST/LAST with 1 <= FIRST <= LAST <=
	// 65535. Required for TCP, UDP and SCTP; for every other protocol empty or
	// -1/-1.
	Ports string `json:"ports,omitempty"`
	// Peer is who is on the other end. Required: there is no default.
	Peer Peer `json:"peer"`
	// MemberCIDR restricts the rule to some of the group's own addresses. Empty
	// means all of them. Of the same family as a peer's CIDR.
	MemberCIDR string `json:"memberCIDR,omitempty"`
	// SourcePorts restricts the rule to flows from these ports, as in Ports.
	// Empty means every port. Only for TCP, UDP and SCTP.
	SourcePorts string `json:"sourcePorts,omitempty"`
	// Description is for people; at most 512 characters.
	Description string `json:"description,omitempty"`
}

// A SystemRule is a rule that a controller wrote, with its reason.
type SystemRule struct {
	Rule `json:",inline"`
	// Row is the row of the profile that the rule comes from, such as AI-L3.
	Row string `json:"row,omitempty"`
}

// A Peer is who is on the other end of a rule. Exactly one field is set.
type Peer struct {
	// CIDR is a range of either family, or an address for that address alone.
	CIDR string `json:"cidr,omitempty"`
	// GroupName names a basic SecurityGroup and means the current addresses of
	// its members. Only for rules of basic groups, and never the group itself.
	GroupName string `json:"groupName,omitempty"`
	// PrefixListName names a PrefixList.
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
