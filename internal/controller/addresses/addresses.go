// Package addresses keeps the AddressSlices: which addresses the members of each
// group have.
//
// A host that joins or leaves costs a write or two a group that it wears. What
// happens within a second is written at once. Joins apply right away; a host
// that goes while its agent is alive leaves a minute later, and not without a
// question if it takes many others along.
package addresses

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/controller/namespaced"
	"ringfence.dev/ringfence/internal/convert"
)

const (
	// foldFor is how long changes are folded.
	foldFor = time.Second
	// writers is how many writes are under way at once.
	writers = 8
	// owner owns what this job writes in the status of a group.
	owner = client.FieldOwner("ringfence-addresses")
)

// Add adds the job to a manager.
func Add(m manager.Manager) error { return AddWithClock(m, clock.RealClock{}) }

// AddWithClock is Add with another clock to tell who leaves when.
func AddWithClock(m manager.Manager, now clock.PassiveClock) error {
	j := &job{
		client: m.GetClient(), clock: now, left: map[groupKey]map[string]time.Time{},
		leases: &namespaced.Leases{Reader: m.GetAPIReader(), Clock: now},
	}
	soon := namespaced.Enqueue(foldFor, nil)
	return ctrl.NewControllerManagedBy(m).Named("addresses").
		Watches(&v1alpha1.VPC{}, soon).
		Watches(&v1alpha1.Cluster{}, soon).
		Watches(&v1alpha1.NodePool{}, soon).
		Watches(&v1alpha1.Host{}, namespaced.Enqueue(foldFor, hostChanged)).
		Watches(&v1alpha1.SecurityGroup{}, namespaced.Enqueue(foldFor, groupChanged)).
		Watches(&v1alpha1.AddressSlice{}, soon).
		Watches(&v1alpha1.Ruleset{}, soon). // one that goes lets go of the groups that it names
		Complete(j)
}

// hostChanged reports whether a host wears something else or has other addresses.
func hostChanged(before, now client.Object) bool {
	a, ok1 := before.(*v1alpha1.Host)
	b, ok2 := now.(*v1alpha1.Host)
	return !ok1 || !ok2 || a.Generation != b.Generation || !slices.Equal(a.Status.Addresses, b.Status.Addresses) ||
		convert.HostRefused(a) != convert.HostRefused(b) || a.DeletionTimestamp.IsZero() != b.DeletionTimestamp.IsZero()
}

// groupChanged reports whether removals of a group were released or held.
func groupChanged(before, now client.Object) bool {
	a, ok1 := before.(*v1alpha1.SecurityGroup)
	b, ok2 := now.(*v1alpha1.SecurityGroup)
	return !ok1 || !ok2 ||
		a.Annotations[v1alpha1.AnnotationReleaseRemovals] != b.Annotations[v1alpha1.AnnotationReleaseRemovals] ||
		!equality.Semantic.DeepEqual(a.Status.HeldRemovals, b.Status.HeldRemovals)
}

type groupKey struct{ namespace, name string }

type job struct {
	client client.Client
	leases *namespaced.Leases
	clock  clock.PassiveClock

	mu sync.Mutex
	// left has the hosts that left lately. Nothing in the API tells, since they
	// are gone: a new leader begins to count again, and lets another tenth go.
	left map[groupKey]map[string]time.Time
}

// A world is what was gathered of one namespace.
type world struct {
	groups map[string]*v1alpha1.SecurityGroup
	// slices are those of each group that is there or that a Ruleset names;
	// orphans belong to no such group.
	slices  map[string][]*v1alpha1.AddressSlice
	orphans []*v1alpha1.AddressSlice
	rosters map[string]*roster
}

// Reconcile brings the AddressSlices of a namespace up to date.
func (j *job) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	w, err := j.gather(ctx, request.Namespace)
	if err != nil {
		return reconcile.Result{}, err
	}
	var all []edit
	var statuses []*v1alpha1.SecurityGroup
	var next time.Time
	for _, name := range slices.Sorted(maps.Keys(w.rosters)) {
		out := w.rosters[name].decide()
		all = append(all, assign(name, w.slices[name], out.members)...)
		if g := w.groups[name]; g != nil && !heldAlready(g, out.held) {
			statuses = append(statuses, statusOf(g, out.held, j.clock.Now()))
		}
		if next.IsZero() || !out.next.IsZero() && out.next.Before(next) {
			next = out.next
		}
		j.remember(groupKey{request.Namespace, name}, out.left)
	}
	for _, s := range w.orphans {
		all = append(all, edit{before: s})
	}
	if err := j.write(ctx, request.Namespace, all, statuses); err != nil {
		return namespaced.After(err, foldFor)
	}
	if next.IsZero() {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{RequeueAfter: max(foldFor, next.Sub(j.clock.Now()))}, nil
}

