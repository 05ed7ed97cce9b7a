package discover

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/rules"
)

//go:embed components.yaml
var componentsYAML []byte

// A component is a program that is known, as components.yaml has it.
type component struct {
	Name     string          `yaml:"name"`
	Programs []string        `yaml:"programs"`
	Images   []string        `yaml:"images"`
	As       string          `yaml:"as"`
	Ports    []componentPort `yaml:"ports"`
	Source   string          `yaml:"source"`
}

type componentPort struct {
	Port      uint16   `yaml:"port"`
	Protocols []string `yaml:"protocols"`
	Flag      string   `yaml:"flag"`
	Env       string   `yaml:"env"`
	Bind      string   `yaml:"bind"`
	Needs     string   `yaml:"needs"`
	From      string   `yaml:"from"`
	Calls     bool     `yaml:"calls"`
	Service   string   `yaml:"service"`
	Class     string   `yaml:"class"`
	Why       string   `yaml:"why"`

	protocols []rules.Protocol
	class     Class
}

// A claim is a port of a pod that the catalog explains.
type claim struct {
	protocol rules.Protocol
	port     uint16
}

// The words for parties in components.yaml.
func partyWords() map[string]PartyKind {
	return map[string]PartyKind{"nodes": Nodes, "control-plane": ControlPlane, "api-server": APIServer, "pods": AllPods, "anywhere": Anywhere, fromSelf: Hosts}
}

const fromSelf = "self"

// loadCatalog reads the components that come with this package. An error means
// that the data was edited wrongly.
func loadCatalog() ([]component, error) { return parseCatalog(componentsYAML) }

