package ruleset

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/assign"
	"ringfence.dev/ringfence/internal/controller/namespaced"
	"ringfence.dev/ringfence/internal/convert"
)

// trial reads a Rollout, nil for none, and who wears its set.
func (d *decider) trial(s *set, have *v1alpha1.Rollout, newest string) *trial {
	t := &trial{set: s, newest: newest, opens: d.opens, rulesets: d.has, now: d.now}
	t.spec.SecurityGroupNames = s.groups
	if have != nil {
		t.spec, t.status = *have.Spec.DeepCopy(), *have.Status.DeepCopy()
		_, t.paused = have.Annotations[v1alpha1.AnnotationPaused]
		t.undone = have.Annotations[v1alpha1.AnnotationUndone]
		t.retry, _ = time.Parse(time.RFC3339, have.Annotations[v1alpha1.AnnotationRetry])
	}
	if d.has[t.status.PreviousRulesetName] == nil {
		t.status.PreviousRulesetName = "" // it is gone
	}
	t.spec.NodePools = d.pooled(s, t.spec.NodePools)
	t.spec.VPCCIDRBlocks = d.vpc(s, t.spec.VPCCIDRBlocks)
	for i, h := range s.hosts {
		m := newMember(h, s.clusterOf[i])
		m.address = s.addressOf[i]
		if at, ok := d.renewed[h.Name]; ok && !opened(h) {
			m.seen, m.there = at, d.now.Sub(at) < namespaced.LeaseLife
		}
		t.members = append(t.members, m)
	}
	slices.SortFunc(t.members, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	return t
}

// opens reports whether it is proved that a candidate only opens.
func (d *decider) opens(stable, candidate string) bool {
	old, updated := d.has[stable], d.has[candidate]
	return old != nil && updated != nil && onlyOpens(&old.Spec, &updated.Spec, d.tables.Exempt())
}

// vpc returns the CIDRs of the VPC of a set, or what they were before if it is
// not there.
func (d *decider) vpc(s *set, before []v1alpha1.CIDR) []v1alpha1.CIDR {
	for _, g := range d.objects.SecurityGroups {
		if s == nil || !slices.Contains(s.groups, g.Name) {
			continue
		}
		if i := slices.IndexFunc(d.objects.VPCs, func(v *v1alpha1.VPC) bool { return v.Name == g.Spec.VPCName }); i >= 0 {
			spec := &d.objects.VPCs[i].Spec
			return slices.Sorted(slices.Values(append([]v1alpha1.CIDR{spec.CIDRBlock}, spec.SecondaryCIDRBlocks...)))
		}
	}
	return before
}

// pooled returns the node pools of a set. One of which it is not known of some
// host what it wears stays, and one that is not there says what it said last.
func (d *decider) pooled(s *set, before []v1alpha1.RolloutNodePool) []v1alpha1.RolloutNodePool {
	said := map[string]v1alpha1.RolloutNodePool{}
	for _, p := range before {
		said[p.Name] = p
	}
	var names []string
	if s != nil {
		names = slices.Clone(s.pools)
	}
	for _, p := range before {
		if d.unknownPools[p.Name] {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	var out []v1alpha1.RolloutNodePool
	for _, name := range slices.Compact(names) {
		pool := said[name]
		pool.Name = name
		if i := slices.IndexFunc(d.objects.NodePools, func(p *v1alpha1.NodePool) bool { return p.Name == name }); i >= 0 {
			spec := &d.objects.NodePools[i].Spec
			pool.ClusterName, pool.Enforcement = spec.ClusterName, spec.Enforcement
		}
		out = append(out, pool)
	}
	return out
}

// step plans the writes that take a Rollout from what there is, nil for
// nothing, to what it becomes.
func (d *decider) step(have *v1alpha1.Rollout, t *trial) {
	now := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: t.set.name, Namespace: d.namespace}}
	if have != nil {
		now = have.DeepCopy()
	}
	now.Spec, now.Labels = t.spec, assign.Labels(now.Labels, t.spec.NodePools)
	d.plan.stepping = d.plan.stepping || t.spec.CandidateRulesetName != ""
	if have == nil || !equality.Semantic.DeepEqual(have.Spec, now.Spec) || !maps.Equal(have.Labels, now.Labels) {
		d.plan.rollouts = append(d.plan.rollouts, change{have, now})
	}
	status := t.told()
	last, counted := d.counted[now.Name]
	switch {
	case equality.Semantic.DeepEqual(now.Status, status):
	case counted && d.now.Sub(last) < countEvery && onlyNumbers(&now.Status, &status):
		d.plan.countLater = true
		d.plan.counted[now.Name] = last
		return
	default:
		now = now.DeepCopy()
		now.Status = status
		d.plan.statuses = append(d.plan.statuses, change{have, now})
		last, counted = d.now, true
	}
	if counted && d.now.Sub(last) < countEvery {
		d.plan.counted[now.Name] = last
	}
}

// onlyNumbers reports whether two statuses differ in numbers of hosts only.
func onlyNumbers(a, b *v1alpha1.RolloutStatus) bool {
	x, y := *a, *b
	x.Hosts, x.Chosen, x.Confirmed = y.Hosts, y.Chosen, y.Confirmed
	return equality.Semantic.DeepEqual(x, y)
}

// countEvery is how often the numbers in a status are written while its
// conditions stay: 10,000 hosts that confirm one by one are worth some writes a
// set, not one each.
const countEvery = 10 * time.Second

// told is the status: it counts the hosts that are there, those of them that are
// to run the candidate, or else the stable Ruleset, and who of these confirmed.
func (t *trial) told() v1alpha1.RolloutStatus {
	out := t.status
	out.Step, out.Hosts, out.Chosen, out.Confirmed = t.step(), 0, 0, 0
	if out.Step == "" {
		out.StepStartTime = nil
	}
	for i := range t.members {
		m := &t.members[i]
		if !m.there {
			continue
		}
		out.Hosts++
		if out.Step != "" && !t.chosen(m) {
			continue
		}
		out.Chosen++
		if m.runs != "" && m.runs == assign.Ruleset(&t.spec, m.follower()) {
			out.Confirmed++
		}
	}
	settled := t.settled(out.Confirmed == out.Chosen)
	settled.LastTransitionTime = metav1.NewTime(t.now)
	meta.SetStatusCondition(&out.Conditions, settled)
	return out
}

// settled is the condition Settled.
func (t *trial) settled(all bool) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionSettled, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonStepping}
	f := t.status.Failure
	switch {
	case f != nil:
		c.Reason = v1alpha1.ReasonAborted
		c.Message = fmt.Sprintf("host %s could not confirm Ruleset %s: %s", f.HostName, f.RulesetName, f.Message)
	case t.spec.CandidateRulesetName != "" && t.paused:
		c.Message = "a candidate waits: the annotation " + v1alpha1.AnnotationPaused + " stops it"
	case t.held != "":
		c.Message = "a candidate waits: " + t.held
	case t.spec.CandidateRulesetName != "":
		c.Message = "a candidate is being tried"
	case t.paused && t.wanted() != "" && t.wanted() != t.spec.StableRulesetName:
		c.Message = "the groups mean another Ruleset: the annotation " + v1alpha1.AnnotationPaused + " keeps it from being tried"
	case !all:
		c.Message = "not all hosts that are there run the stable Ruleset yet"
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonStable, "all hosts that are there run the stable Ruleset"
	}
	return c
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
	for _, c := range d.plan.statuses {
		named[c.now.Status.PreviousRulesetName] = true
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
		named[r.Status.PreviousRulesetName] = true
		if _, ok := sets[r.Name]; !ok {
			d.leave(r)
		}
	}
	for _, h := range d.objects.Hosts {
		named[h.Status.RulesetName] = true
	}
	d.oldRulesets(named, alive)
}

// leave takes the node pools from a Rollout that nobody wears: their hosts would
// go on following it.
func (d *decider) leave(r *v1alpha1.Rollout) {
	pools := d.pooled(nil, r.Spec.NodePools)
	labels := assign.Labels(r.Labels, pools)
	if slices.Equal(pools, r.Spec.NodePools) && maps.Equal(labels, r.Labels) {
		return
	}
	now := r.DeepCopy()
	now.Spec.NodePools, now.Labels = pools, labels
	d.plan.rollouts = append(d.plan.rollouts, change{r, now})
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
