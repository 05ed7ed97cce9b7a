package agent

import (
	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/rules"
)

// counts returns what each rule has decided, in the order in which they are
// tried, then the defaults. A rule that decides nothing for anybody has no
// counter, and is left out.
func (l *layout) counts(tallies map[string]apply.Tally) []RuleCount {
	var out []RuleCount
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		add := func(v rules.Verdict) {
			if t, ok := tallies[nft.Leaf(d, v, l.order.Observe)]; ok {
				out = append(out, RuleCount{v.By(), d.String(), v.Action.String(), t.Packets, t.Bytes})
			}
		}
		list := l.rules.Rules(d)
		for i := range list {
			add(rules.Verdict{Action: list[i].Action, Cause: rules.ByRule, Rule: &list[i]})
		}
		add(rules.Verdict{Action: rules.Accept, Cause: rules.ByInnerAccess})
		add(rules.Verdict{Action: l.rules.Default(d), Cause: rules.ByDefault})
	}
	return out
}
