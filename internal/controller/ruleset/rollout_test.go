package ruleset_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/assign"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/testenv"
)

// The tests play the agents: they read the Rollouts as agents do, and write what
// agents write.

// alive makes a Lease of a host, renewed at a time.
func (r *room) alive(host string, at time.Time) {
	r.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: host, Namespace: r.namespace}}
	lease.Spec.RenewTime = &metav1.MicroTime{Time: at}
	if err := r.us.Create(r.Context(), lease); err != nil {
		r.Fatal(err)
	}
}

func (r *room) rollout(groups ...string) *v1alpha1.Rollout {
	return r.rolloutIn(r.Context(), groups...)
}

func (r *room) rolloutIn(ctx context.Context, groups ...string) *v1alpha1.Rollout {
	r.Helper()
	var rollout v1alpha1.Rollout
	if err := r.us.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: convert.RolloutName(groups)}, &rollout); err != nil {
		r.Fatal(err)
	}
	return &rollout
}

// moving are the hosts that are to run something else than they have confirmed.
func (r *room) moving(ctx context.Context) ([]v1alpha1.Host, []v1alpha1.Rollout) {
	r.Helper()
	var hosts v1alpha1.HostList
	var rollouts v1alpha1.RolloutList
	for _, list := range []client.ObjectList{&hosts, &rollouts} {
		if err := r.us.List(ctx, list, client.InNamespace(r.namespace)); err != nil {
			r.Fatal(err)
		}
	}
	out := slices.DeleteFunc(hosts.Items, func(h v1alpha1.Host) bool {
		want := wants(&h, rollouts.Items)
		c := meta.FindStatusCondition(h.Status.Conditions, v1alpha1.ConditionEnforced)
		return want == "" || want == h.Status.RulesetName && c != nil && c.Reason == v1alpha1.ReasonConfirmed
	})
	return out, rollouts.Items
}

func wants(h *v1alpha1.Host, rollouts []v1alpha1.Rollout) string {
	rollout, ok := assign.Rollout(h, rollouts)
	if !ok {
		return ""
	}
	return assign.Ruleset(&rollout.Spec, assign.FollowerOf(h))
}

func enforced(status metav1.ConditionStatus, reason, message string) []metav1.Condition {
	return []metav1.Condition{{Type: v1alpha1.ConditionEnforced, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.Now()}}
}

// confirm has hosts run what they ought to.
func (r *room) confirm(ctx context.Context, hosts []v1alpha1.Host, rollouts []v1alpha1.Rollout) {
	r.Helper()
	for i := range hosts {
		h := hosts[i].DeepCopy()
		h.Status.RulesetName = wants(h, rollouts)
		h.Status.Conditions = enforced(metav1.ConditionTrue, v1alpha1.ReasonConfirmed, "")
		if err := r.us.Status().Update(ctx, h); err != nil {
			r.Fatal(err)
		}
	}
}

func (r *room) confirmAll(ctx context.Context) {
	r.Helper()
	hosts, rollouts := r.moving(ctx)
	r.confirm(ctx, hosts, rollouts)
}

// step waits until a Rollout is as wanted, "STEP CHOSEN" or "stable", and returns
// the hosts that move then.
func (r *room) step(want string, groups ...string) ([]v1alpha1.Host, []v1alpha1.Rollout) {
	r.Helper()
	testenv.Eventually(r.T, func(ctx context.Context) string {
		var rollout v1alpha1.Rollout
		if err := r.us.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: convert.RolloutName(groups)}, &rollout); err != nil {
			return err.Error()
		}
		s := &rollout.Status
		got := fmt.Sprintf("%s %d", s.Step, s.Chosen)
		if rollout.Spec.CandidateRulesetName == "" && s.Step == "" && meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionSettled) {
			got = "stable"
		}
		if got != want {
			return fmt.Sprintf("Rollout of %v: %s (%s of %+v), want %s", groups, got, rollout.Spec.CandidateRulesetName, *s, want)
		}
		return ""
	})
	return r.moving(r.Context())
}

