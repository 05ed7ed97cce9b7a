package discover

import (
	"fmt"
	"net/netip"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// A service is what we read of a Service.
type service struct {
	object

	kind         string // ClusterIP, NodePort, LoadBalancer, ExternalName
	externalName string
	selector     map[string]string
	ports        []servicePort
	// local is true for externalTrafficPolicy Local.
	local        bool
	healthCheck  uint16
	noNodePorts  bool
	sourceRanges []netip.Prefix
	externalIPs  []netip.Addr
	// ingress are addresses whose traffic reaches the nodes as it is.
	ingress []netip.Addr
}

type servicePort struct {
	name     string
	protocol rules.Protocol
	port     uint16
	nodePort uint16
	target   target
}

func (r *reader) service() {
	var o struct {
		Spec struct {
			Type         string            `json:"type"`
			ExternalName string            `json:"externalName"`
			Selector     map[string]string `json:"selector"`
			Ports        []struct {
				Name       string `json:"name"`
				Protocol   string `json:"protocol"`
				Port       int64  `json:"port"`
				NodePort   int64  `json:"nodePort"`
				TargetPort target `json:"targetPort"`
			} `json:"ports"`
			ExternalTrafficPolicy         string   `json:"externalTrafficPolicy"`
			HealthCheckNodePort           int64    `json:"healthCheckNodePort"`
			AllocateLoadBalancerNodePorts *bool    `json:"allocateLoadBalancerNodePorts"`
			LoadBalancerSourceRanges      []string `json:"loadBalancerSourceRanges"`
			ExternalIPs                   []string `json:"externalIPs"`
		} `json:"spec"`
		Status struct {
			LoadBalancer struct {
				Ingress []struct {
					IP     string `json:"ip"`
					IPMode string `json:"ipMode"`
				} `json:"ingress"`
			} `json:"loadBalancer"`
		} `json:"status"`
	}
	if !r.decode(&o) {
		return
	}
	s := &service{
		object: r.object, kind: o.Spec.Type, externalName: o.Spec.ExternalName, selector: o.Spec.Selector,
		local: o.Spec.ExternalTrafficPolicy == "Local", healthCheck: r.port("/spec/healthCheckNodePort", o.Spec.HealthCheckNodePort),
		noNodePorts: o.Spec.AllocateLoadBalancerNodePorts != nil && !*o.Spec.AllocateLoadBalancerNodePorts,
	}
	for i := range o.Spec.Ports {
		p, at := &o.Spec.Ports[i], fmt.Sprintf("/spec/ports/%d", i)
		if p.Port == 0 {
			r.wrongf(at+"/port", "want a port from 1 to 65535")
		}
		r.port(at+"/targetPort", p.TargetPort.number)
		s.ports = append(s.ports, servicePort{p.Name, r.protocol(at+"/protocol", p.Protocol), r.port(at+"/port", p.Port), r.port(at+"/nodePort", p.NodePort), p.TargetPort})
	}
	for i, text := range o.Spec.LoadBalancerSourceRanges {
		s.sourceRanges = append(s.sourceRanges, r.prefix(fmt.Sprintf("/spec/loadBalancerSourceRanges/%d", i), text))
	}
	for i, text := range o.Spec.ExternalIPs {
		s.externalIPs = append(s.externalIPs, r.addr(fmt.Sprintf("/spec/externalIPs/%d", i), text))
	}
	for i, in := range o.Status.LoadBalancer.Ingress {
		if in.IP != "" && in.IPMode != "Proxy" {
			s.ingress = append(s.ingress, r.addr(fmt.Sprintf("/status/loadBalancer/ingress/%d/ip", i), in.IP))
		}
	}
	if !r.bad {
		r.keep(s)
	}
}

// A slice is an EndpointSlice, or a subset of an Endpoints object.
type slice struct {
	object

	of        name // the Service
	ports     []slicePort
	endpoints []endpoint
	// names is true if the addresses are names of hosts.
	names bool
	// rest is the next subset of an Endpoints object.
	rest *slice
}

type slicePort struct {
	name     string
	protocol rules.Protocol
	port     uint16 // 0: every port
}

type endpoint struct {
	address netip.Addr
	node    string
	pod     string // empty if the endpoint is no pod
}

// serviceLabel says whose an EndpointSlice is.
const serviceLabel = "kubernetes.io/service-name"

type rawSlicePort struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	Port     int64  `json:"port"`
}

