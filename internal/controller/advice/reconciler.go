// Package advice says of Clusters and SecurityGroups what ringfence check says:
// which needed flows are missing, and which rules let through what nobody needs.
// It says so in conditions, and in an Event when one of them changes.
package advice

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/gather"
	"ringfence.dev/ringfence/internal/status"
	"ringfence.dev/ringfence/profiles"
)

// owner owns the conditions NeedsMet and Tight.
const owner status.Owner = "ringfence-advice"

// maxNote is how long an Event's text may be.
const maxNote = 1024

// Add adds the job to a manager, whose cache has the indexes of package gather.
func Add(m manager.Manager) error {
	tables, err := profiles.Load()
	if err != nil {
		return err
	}
	a := &adviser{
		client: m.GetClient(), recorder: m.GetEventRecorder("ringfence-advice"), tables: tables, clock: clock.RealClock{},
		verdicts: map[types.NamespacedName]*verdict{}, since: map[types.NamespacedName]time.Time{}, news: make(chan event.GenericEvent),
	}
	concerned := gather.Fold(m.GetClient(), gather.Clusters)
	err = ctrl.NewControllerManagedBy(m).Named("advice-cluster").
		Watches(&v1alpha1.Cluster{}, concerned).
		Watches(&v1alpha1.NodePool{}, concerned).
		Watches(&v1alpha1.Host{}, concerned, builder.WithPredicates(gather.HostChanged())).
		Watches(&v1alpha1.SecurityGroup{}, concerned).
		Watches(&v1alpha1.AddressSlice{}, concerned).
		Watches(&v1alpha1.VPC{}, concerned).
		Watches(&v1alpha1.PrefixList{}, concerned).
		Watches(&v1alpha1.ClusterNeeds{}, concerned).
		Complete(quiet(a.cluster))
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(m).Named("advice-group").
		Watches(&v1alpha1.SecurityGroup{}, &handler.EnqueueRequestForObject{}).
		WatchesRawSource(source.Channel(a.news, &handler.EnqueueRequestForObject{})).
		Complete(quiet(a.group))
}

// quiet lets a reconciler come again, without a word, when somebody was faster.
func quiet(do func(context.Context, types.NamespacedName) (time.Duration, error)) reconcile.Func {
	return func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		wait, err := do(ctx, request.NamespacedName)
		if err != nil {
			return status.Result(ctx, err)
		}
		return reconcile.Result{RequeueAfter: wait}, nil
	}
}

type adviser struct {
	client   client.Client
	recorder events.EventRecorder
	tables   *profiles.Tables
	clock    clock.PassiveClock

	// mu guards verdicts, the last about each cluster.
	mu       sync.Mutex
	verdicts map[types.NamespacedName]*verdict
	// since is when bad news of a cluster were first seen that are not said yet.
	since map[types.NamespacedName]time.Time
	// news are the groups about which a cluster's verdict has something new.
	news chan event.GenericEvent
}

// cluster judges one cluster, and returns how long to wait before it is to be
// judged again.
func (a *adviser) cluster(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	unit, err := gather.Cluster(ctx, a.client, key)
	if err != nil {
		return 0, err
	}
	if unit == nil {
		delete(a.since, key)
		return 0, a.remember(ctx, key, nil)
	}
	needs, err := a.needs(ctx, unit.Cluster)
	if err != nil {
		return 0, err
	}
	v := judgeCluster(unit, needs, a.tables)
	if v.worse(unit.Cluster.Status.Conditions) {
		if wait := a.settle(key); wait > 0 {
			return wait, nil
		}
	}
	delete(a.since, key)
	if err := a.say(ctx, unit.Cluster, unit.Cluster.Status.Conditions, v.needsMet, v.tight); err != nil {
		return 0, err
	}
	return 0, a.remember(ctx, key, &v)
}

