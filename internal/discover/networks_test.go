package discover_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// exporter is something on hosts that pods ask: with which address they do is
// a matter of the network.
const exporter = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: node-exporter, namespace: watch}
spec: {template: {spec: {hostNetwork: true, containers: [{image: prometheus/node-exporter}]}}}
`

const (
	asNode = "optional: nodes > hosts of node-exporter: TCP 9100/9100, host"
	asPod  = "optional: all pods > hosts of node-exporter: TCP 9100/9100, routed-pod"
)

func daemon(name, container string) string {
	return "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: " + name + ", namespace: kube-system}\nspec: {template: {spec: {hostNetwork: true, containers: [" + container + "]}}}\n"
}

func config(name, key, text string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: kube-system}\ndata:\n  " + key + ": |\n    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
}

func mesh(what string) string { return "essential: nodes > nodes: " + what + ", host" }

// antrea has the shape of antrea.yml of release 2.x: ConfigMap antrea-config with
// the agents' configuration, which the DaemonSet mounts.
func antrea(conf string) []string {
	agent := "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: antrea-agent, namespace: kube-system}\nspec: {template: {spec: {hostNetwork: true, containers: [{command: [antrea-agent], args: [--config, /etc/antrea/antrea-agent.conf]}], volumes: [{name: antrea-config, configMap: {name: antrea-config}}]}}}\n"
	return []string{agent, config("antrea-config", "antrea-agent.conf", conf), config("antrea-config-0ld", "antrea-agent.conf", "tunnelType: gre")}
}

var antreaAgents = []string{"expected: nodes > nodes: TCP 10351/10351, host", "expected: nodes > nodes: UDP 10351/10351, host", "optional: anywhere > nodes: TCP 10350/10350, host"}

const noAntreaService = "the ports of Service kube-system/antrea"

// ovnNode has the shape of ovnkube-node.yaml of OVN-Kubernetes' images: all is
// told to ovnkube.sh by its argument and its environment.
func ovnNode(env string) string {
	return daemon("ovnkube-node", "{command: [/usr/bin/ovnkube.sh, ovn-node], env: ["+env+"]}")
}

// kubeRouter has the shape of the DaemonSets in kube-router's repository.
func kubeRouter(args string) string {
	return daemon("kube-router", "{image: docker.example/cloudnativelabs/kube-router, args: [--run-router=true, --run-firewall=true"+args+"]}")
}

// terway has the shape of the DaemonSet terway-eniip of ACK.
func terway(mode string) []string {
	return []string{daemon("terway-eniip", "{command: [/usr/bin/terwayd, -log-level, info, -daemon-mode, "+mode+"]}"), config("eni-config", "eni_conf", `{"version": "1", "ip_stack": "ipv4"}`)}
}

// cilium has the shape of what Cilium's chart renders.
func cilium(tag, data string) []string {
	return []string{daemon("cilium", "{command: [cilium-agent], image: 'quay.example/cilium/cilium:"+tag+"'}"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cilium-config, namespace: kube-system}\ndata: {enable-health-checking: 'false', " + data + "}\n"}
}

func calico(pools ...string) []string {
	out := []string{strings.TrimSuffix(fmt.Sprintf(calicoNode, "none"), "---\n")}
	for i, spec := range pools {
		out = append(out, fmt.Sprintf("apiVersion: crd.projectcalico.org/v1\nkind: IPPool\nmetadata: {name: p%d}\nspec: {cidr: 10.244.%d.0/24, %s}\n", i, i, spec))
	}
	return out
}

// TestNetworks: each network by its own configuration, each beside controlPlane
// and exporter.
func TestNetworks(t *testing.T) {
	for _, c := range []struct {
		name           string
		texts          []string
		needs, unknown []string
	}{
		{"Antrea as it comes", antrea("featureGates: {}"), append(slices.Clone(antreaAgents), mesh("UDP 6081/6081"), asNode), []string{noAntreaService}},
		{"Antrea with VXLAN between subnets, WireGuard and other ports", antrea("tunnelType: vxlan\ntunnelPort: 4242\ntrafficEncapMode: hybrid\nnoSNAT: true\ntrafficEncryptionMode: wireGuard\nwireGuard: {port: 51999}\napiPort: 11350\nclusterPort: 11351"), []string{
			"expected: nodes > nodes: TCP 11351/11351, host", "expected: nodes > nodes: UDP 11351/11351, host", "optional: anywhere > nodes: TCP 11350/11350, host",
			mesh("UDP 4242/4242"), mesh("UDP 51999/51999"), podsToPods, asPod,
		}, []string{noAntreaService}},
		{"Antrea with GRE in IPsec, and nothing that needs to know dead nodes", antrea("featureGates: {Egress: false}\ntunnelType: gre\ntrafficEncryptionMode: ipsec"), []string{
			"optional: anywhere > nodes: TCP 10350/10350, host", mesh("GRE -1/-1"), mesh("ESP -1/-1"), mesh("UDP 500/500"), mesh("UDP 4500/4500"), asNode,
		}, []string{noAntreaService}},
		{"Antrea without tunnels", antrea("trafficEncapMode: noEncap"), append(slices.Clone(antreaAgents), podsToPods, asNode), []string{noAntreaService}},
		{"Antrea beside another network", antrea("trafficEncapMode: networkPolicyOnly"), append(slices.Clone(antreaAgents), unsent), []string{noAntreaService, noNetwork, unsentAbout}},
		{"Antrea's controller is found by its Service", append(antrea("featureGates: {Egress: false}"), `
