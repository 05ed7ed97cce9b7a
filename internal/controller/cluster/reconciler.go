// Package cluster gives every Cluster and NodePool the groups that it asks for:
// it makes them, keeps their system rules as the facts say, and tells in status
// which groups are used and whether they are protected. A group that was there
// before is never written to.
package cluster

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/gather"
	"ringfence.dev/ringfence/internal/status"
	"ringfence.dev/ringfence/profiles"
)

// owner owns the system rules of the groups that are made here, and everything
// in the status of Clusters and NodePools but the advice.
const owner status.Owner = "ringfence-cluster"

// Add adds the job to a manager, whose cache has the indexes of package gather.
func Add(m manager.Manager) error {
	tables, err := profiles.Load()
	if err != nil {
		return err
	}
	r := &reconciler{client: m.GetClient(), engine: engine{tables: tables}, clock: clock.RealClock{}}
	if err := r.addLone(m); err != nil {
		return err
	}
	concerned := gather.Fold(m.GetClient(), gather.Clusters)
	return ctrl.NewControllerManagedBy(m).Named("cluster").
		Watches(&v1alpha1.Cluster{}, concerned).
		Watches(&v1alpha1.NodePool{}, concerned).
		Watches(&v1alpha1.Host{}, concerned, builder.WithPredicates(gather.HostChanged())).
		Watches(&v1alpha1.SecurityGroup{}, concerned).
		Watches(&v1alpha1.VPC{}, concerned).
		Watches(&v1alpha1.PrefixList{}, concerned).
		Complete(r)
}

type reconciler struct {
	client client.Client
	engine engine
	clock  clock.PassiveClock
}

// Reconcile implements reconcile.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	return status.Result(ctx, r.reconcile(ctx, request.NamespacedName))
}

func (r *reconciler) reconcile(ctx context.Context, key types.NamespacedName) error {
	unit, err := gather.Cluster(ctx, r.client, key)
	if err != nil || unit == nil {
		return err
	}
	p := prepare(unit)
	sharers, err := r.sharers(ctx, key, p)
	if err != nil {
		return err
	}
	return r.write(ctx, unit, r.engine.decide(p, sharers, metav1.NewTime(r.clock.Now())))
}

// sharers are the other clusters that use a group which is made for this one.
func (r *reconciler) sharers(ctx context.Context, key types.NamespacedName, p *prepared) ([]*prepared, error) {
	var groups []string
	for i := range p.wants {
		groups = append(groups, p.wants[i].name)
	}
	names, err := gather.Sharing(ctx, r.client, key, groups)
	if err != nil {
		return nil, err
	}
	var list []*prepared
	for _, name := range names {
		unit, err := gather.Cluster(ctx, r.client, types.NamespacedName{Namespace: key.Namespace, Name: name})
		if err != nil {
			return nil, err
		}
		if unit != nil {
			list = append(list, prepare(unit))
		}
	}
	return list, nil
}

// write writes what differs: groups before those who use them.
func (r *reconciler) write(ctx context.Context, u *gather.Unit, d decision) error {
	if u.Cluster.DeletionTimestamp == nil {
		for i := range d.groups {
			if err := r.group(ctx, &d.groups[i]); err != nil {
				return err
			}
		}
	}
	for _, pool := range u.Objects.NodePools {
		want := d.pools[pool.Name]
		have := pool.Status
		have.Conditions = status.Owned(have.Conditions, v1alpha1.ConditionAccepted, v1alpha1.ConditionReady)
		if equality.Semantic.DeepEqual(have, want) {
			continue
		}
		if err := owner.Apply(ctx, r.client, pool, &want); err != nil {
			return err
		}
	}
	for name, condition := range d.hosts {
		h := u.Own[name]
		if have := status.Owned(h.Status.Conditions, v1alpha1.ConditionAccepted); len(have) > 0 && have[0] == condition {
			continue
		}
		if err := owner.Apply(ctx, r.client, h, &v1alpha1.HostStatus{Conditions: []metav1.Condition{condition}}); err != nil {
			return err
		}
	}
	have := u.Cluster.Status
	have.Discovered = nil // another owner's
	have.Conditions = status.Owned(have.Conditions, v1alpha1.ConditionAccepted, v1alpha1.ConditionReady)
	if equality.Semantic.DeepEqual(have, d.cluster) {
		return nil
	}
	return owner.Apply(ctx, r.client, u.Cluster, &d.cluster)
}

// group makes a group if it is not there, and brings its system rules to what
// they shall be.
func (r *reconciler) group(ctx context.Context, g *groupDecision) error {
	if g.have == nil {
		g.have = g.group()
		if err := r.client.Create(ctx, g.have, client.FieldOwner(owner)); err != nil {
			return fmt.Errorf("cannot make security group %s: %w", g.name, err)
		}
	}
	version := g.have.ResourceVersion
	for _, step := range steps(rulesOf(g.have), g.rules) {
		next, err := owner.ApplyTo(ctx, r.client, g.have, version, &v1alpha1.SecurityGroupStatus{SystemIngress: step.ingress, SystemEgress: step.egress})
		if err != nil {
			return err
		}
		version = next
	}
	return nil
}
