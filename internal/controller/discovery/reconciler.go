// Package discovery reads the running clusters of those Clusters that ask for it,
// publishes what they need, and opens ports for what their API servers call,
// before the first call can fail.
//
// Nothing opens by itself but essential needs from the API server's own hosts,
// never SSH, etcd or the kubelet, and nothing closes before its need has been
// gone for a while. What cannot be read or makes no sense changes nothing.
package discovery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/internal/status"
)

// owner owns what is discovered in the status of Clusters, the condition
// Discovered, and the ClusterNeeds.
const owner status.Owner = "ringfence-discovery"

const (
	// closeAfter is the default of Discovery.CloseAfterSeconds.
	closeAfter = 10 * time.Minute
	// quiet is how long at least lies between two writes of ClusterNeeds, unless
	// a need came or went: pods come and go all the time.
	quiet = 30 * time.Second
	// maxNote is how long an Event's text may be.
	maxNote = 1000
)

// Add adds the job to a manager.
func Add(m manager.Manager) error {
	base, stop := context.WithCancel(context.Background()) //nolint:forbidigo // nobody gives one here: it ends with the manager
	r := &reconciler{
		client: m.GetClient(), secrets: m.GetAPIReader(), config: m.GetConfig(), recorder: m.GetEventRecorder("ringfence-discovery"), clock: clock.RealClock{},
		base: base, followers: map[types.NamespacedName]*follower{}, written: map[types.NamespacedName]time.Time{}, told: map[types.NamespacedName]map[news]bool{},
		reports: make(chan event.GenericEvent),
	}
	err := m.Add(manager.RunnableFunc(func(ctx context.Context) error {
		<-ctx.Done()
		stop()
		r.endAll()
		return nil
	}))
	if err != nil {
		stop()
		return err
	}
	// Only the names and versions of secrets are kept in memory.
	return ctrl.NewControllerManagedBy(m).Named("discovery").
		For(&v1alpha1.Cluster{}).
		Watches(&v1alpha1.ClusterNeeds{}, &handler.EnqueueRequestForObject{}).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.ofSecret)).
		WatchesRawSource(source.Channel(r.reports, &handler.EnqueueRequestForObject{})).
		Complete(reconcile.Func(r.reconcile))
}

type reconciler struct {
	client   client.Client
	secrets  client.Reader
	config   *rest.Config
	recorder events.EventRecorder
	clock    clock.PassiveClock
	// base is what followers live by.
	base    context.Context //nolint:containedctx // ends with the manager
	reports chan event.GenericEvent

	mu        sync.Mutex
	followers map[types.NamespacedName]*follower
	// written is when the needs of a cluster were published last.
	written map[types.NamespacedName]time.Time
	// told are the Events that hold still, so that each is made once.
	told map[types.NamespacedName]map[news]bool
}

