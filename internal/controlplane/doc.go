// Package controlplane is the API server of Ringfence: Kubernetes' generic
// control plane on an embedded etcd (or yours), in this process, with its own
// certificates, roles, admission policies and resource definitions, and those
// controllers of Kubernetes without which no object ever goes away.
//
// It knows nothing of security groups beyond the policies that protect them.
// Controllers are passed in.
package controlplane
