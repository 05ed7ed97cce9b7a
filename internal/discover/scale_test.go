package discover_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
)

// A town is a large cluster as kubectl would print it.
type town struct{ nodes, services, endpoints int }

func (w town) json() []byte {
	var b bytes.Buffer
	b.WriteString(`{"apiVersion":"v1","kind":"List","items":[`)
	b.WriteString(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kube-flannel-cfg","namespace":"kube-flannel"},"data":{"net-conf.json":"{\"Network\":\"10.0.0.0/8\",\"Backend\":{\"Type\":\"host-gw\"}}"}},` +
		`{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"kube-flannel-ds","namespace":"kube-flannel"},"spec":{"template":{"spec":{"hostNetwork":true,"containers":[{"command":["flanneld"]}]}}}}`)
	for i := range w.nodes {
		fmt.Fprintf(&b, `,{"apiVersion":"v1","kind":"Node","metadata":{"name":"node-%d","labels":{"kubernetes.io/hostname":"node-%d"}},"spec":{"podCIDRs":["10.%d.%d.0/24"]},`+
			`"status":{"addresses":[{"type":"InternalIP","address":"172.16.%d.%d"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":10250}}}}`, i, i, i/250, i%250, i/250, i%250)
	}
	for i := range w.services {
		fmt.Fprintf(&b, `,{"apiVersion":"v1","kind":"Service","metadata":{"name":"s-%d","namespace":"n-%d"},"spec":{"type":"NodePort","selector":{"app":"s-%d"},"ports":[{"name":"http","port":80,"targetPort":8080,"nodePort":%d}]}}`,
			i, i%50, i, 1+i)
		fmt.Fprintf(&b, `,{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"s-%d-x","namespace":"n-%d","labels":{"kubernetes.io/service-name":"s-%d"}},"addressType":"IPv4","ports":[{"name":"http","port":8080,"protocol":"TCP"}],"endpoints":[`, i, i%50, i)
		per := w.endpoints / w.services
		for k := range per {
			n := i*per + k
			if k > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(&b, `{"addresses":["10.%d.%d.%d"],"nodeName":"node-%d","conditions":{"ready":true},"targetRef":{"kind":"Pod","namespace":"n-%d","name":"s-%d-%d"}}`, n/62500, n/250%250, 1+n%250, n%max(w.nodes, 1), i%50, i, k)
		}
		b.WriteString("]}")
	}
	b.WriteString("]}")
	return b.Bytes()
}

// TestHuge: 5,000 Services with 50,000 endpoints keep no more memory than a few
// times what was read.
func TestHuge(t *testing.T) {
	text := town{nodes: 500, services: 5000, endpoints: 50_000}.json()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var c discover.Cluster
	add(t, &c, "huge.json", text)
	r := derive(t, &c)
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d MB read: %d needs, %.1f MB kept, %.1f MB allocated in all", len(text)>>20, len(r.Needs), float64(kept)/(1<<20), float64(after.TotalAlloc-before.TotalAlloc)/(1<<20))
	if most := 8 * int64(len(text)); kept > most {
		t.Errorf("%d bytes kept after reading %d: want at most %d", kept, len(text), most)
	}
	if want := 2*5000 + 2; len(r.Needs) != want { // a NodePort and the way on each; kubelets, pods
		t.Errorf("%d needs: want %d", len(r.Needs), want)
	}
	for i := range r.Needs {
		if n := &r.Needs[i]; len(n.Because.Evidence) > 8 {
			t.Fatalf("%s > %s: %d pieces of evidence: want 8 at most", n.From, n.To, len(n.Because.Evidence))
		}
		if n := &r.Needs[i]; n.Protocol.HasPorts() && strings.HasPrefix(n.Ports.String(), "10250") && n.Because.More != 492 {
			t.Errorf("kubelet: %d more pieces of evidence: want 492", n.Because.More)
		}
	}
	runtime.KeepAlive(&c)
	runtime.KeepAlive(text)
}

func BenchmarkDerive(b *testing.B) {
	text := town{nodes: 5000, services: 10_000, endpoints: 50_000}.json()
	var c discover.Cluster
	add(b, &c, "town.json", text)
	b.ReportAllocs()
	for b.Loop() {
		c.Forget()
		derive(b, &c)
	}
}

// BenchmarkReadAndDerive is what ringfence needs -f does, from bytes to needs.
func BenchmarkReadAndDerive(b *testing.B) {
	text := town{nodes: 5000, services: 10_000, endpoints: 50_000}.json()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		var c discover.Cluster
		for f, err := range convert.Foreigners(convert.File{Name: "town.json", Data: text}) {
			if err != nil {
				b.Fatal(err)
			}
			c.Add(f)
		}
		derive(b, &c)
	}
}
