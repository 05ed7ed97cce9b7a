package discover

import (
	"strings"

	"ringfence.dev/ringfence/internal/convert"
)

// A Resource is a kind of object that is read. Resources are comparable.
type Resource struct {
	// Group is empty for the core group. Version is the one to ask for; a
	// document may have any.
	Group, Version string
	// Name is the plural in lower case, as paths and roles have it; Kind is
	// what objects say.
	Name, Kind string
	Namespaced bool
}

// String returns NAME.GROUP, as kubectl has it, such as services and
// deployments.apps.
func (r Resource) String() string {
	if r.Group == "" {
		return r.Name
	}
	return r.Name + "." + r.Group
}

// Resources returns all that is read, and nothing else is: a role that may get,
// list and watch these is enough. Some are of extensions that a cluster need not
// have.
func Resources() []Resource {
	var out []Resource
	for _, k := range kinds() {
		out = append(out, k.Resource)
	}
	return out
}

// A kind is a resource with what reads its objects.
type kind struct {
	Resource

	read func(*reader)
}

func kinds() []kind {
	const (
		admission = "admissionregistration.k8s.io"
		calico    = "projectcalico.org"
		calicoCRD = "crd.projectcalico.org" // where Calico keeps them without its own API server

		monitoring = "monitoring.coreos.com"
	)
	return []kind{
		{Resource{"", "v1", "nodes", "Node", false}, (*reader).node},
		{Resource{"", "v1", "services", "Service", true}, (*reader).service},
		{Resource{"discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true}, (*reader).slice},
		{Resource{"", "v1", "endpoints", "Endpoints", true}, (*reader).endpoints},
		{Resource{"", "v1", "pods", "Pod", true}, (*reader).pod},
		{Resource{"apps", "v1", "daemonsets", "DaemonSet", true}, (*reader).workload},
		{Resource{"apps", "v1", "deployments", "Deployment", true}, (*reader).workload},
		{Resource{"apps", "v1", "statefulsets", "StatefulSet", true}, (*reader).workload},
		{Resource{"apps", "v1", "replicasets", "ReplicaSet", true}, (*reader).workload},
		{Resource{"", "v1", "replicationcontrollers", "ReplicationController", true}, (*reader).workload},
		{Resource{"", "v1", "configmaps", "ConfigMap", true}, (*reader).configMap},
		{Resource{admission, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", false}, (*reader).webhooks},
		{Resource{admission, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", false}, (*reader).webhooks},
		{Resource{"apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", false}, (*reader).conversion},
		{Resource{"apiregistration.k8s.io", "v1", "apiservices", "APIService", false}, (*reader).apiService},
		{Resource{"", "v1", "persistentvolumes", "PersistentVolume", false}, (*reader).persistentVolume},
		{Resource{monitoring, "v1", "servicemonitors", "ServiceMonitor", true}, (*reader).monitor},
		{Resource{monitoring, "v1", "podmonitors", "PodMonitor", true}, (*reader).monitor},
		{Resource{"metallb.io", "v1beta2", "bgppeers", "BGPPeer", true}, (*reader).router},
		{Resource{calicoCRD, "v1", "ippools", "IPPool", false}, (*reader).ipPool},
		{Resource{calicoCRD, "v1", "felixconfigurations", "FelixConfiguration", false}, (*reader).felix},
		{Resource{calicoCRD, "v1", "bgpconfigurations", "BGPConfiguration", false}, (*reader).bgpConfiguration},
		{Resource{calicoCRD, "v1", "bgppeers", "BGPPeer", false}, (*reader).bgpPeer},
		{Resource{calico, "v3", "ippools", "IPPool", false}, (*reader).ipPool},
		{Resource{calico, "v3", "felixconfigurations", "FelixConfiguration", false}, (*reader).felix},
		{Resource{calico, "v3", "bgpconfigurations", "BGPConfiguration", false}, (*reader).bgpConfiguration},
		{Resource{calico, "v3", "bgppeers", "BGPPeer", false}, (*reader).bgpPeer},
	}
}

type groupKind struct{ group, kind string }

// kindOf returns how an object is read; nil if nothing of it is.
func (c *Cluster) kindOf(f *convert.Foreign) *kind {
	if c.kinds == nil {
		c.kinds = map[groupKind]*kind{}
		for _, k := range kinds() {
			c.kinds[groupKind{k.Group, k.Kind}] = &k
		}
	}
	group, _, ok := strings.Cut(f.APIVersion, "/")
	if !ok {
		group = ""
	}
	return c.kinds[groupKind{group, f.Kind}]
}
