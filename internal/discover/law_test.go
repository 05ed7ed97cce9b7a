package discover_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
)

// versions are what an object may look like, one after the other.
type versions []string

// changing returns objects with their versions: such as change what others mean.
func changing() []versions {
	node := func(name string) versions {
		const text = "apiVersion: v1\nkind: Node\nmetadata: {name: %s, labels: {%s}}\nspec: {podCIDRs: [10.244.%d.0/24]}\nstatus: {addresses: [{type: InternalIP, address: %s}], daemonEndpoints: {kubeletEndpoint: {Port: %d}}}"
		i := len(name)
		return versions{
			fmt.Sprintf(text, name, "", i, fmt.Sprintf("192.0.2.%d", i), 10250), fmt.Sprintf(text, name, `node-role.kubernetes.io/control-plane: ""`, i, fmt.Sprintf("192.0.2.%d", i), 10250),
			fmt.Sprintf(text, name, "", i, fmt.Sprintf("192.0.2.%d", i+1), 10255), fmt.Sprintf(text, name, "", i, "nowhere", 10250), "apiVersion: v1\nkind: Node\nmetadata: {name: " + name + "}",
		}
	}
	somePod := func(name string) versions {
		out := versions{pod(name, false, 9443, "10.244.1.5"), pod(name, true, 9443, "192.0.2.2"), pod(name, true, 9444, "192.0.2.3"), pod(name, false, 94440, "10.244.1.5")}
		owned := strings.Replace(pod(name, true, 9445, "192.0.2.2"), "labels: {", "ownerReferences: [{kind: ReplicaSet, name: guard-0, controller: true}], labels: {", 1)
		exporter := strings.Replace(pod(name, true, 9100, "192.0.2.2"), "image: guard", "image: prometheus/node-exporter, args: [--web.listen-address=:9100]", 1)
		return append(out, owned, exporter, strings.Replace(out[0], "app: guard", "app: other", 1), strings.Replace(out[0], "Running", "Succeeded", 1))
	}
	service := func(name, spec string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: guard, labels: {k8s-app: x}}\nspec: " + spec
	}
	sliceOf := func(namespace, of, addresses string) string {
		return "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: " + of + "-1, namespace: " + namespace + ", labels: {kubernetes.io/service-name: " + of + "}}\naddressType: IPv4\nports: [{name: https, port: 6443}]\nendpoints: [" + addresses + "]"
	}
	config := func(namespace, name, data string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: " + namespace + "}\ndata: " + data
	}
	daemon := func(namespace, name, container string) string {
		return "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: {template: {metadata: {labels: {app: guard}}, spec: {hostNetwork: true, containers: [" + container + "]}}}"
	}
	replicas := "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: guard-0, namespace: guard, ownerReferences: [{kind: Deployment, name: %s, controller: true}]}\nspec: {template: {metadata: {labels: {app: guard}}, spec: {containers: [{image: guard, ports: [{name: web, containerPort: 9555}]}]}}}"
	guardHook := strings.TrimSuffix(hook, "---\n")
	return []versions{
		node("n"), node("nn"), node("worker"), somePod("a"), somePod("b"), somePod("c"),
		{
			service("guard", "{selector: {app: guard}, ports: [{name: https, port: 8443, targetPort: web}]}"), service("guard", "{selector: {app: other}, ports: [{name: https, port: 8443, targetPort: 1}]}"),
			service("guard", "{ports: [{name: https, port: 8443}]}"), service("guard", "{ports: [{port: 0}]}"), service("guard", "{type: ExternalName, externalName: far.example, ports: [{port: 8443}]}"),
		},
		{
			service("shop", "{type: NodePort, selector: {app: guard}, ports: [{port: 80, targetPort: web, nodePort: 30080}]}"), service("shop", "{selector: {app: guard}, ports: [{port: 80}]}"),
			service("shop", "{type: LoadBalancer, loadBalancerSourceRanges: [203.0.113.0/24], externalTrafficPolicy: Local, selector: {app: guard}, ports: [{port: 80}]}"),
		},
		{
			"apiVersion: v1\nkind: Service\nmetadata: {name: kube-dns, namespace: kube-system}\nspec: {selector: {app: guard}, ports: [{name: https, port: 53, protocol: UDP}]}",
			"apiVersion: v1\nkind: Service\nmetadata: {name: kube-dns, namespace: kube-system, labels: {k8s-app: kube-dns}}\nspec: {ports: [{name: https, port: 53}]}",
		},
		{sliceOf("default", "kubernetes", "{addresses: [192.0.2.1]}"), sliceOf("default", "kubernetes", "{addresses: [198.51.100.1]}"), sliceOf("default", "kubernetes", "")},
		{sliceOf("guard", "guard", "{addresses: [192.0.2.2]}"), sliceOf("guard", "guard", "{addresses: [10.244.1.5], targetRef: {kind: Pod, name: a}}, {addresses: [10.244.1.6], targetRef: {kind: Pod, name: b}}"), sliceOf("guard", "guard", "{addresses: [here]}")},
		{"apiVersion: v1\nkind: Endpoints\nmetadata: {name: guard, namespace: guard}\nsubsets: [{addresses: [{ip: 192.0.2.2}], ports: [{name: https, port: 9666}]}]"},
		{guardHook, strings.Replace(guardHook, "Fail", "Ignore", 1), strings.Replace(guardHook, "8443", "8444", 1), strings.Replace(guardHook, "service: {namespace: guard, name: guard, port: 8443}", "url: 'https://far.example/'", 1)},
		{
			config("kube-flannel", "kube-flannel-cfg", `{net-conf.json: '{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}'}`), config("kube-flannel", "kube-flannel-cfg", `{net-conf.json: '{"Backend": {"Type": "host-gw"}}'}`),
			config("kube-flannel", "kube-flannel-cfg", `{net-conf.json: '{"Backend": {"Type": "vxlan", "Port": 4242}}'}`), config("kube-flannel", "kube-flannel-cfg", `{net-conf.json: '{'}`),
		},
		{config("kube-system", "kubeadm-config", "{ClusterConfiguration: 'controlPlaneEndpoint: api.example:8443'}"), config("kube-system", "kubeadm-config", "{ClusterConfiguration: '['}")},
		{config("kube-system", "kube-proxy", "{config.conf: 'metricsBindAddress: 0.0.0.0:10249'}"), config("kube-system", "kube-proxy", "{config.conf: 'metricsBindAddress: there'}")},
		{daemon("kube-flannel", "flannel", "{command: [flanneld]}")},
		{daemon("kube-system", "kube-proxy", "{command: [kube-proxy, --config=/x]}"), daemon("kube-system", "kube-proxy", "{command: [kube-proxy]}")},
		{fmt.Sprintf(replicas, "guard"), fmt.Sprintf(replicas, "other")},
		{"apiVersion: crd.projectcalico.org/v1\nkind: IPPool\nmetadata: {name: default}\nspec: {cidr: 10.244.0.0/16, ipipMode: Always}", "apiVersion: crd.projectcalico.org/v1\nkind: IPPool\nmetadata: {name: default}\nspec: {cidr: 10.244.0.0/16, vxlanMode: CrossSubnet}"},
		{"apiVersion: crd.projectcalico.org/v1\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {vxlanPort: 4790}"},
		{"apiVersion: crd.projectcalico.org/v1\nkind: BGPConfiguration\nmetadata: {name: default}\nspec: {listenPort: 1790}"},
		{"apiVersion: crd.projectcalico.org/v1\nkind: BGPPeer\nmetadata: {name: rack}\nspec: {peerIP: 198.51.100.1}"},
		{strings.TrimPrefix(strings.Split(nodeExporter, "---")[0], "\n"), strings.Replace(strings.Split(nodeExporter, "---")[0], "matchLabels: {name: exporter}", "", 1)},
		{strings.Split(nodeExporter, "---")[1], strings.Replace(strings.Split(nodeExporter, "---")[1], "labels: {name", "labels: {no", 1)},
		{podMonitor, strings.Replace(podMonitor, "matchNames: [guard]", "any: true", 1)},
		{strings.Split(prometheus, "---")[0]},
		{strings.Split(prometheus, "---")[1]},
		{metricsServer},
		{persistentVolume("nfs: {server: 198.51.100.4, path: /x}"), persistentVolume("hostPath: {path: /x}"), persistentVolume("nfs: {server: nas.example}, mountOptions: [port=x]")},
		{strings.Split(nodeLocal, "---")[0]},
		{strings.Split(nodeLocal, "---")[1], strings.Replace(strings.Split(nodeLocal, "---")[1], "k8s-app: kube-dns", "app: guard", 1)},
		{antrea("tunnelType: vxlan")[0]},
		{antrea("tunnelType: vxlan")[1], antrea("tunnelType: pigeon")[1], antrea("trafficEncapMode: noEncap")[1]},
		cilium("v1.17.0", "routing-mode: native, enable-hubble: 'true', hubble-listen-address: ':4245'")[:1], cilium("v1.17.0", "routing-mode: native, enable-hubble: 'true', hubble-listen-address: ':4245'")[1:],
		{"apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: relay-0, namespace: kube-system, ownerReferences: [{kind: Deployment, name: relay, controller: true}]}\nspec: {template: {spec: {containers: [{command: [hubble-relay]}]}}}"},
		{"apiVersion: v1\nkind: Pod\nmetadata: {name: relay-0-x, namespace: kube-system, ownerReferences: [{kind: ReplicaSet, name: relay-0, controller: true}]}\nspec: {containers: [{command: [hubble-relay]}]}"},
		{"apiVersion: v1\nkind: Pod\nmetadata: {name: kube-apiserver-n, namespace: kube-system}\nspec: {hostNetwork: true, nodeName: n, containers: [{command: [kube-apiserver, --secure-port=7443]}]}"},
	}
}

