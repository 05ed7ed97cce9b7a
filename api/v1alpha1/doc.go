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
// says that it is required. The markers below a comment say the same to the API
// server: what one object alone shows to be wrong cannot be stored. They use
// nothing that is younger than Kubernetes 1.32.
//
// +kubebuilder:object:generate=true
// +groupName=ringfence.dev
package v1alpha1

//go:generate go tool -modfile=../../tools/go.mod controller-gen object crd paths=. output:crd:dir=../crds

// The names of the API.
const (
	// GroupName is the API group.
	GroupName = "ringfence.dev"
	// Version is the version of the API that this package holds.
	Version = "v1alpha1"
	// APIVersion is what stands in an object's apiVersion.
	APIVersion = GroupName + "/" + Version
)

// The kinds of object. People write the first six; the others are written by
// controllers and agents only.
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
	KindClusterNeeds  = "ClusterNeeds"
)

// What stands in the metadata of objects.
const (
	// FinalizerInUse holds a SecurityGroup while somebody uses it. Only the
	// controllers take it off.
	FinalizerInUse = GroupName + "/in-use"
	// AnnotationReleaseRemovals on a SecurityGroup lets the removals go that
	// are held. Its value is a time, RFC 3339: what was held by then is
	// released, so that a manifest that is applied for ever releases nothing
	// that is held later.
	AnnotationReleaseRemovals = GroupName + "/release-removals"
	// LabelPoolPrefix begins the labels of a Rollout, one for each node pool in
	// spec.nodePools: hosts of a pool watch the Rollouts with its label, and
	// hear of no others. Behind it stands the pool's name, or of one with more
	// than 63 characters the first 40 hexadecimal digits of its SHA-256.
	LabelPoolPrefix = "pool." + GroupName + "/"
	// AnnotationPaused on a Rollout stops its progress while it is there,
	// whatever its value: no candidate begins, no further host runs one, and
	// none becomes stable. One that fails is taken back all the same.
	AnnotationPaused = GroupName + "/paused"
	// AnnotationUndone on a Rollout names a Ruleset that hosts shall not run for
	// as long as the groups mean it: if it is the candidate, it is taken back;
	// if it is stable, the one before becomes the candidate. It has no effect
	// any more once the groups mean something else.
	AnnotationUndone = GroupName + "/undone"
	// AnnotationRetry on a Rollout lets a candidate be tried again that a host
	// could not confirm. Its value is a time, RFC 3339: failures until then are
	// forgiven, later ones are not.
	AnnotationRetry = GroupName + "/retry"
)
