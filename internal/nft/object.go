package nft

import (
	"fmt"
	"strings"

	"ringfence.dev/ringfence/rules"
	"ringfence.dev/ringfence/rules/flowset"
)

// The names of what every version shares.
const (
	// TableName is our table, of family inet. We touch no other.
	TableName = "ringfence"
	// UplinkSet holds the interfaces whose traffic is judged.
	UplinkSet = "uplinks"
	// LogLimit is the one limit on log messages of all leaves together.
	LogLimit = "denied"
	// LogGroup is the NFLOG group of dropped packets: any number but 0 to 9,
	// which people give to their own loggers.
	LogGroup = 18755
	// LogSnap is how much of a packet is logged, in bytes: the headers.
	LogSnap = 64
	// LogRate and LogBurst limit log messages, in packets a second and packets.
	LogRate, LogBurst = 100, 50
	// RevokedTime is how many seconds after its last packet a flow that was cut
	// may begin anew: longer than any stack sends again what nobody answers.
	RevokedTime = 15 * 60
	// MaxRevoked is how many flows of a family are remembered as cut. The kernel
	// keeps some 16 bytes for each from the beginning.
	MaxRevoked = 65_535
)

// RevokedSet names the set of the flows of a family that were cut: protocol,
// peer's address, peer's port, own address, own port.
func RevokedSet(s flowset.Space) string { return "revoked" + families[s] }

// writeRevoked prints the two sets of flows that were cut, empty.
func writeRevoked(w *strings.Builder) {
	for _, s := range Spaces {
		addr := keys[peerKey(rules.Ingress, s)].datatype
		fmt.Fprintf(w, "\tset %s {\n\t\ttype inet_proto . %s . inet_service . %s . inet_service\n\t\tsize %d\n\t\tflags dynamic,timeout\n\t\ttimeout %dm\n\t}\n",
			RevokedSet(s), addr, addr, MaxRevoked, RevokedTime/60)
	}
}

// A Key is a field of a packet by which a map is asked.
type Key uint8

// The keys.
const (
	Family Key = iota
	Source4
	Source6
	Destination4
	Destination6
	L4Protocol
	DestinationPort
	SourcePort
	ICMPType
	ICMPv6Type
)

// keys has the texts of each key: the expression, and the type of its values.
var keys = [...]struct{ expression, datatype string }{ //nolint:gochecknoglobals // a constant
	Family:          {"meta nfproto", "nf_proto"},
	Source4:         {"ip saddr", "ipv4_addr"},
	Source6:         {"ip6 saddr", "ipv6_addr"},
	Destination4:    {"ip daddr", "ipv4_addr"},
	Destination6:    {"ip6 daddr", "ipv6_addr"},
	L4Protocol:      {"meta l4proto", "inet_proto"},
	DestinationPort: {"th dport", "inet_service"},
	SourcePort:      {"th sport", "inet_service"},
	ICMPType:        {"icmp type", "icmp_type"},
	ICMPv6Type:      {"icmpv6 type", "icmpv6_type"},
}

// String returns the expression in nft's syntax.
func (k Key) String() string { return keys[k].expression }

// Last is the greatest value of a key.
func (k Key) Last() flowset.Addr {
	switch k {
	case Source4, Destination4:
		return flowset.AllIPv4().Last
	case Source6, Destination6:
		return flowset.AllIPv6().Last
	case DestinationPort, SourcePort:
		return flowset.Addr{Lo: flowset.MaxPort}
	case Family, L4Protocol, ICMPType, ICMPv6Type:
	}
	return flowset.Addr{Lo: 255}
}

func (k Key) value(a flowset.Addr) string {
	switch k {
	case Source4, Destination4:
		return a.In4().String()
	case Source6, Destination6:
		return a.In6().String()
	case Family:
		return map[uint64]string{2: "ipv4", 10: "ipv6"}[a.Lo]
	case L4Protocol, DestinationPort, SourcePort, ICMPType, ICMPv6Type:
	}
	return fmt.Sprint(a.Lo)
}

// An Element sends the packets whose key is in Range to chain Goto. Narrow
// keys are in the low part of an address.
type Element struct {
	Range flowset.AddrRange
	Goto  string
}

// A Map is a verdict map. The ranges of its elements are disjoint and
// ascending; one that is no Interval map has single values only.
type Map struct {
	Name     string
	Key      Key
	Interval bool
	// Set says that the kernel keeps the keys only: the rule that asks says where
	// all of them lead.
	Set bool
	// Timeout says that elements may end by themselves.
	Timeout  bool
	Elements []Element
}

