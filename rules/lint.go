package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/rules/flowset"
)

// A Severity ranks findings.
type Severity uint8

// The severities. Info tells, Low tidies, Medium deserves a look soon, High is
// an outage or a breach waiting.
const (
	Info Severity = iota
	Low
	Medium
	High
)

// String returns the severity's name in lower case.
func (s Severity) String() string {
	return [...]string{"info", "low", "medium", "high"}[min(s, High)]
}

// A Finding is something wrong with what somebody wrote.
type Finding struct {
	// ID is the kind of finding, such as "shadowed-rule".
	ID        string
	Severity  Severity
	Direction Direction
	// Rules are the rules that the finding is about, the guilty one first.
	// Empty if it is about the groups as a whole.
	Rules []*MergedRule
	// Why says what is wrong, and what it means, in a sentence or two.
	Why string
	// Example is a flow that shows it; the zero Flow if there is none.
	Example Flow
}

// The kinds of finding that [Policy.Lint] reports.
const (
	ShadowedRule    = "shadowed-rule"
	RedundantRule   = "redundant-rule"
	ConflictingRule = "conflicting-rules"
	WorldOpen       = "world-open-port"
	OverQuota       = "over-quota"
	UnreachablePeer = "unreachable-peer"
	UnknownMembers  = "unknown-members"
)

// A sensitivePort is a destination port that the whole world should not reach.
type sensitivePort struct {
	ports flowset.Range
	what  string
	risk  Severity
}

// sensitivePorts are what an attacker looks for first on a cluster's hosts.
func sensitivePorts() []sensitivePort {
	return []sensitivePort{
		{flowset.Range{First: 22, Last: 22}, "SSH", High},
		{flowset.Range{First: 2379, Last: 2380}, "etcd", High},
		{flowset.Range{First: 6443, Last: 6443}, "the API server", High},
		{flowset.Range{First: 10250, Last: 10250}, "the kubelet", High},
		{flowset.Range{First: 10255, Last: 10255}, "the kubelet's read-only port", High},
		{flowset.Range{First: 30000, Last: 32767}, "NodePorts", Medium},
	}
}

// TakeoverPorts are those with which a machine, its etcd or its kubelet can be
// taken over, TCP: nothing may open them by itself, or without being tried first.
func TakeoverPorts() []PortRange {
	return []PortRange{{First: 22, Last: 22}, {First: 2379, Last: 2380}, {First: 10250, Last: 10250}}
}

// Lint reports what is wrong with the rules whatever the cluster needs. Flows
// of the set intended (ingress) are never called too open. Groups that are
// known by name may be given, to find peers that can never match. The error is
// [flowset.ErrBudget].
func (p *Policy) Lint(intended Set, known map[string]*Group) ([]Finding, error) {
	var out []Finding
	for _, d := range []Direction{Ingress, Egress} {
		idle, err := p.idle(d)
		if err != nil {
			return nil, err
		}
		conflicts, err := p.conflicts(d)
		if err != nil {
			return nil, err
		}
		out = slices.Concat(out, idle, conflicts, p.peers(d, known))
	}
	open, err := p.worldOpen(intended)
	if err != nil {
		return nil, err
	}
	return slices.Concat(out, open, p.quotas()), p.space.arena.Err()
}

// idle finds the rules that decide no flow.
func (p *Policy) idle(d Direction) ([]Finding, error) {
	deciding := p.deciding(d)
	list := p.Rules.Rules(d)
	var out []Finding
	for i := range list {
		r := &list[i]
		if _, ok := deciding[r]; ok || len(r.Prefixes) == 0 && !r.hasMembers(p.space) {
			continue
		}
		hiders, err := p.deciders(r, list[:i])
		if err != nil {
			return nil, err
		}
		f := Finding{ID: RedundantRule, Severity: Low, Direction: d, Rules: append([]*MergedRule{r}, hiders...)}
		f.Why = fmt.Sprintf("rule %s never decides: what it matches is decided the same way before it%s", r, by(hiders))
		if slices.ContainsFunc(hiders, func(h *MergedRule) bool { return h.Action != r.Action }) {
			f.ID, f.Severity = ShadowedRule, Medium
			f.Why = fmt.Sprintf("rule %s (%s) has no effect: rules that are tried before it decide all that it matches, some of it the other way%s", r, r.Action, by(hiders))
		}
		out = append(out, f)
	}
	return out, nil
}

func (r *MergedRule) hasMembers(ws *Workspace) bool {
	g, ok := r.Peer.(GroupPeer)
	return ok && (!ws.world.Members.Known(g.Name) || len(ws.world.Members.Prefixes(g.Name)) > 0)
}

