package addresses

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// A life is a group with its hosts over the hours.
type life struct {
	dice  *rand.Rand
	now   time.Time
	have  store
	wears map[int]bool      // the hosts that wear the group
	alive map[int]bool      // those whose agents live
	gone  map[int]time.Time // since when nobody has seen a host wear it
	held  map[string]bool
	left  map[string]time.Time
	// released is the time of the annotation.
	released time.Time
}

func (l *life) roster() *roster {
	r := &roster{wanted: map[string]string{}, fresh: map[string]bool{}, held: l.held, left: l.left, release: l.released, now: l.now}
	for n := range l.wears {
		r.wanted[fmt.Sprintf("10.0.0.%d", n)] = fmt.Sprintf("node-%d", n)
	}
	for n := range l.alive {
		r.fresh[fmt.Sprintf("node-%d", n)] = true
	}
	for _, s := range l.have {
		r.members = append(r.members, s.Spec.Members...)
	}
	return r
}

// happen lets something happen: a host joins, goes, comes back, or its agent
// stops or starts; now and then many at once, or a person releases.
func (l *life) happen() {
	l.now = l.now.Add(time.Duration(1+l.dice.IntN(40)) * time.Second)
	many := 1
	if l.dice.IntN(10) == 0 {
		many = 1 + l.dice.IntN(20)
	}
	for range many {
		n := 1 + l.dice.IntN(60)
		switch {
		case l.dice.IntN(12) == 0:
			delete(l.alive, n)
		case l.wears[n] && l.dice.IntN(2) == 0:
			delete(l.wears, n)
		case !l.wears[n]:
			l.wears[n], l.alive[n] = true, true
		}
	}
	if l.dice.IntN(40) == 0 {
		l.released = l.now
	}
	for n := range 61 {
		if l.wears[n] {
			delete(l.gone, n)
		} else if _, ok := l.gone[n]; !ok {
			l.gone[n] = l.now
		}
	}
}

// TestLife holds what may never happen against random lives of a group.
func TestLife(t *testing.T) {
	holds, leaves := 0, 0
	for n := range uint64(15) {
		l := life{
			dice: rand.New(rand.NewPCG(*seed+n, 1)), now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), have: store{},
			wears: map[int]bool{}, alive: map[int]bool{}, gone: map[int]time.Time{}, held: map[string]bool{},
		}
		for step := range 400 {
			at := fmt.Sprintf("seed %d, step %d", *seed+n, step)
			l.happen()
			before := l.roster()
			out := before.decide()
			for _, e := range assign("web", l.have.slices(), out.members) {
				l.have.apply(t, e)
			}
			check(t, *seed+n, l.have, out.members)
			holds += len(out.held)
			leaves += l.judge(t, at, before, &out)
			l.left, l.held = out.left, map[string]bool{}
			for _, h := range out.held {
				l.held[h.HostName] = true
			}
		}
	}
	if holds < 100 || leaves < 100 {
		t.Errorf("%d hosts held, %d left: the lives are too dull to prove anything", holds, leaves)
	}
}

// judge checks one step, and returns how many hosts with living agents left.
func (l *life) judge(t *testing.T, at string, before *roster, out *outcome) int {
	t.Helper()
	for address, host := range before.wanted {
		if m := out.members[address]; m.HostName != host || m.LeavingSince != nil {
			t.Fatalf("%s: %s has %s, and the member is %v", at, host, address, m)
		}
	}
	var left []string
	for _, m := range before.members {
		if _, stays := out.members[m.Address]; stays {
			continue
		}
		var n int
		if _, err := fmt.Sscanf(m.HostName, "node-%d", &n); err != nil {
			t.Fatal(err)
		}
		switch released := m.LeavingSince != nil && !before.release.Before(m.LeavingSince.Add(leaveAfter)); {
		case !before.fresh[m.HostName] || released:
		case m.LeavingSince == nil || l.now.Sub(l.gone[n]) < leaveAfter:
			t.Fatalf("%s: %s left at once, its agent alive", at, m.HostName)
		case before.held[m.HostName]:
			t.Fatalf("%s: %s was held, and left by itself", at, m.HostName)
		default:
			left = append(left, m.HostName)
		}
	}
	recently := 0
	for host, when := range before.left {
		if l.now.Sub(when) < window && !slices.ContainsFunc(before.members, func(m v1alpha1.MemberAddress) bool { return m.HostName == host }) {
			recently++
		}
	}
	if all := recently + len(left); len(left) > 0 && all >= fewest && all*tolerated > len(before.members)+recently {
		t.Fatalf("%s: %d of %d hosts left within ten minutes", at, all, len(before.members)+recently)
	}
	return len(left)
}
