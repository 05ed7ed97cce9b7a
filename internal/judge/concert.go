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
	edits := together(fixes)
	for _, w := range j.wearersOf(edits) {
		if err := j.agree(&w, fixes, edits); err != nil {
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
	item *Item
	// cuts are those of whom it cuts a need, and changes those of no need, or
	// beyond them, in words.
	cuts, changes []string
}

func (j *judge) fixes() []*proposal {
	var out []*proposal
	for _, list := range [][]Item{j.missing.list, j.excess.list, j.findings.list} {
		for i := range list {
			if len(list[i].Fix) > 0 {
				out = append(out, &proposal{item: &list[i]})
			}
		}
	}
	return out
}

// together returns the edits of all fixes, each once.
func together(fixes []*proposal) []rules.Edit {
	var edits []rules.Edit
	seen := map[rules.Edit]bool{}
	for _, f := range fixes {
		for _, e := range f.item.Fix {
			if !seen[e] {
				seen[e] = true
				edits = append(edits, e)
			}
		}
	}
	return edits
}

// wearersOf lists who wears the groups that edits change, one entry for each set
// of groups of a cluster.
func (j *judge) wearersOf(edits []rules.Edit) []worn {
	edited := map[string]bool{}
	for _, e := range edits {
		edited[e.Group] = true
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
func (j *judge) agree(w *worn, fixes []*proposal, edits []rules.Edit) error {
	q, err := j.ask(w)
	if err != nil {
		return err
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
			reach, err := j.reach(f, q, d)
			if err != nil {
				return err
			}
			f.note(q.worn, reach, cut, opened, closed)
		}
	}
	return nil
}

// note adds what the fix, which reaches some flows, has to do with a change for
// those who wear a set.
func (f *proposal) note(w *worn, reach, cut, opened, closed rules.Set) {
	switch {
	case reach.Meet(cut):
		f.cuts = append(f.cuts, w.who)
	case f.item.asked == w.who: // told with the item itself
	case reach.Meet(opened):
		f.changes = append(f.changes, "opens more for "+w.who)
	case w.cluster == nil && reach.Meet(closed): // nobody knows what it needs
		f.changes = append(f.changes, "closes something for "+w.who)
	}
}

// reach returns the flows of one direction that the rules of a fix match, for
// those who wear a set.
func (j *judge) reach(f *proposal, q *question, d rules.Direction) (rules.Set, error) {
	var list []rules.Rule
	for _, e := range f.item.Fix {
		if r := e.Rule; r.Direction == d && slices.Contains(q.policy.Rules.Groups, e.Group) {
			r.Action = rules.Accept // that of a drop is what it lets go
			list = append(list, r)
		}
	}
	return q.space.RuleSet(d, list, j.inv.PrefixLists)
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
