// Package group keeps what a SecurityGroup says of itself true: who uses it,
// whether it may be deleted, how many members and rules it has, and whether it
// makes sense together with those that it names.
//
// Who uses a group is found by names alone: a cluster that makes no sense
// protects its groups too.
package group

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/gather"
	"ringfence.dev/ringfence/internal/status"
)

// owner owns the status of SecurityGroups but for their system rules, their held
// removals and the advice.
const owner status.Owner = "ringfence-group"

// Add adds the job to a manager, whose cache has the indexes of package gather.
func Add(m manager.Manager) error {
	r := &reconciler{client: m.GetClient(), live: m.GetAPIReader(), clock: clock.RealClock{}}
	concerned := gather.Fold(m.GetClient(), gather.Groups)
	return ctrl.NewControllerManagedBy(m).Named("group").
		Watches(&v1alpha1.SecurityGroup{}, concerned).
		Watches(&v1alpha1.Cluster{}, concerned).
		Watches(&v1alpha1.NodePool{}, concerned).
		Watches(&v1alpha1.Host{}, concerned, builder.WithPredicates(gather.HostChanged())).
		Watches(&v1alpha1.AddressSlice{}, concerned).
		Watches(&v1alpha1.VPC{}, concerned).
		Watches(&v1alpha1.PrefixList{}, concerned).
		Complete(r)
}

type reconciler struct {
	client client.Client
	// live reads past the cache.
	live  client.Reader
	clock clock.PassiveClock
}

// Reconcile implements reconcile.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	return status.Result(ctx, r.reconcile(ctx, request.NamespacedName))
}

func (r *reconciler) reconcile(ctx context.Context, key types.NamespacedName) error {
	c, err := gather.Group(ctx, r.client, key)
	if err != nil || c == nil {
		return err
	}
	want := decide(c, metav1.NewTime(r.clock.Now()))
	// The finalizer comes before the word that the group is protected, and goes
	// after the word that it is not.
	if *want.Protected {
		if err := r.finalizer(ctx, c.Group, controllerutil.AddFinalizer); err != nil {
			return err
		}
	}
	if !equality.Semantic.DeepEqual(portion(&c.Group.Status), want) {
		if err := owner.Apply(ctx, r.client, c.Group, &want); err != nil {
			return err
		}
	}
	if *want.Protected {
		return nil
	}
	if err := r.finalizer(ctx, c.Group, controllerutil.RemoveFinalizer); err != nil {
		return err
	}
	return r.collect(ctx, c.Group)
}

// portion is what decide decides of a status.
func portion(s *v1alpha1.SecurityGroupStatus) v1alpha1.SecurityGroupStatus {
	return v1alpha1.SecurityGroupStatus{
		Members: s.Members, RuleCount: s.RuleCount, Clusters: s.Clusters, UsedBy: s.UsedBy, Protected: s.Protected,
		Conditions: status.Owned(s.Conditions, conditions...),
	}
}

// finalizer puts the finalizer on or takes it off. The API server takes none for
// an object that is on its way out.
func (r *reconciler) finalizer(ctx context.Context, g *v1alpha1.SecurityGroup, change func(client.Object, string) bool) error {
	changed := g.DeepCopy()
	added := change(changed, v1alpha1.FinalizerInUse) && len(changed.Finalizers) > len(g.Finalizers)
	if len(changed.Finalizers) == len(g.Finalizers) || added && g.DeletionTimestamp != nil {
		return nil
	}
	patch := client.MergeFromWithOptions(g, client.MergeFromWithOptimisticLock{})
	if err := r.client.Patch(ctx, changed, patch, client.FieldOwner(owner)); err != nil {
		return fmt.Errorf("cannot change the finalizer of security group %s: %w", g.Name, err)
	}
	return nil
}

// collect deletes a group that was made for a cluster or node pool which is
// gone. The garbage collector does so too, but while the group was in use it was
// refused, and it asks again only after up to 17 minutes.
func (r *reconciler) collect(ctx context.Context, g *v1alpha1.SecurityGroup) error {
	if g.DeletionTimestamp != nil || g.Spec.Management != v1alpha1.ManagementManaged {
		return nil
	}
	ref := metav1.GetControllerOf(g)
	if ref == nil || ref.APIVersion != v1alpha1.APIVersion {
		return nil
	}
	var o client.Object
	switch ref.Kind {
	case v1alpha1.KindCluster:
		o = &v1alpha1.Cluster{}
	case v1alpha1.KindNodePool:
		o = &v1alpha1.NodePool{}
	default:
		return nil
	}
	err := r.live.Get(ctx, types.NamespacedName{Namespace: g.Namespace, Name: ref.Name}, o)
	if err == nil && o.GetUID() == ref.UID || client.IgnoreNotFound(err) != nil {
		return client.IgnoreNotFound(err)
	}
	err = r.client.Delete(ctx, g, client.Preconditions{UID: &g.UID})
	if apierrors.IsForbidden(err) { // somebody began to use it
		return nil
	}
	return client.IgnoreNotFound(err)
}
