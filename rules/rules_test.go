package rules_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/rules"
	"ringfence.dev/ringfence/rules/flowset"
)

// The builders below make a case one line.

func ingress(a rules.Action, priority uint8, protocol rules.Protocol, ports, peer string) rules.Rule {
	r := rules.Rule{Action: a, Priority: priority, Protocol: protocol, Peer: peerOf(peer)}
	p, err := rules.ParsePortRange(ports)
	if err != nil {
		panic(err)
	}
	r.Ports = p
	return r
}

func egress(a rules.Action, priority uint8, protocol rules.Protocol, ports, peer string) rules.Rule {
	r := ingress(a, priority, protocol, ports, peer)
	r.Direction = rules.Egress
	return r
}

// peerOf reads a CIDR, "sg:NAME" or "pl:NAME".
func peerOf(s string) rules.Peer {
	if name, ok := strings.CutPrefix(s, "sg:"); ok {
		return rules.GroupPeer{Name: name}
	}
	if name, ok := strings.CutPrefix(s, "pl:"); ok {
		return rules.PrefixListPeer{Name: name}
	}
	return rules.MustCIDR(s)
}

func group(name string, t rules.GroupType, list ...rules.Rule) *rules.Group {
	g := &rules.Group{Name: name, Type: t}
	for _, r := range list {
		if r.Direction == rules.Egress {
			g.Egress = append(g.Egress, r)
		} else {
			g.Ingress = append(g.Ingress, r)
		}
	}
	return g
}

func inner(g *rules.Group) *rules.Group {
	g.InnerAccess = true
	return g
}

func tcp(d rules.Direction, local, remote string, port uint16) rules.Flow {
	return rules.Flow{Direction: d, Local: netip.MustParseAddr(local), Remote: netip.MustParseAddr(remote), Protocol: rules.TCP, Port: port}
}

func world(members map[string]string) *rules.World {
	w := &rules.World{}
	for g, list := range members {
		var prefixes []netip.Prefix
		for a := range strings.FieldsSeq(list) {
			prefixes = append(prefixes, rules.MustCIDR(a).Prefix)
		}
		w.Members.Set(g, prefixes)
	}
	return w
}

