package convert

import (
	"net/netip"
	"slices"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// A pool is a NodePool whose names have not been resolved yet.
type pool struct {
	NodePool
	cluster string
	subnets []string // none: the cluster's node subnets
}

// A host is a Host whose names have not been resolved yet.
type host struct {
	Interface
	// addresses are those of the spec, reported those of the status.
	addresses, reported []netip.Addr
	enforcement         v1alpha1.Enforcement
	// poolSite is where the pool is named, addressSites are where the addresses
	// of the spec stand.
	poolSite     site
	addressSites []site
}

func (r *reader) nodePool(o *v1alpha1.NodePool) {
	r.name(v1alpha1.KindNodePool, &o.ObjectMeta)
	if o.Spec.ClusterName == "" {
		r.badf("/spec/clusterName", "no cluster: want the name of the cluster that the pool belongs to")
	} else {
		r.refer(object{kind: v1alpha1.KindCluster, name: o.Spec.ClusterName}, "/spec/clusterName")
	}
	oneOf(r, "/spec/enforcement", o.Spec.Enforcement, v1alpha1.EnforcementEnforce, v1alpha1.EnforcementObserve, "")
	p := pool{cluster: o.Spec.ClusterName, subnets: o.Spec.Subnets}
	p.ID, p.Title, p.Place = o.Name, o.Name, r.document.at("")
	p.Observe = o.Spec.Enforcement == v1alpha1.EnforcementObserve
	r.poolGroups(&p, o)
	r.builder.manifests.pools = append(r.builder.manifests.pools, p)
}

func (r *reader) poolGroups(p *pool, o *v1alpha1.NodePool) {
	const at = "/spec/securityGroup"
	in := &o.Spec.SecurityGroup
	profile := r.profile(at+"/profile", in.Profile)
	wish := r.wish(at, in.Type, in.InnerAccess)
	wish.Profile, p.Profile = profile, profile
	switch {
	case len(in.Names) > 0 && (in.Type != "" || in.InnerAccess != "" || in.Profile != ""):
		r.badf(at, "names stands for existing groups, type, innerAccess and profile for a new one: want one or the other")
	case len(in.Names) > 0:
		r.referAll(v1alpha1.KindSecurityGroup, "", at+"/names", in.Names)
		p.Groups = in.Names
	case in.Type == "" && (in.InnerAccess != "" || in.Profile != ""):
		r.badf(at+"/type", "innerAccess and profile go with a type: want Basic or Advanced for a group of the pool's own, or {} for the cluster's")
	case in.Type == "": // the cluster's group
	case o.Status.SecurityGroupName != "":
		p.Groups = []string{o.Status.SecurityGroupName}
		r.refer(object{kind: v1alpha1.KindSecurityGroup, name: o.Status.SecurityGroupName}, "/status/securityGroupName")
	default:
		p.Wants = &wish
	}
	// The VPC of the subnets is the cluster's, which may come later.
	for i, name := range p.subnets {
		r.builder.manifests.poolSubnets = append(r.builder.manifests.poolSubnets,
			poolSubnet{p.cluster, name, r.document.site(r.item("/spec/subnets", i))})
	}
}

// A poolSubnet is a place that names a subnet of a cluster's VPC.
type poolSubnet struct {
	cluster, name string
	site          site
}

func (r *reader) host(o *v1alpha1.Host) {
	r.name(v1alpha1.KindHost, &o.ObjectMeta)
	oneOf(r, "/spec/enforcement", o.Spec.Enforcement, v1alpha1.EnforcementEnforce, v1alpha1.EnforcementObserve, "")
	h := &host{enforcement: o.Spec.Enforcement}
	h.ID, h.Cluster, h.Pool, h.Place = o.Name, o.Spec.ClusterName, o.Spec.NodePoolName, r.document.at("")
	if h.Cluster != "" {
		r.refer(object{kind: v1alpha1.KindCluster, name: h.Cluster}, "/spec/clusterName")
	}
	if h.Pool != "" {
		r.refer(object{kind: v1alpha1.KindNodePool, name: h.Pool}, "/spec/nodePoolName")
		h.poolSite = r.document.site("/spec/nodePoolName")
	}
	r.referAll(v1alpha1.KindSecurityGroup, "", "/spec/securityGroupNames", o.Spec.SecurityGroupNames)
	h.Groups = o.Spec.SecurityGroupNames
	h.Roles = sortedNames(append(r.roles("/spec/roles", o.Spec.Roles), r.roles("/status/observedRoles", o.Status.ObservedRoles)...))
	h.addresses = r.addresses("/spec/addresses", o.Spec.Addresses)
	for i := range h.addresses {
		h.addressSites = append(h.addressSites, r.document.site(r.item("/spec/addresses", i)))
	}
	h.reported = r.addresses("/status/addresses", o.Status.Addresses)
	r.builder.manifests.hosts = append(r.builder.manifests.hosts, h)
}

func (r *reader) roles(pointer string, list []v1alpha1.HostRole) []string {
	var names []string
	for i, role := range list {
		oneOf(r, r.item(pointer, i), role,
			v1alpha1.RoleWorker, v1alpha1.RoleControlPlane, v1alpha1.RoleAPIServer, v1alpha1.RoleEtcd)
		names = append(names, string(role))
	}
	return names
}

// addresses reads a host's own addresses, each of which is one that a packet
// may carry on the wire.
func (r *reader) addresses(pointer string, texts []string) []netip.Addr {
	var list []netip.Addr
	again := repeats(texts)
	for i, text := range texts {
		at := r.item(pointer, i)
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil || a.Zone() != "" || a.Is4In6():
			r.badf(at, "%q is no address: want one like 10.0.0.1 or 2001:db8::1", text)
		case a.IsUnspecified() || a.IsLoopback() || a.IsMulticast():
			r.badf(at, "%s is not an address that a host can have for itself", a)
		case again(i):
			r.badf(at, "%s stands here twice", a)
		default:
			list = append(list, a)
		}
	}
	return list
}

