package profiles

import (
	"slices"

	"ringfence.dev/ringfence/rules"
)

// A Row is one line of a table: a set of flows that a cluster needs, or one
// that its group must refuse.
type Row struct {
	// ID identifies the row over all tables, such as AI-L3. Rules, needs and
	// findings carry it.
	ID string
	// File and Line say where the row stands in the data.
	File string
	Line int

	// GroupTypes are the types of group that the row is for. Never empty.
	GroupTypes []rules.GroupType
	Direction  rules.Direction
	Scope      Scope
	// When lists what must hold for the row to apply; all of it.
	When []Condition

	// Action is Accept but for the rows that close what an earlier default
	// left open; those have no needs.
	Action   rules.Action
	Priority uint8
	// Protocols are empty iff the row is about exposures, which bring their own.
	Protocols []rules.Protocol
	// Ports are empty iff the protocols have none.
	Ports []Port
	// Family restricts the row to peers of one address family; empty means both.
	Family Family
	// Peers are never empty; where PeersOf is set they are that row's.
	Peers []Symbol
	// PeersOf names the row whose peer cell this row shares.
	PeersOf string

	// Component is what uses the flows, Why what breaks without the row, as a
	// clause. Set iff Ports are empty; otherwise each port has its own.
	Component, Why string
	// Seed says in words which row of ACK's page this one restates, and Page
	// which version of the page; both are empty for a row that is not there.
	Seed, Page string
	// Source says where a row comes from that ACK's page does not have; empty
	// iff Seed is set.
	Source string
	// Readings number the ambiguities of ACK's page that the row settles.
	Readings []int
	Note     string
}

// Origin says where the row comes from, in words.
func (r *Row) Origin() string {
	if r.Seed == "" {
		return r.Source
	}
	return r.Seed + "; page of " + r.Page
}

// exposes reports whether ports and peers come from the facts' exposures.
func (r *Row) exposes() bool { return slices.Contains(r.Peers, PeerExposures) }

// A Port is one entry of a row's list of ports.
type Port struct {
	// Range is fixed ports, or what Symbol falls back to. Zero iff the symbol
	// has no such default.
	Range rules.PortRange
	// Symbol names ports that the facts resolve; empty for fixed ones.
	Symbol PortSymbol
	// When lists what must hold for this port alone.
	When []Condition
	// Legacy marks ports that only old components listen on.
	Legacy bool
	// Component is what listens, Why what breaks without it. Never empty.
	Component, Why string
}

// A Symbol is a row's peer: one of the constants, which the facts resolve, or
// a CIDR as text.
type Symbol string

// The symbols for peers.
const (
	PeerClusterGroup Symbol = "$SG"       // the cluster's default group
	PeerPodCIDRs     Symbol = "$POD"      // pod CIDRs, where pod addresses appear on the wire
	PeerVSwitches    Symbol = "$VSW"      // node subnets, then pod subnets
	PeerVPC          Symbol = "$VPC"      // primary CIDRs of the VPC
	PeerSecondaryVPC Symbol = "$VPC2"     // secondary CIDRs of the VPC
	PeerAPIServer    Symbol = "$APISLB"   // the API server's load balancer
	PeerExposures    Symbol = "$EXP"      // whom each exposure names
	PeerAnyIPv4      Symbol = "$ANY4"     // 0.0.0.0/0
	PeerAnyIPv6      Symbol = "$ANY6"     // ::/0, in dual-stack clusters
	PeerNodes        Symbol = "$NODES"    // node subnets
	PeerNodePorts    Symbol = "$NODEPORT" // clients of NodePorts
	PeerHealthChecks Symbol = "$HEALTH"   // load balancers that probe
	PeerAdmins       Symbol = "$ADMIN"    // administrators
	PeerNTP          Symbol = "$NTP"      // time servers
	PeerMetadata     Symbol = "$META"     // instance metadata
	PeerCallers      Symbol = "$CALLERS"  // hosts of the API server, as seen
)

func symbols() []Symbol {
	return []Symbol{
		PeerClusterGroup, PeerPodCIDRs, PeerVSwitches, PeerVPC, PeerSecondaryVPC, PeerAPIServer, PeerExposures,
		PeerAnyIPv4, PeerAnyIPv6, PeerNodes, PeerNodePorts, PeerHealthChecks, PeerAdmins, PeerNTP, PeerMetadata, PeerCallers,
	}
}

// A PortSymbol names ports that the facts resolve.
type PortSymbol string

// The symbols for ports.
const (
	PortsWebhooks     PortSymbol = "WebhookPorts"
	PortsAPIServer    PortSymbol = "APIServerPort" // none where it is 6443 or 443
	PortsExposures    PortSymbol = "ExposurePorts"
	PortsNodePorts    PortSymbol = "NodePorts"
	PortsHealthChecks PortSymbol = "HealthCheckPorts"
	PortsOverlay      PortSymbol = "OverlayPort"
	PortsOverlayIPv6  PortSymbol = "OverlayPortIPv6" // WireGuard's second device
	PortsHooks        PortSymbol = "HookPorts"
)

func portSymbols() []PortSymbol {
	return []PortSymbol{
		PortsWebhooks, PortsAPIServer, PortsExposures, PortsNodePorts, PortsHealthChecks, PortsOverlay, PortsOverlayIPv6, PortsHooks,
	}
}

// hasDefault reports whether the facts may leave s open.
func (s PortSymbol) hasDefault() bool { return s == PortsNodePorts || s == PortsHealthChecks }

// A Condition is something about a cluster that must hold for a row or port.
type Condition string

// The conditions.
const (
	IfPoseidon  Condition = "Poseidon"
	IfVXLAN     Condition = "VXLAN"
	IfGeneve    Condition = "Geneve"
	IfIPIP      Condition = "IPIP"
	IfWireGuard Condition = "WireGuard"
	IfIPv6Nodes Condition = "IPv6Nodes"
	IfDualStack Condition = "DualStack"
	IfBGP       Condition = "BGP"
	IfEtcd      Condition = "Etcd"
	IfDHCP      Condition = "DHCP"
)

func conditions() []Condition {
	return []Condition{
		IfPoseidon, IfVXLAN, IfGeneve, IfIPIP, IfWireGuard, IfIPv6Nodes, IfDualStack, IfBGP, IfEtcd, IfDHCP,
	}
}

// A Family is an address family; the empty one means both.
type Family string

// The address families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// Tables are the rows of all tables, as loaded. They do not change.
type Tables struct {
	rows     []Row
	exempt   []rules.Exempt
	keep     []keepRow
	networks map[NetworkMode]network
}

// A network is what is known of a network mode.
type network struct {
	encapsulation Encapsulation
	// ports are where each encapsulation listens; UDP.
	ports map[Encapsulation]uint16
	// wireGuardIPv6 is where WireGuard listens for IPv6.
	wireGuardIPv6 uint16
	// bareIPv6 is the encapsulation that leaves IPv6 unwrapped; empty if none does.
	bareIPv6 Encapsulation
}

// Rows returns all rows in the order of the tables.
func (t *Tables) Rows() []Row { return slices.Clone(t.rows) }

// Exempt returns what an own host lets through before any group is asked.
func (t *Tables) Exempt() []rules.Exempt { return slices.Clone(t.exempt) }

// Encapsulation returns how the cluster's pod traffic is wrapped: what the
// facts say or else the mode's default. The mode must be a known one.
func (t *Tables) Encapsulation(f *Facts) Encapsulation {
	if f.Encapsulation != "" {
		return f.Encapsulation
	}
	return t.networks[f.Mode].encapsulation
}
