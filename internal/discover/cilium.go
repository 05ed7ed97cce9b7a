package discover

import (
	"cmp"
	"strconv"

	"ringfence.dev/ringfence/rules"
)

// cilium reads the ConfigMap of Cilium's agent; false if there is none.
func (d *derivation) cilium() bool {
	for _, f := range d.running("cilium-agent") {
		if m := d.configMap(f.pod.Namespace, "cilium-config"); m != nil {
			return d.ciliumMode(m)
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
	ports := map[string]uint16{"tunnel-port": o.port, "cluster-health-port": 4240}
	for key := range ports {
		text := m.data[key]
		if text == "" || text == "0" {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			d.senselessf(&m.object, "/data/"+key, "%q: want a port from 1 to 65535", text)
			return false
		}
		ports[key] = uint16(n)
	}
	o.port = ports["tunnel-port"]
	if native {
		d.configured = network{wire: RoutedPod}
		d.routes(m.at("/data/routing-mode"))
	} else {
		d.wrapped(o, false, m.at("/data/tunnel-protocol"))
	}
	nodes := Party{Kind: Nodes}
	if m.data["enable-wireguard"] == "true" {
		d.wraps(overlay{"WireGuard", rules.UDP, 51871}, m.at("/data/enable-wireguard"))
	}
	if m.data["enable-health-checking"] != "false" {
		d.need(&Need{From: nodes, To: nodes, Protocol: rules.TCP, Ports: one(ports["cluster-health-port"]), Class: Optional, Wire: Host, Why: "cilium-health reports nodes as unreachable"}, m.at("/data/enable-health-checking"))
	}
	return true
}
