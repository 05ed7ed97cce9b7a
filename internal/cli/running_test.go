package cli_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// A running cluster of two nodes, and a group for it that nobody told of its
// webhook.
const (
	dump = `
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {node-role.kubernetes.io/control-plane: ""}}
status: {addresses: [{type: InternalIP, address: 10.0.0.11}], daemonEndpoints: {kubeletEndpoint: {Port: 10250}}}
---
apiVersion: v1
kind: Node
metadata: {name: node-2}
status: {addresses: [{type: InternalIP, address: 10.0.0.12}], daemonEndpoints: {kubeletEndpoint: {Port: 10250}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
addressType: IPv4
ports: [{name: https, port: 6443, protocol: TCP}]
endpoints: [{addresses: [10.0.0.11]}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-flannel-ds, namespace: kube-flannel}
spec: {template: {spec: {hostNetwork: true, containers: [{command: [flanneld], image: flannel}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-flannel-cfg, namespace: kube-flannel}
data: {net-conf.json: '{"Network": "172.20.0.0/16", "Backend": {"Type": "vxlan"}}'}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: guard}
webhooks: [{name: a.guard.example, clientConfig: {service: {namespace: guard, name: guard}}}]
---
apiVersion: v1
kind: Service
metadata: {name: guard, namespace: guard}
spec: {selector: {app: guard}, ports: [{port: 443, targetPort: 9443}]}
---
apiVersion: v1
kind: Pod
metadata: {name: guard, namespace: guard, labels: {app: guard}}
spec: {nodeName: node-2, hostNetwork: true, containers: [{image: guard}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.12}]}
`
	dumpGroup = `
apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec: {cidrBlock: 10.0.0.0/16, subnets: [{name: nodes, cidrBlock: 10.0.0.0/24}]}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: nodes}
spec:
  vpcName: prod
  type: Advanced
  egress: [{policy: Accept, priority: 1, protocol: ALL, peer: {cidr: 0.0.0.0/0}}]
  ingress: [{policy: Accept, priority: 1, protocol: TCP, ports: 1/9000, peer: {cidr: 10.0.0.0/24}}, {policy: Accept, priority: 1, protocol: TCP, ports: 10000/20000, peer: {cidr: 10.0.0.0/24}}, {policy: Accept, priority: 1, protocol: UDP, ports: 1/65535, peer: {cidr: 10.0.0.0/24}}, {policy: Accept, priority: 1, protocol: ICMP, peer: {cidr: 10.0.0.0/24}}]
`
)

// TestCheckJoinsNeeds: a webhook that no group admits is found with the packet
// that fails and the words that the API server will log; the facts that no file
// tells come from the running cluster.
func TestCheckJoinsNeeds(t *testing.T) {
	dir := t.TempDir()
	objects, group := write(t, dir, "dump.yaml", dump), write(t, dir, "group.yaml", dumpGroup)
	r := run(t, "", "check", "-f", group, "--needs", objects, "-o", "json")
	var report struct {
		Missing []struct {
			ID, Direction, Ports, Peer, Logs, Source string
			Example                                  struct {
				Local, Remote string
				Port          int
			}
			Fix []string
		}
	}
	if err := json.Unmarshal([]byte(r.out), &report); err != nil {
		t.Fatalf("%v: %s%s", err, r.out, r.err)
	}
	if r.code != 1 || len(report.Missing) != 1 {
		t.Fatalf("exit %d, %d missing: want 1 and 1: %s", r.code, len(report.Missing), r.out)
	}
	m := report.Missing[0]
	if m.ID != "essential-need" || m.Example.Remote != "10.0.0.11" || m.Example.Port != 9443 || m.Ports != "9443/9443" || len(m.Fix) != 1 ||
		m.Logs != `failed calling webhook "a.guard.example": failed to call webhook: Post "https://guard.guard.svc:443/?timeout=10s": context deadline exceeded` {
		t.Errorf("missing %+v", m)
	}
	mended := write(t, dir, "mended.yaml", strings.Replace(dumpGroup, "ports: 1/9000", "ports: 1/9443", 1))
	if r := run(t, "", "check", "-f", mended, "--needs", objects); r.code != 0 {
		t.Errorf("mended: exit %d: %s%s", r.code, r.out, r.err)
	}
	for text, args := range map[string][]string{
		"no file describes a cluster":    {"check", "-f", group},
		"--needs goes with --from-needs": {"rules", "-f", group, "--needs", objects},
		"whose needs?":                   {"rules", "--from-needs"},
		`--class "x"`:                    {"rules", "--from-needs", "--needs", objects, "--class", "x"},
	} {
		if r := run(t, "", args...); r.code != 2 || !strings.Contains(r.err, text) {
			t.Errorf("%v: exit %d, %s: want 2 and %q", args, r.code, r.err, text)
		}
	}
}

// TestRulesFromNeeds: what rules makes, check finds nothing to add to.
func TestRulesFromNeeds(t *testing.T) {
	dir := t.TempDir()
	objects := write(t, dir, "dump.yaml", dump)
	for _, kind := range []string{"basic", "advanced"} {
		r := run(t, "", "rules", "--from-needs", "--needs", objects, "--group-type", kind, "--cluster", "shop", "-o", "yaml")
		if r.code != 0 || !strings.Contains(r.err, "proved: all of") || !strings.Contains(r.err, "nothing beyond them") {
			t.Fatalf("%s: exit %d: %s%s", kind, r.code, r.out, r.err)
		}
		group := write(t, dir, kind+".yaml", strings.Split(dumpGroup, "---")[0]+"---\n"+strings.Replace(r.out, "vpcName: vpc", "vpcName: prod", 1))
		c := run(t, "", "check", "-f", group, "--needs", objects, "--fail-on", "never", "-o", "json")
		if strings.Contains(c.out, `"essential-need"`) || strings.Contains(c.out, `"expected-need"`) || c.code != 0 {
			t.Errorf("%s: exit %d: %s%s", kind, c.code, c.out, c.err)
		}
	}
	r := run(t, "", "rules", "--from-needs", "--needs", objects, "--group-type", "basic", "--max-rules", "10")
	if lines := strings.Count(r.out, "\n"); r.code != 0 || lines != 11 || !strings.Contains(r.err, "beyond them only what a larger CIDR stands for exact addresses to stay within 10 rules: 10.0.0.8/29") {
		t.Errorf("exit %d, %d lines: %s%s", r.code, lines, r.out, r.err)
	}
	far := write(t, dir, "far.yaml", dump+"---\n"+strings.Replace(`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: far}
webhooks: [{name: far.example, clientConfig: {url: "https://hooks.example.com/x"}}]
`, "\n", "", 1))
	if r := run(t, "", "rules", "--from-needs", "--needs", far); r.code != 1 || !slices.ContainsFunc(strings.Split(r.err, "\n"), func(l string) bool {
		return strings.HasPrefix(l, "left: API server to hooks.example.com tcp/443 (essential)")
	}) {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}
