package apply

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
)

// Drift says in what the table differs from one that has v confirmed, with
// nothing on trial and nothing left over. Empty means in nothing. Counters,
// the sets of uplinks and of flows that were cut, and the rule that asks for a trial
// are not compared.
func (k *Kernel) Drift(v *nft.Version) ([]string, error) {
	chains, sets, err := k.present()
	if err != nil {
		return nil, err
	}
	if len(chains) == 0 {
		return []string{"there is no table " + nft.TableName}, nil
	}
	delete(sets, nft.UplinkSet)
	for _, s := range nft.Spaces {
		delete(sets, nft.RevokedSet(s))
	}
	var out []string
	for _, n := range confirmed(v) {
		delete(chains, n.Name)
		different, err := k.nodeDrift(n, sets)
		if err != nil {
			return nil, err
		}
		out = append(out, different...)
	}
	for _, name := range slices.Sorted(maps.Keys(chains)) {
		out = append(out, "chain "+name+" is not ours")
	}
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		out = append(out, "set "+name+" is not ours")
	}
	return out, nil
}

func (k *Kernel) nodeDrift(n *nft.Node, sets map[string]bool) ([]string, error) {
	var out []string
	for i := range n.Maps {
		m := &n.Maps[i]
		if !sets[m.Name] {
			out = append(out, "map "+m.Name+" is missing")
			continue
		}
		delete(sets, m.Name)
		same, err := k.sameElements(m)
		if err != nil {
			return nil, err
		}
		if !same {
			out = append(out, "map "+m.Name+" has other elements")
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
		out = append(out, "chain "+n.Name+" has other rules")
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

func (k *Kernel) sameElements(m *nft.Map) (bool, error) {
	live, err := k.conn.GetSetElements(k.set(m))
	if err != nil {
		return false, fmt.Errorf("cannot read map %s: %w", m.Name, err)
	}
	want := make([]nftables.SetElement, 0, len(live))
	for _, e := range m.Elements {
		want = append(want, elements(m, e)...)
	}
	slices.SortFunc(live, compareElements)
	slices.SortFunc(want, compareElements)
	return slices.EqualFunc(live, want, func(a, b nftables.SetElement) bool { return compareElements(a, b) == 0 }), nil
}

func compareElements(a, b nftables.SetElement) int {
	return cmp.Or(bytes.Compare(a.Key, b.Key), cmp.Compare(target(a), target(b)))
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
