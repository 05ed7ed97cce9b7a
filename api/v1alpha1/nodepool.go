package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A NodePool is a set of a cluster's nodes that are alike.
type NodePool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec NodePoolSpec `json:"spec"`
	// Status is written by the controllers only.
	Status NodePoolStatus `json:"status,omitzero"`
}

// A NodePoolSpec says where the nodes of a pool live and which groups they wear.
type NodePoolSpec struct {
	// ClusterName names the cluster. Required, and never changed.
	ClusterName string `json:"clusterName"`
	// Subnets are the subnets of the cluster's VPC that the nodes live in, by
	// name. None means the node subnets of the cluster.
	Subnets []string `json:"subnets,omitempty"`
	// SecurityGroup says which groups the nodes wear. The zero value means the
	// cluster's group.
	SecurityGroup NodePoolSecurityGroup `json:"securityGroup,omitzero"`
	// Enforcement is what happens to flows that the rules drop; empty means
	// Enforce.
	Enforcement Enforcement `json:"enforcement,omitempty"`
}

// A NodePoolSecurityGroup is one of three: nothing for the cluster's group,
// Names for existing groups, or Type for a group of the pool's own.
type NodePoolSecurityGroup struct {
	// Names name existing SecurityGroups, 1 to 10 of one type.
	Names []string `json:"names,omitempty"`
	// Type asks for a new group of this type.
	Type GroupType `json:"type,omitempty"`
	// InnerAccess is that of the new group, as in a SecurityGroup. Only with Type.
	InnerAccess InnerAccess `json:"innerAccess,omitempty"`
	// Profile is the table that the new group is made from; empty means the
	// cluster's. Only with Type.
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
	SecurityGroupName string             `json:"securityGroupName,omitempty"`
	Conditions        []metav1.Condition `json:"conditions,omitempty"`
}
