package judge

import (
	"fmt"
	"net/netip"
	"slices"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// Observe returns the inventory with what running clusters, by ID, tell about
// themselves where no file does: network mode, where nodes, pods and the API
// server are, and, of a cluster whose hosts all wear one group of which no file
// knows a member, who they are. What files say is left as it is.
func Observe(inv *convert.Inventory, live map[string]*discover.Report) *convert.Inventory {
	if len(live) == 0 {
		return inv
	}
	clusters, interfaces := slices.Clone(inv.Clusters), slices.Clone(inv.Interfaces)
	members := map[string][]netip.Prefix{}
	for i := range clusters {
		report := live[clusters[i].ID]
		if report == nil {
			continue
		}
		r := newRunning(clusters[i].ID, report)
		r.facts(&clusters[i])
		if nodes := r.places[discover.Party{Kind: discover.Nodes}]; len(nodes) > 0 && nobodyIn(inv, &clusters[i]) {
			members[clusters[i].Group] = nodes
			interfaces = append(interfaces, nodesOf(&clusters[i], nodes)...)
		}
	}
	out := inv.With(nil, clusters, interfaces)
	for i := range out.Groups {
		if list := members[out.Groups[i].Name]; len(list) > 0 {
			out.Groups[i].Members = list
		}
	}
	return out
}

// nobodyIn reports whether all of a cluster wears one group, and no file knows
// who does.
func nobodyIn(inv *convert.Inventory, c *convert.Cluster) bool {
	g, ok := inv.Group(c.Group)
	return ok && len(g.Members) == 0 && len(wornSets(inv, c)) == 1
}

// nodesOf are the nodes of a cluster as its interfaces.
func nodesOf(c *convert.Cluster, nodes []netip.Prefix) []convert.Interface {
	var out []convert.Interface
	for _, p := range nodes {
		out = append(out, convert.Interface{
			ID: "node " + p.Addr().String(), Addresses: []netip.Prefix{p}, Groups: []string{c.Group},
			VPC: c.VPC, Cluster: c.ID, Origin: c.Origin, Place: c.Place,
		})
	}
	return out
}

// facts fills in what no file tells of a cluster.
func (c *running) facts(of *convert.Cluster) {
	of.Unknown = slices.Clone(of.Unknown)
	learn := func(fact convert.Fact, to *[]rules.CIDR, from discover.PartyKind) {
		list := cidrsOf(c.places[discover.Party{Kind: from}])
		if i := slices.Index(of.Unknown, fact); i >= 0 && len(list) > 0 {
			*to, of.Unknown = list, slices.Delete(of.Unknown, i, i+1)
		}
	}
	n := &c.report.Network
	if i := slices.Index(of.Unknown, convert.FactMode); i >= 0 && n.Mode != "" {
		of.Facts.Mode, of.Facts.Encapsulation = profiles.NetworkMode(n.Mode), profiles.Encapsulation(n.Encapsulation)
		of.Facts.EncapsulationPort = n.Port
		of.Unknown = slices.Delete(of.Unknown, i, i+1)
	}
	learn(convert.FactNodeSubnets, &of.Facts.NodeSubnets, discover.Nodes)
	if of.Facts.Mode != profiles.Terway {
		learn(convert.FactPodCIDRs, &of.Facts.PodCIDRs, discover.AllPods)
	}
	learn(convert.FactAPIServer, &of.Facts.APIServer, discover.APIServer)
	if of.Facts.APIServerPort == 0 {
		of.Facts.APIServerPort = c.apiServerPort()
	}
}

// apiServerPort is where nodes reach the API server; 0 if not known.
func (c *running) apiServerPort() uint16 {
	for i := range c.report.Needs {
		if n := &c.report.Needs[i]; n.To.Kind == discover.APIServer && n.From.Kind == discover.Nodes && n.Class == discover.Essential {
			return n.Ports.First
		}
	}
	return 0
}

func cidrsOf(list []netip.Prefix) []rules.CIDR {
	out := make([]rules.CIDR, 0, len(list))
	for _, p := range list {
		out = append(out, rules.CIDR{Prefix: p, Text: textOf(p)})
	}
	return rules.JoinCIDRs(out)
}

// textOf is a CIDR as people write it: an address alone for one.
func textOf(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// contradiction says in which way the network of a running cluster is another
// than the facts have it; empty if it is not, or nobody knows.
func (c *running) contradiction(of *convert.Cluster, tables *profiles.Tables) string {
	n, f := &c.report.Network, &of.Facts
	if n.Mode == "" || unjudgeable(of) {
		return ""
	}
	said, seen := networkText(string(f.Mode), string(tables.Encapsulation(f)), 0), networkText(n.Mode, n.Encapsulation, 0)
	if said == seen && (f.EncapsulationPort == 0 || f.EncapsulationPort == n.Port) {
		return ""
	}
	return fmt.Sprintf("the facts of cluster %s say %s, and its own configuration says %s: needs were looked for by both",
		of.Title, networkText(string(f.Mode), string(tables.Encapsulation(f)), f.EncapsulationPort), networkText(n.Mode, n.Encapsulation, n.Port))
}

func networkText(mode, encapsulation string, port uint16) string {
	text := fmt.Sprintf("network mode %s with encapsulation %s", mode, encapsulation)
	if port != 0 {
		text += fmt.Sprintf(" on port %d", port)
	}
	return text
}
