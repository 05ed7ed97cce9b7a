package apply_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
)

// What others translate in TestThreeWayBehindNAT: what comes in for a NodePort
// goes to a pod, and what a pod sends leaves as the node.
var (
	natNode = netip.MustParseAddr("10.0.0.5")
	natPod  = netip.MustParseAddr("172.20.0.9")

	nattedProtocols = []rules.Protocol{rules.TCP, rules.UDP} // our SCTP has no chunk, so nobody tracks it
)

// translate makes the NAT of others, for NodePorts and for pods.
func (st *stand) translate() {
	st.t.Helper()
	conn := st.witness.conn
	table := conn.AddTable(&nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4})
	pre := conn.AddChain(&nftables.Chain{Table: table, Name: "services", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
	post := conn.AddChain(&nftables.Chain{Table: table, Name: "masquerade", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	for _, protocol := range nattedProtocols {
		conn.AddRule(&nftables.Rule{Table: table, Chain: pre, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(protocol)}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: binary.BigEndian.AppendUint16(nil, 30000)},
			&expr.Immediate{Register: 1, Data: natPod.AsSlice()},
			&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, servicePort)},
			&expr.Counter{},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
		}})
	}
	conn.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: natPod.AsSlice()},
		&expr.Immediate{Register: 1, Data: natNode.AsSlice()},
		&expr.Counter{},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}})
	st.witness.flush()
}

// TestThreeWayBehindNAT: the walk, the diagram and the kernel agree although
// others translate addresses and ports. What they say is of the flow on the
// wire: the NodePort, and the node's address.
func TestThreeWayBehindNAT(t *testing.T) {
	st := newOpenStand(t)
	st.witness = newWitnessAt(t, -90, 160) // behind the NAT
	st.translate()
	kinds := map[rules.Direction]*score{rules.Ingress: {}, rules.Egress: {}}
	lacks := func() bool {
		return slices.ContainsFunc([]*score{kinds[rules.Ingress], kinds[rules.Egress]}, func(s *score) bool { return s.total < 10*perCell || !s.fair() })
	}
	for seed := *threeWaySeed; lacks(); seed++ {
		if seed == *threeWaySeed+maxScenes {
			t.Fatalf("from seed %d on: NodePorts %+v, pods %+v: not often enough", *threeWaySeed, kinds[rules.Ingress], kinds[rules.Egress])
		}
		m := newMaker(seed)
		s := m.scene(t)
		probes := m.translated(t, s, kinds)
		st.enforce(s.merged, &s.world)
		if wrong := st.try(probes); len(wrong) > 0 {
			t.Fatalf("seed %d: the kernel decides otherwise %d times, first: %s\n%s", seed, len(wrong), wrong[0], s)
		}
	}
	t.Logf("first seed %d: of %d packets to NodePorts %d accepted, of %d of pods %d", *threeWaySeed,
		kinds[rules.Ingress].total, kinds[rules.Ingress].accepted, kinds[rules.Egress].total, kinds[rules.Egress].accepted)
	for _, chain := range []string{"services", "masquerade"} {
		if st.translated(chain) == 0 {
			t.Errorf("chain %s translated nothing, so the test proves nothing", chain)
		}
	}
}

// translated draws packets of a scene that others translate, about as many
// accepted as dropped.
func (m maker) translated(t *testing.T, s *scene, kinds map[rules.Direction]*score) []probe {
	t.Helper()
	policies := map[*rules.World]*rules.Policy{}
	var out []probe
	for range 40 * perScene {
		p := probe{packet: m.packet(s)}
		if p.flow.Local.Is6() || !slices.Contains(nattedProtocols, p.flow.Protocol) {
			continue
		}
		if p.flow.Direction == rules.Egress {
			p.flow.Local, p.sentFrom = natNode, natPod
		} else if p.flow.Port < 30000 {
			continue
		}
		p.want = s.ask(t, policies, &p.packet)
		kind := kinds[p.flow.Direction]
		if len(out) == perScene/4 || kind.total > 0 && kind.share(p.want.Action) >= 60 {
			continue
		}
		kind.note(p.want.Action)
		p.id = uint16(len(out) + 1)
		p.leaf = nft.Leaf(p.flow.Direction, p.want, false)
		out = append(out, p)
	}
	return out
}
