package discover_test

import (
	"slices"
	"strings"
	"testing"
)

const (
	// metricsServer has the shape of the release manifest of metrics-server 0.7.
	metricsServer = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: metrics-server, namespace: kube-system}
spec: {template: {spec: {containers: [{image: registry.example/metrics-server/metrics-server:v0.7.2, args: [--secure-port=10250, --kubelet-use-node-status-port]}]}}}
`
	oddNode = `
apiVersion: v1
kind: Node
metadata: {name: odd}
status: {addresses: [{type: InternalIP, address: 192.0.2.3}], daemonEndpoints: {kubeletEndpoint: {Port: 10255}}}
`
	// prometheus is what the Prometheus operator makes of its object k8s.
	prometheus = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: prometheus-k8s, namespace: monitoring, ownerReferences: [{kind: Prometheus, name: k8s, controller: true}]}
spec: {template: {spec: {containers: [{image: quay.example/prometheus/prometheus:v3.0.0, args: [--config.file=x]}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: prometheus-k8s-0, namespace: monitoring, ownerReferences: [{kind: StatefulSet, name: prometheus-k8s, controller: true}]}
spec: {nodeName: worker, containers: [{image: quay.example/prometheus/prometheus:v3.0.0}]}
status: {phase: Running, podIPs: [{ip: 10.244.1.20}]}
`
	// nodeExporter is what its monitor names: pods on the host network behind a
	// Service without an address.
	nodeExporter = `
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: node-exporter, namespace: monitoring}
spec: {selector: {matchLabels: {name: exporter}}, endpoints: [{port: https}]}
---
apiVersion: v1
kind: Service
metadata: {name: exporter, namespace: monitoring, labels: {name: exporter}}
spec: {clusterIP: None, selector: {app: exporter}, ports: [{name: https, port: 9101, targetPort: https}, {name: other, port: 9102}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: exporter, namespace: monitoring}
spec: {template: {metadata: {labels: {app: exporter}}, spec: {hostNetwork: true, containers: [{image: exporter, ports: [{name: https, containerPort: 9101}]}]}}}
`
	exporterItself = "optional: anywhere > hosts of DaemonSet monitoring/exporter: TCP 9101/9101, host"
	// podMonitor names pods of another namespace, by what their labels are not.
	podMonitor = `
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: guards, namespace: monitoring}
spec:
  namespaceSelector: {matchNames: [guard]}
  selector: {matchLabels: {app: guard}, matchExpressions: [{key: quiet, operator: DoesNotExist}]}
  podMetricsEndpoints: [{port: web}, {portNumber: 9999}, {port: nothing}]
`
	nodeLocal = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: node-local-dns, namespace: kube-system}
