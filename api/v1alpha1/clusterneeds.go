package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A ClusterNeeds is what a running cluster cannot do without, as its own objects
// tell. Controllers write it, under the cluster's name, when it changes; every
// list is in a fixed order, so that two of them differ by what changed.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=clusterneeds,singular=clusterneeds,categories=ringfence,shortName=needs
// +kubebuilder:printcolumn:name="Essential",type=integer,JSONPath=`.counts.essential`
// +kubebuilder:printcolumn:name="Expected",type=integer,JSONPath=`.counts.expected`
// +kubebuilder:printcolumn:name="Optional",type=integer,JSONPath=`.counts.optional`
// +kubebuilder:printcolumn:name="Unknown",type=integer,JSONPath=`.counts.unknown`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ClusterNeeds struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// Counts are those of all that was found, listed here or not.
	Counts NeedCounts `json:"counts,omitzero"`
	// Network is how pods reach each other between hosts.
	Network SeenNetwork `json:"network,omitzero"`
	// Needs are the flows, the essential ones first. What there is no room for
	// is only counted: the least essential.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=500
	Needs []ClusterNeed `json:"needs,omitempty"`
	// Unknown is what the objects do not tell, though a need may hang on it.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Unknown []UnknownNeed `json:"unknown,omitempty"`
	// Parties are the addresses of those at the ends of needs, as far as known.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=500
	Parties []PartyAddresses `json:"parties,omitempty"`
}

// A ClusterNeedsList is a list of ClusterNeeds.
//
// +kubebuilder:object:root=true
type ClusterNeedsList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []ClusterNeeds `json:"items"`
}

// A NeedCounts is how many there are of each.
type NeedCounts struct {
	// +kubebuilder:validation:Minimum=0
	Essential int32 `json:"essential"`
	// +kubebuilder:validation:Minimum=0
	Expected int32 `json:"expected"`
	// +kubebuilder:validation:Minimum=0
	Optional int32 `json:"optional"`
	// +kubebuilder:validation:Minimum=0
	Unknown int32 `json:"unknown"`
}

// A SeenNetwork is the network of pods by its own configuration. The zero value
// is not known.
type SeenNetwork struct {
	// Mode is the network plugin; empty if not known.
	Mode NetworkMode `json:"mode,omitempty"`
	// Encapsulation is how packets between hosts are wrapped, None if not.
	Encapsulation Encapsulation `json:"encapsulation,omitempty"`
	// EncapsulationPort is its UDP port; 0 where it has none.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	EncapsulationPort int32 `json:"encapsulationPort,omitempty"`
}

// A NeedClass says what breaks without a need: the cluster, a component, or
// nothing that is known.
//
// +kubebuilder:validation:Enum=Essential;Expected;Optional
type NeedClass string

// The classes of need.
const (
	NeedEssential NeedClass = "Essential"
	NeedExpected  NeedClass = "Expected"
	NeedOptional  NeedClass = "Optional"
)

// A NeedWire says what a host's firewall sees of a need.
//
// +kubebuilder:validation:Enum=Host;RoutedPod;Overlay;Unknown
type NeedWire string

// The wire forms of a need.
const (
	WireHost      NeedWire = "Host"
	WireRoutedPod NeedWire = "RoutedPod"
	WireOverlay   NeedWire = "Overlay"
	WireUnknown   NeedWire = "Unknown"
)

// A ClusterNeed is one flow.
type ClusterNeed struct {
	From NeedParty `json:"from"`
	To   NeedParty `json:"to"`
	// Protocol is its name, or its IANA number.
	// +kubebuilder:validation:MaxLength=8
	Protocol string `json:"protocol"`
	// Ports are destination ports. Empty for a protocol without.
	Ports PortRange `json:"ports,omitempty"`
	Class NeedClass `json:"class"`
	Wire  NeedWire  `json:"wire"`
	// In is the overlay that carries the need; set iff Wire is Overlay.
	// +kubebuilder:validation:MaxLength=64
	In string `json:"in,omitempty"`
	// Why says what breaks without it.
	// +kubebuilder:validation:MaxLength=512
	Why string `json:"why"`
	// Logs is what the API server logs while the need is not met.
	// +kubebuilder:validation:MaxLength=1024
	Logs string `json:"logs,omitempty"`
	// Because are the first few objects because of which there is the need, as
	// KIND NAMESPACE/NAME /FIELD.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=1024
	Because []string `json:"because,omitempty"`
}

// A NeedParty is one end of a need.
type NeedParty struct {
	// Kind is what it is, such as APIServer, Nodes or Pods.
	// +kubebuilder:validation:MaxLength=32
	Kind string `json:"kind"`
	// Name tells those of a kind apart.
	// +kubebuilder:validation:MaxLength=640
	Name string `json:"name,omitempty"`
}

// An UnknownNeed is what the objects do not tell.
type UnknownNeed struct {
	// About is what is not known, Why what is missing, Tell what would tell.
	// +kubebuilder:validation:MaxLength=1024
	About string `json:"about"`
	// +kubebuilder:validation:MaxLength=1024
	Why string `json:"why"`
	// +kubebuilder:validation:MaxLength=1024
	Tell string `json:"tell"`
}

// A PartyAddresses is where a party is.
type PartyAddresses struct {
	NeedParty `json:",inline"`
	// CIDRs are its addresses, put together where that changes nothing.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2000
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:Pattern=`^[0-9a-f.:]+/[0-9]{1,3}$`
	CIDRs []string `json:"cidrs,omitempty"`
	// Omitted is how many more there are.
	// +kubebuilder:validation:Minimum=0
	Omitted int32 `json:"omitted,omitempty"`
}
