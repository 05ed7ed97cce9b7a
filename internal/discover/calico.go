package discover

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// An ipPool is what we read of Calico's IPPool.
type ipPool struct {
	object

	cidr        netip.Prefix
	ipip, vxlan string // Always, CrossSubnet, Never or nothing
	nat         bool   // packets to outside of all pools are masqueraded
}

type felixConfiguration struct {
	object

	vxlanPort                      uint16
	natSparesHosts                 bool
	wireguard, wireguardV6         bool
	wireguardPort, wireguardPortV6 uint16
}

type bgpConfiguration struct {
	object

	mesh       bool
	listenPort uint16
}

type bgpPeer struct {
	object

	peer netip.AddrPort
}

func (r *reader) ipPool() {
	var o struct {
		Spec struct {
			CIDR      string `json:"cidr"`
			IPIPMode  string `json:"ipipMode"`
			VXLANMode string `json:"vxlanMode"`
			Disabled  bool   `json:"disabled"`
			NAT       bool   `json:"natOutgoing"`
		} `json:"spec"`
	}
	if !r.decode(&o) {
		return
	}
	p := &ipPool{r.object, r.prefix("/spec/cidr", o.Spec.CIDR), o.Spec.IPIPMode, o.Spec.VXLANMode, o.Spec.NAT}
	for field, mode := range map[string]string{"/spec/ipipMode": p.ipip, "/spec/vxlanMode": p.vxlan} {
		if !poolMode(mode) {
			r.wrongf(field, "%q: want Always, CrossSubnet or Never", mode)
		}
	}
	if !r.bad && !o.Spec.Disabled {
		r.keep(p)
	}
}

// poolMode reports whether s is a mode of encapsulation, in any case: variables
// are written in all of them.
func poolMode(s string) bool {
	return slices.ContainsFunc([]string{"", "Never", "Off", crossSubnet, "Always"}, func(m string) bool { return strings.EqualFold(m, s) })
}

const crossSubnet = "CrossSubnet"

func (r *reader) felix() {
	var o struct {
		Spec struct {
			VXLANPort                int64  `json:"vxlanPort"`
			NATExclusions            string `json:"natOutgoingExclusions"`
			WireguardEnabled         bool   `json:"wireguardEnabled"`
			WireguardEnabledV6       bool   `json:"wireguardEnabledV6"`
			WireguardListeningPort   int64  `json:"wireguardListeningPort"`
			WireguardListeningPortV6 int64  `json:"wireguardListeningPortV6"`
		} `json:"spec"`
	}
	if r.Name != "default" || !r.decode(&o) { // the others are for single nodes
		return
	}
	s := &o.Spec
	f := &felixConfiguration{
		object: r.object, vxlanPort: r.port("/spec/vxlanPort", s.VXLANPort), natSparesHosts: s.NATExclusions == "IPPoolsAndHostIPs", wireguard: s.WireguardEnabled, wireguardV6: s.WireguardEnabledV6,
		wireguardPort: r.port("/spec/wireguardListeningPort", s.WireguardListeningPort), wireguardPortV6: r.port("/spec/wireguardListeningPortV6", s.WireguardListeningPortV6),
	}
	if !r.bad {
		r.keep(f)
	}
}

func (r *reader) bgpConfiguration() {
	var o struct {
		Spec struct {
			Mesh       *bool `json:"nodeToNodeMeshEnabled"`
			ListenPort int64 `json:"listenPort"`
		} `json:"spec"`
	}
	if r.Name != "default" || !r.decode(&o) {
		return
	}
	b := &bgpConfiguration{r.object, o.Spec.Mesh == nil || *o.Spec.Mesh, r.port("/spec/listenPort", o.Spec.ListenPort)}
	if !r.bad {
		r.keep(b)
	}
}

