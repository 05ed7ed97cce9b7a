package discover_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
)

// foreign returns the only object of a text.
func foreign(tb testing.TB, text string) *convert.Foreign {
	tb.Helper()
	all := foreigners(tb, text)
	if len(all) != 1 {
		tb.Fatalf("%d objects: want 1: %s", len(all), text)
	}
	return all[0]
}

func foreigners(tb testing.TB, text string) []*convert.Foreign {
	tb.Helper()
	var out []*convert.Foreign
	for f, err := range convert.Foreigners(convert.File{Data: []byte(text)}) {
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

// TestPut: the later version of an object counts, and one that is gone leaves
// nothing behind.
func TestPut(t *testing.T) {
	var c discover.Cluster
	put := func(text string) bool { return c.Put(foreign(t, text)) }
	for _, f := range foreigners(t, controlPlane+"---"+backend(`{"Type": "host-gw"}`)+"---"+hook+guardService) {
		c.Put(f)
	}
	rest := []string{podsToPods, kubelet, api}
	both := func(more ...string) []string { return append(slices.Clone(rest), more...) }

	if !put(pod("a", false, 9443, "10.244.1.5")) {
		t.Error("a new pod is no change: want one")
	}
	want(t, "with a pod", lines(derive(t, &c)), both(toGuard+"9443/9443, routed-pod")...)
	if put(strings.Replace(pod("a", false, 9443, "10.244.1.5"), "phase: Running", "phase: Running, conditions: [{type: Ready}]", 1)) {
		t.Error("a pod with another condition is a change: want none")
	}
	if !put(pod("a", true, 9444, "192.0.2.2")) {
		t.Error("a pod with another port is no change: want one")
	}
	want(t, "with another port", lines(derive(t, &c)), both("essential: API server > hosts of Service guard/guard: TCP 9444/9444, host", "optional: anywhere > hosts of Pod guard/a: TCP 9444/9444, host")...)

	put(pod("a", false, 94440, "10.244.1.5"))
	r := derive(t, &c)
	want(t, "with a broken pod", lines(r), rest...)
	want(t, "findings", places(r), "Pod guard/a | :5: /spec/containers/0/ports/0/containerPort | port 94440: want 1 to 65535")
	if !slices.Contains(abouts(r), "Pod guard/a") {
		t.Errorf("unknown %v: want Pod guard/a among them", abouts(r))
	}
	if gone := (discover.Ref{Kind: "Pod", Namespace: "guard", Name: "a"}); !c.Remove(gone) || c.Remove(gone) {
		t.Error("want a removal that is one, and then is none")
	}
	r = derive(t, &c)
	want(t, "without the pod", lines(r), rest...)
	want(t, "findings", places(r))
	want(t, "unknown", abouts(r), noDNS, "who answers on port 8443 of Service guard/guard")
}

// TestPutAndRemoveAll: every kind can be replaced and removed.
func TestPutAndRemoveAll(t *testing.T) {
	objects := foreigners(t, everything())
	random := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		random.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
		var c discover.Cluster
		for _, o := range objects {
			c.Put(o)
		}
		for _, o := range objects {
			if c.Put(o) {
				t.Errorf("%s: the same object again is a change: want none", o.Kind)
			}
			derive(t, &c)
		}
		for _, o := range objects {
			if !c.Remove(refOf(t, o)) {
				t.Errorf("%s cannot be removed", refOf(t, o))
			}
		}
		var none discover.Cluster
		if diff := reportDiff(derive(t, &none), derive(t, &c)); diff != "" {
			t.Fatalf("after all objects were removed (-never there +removed):\n%s", diff)
		}
		if diff := cmp.Diff(none.Kept(), c.Kept()); diff != "" {
			t.Fatalf("what is remembered after all objects were removed (-never there +removed):\n%s", diff)
		}
	}
}

// reportDiff compares what reports say, whatever they say to be new.
func reportDiff(a, b *discover.Report) string {
	return cmp.Diff(a, b, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.IgnoreFields(discover.Report{}, "Changes"), cmpopts.EquateEmpty())
}

func refOf(tb testing.TB, f *convert.Foreign) discover.Ref {
	tb.Helper()
	var o struct {
		Metadata struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
	}
	if err := f.Decode(&o); err != nil {
		tb.Fatal(err)
	}
	return discover.Ref{Kind: f.Kind, Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}
}

// everything has at least one object of each kind that is read.
func everything() string {
	return strings.Join([]string{controlPlane, backend(`{"Type": "vxlan"}`), hook + guardService + pod("a", false, 9443, "10.244.1.5") + pod("b", true, 9444, "192.0.2.2"), `
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
kind: BGPConfiguration
metadata: {name: default}
---
apiVersion: crd.projectcalico.org/v1
kind: BGPPeer
metadata: {name: rack}
spec: {peerIP: 198.51.100.1}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: guard-1, namespace: guard, ownerReferences: [{kind: Deployment, name: guard, controller: true}]}
spec: {template: {metadata: {labels: {app: guard}}, spec: {containers: [{image: guard, ports: [{name: web, containerPort: 9555}]}]}}}
---
apiVersion: v1
kind: Endpoints
metadata: {name: guard, namespace: guard}
subsets: [{notReadyAddresses: [{ip: 10.244.1.7}], ports: [{name: https, port: 9666}]}, {addresses: [{ip: 192.0.2.2}], ports: [{name: https, port: 9667}]}]
---
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
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: guard}
spec: {type: NodePort, selector: {app: guard}, ports: [{port: 80, targetPort: web, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: broken, namespace: guard}
spec: {ports: [{port: 99999}]}
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec: {clusterIP: 10.96.0.10, selector: {k8s-app: kube-dns}, ports: [{name: dns, port: 53, protocol: UDP}]}
`, metricsServer, prometheus, nodeExporter, podMonitor, nodeLocal, persistentVolume("nfs: {server: 198.51.100.4, path: /x}")}, "\n---\n")
}

// TestUnread: what cannot be listed is unknown, whatever hangs on it, and what
// was read before stays.
func TestUnread(t *testing.T) {
	const guarded = hook + guardService
	slice := `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: guard-1, namespace: guard, labels: {kubernetes.io/service-name: guard}}
addressType: IPv4
ports: [{name: https, port: 9999}]
endpoints: [{addresses: [10.244.1.9]}]
---`
	calico := fmt.Sprintf(calicoNode, "vxlan") // its environment names no pool
	for _, c := range []struct {
		resource, text string
		unknown        []string // about and why
	}{
		{"validatingwebhookconfigurations.admissionregistration.k8s.io", guarded, []string{"which validatingwebhookconfigurations.admissionregistration.k8s.io there are: no"}},
		{"services", hook, []string{"the cluster's DNS: services are not read: no", "the ports of Service guard/guard: services are not read: no", "which services there are: no"}},
		{"endpointslices.discovery.k8s.io", guarded + pod("a", false, 9443, "10.244.1.5"), []string{"who else answers for Service guard/guard: endpointslices.discovery.k8s.io are not read: no"}},
		{"endpoints", guarded, []string{"who else answers for Service guard/guard: endpoints are not read: no"}},
		{"pods", guarded + slice, []string{"who else answers for Service guard/guard: pods are not read: no"}},
		{"pods", guarded, []string{"who answers on port 8443 of Service guard/guard: pods are not read: no"}},
		{"nodes", guarded + slice, []string{"the nodes: nodes are not read: no", "whether who answers for Service guard/guard is a pod or a host: nodes are not read: no"}},
		{"configmaps", "", []string{noNetwork + ": configmaps are not read: no"}},
		{"ippools.crd.projectcalico.org", calico, []string{noNetwork + ": ippools.crd.projectcalico.org are not read: no", "how Calico is configured: ippools.crd.projectcalico.org are not read: no"}},
	} {
		t.Run(c.resource, func(t *testing.T) {
			all := discover.Resources()
			i := slices.IndexFunc(all, func(r discover.Resource) bool { return r.String() == c.resource })
			var cluster discover.Cluster
			if c.text != "" {
				add(t, &cluster, "", []byte(c.text))
			}
			before := derive(t, &cluster)
			cluster.Unread(all[i], "no")
			r := derive(t, &cluster)
			for _, want := range c.unknown {
				if !slices.Contains(reasons(r), want) {
					t.Errorf("unknown %q: want %q among them", reasons(r), want)
				}
			}
			cluster.Read(all[i])
			if diff := reportDiff(before, derive(t, &cluster)); diff != "" {
				t.Errorf("after it was read after all (-before +after):\n%s", diff)
			}
		})
	}
}

// reasons are the unknowns with their whys.
func reasons(r *discover.Report) []string {
	var out []string
	for i := range r.Unknown {
		out = append(out, r.Unknown[i].About+": "+r.Unknown[i].Why)
	}
	return out
}

// TestUnreadKeeps: needs whose kind was read once, and cannot be any more, stay.
func TestUnreadKeeps(t *testing.T) {
	var c discover.Cluster
	add(t, &c, "", []byte(everything()))
	before := lines(derive(t, &c))
	for _, r := range discover.Resources() {
		c.Unread(r, "the server is away")
	}
	after := lines(derive(t, &c))
	for _, n := range before {
		if !slices.Contains(after, n) {
			t.Errorf("need %q is gone because nothing can be read", n)
		}
	}
}

// TestNewForeign: an object of an API server has pointers for places.
func TestNewForeign(t *testing.T) {
	var c discover.Cluster
	c.Put(convert.NewForeign("v1", "Service", []byte(`{"metadata":{"name":"x","namespace":"y"},"spec":{"ports":[{"port":70000}]}}`)))
	c.Put(convert.NewForeign("v1", "Service", []byte(`{"metadata":{"name":"z","namespace":"y","labels":7}}`)))
	c.Put(convert.NewForeign("v1", "Service", []byte(`{"metadata":`)))
	c.Put(convert.NewForeign("v1", "Secret", []byte(`{`))) // not read at all
	r := derive(t, &c)
	want(t, "findings", places(r), "Service  | /metadata | unexpected EOF", "Service y/x | /spec/ports/0/port | port 70000: want 1 to 65535", "Service y/z | /metadata/labels | found the number 7, want an object")
	for _, about := range []string{"Service y/x", "Service y/z"} {
		if !slices.Contains(abouts(r), about) {
			t.Errorf("unknown %v: want %s among them", abouts(r), about)
		}
	}
}

// TestResources: one line a resource, and no secrets among them.
func TestResources(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range discover.Resources() {
		if r.Name == "secrets" || seen[r.String()] || r.Version == "" || r.Name != strings.ToLower(r.Name) {
			t.Errorf("resource %+v: want each once, with a version, in lower case, and never secrets", r)
		}
		seen[r.String()] = true
	}
}
