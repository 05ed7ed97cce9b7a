// Package namespaced is what jobs share that look at a namespace as a whole:
// one turn a namespace, with the events in between folded into it, the objects
// read from the cache without copying them, and a wait after each turn until
// the cache has what was written.
package namespaced

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Enqueue gives the namespace of an object a turn, a while after the event. What
// comes meanwhile is folded into that turn. Updates for which changed returns
// false give none; nil means that all do.
func Enqueue(after time.Duration, changed func(before, now client.Object) bool) handler.EventHandler {
	add := func(o client.Object, q queue) {
		q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace()}}, after)
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(e.Object, q) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if changed == nil || changed(e.ObjectOld, e.ObjectNew) {
				add(e.ObjectNew, q)
			}
		},
	}
}

// Objects returns what people and controllers wrote in a namespace. The objects
// are the cache's own: whoever changes them spoils it for all.
func Objects(ctx context.Context, from client.Reader, namespace string) (*convert.Objects, error) {
	var vpcs v1alpha1.VPCList
	var lists v1alpha1.PrefixListList
	var groups v1alpha1.SecurityGroupList
	var clusters v1alpha1.ClusterList
	var pools v1alpha1.NodePoolList
	var hosts v1alpha1.HostList
	for _, list := range []client.ObjectList{&vpcs, &lists, &groups, &clusters, &pools, &hosts} {
		if err := List(ctx, from, namespace, list); err != nil {
			return nil, err
		}
	}
	return &convert.Objects{
		VPCs: pointers(vpcs.Items), PrefixLists: pointers(lists.Items), SecurityGroups: pointers(groups.Items),
		Clusters: pointers(clusters.Items), NodePools: pointers(pools.Items), Hosts: pointers(hosts.Items),
	}, nil
}

// List fills a list with the objects of a namespace, which are the cache's own.
func List(ctx context.Context, from client.Reader, namespace string, list client.ObjectList) error {
	if err := from.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("cannot list %T of namespace %s: %w", list, namespace, err)
	}
	return nil
}

// After says what follows on writes that ended with an error, or with nil. Who
// was overtaken looks again after a while, and in a namespace that is being
// deleted there is nothing to be made.
func After(err error, again time.Duration) (reconcile.Result, error) {
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return reconcile.Result{}, nil
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err):
		return reconcile.Result{RequeueAfter: again}, nil
	}
	return reconcile.Result{}, err
}

func pointers[T any](list []T) []*T {
	out := make([]*T, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// A Write is something that was written: what the cache had before (nil for
// what was made) and what it will have (nil for what was deleted).
type Write struct{ Before, Now client.Object }

// catchUpWithin is a hundred times what a cache needs on a busy machine.
const catchUpWithin = 10 * time.Second

// CatchUp waits until the cache has seen writes, so that the next turn does not
// decide by what was before them. Not in time is an error, after which the
// turn comes again.
func CatchUp(ctx context.Context, cache client.Reader, scheme *runtime.Scheme, writes []Write) error {
	err := wait.PollUntilContextTimeout(ctx, 2*time.Millisecond, catchUpWithin, true, func(ctx context.Context) (bool, error) {
		for len(writes) > 0 {
			seen, err := writes[0].seen(ctx, cache, scheme)
			if err != nil || !seen {
				return false, err
			}
			writes = writes[1:]
		}
		return true, nil
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("the cache has not seen what was written within %s", catchUpWithin)
	}
	return err
}

func (w *Write) seen(ctx context.Context, cache client.Reader, scheme *runtime.Scheme) (bool, error) {
	of := w.Now
	if of == nil {
		of = w.Before
	}
	kinds, _, err := scheme.ObjectKinds(of)
	if err != nil {
		return false, err
	}
	fresh, err := scheme.New(kinds[0])
	if err != nil {
		return false, err
	}
	got, ok := fresh.(client.Object)
	if !ok {
		return false, fmt.Errorf("%T is no object", fresh)
	}
	err = cache.Get(ctx, client.ObjectKeyFromObject(of), got, client.UnsafeDisableDeepCopy)
	switch {
	case apierrors.IsNotFound(err):
		return w.Now == nil, nil
	case err != nil:
		return false, err
	case w.Now == nil:
		return got.GetUID() != w.Before.GetUID(), nil
	case w.Before == nil:
		return true, nil
	}
	return got.GetResourceVersion() != w.Before.GetResourceVersion(), nil
}
