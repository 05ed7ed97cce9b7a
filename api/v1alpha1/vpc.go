package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A VPC is a private network with its subnets (vSwitches).
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=ringfence
// +kubebuilder:printcolumn:name="CIDR",type=string,JSONPath=`.spec.cidrBlock`
// +kubebuilder:printcolumn:name="Secondary",type=string,JSONPath=`.spec.secondaryCIDRBlocks`
// +kubebuilder:printcolumn:name="IPv6",type=string,JSONPath=`.spec.ipv6CIDRBlock`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VPC struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec VPCSpec `json:"spec"`
}

// A VPCList is a list of VPCs.
//
// +kubebuilder:object:root=true
type VPCList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []VPC `json:"items"`
}

// A VPCSpec says which addresses a network has.
//
// +kubebuilder:validation:XValidation:rule="!has(self.secondaryCIDRBlocks) || !([self.cidrBlock] + (has(self.secondaryCIDRBlocks) ? self.secondaryCIDRBlocks : [])).all(c, isCIDR(c)) || ([self.cidrBlock] + (has(self.secondaryCIDRBlocks) ? self.secondaryCIDRBlocks : [])).all(a, ([self.cidrBlock] + (has(self.secondaryCIDRBlocks) ? self.secondaryCIDRBlocks : [])).exists_one(b, cidr(a).containsCIDR(b) || cidr(b).containsCIDR(a)))",message="the ranges of a VPC must be disjoint: one overlaps cidrBlock or another secondary one",fieldPath=".secondaryCIDRBlocks"
// +kubebuilder:validation:XValidation:rule="!has(self.ipv6CIDRBlock) || !([self.cidrBlock] + (has(self.secondaryCIDRBlocks) ? self.secondaryCIDRBlocks : []) + (has(self.ipv6CIDRBlock) ? [self.ipv6CIDRBlock] : [])).all(c, isCIDR(c)) || ([self.cidrBlock] + (has(self.secondaryCIDRBlocks) ? self.secondaryCIDRBlocks : [])).all(c, !cidr(c).containsCIDR(self.ipv6CIDRBlock) && !cidr(self.ipv6CIDRBlock).containsCIDR(c))",message="the ranges of a VPC must be disjoint: this one overlaps another",fieldPath=".ipv6CIDRBlock"
// +kubebuilder:validation:XValidation:rule="!has(self.subnets) || !([self.cidrBlock] + (has(self.secondaryCIDRBlocks) ? self.secondaryCIDRBlocks : []) + (has(self.ipv6CIDRBlock) ? [self.ipv6CIDRBlock] : [])).all(c, isCIDR(c)) || !self.subnets.all(s, isCIDR(s.cidrBlock) && (!has(s.ipv6CIDRBlock) || isCIDR(s.ipv6CIDRBlock))) || self.subnets.all(s, ([self.cidrBlock] + (has(self.secondaryCIDRBlocks) ? self.secondaryCIDRBlocks : []) + (has(self.ipv6CIDRBlock) ? [self.ipv6CIDRBlock] : [])).exists(c, cidr(c).containsCIDR(s.cidrBlock)) && (!has(s.ipv6CIDRBlock) || ([self.cidrBlock] + (has(self.secondaryCIDRBlocks) ? self.secondaryCIDRBlocks : []) + (has(self.ipv6CIDRBlock) ? [self.ipv6CIDRBlock] : [])).exists(c, cidr(c).containsCIDR(s.ipv6CIDRBlock))))",messageExpression="'subnet %s lies outside the VPC: want each subnet within cidrBlock, ipv6CIDRBlock or one of secondaryCIDRBlocks'.format([self.subnets.filter(s, !(([self.cidrBlock] + (has(self.secondaryCIDRBlocks) ? self.secondaryCIDRBlocks : []) + (has(self.ipv6CIDRBlock) ? [self.ipv6CIDRBlock] : [])).exists(c, cidr(c).containsCIDR(s.cidrBlock)) && (!has(s.ipv6CIDRBlock) || ([self.cidrBlock] + (has(self.secondaryCIDRBlocks) ? self.secondaryCIDRBlocks : []) + (has(self.ipv6CIDRBlock) ? [self.ipv6CIDRBlock] : [])).exists(c, cidr(c).containsCIDR(s.ipv6CIDRBlock)))))[0].name])",message="each subnet must lie within one of the ranges of the VPC",fieldPath=".subnets"
type VPCSpec struct {
	// CIDRBlock is the primary range. Required.
	CIDRBlock NetworkBlock `json:"cidrBlock"`
	// IPv6CIDRBlock is the primary IPv6 range of a dual-stack network.
	IPv6CIDRBlock IPv6Block `json:"ipv6CIDRBlock,omitempty"`
	// SecondaryCIDRBlocks are ranges added later, of either family.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	SecondaryCIDRBlocks []NetworkBlock `json:"secondaryCIDRBlocks,omitempty"`
	// Subnets are disjoint parts of the ranges above; names are unique. At most
	// 150: comparing each with each may cost the API server no more.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=150
	// +kubebuilder:validation:XValidation:rule="!self.all(s, isCIDR(s.cidrBlock)) || self.all(a, self.exists_one(b, cidr(a.cidrBlock).containsCIDR(b.cidrBlock) || cidr(b.cidrBlock).containsCIDR(a.cidrBlock)))",messageExpression="'subnet %s overlaps another one: each must have addresses of its own'.format([self.filter(a, !self.exists_one(b, cidr(a.cidrBlock).containsCIDR(b.cidrBlock) || cidr(b.cidrBlock).containsCIDR(a.cidrBlock)))[0].name])",message="subnets overlap: each must have addresses of its own"
	// +kubebuilder:validation:XValidation:rule="!self.all(s, isCIDR(s.cidrBlock) && (!has(s.ipv6CIDRBlock) || isCIDR(s.ipv6CIDRBlock))) || self.all(a, !has(a.ipv6CIDRBlock) || self.exists_one(b, (has(b.ipv6CIDRBlock) || b.cidrBlock.contains(':')) && (cidr((has(a.ipv6CIDRBlock) ? a.ipv6CIDRBlock : a.cidrBlock)).containsCIDR((has(b.ipv6CIDRBlock) ? b.ipv6CIDRBlock : b.cidrBlock)) || cidr((has(b.ipv6CIDRBlock) ? b.ipv6CIDRBlock : b.cidrBlock)).containsCIDR((has(a.ipv6CIDRBlock) ? a.ipv6CIDRBlock : a.cidrBlock)))))",messageExpression="'the IPv6 range of subnet %s overlaps that of another one: each must have addresses of its own'.format([self.filter(a, has(a.ipv6CIDRBlock) && !self.exists_one(b, (has(b.ipv6CIDRBlock) || b.cidrBlock.contains(':')) && (cidr((has(a.ipv6CIDRBlock) ? a.ipv6CIDRBlock : a.cidrBlock)).containsCIDR((has(b.ipv6CIDRBlock) ? b.ipv6CIDRBlock : b.cidrBlock)) || cidr((has(b.ipv6CIDRBlock) ? b.ipv6CIDRBlock : b.cidrBlock)).containsCIDR((has(a.ipv6CIDRBlock) ? a.ipv6CIDRBlock : a.cidrBlock)))))[0].name])",message="IPv6 ranges of subnets overlap: each must have addresses of its own"
	Subnets []Subnet `json:"subnets,omitempty"`
}

// A Subnet is a part of a VPC in one zone.
//
// +kubebuilder:validation:XValidation:rule="!has(self.ipv6CIDRBlock) || !self.cidrBlock.contains(':')",message="a subnet has one IPv6 range: want an IPv4 CIDR beside ipv6CIDRBlock",fieldPath=".cidrBlock"
type Subnet struct {
	// Name is what clusters and node pools call the subnet. Required.
	Name Name `json:"name"`
	// CIDRBlock lies within one of the VPC's ranges. Required.
	CIDRBlock Block `json:"cidrBlock"`
	// IPv6CIDRBlock lies within one of the VPC's IPv6 ranges.
	IPv6CIDRBlock IPv6Block `json:"ipv6CIDRBlock,omitempty"`
	// Zone is where the subnet is, for people.
	// +kubebuilder:validation:MaxLength=63
	Zone string `json:"zone,omitempty"`
}
