package discover_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
)

// read derives the needs of what stands in some texts.
func read(tb testing.TB, texts ...string) *discover.Report {
	tb.Helper()
	var c discover.Cluster
	for i, text := range texts {
		add(tb, &c, fmt.Sprintf("%d.yaml", i), []byte(text))
	}
	return derive(tb, &c)
}

func add(tb testing.TB, c *discover.Cluster, file string, data []byte) {
	tb.Helper()
	for f, err := range convert.Foreigners(convert.File{Name: file, Data: data}) {
		if err != nil {
			tb.Fatal(err)
		}
		c.Add(f)
	}
}

func derive(tb testing.TB, c *discover.Cluster) *discover.Report {
	tb.Helper()
	r, err := c.Derive()
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// lines writes needs in one line each, sorted.
func lines(r *discover.Report) []string {
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

func abouts(r *discover.Report) []string {
	var out []string
	for i := range r.Unknown {
		out = append(out, r.Unknown[i].About)
	}
	return out
}

func places(r *discover.Report) []string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, f.Object.String()+" | "+f.Place+" | "+f.Why)
	}
	return out
}

func want(tb testing.TB, what string, got []string, want ...string) {
	tb.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		tb.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// corpus returns release manifests of real components, which lie beside the
// checkout where they are there at all.
func corpus(tb testing.TB, file string) string {
	tb.Helper()
	path := filepath.Join("..", "..", "..", "shared", "corpus", "manifests", file)
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Skipf("NOT TESTED against the manifests of real components: %v", err)
	}
	return string(text)
}

const (
	gatekeeperHook = "essential: API server > pods of Service gatekeeper-system/gatekeeper-webhook-service: TCP 8443/8443, "
	metallbHook    = "essential: API server > pods of Service metallb-system/metallb-webhook-service: TCP 9443/9443, "
	ingressHook    = "essential: API server > pods of Service ingress-nginx/ingress-nginx-controller-admission: TCP 8443/8443, "
	flannelVXLAN   = "essential: nodes > nodes: UDP 8472/8472, host"
	calicoVXLAN    = "essential: nodes > nodes: UDP 4789/4789, host"
	podsToPods     = "essential: all pods > all pods: ALL -1/-1, routed-pod"
	memberTCP      = "expected: hosts of MetalLB speaker > hosts of MetalLB speaker: TCP 7946/7946, host"
	memberUDP      = "expected: hosts of MetalLB speaker > hosts of MetalLB speaker: UDP 7946/7946, host"
	speakerMetrics = "optional: anywhere > hosts of DaemonSet metallb-system/speaker: TCP 9120/9120, host"
	flannelHealth  = "optional: anywhere > hosts of DaemonSet kube-flannel/kube-flannel-ds: TCP 8081/8081, host"

	noDNS     = "the cluster's DNS"
	noNetwork = "the network of pods: its overlay, its ports, and whether pods' own addresses are on the wire"
	noNodes   = "the nodes"
	noAPI     = "where the API server listens"
)