func parseCatalog(data []byte) ([]component, error) {
	var file struct {
		Components []component `yaml:"components"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("cannot read components.yaml: %w", err)
	}
	var mistakes []error
	names := map[string]bool{}
	for i := range file.Components {
		c := &file.Components[i]
		if err := c.check(); err != nil {
			mistakes = append(mistakes, fmt.Errorf("components.yaml: component %q: %w", c.Name, err))
		}
		if names[c.Name] {
			mistakes = append(mistakes, fmt.Errorf("components.yaml: component %q stands twice", c.Name))
		}
		names[c.Name] = true
	}
	return file.Components, errors.Join(mistakes...)
}

func (c *component) check() error {
	if c.Name == "" || len(c.Programs)+len(c.Images) == 0 || len(c.Ports) == 0 || c.Source == "" {
		return errors.New("want name, programs or images, ports and a source")
	}
	if _, ok := partyWords()[c.As]; c.As != "" && !ok {
		return fmt.Errorf("as %q: want one of %v", c.As, slices.Sorted(maps.Keys(partyWords())))
	}
	for i := range c.Ports {
		if err := c.Ports[i].check(); err != nil {
			return fmt.Errorf("port %d: %w", i, err)
		}
	}
	return nil
}

func (p *componentPort) check() error {
	classes := map[string]Class{Optional.String(): Optional, Expected.String(): Expected, Essential.String(): Essential}
	var ok bool
	if p.class, ok = classes[p.Class]; !ok || p.Why == "" || len(p.Protocols) == 0 {
		return fmt.Errorf("class %q, why %q, %d protocols: want optional, expected or essential, a why, and protocols", p.Class, p.Why, len(p.Protocols))
	}
	if _, ok := partyWords()[p.From]; ok == (p.Calls || p.Service != "") {
		return fmt.Errorf("from %q: want one of %v, and none if it calls", p.From, slices.Sorted(maps.Keys(partyWords())))
	}
	if p.Port == 0 && p.Flag == "" {
		return errors.New("want a port, or a flag that names one")
	}
	for _, text := range p.Protocols {
		proto, err := rules.ParseProtocol(text)
		if err != nil || !proto.HasPorts() {
			return fmt.Errorf("protocol %q: want one with ports", text)
		}
		p.protocols = append(p.protocols, proto)
	}
	return nil
}

// componentsOf finds what the components of the catalog listen on and call that
// a pod has.
func (d *derivation) componentsOf(p *podLike) {
	for i := range p.containers {
		f := found{p, &p.containers[i]}
		seen := map[*component]bool{}
		for _, id := range f.container.ids() {
			for _, c := range d.components[id] {
				if seen[c] {
					continue
				}
				seen[c] = true
				for k := range c.Ports {
					d.componentPort(c, &c.Ports[k], &f)
				}
			}
		}
	}
}

func (d *derivation) componentPort(c *component, p *componentPort, f *found) {
	env := environment{d, *f}
	if p.Needs != "" {
		if v, _ := env.get(p.Needs); v == "" {
			return
		}
	}
	evidence := f.pod.at("%s%s", f.pod.root, f.container.field)
	if p.Service != "" {
		d.call(&call{from: d.partyOf(c, f), service: name{f.pod.Namespace, p.Service}, port: p.Port, class: p.class, why: p.Why, because: evidence})
		return
	}
	if addr, ok := f.container.flag(p.Bind); ok && isLoopback(addr) {
		return
	}
	listens := []listen{{port: p.Port}}
	if text, ok := f.container.flag(p.Flag); ok && p.Flag != "" {
		var err error
		if listens, err = parseListens(text); err != nil {
			d.senselessf(&f.pod.object, evidence.Field, "--%s: %v", p.Flag, err)
			return
		}
	} else if v := env.port(p.Env); v != 0 && p.Env != "" {
		listens[0].port = v
	}
	for _, l := range listens {
		if l.port == 0 || isLoopback(l.host) {
			continue
		}
		for _, proto := range p.protocols {
			d.componentNeed(c, p, f, &Need{Protocol: proto, Ports: one(l.port), Class: p.class, Why: p.Why}, l.host)
		}
	}
}

// partyOf is the party that a component is.
func (d *derivation) partyOf(c *component, f *found) Party {
	self := Party{Hosts, c.Name}
	if c.As != "" {
		self = Party{Kind: partyWords()[c.As]}
	} else if !f.pod.hostNetwork {
		return d.podsOf(f.pod)
	}
	d.hostsOf(self, f.pod)
	return self
}

// podsOf is the party of the workload that a pod belongs to.
func (d *derivation) podsOf(p *podLike) Party {
	party := Party{Pods, d.workloadOf(p)}
	d.located(party, p.addresses...)
	return party
}

func (d *derivation) componentNeed(c *component, p *componentPort, f *found, n *Need, host string) {
	self := d.partyOf(c, f)
	n.From, n.To = Party{Kind: partyWords()[p.From]}, self
	switch {
	case p.Calls:
		n.From, n.To = self, d.outside(host)
	case p.From == fromSelf:
		n.From = self
	}
	evidence := f.pod.at("%s%s", f.pod.root, f.container.field)
	if !p.Calls {
		d.claimed[claim{n.Protocol, n.Ports.First}] = true
	}
	if f.pod.hostNetwork {
		d.hostNeed(n, evidence)
		return
	}
	d.podNeed(n, evidence)
}

// A listen is where a program listens, or what it calls.
type listen struct {
	host string
	port uint16
}

// parseListens reads a port, HOST:PORT or URLs, several with commas.
func parseListens(text string) ([]listen, error) {
	var out []listen
	for _, one := range splitList(text) {
		l := listen{}
		portText := one
		if u, err := url.Parse(one); err == nil && u.Host != "" {
			l.host, portText = u.Hostname(), u.Port()
		} else if host, port, err := net.SplitHostPort(one); err == nil {
			l.host, portText = host, port
		}
		n, err := strconv.ParseUint(portText, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q: want a port, HOST:PORT or URLs with ports", one)
		}
		l.port = uint16(n)
		out = append(out, l)
	}
	return out, nil
}

// parsePort reads a port from 1 to 65535.
func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q: want a port from 1 to 65535", text)
	}
	return uint16(n), nil
}

func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
