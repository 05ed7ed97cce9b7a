package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A Host is a machine that wears groups, and on which an agent enforces them.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=ringfence,shortName=ho
// +kubebuilder:printcolumn:name="Cluster",type=string,JSONPath=`.spec.clusterName`
// +kubebuilder:printcolumn:name="Pool",type=string,JSONPath=`.spec.nodePoolName`
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`
// +kubebuilder:printcolumn:name="Enforced",type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name="Roles",type=string,JSONPath=`.spec.roles`,priority=1
// +kubebuilder:printcolumn:name="Ruleset",type=string,JSONPath=`.status.rulesetName`,priority=1
// +kubebuilder:printcolumn:name="Since",type=date,JSONPath=`.status.rulesetSince`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:selectablefield:JSONPath=`.spec.clusterName`
// +kubebuilder:selectablefield:JSONPath=`.spec.nodePoolName`
type Host struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec HostSpec `json:"spec"`
	// Status is written by the host's agent and, for conditions that only
	// several objects together show, by the controllers.
	Status HostStatus `json:"status,omitzero"`
}

// A HostList is a list of Hosts.
//
// +kubebuilder:object:root=true
type HostList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []Host `json:"items"`
}

// A HostSpec says whose a host is and which groups it wears.
type HostSpec struct {
	// Addresses are the host's own, one by one. No two hosts share one.
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Addresses []Address `json:"addresses,omitempty"`
	// ClusterName names the cluster that the host is a node of; empty for that
	// of the node pool, or for a host outside every cluster.
	ClusterName Name `json:"clusterName,omitempty"`
	// NodePoolName names the node pool, one of the cluster's.
	NodePoolName Name `json:"nodePoolName,omitempty"`
	// SecurityGroupNames name groups beside those of the node pool. A host
	// wears at most 10 groups, all of one type.
	// +listType=set
	// +kubebuilder:validation:MaxItems=10
	SecurityGroupNames []Name `json:"securityGroupNames,omitempty"`
	// Roles say what runs on the host. Hosts with Etcd or APIServer change one
	// at a time.
	// +listType=set
	// +kubebuilder:validation:MaxItems=4
	Roles []HostRole `json:"roles,omitempty"`
	// Enforcement is what happens to flows that the rules drop; empty means
	// what the node pool says.
	Enforcement Enforcement `json:"enforcement,omitempty"`
}

// A HostRole is what a host is there for.
//
// +kubebuilder:validation:Enum=Worker;ControlPlane;APIServer;Etcd
type HostRole string

// The roles.
const (
	RoleWorker       HostRole = "Worker"
	RoleControlPlane HostRole = "ControlPlane"
	RoleAPIServer    HostRole = "APIServer"
	RoleEtcd         HostRole = "Etcd"
)

// A HostStatus is what the agent sees and does.
type HostStatus struct {
	// Addresses are those of the host's network interfaces. One counts as the
	// host's own only if it lies in the subnets of its node pool and no other
	// host has it: no host names itself into a group.
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Addresses []Address `json:"addresses,omitempty"`
	// ObservedRoles are the roles that the agent sees by what listens. They
	// add to those of the spec.
	// +listType=set
	// +kubebuilder:validation:MaxItems=4
	ObservedRoles []HostRole `json:"observedRoles,omitempty"`
	// RulesetName names the Ruleset that runs. Empty if none does.
	// +kubebuilder:validation:MaxLength=253
	RulesetName string `json:"rulesetName,omitempty"`
	// RulesetSince is when it was confirmed.
	RulesetSince *metav1.Time `json:"rulesetSince,omitempty"`
	// Probes are the results of the last trial, by name.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Probes []Probe `json:"probes,omitempty"`
	// DriftRepairs is how often somebody else changed the table and the agent
	// put it right, since the Ruleset runs.
	DriftRepairs int32 `json:"driftRepairs,omitempty"`
	// RollbackReason says why the last candidate was taken back, and names it:
	// that, with Enforced False for RolledBack, KeepCut or ApplyFailed, is how
	// the Rollout knows. Empty if it was not.
	// +kubebuilder:validation:MaxLength=1024
	RollbackReason string `json:"rollbackReason,omitempty"`
	// Conditions are what is true of it, one a type.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// A Probe is one check of connectivity after a change.
type Probe struct {
	// Name says what was probed, such as APIServer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Passed says whether it answered in time.
	Passed bool `json:"passed"`
	// Message says what went wrong. Empty if it passed.
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}
