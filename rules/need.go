package rules

// A Need is a flow that something cannot do without, told from the host that
// wears the group.
type Need struct {
	// ID is the profile's row, such as AI-L3; several needs may share one.
	ID        string
	Direction Direction
	Protocol  Protocol
	// Ports are destination ports. Zero iff the protocol has none.
	Ports PortRange
	// Peer is who must be able to reach the host, or be reached. A prefix
	// list is resolved by the lists of the Ruleset that the need is held against.
	Peer Peer
	// Component is what uses the flow, such as "kubelet".
	Component string
	// Why says in one sentence what breaks without the flow.
	Why string
	// Source is the row of the table, or the object, that the need comes from.
	Source string
}

// An Exempt is traffic that a host lets through in both directions before any
// group is asked: what a machine cannot live without and no user should write
// rules for.
type Exempt struct {
	// Name identifies the entry in explanations.
	Name     string
	Protocol Protocol
	// Ports are destination ports. Valid iff the protocol has ports.
	Ports PortRange
	// FirstType and LastType are ICMP types, both included. Valid iff the
	// protocol is ICMP or ICMPv6.
	FirstType, LastType uint8
	// Peer limits the entry to some remote addresses; nil means all.
	Peer Peer
	// HopLimit255 demands that the packet was not routed. Only the kernel can
	// see this; [Evaluate] takes it as given.
	HopLimit255 bool
	Why         string
}
