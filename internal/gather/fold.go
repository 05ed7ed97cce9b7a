package gather

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"ringfence.dev/ringfence/api/v1alpha1"
)

const (
	// fold is how long the first event of a burst waits for the others: ten
	// steps from a cluster to its protected group still take less than a second.
	fold = 50 * time.Millisecond
	// foldMany is fold for what comes in thousands: hosts and their addresses.
	// To decide about 10,000 hosts takes a tenth of a second, and what it says
	// is to be there within one.
	foldMany = 400 * time.Millisecond
)

func foldOf(o client.Object) time.Duration {
	switch o.(type) {
	case *v1alpha1.Host, *v1alpha1.AddressSlice:
		return foldMany
	}
	return fold
}

// A Concern tells which decisions an object concerns, as Clusters and Groups do.
type Concern func(context.Context, client.Reader, client.Object) []types.NamespacedName

// Fold enqueues the decisions that an object concerns, or did before, and lets a
// burst of events become one.
func Fold(from client.Reader, concern Concern) handler.EventHandler {
	enqueue := func(ctx context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request], objects ...client.Object) {
		for _, o := range objects {
			for _, key := range concern(ctx, from, o) {
				q.AddAfter(reconcile.Request{NamespacedName: key}, foldOf(o))
			}
		}
	}
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { enqueue(ctx, q, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { enqueue(ctx, q, e.ObjectOld, e.ObjectNew) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { enqueue(ctx, q, e.Object) },
	}
}

// HostChanged lets pass what changes a host for others: not its Lease, probes or
// counters, which change all the time.
func HostChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1alpha1.Host)
		after, ok2 := e.ObjectNew.(*v1alpha1.Host)
		return !ok || !ok2 || before.Generation != after.Generation ||
			!slices.Equal(before.Status.Addresses, after.Status.Addresses) ||
			!slices.Equal(before.Status.ObservedRoles, after.Status.ObservedRoles) ||
			(before.DeletionTimestamp == nil) != (after.DeletionTimestamp == nil)
	}}
}

// ComesOrGoes lets pass that an object is there, and that it is there no more.
func ComesOrGoes() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}
}
