package discover

import (
	"cmp"
	"net/netip"

	"ringfence.dev/ringfence/rules"
)

// A router is what we read of MetalLB's BGPPeer: whom its speakers tell where
// Services are.
type router struct {
	object

	address netip.Addr
	port    uint16
}

func (r *reader) router() {
	var o struct {
		Spec struct {
			PeerAddress string `json:"peerAddress"`
			PeerPort    int64  `json:"peerPort"`
		} `json:"spec"`
	}
	if !r.decode(&o) || o.Spec.PeerAddress == "" { // without it an interface finds the peer
		return
	}
	router := &router{r.object, r.addr("/spec/peerAddress", o.Spec.PeerAddress), cmp.Or(r.port("/spec/peerPort", o.Spec.PeerPort), bgpPort)}
	if !r.bad {
		r.keep(router)
	}
}

func (r *router) derive(d *derivation) {
	to := d.outside(r.address.String())
	d.need(&Need{From: Party{Hosts, "MetalLB speaker"}, To: to, Protocol: rules.TCP, Ports: one(r.port), Class: Expected, Wire: Host, Why: "routers do not learn where Services are"}, r.at("/spec/peerAddress"))
}
