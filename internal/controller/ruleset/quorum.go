package ruleset

import (
	"slices"

	"ringfence.dev/ringfence/internal/assign"
)

// A quorum sees to it that of the hosts of a cluster that are there for etcd or
// the API server one at a time changes, over all Rollouts of a namespace. Hosts
// without a cluster count as those of one.
type quorum struct {
	// moving are the hosts of each cluster that have been told to change and have
	// not confirmed yet.
	moving map[string][]string
}

// newQuorum looks at what all hosts are told to run, and do.
func newQuorum(trials []*trial) *quorum {
	q := &quorum{moving: map[string][]string{}}
	for _, t := range trials {
		for i := range t.members {
			if m := &t.members[i]; m.critical && t.moves(m) {
				q.moving[m.cluster] = append(q.moving[m.cluster], m.name)
			}
		}
	}
	return q
}

// moves reports whether a host is on its way to what it is to run, or was when
// it was last seen.
func (t *trial) moves(m *member) bool {
	settled := m.runs == assign.Ruleset(&t.spec, m.follower())
	if assign.Ruleset(&t.spec, m.follower()) == "" { // it keeps what it has
		settled = !m.trying
	}
	return !settled && (t.counted(m) || m.there || !m.seen.IsZero() && t.now.Sub(m.seen) < wayBack)
}

// order puts those first that move already: whatever keeps them from what they
// are to run, something newer may be the way out, and nobody else may change
// before them.
func (q *quorum) order(critical []*member) []*member {
	out := slices.Clone(critical)
	slices.SortStableFunc(out, func(a, b *member) int {
		switch x, y := q.isMoving(a), q.isMoving(b); {
		case x == y:
			return 0
		case x:
			return -1
		}
		return 1
	})
	return out
}

func (q *quorum) isMoving(m *member) bool { return slices.Contains(q.moving[m.cluster], m.name) }

// take lets a host change if no other one of its cluster does.
func (q *quorum) take(m *member) bool {
	others := slices.ContainsFunc(q.moving[m.cluster], func(name string) bool { return name != m.name })
	if others {
		return false
	}
	q.moving[m.cluster] = []string{m.name}
	return true
}