func (j *job) remember(key groupKey, left map[string]time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(left) == 0 {
		delete(j.left, key)
		return
	}
	j.left[key] = left
}

func (j *job) recall(key groupKey) map[string]time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.left[key]
}

func (j *job) gather(ctx context.Context, namespace string) (*world, error) {
	objects, err := namespaced.Objects(ctx, j.client, namespace)
	if err != nil {
		return nil, err
	}
	var rulesets v1alpha1.RulesetList
	var list v1alpha1.AddressSliceList
	if err := namespaced.List(ctx, j.client, namespace, &rulesets); err != nil {
		return nil, err
	}
	if err := namespaced.List(ctx, j.client, namespace, &list); err != nil {
		return nil, err
	}
	w := newWorld(objects, rulesets.Items, list.Items)
	gone := map[string]bool{}
	for _, r := range w.rosters {
		for _, host := range r.gone() {
			gone[host] = true
		}
	}
	fresh, err := j.leases.Fresh(ctx, namespace, slices.Sorted(maps.Keys(gone)))
	if err != nil {
		return nil, err // unknown is not ended
	}
	for name, r := range w.rosters {
		r.fresh, r.left, r.now = fresh, j.recall(groupKey{namespace, name}), j.clock.Now()
	}
	return w, nil
}

// newWorld sorts what was gathered by group.
func newWorld(objects *convert.Objects, rulesets []v1alpha1.Ruleset, list []v1alpha1.AddressSlice) *world {
	w := &world{groups: map[string]*v1alpha1.SecurityGroup{}, slices: map[string][]*v1alpha1.AddressSlice{}, rosters: map[string]*roster{}}
	for _, g := range objects.SecurityGroups {
		w.groups[g.Name] = g
		r := w.roster(g.Name)
		for _, h := range g.Status.HeldRemovals {
			r.held[h.HostName] = true
		}
		// What is no time releases nothing.
		r.release, _ = time.Parse(time.RFC3339, g.Annotations[v1alpha1.AnnotationReleaseRemovals])
	}
	for i := range rulesets {
		for _, name := range named(&rulesets[i].Spec) {
			w.roster(name) // hosts enforce it, whether or not the group is there
		}
	}
	wearers := convert.ReadNamespace(objects).Wearers()
	unsure := map[string]bool{}
	for i := range wearers {
		h := &wearers[i]
		if h.Unknown != "" {
			unsure[h.Name] = true
			continue
		}
		for _, name := range h.Groups {
			if r := w.rosters[name]; r != nil {
				r.join(h.Name, h.Addresses)
			}
		}
	}
	for i := range list {
		s := &list[i]
		r := w.rosters[s.Spec.SecurityGroupName]
		if r == nil {
			w.orphans = append(w.orphans, s)
			continue
		}
		w.slices[s.Spec.SecurityGroupName] = append(w.slices[s.Spec.SecurityGroupName], s)
		r.members = append(r.members, s.Spec.Members...)
	}
	there := map[string]bool{}
	for _, h := range objects.Hosts {
		there[h.Name] = true
	}
	for _, r := range w.rosters {
		r.unsure, r.there = unsure, there
	}
	return w
}

func (w *world) roster(group string) *roster {
	r := w.rosters[group]
	if r == nil {
		r = &roster{wanted: map[string]string{}, held: map[string]bool{}}
		w.rosters[group] = r
	}
	return r
}

func (r *roster) join(host string, addresses []netip.Addr) {
	for _, a := range addresses {
		r.wanted[a.String()] = host
	}
}

