package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A PrefixList is a named list of CIDRs that rules may name as their peer.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=ringfence,shortName=pl
// +kubebuilder:printcolumn:name="Family",type=string,JSONPath=`.spec.addressFamily`
// +kubebuilder:printcolumn:name="Max entries",type=integer,JSONPath=`.spec.maxEntries`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PrefixList struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec PrefixListSpec `json:"spec"`
}

// A PrefixListList is a list of PrefixLists.
//
// +kubebuilder:object:root=true
type PrefixListList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []PrefixList `json:"items"`
}

// A PrefixListSpec holds the entries of a list.
//
// +kubebuilder:validation:XValidation:rule="!has(self.entries) || self.entries.all(e, e.cidr.contains(':') == (has(self.addressFamily) ? self.addressFamily == 'IPv6' : self.entries[0].cidr.contains(':')))",messageExpression="'%s is of the other address family: want that of addressFamily, or of the first entry, for all'.format([self.entries.filter(e, !(e.cidr.contains(':') == (has(self.addressFamily) ? self.addressFamily == 'IPv6' : self.entries[0].cidr.contains(':'))))[0].cidr])",message="a prefix list has one address family: addressFamily, or that of its first entry",fieldPath=".entries"
// +kubebuilder:validation:XValidation:rule="!has(self.maxEntries) || self.maxEntries == 0 || !has(self.entries) || self.entries.size() <= self.maxEntries",message="want a number from 1 to 200 that is not below the number of entries, or 0 for that number",fieldPath=".maxEntries"
type PrefixListSpec struct {
	// AddressFamily is the family of every entry. Empty means that of the
	// first entry.
	AddressFamily AddressFamily `json:"addressFamily,omitempty"`
	// MaxEntries is how many rules the list counts for in a host's quota, 1 to
	// 200 and not below the number of entries. 0 means the number of entries.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=200
	MaxEntries int32 `json:"maxEntries,omitempty"`
	// Entries are CIDRs of one family. None means that rules which name the
	// list match nothing.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=200
	Entries []PrefixListEntry `json:"entries,omitempty"`
}

// A PrefixListEntry is one CIDR of a list.
type PrefixListEntry struct {
	// CIDR is a range, or an address for that address alone. Required.
	CIDR CIDR `json:"cidr"`
	// Description is for people; at most 512 characters.
	// +kubebuilder:validation:MaxLength=512
	Description string `json:"description,omitempty"`
}

// An AddressFamily is IPv4 or IPv6.
//
// +kubebuilder:validation:Enum=IPv4;IPv6
type AddressFamily string

// The address families.
const (
	IPv4 AddressFamily = "IPv4"
	IPv6 AddressFamily = "IPv6"
)
