package discover

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"ringfence.dev/ringfence/rules"
)

// A monitor is what we read of a ServiceMonitor or PodMonitor of the Prometheus
// operator: what is scraped.
type monitor struct {
	object

	selector metav1.LabelSelector
	// namespaces are where it looks; all of them if everywhere is set.
	namespaces []string
	everywhere bool
	ports      []monitorPort
}

type monitorPort struct {
	field string
	// name is that of a Service's port, or of a pod's for a PodMonitor.
	name string
	// target is a pod's port. Either this or name is set.
	target target
}

type rawMonitorPort struct {
	Port       string `json:"port"`
	PortNumber int64  `json:"portNumber"`
	TargetPort target `json:"targetPort"`
}

func (r *reader) monitor() {
	var o struct {
		Spec struct {
			Selector          metav1.LabelSelector `json:"selector"`
			NamespaceSelector struct {
				Any        bool     `json:"any"`
				MatchNames []string `json:"matchNames"`
			} `json:"namespaceSelector"`
			Endpoints           []rawMonitorPort `json:"endpoints"`
			PodMetricsEndpoints []rawMonitorPort `json:"podMetricsEndpoints"`
		} `json:"spec"`
	}
	if !r.decode(&o) {
		return
	}
	m := &monitor{object: r.object, selector: o.Spec.Selector, namespaces: o.Spec.NamespaceSelector.MatchNames, everywhere: o.Spec.NamespaceSelector.Any}
	if len(m.namespaces) == 0 {
		m.namespaces = []string{r.Namespace}
	}
	if _, err := metav1.LabelSelectorAsSelector(&m.selector); err != nil {
		r.wrongf("/spec/selector", "%v", err)
	}
	at := "/spec/endpoints"
	if r.Kind == "PodMonitor" {
		at = "/spec/podMetricsEndpoints"
	}
	for i, p := range append(o.Spec.Endpoints, o.Spec.PodMetricsEndpoints...) {
		port := monitorPort{field: fmt.Sprintf("%s/%d", at, i), name: p.Port, target: p.TargetPort}
		port.target.number = cmp.Or(port.target.number, p.PortNumber)
		r.port(port.field, port.target.number)
		m.ports = append(m.ports, port)
	}
	if !r.bad {
		r.keep(m)
	}
}

// derive adds what every Prometheus reaches of what the monitor names. Which one
// of several does is decided by them, and not looked at.
func (m *monitor) derive(d *derivation) {
	selector, err := metav1.LabelSelectorAsSelector(&m.selector)
	if err != nil {
		return // said when it was read
	}
	scrapers := d.scrapers()
	if len(scrapers) == 0 {
		d.dontKnow(&Unknown{About: "who asks for the metrics that monitors name", Why: d.orUnread("there is no Prometheus among the objects", podKinds()...), Tell: "its StatefulSet or its pods"}, m.at("/spec"))
		return
	}
	for _, from := range scrapers {
		if m.Kind == "PodMonitor" {
			m.scrapePods(d, from, selector)
		} else {
			m.scrapeServices(d, from, selector)
		}
	}
}

// scrapers are those that scrape, each workload once.
func (d *derivation) scrapers() []Party {
	var out []Party
	for _, f := range d.running("prometheus", "prometheus/prometheus", "vmagent", "victoriametrics/vmagent") {
		party := d.podsOf(f.pod)
		if f.pod.hostNetwork {
			party = Party{Hosts, d.workloadOf(f.pod)}
			d.hostsOf(party, f.pod)
		}
		out = append(out, party)
	}
	slices.SortFunc(out, Party.compare)
	return slices.Compact(out)
}

// label returns one that all that is selected have; empty if there is none.
func (m *monitor) label() (k, v string) {
	for key, value := range m.selector.MatchLabels {
		if k == "" || key < k {
			k, v = key, value
		}
	}
	return k, v
}

func (m *monitor) looksIn(namespace string) bool {
	return m.everywhere || slices.Contains(m.namespaces, namespace)
}

func (m *monitor) scrapeServices(d *derivation, from Party, selector labels.Selector) {
	if k, v := m.label(); k != "" {
		d.asks(aServiceLabel, k, v)
	} else {
		d.asks(allOfKind, "Service")
	}
	for _, s := range d.cluster.services {
		if !m.looksIn(s.Namespace) || !selector.Matches(labels.Set(s.labels)) {
			continue
		}
		for i := range m.ports {
			p := &m.ports[i]
			if k := slices.IndexFunc(s.ports, p.is); k >= 0 {
				d.callPort(&call{from: from, service: s.id(), class: Optional, why: "Service " + s.id().String() + " is not monitored", because: m.at("%s", p.field)}, s, k)
			}
		}
	}
}

// is reports whether a Service's port is the one to scrape.
func (p *monitorPort) is(s servicePort) bool {
	switch {
	case s.protocol != rules.TCP:
		return false
	case p.name != "":
		return s.name == p.name
	case p.target.name != "":
		return s.target.name == p.target.name
	}
	return p.target.number != 0 && (s.target.number == p.target.number || s.target == target{} && int64(s.port) == p.target.number)
}

func (m *monitor) scrapePods(d *derivation, from Party, selector labels.Selector) {
	for _, pod := range m.pods(d, selector) {
		for i := range m.ports {
			p := &m.ports[i]
			port, at, ok := uint16(p.target.number), m.at("%s", p.field), true //nolint:gosec // looked at when it was read
			if name := cmp.Or(p.name, p.target.name); name != "" {
				port, at, ok = pod.find(name, rules.TCP)
			}
			if !ok || port == 0 {
				continue
			}
			of := d.workloadOf(pod)
			n := Need{From: from, To: Party{Pods, of}, Protocol: rules.TCP, Ports: one(port), Class: Optional, Why: of + " is not monitored"}
			if !pod.hostNetwork {
				d.located(n.To, pod.addresses...)
				d.podNeed(&n, m.at("%s", p.field), at)
				continue
			}
			n.To.Kind = Hosts
			d.hostsOf(n.To, pod)
			d.hostNeed(&n, m.at("%s", p.field), at)
		}
	}
}

// pods are those, and the templates, that a PodMonitor names.
func (m *monitor) pods(d *derivation, selector labels.Selector) []*podLike {
	k, v := m.label()
	var candidates []*podLike
	if k == "" || m.everywhere {
		for _, kind := range podKinds() {
			d.asks(allOfKind, kind)
		}
		for _, p := range d.cluster.pods {
			candidates = append(candidates, p)
		}
		for _, p := range d.cluster.workloads {
			candidates = append(candidates, p)
		}
	} else {
		for _, namespace := range m.namespaces {
			d.asks(aSelector, namespace, k, v)
			candidates = append(candidates, d.cluster.byLabel[labelKey{namespace, k, v}]...)
		}
	}
	return slices.DeleteFunc(candidates, func(p *podLike) bool {
		return !m.looksIn(p.Namespace) || !selector.Matches(labels.Set(p.labels))
	})
}
