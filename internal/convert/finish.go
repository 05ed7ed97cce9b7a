package convert

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// finish joins what the documents say, in stages; a stage relies on those
// before it, so the first with mistakes is the last.
func (b *builder) finish() (*Inventory, error) {
	b.manifests.seen, b.manifests.named = nil, nil // of use while reading only
	for _, stage := range []func() []error{
		b.checkPages,
		b.merge,
		b.checkReferences,
		b.resolve,
		b.check,
	} {
		if mistakes := stage(); len(mistakes) > 0 {
			return nil, join(mistakes)
		}
	}
	return b.inventory(), nil
}

// merge joins the pieces of every object.
func (b *builder) merge() []error {
	var mistakes [5][]error
	b.vpcs, mistakes[0] = mergeBy(b.vpcs, func(v *VPC) string { return v.ID }, (*VPC).absorb)
	b.subnets, mistakes[1] = mergeBy(b.subnets, func(s *Subnet) string { return s.VPC + "\x00" + s.ID }, (*Subnet).absorb)
	b.lists, mistakes[2] = mergeBy(b.lists, func(l *prefixList) string { return l.Name }, (*prefixList).absorb)
	mistakes[3] = b.mergeGroups()
	mistakes[4] = b.mergeClusters()
	return slices.Concat(mistakes[:]...)
}

// checkReferences reports every name in a manifest that names nothing.
func (b *builder) checkReferences() []error {
	there := b.objects()
	var mistakes []error
	report := func(r *reference) {
		cluster, strange := b.manifests.strange[r.name]
		switch {
		case there[*r.object]:
		case strange && r.kind == v1alpha1.KindNodePool:
			mistakes = append(mistakes, mistake(v1alpha1.ReasonOtherCluster, r.site.place(), "node pool %s belongs to cluster %s", r.name, cluster))
		default:
			mistakes = append(mistakes, mistake(v1alpha1.ReasonNotFound, r.site.place(), "there is no %s%s", *r.object, b.where()))
		}
	}
	for i := range b.manifests.references {
		r := &b.manifests.references[i]
		if r.within != "" && !there[object{kind: v1alpha1.KindVPC, name: r.within}] {
			continue // its VPC is missed already
		}
		report(r)
	}
	b.manifests.references = nil
	clusters := b.clusterIndex()
	for _, s := range b.manifests.poolSubnets {
		if i, ok := clusters[s.cluster]; ok {
			report(&reference{&object{subnetKind, s.name, b.clusters[i].VPC}, s.site})
		}
	}
	return mistakes
}

// where says where something was looked for that is not there.
func (b *builder) where() string {
	if b.live {
		return ""
	}
	return " in the files"
}

// objects returns all that a reference may name.
func (b *builder) objects() map[object]bool {
	there := map[object]bool{}
	for i := range b.vpcs {
		there[object{kind: v1alpha1.KindVPC, name: b.vpcs[i].ID}] = true
	}
	for i := range b.subnets {
		there[object{subnetKind, b.subnets[i].ID, b.subnets[i].VPC}] = true
	}
	for i := range b.lists {
		there[object{kind: v1alpha1.KindPrefixList, name: b.lists[i].Name}] = true
	}
	for i := range b.groups {
		there[object{kind: v1alpha1.KindSecurityGroup, name: b.groups[i].Name}] = true
	}
	for i := range b.clusters {
		there[object{kind: v1alpha1.KindCluster, name: b.clusters[i].ID}] = true
	}
	for i := range b.manifests.pools {
		there[object{kind: v1alpha1.KindNodePool, name: b.manifests.pools[i].ID}] = true
	}
	return there
}

func (b *builder) clusterIndex() map[string]int {
	index := make(map[string]int, len(b.clusters))
	for i := range b.clusters {
		index[b.clusters[i].ID] = i
	}
	return index
}

// resolve replaces names by what they name.
func (b *builder) resolve() []error {
	clusters := b.clusterIndex()
	b.addPools(clusters)
	mistakes := b.addHosts(clusters)
	subnets := b.subnetIndex()
	for i := range b.clusters {
		b.resolveCluster(&b.clusters[i], subnets)
	}
	b.adoptGroups()
	return append(mistakes, b.mergeInterfaces()...)
}

// A subnetKey identifies a subnet.
type subnetKey struct{ vpc, id string }

