package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A Rollout says which Ruleset each host runs that wears a certain set of
// groups. There is one for each set that some host wears, named by it: the
// first 40 hexadecimal digits of the SHA-256 of the sorted names, each with a
// line feed behind it. Controllers write it, agents watch it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=ringfence,shortName=ro
// +kubebuilder:printcolumn:name="Groups",type=string,JSONPath=`.spec.securityGroupNames`
// +kubebuilder:printcolumn:name="Step",type=string,JSONPath=`.status.step`
// +kubebuilder:printcolumn:name="Confirmed",type=integer,JSONPath=`.status.confirmed`
// +kubebuilder:printcolumn:name="Hosts",type=integer,JSONPath=`.status.hosts`
// +kubebuilder:printcolumn:name="Settled",type=string,JSONPath=`.status.conditions[?(@.type=="Settled")].status`
// +kubebuilder:printcolumn:name="Stable",type=string,JSONPath=`.spec.stableRulesetName`,priority=1
// +kubebuilder:printcolumn:name="Candidate",type=string,JSONPath=`.spec.candidateRulesetName`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[0-9a-f]{40}$')",message="a Rollout is named by its set of groups: want the first 40 hexadecimal digits of the SHA-256 of their sorted names"
type Rollout struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec RolloutSpec `json:"spec"`
	// Status counts confirmations.
	Status RolloutStatus `json:"status,omitzero"`
}

// A RolloutList is a list of Rollouts.
//
// +kubebuilder:object:root=true
type RolloutList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []Rollout `json:"items"`
}

// A RolloutSpec says who runs what. A host runs the candidate if there is one
// and the bound or criticalHostNames say so, and else the stable one.
//
// +kubebuilder:validation:XValidation:rule="has(self.stableRulesetName) || has(self.candidateRulesetName)",message="want a stableRulesetName, or a candidateRulesetName to begin with"
// +kubebuilder:validation:XValidation:rule="!has(self.stableRulesetName) || !has(self.candidateRulesetName) || self.stableRulesetName != self.candidateRulesetName",message="the candidate is the stable Ruleset: leave it out",fieldPath=".candidateRulesetName"
// +kubebuilder:validation:XValidation:rule="has(self.candidateRulesetName) == has(self.bound)",message="a bound goes with a candidate, and a candidate with a bound",fieldPath=".bound"
// +kubebuilder:validation:XValidation:rule="!has(self.criticalHostNames) || has(self.candidateRulesetName)",message="criticalHostNames go with a candidate",fieldPath=".criticalHostNames"
// +kubebuilder:validation:XValidation:rule="!has(self.dialers) || has(self.candidateRulesetName)",message="dialers go with a candidate",fieldPath=".dialers"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.stableRulesetName) || has(self.stableRulesetName)",message="a stable Ruleset can be replaced, but not taken away: hosts would not know what to go back to",fieldPath=".stableRulesetName"
type RolloutSpec struct {
	// SecurityGroupNames name the groups of the set, sorted. Required, 1 to 10,
	// and never changed.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: another set of groups has another Rollout",reason="FieldValueForbidden"
	SecurityGroupNames []Name `json:"securityGroupNames"`
	// NodePools are those of which some host wears the set, by name. A host of
	// a node pool finds its Rollout by them: among those that name its pool, the
	// one with the fewest groups that has all of the host's own. A host without
	// a pool finds it by the name of its own groups.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1000
	NodePools []RolloutNodePool `json:"nodePools,omitempty"`
	// VPCCIDRBlocks are those of the groups' VPC: from there others reach the
	// control plane, where it is on one of the hosts.
	// +listType=set
	// +kubebuilder:validation:MaxItems=6
	VPCCIDRBlocks []CIDR `json:"vpcCIDRBlocks,omitempty"`
	// StableRulesetName names the Ruleset that hosts run, and go back to. Empty
	// until a first candidate was confirmed.
	StableRulesetName Name `json:"stableRulesetName,omitempty"`
	// CandidateRulesetName names the Ruleset that is being tried. Empty if
	// nothing changes.
	CandidateRulesetName Name `json:"candidateRulesetName,omitempty"`
	// Bound says which hosts run the candidate: those whose first 15
	// hexadecimal digits of the SHA-256 of "CANDIDATE/HOST" are a smaller
	// number. Both are hexadecimal, so 0000000000000000 is nobody and
	// 1000000000000000, one more than 15 digits can say, is everybody. It does
	// not speak for hosts with role Etcd or APIServer.
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^(0[0-9a-f]{15}|10{15})$')",message="want 16 lower case hexadecimal digits, at most 1000000000000000"
	Bound string `json:"bound,omitempty"`
	// CriticalHostNames name the hosts with role Etcd or APIServer that run the
	// candidate. One is added at a time, after the one before has confirmed.
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	CriticalHostNames []Name `json:"criticalHostNames,omitempty"`
	// Dialers are hosts that had confirmed the candidate when the others of the
	// step were told to run it. They dial the ports of those that no host may
	// lose, such as the kubelet's, which nobody can probe from within. Empty in
	// the first step.
	// +listType=map
	// +listMapKey=hostName
	// +kubebuilder:validation:MaxItems=4
	Dialers []RolloutDialer `json:"dialers,omitempty"`
}

