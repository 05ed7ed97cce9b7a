package discover

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/rules"
)

// A configMap is what we read of a ConfigMap: those that others ask for by name.
type configMap struct {
	object

	data map[string]string
}

func (r *reader) configMap() {
	var o struct {
		Data map[string]string `json:"data"`
	}
	if !r.decode(&o) {
		return
	}
	maps.DeleteFunc(o.Data, func(_, v string) bool { return len(v) > maxSetting })
	r.keep(&configMap{r.object, o.Data})
}

// configMap returns a ConfigMap by its name; nil if there is none.
func (d *derivation) configMap(namespace, of string) *configMap {
	d.asks(anObject, "ConfigMap", namespace, of)
	return d.cluster.configMaps[name{namespace, of}]
}

// configOf returns the ConfigMap with a key that a pod mounts; or else the first
// one beside it. It is nil if there is none.
func (d *derivation) configOf(p *podLike, key string) *configMap {
	for _, of := range p.configMaps {
		if m := d.configMap(p.Namespace, of); m != nil && m.data[key] != "" {
			return m
		}
	}
	d.asks(allOfKind, "ConfigMap")
	var first *configMap
	for _, m := range d.cluster.configMaps {
		if m.data[key] != "" && m.Namespace == p.Namespace && (first == nil || m.Name < first.Name) {
			first = m
		}
	}
	return first
}

// maxSetting is the longest text of a ConfigMap that is kept, in bytes: what is
// read here is a tenth of it, and others keep whole programs in theirs.
const maxSetting = 32 << 10

// kubernetesService is the Service of the API server itself.
func kubernetesService() name { return name{"default", "kubernetes"} }

// derive adds where a node is, and what it is asked for.
func (n *node) derive(d *derivation) {
	nodes := Party{Kind: Nodes}
	d.located(nodes, n.internal...)
	d.ranged(Party{Kind: AllPods}, n.podCIDRs...)
	if n.controlPlane {
		d.located(Party{Kind: ControlPlane}, n.internal...)
	}
	at := n.at("/status/daemonEndpoints/kubeletEndpoint/Port")
	if n.kubelet == 0 {
		d.dontKnow(&Unknown{About: "the kubelet's port of some nodes", Why: "their status names none", Tell: "a kubelet that has joined writes status.daemonEndpoints"}, at)
		return
	}
	to := d.kubelets(n.kubelet)
	if to != nodes {
		d.located(to, n.internal...)
	}
	d.need(&Need{From: Party{Kind: APIServer}, To: to, Protocol: rules.TCP, Ports: one(n.kubelet), Class: Essential, Wire: Host, Why: "logs, exec, port-forward and metrics of pods fail"}, at)
}

// deriveMissing tells of what is not there, or not read, as a whole.
func (d *derivation) deriveMissing() {
	if len(d.cluster.nodes) == 0 {
		d.dontKnow(&Unknown{About: "the nodes", Why: d.orUnread("there is no Node among the objects", "Node"), Tell: "kubectl get nodes -o yaml: addresses, kubelet port, roles, pod CIDRs"})
	}
	d.dnsMissing()
	d.allUnread()
	d.part.findings = slices.Collect(maps.Keys(d.cluster.nameless))
}

// toAPIServer adds the need of all nodes for the API server.
func (d *derivation) toAPIServer(to Party, port uint16, because Evidence) {
	d.need(&Need{From: Party{Kind: Nodes}, To: to, Protocol: rules.TCP, Ports: one(port), Class: Essential, Wire: Host, Why: "nodes turn NotReady, and nothing is scheduled, started or watched"}, because)
}

// deriveAPIServer finds where the API server listens.
func (d *derivation) deriveAPIServer() {
	party := Party{Kind: APIServer}
	known := false
	for _, s := range d.slicesOf(kubernetesService()) {
		for _, e := range s.endpoints {
			d.located(party, e.address)
		}
		for k := range s.ports {
			if p := &s.ports[k]; p.port > 0 && len(s.endpoints) > 0 {
				known = true
				d.toAPIServer(party, p.port, s.at("/ports/%d", k))
			}
		}
	}
	known = d.kubeadm() || known
	for _, f := range d.running("kube-apiserver") {
		known = known || f.pod.isPod
		d.hostsOf(party, f.pod)
	}
	if !known {
		d.dontKnow(&Unknown{
			About: "where the API server listens", Why: d.orUnread("none of the objects tells", "EndpointSlice", "Endpoints"),
			Tell: "the EndpointSlice of Service default/kubernetes, ConfigMap kube-system/kubeadm-config, or the pods of kube-apiserver",
		})
	}
}

// findAPIServer reports whether the API server is known to be on nodes.
func (d *derivation) findAPIServer() bool {
	found := false
	for i := range d.apiServerPart.places {
		l := &d.apiServerPart.places[i]
		if l.Party.Kind != APIServer {
			continue
		}
		for _, p := range l.Prefixes {
			if d.cluster.hosts[p.Addr()] == 0 {
				return false
			}
			found = true
		}
	}
	return found || d.cluster.controlPlane > 0 && d.cluster.unreadKind("EndpointSlice", "Endpoints") == ""
}

// kubeadm reads what kubeadm keeps of its configuration; false without any.
func (d *derivation) kubeadm() bool {
	m := d.configMap("kube-system", "kubeadm-config")
	if m == nil {
		return false
	}
	var config struct {
		ControlPlaneEndpoint string `yaml:"controlPlaneEndpoint"`
		Networking           struct {
			PodSubnet string `yaml:"podSubnet"`
		} `yaml:"networking"`
	}
	field := "/data/ClusterConfiguration"
	if err := yaml.Unmarshal([]byte(m.data["ClusterConfiguration"]), &config); err != nil {
		d.senselessf(&m.object, field, "bad YAML: %v", err)
		return false
	}
	for _, text := range splitList(config.Networking.PodSubnet) {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			d.senselessf(&m.object, field, "networking.podSubnet: %q: want CIDRs", text)
			continue
		}
		d.ranged(Party{Kind: AllPods}, p.Masked())
	}
	if config.ControlPlaneEndpoint == "" {
		return false
	}
	host, port, err := endpointOf(config.ControlPlaneEndpoint)
	if err != nil {
		d.senselessf(&m.object, field, "controlPlaneEndpoint: %v", err)
		return false
	}
	d.toAPIServer(d.outside(host), port, m.at("%s", field))
	return true
}

// defaultAPIPort is where kubeadm's API server listens unless told otherwise.
const defaultAPIPort = 6443

func endpointOf(text string) (host string, port uint16, err error) {
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		return text, defaultAPIPort, nil //nolint:nilerr // a host alone
	}
	n, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q: want HOST or HOST:PORT", text)
	}
	return host, uint16(n), nil
}

// senselessf is a finding in what stands inside a field: the object is unread.
func (d *derivation) senselessf(o *object, field, format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	d.part.findings = append(d.part.findings, Finding{o.Ref, within(o.place, field), why})
	d.dontKnow(&Unknown{About: o.String(), Why: "it was read, but makes no sense", Tell: "the finding about it says which field to mend"}, o.at("%s", field))
}

// within is the place of a field of an object that was read at a place.
func within(place, field string) string {
	if place == "" {
		return field
	}
	return place + ": " + field
}
