package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A FlowReport is what one host's rules dropped, or would have. The host's
// agent writes it, under the host's name, at most every 10 minutes, and only
// when something was dropped.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=ringfence,shortName=fr
// +kubebuilder:printcolumn:name="From",type=date,JSONPath=`.from`
// +kubebuilder:printcolumn:name="To",type=date,JSONPath=`.to`
// +kubebuilder:printcolumn:name="Left out",type=integer,JSONPath=`.omitted`,priority=1
// +kubebuilder:validation:XValidation:rule="(has(self.denied) ? self.denied.size() : 0) + (has(self.hits) ? self.hits.size() : 0) <= 64",message="more than 64 rows in denied and hits together: count the others in omitted"
// +kubebuilder:validation:XValidation:rule="self.from <= self.to",message="want a time that is not before from",fieldPath=".to"
type FlowReport struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// From and To are the time that the report is about. Both required.
	From metav1.Time `json:"from"`
	// To is not before From.
	To metav1.Time `json:"to"`
	// RulesetName names the Ruleset that ran at the end.
	RulesetName Name `json:"rulesetName,omitempty"`
	// Denied are the flows, the most frequent first. Together with Hits, at
	// most 64 rows: a host under attack must not fill the control plane.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Denied []DeniedFlow `json:"denied,omitempty"`
	// Hits are how often the rules decided, the most frequent first.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Hits []RuleHits `json:"hits,omitempty"`
	// Omitted is the number of rows for which there was no room.
	// +kubebuilder:validation:Minimum=0
	Omitted int64 `json:"omitted,omitempty"`
}

// A FlowReportList is a list of FlowReports.
//
// +kubebuilder:object:root=true
type FlowReportList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []FlowReport `json:"items"`
}

// A DeniedFlow is a flow that was dropped, or would have been. Flows that
// differ in the source port only are one.
type DeniedFlow struct {
	// By is what decided: a rule as GROUP/ingress/N, or default. Required.
	// +kubebuilder:validation:MaxLength=275
	// +kubebuilder:validation:XValidation:rule="self == 'default' || self.matches('^[a-z0-9.-]+/(ingress|egress)/[1-9][0-9]*$')",message="want GROUP/ingress/N, GROUP/egress/N or default"
	By string `json:"by"`
	// Direction is seen from the host. Required.
	Direction Direction `json:"direction"`
	// Local is the host's address. Required.
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="want an address, like 10.0.0.1 or 2001:db8::1"
	Local string `json:"local"`
	// Remote is who is on the other end. Required.
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="want an address, like 10.0.0.1 or 2001:db8::1"
	Remote string `json:"remote"`
	// Protocol is the IANA number, 0 to 255. Required.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	Protocol int32 `json:"protocol"`
	// Port is the destination port. 0 for protocols without ports.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// Packets is how many there were, at least 1.
	// +kubebuilder:validation:Minimum=1
	Packets int64 `json:"packets"`
	// LastTime is when the last one was seen.
	LastTime metav1.Time `json:"lastTime"`
	// Observed says that the flow passed, because the host only observes.
	Observed bool `json:"observed,omitempty"`
}

// A RuleHits is how often one rule decided.
type RuleHits struct {
	// By is the rule, as GROUP/ingress/N; or default, inner-access or exempt.
	// Required.
	// +kubebuilder:validation:MaxLength=275
	// +kubebuilder:validation:XValidation:rule="self in ['default', 'inner-access', 'exempt'] || self.matches('^[a-z0-9.-]+/(ingress|egress)/[1-9][0-9]*$')",message="want GROUP/ingress/N, GROUP/egress/N, default, inner-access or exempt"
	By string `json:"by"`
	// Direction is seen from the host. Required.
	Direction Direction `json:"direction"`
	// Packets is how many first packets of flows it decided about.
	// +kubebuilder:validation:Minimum=0
	Packets int64 `json:"packets"`
}