apiVersion: v1
kind: Service
metadata: {name: antrea, namespace: kube-system}
spec: {selector: {component: antrea-controller}, ports: [{port: 443, targetPort: api}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: antrea-controller, namespace: kube-system}
spec: {template: {metadata: {labels: {component: antrea-controller}}, spec: {hostNetwork: true, containers: [{command: [antrea-controller], ports: [{name: api, containerPort: 10349}]}]}}}
`), []string{
			"optional: anywhere > nodes: TCP 10350/10350, host", mesh("UDP 6081/6081"), asNode, "expected: nodes > hosts of Service kube-system/antrea: TCP 10349/10349, host",
			"optional: anywhere > hosts of Deployment kube-system/antrea-controller: TCP 10349/10349, host",
		}, nil},

		{"OVN-Kubernetes with a zone a node", []string{ovnNode("")}, []string{mesh("UDP 6081/6081"), asNode}, nil},
		{"OVN-Kubernetes with shared databases and another port, without masquerading", []string{ovnNode("{name: OVN_ENCAP_PORT, value: '6082'}, {name: OVN_DISABLE_SNAT_MULTIPLE_GWS, value: 'true'}"), `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: ovnkube-db, namespace: ovn}
spec: {template: {spec: {hostNetwork: true, containers: [
  {command: [/usr/bin/ovnkube.sh, nb-ovsdb], env: [{name: OVN_NB_PORT, value: '9641'}]}, {command: [/usr/bin/ovnkube.sh, sb-ovsdb]}]}}}
`}, []string{
			mesh("UDP 6082/6082"), unsent, "essential: nodes > hosts of OVN databases: TCP 9641/9641, host", "essential: nodes > hosts of OVN databases: TCP 6642/6642, host",
			"essential: hosts of OVN databases > hosts of OVN databases: TCP 6643/6643, host", "essential: hosts of OVN databases > hosts of OVN databases: TCP 6644/6644, host",
		}, []string{unsentAbout}},

		{"kube-router as it comes", []string{kubeRouter("")}, []string{mesh("TCP 179/179"), mesh("IPIP -1/-1"), podsToPods, asPod}, nil},
		{"kube-router with FoU everywhere and a router", []string{kubeRouter(", --overlay-type=full, --overlay-encap=fou, --overlay-encap-port=5556, --bgp-port=1790, --peer-router-ips=198.51.100.1, --peer-router-ports=1791")}, []string{
			mesh("TCP 1790/1790"), mesh("UDP 5556/5556"), asPod, "essential: nodes > 198.51.100.1: TCP 1791/1791, host", "essential: 198.51.100.1 > nodes: TCP 1790/1790, host",
		}, nil},
		{"kube-router without overlay and mesh", []string{kubeRouter(", --enable-overlay=false, --enable-ibgp=false")}, []string{podsToPods, asPod}, nil},
		{"kube-router that does not route", []string{daemon("kube-router", "{command: [kube-router, --run-router=false]}")}, []string{unsent}, []string{noNetwork, unsentAbout}},

		{"Terway", terway("ENIMultiIP"), []string{podsToPods, asPod}, nil},
		{"Terway in the older mode", terway("VPC"), []string{podsToPods, unsent}, []string{unsentAbout}},

		{"Cilium in a tunnel", cilium("v1.17.0", "routing-mode: tunnel"), []string{mesh("UDP 8472/8472"), asNode}, nil},
		{"Cilium in a tunnel without masquerading", cilium("v1.17.0", "enable-ipv4-masquerade: 'false'"), []string{mesh("UDP 8472/8472"), asPod}, nil},
		{"Cilium with routes: nodes are spared", cilium("v1.17.0", "routing-mode: native"), []string{podsToPods, asPod}, nil},
		{"Cilium with routes that spares no nodes", cilium("v1.17.0", "routing-mode: native, enable-remote-node-masquerade: 'true'"), []string{podsToPods, asNode}, nil},
		{"Cilium with IPsec and routes", cilium("v1.17.0", "routing-mode: native, enable-ipsec: 'true'"), []string{podsToPods, asPod, mesh("ESP -1/-1")}, nil},
		{"Cilium with IPsec in the tunnel", cilium("v1.17.0", "enable-ipsec: 'true'"), []string{mesh("UDP 8472/8472"), asNode}, nil},
		{"Cilium with IPsec around the tunnel", cilium("v1.18.1@sha256:00", "enable-ipsec: 'true'"), []string{mesh("UDP 8472/8472"), asNode, mesh("ESP -1/-1")}, nil},
		{"Cilium with IPsec of who knows which version", cilium("latest", "enable-ipsec: 'true'"), []string{mesh("UDP 8472/8472"), asNode, "expected: nodes > nodes: ESP -1/-1, host"}, nil},
		{"Cilium with mutual authentication", cilium("v1.17.0", "mesh-auth-enabled: 'true', mesh-auth-mutual-enabled: 'true', mesh-auth-mutual-listener-port: '4251'"), []string{mesh("UDP 8472/8472"), asNode, "expected: nodes > nodes: TCP 4251/4251, host"}, nil},
		{"Hubble without a relay", cilium("v1.17.0", "enable-hubble: 'true', hubble-listen-address: ':4244'"), []string{mesh("UDP 8472/8472"), asNode}, nil},
		{"Hubble with a relay", append(cilium("v1.17.0", "routing-mode: native, enable-hubble: 'true', hubble-listen-address: ':4245'"), `
