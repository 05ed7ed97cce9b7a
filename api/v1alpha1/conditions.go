package v1alpha1

// The types of condition. Each is True when all is well, except those of the
// last block, which are only there while something is wrong. A message contains
// no time, no counter and nothing in random order: it changes when the facts do.
const (
	// ConditionAccepted of a SecurityGroup, Cluster, NodePool or Host says that
	// the object makes sense together with those that it names. If it does
	// not, no Ruleset is made from it, and hosts stay on their last good one.
	// On a Host it is there from the first mistake on: ten thousand hosts
	// without one cost no write.
	ConditionAccepted = "Accepted"
	// ConditionReady of a Cluster or NodePool says that its groups exist and
	// are protected on its behalf.
	ConditionReady = "Ready"
	// ConditionNeedsMet of a Cluster says that its groups let every flow
	// through that the cluster needs.
	ConditionNeedsMet = "NeedsMet"
	// ConditionDiscovered of a Cluster that is to be read says that all of its
	// objects that tell needs are read and followed. While it is False, what was
	// read before counts, and nothing closes.
	ConditionDiscovered = "Discovered"
	// ConditionTight of a Cluster or SecurityGroup says that nothing more is
	// let through than is needed or exposed.
	ConditionTight = "Tight"
	// ConditionWithinQuota of a SecurityGroup says that its rules and members
	// are not more than its type and its hosts can have.
	ConditionWithinQuota = "WithinQuota"
	// ConditionSettled of a Rollout says that every host runs the stable
	// Ruleset and no candidate is tried.
	ConditionSettled = "Settled"
	// ConditionEnforced of a Host says that the kernel runs the Ruleset that
	// the host ought to run. Written by the agent.
	ConditionEnforced = "Enforced"

	// ConditionRemovalHeld of a SecurityGroup is there while addresses of hosts
	// that are gone stay members, because too many went at once.
	ConditionRemovalHeld = "RemovalHeld"
	// ConditionEnforcementBypassed of a Host is there while packets can pass by
	// the rules. Written by the agent.
	ConditionEnforcementBypassed = "EnforcementBypassed"
)

// The reasons of Accepted. All but the first are mistakes across objects.
const (
	// ReasonAccepted means that nothing is wrong.
	ReasonAccepted = "Accepted"
	// ReasonNotFound means that a named object does not exist.
	ReasonNotFound = "NotFound"
	// ReasonMixedTypes means that one host would wear basic and advanced groups.
	ReasonMixedTypes = "MixedTypes"
	// ReasonOtherVPC means that a group, a cluster and its subnets are not of
	// one VPC.
	ReasonOtherVPC = "OtherVPC"
	// ReasonCIDROverlap means that pod or service CIDRs overlap those of the
	// VPC, or pod CIDRs those of another cluster in it.
	ReasonCIDROverlap = "CIDROverlap"
	// ReasonAddressConflict means that two hosts claim one address.
	ReasonAddressConflict = "AddressConflict"
	// ReasonForeignAddress means that a host reports an address outside the
	// subnets of its pool. It does not count as a member's.
	ReasonForeignAddress = "ForeignAddress"
	// ReasonOtherCluster means that a host's node pool belongs to another
	// cluster than the host.
	ReasonOtherCluster = "OtherCluster"
	// ReasonAdvancedPeer means that a rule names an advanced group.
	ReasonAdvancedPeer = "AdvancedPeer"
	// ReasonFamilyMismatch means that a rule's protocol or member does not go
	// with the address family of its prefix list.
	ReasonFamilyMismatch = "FamilyMismatch"
	// ReasonTooManyGroups means that a host would wear more than 10 groups.
	ReasonTooManyGroups = "TooManyGroups"
	// ReasonTooManyRules means that the groups of a host have more than 1,000
	// rules together. Also a reason of WithinQuota.
	ReasonTooManyRules = "TooManyRules"
	// ReasonTooComplex means that the rules together are more than the engine's
	// budget, beyond which no host could load them.
	ReasonTooComplex = "TooComplex"
	// ReasonPodGroups means that the host's cluster has groups for the
	// interfaces of pods, which no own host can enforce.
	ReasonPodGroups = "PodGroups"
	// ReasonNameTaken means that the group to be made would have the name of
	// one that is there already.
	ReasonNameTaken = "NameTaken"
	// ReasonInvalid means that today's schema refuses the object, which an
	// earlier one let in.
	ReasonInvalid = "Invalid"
)

