package ruleset

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/assign"
)

// A play is the Rollouts of a namespace and the hosts that follow them.
type play struct {
	now   time.Time
	sets  []*playSet
	opens bool
	// rulesets make Rollouts share a change; without, none do.
	rulesets map[string]*v1alpha1.Ruleset
}

type playSet struct {
	name    string
	spec    v1alpha1.RolloutSpec
	status  v1alpha1.RolloutStatus
	newest  string
	paused  bool
	undone  string
	retry   time.Time
	members []member
	held    string
}

// newPlay has one set, named a, whose stable Ruleset is old and runs everywhere.
func newPlay(normal, critical int) *play {
	p := &play{now: noon}
	p.add("a", normal, critical)
	return p
}

func (p *play) add(name string, normal, critical int) *playSet {
	s := &playSet{name: name, newest: "new"}
	s.spec.StableRulesetName = "old"
	for n := range normal + critical {
		s.members = append(s.members, member{
			name: fmt.Sprintf("%s-%03d", name, n), cluster: "shop", critical: n >= normal,
			there: true, seen: p.now, said: "old", runs: "old",
		})
	}
	p.sets = append(p.sets, s)
	return s
}

// turn is one turn of the controller.
func (p *play) turn() {
	trials := make([]*trial, len(p.sets))
	for i, s := range p.sets {
		trials[i] = &trial{
			set: &set{name: s.name}, spec: *s.spec.DeepCopy(), status: *s.status.DeepCopy(), members: slices.Clone(s.members), newest: s.newest,
			paused: s.paused, undone: s.undone, retry: s.retry, now: p.now, rulesets: p.rulesets,
			opens: func(string, string) bool { return p.opens },
		}
	}
	advance(trials)
	for i, s := range p.sets {
		s.spec, s.status, s.held = trials[i].spec, trials[i].told(), trials[i].held
	}
}

// told are the hosts of a set that are to run something else than they run.
func (s *playSet) told() []*member {
	var out []*member
	for i := range s.members {
		m := &s.members[i]
		if want := assign.Ruleset(&s.spec, m.follower()); m.there && want != "" && m.runs != want {
			out = append(out, m)
		}
	}
	return out
}

// confirm has hosts do as they are told.
func (s *playSet) confirm(list ...*member) {
	for _, m := range list {
		want := assign.Ruleset(&s.spec, m.follower())
		m.said, m.runs, m.failure, m.trying = want, want, "", false
	}
}

// fail has a host say that it could not confirm what it is to run.
func (s *playSet) fail(p *play, m *member) {
	m.failure = "probes of " + assign.Ruleset(&s.spec, m.follower()) + " failed"
	m.failedAt = p.now
}

// running counts the hosts that are to run a Ruleset.
func (s *playSet) running(ruleset string) int {
	n := 0
	for _, m := range s.members {
		if assign.Ruleset(&s.spec, m.follower()) == ruleset {
			n++
		}
	}
	return n
}

func (s *playSet) String() string {
	return fmt.Sprintf("%s/%s %s %d", s.spec.StableRulesetName, s.spec.CandidateRulesetName, s.status.Step, s.running(s.spec.CandidateRulesetName))
}