apiVersion: apps/v1
kind: Deployment
metadata: {name: hubble-relay, namespace: kube-system}
spec: {template: {spec: {containers: [{image: quay.example/cilium/hubble-relay, command: [hubble-relay]}]}}}
`), []string{podsToPods, asPod, "expected: pods of Deployment kube-system/hubble-relay > nodes: TCP 4245/4245, routed-pod"}, nil},

		{"Calico that masquerades", calico("vxlanMode: Always, natOutgoing: true"), []string{mesh("UDP 4789/4789"), asNode}, nil},
		{"Calico that does not", calico("vxlanMode: Always"), []string{mesh("UDP 4789/4789"), asPod}, nil},
		{"Calico with pools of both kinds", calico("vxlanMode: Always", "vxlanMode: Always, natOutgoing: true"), []string{mesh("UDP 4789/4789"), asPod, asNode}, nil},
		{"Calico that spares hosts", append(calico("vxlanMode: Always, natOutgoing: true"), "apiVersion: crd.projectcalico.org/v1\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {natOutgoingExclusions: IPPoolsAndHostIPs}\n"), []string{mesh("UDP 4789/4789"), asPod}, nil},
		{"Flannel that masquerades", []string{backend(`{"Type": "host-gw"}`)}, []string{podsToPods, asNode}, nil},
		{"Flannel that does not", []string{strings.Replace(backend(`{"Type": "host-gw"}`), "--ip-masq", "--ip-masq=false", 1)}, []string{podsToPods, asPod}, nil},
		{"Flannel that is told by its environment", []string{strings.Replace(backend(`{"Type": "host-gw"}`), "--ip-masq, --kube-subnet-mgr], ", "--kube-subnet-mgr], env: [{name: FLANNELD_IP_MASQ, value: 'true'}], ", 1)}, []string{podsToPods, asNode}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := read(t, append(c.texts, controlPlane, exporter)...)
			want(t, "needs", slices.DeleteFunc(lines(r), func(s string) bool { return s == kubelet || s == api }), c.needs...)
			want(t, "unknown", slices.DeleteFunc(abouts(r), func(s string) bool { return s == noDNS }), c.unknown...)
			want(t, "findings", places(r))
		})
	}
}

const (
	unsent      = "optional: all pods > hosts of node-exporter: TCP 9100/9100, unknown"
	unsentAbout = "with which address pods reach hosts, and what is outside"
)

// TestNetworkMistakes: what a configuration says and makes no sense is a finding,
// and the network unknown.
func TestNetworkMistakes(t *testing.T) {
	for _, c := range []struct {
		texts []string
		want  string
	}{
		{antrea("tunnelType: pigeon"), `tunnelType "pigeon": want geneve, vxlan, gre or stt`},
		{antrea("trafficEncapMode: some"), `trafficEncapMode "some": want encap, noEncap, hybrid or networkPolicyOnly`},
		{antrea("tunnelPort: 70000"), "bad YAML"},
		{[]string{kubeRouter(", --overlay-encap=gre")}, `--overlay-encap "gre": want ipip or fou`},
		{[]string{kubeRouter(", --overlay-type=some")}, `--overlay-type "some": want subnet or full`},
		{[]string{kubeRouter(", --overlay-encap=fou, --overlay-encap-port=x")}, `--overlay-encap-port: "x": want a port from 1 to 65535`},
		{cilium("v1.17.0", "tunnel-port: many"), `"many": want a port from 1 to 65535`},
		{cilium("v1.17.0", "tunnel-protocol: pigeon"), `"pigeon": want vxlan or geneve`},
	} {
		r := read(t, append(c.texts, controlPlane)...)
		if got := strings.Join(places(r), "\n"); !strings.Contains(got, c.want) {
			t.Errorf("findings %s: want %q among them", got, c.want)
		}
		if !slices.Contains(abouts(r), noNetwork) {
			t.Errorf("%s: unknown %v: want the network among them", c.want, abouts(r))
		}
	}
}
