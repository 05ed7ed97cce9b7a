package addresses

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/api/v1alpha1"
)

var seed = flag.Uint64("slices.seed", 1, "the first seed of the random histories of slices")

// store is what the API server has of one group.
type store map[string]*v1alpha1.AddressSlice

func (s store) slices() []*v1alpha1.AddressSlice {
	var list []*v1alpha1.AddressSlice
	for _, one := range s {
		list = append(list, one)
	}
	return list // in no order
}

func (s store) apply(t *testing.T, e edit) {
	t.Helper()
	switch {
	case e.now == nil:
		delete(s, e.before.Name)
	case e.before == nil && s[e.now.Name] != nil:
		t.Fatalf("slice %s is there already", e.now.Name)
	default:
		s[e.now.Name] = e.now
	}
}

func (s store) held() map[string]int {
	held := map[string]int{}
	for _, one := range s {
		for _, m := range one.Spec.Members {
			held[m.Address]++
		}
	}
	return held
}

func member(i int) v1alpha1.MemberAddress {
	return v1alpha1.MemberAddress{Address: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), HostName: fmt.Sprintf("node-%d", i/2)}
}

// TestAssignHistory holds any history of members against what slices promise.
func TestAssignHistory(t *testing.T) {
	for n := range uint64(20) {
		dice := rand.New(rand.NewPCG(*seed+n, 0))
		have, members := store{}, map[string]v1alpha1.MemberAddress{}
		for range 60 {
			old := have.held()
			changed := shake(dice, members)
			before := len(have)
			touched := touchedBy(have, members)
			list := assign("web", have.slices(), members)
			if again := assign("web", have.slices(), members); !slices.EqualFunc(list, again, sameEdit) {
				t.Fatalf("seed %d: two answers to one question", *seed+n)
			}
			// A slice that loses something is written, or folded: one write more.
			// What joins fills slices.
			if most := 2*touched + changed/full + 2; len(list) > most {
				t.Fatalf("seed %d: %d writes for %d changes in %d of %d slices, want at most %d", *seed+n, len(list), changed, touched, before, most)
			}
			for _, e := range list {
				have.apply(t, e)
				halfway := have.held()
				for address := range old {
					if _, stays := members[address]; stays && halfway[address] == 0 {
						t.Fatalf("seed %d: %s is a member before and after, and not in between", *seed+n, address)
					}
				}
			}
			check(t, *seed+n, have, members)
			if more := assign("web", have.slices(), members); len(more) > 0 {
				t.Fatalf("seed %d: %d writes although nothing changed", *seed+n, len(more))
			}
		}
	}
}

// shake changes some members, and returns how many.
func shake(dice *rand.Rand, members map[string]v1alpha1.MemberAddress) int {
	changed := 0
	most := []int{1, 3, 40, 400}[dice.IntN(4)]
	for range 1 + dice.IntN(most) {
		m := member(dice.IntN(1500))
		_, there := members[m.Address]
		switch {
		case !there:
			members[m.Address] = m
		case dice.IntN(3) == 0: // to another host
			m.HostName += "b"
			members[m.Address] = m
		default:
			delete(members, m.Address)
		}
		changed++
	}
	return changed
}

// touchedBy counts the slices whose content is no longer right.
func touchedBy(have store, members map[string]v1alpha1.MemberAddress) int {
	n := 0
	for _, s := range have {
		if slices.ContainsFunc(s.Spec.Members, func(m v1alpha1.MemberAddress) bool { return members[m.Address] != m }) {
			n++
		}
	}
	return n
}

func check(t *testing.T, seed uint64, have store, members map[string]v1alpha1.MemberAddress) {
	t.Helper()
	got := map[string]v1alpha1.MemberAddress{}
	for _, s := range have {
		if len(s.Spec.Members) == 0 || len(s.Spec.Members) > 200 {
			t.Fatalf("seed %d: %d members in one slice", seed, len(s.Spec.Members))
		}
		for _, m := range s.Spec.Members {
			if _, twice := got[m.Address]; twice {
				t.Fatalf("seed %d: %s stands in two slices", seed, m.Address)
			}
			got[m.Address] = m
		}
	}
	if !maps.Equal(members, got) {
		t.Fatalf("seed %d: members, -want +got:\n%s", seed, cmp.Diff(members, got))
	}
}

