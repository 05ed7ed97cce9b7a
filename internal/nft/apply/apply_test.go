package apply_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/rules"
)

// group is an advanced group that accepts TCP to these ports from anywhere.
func group(ports ...uint16) *rules.Group {
	g := &rules.Group{Name: "g", Type: rules.Advanced}
	for _, p := range ports {
		g.Ingress = append(g.Ingress, rules.Rule{
			Action: rules.Accept, Priority: 1, Protocol: rules.TCP, Ports: rules.PortRange{First: p, Last: p}, Peer: rules.MustCIDR("0.0.0.0/0"),
		})
	}
	return g
}

func (st *stand) version(g *rules.Group) *nft.Version {
	st.t.Helper()
	rs, err := rules.Merge([]*rules.Group{g}, nil)
	st.check(err)
	c, err := nft.New(nft.Input{Ruleset: rs})
	st.check(err)
	v, err := c.Version(&rules.Membership{})
	st.check(err)
	return v
}

// passes reports whether TCP to these ports comes in.
func (st *stand) passes(ports ...uint16) []bool {
	st.t.Helper()
	st.witness.forget()
	before := st.tallies()
	for i, port := range ports {
		p := packet{id: uint16(i + 1), hopLimit: 64, flow: rules.Flow{
			Protocol: rules.TCP, Local: netip.MustParseAddr("10.0.0.1"), Remote: netip.MustParseAddr("10.9.9.9"), Port: port, SourcePort: 1024, HasSourcePort: true,
		}}
		st.check(st.sender.send(&p))
	}
	st.settle(before, uint64(len(ports)))
	passed := st.witness.passed()
	var out []bool
	for i := range ports {
		out = append(out, passed[uint16(i+1)])
	}
	return out
}

func (st *stand) wantPasses(when string, want ...bool) {
	st.t.Helper()
	if got := st.passes(80, 443); !slices.Equal(got, want) {
		st.t.Errorf("%s: ports 80 and 443 pass: %v, want %v", when, got, want)
	}
}

func (st *stand) wantNoDrift(v *nft.Version) {
	st.t.Helper()
	drift, err := st.kernel.Drift(v)
	st.check(err)
	if len(drift) > 0 {
		st.t.Errorf("the table is not what was laid out: %q", drift)
	}
}

// TestChange walks through build, trial, the way back by the kernel alone, and
// confirm.
func TestChange(t *testing.T) {
	st := newStand(t)
	first, second := st.version(group(80)), st.version(group(443))
	st.check(st.kernel.Build(first, []string{uplink}))
	if s, err := st.kernel.State(); err != nil || s != (apply.State{}) {
		t.Errorf("state after the first build: %+v, %v; want none", s, err)
	}
	st.check(st.kernel.Confirm(first.Name))
	st.wantPasses("first version", true, false)
	st.wantNoDrift(first)

	st.check(st.kernel.Build(second, nil))
	st.wantPasses("second version built", true, false)
	st.check(st.kernel.Trial(second.Name, time.Hour))
	st.wantPasses("second version on trial", false, true)
	if s, err := st.kernel.State(); err != nil || s.Confirmed != first.Name || s.Trial != second.Name || s.Left <= 0 || s.Left > time.Hour {
		t.Errorf("state on trial: %+v, %v", s, err)
	}
	st.check(st.kernel.EndTrial())
	st.wantPasses("trial ended", true, false)

	st.check(st.kernel.Trial(second.Name, time.Millisecond))
	ended := st.wait(func() bool {
		s, err := st.kernel.State()
		st.check(err)
		return s.Trial == ""
	})
	if !ended {
		t.Fatal("the kernel does not end the trial")
	}
	st.wantPasses("trial ended by the kernel", true, false)
	if err := st.kernel.ConfirmTrial(second.Name); !errors.Is(err, apply.ErrTrialOver) {
		t.Errorf("Confirm after the trial: %v, want ErrTrialOver", err)
	}

	st.check(st.kernel.Trial(second.Name, time.Hour))
	st.check(st.kernel.ConfirmTrial(second.Name))
	st.wantPasses("second version confirmed", false, true)
	st.check(st.kernel.Delete(second))
	st.wantPasses("first version deleted", false, true)
	st.wantNoDrift(second)
	st.check(st.kernel.Uninstall())
	st.check(st.kernel.Uninstall())
	if drift, err := st.kernel.Drift(second); err != nil || len(drift) != 1 {
		t.Errorf("drift without a table: %q, %v", drift, err)
	}
}