// through has all hosts confirm until the Rollout is stable.
func (r *room) through(groups ...string) {
	r.Helper()
	testenv.Eventually(r.T, func(ctx context.Context) string {
		r.confirmAll(ctx)
		var rollout v1alpha1.Rollout
		if err := r.us.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: convert.RolloutName(groups)}, &rollout); err != nil {
			return err.Error()
		}
		if rollout.Spec.CandidateRulesetName != "" || !meta.IsStatusConditionTrue(rollout.Status.Conditions, v1alpha1.ConditionSettled) {
			return fmt.Sprintf("Rollout of %v: %+v", groups, rollout.Status)
		}
		return ""
	})
}

// fleet makes hosts that wear groups, with agents that live.
func (r *room) fleet(now time.Time, name string, n int, groups ...string) {
	r.Helper()
	for i := range n {
		h := host(fmt.Sprintf("%s-%d", name, i), fmt.Sprintf("10.0.%d.%d", name[0]-'a', i+1), groups...)
		r.make(h)
		r.alive(h.Name, now)
	}
}

// TestSteps takes two versions of a group through their steps: exactly so many
// hosts a step, and so many writes, whoever they are.
func TestSteps(t *testing.T) {
	r := newRoom(t)
	now := clock.RealClock{}.Now()
	const hosts = 21
	web := group("web", tcp(1, from("0.0.0.0/0")))
	r.make(vpc(), web)
	r.fleet(now, "a", hosts, "web")
	r.make(host("gone", "10.0.9.1", "web"), host("never", "10.0.9.2", "web"))
	r.alive("gone", now.Add(-time.Hour))
	job := r.start(clocktesting.NewFakePassiveClock(now.Add(time.Second)))
	play := func(stable string) {
		t.Helper()
		for _, step := range []struct {
			want string
			n    int
		}{{"One 1", 1}, {"Tenth 3", 3}, {"All 21", 21}} {
			list, rollouts := r.step(step.want, "web")
			confirmed := step.n - len(slices.DeleteFunc(slices.Clone(list), func(h v1alpha1.Host) bool { return h.Name == "gone" || h.Name == "never" }))
			if got := r.rollout("web").Spec.StableRulesetName; got != stable || confirmed != map[int]int{1: 0, 3: 1, 21: 3}[step.n] {
				t.Fatalf("step %s: %d confirmed, %s stable, want %s", step.want, confirmed, got, stable)
			}
			list = slices.DeleteFunc(list, func(h v1alpha1.Host) bool { return h.Name == "gone" || h.Name == "never" })
			r.confirm(t.Context(), list[1:], rollouts)
			r.confirm(t.Context(), list[:1], rollouts)
		}
		r.step("stable", "web")
	}
	play("")
	first := r.rollout("web").Spec.StableRulesetName
	before := job.Writes()
	change(r, web, func() { web.Spec.Ingress[0].Ports = "2/2" })
	play(first)
	got := job.Writes()
	for what, most := range map[string]int{"POST rulesets": 1, "PUT rollouts": 4, "PUT rollouts/status": 12} {
		if n := got[what] - before[what]; n > most {
			t.Errorf("%d %s for %d hosts, want at most %d", n, what, hosts, most)
		}
	}
	if s := r.rollout("web").Status; s.PreviousRulesetName != first || s.Confirmed != hosts || s.Hosts != hosts {
		t.Errorf("in the end: %+v, want %s before", s, first)
	}
}