func (b *builder) subnetIndex() map[subnetKey][]rules.CIDR {
	index := make(map[subnetKey][]rules.CIDR, len(b.subnets))
	for i := range b.subnets {
		s := &b.subnets[i]
		index[subnetKey{s.VPC, s.ID}] = s.CIDRs
	}
	return index
}

// resolveCluster fills in the ranges of the cluster's VPC and subnets, and says
// which facts remain unknown.
func (b *builder) resolveCluster(c *cluster, subnets map[subnetKey][]rules.CIDR) {
	if c.VPC == "" {
		c.VPC = b.vpcOf(c.subnetIDs)
	}
	for i := range b.vpcs {
		if b.vpcs[i].ID == c.VPC {
			c.Facts.VPC, c.Facts.SecondaryVPC = b.vpcs[i].CIDRs, b.vpcs[i].Secondary
		}
	}
	nodes := c.subnetIDs
	for i := range b.manifests.pools {
		if p := &b.manifests.pools[i]; p.cluster == c.ID {
			nodes = mergeIDs(nodes, p.subnets)
		}
	}
	if ranges, ok := ranges(subnets, c.VPC, nodes); ok {
		c.Facts.NodeSubnets = ranges
	}
	if ranges, ok := ranges(subnets, c.VPC, c.podSubnetIDs); ok {
		c.Facts.PodSubnets = ranges
	}
	for i := range c.Pools {
		c.Pools[i].inherit(c.Group)
	}
	c.Unknown = unknown(&c.Facts)
}

// vpcOf returns the VPC that the subnets lie in, if it is one.
func (b *builder) vpcOf(subnets []string) string {
	wanted := map[string]bool{}
	for _, id := range subnets {
		wanted[id] = true
	}
	vpc := ""
	for i := range b.subnets {
		s := &b.subnets[i]
		if !wanted[s.ID] {
			continue
		}
		if vpc != "" && vpc != s.VPC {
			return ""
		}
		vpc = s.VPC
	}
	return vpc
}

// ranges returns the CIDRs of the subnets; false if there are none, or not all
// of them are in the files: half the nodes is not an answer.
func ranges(index map[subnetKey][]rules.CIDR, vpc string, ids []string) ([]rules.CIDR, bool) {
	var list []rules.CIDR
	for _, id := range ids {
		found, ok := index[subnetKey{vpc, id}]
		if !ok {
			return nil, false
		}
		list = append(list, found...)
	}
	return list, len(list) > 0
}

// unknown names the facts that are empty and cannot be meant so: every cluster
// has a network mode, a VPC, nodes, pods and an API server.
func unknown(f *profiles.Facts) []Fact {
	var list []Fact
	add := func(name Fact, empty bool) {
		if empty {
			list = append(list, name)
		}
	}
	add(FactMode, f.Mode == "")
	add(FactVPC, len(f.VPC) == 0)
	add(FactNodeSubnets, len(f.NodeSubnets) == 0)
	add(FactPodSubnets, f.Mode == profiles.Terway && len(f.PodSubnets) == 0)
	add(FactPodCIDRs, f.Mode != profiles.Terway && len(f.PodCIDRs) == 0)
	add(FactAPIServer, len(f.APIServer) == 0)
	slices.Sort(list)
	return list
}

// adoptGroups adds an entry for every group that an export names and no file
// describes, so that callers can say that its rules are missing. Groups that
// only a rule names stay symbolic.
func (b *builder) adoptGroups() {
	known := b.groupIndex()
	adopt := func(origin Origin, place Place, names ...string) {
		for _, name := range names {
			if _, ok := known[name]; ok || name == "" {
				continue
			}
			known[name] = len(b.groups)
			g := Group{Origin: origin, Place: place, TypeUnknown: true, RulesUnknown: true}
			g.Name = name
			b.groups = append(b.groups, g)
		}
	}
	for i := range b.clusters {
		c := &b.clusters[i]
		adopt(c.Origin, c.Place, c.Group)
		adopt(c.Origin, c.Place, c.PodGroups...)
		for j := range c.Pools {
			adopt(c.Origin, c.Pools[j].Place, c.Pools[j].Groups...)
		}
	}
	for i := range b.interfaces {
		adopt(b.interfaces[i].Origin, b.interfaces[i].Place, b.interfaces[i].Groups...)
	}
}

