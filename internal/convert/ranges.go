package convert

import (
	"net/netip"
	"slices"

	"ringfence.dev/ringfence/rules"
)

// A rangeSet finds which of many CIDRs overlaps a range. It holds the
// outermost ones only, sorted.
type rangeSet []rules.CIDR

func newRangeSet(lists ...[]rules.CIDR) rangeSet {
	// By address, then length: what contains a range comes before it, and so
	// does everything else that the same one contains.
	sorted := slices.SortedStableFunc(slices.Values(slices.Concat(lists...)), func(a, b rules.CIDR) int {
		return a.Prefix.Compare(b.Prefix)
	})
	var s rangeSet
	for _, c := range sorted {
		if n := len(s); n == 0 || !s[n-1].Prefix.Overlaps(c.Prefix) {
			s = append(s, c)
		}
	}
	return s
}

// find returns a CIDR of the set that overlaps p.
func (s rangeSet) find(p netip.Prefix) (rules.CIDR, bool) {
	i, _ := slices.BinarySearchFunc(s, p, func(c rules.CIDR, p netip.Prefix) int { return c.Prefix.Compare(p) })
	for _, j := range []int{i - 1, i} {
		if j >= 0 && j < len(s) && s[j].Prefix.Overlaps(p) {
			return s[j], true
		}
	}
	return rules.CIDR{}, false
}

// contains reports whether one CIDR of the set holds all of p.
func (s rangeSet) contains(p netip.Prefix) bool {
	c, ok := s.find(p)
	return ok && c.Prefix.Bits() <= p.Bits()
}

func (s rangeSet) containsAddr(a netip.Addr) bool {
	_, ok := s.find(netip.PrefixFrom(a, a.BitLen()))
	return ok
}

// repeats returns a function that reports whether the element at an index
// stands in the list before it. To be asked in order, once for each index.
func repeats[T comparable](list []T) func(i int) bool {
	if len(list) <= 8 {
		return func(i int) bool { return slices.Contains(list[:i], list[i]) }
	}
	seen := make(map[T]bool, len(list))
	return func(i int) bool {
		again := seen[list[i]]
		seen[list[i]] = true
		return again
	}
}
