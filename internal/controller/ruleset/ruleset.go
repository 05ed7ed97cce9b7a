// Package ruleset keeps, for every distinct set of groups that some host wears,
// the Ruleset that the set means and the Rollout that says who runs it.
//
// A new Ruleset is the candidate at first, and goes to one host, a tenth of them
// and all, each after the ones before have confirmed it; see trial and quorum.
//
// It writes for sets of groups, never for hosts: a rule that changes costs one
// Ruleset for each set with its group, and for its Rollout some writes a step
// and one for each host of etcd or the API server. What does not make sense
// changes nothing: hosts stay with the last good Ruleset, and nothing that one
// of them names is deleted.
package ruleset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/controller/namespaced"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/status"
	"ringfence.dev/ringfence/profiles"
)

const (
	// ruleFold is how long changes of rules are folded: short, since somebody
	// waits for them; a GitOps tool writes its groups within it.
	ruleFold = 100 * time.Millisecond
	// hostFold is how long reports of hosts are folded. 10,000 of them confirm
	// one Ruleset within seconds, and only their number is of interest.
	hostFold = time.Second
	// again is how often a namespace is looked at without an event: Leases end,
	// and garbage gets old, without one.
	again = time.Minute
	// lookEvery is how often, while a candidate is being tried: hosts come and
	// go without an event. Leases are listed every 15 s at most.
	lookEvery = 5 * time.Second
	// writers is how many writes are under way at once.
	writers = 8
)

// Add adds the job to a manager.
func Add(m manager.Manager) error { return AddWithClock(m, clock.RealClock{}) }

// AddWithClock is Add with another clock to tell the age of things by.
func AddWithClock(m manager.Manager, now clock.PassiveClock) error {
	tables, err := profiles.Load()
	if err != nil {
		return err
	}
	j := &job{
		client: m.GetClient(), recorder: m.GetEventRecorder("ringfence-ruleset"), tables: tables, clock: now, spaces: map[string]*space{},
		leases: &namespaced.Leases{Reader: m.GetAPIReader(), Clock: now},
	}
	soon := namespaced.Enqueue(ruleFold, nil)
	return ctrl.NewControllerManagedBy(m).Named("ruleset").
		Watches(&v1alpha1.VPC{}, soon).
		Watches(&v1alpha1.PrefixList{}, soon).
		Watches(&v1alpha1.SecurityGroup{}, namespaced.Enqueue(ruleFold, groupChanged)).
		Watches(&v1alpha1.Cluster{}, soon).
		Watches(&v1alpha1.NodePool{}, soon).
		Watches(&v1alpha1.Host{}, namespaced.Enqueue(ruleFold, hostMoved)).
		Watches(&v1alpha1.Host{}, namespaced.Enqueue(hostFold, hostReported)).
		Watches(&v1alpha1.Ruleset{}, namespaced.Enqueue(hostFold, nil)).
		Watches(&v1alpha1.Rollout{}, namespaced.Enqueue(hostFold, nil)).
		Complete(j)
}

// groupChanged reports whether rules, or whether they make sense, changed.
func groupChanged(before, now client.Object) bool {
	a, ok1 := before.(*v1alpha1.SecurityGroup)
	b, ok2 := now.(*v1alpha1.SecurityGroup)
	return !ok1 || !ok2 || a.Generation != b.Generation ||
		refused("", a.Status.Conditions) != refused("", b.Status.Conditions) || pending(a) != pending(b) ||
		!equality.Semantic.DeepEqual(a.Status.SystemIngress, b.Status.SystemIngress) ||
		!equality.Semantic.DeepEqual(a.Status.SystemEgress, b.Status.SystemEgress)
}

// hostMoved reports whether a host wears something else, or has other roles or
// addresses.
func hostMoved(before, now client.Object) bool {
	a, ok1 := before.(*v1alpha1.Host)
	b, ok2 := now.(*v1alpha1.Host)
	return !ok1 || !ok2 || a.Generation != b.Generation || convert.HostRefused(a) != convert.HostRefused(b) ||
		!slices.Equal(a.Status.Addresses, b.Status.Addresses) ||
		!slices.Equal(a.Status.ObservedRoles, b.Status.ObservedRoles)
}