spec: {template: {spec: {hostNetwork: true, containers: [{image: registry.example/dns/k8s-dns-node-cache:1.23.1,
  args: [-localip, "169.254.20.10,10.96.0.10", -conf, /etc/Corefile, -upstreamsvc, kube-dns-upstream],
  ports: [{containerPort: 53, name: dns, protocol: UDP}, {containerPort: 53, name: dns-tcp}, {containerPort: 9253, name: metrics}]}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns-upstream, namespace: kube-system}
spec: {selector: {k8s-app: kube-dns}, ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system}
spec: {template: {metadata: {labels: {k8s-app: kube-dns}}, spec: {containers: [{image: coredns}]}}}
`
)

func persistentVolume(spec string) string {
	return "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: v}\nspec: {" + spec + "}\n"
}

func toStorage(what string) string { return "expected: nodes > 198.51.100.4: " + what + ", host" }

// TestSources: what declares that it reaches something; each case beside
// controlPlane and Flannel in VXLAN, which masquerades.
func TestSources(t *testing.T) {
	inVXLAN := ", overlay in VXLAN udp/8472"
	routed := strings.Replace(backend(`{"Type": "host-gw"}`), "--ip-masq", "--ip-masq=false", 1)
	for _, c := range []struct {
		name           string
		texts          []string
		needs, unknown []string
	}{
		{"metrics-server asks kubelets with the address of its node", []string{metricsServer}, []string{"expected: nodes > nodes: TCP 10250/10250, host"}, nil},
		{"metrics-server asks kubelets with its own", []string{routed, metricsServer}, []string{podsToPods, "expected: pods of Deployment kube-system/metrics-server > nodes: TCP 10250/10250, routed-pod"}, nil},
		{"metrics-server asks each kubelet on its port", []string{metricsServer, oddNode}, []string{
			"expected: nodes > nodes with kubelet port 10250: TCP 10250/10250, host", "expected: nodes > nodes with kubelet port 10255: TCP 10255/10255, host",
			"essential: API server > nodes with kubelet port 10250: TCP 10250/10250, host", "essential: API server > nodes with kubelet port 10255: TCP 10255/10255, host",
		}, nil},
		{"metrics-server with a port of its own", []string{strings.Replace(metricsServer, "--kubelet-use-node-status-port", "--kubelet-port=10251", 1)}, []string{"expected: nodes > nodes: TCP 10251/10251, host"}, nil},

		{"a ServiceMonitor of something on hosts", []string{prometheus, nodeExporter}, []string{exporterItself, "optional: nodes > hosts of Service monitoring/exporter: TCP 9101/9101, host"}, nil},
		{"a ServiceMonitor where pods have their own address", []string{routed, prometheus, nodeExporter}, []string{
			podsToPods, exporterItself, "optional: pods of StatefulSet monitoring/prometheus-k8s > hosts of Service monitoring/exporter: TCP 9101/9101, routed-pod",
		}, nil},
		{"a ServiceMonitor that looks elsewhere", []string{prometheus, strings.Replace(nodeExporter, "endpoints: [", "namespaceSelector: {matchNames: [else]}, endpoints: [", 1)}, []string{exporterItself}, nil},
		{"a ServiceMonitor by the pods' port", []string{prometheus, strings.Replace(nodeExporter, "endpoints: [{port: https}]", "namespaceSelector: {any: true}, endpoints: [{targetPort: https}]", 1)}, []string{
			exporterItself, "optional: nodes > hosts of Service monitoring/exporter: TCP 9101/9101, host",
		}, nil},
		{"monitors and nobody who reads them", []string{nodeExporter}, []string{exporterItself}, []string{"who asks for the metrics that monitors name"}},
		{"a PodMonitor", []string{prometheus, podMonitor, pod("a", false, 9443, "10.244.1.5"), strings.Replace(pod("b", false, 9443, "10.244.1.6"), "app: guard", "app: guard, quiet: very", 1)}, []string{
			"optional: pods of StatefulSet monitoring/prometheus-k8s > pods of Pod guard/a: TCP 9443/9443" + inVXLAN,
			"optional: pods of StatefulSet monitoring/prometheus-k8s > pods of Pod guard/a: TCP 9999/9999" + inVXLAN,
		}, nil},
		{"a PodMonitor of all namespaces, and pods on the host network", []string{prometheus, strings.Replace(podMonitor, "matchNames: [guard]", "any: true", 1), pod("a", true, 9443, "192.0.2.2")}, []string{
			"optional: nodes > hosts of Pod guard/a: TCP 9443/9443, host", "optional: nodes > hosts of Pod guard/a: TCP 9999/9999, host", "optional: anywhere > hosts of Pod guard/a: TCP 9443/9443, host",
		}, nil},

		{"NFS", []string{persistentVolume("nfs: {server: 198.51.100.4, path: /x}")}, []string{toStorage("TCP 2049/2049")}, nil},
		{"NFS by name", []string{persistentVolume("nfs: {server: nas.example, path: /x}")}, []string{"expected: nodes > nas.example: TCP 2049/2049, host"}, []string{"the addresses of nas.example"}},
		{"NFS 3 on another port", []string{persistentVolume("nfs: {server: 198.51.100.4, path: /x}, mountOptions: [nfsvers=3, port=2050]")}, []string{
			toStorage("TCP 2050/2050"), toStorage("TCP 111/111"), toStorage("UDP 111/111"),
		}, []string{"the port of mountd on 198.51.100.4"}},
		{"NFS 3 whose mountd is told", []string{persistentVolume(`nfs: {server: 198.51.100.4, path: /x}, mountOptions: ["vers=3,mountport=20048"]`)}, []string{
			toStorage("TCP 2049/2049"), toStorage("TCP 111/111"), toStorage("UDP 111/111"), toStorage("TCP 20048/20048"), toStorage("UDP 20048/20048"),
		}, nil},
		{"NFS by CSI drivers", []string{persistentVolume("csi: {driver: nfs.csi.k8s.io, volumeAttributes: {server: 198.51.100.4, share: /x}}"), strings.Replace(persistentVolume("csi: {driver: nasplugin.csi.alibabacloud.com, volumeAttributes: {server: 198.51.100.5}}"), "name: v", "name: w", 1)}, []string{toStorage("TCP 2049/2049"), "expected: nodes > 198.51.100.5: TCP 2049/2049, host"}, nil},
		{"NFS in a pod", []string{strings.Replace(pod("a", false, 9443, "10.244.1.5"), "containers: [", "volumes: [{name: x, nfs: {server: 198.51.100.4, path: /x}}], containers: [", 1)}, []string{toStorage("TCP 2049/2049")}, nil},
		{"SMB", []string{persistentVolume("csi: {driver: smb.csi.k8s.io, volumeAttributes: {source: //198.51.100.4/share}}")}, []string{toStorage("TCP 445/445")}, nil},
		{"iSCSI by two portals", []string{persistentVolume("iscsi: {targetPortal: 198.51.100.4, portals: ['198.51.100.4:3261']}")}, []string{toStorage("TCP 3260/3260"), toStorage("TCP 3261/3261")}, nil},
		{"Ceph", []string{persistentVolume("cephfs: {monitors: ['198.51.100.4:3300']}")}, []string{toStorage("TCP 3300/3300")}, []string{"the OSDs behind 198.51.100.4"}},
		{"a volume on the node", []string{persistentVolume("hostPath: {path: /x}")}, nil, nil},

		{"a cache of names on each node asks DNS", []string{nodeLocal}, []string{
			"essential: hosts of node-local DNS > pods of Service kube-system/kube-dns-upstream: TCP 53/53" + inVXLAN,
			"essential: hosts of node-local DNS > pods of Service kube-system/kube-dns-upstream: UDP 53/53" + inVXLAN,
			"optional: anywhere > hosts of DaemonSet kube-system/node-local-dns: TCP 9253/9253, host",
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			texts := append(slices.Clone(c.texts), controlPlane)
			if c.texts[0] != routed {
				texts = append(texts, backend(`{"Type": "vxlan"}`))
				c.needs = append(c.needs, flannelVXLAN)
			}
			r := read(t, texts...)
			want(t, "needs", slices.DeleteFunc(lines(r), func(s string) bool { return s == kubelet || s == api }), c.needs...)
			want(t, "unknown", slices.DeleteFunc(abouts(r), func(s string) bool { return s == noDNS }), c.unknown...)
			want(t, "findings", places(r))
		})
	}
}

// TestNodePortRange: a node port that is not allocated yet comes from the range
// that the API server has.
func TestNodePortRange(t *testing.T) {
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: shop, namespace: guard}\nspec: {type: NodePort, ports: [{port: 80}]}\n"
	server := "apiVersion: v1\nkind: Pod\nmetadata: {name: kube-apiserver-cp, namespace: kube-system}\nspec: {hostNetwork: true, nodeName: cp, containers: [{command: [kube-apiserver, --service-node-port-range=20000-22767]}]}\n"
	for text, want := range map[string]string{"": "30000-32767 unless kube-apiserver has --service-node-port-range", server: "20000-22767"} {
		var texts []string
		if text != "" {
			texts = append(texts, text)
		}
		why := "the node port of Service guard/shop, tcp/80: the API server has not allocated it yet, from " + want
		if got := reasons(read(t, append(texts, service)...)); !slices.Contains(got, why) {
			t.Errorf("unknown %q: want %q among them", got, why)
		}
	}
}

// TestSourceMistakes: what makes no sense is a finding, and unknown.
func TestSourceMistakes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{persistentVolume("nfs: {server: 198.51.100.4}, mountOptions: [port=x]"), `PersistentVolume v | 0.yaml:4: /spec/mountOptions/0 | "x": want a port from 1 to 65535`},
		{persistentVolume("iscsi: {targetPortal: '198.51.100.4:70000'}"), `PersistentVolume v | 0.yaml:4: /spec/iscsi/targetPortal | "70000": want a port from 1 to 65535`},
		{strings.Split(strings.Replace(podMonitor, "DoesNotExist", "Sometimes", 1), "---")[0], `PodMonitor monitoring/guards | 0.yaml:7: /spec/selector | "Sometimes" is not a valid label selector operator`},
	} {
		r := read(t, c.text)
		want(t, "findings", places(r), c.want)
		if about, _, _ := strings.Cut(c.want, " |"); !slices.Contains(abouts(r), about) {
			t.Errorf("unknown %v: want %s among them", abouts(r), about)
		}
	}
}
