package testenv

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// Namespace makes a namespace of a test's own, named by a prefix.
func (e *Env) Namespace(t *testing.T, prefix string) string {
	t.Helper()
	client, err := kubernetes.NewForConfig(e.Admin)
	if err != nil {
		t.Fatal(err)
	}
	made, err := client.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix + "-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made.Name
}

// A Job is a controller that runs in one namespace only, as the controllers.
type Job struct {
	cancel context.CancelFunc
	ended  chan error
	once   sync.Once
	err    error

	mu     sync.Mutex
	writes map[string]int
}

// StartJob runs what add adds to a manager until the test ends, or until it is
// stopped.
func (e *Env) StartJob(t *testing.T, scheme *runtime.Scheme, namespace string, add func(manager.Manager) error) *Job {
	t.Helper()
	j := &Job{ended: make(chan error, 1), writes: map[string]int{}}
	own := rest.CopyConfig(e.Controllers)
	own.QPS = -1
	own.Wrap(func(next http.RoundTripper) http.RoundTripper { return counter{next, j} })
	again := true
	m, err := ctrl.NewManager(own, manager.Options{
		Scheme:     scheme,
		Logger:     logr.FromSlogHandler(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
		Metrics:    server.Options{BindAddress: "0"},
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
		Controller: config.Controller{SkipNameValidation: &again}, // a test may run one twice
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := add(m); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	j.cancel = cancel
	go func() { j.ended <- m.Start(ctx) }()
	t.Cleanup(func() { j.Stop(t) })
	return j
}

// Stop ends the job and waits for its end.
func (j *Job) Stop(t *testing.T) {
	t.Helper()
	j.once.Do(func() {
		j.cancel()
		j.err = <-j.ended
	})
	if j.err != nil {
		t.Error(fmt.Errorf("the job ended with an error: %w", j.err))
	}
}

// Writes returns how many writes of the job were answered, refused ones
// included, by verb and resource, such as "PUT rollouts/status".
func (j *Job) Writes() map[string]int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.writes)
}

// A counter counts what passes through it.
type counter struct {
	next http.RoundTripper
	job  *Job
}

// RoundTrip sends a request on, and counts it when it was answered, unless it
// only reads.
func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := c.next.RoundTrip(r)
	if r.Method != http.MethodGet {
		c.job.mu.Lock()
		c.job.writes[r.Method+" "+resource(r.URL.Path)]++
		c.job.mu.Unlock()
	}
	return answer, err
}

// resource returns RESOURCE or RESOURCE/SUBRESOURCE of a path of the API, which
// is /apis/GROUP/VERSION/namespaces/NAMESPACE/RESOURCE/NAME/SUBRESOURCE.
func resource(path string) string {
	_, place, _ := strings.Cut(path, "/namespaces/")
	parts := strings.Split(place, "/")
	switch len(parts) {
	case 1:
		return path
	case 4:
		return parts[1] + "/" + parts[3]
	}
	return parts[1]
}
