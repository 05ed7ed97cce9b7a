package ruleset

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/controller/namespaced"
	"ringfence.dev/ringfence/internal/convert"
)

// next says what a Rollout becomes, given the name of the Ruleset that its
// groups mean now: everybody runs that one. An empty name means that nothing
// good can be made of them, and changes nothing.
func next(old v1alpha1.RolloutSpec, newest string) v1alpha1.RolloutSpec {
	if newest == "" {
		return old
	}
	return v1alpha1.RolloutSpec{SecurityGroupNames: old.SecurityGroupNames, StableRulesetName: newest}
}

// step plans the writes that take a Rollout from what there is, nil for
// nothing, to what it becomes.
func (d *decider) step(s *set, have, now *v1alpha1.Rollout) {
	if have == nil || !equality.Semantic.DeepEqual(have.Spec, now.Spec) {
		d.plan.rollouts = append(d.plan.rollouts, change{have, now})
	}
	status := d.status(s, now)
	last, counted := d.counted[s.name]
	switch {
	case equality.Semantic.DeepEqual(now.Status, status):
	case counted && d.now.Sub(last) < countEvery && equality.Semantic.DeepEqual(now.Status.Conditions, status.Conditions):
		d.plan.countLater = true
		d.plan.counted[s.name] = last
		return
	default:
		now = now.DeepCopy()
		now.Status = status
		d.plan.statuses = append(d.plan.statuses, change{have, now})
		last, counted = d.now, true
	}
	if counted && d.now.Sub(last) < countEvery {
		d.plan.counted[s.name] = last
	}
}

// countEvery is how often the numbers in a status are written while its
// conditions stay: 10,000 hosts that confirm one by one are worth some writes a
// set, not one each.
const countEvery = 10 * time.Second

// status counts the hosts that are there, and those of them that run the stable
// Ruleset.
func (d *decider) status(s *set, r *v1alpha1.Rollout) v1alpha1.RolloutStatus {
	out := *r.Status.DeepCopy()
	out.Hosts, out.Confirmed = 0, 0
	for _, h := range s.hosts {
		if at, ok := d.renewed[h.Name]; !ok || d.now.Sub(at) >= namespaced.LeaseLife {
			continue
		}
		out.Hosts++
		if h.Status.RulesetName == r.Spec.StableRulesetName {
			out.Confirmed++
		}
	}
	out.Chosen = out.Hosts
	settled := metav1.Condition{
		Type: v1alpha1.ConditionSettled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonStable,
		Message: "all hosts that are there run the stable Ruleset", LastTransitionTime: metav1.NewTime(d.now),
	}
	if out.Confirmed < out.Chosen {
		settled.Status, settled.Reason = metav1.ConditionFalse, v1alpha1.ReasonStepping
		settled.Message = "not all hosts that are there run the stable Ruleset yet"
	}
	meta.SetStatusCondition(&out.Conditions, settled)
	return out
}

// What goes is kept for a while.
const (
	// spare is how many Rulesets of a set stay that nobody runs any more, for
	// agents that were away while one was replaced.
	spare = 3
	// youngest is the age below which no Ruleset goes.
	youngest = time.Minute
	// unwornFor is how long a Rollout stays that no host wears: a host that is
	// made anew under its name finds it again.
	unwornFor = 10 * time.Minute
)

// garbage plans what goes: Rollouts of sets that nobody wears, then Rulesets
// that no Rollout and no host names.
func (d *decider) garbage(sets map[string]*set, wanted map[string]v1alpha1.RolloutSpec) {
	named := map[string]bool{}
	name := func(spec *v1alpha1.RolloutSpec) {
		named[spec.StableRulesetName], named[spec.CandidateRulesetName] = true, true
	}
	for _, spec := range wanted {
		name(&spec)
	}
	alive := maps.Clone(wanted)
	for i := range d.rollouts {
		r := &d.rollouts[i]
		if _, ok := sets[r.Name]; !ok && !d.unknown && d.tooLongUnworn(r.Name) {
			d.plan.dropRollouts = append(d.plan.dropRollouts, r)
			continue
		}
		alive[r.Name] = r.Spec
		name(&r.Spec)
	}
	for _, h := range d.objects.Hosts {
		named[h.Status.RulesetName] = true
	}
	d.oldRulesets(named, alive)
}

// tooLongUnworn notes since when a Rollout is unworn, and reports whether that
// is long enough.
func (d *decider) tooLongUnworn(rollout string) bool {
	since, ok := d.unworn[rollout]
	if !ok {
		since = d.now
	}
	d.plan.unworn[rollout] = since
	return d.now.Sub(since) >= unwornFor
}

func (d *decider) oldRulesets(named map[string]bool, alive map[string]v1alpha1.RolloutSpec) {
	idle := map[string][]*v1alpha1.Ruleset{} // by the name of their set's Rollout
	for i := range d.rulesets {
		if r := &d.rulesets[i]; !named[r.Name] {
			of := convert.RolloutName(r.Spec.SecurityGroupNames)
			idle[of] = append(idle[of], r)
		}
	}
	for _, of := range slices.Sorted(maps.Keys(idle)) {
		list := idle[of]
		slices.SortFunc(list, func(a, b *v1alpha1.Ruleset) int {
			return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		})
		if _, ok := alive[of]; ok {
			list = list[min(spare, len(list)):]
		}
		for _, r := range list {
			if d.now.Sub(r.CreationTimestamp.Time) >= youngest {
				d.plan.dropRulesets = append(d.plan.dropRulesets, r)
			}
		}
	}
}
