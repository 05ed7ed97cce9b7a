// Package discover derives from the objects of a Kubernetes cluster which flows
// it cannot do without: who must reach whom, on which port, because of which
// object. Read a dump with [Cluster.Add], in any order, or follow a live cluster
// with [Cluster.Put] and [Cluster.Remove], then ask [Cluster.Derive].
//
// It does no I/O and decides nothing about security groups. What cannot be known
// from the objects that are there is an [Unknown], which is not the same as no
// need; a field that makes no sense is a [Finding].
package discover
