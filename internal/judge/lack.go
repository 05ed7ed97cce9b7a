package judge

import (
	"fmt"
	"slices"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// A HostReport says which needed flows the groups of one host drop.
type HostReport struct {
	// Observe says that the host lets pass what its groups drop.
	Observe bool
	// Groups are those that it wears, sorted; Needs how many needs were looked at.
	Groups []string
	Needs  int
	// Lacks are the needs that are not met, in the order of the tables.
	Lacks []Lack
	// Others are the places of the given flows that the groups drop and nobody
	// needs, Passing of those that they let through.
	Others, Passing []int
}

// A Lack is a need that a host's groups do not meet. Its item has no fix: what
// suits everybody who wears the groups is [Check]'s to say.
type Lack struct {
	Item

	// Seen are the places of the given flows that the need asks for and the
	// groups drop.
	Seen []int
}

// Host looks which needed flows the groups of a host drop, and which of them
// were seen. The inventory is a complete one, see [Complete]. An error says why
// the question cannot be answered.
func Host(inv *convert.Inventory, tables *profiles.Tables, name string, seen []rules.Flow) (*HostReport, error) {
	i := slices.IndexFunc(inv.Interfaces, func(f convert.Interface) bool { return f.ID == name && f.Origin == convert.Manifest })
	if i < 0 {
		return nil, fmt.Errorf("there is no Host %s: name one that is there", name)
	}
	j := judge{inv: inv, tables: tables, worlds: newWorlds(inv, tables.Exempt(), ExemptOwnHosts), asked: map[string]*question{}}
	r := &HostReport{Observe: inv.Interfaces[i].Observe, Groups: inv.Interfaces[i].Groups}
	var q *question
	needed := map[int]bool{}
	for k := range inv.Clusters {
		for _, w := range wearers(inv, &inv.Clusters[k]) {
			if w.host != &inv.Interfaces[i] {
				continue
			}
			if err := knows(&w); err != nil {
				return nil, fmt.Errorf("cannot tell what host %s lacks: %w", name, err)
			}
			var err error
			if q, err = j.ask(&w); err != nil {
				return nil, err
			}
			if err := j.host(q, seen, r, needed); err != nil {
				return nil, err
			}
		}
	}
	if q == nil {
		return nil, fmt.Errorf("host %s is of no cluster, or wears no group yet: nothing says what it needs", name)
	}
	for k := range seen {
		switch {
		case needed[k]:
		case q.drops(&seen[k]): // by the same groups, whichever the cluster
			r.Others = append(r.Others, k)
		default:
			r.Passing = append(r.Passing, k)
		}
	}
	return r, nil
}

// knows returns an error if a fact is missing without which nothing can be said
// of those who wear a set.
func knows(w *worn) error {
	if unjudgeable(w.cluster) {
		return fmt.Errorf("%s: network mode and node subnets of cluster %s are not known", w.cluster.Place, w.cluster.Title)
	}
	for _, g := range w.groups {
		if g.RulesUnknown || g.TypeUnknown {
			return fmt.Errorf("%s: rules and type of group %s are not known", g.Place, g.Name)
		}
	}
	return nil
}

// host adds what a set lacks that one cluster needs, and notes which of the
// flows are needed.
func (j *judge) host(q *question, seen []rules.Flow, r *HostReport, needed map[int]bool) error {
	missing, err := j.lacking(q)
	if err != nil {
		return err
	}
	r.Needs += len(q.needs)
	for i := range missing {
		m := &missing[i]
		set, err := q.space.NeedSet(m.Need.Direction, []rules.Need{m.Need}, j.inv.PrefixLists)
		if err != nil {
			return err
		}
		l := Lack{Item: q.missingItem(m)}
		for k := range seen {
			if f := &seen[k]; q.within(set, f) && q.drops(f) {
				l.Seen = append(l.Seen, k)
				needed[k] = true
			}
		}
		r.Lacks = append(r.Lacks, l)
	}
	return nil
}

// within reports whether a flow is in a set, if its source port is not known
// as one from an ordinary port: needs name none.
func (q *question) within(set rules.Set, f *rules.Flow) bool {
	sent := *f
	if !f.HasSourcePort {
		sent.SourcePort, sent.HasSourcePort = ordinaryPort, f.Protocol.HasPorts()
	}
	return q.space.Contains(set, &sent)
}

func (q *question) drops(f *rules.Flow) bool { return q.policy.Verdict(f).Action == rules.Drop }
