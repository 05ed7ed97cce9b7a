package discover

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"ringfence.dev/ringfence/rules"
)

// A call is a party that reaches the pods of a Service by one of its ports.
type call struct {
	from    Party
	service name
	// protocol of the Service's port; zero is TCP.
	protocol rules.Protocol
	port     uint16
	class    Class
	why      string
	// logs is that of the Need.
	logs    string
	because Evidence
}

// call adds the needs of a call, or what is not known of it.
func (d *derivation) call(c *call) {
	ref := Ref{"Service", c.service.namespace, c.service.name}
	d.asksFor(ref)
	s := d.cluster.services[c.service]
	if s == nil {
		why := d.orUnread("there is no such Service among the objects", "Service")
		if e := d.cluster.entries[ref]; e != nil && e.broken {
			why = "it was read, but makes no sense"
		}
		d.dontKnow(&Unknown{About: "the ports of " + ref.String(), Why: why, Tell: "the Service, and its EndpointSlices or pods"}, c.because)
		return
	}
	protocol := cmp.Or(c.protocol, rules.TCP)
	i := slices.IndexFunc(s.ports, func(p servicePort) bool { return p.port == c.port && p.protocol == protocol })
	if i < 0 {
		d.dontKnow(&Unknown{About: fmt.Sprintf("port %d of %s", c.port, ref), Why: "the Service has no such " + protocol.String() + " port: the call fails", Tell: "a port of the Service with this number"}, c.because, s.at("/spec/ports"))
		return
	}
	d.callPort(c, s, i)
}

// callPort is call for one port of a Service that is there.
func (d *derivation) callPort(c *call, s *service, i int) {
	p := &s.ports[i]
	if s.kind == "ExternalName" {
		d.need(&Need{From: c.from, To: d.outside(s.externalName), Protocol: p.protocol, Ports: one(p.port), Class: c.class, Wire: Host, Why: c.why, Logs: c.logs}, c.because, s.at("/spec/externalName"))
		return
	}
	d.missedTargets(s, c.because)
	targets := d.targets(s, i)
	for _, t := range targets {
		d.callTarget(c, s, p, &t)
	}
	if len(targets) == 0 {
		about := fmt.Sprintf("who answers on port %d of %s", p.port, s.Ref)
		tell := "its EndpointSlices, its pods, or the Deployment, DaemonSet or StatefulSet that makes them"
		if len(s.selector) == 0 {
			tell = "its EndpointSlices: the Service has no selector"
		}
		d.dontKnow(&Unknown{About: about, Why: d.orUnread("no endpoint of it is among the objects, and nothing that would make one", append(podKinds(), "EndpointSlice", "Endpoints")...), Tell: tell}, c.because, s.at("/spec/ports/%d", i))
	}
}

func (d *derivation) callTarget(c *call, s *service, p *servicePort, t *backend) {
	n := Need{From: c.from, Protocol: p.protocol, Ports: t.ports(), Class: c.class, Why: c.why, Logs: c.logs}
	n.To = Party{Pods, s.String()}
	if t.host {
		n.To = Party{Hosts, s.String()}
	}
	d.located(n.To, t.addresses...)
	because := []Evidence{c.because, s.at("/spec/ports"), t.evidence}
	switch {
	case t.host:
		d.hostNeed(&n, because...)
	case t.unsure:
		d.dontKnow(&Unknown{About: "whether who answers for " + s.String() + " is a pod or a host", Why: d.orUnread("", "Node"), Tell: "reading the nodes, or the pods"}, because...)
		d.need(&n, because...)
	default:
		d.podNeed(&n, because...)
	}
}

// A backend is where a port of a Service leads.
type backend struct {
	port uint16 // 0: every port
	// host is set for addresses of hosts, unsure where it is not known whose they are.
	host, unsure bool
	addresses    []netip.Addr
	evidence     Evidence
}

func (b *backend) ports() rules.PortRange {
	if b.port == 0 {
		return rules.PortRange{First: 1, Last: 65535}
	}
	return one(b.port)
}

