package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"ringfence.dev/ringfence/rules"
)

// A packetLine is one question of `explain --packets`. Its names are a contract.
type packetLine struct {
	Direction  string   `json:"direction"`
	Local      string   `json:"local"`
	Remote     string   `json:"remote"`
	Protocol   protocol `json:"protocol"`
	Port       *int     `json:"port"`
	ICMPType   *int     `json:"icmpType"`
	SourcePort *int     `json:"sourcePort"`
	Groups     []string `json:"groups"`
}

// A protocol is a name or a number.
type protocol string

// UnmarshalJSON accepts a string or a number.
func (p *protocol) UnmarshalJSON(text []byte) error {
	if n, err := strconv.Atoi(string(text)); err == nil {
		*p = protocol(strconv.Itoa(n))
		return nil
	}
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return errors.New("want a protocol's name or number")
	}
	*p = protocol(s)
	return nil
}

// flow converts a line; every mistake names the field.
func (l *packetLine) flow() (rules.Flow, error) {
	var f rules.Flow
	switch strings.ToLower(l.Direction) {
	case "ingress":
	case "egress":
		f.Direction = rules.Egress
	default:
		return f, fmt.Errorf("direction %q: want ingress or egress", l.Direction)
	}
	var err error
	if f.Local, err = parseAddr("local", l.Local); err != nil {
		return f, err
	}
	if f.Remote, err = parseAddr("remote", l.Remote); err != nil {
		return f, err
	}
	if f.Local.Is4() != f.Remote.Is4() {
		return f, fmt.Errorf("local %s and remote %s are of different address families", f.Local, f.Remote)
	}
	if f.Protocol, err = rules.ParseProtocol(string(l.Protocol)); err != nil {
		return f, err
	}
	if f.Protocol == rules.AllProtocols {
		return f, errors.New("a packet has one protocol: ALL is for rules")
	}
	return f, l.ports(&f)
}

func parseAddr(field, text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return a, fmt.Errorf("%s %q: want an IP address", field, text)
	}
	return a.Unmap(), nil
}

// ports fills in ports or the ICMP type, whichever the protocol has.
func (l *packetLine) ports(f *rules.Flow) error {
	if f.Protocol.HasPorts() {
		if l.Port == nil {
			return fmt.Errorf("port: %s needs a destination port", f.Protocol)
		}
		port, err := inRange("port", *l.Port, 65535)
		if err != nil {
			return err
		}
		f.Port = uint16(port) //nolint:gosec // in range
		if l.SourcePort != nil {
			source, err := inRange("sourcePort", *l.SourcePort, 65535)
			if err != nil {
				return err
			}
			f.SourcePort, f.HasSourcePort = uint16(source), true //nolint:gosec // in range
		}
		return nil
	}
	echo := map[rules.Protocol]int{rules.ICMP: 8, rules.ICMPv6: 128}
	if typ, ok := echo[f.Protocol]; ok {
		if l.ICMPType != nil {
			typ = *l.ICMPType
		}
		n, err := inRange("icmpType", typ, 255)
		f.ICMPType = uint8(n) //nolint:gosec // in range
		return err
	}
	return nil
}

func inRange(field string, n, last int) (int, error) {
	if n < 0 || n > last {
		return 0, fmt.Errorf("%s %d: want 0 to %d", field, n, last)
	}
	return n, nil
}
