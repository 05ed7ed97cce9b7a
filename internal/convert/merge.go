package convert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// checkPages reports exports that are not whole.
func (b *builder) checkPages() []error {
	byList := map[string][]page{}
	for _, p := range b.pages {
		key := p.kind + "\x00" + p.of
		byList[key] = append(byList[key], p)
	}
	var mistakes []error
	for _, key := range sortedKeys(byList) {
		list := byList[key]
		if list[0].of != "" {
			mistakes = append(mistakes, checkObjectPages(list))
			continue
		}
		mistakes = append(mistakes, checkListPages(list))
	}
	return slices.DeleteFunc(mistakes, func(err error) bool { return err == nil })
}

// checkObjectPages checks the pages of one object's list: exactly one of them
// is the last.
func checkObjectPages(list []page) error {
	var last []page
	for _, p := range list {
		if !p.more {
			last = append(last, p)
		}
	}
	switch len(last) {
	case 0:
		p := list[len(list)-1]
		return badInput(p.place, "%s of %s says that another page follows: export all pages", p.kind, p.of)
	case 1:
		return nil
	}
	return badInput(last[1].place, "%s of %s is also in %s: want it once", last[1].kind, last[1].of, last[0].place)
}

// checkListPages checks the pages of a list. Several exports of the same kind,
// for two VPCs say, are told apart by their totals; each is whole if its pages
// add up, however often it was given.
func checkListPages(list []page) error {
	counts := map[int]int{}
	last := list[0]
	follows, ends := false, false
	for _, p := range list {
		counts[p.total] += p.count
		if p.more {
			last, follows = p, true
		} else {
			ends = true
		}
	}
	told := false
	for _, p := range list {
		if p.total <= 0 {
			continue
		}
		told = true
		if n := counts[p.total]; n < p.total || n%p.total != 0 {
			return badInput(p.place, "%s lists %d of %d elements: export all pages, once", p.kind, n, p.total)
		}
	}
	if !told && follows && !ends {
		return badInput(last.place, "%s says that another page follows: export all pages", last.kind)
	}
	return nil
}

// mergeBy sorts a list by key and lets the first element of each key absorb
// the others.
func mergeBy[T any](list []T, key func(*T) string, absorb func(into, from *T) error) ([]T, []error) {
	slices.SortStableFunc(list, func(x, y T) int { return strings.Compare(key(&x), key(&y)) })
	var mistakes []error
	out := list[:0]
	for i := range list {
		if n := len(out); n > 0 && key(&out[n-1]) == key(&list[i]) {
			if err := absorb(&out[n-1], &list[i]); err != nil {
				mistakes = append(mistakes, err)
			}
			continue
		}
		out = append(out, list[i])
	}
	return out, mistakes
}

func (v *VPC) absorb(from *VPC) error {
	if !sameRanges(v.CIDRs, from.CIDRs) || !sameRanges(v.Secondary, from.Secondary) {
		return badInput(from.Place, "VPC %s has other CIDRs than in %s", from.ID, v.Place)
	}
	return nil
}

func (s *Subnet) absorb(from *Subnet) error {
	if !sameRanges(s.CIDRs, from.CIDRs) {
		return badInput(from.Place, "subnet %s has other CIDRs than in %s", from.ID, s.Place)
	}
	return nil
}

func (l *prefixList) absorb(from *prefixList) error {
	if !sameRanges(l.Entries, from.Entries) || l.MaxEntries != from.MaxEntries {
		return badInput(from.place, "prefix list %s has other entries than in %s", from.Name, l.place)
	}
	return nil
}

func sameRanges(a, b []rules.CIDR) bool {
	return slices.EqualFunc(a, b, func(x, y rules.CIDR) bool { return x.Prefix == y.Prefix })
}

