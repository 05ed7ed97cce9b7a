package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A VPC is a private network with its subnets (vSwitches).
type VPC struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec VPCSpec `json:"spec"`
}

// A VPCSpec says which addresses a network has.
type VPCSpec struct {
	// CIDRBlock is the primary range. Required.
	CIDRBlock string `json:"cidrBlock"`
	// IPv6CIDRBlock is the primary IPv6 range of a dual-stack network.
	IPv6CIDRBlock string `json:"ipv6CIDRBlock,omitempty"`
	// SecondaryCIDRBlocks are ranges added later, of either family.
	SecondaryCIDRBlocks []string `json:"secondaryCIDRBlocks,omitempty"`
	// Subnets are disjoint parts of the ranges above; names are unique.
	Subnets []Subnet `json:"subnets,omitempty"`
}

// A Subnet is a part of a VPC in one zone.
type Subnet struct {
	// Name is what clusters and node pools call the subnet. Required.
	Name string `json:"name"`
	// CIDRBlock lies within one of the VPC's ranges. Required.
	CIDRBlock string `json:"cidrBlock"`
	// IPv6CIDRBlock lies within one of the VPC's IPv6 ranges.
	IPv6CIDRBlock string `json:"ipv6CIDRBlock,omitempty"`
	// Zone is where the subnet is, for people.
	Zone string `json:"zone,omitempty"`
}