// hostReported reports whether a host runs another Ruleset, or says something
// else about one.
func hostReported(before, now client.Object) bool {
	a, ok1 := before.(*v1alpha1.Host)
	b, ok2 := now.(*v1alpha1.Host)
	return !ok1 || !ok2 || a.Status.RulesetName != b.Status.RulesetName || a.Status.RollbackReason != b.Status.RollbackReason ||
		!equality.Semantic.DeepEqual(
			meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionEnforced),
			meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionEnforced))
}

type job struct {
	client   client.Client
	recorder events.EventRecorder
	leases   *namespaced.Leases
	tables   *profiles.Tables
	clock    clock.PassiveClock

	mu     sync.Mutex
	spaces map[string]*space
}

// A space is what is remembered of a namespace between turns. Losing it costs
// nothing but time.
type space struct {
	unworn, counted map[string]time.Time
	fits            map[string]error
	held            map[string]string
}

func (j *job) space(namespace string) *space {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.spaces[namespace]
	if s == nil {
		s = &space{fits: map[string]error{}}
		j.spaces[namespace] = s
	}
	return s
}

// Reconcile brings the Rulesets and Rollouts of a namespace up to date.
func (j *job) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	s := j.space(request.Namespace)
	w, err := j.gather(ctx, request.Namespace, s)
	if err != nil {
		return reconcile.Result{}, err
	}
	p := decide(w)
	s.tell(ctx, p)
	s.unworn, s.counted, s.held = p.unworn, p.counted, p.held
	if len(s.fits) > 10*(len(w.rulesets)+100) {
		s.fits = map[string]error{}
	}
	if err := j.write(ctx, p); err != nil {
		return namespaced.After(err, ruleFold)
	}
	j.announce(p)
	if len(w.rollouts)+len(w.rulesets)+len(p.rollouts) == 0 {
		return reconcile.Result{}, nil
	}
	if p.stepping {
		return reconcile.Result{RequeueAfter: lookEvery}, nil
	}
	if p.countLater {
		return reconcile.Result{RequeueAfter: countEvery}, nil
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

func (j *job) gather(ctx context.Context, namespace string, s *space) (*world, error) {
	objects, err := namespaced.Objects(ctx, j.client, namespace)
	if err != nil {
		return nil, err
	}
	var rulesets v1alpha1.RulesetList
	var rollouts v1alpha1.RolloutList
	if err := namespaced.List(ctx, j.client, namespace, &rulesets); err != nil {
		return nil, err
	}
	if err := namespaced.List(ctx, j.client, namespace, &rollouts); err != nil {
		return nil, err
	}
	w := &world{
		namespace: namespace, objects: objects, tables: j.tables, rulesets: rulesets.Items, rollouts: rollouts.Items,
		unworn: s.unworn, counted: s.counted, fits: s.fits, now: j.clock.Now(),
	}
	if len(objects.Hosts) > 0 {
		w.renewed, err = j.leases.Renewed(ctx, namespace)
	}
	return w, err
}

// tell logs what holds sets back, once.
func (s *space) tell(ctx context.Context, p *plan) {
	for name, why := range p.held {
		if s.held[name] != why {
			log.FromContext(ctx).Info("no new Ruleset: hosts stay with the last good one", "rollout", name, "why", why)
		}
	}
}

// announce makes an Event of each candidate that a host could not confirm.
func (j *job) announce(p *plan) {
	for _, c := range p.statuses {
		if !fails(c) {
			continue
		}
		f := c.now.Status.Failure
		host := &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: c.now.Namespace, Name: f.HostName}}
		text := fmt.Sprintf("host %s could not confirm Ruleset %s, and everybody is sent back: %s", f.HostName, f.RulesetName, f.Message)
		j.recorder.Eventf(c.now, host, corev1.EventTypeWarning, v1alpha1.ReasonAborted, "Withdraw", "%s", status.Lines(strings.Split(text, "\n"), maxNote))
	}
}

// maxNote is how long the text of an Event may be, with room for what status.Lines
// says of lines that it left out.
const maxNote = 1000

