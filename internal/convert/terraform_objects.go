package convert

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// tfNetworks reads alicloud_vpc, alicloud_vpc_ipv4_cidr_block and
// alicloud_vswitch.
func (b *builder) tfNetworks(t *tfDocument) error {
	var mistakes []error
	secondary, err := t.secondaryBlocks()
	if err != nil {
		return err
	}
	for _, r := range t.of("alicloud_vpc") {
		v := VPC{ID: r.id(), Place: t.place(r)}
		v.CIDRs, err = t.blocks(r)
		if err == nil {
			v.Secondary, err = t.cidrs(r, "secondary_cidr_blocks", "IPv4")
		}
		for _, c := range secondary[v.ID] {
			if !holds(v.Secondary, c) { // the provider fills secondary_cidr_blocks too
				v.Secondary = append(v.Secondary, c)
			}
		}
		if err != nil {
			mistakes = append(mistakes, err)
		}
		b.vpcs = append(b.vpcs, v)
	}
	for _, r := range t.of("alicloud_vswitch", "alicloud_subnet") {
		s := Subnet{ID: r.id(), Place: t.place(r)}
		s.CIDRs, err = t.blocks(r)
		if err == nil {
			s.VPC, err = t.needed(r, "vpc_id")
		}
		if err != nil {
			mistakes = append(mistakes, err)
		}
		b.subnets = append(b.subnets, s)
	}
	return join(mistakes)
}

// secondaryBlocks lists the CIDRs of alicloud_vpc_ipv4_cidr_block by VPC.
func (t *tfDocument) secondaryBlocks() (map[string][]rules.CIDR, error) {
	byVPC := map[string][]rules.CIDR{}
	for _, r := range t.of("alicloud_vpc_ipv4_cidr_block") {
		vpc, err := t.needed(r, "vpc_id")
		if err != nil {
			return nil, err
		}
		text, err := t.needed(r, "secondary_cidr_block")
		if err != nil {
			return nil, err
		}
		c, err := cidrOf(text, "IPv4")
		if err != nil {
			return nil, t.fault(r, "secondary_cidr_block", "%w", err)
		}
		byVPC[vpc] = append(byVPC[vpc], c)
	}
	return byVPC, nil
}

// blocks reads cidr_block and ipv6_cidr_block.
func (t *tfDocument) blocks(r *tfResource) ([]rules.CIDR, error) {
	if _, err := t.needed(r, "cidr_block"); err != nil {
		return nil, err
	}
	list, err := t.cidrs(r, "cidr_block", "IPv4")
	if err != nil {
		return nil, err
	}
	v6, err := t.cidrs(r, "ipv6_cidr_block", "IPv6")
	if err != nil {
		return nil, err
	}
	// The provider leaves the attribute open also where IPv6 is off.
	if len(v6) == 0 && holdsTrue(r.unknownOf("ipv6_cidr_block")) && r.wantsIPv6() {
		return nil, t.fault(r, "ipv6_cidr_block", "ipv6_cidr_block is known only after apply: want `terraform show -json` of the state")
	}
	return append(list, v6...), nil
}

func (r *tfResource) wantsIPv6() bool {
	_, mask := r.Values["ipv6_cidr_block_mask"].(float64)
	return mask || r.Values["enable_ipv6"] == true
}

// cidrs reads an attribute that holds CIDRs of one family.
func (t *tfDocument) cidrs(r *tfResource, attribute, want string) ([]rules.CIDR, error) {
	texts, err := t.texts(r, attribute)
	if err != nil {
		return nil, err
	}
	var list []rules.CIDR
	for _, text := range texts {
		c, err := cidrOf(text, want)
		if err != nil {
			return nil, t.fault(r, attribute, "%w", err)
		}
		list = append(list, c)
	}
	return list, nil
}

// tfPrefixLists reads alicloud_ecs_prefix_list.
func (b *builder) tfPrefixLists(t *tfDocument) error {
	for _, r := range t.of("alicloud_ecs_prefix_list") {
		list := prefixList{place: t.place(r)}
		list.Name = r.id()
		if n, ok := r.Values["max_entries"].(float64); ok && n > 0 && n <= 1<<16 {
			list.MaxEntries = int(n)
		}
		want, err := t.text(r, "address_family")
		if err != nil {
			return err
		}
		if want == "" {
			want = "IPv4"
		}
		if holdsTrue(r.unknownOf("entry")) {
			return t.fault(r, "entry", "an entry's cidr is known only after apply: want literals, or `terraform show -json` of the state")
		}
		for i, e := range r.blocks("entry") {
			text, _ := e["cidr"].(string)
			c, err := cidrOf(text, want)
			if err != nil {
				return t.fault(r, "entry/"+strconv.Itoa(i)+"/cidr", "%w", err)
			}
			list.Entries = append(list.Entries, c)
		}
		b.lists = append(b.lists, list)
	}
	return nil
}

