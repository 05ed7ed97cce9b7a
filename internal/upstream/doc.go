// Package upstream is the control plane as one host sees it: joining it, what
// it says that the host is to enforce, and telling it what the host does.
//
// A host reads its own Host, the Rollouts of its namespace, the Ruleset that
// [assign] finds for it there, and the AddressSlices of the groups that this
// Ruleset names. It writes its own Host's status, its Lease and its FlowReport.
// What cannot be reached or understood is unknown, never empty: the last
// assignment stays what it was.
package upstream