// TestLaw: whatever was put, removed and derived before, in whatever order, a
// report is the one of the objects that are left, and what it says to be new is
// what differs from the report before.
func TestLaw(t *testing.T) {
	all := changing()
	objects := make([][]*convert.Foreign, len(all))
	for i, list := range all {
		for _, text := range list {
			objects[i] = append(objects[i], foreign(t, text))
		}
	}
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			l := law{t: t, random: rand.New(rand.NewPCG(seed, 7)), objects: objects, there: map[int]*convert.Foreign{}, unread: map[discover.Resource]string{}}
			for step := range 120 {
				l.step()
				if l.random.IntN(3) > 0 {
					l.check(fmt.Sprint("step ", step))
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// A law is a cluster, and what is to be in it.
type law struct {
	t       *testing.T
	random  *rand.Rand
	objects [][]*convert.Foreign

	there  map[int]*convert.Foreign
	unread map[discover.Resource]string
	live   discover.Cluster
	before *discover.Report
	did    []string
}

func (l *law) step() {
	i := l.random.IntN(len(l.objects))
	switch l.random.IntN(8) {
	case 0:
		if of := l.objects[i][0]; l.there[i] != nil {
			l.did = append(l.did, "remove "+refOf(l.t, of).String())
			l.live.Remove(refOf(l.t, of))
			delete(l.there, i)
		}
	case 1:
		resources := discover.Resources()
		r := resources[l.random.IntN(len(resources))]
		if _, ok := l.unread[r]; ok {
			delete(l.unread, r)
			l.live.Read(r)
		} else {
			l.unread[r] = "no"
			l.live.Unread(r, "no")
		}
		l.did = append(l.did, "unread or read "+r.String())
	default:
		k := l.random.IntN(len(l.objects[i]))
		l.there[i] = l.objects[i][k]
		l.live.Put(l.there[i])
		l.did = append(l.did, fmt.Sprintf("put %s version %d", refOf(l.t, l.there[i]), k))
	}
}

func (l *law) check(when string) {
	var fresh discover.Cluster
	for _, o := range l.there {
		fresh.Put(o)
	}
	for r, why := range l.unread {
		fresh.Unread(r, why)
	}
	got := derive(l.t, &l.live)
	if diff := reportDiff(derive(l.t, &fresh), got); diff != "" {
		l.t.Errorf("%s, after %s (-from nothing +kept):\n%s", when, strings.Join(l.did, ", "), diff)
	}
	if l.before == nil {
		l.before = &discover.Report{}
	}
	if diff := cmp.Diff(keyed(got), applied(l.before, got)); diff != "" {
		l.t.Errorf("%s, after %s: changes (-report +the one before, changed):\n%s", when, strings.Join(l.did, ", "), diff)
	}
	l.before = got
}

// keyed has a line for all that a report says, by what makes two things one.
func keyed(r *discover.Report) map[string]string {
	out := map[string]string{}
	for i := range r.Needs {
		out[needLine(&r.Needs[i])] = fmt.Sprint(r.Needs[i])
	}
	for i := range r.Unknown {
		out["unknown "+r.Unknown[i].About] = fmt.Sprint(r.Unknown[i])
	}
	for i := range r.Parties {
		out["party "+r.Parties[i].Party.String()] = fmt.Sprint(r.Parties[i])
	}
	return out
}

func needLine(n *discover.Need) string {
	return fmt.Sprint("need ", n.From, n.To, n.Protocol, n.Ports, n.Wire)
}

// applied is a report with the changes of a later one.
func applied(before, after *discover.Report) map[string]string {
	out := keyed(before)
	take := func(key string, gone, came any) {
		if fmt.Sprint(gone) != "<nil>" {
			delete(out, key)
		}
		if s := fmt.Sprint(came); s != "<nil>" {
			out[key] = strings.TrimPrefix(s, "&")
		}
	}
	for _, c := range after.Changes.Needs {
		take(needLine(either(c)), c.Before, c.After)
	}
	for _, c := range after.Changes.Unknown {
		take("unknown "+either(c).About, c.Before, c.After)
	}
	for _, c := range after.Changes.Parties {
		take("party "+either(c).Party.String(), c.Before, c.After)
	}
	return out
}

func either[T any](c discover.Change[T]) *T {
	if c.After != nil {
		return c.After
	}
	return c.Before
}

// BenchmarkChange is one change in a large cluster, from the bytes of the object
// to the new report.
func BenchmarkChange(b *testing.B) {
	text := town{nodes: 5000, services: 10_000, endpoints: 50_000}.json()
	var c discover.Cluster
	add(b, &c, "town.json", text)
	for _, f := range foreigners(b, hook+guardService) {
		c.Put(f)
	}
	derive(b, &c)
	sliceOf := func(port int) string {
		return fmt.Sprintf("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: guard-1, namespace: guard, labels: {kubernetes.io/service-name: guard}}\naddressType: IPv4\nports: [{name: https, port: %d}]\nendpoints: [{addresses: [10.0.0.1]}]", port)
	}
	for _, bench := range []struct {
		name     string
		versions []string
	}{
		{"EndpointSlice", []string{sliceOf(9443), sliceOf(9444)}},
		{"Service", []string{strings.TrimSuffix(guardService, "---\n"), strings.TrimSuffix(strings.Replace(guardService, "spec: {", "spec: {type: NodePort, ", 1), "---\n")}},
		{"Pod", []string{pod("a", false, 9443, "10.0.0.1"), pod("a", true, 9444, "172.16.0.1")}},
		{"WebhookConfiguration", []string{strings.TrimSuffix(hook, "---\n"), strings.TrimSuffix(strings.Replace(hook, "Fail", "Ignore", 1), "---\n")}},
		{"Node", []string{
			"apiVersion: v1\nkind: Node\nmetadata: {name: node-77}\nstatus: {addresses: [{type: InternalIP, address: 172.17.1.1}], daemonEndpoints: {kubeletEndpoint: {Port: 10250}}}",
			"apiVersion: v1\nkind: Node\nmetadata: {name: node-77}\nstatus: {addresses: [{type: InternalIP, address: 172.17.1.2}], daemonEndpoints: {kubeletEndpoint: {Port: 10250}}}",
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var objects []*convert.Foreign
			for _, text := range bench.versions {
				objects = append(objects, foreign(b, text))
			}
			c.Put(objects[1])
			derive(b, &c)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if !c.Put(objects[i%2]) {
					b.Fatal("no change")
				}
				i++
				if r := derive(b, &c); len(r.Changes.Needs)+len(r.Changes.Parties)+len(r.Changes.Unknown) == 0 {
					b.Fatal("nothing is new")
				}
			}
		})
	}
}
