package cluster

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/gather"
	"ringfence.dev/ringfence/internal/status"
)

// addLone adds what is said of hosts and node pools that no cluster speaks for.
func (r *reconciler) addLone(m manager.Manager) error {
	hosts := gather.Fold(m.GetClient(), gather.Hosts)
	comesOrGoes := builder.WithPredicates(gather.ComesOrGoes())
	err := ctrl.NewControllerManagedBy(m).Named("cluster-lone-host").
		Watches(&v1alpha1.Host{}, hosts, builder.WithPredicates(gather.HostChanged())).
		Watches(&v1alpha1.Cluster{}, hosts, comesOrGoes).
		Watches(&v1alpha1.NodePool{}, hosts, comesOrGoes).
		Watches(&v1alpha1.SecurityGroup{}, hosts, comesOrGoes).
		Complete(reconcile.Func(r.loneHost))
	if err != nil {
		return err
	}
	pools := gather.Fold(m.GetClient(), gather.Pools)
	return ctrl.NewControllerManagedBy(m).Named("cluster-lone-pool").
		Watches(&v1alpha1.NodePool{}, pools).
		Watches(&v1alpha1.Cluster{}, pools, comesOrGoes).
		Complete(reconcile.Func(r.lonePool))
}

func (r *reconciler) loneHost(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	l, err := gather.LoneHost(ctx, r.client, request.NamespacedName)
	if err != nil || l == nil {
		return status.Result(ctx, err)
	}
	condition, said := judgeLone(l, metav1.NewTime(r.clock.Now()))
	have := status.Owned(l.Host.Status.Conditions, v1alpha1.ConditionAccepted)
	if !said || len(have) > 0 && have[0] == condition {
		return reconcile.Result{}, nil
	}
	return status.Result(ctx, owner.Apply(ctx, r.client, l.Host, &v1alpha1.HostStatus{Conditions: []metav1.Condition{condition}}))
}

// judgeLone returns the condition Accepted of a host without a cluster, and
// whether it is to be said: it is wrong, or was.
func judgeLone(l *gather.Lone, now metav1.Time) (metav1.Condition, bool) {
	self := convert.Object{Kind: v1alpha1.KindHost, Name: l.Host.Name}
	var mistakes []*convert.InputError
	if l.Pool != nil && l.Host.Spec.ClusterName == "" {
		mistakes = append(mistakes, &convert.InputError{
			Place: convert.Place{Object: self, Path: "/spec/nodePoolName"}, Reason: v1alpha1.ReasonNotFound,
			Err: fmt.Errorf("node pool %s is of cluster %s, which is not there", l.Pool.Name, l.Pool.Spec.ClusterName),
		})
	} else {
		_, all := convert.Sound(&l.Objects)
		for _, m := range all {
			if m.Place.Object == self {
				mistakes = append(mistakes, m)
			}
		}
	}
	condition := status.Conditions(l.Host.Status.Conditions, now, acceptance(mistakes, l.Host.Generation))[0]
	return condition, len(mistakes) > 0 || len(status.Owned(l.Host.Status.Conditions, v1alpha1.ConditionAccepted)) > 0
}

func (r *reconciler) lonePool(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	p, err := gather.LonePool(ctx, r.client, request.NamespacedName)
	if err != nil || p == nil {
		return status.Result(ctx, err)
	}
	// What its nodes wear is theirs as long as nobody says otherwise.
	want := p.Status
	_, mistakes := convert.Sound(&convert.Objects{NodePools: []*v1alpha1.NodePool{p}})
	want.Conditions = status.Conditions(p.Status.Conditions, metav1.NewTime(r.clock.Now()), acceptance(mistakes, p.Generation),
		status.False(v1alpha1.ConditionReady, v1alpha1.ReasonNotAccepted, "it is not accepted: see condition Accepted", p.Generation))
	have := status.Owned(p.Status.Conditions, v1alpha1.ConditionAccepted, v1alpha1.ConditionReady)
	if equality.Semantic.DeepEqual(have, want.Conditions) {
		return reconcile.Result{}, nil
	}
	return status.Result(ctx, owner.Apply(ctx, r.client, p, &want))
}
