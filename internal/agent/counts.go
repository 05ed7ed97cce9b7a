package agent

import (
	"time"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/rules"
)

// A decider is what a leaf stands for.
type decider struct {
	leaf, by  string
	direction rules.Direction
	action    rules.Action
}

// unreadable names what lacks the field that decides.
const unreadable = "unreadable"

// deciders returns what may decide, in the order in which it is tried, the
// defaults and what cannot be read last.
func (l *layout) deciders() []decider {
	var out []decider
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		add := func(v rules.Verdict) {
			out = append(out, decider{nft.Leaf(d, v, l.order.Observe), v.By(), d, v.Action})
		}
		list := l.rules.Rules(d)
		for i := range list {
			add(rules.Verdict{Action: list[i].Action, Cause: rules.ByRule, Rule: &list[i]})
		}
		add(rules.Verdict{Action: rules.Accept, Cause: rules.ByInnerAccess})
		add(rules.Verdict{Action: l.rules.Default(d), Cause: rules.ByDefault})
		out = append(out, decider{nft.Unreadable(d, l.order.Observe), unreadable, d, rules.Drop})
	}
	return out
}

// counts returns what each rule has decided, in the order in which they are
// tried, then the defaults. A rule that decides nothing for anybody has no
// counter, and is left out. Hits are when leaves decided last, as far as known.
func (l *layout) counts(tallies map[string]apply.Tally, hits map[string]time.Time) []RuleCount {
	var out []RuleCount
	told := map[string]bool{} // equal rules have one leaf: the first one decides
	for _, d := range l.deciders() {
		t, ok := tallies[d.leaf]
		if !ok || told[d.leaf] {
			continue
		}
		told[d.leaf] = true
		c := RuleCount{By: d.by, Direction: d.direction.String(), Action: d.action.String(), Packets: t.Packets, Bytes: t.Bytes}
		if at, ok := hits[d.leaf]; ok {
			c.LastHit = &at
		}
		out = append(out, c)
	}
	return out
}
