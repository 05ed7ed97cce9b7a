package discover

import (
	"cmp"
	"net/netip"

	"github.com/go-json-experiment/json"

	"ringfence.dev/ringfence/rules"
)

// flannelConfig is net-conf.json. Its names are written in any case.
type flannelConfig struct {
	Network, IPv6Network string
	EnableIPv6           bool
	Backend              struct {
		Type          string
		Port          int64
		DirectRouting bool
		ListenPort    int64
		ListenPortV6  int64
		Mode          string
	}
}

// flannel reads the configuration that stands beside flanneld; false if there
// is none.
func (d *derivation) flannel() bool {
	for _, f := range d.running("flanneld") {
		m := d.configOf(f.pod, "net-conf.json")
		if m == nil || !d.flannelBackend(m, m.data["net-conf.json"]) {
			continue
		}
		env := environment{d, f}
		masq, _ := env.get("FLANNELD_IP_MASQ")
		d.configured.sends(masqueraded(f.container.switched("ip-masq", masq == "true")))
		return true
	}
	return false
}

func (d *derivation) flannelBackend(m *configMap, text string) bool {
	const field = "/data/net-conf.json"
	var c flannelConfig
	if err := json.Unmarshal([]byte(text), &c, json.MatchCaseInsensitiveNames(true)); err != nil {
		d.senselessf(&m.object, field, "bad JSON: %v", err)
		return false
	}
	for _, s := range []string{c.Network, c.IPv6Network} {
		if p, err := netip.ParsePrefix(s); err == nil {
			d.ranged(Party{Kind: AllPods}, p.Masked())
		} else if s != "" {
			d.senselessf(&m.object, field, "Network %q: want a CIDR", s)
		}
	}
	b := &c.Backend
	for _, p := range []int64{b.Port, b.ListenPort, b.ListenPortV6} {
		if p < 0 || p > 65535 {
			d.senselessf(&m.object, field, "Backend: port %d: want 1 to 65535", p)
			return false
		}
	}
	var o overlay
	switch b.Type {
	case "vxlan":
		o = overlay{"VXLAN", rules.UDP, uint16(cmp.Or(b.Port, linuxVXLANPort))} //nolint:gosec // looked at above
	case "udp":
		o = overlay{"Flannel's UDP", rules.UDP, uint16(cmp.Or(b.Port, 8285))} //nolint:gosec // looked at above
	case "wireguard":
		o = overlay{"WireGuard", rules.UDP, uint16(cmp.Or(b.ListenPort, wireguardPort))} //nolint:gosec // looked at above
		if c.EnableIPv6 && b.Mode != "auto" && b.Mode != "ipv4" && b.Mode != "ipv6" {
			d.wraps(overlay{o.name, o.protocol, uint16(cmp.Or(b.ListenPortV6, wireguardPortV6))}, m.at(field)) //nolint:gosec // looked at above
		}
	case "ipip":
		o = overlay{name: "IPIP", protocol: rules.IPIP}
	case "host-gw", "alloc", "ali-vpc", "aws-vpc", "gce", "tencent-vpc":
		d.configured = network{wire: RoutedPod}
		d.routes(m.at(field))
		return true
	default:
		d.senselessf(&m.object, field, "Backend.Type %q: want vxlan, host-gw, wireguard, ipip, udp or alloc", b.Type)
		return false
	}
	d.wrapped(o, b.DirectRouting, m.at(field))
	return true
}

// wrapped makes an overlay the network of pods. If some pass by it, their
// own addresses are on the wire too.
func (d *derivation) wrapped(o overlay, some bool, because ...Evidence) { //nolint:revive // a fact of the configuration, no mode of ours
	d.wraps(o, because...)
	d.configured = network{wire: Overlay, in: o.String()}
	if some {
		d.configured = network{wire: RoutedPod}
		d.routes(because...)
	}
}
