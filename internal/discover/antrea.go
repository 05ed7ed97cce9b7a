package discover

import (
	"cmp"

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/rules"
)

// antreaAgent is what we read of antrea-agent.conf.
type antreaAgent struct {
	FeatureGates          map[string]bool `yaml:"featureGates"`
	TunnelType            string          `yaml:"tunnelType"`
	TunnelPort            uint16          `yaml:"tunnelPort"`
	TrafficEncapMode      string          `yaml:"trafficEncapMode"`
	TrafficEncryptionMode string          `yaml:"trafficEncryptionMode"`
	NoSNAT                bool            `yaml:"noSNAT"`
	APIPort               uint16          `yaml:"apiPort"`
	ClusterPort           uint16          `yaml:"clusterPort"`
	WireGuard             struct {
		Port uint16 `yaml:"port"`
	} `yaml:"wireGuard"`
}

// Ports of Antrea, unless its configuration says otherwise.
const (
	antreaAPIPort     = 10350
	antreaClusterPort = 10351
	sttPort           = 7471
)

// antrea reads the ConfigMap of Antrea's agent; false if there is none, or
// another network makes the pods' addresses.
func (d *derivation) antrea() bool {
	for _, f := range d.running("antrea-agent") {
		m := d.configOf(f.pod, "antrea-agent.conf")
		if m == nil {
			continue
		}
		var c antreaAgent
		if err := yaml.Unmarshal([]byte(m.data["antrea-agent.conf"]), &c); err != nil {
			d.senselessf(&m.object, "/data/antrea-agent.conf", "bad YAML: %v", err)
			return false
		}
		d.antreaPorts(&c, m)
		return d.antreaMode(&c, m)
	}
	return false
}

func (d *derivation) antreaMode(c *antreaAgent, m *configMap) bool {
	at := m.at("/data/antrea-agent.conf")
	o, ok := antreaTunnel(c)
	if !ok {
		d.senselessf(&m.object, at.Field, "tunnelType %q: want geneve, vxlan, gre or stt", c.TunnelType)
		return false
	}
	switch mode := cmp.Or(c.TrafficEncapMode, "encap"); mode {
	case "encap", "hybrid":
		d.wrapped(o, mode == "hybrid", at)
	case "noEncap":
		d.configured = network{wire: RoutedPod}
		d.routes(at)
	case "networkPolicyOnly":
		return false
	default:
		d.senselessf(&m.object, at.Field, "trafficEncapMode %q: want encap, noEncap, hybrid or networkPolicyOnly", mode)
		return false
	}
	d.configured.sends(masqueraded(!c.NoSNAT))
	switch mode := cmp.Or(c.TrafficEncryptionMode, "none"); mode {
	case "none":
	case "wireGuard":
		d.wraps(overlay{"WireGuard", rules.UDP, cmp.Or(c.WireGuard.Port, wireguardPort)}, at)
	case "ipsec":
		d.ipsec(at)
	default:
		d.senselessf(&m.object, at.Field, "trafficEncryptionMode %q: want none, ipsec or wireGuard", mode)
	}
	return true
}

func antreaTunnel(c *antreaAgent) (overlay, bool) {
	switch cmp.Or(c.TunnelType, "geneve") {
	case "geneve":
		return overlay{"Geneve", rules.UDP, cmp.Or(c.TunnelPort, genevePort)}, true
	case "vxlan":
		return overlay{"VXLAN", rules.UDP, cmp.Or(c.TunnelPort, vxlanPort)}, true
	case "stt":
		return overlay{"STT", rules.TCP, cmp.Or(c.TunnelPort, sttPort)}, true
	case "gre":
		return overlay{name: "GRE", protocol: rules.GRE}, true
	}
	return overlay{}, false
}

// antreaPorts are those of the agents. The controller's is found by its Service.
func (d *derivation) antreaPorts(c *antreaAgent, m *configMap) {
	at := m.at("/data/antrea-agent.conf")
	nodes := Party{Kind: Nodes}
	d.need(&Need{From: Party{Kind: Anywhere}, To: nodes, Protocol: rules.TCP, Ports: one(cmp.Or(c.APIPort, antreaAPIPort)), Class: Optional, Wire: Host, Why: "antctl and metrics do not reach Antrea's agents"}, at)
	egress, named := c.FeatureGates["Egress"]
	if egress || !named || c.FeatureGates["ServiceExternalIP"] {
		for _, protocol := range []rules.Protocol{rules.TCP, rules.UDP} {
			d.need(&Need{From: nodes, To: nodes, Protocol: protocol, Ports: one(cmp.Or(c.ClusterPort, antreaClusterPort)), Class: Expected, Wire: Host, Why: "addresses of Egresses and Services stay on a node that is gone"}, at)
		}
	}
}

// ipsec adds what carries and agrees keys of encrypted packets between nodes.
func (d *derivation) ipsec(because ...Evidence) {
	d.wraps(overlay{name: "IPsec", protocol: rules.ESP}, because...)
	for _, port := range []uint16{500, 4500} {
		d.wraps(overlay{"IKE", rules.UDP, port}, because...)
	}
}
