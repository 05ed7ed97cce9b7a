package rules

import (
	"net/netip"
	"slices"
)

// JoinCIDRs drops CIDRs that lie in others and puts two halves of one together,
// until nothing changes: the fewest that mean the same addresses, sorted. What is
// left keeps the text that it was written with.
func JoinCIDRs(list []CIDR) []CIDR {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(a, b CIDR) int { return a.Prefix.Compare(b.Prefix) })
	var out []CIDR // sorted, disjoint
	for _, c := range sorted {
		if n := len(out); n > 0 && out[n-1].Prefix.Overlaps(c.Prefix) { // sorted: c lies within
			continue
		}
		out = append(out, c)
		for n := len(out); n > 1 && halves(out[n-2].Prefix, out[n-1].Prefix); n = len(out) {
			whole := parent(out[n-2].Prefix)
			out = append(out[:n-2], CIDR{Prefix: whole, Text: whole.String()})
		}
	}
	return out
}

func parent(p netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
}

// halves reports whether two disjoint prefixes make up a larger one.
func halves(a, b netip.Prefix) bool {
	return a.Bits() == b.Bits() && a.Bits() > 0 && parent(a) == parent(b)
}
