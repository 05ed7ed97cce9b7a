package ruleset

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/assign"
)

// A member is a host that wears the set of a Rollout.
type member struct {
	name    string
	cluster string // may be empty
	// address is one of its own; empty if none is known.
	address string
	// critical is true if it is there for etcd or the API server.
	critical bool
	// there is true if it has a fresh Lease and is not opened by somebody: it can
	// confirm. seen is its last sign of life; zero if there never was one.
	there bool
	seen  time.Time
	// said is the Ruleset that it names; runs is the same if that is confirmed.
	said, runs string
	// trying is true if a Ruleset runs that is not confirmed yet.
	trying bool
	// failure is what it says about a Ruleset that it could not confirm, and
	// failedAt since when; empty if it says nothing of the kind.
	failure  string
	failedAt time.Time
}

func (m *member) follower() assign.Follower {
	return assign.Follower{Name: m.name, Critical: m.critical}
}

// newMember reads what a host says. It has confirmed the Ruleset that its status
// names if the condition Enforced has reason Confirmed, or Observing. Since the
// name of a Ruleset is its content, that is true for as long as the host says so.
//
// It has failed a Ruleset if Enforced is False for reason RolledBack, KeepCut or
// ApplyFailed, and its message or status.rollbackReason contains the name.
func newMember(h *v1alpha1.Host, cluster string) member {
	m := member{name: h.Name, cluster: cluster, critical: assign.Critical(h), said: h.Status.RulesetName}
	c := meta.FindStatusCondition(h.Status.Conditions, v1alpha1.ConditionEnforced)
	if c == nil {
		return m
	}
	switch c.Reason {
	case v1alpha1.ReasonConfirmed, v1alpha1.ReasonObserving:
		m.runs = m.said
	case v1alpha1.ReasonTrial:
		m.trying = true
	case v1alpha1.ReasonRolledBack, v1alpha1.ReasonKeepCut, v1alpha1.ReasonApplyFailed:
		if c.Status == metav1.ConditionFalse {
			m.failure, m.failedAt = strings.TrimSpace(c.Message+"\n"+h.Status.RollbackReason), c.LastTransitionTime.Time
		}
	}
	return m
}

// opened reports whether somebody has opened a host for a while: what it runs
// says nothing about the rules.
func opened(h *v1alpha1.Host) bool {
	c := meta.FindStatusCondition(h.Status.Conditions, v1alpha1.ConditionEnforced)
	return c != nil && c.Reason == v1alpha1.ReasonOpened
}

// wayBack is how long a chosen host is waited for that falls silent before it
// has confirmed: it may have lost its way to us by the candidate. Its trial ends
// after 60 s, its Lease may have had 60 s to go, and it has to find us again.
const wayBack = 3 * time.Minute

// A trial is one Rollout on its way from what it was to what it becomes.
type trial struct {
	set     *set
	spec    v1alpha1.RolloutSpec
	status  v1alpha1.RolloutStatus
	members []member // sorted by name
	// newest is the Ruleset that the groups mean now; empty if nothing good can
	// be made of them.
	newest string
	// paused, undone and retry are what annotations say.
	paused bool
	undone string
	retry  time.Time
	// opens reports whether the candidate only opens.
	opens    func(stable, candidate string) bool
	rulesets map[string]*v1alpha1.Ruleset // by name
	now      time.Time

	// changed remembers what changes said.
	changed map[string]bool
	// held says why the candidate is not tried on a first host yet.
	held string
}

// advance takes all Rollouts of a namespace as far as they may go now. What is
// taken back moves hosts too, so nobody grows before all have reacted.
func advance(trials []*trial) {
	for _, t := range trials {
		t.react()
	}
	q := newQuorum(trials)
	for _, t := range trials {
		t.grow(trials, q)
	}
}

// react answers what happened: failures, what people say, and a newer Ruleset.
// It takes back and begins, but gives no further host a candidate.
func (t *trial) react() {
	want := t.wanted()
	if f := t.status.Failure; f != nil && !f.Time.After(t.retry) {
		t.status.Failure = nil
	}
	if c := t.spec.CandidateRulesetName; c != "" {
		if m := t.failed(c); m != nil {
			t.fail(c, m)
			return
		}
		if c == t.undone || t.givenUp(c) { // or its status was written, and then the server ended
			t.withdraw()
		}
	}
	switch {
	case want == "", want == t.spec.CandidateRulesetName && !t.givenUp(want):
	case want == t.spec.StableRulesetName:
		t.withdraw()
		t.status.Failure = nil
	case t.paused:
	case t.givenUp(want):
		t.withdraw()
	default:
		if m := t.failed(want); m != nil {
			t.fail(want, m)
			return
		}
		t.begin(want)
	}
}