// tfGroups reads alicloud_security_group and alicloud_security_group_rule.
func (b *builder) tfGroups(t *tfDocument) error {
	var groups []Group
	var mistakes []error
	index := map[string]int{}
	for _, r := range t.of("alicloud_security_group") {
		g, err := t.group(r)
		if err != nil {
			mistakes = append(mistakes, err)
			continue
		}
		index[g.Name] = len(groups)
		groups = append(groups, g)
	}
	for _, r := range t.of("alicloud_security_group_rule") {
		name, err := t.needed(r, "security_group_id")
		if err != nil {
			mistakes = append(mistakes, err)
			continue
		}
		i, ok := index[name]
		if !ok { // the group is made elsewhere
			i = len(groups)
			index[name] = i
			groups = append(groups, Group{Group: rules.Group{Name: name}, Origin: Terraform, Place: t.place(r), TypeUnknown: true})
		}
		rule, err := t.rule(r)
		if err == nil {
			err = groups[i].ValidateRule(&rule)
			if err == nil {
				err = rule.ValidateECS()
			}
			if err != nil {
				err = t.fault(r, "", "%w", err)
			}
		}
		if err != nil {
			mistakes = append(mistakes, err)
			continue
		}
		groups[i].AppendAt(rule, t.place(r))
	}
	if err := join(mistakes); err != nil {
		return err
	}
	for _, g := range groups {
		if err := b.addGroup(g); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	return join(mistakes)
}

func (t *tfDocument) group(r *tfResource) (Group, error) {
	g := Group{Group: rules.Group{Name: r.id()}, Origin: Terraform, Place: t.place(r)}
	for _, name := range []string{"security_group_name", "name"} {
		if text, ok := r.Values[name].(string); ok && g.Title == "" {
			g.Title = text
		}
	}
	var err error
	if g.VPC, err = t.text(r, "vpc_id"); err != nil {
		return g, err
	}
	text, err := t.text(r, "security_group_type")
	if err != nil {
		return g, err
	}
	kind, ok := groupType(text)
	if !ok && text != "" { // the provider's default is normal
		return g, t.fault(r, "security_group_type", "security group type %q: want normal or enterprise", text)
	}
	g.Type = kind
	g.InnerAccess, err = t.innerAccess(r, kind)
	return g, err
}

// innerAccess reads inner_access_policy, or the deprecated inner_access. The
// provider ignores both for advanced groups, which have no inner access, and
// sets Accept where a basic group names neither.
func (t *tfDocument) innerAccess(r *tfResource, kind rules.GroupType) (bool, error) {
	if kind == rules.Advanced {
		return false, nil
	}
	text, err := t.text(r, "inner_access_policy")
	if err != nil {
		return false, err
	}
	switch strings.ToLower(text) {
	case "accept":
		return true, nil
	case "drop":
		return false, nil
	case "":
		return r.Values["inner_access"] != false, nil
	}
	return false, t.fault(r, "inner_access_policy", "inner access policy %q: want Accept or Drop", text)
}

// rule reads one alicloud_security_group_rule. nic_type says nothing: rules in
// a VPC are for its only network.
func (t *tfDocument) rule(r *tfResource) (rules.Rule, error) {
	w := draft{bad: func(name, format string, args ...any) error { return t.fault(r, name, format, args...) }}
	var direction term
	for _, a := range []struct {
		to       *term
		name     string
		fallback string
	}{
		{&direction, "type", ""},
		{&w.policy, "policy", "accept"},
		{&w.priority, "priority", "1"},
		{&w.protocol, "ip_protocol", ""},
		{&w.portList, "port_range_list_id", ""},
		{&w.ports, "port_range", ""},
		{&w.peer.cidr, "cidr_ip", ""},
		{&w.peer.cidr6, "ipv6_cidr_ip", ""},
		{&w.peer.group, "source_security_group_id", ""},
		{&w.peer.list, "prefix_list_id", ""},
	} {
		text, err := t.text(r, a.name)
		if err != nil {
			return rules.Rule{}, err
		}
		if text == "" {
			text = a.fallback
		}
		*a.to = term{a.name, text}
	}
	w.description, _ = r.Values["description"].(string)
	switch direction.text {
	case "ingress":
		w.direction = rules.Ingress
	case "egress":
		w.direction = rules.Egress
	default:
		return rules.Rule{}, w.bad("type", "type %q: want ingress or egress", direction.text)
	}
	return w.rule()
}

// tfClusters reads alicloud_cs_managed_kubernetes and alicloud_cs_kubernetes.
func (b *builder) tfClusters(t *tfDocument) error {
	var mistakes []error
	for _, r := range t.of("alicloud_cs_managed_kubernetes", "alicloud_cs_kubernetes") {
		c, err := t.cluster(r)
		if err != nil {
			mistakes = append(mistakes, err)
		}
		b.clusters = append(b.clusters, c)
	}
	return join(mistakes)
}

func (t *tfDocument) cluster(r *tfResource) (cluster, error) {
	c := cluster{Cluster: Cluster{ID: r.id(), Origin: Terraform, Place: t.place(r)}}
	c.Title, _ = r.Values["name"].(string)
	if r.Values["is_enterprise_security_group"] == true {
		c.GroupType = rules.Advanced
	}
	c.Facts.Cluster = cmp.Or(c.Title, c.ID)
	c.InnerAccess = c.GroupType == rules.Basic // what ACK makes
	for _, a := range []struct {
		to   *string
		name string
	}{{&c.VPC, "vpc_id"}, {&c.Group, "security_group_id"}} {
		text, err := t.text(r, a.name)
		if err != nil {
			return c, err
		}
		*a.to = text
	}
	for _, name := range []string{"vswitch_ids", "master_vswitch_ids", "worker_vswitch_ids"} {
		ids, err := t.texts(r, name)
		if err != nil {
			return c, err
		}
		c.subnetIDs = mergeIDs(c.subnetIDs, ids)
	}
	c.setAPIServer(r.endpoints()...)
	n, err := t.clusterNetwork(r)
	if err != nil {
		return c, err
	}
	return c, n.apply(&c, func(pointer, format string, args ...any) error {
		return t.fault(r, strings.TrimPrefix(pointer, "/"), format, args...)
	})
}

// endpoints lists what may name the API server's address, best first. The
// provider has changed connections from a block to a map.
func (r *tfResource) endpoints() []string {
	var intranet, public []string
	for _, where := range append(anyList(r.Values["connections"]), r.Values["connections"]) {
		if c, ok := where.(map[string]any); ok {
			intranet = append(intranet, scalars(c["api_server_intranet"])...)
			public = append(public, scalars(c["api_server_internet"])...)
		}
	}
	return slices.Concat(intranet, scalars(r.Values["slb_intranet"]), public)
}

func anyList(v any) []any {
	list, _ := v.([]any)
	return list
}

func (t *tfDocument) clusterNetwork(r *tfResource) (clusterNetwork, error) {
	var n clusterNetwork
	for _, block := range r.blocks("addons") {
		one := csAddon{}
		name, _ := block["name"].(string)
		config, _ := block["config"].(string)
		one.Name, one.Config = fuzzyText(name), fuzzyText(config)
		if block["disabled"] == true {
			one.Disabled = "true"
		}
		n.addons = append(n.addons, one)
	}
	pods, err := t.texts(r, "pod_vswitch_ids")
	if err != nil {
		return n, err
	}
	configured, err := addonSubnets(n.addons)
	if err != nil {
		return n, t.fault(r, "addons", "%w", err)
	}
	n.podSubnets = mergeIDs(pods, configured)
	if len(n.podSubnets) == 0 && holdsTrue(r.unknownOf("addons")) {
		n.podSubnets = t.addonReferences(r)
	}
	text, err := t.text(r, "pod_cidr")
	n.podCIDR = term{"pod_cidr", text}
	return n, err
}

// addonReferences lists the vSwitches that an addon's unfinished configuration
// refers to. Finding none leaves the pod subnets unknown.
func (t *tfDocument) addonReferences(r *tfResource) []string {
	found, ok := t.follow(t.scopeOf(r), references(t.expression(r, "addons")))
	if !ok {
		return nil
	}
	known := map[string]bool{}
	for _, s := range t.of("alicloud_vswitch") {
		known[s.id()] = true
	}
	return slices.DeleteFunc(found, func(id string) bool { return !known[id] && !strings.HasPrefix(id, "vsw-") })
}

// tfNodePools reads alicloud_cs_kubernetes_node_pool.
func (b *builder) tfNodePools(t *tfDocument) error {
	for _, r := range t.of("alicloud_cs_kubernetes_node_pool") {
		owner, err := t.needed(r, "cluster_id")
		if err != nil {
			return err
		}
		piece := cluster{Cluster: Cluster{ID: owner, Origin: Terraform, Place: t.place(r)}}
		piece.subnetIDs, err = t.texts(r, "vswitch_ids")
		if err != nil {
			return err
		}
		pool := NodePool{ID: r.poolID(owner), Place: t.place(r)}
		for _, name := range []string{"node_pool_name", "name"} {
			if text, ok := r.Values[name].(string); ok && pool.Title == "" {
				pool.Title = text
			}
		}
		for _, name := range []string{"security_group_ids", "security_group_id"} {
			ids, err := t.texts(r, name)
			if err != nil {
				return err
			}
			if len(pool.Groups) == 0 {
				pool.Groups = mergeIDs(ids)
			}
		}
		piece.Pools = []NodePool{pool}
		b.clusters = append(b.clusters, piece)
	}
	return nil
}

// poolID returns the pool's own id. The resource's is CLUSTER:POOL.
func (r *tfResource) poolID(owner string) string {
	if id, ok := r.Values["node_pool_id"].(string); ok && id != "" {
		return id
	}
	return strings.TrimPrefix(r.id(), owner+":")
}
