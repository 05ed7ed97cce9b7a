package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// A PrefixList is a named list of CIDRs that rules may name as their peer.
type PrefixList struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec PrefixListSpec `json:"spec"`
}

// A PrefixListSpec holds the entries of a list.
type PrefixListSpec struct {
	// AddressFamily is the family of every entry. Empty means that of the
	// first entry.
	AddressFamily AddressFamily `json:"addressFamily,omitempty"`
	// MaxEntries is how many rules the list counts for in a host's quota, 1 to
	// 200 and not below the number of entries. 0 means the number of entries.
	MaxEntries int32 `json:"maxEntries,omitempty"`
	// Entries are CIDRs of one family. None means that rules which name the
	// list match nothing.
	Entries []PrefixListEntry `json:"entries,omitempty"`
}

// A PrefixListEntry is one CIDR of a list.
type PrefixListEntry struct {
	// CIDR is a range, or an address for that address alone. Required.
	CIDR        string `json:"cidr"`
	Description string `json:"description,omitempty"`
}

// An AddressFamily is IPv4 or IPv6.
type AddressFamily string

// The address families.
const (
	IPv4 AddressFamily = "IPv4"
	IPv6 AddressFamily = "IPv6"
)