// TestSteps plays a candidate that every host confirms, and notes where it is
// after each turn.
func TestSteps(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		play   func() *play
		want   []string
	}{
		"Thirty":   {"one, a tenth, all", func() *play { return newPlay(30, 0) }, []string{"old/new One 1", "old/new Tenth 3", "old/new All 30", "new/  0"}},
		"RoundsUp": {"a tenth of 31 is 4", func() *play { return newPlay(31, 0) }, []string{"old/new One 1", "old/new Tenth 4", "old/new All 31", "new/  0"}},
		"Ten":      {"a tenth of ten is the first host", func() *play { return newPlay(10, 0) }, []string{"old/new One 1", "old/new All 10", "new/  0"}},
		"Single":   {"one host is all", func() *play { return newPlay(1, 0) }, []string{"old/new One 1", "new/  0"}},
		"Critical": {"those of the control plane last, one at a time", func() *play { return newPlay(4, 3) }, []string{
			"old/new One 1", "old/new All 4", "old/new All 5", "old/new All 6", "old/new All 7", "new/  0",
		}},
		"CriticalOnly": {"one of them first, if there is no other", func() *play { return newPlay(0, 3) }, []string{
			"old/new One 1", "old/new All 2", "old/new All 3", "new/  0",
		}},
		"CriticalTenth": {"a tenth of 21 is 3, of which one is of the control plane", func() *play { return newPlay(2, 19) }, []string{
			"old/new One 1", "old/new Tenth 2", "old/new Tenth 3", "old/new All 4", "old/new All 5",
		}},
		"Opens": {"what only opens goes to all at once", func() *play { p := newPlay(30, 0); p.opens = true; return p }, []string{"old/new All 30", "new/  0"}},
		"OpensCritical": {"but not to the control plane", func() *play { p := newPlay(30, 2); p.opens = true; return p }, []string{
			"old/new All 30", "old/new All 31", "old/new All 32", "new/  0",
		}},
		"Absent": {"who is not there does not count", func() *play {
			p := newPlay(30, 0)
			for i := range 19 {
				p.sets[0].members[i].there, p.sets[0].members[i].seen = false, noon.Add(-time.Hour)
			}
			return p
		}, []string{"present 1", "present 2", "present 11", "new/  0"}},
		"NobodyThere": {"hosts that ran something come back: they are waited for", func() *play {
			p := newPlay(2, 0)
			p.sets[0].members[0].there, p.sets[0].members[1].there = false, false
			return p
		}, []string{"old/new One 0"}},
		"NoAgents": {"where nothing runs there is nothing to try", func() *play {
			p := newPlay(2, 1)
			for i := range p.sets[0].members {
				p.sets[0].members[i] = member{name: fmt.Sprint(i)}
			}
			return p
		}, []string{"new/  0"}},
		"First": {"the first Ruleset of a set is tried as well", func() *play {
			p := newPlay(20, 0)
			p.sets[0].spec.StableRulesetName = ""
			return p
		}, []string{"/new One 1", "/new Tenth 2", "/new All 20", "new/  0"}},
		"Paused": {"nothing begins", func() *play { p := newPlay(20, 0); p.sets[0].paused = true; return p }, []string{"old/  0"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := tc.play()
			s := p.sets[0]
			var got []string
			for range tc.want {
				p.turn()
				said := s.String()
				if s.spec.CandidateRulesetName != "" && strings.HasPrefix(tc.want[len(got)], "present") {
					said = fmt.Sprintf("present %d", s.status.Chosen)
				}
				got = append(got, said)
				s.confirm(s.told()...)
				p.now = p.now.Add(time.Second)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestWaits checks that no step begins before the last host of the one before
// has confirmed.
func TestWaits(t *testing.T) {
	p := newPlay(100, 0)
	s := p.sets[0]
	p.turn()
	for _, n := range []int{1, 10, 100} {
		told := s.told()
		if s.running("new") != n || len(told) != n && n == 1 {
			t.Fatalf("%d hosts are to run the candidate, want %d", s.running("new"), n)
		}
		for i, m := range told {
			p.turn()
			if got := s.running("new"); got != n {
				t.Fatalf("%d of %d hosts have confirmed, and %d are to run the candidate, want %d", i, len(told), got, n)
			}
			s.confirm(m)
		}
		p.turn()
	}
	if s.String() != "new/  0" || s.status.PreviousRulesetName != "old" {
		t.Errorf("in the end: %s, before it %q", s, s.status.PreviousRulesetName)
	}
}

func TestAbort(t *testing.T) {
	p := newPlay(30, 0)
	s := p.sets[0]
	p.turn()
	s.confirm(s.told()...)
	p.turn()
	told := s.told()
	if len(told) != 2 {
		t.Fatalf("%d hosts are told, want 2 more", len(told))
	}
	s.fail(p, told[1])
	p.turn()
	if s.String() != "old/  0" || s.status.Failure == nil || s.status.Failure.HostName != told[1].name || s.status.Failure.RulesetName != "new" {
		t.Fatalf("after a failure: %s, %+v", s, s.status.Failure)
	}
	if c := s.status.Conditions[0]; c.Reason != v1alpha1.ReasonAborted || !strings.Contains(c.Message, told[1].name) {
		t.Errorf("the condition says %s: %s", c.Reason, c.Message)
	}
	again := func(what, want string) {
		t.Helper()
		s.confirm(s.told()...)
		told[1].failure = "" // it runs what it ought to
		p.now = p.now.Add(time.Minute)
		p.turn()
		if s.String() != want {
			t.Errorf("%s: %s, want %s", what, s, want)
		}
	}
	again("the same candidate is not tried again", "old/  0")
	s.newest = ""
	again("nor when its groups make no sense for a while", "old/  0")
	s.newest = "new"
	again("and do again", "old/  0")
	s.retry = p.now
	again("somebody says so", "old/new One 1")
	s.fail(p, s.told()[0])
	told[1] = s.told()[0]
	p.turn()
	again("it fails again", "old/  0")
	s.newest = "newer"
	again("another one is tried", "old/newer One 1")
	if s.status.Failure != nil {
		t.Errorf("the failure stays: %+v", s.status.Failure)
	}
}

// TestForgiven has a host still say what it said before somebody had it tried
// again.
func TestForgiven(t *testing.T) {
	p := newPlay(30, 0)
	s := p.sets[0]
	p.turn()
	s.fail(p, s.told()[0])
	p.turn()
	p.now = p.now.Add(time.Minute)
	s.retry = p.now
	for range 2 {
		p.turn()
		if s.String() != "old/new One 1" || s.status.Failure != nil {
			t.Fatalf("tried again: %s, %+v", s, s.status.Failure)
		}
	}
	p.now = p.now.Add(time.Minute)
	s.fail(p, s.told()[0])
	p.turn()
	if s.String() != "old/  0" || s.status.Failure == nil {
		t.Errorf("it fails again: %s, %+v", s, s.status.Failure)
	}
}

// TestAbortIsRemembered ends the server between the two writes of an abort.
func TestAbortIsRemembered(t *testing.T) {
	p := newPlay(30, 0)
	s := p.sets[0]
	p.turn()
	told := s.told()[0]
	spec := s.spec
	s.fail(p, told)
	p.turn()
	s.spec = spec // the status was written, the spec was not
	told.failure = ""
	p.turn()
	if s.String() != "old/  0" || s.status.Failure == nil {
		t.Errorf("the candidate goes on: %s, %+v", s, s.status.Failure)
	}
}

// TestAbortOfTheFirst has no stable Ruleset to go back to.
func TestAbortOfTheFirst(t *testing.T) {
	p := newPlay(30, 0)
	s := p.sets[0]
	s.spec.StableRulesetName = ""
	p.turn()
	s.fail(p, s.told()[0])
	for range 3 {
		p.turn()
		if s.String() != "/new One 0" || s.status.Failure == nil {
			t.Fatalf("after a failure: %s, %+v", s, s.status.Failure)
		}
	}
	for i := range s.members {
		s.members[i].failure = ""
	}
	s.retry = p.now
	p.now = p.now.Add(time.Second)
	p.turn()
	if s.String() != "/new One 1" || s.status.Failure != nil {
		t.Errorf("tried again: %s, %+v", s, s.status.Failure)
	}
}

func TestNewerReplaces(t *testing.T) {
	p := newPlay(30, 2)
	s := p.sets[0]
	for range 4 {
		p.turn()
		s.confirm(s.told()...)
	}
	if s.spec.Bound != assign.Everybody || len(s.spec.CriticalHostNames) == 0 {
		t.Fatalf("the last step has not come: %s", s)
	}
	s.newest = "newer"
	p.turn()
	if s.String() != "old/newer One 1" || len(s.spec.CriticalHostNames) != 0 {
		t.Errorf("a newer candidate: %s, critical %v; want one host", s, s.spec.CriticalHostNames)
	}
	s.newest = "old"
	p.turn()
	if s.String() != "old/  0" {
		t.Errorf("the groups mean the stable one again: %s", s)
	}
}

func TestPauseAndUndo(t *testing.T) {
	p := newPlay(30, 0)
	s := p.sets[0]
	p.turn()
	s.paused = true
	s.confirm(s.told()...)
	for range 3 {
		p.turn()
	}
	if s.String() != "old/new One 1" {
		t.Errorf("paused: %s", s)
	}
	s.paused, s.undone = false, "new"
	p.turn()
	if s.String() != "old/  0" {
		t.Errorf("undone while it is tried: %s", s)
	}
	s.undone = ""
	for range 8 {
		p.turn()
		s.confirm(s.told()...)
	}
	if s.String() != "new/  0" {
		t.Fatalf("not stable: %s", s)
	}
	s.undone = "new"
	p.turn()
	if s.String() != "new/old One 1" {
		t.Errorf("undone when it is stable: %s, want the one before as the candidate", s)
	}
	for range 8 {
		p.turn()
		s.confirm(s.told()...)
	}
	if s.String() != "old/  0" || s.status.Conditions[0].Reason != v1alpha1.ReasonStable {
		t.Errorf("in the end: %s %v, want the one before", s, s.status.Conditions)
	}
	s.newest = "newer"
	p.turn()
	if s.String() != "old/newer One 1" {
		t.Errorf("the groups mean something else: %s", s)
	}
	s.undone = "newer"
	s.spec.StableRulesetName = ""
	p.turn()
	if s.String() != "/newer One 0" {
		t.Errorf("the first one is undone: %s", s)
	}
}

// TestSilence has the first host fall silent in its trial: it is waited for as
// long as its way back takes, and then another one tries.
func TestSilence(t *testing.T) {
	p := newPlay(30, 0)
	s := p.sets[0]
	p.turn()
	first := s.told()[0]
	first.seen = p.now.Add(time.Second)
	first.there = false
	others := func(after time.Duration) int {
		p.now = first.seen.Add(after)
		p.turn()
		return len(s.told())
	}
	if n := others(wayBack - time.Second); n != 0 {
		t.Errorf("%d others try it already", n)
	}
	if n := others(wayBack); n != 1 {
		t.Errorf("%d others try it, want 1", n)
	}
}

// TestQuorum has three Rollouts with hosts of one etcd.
func TestQuorum(t *testing.T) {
	p := newPlay(0, 1)
	p.add("b", 0, 1)
	p.add("c", 5, 1)
	moving := func() []*member {
		var out []*member
		for _, s := range p.sets {
			for _, m := range s.told() {
				if m.critical {
					out = append(out, m)
				}
			}
		}
		return out
	}
	seen := map[string]bool{}
	for range 30 {
		p.turn()
		list := moving()
		if len(list) > 1 {
			t.Fatalf("%d hosts of the etcd change at once: %s and %s", len(list), list[0].name, list[1].name)
		}
		for _, m := range list {
			seen[m.name] = true
			p.turn()
			p.turn()
			if again := moving(); len(again) != 1 || again[0].name != m.name {
				t.Fatalf("while %s has not confirmed, %d change", m.name, len(again))
			}
		}
		for _, s := range p.sets {
			s.confirm(s.told()...)
		}
	}
	if len(seen) != 3 {
		t.Errorf("only %v changed", seen)
	}
	// One of them is lost in its trial: no other one changes, for ever.
	for _, s := range p.sets {
		s.newest = "newer"
	}
	p.turn()
	lost := moving()[0]
	lost.there = false
	p.now = p.now.Add(24 * time.Hour)
	for _, s := range p.sets {
		for i := range s.members {
			if s.members[i].there {
				s.members[i].seen = p.now
			}
		}
	}
	for range 10 {
		p.turn()
		for _, m := range moving() {
			t.Fatalf("%s changes while %s is lost", m.name, lost.name)
		}
		p.sets[2].confirm(p.sets[2].told()...)
	}
	// Its Host is deleted, and the others go on.
	for _, s := range p.sets {
		s.members = slices.DeleteFunc(s.members, func(m member) bool { return m.critical && !m.there })
	}
	p.turn()
	if len(moving()) != 1 {
		t.Errorf("%d change, want the next one", len(moving()))
	}
}

// TestClustersSideBySide has hosts of many clusters' control planes in one set:
// they go one by one until the last step, and there one of each cluster that is left.
func TestClustersSideBySide(t *testing.T) {
	p := newPlay(0, 30)
	s := p.sets[0]
	for i := range s.members {
		s.members[i].cluster = fmt.Sprint(i / 3)
	}
	var got []int
	for range 6 {
		p.turn()
		p.turn() // nothing new until somebody confirms
		got = append(got, len(s.told()))
		s.confirm(s.told()...)
	}
	if want := []int{1, 1, 1, 9, 9, 9}; !slices.Equal(got, want) {
		t.Errorf("%v hosts change side by side, want %v", got, want)
	}
}

// TestQuorumLetsTheSickBeCured has a host of an etcd that cannot run the stable
// Ruleset: a newer one may be what it waits for.
func TestQuorumLetsTheSickBeCured(t *testing.T) {
	p := newPlay(0, 3)
	s := p.sets[0]
	sick := &s.members[1]
	sick.runs, sick.failure, sick.failedAt = "", "old is refused", noon
	p.turn()
	if told := s.spec.CriticalHostNames; !slices.Equal(told, []string{sick.name}) {
		t.Errorf("%v change, want %s", told, sick.name)
	}
}

// TestOneScout has three Rollouts with a bad change in common.
func TestOneScout(t *testing.T) {
	p := newPlay(8, 0)
	p.add("b", 7, 0)
	p.add("c", 5, 0)
	ruleset := func(name, set, ports string) {
		r := &v1alpha1.Ruleset{}
		r.Spec.SecurityGroupNames = []string{"everybody", set}
		r.Spec.Ingress = []v1alpha1.RulesetRule{{By: set + "/ingress/1", Ports: "1/1"}, {By: "everybody/ingress/1", Ports: ports}}
		p.rulesets[name] = r
	}
	p.rulesets = map[string]*v1alpha1.Ruleset{}
	for _, s := range p.sets {
		for _, version := range []string{"1", "2", "3"} {
			ruleset(s.name+version, s.name, version+"/"+version)
		}
		s.newest, s.spec.StableRulesetName = s.name+"2", s.name+"1"
		for i := range s.members {
			s.members[i].said, s.members[i].runs = s.name+"1", s.name+"1"
		}
	}
	reached := map[string]bool{}
	for range 20 {
		p.turn()
		for _, s := range p.sets {
			for _, m := range s.told() {
				if want := assign.Ruleset(&s.spec, m.follower()); strings.HasSuffix(want, "2") {
					reached[m.name] = true
					s.fail(p, m)
				}
			}
		}
		p.now = p.now.Add(time.Minute)
	}
	if len(reached) != 1 {
		t.Errorf("a bad change reached %v, want one host", reached)
	}
	if p.sets[1].held == "" || !strings.Contains(p.sets[1].status.Conditions[0].Message, "could not confirm") {
		t.Errorf("it is not said why the others wait: %q, %v", p.sets[1].held, p.sets[1].status.Conditions)
	}
	for _, s := range p.sets {
		s.newest = s.name + "3"
		for i := range s.members {
			s.members[i].failure = ""
		}
	}
	p.turn()
	if a, b := p.sets[0].running("a3"), p.sets[1].running("b3")+p.sets[2].running("c3"); a != 1 || b != 0 {
		t.Errorf("mended: %d and %d others, want one first", a, b)
	}
	for range 10 {
		for _, s := range p.sets {
			s.confirm(s.told()...)
		}
		p.turn()
	}
	for _, s := range p.sets {
		if s.spec.StableRulesetName != s.name+"3" {
			t.Errorf("in the end: %s", s)
		}
	}
}

// TestRandomRollouts plays at random: hosts confirm, fail, fall silent, come
// back, and rules change. Whatever happens, the promises of a Rollout hold.
func TestRandomRollouts(t *testing.T) {
	for seed := range uint64(400) {
		dice := rand.New(rand.NewPCG(seed, 7))
		p := &play{now: noon}
		for n := range 1 + dice.IntN(3) {
			s := p.add(string(rune('a'+n)), dice.IntN(25), dice.IntN(4))
			s.newest = "old"
		}
		for turn := range 120 {
			p.now = p.now.Add(time.Duration(dice.IntN(20)) * time.Second)
			s := p.sets[dice.IntN(len(p.sets))]
			if dice.IntN(15) == 0 {
				s.newest = fmt.Sprintf("v%02d", dice.IntN(8))
			}
			for _, s := range p.sets {
				s.live(p, dice)
			}
			before := make([]v1alpha1.RolloutSpec, len(p.sets))
			for i, s := range p.sets {
				before[i] = *s.spec.DeepCopy()
			}
			p.turn()
			for i, s := range p.sets {
				if wrong := s.broken(&before[i]); wrong != "" {
					t.Fatalf("seed %d, turn %d, set %s: %s\nbefore %+v\nafter  %+v", seed, turn, s.name, wrong, before[i], s.spec)
				}
			}
			if wrong := p.quorumBroken(before); wrong != "" {
				t.Fatalf("seed %d, turn %d: %s", seed, turn, wrong)
			}
		}
		p.settle(t, seed)
	}
}

// live lets some time pass for the hosts of a set.
func (s *playSet) live(p *play, dice *rand.Rand) {
	for i := range s.members {
		m := &s.members[i]
		if dice.IntN(40) == 0 {
			m.there = !m.there
		}
		if m.there {
			m.seen = p.now
		}
	}
	for _, m := range s.told() {
		switch n := dice.IntN(60); {
		case n == 0 && assign.Ruleset(&s.spec, m.follower()) != s.spec.StableRulesetName:
			s.fail(p, m)
		case n < 40:
			s.confirm(m)
		}
	}
}

// broken says which promise of one Rollout a turn has broken.
func (s *playSet) broken(before *v1alpha1.RolloutSpec) string {
	c := s.spec.CandidateRulesetName
	same := c != "" && c == before.CandidateRulesetName
	there, chosen, fresh, proven := 0, 0, 0, false
	unconfirmed := ""
	for i := range s.members {
		m := &s.members[i]
		if !m.there {
			continue
		}
		there++
		now, was := assign.Chosen(&s.spec, m.follower()), same && assign.Chosen(before, m.follower())
		switch {
		case now:
			chosen++
			proven = proven || m.runs == c // from a time when it ran it before
		case was:
			return m.name + " lost a candidate that goes on"
		}
		if now && !was {
			fresh++
		}
		if was && m.runs != c && !m.critical {
			unconfirmed = m.name
		}
	}
	tenth := (there + 9) / 10
	switch {
	case c == s.spec.StableRulesetName && c != "":
		return "the candidate is the stable one"
	case s.spec.StableRulesetName == "":
		return "the stable one is lost"
	case fresh > 0 && unconfirmed != "":
		return "more hosts before " + unconfirmed + " has confirmed"
	case c != "" && !same && chosen > 1 && !proven:
		return fmt.Sprintf("a new candidate begins with %d hosts", chosen)
	case fresh > 0 && s.spec.Bound != assign.Everybody && chosen > max(1, tenth):
		return fmt.Sprintf("%d hosts in a step of %d at most", chosen, max(1, tenth))
	case len(s.members) > 0 && s.spec.StableRulesetName != before.StableRulesetName && s.spec.StableRulesetName != before.CandidateRulesetName:
		return "a Ruleset became stable that was no candidate"
	}
	if s.spec.StableRulesetName != before.StableRulesetName {
		for _, m := range s.members {
			if m.there && m.runs != s.spec.StableRulesetName {
				return m.name + " has not confirmed what became stable"
			}
		}
	}
	return ""
}

// quorumBroken says which two hosts of an etcd were told to run something new
// before the other one had confirmed.
func (p *play) quorumBroken(before []v1alpha1.RolloutSpec) string {
	var begins, moving []string
	for i, s := range p.sets {
		for _, m := range s.members {
			if !m.critical {
				continue
			}
			want := assign.Ruleset(&s.spec, m.follower())
			newly := assign.Chosen(&s.spec, m.follower()) && (before[i].CandidateRulesetName != s.spec.CandidateRulesetName || !assign.Chosen(&before[i], m.follower()))
			switch {
			case newly:
				begins = append(begins, m.name)
			case m.there && m.runs != want, assign.Chosen(&s.spec, m.follower()) && m.runs != want:
				moving = append(moving, m.name)
			}
		}
	}
	if len(begins) > 1 || len(begins) == 1 && len(moving) > 0 {
		return fmt.Sprintf("%v change while %v have not confirmed", begins, moving)
	}
	return ""
}

// settle lets everybody come back and confirm: it must end.
func (p *play) settle(t *testing.T, seed uint64) {
	t.Helper()
	for range 100 {
		p.now = p.now.Add(time.Minute)
		for _, s := range p.sets {
			s.retry = p.now.Add(-time.Minute)
			for i := range s.members {
				s.members[i].there, s.members[i].seen, s.members[i].failure = true, p.now, ""
			}
			s.confirm(s.told()...)
		}
		p.turn()
	}
	for _, s := range p.sets {
		if s.spec.CandidateRulesetName != "" || s.spec.StableRulesetName != s.newest || len(s.told()) > 0 {
			t.Errorf("seed %d, set %s: it does not come to an end: %s, want %s", seed, s.name, s, s.newest)
		}
	}
}

// TestNewMember reads what hosts say.
func TestNewMember(t *testing.T) {
	at := metav1.NewTime(noon)
	for name, tc := range map[string]struct {
		reason, rollback, message string
		status                    metav1.ConditionStatus
		want                      member
	}{
		"Confirmed":  {v1alpha1.ReasonConfirmed, "", "", metav1.ConditionTrue, member{runs: "r"}},
		"Observing":  {v1alpha1.ReasonObserving, "", "", metav1.ConditionFalse, member{runs: "r"}},
		"Trial":      {v1alpha1.ReasonTrial, "", "", metav1.ConditionFalse, member{trying: true}},
		"RolledBack": {v1alpha1.ReasonRolledBack, "because of c", "said", metav1.ConditionFalse, member{failure: "said\nbecause of c", failedAt: noon}},
		"KeepCut":    {v1alpha1.ReasonKeepCut, "", "c cuts it", metav1.ConditionFalse, member{failure: "c cuts it", failedAt: noon}},
		"Opened":     {v1alpha1.ReasonOpened, "", "", metav1.ConditionFalse, member{}},
		"Old":        {v1alpha1.ReasonConfirmed, "c was taken back", "", metav1.ConditionTrue, member{runs: "r"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := &v1alpha1.Host{Status: v1alpha1.HostStatus{RulesetName: "r", RollbackReason: tc.rollback, Conditions: []metav1.Condition{{
				Type: v1alpha1.ConditionEnforced, Status: tc.status, Reason: tc.reason, Message: tc.message, LastTransitionTime: at,
			}}}}
			tc.want.said = "r"
			if diff := cmp.Diff(tc.want, newMember(h, ""), cmp.AllowUnexported(member{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestDialers: who has confirmed dials those that come next, and nobody dials
// the first.
func TestDialers(t *testing.T) {
	p := newPlay(30, 1)
	s := p.sets[0]
	for i := range s.members {
		s.members[i].address = fmt.Sprintf("10.0.0.%d", i+1)
	}
	s.members[3].address = "" // nobody knows where it is
	var got []int
	for range 5 {
		p.turn()
		got = append(got, len(s.spec.Dialers))
		for _, d := range s.spec.Dialers {
			i := slices.IndexFunc(s.members, func(m member) bool { return m.name == d.HostName })
			if m := s.members[i]; m.runs != "new" || m.address != d.Address || d.Address == "" {
				t.Errorf("%+v dials as %+v", m, d)
			}
		}
		s.confirm(s.told()...)
	}
	if want := []int{0, 1, maxDialers, maxDialers, 0}; !slices.Equal(got, want) && !slices.Equal(got, []int{0, 1, maxDialers - 1, maxDialers, 0}) {
		t.Errorf("in each step so many dial: %v; want %v", got, want)
	}
}
