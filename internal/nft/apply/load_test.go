package apply_test

import (
	"flag"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
)

var loadSwaps = flag.Int("load.swaps", 8, "swaps that TestSwapUnderLoad makes")

// counted counts the packets from one address, in a table of this name, where
// the priority says: before -160 our table has not seen them yet.
func (st *stand) counted(name string, from netip.Addr, priority nftables.ChainPriority) func() uint64 {
	st.t.Helper()
	conn, policy := st.witness.conn, nftables.ChainPolicyAccept
	table := conn.AddTable(&nftables.Table{Name: name, Family: nftables.TableFamilyIPv4})
	conn.AddObj(&nftables.NamedObj{Table: table, Name: "good", Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}})
	chain := conn.AddChain(&nftables.Chain{
		Table: table, Name: "in", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting,
		Priority: &priority, Policy: &policy,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: from.AsSlice()},
		&expr.Objref{Type: int(nftables.ObjTypeCounter), Name: "good"},
	}})
	st.witness.flush()
	return func() uint64 {
		list, err := conn.GetNamedObjects(table)
		st.check(err)
		return list[0].(*nftables.NamedObj).Obj.(*expr.Counter).Packets
	}
}

// TestSwapUnderLoad swaps versions and moves members while packets come as fast
// as one thread can send them. Those that both versions accept must all pass,
// those that both drop must all be dropped.
func TestSwapUnderLoad(t *testing.T) {
	st := newStand(t)
	swaps := *loadSwaps
	good, bad := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")
	arrived := st.counted("arrivals", good, -161)
	compilers, versions := st.twoVersions()
	st.check(st.kernel.Build(versions[0], []string{uplink}))
	st.check(st.kernel.Confirm(versions[0].Name))
	before := st.passedGood()
	was := arrived()

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
	joining := netip.MustParseAddr("10.77.0.0")
	for i := range swaps {
		next := (i + 1) % 2
		st.check(st.kernel.Build(versions[next], nil))
		st.check(st.kernel.Trial(versions[next].Name, time.Hour))
		st.check(st.kernel.ConfirmTrial(versions[next].Name))
		st.check(st.kernel.Delete(versions[next]))
		for range 5 {
			joining = joining.Next()
			for _, c := range []nft.Change{{Address: joining, After: []string{"db"}}, {Address: joining, Before: []string{"db"}}} {
				moves, err := compilers[next].Moves([]nft.Change{c})
				st.check(err)
				st.check(st.kernel.Move(compilers[next].Needs(moves), moves))
			}
		}
	}
	close(stop)
	sending.Wait()
	st.wait(func() bool { return st.passedGood()-before == arrived()-was })
	passed, came := st.passedGood()-before, arrived()-was
	t.Logf("%d swaps, %d changes of members, %d packets that must pass, as many that must not", swaps, 10*swaps, came)
	if passed != came || came == 0 {
		t.Errorf("%d of %d packets passed: want all", passed, came)
	}
	if seen := st.witness.passed(); seen[2] || !seen[1] {
		t.Errorf("packets seen behind the firewall: %v, want number 1 alone", seen)
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
