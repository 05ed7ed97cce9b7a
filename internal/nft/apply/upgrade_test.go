package apply_test

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
)

// withOldBase is a version as an agent laid it out that knew nothing of flows
// that are cut, nor of untracked packets.
func withOldBase(v *nft.Version) *nft.Version {
	old := *v
	related := v.Base[0]
	related.Name += "_old"
	old.Base = []nft.Node{related}
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		hook := &nft.Hook{Name: "prerouting", Priority: -160}
		if d == rules.Egress {
			hook = &nft.Hook{Name: "postrouting", Priority: 150}
		}
		old.Base = append(old.Base, nft.Node{
			Name: "base_" + d.String() + "_old", Hook: hook,
			Rules: []nft.Rule{nft.AcceptForeign{Egress: d == rules.Egress}, nft.AcceptEstablished{}, nft.JumpRelated{Chain: related.Name}, nft.Goto{Chain: nft.Policy(d)}},
		})
	}
	return &old
}

// TestUpgradeUnderLoad replaces the base chains of an older agent, with one
// version in force and another one on trial, and then the other way round,
// while packets come as fast as one thread can send them: none that must pass
// is dropped, none that must be dropped passes, and no count is lost.
func TestUpgradeUnderLoad(t *testing.T) {
	st := newOpenStand(t)
	st.witness = newWitnessAt(t, -158, 151)
	good, bad := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")
	arrived, passed := st.counted("arrivals", good, -161), st.counted("passed", good, -159)
	_, versions := st.twoVersions()
	olds := [2]*nft.Version{withOldBase(versions[0]), withOldBase(versions[1])}
	st.check(st.kernel.Build(olds[0], []string{uplink}))
	st.check(st.kernel.Confirm(olds[0].Name))
	st.check(st.kernel.Build(olds[1], nil))
	st.check(st.kernel.Trial(olds[1].Name, time.Hour))
	counts := st.passedGood()

	stop := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := uint16(0); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			for n, from := range []netip.Addr{good, bad} {
				p := packet{id: uint16(n + 1), hopLimit: 64, flow: rules.Flow{Protocol: rules.UDP, Remote: from, Local: netip.MustParseAddr("10.0.0.1"), Port: 80, SourcePort: i, HasSourcePort: true}}
				if err := st.sender.send(&p); err != nil {
					t.Errorf("cannot send: %v", err)
					return
				}
			}
		}
	})
	for range *loadSwaps {
		for _, pair := range [][2]*nft.Version{versions, olds} {
			st.check(st.kernel.Load(pair[0], nil))
			st.check(st.kernel.Delete(pair[0], pair[1]))
		}
	}
	st.check(st.kernel.ConfirmTrial(versions[1].Name))
	st.check(st.kernel.Delete(versions[1]))
	close(stop)
	sending.Wait()
	st.wait(func() bool { return passed() == arrived() })
	came, through, twice := arrived(), passed(), st.passedGood()-counts
	t.Logf("%d base chains replaced, %d packets that must pass, as many that must not, %d counted twice", 2**loadSwaps, came, twice-came)
	if through != came || came == 0 {
		t.Errorf("%d of %d packets passed: want all", through, came)
	}
	if twice < came {
		t.Errorf("the leaf counted %d packets of %d: its count did not survive", twice, came)
	}
	if seen := st.witness.passed(); seen[2] || !seen[1] {
		t.Errorf("packets seen behind the firewall: %v, want number 1 alone", seen)
	}
	st.wantNoDrift(versions[1])
}

