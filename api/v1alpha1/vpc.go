package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A VPC is a private network with its subnets (vSwitches).
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=vpcs,categories=ringfence
// +kubebuilder:printcolumn:name=CIDR,type=string,JSONPath=`.spec.cidrBlock`
// +kubebuilder:printcolumn:name=Secondary,type=string,JSONPath=`.spec.secondaryCIDRBlocks`,priority=1
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type VPC struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec VPCSpec `json:"spec"`
}

// A VPCList is several of them, as the API lists them.
//
// +kubebuilder:object:root=true
type VPCList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []VPC `json:"items"`
}

// A VPCSpec says which addresses a network has.
//
// +kubebuilder:validation:XValidation:rule="!has(self.subnets) || self.subnets.all(s, !isCIDR(s.cidrBlock) || (isCIDR(self.cidrBlock) && cidr(self.cidrBlock).containsCIDR(s.cidrBlock)) || (has(self.ipv6CIDRBlock) && isCIDR(self.ipv6CIDRBlock) && cidr(self.ipv6CIDRBlock).containsCIDR(s.cidrBlock)) || (has(self.secondaryCIDRBlocks) && self.secondaryCIDRBlocks.exists(c, isCIDR(c) && cidr(c).containsCIDR(s.cidrBlock))))",fieldPath=".subnets",message="a subnet lies outside the VPC: want it within cidrBlock, ipv6CIDRBlock or one of secondaryCIDRBlocks"
// +kubebuilder:validation:XValidation:rule="!has(self.subnets) || self.subnets.all(s, !isCIDR(s.cidrBlock) || self.subnets.all(t, s.name == t.name || !isCIDR(t.cidrBlock) || (!cidr(s.cidrBlock).containsCIDR(t.cidrBlock) && !cidr(t.cidrBlock).containsCIDR(s.cidrBlock))))",fieldPath=".subnets",message="subnets overlap"
type VPCSpec struct {
	// CIDRBlock is the primary range. Required.
	//
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="no CIDR: want one like 192.168.0.0/16"
	CIDRBlock string `json:"cidrBlock"`
	// IPv6CIDRBlock is the primary IPv6 range of a dual-stack network.
	//
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self).ip().family() == 6",message="no IPv6 CIDR: want one like 2001:db8::/56"
	IPv6CIDRBlock string `json:"ipv6CIDRBlock,omitempty"`
	// SecondaryCIDRBlocks are ranges added later, of either family.
	//
	// +kubebuilder:validation:MaxItems=5
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="no CIDR: want one like 10.10.0.0/16"
	SecondaryCIDRBlocks []string `json:"secondaryCIDRBlocks,omitempty"`
	// Subnets are disjoint parts of the ranges above; names are unique.
	//
	// +kubebuilder:validation:MaxItems=250
	// +listType=map
	// +listMapKey=name
	Subnets []Subnet `json:"subnets,omitempty"`
}

// A Subnet is a part of a VPC in one zone.
type Subnet struct {
	// Name is what clusters and node pools call the subnet. Required.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// CIDRBlock lies within one of the VPC's ranges. Required.
	//
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="no CIDR: want one like 192.168.0.0/16"
	CIDRBlock string `json:"cidrBlock"`
	// IPv6CIDRBlock lies within one of the VPC's IPv6 ranges.
	//
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self).ip().family() == 6",message="no IPv6 CIDR: want one like 2001:db8:0:1::/64"
	IPv6CIDRBlock string `json:"ipv6CIDRBlock,omitempty"`
	// Zone is where the subnet is, for people.
	Zone string `json:"zone,omitempty"`
}
