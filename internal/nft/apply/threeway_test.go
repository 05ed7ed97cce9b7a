package apply_test

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/rules"
)

var (
	threeWaySeed  = flag.Uint64("threeway.seed", 1, "seed of the first scene of TestThreeWay")
	threeWaySeeds = flag.Uint64("threeway.seeds", 6, "first seeds, a million apart, that TestThreeWay tries")
)

const (
	perScene  = 200 // packets of a scene, in the backlog of the host all at once
	perCell   = 20  // packets of each protocol, family, direction and decider
	perSeed   = 2000
	maxScenes = 1000 // before a seed is given up
	patience  = 20 * time.Second
)

// A cell is one combination that must be tried often enough.
type cell struct {
	protocol  string
	family    int
	direction rules.Direction
	cause     rules.Cause
}

func cellOf(p *packet, v rules.Verdict) cell {
	name := p.flow.Protocol.String()
	if !slices.Contains([]rules.Protocol{rules.TCP, rules.UDP, rules.SCTP, rules.ICMP, rules.ICMPv6, rules.GRE}, p.flow.Protocol) {
		name = "other"
	}
	family := 4
	if p.flow.Local.Is6() {
		family = 6
	}
	return cell{name, family, p.flow.Direction, v.Cause}
}

// cells are the combinations that exist.
func cells() []cell {
	var out []cell
	for _, protocol := range []string{"TCP", "UDP", "SCTP", "ICMP", "ICMPv6", "GRE", "other"} {
		for _, family := range []int{4, 6} {
			if protocol == "ICMP" && family == 6 || protocol == "ICMPv6" && family == 4 {
				continue
			}
			for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
				for _, cause := range []rules.Cause{rules.ByDefault, rules.ByRule, rules.ByExempt, rules.ByInnerAccess} {
					if cause != rules.ByInnerAccess || d == rules.Ingress {
						out = append(out, cell{protocol, family, d, cause})
					}
				}
			}
		}
	}
	return out
}

// A probe is a packet and what must become of it.
type probe struct {
	packet
	want rules.Verdict
	leaf string // the chain that must decide; empty if a base chain does
}

// A stand is a host with the parts that try it.
type stand struct {
	*bench
	kernel  *apply.Kernel
	sender  *sender
	witness *witness
}

func newStand(t *testing.T) *stand {
	t.Helper()
	st := newOpenStand(t)
	st.witness = newWitness(t)
	return st
}

// newOpenStand is a stand without a witness: what passes, arrives.
func newOpenStand(t *testing.T) *stand {
	t.Helper()
	b := newBench(t)
	k, err := apply.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return &stand{bench: b, kernel: k, sender: b.sender()}
}

// enforce puts a ruleset in force.
func (st *stand) enforce(rs *rules.Ruleset, w *rules.World) {
	st.t.Helper()
	c, err := nft.New(nft.Input{Ruleset: rs, Exempt: w.Exempt})
	st.check(err)
	v, err := c.Version(&w.Members)
	st.check(err)
	st.check(st.kernel.Build(v, []string{uplink}))
	st.check(st.kernel.Confirm(v.Name))
	st.check(st.kernel.Delete(v))
}

// try sends the probes, and says of which the kernel decided otherwise.
func (st *stand) try(probes []probe) []string {
	st.t.Helper()
	st.witness.forget()
	before := st.tallies()
	want := map[string]uint64{}
	uncounted := 0
	for i := range probes {
		p := &probes[i]
		if err := st.sender.send(&p.packet); err != nil {
			st.t.Fatalf("cannot send %+v: %v", p.packet, err)
		}
		if p.leaf == "" {
			uncounted++
		} else {
			want[p.leaf]++
		}
	}
	got := st.settle(before, uint64(len(probes)-uncounted))
	passed := st.witness.passed()
	var wrong []string
	for i := range probes {
		p := &probes[i]
		if passed[p.id] != (p.want.Action == rules.Accept) {
			wrong = append(wrong, fmt.Sprintf("packet %d, %+v with hop limit %d: passed %t, want %s by %s", p.id, p.flow, p.hopLimit, passed[p.id], p.want.Action, p.want.By()))
		}
	}
	if !maps.Equal(want, got) {
		wrong = append(wrong, fmt.Sprintf("the leaves counted %v, want %v", got, want))
	}
	return wrong
}