// addPools gives every cluster its node pools. All names are known to be there.
func (b *builder) addPools(byID map[string]int) {
	for i := range b.manifests.pools {
		p := &b.manifests.pools[i]
		c := &b.clusters[byID[p.cluster]]
		p.inherit(c.Group)
		if p.Wants != nil && p.Wants.Profile == "" {
			p.Wants.Profile = c.Profile
		}
		c.Pools = append(c.Pools, p.NodePool)
	}
}

// addHosts turns the hosts into interfaces. All names are known to be there.
func (b *builder) addHosts(byID map[string]int) []error {
	var mistakes []error
	pools := make(map[string]*pool, len(b.manifests.pools))
	for i := range b.manifests.pools {
		pools[b.manifests.pools[i].ID] = &b.manifests.pools[i]
	}
	ranges := b.poolRanges(byID)
	claims, shared := b.claims(ranges)
	mistakes = append(mistakes, shared...)
	b.interfaces = slices.Grow(b.interfaces, len(b.manifests.hosts))
	for i := range b.manifests.hosts {
		h := b.manifests.hosts[i]
		if p := pools[h.Pool]; p != nil {
			if h.Cluster != "" && h.Cluster != p.cluster {
				mistakes = append(mistakes, mistake(v1alpha1.ReasonOtherCluster, h.poolSite.place(),
					"node pool %s belongs to cluster %s, not to %s", p.ID, p.cluster, h.Cluster))
			}
			h.Cluster = p.cluster
			h.Groups = slices.Concat(h.Groups, p.Groups)
			h.Observe = p.Observe
		}
		if h.enforcement != "" {
			h.Observe = h.enforcement == v1alpha1.EnforcementObserve
		}
		if h.Cluster != "" {
			c := &b.clusters[byID[h.Cluster]]
			h.VPC = c.VPC
			// What a host keeps for its role, its cluster's groups must let through.
			c.Facts.Etcd = c.Facts.Etcd || slices.Contains(h.Roles, string(v1alpha1.RoleEtcd))
		}
		h.takeAddresses(i, claims)
		b.interfaces = append(b.interfaces, h.Interface)
		b.manifests.hosts[i] = nil // there may be many
	}
	return mistakes
}

// takeAddresses gives the i-th host its addresses.
func (h *host) takeAddresses(i int, claims map[netip.Addr]claim) {
	for _, a := range h.addresses {
		h.Addresses = append(h.Addresses, netip.PrefixFrom(a, a.BitLen()))
	}
	for _, a := range h.reported {
		switch c := claims[a]; {
		case c.inSpec && c.host == i:
		case c.host == i && c.hosts == 1:
			h.Addresses = append(h.Addresses, netip.PrefixFrom(a, a.BitLen()))
		default:
			h.Refused = append(h.Refused, a)
		}
	}
	slices.SortFunc(h.Refused, netip.Addr.Compare)
}

// poolRanges returns where the hosts of each pool may have addresses that
// their specs do not name.
func (b *builder) poolRanges(byID map[string]int) map[string]rangeSet {
	subnets := b.subnetIndex()
	sets := make(map[string]rangeSet, len(b.manifests.pools))
	for i := range b.manifests.pools {
		p := &b.manifests.pools[i]
		c := &b.clusters[byID[p.cluster]]
		names := p.subnets
		if len(names) == 0 {
			names = c.subnetIDs
		}
		found, _ := ranges(subnets, c.VPC, names)
		sets[p.ID] = newRangeSet(found)
	}
	return sets
}

// A claim says who has an address: by a spec, or by a status where the subnets
// of the pool hold it.
type claim struct {
	host   int // the first one
	hosts  int // how many
	inSpec bool
}

// claims returns who claims which address. Two specs that name one address are
// a mistake.
func (b *builder) claims(ranges map[string]rangeSet) (map[netip.Addr]claim, []error) {
	var mistakes []error
	claims := make(map[netip.Addr]claim, len(b.manifests.hosts))
	for i := range b.manifests.hosts {
		h := b.manifests.hosts[i]
		for j, a := range h.addresses {
			if c, ok := claims[a]; ok && c.host != i {
				other := b.manifests.hosts[c.host]
				mistakes = append(mistakes, mistake(v1alpha1.ReasonAddressConflict, h.addressSites[j].place(),
					"address %s is also that of host %s, %s", a, other.ID, other.Place))
			}
			claims[a] = claim{host: i, hosts: 1, inSpec: true}
		}
	}
	for i := range b.manifests.hosts {
		h := b.manifests.hosts[i]
		for _, a := range h.reported {
			if !ranges[h.Pool].containsAddr(a) {
				continue
			}
			c, ok := claims[a]
			if !ok {
				c.host = i
			}
			c.hosts++
			claims[a] = c
		}
	}
	return claims, mistakes
}
