package discover

import (
	"bytes"
	"cmp"
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
	Last      uint16   `yaml:"last"`
	Protocols []string `yaml:"protocols"`
	Flag      string   `yaml:"flag"`
	Env       string   `yaml:"env"`
	Bind      string   `yaml:"bind"`
	Needs     string   `yaml:"needs"`
	Argument  string   `yaml:"argument"`
	HostOnly  bool     `yaml:"hostOnly"`
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
	if p.Last != 0 && (p.Last < p.Port || p.Port == 0 || p.Flag+p.Env != "") {
		return fmt.Errorf("last %d: want one after port %d, which nothing moves", p.Last, p.Port)
	}
	return p.checkProtocols()
}

func (p *componentPort) checkProtocols() error {
	named := p.Port != 0 || p.Flag+p.Env != ""
	for _, text := range p.Protocols {
		proto, err := rules.ParseProtocol(text)
		switch {
		case err != nil || proto == rules.AllProtocols:
			return fmt.Errorf("protocol %q: want the name of one", text)
		case proto.HasPorts() && !named:
			return errors.New("want a port, or a flag that names one")
		case !proto.HasPorts() && named:
			return fmt.Errorf("protocol %s has no ports: want none", text)
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
	if !d.componentHas(p, f) {
		return
	}
	evidence := f.pod.at("%s%s", f.pod.root, f.container.field)
	if p.Service != "" {
		d.call(&call{from: d.partyOf(c, f), service: name{f.pod.Namespace, p.Service}, port: p.Port, class: p.class, why: p.Why, because: evidence})
		return
	}
	listens, err := d.componentListens(p, f)
	if err != nil {
		d.senselessf(&f.pod.object, evidence.Field, "%v", err)
	}
	for _, l := range listens {
		for _, proto := range p.protocols {
			n := Need{Protocol: proto, Class: p.class, Why: p.Why}
			if proto.HasPorts() {
				n.Ports = rules.PortRange{First: l.port, Last: max(l.port, p.Last)}
			}
			d.componentNeed(c, p, f, &n, l.host)
		}
	}
}

// componentHas reports whether a container has a port of the catalog at all.
func (d *derivation) componentHas(p *componentPort, f *found) bool {
	if p.Needs != "" {
		env := environment{d, *f}
		if v, _ := env.get(p.Needs); v == "" || v == "false" {
			return false
		}
	}
	return (!p.HostOnly || f.pod.hostNetwork) && (p.Argument == "" || slices.Contains(f.container.command, p.Argument))
}

// componentListens returns where a container listens, or whom it calls, but for
// loopback.
func (d *derivation) componentListens(p *componentPort, f *found) ([]listen, error) {
	bind, bound := f.container.flag(p.Bind)
	if p.Calls && p.Bind != "" && !bound {
		return nil, nil
	}
	env := environment{d, *f}
	from, text := "--"+p.Flag, ""
	if p.Flag != "" {
		text, _ = f.container.flag(p.Flag)
	}
	if text == "" && p.Env != "" {
		from = p.Env
		text, _ = env.get(p.Env)
	}
	listens := []listen{{port: p.Port}}
	if text != "" {
		var err error
		if listens, err = parseListens(text); err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
	}
	for i := range listens {
		listens[i].host = cmp.Or(listens[i].host, bind)
	}
	portless := p.Port == 0 && p.Flag+p.Env == ""
	return slices.DeleteFunc(listens, func(l listen) bool { return l.port == 0 && !portless || isLoopback(l.host) }), nil
}

// partyOf is the party that a component is.
func (d *derivation) partyOf(c *component, f *found) Party {
	self := Party{Hosts, c.Name}
	if c.As != "" {
		self = Party{Kind: partyWords()[c.As]}
	} else if !f.pod.hostNetwork {
		self.Kind = Pods
		d.located(self, f.pod.addresses...)
		return self
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
	switch {
	case p.Calls:
		d.outsideNeed(n, evidence)
	case f.pod.hostNetwork:
		d.hostNeed(n, evidence)
	default:
		d.podNeed(n, evidence)
	}
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
