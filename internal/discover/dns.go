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