func sameEdit(a, b edit) bool {
	same := func(a, b *v1alpha1.AddressSlice) bool {
		return a == b || a != nil && b != nil && a.Name == b.Name && slices.Equal(a.Spec.Members, b.Spec.Members)
	}
	return same(a.before, b.before) && same(a.now, b.now)
}

func TestAssign(t *testing.T) {
	numbers := func(lists ...[2]int) []v1alpha1.MemberAddress {
		var out []v1alpha1.MemberAddress
		for _, l := range lists {
			for i := l[0]; i < l[1]; i++ {
				out = append(out, member(i))
			}
		}
		return out
	}
	for name, tc := range map[string]struct {
		reason string
		have   [][]v1alpha1.MemberAddress
		want   []v1alpha1.MemberAddress
		writes []string
	}{
		"First":      {"one member makes one slice", nil, numbers([2]int{0, 1}), []string{"make 1"}},
		"Many":       {"slices are filled to a hundred", nil, numbers([2]int{0, 250}), []string{"make 100", "make 100", "make 50"}},
		"Join":       {"a host that joins goes into the fullest slice with room", [][]v1alpha1.MemberAddress{numbers([2]int{0, 100}), numbers([2]int{100, 160}), numbers([2]int{200, 270})}, numbers([2]int{0, 160}, [2]int{200, 272}), []string{"change 72"}},
		"JoinFull":   {"where none has room there is another one", [][]v1alpha1.MemberAddress{numbers([2]int{0, 100})}, numbers([2]int{0, 101}), []string{"make 1"}},
		"Leave":      {"a host that leaves costs one write", [][]v1alpha1.MemberAddress{numbers([2]int{0, 100}), numbers([2]int{100, 200})}, numbers([2]int{1, 200}), []string{"change 99"}},
		"LeaveLast":  {"an empty slice goes", [][]v1alpha1.MemberAddress{numbers([2]int{0, 1})}, nil, []string{"delete"}},
		"Fold":       {"two half-empty slices become one, the filled first", [][]v1alpha1.MemberAddress{numbers([2]int{0, 51}), numbers([2]int{100, 140})}, numbers([2]int{1, 51}, [2]int{100, 140}), []string{"change 90", "delete"}},
		"NoFold":     {"a half-empty slice stays while nothing happens to it", [][]v1alpha1.MemberAddress{numbers([2]int{0, 40}), numbers([2]int{100, 140})}, numbers([2]int{0, 40}, [2]int{100, 140}), nil},
		"Replace":    {"who joins takes the place of who leaves", [][]v1alpha1.MemberAddress{numbers([2]int{0, 100}), numbers([2]int{100, 160})}, numbers([2]int{1, 160}, [2]int{300, 301}), []string{"change 100"}},
		"Twice":      {"what stands in two slices after a crash stays in one", [][]v1alpha1.MemberAddress{numbers([2]int{0, 60}), numbers([2]int{59, 120})}, numbers([2]int{0, 120}), []string{"change 60"}},
		"Everything": {"more than a hundred in a slice is no reason to write", [][]v1alpha1.MemberAddress{numbers([2]int{0, 150})}, numbers([2]int{0, 150}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var have []*v1alpha1.AddressSlice
			for i, list := range tc.have {
				s := &v1alpha1.AddressSlice{Spec: v1alpha1.AddressSliceSpec{SecurityGroupName: "web", Members: list}}
				s.Name = fmt.Sprintf("web-%d", i)
				have = append(have, s)
			}
			want := map[string]v1alpha1.MemberAddress{}
			for _, m := range tc.want {
				want[m.Address] = m
			}
			var writes []string
			for _, e := range assign("web", have, want) {
				switch {
				case e.now == nil:
					writes = append(writes, "delete")
				case e.before == nil:
					writes = append(writes, fmt.Sprintf("make %d", len(e.now.Spec.Members)))
				default:
					writes = append(writes, fmt.Sprintf("change %d", len(e.now.Spec.Members)))
				}
			}
			if diff := cmp.Diff(tc.writes, writes); diff != "" {
				t.Errorf("%s\nwrites: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}