// deciders returns those of some rules that decide flows which r matches.
func (p *Policy) deciders(r *MergedRule, among []MergedRule) ([]*MergedRule, error) {
	matched, err := p.matched(r)
	if err != nil {
		return nil, err
	}
	s := &p.sides[r.Direction]
	decides := map[*MergedRule]bool{}
	for v := range s.diagram.Intersect(matched).Examples() {
		decides[s.verdicts[v].Rule] = true
	}
	var list []*MergedRule
	for i := range among {
		if decides[&among[i]] {
			list = append(list, &among[i])
		}
	}
	return list, nil
}

func by(hiders []*MergedRule) string {
	if len(hiders) == 0 {
		return " (by inner access or exempt traffic)"
	}
	names := make([]string, 0, 3)
	for _, h := range hiders[:min(3, len(hiders))] {
		names = append(names, h.String())
	}
	more := ""
	if len(hiders) > 3 {
		more = fmt.Sprintf(" and %d more", len(hiders)-3)
	}
	return " (by " + strings.Join(names, ", ") + more + ")"
}

// conflicts finds drops and accepts of one priority that meet: the drop wins,
// which surprises whoever wrote the accept.
func (p *Policy) conflicts(d Direction) ([]Finding, error) {
	list := p.Rules.Rules(d)
	var out []Finding
	first := 0 // of the drops of one priority
	for i := range list {
		if list[i].Priority != list[first].Priority {
			first = i
		}
		accept := &list[i]
		drops := list[first:i]
		if accept.Action != Accept || len(drops) == 0 || drops[0].Action != Drop {
			continue
		}
		winners, err := p.deciders(accept, drops)
		if err != nil {
			return nil, err
		}
		winners = slices.DeleteFunc(winners, func(r *MergedRule) bool { return r.Action != Drop })
		if len(winners) > 0 {
			out = append(out, Finding{
				ID: ConflictingRule, Severity: Low, Direction: d, Rules: append([]*MergedRule{accept}, winners...),
				Why: fmt.Sprintf("rule %s accepts what a drop of the same priority %d matches too%s: the drop wins", accept, accept.Priority, by(winners)),
			})
		}
	}
	return out, nil
}

// peers finds rules whose peer can never match, or only groups whose members
// nobody told.
func (p *Policy) peers(d Direction, known map[string]*Group) []Finding {
	list := p.Rules.Rules(d)
	var out []Finding
	for i := range list {
		r := &list[i]
		if g, ok := r.Peer.(GroupPeer); ok {
			out = append(out, p.groupPeer(r, g.Name, known[g.Name])...)
			continue
		}
		if n := slices.IndexFunc(r.Prefixes, func(p netip.Prefix) bool { return nobody(d, p) }); n >= 0 {
			out = append(out, Finding{
				ID: UnreachablePeer, Severity: Low, Direction: d, Rules: []*MergedRule{r},
				Why: fmt.Sprintf("rule %s names %s: no peer on a network has such an address", r, r.Prefixes[n]),
			})
		}
	}
	return out
}

func (p *Policy) groupPeer(r *MergedRule, name string, g *Group) []Finding {
	f := Finding{ID: UnreachablePeer, Severity: Medium, Direction: r.Direction, Rules: []*MergedRule{r}}
	switch {
	case g != nil && g.Type == Advanced:
		f.Why = fmt.Sprintf("rule %s names the advanced group %s: such groups cannot be peers", r, name)
	case !p.space.world.Members.Known(name):
		f.ID, f.Severity = UnknownMembers, Info
		f.Why = fmt.Sprintf("rule %s names group %s, whose members no file lists: only whole-group statements can be made about it", r, name)
	case len(p.space.world.Members.Prefixes(name)) == 0:
		f.Severity = Low
		f.Why = fmt.Sprintf("rule %s names group %s, which has no members", r, name)
	default:
		return nil
	}
	return []Finding{f}
}

// nobody reports whether no peer on a network can have an address of p: nobody
// sends from a multicast address, though everybody may send to one.
func nobody(d Direction, p netip.Prefix) bool {
	a := p.Addr()
	return p.Bits() > 0 && (a.IsLoopback() || a.IsMulticast() && d == Ingress || a.IsUnspecified() && p.IsSingleIP())
}

// worldBits is the length of the prefix of public IPv4 addresses that makes a
// peer "the world". For IPv6 it is the same share of the global unicast space.
const worldBits = 8

