package judge

import (
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/rules"
)

// concert looks at all fixes together, from the side of everybody who wears the
// groups that they change: other clusters, other node pools, hosts of no
// cluster. A fix that cuts a need of any of them is taken back; one that opens or
// closes something else for others is told of.
func (j *judge) concert() error {
	fixes := j.fixes()
	if len(fixes) == 0 {
		return nil
	}
	for _, w := range j.wearersOf(fixes) {
		if err := j.agree(&w, fixes); err != nil {
			return fmt.Errorf("cannot judge what fixes do to %s: %w", w.who, err)
		}
	}
	for _, f := range fixes {
		f.conclude()
	}
	return nil
}

// A proposal is the fix of one item.
type proposal struct {
	item  *Item
	lists map[string]rules.PrefixList
	// cuts are those of whom it cuts a need, and changes those of no need, or
	// beyond them, in words.
	cuts, changes []string
}

func (j *judge) fixes() []*proposal {
	var out []*proposal
	for _, list := range [][]Item{j.missing.list, j.excess.list, j.findings.list} {
		for i := range list {
			if len(list[i].Fix) > 0 {
				out = append(out, &proposal{item: &list[i], lists: j.inv.PrefixLists})
			}
		}
	}
	return out
}

// wearersOf lists who wears the groups that fixes change, one entry for each set
// of groups of a cluster.
func (j *judge) wearersOf(fixes []*proposal) []worn {
	edited := map[string]bool{}
	for _, f := range fixes {
		for _, e := range f.item.Fix {
			edited[e.Group] = true
		}
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(everybody(j.inv), func(w worn) bool {
		key := w.key()
		if w.cluster != nil {
			key = w.cluster.ID + "\x01" + key
		}
		again := seen[key]
		seen[key] = true
		return again || w.cluster == nil && w.host == nil || // a group that nobody wears
			slices.ContainsFunc(w.groups, func(g *convert.Group) bool { return g.RulesUnknown || g.TypeUnknown }) ||
			w.cluster != nil && unjudgeable(w.cluster) ||
			!slices.ContainsFunc(w.groups, func(g *convert.Group) bool { return edited[g.Name] })
	})
}

// agree makes all fixes at once for those who wear a set, and notes whose doing
// it is if that cuts, or changes, anything.
func (j *judge) agree(w *worn, fixes []*proposal) error {
	q, err := j.ask(w)
	if err != nil {
		return err
	}
	var edits []rules.Edit
	for _, f := range fixes {
		for _, e := range f.item.Fix {
			if !slices.Contains(edits, e) {
				edits = append(edits, e)
			}
		}
	}
	change, err := j.try(q, edits)
	if err != nil {
		return err
	}
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		cut := change.Closes[d].Intersect(q.needed[d])
		opened, closed := change.Opens[d].Subtract(q.needed[d]), change.Closes[d]
		if cut.IsEmpty() && opened.IsEmpty() && closed.IsEmpty() {
			continue
		}
		for _, f := range fixes {
			if err := f.note(q, d, cut, opened, closed); err != nil {
				return err
			}
		}
	}
	return nil
}

// note adds what the fix has to do with a change of one direction.
func (f *proposal) note(q *question, d rules.Direction, cut, opened, closed rules.Set) error {
	reach, err := f.reach(q, d)
	if err != nil {
		return err
	}
	own := f.item.asked == q.worn.who
	switch {
	case reach.Meet(cut):
		f.cuts = append(f.cuts, q.worn.who)
	case own: // told with the item itself
	case reach.Meet(opened):
		f.changes = append(f.changes, "opens more for "+q.worn.who)
	case q.worn.cluster == nil && reach.Meet(closed): // nobody knows what it needs
		f.changes = append(f.changes, "closes something for "+q.worn.who)
	}
	return nil
}

// reach returns the flows of one direction that the rules of a fix match, for
// those who wear a set.
func (f *proposal) reach(q *question, d rules.Direction) (rules.Set, error) {
	var list []rules.Rule
	for _, e := range f.item.Fix {
		if r := e.Rule; r.Direction == d && slices.Contains(q.policy.Rules.Groups, e.Group) {
			r.Action = rules.Accept // that of a drop is what it lets go
			list = append(list, r)
		}
	}
	return q.space.RuleSet(d, list, f.lists)
}

// conclude takes the fix back, or tells what it does to others.
func (f *proposal) conclude() {
	it := f.item
	switch {
	case len(f.cuts) > 0 && it.isExcess():
		it.Fix, it.Severity = nil, rules.Info
		it.Why = fmt.Sprintf("nothing that rule %s lets through is needed here, but some of it by %s", it.ID, some(f.cuts))
	case len(f.cuts) > 0:
		it.Fix = nil
		it.Why += "; no fix is offered, since it would cut what is needed by " + some(f.cuts)
	case len(f.changes) > 0:
		it.Why += "; careful: the fix also " + some(f.changes)
	}
}

// some lists the first few.
func some(list []string) string {
	const most = 3
	list = slices.Compact(slices.Sorted(slices.Values(list)))
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}
