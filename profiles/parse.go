package profiles

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/rules"
)

// maxDescription is how long ECS lets a rule's description be.
const maxDescription = 512

// readings is how many ambiguities of ACK's page are numbered.
const readings = 17

// A rawRow is a row as written. Every field is a key of the data.
type rawRow struct {
	ID         string      `yaml:"id"`
	GroupTypes []string    `yaml:"groupTypes"`
	Direction  string      `yaml:"direction"`
	Scope      Scope       `yaml:"scope"`
	Seed       string      `yaml:"seed"`
	Page       string      `yaml:"page"`
	Source     string      `yaml:"source"`
	When       []Condition `yaml:"when"`
	Action     string      `yaml:"action"`
	Priority   uint8       `yaml:"priority"`
	Protocols  []string    `yaml:"protocols"`
	Ports      []yaml.Node `yaml:"ports"`
	Family     Family      `yaml:"family"`
	Peers      []Symbol    `yaml:"peers"`
	PeersOf    string      `yaml:"peersOf"`
	Component  string      `yaml:"component"`
	Why        string      `yaml:"why"`
	Readings   []int       `yaml:"readings"`
	Note       string      `yaml:"note"`
}

// A rawPort is a port as written.
type rawPort struct {
	Ports     string      `yaml:"ports"`
	Symbol    PortSymbol  `yaml:"symbol"`
	Default   string      `yaml:"default"`
	When      []Condition `yaml:"when"`
	Legacy    bool        `yaml:"legacy"`
	Component string      `yaml:"component"`
	Why       string      `yaml:"why"`
}

// parseRow reads one row; page is the version that the table belongs to
// unless the row names another.
func parseRow(n *yaml.Node, page string) (Row, error) {
	var raw rawRow
	if err := decodeStrict(n, &raw); err != nil {
		return Row{}, err
	}
	if raw.Seed != "" && raw.Page == "" {
		raw.Page = page
	}
	row := Row{
		ID: raw.ID, Scope: raw.Scope, When: raw.When, Priority: max(raw.Priority, 1), Family: raw.Family,
		Peers: raw.Peers, PeersOf: raw.PeersOf, Component: raw.Component, Why: raw.Why,
		Seed: raw.Seed, Page: raw.Page, Source: raw.Source, Readings: raw.Readings, Note: raw.Note,
	}
	err := errors.Join(row.setWords(&raw), row.setPorts(&raw), row.check())
	return row, err
}

// setWords turns the words that stand for numbers.
func (r *Row) setWords(raw *rawRow) error {
	var p problems
	var err error
	for _, s := range raw.GroupTypes {
		t, err := choose("group type", s, map[string]rules.GroupType{"Basic": rules.Basic, "Advanced": rules.Advanced})
		p.add(err)
		r.GroupTypes = append(r.GroupTypes, t)
	}
	r.Direction, err = choose("direction", raw.Direction, map[string]rules.Direction{"Ingress": rules.Ingress, "Egress": rules.Egress})
	p.add(err)
	r.Action, err = choose("action", raw.Action, map[string]rules.Action{"": rules.Accept, "Accept": rules.Accept, "Drop": rules.Drop})
	p.add(err)
	for _, s := range raw.Protocols {
		proto, err := rules.ParseProtocol(s)
		p.add(err)
		r.Protocols = append(r.Protocols, proto)
	}
	return p.join()
}

func choose[T any](what, s string, from map[string]T) (T, error) {
	v, ok := from[s]
	if !ok {
		return v, fmt.Errorf("%s %q: want one of %s", what, s, strings.Join(slices.Sorted(maps.Keys(from)), ", "))
	}
	return v, nil
}

func (r *Row) setPorts(raw *rawRow) error {
	var p problems
	for i := range raw.Ports {
		n := &raw.Ports[i]
		port, err := parsePort(n)
		if err != nil {
			p.addf("port at line %d: %w", n.Line, err)
		}
		r.Ports = append(r.Ports, port)
	}
	return p.join()
}

