package upstream

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/identity"
)

// TestReportBacksOff: a control plane that refuses what a host says is asked
// later and later, however much more there is to say.
func TestReportBacksOff(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer s.Close()
	config := (&plane{Server: s.URL}).config()
	config.GroupVersion = &v1alpha1.GroupVersion
	ours, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	now := clocktesting.NewFakeClock(time.Unix(1000, 0))
	c := &Client{Host: identity.Host{Namespace: "a", Name: "node-1"}, ours: ours, clock: now, log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := c.Report(ctx)
	// waits lets time pass once the reporter waits for it.
	waits := func(d time.Duration) {
		t.Helper()
		err := wait.PollUntilContextTimeout(ctx, time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) { return now.HasWaiters(), nil })
		if err != nil {
			t.Fatal(err)
		}
		now.Step(d)
	}
	r.Status(&v1alpha1.HostStatus{DriftRepairs: 1})
	waits(spread)
	for n, backoff := range []time.Duration{firstRetry, 2 * firstRetry, 4 * firstRetry} {
		r.Status(&v1alpha1.HostStatus{DriftRepairs: int32(n + 2)})
		waits(backoff / 2) // longer than it takes to be told of something new
		if got := int(asked.Load()); got != n+1 {
			t.Fatalf("%d times it was refused, and before its time the control plane was asked %d times", n+1, got)
		}
		waits(backoff / 2)
	}
	waits(0) // for the next time
	if got := int(asked.Load()); got != 4 {
		t.Errorf("asked %d times, want 4", got)
	}
}