// TestUntracked: packets that nobody follows are judged by the rules both ways,
// the answers too, and counted.
func TestUntracked(t *testing.T) {
	st := newStand(t)
	st.notrack()
	st.enforceGroup([]rules.Rule{to(rules.UDP, 80, "10.9.9.0/24")}, []rules.Rule{to(rules.UDP, 53, "10.9.9.0/24")})
	in, out := nft.Untracked(rules.Ingress), nft.Untracked(rules.Egress)
	before := st.tallies()
	flow := func(d rules.Direction, port, source uint16) rules.Flow {
		return rules.Flow{Direction: d, Protocol: rules.UDP, Local: netip.MustParseAddr("10.0.0.1"), Remote: netip.MustParseAddr("10.9.9.9"), Port: port, SourcePort: source, HasSourcePort: true}
	}
	for name, tc := range map[string]struct {
		flow rules.Flow
		want bool
	}{
		"in by a rule":                    {flow(rules.Ingress, 80, 1000), true},
		"in without one":                  {flow(rules.Ingress, 81, 1000), false},
		"out by a rule":                   {flow(rules.Egress, 53, 2000), true},
		"out without one":                 {flow(rules.Egress, 54, 2000), false},
		"the answer to what was let in":   {flow(rules.Egress, 1000, 80), false},
		"the answer to what was let out":  {flow(rules.Ingress, 2000, 53), false},
		"in by a rule, the second packet": {flow(rules.Ingress, 80, 1000), true},
	} {
		if got := st.passesOne(tc.flow); got != tc.want {
			t.Errorf("%s: passes %t, want %t", name, got, tc.want)
		}
	}
	after := st.tallies()
	if got := [2]uint64{after[in].Packets - before[in].Packets, after[out].Packets - before[out].Packets}; got != [2]uint64{4, 3} {
		t.Errorf("untracked packets counted: %v, want 4 in and 3 out", got)
	}
}

// twoVersions differ in hundreds of elements of every kind of map, and agree
// on packets to port 80.
func (st *stand) twoVersions() ([2]*nft.Compiler, [2]*nft.Version) {
	st.t.Helper()
	var compilers [2]*nft.Compiler
	var versions [2]*nft.Version
	var members rules.Membership
	var list []netip.Prefix
	for a := netip.MustParseAddr("10.9.0.0"); len(list) < 2000; a = a.Next() {
		if a != netip.MustParseAddr("10.9.0.2") {
			list = append(list, netip.PrefixFrom(a, 32))
		}
	}
	members.Set("db", list)
	for i := range versions {
		g := &rules.Group{Name: "g", Ingress: []rules.Rule{
			{Action: rules.Accept, Priority: 1, Protocol: rules.UDP, Ports: rules.PortRange{First: 80, Last: 80}, Peer: rules.GroupPeer{Name: "db"}},
		}}
		for n := range 60 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i), byte(n), 0}), 25)
			port := uint16(100 + 10*n + i)
			g.Ingress = append(g.Ingress, rules.Rule{Action: rules.Accept, Priority: 2, Protocol: rules.UDP, Ports: rules.PortRange{First: port, Last: port + 3}, Peer: rules.CIDR{Prefix: p, Text: p.String()}})
			if n < 30 {
				g.Ingress = append(g.Ingress, rules.Rule{Action: rules.Accept, Priority: 2, Protocol: rules.UDP, Ports: rules.PortRange{First: port, Last: port + 3}, Peer: rules.GroupPeer{Name: "db"}})
			}
		}
		rs, err := rules.Merge([]*rules.Group{g}, nil)
		st.check(err)
		compilers[i], err = nft.New(nft.Input{Ruleset: rs})
		st.check(err)
		versions[i], err = compilers[i].Version(&members)
		st.check(err)
	}
	return compilers, versions
}

// passedGood is the count of the one leaf that good packets reach in both versions.
func (st *stand) passedGood() uint64 {
	r := rules.MergedRule{Group: "g", Rule: rules.Rule{Action: rules.Accept, Priority: 1, Protocol: rules.UDP, Ports: rules.PortRange{First: 80, Last: 80}, Peer: rules.GroupPeer{Name: "db"}}}
	return st.tallies()[nft.Leaf(rules.Ingress, rules.Verdict{Action: rules.Accept, Cause: rules.ByRule, Rule: &r}, false)].Packets
}
