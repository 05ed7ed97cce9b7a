// Package truth is what a person found in the release manifests of real components
// that a cluster with them needs, by hand: for the manifests as files, and as an
// API server stores them. Tests hold what is derived against it.
//
// The manifests lie beside the checkout where they are there at all.
package truth

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/discover"
)

// Manifest returns the text of a manifest, and skips the test without it. Root is
// the way from the test's folder to that of the checkout.
func Manifest(tb testing.TB, root, file string) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(root, "..", "shared", "corpus", "manifests", file)) //nolint:gosec // a test names it
	if err != nil {
		tb.Skipf("NOT TESTED against the manifests of real components: %v", err)
	}
	return string(text)
}

// Lines writes the needs of a report in one line each, sorted.
func Lines(r *discover.Report) []string {
	var out []string
	for i := range r.Needs {
		n := &r.Needs[i]
		line := fmt.Sprintf("%s: %s > %s: %s %s, %s", n.Class, n.From, n.To, n.Protocol, n.Ports, n.Wire)
		if n.In != "" {
			line += " in " + n.In
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

// Abouts returns what is unknown in a report, in order.
func Abouts(r *discover.Report) []string {
	var out []string
	for i := range r.Unknown {
		out = append(out, r.Unknown[i].About)
	}
	return out
}

// A Case is some manifests, with what Lines and Abouts return for them.
type Case struct {
	Files []string
	// Objects are those that are there beside the manifests, as YAML.
	Objects string
	// Edit holds pairs: what stands in the manifests, and what instead.
	Edit           []string
	Needs, Unknown []string
}

// Name names the case.
func (c *Case) Name() string {
	name := strings.ReplaceAll(strings.Join(c.Files, "+"), ".yaml", "")
	if len(c.Edit) > 0 {
		name += "+edited"
	}
	return name
}

// Texts returns the case's manifests and objects.
func (c *Case) Texts(tb testing.TB, root string) []string {
	tb.Helper()
	var out []string
	for _, f := range c.Files {
		out = append(out, strings.NewReplacer(c.Edit...).Replace(Manifest(tb, root, f)))
	}
	if c.Objects != "" {
		out = append(out, c.Objects)
	}
	return out
}

// Lines of the cases. What ends in a comma wants the wire.
const (
	GatekeeperHook = "essential: API server > pods of Service gatekeeper-system/gatekeeper-webhook-service: TCP 8443/8443, "
	MetalLBHook    = "essential: API server > pods of Service metallb-system/metallb-webhook-service: TCP 9443/9443, "
	IngressHook    = "essential: API server > pods of Service ingress-nginx/ingress-nginx-controller-admission: TCP 8443/8443, "
	FlannelVXLAN   = "essential: nodes > nodes: UDP 8472/8472, host"
	CalicoVXLAN    = "essential: nodes > nodes: UDP 4789/4789, host"
	PodsToPods     = "essential: all pods > all pods: ALL -1/-1, routed-pod"
	MemberTCP      = "expected: hosts of MetalLB speaker > hosts of MetalLB speaker: TCP 7946/7946, host"
	MemberUDP      = "expected: hosts of MetalLB speaker > hosts of MetalLB speaker: UDP 7946/7946, host"
	SpeakerMetrics = "optional: anywhere > hosts of DaemonSet metallb-system/speaker: TCP 9120/9120, host"
	FlannelHealth  = "optional: anywhere > hosts of DaemonSet kube-flannel/kube-flannel-ds: TCP 8081/8081, host"
	IngressHTTP    = "expected: nodes > pods of Service ingress-nginx/ingress-nginx-controller: TCP 80/80, "
	IngressHTTPS   = "expected: nodes > pods of Service ingress-nginx/ingress-nginx-controller: TCP 443/443, "
	Kubelet        = "essential: API server > nodes: TCP 10250/10250, host"

	NoDNS      = "the cluster's DNS"
	NoNetwork  = "the network of pods: its overlay, its ports, and whether pods' own addresses are on the wire"
	NoNodes    = "the nodes"
	NoAPI      = "where the API server listens"
	NoWay      = "how the API server reaches pods"
	noHTTP     = "the node port of Service ingress-nginx/ingress-nginx-controller, tcp/80"
	noHTTPS    = "the node port of Service ingress-nginx/ingress-nginx-controller, tcp/443"
	noHealth   = "the health check port of Service ingress-nginx/ingress-nginx-controller"
	inFlannel  = "overlay in VXLAN udp/8472"
	wireless   = "unknown"
	routed     = "routed-pod"
	gatekeeper = "gatekeeper.yaml"
	flannel    = "kube-flannel.yaml"
	calico     = "calico-vxlan.yaml"
	metallb    = "metallb-native.yaml"
	cloud      = "ingress-nginx-cloud.yaml"
	bareMetal  = "ingress-nginx-baremetal.yaml"
)

// Files are manifests as files: neither nodes nor anything that runs.
func Files() []Case {
	return []Case{
		{Files: []string{gatekeeper}, Needs: []string{GatekeeperHook + wireless}, Unknown: []string{NoDNS, NoNetwork, NoNodes, NoAPI}},
		{Files: []string{flannel}, Needs: []string{FlannelVXLAN, FlannelHealth}, Unknown: []string{NoDNS, NoNodes, NoAPI}},
		{Files: []string{calico}, Needs: []string{CalicoVXLAN, PodsToPods}, Unknown: []string{NoDNS, NoNodes, NoAPI}},
		{Files: []string{metallb}, Needs: []string{MetalLBHook + wireless, MemberTCP, MemberUDP, SpeakerMetrics}, Unknown: []string{NoDNS, NoNetwork, NoNodes, NoAPI}},
		{Files: []string{cloud}, Needs: []string{IngressHook + wireless}, Unknown: []string{noHTTP, noHTTPS, noHealth, NoDNS, NoNetwork, NoNodes, NoAPI}},
		{
			Files:   []string{bareMetal},
			Needs:   []string{IngressHook + wireless, IngressHTTP + wireless, IngressHTTPS + wireless},
			Unknown: []string{noHTTP, noHTTPS, NoDNS, NoNetwork, NoNodes, NoAPI},
		},
		{
			Files:   []string{calico, gatekeeper, metallb},
			Needs:   []string{CalicoVXLAN, PodsToPods, GatekeeperHook + routed, MetalLBHook + routed, MemberTCP, MemberUDP, SpeakerMetrics},
			Unknown: []string{NoDNS, NoNodes, NoAPI},
		},
		{
			Files:   []string{flannel, gatekeeper, metallb},
			Needs:   []string{FlannelVXLAN, FlannelHealth, GatekeeperHook + wireless, MetalLBHook + wireless, MemberTCP, MemberUDP, SpeakerMetrics},
			Unknown: []string{NoDNS, NoNodes, NoAPI, NoWay},
		},
	}
}

// What the API server itself adds to what is stored. The words with a dollar are
// numbers that it chooses; Allocated replaces them.
const (
	api      = "essential: nodes > API server: TCP $api/$api, host"
	ownHTTP  = "TCP $http/$http, host"
	ownHTTPS = "TCP $https/$https, host"
)

// Allocated replaces in lines what the API server chose: its own port, node ports
// of the ingress controller and its health check.
func Allocated(lines []string, port, http, https, health int) []string {
	r := strings.NewReplacer("$https", fmt.Sprint(https), "$http", fmt.Sprint(http), "$health", fmt.Sprint(health), "$api", fmt.Sprint(port))
	out := make([]string, 0, len(lines))
	for _, l := range lines {
		out = append(out, r.Replace(l))
	}
	return out
}

// Stored are the same manifests in an API server, without nodes and with nothing
// that runs. It says where it is itself, and allocates node ports; nothing else is
// different.
func Stored() []Case {
	out := Files()
	for i := range out {
		c := &out[i]
		c.Needs = append(c.Needs, api)
		c.Unknown = slices.DeleteFunc(c.Unknown, func(u string) bool { return u == NoAPI || u == noHTTP || u == noHTTPS || u == noHealth })
		switch {
		case slices.Contains(c.Files, bareMetal):
			c.Needs = append(c.Needs, "expected: anywhere > nodes: "+ownHTTP, "expected: anywhere > nodes: "+ownHTTPS)
		case slices.Contains(c.Files, cloud):
			const lb = "expected: load balancer of ingress-nginx/ingress-nginx-controller > nodes: "
			c.Needs = append(c.Needs, lb+ownHTTP, lb+ownHTTPS, lb+"TCP $health/$health, host")
		}
	}
	return out
}

// Nodes are a control plane, where an API server says that it is at 192.0.2.1, and
// two more nodes.
const Nodes = `
apiVersion: v1
kind: Node
metadata: {name: cp, labels: {node-role.kubernetes.io/control-plane: ""}}
spec: {podCIDRs: [10.244.0.0/24]}
status:
  addresses: [{type: InternalIP, address: 192.0.2.1}, {type: Hostname, address: cp}]
  daemonEndpoints: {kubeletEndpoint: {Port: 10250}}
---
apiVersion: v1
kind: Node
metadata: {name: worker-1}
spec: {podCIDRs: [10.244.1.0/24]}
status:
  addresses: [{type: InternalIP, address: 192.0.2.2}, {type: InternalIP, address: "2001:db8::2"}, {type: Hostname, address: worker-1}]
  daemonEndpoints: {kubeletEndpoint: {Port: 10250}}
---
apiVersion: v1
kind: Node
metadata: {name: worker-2}
spec: {podCIDRs: [10.244.2.0/24]}
status:
  addresses: [{type: InternalIP, address: 192.0.2.3}, {type: Hostname, address: worker-2}]
  daemonEndpoints: {kubeletEndpoint: {Port: 10250}}
`

// bird is Calico with BGP, IPIP and Typha, which its VXLAN manifest has not.
const bird = `
apiVersion: crd.projectcalico.org/v1
kind: IPPool
metadata: {name: default-ipv4-ippool}
spec: {cidr: 10.244.0.0/16, ipipMode: Always, vxlanMode: Never, natOutgoing: true, nodeSelector: all()}
---
apiVersion: crd.projectcalico.org/v1
kind: BGPPeer
metadata: {name: rack}
spec: {peerIP: 198.51.100.1, asNumber: 64512}
---
apiVersion: crd.projectcalico.org/v1
kind: FelixConfiguration
metadata: {name: default}
spec: {wireguardEnabled: true}
---
apiVersion: v1
kind: Service
metadata: {name: calico-typha, namespace: kube-system}
spec: {selector: {k8s-app: calico-typha}, ports: [{port: 5473, targetPort: calico-typha, name: calico-typha}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: calico-typha, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: calico-typha}}
  template:
    metadata: {labels: {k8s-app: calico-typha}}
    spec:
      hostNetwork: true
      containers: [{name: calico-typha, image: registry.example/calico/typha:v3, ports: [{containerPort: 5473, name: calico-typha}]}]
`

// Settled are manifests on Nodes, with all of their pods running.
func Settled() []Case {
	always := []string{api, Kubelet}
	with := func(lines ...string) []string { return append(slices.Clone(always), lines...) }
	atHTTP, atHTTPS := "expected: anywhere > nodes: "+ownHTTP, "expected: anywhere > nodes: "+ownHTTPS
	const lb = "expected: load balancer of ingress-nginx/ingress-nginx-controller > nodes: "
	return []Case{
		{Unknown: []string{NoDNS, NoNetwork}, Needs: with()},
		{Files: []string{gatekeeper}, Needs: with(GatekeeperHook + wireless), Unknown: []string{NoDNS, NoNetwork}},
		{Files: []string{flannel}, Needs: with(FlannelVXLAN, FlannelHealth), Unknown: []string{NoDNS}},
		{Files: []string{calico}, Needs: with(CalicoVXLAN, PodsToPods), Unknown: []string{NoDNS}},
		{Files: []string{metallb}, Needs: with(MetalLBHook+wireless, MemberTCP, MemberUDP, SpeakerMetrics), Unknown: []string{NoDNS, NoNetwork}},
		{
			Files:   []string{flannel, gatekeeper, metallb, bareMetal},
			Needs:   with(FlannelVXLAN, FlannelHealth, GatekeeperHook+inFlannel, MetalLBHook+inFlannel, MemberTCP, MemberUDP, SpeakerMetrics, IngressHook+inFlannel, IngressHTTP+inFlannel, IngressHTTPS+inFlannel, atHTTP, atHTTPS),
			Unknown: []string{NoDNS},
		},
		{
			Files: []string{calico, gatekeeper, metallb, cloud},
			Needs: with(CalicoVXLAN, PodsToPods, GatekeeperHook+routed, MetalLBHook+routed, MemberTCP, MemberUDP, SpeakerMetrics, IngressHook+routed,
				lb+ownHTTP, lb+ownHTTPS, lb+"TCP $health/$health, host"),
			Unknown: []string{NoDNS},
		},
		{
			Files: []string{calico, gatekeeper}, Objects: bird,
			Edit: []string{`calico_backend: "vxlan"`, `calico_backend: "bird"`, `typha_service_name: "none"`, `typha_service_name: "calico-typha"`},
			Needs: with(
				"essential: nodes > nodes: IPIP -1/-1, host", "essential: nodes > nodes: TCP 179/179, host", "essential: nodes > nodes: UDP 51820/51820, host",
				"essential: nodes > 198.51.100.1: TCP 179/179, host", "essential: 198.51.100.1 > nodes: TCP 179/179, host",
				"essential: nodes > hosts of Calico Typha: TCP 5473/5473, host", GatekeeperHook+"overlay in IPIP, protocol 4",
			),
			Unknown: []string{NoDNS},
		},
	}
}
