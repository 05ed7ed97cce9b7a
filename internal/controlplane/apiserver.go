package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/util/notfoundhandler"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	aggregator "k8s.io/kube-aggregator/pkg/apiserver"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane"
	"k8s.io/kubernetes/pkg/controlplane/apiserver"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
	"k8s.io/kubernetes/pkg/generated/openapi"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
	"k8s.io/kubernetes/plugin/pkg/admission/certificates/approval"
	"k8s.io/kubernetes/plugin/pkg/admission/certificates/signing"
	"k8s.io/kubernetes/plugin/pkg/admission/certificates/subjectrestriction"
	"k8s.io/utils/clock"
)

// issuerURL names us in the tokens of service accounts. Nothing is fetched
// from it: the keys are in the data folder.
const issuerURL = "https://ringfence.internal"

// An api is one Kubernetes API server, assembled and not yet running.
type api struct {
	chain *aggregator.APIAggregator
	// loopback is a connection of the server to itself, with every right.
	loopback *rest.Config
}

// newAPI assembles the three servers of Kubernetes that stand behind each
// other: the aggregator, which lists all groups, the built-in kinds, and the
// kinds that resource definitions add. None of them listens before run.
func newAPI(ctx context.Context, cfg *Config, certs *pki, store *etcd, listener net.Listener) (*api, error) {
	opts, err := apiOptions(ctx, cfg, certs, store, listener)
	if err != nil {
		return nil, err
	}
	generic, informers, storage, err := apiserver.BuildGenericConfig(*opts,
		[]*runtime.Scheme{legacyscheme.Scheme, apiextensions.Scheme, aggregatorscheme.Scheme},
		controlplane.DefaultGenericAPIResourceConfigSource(), openapi.GetOpenAPIDefinitions, nil)
	if err != nil {
		return nil, err
	}
	generic.EffectiveVersion = release{generic.EffectiveVersion}
	if _, err := shorten(generic, informers); err != nil {
		return nil, err
	}
	generic.Authentication.Authenticator = newCertified(generic.Authentication.Authenticator, clock.RealClock{})
	resolver := webhook.NewDefaultServiceResolver()
	finder, err := newMapper(generic.LoopbackClientConfig)
	if err != nil {
		return nil, err
	}
	kinds, plugins, err := apiserver.CreateConfig(*opts, generic, informers, nil, storage, resolver, []admission.PluginInitializer{finder})
	if err != nil {
		return nil, err
	}
	wrapper := webhook.NewDefaultAuthenticationInfoResolverWrapper(
		kinds.ProxyTransport, generic.EgressSelector, generic.LoopbackClientConfig, generic.TracerProvider)
	definitions, err := apiserver.CreateAPIExtensionsConfig(*generic, informers, plugins, *opts, replicas(store), resolver, wrapper)
	if err != nil {
		return nil, err
	}
	front, err := apiserver.CreateAggregatorConfig(*generic, *opts, informers, resolver, kinds.ProxyTransport, kinds.PeerProxy, plugins)
	if err != nil {
		return nil, err
	}
	// There are no Services here whose backends could be watched.
	front.ExtraConfig.DisableRemoteAvailableConditionController = true
	chain, err := assemble(definitions, kinds, front)
	if err != nil {
		return nil, err
	}
	return &api{chain: chain, loopback: rest.CopyConfig(generic.LoopbackClientConfig)}, nil
}

// replicas is what the server for definitions wants to know: with more than
// one, it holds each new definition back for 5 s until all know it. An embedded
// etcd has one client.
func replicas(store *etcd) int {
	if store.embedded != nil {
		return 1
	}
	return 2
}

func assemble(definitions *apiextensions.Config, kinds *apiserver.Config, front *aggregator.Config) (*aggregator.APIAggregator, error) {
	// Until every kind is known, an unknown path is "try again", not "not
	// found": a controller would believe that its objects are gone.
	unknown := notfoundhandler.New(kinds.Generic.Serializer, filters.NoMuxAndDiscoveryIncompleteKey)
	last, err := definitions.Complete().New(server.NewEmptyDelegateWithCustomHandler(unknown))
	if err != nil {
		return nil, fmt.Errorf("cannot build the server for resource definitions: %w", err)
	}
	completed := kinds.Complete()
	middle, err := completed.New("ringfence", last.GenericAPIServer)
	if err != nil {
		return nil, fmt.Errorf("cannot build the server for built-in kinds: %w", err)
	}
	client, err := kubernetes.NewForConfig(kinds.Generic.LoopbackClientConfig)
	if err != nil {
		return nil, err
	}
	providers, err := completed.GenericStorageProviders(client.Discovery())
	if err != nil {
		return nil, err
	}
	if err := middle.InstallAPIs(providers...); err != nil {
		return nil, fmt.Errorf("cannot install the built-in kinds: %w", err)
	}
	crds := last.Informers.Apiextensions().V1().CustomResourceDefinitions()
	return apiserver.CreateAggregatorServer(front.Complete(), middle.GenericAPIServer, crds, true, apiserver.DefaultGenericAPIServicePriorities())
}

