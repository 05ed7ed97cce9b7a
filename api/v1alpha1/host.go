package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A Host is a machine that wears groups, and on which an agent enforces them.
type Host struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec HostSpec `json:"spec"`
	// Status is written by the host's agent only.
	Status HostStatus `json:"status,omitzero"`
}

// A HostSpec says whose a host is and which groups it wears.
type HostSpec struct {
	// Addresses are the host's own, one by one. No two hosts share one.
	Addresses []string `json:"addresses,omitempty"`
	// ClusterName names the cluster that the host is a node of; empty for that
	// of the node pool, or for a host outside every cluster.
	ClusterName string `json:"clusterName,omitempty"`
	// NodePoolName names the node pool, one of the cluster's.
	NodePoolName string `json:"nodePoolName,omitempty"`
	// SecurityGroupNames name groups beside those of the node pool. A host
	// wears at most 10 groups, all of one type.
	SecurityGroupNames []string `json:"securityGroupNames,omitempty"`
	// Roles say what runs on the host. Hosts with Etcd or APIServer change one
	// at a time.
	Roles []HostRole `json:"roles,omitempty"`
	// Enforcement is what happens to flows that the rules drop; empty means
	// what the node pool says.
	Enforcement Enforcement `json:"enforcement,omitempty"`
}

// A HostRole is what a host is there for.
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
	Addresses []string `json:"addresses,omitempty"`
	// ObservedRoles are the roles that the agent sees by what listens. They
	// add to those of the spec.
	ObservedRoles []HostRole `json:"observedRoles,omitempty"`
	// RulesetName names the Ruleset that runs. Empty if none does.
	RulesetName string `json:"rulesetName,omitempty"`
	// RulesetSince is when it was confirmed.
	RulesetSince *metav1.Time `json:"rulesetSince,omitempty"`
	// Probes are the results of the last trial, by name.
	Probes []Probe `json:"probes,omitempty"`
	// DriftRepairs is how often somebody else changed the table and the agent
	// put it right, since the Ruleset runs.
	DriftRepairs int32 `json:"driftRepairs,omitempty"`
	// RollbackReason says why the last candidate was taken back. Empty if it
	// was not.
	RollbackReason string             `json:"rollbackReason,omitempty"`
	Conditions     []metav1.Condition `json:"conditions,omitempty"`
}

// A Probe is one check of connectivity after a change.
type Probe struct {
	// Name says what was probed, such as APIServer.
	Name string `json:"name"`
	// Passed says whether it answered in time.
	Passed bool `json:"passed"`
	// Message says what went wrong. Empty if it passed.
	Message string `json:"message,omitempty"`
}