func (r *reader) bgpPeer() {
	var o struct {
		Spec struct {
			PeerIP string `json:"peerIP"`
		} `json:"spec"`
	}
	if !r.decode(&o) || o.Spec.PeerIP == "" { // without it the peers are nodes
		return
	}
	peer, err := netip.ParseAddrPort(o.Spec.PeerIP)
	if err != nil {
		peer = netip.AddrPortFrom(r.addr("/spec/peerIP", o.Spec.PeerIP), bgpPort)
	}
	if !r.bad {
		r.keep(&bgpPeer{r.object, peer})
	}
}

const (
	bgpPort  = 179
	noRoutes = "nodes do not learn the routes to each other's pods"
)

// calico reads what calico-node runs with; false if it does not run, or nothing
// tells how.
func (d *derivation) calico() bool {
	for _, kind := range []string{"IPPool", "FelixConfiguration", "BGPConfiguration", "BGPPeer"} {
		d.asks(allOfKind, kind)
	}
	agents := d.running("calico-node", "calico/node")
	if len(agents) == 0 && len(d.cluster.pools) == 0 {
		return false
	}
	env := environment{d: d}
	if len(agents) > 0 {
		env.found = agents[0]
	}
	if why := d.cluster.unreadKind("IPPool", "FelixConfiguration", "BGPConfiguration", "BGPPeer"); why != "" {
		d.dontKnow(&Unknown{About: "how Calico is configured", Why: why, Tell: "reading them"})
		if d.cluster.unreadKind("IPPool") != "" && len(d.cluster.pools) == 0 {
			return false // what the environment says may have been changed since
		}
	}
	pools := d.calicoPools(&env)
	if len(pools) == 0 {
		return false
	}
	if backend, e := env.get("CALICO_NETWORKING_BACKEND"); backend == "bird" || backend == "" && d.cluster.bgp != nil {
		d.calicoBGP(e)
	}
	d.calicoWire(pools, &env)
	return true
}

// calicoPools returns the pools; before there are any, the one that calico-node
// will make of its environment.
func (d *derivation) calicoPools(env *environment) []*ipPool {
	if len(d.cluster.pools) > 0 {
		return slices.SortedFunc(maps.Values(d.cluster.pools), func(a, b *ipPool) int { return a.compare(b.Ref) })
	}
	ipip, _ := env.get("CALICO_IPV4POOL_IPIP")
	vxlan, e := env.get("CALICO_IPV4POOL_VXLAN")
	cidr, _ := env.get("CALICO_IPV4POOL_CIDR")
	if ipip == "" && vxlan == "" || !poolMode(ipip) || !poolMode(vxlan) {
		return nil
	}
	nat, _ := env.get("CALICO_IPV4POOL_NAT_OUTGOING")
	p := &ipPool{object: object{Ref: e.Object, place: e.Place}, ipip: ipip, vxlan: vxlan, nat: !strings.EqualFold(nat, "false")}
	if prefix, err := netip.ParsePrefix(cidr); err == nil {
		p.cidr = prefix.Masked()
	}
	return []*ipPool{p}
}

func (d *derivation) calicoWire(pools []*ipPool, env *environment) {
	felix := d.cluster.felix
	if felix == nil {
		felix = &felixConfiguration{}
	}
	vxlan := overlay{"VXLAN", rules.UDP, cmp.Or(env.port("FELIX_VXLANPORT"), felix.vxlanPort, vxlanPort)}
	for _, p := range pools {
		d.ranged(Party{Kind: AllPods}, p.cidr)
		because := []Evidence{p.at("/spec")}
		if p.Kind != "IPPool" {
			_, e := env.get("CALICO_IPV4POOL_VXLAN")
			because = []Evidence{e}
		}
		if felix.Name != "" && felix.vxlanPort != 0 {
			because = append(because, felix.at("/spec/vxlanPort"))
		}
		before := d.configured
		switch {
		case wraps(p.vxlan):
			d.wrapped(vxlan, partly(p.vxlan), because...)
		case wraps(p.ipip):
			d.wrapped(overlay{name: "IPIP", protocol: rules.IPIP}, partly(p.ipip), because...)
		default:
			d.configured = network{wire: RoutedPod}
			d.routes(because...)
		}
		if before.wire == RoutedPod || before.wire == Overlay && before != d.configured {
			d.configured = network{wire: RoutedPod} // some pods at least
		}
	}
	d.configured.toOutside = calicoSender(pools)
	d.configured.toHosts = d.configured.toOutside
	if felix.natSparesHosts {
		d.configured.toHosts = asPod
	}
	d.calicoWireGuard(felix)
}

