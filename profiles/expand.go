package profiles

import (
	"cmp"
	"fmt"
	"slices"

	"ringfence.dev/ringfence/rules"
)

// An Expansion is what a profile means for one group of one cluster.
type Expansion struct {
	// Rules are those that the group should have: ingress before egress, then
	// in the order of the rows, their peers and their ports, without
	// duplicates. Where the own members of a basic group are let in by inner
	// access there is no rule for them.
	Rules []rules.Rule
	// Needs are the flows that the rows demand, in the same order. Peers are
	// concrete: CIDRs, groups or prefix lists.
	Needs []rules.Need
	// Skipped are the rows, or peers of rows, that gave no rule.
	Skipped []Skipped
}

// A Skipped row, or one peer of it, gave no rule.
type Skipped struct {
	// Row is the row's id.
	Row string
	// Reason says why, naming the peer unless it is the whole row.
	Reason string
}

// Expand turns the rows for the type of the group into rules and needs.
//
// LeastPrivilege takes the rows of that scope. Recommended takes its own rows
// and then, of the least-privilege rows, whatever its own do not let through:
// a declared exposure, an administrator's SSH, an overlay. So a group that
// was made either way has every least-privilege need met; needs to judge a
// group by come from LeastPrivilege.
//
// Rules that would be more than a group may have are made fewer where that
// changes nothing they mean: the rest of the cluster is told by addresses rather
// than by more than [rules.MaxGroupPeers] names of groups, and CIDRs that make up
// a larger one are joined. What is too much even so is the caller's to notice.
//
// Errors are wrong facts, as in [Facts.Validate], or an unknown scope.
func (t *Tables) Expand(f *Facts, s Scope) (Expansion, error) {
	if err := known("scope", s, []Scope{Recommended, LeastPrivilege}); err != nil {
		return Expansion{}, fmt.Errorf("cannot expand the profile: %w", err)
	}
	if err := f.Validate(); err != nil {
		return Expansion{}, fmt.Errorf("cannot expand the profile: %w", err)
	}
	e := expander{facts: f, scope: s, network: t.networks[f.Mode], encapsulation: t.Encapsulation(f)}
	if err := f.encapsulationErrors(e.encapsulation); err != nil {
		return Expansion{}, fmt.Errorf("cannot expand the profile: mode %s wraps with %s by default: %w", f.Mode, e.encapsulation, err)
	}
	e.byAddress = e.tooManyNames(t.rows)
	out := e.expand(t.rows)
	if len(out.Rules) > rules.MaxRulesPerHost {
		fewer := f.joined()
		e.facts = &fewer
		out = e.expand(t.rows)
	}
	return out, nil
}

// expand starts afresh.
func (e *expander) expand(rows []Row) Expansion {
	e.out, e.hasRule, e.hasNeed = Expansion{}, map[ruleKey]bool{}, map[needKey]bool{}
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		e.rows(rows, d)
	}
	return e.out
}

// tooManyNames reports whether a group made from the least-privilege rows would
// name groups in more rules than it may. The recommended rows follow suit: both
// profiles speak of the same needs.
func (e *expander) tooManyNames(rows []Row) bool {
	if len(e.facts.Others) > rules.MaxGroupPeers {
		return true // each is named at least once
	}
	least := *e
	least.scope = LeastPrivilege
	g := rules.Group{Ingress: least.expand(rows).Rules}
	return g.GroupPeers() > rules.MaxGroupPeers
}

// An expander turns rows into one Expansion.
type expander struct {
	facts         *Facts
	scope         Scope
	network       network
	encapsulation Encapsulation
	// byAddress tells the rest of the cluster by addresses, not by groups.
	byAddress bool

	// broad is what the recommended rows of the current direction let through
	// while the least-privilege rows are tried for what is left; else nil.
	broad []rules.Rule
	// filling is true during that second pass.
	filling bool

	out     Expansion
	hasRule map[ruleKey]bool
	hasNeed map[needKey]bool
}

