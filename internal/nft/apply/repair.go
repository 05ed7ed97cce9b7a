package apply

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"ringfence.dev/ringfence/internal/nft"
)

// Repair makes the table again what Drift compares it with, node by node, each
// in one transaction in which packets find the one state or the other. Only
// what differs is touched; with the table gone everything is built anew, and
// confirmed last. A trial may end by it.
func (k *Kernel) Repair(v *nft.Version, uplinks []string) error {
	if err := k.Load(v, uplinks); err != nil {
		return err
	}
	_, sets, err := k.present()
	if err != nil {
		return err
	}
	for _, n := range confirmed(v) {
		different, err := k.nodeDrift(n, sets)
		if err != nil {
			return err
		}
		if len(different) == 0 {
			continue
		}
		if err := k.repairNode(n); err != nil {
			return err
		}
	}
	return k.Delete(v)
}

// confirmed are the nodes of a table that has v in force, in the order in
// which they can be made.
func confirmed(v *nft.Version) []*nft.Node {
	nodes := v.Nodes()
	for _, d := range directions {
		t := nft.Trampoline(d, v.Name)
		nodes = append(nodes, &t)
	}
	return append(nodes, v.BaseNodes()...)
}

// repairNode makes a node of which parts may be there, and wrong.
func (k *Kernel) repairNode(n *nft.Node) error {
	if n.Counted {
		k.conn.AddObj(&nftables.NamedObj{Table: k.table, Name: n.Name, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}})
	}
	_, sets, err := k.present()
	if err != nil {
		return err
	}
	for i := range n.Maps {
		m := &n.Maps[i]
		s := k.set(m)
		if err := k.conn.AddSet(s, nil); err != nil {
			return fmt.Errorf("cannot make map %s: %w", m.Name, err)
		}
		if !sets[m.Name] {
			err = k.addElements(s, m, m.Elements, 0)
		} else {
			err = k.syncMap(s, m)
		}
		if err != nil {
			return err
		}
	}
	c := k.chain(n.Name)
	if n.Hook != nil {
		hook(c, n.Hook)
	}
	k.conn.AddChain(c)
	k.conn.FlushChain(c)
	k.addRules(c, n)
	return k.commit("repair chain " + n.Name)
}

// syncMap collects what turns the elements in the kernel into those of m. A
// range that begins elsewhere is removed whole, and added whole.
func (k *Kernel) syncMap(s *nftables.Set, m *nft.Map) error {
	live, err := k.conn.GetSetElements(s)
	if err != nil {
		return fmt.Errorf("cannot read map %s: %w", m.Name, err)
	}
	want := map[string]nftables.SetElement{}
	for _, e := range m.Elements {
		for _, raw := range elements(m, e) {
			want[elementKey(raw)] = raw
		}
	}
	var remove []nftables.SetElement
	for _, e := range live {
		id := elementKey(e)
		if w, ok := want[id]; ok && target(w) == target(e) {
			delete(want, id)
			continue
		}
		remove = append(remove, nftables.SetElement{Key: e.Key, IntervalEnd: e.IntervalEnd})
	}
	for part := range slices.Chunk(remove, maxElements) {
		if err := k.conn.SetDeleteElements(s, part); err != nil {
			return fmt.Errorf("cannot remove from map %s: %w", m.Name, err)
		}
		k.messages++
	}
	var add []nftables.SetElement
	for _, e := range m.Elements {
		for _, raw := range elements(m, e) {
			if _, ok := want[elementKey(raw)]; ok {
				add = append(add, raw)
			}
		}
	}
	for part := range slices.Chunk(add, maxElements) {
		if err := k.conn.SetAddElements(s, part); err != nil {
			return fmt.Errorf("cannot add to map %s: %w", m.Name, err)
		}
		k.messages++
	}
	return nil
}

// elementKey tells the elements of a map apart: a range may begin where
// another ends.
func elementKey(e nftables.SetElement) string {
	if e.IntervalEnd {
		return "e" + string(e.Key)
	}
	return "b" + string(e.Key)
}
