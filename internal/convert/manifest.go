package convert

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/rules"
)

// manifests is what manifests say in names, until every document is read.
type manifests struct {
	// namespace is the one namespace of all objects, and where it was first
	// named; empty while no object names one.
	namespace      string
	namespacePlace Place
	// seen has the place of every object.
	seen       map[object]site
	references []reference
	// named has one copy of each object that is named.
	named map[object]*object
	pools []pool
	hosts []*host
	// poolSubnets name subnets of the VPC of a cluster that may not be read yet.
	poolSubnets []poolSubnet
	ranges      []clusterRange
	// elders are pod ranges of clusters that are not read otherwise.
	elders []clusterRange
	// strange has the clusters of node pools that are not read otherwise.
	strange map[string]string
}

// An object is what a reference names.
type object struct {
	kind, name string
	// within is the VPC of a subnet, and empty for all else.
	within string
}

// subnetKind is the kind of subnets in references. They are no objects of
// their own, hence the lower case.
const subnetKind = "subnet"

// String returns the words for messages, such as "SecurityGroup web".
func (o object) String() string {
	if o.within != "" {
		return o.kind + " " + o.name + " of VPC " + o.within
	}
	return o.kind + " " + o.name
}

// A reference is a place that names an object, which must be there.
type reference struct {
	// object is shared by all that name it.
	*object
	site site
}

// manifest reads one object, or a list of them.
func (b *builder) manifest(d *document) error {
	var head struct {
		APIVersion string           `json:"apiVersion"`
		Kind       string           `json:"kind"`
		Items      []jsontext.Value `json:"items"`
	}
	if err := d.decode(&head); err != nil {
		return err
	}
	ours := head.APIVersion == v1alpha1.APIVersion
	if ours && strings.HasSuffix(head.Kind, "List") && head.Kind != v1alpha1.KindPrefixList ||
		head.APIVersion == "v1" && head.Kind == "List" {
		return b.list(d, head.Items)
	}
	switch {
	case ours:
		return b.object(d, head.Kind)
	case strings.HasPrefix(head.APIVersion, v1alpha1.GroupName+"/"):
		return d.bad("/apiVersion", "unknown version %q: want %s", head.APIVersion, v1alpha1.APIVersion)
	}
	return d.bad("/kind", "kind %s of %s is not something that ringfence reads", head.Kind, head.APIVersion)
}

func (b *builder) list(d *document, items []jsontext.Value) error {
	if d.base.Path != "" {
		return d.bad("/kind", "a list within a list: write its items out")
	}
	var mistakes []error
	for i, v := range items {
		item := d.item(fmt.Sprintf("/items/%d", i), v)
		if !item.members["apiVersion"] || !item.members["kind"] {
			mistakes = append(mistakes, item.bad("", "an item without apiVersion or kind"))
		} else if err := b.manifest(&item); err != nil {
			mistakes = append(mistakes, err)
		}
		if len(mistakes) > maxMistakes {
			break
		}
	}
	return join(mistakes)
}

// object reads one object of our API.
func (b *builder) object(d *document, kind string) error {
	switch kind {
	case v1alpha1.KindVPC:
		return readManifest(b, d, (*reader).vpc)
	case v1alpha1.KindPrefixList:
		return readManifest(b, d, (*reader).prefixList)
	case v1alpha1.KindSecurityGroup:
		return readManifest(b, d, (*reader).securityGroup)
	case v1alpha1.KindCluster:
		return readManifest(b, d, (*reader).cluster)
	case v1alpha1.KindNodePool:
		return readManifest(b, d, (*reader).nodePool)
	case v1alpha1.KindHost:
		return readManifest(b, d, (*reader).host)
	case v1alpha1.KindRuleset, v1alpha1.KindRollout, v1alpha1.KindAddressSlice, v1alpha1.KindFlowReport, v1alpha1.KindClusterNeeds:
		return nil // computed from the others
	}
	return d.bad("/kind", "unknown kind %q: want VPC, PrefixList, SecurityGroup, Cluster, NodePool or Host", kind)
}

func readManifest[T any](b *builder, d *document, read func(*reader, *T)) error {
	var o T
	if err := d.decodeStrict(&o, manifestWords); err != nil {
		return err
	}
	r := reader{builder: b, document: d}
	read(&r, &o)
	return join(r.mistakes)
}

// manifestWords is made once: the library remembers what it found out by it.
var manifestWords = json.WithUnmarshalers(json.UnmarshalFromFunc(nameOrNumber)) //nolint:gochecknoglobals // a constant

// nameOrNumber reads a name or a number as a name: the type cannot tell the
// number 0 from nothing.
func nameOrNumber(dec *jsontext.Decoder, to *intstr.IntOrString) error {
	kind := dec.PeekKind()
	token, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if kind != '"' && kind != '0' {
		return errors.New("want a name or a number")
	}
	*to = intstr.FromString(token.String())
	return nil
}

// A reader turns one manifest into the engine's words, and collects every
// mistake in it.
type reader struct {
	builder  *builder
	document *document
	mistakes []error
}

