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
	pods       map[name]*podLike
	workloads  map[Ref]*podLike
	nodes      map[string]*node
	configMaps map[name]*configMap
	pools      map[Ref]*ipPool
	felix      *felixConfiguration
	bgp        *bgpConfiguration
	peers      map[Ref]*bgpPeer

	kinds   map[groupKind]*kind
	entries map[Ref]*entry
	// What stands in the objects, to be found in no time.
	byLabel   map[labelKey][]*podLike
	byProgram map[string][]*podLike
	// hosts counts the nodes with an address, kubeletPorts those with a port.
	hosts        map[netip.Addr]int
	kubeletPorts map[uint16]int
	// controlPlane counts the addresses of nodes with that role, dns the
	// Services that answer names.
	controlPlane, dns int

	// derived is what is remembered; nil before the first Derive.
	derived *derivation
	moved   moved
	// said counts what Unread and Read said.
	said int
	// nameless are findings in what has no identity.
	nameless map[Finding]bool
	unread   map[Resource]string // why
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

// A reader reads one object.
type reader struct {
	object

	doc *convert.Foreign
	// bad is set once something in the object makes no sense.
	bad bool
	// items and findings are what the object comes to.
	items    []item
	findings []Finding
}

// keep adds what was read of the object.
func (r *reader) keep(i item) { r.items = append(r.items, i) }

// head reads the metadata; false if there is no telling which object it is.
func (r *reader) head(k *kind) bool {
	var id struct {
		Metadata struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
	}
	r.Kind = r.doc.Kind
	r.place = r.doc.At("").String()
	if !r.decode(&id) {
		return false
	}
	if id.Metadata.Name == "" {
		r.findingf("/metadata/name", "the object has no name: it is left out")
		return false
	}
	r.Name, r.Namespace = id.Metadata.Name, id.Metadata.Namespace
	if r.Namespace == "" && k.Namespaced {
		r.Namespace = "default" // as kubectl apply has it
	}
	return true
}

// meta reads the metadata that is no part of the identity.
func (r *reader) meta() bool {
	var o struct {
		Metadata struct {
			Labels          map[string]string `json:"labels"`
			OwnerReferences []struct {
				Kind       string `json:"kind"`
				Name       string `json:"name"`
				Controller bool   `json:"controller"`
			} `json:"ownerReferences"`
		} `json:"metadata"`
	}
	if !r.decode(&o) {
		return false
	}
	r.labels = o.Metadata.Labels
	for _, o := range o.Metadata.OwnerReferences {
		if o.Controller {
			r.owner = owner{o.Kind, o.Name}
		}
	}
	return true
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
	r.findings = append(r.findings, Finding{r.Ref, place, why})
	return false
}

// wrongf is a finding that makes the object count as unread.
func (r *reader) wrongf(pointer, format string, args ...any) {
	r.bad = true
	r.findingf(pointer, format, args...)
}

func (r *reader) findingf(pointer, format string, args ...any) {
	place := r.doc.At(pointer)
	r.findings = append(r.findings, Finding{r.Ref, place.String(), fmt.Sprintf(format, args...)})
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