func (e *expander) rows(rows []Row, d rules.Direction) {
	own := func(r *Row, s Scope) bool {
		return r.Direction == d && r.Scope == s && slices.Contains(r.GroupTypes, e.facts.GroupType)
	}
	from := len(e.out.Rules)
	for i := range rows {
		if r := &rows[i]; own(r, e.scope) {
			e.row(r)
		}
	}
	if e.scope == LeastPrivilege {
		return
	}
	e.broad, e.filling = slices.Clone(e.out.Rules[from:]), true
	for i := range rows {
		if r := &rows[i]; own(r, LeastPrivilege) && r.Action == rules.Accept {
			e.row(r)
		}
	}
	e.broad, e.filling = nil, false
}

func (e *expander) row(r *Row) {
	for _, c := range r.When {
		if !e.holds(c) {
			e.skip(r, fmt.Sprintf("condition %s does not hold", c))
			return
		}
	}
	if r.exposes() {
		e.exposures(r)
		return
	}
	flows := e.flows(r)
	if len(flows) == 0 {
		e.skip(r, "none of its ports is in use")
		return
	}
	for _, s := range r.Peers {
		to := e.resolve(r.Direction, s)
		if len(to.rules) == 0 {
			e.skip(r, string(s)+": "+to.reason)
		}
		e.emit(r, flows, to)
	}
}

// skip notes why a row gives no rule. What the recommended rows leave out is
// no news, so the second pass notes nothing.
func (e *expander) skip(r *Row, reason string) {
	if !e.filling {
		e.out.Skipped = append(e.out.Skipped, Skipped{Row: r.ID, Reason: reason})
	}
}

func (e *expander) exposures(r *Row) {
	found := false
	for i := range e.facts.Exposures {
		x := &e.facts.Exposures[i]
		if x.Direction != r.Direction {
			continue
		}
		found = true
		f := []flow{{protocol: x.Protocol, ports: x.Ports, component: r.Ports[0].Component, why: r.Ports[0].Why}}
		for _, peer := range x.Peers {
			to := e.resolveExposed(x.Direction, peer)
			if len(to.rules) == 0 {
				e.skip(r, peer.String()+": "+to.reason)
			}
			e.emit(r, f, to)
		}
	}
	if !found {
		e.skip(r, "no exposure in this direction is declared")
	}
}

// A flow is a protocol with ports that a row speaks of, and why.
type flow struct {
	protocol  rules.Protocol
	ports     rules.PortRange
	component string
	why       string
}

// flows returns the row's flows in the order of its ports, then protocols.
func (e *expander) flows(r *Row) []flow {
	var out []flow
	if len(r.Ports) == 0 {
		for _, p := range r.Protocols {
			out = append(out, flow{protocol: p, component: r.Component, why: r.Why})
		}
		return out
	}
	for i := range r.Ports {
		port := &r.Ports[i]
		for _, ports := range e.ports(port) {
			for _, p := range r.Protocols {
				out = append(out, flow{protocol: p, ports: ports, component: port.Component, why: port.Why})
			}
		}
	}
	return out
}

// ports returns the ranges that a row's port stands for; none when it does
// not apply to this cluster.
func (e *expander) ports(p *Port) []rules.PortRange {
	f := e.facts
	if p.Legacy && f.OmitLegacy || slices.ContainsFunc(p.When, func(c Condition) bool { return !e.holds(c) }) {
		return nil
	}
	switch p.Symbol {
	case PortsWebhooks:
		return single(f.WebhookPorts...)
	case PortsHooks:
		return single(f.Hooks...)
	case PortsAPIServer:
		if f.APIServerPort == 0 || f.APIServerPort == 6443 || f.APIServerPort == 443 {
			return nil
		}
		return single(f.APIServerPort)
	case PortsNodePorts:
		if f.NodePorts != nil && !f.NodePorts.Ports.IsZero() {
			return []rules.PortRange{f.NodePorts.Ports}
		}
	case PortsHealthChecks:
		if !f.HealthCheckPorts.IsZero() {
			return []rules.PortRange{f.HealthCheckPorts}
		}
	case PortsOverlay:
		return single(cmp.Or(f.EncapsulationPort, e.network.ports[e.encapsulation]))
	case PortsOverlayIPv6:
		return single(cmp.Or(f.EncapsulationPort, e.network.wireGuardIPv6))
	case PortsExposures: // come with their peers, see exposures
		return nil
	}
	return []rules.PortRange{p.Range}
}

func single(ports ...uint16) []rules.PortRange {
	var out []rules.PortRange
	for _, p := range ports {
		out = append(out, rules.PortRange{First: p, Last: p})
	}
	return out
}

