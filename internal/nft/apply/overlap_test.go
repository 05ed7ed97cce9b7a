package apply_test

import (
	"flag"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/rules"
)

var (
	overlapSteps = flag.Int("overlap.steps", 30, "changes of members that TestOverlappingGroups makes with each seed")
	overlapKills = flag.Int("overlap.kills", 25, "how often TestKilledMoving kills who moves members")
)

// overlapping are rules about four groups and about ranges that hold some of
// their members, in both directions and families.
func (st *stand) overlapping() *nft.Compiler {
	st.t.Helper()
	g := &rules.Group{Name: "g", InnerAccess: false}
	add := func(action rules.Action, priority uint8, port uint16, peer rules.Peer) {
		r := rules.Rule{Action: action, Priority: priority, Protocol: rules.TCP, Ports: rules.PortRange{First: port, Last: port + 1}, Peer: peer}
		g.Ingress = append(g.Ingress, r)
		r.Direction = rules.Egress
		r.Action = 1 - action
		g.Egress = append(g.Egress, r)
	}
	for i, name := range groups[:4] {
		add(rules.Accept, 10, uint16(80+i), rules.GroupPeer{Name: name})
		add(rules.Drop, uint8(1+i), uint16(443+i), rules.GroupPeer{Name: name})
	}
	for i, cidr := range []string{"10.0.0.0/24", "10.0.0.0/28", "10.0.0.8/31", "2001:db8::/64", "2001:db8::8/125"} {
		add(rules.Accept, uint8(5+i), uint16(82+i), rules.MustCIDR(cidr))
		add(rules.Drop, uint8(4+i), uint16(445+i), rules.MustCIDR(cidr))
	}
	rs, err := rules.Merge([]*rules.Group{g}, nil)
	st.check(err)
	c, err := nft.New(nft.Input{Ruleset: rs})
	st.check(err)
	return c
}

// crowd are addresses in and around the ranges of overlapping.
func crowd() []netip.Addr {
	var out []netip.Addr
	for _, a := range []netip.Addr{netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("10.0.0.252"), netip.MustParseAddr("2001:db8::"), netip.MustParseAddr("2001:db8:0:1::")} {
		for range 8 {
			out = append(out, a)
			a = a.Next()
		}
	}
	return out
}

// some draws some of the four groups.
func (m maker) some() []string {
	var out []string
	for _, g := range groups[:4] {
		if m.chance(50) {
			out = append(out, g)
		}
	}
	return out
}

// regroup draws changes of n addresses, and notes them.
func (m maker) regroup(at roster, n int) []nft.Change {
	list := crowd()
	m.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	var out []nft.Change
	for _, a := range list[:n] {
		c := nft.Change{Address: a, Before: at[a], After: m.some()}
		at[a] = c.After
		out = append(out, c)
	}
	return out
}

// reversed takes changes back, the last one first.
func (r roster) reversed(changes []nft.Change) []nft.Change {
	var out []nft.Change
	for _, c := range slices.Backward(changes) {
		out = append(out, nft.Change{Address: c.Address, Before: c.After, After: c.Before})
		r[c.Address] = c.Before
	}
	return out
}

// fromScratch is the version for members by a compiler that has seen no others.
func (st *stand) fromScratch(at roster) *nft.Version {
	st.t.Helper()
	v, err := st.overlapping().Version(at.membership())
	st.check(err)
	return v
}

// strays is drift without what no packet gets to.
func (st *stand) strays(v *nft.Version) []apply.Difference {
	st.t.Helper()
	drift, err := st.kernel.Drift(v)
	st.check(err)
	return slices.DeleteFunc(drift, apply.Difference.Foreign)
}