func parsePort(n *yaml.Node) (Port, error) {
	var raw rawPort
	if err := decodeStrict(n, &raw); err != nil {
		return Port{}, err
	}
	port := Port{Symbol: raw.Symbol, When: raw.When, Legacy: raw.Legacy, Component: raw.Component, Why: raw.Why}
	var p problems
	text := raw.Ports
	switch {
	case (raw.Ports == "") == (raw.Symbol == ""):
		p.addf("want either ports or a symbol")
	case raw.Symbol != "":
		p.add(known("symbol", raw.Symbol, portSymbols()))
		text = raw.Default
	}
	if (raw.Default != "") != raw.Symbol.hasDefault() {
		p.addf("default %q: want one for %s and %s, and for nothing else", raw.Default, PortsNodePorts, PortsHealthChecks)
	}
	if text != "" {
		var err error
		port.Range, err = rules.ParsePortRange(text)
		p.add(err)
	}
	p.add(checkConditions(raw.When))
	if raw.Component == "" || raw.Why == "" {
		p.addf("want a component and a why")
	}
	return port, p.join()
}

func known[T ~string](what string, v T, all []T) error {
	if slices.Contains(all, v) {
		return nil
	}
	return fmt.Errorf("%s %q: want one of %s", what, v, listing(all))
}

func checkConditions(when []Condition) error {
	var p problems
	for _, c := range when {
		p.add(known("condition", c, conditions()))
	}
	return p.join()
}

func (r *Row) check() error {
	var p problems
	if r.ID == "" || strings.ContainsAny(r.ID, " \t\n") {
		p.addf("id %q: want a word", r.ID)
	}
	if len(r.GroupTypes) == 0 {
		p.addf("no group types")
	}
	p.add(known("scope", r.Scope, []Scope{Recommended, LeastPrivilege}))
	p.add(known("family", r.Family, []Family{"", IPv4, IPv6}))
	p.add(checkConditions(r.When))
	if r.Priority > 100 {
		p.addf("priority %d: want 1 to 100", r.Priority)
	}
	if (r.Seed == "") == (r.Source == "") {
		p.addf("want either seed, what ACK's page says, or source, where else it comes from")
	}
	if (r.Seed == "") != (r.Page == "") {
		p.addf("page %q: want the version of ACK's page for a row with seed, and for no other", r.Page)
	}
	for _, n := range r.Readings {
		if n < 1 || n > readings {
			p.addf("reading %d: want 1 to %d", n, readings)
		}
	}
	return errors.Join(p.join(), r.checkPeers(), r.checkPorts(), r.checkWords())
}

func (r *Row) checkPeers() error {
	var p problems
	if (len(r.Peers) == 0) == (r.PeersOf == "") {
		p.addf("want either peers or peersOf")
	}
	for _, s := range r.Peers {
		if slices.Contains(symbols(), s) {
			continue
		}
		if _, err := rules.ParseCIDR(string(s)); err != nil {
			p.addf("peer %q: want a CIDR or one of %s", s, listing(symbols()))
		}
	}
	return p.join()
}

func (r *Row) checkPorts() error {
	hasExposurePorts := slices.ContainsFunc(r.Ports, func(p Port) bool { return p.Symbol == PortsExposures })
	if r.exposes() || hasExposurePorts {
		if len(r.Peers) != 1 || len(r.Ports) != 1 || !r.exposes() || !hasExposurePorts || len(r.Protocols) != 0 {
			return fmt.Errorf("a row about exposures has the peer %s, the ports %s and no protocols", PeerExposures, PortsExposures)
		}
		return nil
	}
	if len(r.Protocols) == 0 {
		return errors.New("no protocols")
	}
	for _, proto := range r.Protocols {
		if proto.HasPorts() != (len(r.Ports) > 0) {
			return fmt.Errorf("protocol %s: TCP, UDP and SCTP need ports, other protocols have none", proto)
		}
	}
	return nil
}

// checkWords checks that whoever reads a rule or need will know why it is there.
func (r *Row) checkWords() error {
	if (r.Component == "" || r.Why == "") && len(r.Ports) == 0 {
		return errors.New("want a component and a why")
	}
	if (r.Component != "" || r.Why != "") && len(r.Ports) > 0 {
		return errors.New("component and why belong to each port of a row that has ports")
	}
	longest := len(describe(r.ID, r.Component, r.Why))
	for _, p := range r.Ports {
		longest = max(longest, len(describe(r.ID, p.Component, p.Why)))
	}
	if longest > maxDescription {
		return fmt.Errorf("description of %d bytes: want at most %d, so that clouds take it", longest, maxDescription)
	}
	return nil
}

// describe is the description of a rule: which row, for what, and what breaks
// if somebody deletes it.
func describe(row, component, why string) string {
	return row + " " + component + "; without it " + why
}
