package judge

import (
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/rules"
)

// fix returns the edits that meet a need and nothing else, and a warning if
// that cannot be had.
//
// The accept must be tried before every drop in its way, so it goes one
// priority above the first of them. Where that one has priority 1 already there
// is no room above, since at equal priority drops win: the drop moves to 2, and
// so do the accepts of priority 1 that it beats today, unless they are needed:
// they would come alive, and open what nobody asked for.
func (j *judge) fix(q *question, m *rules.Missing) (edits []rules.Edit, careful string, err error) {
	adds := q.fixRules(&m.Need)
	if len(adds) == 0 {
		return nil, "; no fix is offered: it would take more rules than anybody would write", nil
	}
	first := slices.IndexFunc(m.Blockers, func(r *rules.MergedRule) bool { return r.Priority == 1 })
	if first < 0 {
		if len(m.Blockers) > 0 {
			for i := range adds {
				adds[i].Priority = m.Blockers[0].Priority - 1
			}
		}
		return addAll(q.facts.Group, adds), "", nil
	}
	moves, err := q.moves(m)
	if err != nil {
		return nil, "", err
	}
	edits, careful, err = j.makeRoom(q, moves)
	if err != nil || edits == nil {
		return nil, careful, err
	}
	at := slices.IndexFunc(edits, func(e rules.Edit) bool { return e.Remove })
	return slices.Insert(edits, at, addAll(q.facts.Group, adds)...), careful, nil
}

// A moved is what comes of moving rules from priority 1 to 2.
type moved struct {
	edits   []rules.Edit // nil if it would cut what is needed
	careful string
}

// makeRoom returns the edits that move rules, and of needs that this would cut
// the accepts that meet them, with a warning about what it opens or closes
// beside. The same moves are asked for by every need that they stand in the way
// of, and are tried once.
func (j *judge) makeRoom(q *question, moves []*rules.MergedRule) ([]rules.Edit, string, error) {
	var edits, removals []rules.Edit
	for _, r := range moves {
		later := r.Rule
		later.Priority, later.Row = 2, "" // a copy is the user's own
		edits = append(edits, rules.Edit{Group: r.Group, Rule: later})
		removals = append(removals, rules.Edit{Remove: true, Group: r.Group, Rule: r.Rule})
	}
	key := fmt.Sprint(edits)
	if m, ok := q.tried[key]; ok {
		return slices.Clone(m.edits), m.careful, nil
	}
	change, err := j.try(q, slices.Concat(edits, removals))
	if err != nil {
		return nil, "", err
	}
	kept, err := j.keep(q, change)
	if err != nil {
		return nil, "", err
	}
	m := &moved{edits: slices.Concat(edits, kept, removals)}
	if len(kept) > 0 {
		if change, err = j.try(q, m.edits); err != nil {
			return nil, "", err
		}
	}
	m.careful = q.warning(change)
	if closes(q, change) {
		m.edits, m.careful = nil, "; there is no fix without another cut: rules of priority 1 stand against each other"
	}
	q.tried[key] = m
	return slices.Clone(m.edits), m.careful, nil
}

// keep returns the accepts for needs that a change would cut.
func (j *judge) keep(q *question, change *rules.Change) ([]rules.Edit, error) {
	var edits []rules.Edit
	for i := range q.needs {
		n := &q.needs[i]
		_, cut, err := q.space.Meets(change.Closes[n.Direction], n, j.inv.PrefixLists)
		if err != nil {
			return nil, err
		}
		if cut {
			edits = append(edits, addAll(q.facts.Group, q.fixRules(n))...)
		}
	}
	return edits, nil
}

// closes reports whether a change cuts needed flows.
func closes(q *question, change *rules.Change) bool {
	return change.Closes[rules.Ingress].Meet(q.needed[rules.Ingress]) || change.Closes[rules.Egress].Meet(q.needed[rules.Egress])
}

func addAll(group string, list []rules.Rule) []rules.Edit {
	edits := make([]rules.Edit, 0, len(list))
	for _, r := range list {
		edits = append(edits, rules.Edit{Group: group, Rule: r})
	}
	return edits
}

// moves lists the rules of priority 1 that must make room: accepts first, so
// that they are gone before the drops that hide them.
func (q *question) moves(m *rules.Missing) ([]*rules.MergedRule, error) {
	var drops, accepts []*rules.MergedRule
	for _, b := range m.Blockers {
		if b.Priority == 1 {
			drops = append(drops, b)
		}
	}
	list := q.policy.Rules.Rules(m.Need.Direction)
	for i := range list {
		a := &list[i]
		if a.Priority != 1 || a.Action != rules.Accept {
			continue
		}
		wanted, err := q.policy.Within(a, q.needed[m.Need.Direction])
		if err != nil {
			return nil, err
		}
		for _, d := range drops {
			hidden, err := q.policy.Meet(a, d)
			if err != nil {
				return nil, err
			}
			if hidden && !wanted {
				accepts = append(accepts, a)
				break
			}
		}
	}
	return append(accepts, drops...), nil
}

// try tells what edits change for those who wear a set.
func (j *judge) try(q *question, edits []rules.Edit) (*rules.Change, error) {
	after, err := j.compile(q, q.worn.edited(edits))
	if err != nil {
		return nil, err
	}
	change, err := rules.Diff(q.policy, after)
	return &change, err
}

// warning tells in words what moving rules opens beyond the needs, or closes;
// nothing if neither.
func (q *question) warning(change *rules.Change) string {
	var texts []string
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		texts = append(texts, q.regionText("opens", change.Opens[d].Subtract(q.needed[d]))...)
		texts = append(texts, q.regionText("closes", change.Closes[d])...)
	}
	if len(texts) == 0 {
		return ""
	}
	return "; careful: the fix moves rules to priority 2, which also " + strings.Join(texts, " and ")
}

// regionText describes a set in words; nothing if it is empty.
func (q *question) regionText(verb string, s rules.Set) []string {
	regions := q.space.Regions(s)
	if len(regions) == 0 {
		return nil
	}
	r := &regions[0]
	text := fmt.Sprintf("%s %s %s %s with %s", verb, r.Direction, r.Protocols, r.Ports, r.Peers[0])
	if more := len(regions) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more such regions)", more)
	}
	return []string{text}
}

// edited returns the set with edits made in copies of its groups.
func (w *worn) edited(edits []rules.Edit) *worn {
	out := *w
	out.groups = nil
	for _, g := range w.groups {
		c := convert.Group{Group: g.Group}
		c.Ingress, c.Egress = slices.Clone(g.Ingress), slices.Clone(g.Egress)
		for _, e := range edits {
			if e.Group == g.Name {
				makeEdit(&c.Group, e)
			}
		}
		out.groups = append(out.groups, &c)
	}
	return &out
}

func makeEdit(g *rules.Group, e rules.Edit) {
	if !e.Remove {
		g.Append(e.Rule)
		return
	}
	list := &g.Ingress
	if e.Rule.Direction == rules.Egress {
		list = &g.Egress
	}
	if i := slices.Index(*list, e.Rule); i >= 0 {
		*list = slices.Delete(*list, i, i+1)
	}
}
