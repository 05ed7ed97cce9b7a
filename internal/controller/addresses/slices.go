package addresses

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
)

const (
	// full is how many members a slice gets: a host that joins costs a message
	// of some 10 KB to each agent that watches.
	full = 100
	// low is when two slices are folded into one.
	low = full / 2
)

// An edit is one write of an AddressSlice: to make it (no before), to change it,
// or to delete it (no now).
type edit struct{ before, now *v1alpha1.AddressSlice }

// A bin is a slice whose members are being moved.
type bin struct {
	slice   *v1alpha1.AddressSlice // nil for one that has yet to be made
	members []v1alpha1.MemberAddress
	dirty   bool
	folded  bool // into another one
}

// assign says which slices of a group to write so that together they hold the
// members, each once, by address. An address stays in its slice. What is to be
// written first comes first: a reader who sees half of it sees some address
// twice, and none too few.
func assign(group string, have []*v1alpha1.AddressSlice, members map[string]v1alpha1.MemberAddress) []edit {
	bins, rest := keep(have, members)
	bins = place(bins, rest)
	fold(bins)
	return edits(group, bins)
}

// keep leaves the members where they are, and returns those that are in no
// slice, sorted by host.
func keep(have []*v1alpha1.AddressSlice, members map[string]v1alpha1.MemberAddress) ([]*bin, []v1alpha1.MemberAddress) {
	placed := make(map[string]bool, len(members))
	var bins []*bin
	for _, s := range slices.SortedFunc(slices.Values(have), byName) {
		b := &bin{slice: s}
		for _, old := range s.Spec.Members {
			m, ok := members[old.Address]
			if !ok || placed[old.Address] {
				b.dirty = true
				continue
			}
			placed[old.Address] = true
			b.dirty = b.dirty || !same(old, m)
			b.members = append(b.members, m)
		}
		bins = append(bins, b)
	}
	var rest []v1alpha1.MemberAddress
	for address, m := range members {
		if !placed[address] {
			rest = append(rest, m)
		}
	}
	slices.SortFunc(rest, func(a, b v1alpha1.MemberAddress) int {
		return cmp.Or(cmp.Compare(a.HostName, b.HostName), compareAddresses(a, b))
	})
	return bins, rest
}

func same(a, b v1alpha1.MemberAddress) bool {
	return a.Address == b.Address && a.HostName == b.HostName && a.LeavingSince.Equal(b.LeavingSince)
}

func byName(a, b *v1alpha1.AddressSlice) int { return cmp.Compare(a.Name, b.Name) }

func compareAddresses(a, b v1alpha1.MemberAddress) int {
	x, _ := netip.ParseAddr(a.Address)
	y, _ := netip.ParseAddr(b.Address)
	return cmp.Or(x.Compare(y), cmp.Compare(a.Address, b.Address))
}

// place puts new members where a write is due anyway, then into as few other
// slices as possible, and what is left into new ones.
func place(bins []*bin, rest []v1alpha1.MemberAddress) []*bin {
	take := func(b *bin) {
		n := min(len(rest), full-len(b.members))
		b.members, b.dirty = append(b.members, rest[:n]...), true
		rest = rest[n:]
	}
	for _, b := range fullestFirst(bins) {
		if b.dirty && len(b.members) < full && len(rest) > 0 {
			take(b)
		}
	}
	for len(rest) > 0 {
		b := roomFor(bins, min(len(rest), full))
		if b == nil {
			b = &bin{}
			bins = append(bins, b)
		}
		take(b)
	}
	return bins
}

func fullestFirst(bins []*bin) []*bin {
	return slices.SortedStableFunc(slices.Values(bins), func(a, b *bin) int { return len(b.members) - len(a.members) })
}

// roomFor returns the fullest slice with room for n more.
func roomFor(bins []*bin, n int) *bin {
	for _, b := range fullestFirst(bins) {
		if len(b.members)+n <= full {
			return b
		}
	}
	return nil
}

// fold empties slices that are written anyway and half-empty into others that
// are: once more than two are, there is one write more than without.
func fold(bins []*bin) {
	for _, b := range bins {
		if b.slice == nil || !b.dirty || len(b.members) == 0 || len(b.members) > low {
			continue
		}
		var into *bin
		for _, other := range fullestFirst(bins) {
			fits := other != b && !other.folded && len(other.members) > 0 && len(other.members)+len(b.members) <= full
			if fits && (into == nil || other.dirty && !into.dirty) {
				into = other
			}
		}
		if into == nil {
			continue
		}
		into.members, into.dirty = append(into.members, b.members...), true
		b.members, b.folded = nil, true
	}
}

func edits(group string, bins []*bin) []edit {
	taken := map[string]bool{}
	for _, b := range bins {
		if b.slice != nil {
			taken[b.slice.Name] = true
		}
	}
	var first, last []edit
	for _, b := range bins {
		if b.dirty {
			slices.SortFunc(b.members, compareAddresses)
		}
		switch {
		case b.slice == nil:
			first = append(first, edit{now: newSlice(group, b.members, taken)})
		case len(b.members) == 0:
			last = append(last, edit{before: b.slice})
		case b.dirty:
			now := b.slice.DeepCopy()
			now.Spec.Members = b.members
			first = append(first, edit{before: b.slice, now: now})
		}
	}
	return append(first, last...)
}

// newSlice returns a slice whose name follows from its content, so that whoever
// tries to make it twice is refused the second time.
func newSlice(group string, members []v1alpha1.MemberAddress, taken map[string]bool) *v1alpha1.AddressSlice {
	// 253 characters are a name; a hash takes 11 of them.
	prefix := strings.TrimRight(group[:min(len(group), 240)], "-.")
	for try := 0; ; try++ {
		sum := sha256.Sum256([]byte(group + "\n" + members[0].Address + "\n" + strconv.Itoa(try)))
		name := prefix + "-" + hex.EncodeToString(sum[:])[:10]
		if !taken[name] {
			taken[name] = true
			return &v1alpha1.AddressSlice{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec:       v1alpha1.AddressSliceSpec{SecurityGroupName: group, Members: members},
			}
		}
	}
}
