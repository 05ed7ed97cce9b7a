package judge

import (
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/profiles"
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
	adds := profiles.FixRules(m.Need, &q.facts)
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
	var removals []rules.Edit
	for _, r := range moves {
		later := r.Rule
		later.Priority, later.Row = 2, "" // a copy is the user's own
		edits = append(edits, rules.Edit{Group: r.Group, Rule: later})
		removals = append(removals, rules.Edit{Remove: true, Group: r.Group, Rule: r.Rule})
	}
	careful, err = j.sideEffects(q, slices.Concat(edits, removals))
	if err != nil {
		return nil, "", err
	}
	return slices.Concat(edits, addAll(q.facts.Group, adds), removals), careful, nil
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

// sideEffects tells in words what moving rules opens beyond the needs, or
// closes. The same moves are asked for by every need that they stand in the way
// of, and are tried once.
func (j *judge) sideEffects(q *question, edits []rules.Edit) (string, error) {
	key := fmt.Sprint(edits)
	if text, ok := q.tried[key]; ok {
		return text, nil
	}
	text, err := j.try(q, edits)
	q.tried[key] = text
	return text, err
}

func (j *judge) try(q *question, edits []rules.Edit) (string, error) {
	rs, err := q.worn.edited(edits).merge(j.inv)
	if err != nil {
		return "", err
	}
	after, err := q.space.Compile(rs)
	if err != nil {
		return "", err
	}
	change, err := rules.Diff(q.policy, after)
	if err != nil {
		return "", err
	}
	var texts []string
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		texts = append(texts, q.regionText("opens", change.Opens[d].Subtract(q.needed[d]))...)
		texts = append(texts, q.regionText("closes", change.Closes[d])...)
	}
	if len(texts) == 0 {
		return "", nil
	}
	return "; careful: the fix moves rules to priority 2, which also " + strings.Join(texts, " and "), nil
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