// TestCorpus holds what is derived from release manifests, alone and together,
// against what a person found in them.
func TestCorpus(t *testing.T) {
	nodePorts := []string{
		"the node port of Service ingress-nginx/ingress-nginx-controller, tcp/443",
		"the node port of Service ingress-nginx/ingress-nginx-controller, tcp/80",
	}
	health := "the health check port of Service ingress-nginx/ingress-nginx-controller"
	for _, c := range []struct {
		files          []string
		needs, unknown []string
	}{
		{[]string{"gatekeeper.yaml"}, []string{gatekeeperHook + "unknown"}, []string{noDNS, noNetwork, noNodes, noAPI}},
		{[]string{"kube-flannel.yaml"}, []string{flannelVXLAN, flannelHealth}, []string{noDNS, noNodes, noAPI}},
		{[]string{"calico-vxlan.yaml"}, []string{calicoVXLAN, podsToPods}, []string{noDNS, noNodes, noAPI}},
		{[]string{"metallb-native.yaml"}, []string{metallbHook + "unknown", memberTCP, memberUDP, speakerMetrics}, []string{noDNS, noNetwork, noNodes, noAPI}},
		{[]string{"ingress-nginx-cloud.yaml"}, []string{ingressHook + "unknown"}, append(slices.Clone(nodePorts), noDNS, health, noNetwork, noNodes, noAPI)},
		{
			[]string{"ingress-nginx-baremetal.yaml"},
			[]string{
				ingressHook + "unknown",
				"expected: nodes > pods of Service ingress-nginx/ingress-nginx-controller: TCP 80/80, unknown",
				"expected: nodes > pods of Service ingress-nginx/ingress-nginx-controller: TCP 443/443, unknown",
			},
			append(slices.Clone(nodePorts), noDNS, noNetwork, noNodes, noAPI),
		},
		{
			[]string{"calico-vxlan.yaml", "gatekeeper.yaml", "metallb-native.yaml"},
			[]string{calicoVXLAN, podsToPods, gatekeeperHook + "routed-pod", metallbHook + "routed-pod", memberTCP, memberUDP, speakerMetrics},
			[]string{noDNS, noNodes, noAPI},
		},
		{
			[]string{"kube-flannel.yaml", "gatekeeper.yaml", "metallb-native.yaml"},
			[]string{flannelVXLAN, flannelHealth, gatekeeperHook + "unknown", metallbHook + "unknown", memberTCP, memberUDP, speakerMetrics},
			[]string{noDNS, noNodes, noAPI, "how the API server reaches pods"},
		},
	} {
		t.Run(strings.Join(c.files, "+"), func(t *testing.T) {
			var texts []string
			for _, f := range c.files {
				texts = append(texts, corpus(t, f))
			}
			r := read(t, texts...)
			want(t, "needs", lines(r), c.needs...)
			want(t, "unknown", abouts(r), c.unknown...)
			want(t, "findings", places(r))
			slices.Reverse(texts)
			want(t, "needs in another order", lines(read(t, texts...)), c.needs...)
		})
	}
}

// TestCorpusEvidence checks that a need names the objects that it comes from.
func TestCorpusEvidence(t *testing.T) {
	r := read(t, corpus(t, "gatekeeper.yaml"))
	var got []string
	for _, e := range r.Needs[0].Because.Evidence {
		got = append(got, e.Object.String()+" "+e.Field)
		if !strings.HasPrefix(e.Place, "0.yaml") {
			t.Errorf("%s: place %q: want one in 0.yaml", e.Object, e.Place)
		}
	}
	slices.Sort(got)
	want(t, "evidence", got,
		"Deployment gatekeeper-system/gatekeeper-controller-manager /spec/template/spec/containers/0/ports/0/containerPort",
		"MutatingWebhookConfiguration gatekeeper-mutating-webhook-configuration /webhooks/0/clientConfig/service",
		"Service gatekeeper-system/gatekeeper-webhook-service /spec/ports",
		"ValidatingWebhookConfiguration gatekeeper-validating-webhook-configuration /webhooks/0/clientConfig/service",
		"ValidatingWebhookConfiguration gatekeeper-validating-webhook-configuration /webhooks/1/clientConfig/service")
}

const (
	// controlPlane is a node of a control plane with its API server, worker one more node.
	controlPlane = `
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Node
  metadata: {name: cp, labels: {node-role.kubernetes.io/control-plane: ""}}
  spec: {podCIDRs: [10.244.0.0/24]}
  status:
    addresses: [{type: InternalIP, address: 192.0.2.1}, {type: InternalIP, address: "2001:db8::1"}, {type: Hostname, address: cp}]
    daemonEndpoints: {kubeletEndpoint: {Port: 10250}}
- apiVersion: v1
  kind: Node
  metadata: {name: worker}
  spec: {podCIDRs: [10.244.1.0/24]}
  status:
    addresses: [{type: InternalIP, address: 192.0.2.2}, {type: Hostname, address: worker}]
    daemonEndpoints: {kubeletEndpoint: {Port: 10250}}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
  addressType: IPv4
  ports: [{name: https, port: 6443, protocol: TCP}]
  endpoints: [{addresses: [192.0.2.1]}]
`
	kubelet = "essential: API server > nodes: TCP 10250/10250, host"
	api     = "essential: nodes > API server: TCP 6443/6443, host"
	flannel = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: flannel, namespace: kube-flannel}