// ofSecret returns the clusters that are read by a Secret.
func (r *reconciler) ofSecret(ctx context.Context, o client.Object) []reconcile.Request {
	var list v1alpha1.ClusterList
	if err := r.client.List(ctx, &list, client.InNamespace(o.GetNamespace())); err != nil {
		return nil // the cache is not there yet: its first events come
	}
	var out []reconcile.Request
	for i := range list.Items {
		if d := list.Items[i].Spec.Discovery; d != nil && d.KubeconfigSecretName == o.GetName() {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return out
}

func (r *reconciler) reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	again, err := r.cluster(ctx, request.NamespacedName)
	if err != nil {
		return status.Result(ctx, err)
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

// cluster brings one cluster up to date, and returns when to come again; 0 for
// when something happens.
func (r *reconciler) cluster(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	c := &v1alpha1.Cluster{}
	err := r.client.Get(ctx, key, c)
	if apierrors.IsNotFound(err) {
		r.forget(key)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if c.Spec.Discovery == nil || c.DeletionTimestamp != nil {
		r.forget(key)
		return 0, r.clean(ctx, c)
	}
	f, err := r.follower(ctx, c)
	if err != nil {
		return 0, err
	}
	report, failure := f.get()
	now := metav1.NewTime(r.clock.Now())
	s := &state{have: c.Status.Discovered, report: report, open: c.Spec.Discovery.Open, closeAfter: closeAfter, now: now}
	if seconds := c.Spec.Discovery.CloseAfterSeconds; seconds != nil {
		s.closeAfter = time.Duration(*seconds) * time.Second
	}
	if failure != nil { // what is not seen now cannot be said to be gone
		s.report = nil
	}
	out := decide(s)
	if err := r.write(ctx, c, out, condition(c, report, failure), now); err != nil {
		return 0, err
	}
	wait, err := r.publish(ctx, c, report)
	return sooner(out.again, wait), err
}

// sooner is the shorter of two waits, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// write writes the status if it differs, and then tells what is new.
func (r *reconciler) write(ctx context.Context, c *v1alpha1.Cluster, out *outcome, said metav1.Condition, now metav1.Time) error {
	want := v1alpha1.ClusterStatus{Discovered: out.discovered, Conditions: status.Conditions(c.Status.Conditions, now, said)}
	have := v1alpha1.ClusterStatus{Discovered: c.Status.Discovered, Conditions: status.Owned(c.Status.Conditions, v1alpha1.ConditionDiscovered)}
	if !equality.Semantic.DeepEqual(have, want) {
		if err := owner.Apply(ctx, r.client, c, &want); err != nil {
			return err
		}
	}
	r.tell(c, out.news)
	return nil
}

// tell makes Events, those that hold still once each.
func (r *reconciler) tell(c *v1alpha1.Cluster, list []news) {
	key := client.ObjectKeyFromObject(c)
	r.mu.Lock()
	before := r.told[key]
	still := map[news]bool{}
	var fresh []news
	for _, n := range list {
		if !before[n] && !still[n] {
			fresh = append(fresh, n)
		}
		still[n] = true
	}
	r.told[key] = still
	r.mu.Unlock()
	for _, n := range fresh {
		r.recorder.Eventf(c, nil, n.kind, n.reason, "Discover "+n.about, "%s", status.Lines([]string{n.text}, maxNote))
	}
}

// publish writes the ClusterNeeds if they differ, and returns when to look again
// if it is too early for that.
func (r *reconciler) publish(ctx context.Context, c *v1alpha1.Cluster, report *discover.Report) (time.Duration, error) {
	if report == nil {
		return 0, nil
	}
	key := client.ObjectKeyFromObject(c)
	have := &v1alpha1.ClusterNeeds{}
	err := r.client.Get(ctx, key, have)
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, err
	}
	there := err == nil
	want := report.Object()
	want.Namespace, want.Name = c.Namespace, c.Name
	want.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(c, v1alpha1.GroupVersion.WithKind(v1alpha1.KindCluster))}
	if there && !metav1.IsControlledBy(have, c) {
		return 0, fmt.Errorf("ClusterNeeds %s belongs to another cluster that was called so: it has to go first", c.Name)
	}
	same := func(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }
	if there && same(have.Needs, want.Needs) && same(have.Unknown, want.Unknown) && same(have.Network, want.Network) && same(have.Counts, want.Counts) {
		if same(have.Parties, want.Parties) {
			return 0, nil
		}
		r.mu.Lock()
		early := quiet - r.clock.Since(r.written[key])
		r.mu.Unlock()
		if early > 0 {
			return early, nil
		}
	}
	if there {
		want.ResourceVersion = have.ResourceVersion
		err = r.client.Update(ctx, want, client.FieldOwner(owner))
	} else {
		err = r.client.Create(ctx, want, client.FieldOwner(owner))
	}
	if err != nil {
		return 0, fmt.Errorf("cannot publish the needs of cluster %s: %w", c.Name, err)
	}
	r.mu.Lock()
	r.written[key] = r.clock.Now()
	r.mu.Unlock()
	return 0, nil
}

// clean takes away what was discovered of a cluster that is not to be read.
func (r *reconciler) clean(ctx context.Context, c *v1alpha1.Cluster) error {
	if c.DeletionTimestamp != nil {
		return nil // it all goes with the object
	}
	if c.Status.Discovered != nil || len(status.Owned(c.Status.Conditions, v1alpha1.ConditionDiscovered)) > 0 {
		if err := owner.Apply(ctx, r.client, c, &v1alpha1.ClusterStatus{}); err != nil {
			return err
		}
	}
	have := &v1alpha1.ClusterNeeds{}
	err := r.client.Get(ctx, client.ObjectKeyFromObject(c), have)
	if err == nil {
		err = r.client.Delete(ctx, have)
	}
	return client.IgnoreNotFound(err)
}

// follower returns the one of a cluster, a new one if the old read something else.
func (r *reconciler) follower(ctx context.Context, c *v1alpha1.Cluster) (*follower, error) {
	key := client.ObjectKeyFromObject(c)
	config, eyes, err := r.access(ctx, c)
	if err != nil && !isKubeconfig(err) {
		return nil, err
	}
	if err != nil {
		eyes = err.Error()
	}
	eyes = string(c.UID) + " " + eyes
	r.mu.Lock()
	old := r.followers[key]
	r.mu.Unlock()
	if old != nil && old.key == eyes {
		return old, nil
	}
	if old != nil {
		old.end()
	}
	var f *follower
	if err != nil {
		f = failed(eyes, err)
	} else {
		o := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
		f = start(r.base, eyes, config, func() { //nolint:contextcheck // it outlives the request
			select {
			case r.reports <- event.GenericEvent{Object: o}:
			case <-r.base.Done():
			}
		})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.followers[key] = f
	return f, nil
}

// access returns how to reach a cluster, and what tells that from another way.
func (r *reconciler) access(ctx context.Context, c *v1alpha1.Cluster) (*rest.Config, string, error) {
	name := c.Spec.Discovery.KubeconfigSecretName
	if name == "" {
		return r.config, "as the controllers", nil
	}
	secret := &corev1.Secret{}
	err := r.secrets.Get(ctx, types.NamespacedName{Namespace: c.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return nil, "", kubeconfigErrorf("Secret %s is not there: want one whose key %q holds who may read the cluster", name, kubeconfigKey)
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot read Secret %s: %w", name, err)
	}
	text, ok := secret.Data[kubeconfigKey]
	if !ok {
		return nil, "", kubeconfigErrorf("Secret %s has no key %q", name, kubeconfigKey)
	}
	config, err := parse(text)
	if err != nil {
		return nil, "", kubeconfigErrorf("Secret %s: %v", name, err)
	}
	sum := sha256.Sum256(text)
	return config, hex.EncodeToString(sum[:]), nil
}

// forget stops following a cluster.
func (r *reconciler) forget(key types.NamespacedName) {
	r.mu.Lock()
	f := r.followers[key]
	delete(r.followers, key)
	delete(r.written, key)
	delete(r.told, key)
	r.mu.Unlock()
	if f != nil {
		f.end()
	}
}

func (r *reconciler) endAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.followers {
		f.end()
	}
}
