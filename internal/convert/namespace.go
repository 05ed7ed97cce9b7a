package convert

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// A Namespace is what the objects of one namespace mean, each read for itself:
// a mistake in one spoils what names it, and nothing else. It is not safe for
// concurrent use.
type Namespace struct {
	groups map[string]*Group
	// objects are those that are there, right or wrong; mistakes has what is
	// wrong with the wrong ones.
	objects  map[object]bool
	mistakes map[object]error
	// builder has the networks, lists, clusters and node pools that are right.
	builder  builder
	clusters map[string]*v1alpha1.Cluster
	pools    map[string]*v1alpha1.NodePool
	// openPools says of node pools why it is not known where their hosts live.
	openPools map[string]string
	wearers   []Wearer
}

// A Wearer is a host with the groups that it wears and the addresses that count
// as its own.
type Wearer struct {
	Name string
	// Cluster is that of the host or of its pool; may be empty.
	Cluster, Pool string
	Roles         []string // sorted
	// Unknown says why groups and addresses are not known; empty if they are.
	// What is unknown is not none: it stays what it was.
	Unknown string
	// Groups are sorted, each once. Empty for a host that wears none.
	Groups []string
	// Addresses are those of the spec, and those of the status that lie in the
	// subnets of the pool and that no other host has. Sorted.
	Addresses []netip.Addr
}

// ReadNamespace reads the objects of a namespace, in any order. Elders and Strange
// do not count: all that there is, is there.
func ReadNamespace(o *Objects) *Namespace {
	n := &Namespace{
		groups: map[string]*Group{}, objects: map[object]bool{}, mistakes: map[object]error{},
		clusters: map[string]*v1alpha1.Cluster{}, pools: map[string]*v1alpha1.NodePool{}, openPools: map[string]string{},
	}
	for _, v := range o.VPCs {
		if b := readOne(n, v1alpha1.KindVPC, v.Name, v, (*reader).vpc); b != nil {
			n.builder.vpcs = append(n.builder.vpcs, b.vpcs...)
			n.builder.subnets = append(n.builder.subnets, b.subnets...)
		}
	}
	for _, l := range o.PrefixLists {
		if b := readOne(n, v1alpha1.KindPrefixList, l.Name, l, (*reader).prefixList); b != nil {
			n.builder.lists = append(n.builder.lists, b.lists...)
		}
	}
	for _, g := range o.SecurityGroups {
		if b := readOne(n, v1alpha1.KindSecurityGroup, g.Name, g, (*reader).securityGroup); b != nil {
			n.groups[g.Name] = &b.groups[0]
		}
	}
	n.readClusters(o)
	n.readHosts(o.Hosts)
	return n
}

// readOne reads one object with a builder of its own; nil if something is wrong
// with it.
func readOne[T any](n *Namespace, kind, name string, o *T, read func(*reader, *T)) *builder {
	key := object{kind: kind, name: name}
	var b builder
	r := reader{builder: &b, document: &document{base: &Place{Object: Object{kind, name}}}}
	read(&r, o)
	n.objects[key] = true
	if len(r.mistakes) > 0 {
		n.mistakes[key] = limited(join(r.mistakes))
		return nil
	}
	return &b
}

func (n *Namespace) readClusters(o *Objects) {
	for _, c := range o.Clusters {
		n.clusters[c.Name] = c
		facts := *c // exposures are nobody's address
		facts.Spec.Exposures = nil
		if b := readOne(n, v1alpha1.KindCluster, c.Name, &facts, (*reader).cluster); b != nil {
			n.builder.clusters = append(n.builder.clusters, b.clusters...)
		}
	}
	index := n.builder.clusterIndex()
	for _, p := range o.NodePools {
		n.pools[p.Name] = p
		b := readOne(n, v1alpha1.KindNodePool, p.Name, p, (*reader).nodePool)
		if _, ok := index[p.Spec.ClusterName]; ok && b != nil {
			n.builder.manifests.pools = append(n.builder.manifests.pools, b.manifests.pools...)
		}
	}
	subnets := n.builder.subnetIndex()
	for i := range n.builder.clusters {
		n.builder.resolveCluster(&n.builder.clusters[i], subnets)
	}
	for _, p := range o.NodePools {
		n.openPools[p.Name] = n.unknownSubnets(p, index, subnets)
	}
}

// unknownSubnets says why it is not known where the hosts of a node pool live;
// empty if it is.
func (n *Namespace) unknownSubnets(p *v1alpha1.NodePool, clusters map[string]int, subnets map[subnetKey][]rules.CIDR) string {
	i, ok := clusters[p.Spec.ClusterName]
	if !ok {
		return fmt.Sprintf("there is no Cluster %s whose subnets are known", p.Spec.ClusterName)
	}
	c := &n.builder.clusters[i]
	names := p.Spec.Subnets
	if len(names) == 0 {
		names = c.subnetIDs
	}
	if _, ok := ranges(subnets, c.VPC, names); !ok && len(names) > 0 {
		return fmt.Sprintf("VPC %s has not all subnets of node pool %s", c.VPC, p.Name)
	}
	return ""
}