// wanted names the Ruleset that hosts are to run in the end. Empty changes
// nothing.
func (t *trial) wanted() string {
	switch {
	case t.newest == "" || t.newest != t.undone:
		return t.newest
	case t.spec.StableRulesetName != t.undone:
		return t.spec.StableRulesetName
	}
	return t.status.PreviousRulesetName
}

// failed returns the first host that could not confirm a Ruleset; nil if none.
// What is forgiven does not count.
func (t *trial) failed(ruleset string) *member {
	var first *member
	for i := range t.members {
		m := &t.members[i]
		if !strings.Contains(m.failure, ruleset) || !m.failedAt.After(t.retry) {
			continue
		}
		if first == nil || m.failedAt.Before(first.failedAt) {
			first = m
		}
	}
	return first
}

// givenUp reports whether a Ruleset is the one that was given up, and nobody has
// said since that it shall be tried again.
func (t *trial) givenUp(ruleset string) bool {
	f := t.status.Failure
	return f != nil && f.RulesetName == ruleset && f.Time.After(t.retry)
}

// fail sends everybody back because of a host.
func (t *trial) fail(candidate string, m *member) {
	const longest = 1024
	message := m.failure
	if len(message) > longest {
		message = strings.ToValidUTF8(message[:longest-3], "") + "…"
	}
	t.withdraw()
	t.status.Failure = &v1alpha1.RolloutFailure{RulesetName: candidate, HostName: m.name, Message: message, Time: metav1.NewTime(t.now.Truncate(time.Second))}
}

// withdraw takes the candidate from everybody. The first one of a set stays,
// with nobody to run it, for want of another.
func (t *trial) withdraw() {
	if t.spec.CandidateRulesetName == "" {
		return
	}
	t.spec.CriticalHostNames, t.spec.Dialers = nil, nil
	if t.spec.StableRulesetName == "" {
		t.spec.Bound = assign.Nobody
		return
	}
	t.spec.CandidateRulesetName, t.spec.Bound = "", ""
}

// begin makes a Ruleset the candidate. Where no host runs or could run anything,
// there is nobody to try it on, and nothing to lose: it is stable at once.
func (t *trial) begin(want string) {
	stable := t.spec.StableRulesetName
	t.status.Failure = nil
	t.status.StepStartTime = nil
	t.spec.CandidateRulesetName, t.spec.Bound = want, assign.Nobody
	t.spec.CriticalHostNames, t.spec.Dialers = nil, nil
	switch {
	case !slices.ContainsFunc(t.members, func(m member) bool { return m.there || m.said != "" }):
		t.promote()
	case stable != "" && t.opens(stable, want):
		t.spec.Bound = assign.Everybody
		t.started()
	}
}

func (t *trial) promote() {
	t.status.PreviousRulesetName = t.spec.StableRulesetName
	t.spec.StableRulesetName = t.spec.CandidateRulesetName
	t.spec.CandidateRulesetName, t.spec.Bound = "", ""
	t.spec.CriticalHostNames, t.spec.Dialers = nil, nil
}

// started notes that more hosts got the candidate, and who dials them.
func (t *trial) started() {
	t.status.StepStartTime = new(metav1.NewTime(t.now.Truncate(time.Second)))
	t.spec.Dialers = t.dialers()
}

// maxDialers is how many hosts dial others.
const maxDialers = 4

// dialers are the first hosts that have confirmed the candidate.
func (t *trial) dialers() []v1alpha1.RolloutDialer {
	var out []v1alpha1.RolloutDialer
	normal, critical := t.parts()
	for _, m := range slices.Concat(normal, critical) {
		if m.there && m.address != "" && m.runs == t.spec.CandidateRulesetName && len(out) < maxDialers {
			out = append(out, v1alpha1.RolloutDialer{HostName: m.name, Address: m.address})
		}
	}
	return out
}

// grow gives the candidate to as many hosts more as their confirmations allow,
// and makes it stable when all have confirmed.
func (t *trial) grow(all scouts, q *quorum) {
	c := t.spec.CandidateRulesetName
	if c == "" || t.paused || c == t.undone || t.givenUp(c) {
		return
	}
	if chosen, _ := t.progress(); !chosen {
		if t.held = all.hold(t); t.held != "" {
			return
		}
	}
	for !t.waits() {
		if t.complete() {
			t.promote()
			return
		}
		if !t.enlarge(q) {
			return
		}
	}
}

func (t *trial) chosen(m *member) bool { return assign.Chosen(&t.spec, m.follower()) }

