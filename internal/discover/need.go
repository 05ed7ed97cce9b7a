package discover

import (
	"cmp"
	"net/netip"
	"slices"

	"ringfence.dev/ringfence/rules"
)

// A Class says what breaks without a need. The zero value is the weakest.
type Class uint8

const (
	// Optional is what somebody declared, and nothing is known to depend on.
	Optional Class = iota
	// Expected is what a component breaks without.
	Expected
	// Essential is what the cluster breaks without.
	Essential
)

// String returns "optional", "expected" or "essential".
func (c Class) String() string {
	return [...]string{Optional: "optional", Expected: "expected", Essential: "essential"}[c]
}

// A Wire says what a need looks like to the firewall of a host that it passes.
type Wire uint8

const (
	// WireUnknown is a need with a pod at an end whose network is not known.
	WireUnknown Wire = iota
	// Host is a need between addresses of hosts, or of others outside.
	Host
	// RoutedPod is a need in which a pod's own address is on the wire.
	RoutedPod
	// Overlay is a need that is wrapped into another one, which Need.In names:
	// it makes no rule.
	Overlay
)

// String returns "unknown", "host", "routed-pod" or "overlay".
func (w Wire) String() string {
	return [...]string{WireUnknown: "unknown", Host: "host", RoutedPod: "routed-pod", Overlay: "overlay"}[w]
}

// A PartyKind is what kind of end a need has.
type PartyKind uint8

// The kinds of party. Those of the second group have a name, Nodes may have one.
const (
	Anywhere PartyKind = iota
	APIServer
	ControlPlane
	Nodes
	AllPods

	// Pods are those behind a Service or of a workload: KIND NAMESPACE/NAME.
	Pods
	// Hosts are the nodes on which such pods are.
	Hosts
	// LoadBalancer is what spreads the traffic of a Service, NAMESPACE/NAME.
	LoadBalancer
	// CIDR is a range of addresses outside, its name.
	CIDR
	// Address is one that nodes take traffic for without having it.
	Address
	// External is a host outside, by its name or address.
	External
)

// A Party is one end of a need. Parties are comparable: equal ones are the same.
type Party struct {
	Kind PartyKind
	// Name tells parties of a kind apart. Empty where there is one only.
	Name string
}

// String returns the words for people, such as "pods of Service web/shop".
func (p Party) String() string {
	switch p.Kind {
	case Anywhere:
		return "anywhere"
	case APIServer:
		return "API server"
	case ControlPlane:
		return "control-plane nodes"
	case Nodes:
		if p.Name != "" {
			return "nodes with " + p.Name
		}
		return "nodes"
	case AllPods:
		return "all pods"
	case Pods:
		return "pods of " + p.Name
	case Hosts:
		return "hosts of " + p.Name
	case LoadBalancer:
		return "load balancer of " + p.Name
	case CIDR, External:
		return p.Name
	case Address:
		return p.Name + " on nodes"
	}
	return p.Name
}

// A Ref names an object of the cluster.
type Ref struct {
	Kind string
	// Namespace is empty for objects of no namespace.
	Namespace, Name string
}

// String returns KIND NAMESPACE/NAME.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

func (r Ref) compare(o Ref) int {
	return cmp.Or(cmp.Compare(r.Kind, o.Kind), cmp.Compare(r.Namespace, o.Namespace), cmp.Compare(r.Name, o.Name))
}

// Evidence is a field of an object because of which there is a need.
type Evidence struct {
	Object Ref
	// Field is a JSON pointer within the object.
	Field string
	// Place is where the object was read: FILE:LINE or FILE: POINTER; empty for
	// an object of an API server.
	Place string
}

// maxEvidence is how much evidence a need or an unknown keeps.
const maxEvidence = 8

// A Because is why something is so: the first few pieces of evidence, in order.
type Because struct {
	Evidence []Evidence
	// More is how many pieces were left out.
	More int
}

// Cause returns the piece that asks, such as a webhook configuration, rather than
// one that answers, such as its Service; zero if there is none at all.
func (b *Because) Cause() Evidence {
	answers := append(podKinds(), "Service", "EndpointSlice", "Endpoints", "Node")
	i := slices.IndexFunc(b.Evidence, func(e Evidence) bool { return !slices.Contains(answers, e.Object.Kind) })
	switch {
	case i >= 0:
		return b.Evidence[i]
	case len(b.Evidence) > 0:
		return b.Evidence[0]
	}
	return Evidence{}
}

// A Need is a flow that something in the cluster cannot do without.
type Need struct {
	From, To Party
	Protocol rules.Protocol
	// Ports are destination ports. Zero iff the protocol has none.
	Ports rules.PortRange
	Class Class
	Wire  Wire
	// In is what carries the need, such as "VXLAN udp/8472": set iff Wire is Overlay.
	In string
	// Why says in a few words what breaks without the need.
	Why string
	// Logs is what the API server logs, or answers, while the need is not met;
	// empty if nothing that tells.
	Logs    string
	Because Because
}

// An Unknown is something that the objects do not tell, though a need may hang
// on it. Whoever opens and closes ports closes nothing that it may be about.
type Unknown struct {
	// About is what is not known, such as "the ports of Service web/shop".
	About string
	// Why says what is missing, Tell what would tell.
	Why, Tell string
	// Unread is set if it is a whole kind of object that could not be read.
	Unread  bool
	Because Because
}

// A Finding is a field that is there and makes no sense.
type Finding struct {
	Object Ref
	// Place is where: FILE:LINE: POINTER.
	Place string
	Why   string
}

// A Located is a party with its addresses, as far as they are known.
type Located struct {
	Party Party
	// Prefixes are sorted, without duplicates.
	Prefixes []netip.Prefix
}

// A Report is what [Cluster.Derive] found, all of it in a fixed order.
type Report struct {
	Needs    []Need
	Unknown  []Unknown
	Findings []Finding
	// Parties are those of Needs with known addresses, and the nodes, the API
	// server and the ranges of pods.
	Parties []Located
	// Network is how pods reach each other between hosts.
	Network Network
	// Changes are those since the last report of the same cluster, which was empty
	// before the first.
	Changes Changes
}

// A Network is how pods reach each other between hosts, by the configuration of
// what makes them so. The zero value is not known.
type Network struct {
	// Mode is the network plugin, as in a Cluster object.
	Mode string
	// Encapsulation is how packets are wrapped, as in a Cluster object: None where
	// pods' own addresses are on the wire.
	Encapsulation string
	// Port is where wrapped packets go; 0 for a protocol without ports.
	Port uint16
}
