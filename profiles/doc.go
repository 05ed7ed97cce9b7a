// Package profiles knows which flows a Kubernetes cluster cannot do without,
// and which rules let them through. The knowledge is data: tables of rows in
// tables/*.yaml, each with its source and what breaks without it.
//
// [Load] reads the tables; [Tables.Expand] turns rows into the rules and needs
// of one group of one cluster, given the cluster's [Facts].
//
// The package looks nothing up and judges nothing: it does not know which
// rules a group has, only which it should have.
package profiles
