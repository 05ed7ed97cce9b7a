package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// A facts holds the flags that tell what no file does. They apply to every
// cluster of the files, or to the one that --cluster names.
type facts struct {
	cluster, group, groupType, innerAccess string
	mode, encapsulation                    string
	vpc, secondary, nodes, pods, podCIDRs  []string
	apiServer, expose                      []string
	webhooks                               []uint
	admin, ntp, metadata                   []string
	nodePortsFrom, healthChecksFrom        []string
	poseidon, bgp, etcd, dhcp              bool

	// seen is set if a running cluster tells what no file does.
	seen bool
	// only is the ID of the cluster that the flag means; empty for all.
	only string
}

func (f *facts) register(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.cluster, "cluster", "", "the cluster to look at, by name or id (default: all)")
	fl.StringVar(&f.group, "group", "", "the group that the cluster uses, if no file tells")
	fl.StringVar(&f.groupType, "group-type", "", "basic or advanced, if no file tells")
	fl.StringVar(&f.innerAccess, "inner-access", "", "accept or drop: inner access of a basic group, if no file tells")
	fl.StringVar(&f.mode, "network-mode", "", "Terway, Flannel, Calico, Cilium, Antrea, OVNKubernetes, KubeRouter or Other")
	fl.StringVar(&f.encapsulation, "encapsulation", "", "None, VXLAN, Geneve, IPIP or WireGuard (default: the mode's own)")
	fl.StringSliceVar(&f.vpc, "vpc-cidr", nil, "primary CIDRs of the VPC")
	fl.StringSliceVar(&f.secondary, "secondary-cidr", nil, "secondary CIDRs of the VPC")
	fl.StringSliceVar(&f.nodes, "node-subnets", nil, "CIDRs of the nodes' vSwitches")
	fl.StringSliceVar(&f.pods, "pod-subnets", nil, "CIDRs of the pods' vSwitches (Terway)")
	fl.StringSliceVar(&f.podCIDRs, "pod-cidrs", nil, "the cluster's pod CIDRs (all modes but Terway)")
	fl.StringSliceVar(&f.apiServer, "api-server", nil, "addresses of the API server's load balancer, ADDRESS or ADDRESS:PORT")
	fl.UintSliceVar(&f.webhooks, "webhook-ports", nil, "ports that admission webhooks listen on, such as Gatekeeper's 8443")
	fl.StringArrayVar(&f.expose, "expose", nil, "what somebody must reach, PROTOCOL:FIRST/LAST:CIDR such as TCP:443/443:0.0.0.0/0; may be repeated")
	fl.StringSliceVar(&f.admin, "admin-cidrs", nil, "where SSH sessions come from")
	fl.StringSliceVar(&f.ntp, "ntp-servers", nil, "time servers outside")
	fl.StringSliceVar(&f.metadata, "metadata-addresses", nil, "instance metadata service")
	fl.StringSliceVar(&f.nodePortsFrom, "node-ports-from", nil, "CIDRs that reach NodePorts 30000-32767")
	fl.StringSliceVar(&f.healthChecksFrom, "health-checks-from", nil, "load balancers that probe nodes")
	fl.BoolVar(&f.poseidon, "poseidon", false, "the Poseidon network policy component is installed")
	fl.BoolVar(&f.bgp, "bgp", false, "nodes exchange routes by BGP")
	fl.BoolVar(&f.etcd, "etcd", false, "members of etcd run in the cluster's groups")
	fl.BoolVar(&f.dhcp, "dhcp", false, "nodes get their addresses by DHCP")
	for flag, values := range map[string][]string{
		"group-type": {"basic", "advanced"}, "inner-access": {"accept", "drop"},
		"network-mode": words(profiles.NetworkModes()), "encapsulation": words(profiles.Encapsulations()),
	} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}