// mergeGroups joins the pieces of each group.
func (b *builder) mergeGroups() []error {
	pages := map[string][]page{}
	for _, p := range b.pages {
		if p.of != "" {
			pages[p.of] = append(pages[p.of], p)
		}
	}
	slices.SortStableFunc(b.groups, func(x, y Group) int { return strings.Compare(x.Name, y.Name) })
	var out []Group
	var mistakes []error
	for i := 0; i < len(b.groups); {
		end := i + 1
		for end < len(b.groups) && b.groups[end].Name == b.groups[i].Name {
			end++
		}
		g, err := joinGroup(b.groups[i:end], pages[b.groups[i].Name])
		if err != nil {
			mistakes = append(mistakes, err)
		}
		out = append(out, g)
		i = end
	}
	b.groups = out
	return mistakes
}

// joinGroup makes one group of its pieces: descriptions without rules, and the
// pages of its rules in order.
func joinGroup(pieces []Group, pages []page) (Group, error) {
	var described, listed []Group
	for _, p := range pieces {
		if p.RulesUnknown {
			described = append(described, p)
			continue
		}
		listed = append(listed, p)
	}
	if len(listed) > 1 {
		if len(listed) != len(pages) {
			return pieces[0], badInput(listed[1].Place, "the rules of group %s are also in %s: want them once", listed[1].Name, listed[0].Place)
		}
		listed = lastPageLast(listed, pages)
	}
	ordered := slices.Concat(listed, described)
	g := ordered[0]
	// The first page may have room to grow into what another piece still reads.
	g.Ingress, g.IngressPlaces = slices.Clip(g.Ingress), slices.Clip(g.IngressPlaces)
	g.Egress, g.EgressPlaces = slices.Clip(g.Egress), slices.Clip(g.EgressPlaces)
	for i := range ordered[1:] {
		if err := g.absorb(&ordered[i+1]); err != nil {
			return g, err
		}
	}
	return g, nil
}

// lastPageLast puts the page that no other follows at the end. The k-th piece
// came with the k-th page.
func lastPageLast(pieces []Group, pages []page) []Group {
	var out, end []Group
	for i, p := range pieces {
		if pages[i].more {
			out = append(out, p)
		} else {
			end = append(end, p)
		}
	}
	return append(out, end...)
}

func (g *Group) absorb(from *Group) error {
	var d differences
	pick(&d, "VPC", &g.VPC, from.VPC)
	switch {
	case (g.Origin == Manifest) != (from.Origin == Manifest):
		d = append(d, "origin")
	case g.TypeUnknown:
		g.Type, g.TypeUnknown = from.Type, from.TypeUnknown
	case !from.TypeUnknown && g.Type != from.Type:
		d = append(d, "type")
	}
	if !g.RulesUnknown && !from.RulesUnknown && g.InnerAccess != from.InnerAccess {
		d = append(d, "inner access")
	}
	if len(d) > 0 {
		return badInput(from.Place, "group %s has another %s than in %s", from.Name, d, g.Place)
	}
	g.Title, g.Region = cmp.Or(g.Title, from.Title), cmp.Or(g.Region, from.Region)
	g.Ingress, g.IngressPlaces = append(g.Ingress, from.Ingress...), append(g.IngressPlaces, from.IngressPlaces...)
	g.Egress, g.EgressPlaces = append(g.Egress, from.Egress...), append(g.EgressPlaces, from.EgressPlaces...)
	return nil
}

// differences are the names of what two pieces of one object say differently.
type differences []string

// String joins the names.
func (d differences) String() string { return strings.Join(d, " and ") }

// pick takes from where to has no value, and notes a difference.
func pick[T comparable](d *differences, what string, to *T, from T) {
	var zero T
	switch {
	case from == zero || *to == from:
	case *to == zero:
		*to = from
	default:
		*d = append(*d, what)
	}
}

// pickList is pick for lists.
func pickList[T comparable](d *differences, what string, to *[]T, from []T) {
	switch {
	case len(from) == 0 || slices.Equal(*to, from):
	case len(*to) == 0:
		*to = from
	default:
		*d = append(*d, what)
	}
}

