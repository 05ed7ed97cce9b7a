package nft

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// maxPrefix is what the kernel keeps of a log prefix, in bytes, without the
// zero at its end.
const maxPrefix = 127

// ruleText is what a rule is, whatever its place: a rule that moves because
// another was inserted keeps its counter.
func ruleText(r *rules.MergedRule) string {
	text := fmt.Sprintf("%s/%s %s %d %s %s %s", r.Group, r.Direction, r.Action, r.Priority, r.Protocol, r.Ports, r.Peer)
	if _, ok := r.Peer.(rules.GroupPeer); ok {
		text += " group"
	}
	if r.Member.IsValid() {
		text += " member " + r.Member.String()
	}
	if !r.SourcePorts.IsZero() {
		text += " sport " + r.SourcePorts.String()
	}
	return text
}

// Leaf names the chain and the counter of a verdict. Observed is whether a
// drop only counts.
func Leaf(d rules.Direction, v rules.Verdict, observed bool) string {
	kind := "default"
	switch v.Cause {
	case rules.ByRule:
		sum := sha256.Sum256([]byte(ruleText(v.Rule)))
		kind = "rule_" + hex.EncodeToString(sum[:8])
	case rules.ByInnerAccess:
		kind = "inner"
	case rules.ByExempt:
		kind = "exempt"
	case rules.ByDefault:
	}
	return fmt.Sprintf("%s_%s_%s", kind, short[d], ending(v.Action, observed))
}

func ending(a rules.Action, observed bool) string {
	switch {
	case a == rules.Accept:
		return "accept"
	case observed:
		return endWould
	}
	return endDrop
}

// How the names of leaves end that deny.
const (
	endDrop  = "drop"
	endWould = "would"
)

// leaf returns the chain that ends the judgement, and makes it if it is new.
func (c *Compiler) leaf(d rules.Direction, v rules.Verdict) string {
	name := Leaf(d, v, c.in.Observe)
	what := v.By()
	if v.Rule != nil {
		what = ruleText(v.Rule)
	}
	return c.end(name, v.Action, what)
}

// unreadable returns the chain for packets that lack the field that decides:
// cut off, or with headers that the kernel cannot follow. They are dropped.
func (c *Compiler) unreadable(d rules.Direction) string {
	return c.end(Unreadable(d, c.in.Observe), rules.Drop, "unreadable")
}

// Unreadable names the leaf of packets that lack the field that decides.
func Unreadable(d rules.Direction, observed bool) string {
	return fmt.Sprintf("unreadable_%s_%s", short[d], ending(rules.Drop, observed))
}

func (c *Compiler) end(name string, a rules.Action, what string) string {
	if _, ok := c.leaves[name]; ok {
		return name
	}
	n := &Node{Name: name, Counted: true}
	switch {
	case a == rules.Accept:
		n.Rules = []Rule{CountAccept{name}}
	case c.in.Observe:
		n.Rules = []Rule{Count{name}, Log{prefix(verbWould, name, what)}, Accept{}}
	default:
		n.Rules = []Rule{Count{name}, Log{prefix(verbDrop, name, what)}, Drop{}}
	}
	c.leaves[name] = n
	return name
}

// prefix says first what a program needs, the leaf, then what people read.
func prefix(verb, leaf, what string) string {
	text := fmt.Sprintf("%s %s %s", verb, leaf, what)
	return text[:min(len(text), maxPrefix)]
}

// What a log prefix begins with.
const (
	verbDrop  = "ringfence drop"
	verbWould = "ringfence would drop"
)

// A Denial is what the log says of a packet beside the packet itself.
type Denial struct {
	// Leaf is the chain that ended the judgement.
	Leaf      string
	Direction rules.Direction
	// Observed says that the packet passed: it would have been dropped.
	Observed bool
}

// ReadPrefix reads the prefix of a log message; false if no leaf of ours wrote it.
func ReadPrefix(text string) (Denial, bool) {
	var d Denial
	rest, ok := strings.CutPrefix(text, verbDrop+" ")
	if !ok {
		rest, d.Observed = strings.CutPrefix(text, verbWould+" ")
	}
	d.Leaf, _, _ = strings.Cut(rest, " ")
	if !ok && !d.Observed || !Denies(d.Leaf) || strings.HasSuffix(d.Leaf, "_"+endWould) != d.Observed {
		return Denial{}, false
	}
	kind, _ := cutLast(d.Leaf)
	_, side := cutLast(kind)
	for _, d.Direction = range sides {
		if short[d.Direction] == side {
			return d, true
		}
	}
	return Denial{}, false
}

// Denies reports whether a leaf drops packets, or would.
func Denies(leaf string) bool {
	_, end := cutLast(leaf)
	return end == endDrop || end == endWould
}

func cutLast(name string) (before, after string) {
	i := strings.LastIndexByte(name, '_')
	return name[:max(i, 0)], name[i+1:]
}