// TestAbort has one host of twenty in three sets reach the end of a bad rule of a
// group that all wear.
func TestAbort(t *testing.T) {
	r := newRoom(t)
	now := clock.RealClock{}.Now()
	all := group("all", tcp(1, from("0.0.0.0/0")))
	r.make(vpc(), all, group("web"), group("db"))
	sets := [][]string{{"all"}, {"all", "web"}, {"all", "db"}}
	for i, n := range []int{8, 7, 5} {
		r.fleet(now, string(rune('a'+i)), n, sets[i]...)
	}
	r.start(clocktesting.NewFakePassiveClock(now.Add(time.Second)))
	stable := map[string]string{}
	for _, set := range sets {
		r.through(set...)
		stable[convert.RolloutName(set)] = r.rollout(set...).Spec.StableRulesetName
	}
	change(r, all, func() { all.Spec.Ingress[0].Ports = "2/2" })
	var victim v1alpha1.Host
	testenv.Eventually(t, func(ctx context.Context) string {
		list, _ := r.moving(ctx)
		if len(list) == 0 {
			return "nobody tries it"
		}
		victim = list[0]
		return ""
	})
	failing := r.rollout(victim.Spec.SecurityGroupNames...)
	say(r, &victim, func() {
		victim.Status.RollbackReason = "candidate " + failing.Spec.CandidateRulesetName + ": the API server did not answer"
		victim.Status.Conditions = enforced(metav1.ConditionFalse, v1alpha1.ReasonRolledBack, "probes failed")
	})
	testenv.Eventually(t, func(ctx context.Context) string {
		s := r.rolloutIn(ctx, victim.Spec.SecurityGroupNames...)
		f := s.Status.Failure
		if f == nil || s.Spec.CandidateRulesetName != "" || f.HostName != victim.Name || !strings.Contains(f.Message, "did not answer") || f.RulesetName != failing.Spec.CandidateRulesetName {
			return fmt.Sprintf("not aborted: %+v %+v", s.Spec, s.Status)
		}
		return ""
	})
	// The victim is back, and the job looks at the namespace again and again.
	say(r, &victim, func() {
		victim.Status.Conditions = enforced(metav1.ConditionTrue, v1alpha1.ReasonConfirmed, "")
	})
	for i := range 3 {
		r.probe(fmt.Sprintf("probe-%d", i))
		var rollouts v1alpha1.RolloutList
		if err := r.us.List(t.Context(), &rollouts, client.InNamespace(r.namespace)); err != nil {
			t.Fatal(err)
		}
		for _, rollout := range rollouts.Items {
			want, old := stable[rollout.Name]
			if old && (rollout.Spec.StableRulesetName != want || rollout.Status.Step != "" && rollout.Status.Chosen > 0) {
				t.Fatalf("a bad rule goes on: %+v %+v", rollout.Spec, rollout.Status)
			}
		}
	}
	for _, h := range func() []v1alpha1.Host { list, _ := r.moving(t.Context()); return list }() {
		if !strings.HasPrefix(h.Name, "probe-") {
			t.Errorf("host %s is not where it was", h.Name)
		}
	}
	change(r, all, func() { all.Spec.Ingress[0].Ports = "3/3" })
	for _, set := range sets {
		r.stableThrough(port(3), set...)
	}
}

// stableThrough has all hosts confirm until the stable Ruleset of a set is as wanted.
func (r *room) stableThrough(ok func(*v1alpha1.RulesetSpec) string, groups ...string) {
	r.Helper()
	testenv.Eventually(r.T, func(ctx context.Context) string {
		r.confirmAll(ctx)
		var rollout v1alpha1.Rollout
		if err := r.us.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: convert.RolloutName(groups)}, &rollout); err != nil {
			return err.Error()
		}
		var found v1alpha1.Ruleset
		if err := r.us.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: rollout.Spec.StableRulesetName}, &found); err != nil {
			return fmt.Sprintf("%v: %v %+v", groups, err, rollout.Status)
		}
		return ok(&found.Spec)
	})
}

// TestCriticalHosts has three hosts of an etcd in two sets: with one of them
// unconfirmed no other changes, in the last step too.
func TestCriticalHosts(t *testing.T) {
	r := newRoom(t)
	now := clock.RealClock{}.Now()
	web := group("web", tcp(1, from("0.0.0.0/0")))
	r.make(vpc(), web, group("db"))
	r.fleet(now, "a", 3, "web")
	for i, set := range [][]string{{"web"}, {"web", "db"}, {"web"}} {
		h := host(fmt.Sprintf("etcd-%d", i), fmt.Sprintf("10.0.7.%d", i+1), set...)
		h.Spec.Roles = []v1alpha1.HostRole{v1alpha1.RoleEtcd}
		r.make(h)
		r.alive(h.Name, now)
	}
	r.start(clocktesting.NewFakePassiveClock(now.Add(time.Second)))
	r.through("web")
	r.through("web", "db")
	change(r, web, func() { web.Spec.Ingress[0].Ports = "2/2" })
	for n := range 3 {
		one := r.nextCritical(n)
		// The others confirm; while this one does not, the job looks twice more.
		for turn := range 2 {
			r.probe(fmt.Sprintf("probe-%d-%d", n, turn))
			if again := r.nextCritical(n); again.Name != one.Name {
				t.Fatalf("%s changes while %s has not confirmed", again.Name, one.Name)
			}
		}
		r.confirmAll(t.Context())
	}
	r.stableThrough(port(2), "web")
	r.stableThrough(port(2), "web", "db")
}