// verdict asks walk and diagram and insists that they agree.
func verdict(t *testing.T, w *rules.World, lists map[string]rules.PrefixList, f rules.Flow, groups ...*rules.Group) rules.Verdict {
	t.Helper()
	for _, g := range groups {
		if err := g.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	rs, err := rules.Merge(groups, lists)
	if err != nil {
		t.Fatal(err)
	}
	p, err := rules.NewWorkspace(w, 0).Compile(rs)
	if err != nil {
		t.Fatal(err)
	}
	walk, look := rules.Evaluate(rs, w, &f), p.Verdict(&f)
	if walk != look {
		t.Fatalf("walk: %s by %s, diagram: %s by %s", walk.Action, walk.By(), look.Action, look.By())
	}
	return walk
}

const (
	accept = rules.Accept
	drop   = rules.Drop
)

// TestKubeSkoopsCases are the cases of which the nearest tool for ACK (its
// one-packet diagnosis of security groups) gets the answer wrong or does not see them.
func TestKubeSkoopsCases(t *testing.T) {
	fiveTuple := ingress(drop, 1, rules.TCP, "443/443", "192.168.0.0/16")
	fiveTuple.Member, fiveTuple.SourcePorts = netip.MustParsePrefix("192.168.0.10/32"), rules.PortRange{First: 1024, Last: 2048}
	fromPort := func(f rules.Flow, p uint16) rules.Flow {
		f.SourcePort, f.HasSourcePort = p, true
		return f
	}
	lists := map[string]rules.PrefixList{"pl-1": {Name: "pl-1", Entries: []rules.CIDR{rules.MustCIDR("203.0.113.0/24"), rules.MustCIDR("198.51.100.7")}}}
	w := world(map[string]string{"peers": "192.168.0.77 2001:db8::77", "own": "192.168.0.10 192.168.0.11"})
	for name, tc := range map[string]struct {
		reason string
		groups []*rules.Group
		flow   rules.Flow
		want   string
	}{
		"PrioritiesAreNumbers": {
			reason: "2 comes before 10; compared as text it would come after",
			groups: []*rules.Group{group("g", rules.Basic, ingress(accept, 2, rules.TCP, "80/80", "0.0.0.0/0"), ingress(drop, 10, rules.TCP, "80/80", "0.0.0.0/0"))},
			flow:   tcp(rules.Ingress, "192.168.0.10", "10.0.0.1", 80),
			want:   "accept by g/ingress/1",
		},
		"PrioritiesOverTwoGroups": {
			reason: "the rules of all groups are one list: a drop at 2 in one beats an accept at 10 in another",
			groups: []*rules.Group{
				group("a", rules.Basic, ingress(accept, 10, rules.TCP, "80/80", "0.0.0.0/0")),
				group("b", rules.Basic, ingress(drop, 2, rules.TCP, "80/80", "0.0.0.0/0")),
			},
			flow: tcp(rules.Ingress, "192.168.0.10", "10.0.0.1", 80),
			want: "drop by b/ingress/1",
		},
		"GroupPeer": {
			reason: "a rule that names a group means its members' addresses",
			groups: []*rules.Group{group("g", rules.Basic, ingress(accept, 1, rules.TCP, "80/80", "sg:peers"))},
			flow:   tcp(rules.Ingress, "192.168.0.10", "192.168.0.77", 80),
			want:   "accept by g/ingress/1",
		},
		"GroupPeerOnly": {
			reason: "and no others",
			groups: []*rules.Group{group("g", rules.Basic, ingress(accept, 1, rules.TCP, "80/80", "sg:peers"))},
			flow:   tcp(rules.Ingress, "192.168.0.10", "192.168.0.78", 80),
			want:   "drop by default",
		},
		"PrefixListPeer": {
			reason: "a rule that names a prefix list means its entries, bare addresses included",
			groups: []*rules.Group{group("g", rules.Advanced, ingress(accept, 1, rules.TCP, "80/80", "pl:pl-1"))},
			flow:   tcp(rules.Ingress, "192.168.0.10", "198.51.100.7", 80),
			want:   "accept by g/ingress/1",
		},
		"IPv6Peer": {
			reason: "IPv6 peers count like IPv4 ones",
			groups: []*rules.Group{group("g", rules.Advanced, ingress(accept, 1, rules.TCP, "80/80", "2001:db8::/32"))},
			flow:   tcp(rules.Ingress, "2001:db8::1", "2001:db8::2", 80),
			want:   "accept by g/ingress/1",
		},
		"IPv4AnyIsNotIPv6": {
			reason: "0.0.0.0/0 holds no IPv6 address",
			groups: []*rules.Group{group("g", rules.Advanced, ingress(accept, 1, rules.TCP, "80/80", "0.0.0.0/0"))},
			flow:   tcp(rules.Ingress, "2001:db8::1", "2001:db8::2", 80),
			want:   "drop by default",
		},
		"FiveTupleAllFieldsMatch": {
			reason: "a five-tuple rule matches if its every field does",
			groups: []*rules.Group{group("g", rules.Basic, fiveTuple, ingress(accept, 2, rules.TCP, "443/443", "0.0.0.0/0"))},
			flow:   fromPort(tcp(rules.Ingress, "192.168.0.10", "192.168.0.9", 443), 1024),
			want:   "drop by g/ingress/1",
		},
		"FiveTupleOneSideIsNotEnough": {
			reason: "the peer matches, the member does not: the rule does not match",
			groups: []*rules.Group{group("g", rules.Basic, fiveTuple, ingress(accept, 2, rules.TCP, "443/443", "0.0.0.0/0"))},
			flow:   fromPort(tcp(rules.Ingress, "192.168.0.11", "192.168.0.9", 443), 1024),
			want:   "accept by g/ingress/2",
		},
		"FiveTupleUnknownSourcePort": {
			reason: "an absent source port matches no rule that names one",
			groups: []*rules.Group{group("g", rules.Basic, fiveTuple, ingress(accept, 2, rules.TCP, "443/443", "0.0.0.0/0"))},
			flow:   tcp(rules.Ingress, "192.168.0.10", "192.168.0.9", 443),
			want:   "accept by g/ingress/2",
		},
		"InnerAccessDrop": {
			reason: "sharing a basic group means nothing when its inner access is Drop",
			groups: []*rules.Group{group("own", rules.Basic)},
			flow:   tcp(rules.Ingress, "192.168.0.10", "192.168.0.11", 80),
			want:   "drop by default",
		},
		"InnerAccessAccept": {
			reason: "with Accept it comes before any rule, drops included",
			groups: []*rules.Group{inner(group("own", rules.Basic, ingress(drop, 1, rules.AllProtocols, "-1/-1", "0.0.0.0/0")))},
			flow:   tcp(rules.Ingress, "192.168.0.10", "192.168.0.11", 80),
			want:   "accept by inner-access",
		},
		"InnerAccessIsForIngress": {
			reason: "a sender's own egress drop still applies",
			groups: []*rules.Group{inner(group("own", rules.Basic, egress(drop, 1, rules.AllProtocols, "-1/-1", "192.168.0.0/16")))},
			flow:   tcp(rules.Egress, "192.168.0.10", "192.168.0.11", 80),
			want:   "drop by own/egress/1",
		},
		"EqualPriorityDropWins": {
			reason: "at equal priority drop wins, not the longer prefix",
			groups: []*rules.Group{group("g", rules.Basic, ingress(accept, 5, rules.TCP, "80/80", "10.0.0.1/32"), ingress(drop, 5, rules.TCP, "80/80", "10.0.0.0/8"))},
			flow:   tcp(rules.Ingress, "192.168.0.10", "10.0.0.1", 80),
			want:   "drop by g/ingress/2",
		},
		"TieByGroupThenPosition": {
			reason: "among equals the group's name and the position say who is named",
			groups: []*rules.Group{
				group("b", rules.Basic, ingress(accept, 5, rules.TCP, "80/80", "10.0.0.0/8")),
				group("a", rules.Basic, ingress(accept, 6, rules.TCP, "80/80", "10.0.0.0/8"), ingress(accept, 5, rules.TCP, "1/100", "10.0.0.0/8"), ingress(accept, 5, rules.TCP, "80/80", "10.0.0.0/8")),
			},
			flow: tcp(rules.Ingress, "192.168.0.10", "10.0.0.1", 80),
			want: "accept by a/ingress/2",
		},
		"BasicEgressDefault": {
			reason: "no match on egress is accept for a basic group",
			groups: []*rules.Group{group("g", rules.Basic)},
			flow:   tcp(rules.Egress, "192.168.0.10", "10.0.0.1", 80),
			want:   "accept by default",
		},
		"AdvancedEgressDefault": {
			reason: "and drop for an advanced one",
			groups: []*rules.Group{group("g", rules.Advanced)},
			flow:   tcp(rules.Egress, "192.168.0.10", "10.0.0.1", 80),
			want:   "drop by default",
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := verdict(t, w, lists, tc.flow, tc.groups...)
			if got := v.Action.String() + " by " + v.By(); got != tc.want {
				t.Errorf("got %s, want %s: %s", got, tc.want, tc.reason)
			}
		})
	}
}

