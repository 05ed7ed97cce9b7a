package apply_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// A witness is a table of its own behind ours in both hooks: it notes the
// numbers of the packets that ours let pass, then drops them, so that no flow
// is ever established and the host answers nothing.
type witness struct {
	t     *testing.T
	conn  *nftables.Conn
	table *nftables.Table
	seen  *nftables.Set
}

func newWitness(t *testing.T) *witness {
	t.Helper()
	return newWitnessAt(t, -159, 151)
}

// newWitnessAt makes a witness with other priorities, to see what lies between.
func newWitnessAt(t *testing.T, in, out nftables.ChainPriority) *witness {
	t.Helper()
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseLasting() })
	w := &witness{t: t, conn: conn, table: &nftables.Table{Name: "witness", Family: nftables.TableFamilyINet}}
	w.seen = &nftables.Set{Table: w.table, Name: "seen", ID: 77, KeyType: nftables.TypeInetService, Dynamic: true, Size: 65535}
	conn.AddTable(w.table)
	if err := conn.AddSet(w.seen, nil); err != nil {
		t.Fatal(err)
	}
	policy := nftables.ChainPolicyAccept
	for _, at := range []struct {
		hook     *nftables.ChainHook
		priority nftables.ChainPriority
		name     expr.MetaKey
	}{{nftables.ChainHookPrerouting, in, expr.MetaKeyIIFNAME}, {nftables.ChainHookPostrouting, out, expr.MetaKeyOIFNAME}} {
		c := conn.AddChain(&nftables.Chain{
			Table: w.table, Name: map[bool]string{true: "in", false: "out"}[at.priority < 0], Type: nftables.ChainTypeFilter,
			Hooknum: at.hook, Priority: &at.priority, Policy: &policy,
		})
		ours := make([]byte, 16)
		copy(ours, uplink)
		for family, offset := range map[byte]uint32{2: 4, 10: 2} {
			conn.AddRule(&nftables.Rule{Table: w.table, Chain: c, Exprs: []expr.Any{
				&expr.Meta{Key: at.name, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ours},
				&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 2},
				&expr.Dynset{SrcRegKey: 1, SetName: w.seen.Name, SetID: w.seen.ID, Operation: 0},
				&expr.Verdict{Kind: expr.VerdictDrop},
			}})
		}
	}
	w.flush()
	return w
}

func (w *witness) flush() {
	w.t.Helper()
	if err := w.conn.Flush(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *witness) forget() {
	w.t.Helper()
	w.conn.FlushSet(w.seen)
	w.flush()
}

// passed returns the numbers of the packets that were let pass since forget.
func (w *witness) passed() map[uint16]bool {
	w.t.Helper()
	list, err := w.conn.GetSetElements(w.seen)
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[uint16]bool{}
	for _, e := range list {
		out[binary.BigEndian.Uint16(e.Key)] = true
	}
	return out
}

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
