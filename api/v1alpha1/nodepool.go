package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A NodePool is a set of a cluster's nodes that are alike.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=np,categories=ringfence
// +kubebuilder:printcolumn:name=Cluster,type=string,JSONPath=`.spec.clusterName`
// +kubebuilder:printcolumn:name=Groups,type=string,JSONPath=`.spec.securityGroup.names`
// +kubebuilder:printcolumn:name=Own,type=string,JSONPath=`.status.securityGroupName`
// +kubebuilder:printcolumn:name=Enforcement,type=string,JSONPath=`.spec.enforcement`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type NodePool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec NodePoolSpec `json:"spec"`
	// Status is written by the controllers only.
	Status NodePoolStatus `json:"status,omitzero"`
}

// A NodePoolList is several of them, as the API lists them.
//
// +kubebuilder:object:root=true
type NodePoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []NodePool `json:"items"`
}

// A NodePoolSpec says where the nodes of a pool live and which groups they wear.
type NodePoolSpec struct {
	// ClusterName names the cluster. Required, and never changed.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a node pool never moves to another cluster"
	ClusterName string `json:"clusterName"`
	// Subnets are the subnets of the cluster's VPC that the nodes live in, by
	// name. None means the node subnets of the cluster.
	//
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Subnets []string `json:"subnets,omitempty"`
	// SecurityGroup says which groups the nodes wear. The zero value means the
	// cluster's group.
	SecurityGroup NodePoolSecurityGroup `json:"securityGroup,omitzero"`
	// Enforcement is what happens to flows that the rules drop; empty means
	// Enforce.
	//
	// +kubebuilder:validation:Enum=Enforce;Observe
	Enforcement Enforcement `json:"enforcement,omitempty"`
}

// A NodePoolSecurityGroup is one of three: nothing for the cluster's group,
// Names for existing groups, or Type for a group of the pool's own.
//
// +kubebuilder:validation:XValidation:rule="!has(self.names) || self.names.size() == 0 || (!has(self.type) && !has(self.innerAccess) && !has(self.profile))",message="names stands for existing groups, type, innerAccess and profile for a new one: want one or the other"
// +kubebuilder:validation:XValidation:rule="has(self.type) || (!has(self.innerAccess) && !has(self.profile))",fieldPath=".type",message="innerAccess and profile go with a type"
// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'Advanced' || !has(self.innerAccess) || self.innerAccess == 'Drop'",fieldPath=".innerAccess",message="an advanced group has no inner access"
type NodePoolSecurityGroup struct {
	// Names name existing SecurityGroups, 1 to 10 of one type.
	//
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Names []string `json:"names,omitempty"`
	// Type asks for a new group of this type.
	//
	// +kubebuilder:validation:Enum=Basic;Advanced
	Type GroupType `json:"type,omitempty"`
	// InnerAccess is that of the new group, as in a SecurityGroup. Only with Type.
	//
	// +kubebuilder:validation:Enum=Accept;Drop
	InnerAccess InnerAccess `json:"innerAccess,omitempty"`
	// Profile is the table that the new group is made from; empty means the
	// cluster's. Only with Type.
	//
	// +kubebuilder:validation:Enum=Recommended;LeastPrivilege
	Profile Profile `json:"profile,omitempty"`
}

// An Enforcement is what happens to flows that the rules drop.
type Enforcement string

// The two ways.
const (
	// EnforcementEnforce drops them.
	EnforcementEnforce Enforcement = "Enforce"
	// EnforcementObserve counts and logs them, and lets them pass.
	EnforcementObserve Enforcement = "Observe"
)

// A NodePoolStatus is what the controllers know of a node pool.
type NodePoolStatus struct {
	// SecurityGroupName names the group that was made for the pool. Empty
	// unless the spec asks for one, and until there is one.
	SecurityGroupName string `json:"securityGroupName,omitempty"`
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
