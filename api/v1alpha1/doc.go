// Package v1alpha1 holds the objects that people, controllers and agents write,
// API group ringfence.dev. They are types without behaviour: what they mean is
// said by package rules, and internal/convert is the door between the two.
//
// Objects of one namespace, which stands for an account or tenant, name each
// other; a name never reaches into another namespace. The spec is what a user
// wants and nobody else writes; the status is what controllers and agents saw
// and users cannot write.
//
// Every list may be empty and every field may be left out unless its comment
// says that it is required.
//
// +kubebuilder:object:generate=true
// +groupName=ringfence.dev
package v1alpha1

//go:generate go tool -modfile=../../tools/generate/go.mod controller-gen object paths=. crd:crdVersions=v1 output:crd:dir=../crds

// The names of the API.
const (
	// GroupName is the API group.
	GroupName = "ringfence.dev"
	// Version is the version of the API that this package holds.
	Version = "v1alpha1"
	// APIVersion is what stands in an object's apiVersion.
	APIVersion = GroupName + "/" + Version
)

// The kinds of object. The first six are in this package; the others are
// written by controllers and agents only.
const (
	KindVPC           = "VPC"
	KindPrefixList    = "PrefixList"
	KindSecurityGroup = "SecurityGroup"
	KindCluster       = "Cluster"
	KindNodePool      = "NodePool"
	KindHost          = "Host"
	KindRuleset       = "Ruleset"
	KindRollout       = "Rollout"
	KindAddressSlice  = "AddressSlice"
	KindFlowReport    = "FlowReport"
)
