package apply_test

import (
	"net/netip"
	"slices"
	"testing"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/rules"
)

// TestRevoked: with everything let through, packets of flows that were cut are
// dropped, whoever had begun the flow and whoever sends; those beside them pass.
func TestRevoked(t *testing.T) {
	st := newStand(t)
	everything := []rules.Rule{}
	for _, peer := range []string{"0.0.0.0/0", "::/0"} {
		everything = append(everything, rules.Rule{Action: rules.Accept, Priority: 1, Protocol: rules.AllProtocols, Peer: rules.MustCIDR(peer)})
	}
	st.enforceGroup(slices.Clone(everything), slices.Clone(everything))
	var cut []apply.Revoked
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		for i, pair := range [][2]string{{"10.9.9.9", "10.0.0.1"}, {"2001:db8::9", "2001:db8::1"}} {
			for _, p := range []rules.Protocol{rules.TCP, rules.UDP} {
				port := uint16(1000 + 100*int(d) + 10*i)
				cut = append(cut, apply.Revoked{Direction: d, Protocol: p, Peer: netip.AddrPortFrom(netip.MustParseAddr(pair[0]), port), Own: netip.AddrPortFrom(netip.MustParseAddr(pair[1]), port+1)})
			}
		}
	}
	st.check(st.kernel.Revoke(cut))
	st.check(st.kernel.Revoke(cut)) // once more changes nothing
	got, err := st.kernel.Revoked()
	st.check(err)
	if len(got) != len(cut) || slices.ContainsFunc(cut, func(r apply.Revoked) bool { return !slices.Contains(got, r) }) {
		t.Errorf("cut are %v, want %v", got, cut)
	}
	st.wantRevoked("cut", cut, true)

	st.check(st.kernel.Pardon(append(cut[:1:1], apply.Revoked{Protocol: rules.TCP, Peer: netip.MustParseAddrPort("10.1.1.1:1"), Own: cut[0].Own})))
	st.wantRevoked("pardoned", cut[:1], false)
	st.wantRevoked("the others", cut[1:], true)
	st.check(st.kernel.PardonAll())
	st.wantRevoked("all pardoned", cut, false)
}

// wantRevoked sends a packet of each flow each way, and one that differs from
// it in one port.
func (st *stand) wantRevoked(when string, list []apply.Revoked, dropped bool) {
	st.t.Helper()
	for _, r := range list {
		for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
			f := rules.Flow{Direction: d, Protocol: r.Protocol, Local: r.Own.Addr(), Remote: r.Peer.Addr(), Port: r.Own.Port(), SourcePort: r.Peer.Port(), HasSourcePort: true}
			if d == rules.Egress {
				f.Port, f.SourcePort = f.SourcePort, f.Port
			}
			other := f
			other.SourcePort += 5
			if got := st.passesRevoked(&f); got == dropped {
				st.t.Errorf("%s: %+v passes: %t", when, f, got)
			}
			if !st.passesRevoked(&other) {
				st.t.Errorf("%s: %+v is dropped, and was never cut", when, other)
			}
		}
	}
}

// passesRevoked sends one packet, and waits until it has passed, or was dropped
// since its flow was cut.
func (st *stand) passesRevoked(f *rules.Flow) bool {
	st.t.Helper()
	leaf := nft.Revoked(f.Direction)
	st.witness.forget()
	before := st.tallies()[leaf]
	st.check(st.sender.send(&packet{id: 1, hopLimit: 64, flow: *f}))
	var passed bool
	ended := st.wait(func() bool {
		passed = st.witness.passed()[1]
		return passed || st.tallies()[leaf] != before
	})
	if !ended {
		st.t.Fatalf("%+v neither passed nor was dropped", f)
	}
	return passed
}
