package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// An AddressSlice holds some of the addresses of a group's members, about 100,
// so that a host that joins or leaves does not rewrite them all. Controllers
// write it, agents of hosts whose rules name the group watch it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=ringfence,shortName=aslice
// +kubebuilder:printcolumn:name="Group",type=string,JSONPath=`.spec.securityGroupName`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:selectablefield:JSONPath=`.spec.securityGroupName`
type AddressSlice struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec AddressSliceSpec `json:"spec"`
}

// An AddressSliceList is a list of AddressSlices.
//
// +kubebuilder:object:root=true
type AddressSliceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []AddressSlice `json:"items"`
}

// An AddressSliceSpec is some members of a group. All slices of a group
// together are its members, and no two of them hold the same address.
type AddressSliceSpec struct {
	// SecurityGroupName names the group. Required, and never changed.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed: make another AddressSlice",reason="FieldValueForbidden"
	SecurityGroupName Name `json:"securityGroupName"`
	// Members are the addresses. Slices are filled to 100; twice that is the
	// end, so that two half-empty ones can be folded into one.
	// +listType=map
	// +listMapKey=address
	// +kubebuilder:validation:MaxItems=200
	Members []MemberAddress `json:"members,omitempty"`
}

// A MemberAddress is one address, and whose it is.
type MemberAddress struct {
	// Address is a single one in its canonical spelling, such as 2001:db8::1,
	// so that no two texts mean the same. Required.
	// +kubebuilder:validation:XValidation:rule="!isIP(self) || ip.isCanonical(self)",message="want the canonical spelling, such as 2001:db8::1"
	Address Address `json:"address"`
	// HostName names the host that it belongs to. Empty for the interface of a
	// pod.
	HostName Name `json:"hostName,omitempty"`
	// LeavingSince is when the host was seen gone. Nil while it is there. The
	// address counts until it is taken off the list.
	LeavingSince *metav1.Time `json:"leavingSince,omitempty"`
}