// needs are those of the running cluster, the cache's own; nil if it is not read.
func (a *adviser) needs(ctx context.Context, c *v1alpha1.Cluster) (*v1alpha1.ClusterNeeds, error) {
	if c.Spec.Discovery == nil {
		return nil, nil
	}
	o := &v1alpha1.ClusterNeeds{}
	err := a.client.Get(ctx, client.ObjectKeyFromObject(c), o, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return o, err
}

// settled is how long bad news must have been true before they are said. When
// facts change, the system rules follow an instant later.
const settled = 300 * time.Millisecond

// settle returns how long to wait with bad news.
func (a *adviser) settle(key types.NamespacedName) time.Duration {
	now := a.clock.Now()
	first, ok := a.since[key]
	if !ok {
		a.since[key] = now
		return settled
	}
	return max(0, first.Add(settled).Sub(now))
}

// remember keeps a verdict, and tells about the groups where it is another than
// before.
func (a *adviser) remember(ctx context.Context, key types.NamespacedName, v *verdict) error {
	a.mu.Lock()
	before := a.verdicts[key]
	if a.verdicts[key] = v; v == nil {
		delete(a.verdicts, key)
	}
	a.mu.Unlock()
	for _, name := range changed(before, v) {
		g := &v1alpha1.SecurityGroup{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: name}}
		select {
		case a.news <- event.GenericEvent{Object: g}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// changed returns the groups of which two verdicts say different things, sorted.
func changed(before, after *verdict) []string {
	was, is := before.groups(), after.groups()
	all := maps.Clone(was)
	maps.Copy(all, is)
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(name string) bool {
		x, inOld := was[name]
		y, inNew := is[name]
		return inOld == inNew && maps.Equal(x, y)
	})
}

func (a *adviser) group(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	g := &v1alpha1.SecurityGroup{}
	if err := a.client.Get(ctx, key, g); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if len(g.Status.Clusters) == 0 {
		return 0, a.say(ctx, g, g.Status.Conditions)
	}
	var verdicts []*verdict
	a.mu.Lock()
	for _, user := range g.Status.Clusters {
		verdicts = append(verdicts, a.verdicts[types.NamespacedName{Namespace: key.Namespace, Name: user.Name}])
	}
	a.mu.Unlock()
	condition := judgeGroup(g, verdicts)
	if condition == nil {
		return 0, nil // a verdict is on its way, and comes with news
	}
	return 0, a.say(ctx, g, g.Status.Conditions, *condition)
}

// say writes the advice about an object if it is not what it says already, and
// an Event for each condition that is another than before.
func (a *adviser) say(ctx context.Context, o client.Object, before []metav1.Condition, advice ...metav1.Condition) error {
	have := status.Owned(before, v1alpha1.ConditionNeedsMet, v1alpha1.ConditionTight)
	want := status.Conditions(before, metav1.NewTime(a.clock.Now()), advice...)
	if equality.Semantic.DeepEqual(have, want) {
		return nil
	}
	var body any
	switch o.(type) {
	case *v1alpha1.Cluster:
		body = &v1alpha1.ClusterStatus{Conditions: want}
	default:
		body = &v1alpha1.SecurityGroupStatus{Conditions: want}
	}
	if err := owner.Apply(ctx, a.client, o, body); err != nil {
		return err
	}
	for i := range want {
		if c := &want[i]; newsworthy(have, c) {
			kind := corev1.EventTypeNormal
			if c.Status == metav1.ConditionFalse {
				kind = corev1.EventTypeWarning
			}
			a.recorder.Eventf(o, nil, kind, c.Reason, "Judge", "%s", note(c))
		}
	}
	return nil
}

// newsworthy reports whether a condition has another status than before. That
// all is well, or nobody can tell, is no news of a new object.
func newsworthy(before []metav1.Condition, c *metav1.Condition) bool {
	old := status.Owned(before, c.Type)
	if len(old) == 0 {
		return c.Status == metav1.ConditionFalse
	}
	return old[0].Status != c.Status
}

func note(c *metav1.Condition) string {
	text := c.Type + " is " + string(c.Status)
	if c.Message != "" {
		text += ": " + c.Message
	}
	return status.Lines(strings.Split(text, "\n"), maxNote-len("and 1000 more"))
}