// targets returns the backends of a Service's port: those that its slices name,
// and those that its pods and their templates have. A rollout needs both.
func (d *derivation) targets(s *service, i int) []backend {
	p := &s.ports[i]
	var out []backend
	for _, sl := range d.slicesOf(s.id()) {
		for k := range sl.ports {
			if sl.ports[k].name == p.name && sl.ports[k].protocol == p.protocol {
				out = append(out, d.endpoints(sl, k)...)
			}
		}
	}
	if len(s.selector) == 0 {
		return out
	}
	for _, pod := range d.matching(s.Namespace, s.selector) {
		b := backend{port: p.port, host: pod.hostNetwork, addresses: pod.addresses, evidence: s.at("/spec/ports/%d", i)}
		if len(pod.containers) > 0 && !pod.isPod {
			b.evidence = pod.at("%s", pod.root)
		}
		ok := true
		switch t := p.target; {
		case t.number > 0:
			b.port = uint16(t.number) //nolint:gosec // looked at when it was read
		case t.name != "":
			b.port, b.evidence, ok = pod.find(t.name, p.protocol)
		}
		if ok {
			out = append(out, b)
		}
	}
	return out
}

// endpoints returns the backends that a port of a slice has: one on hosts, one
// on pods, one of which it is not known where it is.
func (d *derivation) endpoints(s *slice, port int) []backend {
	hosts, pods, unsure := backend{host: true}, backend{}, backend{unsure: true}
	for i := range s.endpoints {
		e := &s.endpoints[i]
		to := &pods
		pod := d.cluster.pods[name{s.Namespace, e.pod}]
		switch {
		case d.cluster.hosts[e.address] > 0 || e.pod != "" && pod != nil && pod.hostNetwork:
			to = &hosts
		case d.nodesUnread && (e.pod == "" || pod == nil):
			to = &unsure
		}
		to.addresses = append(to.addresses, e.address)
	}
	var out []backend
	for _, b := range []backend{hosts, pods, unsure} {
		if len(b.addresses) > 0 {
			b.port, b.evidence = s.ports[port].port, s.at("/ports/%d", port)
			out = append(out, b)
		}
	}
	return out
}

// podNeed adds a need with a pod's address at one end at least: it is on the
// wire as the network has it.
func (d *derivation) podNeed(n *Need, because ...Evidence) {
	n.Wire, n.In = d.network.wire, d.network.in
	if n.Wire == Overlay && n.From.Kind == APIServer && !d.apiServerIsNode {
		n.Wire, n.In = WireUnknown, ""
		d.dontKnow(&Unknown{
			About: "how the API server reaches pods", Why: "pods are in an overlay, and the API server is on no node of it as far as is known",
			Tell: "Nodes with the role control-plane and the EndpointSlice of Service default/kubernetes, or a konnectivity agent",
		})
	}
	d.need(n, because...)
}

// hostNeed adds a need for something on hosts. Pods reach hosts outside of any
// overlay: with the address of their own node, or with their own.
func (d *derivation) hostNeed(n *Need, because ...Evidence) {
	d.senderNeed(n, d.network.toHosts, because...)
}

// outsideNeed adds a need for something that is none of the cluster's pods.
func (d *derivation) outsideNeed(n *Need, because ...Evidence) {
	d.senderNeed(n, d.network.toOutside, because...)
}

func (d *derivation) senderNeed(n *Need, toHosts sender, because ...Evidence) {
	n.Wire = Host
	if n.From.Kind != AllPods && n.From.Kind != Pods {
		d.need(n, because...)
		return
	}
	switch toHosts {
	case asNode:
		n.From = Party{Kind: Nodes}
	case asPod:
		n.Wire = RoutedPod
	case asEither:
		masked := *n
		masked.From = Party{Kind: Nodes}
		d.need(&masked, because...)
		n.Wire = RoutedPod
	case senderUnknown:
		n.Wire = WireUnknown
		d.dontKnow(&Unknown{
			About: "with which address pods reach hosts, and what is outside", Why: "what masquerades packets of pods is not read",
			Tell: "the configuration of the network of pods",
		}, because...)
	}
	d.need(n, because...)
}

type labelKey struct{ namespace, key, value string }

// matching returns the pods and templates that a selector matches.
func (d *derivation) matching(namespace string, selector map[string]string) []*podLike {
	var best []*podLike
	var rarest labelKey
	for k, v := range selector {
		key := labelKey{namespace, k, v}
		if list := d.cluster.byLabel[key]; rarest.namespace == "" || len(list) < len(best) || len(list) == len(best) && k < rarest.key {
			best, rarest = list, key
		}
	}
	// Whatever comes to match has this label too.
	d.asks(aSelector, rarest.namespace, rarest.key, rarest.value)
	var out []*podLike
	for _, p := range best {
		ok := true
		for k, v := range selector {
			ok = ok && p.labels[k] == v
		}
		if ok {
			out = append(out, p)
		}
	}
	return out
}