// TestIsolationExample is the documentation's example of inner access over two
// groups: G1 = {ECS1, ECS2} isolates, G2 = {ECS2, ECS3} connects.
func TestIsolationExample(t *testing.T) {
	const ecs1, ecs2, ecs3 = "192.168.0.1", "192.168.0.2", "192.168.0.3"
	g1, g2 := group("g1", rules.Basic), inner(group("g2", rules.Basic))
	w := world(map[string]string{"g1": ecs1 + " " + ecs2, "g2": ecs2 + " " + ecs3})
	wears := map[string][]*rules.Group{ecs1: {g1}, ecs2: {g1, g2}, ecs3: {g2}}
	for name, tc := range map[string]struct {
		a, b string
		want rules.Action
	}{
		"1and2AreIsolated":  {ecs1, ecs2, drop},
		"2and3AreConnected": {ecs2, ecs3, accept},
		"1and3AreIsolated":  {ecs1, ecs3, drop},
	} {
		t.Run(name, func(t *testing.T) {
			for _, pair := range [][2]string{{tc.a, tc.b}, {tc.b, tc.a}} {
				v := verdict(t, w, nil, tcp(rules.Ingress, pair[0], pair[1], 80), wears[pair[0]]...)
				if v.Action != tc.want {
					t.Errorf("%s from %s: %s by %s, want %s", pair[0], pair[1], v.Action, v.By(), tc.want)
				}
			}
		})
	}
}

func TestMergeRefuses(t *testing.T) {
	many := make([]*rules.Group, 11)
	for i := range many {
		many[i] = group(string(rune('a'+i)), rules.Basic)
	}
	for name, tc := range map[string]struct {
		groups []*rules.Group
		want   string
	}{
		"NoGroup":      {nil, "at least one group"},
		"TooMany":      {many, "at most 10"},
		"Twice":        {[]*rules.Group{many[0], many[0]}, "named twice"},
		"MixedTypes":   {[]*rules.Group{group("x", rules.Basic), group("y", rules.Advanced)}, "x is basic, y is advanced"},
		"NoPrefixList": {[]*rules.Group{group("x", rules.Basic, ingress(accept, 1, rules.TCP, "80/80", "pl:gone"))}, "x/ingress/1: no prefix list gone"},
		"InEgress":     {[]*rules.Group{group("x", rules.Basic, egress(accept, 1, rules.TCP, "80/80", "pl:gone"))}, "x/egress/1: no prefix list gone"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := rules.Merge(tc.groups, nil); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Merge: got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	rule := func(f func(*rules.Rule)) rules.Rule {
		r := ingress(accept, 1, rules.TCP, "80/80", "10.0.0.0/8")
		f(&r)
		return r
	}
	for name, tc := range map[string]struct {
		group *rules.Group
		want  string
	}{
		"Fine":          {group("g", rules.Basic, ingress(accept, 1, rules.TCP, "80/80", "sg:h"), egress(accept, 100, rules.AllProtocols, "-1/-1", "::/0")), ""},
		"NoName":        {group("", rules.Basic), "no name"},
		"AdvancedInner": {inner(group("g", rules.Advanced)), "no inner access"},
		"Priority0":     {group("g", rules.Basic, rule(func(r *rules.Rule) { r.Priority = 0 })), "priority 0"},
		"Priority101":   {group("g", rules.Basic, rule(func(r *rules.Rule) { r.Priority = 101 })), "priority 101"},
		"Protocol256":   {group("g", rules.Basic, rule(func(r *rules.Rule) { r.Protocol = 256 })), "protocol 256"},
		"PortsMissing":  {group("g", rules.Basic, rule(func(r *rules.Rule) { r.Ports = rules.PortRange{} })), "must name its ports"},
		"PortsOfICMP":   {group("g", rules.Basic, rule(func(r *rules.Rule) { r.Protocol = rules.ICMP })), "has no ports: want -1/-1, not 80/80"},
		"SourcePortsOfGRE": {group("g", rules.Basic, rule(func(r *rules.Rule) {
			r.Protocol, r.Ports, r.SourcePorts = rules.GRE, rules.PortRange{}, rules.PortRange{First: 1, Last: 2}
		})), "not 1/2"},
		"PortZero":       {group("g", rules.Basic, rule(func(r *rules.Rule) { r.Ports = rules.PortRange{First: 0, Last: 9} })), "1 <= FIRST"},
		"PortsBackwards": {group("g", rules.Basic, rule(func(r *rules.Rule) { r.Ports = rules.PortRange{First: 9, Last: 1} })), "1 <= FIRST"},
		"NoPeer":         {group("g", rules.Basic, rule(func(r *rules.Rule) { r.Peer = nil })), "no peer"},
		"BadCIDR":        {group("g", rules.Basic, rule(func(r *rules.Rule) { r.Peer = rules.CIDR{Text: "x"} })), "no CIDR"},
		"AdvancedNames":  {group("g", rules.Advanced, rule(func(r *rules.Rule) { r.Peer = rules.GroupPeer{Name: "h"} })), "advanced group cannot name"},
		"NamesItself":    {group("g", rules.Basic, rule(func(r *rules.Rule) { r.Peer = rules.GroupPeer{Name: "g"} })), "cannot name itself"},
		"NamelessGroup":  {group("g", rules.Basic, rule(func(r *rules.Rule) { r.Peer = rules.GroupPeer{} })), "group has no name"},
		"NamelessList":   {group("g", rules.Basic, rule(func(r *rules.Rule) { r.Peer = rules.PrefixListPeer{} })), "list has no name"},
		"MemberFamily":   {group("g", rules.Basic, rule(func(r *rules.Rule) { r.Member = netip.MustParsePrefix("::1/128") })), "different address families"},
		"ICMPv4to6": {group("g", rules.Basic, rule(func(r *rules.Rule) {
			r.Protocol, r.Ports, r.Peer = rules.ICMP, rules.PortRange{}, rules.MustCIDR("::/0")
		})), "use ICMPv6"},
		"ICMPv6to4":     {group("g", rules.Basic, rule(func(r *rules.Rule) { r.Protocol, r.Ports = rules.ICMPv6, rules.PortRange{} })), "use ICMP"},
		"WrongSide":     {&rules.Group{Name: "g", Egress: []rules.Rule{rule(func(*rules.Rule) {})}}, "egress rule 1 says ingress"},
		"TooManyGroups": {group("g", rules.Basic, repeat(21, ingress(accept, 1, rules.TCP, "80/80", "sg:h"))...), "21 rules name a group, at most 20"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.group.Validate()
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("Validate: got %v, want %q", err, tc.want)
			}
		})
	}
}