// TestRefusedTransaction: what the kernel refuses changes nothing, and the next
// transaction does not suffer.
func TestRefusedTransaction(t *testing.T) {
	st := newStand(t)
	v := st.version(group(80))
	st.check(st.kernel.Build(v, []string{uplink}))
	st.check(st.kernel.Confirm(v.Name))
	if err := st.kernel.Confirm("never-built"); err == nil {
		t.Error("a version that was never built is confirmed")
	}
	if err := st.kernel.Trial("never-built", time.Hour); err == nil {
		t.Error("a version that was never built is on trial")
	}
	st.wantNoDrift(v)
	st.wantPasses("after the refusal", true, false)
	next := st.version(group(443))
	st.check(st.kernel.Build(next, nil))
	st.check(st.kernel.Confirm(next.Name))
	st.wantPasses("the next version", false, true)
	if err := st.kernel.Delete(v); err == nil {
		t.Error("the version in force is deleted")
	}
	st.wantPasses("after deleting what is in force", false, true)
}

// TestNoUplink: judging nothing is not what anybody wants.
func TestNoUplink(t *testing.T) {
	st := newStand(t)
	if err := st.kernel.Build(st.version(group(80)), nil); err == nil {
		t.Error("a first version without uplinks is built")
	}
	if s, err := st.kernel.State(); err != nil || s != (apply.State{}) {
		t.Errorf("state %+v, %v; want none", s, err)
	}
}

// TestProbe: this kernel can do it all, and nothing is left behind.
func TestProbe(t *testing.T) {
	st := newStand(t)
	for range 2 {
		if err := st.kernel.Probe(); err != nil {
			t.Errorf("Probe: %v", err)
		}
	}
	tables, err := st.witness.conn.ListTables()
	st.check(err)
	if len(tables) != 1 {
		t.Errorf("%d tables, want the witness's alone", len(tables))
	}
	// A table in the way is what makes the first part fail here.
	table := st.witness.conn.AddTable(&nftables.Table{Name: "ringfence-probe", Family: nftables.TableFamilyINet})
	policy := nftables.ChainPolicyAccept
	st.witness.conn.AddChain(&nftables.Chain{Table: table, Name: "leaf", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &policy})
	st.witness.conn.AddChain(&nftables.Chain{Table: table, Name: "hook", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &policy})
	st.witness.flush()
	if err := st.kernel.Probe(); err == nil || !strings.Contains(err.Error(), "interval map") {
		t.Errorf("Probe of a table in the way: %v, want what could not be done", err)
	}
	v := st.version(group(80))
	st.check(st.kernel.Build(v, []string{uplink}))
	st.check(st.kernel.Confirm(v.Name))
	st.wantNoDrift(v)
}

// TestUplinks: only what comes by an uplink is judged.
func TestUplinks(t *testing.T) {
	st := newStand(t)
	v := st.version(group(80))
	st.check(st.kernel.Build(v, []string{uplink, "eth9"}))
	st.check(st.kernel.Confirm(v.Name))
	st.wantPasses("two uplinks", true, false)
	st.check(st.kernel.SetUplinks([]string{"eth9", "eth8"}))
	if !st.passesUnjudged(443) {
		t.Error("what comes by no uplink is judged")
	}
	st.check(st.kernel.SetUplinks([]string{uplink}))
	st.wantPasses("one uplink", true, false)
	st.wantNoDrift(v)
	if err := st.kernel.SetUplinks(nil); err == nil {
		t.Error("no uplink at all is accepted")
	}
}