// settle waits until the leaves have counted n packets more than before.
func (st *stand) settle(before map[string]apply.Tally, n uint64) map[string]uint64 {
	st.t.Helper()
	var got map[string]uint64
	st.wait(func() bool { // what is missing in the end, the caller finds
		total := uint64(0)
		got = map[string]uint64{}
		for leaf, tally := range st.tallies() {
			if seen := tally.Packets - before[leaf].Packets; seen > 0 {
				got[leaf], total = seen, total+seen
			}
		}
		return total >= n
	})
	return got
}

func (st *stand) tallies() map[string]apply.Tally {
	st.t.Helper()
	out, err := st.kernel.Tallies()
	st.check(err)
	return out
}

// ask returns what the walk and the diagram say, which must be the same.
func (s *scene) ask(t *testing.T, policies map[*rules.World]*rules.Policy, p *packet) rules.Verdict {
	t.Helper()
	w := s.worldOf(p)
	if policies[w] == nil {
		policy, err := rules.NewWorkspace(w, 0).Compile(s.merged)
		if err != nil {
			t.Fatal(err)
		}
		policies[w] = policy
	}
	walk, diagram := rules.Evaluate(s.merged, w, &p.flow), policies[w].Verdict(&p.flow)
	if walk != diagram {
		t.Fatalf("%+v: the walk says %s by %s, the diagram %s by %s\n%s", p.flow, walk.Action, walk.By(), diagram.Action, diagram.By(), s)
	}
	return walk
}

// probes draws packets of a scene, those first of which there were few.
func (m maker) probes(t *testing.T, s *scene, so *ledger) []probe {
	t.Helper()
	policies := map[*rules.World]*rules.Policy{}
	fresh := map[cell]int{}
	var out []probe
	for range 40 * perScene {
		if len(out) == perScene {
			break
		}
		p := probe{packet: m.packet(s)}
		p.want = s.ask(t, policies, &p.packet)
		at := cellOf(&p.packet, p.want)
		if so.cells[at] >= perCell && (fresh[at] >= 4 || so.tooMany(at, p.want.Action)) {
			continue
		}
		fresh[at]++
		so.note(at, p.want.Action)
		p.id = uint16(len(out) + 1)
		if p.want.Exempt == nil || !p.want.Exempt.HopLimit255 {
			p.leaf = nft.Leaf(p.flow.Direction, p.want, false)
		}
		out = append(out, p)
	}
	return out
}

// A ledger is what was tried so far.
type ledger struct {
	cells map[cell]int
	kinds map[cell]*score // by protocol, family and direction
	all   score
}

func newLedger() *ledger { return &ledger{cells: map[cell]int{}, kinds: map[cell]*score{}} }

// A score is how often something was tried, and accepted.
type score struct{ accepted, total int }

func (s *score) note(a rules.Action) {
	s.total++
	s.accepted += int(a)
}

// share is how much of it got a verdict, in percent.
func (s *score) share(a rules.Action) int {
	if a == rules.Accept {
		return 100 * s.accepted / s.total
	}
	return 100 * (s.total - s.accepted) / s.total
}

// fair says that both verdicts were tried about equally often.
func (s *score) fair() bool {
	return s.total > 0 && min(s.share(rules.Accept), s.share(rules.Drop)) >= 30
}

func (y *ledger) note(at cell, a rules.Action) {
	y.cells[at]++
	y.all.note(a)
	y.kind(at).note(a)
}

func (y *ledger) kind(at cell) *score {
	at.cause = 0
	if y.kinds[at] == nil {
		y.kinds[at] = &score{}
	}
	return y.kinds[at]
}

// tooMany says that one more with this verdict makes the kind lopsided.
func (y *ledger) tooMany(at cell, a rules.Action) bool {
	kind := y.kind(at)
	return kind.total > 0 && kind.share(a) >= 60
}

