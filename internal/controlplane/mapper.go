package controlplane

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// A mapper finds kinds for the admission policies. Kubernetes' own remembers for
// 30 s that a kind is unknown; after a restart it asks before our kinds are
// served, and all that time the policies that look into them refuse everything.
type mapper struct {
	*restmapper.DeferredDiscoveryRESTMapper
}

func newMapper(loopback *rest.Config) (mapper, error) {
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return mapper{}, err
	}
	return mapper{restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))}, nil
}

// RESTMapping asks again for what it does not know. The policies do so about
// once a second, and only until all their kinds are found.
func (m mapper) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	found, err := m.DeferredDiscoveryRESTMapper.RESTMapping(kind, versions...)
	if meta.IsNoMatchError(err) {
		m.Reset()
		return m.DeferredDiscoveryRESTMapper.RESTMapping(kind, versions...)
	}
	return found, err
}

// Initialize implements admission.PluginInitializer.
func (m mapper) Initialize(plugin admission.Interface) {
	if wants, ok := plugin.(initializer.WantsRESTMapper); ok {
		wants.SetRESTMapper(m)
	}
}