// readHosts finds out who wears what and has which addresses. Where two hosts
// name one address, it is the elder's.
func (n *Namespace) readHosts(hosts []*v1alpha1.Host) {
	hosts = slices.SortedFunc(slices.Values(hosts), func(a, b *v1alpha1.Host) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	b := &n.builder
	taken := make(map[netip.Addr]bool, len(hosts))
	for _, o := range hosts {
		if !o.DeletionTimestamp.IsZero() {
			continue
		}
		w := Wearer{Name: o.Name}
		one := readOne(n, v1alpha1.KindHost, o.Name, o, (*reader).host)
		if one == nil {
			w.Unknown = n.mistakes[object{kind: v1alpha1.KindHost, name: o.Name}].Error()
			n.wearers = append(n.wearers, w)
			b.manifests.hosts = append(b.manifests.hosts, &host{})
			continue
		}
		h := one.manifests.hosts[0]
		h.addresses = slices.DeleteFunc(h.addresses, func(a netip.Addr) bool { return taken[a] })
		for _, a := range h.addresses {
			taken[a] = true
		}
		w.Cluster, w.Pool, w.Roles = h.Cluster, h.Pool, h.Roles
		n.dress(&w, h, o)
		n.wearers = append(n.wearers, w)
		b.manifests.hosts = append(b.manifests.hosts, h)
	}
	claims, _ := b.claims(b.poolRanges(b.clusterIndex())) // no mistakes: the younger has given way
	for i := range n.wearers {
		n.wearers[i].take(b.manifests.hosts[i], i, claims)
	}
}

// dress says which groups a host wears.
func (n *Namespace) dress(w *Wearer, h *host, o *v1alpha1.Host) {
	groups := h.Groups
	switch {
	case h.Pool != "":
		p, ok := n.pools[h.Pool]
		switch {
		case !ok:
			w.Unknown = fmt.Sprintf("there is no NodePool %s", h.Pool)
		case h.Cluster != "" && h.Cluster != p.Spec.ClusterName:
			w.Unknown = fmt.Sprintf("node pool %s belongs to cluster %s, not to %s", p.Name, p.Spec.ClusterName, h.Cluster)
		case len(p.Status.EffectiveSecurityGroupNames) == 0:
			w.Unknown = fmt.Sprintf("it is not known yet which groups node pool %s has", h.Pool)
		default:
			w.Cluster = p.Spec.ClusterName
			groups = slices.Concat(groups, p.Status.EffectiveSecurityGroupNames)
			// Of a host that reports nothing new, the subnets do not matter.
			if slices.ContainsFunc(h.reported, func(a netip.Addr) bool { return !slices.Contains(h.addresses, a) }) {
				w.Unknown = n.openPools[p.Name]
			}
		}
	case h.Cluster != "": // without a pool it wears its own groups only
		if _, ok := n.clusters[h.Cluster]; !ok {
			w.Unknown = fmt.Sprintf("there is no Cluster %s", h.Cluster)
		}
	}
	w.Unknown = cmp.Or(w.Unknown, HostRefused(o))
	if w.Unknown == "" {
		w.Groups = sortedNames(groups)
	}
}

// HostRefused says why a host is at fault in a way that leaves open what it
// ought to wear; empty if it is not. Addresses that are not its own are no such
// fault: they do not count, and that is all.
func HostRefused(h *v1alpha1.Host) string {
	c := meta.FindStatusCondition(h.Status.Conditions, v1alpha1.ConditionAccepted)
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason == v1alpha1.ReasonAddressConflict || c.Reason == v1alpha1.ReasonForeignAddress {
		return ""
	}
	return fmt.Sprintf("host %s is not accepted: %s", h.Name, cmp.Or(c.Message, c.Reason))
}

// take gives the i-th host its addresses.
func (w *Wearer) take(h *host, i int, claims map[netip.Addr]claim) {
	h.takeAddresses(i, claims)
	for _, p := range h.Addresses {
		w.Addresses = append(w.Addresses, p.Addr())
	}
	slices.SortFunc(w.Addresses, netip.Addr.Compare)
}

// Wearers returns the hosts, the eldest first. Those that are being deleted are
// not among them.
func (n *Namespace) Wearers() []Wearer { return n.wearers }

// Ruleset merges the groups that one host wears.
//
// It is an error if one of them, or something that their rules name, is absent
// or wrong, or if they cannot be worn together.
func (n *Namespace) Ruleset(names []string) (*rules.Ruleset, error) {
	b := builder{lists: n.builder.lists}
	merged := make([]*rules.Group, 0, len(names))
	vpc := ""
	for _, name := range names {
		g, err := n.group(name)
		if err != nil {
			return nil, err
		}
		if err := g.Validate(); err != nil {
			return nil, fmt.Errorf("group %s: %w", name, err)
		}
		vpc = cmp.Or(vpc, g.VPC)
		b.groups = append(b.groups, *g)
		merged = append(merged, &g.Group)
	}
	if err := n.addPeers(&b, names); err != nil {
		return nil, err
	}
	together := wearer{name: "the set", groups: names, vpc: vpc}
	if err := b.checkWearer(&together, b.groupIndex()); err != nil {
		return nil, err
	}
	if err := join(b.checkRules()); err != nil {
		return nil, limited(err)
	}
	lists := make(map[string]rules.PrefixList, len(b.lists))
	for i := range b.lists {
		lists[b.lists[i].Name] = b.lists[i].PrefixList
	}
	rs, err := rules.Merge(merged, lists)
	if err != nil {
		return nil, err
	}
	return rs, rs.Limits()
}

func (n *Namespace) group(name string) (*Group, error) {
	if err := n.missing(object{kind: v1alpha1.KindSecurityGroup, name: name}); err != nil {
		return nil, err
	}
	return n.groups[name], nil
}

// missing says why an object cannot be used; nil if it can.
func (n *Namespace) missing(o object) error {
	if err := n.mistakes[o]; err != nil {
		return err
	}
	if !n.objects[o] {
		return fmt.Errorf("there is no %s", o)
	}
	return nil
}

// addPeers adds the groups that rules name, without their rules, and looks for
// the lists.
func (n *Namespace) addPeers(b *builder, set []string) error {
	seen := make(map[string]bool, len(set))
	for _, name := range set {
		seen[name] = true
	}
	var mistakes []error
	for _, g := range slices.Clone(b.groups) {
		for _, r := range slices.Concat(g.Ingress, g.Egress) {
			switch p := r.Peer.(type) {
			case rules.GroupPeer:
				peer, err := n.group(p.Name)
				if err != nil {
					mistakes = append(mistakes, fmt.Errorf("group %s names group %s: %w", g.Name, p.Name, err))
				} else if !seen[p.Name] {
					b.groups = append(b.groups, Group{Group: rules.Group{Name: peer.Name, Type: peer.Type}})
				}
				seen[p.Name] = true
			case rules.PrefixListPeer:
				if err := n.missing(object{kind: v1alpha1.KindPrefixList, name: p.Name}); err != nil {
					mistakes = append(mistakes, fmt.Errorf("group %s names prefix list %s: %w", g.Name, p.Name, err))
				}
			case rules.CIDR:
			}
		}
	}
	return limited(join(mistakes))
}

// Keep returns what the hosts of a cluster may not lose while they wear groups
// of a type.
//
// It is an error if the cluster or its networks are absent or wrong: less would
// be kept than is needed.
func (n *Namespace) Keep(t *profiles.Tables, clusterName string, groups rules.GroupType) ([]v1alpha1.KeepFlow, error) {
	if err := n.missing(object{kind: v1alpha1.KindCluster, name: clusterName}); err != nil {
		return nil, err
	}
	c := &n.builder.clusters[n.builder.clusterIndex()[clusterName]]
	if err := n.missing(object{kind: v1alpha1.KindVPC, name: c.VPC}); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", clusterName, err)
	}
	if len(c.Facts.NodeSubnets) == 0 && len(c.subnetIDs) > 0 {
		return nil, fmt.Errorf("cluster %s: VPC %s has not all subnets that the cluster and its node pools name", clusterName, c.VPC)
	}
	facts := c.Facts
	facts.GroupType = groups
	var flows []v1alpha1.KeepFlow
	for _, k := range t.Keep(&facts, n.withRole(clusterName, v1alpha1.RoleAPIServer), n.withRole(clusterName, v1alpha1.RoleEtcd)) {
		flows = append(flows, keepFlows(clusterName, &k)...)
	}
	return flows, nil
}

// withRole returns the addresses of a cluster's hosts with a role.
func (n *Namespace) withRole(clusterName string, role v1alpha1.HostRole) []rules.CIDR {
	var list []rules.CIDR
	for i := range n.wearers {
		w := &n.wearers[i]
		if w.Cluster != clusterName || !slices.Contains(w.Roles, string(role)) {
			continue
		}
		for _, a := range w.Addresses {
			list = append(list, rules.CIDR{Prefix: netip.PrefixFrom(a, a.BitLen()), Text: a.String()})
		}
	}
	return list
}

var errTooMuchToKeep = errors.New("more than 256 flows to keep: fewer clusters must share these groups")

// maxKeep is how many flows a Ruleset can keep.
const maxKeep = 256

// Kept joins the flows to keep of several clusters.
func Kept(clusters ...[]v1alpha1.KeepFlow) ([]v1alpha1.KeepFlow, error) {
	all := slices.Concat(clusters...)
	if len(all) > maxKeep {
		return nil, errTooMuchToKeep
	}
	return all, nil
}
