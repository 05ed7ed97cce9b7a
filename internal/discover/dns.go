package discover

import "ringfence.dev/ringfence/rules"

// isDNS reports whether the pods of a Service answer names.
func (s *service) isDNS() bool {
	return s.Namespace == "kube-system" && (s.Name == "kube-dns" || s.labels["k8s-app"] == "kube-dns")
}

// dns finds the pods that answer names.
func (d *derivation) dns(s *service) {
	if !s.isDNS() {
		return
	}
	for i := range s.ports {
		if s.ports[i].protocol == rules.UDP || s.ports[i].port == dnsPort {
			d.callPort(&call{from: Party{Kind: AllPods}, service: s.id(), class: Essential, why: "pods cannot look up names", because: s.at("/spec/ports/%d", i)}, s, i)
		}
	}
}

func (d *derivation) dnsMissing() {
	if d.cluster.dns == 0 {
		d.dontKnow(&Unknown{About: "the cluster's DNS", Why: d.orUnread("there is no Service kube-system/kube-dns among the objects", "Service"), Tell: "that Service with its EndpointSlices; or the kubelet's clusterDNS, where DNS is elsewhere"})
	}
}

const dnsPort = 53

// nodeLocalDNS finds whom a cache of names on each node asks. It listens where
// only its own host can reach it, so what pods ask it is on no wire.
func (d *derivation) nodeLocalDNS(p *podLike) {
	for _, f := range append(p.running("node-cache"), p.running("dns/k8s-dns-node-cache")...) {
		for _, port := range f.container.ports {
			if port.port == dnsPort {
				d.claimed[claim{port.protocol, port.port}] = true
			}
		}
		at := p.at("%s%s", p.root, f.container.field)
		to := name{p.Namespace, "kube-dns-upstream"}
		if text, ok := f.container.flag("upstreamsvc"); ok {
			to.name = text
		}
		from := Party{Hosts, "node-local DNS"}
		d.hostsOf(from, p)
		for _, protocol := range []rules.Protocol{rules.TCP, rules.UDP} {
			d.call(&call{from: from, service: to, protocol: protocol, port: dnsPort, class: Essential, why: "pods cannot look up names", because: at})
		}
	}
}
