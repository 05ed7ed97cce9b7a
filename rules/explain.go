package rules

// An Explanation is a verdict with what stood behind it.
type Explanation struct {
	Verdict Verdict
	// Hidden are the rules that match the flow too but come later, in the
	// order in which they would have been tried.
	Hidden []*MergedRule
	// Unknown are the rules whose peer is a group with unknown members: they
	// were taken as not matching. In the order tried, those before the
	// decision only.
	Unknown []*MergedRule
}

// Explain decides one flow as [Evaluate] does and tells which other rules
// match it.
func Explain(rs *Ruleset, w *World, f *Flow) Explanation {
	e := Explanation{Verdict: Evaluate(rs, w, f)}
	list := rs.Rules(f.Direction)
	decided := e.Verdict.Cause > ByRule
	for i := range list {
		r := &list[i]
		switch {
		case r == e.Verdict.Rule:
			decided = true
		case r.matches(w, f):
			e.Hidden = append(e.Hidden, r)
		case !decided && r.matchesUnknown(w, f):
			e.Unknown = append(e.Unknown, r)
		}
	}
	return e
}

// matchesUnknown reports whether r would match if the peer were a member of
// its group, about whose members nothing is known.
func (r *MergedRule) matchesUnknown(w *World, f *Flow) bool {
	g, ok := r.Peer.(GroupPeer)
	if !ok || w.Members.Known(g.Name) {
		return false
	}
	as := *f
	as.RemoteGroup = g.Name
	return r.matches(w, &as)
}
