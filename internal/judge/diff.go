package judge

import (
	"fmt"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// A Difference is what changes for those who wear one set of groups.
type Difference struct {
	// Who wears the groups, in words; several that change alike are one entry.
	Who []string
	// Old and New are the groups before and after, sorted.
	Old, New []string
	// Opens and Closes are the flows that become possible and that stop.
	Opens, Closes []rules.Region
	// NeedsMet and NeedsCut are the needs among them.
	NeedsMet, NeedsCut []NeedChange
}

// IsEmpty reports whether nothing changes.
func (d *Difference) IsEmpty() bool { return len(d.Opens) == 0 && len(d.Closes) == 0 }

// A NeedChange is a need of which some flow opens or closes.
type NeedChange struct {
	Need    rules.Need
	Example rules.Flow
}

// A Comparison is what changes between two inventories.
type Comparison struct {
	Differences []Difference
	// Notes say what could not be compared, such as a node pool that is new.
	Notes []string
	// Incomplete is true if somebody's groups could not be compared: the notes
	// say whose. That nothing is listed then means less.
	Incomplete bool
}

// Compare tells which flows open and close between two inventories, for
// everybody who wears groups; without clusters, group by group. Who is in one of
// them only is taken to wear the groups of the same names in the other.
//
// Members that only one side tells are taken for both: exports of rules alone
// can be compared with full ones.
func Compare(old, updated *convert.Inventory, tables *profiles.Tables) (*Comparison, error) {
	c := comparer{
		old: old, updated: updated, tables: tables, seen: map[string]int{},
		before: world(old), after: world(updated),
	}
	lend(c.before, updated)
	lend(c.after, old)
	before, after := everybody(old), everybody(updated)
	was, is := byWho(before), byWho(after)
	for i := range before {
		o := &before[i]
		n, ok := is[o.who]
		if !ok {
			c.notef("%s is gone", o.who)
			n = c.elsewhere(o, updated)
		}
		if err := c.compare(o, n); err != nil {
			return nil, err
		}
	}
	for i := range after {
		n := &after[i]
		if _, ok := was[n.who]; ok {
			continue
		}
		c.notef("%s is new", n.who)
		if err := c.compare(c.elsewhere(n, old), n); err != nil {
			return nil, err
		}
	}
	return &c.out, nil
}

// elsewhere returns the set that somebody wears with the rules of the other
// inventory, which does not know the wearer: an export of groups alone still says
// what becomes of a cluster. Nil, with a note, if it lacks a group.
func (c *comparer) elsewhere(w *worn, other *convert.Inventory) *worn {
	out := *w
	out.groups = nil
	for _, g := range w.groups {
		same, ok := other.Group(g.Name)
		if !ok {
			side := "OLD"
			if other == c.updated {
				side = "NEW"
			}
			c.notef("%s cannot be compared: %s does not hold group %s", w.who, side, g.Name)
			c.out.Incomplete = true
			return nil
		}
		out.groups = append(out.groups, same)
	}
	return &out
}

// everybody lists all who wear groups: those of clusters, then hosts and
// interfaces of none, then the groups that nobody wears, each by itself.
func everybody(inv *convert.Inventory) []worn {
	var out []worn
	for i := range inv.Clusters {
		out = append(out, wearers(inv, &inv.Clusters[i])...)
	}
	told := map[*convert.Interface]bool{} // those of clusters
	for _, w := range out {
		told[w.host] = true
	}
	for i := range inv.Interfaces {
		f := &inv.Interfaces[i]
		if told[f] {
			continue
		}
		if w, ok := newWorn(inv, f.ID, f.Groups); ok {
			w.host = f
			out = append(out, w)
		}
	}
	worn := map[string]bool{}
	for _, w := range out {
		for _, g := range w.groups {
			worn[g.Name] = true
		}
	}
	for i := range inv.Groups {
		if g := &inv.Groups[i]; !worn[g.Name] {
			w, _ := newWorn(inv, "group "+g.Name, []string{g.Name})
			out = append(out, w)
		}
	}
	return out
}

func byWho(list []worn) map[string]*worn {
	out := make(map[string]*worn, len(list))
	for i := range list {
		out[list[i].who] = &list[i]
	}
	return out
}

type comparer struct {
	old, updated *convert.Inventory
	tables       *profiles.Tables
	// before and after are the worlds of the two, each with the members that
	// only the other tells.
	before, after *rules.World
	out           Comparison
	seen          map[string]int // pairs of sets compared already, by index in out
}

func (c *comparer) notef(format string, args ...any) {
	c.out.Notes = append(c.out.Notes, fmt.Sprintf(format, args...))
}

func (c *comparer) compare(o, n *worn) error {
	if o == nil || n == nil {
		return nil
	}
	for _, w := range []*worn{o, n} {
		for _, g := range w.groups {
			if g.RulesUnknown || g.TypeUnknown {
				c.notef("%s cannot be compared: no file tells the rules and type of group %s", w.who, g.Name)
				c.out.Incomplete = true
				return nil
			}
		}
	}
	key := o.key() + "\x01" + n.key()
	if i, ok := c.seen[key]; ok {
		c.out.Differences[i].Who = append(c.out.Differences[i].Who, o.who)
		return nil
	}
	d, err := c.difference(o, n)
	if err != nil {
		return fmt.Errorf("cannot compare %s: %w", o.who, err)
	}
	c.seen[key] = len(c.out.Differences)
	c.out.Differences = append(c.out.Differences, d)
	return nil
}

func (c *comparer) difference(o, n *worn) (Difference, error) {
	d := Difference{Who: []string{o.who}, Old: o.names(), New: n.names()}
	space := rules.NewWorkspace(c.before, 0)
	p, err := compile(o, c.old, space)
	if err != nil {
		return d, err
	}
	q, err := compile(n, c.updated, space.In(c.after))
	if err != nil {
		return d, err
	}
	change, err := rules.Diff(p, q)
	if err != nil {
		return d, err
	}
	for _, dir := range []rules.Direction{rules.Ingress, rules.Egress} {
		d.Opens = append(d.Opens, space.Regions(change.Opens[dir])...)
		d.Closes = append(d.Closes, space.Regions(change.Closes[dir])...)
	}
	if n.cluster == nil || d.IsEmpty() {
		return d, nil
	}
	return d, c.needs(&d, n, space.In(c.after), &change)
}

// lend gives a world the members of groups that only another inventory tells.
func lend(to *rules.World, from *convert.Inventory) {
	for i := range from.Groups {
		if g := &from.Groups[i]; len(g.Members) > 0 && !to.Members.Known(g.Name) {
			to.Members.Set(g.Name, g.Members)
		}
	}
}

func compile(w *worn, inv *convert.Inventory, space *rules.Workspace) (*rules.Policy, error) {
	rs, err := w.merge(inv)
	if err != nil {
		return nil, err
	}
	return space.Compile(rs)
}

// needs finds the needs of the updated cluster among the changes.
func (c *comparer) needs(d *Difference, n *worn, space *rules.Workspace, change *rules.Change) error {
	if unjudgeable(n.cluster) {
		c.notef("whether needs of %s change is not known: no file tells its %s", n.who, n.cluster.Unknown[0])
		c.out.Incomplete = true
		return nil
	}
	f := n.facts(c.updated)
	e, err := c.tables.Expand(&f, profiles.LeastPrivilege)
	if err != nil {
		return err
	}
	for i := range e.Needs {
		need := &e.Needs[i]
		for _, part := range []struct {
			set rules.Set
			to  *[]NeedChange
		}{{change.Opens[need.Direction], &d.NeedsMet}, {change.Closes[need.Direction], &d.NeedsCut}} {
			flow, ok, err := space.Meets(part.set, need, c.updated.PrefixLists)
			if err != nil {
				return err
			}
			if ok {
				*part.to = append(*part.to, NeedChange{*need, flow})
			}
		}
	}
	return nil
}
