package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A PrefixList is a named list of CIDRs that rules may name as their peer.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=pl,categories=ringfence
// +kubebuilder:printcolumn:name=Family,type=string,JSONPath=`.spec.addressFamily`
// +kubebuilder:printcolumn:name=Max,type=integer,JSONPath=`.spec.maxEntries`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type PrefixList struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec PrefixListSpec `json:"spec"`
}

// A PrefixListList is several of them, as the API lists them.
//
// +kubebuilder:object:root=true
type PrefixListList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []PrefixList `json:"items"`
}

// A PrefixListSpec holds the entries of a list.
//
// +kubebuilder:validation:XValidation:rule="!has(self.entries) || !has(self.addressFamily) || self.entries.all(e, e.cidr.contains(':') == (self.addressFamily == 'IPv6'))",fieldPath=".entries",message="every entry must be of the list's address family"
// +kubebuilder:validation:XValidation:rule="!has(self.entries) || self.entries.all(e, e.cidr.contains(':') == self.entries[0].cidr.contains(':'))",fieldPath=".entries",message="the entries are of two address families: want one list for each"
// +kubebuilder:validation:XValidation:rule="!has(self.maxEntries) || self.maxEntries == 0 || !has(self.entries) || self.entries.size() <= self.maxEntries",fieldPath=".entries",message="there are more entries than maxEntries"
type PrefixListSpec struct {
	// AddressFamily is the family of every entry. Empty means that of the
	// first entry.
	//
	// +kubebuilder:validation:Enum=IPv4;IPv6
	AddressFamily AddressFamily `json:"addressFamily,omitempty"`
	// MaxEntries is how many rules the list counts for in a host's quota, 1 to
	// 200 and not below the number of entries. 0 means the number of entries.
	//
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=200
	MaxEntries int32 `json:"maxEntries,omitempty"`
	// Entries are CIDRs of one family. None means that rules which name the
	// list match nothing.
	//
	// +kubebuilder:validation:MaxItems=200
	// +listType=map
	// +listMapKey=cidr
	Entries []PrefixListEntry `json:"entries,omitempty"`
}

// A PrefixListEntry is one CIDR of a list.
type PrefixListEntry struct {
	// CIDR is a range, or an address for that address alone. Required.
	//
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) || isIP(self)",message="no CIDR: want one like 10.0.0.0/8, or an address"
	CIDR string `json:"cidr"`
	// Description is for people; at most 256 characters.
	//
	// +kubebuilder:validation:MaxLength=256
	Description string `json:"description,omitempty"`
}

// An AddressFamily is IPv4 or IPv6.
type AddressFamily string

// The address families.
const (
	IPv4 AddressFamily = "IPv4"
	IPv6 AddressFamily = "IPv6"
)