// worldOpen finds sensitive TCP ports that a rule opens to the world.
func (p *Policy) worldOpen(intended Set) ([]Finding, error) {
	var out []Finding
	side := &p.sides[Ingress]
	for _, s := range sensitivePorts() {
		set, err := p.space.flows(worldBoxes(s.ports))
		if err != nil {
			return nil, err
		}
		open := side.diagram.Intersect(set).Subtract(intended.in(p.space))
		for _, v := range wideLeaves(open, side) {
			point := v.point
			out = append(out, Finding{
				ID: WorldOpen, Severity: s.risk, Direction: Ingress, Rules: []*MergedRule{v.rule},
				Why:     fmt.Sprintf("rule %s opens TCP %s (%s) to the internet", v.rule, portsText(s.ports), s.what),
				Example: p.space.flow(Ingress, &point),
			})
		}
	}
	return out, nil
}

func portsText(r flowset.Range) string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// worldBoxes are TCP flows to ports from public addresses.
func worldBoxes(ports flowset.Range) []flowset.Box {
	var boxes []flowset.Box
	for _, text := range publicSpace() {
		prefix := netip.MustParsePrefix(text)
		b := flowset.All(flowset.SpaceOf(prefix.Addr()))
		b.Peer, b.Protocol, b.Port = flowset.RangeOf(prefix), flowset.Range{First: uint32(TCP), Last: uint32(TCP)}, ports
		boxes = append(boxes, b)
	}
	return boxes
}

// publicSpace is what is left of the IPv4 space without its special blocks
// (RFC 6890), in large pieces, and IPv6's global unicast space.
func publicSpace() []string {
	return []string{
		"1.0.0.0/8", "2.0.0.0/7", "4.0.0.0/6", "8.0.0.0/7", "11.0.0.0/8", "12.0.0.0/6", "16.0.0.0/4", "32.0.0.0/3",
		"64.0.0.0/3", "96.0.0.0/6", "101.0.0.0/8", "102.0.0.0/7", "104.0.0.0/5", "112.0.0.0/5", "120.0.0.0/6",
		"124.0.0.0/7", "126.0.0.0/8", "128.0.0.0/3", "160.0.0.0/5", "168.0.0.0/8", "170.0.0.0/7", "173.0.0.0/8",
		"174.0.0.0/7", "176.0.0.0/4", "193.0.0.0/8", "194.0.0.0/7", "196.0.0.0/7", "199.0.0.0/8", "200.0.0.0/5",
		"208.0.0.0/4", "2000::/3",
	}
}

// A wideLeaf is a rule that accepts from so many addresses that it is open to
// the world.
type wideLeaf struct {
	rule  *MergedRule
	point flowset.Point
}

func wideLeaves(open flowset.Diagram, s *side) []wideLeaf {
	type tally struct {
		v4, v6 float64 // shares of the unit that counts as the world
		point  flowset.Point
		last   flowset.AddrRange // counted already: boxes come in the order of peers
	}
	sums := map[flowset.Leaf]*tally{}
	for b, v := range open.Boxes() {
		t := sums[v]
		if t == nil {
			t = &tally{point: b.First()}
			sums[v] = t
		} else if b.Peer == t.last {
			continue
		}
		t.last = b.Peer
		if b.Space == flowset.IPv4 {
			t.v4 += float64(b.Peer.Last.Lo-b.Peer.First.Lo+1) / (1 << (32 - worldBits))
		} else {
			t.v6 += (float64(b.Peer.Last.Hi-b.Peer.First.Hi) + 1) / (1 << (64 - 3 - worldBits))
		}
	}
	var out []wideLeaf
	for v, t := range sums {
		if r := s.verdicts[v].Rule; r != nil && r.Action == Accept && (t.v4 >= 1 || t.v6 >= 1) {
			out = append(out, wideLeaf{r, t.point})
		}
	}
	slices.SortFunc(out, func(a, b wideLeaf) int { return compareRules(*a.rule, *b.rule) })
	return out
}

// quotas finds what is over the limits of the product.
func (p *Policy) quotas() []Finding {
	var out []Finding
	over := func(format string, args ...any) {
		out = append(out, Finding{ID: OverQuota, Severity: High, Why: fmt.Sprintf(format, args...)})
	}
	if err := p.Rules.Limits(); err != nil {
		over("%v", err)
	}
	peers := map[string]int{}
	for _, list := range [][]MergedRule{p.Rules.Ingress, p.Rules.Egress} {
		for i := range list {
			if _, ok := list[i].Peer.(GroupPeer); ok {
				peers[list[i].Group]++
			}
		}
	}
	limit := MaxBasicAddresses
	if p.Rules.Type == Advanced {
		limit = MaxAdvancedAddresses
	}
	for _, g := range p.Rules.Groups {
		if peers[g] > MaxGroupPeers {
			over("group %s names groups in %d rules: at most %d", g, peers[g], MaxGroupPeers)
		}
		if n := len(p.space.world.Members.Prefixes(g)); n > limit {
			over("group %s has %d addresses: at most %d in %s groups", g, n, limit, p.Rules.Type)
		}
	}
	return out
}
