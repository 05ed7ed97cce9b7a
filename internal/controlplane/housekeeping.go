package controlplane

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/kubernetes/pkg/controller/bootstrap"
	"k8s.io/kubernetes/pkg/controller/certificates/cleaner"
	"k8s.io/kubernetes/pkg/controller/certificates/signer"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/namespace"
)

const (
	// resync and the numbers of workers are those of kube-controller-manager
	// where we know of no reason to differ.
	resync           = 10 * time.Minute
	namespaceResync  = 5 * time.Minute
	namespaceWorkers = 5
	collectorWorkers = 5
	// collectorSync is how often the collector looks for new kinds.
	collectorSync = 30 * time.Second
	signerWorkers = 1
	// clientLife is how long a host's certificate is good for unless it asks
	// for less. A lost host's certificate dies with it within that time.
	clientLife = 30 * 24 * time.Hour
)

// A keeper is one controller of kube-controller-manager.
type keeper func(context.Context)

// A household is what the keepers share.
type household struct {
	client   kubernetes.Interface
	metadata metadata.Interface
	typed    informers.SharedInformerFactory
	bare     metadatainformer.SharedInformerFactory
	started  chan struct{}
}

// housekeeping runs what kube-controller-manager does elsewhere: without it no
// namespace ends, nothing is collected with its owner, and no certificate is
// signed.
func housekeeping(ctx context.Context, loopback *rest.Config, certs *pki) error {
	h, err := newHousehold(loopback)
	if err != nil {
		return err
	}
	collector, err := h.collector(ctx)
	if err != nil {
		return err
	}
	certificates, err := h.certificates(ctx, certs)
	if err != nil {
		return err
	}
	tokens, err := bootstrap.NewTokenCleaner(h.client, h.typed.Core().V1().Secrets(), bootstrap.DefaultTokenCleanerOptions())
	if err != nil {
		return fmt.Errorf("cannot set up the cleaning of bootstrap tokens: %w", err)
	}
	h.run(ctx, slices.Concat(collector, certificates, []keeper{h.namespaces(ctx), tokens.Run}))
	return nil
}

func newHousehold(loopback *rest.Config) (*household, error) {
	config := rest.CopyConfig(loopback)
	// The server itself meters requests; a second meter here would only make
	// the end of a large namespace slow.
	config.QPS = -1
	config = rest.AddUserAgent(config, "housekeeping")
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &household{
		client:   client,
		metadata: meta,
		typed:    informers.NewSharedInformerFactory(client, resync),
		bare:     metadatainformer.NewSharedInformerFactory(meta, resync),
		started:  make(chan struct{}),
	}, nil
}

// run starts the informers, then the keepers, and waits for the end of all.
func (h *household) run(ctx context.Context, keepers []keeper) {
	var all sync.WaitGroup
	for _, keep := range keepers {
		all.Go(func() { keep(ctx) })
	}
	h.typed.Start(ctx.Done())
	h.bare.Start(ctx.Done())
	close(h.started)
	all.Wait()
	h.typed.Shutdown()
	h.bare.Shutdown()
}

// namespaces empties a namespace that was deleted.
func (h *household) namespaces(ctx context.Context) keeper {
	c := namespace.NewNamespaceController(ctx, h.client, h.metadata,
		h.client.Discovery().ServerPreferredNamespacedResources,
		h.typed.Core().V1().Namespaces(), namespaceResync, corev1.FinalizerKubernetes)
	return func(ctx context.Context) { c.Run(ctx, namespaceWorkers) }
}

// collector deletes what has lost its last owner.
func (h *household) collector(ctx context.Context) ([]keeper, error) {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(h.client.Discovery()))
	c, err := garbagecollector.NewGarbageCollector(ctx, h.client, h.metadata, mapper,
		garbagecollector.DefaultIgnoredResources(), informerfactory.NewInformerFactory(h.typed, h.bare), h.started)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the garbage collector: %w", err)
	}
	return []keeper{
		func(ctx context.Context) { c.Run(ctx, collectorWorkers, collectorSync) },
		func(ctx context.Context) { c.Sync(ctx, h.client.Discovery(), collectorSync) },
	}, nil
}

// certificates signs what was approved and clears away what was not. Who
// approves is not decided here: nobody may, until a controller of ours does.
func (h *household) certificates(ctx context.Context, certs *pki) ([]keeper, error) {
	requests := h.typed.Certificates().V1().CertificateSigningRequests()
	s, err := signer.NewKubeAPIServerClientCSRSigningController(ctx, h.client, requests, certs.ca.certFile, certs.ca.keyFile, clientLife)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the signing of certificates: %w", err)
	}
	c := cleaner.NewCSRCleanerController(h.client.CertificatesV1().CertificateSigningRequests(), requests)
	return []keeper{
		func(ctx context.Context) { s.Run(ctx, signerWorkers) },
		func(ctx context.Context) { c.Run(ctx, signerWorkers) },
	}, nil
}
