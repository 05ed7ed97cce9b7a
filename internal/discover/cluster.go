package discover

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/go-json-experiment/json"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/rules"
)

// A Cluster is what was read of the objects of a cluster. The zero value has
// none. It is not safe for concurrent use.
type Cluster struct {
	services   map[name]*service
	slices     map[name][]*slice // by Service
	endpoints  map[name]*slice   // the older form
	pods       []*podLike
	workloads  []*podLike
	nodes      []*node
	hooks      []*hook
	configMaps map[name]*configMap
	pools      []*ipPool
	felix      *felixConfiguration
	bgp        *bgpConfiguration
	peers      []*bgpPeer

	seen     map[Ref]string // place
	broken   map[Ref]bool
	findings []Finding
}

// A name is that of an object within its kind.
type name struct{ namespace, name string }

func (n name) String() string {
	if n.namespace == "" {
		return n.name
	}
	return n.namespace + "/" + n.name
}

// An object is what every kind has.
type object struct {
	Ref

	place  string
	labels map[string]string
	owner  owner
}

func (o *object) id() name { return name{o.Namespace, o.Name} }

// at is evidence for a field of the object.
func (o *object) at(format string, args ...any) Evidence {
	return Evidence{Object: o.Ref, Field: fmt.Sprintf(format, args...), Place: o.place}
}

// An owner is the object that controls another one.
type owner struct{ kind, name string }

// Add reads one object. Kinds that say nothing about needs are passed over. An
// object with a field that makes no sense is a finding, and unknown otherwise.
// Of two objects with one identity the first counts.
func (c *Cluster) Add(f *convert.Foreign) {
	read := readers(f)
	if read == nil {
		return
	}
	r := reader{cluster: c, doc: f}
	if !r.head() {
		return
	}
	if first, ok := c.seen[r.Ref]; ok {
		r.findingf("", "the object stands twice, first at %s: this one is left out", first)
		return
	}
	put(&c.seen, r.Ref, r.place)
	if read(&r); r.bad {
		put(&c.broken, r.Ref, true)
	}
}

func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}

// readers returns what reads objects of a kind, nil if nothing does.
func readers(f *convert.Foreign) func(*reader) {
	group, _, _ := strings.Cut(f.APIVersion, "/")
	if !strings.Contains(f.APIVersion, "/") {
		group = ""
	}
	switch group + "/" + f.Kind {
	case "/Service":
		return (*reader).service
	case "/Endpoints":
		return (*reader).endpoints
	case "discovery.k8s.io/EndpointSlice":
		return (*reader).slice
	case "/Pod":
		return (*reader).pod
	case "apps/Deployment", "apps/DaemonSet", "apps/StatefulSet", "apps/ReplicaSet", "/ReplicationController":
		return (*reader).workload
	case "/Node":
		return (*reader).node
	case "/ConfigMap":
		return (*reader).configMap
	case "admissionregistration.k8s.io/ValidatingWebhookConfiguration", "admissionregistration.k8s.io/MutatingWebhookConfiguration":
		return (*reader).webhooks
	case "apiextensions.k8s.io/CustomResourceDefinition":
		return (*reader).conversion
	case "apiregistration.k8s.io/APIService":
		return (*reader).apiService
	}
	return calicoReaders(group, f.Kind)
}

// A reader reads one object into the cluster.
type reader struct {
	object

	cluster *Cluster
	doc     *convert.Foreign
	// bad is set once something in the object makes no sense.
	bad bool
}

// head reads the metadata; false if there is no telling which object it is.
func (r *reader) head() bool {
	var o struct {
		Metadata struct {
			Name            string            `json:"name"`
			Namespace       string            `json:"namespace"`
			Labels          map[string]string `json:"labels"`
			OwnerReferences []struct {
				Kind       string `json:"kind"`
				Name       string `json:"name"`
				Controller bool   `json:"controller"`
			} `json:"ownerReferences"`
		} `json:"metadata"`
	}
	r.Kind = r.doc.Kind
	r.place = r.doc.At("").String()
	if !r.decode(&o) {
		return false
	}
	m := &o.Metadata
	if m.Name == "" {
		r.findingf("/metadata/name", "the object has no name: it is left out")
		return false
	}
	r.Name, r.Namespace, r.labels = m.Name, m.Namespace, m.Labels
	if r.Namespace == "" && namespaced(r.doc.Kind) {
		r.Namespace = "default" // as kubectl apply has it
	}
	for _, o := range m.OwnerReferences {
		if o.Controller {
			r.owner = owner{o.Kind, o.Name}
		}
	}
	return true
}

func namespaced(kind string) bool {
	switch kind {
	case "Service", "Endpoints", "EndpointSlice", "Pod", "Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "ReplicationController", "ConfigMap":
		return true
	}
	return false
}

func (r *reader) decode(out any) bool {
	err := r.doc.Decode(out)
	if err == nil {
		return true
	}
	place, why := r.place, err.Error()
	for _, m := range convert.Mistakes(err) {
		place, why = m.Place.String(), m.Err.Error()
	}
	r.bad = true
	r.cluster.findings = append(r.cluster.findings, Finding{r.Ref, place, why})
	return false
}

// wrongf is a finding that makes the object count as unread.
func (r *reader) wrongf(pointer, format string, args ...any) {
	r.bad = true
	r.findingf(pointer, format, args...)
}

func (r *reader) findingf(pointer, format string, args ...any) {
	place := r.doc.At(pointer)
	r.cluster.findings = append(r.cluster.findings, Finding{r.Ref, place.String(), fmt.Sprintf(format, args...)})
}

// port reads a port that may be absent: 0 then.
func (r *reader) port(pointer string, n int64) uint16 {
	if n < 0 || n > 65535 {
		r.wrongf(pointer, "port %d: want 1 to 65535", n)
		return 0
	}
	return uint16(n)
}

// protocol reads one of the protocols that Kubernetes knows; absent is TCP.
func (r *reader) protocol(pointer, s string) rules.Protocol {
	switch cmp.Or(s, "TCP") {
	case "TCP":
		return rules.TCP
	case "UDP":
		return rules.UDP
	case "SCTP":
		return rules.SCTP
	}
	r.wrongf(pointer, "protocol %q: want TCP, UDP or SCTP", s)
	return rules.TCP
}

func (r *reader) addr(pointer, s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		r.wrongf(pointer, "%q: want an IP address", s)
		return netip.Addr{}
	}
	return a.Unmap()
}

func (r *reader) prefix(pointer, s string) netip.Prefix {
	p, err := netip.ParsePrefix(strings.TrimSpace(s)) // the API trims too
	if err != nil {
		r.wrongf(pointer, "%q: want a CIDR", s)
	}
	return p.Masked()
}

// A target is a port by number or by the name that pods have for it. The zero
// value is neither.
type target struct {
	number int64
	name   string
}

// UnmarshalJSON reads a number or a text.
func (t *target) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &t.name)
	}
	return json.Unmarshal(b, &t.number)
}