// passesUnjudged is passes for one port, where no leaf counts.
func (st *stand) passesUnjudged(port uint16) bool {
	st.t.Helper()
	st.witness.forget()
	p := packet{id: 9, hopLimit: 64, flow: rules.Flow{
		Protocol: rules.TCP, Local: netip.MustParseAddr("10.0.0.1"), Remote: netip.MustParseAddr("10.9.9.9"), Port: port, SourcePort: 1024, HasSourcePort: true,
	}}
	st.check(st.sender.send(&p))
	return st.wait(func() bool { return st.witness.passed()[9] })
}

// TestLeavesAreShared: a rule that stays keeps its count over a swap.
func TestLeavesAreShared(t *testing.T) {
	st := newStand(t)
	first, second := st.version(group(80)), st.version(group(443, 80))
	st.check(st.kernel.Build(first, []string{uplink}))
	st.check(st.kernel.Confirm(first.Name))
	st.wantPasses("first", true, false)
	before := st.tallies()
	st.check(st.kernel.Build(second, nil))
	st.check(st.kernel.Confirm(second.Name))
	st.check(st.kernel.Delete(second))
	after := st.tallies()
	kept := 0
	for leaf, tally := range before {
		if now, ok := after[leaf]; ok && tally.Packets > 0 && now == tally {
			kept++
		}
	}
	if kept != 2 { // the rule, and the default
		t.Errorf("%d counts survived, want 2: %v, then %v", kept, before, after)
	}
}

// TestOthersAreLeftAlone: no other table changes, in all that we do.
func TestOthersAreLeftAlone(t *testing.T) {
	st := newStand(t) // the witness is another table
	listed := func() string {
		var out string
		tables, err := st.witness.conn.ListTables()
		st.check(err)
		for _, table := range tables {
			if table.Name == nft.TableName {
				continue
			}
			out += fmt.Sprintf("table %d %s\n", table.Family, table.Name)
			chains, err := st.witness.conn.ListChainsOfTableFamily(table.Family)
			st.check(err)
			for _, c := range chains {
				if c.Table.Name != table.Name {
					continue
				}
				list, err := st.witness.conn.GetRules(&nftables.Table{Name: table.Name, Family: table.Family}, c)
				st.check(err)
				for _, r := range list {
					out += fmt.Sprintf("%s %d\n", c.Name, r.Handle)
				}
			}
		}
		return out
	}
	before := listed()
	v := st.version(group(80))
	st.check(st.kernel.Build(v, []string{uplink}))
	st.check(st.kernel.Confirm(v.Name))
	st.check(st.kernel.Delete(v))
	st.check(st.kernel.Uninstall())
	if after := listed(); before != after || before == "" {
		t.Errorf("other tables before:\n%s\nafter:\n%s", before, after)
	}
}

// TestDrift changes the table by hand in every way, wants to be told, and
// wants it repaired.
func TestDrift(t *testing.T) {
	st := newStand(t)
	v := st.version(group(80))
	table := &nftables.Table{Name: nft.TableName, Family: nftables.TableFamilyINet}
	conn := st.witness.conn
	port := v.Classes[0].Maps[0]
	for name, edit := range map[string]func(){
		"Rule":    func() { conn.FlushChain(&nftables.Chain{Table: table, Name: v.Dispatch[0].Name}) },
		"Base":    func() { conn.FlushChain(&nftables.Chain{Table: table, Name: v.Base[0].Name}) },
		"Element": func() { conn.FlushSet(&nftables.Set{Table: table, Name: port.Name}) },
		"Verdict": func() {
			s := &nftables.Set{Table: table, Name: v.Dispatch[0].Maps[1].Name, IsMap: true, Interval: true, KeyType: nftables.TypeIPAddr, DataType: nftables.TypeVerdict}
			st.check(conn.SetAddElements(s, []nftables.SetElement{
				{Key: []byte{192, 0, 2, 0}, VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: v.Dispatch[1].Name}},
				{Key: []byte{192, 0, 2, 9}, IntervalEnd: true},
			}))
		},
		"BaseGone": func() { conn.DelChain(&nftables.Chain{Table: table, Name: v.Base[len(v.Base)-1].Name}) },
		"More":     func() { conn.AddChain(&nftables.Chain{Table: table, Name: "mine"}) },
		"Policy":   func() { conn.FlushChain(&nftables.Chain{Table: table, Name: nft.Policy(rules.Ingress)}) },
		"Table":    func() { conn.DelTable(table) },
	} {
		st.check(st.kernel.Uninstall())
		st.check(st.kernel.Build(v, []string{uplink}))
		st.check(st.kernel.Confirm(v.Name))
		st.wantNoDrift(v)
		edit()
		st.witness.flush()
		drift, err := st.kernel.Drift(v)
		if err != nil || len(drift) != 1 {
			t.Errorf("%s: drift %q, %v; want one line", name, drift, err)
		}
		st.check(st.kernel.Repair(v, []string{uplink}, drift))
		st.wantNoDrift(v)
		st.wantPasses(name+" repaired", true, false)
	}
}