spec: {template: {spec: {hostNetwork: true, containers: [{command: [/opt/bin/flanneld, --ip-masq, --kube-subnet-mgr], image: flannel}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-flannel-cfg, namespace: kube-flannel}
data:
  net-conf.json: '{"Network": "10.244.0.0/16", "Backend": %s}'
`
	calicoNode = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: calico-node, namespace: kube-system}
spec:
  template:
    spec:
      hostNetwork: true
      containers:
      - image: registry.example/calico/node:v3
        env: [{name: CALICO_NETWORKING_BACKEND, value: %s}]
---
`
	hook = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: guard}
webhooks:
- name: a.guard.example
  failurePolicy: Fail
  clientConfig: {service: {namespace: guard, name: guard, port: 8443}}
---
`
	guardService = `
apiVersion: v1
kind: Service
metadata: {name: guard, namespace: guard}
spec: {selector: {app: guard}, ports: [{name: https, port: 8443, targetPort: web}]}
---
`
	guardPod = `
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: guard, labels: {app: guard}}
spec: {nodeName: worker, hostNetwork: %t, containers: [{image: guard, ports: [{name: web, containerPort: %d}]}]}
status: {phase: Running, podIPs: [{ip: %s}]}
---
`
)

func pod(name string, hostNetwork bool, port int, ip string) string {
	return fmt.Sprintf(guardPod, name, hostNetwork, port, ip)
}

func backend(s string) string { return fmt.Sprintf(flannel, s) }

const toGuard = "essential: API server > pods of Service guard/guard: TCP "

// Every case stands beside controlPlane, whose needs and unknowns are not listed.
func TestNeeds(t *testing.T) {
	overlaid := backend(`{"Type": "vxlan"}`)
	inVXLAN := ", overlay in VXLAN udp/8472"
	for _, c := range []struct {
		name           string
		texts          []string
		needs, unknown []string
	}{
		{
			"named target ports that differ between pods are all needed",
			[]string{overlaid, hook + guardService + pod("a", false, 9443, "10.244.1.5") + pod("b", false, 9444, "10.244.1.6")},
			[]string{flannelVXLAN, toGuard + "9443/9443" + inVXLAN, toGuard + "9444/9444" + inVXLAN},
			nil,
		},
		{
			"a pod on the host network listens on its host",
			[]string{overlaid, hook + guardService + pod("a", true, 9443, "192.0.2.2")},
			[]string{flannelVXLAN, "essential: API server > hosts of Service guard/guard: TCP 9443/9443, host", "optional: anywhere > hosts of Pod guard/a: TCP 9443/9443, host"},
			nil,
		},
		{
			"with routed pods their port is on the wire",
			[]string{backend(`{"Type": "host-gw"}`), hook + guardService + pod("a", false, 9443, "10.244.1.5")},
			[]string{podsToPods, toGuard + "9443/9443, routed-pod"},
			nil,
		},
		{
			"Flannel with a port and direct routing",
			[]string{backend(`{"Type": "vxlan", "Port": 4242, "DirectRouting": true}`)},
			[]string{podsToPods, "essential: nodes > nodes: UDP 4242/4242, host"},
			nil,
		},
		{"Flannel with WireGuard", []string{backend(`{"Type": "wireguard", "ListenPort": 51999}`)}, []string{"essential: nodes > nodes: UDP 51999/51999, host"}, nil},
		{"Flannel with IPIP, which has no port", []string{backend(`{"Type": "ipip"}`)}, []string{"essential: nodes > nodes: IPIP -1/-1, host"}, nil},
		{"Calico with BGP, IPIP, a peer, WireGuard and Typha", []string{fmt.Sprintf(calicoNode, "bird") + `
apiVersion: crd.projectcalico.org/v1
kind: IPPool
metadata: {name: default}
spec: {cidr: 10.244.0.0/16, ipipMode: Always, vxlanMode: Never}
---
apiVersion: crd.projectcalico.org/v1
kind: FelixConfiguration
metadata: {name: default}
spec: {wireguardEnabled: true}
---
apiVersion: crd.projectcalico.org/v1
kind: BGPPeer
metadata: {name: rack}
spec: {peerIP: 198.51.100.1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: calico-typha, namespace: kube-system}
spec: {template: {spec: {hostNetwork: true, containers: [{image: calico/typha:v3, ports: [{containerPort: 5473, name: calico-typha}]}]}}}
`}, []string{
			"essential: nodes > nodes: IPIP -1/-1, host", "essential: nodes > nodes: TCP 179/179, host", "essential: nodes > nodes: UDP 51820/51820, host",
			"essential: nodes > 198.51.100.1: TCP 179/179, host", "essential: 198.51.100.1 > nodes: TCP 179/179, host",
			"essential: nodes > hosts of Calico Typha: TCP 5473/5473, host",
		}, nil},
		{"Calico with VXLAN on a port of its own and no BGP", []string{fmt.Sprintf(calicoNode, "vxlan") + `
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: default}
spec: {cidr: 10.244.0.0/16, vxlanMode: Always}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {vxlanPort: 4790}
`}, []string{"essential: nodes > nodes: UDP 4790/4790, host"}, nil},
		{"Calico without a mesh, and a VXLAN port from the environment", []string{strings.Replace(fmt.Sprintf(calicoNode, "bird"), "env: [", "env: [{name: FELIX_VXLANPORT, value: '4791'}, {name: CALICO_IPV4POOL_VXLAN, value: always}, ", 1) + `
