package judge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// items is a list in which everything stands once: what several sets of groups
// have in common is one item, with all who wear them.
type items struct {
	list []Item
	at   map[string]int
}

func newItems() items { return items{at: map[string]int{}} }

// add appends an item, or adds its wearers to the one that says the same.
func (s *items) add(it Item) {
	i, again := s.at[it.identity()]
	if !again {
		s.at[it.identity()] = len(s.list)
		s.list = append(s.list, it)
		return
	}
	same := &s.list[i]
	same.Who = append(same.Who, it.Who...)
	if it.Severity > same.Severity {
		same.Severity, same.Example = it.Severity, it.Example
	}
	if len(it.Fix) == 0 && len(same.Fix) > 0 { // what is right for some only is not offered
		same.Fix, same.Why = nil, it.Why
	}
}

// identity is the same for two items iff they say the same about one cluster: a
// need that one and the same edits would meet, or one rule in one respect.
func (it *Item) identity() string {
	parts := []string{it.ID, it.Cluster, it.Direction.String(), it.subject}
	if it.subject == "" {
		parts = append(parts, it.Group, it.Protocol, it.Ports, it.Peer, it.Component)
		if it.Component != "" { // a need
			parts = append(parts, fmt.Sprint(it.Fix))
		} else if it.Protocol == "" { // about no rule
			parts = append(parts, it.Why)
		}
	}
	return strings.Join(parts, "\x00")
}

// isExcess reports whether the item is about a rule that lets through too much.
func (it *Item) isExcess() bool { return it.subject == "" && it.Component == "" }

func (r *Report) sort() {
	for _, list := range [][]Item{r.Missing, r.Excess, r.Findings} {
		slices.SortStableFunc(list, func(a, b Item) int {
			return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Cluster, b.Cluster))
		})
	}
}

// Fails reports whether the report holds anything at or above a severity.
// Missing needs are high.
func (r *Report) Fails(at rules.Severity) bool {
	for _, list := range [][]Item{r.Missing, r.Excess, r.Findings} {
		for i := range list {
			if list[i].Severity >= at {
				return true
			}
		}
	}
	return false
}
