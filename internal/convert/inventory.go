package convert

import (
	"net/netip"

	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// An Origin says what kind of input an object came from.
type Origin uint8

// The origins.
const (
	// Manifest is a ringfence.dev object: enforced on own hosts.
	Manifest Origin = iota
	// Cloud is an export of Alibaba Cloud's API.
	Cloud
	// Terraform is `terraform show -json`.
	Terraform
)

// An Inventory is all that the files say, cross-checked: every name that
// something refers to is there, and no two objects contradict each other.
// One exception: a rule of a cloud's group may name a group as its peer that
// no file holds.
//
// Every slice is sorted by ID, except rules (as written) and node pools
// (as found, file by file in the order of their names). The order in which
// [Parse] was given the files never matters. An Inventory is not changed after
// [Parse] returned it, and may be read by many goroutines.
type Inventory struct {
	Groups      []Group
	PrefixLists map[string]rules.PrefixList
	VPCs        []VPC
	Subnets     []Subnet // sorted by VPC, then ID
	Clusters    []Cluster
	Interfaces  []Interface

	index index
}

// A Group is a security group with its place and members.
type Group struct {
	rules.Group
	// Title is the display name; may be empty.
	Title  string
	Origin Origin
	// Region is where the cloud's API finds the group; empty if unknown.
	Region string
	Place  Place
	// Members are the addresses of the group's interfaces, sorted, without
	// duplicates. Empty means unknown: no file names a member.
	Members []netip.Prefix
	// IngressPlaces and EgressPlaces are parallel to Ingress and Egress: where
	// each rule stands.
	IngressPlaces, EgressPlaces []Place
	// TypeUnknown is true when the files leave the type open:
	// DescribeSecurityGroupAttribute alone does not tell it.
	TypeUnknown bool
	// RulesUnknown is true when a file names the group but none lists its rules.
	RulesUnknown bool
	// InnerUnknown is true when no file tells the group's inner access. Only
	// together with TypeUnknown: of a basic group it would be an error.
	InnerUnknown bool
}

// Places returns the places of the group's rules of one direction.
func (g *Group) Places(d rules.Direction) []Place {
	if d == rules.Egress {
		return g.EgressPlaces
	}
	return g.IngressPlaces
}

// AppendAt adds a rule with its place at the end of its direction.
func (g *Group) AppendAt(r rules.Rule, place Place) {
	g.Append(r)
	if r.Direction == rules.Egress {
		g.EgressPlaces = append(g.EgressPlaces, place)
		return
	}
	g.IngressPlaces = append(g.IngressPlaces, place)
}

// An Interface is a network interface, an instance or a Host: something that
// has addresses and wears groups.
type Interface struct {
	ID        string
	Addresses []netip.Prefix // sorted, host bits cleared
	Groups    []string       // sorted
	// VPC is the ID of the network; empty if unknown. An address is looked for
	// within one network: two may use the same ones.
	VPC     string
	Cluster string // ID of its cluster; empty if unknown
	// Pool is the ID of its node pool, Roles and Observe what a Host says of
	// itself; zero for what is no Host. Observe counts and logs what the rules
	// drop, and lets it pass.
	Pool    string
	Roles   []string // sorted
	Observe bool
	// Refused are addresses that a Host reports and that are not taken for its
	// own, because they lie outside its pool's subnets or another host has
	// them too. Sorted.
	Refused []netip.Addr
	Origin  Origin
	Place   Place
}

// A VPC is a private network.
type VPC struct {
	ID        string
	CIDRs     []rules.CIDR // primary, both families
	Secondary []rules.CIDR
	Place     Place
}

// A Subnet is a vSwitch.
type Subnet struct {
	ID    string // unique within the VPC
	VPC   string
	CIDRs []rules.CIDR
	Place Place
}

// A Cluster is a Kubernetes cluster with the groups that it uses.
type Cluster struct {
	ID string
	// Title is the display name; may equal ID.
	Title string
	VPC   string
	// Group is the cluster's own group, by ID. Empty if it has yet to be made.
	Group string
	// GroupType and InnerAccess are those of Group where the files tell them,
	// else what the cluster asks for. Profile may be empty when nothing says.
	GroupType   rules.GroupType
	InnerAccess bool
	Profile     profiles.Scope
	// PodGroups are the groups of Terway's pod interfaces where they are not
	// those of the nodes, by ID, in the order written.
	PodGroups []string
	// Facts hold the network facts that the files tell; the fields about
	// groups are empty.
	Facts profiles.Facts
	// Unknown names the facts that the files do not tell, sorted; an empty
	// list in Facts means "none" only if its fact is not named here.
	Unknown []Fact
	Pools   []NodePool
	Origin  Origin
	Place   Place
}

// A Fact names a field of profiles.Facts that may be unknown.
type Fact string

// The facts that exports may leave open.
const (
	FactMode        Fact = "network mode"
	FactVPC         Fact = "VPC CIDR"
	FactNodeSubnets Fact = "node subnets"
	FactPodSubnets  Fact = "pod subnets"
	FactPodCIDRs    Fact = "pod CIDRs"
	FactAPIServer   Fact = "API server address"
)

// A NodePool is a set of nodes with their groups.
type NodePool struct {
	ID    string
	Title string
	// Groups are IDs, in the order written. A pool that names none uses its
	// cluster's. Empty iff the group has yet to be made: the cluster's, or the
	// one that Wants asks for.
	Groups []string
	// Wants is a group of the pool's own that has yet to be made; nil if the
	// pool uses its cluster's group or has Groups.
	Wants *GroupWish
	// Profile is what the pool's own group is made from, or judged by. Empty
	// means the cluster's.
	Profile profiles.Scope
	// Observe counts and logs what the rules drop, and lets it pass.
	Observe bool
	Place   Place
}

// inherit makes a pool that neither names nor wants a group wear its cluster's,
// which is empty if it has yet to be made.
func (p *NodePool) inherit(group string) {
	if len(p.Groups) == 0 && p.Wants == nil && group != "" {
		p.Groups = []string{group}
	}
}

// A GroupWish describes a group that has yet to be made.
type GroupWish struct {
	Type        rules.GroupType
	InnerAccess bool
	// Profile is the cluster's where the pool names none; may be empty.
	Profile profiles.Scope
}