apiVersion: crd.projectcalico.org/v1
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeToNodeMeshEnabled: false}
`}, []string{"essential: nodes > nodes: UDP 4791/4791, host"}, nil},
		{"Calico without a pool anywhere is unknown", []string{fmt.Sprintf(calicoNode, "bird")}, nil, []string{noNetwork}},
		{"Cilium with Geneve", []string{`
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: cilium, namespace: kube-system}
spec: {template: {spec: {hostNetwork: true, containers: [{command: [cilium-agent]}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: cilium-config, namespace: kube-system}
data: {routing-mode: tunnel, tunnel-protocol: geneve, enable-wireguard: "true"}
`}, []string{"essential: nodes > nodes: UDP 6081/6081, host", "essential: nodes > nodes: UDP 51871/51871, host", "optional: nodes > nodes: TCP 4240/4240, host"}, nil},
		{"a webhook by URL is outside", []string{overlaid, `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: far}
webhooks:
- {name: a.example, failurePolicy: Ignore, clientConfig: {url: "https://198.51.100.9:7443/x"}}
- {name: b.example, clientConfig: {url: "https://hooks.example/x"}}
`}, []string{flannelVXLAN, "expected: API server > 198.51.100.9: TCP 7443/7443, host", "essential: API server > hooks.example: TCP 443/443, host"}, []string{"the addresses of hooks.example"}},
		{"a Service without selector has only its slices", []string{overlaid, hook + `
apiVersion: v1
kind: Service
metadata: {name: guard, namespace: guard}
spec: {ports: [{port: 8443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: guard-1, namespace: guard, labels: {kubernetes.io/service-name: guard}}
addressType: IPv4
ports: [{name: "", port: 9999}]
endpoints: [{addresses: [192.0.2.2]}, {addresses: [10.244.1.9]}]
`}, []string{flannelVXLAN, "essential: API server > hosts of Service guard/guard: TCP 9999/9999, host", toGuard + "9999/9999" + inVXLAN}, nil},
		{"a Service without selector and slices is unknown", []string{overlaid, hook + `
apiVersion: v1
kind: Service
metadata: {name: guard, namespace: guard}
spec: {ports: [{port: 8443}]}
`}, []string{flannelVXLAN}, []string{"who answers on port 8443 of Service guard/guard"}},
		{"a Service that is not there is unknown", []string{overlaid, hook}, []string{flannelVXLAN}, []string{"the ports of Service guard/guard"}},
		{"a port that the Service does not have is unknown", []string{overlaid, hook + `
apiVersion: v1
kind: Service
metadata: {name: guard, namespace: guard}
spec: {selector: {app: guard}, ports: [{port: 443}]}
`}, []string{flannelVXLAN}, []string{"port 8443 of Service guard/guard"}},
		{"conversion and aggregated APIs are called like webhooks", []string{overlaid, guardService + pod("a", false, 9443, "10.244.1.5") + `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example}
spec: {conversion: {strategy: Webhook, webhook: {clientConfig: {service: {namespace: guard, name: guard, port: 8443}}}}}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.metrics.example}
spec: {service: {namespace: guard, name: guard, port: 8443}}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.}
spec: {}
`}, []string{flannelVXLAN, toGuard + "9443/9443" + inVXLAN}, nil},
		{"DNS is asked by all pods, over both protocols", []string{overlaid, `
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec: {selector: {k8s-app: kube-dns}, ports: [{name: dns, port: 53, protocol: UDP, targetPort: 1053}, {name: dns-tcp, port: 53, targetPort: 1053}, {name: metrics, port: 9153}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system}
spec: {template: {metadata: {labels: {k8s-app: kube-dns}}, spec: {containers: [{image: coredns}]}}}
`}, []string{
			flannelVXLAN, "essential: all pods > pods of Service kube-system/kube-dns: TCP 1053/1053" + inVXLAN,
			"essential: all pods > pods of Service kube-system/kube-dns: UDP 1053/1053" + inVXLAN,
		}, nil},
		{"a NodePort, and the way on to the pod where those are routed", []string{backend(`{"Type": "host-gw"}`), pod("a", false, 8080, "10.244.1.5") + `
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: guard}
spec: {type: NodePort, selector: {app: guard}, ports: [{port: 80, targetPort: web, nodePort: 30080}]}
`}, []string{podsToPods, "expected: anywhere > nodes: TCP 30080/30080, host", "expected: nodes > pods of Service guard/shop: TCP 8080/8080, routed-pod"}, nil},
		{"a load balancer for some, with a health check, and an address on the nodes", []string{overlaid, `
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: guard}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  healthCheckNodePort: 31000
  loadBalancerSourceRanges: [203.0.113.0/24]
  externalIPs: [198.51.100.80]
  selector: {app: guard}
  ports: [{port: 80, nodePort: 30080}]
