package fleet_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/discover/live"
	"ringfence.dev/ringfence/internal/testenv"
	"ringfence.dev/ringfence/test/apiserver"
)

// The running cluster: an API server on cp, two nodes with pods whose addresses
// are on the wire, a webhook on the host network of node-1 and one that is a pod
// on node-2.
const (
	hooked = `
apiVersion: v1
kind: Node
metadata: {name: node-1}
spec: {podCIDRs: [172.20.1.0/24]}
status: {addresses: [{type: InternalIP, address: 10.60.0.11}], daemonEndpoints: {kubeletEndpoint: {Port: 10250}}}
---
apiVersion: v1
kind: Node
metadata: {name: node-2}
spec: {podCIDRs: [172.20.2.0/24]}
status: {addresses: [{type: InternalIP, address: 10.60.0.12}], daemonEndpoints: {kubeletEndpoint: {Port: 10250}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes-cp, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
addressType: IPv4
ports: [{name: https, port: 6443, protocol: TCP}]
endpoints: [{addresses: [10.60.0.10]}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-flannel-ds, namespace: kube-flannel}
spec:
  selector: {matchLabels: {app: flannel}}
  template:
    metadata: {labels: {app: flannel}}
    spec: {hostNetwork: true, containers: [{name: kube-flannel, image: flannel, command: [flanneld]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-flannel-cfg, namespace: kube-flannel}
data: {net-conf.json: '{"Network": "172.20.0.0/16", "Backend": {"Type": "host-gw"}}'}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: ringfence-reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ringfence-needs}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ringfence}]
---
`
	hookOf = `
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: guard}
spec: {ports: [{port: 443, targetPort: %[2]d}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s, namespace: guard, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: "", port: %[2]d, protocol: TCP}]
endpoints: [{addresses: [%[3]s]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: %[1]s}
webhooks:
- name: %[1]s.guard.example
  sideEffects: None
  admissionReviewVersions: [v1]
  rules: [{apiGroups: [guard.example], apiVersions: [v1], operations: [CREATE], resources: [things]}]
  clientConfig: {service: {namespace: guard, name: %[1]s}}
---
`
	hookedCluster = `
apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec: {cidrBlock: 10.60.0.0/16, subnets: [{name: nodes, cidrBlock: 10.60.0.0/19}]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Cluster
metadata: {name: shop}
spec:
  vpcName: prod
  network: {mode: Flannel, nodeSubnets: [nodes], podCIDRs: [172.20.0.0/16]}
  apiServer: {addresses: [10.60.0.200]}
  securityGroup: {type: Advanced, profile: LeastPrivilege}
  discovery: {kubeconfigSecretName: running, closeAfterSeconds: 5}
---
apiVersion: ringfence.dev/v1alpha1
kind: NodePool
metadata: {name: workers}
spec: {clusterName: shop, subnets: [nodes], securityGroup: {}}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-1}
spec: {addresses: [10.60.0.11], clusterName: shop, nodePoolName: workers, roles: [Worker]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-2}
spec: {addresses: [10.60.0.12], clusterName: shop, nodePoolName: workers, roles: [Worker]}
`
)

// TestWebhookPort: the port that a webhook moves to is open on every host before
// the first call, for the API server's host alone, on hosts and for pods; the old
// one stays for a while, and it is said why. Nothing opens etcd.
func TestWebhookPort(t *testing.T) {
	var podMachine *node
	f := newFleet(t, map[string]string{"cp": "10.60.0.10", "node-1": "10.60.0.11", "node-2": "10.60.0.12", "stranger": "10.60.0.99"}, func(f *fleet) {
		podMachine = &node{Machine: f.lab.Machine("pod"), fleet: f, addr: netip.MustParseAddr("172.20.2.5")}
		podMachine.Behind(f.nodes["node-2"].Machine, "veth-pod", podMachine.addr)
		f.nodes["node-2"].Forward()
		for _, from := range []string{"cp", "stranger", "node-1"} {
			f.nodes[from].Route(netip.MustParsePrefix("172.20.2.0/24"), f.nodes["node-2"].addr)
		}
	})
	running := apiserver.Start(t)
	running.Load(t, live.Role(), hooked, fmt.Sprintf(hookOf, "host", 8443, "10.60.0.11"), fmt.Sprintf(hookOf, "pod", 9443, "172.20.2.5"))
	text, err := os.ReadFile(apiserver.Kubeconfig(t, running.As("ringfence")))
	f.check(err)
	f.check(f.api.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "running"}, Data: map[string][]byte{"kubeconfig": text}}))
	f.create(hookedCluster)
	cp, node1, node2, stranger := f.nodes["cp"], f.nodes["node-1"], f.nodes["node-2"], f.nodes["stranger"]
	for _, n := range []*node{node1, node2} {
		n.comes()
		n.says(v1alpha1.ReasonConfirmed, "Ruleset")
	}
	everywhere := []*node{node1, node2, podMachine}
	for _, to := range everywhere {
		cp.reaches(true, to, 8443)
		cp.reaches(true, to, 9443)
		for _, port := range []uint16{8443, 9443, 8444, 9444, 2379} {
			stranger.reaches(false, to, port)
		}
		cp.reaches(false, to, 8444)
		cp.reaches(false, to, 9444)
	}

	since := clock.RealClock{}.Now()
	running.Retarget(t, "guard", "host", "host", 8444)
	running.Retarget(t, "guard", "pod", "pod", 9444)
	for _, to := range everywhere {
		cp.reaches(true, to, 8444)
		cp.reaches(true, to, 9444)
		if !cp.dials(t.Context(), to, 8443, short) || !cp.dials(t.Context(), to, 9443, short) {
			t.Errorf("%s: an old port is closed already", to.Name)
		}
	}
	t.Logf("%s after the webhooks moved their ports were open on every host (the goal is 2 s)", clock.RealClock{}.Since(since).Round(time.Millisecond))
	for _, to := range everywhere {
		stranger.reaches(false, to, 8444)
	}
	f.explained("NeedOpened", "tcp/8444 is opened for the API server's hosts: ValidatingWebhookConfiguration host /webhooks/0/clientConfig/service")
	f.explained("NeedGone", "tcp/9443 is not needed any more and closes in 5s")
	for _, to := range everywhere {
		cp.reaches(false, to, 8443)
		cp.reaches(false, to, 9443)
		cp.reaches(true, to, 8444)
	}
	running.Retarget(t, "guard", "host", "host", 2379)
	f.explained("NeedNotOpened", "tcp/2379 is not opened by itself")
	cp.reaches(false, node1, 2379)
}

// explained waits for an Event with a text in it.
func (f *fleet) explained(reason, text string) {
	f.t.Helper()
	testenv.Eventually(f.t, func(ctx context.Context) string {
		var list eventsv1.EventList
		if err := f.api.List(ctx, &list, client.InNamespace(f.namespace)); err != nil {
			return err.Error()
		}
		var all []string
		for i := range list.Items {
			e := &list.Items[i]
			if all = append(all, e.Reason+": "+e.Note); e.Reason == reason && strings.Contains(e.Note, text) {
				return ""
			}
		}
		return fmt.Sprintf("no Event %s says %q: %s", reason, text, strings.Join(all, "\n"))
	})
}
