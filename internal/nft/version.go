package nft

import (
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/rules"
	"ringfence.dev/ringfence/rules/flowset"
)

// Sides are the two directions, families the two IP versions, in the order in
// which everything is laid out.
var (
	sides    = []rules.Direction{rules.Ingress, rules.Egress}        //nolint:gochecknoglobals // a constant
	short    = [...]string{rules.Ingress: "in", rules.Egress: "out"} //nolint:gochecknoglobals // a constant
	families = []string{"4", "6"}                                    //nolint:gochecknoglobals // a constant
	// Spaces are the families as diagrams know them.
	Spaces = []flowset.Space{flowset.IPv4, flowset.IPv6} //nolint:gochecknoglobals // a constant
)

// A Version is everything that enforces one ruleset.
type Version struct {
	// Name identifies the version by its rules; members do not count.
	Name string
	// Leaves and Classes are named by content and may be in the table already.
	// Each refers only to nodes before it.
	Leaves, Classes []Node
	// Dispatch has four chains, of this version alone: ingress for IPv4 and
	// IPv6, then egress. Each has the members of the class that most are likely to
	// have, as a set; the ranges of addresses for what is no member; and the other
	// members.
	Dispatch []Node
	// Base has the two base chains that lead to the policies, and before them
	// what they need; the same for most versions.
	Base []Node
}

// DispatchChain names the chain of a version for a direction and family (4 or 6).
func DispatchChain(version string, d rules.Direction, family string) string {
	return fmt.Sprintf("v_%s_%s%s", version, short[d], family)
}

// Policy names the trampoline of a direction: the one chain that is rewritten.
func Policy(d rules.Direction) string { return short[d] + "_policy" }

// TrialMap names the map whose elements, with a timeout, go before the policy.
func TrialMap(d rules.Direction) string { return short[d] + "_trial" }

// Trampoline returns the chain of a direction that leads to a version; ""
// leads nowhere, which lets everything pass. While there is a trial, TrialRule
// comes first.
func Trampoline(d rules.Direction, version string) Node {
	n := Node{
		Name: Policy(d),
		Maps: []Map{{Name: TrialMap(d), Key: Family, Timeout: true}},
	}
	if version != "" {
		n.Comment = Comment(version)
		for _, f := range families {
			n.Rules = append(n.Rules, GotoFamily{f == "6", DispatchChain(version, d, f)})
		}
	}
	return n
}

// TrialRule asks the map of the trial.
func TrialRule(d rules.Direction) Rule { return Lookup{Family, TrialMap(d)} }

// Nodes returns all nodes of v but the base, in the order in which they can be
// made.
func (v *Version) Nodes() []*Node { return pointers(v.Leaves, v.Classes, v.Dispatch) }

// BaseNodes returns the base likewise.
func (v *Version) BaseNodes() []*Node { return pointers(v.Base) }

func pointers(lists ...[]Node) []*Node {
	var out []*Node
	for _, list := range lists {
		for i := range list {
			out = append(out, &list[i])
		}
	}
	return out
}

// Comment is what the first rule of a trampoline says of where it leads.
func Comment(version string) string { return "version " + version }

// Text prints the table that has v in force, in nft's syntax, its parts in the
// order in which they are made.
func (v *Version) Text(uplinks []string) string {
	var nodes []*Node
	for _, d := range sides {
		t := Trampoline(d, v.Name)
		nodes = append(nodes, &t)
	}
	nodes = append(append(nodes, v.Nodes()...), v.BaseNodes()...)
	var w strings.Builder
	fmt.Fprintf(&w, "table inet %s {\n\tlimit %s {\n\t\trate %d/second burst %d packets\n\t}\n", TableName, LogLimit, LogRate, LogBurst)
	for _, n := range nodes {
		if n.Counted {
			fmt.Fprintf(&w, "\tcounter %s {\n\t\tpackets 0 bytes 0\n\t}\n", n.Name)
		}
	}
	fmt.Fprintf(&w, "\tset %s {\n\t\ttype ifname\n", UplinkSet)
	if len(uplinks) > 0 {
		fmt.Fprintf(&w, "\t\telements = { \"%s\" }\n", strings.Join(uplinks, `", "`))
	}
	w.WriteString("\t}\n")
	writeRevoked(&w)
	for _, n := range nodes {
		for i := range n.Maps {
			n.Maps[i].write(&w)
		}
	}
	for _, n := range nodes {
		n.write(&w)
	}
	w.WriteString("}\n")
	return w.String()
}

// A Move is an address that comes into a map (From is empty), leaves it (To is
// empty), or changes its class within it.
type Move struct {
	// Map is the map of members, Key what it is asked by, Set whether it is a set.
	Map      string
	Key      Key
	Set      bool
	Address  flowset.Addr
	From, To string
}

// Moves are the changes of one map.
type Moves struct {
	Map    string
	Key    Key
	Set    bool
	Remove []flowset.Addr
	Add    []Element
}

// ByMap sorts moves by map, those that change nothing left out.
func ByMap(moves []Move) []Moves {
	var out []Moves
	for k := range moves {
		m := &moves[k]
		if m.From == m.To {
			continue
		}
		// There are two maps for a direction and family.
		i := slices.IndexFunc(out, func(o Moves) bool { return o.Map == m.Map })
		if i < 0 {
			i, out = len(out), append(out, Moves{Map: m.Map, Key: m.Key, Set: m.Set})
		}
		if m.From != "" {
			out[i].Remove = append(out[i].Remove, m.Address)
		}
		if m.To != "" {
			out[i].Add = append(out[i].Add, Element{flowset.AddrRange{First: m.Address, Last: m.Address}, m.To})
		}
	}
	return out
}