status: {loadBalancer: {ingress: [{ip: 198.51.100.7}]}}
`}, []string{
			flannelVXLAN, "expected: 203.0.113.0/24 > 198.51.100.7 on nodes: TCP 80/80, host", "expected: 203.0.113.0/24 > nodes: TCP 30080/30080, host",
			"expected: anywhere > 198.51.100.80 on nodes: TCP 80/80, host", "expected: load balancer of guard/shop > nodes: TCP 30080/30080, host",
			"expected: load balancer of guard/shop > nodes: TCP 31000/31000, host",
		}, nil},
		{"a hostPort", []string{overlaid, `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: edge, namespace: guard}
spec: {template: {spec: {containers: [{image: edge, ports: [{containerPort: 8080, hostPort: 80}, {containerPort: 8081}, {containerPort: 8082, hostPort: 82, hostIP: 127.0.0.1}]}]}}}
`}, []string{flannelVXLAN, "expected: anywhere > hosts of DaemonSet guard/edge: TCP 80/80, host"}, nil},
		{"static pods tell the control plane's ports by their arguments", []string{overlaid, `
apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver-cp, namespace: kube-system}
spec: {hostNetwork: true, nodeName: cp, containers: [{command: [kube-apiserver, --secure-port=7443, "--etcd-servers=https://127.0.0.1:2379,https://192.0.2.40:2379"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: etcd-cp, namespace: kube-system}
spec: {hostNetwork: true, nodeName: cp, containers: [{command: [etcd, "--listen-client-urls=https://127.0.0.1:2379,https://192.0.2.1:2379", "--listen-peer-urls=https://192.0.2.1:2380", "--listen-metrics-urls=http://127.0.0.1:2381"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: kube-scheduler-cp, namespace: kube-system}
spec: {hostNetwork: true, nodeName: cp, containers: [{command: [kube-scheduler, --bind-address=127.0.0.1]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: kube-controller-manager-cp, namespace: kube-system}
spec: {hostNetwork: true, nodeName: cp, containers: [{command: [kube-controller-manager, --secure-port, "10777"]}]}
`}, []string{
			flannelVXLAN, "essential: nodes > API server: TCP 7443/7443, host", "essential: API server > 192.0.2.40: TCP 2379/2379, host",
			"essential: hosts of etcd > hosts of etcd: TCP 2380/2380, host", "expected: control-plane nodes > hosts of etcd: TCP 2379/2379, host",
			"optional: anywhere > hosts of kube-controller-manager: TCP 10777/10777, host",
		}, nil},
		{"components on ports of their own", []string{overlaid, `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: node-exporter, namespace: watch}
spec: {template: {spec: {hostNetwork: true, containers: [{image: "quay.example/prometheus/node-exporter:v1@sha256:00", args: ["--web.listen-address=:9796"], ports: [{containerPort: 9796}]}]}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: konnectivity-server, namespace: kube-system}
spec: {template: {spec: {hostNetwork: true, containers: [{image: registry.example/kas-network-proxy/proxy-server:v0, command: [/proxy-server], args: [--agent-port=8132]}]}}}
`}, []string{flannelVXLAN, "essential: nodes > hosts of konnectivity-server: TCP 8132/8132, host", "optional: nodes > hosts of node-exporter: TCP 9796/9796, host"}, nil},
		{"how pods reach hosts is unknown where their network is", []string{`
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: node-exporter, namespace: watch}
spec: {template: {spec: {hostNetwork: true, containers: [{image: prometheus/node-exporter}]}}}
`}, []string{"optional: all pods > hosts of node-exporter: TCP 9100/9100, unknown"}, []string{noNetwork, "with which address pods reach hosts, and what is outside"}},
		{"kube-proxy by its configuration", []string{overlaid, `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-proxy, namespace: kube-system}
spec: {template: {spec: {hostNetwork: true, containers: [{command: [/usr/local/bin/kube-proxy, --config=/var/lib/kube-proxy/config.conf]}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-proxy, namespace: kube-system}
data: {config.conf: "healthzBindAddress: ''\nmetricsBindAddress: 0.0.0.0:10349\n"}
`}, []string{flannelVXLAN, "optional: anywhere > hosts of kube-proxy: TCP 10256/10256, host", "optional: anywhere > hosts of kube-proxy: TCP 10349/10349, host"}, nil},
		{"kube-proxy without its configuration is unknown", []string{overlaid, `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-proxy, namespace: kube-system}
spec: {template: {spec: {hostNetwork: true, containers: [{command: [/usr/local/bin/kube-proxy, --config=/var/lib/kube-proxy/config.conf]}]}}}
`}, []string{flannelVXLAN}, []string{"the ports of kube-proxy"}},
		{"a rollout needs the port of the pods that run and that of the template", []string{overlaid, hook + guardService + pod("a", false, 9443, "10.244.1.5") + `
apiVersion: apps/v1
kind: Deployment
metadata: {name: guard, namespace: guard}
spec: {template: {metadata: {labels: {app: guard}}, spec: {containers: [{image: guard, ports: [{name: web, containerPort: 9555}]}]}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: guard-0, namespace: guard, ownerReferences: [{kind: Deployment, name: guard, controller: true}]}
spec: {replicas: 0, template: {metadata: {labels: {app: guard}}, spec: {containers: [{image: guard, ports: [{name: web, containerPort: 9001}]}]}}}
`}, []string{flannelVXLAN, toGuard + "9443/9443" + inVXLAN, toGuard + "9555/9555" + inVXLAN}, nil},
		{"Endpoints tell where there are no slices, also those that are not ready", []string{overlaid, hook + guardService + `
apiVersion: v1
kind: Endpoints
metadata: {name: guard, namespace: guard}
subsets: [{notReadyAddresses: [{ip: 10.244.1.7}], ports: [{name: https, port: 9666}]}, {addresses: [{ip: 192.0.2.2}], ports: [{name: https, port: 9667}]}]
`}, []string{flannelVXLAN, toGuard + "9666/9666" + inVXLAN, "essential: API server > hosts of Service guard/guard: TCP 9667/9667, host"}, nil},
		{"an endpoint whose pod is on the host network is a host's, whatever its address", []string{overlaid, hook + `
apiVersion: v1
kind: Service
metadata: {name: guard, namespace: guard}
spec: {ports: [{port: 8443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: guard-1, namespace: guard, labels: {kubernetes.io/service-name: guard}}
addressType: IPv4
ports: [{name: "", port: 9999}]
endpoints: [{addresses: [203.0.113.9], targetRef: {kind: Pod, name: a}}]
---` + pod("a", true, 9999, "203.0.113.9")}, []string{
			flannelVXLAN, "essential: API server > hosts of Service guard/guard: TCP 9999/9999, host", "optional: anywhere > hosts of Pod guard/a: TCP 9999/9999, host",
		}, nil},
		{"a Service that is a name outside", []string{overlaid, hook + `
apiVersion: v1
kind: Service
metadata: {name: guard, namespace: guard}
spec: {type: ExternalName, externalName: far.example, ports: [{port: 8443}]}
`}, []string{flannelVXLAN, "essential: API server > far.example: TCP 8443/8443, host"}, []string{"the addresses of far.example"}},
		{"kubeadm's endpoint", []string{overlaid, `
apiVersion: v1
kind: ConfigMap
metadata: {name: kubeadm-config, namespace: kube-system}
data: {ClusterConfiguration: "controlPlaneEndpoint: 192.0.2.100:8443\nnetworking: {podSubnet: 10.244.0.0/16}\n"}
`}, []string{flannelVXLAN, "essential: nodes > 192.0.2.100: TCP 8443/8443, host"}, nil},
		{"another kubelet port is another need", []string{overlaid, `
apiVersion: v1
kind: Node
metadata: {name: odd}
status: {addresses: [{type: InternalIP, address: 192.0.2.3}], daemonEndpoints: {kubeletEndpoint: {Port: 10255}}}
`}, []string{
			flannelVXLAN, "essential: API server > nodes with kubelet port 10250: TCP 10250/10250, host",
			"essential: API server > nodes with kubelet port 10255: TCP 10255/10255, host",
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := read(t, append(c.texts, controlPlane)...)
			own := slices.DeleteFunc(lines(r), func(s string) bool { return s == kubelet || s == api || s == flannelHealth })
			want(t, "needs", own, c.needs...)
			unknown := slices.DeleteFunc(abouts(r), func(s string) bool { return s == noDNS })
			want(t, "unknown", unknown, c.unknown...)
			want(t, "findings", places(r))
		})
	}
}

func TestParties(t *testing.T) {
	r := read(t, controlPlane, backend(`{"Type": "host-gw"}`), hook+guardService+pod("a", false, 9443, "10.244.1.5"))
	var got []string
	for _, l := range r.Parties {
		got = append(got, fmt.Sprint(l.Party, " ", l.Prefixes))
	}
	slices.Sort(got)
	want(t, "parties", got,
		"API server [192.0.2.1/32]", "control-plane nodes [192.0.2.1/32 2001:db8::1/128]", "nodes [192.0.2.1/32 192.0.2.2/32 2001:db8::1/128]", "pods of Service guard/guard [10.244.1.5/32]",
		"all pods [10.244.0.0/16 10.244.0.0/24 10.244.1.0/24]")
}

// TestForeignAPIServer: an API server that is on no node cannot enter the overlay
// as far as is known; others can.
func TestForeignAPIServer(t *testing.T) {
	r := read(t, strings.ReplaceAll(controlPlane, "endpoints: [{addresses: [192.0.2.1]}]", "endpoints: [{addresses: [198.51.100.66]}]"), backend(`{"Type": "vxlan"}`),
		hook+guardService+pod("a", false, 9443, "10.244.1.5")+"apiVersion: v1\nkind: Service\nmetadata: {name: shop, namespace: guard}\nspec: {type: NodePort, selector: {app: guard}, ports: [{port: 80, targetPort: web, nodePort: 30080}]}\n")
	want(t, "needs", lines(r), flannelVXLAN, kubelet, api, toGuard+"9443/9443, unknown", "expected: anywhere > nodes: TCP 30080/30080, host",
		"expected: nodes > pods of Service guard/shop: TCP 9443/9443, overlay in VXLAN udp/8472")
	want(t, "unknown", abouts(r), noDNS, "how the API server reaches pods")
}

// TestFindings: what makes no sense has its place, and is unknown, not gone.
func TestFindings(t *testing.T) {
	for _, c := range []struct {
		name, text, finding string
		unknown             string
	}{
		{
			"a node port out of range", "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: y}\nspec:\n  type: NodePort\n  ports:\n  - port: 80\n    nodePort: 99999\n",
			"Service y/x | 0.yaml:8: /spec/ports/0/nodePort | port 99999: want 1 to 65535", "Service y/x",
		},
		{
			"a port that is no number", "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: y}\nspec:\n  ports:\n  - port: http\n",
			`Service y/x | 0.yaml:6: /spec/ports/0/port | found the text "http", want a number in range`, "Service y/x",
		},
		{
			"an address that is none", "apiVersion: v1\nkind: Node\nmetadata: {name: x}\nstatus:\n  addresses:\n  - {type: InternalIP, address: nowhere}\n",
			`Node x | 0.yaml:6: /status/addresses/0/address | "nowhere": want an IP address`, "Node x",
		},
		{
			"a webhook that calls nobody", "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: x}\nwebhooks:\n- name: a\n",
			"ValidatingWebhookConfiguration x | 0.yaml:5: /webhooks/0/clientConfig | want either a url or a service", "ValidatingWebhookConfiguration x",
		},
		{
			"a list that is none, in JSON", `{"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"x","namespace":"y"},"spec":{"containers":7}}]}`,
			"Pod y/x | 0.yaml: /items/0/spec/containers | found the number 7, want a list", "Pod y/x",
		},
		{
			"Flannel's configuration", backend(`{"Type": "carrier-pigeon"}`),
			`ConfigMap kube-flannel/kube-flannel-cfg | 0.yaml:7: /data/net-conf.json | Backend.Type "carrier-pigeon": want vxlan, host-gw, wireguard, ipip, udp or alloc`, "ConfigMap kube-flannel/kube-flannel-cfg",
		},
		{
			"an object that stands twice", "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: y}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: y}\n",
			"Service y/x | 0.yaml:5 | the object stands twice, first at 0.yaml:1: this one is left out", "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := read(t, c.text)
			want(t, "findings", places(r), c.finding)
			if c.unknown != "" && !slices.Contains(abouts(r), c.unknown) {
				t.Errorf("unknown %v: want %q among them", abouts(r), c.unknown)
			}
		})
	}
}

// TestHalfDeleted: objects with any of their parts missing are read without
// panic, and a need whose source is cut off becomes unknown.
func TestHalfDeleted(t *testing.T) {
	for _, kind := range []string{
		"v1/Service", "v1/Endpoints", "discovery.k8s.io/v1/EndpointSlice", "v1/Pod", "v1/Node", "v1/ConfigMap", "apps/v1/Deployment", "apps/v1/DaemonSet",
		"admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration", "apiextensions.k8s.io/v1/CustomResourceDefinition", "apiregistration.k8s.io/v1/APIService",
		"crd.projectcalico.org/v1/IPPool", "crd.projectcalico.org/v1/FelixConfiguration", "crd.projectcalico.org/v1/BGPPeer",
	} {
		i := strings.LastIndex(kind, "/")
		head := fmt.Sprintf("apiVersion: %s\nkind: %s\n", kind[:i], kind[i+1:])
		for _, rest := range []string{
			"", "metadata: null\n", "metadata: {name: default}\n", "metadata: {name: default, deletionTimestamp: '2026-01-01T00:00:00Z'}\nspec: null\nstatus: null\n",
			"metadata: {name: default}\nspec: {}\nstatus: {}\n", "metadata: {name: default}\nspec: []\n", "metadata: {name: default}\nspec: {template: null, ports: null, service: null, selector: null}\n",
			"metadata: {name: default, labels: {kubernetes.io/service-name: kubernetes}}\nports: null\nendpoints: [{}, {addresses: null}]\nsubsets: [{}]\nwebhooks: [{}]\ndata: null\n",
		} {
			r := read(t, head+rest)
			if got := lines(r); len(got) > 0 {
				t.Errorf("%q: needs %v: want none", head+rest, got)
			}
		}
	}
}

// TestUnreadable: a Service that makes no sense does not make its webhook need
// nothing.
func TestUnreadable(t *testing.T) {
	r := read(t, hook+strings.Replace(guardService, "port: 8443", "port: 84430", 1))
	want(t, "unknown", abouts(r), noDNS, noNetwork, noNodes, noAPI, "Service guard/guard", "the ports of Service guard/guard")
	for _, u := range r.Unknown {
		if u.About == "the ports of Service guard/guard" && (u.Why != "it was read, but makes no sense" || len(u.Because.Evidence) != 1) {
			t.Errorf("unknown %+v: want that the Service makes no sense, because of the webhook", u)
		}
	}
}

// FuzzDerive: nothing that can be read makes a panic, and the order of objects
// does not matter.
func FuzzDerive(f *testing.F) {
	for _, text := range []string{controlPlane, hook + guardService + pod("a", false, 1, "10.0.0.1"), backend(`{"Type":"wireguard"}`), fmt.Sprintf(calicoNode, "bird")} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var objects []*convert.Foreign
		for o, err := range convert.Foreigners(convert.File{Name: "f", Data: text}) {
			if err != nil {
				return
			}
			objects = append(objects, o)
		}
		var there, back discover.Cluster
		for i := range objects {
			there.Add(objects[i])
			back.Add(objects[len(objects)-1-i])
		}
		a, b := derive(t, &there), derive(t, &back)
		if len(a.Findings) > 0 {
			return // of two objects with one name the first counts
		}
		if diff := reportDiff(a, b); diff != "" {
			t.Errorf("in another order (-there +back):\n%s", diff)
		}
	})
}
