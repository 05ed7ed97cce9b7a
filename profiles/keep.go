package profiles

import (
	"cmp"
	"io/fs"
	"slices"

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/rules"
)

// A Keep is a flow that certain hosts may not lose, told from the host.
type Keep struct {
	// Row is the row that says why the flow is needed, such as AI-L3.
	Row string
	// Roles are those of the hosts that need it, one of them: APIServer or
	// Etcd. None means every host of the cluster.
	Roles     []string
	Direction rules.Direction
	Protocol  rules.Protocol
	// Ports are destination ports. Zero iff the protocol has none.
	Ports rules.PortRange
	// Peers are who is on the other end, sorted, each once. Never empty.
	Peers []rules.CIDR
	// Component is what uses the flow.
	Component string
}

// The roles that rows of keep.yaml may name.
const (
	roleAPIServer = "APIServer"
	roleEtcd      = "Etcd"
)

// A keepPeer is a symbol for the other end in keep.yaml.
type keepPeer string

const (
	keepAPIServer keepPeer = "$APISLB"
	keepNodes     keepPeer = "$NODES"
	keepAPIHosts  keepPeer = "$APIHOSTS"
	keepEtcdHosts keepPeer = "$ETCDHOSTS"
)

// A keepRow is an entry of keep.yaml.
type keepRow struct {
	rows      []*Row
	roles     []string
	ports     rules.PortRange // zero: where the API server listens
	peers     []keepPeer
	component string
}

// Keep returns what the hosts of a cluster may not lose while they wear groups
// of the facts' type, in the order of the table. The addresses of the hosts
// with role APIServer and of those with role Etcd may be empty: then wider
// facts stand in. What no fact gives a peer for is left out.
func (t *Tables) Keep(f *Facts, apiServers, etcd []rules.CIDR) []Keep {
	var out []Keep
	facts := *f
	facts.Etcd = f.Etcd || len(etcd) > 0
	k := keeper{facts: &facts, apiServers: apiServers, etcd: etcd}
	for i := range t.keep {
		out = append(out, k.row(&t.keep[i])...)
	}
	return out
}

type keeper struct {
	facts            *Facts
	apiServers, etcd []rules.CIDR
}

func (k *keeper) row(in *keepRow) []Keep {
	var out []Keep
	for _, r := range in.rows {
		conditions := expander{facts: k.facts}
		off := slices.ContainsFunc(r.When, func(c Condition) bool { return !conditions.holds(c) })
		peers := k.peers(in.peers)
		if off || len(peers) == 0 || !slices.Contains(r.GroupTypes, k.facts.GroupType) {
			continue
		}
		ports := in.ports
		if ports.IsZero() {
			api := cmp.Or(k.facts.APIServerPort, 6443)
			ports = rules.PortRange{First: api, Last: api}
		}
		for _, p := range r.Protocols {
			out = append(out, Keep{
				Row: r.ID, Roles: slices.Clone(in.roles), Direction: r.Direction, Protocol: p, Ports: ports,
				Peers: peers, Component: in.component,
			})
		}
	}
	return out
}

func (k *keeper) peers(list []keepPeer) []rules.CIDR {
	var out []rules.CIDR
	for _, s := range list {
		out = append(out, k.peer(s)...)
	}
	slices.SortFunc(out, func(a, b rules.CIDR) int { return a.Prefix.Compare(b.Prefix) })
	return slices.CompactFunc(out, func(a, b rules.CIDR) bool { return a.Prefix == b.Prefix })
}

func (k *keeper) peer(s keepPeer) []rules.CIDR {
	switch {
	case s == keepAPIHosts && len(k.apiServers) > 0:
		return k.apiServers
	case s == keepEtcdHosts && len(k.etcd) > 0:
		return k.etcd
	case s == keepAPIHosts || s == keepAPIServer:
		return k.facts.APIServer
	}
	return k.facts.NodeSubnets
}

// loadKeep reads keep.yaml, whose rows are among those of the other tables.
func loadKeep(fsys fs.FS, file string, rows []Row) ([]keepRow, error) {
	var table struct {
		Keep []yaml.Node `yaml:"keep"`
	}
	if err := readYAML(fsys, file, &table); err != nil {
		return nil, err
	}
	var out []keepRow
	var p problems
	for i := range table.Keep {
		row, err := parseKeep(&table.Keep[i], rows)
		if err != nil {
			p.addf("%s:%d: %w", file, table.Keep[i].Line, err)
		}
		out = append(out, row)
	}
	return out, p.join()
}

func parseKeep(n *yaml.Node, rows []Row) (keepRow, error) {
	var raw struct {
		Rows      []string   `yaml:"rows"`
		Ports     string     `yaml:"ports"`
		Roles     []string   `yaml:"roles"`
		Peers     []keepPeer `yaml:"peers"`
		Component string     `yaml:"component"`
	}
	if err := decodeStrict(n, &raw); err != nil {
		return keepRow{}, err
	}
	var p problems
	out := keepRow{roles: raw.Roles, peers: raw.Peers, component: raw.Component}
	if raw.Ports != string(PortsAPIServer) {
		var err error
		out.ports, err = rules.ParsePortRange(raw.Ports)
		p.add(err)
	}
	for _, id := range raw.Rows {
		i := slices.IndexFunc(rows, func(r Row) bool { return r.ID == id })
		if i < 0 || rows[i].Action != rules.Accept || len(rows[i].Protocols) == 0 {
			p.addf("row %s: want the id of a row that accepts, with protocols", id)
			continue
		}
		out.rows = append(out.rows, &rows[i])
	}
	for _, role := range raw.Roles {
		p.add(known("role", role, []string{roleAPIServer, roleEtcd}))
	}
	for _, s := range raw.Peers {
		p.add(known("peer", s, []keepPeer{keepAPIServer, keepNodes, keepAPIHosts, keepEtcdHosts}))
	}
	if len(raw.Rows) == 0 || len(raw.Peers) == 0 || raw.Component == "" {
		p.addf("want rows, peers and a component")
	}
	return out, p.join()
}
