package apply

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"ringfence.dev/ringfence/internal/nft"
)

// Repair makes the table again what Drift compares it with, where Drift found
// it to differ: node by node, each in one transaction in which packets find the
// one state or the other. With the table gone everything is built anew, and
// confirmed last. A trial may end by it.
func (k *Kernel) Repair(v *nft.Version, uplinks []string, found []Difference) error {
	if slices.Contains(found, Difference{Kind: NoTable}) {
		if err := k.Load(v, uplinks); err != nil {
			return err
		}
		return k.Confirm(v.Name)
	}
	different := make(map[string]*comparison, len(found))
	for _, d := range found {
		different[d.Name] = d.elements
		if d.Kind == OtherVersion {
			for _, side := range directions {
				different[nft.Policy(side)] = nil
			}
		}
	}
	chains, sets, err := k.present()
	if err != nil {
		return err
	}
	if err := k.foundation(chains, sets, uplinks); err != nil {
		return err
	}
	for _, n := range confirmed(v) {
		named := func(name string) bool { _, ok := different[name]; return ok }
		if !named(n.Name) && !slices.ContainsFunc(n.Maps, func(m nft.Map) bool { return named(m.Name) }) {
			continue
		}
		if err := k.repairNode(n, sets, different); err != nil {
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
func (k *Kernel) repairNode(n *nft.Node, sets map[string]bool, read map[string]*comparison) error {
	if n.Counted {
		k.conn.AddObj(&nftables.NamedObj{Table: k.table, Name: n.Name, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}})
	}
	for i := range n.Maps {
		m := &n.Maps[i]
		s := k.set(m)
		err := k.conn.AddSet(s, nil)
		if err != nil {
			return fmt.Errorf("cannot make map %s: %w", m.Name, err)
		}
		if !sets[m.Name] {
			err = k.addElements(s, m, m.Elements, 0)
		} else {
			err = k.syncMap(s, m, read[m.Name])
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
// range that begins elsewhere is removed whole, and added whole. What is there
// is read if c, what was read before, is nil.
func (k *Kernel) syncMap(s *nftables.Set, m *nft.Map, c *comparison) error {
	if c == nil {
		var err error
		if c, err = k.compare(m); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(c.extra, maxElements) {
		if err := k.conn.SetDeleteElements(s, part); err != nil {
			return fmt.Errorf("cannot remove from map %s: %w", m.Name, err)
		}
		k.messages++
	}
	p := parcel{kernel: k, set: s}
	for _, e := range c.missing() {
		if err := p.add(&e); err != nil {
			return err
		}
	}
	return p.send()
}