// counted reports whether a host counts: it is there, or is a chosen one that is
// waited for although it is not. A critical one is waited for until it is back
// or its Host is deleted: one member of an etcd too few is no reason to touch
// the next.
func (t *trial) counted(m *member) bool {
	if m.there || !t.chosen(m) {
		return m.there
	}
	return m.critical || t.silenced(m)
}

// silenced reports whether a chosen host fell silent in this step, lately, and
// has not confirmed.
func (t *trial) silenced(m *member) bool {
	before := t.status.StepStartTime != nil && m.seen.Before(t.status.StepStartTime.Time)
	return m.runs != t.spec.CandidateRulesetName && !before && t.now.Sub(m.seen) < wayBack
}

// waits reports whether some chosen host has yet to confirm. In the last step,
// once a first critical host has, the others wait only for those of their own
// cluster, which the quorum sees to.
func (t *trial) waits() bool {
	one, some := false, false
	for i := range t.members {
		m := &t.members[i]
		if !t.counted(m) || !t.chosen(m) {
			continue
		}
		confirmed := m.runs == t.spec.CandidateRulesetName
		switch {
		case m.critical && confirmed:
			one = true
		case m.critical:
			some = true
		case !confirmed:
			return true
		}
	}
	return some && (!one || t.spec.Bound != assign.Everybody)
}

// complete reports whether all hosts that count run the candidate.
func (t *trial) complete() bool {
	n := 0
	for i := range t.members {
		m := &t.members[i]
		if !t.counted(m) {
			continue
		}
		if !t.chosen(m) || m.runs != t.spec.CandidateRulesetName {
			return false
		}
		n++
	}
	return n > 0 && t.spec.Bound == assign.Everybody
}

// parts sorts the hosts that count: the normal ones in the order in which they
// run the candidate, and the critical ones.
func (t *trial) parts() (normal, critical []*member) {
	for i := range t.members {
		m := &t.members[i]
		switch {
		case !t.counted(m):
		case m.critical:
			critical = append(critical, m)
		default:
			normal = append(normal, m)
		}
	}
	c := t.spec.CandidateRulesetName
	digests := make(map[string]string, len(normal))
	for _, m := range normal {
		digests[m.name] = assign.Digest(c, m.name)
	}
	slices.SortFunc(normal, func(a, b *member) int { return cmp.Compare(digests[a.name], digests[b.name]) })
	return normal, critical
}

// target is how many of n hosts are to run the candidate after some have
// confirmed it, and whether that is the last step: one, a tenth, all.
func target(confirmed, n int) (goal int, last bool) {
	tenth := (n + 9) / 10
	switch {
	case confirmed < 1:
		return 1, false
	case confirmed < tenth:
		return tenth, false
	}
	return n, true
}

// enlarge gives the candidate to more hosts: by the bound to as many normal ones
// as the step has, or else to one critical one. It reports whether it did.
func (t *trial) enlarge(q *quorum) bool {
	normal, critical := t.parts()
	n := len(normal) + len(critical)
	if n == 0 {
		return false // nobody is there to try it
	}
	have, named := 0, 0
	for _, m := range normal {
		if t.chosen(m) {
			have++
		}
	}
	for _, m := range critical {
		if t.chosen(m) {
			named++
		}
	}
	goal, last := target(have+named, n)
	if last && t.spec.Bound != assign.Everybody {
		t.spec.Bound = assign.Everybody
		t.started()
		return true
	}
	if k := min(goal, len(normal)); k > have && t.spec.Bound != assign.Everybody {
		t.spec.Bound = assign.Above(assign.Digest(t.spec.CandidateRulesetName, normal[k-1].name))
		t.started()
		return true
	}
	for _, m := range q.order(critical) {
		if t.chosen(m) || !q.take(m) {
			continue
		}
		t.spec.CriticalHostNames = append(slices.Clone(t.spec.CriticalHostNames), m.name)
		slices.Sort(t.spec.CriticalHostNames)
		t.started()
		return true
	}
	return false
}

// step tells how many hosts run the candidate; empty if there is none.
func (t *trial) step() v1alpha1.RolloutStep {
	normal, critical := t.parts()
	chosen := 0
	for _, m := range slices.Concat(normal, critical) {
		if t.chosen(m) {
			chosen++
		}
	}
	switch {
	case t.spec.CandidateRulesetName == "":
		return ""
	case t.spec.Bound == assign.Everybody:
		return v1alpha1.StepAll
	case chosen <= 1:
		return v1alpha1.StepOne
	}
	return v1alpha1.StepTenth
}
