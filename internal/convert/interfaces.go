package convert

import (
	"cmp"
	"net/netip"
	"slices"
)

// mergeInterfaces makes one interface of all that share an ID or an address:
// DescribeInstances and DescribeNetworkInterfaces tell the same thing twice.
func (b *builder) mergeInterfaces() []error {
	b.tidyInterfaces()
	sets := newSets(len(b.interfaces))
	owners := make(map[netip.Prefix][]int32, len(b.interfaces))
	var mistakes []error
	united := false
	unite := func(i, j int) {
		x, y := &b.interfaces[i], &b.interfaces[j]
		if x.Origin == Manifest && y.Origin == Manifest {
			return // claims has told
		}
		if x.Origin == Manifest || y.Origin == Manifest {
			mistakes = append(mistakes, badInput(x.Place, "%s and %s, %s, are one by name or address: want either the Host or the export", x.ID, y.ID, y.Place))
			return
		}
		sets.unite(i, j)
		united = true
	}
	for i := range b.interfaces {
		f := &b.interfaces[i]
		if i > 0 && b.interfaces[i-1].ID == f.ID {
			unite(i, i-1)
		}
		for _, a := range f.Addresses {
			for _, j := range owners[a] {
				if sameNetwork(f, &b.interfaces[j]) {
					unite(i, int(j))
				}
			}
			owners[a] = append(owners[a], int32(i))
		}
	}
	if !united {
		return mistakes
	}
	var out []Interface
	at := make(map[int]int, len(b.interfaces))
	for i := range b.interfaces {
		root := sets.root(i)
		k, ok := at[root]
		if !ok {
			at[root] = len(out)
			out = append(out, b.interfaces[i])
			continue
		}
		if err := out[k].absorb(&b.interfaces[i]); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	b.interfaces = out
	return mistakes
}

func sameNetwork(x, y *Interface) bool { return x.VPC == y.VPC || x.VPC == "" || y.VPC == "" }

// tidyInterfaces sorts the interfaces and what they hold, and tells their VPC
// by their groups where nothing else does.
func (b *builder) tidyInterfaces() {
	groups := b.groupIndex()
	for i := range b.interfaces {
		f := &b.interfaces[i]
		f.Groups = sortedNames(f.Groups)
		for j, a := range f.Addresses {
			f.Addresses[j] = a.Masked()
		}
		f.Addresses = sortedPrefixes(f.Addresses)
		for _, name := range f.Groups {
			if f.VPC == "" {
				f.VPC = b.groups[groups[name]].VPC
			}
		}
	}
	slices.SortStableFunc(b.interfaces, func(x, y Interface) int {
		return cmp.Or(cmp.Compare(x.ID, y.ID), cmp.Compare(x.Origin, y.Origin))
	})
}

func (f *Interface) absorb(from *Interface) error {
	var d differences
	pickList(&d, "list of groups", &f.Groups, from.Groups)
	pick(&d, "cluster", &f.Cluster, from.Cluster)
	pick(&d, "VPC", &f.VPC, from.VPC)
	if len(d) > 0 {
		return badInput(from.Place, "%s has another %s than %s, %s, with the same ID or address", from.ID, d, f.ID, f.Place)
	}
	f.Addresses = sortedPrefixes(slices.Concat(f.Addresses, from.Addresses))
	return nil
}

// sets is a union-find forest over the numbers from 0: parent of each, where
// the smallest number of a set is its root.
type sets []int

func newSets(n int) sets {
	s := make(sets, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func (s sets) root(i int) int {
	for s[i] != i {
		s[i] = s[s[i]]
		i = s[i]
	}
	return i
}

func (s sets) unite(i, j int) {
	i, j = s.root(i), s.root(j)
	s[max(i, j)] = min(i, j)
}