func (e *expander) holds(c Condition) bool {
	f := e.facts
	switch c {
	case IfPoseidon:
		return f.Poseidon
	case IfVXLAN, IfGeneve, IfIPIP, IfWireGuard:
		return string(e.encapsulation) == string(c)
	case IfIPv6Nodes:
		return slices.ContainsFunc(f.NodeSubnets, isIPv6)
	case IfDualStack:
		return f.DualStack()
	case IfBGP:
		return f.BGP
	case IfEtcd:
		return f.Etcd
	case IfDHCP:
		return f.DHCP
	}
	return false
}

// emit adds the rules and needs of one peer of a row.
func (e *expander) emit(r *Row, flows []flow, to target) {
	e.each(r, flows, to.rules, func(f flow, peer rules.Peer) { e.addRule(ruleFor(r, f, peer)) })
	if r.Action == rules.Accept {
		e.each(r, flows, to.needs, func(f flow, peer rules.Peer) { e.addNeed(needFor(r, f, peer)) })
	}
}

// each calls do for each peer and, within it, for each flow that can be had with it.
func (e *expander) each(r *Row, flows []flow, peers []rules.Peer, do func(flow, rules.Peer)) {
	for _, peer := range peers {
		for _, f := range flows {
			for _, p := range e.protocols(r.Family, f.protocol, peer) {
				do(flow{protocol: p, ports: f.ports, component: f.component, why: f.why}, peer)
			}
		}
	}
}

// protocols returns what a row's protocol becomes for a peer: ICMP becomes
// ICMPv6 for IPv6 peers and both for a group in a dual-stack cluster; nothing
// is left where the peer is of another family than the row or protocol.
func (e *expander) protocols(family Family, p rules.Protocol, peer rules.Peer) []rules.Protocol {
	c, isCIDR := peer.(rules.CIDR)
	if !isCIDR {
		if _, isGroup := peer.(rules.GroupPeer); isGroup && p == rules.ICMP && e.facts.DualStack() {
			return []rules.Protocol{rules.ICMP, rules.ICMPv6}
		}
		return []rules.Protocol{p}
	}
	if family != "" && (family == IPv6) != isIPv6(c) {
		return nil
	}
	if p == rules.ICMP && isIPv6(c) {
		return []rules.Protocol{rules.ICMPv6}
	}
	return []rules.Protocol{p}
}

func ruleFor(r *Row, f flow, peer rules.Peer) rules.Rule {
	return rules.Rule{
		Direction: r.Direction, Action: r.Action, Priority: r.Priority, Protocol: f.protocol, Ports: f.ports, Peer: peer,
		Description: describe(r.ID, f.component, f.why), Row: r.ID,
	}
}

func needFor(r *Row, f flow, peer rules.Peer) rules.Need {
	return rules.Need{
		ID: r.ID, Direction: r.Direction, Protocol: f.protocol, Ports: f.ports, Peer: peer,
		Component: f.component, Why: f.why, Source: r.Origin(),
	}
}

// A ruleKey holds what makes two rules the same.
type ruleKey struct {
	direction rules.Direction
	action    rules.Action
	priority  uint8
	protocol  rules.Protocol
	ports     rules.PortRange
	peer      rules.Peer
}

// A needKey holds what makes two needs the same: two rows may demand one flow
// for different reasons.
type needKey struct {
	id        string
	direction rules.Direction
	protocol  rules.Protocol
	ports     rules.PortRange
	peer      rules.Peer
}

func (e *expander) addRule(r rules.Rule) {
	key := ruleKey{r.Direction, r.Action, r.Priority, r.Protocol, r.Ports, rules.PlainPeer(r.Peer)}
	if e.hasRule[key] || e.letsThrough(r.Direction, r.Protocol, r.Ports, r.Peer) {
		return
	}
	e.hasRule[key] = true
	e.out.Rules = append(e.out.Rules, r)
}

func (e *expander) addNeed(n rules.Need) {
	key := needKey{n.ID, n.Direction, n.Protocol, n.Ports, rules.PlainPeer(n.Peer)}
	if e.hasNeed[key] || e.letsThrough(n.Direction, n.Protocol, n.Ports, n.Peer) {
		return
	}
	e.hasNeed[key] = true
	e.out.Needs = append(e.out.Needs, n)
}