// lacks says what was not tried often enough.
func (y *ledger) lacks() []string {
	var out []string
	for _, c := range cells() {
		if y.cells[c] < perCell {
			out = append(out, fmt.Sprintf("%d of %+v", y.cells[c], c))
		}
		if s := y.kind(c); c.cause == rules.ByDefault && !s.fair() {
			out = append(out, fmt.Sprintf("of %d like %+v, %d accepted", s.total, c, s.accepted))
		}
	}
	if y.all.total < perSeed || !y.all.fair() {
		out = append(out, fmt.Sprintf("%d packets, %d accepted", y.all.total, y.all.accepted))
	}
	return out
}

// TestThreeWay compares the ordered walk, the diagram and the kernel, for some
// first seeds, each of which has to try everything often enough.
func TestThreeWay(t *testing.T) {
	st := newStand(t)
	for n := range *threeWaySeeds {
		st.threeWay(*threeWaySeed + 1_000_000*n)
	}
}

// threeWay tries scenes from a first seed until there were enough packets of
// each kind, with both verdicts.
func (st *stand) threeWay(first uint64) {
	st.t.Helper()
	so := newLedger()
	scenes := uint64(0)
	for ; len(so.lacks()) > 0; scenes++ {
		if scenes == maxScenes {
			st.t.Fatalf("first seed %d: after %d scenes not often enough: %s", first, scenes, strings.Join(so.lacks(), "; "))
		}
		st.tryScene(first+scenes, so)
	}
	lowest, highest := 100, 0
	for _, s := range so.kinds {
		lowest, highest = min(lowest, s.share(rules.Accept)), max(highest, s.share(rules.Accept))
	}
	st.t.Logf("first seed %d: %d scenes, %d packets, %d %% accepted (%d to %d %% by protocol, family and direction), each of %d cells at least %d times",
		first, scenes, so.all.total, so.all.share(rules.Accept), lowest, highest, len(cells()), slices.Min(slices.Collect(maps.Values(so.cells))))
}

func (st *stand) tryScene(seed uint64, so *ledger) {
	st.t.Helper()
	m := newMaker(seed)
	s := m.scene(st.t)
	probes := m.probes(st.t, s, so)
	st.enforce(s.merged, &s.world)
	if wrong := st.try(probes); len(wrong) > 0 {
		st.t.Fatalf("seed %d: the kernel decides otherwise %d times, first: %s\n%s", seed, len(wrong), wrong[0], s)
	}
}

// TestThreeWayNoticesAWrongRule plants a fault into what the kernel gets. A
// test that cannot fail proves nothing.
func TestThreeWayNoticesAWrongRule(t *testing.T) {
	st := newStand(t)
	for name, plant := range map[string]func(s *scene, r *rules.MergedRule){
		"Action":   func(_ *scene, r *rules.MergedRule) { r.Action = 1 - r.Action },
		"LastPort": func(_ *scene, r *rules.MergedRule) { r.Ports.Last++ },
		"Protocol": func(_ *scene, r *rules.MergedRule) {
			r.Protocol, r.Ports, r.SourcePorts = rules.AllProtocols, rules.PortRange{}, rules.PortRange{}
		},
		"Members": func(s *scene, _ *rules.MergedRule) {
			for _, g := range groups {
				s.world.Members.Set(g, nil)
			}
		},
	} {
		if !st.notices(plant) {
			t.Errorf("%s: a wrong rule in the kernel went unnoticed", name)
		}
	}
}

func (st *stand) notices(plant func(s *scene, r *rules.MergedRule)) bool {
	st.t.Helper()
	for seed := uint64(1); seed < 60; seed++ {
		m := newMaker(seed)
		s := m.scene(st.t)
		probes := m.probes(st.t, s, newLedger())
		wrong := *s.merged
		wrong.Ingress = slices.Clone(s.merged.Ingress)
		i := slices.IndexFunc(wrong.Ingress, func(r rules.MergedRule) bool { return r.Protocol.HasPorts() && r.Ports.Last < 65535 })
		if i < 0 {
			continue
		}
		plant(s, &wrong.Ingress[i])
		st.enforce(&wrong, &s.world)
		if slices.ContainsFunc(st.try(probes), func(text string) bool { return strings.HasPrefix(text, "packet") }) {
			return true
		}
	}
	return false
}