// named are the groups whose members a Ruleset asks for.
func named(spec *v1alpha1.RulesetSpec) []string {
	names := slices.Clone(spec.InnerAccessGroupNames)
	for _, list := range [][]v1alpha1.RulesetRule{spec.Ingress, spec.Egress} {
		for i := range list {
			names = append(names, list[i].GroupName)
		}
	}
	for i := range spec.Keep {
		names = append(names, spec.Keep[i].GroupName)
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// heldAlready reports whether a group says who is held.
func heldAlready(g *v1alpha1.SecurityGroup, held []v1alpha1.HeldRemoval) bool {
	c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionRemovalHeld)
	if len(held) == 0 {
		return c == nil && len(g.Status.HeldRemovals) == 0
	}
	return c != nil && c.Message == message(held) && equality.Semantic.DeepEqual(g.Status.HeldRemovals, limited(held))
}

// maxHeld is how many held hosts a status lists.
const maxHeld = 1000

func limited(held []v1alpha1.HeldRemoval) []v1alpha1.HeldRemoval {
	return held[:min(len(held), maxHeld)]
}

// message names some of the held hosts, and the way out.
func message(held []v1alpha1.HeldRemoval) string {
	const some = 10
	var names []string
	for _, h := range held[:min(len(held), some)] {
		names = append(names, h.HostName)
	}
	if len(held) > some {
		names = append(names, "…")
	}
	return fmt.Sprintf("more than a tenth of the hosts went at once: the addresses of %s stay members "+
		"until the annotation %s has a time after that, or their agents stop", strings.Join(names, ", "), v1alpha1.AnnotationReleaseRemovals)
}

// statusOf returns the group as it is to be applied: with nothing but what this
// job owns of its status.
func statusOf(g *v1alpha1.SecurityGroup, held []v1alpha1.HeldRemoval, now time.Time) *v1alpha1.SecurityGroup {
	out := &v1alpha1.SecurityGroup{ObjectMeta: metav1.ObjectMeta{
		Name: g.Name, Namespace: g.Namespace, UID: g.UID, ResourceVersion: g.ResourceVersion,
	}}
	if len(held) == 0 {
		return out
	}
	since := metav1.NewTime(now)
	if c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionRemovalHeld); c != nil {
		since = c.LastTransitionTime
	}
	out.Status.HeldRemovals = limited(held)
	out.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionRemovalHeld, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonTooManyRemovals,
		Message: message(held), LastTransitionTime: since,
	}}
	return out
}

// write writes the slices, first those that get members, then those that lose
// all, and then the statuses: who is held must stand in a slice before it stands
// anywhere else.
func (j *job) write(ctx context.Context, namespace string, all []edit, statuses []*v1alpha1.SecurityGroup) error {
	var writes []namespaced.Write
	for _, leaves := range []bool{false, true} {
		part := slices.DeleteFunc(slices.Clone(all), func(e edit) bool { return (e.now == nil) != leaves })
		done, err := j.edits(ctx, namespace, part)
		writes = append(writes, done...)
		if err != nil {
			return err
		}
	}
	for _, g := range statuses {
		done, err := j.apply(ctx, g)
		writes = append(writes, done...)
		if err != nil {
			return err
		}
	}
	return namespaced.CatchUp(ctx, j.client, j.client.Scheme(), writes)
}

func (j *job) edits(ctx context.Context, namespace string, list []edit) ([]namespaced.Write, error) {
	writes := make([]namespaced.Write, len(list))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for i := range list {
		group.Go(func() (err error) {
			writes[i], err = j.edit(ctx, namespace, &list[i])
			return err
		})
	}
	return writes, group.Wait()
}

func (j *job) edit(ctx context.Context, namespace string, e *edit) (namespaced.Write, error) {
	switch {
	case e.before == nil:
		e.now.Namespace = namespace
		if err := j.client.Create(ctx, e.now); err != nil {
			return namespaced.Write{}, fmt.Errorf("cannot make an AddressSlice of group %s: %w", e.now.Spec.SecurityGroupName, err)
		}
		return namespaced.Write{Now: e.now}, nil
	case e.now == nil:
		uid, version := e.before.UID, e.before.ResourceVersion
		err := j.client.Delete(ctx, e.before, client.Preconditions{UID: &uid, ResourceVersion: &version})
		if client.IgnoreNotFound(err) != nil {
			return namespaced.Write{}, fmt.Errorf("cannot delete AddressSlice %s: %w", e.before.Name, err)
		}
		return namespaced.Write{Before: e.before}, nil
	}
	if err := j.client.Update(ctx, e.now); err != nil {
		return namespaced.Write{}, fmt.Errorf("cannot change AddressSlice %s: %w", e.before.Name, err)
	}
	return namespaced.Write{Before: e.before, Now: e.now}, nil
}

// apply writes what this job owns of the status of a group.
func (j *job) apply(ctx context.Context, g *v1alpha1.SecurityGroup) ([]namespaced.Write, error) {
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&g.Status)
	if err != nil {
		return nil, err
	}
	if len(g.Status.HeldRemovals) == 0 {
		// A status from which an apply takes all that there is becomes null,
		// which the schema refuses.
		status["heldRemovals"] = []any{}
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": status}}
	u.SetAPIVersion(v1alpha1.APIVersion)
	u.SetKind(v1alpha1.KindSecurityGroup)
	u.SetNamespace(g.Namespace)
	u.SetName(g.Name)
	u.SetUID(g.UID)
	err = j.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), owner, client.ForceOwnership)
	if err != nil {
		return nil, fmt.Errorf("cannot write the status of group %s: %w", g.Name, err)
	}
	if u.GetResourceVersion() == g.ResourceVersion {
		return nil, nil // nothing changed that the cache could see
	}
	return []namespaced.Write{{Before: g, Now: g}}, nil
}
