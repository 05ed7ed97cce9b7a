package rules

// A World is what a verdict depends on beside the rules.
type World struct {
	Members Membership
	// Exempt is the traffic that passes before any group is asked. Empty for
	// clouds, which have exemptions of their own.
	Exempt []Exempt
}

// A Cause is what kind of thing decided a flow.
type Cause uint8

// The causes, from last to first.
const (
	// ByDefault: no rule matched.
	ByDefault Cause = iota
	ByRule
	// ByInnerAccess: peer and host share a basic group whose members trust each other.
	ByInnerAccess
	ByExempt
)

// A Verdict is the answer about one flow.
type Verdict struct {
	Action Action
	Cause  Cause
	// Rule is the rule that decided. Non-nil iff Cause is ByRule.
	Rule *MergedRule
	// Exempt is the entry that decided. Non-nil iff Cause is ByExempt.
	Exempt *Exempt
}

// By names what decided: GROUP/DIRECTION/POSITION, "inner-access", "exempt" or "default".
func (v *Verdict) By() string {
	switch v.Cause {
	case ByRule:
		return v.Rule.String()
	case ByInnerAccess:
		return "inner-access"
	case ByExempt:
		return "exempt"
	case ByDefault:
	}
	return "default"
}

// Evaluate decides one flow for a host that wears the groups of rs, by trying
// everything in order. It is the meaning of rules; all else must agree with it.
// It allocates nothing.
func Evaluate(rs *Ruleset, w *World, f *Flow) Verdict {
	for i := range w.Exempt {
		if w.Exempt[i].matches(f) {
			return Verdict{Action: Accept, Cause: ByExempt, Exempt: &w.Exempt[i]}
		}
	}
	if f.Direction == Ingress && rs.innerAccess(w, f) {
		return Verdict{Action: Accept, Cause: ByInnerAccess}
	}
	list := rs.Rules(f.Direction)
	for i := range list {
		if list[i].matches(w, f) {
			return Verdict{Action: list[i].Action, Cause: ByRule, Rule: &list[i]}
		}
	}
	return Verdict{Action: rs.Default(f.Direction)}
}

// Default returns what happens to flows that no rule matches.
func (rs *Ruleset) Default(d Direction) Action {
	if d == Egress && rs.Type == Basic {
		return Accept
	}
	return Drop
}

// innerAccess reports whether the peer is in one of the host's groups that
// has inner access.
func (rs *Ruleset) innerAccess(w *World, f *Flow) bool {
	for _, g := range rs.InnerAccess {
		if f.RemoteGroup == g || w.Members.Contains(g, f.Remote) {
			return true
		}
	}
	return false
}

func (r *MergedRule) matches(w *World, f *Flow) bool {
	return (r.Protocol == AllProtocols || r.Protocol == f.Protocol) &&
		r.Ports.holds(f.Port) &&
		(r.SourcePorts.IsZero() || f.HasSourcePort && r.SourcePorts.holds(f.SourcePort)) &&
		(!r.Member.IsValid() || r.Member.Contains(f.Local)) &&
		r.matchesPeer(w, f)
}

// holds reports whether a port is in r; a range that names no ports holds all.
func (r PortRange) holds(port uint16) bool {
	return r.IsZero() || r.First <= port && port <= r.Last
}

func (r *MergedRule) matchesPeer(w *World, f *Flow) bool {
	if g, ok := r.Peer.(GroupPeer); ok {
		return f.RemoteGroup == g.Name || w.Members.Contains(g.Name, f.Remote)
	}
	for _, p := range r.Prefixes {
		if p.Contains(f.Remote) {
			return true
		}
	}
	return false
}

func (e *Exempt) matches(f *Flow) bool {
	if e.Protocol != AllProtocols && e.Protocol != f.Protocol {
		return false
	}
	if e.hasTypes() && (f.ICMPType < e.FirstType || e.LastType < f.ICMPType) {
		return false
	}
	if p, ok := e.Peer.(CIDR); ok && !p.Prefix.Contains(f.Remote) {
		return false
	}
	return e.Ports.holds(f.Port)
}

// hasTypes reports whether the entry is about ICMP types.
func (e *Exempt) hasTypes() bool { return e.Protocol == ICMP || e.Protocol == ICMPv6 }