// A RolloutDialer is a host that dials others.
type RolloutDialer struct {
	// HostName names it. Required.
	HostName Name `json:"hostName"`
	// Address is the one of its own that it dials from. Required.
	Address Address `json:"address"`
}

// A RolloutNodePool is what the hosts of a node pool must know of it, which they
// may not read.
type RolloutNodePool struct {
	// Name names the node pool. Required.
	Name Name `json:"name"`
	// ClusterName names its cluster: that of its hosts, which keep its flows.
	ClusterName Name `json:"clusterName,omitempty"`
	// Enforcement is what happens on its hosts to flows that the rules drop,
	// unless the host says something else. Empty means Enforce.
	Enforcement Enforcement `json:"enforcement,omitempty"`
}

// A RolloutStatus is how far a candidate has come.
type RolloutStatus struct {
	// Step is how many hosts run the candidate. Empty if there is none.
	Step RolloutStep `json:"step,omitempty"`
	// StepStartTime is when the step began.
	StepStartTime *metav1.Time `json:"stepStartTime,omitempty"`
	// Hosts is the number of hosts that wear the set and have a fresh Lease:
	// those that are waited for.
	Hosts int32 `json:"hosts,omitempty"`
	// Chosen is how many of them run the candidate or ought to; without a
	// candidate, all.
	Chosen int32 `json:"chosen,omitempty"`
	// Confirmed is how many of the chosen ones have confirmed.
	Confirmed int32 `json:"confirmed,omitempty"`
	// PreviousRulesetName names the Ruleset that was stable before: what undo
	// goes back to. Empty if there was none.
	PreviousRulesetName Name `json:"previousRulesetName,omitempty"`
	// Failure says why the last candidate was given up. Nil if it was not.
	Failure *RolloutFailure `json:"failure,omitempty"`
	// Conditions are what is true of it, one a type.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// A RolloutStep is how many hosts run a candidate.
//
// +kubebuilder:validation:Enum=One;Tenth;All
type RolloutStep string

// The steps, in their order.
const (
	// StepOne is one host, of the control plane only if there is no other.
	StepOne RolloutStep = "One"
	// StepTenth is a tenth of the hosts, rounded up.
	StepTenth RolloutStep = "Tenth"
	// StepAll is every host.
	StepAll RolloutStep = "All"
)

// A RolloutFailure is the first host that could not confirm a candidate.
type RolloutFailure struct {
	// RulesetName names the candidate. It is not tried again until the groups
	// mean something else, or AnnotationRetry says so.
	RulesetName Name `json:"rulesetName"`
	// HostName names the host.
	HostName Name `json:"hostName"`
	// Message is what the host said.
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// Time is when everybody was sent back.
	Time metav1.Time `json:"time"`
}