// run serves until the context ends and requests have drained. Ready speaks
// into /readyz, beside the checks of Kubernetes, and why says it in words.
func (a *api) run(ctx context.Context, ready healthz.HealthChecker, why func() error) error {
	handler := a.chain.GenericAPIServer.Handler
	handler.FullHandlerChain = explain(handler.FullHandlerChain, why)
	if err := a.chain.GenericAPIServer.AddReadyzChecks(ready); err != nil {
		return err
	}
	prepared, err := a.chain.PrepareRun()
	if err != nil {
		return fmt.Errorf("cannot prepare the API server: %w", err)
	}
	return prepared.Run(ctx)
}

// apiOptions are what kube-apiserver takes as flags.
func apiOptions(ctx context.Context, cfg *Config, certs *pki, store *etcd, listener net.Listener) (*options.CompletedOptions, error) {
	o := options.NewOptions()
	serve(o, certs, listener)
	authenticate(o, certs)
	admit(o)
	o.Etcd.StorageConfig.Transport.ServerList = store.servers
	o.Etcd.StorageConfig.Transport.TrustedCAFile = store.caFile
	o.Etcd.StorageConfig.Transport.CertFile = store.certFile
	o.Etcd.StorageConfig.Transport.KeyFile = store.keyFile
	if err := audit(o, cfg); err != nil {
		return nil, err
	}
	completed, err := o.Complete(ctx, nil, nil)
	if err != nil {
		return nil, err
	}
	return &completed, errors.Join(completed.Validate()...)
}

func serve(o *options.Options, certs *pki, listener net.Listener) {
	o.SecureServing.Listener = listener
	o.SecureServing.ServerCert.CertKey.CertFile = certs.serving.certFile
	o.SecureServing.ServerCert.CertKey.KeyFile = certs.serving.keyFile
	o.SecureServing.MinTLSVersion = "VersionTLS12"
	// Asked for one, Kubernetes looks for a default route, which a machine may
	// not have. Nobody reads it here.
	o.GenericServerRunOptions.AdvertiseAddress = net.IPv4(127, 0, 0, 1)
	// Drain requests first, then close; without it an open watch holds a stop
	// up for a minute.
	o.GenericServerRunOptions.ShutdownSendRetryAfter = true
	o.GenericServerRunOptions.ShutdownWatchTerminationGracePeriod = time.Second
	o.Features.EnableProfiling = false
	// Nothing to set, and it would be set for the whole process.
	o.Metrics = nil
}

// authenticate knows certificates, bootstrap tokens and service accounts.
func authenticate(o *options.Options, certs *pki) {
	a := o.Authentication
	a.Anonymous.Allow = false
	a.ClientCert.ClientCA = certs.ca.certFile
	a.BootstrapToken.Enable = true
	a.ServiceAccounts.Issuers = []string{issuerURL}
	a.ServiceAccounts.KeyFiles = []string{certs.serviceAccounts.keyFile}
	a.ServiceAccounts.OptionalTokenGetter = newTokenGetter
	o.ServiceAccountSigningKeyFile = certs.serviceAccounts.keyFile
	o.Authorization.Modes = []string{"RBAC"}
}

// admit turns on what makes sense without pods: namespaces that end, policies,
// and the limits on certificates. Webhooks are left out: none may be down.
func admit(o *options.Options) {
	on := sets.New(lifecycle.PluginName, validating.PluginName,
		approval.PluginName, signing.PluginName, subjectrestriction.PluginName)
	a := o.Admission.GenericAdmission
	a.DefaultOffPlugins = sets.New(kubeoptions.AllOrderedPlugins...).Difference(on)
	a.Plugins.Register(instantName, newInstant)
	a.RecommendedPluginOrder = append(slices.Clone(kubeoptions.AllOrderedPlugins), instantName)
}

// auditPolicy logs who wrote what and when. Bodies may hold secrets.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, verbs: [get, list, watch]}
- {level: None, users: ["system:apiserver"]}
- {level: None, resources: [{group: coordination.k8s.io, resources: [leases]}]}
- {level: Metadata}
`

func audit(o *options.Options, cfg *Config) error {
	if cfg.AuditLog == "" {
		return nil
	}
	o.Audit.PolicyFile = filepath.Join(cfg.DataDir, "audit-policy.yaml")
	o.Audit.LogOptions.Path = cfg.AuditLog
	// 10 files of 100 MiB.
	o.Audit.LogOptions.MaxSize, o.Audit.LogOptions.MaxBackups = 100, 9
	if err := writeFile(o.Audit.PolicyFile, []byte(auditPolicy), 0o600); err != nil {
		return fmt.Errorf("cannot write the audit policy: %w", err)
	}
	return nil
}
