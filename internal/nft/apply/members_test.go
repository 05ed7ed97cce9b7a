package apply_test

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
)

// A roster says which groups hold which addresses.
type roster map[netip.Addr][]string

func (r roster) membership() *rules.Membership {
	lists := map[string][]netip.Prefix{}
	for a, held := range r {
		for _, g := range held {
			lists[g] = append(lists[g], netip.PrefixFrom(a, a.BitLen()))
		}
	}
	var out rules.Membership
	for _, g := range groups {
		out.Set(g, lists[g])
	}
	return &out
}

// TestMembershipByElement changes members at random, one by one and in
// batches, while a version is in force; the live table must then do what one
// laid out from scratch does, in every element.
func TestMembershipByElement(t *testing.T) {
	st := newStand(t)
	for seed := range uint64(20) {
		m := newMaker(seed)
		s := m.scene(t)
		live, err := nft.New(nft.Input{Ruleset: s.merged, Exempt: s.world.Exempt})
		st.check(err)
		at := roster{}
		v, err := live.Version(at.membership())
		st.check(err)
		st.check(st.kernel.Build(v, []string{uplink}))
		st.check(st.kernel.Confirm(v.Name))
		for range 12 {
			moves, err := live.Moves(m.changes(at))
			st.check(err)
			st.check(st.kernel.Move(live.Needs(moves), moves))
		}
		scratch, err := nft.New(nft.Input{Ruleset: s.merged, Exempt: s.world.Exempt})
		st.check(err)
		want, err := scratch.Version(at.membership())
		st.check(err)
		after, err := live.Version(at.membership())
		st.check(err)
		if want.Text(nil) != after.Text(nil) {
			t.Errorf("seed %d: a compiler that has seen changes lays out another table", seed)
		}
		if seed%2 == 0 { // an agent that was away in the meantime
			m.changes(at)
			want, err = scratch.Version(at.membership())
			st.check(err)
			st.check(st.kernel.Build(want, nil))
		}
		st.check(st.kernel.Delete(want)) // the classes that nobody needs any more
		st.wantNoDrift(want)
	}
}

// changes lets some addresses join, leave or change groups, and notes it.
func (m maker) changes(at roster) []nft.Change {
	var out []nft.Change
	used := map[netip.Addr]bool{}
	for range 1 + m.IntN(10) {
		a := m.near(m.prefix(m.chance(50)))
		if known := slices.SortedFunc(maps.Keys(at), netip.Addr.Compare); len(known) > 0 && m.chance(50) {
			a = one(m, known)
		}
		if used[a] {
			continue
		}
		used[a] = true
		c := nft.Change{Address: a, Before: at[a]}
		for _, g := range groups {
			if m.chance(30) {
				c.After = append(c.After, g)
			}
		}
		at[a] = c.After
		out = append(out, c)
	}
	return out
}