// calicoSender: a pool masquerades what leaves all pools, or does not.
func calicoSender(pools []*ipPool) sender {
	with, without := 0, 0
	for _, p := range pools {
		if p.nat {
			with++
		} else {
			without++
		}
	}
	if with > 0 && without > 0 {
		return asEither
	}
	return masqueraded(with > 0)
}

func (d *derivation) calicoWireGuard(felix *felixConfiguration) {
	if felix.wireguard {
		d.wraps(overlay{"WireGuard", rules.UDP, cmp.Or(felix.wireguardPort, wireguardPort)}, felix.at("/spec/wireguardEnabled"))
	}
	if felix.wireguardV6 {
		d.wraps(overlay{"WireGuard", rules.UDP, cmp.Or(felix.wireguardPortV6, wireguardPortV6)}, felix.at("/spec/wireguardEnabledV6"))
	}
}

func wraps(mode string) bool { return strings.EqualFold(mode, "Always") || partly(mode) }

func partly(mode string) bool { return strings.EqualFold(mode, crossSubnet) }

func (d *derivation) calicoBGP(backend Evidence) {
	c := d.cluster.bgp
	if c == nil {
		c = &bgpConfiguration{mesh: true}
	}
	because := []Evidence{}
	if backend.Object.Kind != "" {
		because = append(because, backend)
	}
	if c.Name != "" {
		because = append(because, c.at("/spec"))
	}
	port := cmp.Or(c.listenPort, bgpPort)
	nodes := Party{Kind: Nodes}
	n := Need{From: nodes, To: nodes, Protocol: rules.TCP, Ports: one(port), Class: Essential, Wire: Host, Why: noRoutes}
	if c.mesh {
		mesh := n
		d.need(&mesh, because...)
	}
	for _, p := range d.cluster.peers {
		out, in := n, n
		out.To = Party{External, p.peer.Addr().String()}
		out.Ports = one(p.peer.Port())
		in.From = out.To
		d.located(out.To, p.peer.Addr())
		d.need(&out, p.at("/spec/peerIP"))
		d.need(&in, p.at("/spec/peerIP"))
	}
}

// An environment looks up variables of a container, also those from ConfigMaps.
type environment struct {
	d *derivation
	found
}

// get returns the value and where it stands; nothing where it is not known.
func (e *environment) get(variable string) (string, Evidence) {
	if e.container == nil {
		return "", Evidence{}
	}
	for i := range e.container.env {
		v := &e.container.env[i]
		if v.Name != variable {
			continue
		}
		at := e.pod.at("%s%s/env/%d", e.pod.root, e.container.field, i)
		if ref := &v.ValueFrom.ConfigMapKeyRef; ref.Name != "" {
			if m := e.d.configMap(e.pod.Namespace, ref.Name); m != nil {
				return m.data[ref.Key], m.at("/data/%s", ref.Key)
			}
		}
		return cmp.Or(v.Value, v.ValueFrom.FieldRef.FieldPath), at
	}
	return "", Evidence{}
}

// port returns the port that a variable names, 0 without one that is.
func (e *environment) port(variable string) uint16 {
	text, at := e.get(variable)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	if err != nil {
		e.d.senselessf(&e.pod.object, at.Field, "%s %q: want a port from 1 to 65535", variable, text)
	}
	return uint16(n)
}