// write writes a plan: what is named before what names it, and the other way
// round on the way out. Sets do not wait for each other.
func (j *job) write(ctx context.Context, p *plan) error {
	made := map[string]*v1alpha1.Ruleset{}
	for _, r := range p.makeRulesets {
		made[r.Name] = r
	}
	told := map[string]change{}
	for _, c := range p.statuses {
		told[c.now.Name] = c
	}
	var all writer
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for _, c := range p.rollouts {
		newest := cmp.Or(c.now.Spec.CandidateRulesetName, c.now.Spec.StableRulesetName)
		r, s := made[newest], told[c.now.Name]
		delete(made, newest)
		delete(told, c.now.Name)
		group.Go(func() error { return all.set(groupCtx, j.client, r, c, s) })
	}
	for _, r := range made { // somebody took it away
		group.Go(func() error { return all.create(groupCtx, j.client, r) })
	}
	for _, c := range told {
		group.Go(func() error { return all.status(groupCtx, j.client, c) })
	}
	err := group.Wait()
	if err == nil {
		err = j.drop(ctx, &all, p)
	}
	return errors.Join(err, namespaced.CatchUp(ctx, j.client, j.client.Scheme(), all.writes))
}

func (j *job) drop(ctx context.Context, all *writer, p *plan) error {
	for _, r := range p.dropRollouts {
		if err := all.drop(ctx, j.client, r); err != nil {
			return err
		}
	}
	for _, r := range p.dropRulesets {
		if err := all.drop(ctx, j.client, r); err != nil {
			return err
		}
	}
	return nil
}

// A writer writes, and remembers what. Many may use it at once.
type writer struct {
	mu     sync.Mutex
	writes []namespaced.Write
}

func (w *writer) note(before, now client.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes = append(w.writes, namespaced.Write{Before: before, Now: now})
}

// set writes what one set of groups has: the Ruleset if it is new, the Rollout,
// and its status if that is another one. Why a candidate is taken back is written
// before it is: who took it back and then forgot why would try it again.
func (w *writer) set(ctx context.Context, c client.Client, r *v1alpha1.Ruleset, rollout, told change) error {
	if r != nil {
		if err := w.create(ctx, c, r); err != nil {
			return err
		}
	}
	if fails(told) && rollout.before != nil {
		why := rollout.before.DeepCopy()
		why.Status = told.now.Status
		if err := w.status(ctx, c, change{rollout.before, why}); err != nil {
			return err
		}
		rollout.now.ResourceVersion = why.ResourceVersion
		return w.save(ctx, c, rollout)
	}
	if err := w.save(ctx, c, rollout); err != nil || told.now == nil {
		return err
	}
	told.now.ResourceVersion = rollout.now.ResourceVersion
	return w.status(ctx, c, change{rollout.now, told.now})
}

// fails reports whether a status says of a candidate that it failed.
func fails(s change) bool {
	return s.now != nil && s.now.Status.Failure != nil && (s.before == nil || !equality.Semantic.DeepEqual(s.before.Status.Failure, s.now.Status.Failure))
}

// create makes a Ruleset. One that is there already has the same content, for
// its name is its content.
func (w *writer) create(ctx context.Context, c client.Client, r *v1alpha1.Ruleset) error {
	if err := client.IgnoreAlreadyExists(c.Create(ctx, r)); err != nil {
		return fmt.Errorf("cannot make the Ruleset of %v: %w", r.Spec.SecurityGroupNames, err)
	}
	w.note(nil, r)
	return nil
}

func (w *writer) save(ctx context.Context, c client.Client, r change) error {
	var err error
	if r.before == nil {
		err = c.Create(ctx, r.now)
		w.noteIf(err, nil, r.now)
	} else {
		err = c.Update(ctx, r.now)
		w.noteIf(err, r.before, r.now)
	}
	if err != nil {
		return fmt.Errorf("cannot write the Rollout of %v: %w", r.now.Spec.SecurityGroupNames, err)
	}
	return nil
}

func (w *writer) status(ctx context.Context, c client.Client, r change) error {
	err := c.Status().Update(ctx, r.now)
	w.noteIf(err, r.before, r.now)
	if err != nil {
		return fmt.Errorf("cannot write the status of the Rollout of %v: %w", r.now.Spec.SecurityGroupNames, err)
	}
	return nil
}

func (w *writer) noteIf(err error, before, now client.Object) {
	if err == nil {
		w.note(before, now)
	}
}

// drop deletes an object if it is still the one that was looked at.
func (w *writer) drop(ctx context.Context, c client.Client, o client.Object) error {
	uid, version := o.GetUID(), o.GetResourceVersion()
	err := c.Delete(ctx, o, client.Preconditions{UID: &uid, ResourceVersion: &version})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot delete %s: %w", o.GetName(), err)
	}
	w.note(o, nil)
	return nil
}