// TestOverlappingGroups lets members of four overlapping groups join, leave and
// move, one by one, in batches, and back again. After every step the live table
// is the one that is compiled from scratch.
func TestOverlappingGroups(t *testing.T) {
	st := newStand(t)
	for seed := range uint64(3) {
		m, live, at := newMaker(seed), st.overlapping(), roster{}
		v, err := live.Version(at.membership())
		st.check(err)
		st.check(st.kernel.Build(v, []string{uplink}))
		st.check(st.kernel.Confirm(v.Name))
		move := func(changes []nft.Change) {
			moves, err := live.Moves(changes)
			st.check(err)
			st.check(st.kernel.Move(live.Needs(moves), moves))
		}
		var last []nft.Change
		for range *overlapSteps {
			switch kind := m.IntN(3); {
			case kind == 0:
				last = m.regroup(at, 1)
			case kind == 1 || last == nil:
				last = m.regroup(at, 2+m.IntN(30))
			default:
				last = at.reversed(last)
			}
			move(last)
			if drift := st.strays(st.fromScratch(at)); len(drift) > 0 {
				t.Fatalf("seed %d: after %+v: %q", seed, last, drift)
			}
		}
		want := st.fromScratch(at)
		st.check(st.kernel.Delete(want)) // the classes that nobody needs any more
		st.wantNoDrift(want)
	}
}

// mover tells this program, started by TestKilledMoving, to move members until
// it is killed.
const mover = "RINGFENCE_TEST_MOVER"

// twoRosters are those between which TestMover moves everybody, in one
// transaction.
func twoRosters(seed uint64) (before, after roster, changes []nft.Change) {
	m := newMaker(seed)
	before, after = roster{}, roster{}
	m.regroup(before, len(crowd()))
	maps.Copy(after, before)
	return before, after, m.regroup(after, len(crowd()))
}

// TestMover is the child of TestKilledMoving.
func TestMover(t *testing.T) {
	if os.Getenv(mover) == "" {
		t.Skip("only TestKilledMoving runs it, as a process of its own")
	}
	k, err := apply.Open()
	if err != nil {
		t.Fatal(err)
	}
	st := &stand{bench: &bench{t: t}, kernel: k}
	at, _, changes := twoRosters(1)
	live := st.overlapping()
	v, err := live.Version(at.membership())
	st.check(err)
	st.check(k.Build(v, nil)) // whatever the one before left
	ready()
	for {
		moves, err := live.Moves(changes)
		st.check(err)
		st.check(k.Move(live.Needs(moves), moves))
		changes = at.reversed(changes)
	}
}

// TestKilledMoving kills a process that moves members in batches at random
// points: each batch is there as a whole or not at all, and who comes next
// makes the table what it would be from scratch.
func TestKilledMoving(t *testing.T) {
	st := newStand(t)
	const seed = 11
	random := rand.New(rand.NewPCG(seed, 7))
	before, after, _ := twoRosters(1)
	first, second := st.fromScratch(before), st.fromScratch(after)
	st.check(st.kernel.Build(first, []string{uplink}))
	st.check(st.kernel.Confirm(first.Name))
	seen := map[bool]int{}
	m := newMaker(seed)
	for n := range *overlapKills {
		killed(t, "^TestMover$", mover, time.Duration(random.IntN(30_000))*time.Microsecond)
		one, other := st.strays(first), st.strays(second)
		if len(one) > 0 && len(other) > 0 {
			t.Fatalf("kill %d (seed %d): half a batch: other than before %q, other than after %q", n, seed, one, other)
		}
		seen[len(one) > 0]++
		// Somebody else comes with members of its own, then the first again.
		at := roster{}
		m.regroup(at, len(crowd())/2)
		for _, want := range []*nft.Version{st.fromScratch(at), first} {
			st.check(st.kernel.Build(want, nil))
			st.check(st.kernel.Delete(want))
			st.wantNoDrift(want)
		}
	}
	t.Logf("killed %d times, %d of them with the batch in force, %d without", *overlapKills, seen[true], seen[false])
	if seen[true] == 0 {
		t.Error("nobody was killed after a batch: the test tries nothing")
	}
}
