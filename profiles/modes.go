package profiles

import (
	"errors"
	"io/fs"

	"go.yaml.in/yaml/v3"
)

// A rawMode is what is known of a network mode, as written.
type rawMode struct {
	Mode          NetworkMode       `yaml:"mode"`
	Encapsulation Encapsulation     `yaml:"encapsulation"`
	Ports         map[string]uint16 `yaml:"ports"`
	BareIPv6      Encapsulation     `yaml:"bareIPv6"`
	Why           string            `yaml:"why"`
}

func loadNetworks(fsys fs.FS, file string) (map[NetworkMode]network, error) {
	var table struct {
		Modes []yaml.Node `yaml:"modes"`
	}
	if err := readYAML(fsys, file, &table); err != nil {
		return nil, err
	}
	out := make(map[NetworkMode]network)
	var p problems
	for i := range table.Modes {
		n := &table.Modes[i]
		var raw rawMode
		err := decodeStrict(n, &raw)
		if err == nil {
			err = raw.check()
		}
		if _, ok := out[raw.Mode]; ok && err == nil {
			err = errors.New("listed twice")
		}
		if err != nil {
			p.addf("%s:%d: mode %s: %w", file, n.Line, nameOf(n, "mode"), err)
			continue
		}
		out[raw.Mode] = raw.network()
	}
	for _, m := range NetworkModes() {
		if _, ok := out[m]; !ok {
			p.addf("%s: mode %s is missing", file, m)
		}
	}
	return out, p.join()
}

func (m *rawMode) check() error {
	var p problems
	p.add(known("mode", m.Mode, NetworkModes()))
	p.add(known("encapsulation", m.Encapsulation, Encapsulations()))
	p.add(known("bareIPv6", m.BareIPv6, append(Encapsulations(), "")))
	if m.Why == "" {
		p.addf("want a why")
	}
	if m.Mode == Terway {
		return p.join()
	}
	if len(m.Ports) != 4 {
		p.addf("%d ports: want VXLAN, Geneve, WireGuard and WireGuardIPv6", len(m.Ports))
	}
	for _, k := range []string{"VXLAN", "Geneve", "WireGuard", "WireGuardIPv6"} {
		if m.Ports[k] == 0 {
			p.addf("port of %s: want one from 1 to 65535", k)
		}
	}
	return p.join()
}

func (m *rawMode) network() network {
	return network{
		encapsulation: m.Encapsulation,
		ports: map[Encapsulation]uint16{
			VXLAN: m.Ports["VXLAN"], Geneve: m.Ports["Geneve"], WireGuard: m.Ports["WireGuard"],
			NoEncapsulation: 0, IPIP: 0, // have no ports
		},
		wireGuardIPv6: m.Ports["WireGuardIPv6"],
		bareIPv6:      m.BareIPv6,
	}
}