// mergeClusters joins the pieces of each cluster, and finds the cluster of the
// node pools that do not name theirs.
func (b *builder) mergeClusters() []error {
	var mistakes []error
	b.clusters, mistakes = mergeBy(b.clusters, func(c *cluster) string { return c.ID }, (*cluster).absorb)
	if len(b.clusters) == 0 || b.clusters[0].ID != "" {
		return mistakes
	}
	stray := b.clusters[0]
	b.clusters = b.clusters[1:]
	var candidates []int
	for i := range b.clusters {
		if b.clusters[i].Origin != Manifest {
			candidates = append(candidates, i)
		}
	}
	switch len(candidates) {
	case 0:
		return append(mistakes, badInput(stray.Place, "the node pools do not name their cluster: add the output of DescribeClusterDetail"))
	case 1:
		if err := b.clusters[candidates[0]].absorb(&stray); err != nil {
			mistakes = append(mistakes, err)
		}
		return mistakes
	}
	return append(mistakes, badInput(stray.Place, "the node pools do not name their cluster, and the files hold %d: read one cluster at a time", len(candidates)))
}

func (c *cluster) absorb(from *cluster) error {
	if (c.Origin == Manifest) != (from.Origin == Manifest) {
		return badInput(from.Place, "cluster %s is also in %s: want either the manifest or the export", from.ID, c.Place)
	}
	if c.GroupType == rules.Basic && !c.InnerAccess { // a piece that does not tell
		c.GroupType, c.InnerAccess = from.GroupType, from.InnerAccess
	}
	var d differences
	pick(&d, "VPC", &c.VPC, from.VPC)
	pick(&d, "group", &c.Group, from.Group)
	pick(&d, "profile", &c.Profile, from.Profile)
	pickList(&d, "pod groups", &c.PodGroups, from.PodGroups)
	mergeFacts(&d, &c.Facts, &from.Facts)
	for i := range from.Pools {
		c.addPool(&d, &from.Pools[i])
	}
	if len(d) > 0 {
		return badInput(from.Place, "cluster %s has another %s than in %s", c.ID, d, c.Place)
	}
	if c.Title == "" {
		c.Title = from.Title
	}
	c.subnetIDs = mergeIDs(c.subnetIDs, from.subnetIDs)
	c.podSubnetIDs = mergeIDs(c.podSubnetIDs, from.podSubnetIDs)
	return nil
}

func (c *cluster) addPool(d *differences, p *NodePool) {
	for i := range c.Pools {
		if c.Pools[i].ID == p.ID {
			pickList(d, fmt.Sprintf("list of groups for node pool %s", p.ID), &c.Pools[i].Groups, p.Groups)
			return
		}
	}
	c.Pools = append(slices.Clip(c.Pools), *p)
}

// mergeFacts joins the facts that exports tell.
func mergeFacts(d *differences, to, from *profiles.Facts) {
	pick(d, "name", &to.Cluster, from.Cluster)
	pick(d, "network mode", &to.Mode, from.Mode)
	pick(d, "encapsulation", &to.Encapsulation, from.Encapsulation)
	pick(d, "encapsulation port", &to.EncapsulationPort, from.EncapsulationPort)
	pickList(d, "VPC CIDR", &to.VPC, from.VPC)
	pickList(d, "secondary VPC CIDR", &to.SecondaryVPC, from.SecondaryVPC)
	pickList(d, "list of node subnets", &to.NodeSubnets, from.NodeSubnets)
	pickList(d, "list of pod subnets", &to.PodSubnets, from.PodSubnets)
	pickList(d, "list of pod CIDRs", &to.PodCIDRs, from.PodCIDRs)
	pickList(d, "API server", &to.APIServer, from.APIServer)
	pick(d, "API server port", &to.APIServerPort, from.APIServerPort)
	pickList(d, "list of webhook ports", &to.WebhookPorts, from.WebhookPorts)
	to.Poseidon = to.Poseidon || from.Poseidon
	to.BGP = to.BGP || from.BGP
	to.Etcd = to.Etcd || from.Etcd
	to.DHCP = to.DHCP || from.DHCP
}
