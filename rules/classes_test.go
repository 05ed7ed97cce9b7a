package rules_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"ringfence.dev/ringfence/rules"
	"ringfence.dev/ringfence/rules/flowset"
)

// descend follows a branch by the fields of a flow, as a kernel would.
func descend(t *testing.T, b flowset.Branch, f *rules.Flow) flowset.Leaf {
	t.Helper()
	space := flowset.SpaceOf(f.Local)
	sport := uint64(flowset.UnknownSourcePort)
	if f.HasSourcePort && f.Protocol.HasPorts() {
		sport = uint64(f.SourcePort)
	}
	port := uint64(f.Port)
	if f.Protocol == rules.ICMP || f.Protocol == rules.ICMPv6 {
		port = uint64(f.ICMPType)
	}
	values := map[flowset.Field]flowset.Addr{
		flowset.Peer: flowset.AddrFrom(f.Remote), flowset.Protocol: {Lo: uint64(f.Protocol)}, flowset.Port: {Lo: port},
		flowset.Member: flowset.AddrFrom(f.Local), flowset.SourcePort: {Lo: sport},
	}
	for {
		if leaf, ok := b.Leaf(); ok {
			return leaf
		}
		field, ok := b.Field()
		if !ok {
			t.Fatal("a branch that is no leaf asks for no field")
		}
		b = run(t, b, field, space, values[field])
	}
}

// run finds a value among the runs of a field, which must have no gaps.
func run(t *testing.T, b flowset.Branch, field flowset.Field, space flowset.Space, at flowset.Addr) flowset.Branch {
	t.Helper()
	var next flowset.Addr
	var before, found flowset.Branch
	for r, kid := range b.Runs(field, space) {
		if r.First != next || kid == before {
			t.Fatalf("run %v after %v: want no gap, and neighbours that differ", r, next)
		}
		if r.First.Compare(at) <= 0 && at.Compare(r.Last) <= 0 {
			found = kid
		}
		next, before = r.Last.Next(), kid
	}
	if found == (flowset.Branch{}) {
		t.Fatalf("field %d: no run holds %v", field, at)
	}
	return found
}

// TestClassesAgreeWithTheWalk lays scenes out peer by peer, and looks flows up
// in the parts.
func TestClassesAgreeWithTheWalk(t *testing.T) {
	for seed := uint64(1); seed <= 60; seed++ {
		m := newMaker(seed)
		s := m.scene(t)
		var sides [2]*rules.Classes
		for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
			var err error
			if sides[d], err = rules.NewWorkspace(&s.world, 0).Classes(s.merged, d); err != nil {
				t.Fatal(err)
			}
			if !slices.IsSorted(sides[d].Groups()) {
				t.Errorf("groups %v are not sorted", sides[d].Groups())
			}
		}
		for range 300 {
			f := m.packet(s)
			if f.RemoteGroup != "" {
				continue
			}
			c := sides[f.Direction]
			b, err := c.Of(f.Remote, holders(s, c.Groups(), f.Remote))
			if err != nil {
				t.Fatal(err)
			}
			want, got := rules.Evaluate(s.merged, &s.world, &f), c.Verdict(descend(t, b, &f))
			if want != got {
				t.Fatalf("seed %d: %+v\nclass: %s by %s\nwalk:  %s by %s\n%s", seed, f, got.Action, got.By(), want.Action, want.By(), describeScene(s))
			}
		}
		checkRanges(t, m, sides[rules.Ingress])
	}
}

func holders(s *scene, groups []string, a netip.Addr) []int {
	var out []int
	for i, g := range groups {
		if s.world.Members.Contains(g, a) {
			out = append(out, i)
		}
	}
	return out
}

// checkRanges compares what Ranges says with what Of says of nobody's members.
func checkRanges(t *testing.T, m maker, c *rules.Classes) {
	t.Helper()
	for _, six := range []bool{false, true} {
		a := m.near(m.prefix(six))
		ranges, kids := c.Ranges(flowset.SpaceOf(a))
		i := slices.IndexFunc(ranges, func(r flowset.AddrRange) bool { return flowset.AddrFrom(a).Compare(r.Last) <= 0 })
		b, err := c.Of(a, nil)
		if err != nil || kids[i].Compare(b) != 0 || kids[i] != b {
			t.Errorf("%s: range %v is of another class than the address (%v)", a, ranges[i], err)
		}
	}
}

// TestClassesAreShared: what may do the same by the same rules is one class,
// however many addresses and ranges it has.
func TestClassesAreShared(t *testing.T) {
	g := &rules.Group{Name: "web", Ingress: []rules.Rule{
		{Action: rules.Accept, Priority: 1, Protocol: rules.TCP, Ports: rules.PortRange{First: 80, Last: 80}, Peer: rules.PrefixListPeer{Name: "offices"}},
		{Action: rules.Accept, Priority: 1, Protocol: rules.TCP, Ports: rules.PortRange{First: 80, Last: 80}, Peer: rules.GroupPeer{Name: "db"}},
	}}
	list := rules.PrefixList{Name: "offices", Entries: []rules.CIDR{rules.MustCIDR("10.0.0.0/24"), rules.MustCIDR("10.2.0.0/24")}}
	rs, err := rules.Merge([]*rules.Group{g}, map[string]rules.PrefixList{"offices": list})
	if err != nil {
		t.Fatal(err)
	}
	c, err := rules.NewWorkspace(&rules.World{}, 0).Classes(rs, rules.Ingress)
	if err != nil {
		t.Fatal(err)
	}
	_, kids := c.Ranges(flowset.IPv4)
	if len(kids) != 5 || kids[1] != kids[3] || kids[0] != kids[2] || kids[0] == kids[1] {
		t.Errorf("classes %v: want the two ranges to share one, and the rest another", kids)
	}
	one, _ := c.Of(netip.MustParseAddr("192.0.2.1"), []int{0})
	two, err := c.Of(netip.MustParseAddr("192.0.2.2"), []int{0})
	if err != nil || one != two || one == kids[0] {
		t.Errorf("two members: classes %v and %v (%v): want one of their own", one, two, err)
	}
}

func TestClassesBudget(t *testing.T) {
	g := &rules.Group{Name: "web"}
	for i := range 200 {
		cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16)
		g.Ingress = append(g.Ingress, rules.Rule{
			Action: rules.Accept, Priority: 1, Protocol: rules.TCP, Ports: rules.PortRange{First: uint16(i + 1), Last: uint16(2*i + 1)}, Peer: rules.CIDR{Prefix: cidr, Text: cidr.String()},
		}, rules.Rule{
			Action: rules.Accept, Priority: 1, Protocol: rules.TCP, Ports: rules.PortRange{First: uint16(300 * (i + 1)), Last: uint16(300*(i+1) + 7)}, Peer: rules.GroupPeer{Name: "db"},
		})
	}
	rs, err := rules.Merge([]*rules.Group{g}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rules.NewWorkspace(&rules.World{}, 50).Classes(rs, rules.Ingress); !errors.Is(err, flowset.ErrBudget) {
		t.Errorf("Classes over the budget: %v, want ErrBudget", err)
	}
	c, err := rules.NewWorkspace(&rules.World{}, 5000).Classes(rs, rules.Ingress)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Of(netip.MustParseAddr("10.1.0.1"), []int{0}); !errors.Is(err, flowset.ErrBudget) {
		t.Errorf("a signature over the budget: %v, want ErrBudget", err)
	}
}