// nextCritical confirms whatever moves but critical hosts, until one of these
// does, and returns it. Two at once end the test. How many have changed before is
// for the message.
func (r *room) nextCritical(changed int) v1alpha1.Host {
	r.Helper()
	var critical []v1alpha1.Host
	testenv.Eventually(r.T, func(ctx context.Context) string {
		list, rollouts := r.moving(ctx)
		others := slices.DeleteFunc(slices.Clone(list), func(h v1alpha1.Host) bool { return assign.Critical(&h) })
		critical = slices.DeleteFunc(list, func(h v1alpha1.Host) bool { return !assign.Critical(&h) })
		r.confirm(ctx, others, rollouts)
		if len(critical) == 0 {
			return fmt.Sprintf("after %d hosts of the etcd no other one changes", changed)
		}
		return ""
	})
	if len(critical) > 1 {
		r.Fatalf("%s and %s change at once", critical[0].Name, critical[1].Name)
	}
	return critical[0]
}

// probe makes a host with a group of its own, and waits until the job has seen
// it, and with it all groups that were written before.
func (r *room) probe(name string) {
	r.Helper()
	r.make(group(name), host(name, fmt.Sprintf("10.0.8.%d", r.probes+1), name))
	r.probes++
	r.stable(anything, name)
}

// TestOpensSkips checks that what only opens goes to all at once, and a newer
// candidate begins with one host again.
func TestOpensSkips(t *testing.T) {
	r := newRoom(t)
	now := clock.RealClock{}.Now()
	web := group("web", tcp(1, from("0.0.0.0/0")))
	r.make(vpc(), web)
	r.fleet(now, "a", 12, "web")
	r.start(clocktesting.NewFakePassiveClock(now.Add(time.Second)))
	r.through("web")
	change(r, web, func() { web.Spec.Ingress = append(web.Spec.Ingress, tcp(2, from("0.0.0.0/0"))) })
	list, rollouts := r.step("All 12", "web")
	if len(list) != 12 {
		t.Errorf("%d hosts are told to open, want all 12", len(list))
	}
	r.confirm(t.Context(), list[:5], rollouts)
	change(r, web, func() { web.Spec.Ingress = []v1alpha1.Rule{tcp(3, from("0.0.0.0/0"))} })
	r.step("One 1", "web")
	r.stableThrough(port(3), "web")
	change(r, web, func() { web.Spec.Ingress = append(web.Spec.Ingress, tcp(22, from("192.0.2.0/24"))) })
	r.step("One 1", "web")
}

// TestPeopleStopIt pauses and undoes as the administrator.
func TestPeopleStopIt(t *testing.T) {
	r := newRoom(t)
	now := clock.RealClock{}.Now()
	web := group("web", tcp(1, from("0.0.0.0/0")))
	r.make(vpc(), web)
	r.fleet(now, "a", 12, "web")
	r.start(clocktesting.NewFakePassiveClock(now.Add(time.Second)))
	r.through("web")
	annotate := func(name, value string) {
		t.Helper()
		text := fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, name, value)
		if err := r.admin.Patch(t.Context(), r.rollout("web"), client.RawPatch("application/merge-patch+json", []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	annotate(v1alpha1.AnnotationPaused, `"today"`)
	change(r, web, func() { web.Spec.Ingress[0].Ports = "2/2" })
	r.probe("probe")
	if s := r.rollout("web").Spec; s.CandidateRulesetName != "" {
		t.Errorf("paused, and %s is tried", s.CandidateRulesetName)
	}
	annotate(v1alpha1.AnnotationPaused, "null")
	r.step("One 1", "web")
	annotate(v1alpha1.AnnotationUndone, `"`+r.rollout("web").Spec.CandidateRulesetName+`"`)
	r.step("stable", "web")
	r.stable(port(1), "web")
	annotate(v1alpha1.AnnotationUndone, "null")
	r.stableThrough(port(2), "web")
	r.through("web")
	annotate(v1alpha1.AnnotationUndone, `"`+r.rollout("web").Spec.StableRulesetName+`"`)
	r.step("One 1", "web")
	r.stableThrough(port(1), "web")
}
