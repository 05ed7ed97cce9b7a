package discover

import (
	"cmp"
	"path"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// Ports of Cilium, unless its ConfigMap says otherwise.
const (
	ciliumHealthPort    = 4240
	ciliumHubblePort    = 4244
	ciliumAuthPort      = 4250
	ciliumWireGuardPort = 51871
)

// cilium reads the ConfigMap of Cilium's agent; false if there is none.
func (d *derivation) cilium() bool {
	for _, f := range d.running("cilium-agent") {
		if m := d.configMap(f.pod.Namespace, "cilium-config"); m != nil {
			if !d.ciliumMode(m) || !d.ciliumPorts(m) {
				return false
			}
			d.ciliumEncryption(m, f.container)
			return true
		}
	}
	return false
}

func (d *derivation) ciliumMode(m *configMap) bool {
	protocol := m.data["tunnel-protocol"]
	native := m.data["routing-mode"] == "native"
	switch old := m.data["tunnel"]; old { // before 1.14
	case "disabled":
		native = true
	case "":
	default:
		protocol = cmp.Or(protocol, old)
	}
	o := overlay{"VXLAN", rules.UDP, linuxVXLANPort}
	switch protocol {
	case "", "vxlan":
	case "geneve":
		o = overlay{"Geneve", rules.UDP, genevePort}
	default:
		d.senselessf(&m.object, "/data/tunnel-protocol", "%q: want vxlan or geneve", protocol)
		return false
	}
	var ok bool
	if o.port, ok = d.setting(m, "tunnel-port", o.port); !ok {
		return false
	}
	masquerades := cmp.Or(m.data["enable-ipv4-masquerade"], m.data["masquerade"]) != "false"
	if !native {
		d.wrapped(o, false, m.at("/data/tunnel-protocol"))
		d.configured.sends(masqueraded(masquerades))
		return true
	}
	d.configured = network{wire: RoutedPod}
	d.routes(m.at("/data/routing-mode"))
	// Where pods are routed, nodes are spared by what masquerades.
	d.configured.toOutside = masqueraded(masquerades)
	d.configured.toHosts = masqueraded(masquerades && m.data["enable-remote-node-masquerade"] == "true")
	return true
}

func (d *derivation) ciliumPorts(m *configMap) bool {
	health, ok := d.setting(m, "cluster-health-port", ciliumHealthPort)
	if !ok {
		return false
	}
	nodes := Party{Kind: Nodes}
	if m.data["enable-health-checking"] != "false" {
		d.need(&Need{From: nodes, To: nodes, Protocol: rules.TCP, Ports: one(health), Class: Optional, Wire: Host, Why: "cilium-health reports nodes as unreachable"}, m.at("/data/enable-health-checking"))
	}
	if m.data["mesh-auth-enabled"] == "true" && m.data["mesh-auth-mutual-enabled"] == "true" {
		auth, ok := d.setting(m, "mesh-auth-mutual-listener-port", ciliumAuthPort)
		if !ok {
			return false
		}
		d.need(&Need{From: nodes, To: nodes, Protocol: rules.TCP, Ports: one(auth), Class: Expected, Wire: Host, Why: "flows that a policy wants authenticated are dropped"}, m.at("/data/mesh-auth-mutual-enabled"))
	}
	return d.hubble(m)
}

// hubble is what the relay asks agents for; without a relay nobody does. The
// relay is on the network of pods, which reach hosts as this part configures.
func (d *derivation) hubble(m *configMap) bool {
	address := m.data["hubble-listen-address"]
	relays := d.running("hubble-relay", "cilium/hubble-relay")
	if m.data["enable-hubble"] != "true" || address == "" || len(relays) == 0 {
		return true
	}
	listens, err := parseListens(address)
	if err != nil {
		d.senselessf(&m.object, "/data/hubble-listen-address", "%v", err)
		return false
	}
	for _, l := range listens {
		from := Party{Pods, d.workloadOf(relays[0].pod)}
		n := Need{From: from, To: Party{Kind: Nodes}, Protocol: rules.TCP, Ports: one(cmp.Or(l.port, ciliumHubblePort)), Class: Expected, Why: "Hubble sees no flows"}
		d.senderNeed(&n, d.configured.toHosts, m.at("/data/hubble-listen-address"))
	}
	return true
}

func (d *derivation) ciliumEncryption(m *configMap, agent *container) {
	if m.data["enable-wireguard"] == "true" {
		d.wraps(overlay{"WireGuard", rules.UDP, ciliumWireGuardPort}, m.at("/data/enable-wireguard"))
	}
	if m.data["enable-ipsec"] != "true" {
		return
	}
	// Keys come from a Secret, so there is no IKE. Before 1.18 what is encrypted
	// was inside the overlay, and not on the wire.
	minor, known := agent.ciliumMinor()
	inside := d.configured.wire == Overlay && m.data["enable-ipsec-encrypted-overlay"] != "true"
	if inside && known && minor < 18 {
		return
	}
	n := Need{From: Party{Kind: Nodes}, To: Party{Kind: Nodes}, Protocol: rules.ESP, Class: Essential, Wire: Host, Why: noPodNetwork}
	if inside && !known {
		n.Class, n.Why = Expected, noPodNetwork+", with Cilium 1.18 and later"
	}
	d.need(&n, m.at("/data/enable-ipsec"))
}

// ciliumMinor returns the second number of the version in an image's tag.
func (c *container) ciliumMinor() (int, bool) {
	_, tag, _ := strings.Cut(path.Base(strings.SplitN(c.image, "@", 2)[0]), ":")
	parts := strings.Split(strings.TrimPrefix(tag, "v"), ".")
	if len(parts) < 2 || parts[0] != "1" {
		return 0, false
	}
	minor, err := strconv.Atoi(parts[1])
	return minor, err == nil
}

// setting returns a port of a ConfigMap; absent and 0 are the default.
func (d *derivation) setting(m *configMap, key string, byDefault uint16) (uint16, bool) {
	text := m.data[key]
	if text == "" || text == "0" {
		return byDefault, true
	}
	port, err := parsePort(text)
	if err != nil {
		d.senselessf(&m.object, "/data/"+key, "%v", err)
	}
	return port, err == nil
}