func repeat(n int, r rules.Rule) []rules.Rule {
	list := make([]rules.Rule, n)
	for i := range list {
		list[i] = r
	}
	return list
}

func TestValidateECS(t *testing.T) {
	for p, want := range map[rules.Protocol]bool{rules.AllProtocols: true, rules.TCP: true, rules.GRE: true, rules.SCTP: false, rules.IPIP: false, rules.VRRP: false, 200: false} {
		r := rules.Rule{Protocol: p}
		if got := r.ValidateECS() == nil; got != want {
			t.Errorf("ValidateECS(%s) passes: %t, want %t", p, got, want)
		}
	}
}

func TestLimits(t *testing.T) {
	full := repeat(1000, ingress(accept, 1, rules.TCP, "80/80", "10.0.0.0/8"))
	list := map[string]rules.PrefixList{"pl": {Name: "pl", MaxEntries: 200}}
	for name, tc := range map[string]struct {
		reason string
		rules  []rules.Rule
		over   bool
	}{
		"Full":       {"1,000 rules are allowed", full, false},
		"OneMore":    {"1,001 are not", append(full, egress(accept, 1, rules.TCP, "80/80", "10.0.0.0/8")), true},
		"PrefixList": {"a prefix list counts for its maximum, not for what it holds", append(full[:801:801], ingress(accept, 1, rules.TCP, "80/80", "pl:pl")), true},
	} {
		t.Run(name, func(t *testing.T) {
			rs, err := rules.Merge([]*rules.Group{group("g", rules.Basic, tc.rules...)}, list)
			if err != nil {
				t.Fatal(err)
			}
			if got := rs.Limits() != nil; got != tc.over {
				t.Errorf("over its limits: %t, want %t: %s", got, tc.over, tc.reason)
			}
		})
	}
}