// TestHalfBuilt: who was killed while filling a map leaves members of then, and
// they are nobody's now.
func TestHalfBuilt(t *testing.T) {
	st := newStand(t)
	members := &rules.Membership{}
	members.Set("db", []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")})
	g := &rules.Group{Name: "g", Ingress: []rules.Rule{{Action: rules.Accept, Priority: 1, Protocol: rules.GRE, Peer: rules.GroupPeer{Name: "db"}}}}
	rs, err := rules.Merge([]*rules.Group{g}, nil)
	st.check(err)
	c, err := nft.New(nft.Input{Ruleset: rs})
	st.check(err)
	v, err := c.Version(members)
	st.check(err)
	conn := st.witness.conn
	table := conn.AddTable(&nftables.Table{Name: nft.TableName, Family: nftables.TableFamilyINet})
	half := &nftables.Set{Table: table, Name: v.Dispatch[0].Maps[0].Name, KeyType: nftables.TypeIPAddr}
	st.check(conn.AddSet(half, []nftables.SetElement{{Key: []byte{10, 0, 0, 2}}}))
	st.witness.flush()
	st.check(st.kernel.Build(v, []string{uplink}))
	st.check(st.kernel.Confirm(v.Name))
	st.wantNoDrift(v)
}

// TestLargeMaps: more elements than fit a message, and none is lost.
func TestLargeMaps(t *testing.T) {
	st := newStand(t)
	const n = 20_000
	members := &rules.Membership{}
	var list []netip.Prefix
	for _, text := range []string{"10.0.0.0", "2001:db8::"} {
		a := netip.MustParseAddr(text)
		for range n {
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
			a = a.Next()
		}
	}
	members.Set("db", list)
	g := &rules.Group{Name: "g"}
	for i := range 900 {
		cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 8), byte(i), 0}), 25)
		g.Ingress = append(g.Ingress, rules.Rule{Action: rules.Accept, Priority: 1, Protocol: rules.GRE, Peer: rules.CIDR{Prefix: cidr, Text: cidr.String()}})
	}
	g.Ingress = append(g.Ingress, rules.Rule{Action: rules.Accept, Priority: 1, Protocol: rules.GRE, Peer: rules.GroupPeer{Name: "db"}})
	rs, err := rules.Merge([]*rules.Group{g}, nil)
	st.check(err)
	c, err := nft.New(nft.Input{Ruleset: rs})
	st.check(err)
	v, err := c.Version(members)
	st.check(err)
	st.check(st.kernel.Build(v, []string{uplink}))
	st.check(st.kernel.Confirm(v.Name))
	st.wantNoDrift(v)
	st.check(st.kernel.Verify(v))
	if got := len(v.Dispatch[0].Maps[0].Elements); got != n {
		t.Errorf("%d members laid out, want %d", got, n)
	}
	gone := v.Dispatch[0].Maps[0]
	at := gone.Elements[n/2].Range.First
	st.check(st.kernel.Move(nil, []nft.Move{{Map: gone.Name, Key: gone.Key, Address: at, From: gone.Elements[n/2].Goto}}))
	if err := st.kernel.Verify(v); err == nil || !strings.Contains(err.Error(), "19999 elements") {
		t.Errorf("Verify with one of %d members lost: %v", n, err)
	}
}