func (m *Map) element(e Element) string {
	first := m.Key.value(e.Range.First)
	if e.Range.First != e.Range.Last {
		first += "-" + m.Key.value(e.Range.Last)
	}
	if m.Set {
		return first
	}
	return first + " : goto " + e.Goto
}

func (m *Map) write(w *strings.Builder) {
	if m.Set {
		fmt.Fprintf(w, "\tset %s {\n\t\ttype %s\n", m.Name, keys[m.Key].datatype)
	} else {
		fmt.Fprintf(w, "\tmap %s {\n\t\ttype %s : verdict\n", m.Name, keys[m.Key].datatype)
	}
	if m.Interval {
		w.WriteString("\t\tflags interval\n")
	}
	if m.Timeout {
		w.WriteString("\t\tflags timeout\n")
	}
	for i, e := range m.Elements {
		if i == 0 {
			w.WriteString("\t\telements = { ")
		} else {
			w.WriteString(",\n\t\t\t     ")
		}
		w.WriteString(m.element(e))
	}
	if len(m.Elements) > 0 {
		w.WriteString(" }\n")
	}
	w.WriteString("\t}\n")
}

// A Rule is one of the few shapes of rules that we use. It prints in nft's syntax.
//
//sumtype:decl
type Rule interface {
	fmt.Stringer
	isRule()
}

// Lookup asks a map and goes where it says; on a miss the next rule is tried.
type Lookup struct {
	Key Key
	Map string
}

// GotoIn goes to a chain with the packets whose key is in a set.
type GotoIn struct {
	Key   Key
	Set   string
	Chain string
}

// GotoFamily goes to a chain with the packets of one family.
type GotoFamily struct {
	Six   bool
	Chain string
}

// GotoProtocol goes to a chain with the packets of one protocol.
type GotoProtocol struct {
	Protocol uint8
	Chain    string
}

// GotoKnown goes to a chain with all packets in which the kernel can read a
// field of one or two bytes, whatever its value.
type GotoKnown struct {
	Key   Key
	Chain string
}

// Goto goes to a chain, without return.
type Goto struct{ Chain string }

// CountAccept counts and accepts.
type CountAccept struct{ Counter string }

// Count counts.
type Count struct{ Counter string }

// Log tells LogGroup of the packet, as far as LogLimit allows.
type Log struct{ Prefix string }

// Drop discards the packet.
type Drop struct{}

// Accept ends the judgement; other tables may still drop.
type Accept struct{}

// AcceptForeign accepts what does not pass an uplink.
type AcceptForeign struct{ Egress bool }

// AcceptEstablished accepts the packets of flows that were let in before.
type AcceptEstablished struct{}

// JumpRelated asks a chain about the packets that belong to a flow by what
// they say.
type JumpRelated struct{ Chain string }

// GotoUntracked goes to a chain with the packets whose flow nobody follows.
type GotoUntracked struct{ Chain string }

// GotoRevoked goes to a chain with the packets of the flows that were cut.
type GotoRevoked struct {
	Direction rules.Direction
	Space     flowset.Space
	Chain     string
}

// RenewRevoked lets the time of a flow that was cut begin again. Packets of
// other flows must not get there: theirs would be cut, too.
type RenewRevoked struct {
	Direction rules.Direction
	Space     flowset.Space
}

// AcceptProtocol accepts the packets of a protocol.
type AcceptProtocol struct{ Protocol uint8 }

// AcceptLinkLocal accepts ICMPv6 of some types that no router has forwarded.
type AcceptLinkLocal struct{ First, Last uint8 }

func (Lookup) isRule()            {}
func (GotoIn) isRule()            {}
func (GotoFamily) isRule()        {}
func (GotoProtocol) isRule()      {}
func (GotoKnown) isRule()         {}
func (Goto) isRule()              {}
func (CountAccept) isRule()       {}
func (Count) isRule()             {}
func (Log) isRule()               {}
func (Drop) isRule()              {}
func (Accept) isRule()            {}
func (AcceptForeign) isRule()     {}
func (AcceptEstablished) isRule() {}
func (JumpRelated) isRule()       {}
func (GotoUntracked) isRule()     {}
func (GotoRevoked) isRule()       {}
func (RenewRevoked) isRule()      {}
func (AcceptProtocol) isRule()    {}
func (AcceptLinkLocal) isRule()   {}