func (r *reader) badf(pointer, format string, args ...any) {
	if len(r.mistakes) > maxMistakes {
		return // nobody will read it
	}
	r.mistakes = append(r.mistakes, r.document.bad(pointer, format, args...))
}

// item returns the pointer to an item of a list. The first few of each list
// have one text for all documents.
func (r *reader) item(list string, i int) string {
	if i >= sharedItems {
		return list + "/" + strconv.Itoa(i)
	}
	b := r.builder
	shared := b.items[list]
	if shared == nil {
		shared = new([sharedItems]string)
		if b.items == nil {
			b.items = map[string]*[sharedItems]string{}
		}
		b.items[list] = shared
	}
	if shared[i] == "" {
		shared[i] = list + "/" + strconv.Itoa(i)
	}
	return shared[i]
}

const sharedItems = 4

// name checks an object's identity: its name, its namespace, and that it is
// there once.
func (r *reader) name(kind string, meta *metav1.ObjectMeta) {
	if meta.Name == "" {
		r.badf("/metadata/name", "the %s has no name", kind)
		return
	}
	if len(validation.IsDNS1123Subdomain(meta.Name)) > 0 {
		r.badf("/metadata/name", "name %q: want at most 253 lower case letters, digits, - and ., with a letter or digit at both ends", meta.Name)
		return
	}
	m := &r.builder.manifests
	switch {
	case meta.Namespace == "" || meta.Namespace == m.namespace:
	case m.namespace == "":
		m.namespace, m.namespacePlace = meta.Namespace, r.document.at("/metadata/namespace")
	default:
		r.badf("/metadata/namespace", "namespace %s, but %s has %s: read the objects of one namespace at a time",
			meta.Namespace, m.namespacePlace, m.namespace)
	}
	key := object{kind: kind, name: meta.Name}
	if first, ok := m.seen[key]; ok {
		r.badf("/metadata/name", "%s stands here twice: it is also in %s", key, first.place())
		return
	}
	if m.seen == nil {
		m.seen = map[object]site{}
	}
	m.seen[key] = r.document.site("")
}

// refer notes that a place names an object, which must then be there.
func (r *reader) refer(o object, pointer string) {
	m := &r.builder.manifests
	named, ok := m.named[o]
	if !ok {
		if m.named == nil {
			m.named = map[object]*object{}
		}
		named = &o
		m.named[o] = named
	}
	m.references = append(m.references, reference{named, r.document.site(pointer)})
}

// referAll is refer for a list of names without duplicates.
func (r *reader) referAll(kind, within, pointer string, names []string) {
	again := repeats(names)
	for i, name := range names {
		at := r.item(pointer, i)
		switch {
		case name == "":
			r.badf(at, "an empty name")
		case again(i):
			r.badf(at, "%s is named twice", name)
		default:
			r.refer(object{kind, name, within}, at)
		}
	}
}

// cidr reads a CIDR; the zero CIDR if it is none.
func (r *reader) cidr(pointer, text string) rules.CIDR {
	if text == "" {
		r.badf(pointer, "no CIDR: want one like 10.0.0.0/8 or 2001:db8::/32")
		return rules.CIDR{}
	}
	c, err := rules.ParseCIDR(text)
	if err != nil {
		r.badf(pointer, "%w", err)
	}
	return c
}

// cidrs reads a list of CIDRs, without those that are none.
func (r *reader) cidrs(pointer string, texts []string) []rules.CIDR {
	var list []rules.CIDR
	for i, text := range texts {
		if c := r.cidr(r.item(pointer, i), text); c.Prefix.IsValid() {
			list = append(list, c)
		}
	}
	return list
}

// cidr6 reads an optional IPv6 CIDR into list.
func (r *reader) cidr6(list []rules.CIDR, pointer, text string) []rules.CIDR {
	if text == "" {
		return list
	}
	c := r.cidr(pointer, text)
	if !c.Prefix.IsValid() {
		return list
	}
	if c.Prefix.Addr().Is4() {
		r.badf(pointer, "%s is IPv4: want an IPv6 CIDR", text)
		return list
	}
	return append(list, c)
}

// ports reads an optional port range.
func (r *reader) ports(pointer, text string) rules.PortRange {
	if text == "" {
		return rules.PortRange{}
	}
	p, err := rules.ParsePortRange(text)
	if err != nil {
		r.badf(pointer, "%w", err)
	}
	return p
}

// port reads a port from least, which is 1, or 0 where that means a default.
func (r *reader) port(pointer string, n, least int32) uint16 {
	if n < 0 || n < least || n > 65535 {
		r.badf(pointer, "port %d: want %d to 65535", n, least)
		return 0
	}
	return uint16(n)
}

// oneOf checks a word against those that are allowed.
func oneOf[T ~string](r *reader, pointer string, word T, allowed ...T) {
	if slices.Contains(allowed, word) {
		return
	}
	var names []string
	for _, a := range allowed {
		if a != "" {
			names = append(names, string(a))
		}
	}
	last := len(names) - 1
	if word == "" {
		r.badf(pointer, "nothing said: want %s or %s", strings.Join(names[:last], ", "), names[last])
		return
	}
	r.badf(pointer, "unknown word %q: want %s or %s", word, strings.Join(names[:last], ", "), names[last])
}
