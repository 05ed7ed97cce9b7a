package profiles

import (
	"fmt"
	"io/fs"

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/rules"
)

// A rawExempt is an exemption as written.
type rawExempt struct {
	Name     string     `yaml:"name"`
	Protocol string     `yaml:"protocol"`
	Ports    string     `yaml:"ports"`
	Types    *icmpTypes `yaml:"types"`
	Peer     string     `yaml:"peer"`
	HopLimit bool       `yaml:"hopLimit255"`
	Why      string     `yaml:"why"`
}

// icmpTypes is a range of ICMP types, both ends included.
type icmpTypes struct {
	First uint8 `yaml:"first"`
	Last  uint8 `yaml:"last"`
}

// UnmarshalYAML reads the range, strictly.
func (r *icmpTypes) UnmarshalYAML(n *yaml.Node) error {
	type plain icmpTypes
	return decodeStrict(n, (*plain)(r))
}

func loadExempt(fsys fs.FS, file string) ([]rules.Exempt, error) {
	var table struct {
		Exempt []yaml.Node `yaml:"exempt"`
	}
	if err := readYAML(fsys, file, &table); err != nil {
		return nil, err
	}
	var out []rules.Exempt
	var p problems
	for i := range table.Exempt {
		n := &table.Exempt[i]
		var raw rawExempt
		if err := decodeStrict(n, &raw); err != nil {
			p.addf("%s:%d: exemption %s: %w", file, n.Line, nameOf(n, "name"), err)
			continue
		}
		e, err := raw.exempt()
		if err != nil {
			p.addf("%s:%d: exemption %s: %w", file, n.Line, nameOf(n, "name"), err)
			continue
		}
		out = append(out, e)
	}
	return out, p.join()
}

func (r *rawExempt) exempt() (rules.Exempt, error) {
	e := rules.Exempt{Name: r.Name, HopLimit255: r.HopLimit, Why: r.Why}
	var p problems
	if r.Name == "" || r.Why == "" {
		p.addf("want a name and a why")
	}
	var err error
	e.Protocol, err = rules.ParseProtocol(r.Protocol)
	p.add(err)
	if r.Ports != "" {
		e.Ports, err = rules.ParsePortRange(r.Ports)
		p.add(err)
	}
	if r.Peer != "" {
		peer, err := rules.ParseCIDR(r.Peer)
		p.add(err)
		e.Peer = peer
	}
	if r.Types != nil {
		e.FirstType, e.LastType = r.Types.First, r.Types.Last
	}
	p.add(r.shapeError(e))
	return e, p.join()
}

// shapeError checks that ports and types stand where the protocol has them.
func (r *rawExempt) shapeError(e rules.Exempt) error {
	isICMP := e.Protocol == rules.ICMP || e.Protocol == rules.ICMPv6
	switch {
	case e.Protocol.HasPorts() == e.Ports.IsZero():
		return fmt.Errorf("protocol %s: TCP, UDP and SCTP need ports, other protocols have none", e.Protocol)
	case isICMP != (r.Types != nil):
		return fmt.Errorf("protocol %s: ICMP and ICMPv6 need types, other protocols have none", e.Protocol)
	case e.FirstType > e.LastType:
		return fmt.Errorf("types %d to %d: want first <= last", e.FirstType, e.LastType)
	}
	return nil
}
