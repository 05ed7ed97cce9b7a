package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A NodePool is a set of a cluster's nodes that are alike.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=ringfence,shortName=np
// +kubebuilder:printcolumn:name="Cluster",type=string,JSONPath=`.spec.clusterName`
// +kubebuilder:printcolumn:name="Groups",type=string,JSONPath=`.status.effectiveSecurityGroupNames`
// +kubebuilder:printcolumn:name="Enforcement",type=string,JSONPath=`.spec.enforcement`
// +kubebuilder:printcolumn:name="Hosts",type=integer,JSONPath=`.status.hosts`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:selectablefield:JSONPath=`.spec.clusterName`
type NodePool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec NodePoolSpec `json:"spec"`
	// Status is written by the controllers only.
	Status NodePoolStatus `json:"status,omitzero"`
}

// A NodePoolList is a list of NodePools.
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
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: make another node pool",reason="FieldValueForbidden"
	ClusterName Name `json:"clusterName"`
	// Subnets are the subnets of the cluster's VPC that the nodes live in, by
	// name. None means the node subnets of the cluster.
	// +listType=set
	// +kubebuilder:validation:MaxItems=200
	Subnets []Name `json:"subnets,omitempty"`
	// SecurityGroup says which groups the nodes wear. The zero value means the
	// cluster's group.
	SecurityGroup NodePoolSecurityGroup `json:"securityGroup,omitzero"`
	// Enforcement is what happens to flows that the rules drop; empty means
	// Enforce.
	// +kubebuilder:default=Enforce
	Enforcement Enforcement `json:"enforcement,omitempty"`
}

// A NodePoolSecurityGroup is one of three: nothing for the cluster's group,
// Names for existing groups, or Type for a group of the pool's own.
//
// +kubebuilder:validation:XValidation:rule="!has(self.names) || self.names.size() == 0 || !has(self.type) && !has(self.innerAccess) && !has(self.profile)",message="names stands for existing groups, type, innerAccess and profile for a new one: want one or the other"
// +kubebuilder:validation:XValidation:rule="has(self.type) || has(self.names) || !has(self.innerAccess) && !has(self.profile)",message="innerAccess and profile go with a type: want Basic or Advanced for a group of the pool's own, or {} for the cluster's",fieldPath=".type"
// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'Advanced' || !has(self.innerAccess) || self.innerAccess == 'Drop'",message="an advanced group has no inner access, members reach each other by rules only: want Drop, or leave it out",fieldPath=".innerAccess"
// +kubebuilder:validation:XValidation:rule="!has(self.type) || !has(oldSelf.type) || self.type == oldSelf.type",message="cannot be changed: name an existing group of the other type instead",fieldPath=".type",reason="FieldValueForbidden"
type NodePoolSecurityGroup struct {
	// Names name existing SecurityGroups, 1 to 10 of one type.
	// +listType=set
	// +kubebuilder:validation:MaxItems=10
	Names []Name `json:"names,omitempty"`
	// Type asks for a new group of this type. Never changed to the other one.
	Type GroupType `json:"type,omitempty"`
	// InnerAccess is that of the new group, as in a SecurityGroup. Only with Type.
	// Once the group is made, its own spec says.
	InnerAccess InnerAccess `json:"innerAccess,omitempty"`
	// Profile is the table that the new group is made from; empty means the
	// cluster's. Only with Type.
	Profile Profile `json:"profile,omitempty"`
}

// An Enforcement is what happens to flows that the rules drop.
//
// +kubebuilder:validation:Enum=Enforce;Observe
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
	// +kubebuilder:validation:MaxLength=253
	SecurityGroupName string `json:"securityGroupName,omitempty"`
	// EffectiveSecurityGroupNames name the groups that the nodes wear, sorted:
	// the cluster's, the named ones or the pool's own.
	// +listType=set
	// +kubebuilder:validation:MaxItems=10
	EffectiveSecurityGroupNames []Name `json:"effectiveSecurityGroupNames,omitempty"`
	// Hosts is the number of hosts that name the pool.
	Hosts int32 `json:"hosts,omitempty"`
	// Conditions are what is true of it, one a type.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