func words[T ~string](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

// applyFacts writes the flags over what the files tell. It works on a copy.
func (f *facts) applyFacts(c *cobra.Command, inv *convert.Inventory) (*convert.Inventory, error) {
	out := *inv
	out.Clusters = slices.Clone(inv.Clusters)
	if err := f.applyGroups(&out); err != nil {
		return nil, err
	}
	if len(out.Clusters) == 0 {
		if err := f.imagine(c, &out); err != nil {
			return nil, err
		}
	}
	if f.cluster != "" {
		c, ok := out.Cluster(f.cluster)
		if !ok {
			return nil, fmt.Errorf("no cluster %q in the files, or several: there is %s", f.cluster, clusterNames(&out))
		}
		f.only = c.ID
	}
	for i := range out.Clusters {
		if c := &out.Clusters[i]; f.only == "" || c.ID == f.only {
			if err := f.applyCluster(c); err != nil {
				return nil, err
			}
		}
	}
	return &out, nil
}

// meant returns the cluster that --cluster names, or the only one.
func (f *facts) meant(c *cobra.Command, inv *convert.Inventory) (*convert.Cluster, error) {
	if cluster, ok := inv.Cluster(f.only); ok {
		return cluster, nil
	}
	if len(inv.Clusters) != 1 {
		return nil, usageError(c, "the files hold %d clusters (%s): say which one with --cluster", len(inv.Clusters), clusterNames(inv))
	}
	return &inv.Clusters[0], nil
}

func clusterNames(inv *convert.Inventory) string {
	names := make([]string, 0, len(inv.Clusters))
	for i := range inv.Clusters {
		name := inv.Clusters[i].Title
		if _, ok := inv.Cluster(name); !ok { // one of several
			name += " (" + inv.Clusters[i].ID + ")"
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// applyGroups gives groups whose type no file tells the type and the inner
// access of the flags, in a copy.
func (f *facts) applyGroups(inv *convert.Inventory) error {
	inner, err := f.inner()
	if err != nil || f.groupType == "" {
		return err
	}
	t, err := parseGroupType(f.groupType)
	if err != nil {
		return err
	}
	inv.Groups = slices.Clone(inv.Groups)
	for i := range inv.Groups {
		g := &inv.Groups[i]
		if !g.TypeUnknown {
			continue
		}
		g.Type, g.TypeUnknown = t, false
		if g.InnerUnknown && t == rules.Basic {
			if inner == nil {
				return fmt.Errorf("%s: no file tells the inner access of group %s: say --inner-access accept or drop", g.Place, g.Name)
			}
			g.InnerAccess, g.InnerUnknown = *inner, false
		}
		if err := g.Validate(); err != nil {
			return fmt.Errorf("%s: group %s is no %s group: %w", g.Place, g.Name, t, err)
		}
	}
	return nil
}

// inner returns what the flag says about inner access; nil if nothing.
func (f *facts) inner() (*bool, error) {
	accept := strings.EqualFold(f.innerAccess, "accept")
	switch {
	case f.innerAccess == "":
		return nil, nil
	case !accept && !strings.EqualFold(f.innerAccess, "drop"):
		return nil, fmt.Errorf("--inner-access %q: want accept or drop", f.innerAccess)
	}
	return &accept, nil
}

func parseGroupType(s string) (rules.GroupType, error) {
	switch strings.ToLower(s) {
	case "basic", "normal":
		return rules.Basic, nil
	case "advanced", "enterprise":
		return rules.Advanced, nil
	}
	return 0, fmt.Errorf("--group-type %q: want basic or advanced", s)
}

// imagine adds a cluster that only flags describe, for exports without one.
func (f *facts) imagine(c *cobra.Command, inv *convert.Inventory) error {
	if f.mode == "" && !f.seen {
		return usageError(c, "no file describes a cluster, so nothing says what the groups must let through: add the output of CS DescribeClusterDetail or a Cluster manifest, the objects of the running cluster with --needs, or describe it with --network-mode, --node-subnets and so on")
	}
	group := f.group
	if group == "" {
		if len(inv.Groups) > 1 {
			return usageError(c, "the files hold %d groups and no cluster: say which one is the cluster's with --group", len(inv.Groups))
		}
		if len(inv.Groups) == 1 {
			group = inv.Groups[0].Name
		}
	}
	cluster := convert.Cluster{ID: "cluster", Title: "cluster", Group: group, Origin: convert.Cloud, Unknown: []convert.Fact{convert.FactMode, convert.FactNodeSubnets, convert.FactAPIServer, convert.FactVPC}}
	if f.seen {
		cluster.Unknown = append(cluster.Unknown, convert.FactPodCIDRs)
	}
	if g, ok := inv.Group(group); ok {
		cluster.VPC, cluster.Origin = g.VPC, g.Origin
		fromVPC(&cluster, inv)
	} else if group != "" {
		return fmt.Errorf("--group %s: no file holds that group", group)
	}
	inv.Clusters = []convert.Cluster{cluster}
	return nil
}

// fromVPC takes what the files tell about the network of an imagined cluster.
func fromVPC(c *convert.Cluster, inv *convert.Inventory) {
	for _, v := range inv.VPCs {
		if v.ID == c.VPC {
			c.Facts.VPC, c.Facts.SecondaryVPC = v.CIDRs, v.Secondary
			known(c, convert.FactVPC)
		}
	}
	for _, s := range inv.Subnets {
		if s.VPC == c.VPC {
			c.Facts.NodeSubnets = append(c.Facts.NodeSubnets, s.CIDRs...)
			known(c, convert.FactNodeSubnets)
		}
	}
}

// applyCluster writes the flags into one cluster's facts.
func (f *facts) applyCluster(c *convert.Cluster) error {
	c.Unknown = slices.Clone(c.Unknown)
	if f.group != "" && c.Group == "" {
		c.Group = f.group
	}
	if f.mode != "" {
		c.Facts.Mode = canonical(f.mode, profiles.NetworkModes())
		known(c, convert.FactMode)
	}
	if f.encapsulation != "" {
		c.Facts.Encapsulation = canonical(f.encapsulation, profiles.Encapsulations())
	}
	if err := f.applyLists(c); err != nil {
		return err
	}
	if err := f.applyAPIServer(c); err != nil {
		return err
	}
	for _, p := range f.webhooks {
		if p < 1 || p > 65535 {
			return fmt.Errorf("--webhook-ports %d: want 1 to 65535", p)
		}
		if port := uint16(p); !slices.Contains(c.Facts.WebhookPorts, port) {
			c.Facts.WebhookPorts = append(slices.Clone(c.Facts.WebhookPorts), port)
		}
	}
	c.Facts.Poseidon = c.Facts.Poseidon || f.poseidon
	c.Facts.BGP = c.Facts.BGP || f.bgp
	c.Facts.Etcd = c.Facts.Etcd || f.etcd
	c.Facts.DHCP = c.Facts.DHCP || f.dhcp
	return f.applyExposures(c)
}

// canonical returns the value that equals s in any case, or s.
func canonical[T ~string](s string, values []T) T {
	for _, v := range values {
		if strings.EqualFold(s, string(v)) {
			return v
		}
	}
	return T(s)
}

// known removes a fact from those that no file tells.
func known(c *convert.Cluster, fact convert.Fact) {
	c.Unknown = slices.DeleteFunc(c.Unknown, func(u convert.Fact) bool { return u == fact })
}

func (f *facts) applyLists(c *convert.Cluster) error {
	for _, l := range []struct {
		flag   string
		values []string
		to     *[]rules.CIDR
		fact   convert.Fact
	}{
		{"vpc-cidr", f.vpc, &c.Facts.VPC, convert.FactVPC},
		{"secondary-cidr", f.secondary, &c.Facts.SecondaryVPC, ""},
		{"node-subnets", f.nodes, &c.Facts.NodeSubnets, convert.FactNodeSubnets},
		{"pod-subnets", f.pods, &c.Facts.PodSubnets, convert.FactPodSubnets},
		{"pod-cidrs", f.podCIDRs, &c.Facts.PodCIDRs, convert.FactPodCIDRs},
		{"admin-cidrs", f.admin, &c.Facts.AdminCIDRs, ""},
		{"ntp-servers", f.ntp, &c.Facts.NTPServers, ""},
		{"metadata-addresses", f.metadata, &c.Facts.Metadata, ""},
		{"health-checks-from", f.healthChecksFrom, &c.Facts.HealthCheckPeers, ""},
	} {
		if len(l.values) == 0 {
			continue
		}
		cidrs, err := parseCIDRs(l.flag, l.values)
		if err != nil {
			return err
		}
		*l.to = cidrs
		known(c, l.fact)
	}
	if len(f.nodePortsFrom) > 0 {
		cidrs, err := parseCIDRs("node-ports-from", f.nodePortsFrom)
		if err != nil {
			return err
		}
		c.Facts.NodePorts = &profiles.NodePorts{Peers: cidrs}
	}
	return nil
}

func parseCIDRs(flag string, values []string) ([]rules.CIDR, error) {
	var out []rules.CIDR
	for _, v := range values {
		c, err := rules.ParseCIDR(v)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func (f *facts) applyAPIServer(c *convert.Cluster) error {
	if len(f.apiServer) == 0 {
		return nil
	}
	c.Facts.APIServer = nil
	for _, text := range f.apiServer {
		if ap, err := netip.ParseAddrPort(text); err == nil && ap.Port() > 0 {
			c.Facts.APIServerPort = ap.Port()
			text = ap.Addr().String()
		}
		cidr, err := rules.ParseCIDR(text)
		if err != nil || !cidr.Prefix.IsSingleIP() {
			return fmt.Errorf("--api-server %q: want ADDRESS or ADDRESS:PORT", text)
		}
		c.Facts.APIServer = append(c.Facts.APIServer, cidr)
	}
	known(c, convert.FactAPIServer)
	return nil
}

func (f *facts) applyExposures(c *convert.Cluster) error {
	c.Facts.Exposures = slices.Clone(c.Facts.Exposures)
	for _, text := range f.expose {
		e, err := parseExposure(text)
		if err != nil {
			return fmt.Errorf("--expose %q: want PROTOCOL:FIRST/LAST:CIDR, such as TCP:443/443:0.0.0.0/0: %w", text, err)
		}
		c.Facts.Exposures = append(c.Facts.Exposures, e)
	}
	return nil
}

func parseExposure(text string) (profiles.Exposure, error) {
	parts := strings.SplitN(text, ":", 3)
	if len(parts) != 3 {
		return profiles.Exposure{}, errors.New("three parts with colons between")
	}
	protocol, err := rules.ParseProtocol(parts[0])
	if err != nil {
		return profiles.Exposure{}, err
	}
	if _, err := strconv.Atoi(parts[1]); err == nil { // a single port will do here
		parts[1] += "/" + parts[1]
	}
	ports, err := rules.ParsePortRange(parts[1])
	if err != nil {
		return profiles.Exposure{}, err
	}
	peer, err := rules.ParseCIDR(parts[2])
	return profiles.Exposure{Protocol: protocol, Ports: ports, Peers: []rules.Peer{peer}}, err
}