func TestExplainTellsWhatItHid(t *testing.T) {
	g := group("g", rules.Basic,
		ingress(accept, 1, rules.TCP, "80/80", "sg:strangers"),
		ingress(accept, 1, rules.UDP, "80/80", "sg:others"),
		ingress(accept, 1, rules.TCP, "80/80", "sg:others"),
		ingress(drop, 2, rules.TCP, "1/100", "10.0.0.0/8"),
		ingress(accept, 3, rules.TCP, "80/80", "10.0.0.0/8"),
		ingress(accept, 3, rules.TCP, "81/81", "10.0.0.0/8"),
		ingress(accept, 4, rules.TCP, "80/80", "sg:strangers"),
	)
	rs, err := rules.Merge([]*rules.Group{g}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := tcp(rules.Ingress, "192.168.0.1", "10.0.0.1", 80)
	e := rules.Explain(rs, world(map[string]string{"others": "10.0.0.2"}), &f)
	got := map[string][]string{"by": {e.Verdict.By()}, "hidden": names(e.Hidden), "unknown": names(e.Unknown)}
	want := map[string][]string{"by": {"g/ingress/4"}, "hidden": {"g/ingress/5"}, "unknown": {"g/ingress/1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("only earlier rules of unknown groups could change the verdict:\n%s", diff)
	}
	exempt := world(nil)
	exempt.Exempt = []rules.Exempt{{Name: "all", Protocol: rules.AllProtocols}}
	if e := rules.Explain(rs, exempt, &f); e.Verdict.By() != "exempt" || len(e.Hidden) != 2 || len(e.Unknown) != 0 {
		t.Errorf("exempt traffic hides every rule: by %s, hidden %v, unknown %v", e.Verdict.By(), names(e.Hidden), names(e.Unknown))
	}
}

func names(list []*rules.MergedRule) []string {
	var out []string
	for _, r := range list {
		out = append(out, r.String())
	}
	return out
}

func excess(t *testing.T, p *rules.Policy, needed rules.Set) []rules.Excess {
	t.Helper()
	list, err := p.Excess(needed)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func lint(t *testing.T, p *rules.Policy, intended rules.Set, known map[string]*rules.Group) []rules.Finding {
	t.Helper()
	list, err := p.Lint(intended, known)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func policy(t *testing.T, w *rules.World, groups ...*rules.Group) (*rules.Workspace, *rules.Policy) {
	t.Helper()
	rs, err := rules.Merge(groups, nil)
	if err != nil {
		t.Fatal(err)
	}
	ws := rules.NewWorkspace(w, 0)
	p, err := ws.Compile(rs)
	if err != nil {
		t.Fatal(err)
	}
	return ws, p
}

func need(id string, protocol rules.Protocol, ports, peer string) rules.Need {
	r := ingress(accept, 1, protocol, ports, peer)
	return rules.Need{ID: id, Protocol: r.Protocol, Ports: r.Ports, Peer: r.Peer}
}

func TestCover(t *testing.T) {
	w := world(map[string]string{"known": "10.0.0.1 2001:db8::1"})
	_, p := policy(t, w, group("g", rules.Basic,
		ingress(drop, 3, rules.TCP, "443/443", "10.0.0.0/9"),
		ingress(accept, 5, rules.TCP, "443/444", "10.0.0.0/8"),
		ingress(accept, 5, rules.UDP, "53/53", "sg:unknown"),
	))
	missing, err := p.Cover([]rules.Need{
		need("met", rules.TCP, "444/444", "10.0.0.0/8"),
		need("half", rules.TCP, "443/443", "10.0.0.0/8"),
		need("wider", rules.TCP, "444/445", "10.0.0.0/8"),
		need("symbol-met", rules.UDP, "53/53", "sg:unknown"),
		need("symbol", rules.TCP, "443/443", "sg:unknown"),
		need("symbol-icmp", rules.ICMP, "-1/-1", "sg:unknown"),
		need("symbol-icmpv6", rules.ICMPv6, "-1/-1", "sg:unknown"),
		need("known-group", rules.TCP, "444/444", "sg:known"),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		ID, Example, By string
		Blockers        []string
		OnlyUnknown     bool
	}
	var got []row
	for _, m := range missing {
		remote := m.Example.RemoteGroup
		if m.Example.Remote.IsValid() {
			remote = m.Example.Remote.String()
		}
		got = append(got, row{m.Need.ID, remote, m.Verdict.By(), names(m.Blockers), m.OnlyUnknown})
	}
	want := []row{
		{"half", "10.0.0.0", "g/ingress/1", []string{"g/ingress/1"}, false},
		{"wider", "10.0.0.0", "default", nil, false},
		{"symbol", "unknown", "default", nil, true},
		{"symbol-icmp", "unknown", "default", nil, true},
		{"symbol-icmpv6", "unknown", "default", nil, true},
		{"known-group", "2001:db8::1", "default", nil, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Cover: -want +got:\n%s", diff)
	}
}

func TestExcess(t *testing.T) {
	w := world(map[string]string{"own": "10.0.0.1"})
	w.Exempt = []rules.Exempt{{Name: "dhcp", Protocol: rules.UDP, Ports: rules.PortRange{First: 67, Last: 68}}}
	g := inner(group("own", rules.Basic,
		ingress(accept, 1, rules.TCP, "443/443", "10.0.0.0/8"),
		ingress(accept, 1, rules.TCP, "22/22", "0.0.0.0/0"),
		ingress(accept, 1, rules.TCP, "80/90", "10.0.0.0/8"),
	))
	ws, p := policy(t, w, g)
	needed, err := ws.NeedSet(rules.Ingress, []rules.Need{need("n", rules.TCP, "443/443", "10.0.0.0/8"), need("n", rules.TCP, "80/80", "10.0.0.0/8")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, e := range excess(t, p, needed) {
		got[e.Verdict.By()] = e.Needed
	}
	want := map[string]bool{"own/ingress/2": false, "own/ingress/3": true, "inner-access": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Excess (by whom: also needed): -want +got:\n%s", diff)
	}
	nothing, err := ws.NeedSet(rules.Egress, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if list := excess(t, p, nothing); len(list) != 1 || list[0].Verdict.By() != "default" {
		t.Errorf("Excess of open egress: %v, want the default", list)
	}
	all, err := ws.RuleSet(rules.Egress, []rules.Rule{egress(accept, 1, rules.AllProtocols, "-1/-1", "0.0.0.0/0"), egress(drop, 1, rules.TCP, "1/1", "::/0")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if all.IsEmpty() || !nothing.IsEmpty() || !p.Accepts(rules.Ingress).Union(needed).IsEmpty() == false {
		t.Error("sets: the accept's flows are some, no needs are none, and what a group accepts is not nothing")
	}
}

func TestLint(t *testing.T) {
	w := world(map[string]string{"known": "10.9.0.1", "empty": ""})
	g := group("g", rules.Basic,
		ingress(accept, 1, rules.TCP, "1/1000", "10.0.0.0/8"),     // 1
		ingress(accept, 2, rules.TCP, "80/80", "10.1.0.0/16"),     // 2 redundant
		ingress(drop, 3, rules.TCP, "80/80", "10.1.0.0/16"),       // 3 shadowed
		ingress(accept, 4, rules.TCP, "20/25", "0.0.0.0/1"),       // 4 half the world: SSH
		ingress(accept, 5, rules.TCP, "30000/30010", "2000::/4"),  // 5 the world, IPv6: NodePorts
		ingress(accept, 6, rules.UDP, "53/53", "10.0.0.0/8"),      // 6 conflicts with 7
		ingress(drop, 6, rules.UDP, "1/100", "10.2.0.0/16"),       // 7
		ingress(accept, 7, rules.TCP, "7/7", "127.0.0.0/8"),       // 8 nobody
		ingress(accept, 7, rules.TCP, "7/7", "sg:advanced"),       // 9
		ingress(accept, 7, rules.TCP, "7/7", "sg:unknown"),        // 10
		ingress(accept, 7, rules.TCP, "7/7", "sg:empty"),          // 11
		ingress(accept, 7, rules.TCP, "2000/2000", "sg:known"),    // 12 fine
		ingress(accept, 8, rules.TCP, "6443/6443", "8.0.0.0/9"),   // 13 not the world
		ingress(accept, 9, rules.TCP, "10250/10250", "0.0.0.0/0"), // 14 intended
	)
	ws, p := policy(t, w, g)
	intended, err := ws.NeedSet(rules.Ingress, []rules.Need{need("n", rules.TCP, "10250/10250", "0.0.0.0/0")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range lint(t, p, intended, map[string]*rules.Group{"advanced": group("advanced", rules.Advanced)}) {
		got = append(got, f.ID+" "+f.Severity.String()+" "+strings.Join(names(f.Rules), " "))
		if f.ID == rules.WorldOpen && !f.Example.Remote.IsValid() {
			t.Errorf("%s has no example", f.Why)
		}
	}
	want := []string{
		"redundant-rule low g/ingress/2 g/ingress/1",
		"shadowed-rule medium g/ingress/3 g/ingress/1",
		"conflicting-rules low g/ingress/6 g/ingress/7",
		"unreachable-peer low g/ingress/8",
		"unreachable-peer medium g/ingress/9",
		"unknown-members info g/ingress/10",
		"unreachable-peer low g/ingress/11",
		"world-open-port high g/ingress/4",
		"world-open-port medium g/ingress/5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Lint: -want +got:\n%s", diff)
	}
}

func TestLintQuotas(t *testing.T) {
	many := make([]netip.Prefix, rules.MaxBasicAddresses+1)
	for i := range many {
		many[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
	}
	w := &rules.World{}
	w.Members.Set("g", many)
	list := append(repeat(1000, ingress(accept, 1, rules.TCP, "80/80", "10.0.0.0/8")), repeat(21, egress(accept, 1, rules.TCP, "80/80", "sg:h"))...)
	ws, p := policy(t, w, inner(group("g", rules.Basic, list...)))
	none, err := ws.NeedSet(rules.Ingress, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range lint(t, p, none, nil) {
		if f.ID == rules.OverQuota {
			got = append(got, f.Why)
		}
	}
	want := []string{
		"1021 rules on one host, prefix lists counted by size: at most 1000",
		"group g names groups in 21 rules: at most 20",
		"group g has 6001 addresses: at most 6000 in basic groups",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("quotas: -want +got:\n%s", diff)
	}
}

func TestDiffAndRegions(t *testing.T) {
	old := group("g", rules.Advanced,
		ingress(accept, 1, rules.TCP, "443/443", "10.0.0.0/8"),
		ingress(accept, 1, rules.ICMP, "-1/-1", "10.0.0.0/8"),
		egress(accept, 1, rules.AllProtocols, "-1/-1", "0.0.0.0/0"),
	)
	fiveTuple := ingress(accept, 1, rules.UDP, "53/53", "2001:db8::/32")
	fiveTuple.Member, fiveTuple.SourcePorts = netip.MustParsePrefix("2001:db8::/64"), rules.PortRange{First: 1000, Last: 2000}
	updated := group("g", rules.Advanced,
		ingress(accept, 1, rules.TCP, "443/443", "10.0.0.0/9"),
		ingress(accept, 1, rules.TCP, "443/443", "192.168.0.0/23"),
		ingress(accept, 1, rules.TCP, "443/443", "192.168.2.0/32"),
		fiveTuple,
		egress(accept, 1, rules.AllProtocols, "-1/-1", "0.0.0.0/0"),
	)
	w := world(nil)
	ws, p := policy(t, w, old)
	rs, err := rules.Merge([]*rules.Group{updated}, nil)
	if err != nil {
		t.Fatal(err)
	}
	q, err := ws.In(world(nil)).Compile(rs)
	if err != nil {
		t.Fatal(err)
	}
	change, err := rules.Diff(p, q)
	if err != nil {
		t.Fatal(err)
	}
	text := func(s rules.Set) []string {
		var out []string
		for _, r := range ws.Regions(s) {
			out = append(out, strings.Join([]string{r.Direction.String(), r.Protocols, r.Ports, strings.Join(r.Peers, ","), r.Member, r.SourcePorts}, " "))
		}
		return out
	}
	if diff := cmp.Diff([]string{"ingress TCP 443/443 192.168.0.0/23,192.168.2.0/32  ", "ingress UDP 53/53 2001:db8::/32 2001:db8::/64 1000/2000"}, text(change.Opens[rules.Ingress])); diff != "" {
		t.Errorf("opens: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ingress ICMP -1/-1 10.0.0.0/8  ", "ingress TCP 443/443 10.128.0.0/9  "}, text(change.Closes[rules.Ingress])); diff != "" {
		t.Errorf("closes: -want +got:\n%s", diff)
	}
	if !change.Opens[rules.Egress].IsEmpty() || change.IsEmpty() {
		t.Error("egress does not change, ingress does")
	}
	n := need("n", rules.TCP, "443/443", "10.200.0.0/16")
	f, ok, err := ws.Meets(change.Closes[rules.Ingress], &n, nil)
	if err != nil || !ok || f.Remote.String() != "10.200.0.0" {
		t.Errorf("Meets: %v %t %v, want an example from 10.200.0.0", f, ok, err)
	}
	if _, ok, _ := ws.Meets(change.Opens[rules.Egress], &n, nil); ok {
		t.Error("an ingress need is met by egress flows")
	}
}

func TestRegionsOfOddSets(t *testing.T) {
	ws, p := policy(t, world(nil),
		group("g", rules.Basic,
			ingress(drop, 1, rules.AllProtocols, "-1/-1", "sg:b"),
			ingress(accept, 2, 7, "-1/-1", "sg:a"),
			ingress(accept, 2, 8, "-1/-1", "sg:a"),
			ingress(accept, 2, 7, "-1/-1", "sg:b"),
			egress(drop, 1, rules.AllProtocols, "-1/-1", "sg:a"),
			egress(drop, 1, rules.AllProtocols, "-1/-1", "0.0.0.0/0"),
			egress(drop, 1, rules.AllProtocols, "-1/-1", "::/1"),
		))
	var got []string
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		for _, r := range ws.Regions(p.Accepts(d)) {
			got = append(got, r.Protocols+" "+r.Ports+" "+strings.Join(r.Peers, ","))
		}
	}
	want := []string{"7-8 -1/-1 a", "7-8 -1/-1 a", "ALL -1/-1 8000::/1,b,any other group", "ALL -1/-1 b,any other group"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("regions: -want +got:\n%s", diff)
	}
}

func TestBudgetNamesTheRule(t *testing.T) {
	w := world(nil)
	rs, err := rules.Merge([]*rules.Group{fiveTupleGroup(200)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = rules.NewWorkspace(w, 500).Compile(rs)
	if !errors.Is(err, flowset.ErrBudget) || !strings.Contains(err.Error(), "rule five/ingress/") {
		t.Errorf("over budget: got %v, want ErrBudget and the first rule that does not fit", err)
	}
	full := world(map[string]string{"own": "10.0.0.1 10.0.0.3 10.0.0.5 10.0.0.7 10.0.0.9"})
	rs, err = rules.Merge([]*rules.Group{inner(group("own", rules.Basic))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = rules.NewWorkspace(full, 6).Compile(rs); !errors.Is(err, flowset.ErrBudget) {
		t.Errorf("members over budget without a rule: got %v, want ErrBudget", err)
	}
}

func TestNothingAllocates(t *testing.T) {
	w := world(map[string]string{"peers": "10.0.0.1 10.1.0.0/16"})
	rs, err := rules.Merge([]*rules.Group{bigGroup(100)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := rules.NewWorkspace(w, 0).Compile(rs)
	if err != nil {
		t.Fatal(err)
	}
	f := tcp(rules.Ingress, "10.0.0.9", "10.1.2.3", 443)
	for name, fn := range map[string]func(){
		"Evaluate": func() { rules.Evaluate(rs, w, &f) },
		"Verdict":  func() { p.Verdict(&f) },
	} {
		if n := testing.AllocsPerRun(100, fn); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]rules.Protocol{"tcp": rules.TCP, "All": rules.AllProtocols, "icmpv6": rules.ICMPv6, "47": rules.GRE, "0": 0, "gre": rules.GRE, "200": 200} {
		if got, err := rules.ParseProtocol(text); err != nil || got != want {
			t.Errorf("ParseProtocol(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "256", "-1", "http"} {
		if got, err := rules.ParseProtocol(text); err == nil {
			t.Errorf("ParseProtocol(%q) = %v, want an error", text, got)
		}
	}
	for _, text := range []string{"", "80", "0/80", "80/79", "1/65536", "a/b", "-1/80"} {
		if got, err := rules.ParsePortRange(text); err == nil {
			t.Errorf("ParsePortRange(%q) = %v, want an error", text, got)
		}
	}
	for text, want := range map[string]string{"10.159.6.18/12": "10.144.0.0/12", "10.0.0.1": "10.0.0.1/32", "2001:DB8::1/64": "2001:db8::/64", "::1": "::1/128"} {
		got, err := rules.ParseCIDR(text)
		if err != nil || got.Prefix.String() != want || got.String() != text {
			t.Errorf("ParseCIDR(%q) = %v %v, want prefix %s and the text kept", text, got, err, want)
		}
	}
	for _, text := range []string{"", "10.0.0.0/33", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "fe80::1%eth0", "example.com"} {
		if got, err := rules.ParseCIDR(text); err == nil {
			t.Errorf("ParseCIDR(%q) = %v, want an error", text, got)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("MustCIDR accepts nonsense")
		}
	}()
	rules.MustCIDR("nonsense")
}

// TestOverlapOfGroups checks who is blamed for a rule that never decides when
// peers are groups.
func TestOverlapOfGroups(t *testing.T) {
	w := world(map[string]string{"a": "10.0.0.1", "b": "10.0.0.1 10.0.0.2", "c": "10.0.0.9"})
	_, p := policy(t, w, group("g", rules.Basic,
		ingress(drop, 1, rules.TCP, "80/80", "sg:c"),
		ingress(drop, 1, rules.TCP, "80/80", "sg:b"),
		ingress(accept, 2, rules.TCP, "80/80", "10.0.0.1"),
		ingress(accept, 2, rules.TCP, "80/80", "sg:a"),
		ingress(drop, 3, rules.TCP, "80/80", "10.0.0.9"),
		ingress(drop, 4, rules.TCP, "80/80", "10.0.0.9"),
		ingress(drop, 5, rules.TCP, "80/80", "10.0.0.9"),
		ingress(drop, 6, rules.TCP, "80/80", "10.0.0.9"),
	))
	var got []string
	for _, f := range lint(t, p, rules.Set{}, nil) {
		got = append(got, f.ID+" "+strings.Join(names(f.Rules), " "))
	}
	want := []string{
		"shadowed-rule g/ingress/3 g/ingress/2",
		"shadowed-rule g/ingress/4 g/ingress/2",
		"redundant-rule g/ingress/5 g/ingress/1",
		"redundant-rule g/ingress/6 g/ingress/1",
		"redundant-rule g/ingress/7 g/ingress/1",
		"redundant-rule g/ingress/8 g/ingress/1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Lint: -want +got:\n%s", diff)
	}
}

func TestWhatIsLeftIsOtherGroups(t *testing.T) {
	ws, p := policy(t, world(nil), group("g", rules.Basic))
	all, err := ws.RuleSet(rules.Egress, []rules.Rule{egress(accept, 1, rules.AllProtocols, "-1/-1", "0.0.0.0/0"), egress(accept, 1, rules.AllProtocols, "-1/-1", "::/0")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if list := excess(t, p, all); len(list) != 1 || list[0].Example.RemoteGroup != "another group" {
		t.Errorf("beyond all addresses there are only members of groups that nobody named: %+v", list)
	}
}

// TestOverBudgetEverywhere lets the budget end at every possible place: each
// answer is right or ErrBudget, never a part.
func TestOverBudgetEverywhere(t *testing.T) {
	w := world(map[string]string{"known": "10.0.0.1 10.0.0.7 2001:db8::1", "named": "10.0.0.7 2001:db8::2"})
	g := inner(group("known", rules.Basic,
		ingress(accept, 1, rules.TCP, "443/443", "10.0.0.0/8"), ingress(drop, 2, rules.UDP, "1/9", "sg:unknown"), ingress(drop, 2, rules.TCP, "5/6", "sg:named"), egress(drop, 1, rules.TCP, "22/22", "sg:other")))
	rs, err := rules.Merge([]*rules.Group{g}, nil)
	if err != nil {
		t.Fatal(err)
	}
	needs := []rules.Need{need("a", rules.TCP, "1/2", "10.0.0.0/9"), need("b", rules.UDP, "3/4", "11.0.0.0/9")}
	ask := func(budget int) error {
		ws := rules.NewWorkspace(w, budget)
		p, err := ws.Compile(rs)
		if err != nil {
			return err
		}
		set := p.Accepts(rules.Ingress)
		_, _, errMeets := ws.Meets(set, &needs[0], nil)
		_, errCover := p.Cover(needs, nil)
		_, errLint := p.Lint(rules.Set{}, nil)
		_, errExcess := p.Excess(rules.Set{})
		_, errDiff := rules.Diff(p, p)
		last := errDiff
		for _, err := range []error{errExcess, errLint, errCover, errMeets} { // in the order asked, backwards
			if err != nil && last == nil {
				t.Errorf("budget %d: over it once, and fine again later", budget)
			}
			last = err
		}
		return errors.Join(errMeets, errCover, errLint, errExcess, errDiff)
	}
	fits := false
	for budget := 1; budget < 20_000 && !fits; budget = budget + 1 + budget/50 {
		err := ask(budget)
		fits = err == nil
		if err != nil && !errors.Is(err, flowset.ErrBudget) {
			t.Fatalf("budget %d: got %v, want ErrBudget", budget, err)
		}
	}
	if !fits {
		t.Error("no budget is enough")
	}
}

// TestLintAtTheEdges has what the larger tables above leave out.
func TestLintAtTheEdges(t *testing.T) {
	w := world(map[string]string{"own": "10.0.0.1", "b": "10.9.0.0/16"})
	_, p := policy(t, w, inner(group("own", rules.Basic,
		ingress(drop, 1, rules.TCP, "1/1", "10.0.0.1"),          // members of own are let in before it
		ingress(accept, 2, rules.TCP, "10/19", "10.9.0.0/16"),   //
		ingress(accept, 2, rules.TCP, "20/29", "10.9.0.0/16"),   //
		ingress(accept, 2, rules.TCP, "30/39", "10.9.0.0/16"),   //
		ingress(accept, 2, rules.TCP, "40/49", "10.9.0.0/16"),   //
		ingress(accept, 3, rules.TCP, "10/49", "sg:b"),          // four rules hide it
		ingress(accept, 4, rules.TCP, "22/22", "0.0.0.0/0"),     //
		ingress(accept, 5, rules.TCP, "22/22", "2000::/3"),      //
		ingress(drop, 6, rules.TCP, "2379/2380", "0.0.0.0/0"),   // closed to the world is fine
		ingress(accept, 7, rules.AllProtocols, "-1/-1", "::/0"), // no port of its own, all of them
		ingress(drop, 8, rules.TCP, "30001/30001", "0.0.0.0/0"), // splits the next one
		ingress(accept, 9, rules.TCP, "30000/30002", "0.0.0.0/0"),
	)))
	var got []string
	for _, f := range lint(t, p, rules.Set{}, nil) {
		got = append(got, f.Why)
	}
	for _, want := range []string{
		"rule own/ingress/1 never decides: what it matches is decided the same way before it (by inner access or exempt traffic)",
		"rule own/ingress/6 never decides: what it matches is decided the same way before it (by own/ingress/2, own/ingress/3, own/ingress/4 and 1 more)",
		"rule own/ingress/7 opens TCP 22 (SSH) to the internet",
		"rule own/ingress/8 opens TCP 22 (SSH) to the internet",
		"rule own/ingress/10 opens TCP 2379-2380 (etcd) to the internet",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no finding %q in\n%s", want, strings.Join(got, "\n"))
		}
	}
	crowd := &rules.World{}
	crowd.Members.Set("big", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	_, p = policy(t, crowd, group("big", rules.Advanced))
	if list := lint(t, p, rules.Set{}, nil); len(list) != 0 {
		t.Errorf("one prefix is one address in the count: %v", list)
	}
}

// TestDiffIsAboutPackets checks that rules which only differ for flows without
// a real source port mean the same.
func TestDiffIsAboutPackets(t *testing.T) {
	r := ingress(accept, 1, rules.TCP, "80/80", "10.0.0.0/8")
	every, some := r, r
	every.SourcePorts = rules.PortRange{First: 1, Last: 65535}
	some.SourcePorts = rules.PortRange{First: 1, Last: 1023}
	ws, p := policy(t, world(nil), group("g", rules.Advanced, r))
	for name, tc := range map[string]struct {
		rule rules.Rule
		want []string
	}{
		"Every": {every, nil},
		"Some":  {some, []string{"TCP 80/80 from 1024/65535"}},
	} {
		t.Run(name, func(t *testing.T) {
			rs, err := rules.Merge([]*rules.Group{group("g", rules.Advanced, tc.rule)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			q, err := ws.Compile(rs)
			if err != nil {
				t.Fatal(err)
			}
			change, err := rules.Diff(p, q)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, region := range ws.Regions(change.Closes[rules.Ingress]) {
				got = append(got, region.Protocols+" "+region.Ports+" from "+region.SourcePorts)
				if !region.Example.HasSourcePort {
					t.Errorf("example %+v has no source port", region.Example)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || change.IsEmpty() != (tc.want == nil) {
				t.Errorf("closes: -want +got:\n%s", diff)
			}
		})
	}
}

func TestSizeOfPolicy(t *testing.T) {
	_, p := policy(t, world(nil), group("g", rules.Basic, ingress(accept, 1, rules.TCP, "80/80", "10.0.0.0/8")))
	if got, want := p.Size(rules.Ingress).Children, 2; got != want {
		t.Errorf("%d classes of peers, want %d: those of the rule and all others", got, want)
	}
	f := tcp(rules.Ingress, "10.0.0.1", "10.0.0.2", 80)
	f.Remote, f.RemoteGroup = netip.Addr{}, "never heard of"
	if v := p.Verdict(&f); v.By() != "default" {
		t.Errorf("a group that nothing names: by %s, want default", v.By())
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		rules.Ingress.String(): "ingress", rules.Egress.String(): "egress", rules.Drop.String(): "drop", rules.Accept.String(): "accept",
		rules.Basic.String(): "basic", rules.Advanced.String(): "advanced", rules.Protocol(99).String(): "99", rules.ESP.String(): "ESP",
		rules.VRRP.String(): "VRRP", rules.GRE.String(): "GRE", rules.PortRange{}.String(): "-1/-1", rules.PortRange{First: 1, Last: 2}.String(): "1/2",
		rules.Info.String(): "info", rules.High.String(): "high", rules.GroupPeer{Name: "g"}.String(): "g", rules.PrefixListPeer{Name: "p"}.String(): "p",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	var w rules.World
	if w.Members.Known("x") || w.Members.Prefixes("x") != nil || w.Members.Contains("x", netip.MustParseAddr("10.0.0.1")) {
		t.Error("a world that knows no group knows no members")
	}
}
