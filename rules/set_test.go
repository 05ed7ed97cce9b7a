package rules_test

import (
	"testing"

	"ringfence.dev/ringfence/rules"
)

// TestSetsAreWhatTheirFlowsSay samples flows: what a set operation holds is what
// its operands say, and the walk agrees with the set of what is accepted.
func TestSetsAreWhatTheirFlowsSay(t *testing.T) {
	for seed := uint64(1); seed <= 60; seed++ {
		m := newMaker(seed)
		s := m.scene(t)
		ws := rules.NewWorkspace(&s.world, 0)
		p, err := ws.Compile(s.merged)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
			needs := make([]rules.Need, 3)
			for i := range needs {
				r := m.rule(&rules.Group{Name: "z"}, d)
				needs[i] = rules.Need{Direction: d, Protocol: r.Protocol, Ports: r.Ports, Peer: r.Peer}
			}
			needed, err := ws.NeedSet(d, needs, s.lists)
			if err != nil {
				t.Fatal(err)
			}
			accepted := p.Accepts(d)
			both, either, rest := accepted.Intersect(needed), accepted.Union(needed), accepted.Subtract(needed)
			if accepted.Meet(needed) != !both.IsEmpty() || (rules.Set{}).Meet(needed) {
				t.Errorf("seed %d: Meet says %t, the intersection is empty: %t", seed, accepted.Meet(needed), both.IsEmpty())
			}
			for range 200 {
				f := m.packet(s)
				in, wanted := ws.Contains(accepted, &f), ws.Contains(needed, &f)
				if f.Direction != d {
					if in || wanted {
						t.Fatalf("seed %d: %+v is in a set of the other direction", seed, f)
					}
					continue
				}
				if v := rules.Evaluate(s.merged, &s.world, &f); in != (v.Action == rules.Accept) {
					t.Fatalf("seed %d: %+v is among the accepted: %t; the walk says %s", seed, f, in, v.Action)
				}
				if ws.Contains(both, &f) != (in && wanted) || ws.Contains(either, &f) != (in || wanted) || ws.Contains(rest, &f) != (in && !wanted) {
					t.Fatalf("seed %d: %+v: sets disagree with their operands", seed, f)
				}
			}
		}
	}
}

// TestWideFirstDecidesNothing checks that who is tried first among accepts of
// one priority is a matter of names only.
func TestWideFirstDecidesNothing(t *testing.T) {
	for seed := uint64(1); seed <= 150; seed++ {
		m := newMaker(seed)
		s := m.scene(t)
		rs, err := rules.Merge(s.groups, s.lists)
		if err != nil {
			t.Fatal(err)
		}
		rs.WideFirst()
		for range 100 {
			f := m.flow(s)
			before, after := rules.Evaluate(s.merged, &s.world, &f), rules.Evaluate(rs, &s.world, &f)
			if before.Action != after.Action || before.Cause != after.Cause {
				t.Fatalf("seed %d: %+v: %s by %s, wide first %s by %s", seed, f, before.Action, before.By(), after.Action, after.By())
			}
		}
	}
}

// TestWideFirstFindsTheSameRedundant has a rule within another, in both orders
// and in every respect in which one can lie within another.
func TestWideFirstFindsTheSameRedundant(t *testing.T) {
	wide := ingress(accept, 1, rules.TCP, "1/65535", "10.0.0.0/8")
	member := ingress(accept, 1, rules.TCP, "1/65535", "10.0.0.0/8")
	member.Member = rules.MustCIDR("10.9.0.0/16").Prefix
	source := ingress(accept, 1, rules.TCP, "1/65535", "10.0.0.0/8")
	source.SourcePorts = rules.PortRange{First: 1024, Last: 65535}
	for name, tc := range map[string]struct{ wide, narrow rules.Rule }{
		"Peer":     {wide, ingress(accept, 1, rules.TCP, "1/65535", "10.1.0.0/16")},
		"Ports":    {wide, ingress(accept, 1, rules.TCP, "443/443", "10.0.0.0/8")},
		"Protocol": {ingress(accept, 1, rules.AllProtocols, "-1/-1", "10.0.0.0/8"), wide},
		"Member":   {wide, member},
		"Source":   {wide, source},
	} {
		t.Run(name, func(t *testing.T) {
			for i, list := range [][]rules.Rule{{tc.wide, tc.narrow}, {tc.narrow, tc.wide}} {
				rs, err := rules.Merge([]*rules.Group{group("g", rules.Basic, list...)}, nil)
				if err != nil {
					t.Fatal(err)
				}
				rs.WideFirst()
				p, err := rules.NewWorkspace(&rules.World{}, 0).Compile(rs)
				if err != nil {
					t.Fatal(err)
				}
				findings, err := p.Lint(rules.Set{}, nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(findings) != 1 || findings[0].ID != rules.RedundantRule || findings[0].Rules[0].Position != 2-i {
					t.Errorf("order %d: %+v, want the narrower one redundant", i, findings)
				}
				narrow, broad := findings[0].Rules[0], findings[0].Rules[1]
				all, err := p.Within(narrow, p.Accepts(rules.Ingress))
				if err != nil || !all {
					t.Errorf("order %d: the narrow rule is within what is accepted: %t, %v", i, all, err)
				}
				if meet, err := p.Meet(narrow, broad); err != nil || !meet {
					t.Errorf("order %d: the rules meet: %t, %v", i, meet, err)
				}
			}
		})
	}
}
