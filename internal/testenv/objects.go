package testenv

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Client returns a client, for Admin or Controllers.
func Client(t *testing.T, of *rest.Config, scheme *runtime.Scheme) client.Client {
	t.Helper()
	own := rest.CopyConfig(of)
	own.QPS = -1
	c, err := client.New(own, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// within is a hundred times what anything here takes on two busy cores.
const within = 60 * time.Second

// Eventually waits until check returns nothing, and fails the test with what it
// last returned if that takes too long.
func Eventually(t *testing.T, check func(context.Context) string) {
	t.Helper()
	last := "nothing was checked"
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == "", nil
	})
	if err != nil {
		t.Fatalf("not within %s: %s", within, last)
	}
}