// The reasons of Ready.
const (
	// ReasonGroupInUse means that the groups exist and carry the use.
	ReasonGroupInUse = "GroupInUse"
	// ReasonGroupPending means that a group is being made, or does not carry
	// the use yet.
	ReasonGroupPending = "GroupPending"
	// ReasonNotAccepted means that the object is not accepted, see there.
	ReasonNotAccepted = "NotAccepted"
	// ReasonDeleting means that the object is on its way out.
	ReasonDeleting = "Deleting"
)

// The reasons of NeedsMet and Tight, the advice.
const (
	// ReasonNothingMissing means that every needed flow is let through.
	ReasonNothingMissing = "NothingMissing"
	// ReasonNeedsMissing means that some are not. The message lists them.
	ReasonNeedsMissing = "NeedsMissing"
	// ReasonNothingInExcess means that no rule lets more through than is needed.
	ReasonNothingInExcess = "NothingInExcess"
	// ReasonExcess means that some do. The message lists them.
	ReasonExcess = "Excess"
	// ReasonUnknown means that facts are missing to judge by.
	ReasonUnknown = "Unknown"
)

// The reasons of Discovered.
const (
	// ReasonFollowing means that every kind is read and followed.
	ReasonFollowing = "Following"
	// ReasonUnreadable means that some kinds, or all, cannot be read. The message
	// says which and why.
	ReasonUnreadable = "Unreadable"
	// ReasonNoKubeconfig means that the Secret is not there, or holds none that
	// may be used.
	ReasonNoKubeconfig = "NoKubeconfig"
)

// The reasons of WithinQuota, beside TooManyRules.
const (
	// ReasonWithinLimits means that there is room.
	ReasonWithinLimits = "WithinLimits"
	// ReasonTooManyMembers means more addresses than 6,000 of a basic group or
	// 65,536 of an advanced one.
	ReasonTooManyMembers = "TooManyMembers"
)

// The reasons of Settled.
const (
	// ReasonStable means that all hosts run the stable Ruleset.
	ReasonStable = "Stable"
	// ReasonStepping means that a candidate is being tried.
	ReasonStepping = "Stepping"
	// ReasonAborted means that a host could not confirm the candidate and
	// everybody was sent back. It stays until the groups mean something else.
	ReasonAborted = "Aborted"
)

// The reasons of Enforced.
const (
	// ReasonConfirmed means that the Ruleset runs and its probes passed.
	ReasonConfirmed = "Confirmed"
	// ReasonTrial means that a Ruleset runs which is not confirmed yet.
	ReasonTrial = "Trial"
	// ReasonRolledBack means that probes failed and the one before runs.
	ReasonRolledBack = "RolledBack"
	// ReasonObserving means that drops are counted only.
	ReasonObserving = "Observing"
	// ReasonOpened means that somebody opened the host for a while.
	ReasonOpened = "Opened"
	// ReasonKeepCut means that the Ruleset would cut a flow of keep and was
	// refused.
	ReasonKeepCut = "KeepCut"
	// ReasonApplyFailed means that the kernel refused the Ruleset.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonStale means that the host's Lease has ended: nobody knows.
	ReasonStale = "Stale"
)

// The reasons of RemovalHeld and EnforcementBypassed.
const (
	// ReasonTooManyRemovals means that more than a tenth of the members, and at
	// least 2, went within 10 minutes.
	ReasonTooManyRemovals = "TooManyRemovals"
	// ReasonForeignHook means an interface that is no uplink, a BPF program on
	// one, or untracked traffic. The message says which.
	ReasonForeignHook = "ForeignHook"
)
