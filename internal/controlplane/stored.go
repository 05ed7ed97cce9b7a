package controlplane

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// lookEvery is how often the stored objects are asked about. Asking costs one
// small request a kind, which the API server answers from memory.
const lookEvery = 5 * time.Second

// maxNamed bounds how many objects a report names.
const maxNamed = 20

// A reader looks for objects that the store holds and nobody can decode. One of
// them keeps its whole kind from being listed, so it is named, with the command
// that removes it.
type reader struct{ discovery discovery.DiscoveryInterface }

func newReader(loopback *rest.Config) (*reader, error) {
	config := rest.CopyConfig(loopback)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &reader{client.Discovery()}, nil
}

// watch looks again and again, and tells what it finds, or nil.
func (r *reader) watch(ctx context.Context, tell func(error)) error {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if found := r.look(ctx); ctx.Err() == nil {
			tell(found)
		}
	}, lookEvery)
	return nil
}

// look asks for one object of each kind. The API server answers from its memory,
// which it fills only if it can decode every object of the kind.
func (r *reader) look(ctx context.Context) error {
	lists, err := r.discovery.ServerPreferredResources()
	if err != nil && len(lists) == 0 {
		return nil // not serving yet, which others tell
	}
	var broken []error
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		for i := range list.APIResources {
			if slices.Contains(list.APIResources[i].Verbs, "list") {
				broken = append(broken, r.kind(ctx, version.WithResource(list.APIResources[i].Name))...)
			}
		}
	}
	if more := len(broken) - maxNamed; more > 0 {
		broken = append(broken[:maxNamed], fmt.Errorf("and %d more", more))
	}
	return errors.Join(broken...)
}

func (r *reader) kind(ctx context.Context, kind schema.GroupVersionResource) []error {
	// With a selector, even one that selects all, a memory that is not filled is
	// an error; without one, the store would be asked, for its first object only.
	err := r.list(ctx, kind, map[string]string{"limit": "1", "resourceVersion": "0", "labelSelector": "!ringfence.dev/none"})
	if err == nil {
		return nil
	}
	// With a limit and no selector, the store: its error has every key.
	err = r.list(ctx, kind, map[string]string{"limit": strconv.Itoa(math.MaxInt32)})
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Reason != metav1.StatusReasonStoreReadError || status.ErrStatus.Details == nil {
		return nil
	}
	var broken []error
	for _, cause := range status.ErrStatus.Details.Causes {
		if cause.Field != "" {
			broken = append(broken, fmt.Errorf("cannot decode the stored object %s; restore it from a backup, or remove it: kubectl delete --raw '%s'", cause.Field, removal(kind, cause.Field)))
		}
	}
	return broken
}

// list asks once: a client of Kubernetes would wait for a memory that is not
// filled, which it never will be.
func (r *reader) list(ctx context.Context, kind schema.GroupVersionResource, params map[string]string) error {
	request := r.discovery.RESTClient().Get().AbsPath(root(kind), kind.Resource).MaxRetries(0)
	for name, value := range params {
		request = request.Param(name, value)
	}
	return request.Do(ctx).Error()
}

// root is the path of a kind's version.
func root(kind schema.GroupVersionResource) string {
	if kind.Group == "" {
		return "/api/" + kind.Version
	}
	return "/apis/" + kind.Group + "/" + kind.Version
}

// removal is the request that deletes an object of a kind, named by its key in
// the store, if it cannot be decoded. The API server refuses it for all others.
// Keys end in RESOURCE/NAMESPACE/NAME or RESOURCE/NAME.
func removal(kind schema.GroupVersionResource, key string) string {
	path := root(kind)
	name := key[strings.LastIndex(key, "/")+1:]
	before := strings.TrimSuffix(key, "/"+name)
	if namespace := before[strings.LastIndex(before, "/")+1:]; namespace != kind.Resource {
		path += "/namespaces/" + namespace
	}
	return path + "/" + kind.Resource + "/" + name + "?ignoreStoreReadErrorWithClusterBreakingPotential=true"
}

// explain adds to the answer of /readyz why the server is not ready. Kubernetes
// withholds reasons there, since it answers everybody; here it answers only who
// has the right to ask, so nothing is added to any other refusal.
func explain(inner http.Handler, why func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			inner.ServeHTTP(w, r)
			return
		}
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		inner.ServeHTTP(responsewriter.WrapForHTTP1Or2(seen), r)
		if err := why(); err != nil && seen.status == http.StatusInternalServerError {
			_, _ = fmt.Fprintf(w, "ringfence: %s\n", err)
		}
	})
}

// A statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap implements responsewriter.UserProvidedDecorator.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