// String prints the rule.
func (r Lookup) String() string { return fmt.Sprintf("%s vmap @%s", r.Key, r.Map) }

// String prints the rule.
func (r GotoIn) String() string { return fmt.Sprintf("%s @%s goto %s", r.Key, r.Set, r.Chain) }

// String prints the rule.
func (r GotoFamily) String() string {
	if r.Six {
		return "meta nfproto ipv6 goto " + r.Chain
	}
	return "meta nfproto ipv4 goto " + r.Chain
}

// String prints the rule.
func (r GotoProtocol) String() string {
	return fmt.Sprintf("meta l4proto %d goto %s", r.Protocol, r.Chain)
}

// String prints the rule.
func (r GotoKnown) String() string {
	return fmt.Sprintf("%s <= %d goto %s", r.Key, r.Key.Last().Lo, r.Chain)
}

// String prints the rule.
func (r Goto) String() string { return "goto " + r.Chain }

// String prints the rule.
func (r CountAccept) String() string { return fmt.Sprintf("counter name %q accept", r.Counter) }

// String prints the rule.
func (r Count) String() string { return fmt.Sprintf("counter name %q", r.Counter) }

// String prints the rule.
func (r Log) String() string {
	return fmt.Sprintf("limit name %q log prefix %q group %d snaplen %d", LogLimit, r.Prefix, LogGroup, LogSnap)
}

// String prints the rule.
func (Drop) String() string { return "drop" }

// String prints the rule.
func (Accept) String() string { return "accept" }

// String prints the rule.
func (r AcceptForeign) String() string {
	if r.Egress {
		return "oifname != @" + UplinkSet + " accept"
	}
	return "iifname != @" + UplinkSet + " accept"
}

// String prints the rule.
func (AcceptEstablished) String() string { return "ct state established accept" }

// String prints the rule.
func (r JumpRelated) String() string { return "ct state related jump " + r.Chain }

// String prints the rule.
func (r GotoUntracked) String() string { return "ct state untracked goto " + r.Chain }

// wire is the key of a set of flows that were cut, as packets of a direction
// have it.
func wire(d rules.Direction, s flowset.Space) string {
	peer, own := SourcePort, DestinationPort
	if d == rules.Egress {
		peer, own = own, peer
	}
	return fmt.Sprintf("meta l4proto . %s . %s . %s . %s", peerKey(d, s), peer, memberKey(d, s), own)
}

// String prints the rule.
func (r GotoRevoked) String() string {
	return fmt.Sprintf("%s @%s goto %s", wire(r.Direction, r.Space), RevokedSet(r.Space), r.Chain)
}

// String prints the rule.
func (r RenewRevoked) String() string {
	return fmt.Sprintf("update @%s { %s }", RevokedSet(r.Space), wire(r.Direction, r.Space))
}

// String prints the rule.
func (r AcceptProtocol) String() string { return fmt.Sprintf("meta l4proto %d accept", r.Protocol) }

// String prints the rule.
func (r AcceptLinkLocal) String() string {
	return fmt.Sprintf("icmpv6 type %d-%d ip6 hoplimit 255 accept", r.First, r.Last)
}

// A Node is a chain with what only it uses: the maps it asks, its counter.
type Node struct {
	Name string
	// Counted says that there is a counter of the same name.
	Counted bool
	Maps    []Map
	Rules   []Rule
	// Comment is kept with the first rule; empty for none.
	Comment string
	// Hook makes it a base chain; nil for others.
	Hook *Hook
}

// A Hook says where the kernel enters a base chain. Its policy is accept: what
// no rule judges was never ours.
type Hook struct {
	// Name is prerouting or postrouting.
	Name     string
	Priority int32
}

func (n *Node) write(w *strings.Builder) {
	fmt.Fprintf(w, "\tchain %s {\n", n.Name)
	if n.Hook != nil {
		fmt.Fprintf(w, "\t\ttype filter hook %s priority %d; policy accept;\n", n.Hook.Name, n.Hook.Priority)
	}
	for i, r := range n.Rules {
		text := r.String()
		if i == 0 && n.Comment != "" {
			text += fmt.Sprintf(" comment %q", n.Comment)
		}
		fmt.Fprintf(w, "\t\t%s\n", text)
	}
	w.WriteString("\t}\n")
}