func (b *builder) groupIndex() map[string]int {
	index := make(map[string]int, len(b.groups))
	for i := range b.groups {
		index[b.groups[i].Name] = i
	}
	return index
}

// inventory puts everything in order. Nothing is missing or wrong any more.
func (b *builder) inventory() *Inventory {
	v := &Inventory{
		Groups:      b.groups,
		PrefixLists: make(map[string]rules.PrefixList, len(b.lists)),
		VPCs:        b.vpcs,
		Subnets:     b.subnets,
		Interfaces:  b.interfaces,
	}
	for i := range b.lists {
		v.PrefixLists[b.lists[i].Name] = b.lists[i].PrefixList
	}
	slices.SortFunc(v.Groups, func(x, y Group) int { return strings.Compare(x.Name, y.Name) })
	groups := b.groupIndex()
	for i := range b.clusters {
		c := b.clusters[i].Cluster
		c.Title = cmp.Or(c.Title, c.ID)
		c.Facts.Cluster = cmp.Or(c.Facts.Cluster, c.Title)
		if g, ok := groups[c.Group]; ok && !v.Groups[g].TypeUnknown {
			c.GroupType, c.InnerAccess = v.Groups[g].Type, v.Groups[g].InnerAccess
		}
		v.Clusters = append(v.Clusters, c)
	}
	members := map[string][]netip.Prefix{}
	for i := range v.Interfaces {
		for _, name := range v.Interfaces[i].Groups {
			members[name] = append(members[name], v.Interfaces[i].Addresses...)
		}
	}
	for name, list := range members {
		v.Groups[groups[name]].Members = sortedPrefixes(list)
	}
	v.index = newIndex(v)
	return v
}

// check reports what contradicts across objects.
func (b *builder) check() []error {
	return slices.Concat(b.checkInnerAccess(), b.checkWearers(), b.checkRules(), b.checkRanges())
}

// checkInnerAccess refuses to guess the inner access of a basic group.
func (b *builder) checkInnerAccess() []error {
	index := b.groupIndex()
	var mistakes []error
	for _, at := range b.noInnerAccess {
		if g := &b.groups[index[at.id]]; g.Type == rules.Basic && !g.TypeUnknown {
			mistakes = append(mistakes, badInput(at.place, "no inner access policy of basic group %s: want Accept or Drop", at.id))
		}
	}
	return mistakes
}

// A wearer is something that has groups, which must go together.
type wearer struct {
	name   string
	groups []string
	vpc    string
	origin Origin
	place  Place
}

func (b *builder) checkWearers() []error {
	groups := b.groupIndex()
	var mistakes []error
	for w := range b.wearers {
		if err := b.checkWearer(&w, groups); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	return mistakes
}

func (b *builder) wearers(yield func(wearer) bool) {
	for i := range b.clusters {
		c := &b.clusters[i]
		var own []string
		if c.Group != "" {
			own = []string{c.Group}
		}
		list := []wearer{
			{"cluster " + c.ID, own, c.VPC, c.Origin, c.Place},
			{"the pods of cluster " + c.ID, c.PodGroups, c.VPC, c.Origin, c.Place},
		}
		for j := range c.Pools {
			p := &c.Pools[j]
			list = append(list, wearer{"node pool " + p.ID, p.Groups, c.VPC, c.Origin, p.Place})
		}
		for _, w := range list {
			if !yield(w) {
				return
			}
		}
	}
	for i := range b.interfaces {
		f := &b.interfaces[i]
		if !yield(wearer{f.ID, f.Groups, f.VPC, f.Origin, f.Place}) {
			return
		}
	}
}

func (b *builder) checkWearer(w *wearer, index map[string]int) error {
	if len(w.groups) > rules.MaxGroupsPerHost {
		return mistake(v1alpha1.ReasonTooManyGroups, w.place, "%s wears %d groups, at most %d may", w.name, len(w.groups), rules.MaxGroupsPerHost)
	}
	var typed *Group
	for _, name := range w.groups {
		g := &b.groups[index[name]]
		if g.Origin == w.origin && g.VPC != "" && w.vpc != "" && g.VPC != w.vpc {
			return mistake(v1alpha1.ReasonOtherVPC, w.place, "%s is of VPC %s, its group %s of VPC %s: a group serves its own VPC", w.name, w.vpc, name, g.VPC)
		}
		if g.TypeUnknown {
			continue
		}
		if typed == nil {
			typed = g
		}
		if g.Type != typed.Type {
			return mistake(v1alpha1.ReasonMixedTypes, w.place, "%s wears groups of two types: %s is %s, %s is %s; want one type",
				w.name, typed.Name, typed.Type, name, g.Type)
		}
	}
	return nil
}

func (b *builder) checkRules() []error {
	groups := b.groupIndex()
	lists := make(map[string]*rules.PrefixList, len(b.lists))
	for i := range b.lists {
		lists[b.lists[i].Name] = &b.lists[i].PrefixList
	}
	var mistakes []error
	for i := range b.groups {
		g := &b.groups[i]
		for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
			for j, rule := range g.Rules(d) {
				if reason, err := b.checkPeer(g, &rule, groups, lists); err != nil {
					mistakes = append(mistakes, mistake(reason, g.Places(d)[j], "%w", err))
				}
			}
		}
	}
	return mistakes
}

