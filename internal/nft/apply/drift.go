package apply

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
)

// A DifferenceKind says in what way something in the table is not what it
// should be.
type DifferenceKind uint8

// The kinds of differences.
const (
	// NoTable is all that is said if there is no table at all.
	NoTable DifferenceKind = iota
	// MissingMap, OtherElements and OtherRules are about what ought to be there;
	// a chain that is missing has other rules.
	MissingMap
	OtherElements
	OtherRules
	// ForeignChain and ForeignSet are what nothing needs.
	ForeignChain
	ForeignSet
	// OtherVersion is the version to which packets are led; empty for none.
	OtherVersion
)

// A Difference is one thing in the table that is not what was laid out.
type Difference struct {
	Kind DifferenceKind
	// Name is that of the map, the chain, the set or the version.
	Name string
	// elements is what Drift read of a map, for Repair: to read it again may take
	// longer than all else.
	elements *comparison
}

// Foreign reports whether the difference is only something too much, where no
// packet gets.
func (d Difference) Foreign() bool { return d.Kind == ForeignChain || d.Kind == ForeignSet }

// String says the difference in words.
func (d Difference) String() string {
	switch d.Kind {
	case NoTable:
		return "there is no table " + nft.TableName
	case MissingMap:
		return "map " + d.Name + " is missing"
	case OtherElements:
		return "map " + d.Name + " has other elements"
	case OtherRules:
		return "chain " + d.Name + " has other rules"
	case ForeignChain:
		return "chain " + d.Name + " is not ours"
	case ForeignSet:
		return "set " + d.Name + " is not ours"
	case OtherVersion:
		if d.Name == "" {
			return "no version is confirmed"
		}
		return "another version is confirmed: " + d.Name
	}
	return fmt.Sprintf("difference %d of %s", d.Kind, d.Name)
}

// Drift says in what the table differs from one that has v confirmed, with
// nothing on trial and nothing left over. Empty means in nothing. Counters,
// the sets of uplinks and of flows that were cut, and the rule that asks for a trial
// are not compared.
func (k *Kernel) Drift(v *nft.Version) ([]Difference, error) {
	chains, sets, err := k.present()
	if err != nil {
		return nil, err
	}
	if len(chains) == 0 {
		return []Difference{{Kind: NoTable}}, nil
	}
	delete(sets, nft.UplinkSet)
	for _, s := range nft.Spaces {
		delete(sets, nft.RevokedSet(s))
	}
	var out []Difference
	for _, n := range confirmed(v) {
		delete(chains, n.Name)
		different, err := k.nodeDrift(n, sets)
		if err != nil {
			return nil, err
		}
		out = append(out, different...)
	}
	for _, name := range slices.Sorted(maps.Keys(chains)) {
		out = append(out, Difference{Kind: ForeignChain, Name: name})
	}
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		out = append(out, Difference{Kind: ForeignSet, Name: name})
	}
	return out, nil
}

func (k *Kernel) nodeDrift(n *nft.Node, sets map[string]bool) ([]Difference, error) {
	var out []Difference
	for i := range n.Maps {
		m := &n.Maps[i]
		if !sets[m.Name] {
			out = append(out, Difference{Kind: MissingMap, Name: m.Name})
			continue
		}
		delete(sets, m.Name)
		c, err := k.compare(m)
		if err != nil {
			return nil, err
		}
		if !c.same() {
			out = append(out, Difference{OtherElements, m.Name, c})
		}
	}
	live, err := k.conn.GetRules(k.table, k.chain(n.Name))
	if err != nil {
		return nil, fmt.Errorf("cannot read chain %s: %w", n.Name, err)
	}
	for _, d := range directions {
		if n.Name == nft.Policy(d) && len(live) > 0 && sameRule(live[0].Exprs, expressions(nft.TrialRule(d))) {
			live = live[1:]
		}
	}
	if !slices.EqualFunc(live, n.Rules, func(l *nftables.Rule, r nft.Rule) bool { return sameRule(l.Exprs, expressions(r)) }) {
		out = append(out, Difference{Kind: OtherRules, Name: n.Name})
	}
	return out, nil
}

// sameRule compares what the two are on the wire: the kernel spells out what
// we leave to it.
func sameRule(live, want []expr.Any) bool {
	return slices.EqualFunc(live, want, func(a, b expr.Any) bool {
		x, err1 := expr.Marshal(byte(nftables.TableFamilyINet), normal(a))
		y, err2 := expr.Marshal(byte(nftables.TableFamilyINet), normal(b))
		return err1 == nil && err2 == nil && bytes.Equal(x, y)
	})
}

// normal returns e with what only one side of the socket knows left out.
func normal(e expr.Any) expr.Any {
	switch e := e.(type) {
	case *expr.Log:
		return &expr.Log{Key: e.Key, Group: e.Group, Snaplen: e.Snaplen, Data: bytes.TrimRight(e.Data, "\x00")}
	case *expr.Objref:
		return &expr.Objref{Type: e.Type, Name: string(bytes.TrimRight([]byte(e.Name), "\x00"))}
	}
	return e
}

// target is where an element leads; empty for one that ends a range. The
// library leaves the verdict of an element that it read as it came.
func target(e nftables.SetElement) string {
	switch {
	case e.IntervalEnd:
		return ""
	case e.VerdictData != nil:
		return e.VerdictData.Chain
	}
	verdict, err := netlink.NewAttributeDecoder(e.Val)
	if err != nil {
		return ""
	}
	for verdict.Next() {
		if verdict.Type() == unix.NFTA_VERDICT_CHAIN {
			return verdict.String()
		}
	}
	return ""
}