type rawTargetRef struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

func (t *rawTargetRef) pod() string {
	if t.Kind != "Pod" {
		return ""
	}
	return t.Name
}

func (r *reader) slice() {
	var o struct {
		AddressType string         `json:"addressType"`
		Ports       []rawSlicePort `json:"ports"`
		Endpoints   []struct {
			Addresses []string     `json:"addresses"`
			NodeName  string       `json:"nodeName"`
			TargetRef rawTargetRef `json:"targetRef"`
		} `json:"endpoints"`
	}
	if r.labels[serviceLabel] == "" || !r.decode(&o) {
		return
	}
	s := &slice{object: r.object, of: name{r.Namespace, r.labels[serviceLabel]}, names: o.AddressType == "FQDN", ports: r.slicePorts("/ports", o.Ports)}
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		if len(e.Addresses) == 0 || s.names {
			continue
		}
		// All addresses of an endpoint are one backend, and only the first is used.
		a := r.addr(fmt.Sprintf("/endpoints/%d/addresses/0", i), e.Addresses[0])
		s.endpoints = append(s.endpoints, endpoint{a, e.NodeName, e.TargetRef.pod()})
	}
	if !r.bad {
		r.keep(s)
	}
}

func (r *reader) slicePorts(at string, list []rawSlicePort) []slicePort {
	out := make([]slicePort, 0, len(list))
	for i, p := range list {
		at := fmt.Sprintf("%s/%d", at, i)
		out = append(out, slicePort{p.Name, r.protocol(at+"/protocol", p.Protocol), r.port(at+"/port", p.Port)})
	}
	return out
}

func (r *reader) endpoints() {
	type address struct {
		IP        string       `json:"ip"`
		NodeName  string       `json:"nodeName"`
		TargetRef rawTargetRef `json:"targetRef"`
	}
	var o struct {
		Subsets []struct {
			Addresses         []address      `json:"addresses"`
			NotReadyAddresses []address      `json:"notReadyAddresses"`
			Ports             []rawSlicePort `json:"ports"`
		} `json:"subsets"`
	}
	if !r.decode(&o) {
		return
	}
	var first *slice
	for i := range o.Subsets {
		set, at := &o.Subsets[i], fmt.Sprintf("/subsets/%d", i)
		s := &slice{object: r.object, of: r.id(), ports: r.slicePorts(at+"/ports", set.Ports), rest: first}
		for k, a := range append(set.Addresses, set.NotReadyAddresses...) {
			field := fmt.Sprintf("%s/addresses/%d/ip", at, k)
			s.endpoints = append(s.endpoints, endpoint{r.addr(field, a.IP), a.NodeName, a.TargetRef.pod()})
		}
		first = s
	}
	if !r.bad && first != nil {
		r.keep(first)
	}
}

// slicesOf returns what lists the endpoints of a Service.
func (d *derivation) slicesOf(of name) []*slice {
	d.asks(someSlices, of.namespace, of.name)
	if list := d.cluster.slices[of]; len(list) > 0 {
		return list
	}
	var list []*slice
	for s := d.cluster.endpoints[of]; s != nil; s = s.rest {
		list = append(list, s)
	}
	return list
}

// words are the names of a Service's port in messages.
func (p *servicePort) words() string {
	return strings.ToLower(p.protocol.String()) + "/" + fmt.Sprint(p.port)
}
