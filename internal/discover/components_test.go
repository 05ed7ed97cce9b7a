package discover_test

import (
	"slices"
	"strings"
	"testing"
)

// TestComponents: each component of the catalog on a host or a pod as its own
// manifest has it, and on ports of its own, beside controlPlane and Flannel in
// VXLAN, which masquerades.
func TestComponents(t *testing.T) {
	host := func(container string) string { return daemon("x", container) }
	onPods := func(container string) string {
		return strings.Replace(daemon("x", container), "hostNetwork: true, ", "", 1)
	}
	const inVXLAN = ", overlay in VXLAN udp/8472"
	for _, c := range []struct {
		text  string
		needs []string
	}{
		{onPods("{image: k.example/kas-network-proxy/proxy-agent:v0, command: [/proxy-agent], args: [--proxy-server-host=198.51.100.7, --proxy-server-port=8132]}"), []string{"essential: nodes > 198.51.100.7: TCP 8132/8132, host"}},
		{host("{command: [/proxy-agent], args: [--proxy-server-host=198.51.100.7]}"), []string{"essential: hosts of konnectivity-agent > 198.51.100.7: TCP 8091/8091, host"}},
		{host("{command: [/proxy-agent]}"), nil},
		{host("{command: [cloud-controller-manager]}"), []string{"optional: anywhere > hosts of cloud-controller-manager: TCP 10258/10258, host"}},
		{host("{command: [cloud-controller-manager, --bind-address=127.0.0.1]}"), nil},
		{onPods("{command: [cloud-controller-manager]}"), nil},
		{host("{image: osixia/keepalived:2.0}"), []string{"expected: hosts of keepalived > hosts of keepalived: VRRP -1/-1, host"}},
		{host("{image: g.example/kube-vip/kube-vip:v0.9, args: [manager], env: [{name: prometheus_server, value: ':2112'}]}"), []string{"optional: anywhere > hosts of kube-vip: TCP 2112/2112, host"}},
		{host("{image: kube-vip/kube-vip, args: [manager]}"), nil},
		{host("{image: r.example/ingress-nginx/controller:v1, args: [/nginx-ingress-controller, --https-port=8443]}"), []string{
			"expected: anywhere > hosts of ingress-nginx: TCP 80/80, host", "expected: anywhere > hosts of ingress-nginx: TCP 8443/8443, host",
		}},
		{onPods("{image: ingress-nginx/controller, args: [/nginx-ingress-controller]}"), nil},
		{onPods("{image: istio/pilot, args: [discovery, '--secureGRPCAddr=:15013']}"), []string{"expected: all pods > pods of istiod: TCP 15013/15013" + inVXLAN}},
		{onPods("{image: l.example/linkerd/controller, args: [identity, -log-level=info]}"), []string{"expected: all pods > pods of Linkerd controller: TCP 8080/8080" + inVXLAN}},
		{onPods("{image: l.example/linkerd/controller, args: [destination, '-addr=:8087']}"), []string{"expected: all pods > pods of Linkerd controller: TCP 8087/8087" + inVXLAN}},
		{onPods("{image: l.example/linkerd/policy-controller, args: ['--grpc-addr=[::]:8090']}"), []string{"expected: all pods > pods of Linkerd policy controller: TCP 8090/8090" + inVXLAN}},
		{host("{command: [ceph-mon]}"), []string{
			"expected: nodes > hosts of Ceph monitor: TCP 3300/3300, host", "expected: nodes > hosts of Ceph monitor: TCP 6789/6789, host", "expected: hosts of Ceph monitor > hosts of Ceph monitor: TCP 3300/3300, host",
		}},
		{onPods("{command: [ceph-osd]}"), []string{"expected: nodes > pods of Ceph OSD: TCP 6800/7568" + inVXLAN, "expected: pods of Ceph OSD > pods of Ceph OSD: TCP 6800/7568" + inVXLAN}},
		{onPods("{command: [ceph-mds]}"), []string{"expected: nodes > pods of Ceph MDS: TCP 6800/7568" + inVXLAN}},
		{onPods("{image: longhornio/longhorn-manager, command: [longhorn-manager, -d, daemon]}"), []string{"expected: all pods > pods of Longhorn manager: TCP 9500/9500" + inVXLAN}},
		{onPods("{image: longhornio/longhorn-manager, command: [longhorn-manager, deploy-driver]}"), nil},
		{onPods("{image: longhornio/longhorn-instance-manager}"), []string{"expected: all pods > pods of Longhorn instance manager: TCP 8500/8501" + inVXLAN, "expected: pods of Longhorn instance manager > pods of Longhorn instance manager: TCP 10000/30000" + inVXLAN}},
		{onPods("{image: r.example/sig-storage/nfs-provisioner, args: [-provisioner=x]}"), []string{"expected: nodes > pods of NFS provisioner: TCP 2049/2049" + inVXLAN}},
		{onPods("{image: g.example/spegel-org/spegel, args: [registry, '--router-addr=:5002']}"), []string{"expected: pods of Spegel > pods of Spegel: TCP 5002/5002" + inVXLAN}},
		{host("{image: docker.example/calico/node:v3, env: [{name: FELIX_PROMETHEUSMETRICSENABLED, value: 'true'}, {name: FELIX_PROMETHEUSMETRICSPORT, value: '9092'}]}"), []string{"optional: anywhere > hosts of calico-node: TCP 9092/9092, host"}},
		{host("{image: docker.example/calico/node:v3, env: [{name: FELIX_PROMETHEUSMETRICSENABLED, value: 'false'}]}"), nil},
		{"apiVersion: metallb.io/v1beta2\nkind: BGPPeer\nmetadata: {name: tor, namespace: metallb-system}\nspec: {peerAddress: 198.51.100.1, peerPort: 1179}\n", []string{"expected: hosts of MetalLB speaker > 198.51.100.1: TCP 1179/1179, host"}},
	} {
		t.Run(c.text, func(t *testing.T) {
			r := read(t, c.text, controlPlane, backend(`{"Type": "vxlan"}`))
			known := []string{kubelet, api, flannelVXLAN}
			want(t, "needs", slices.DeleteFunc(lines(r), func(s string) bool { return slices.Contains(known, s) }), c.needs...)
			want(t, "unknown", slices.DeleteFunc(abouts(r), func(s string) bool { return s == noDNS }))
			want(t, "findings", places(r))
		})
	}
}

// TestOutside: what pods call outside is on the wire with the address that the
// network gives it.
func TestOutside(t *testing.T) {
	agent := strings.Replace(daemon("x", "{command: [/proxy-agent], args: [--proxy-server-host=198.51.100.7]}"), "hostNetwork: true, ", "", 1)
	node, itself := "essential: nodes > 198.51.100.7: TCP 8091/8091, host", "essential: pods of konnectivity-agent > 198.51.100.7: TCP 8091/8091, routed-pod"
	for _, c := range []struct {
		network []string
		want    string
	}{
		{cilium("v1.17.0", "routing-mode: native"), node},
		{cilium("v1.17.0", "routing-mode: native, enable-ipv4-masquerade: 'false'"), itself},
		{[]string{kubeRouter("")}, node},
		{[]string{kubeRouter(", --enable-pod-egress=false")}, itself},
		{calico("vxlanMode: Always, natOutgoing: true"), node},
		{calico("vxlanMode: Always"), itself},
		{terway("ENIMultiIP"), itself},
	} {
		if got := lines(read(t, append(c.network, agent, controlPlane)...)); !slices.Contains(got, c.want) {
			t.Errorf("%s: needs %q: want %q among them", c.network, got, c.want)
		}
	}
}