// checkPeer reports a peer that is missing or that the rule may not name. What
// the cloud has, it has accepted.
func (b *builder) checkPeer(g *Group, rule *rules.Rule, groups map[string]int, lists map[string]*rules.PrefixList) (reason string, err error) {
	switch p := rule.Peer.(type) {
	case rules.PrefixListPeer:
		list, ok := lists[p.Name]
		if !ok && g.Origin == Manifest {
			return v1alpha1.ReasonNotFound, fmt.Errorf("there is no PrefixList %s%s", p.Name, b.where())
		}
		if !ok {
			return v1alpha1.ReasonNotFound, fmt.Errorf("prefix list %s is not in the files: add the output of DescribePrefixListAttributes", p.Name)
		}
		if g.Origin != Cloud {
			return v1alpha1.ReasonFamilyMismatch, checkFamily(rule, list)
		}
	case rules.GroupPeer:
		i, ok := groups[p.Name]
		if ok && g.Origin != Cloud && !b.groups[i].TypeUnknown && b.groups[i].Type == rules.Advanced {
			return v1alpha1.ReasonAdvancedPeer, fmt.Errorf("group %s is advanced, and no rule may name an advanced group: use its addresses", p.Name)
		}
	case rules.CIDR:
	}
	return "", nil
}

// checkFamily reports a rule whose prefix list is of another family than its
// protocol or its member addresses.
func checkFamily(rule *rules.Rule, list *rules.PrefixList) error {
	if len(list.Entries) == 0 {
		return nil
	}
	first := list.Entries[0].Prefix
	if want := wantedFamily(rule.Protocol, first); want != "" {
		return fmt.Errorf("protocol %s goes with %s, but the entries of prefix list %s are %s", rule.Protocol, want, list.Name, familyOf(list.Entries[0]))
	}
	if rule.Member.IsValid() && rule.Member.Addr().Is4() != first.Addr().Is4() {
		return fmt.Errorf("prefix list %s and member %s are of different address families", list.Name, rule.Member)
	}
	return nil
}

func (b *builder) checkRanges() []error {
	vpcs := make(map[string]rangeSet, len(b.vpcs))
	for i := range b.vpcs {
		vpcs[b.vpcs[i].ID] = newRangeSet(b.vpcs[i].CIDRs, b.vpcs[i].Secondary)
	}
	var mistakes []error
	for i := range b.manifests.ranges {
		r := &b.manifests.ranges[i]
		if c, ok := vpcs[r.vpc].find(r.cidr.Prefix); ok {
			mistakes = append(mistakes, mistake(v1alpha1.ReasonCIDROverlap, r.place, "%s %s overlaps %s of VPC %s: want a range outside it", r.what, r.cidr, c, r.vpc))
		}
		if r.what != podRange {
			continue
		}
		for j := range b.manifests.elders {
			if e := &b.manifests.elders[j]; e.vpc == r.vpc && e.cidr.Prefix.Overlaps(r.cidr.Prefix) {
				mistakes = append(mistakes, mistake(v1alpha1.ReasonCIDROverlap, r.place, "pod CIDR %s overlaps %s of cluster %s in the same VPC: want a range of its own", r.cidr, e.cidr, e.cluster))
			}
		}
	}
	return mistakes
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
