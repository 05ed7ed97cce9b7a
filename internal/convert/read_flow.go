package convert

import (
	"fmt"
	"net/netip"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/rules"
)

// The ICMP types that stand for a flow of which only the protocol was kept.
const echo4, echo6 = 8, 128

// ReadDenied reads a flow of a FlowReport. ICMP without its type counts as an
// echo request.
func ReadDenied(d *v1alpha1.DeniedFlow) (rules.Flow, error) {
	f := rules.Flow{Protocol: rules.Protocol(d.Protocol & 0xff)} // one byte; what has more is refused below
	wrong := func(format string, args ...any) (rules.Flow, error) {
		return rules.Flow{}, fmt.Errorf("denied flow from or to %q: %w", d.Remote, fmt.Errorf(format, args...))
	}
	switch d.Direction {
	case v1alpha1.DirectionIngress:
		f.Direction = rules.Ingress
	case v1alpha1.DirectionEgress:
		f.Direction = rules.Egress
	default:
		return wrong("direction %q: want Ingress or Egress", d.Direction)
	}
	var err error
	if f.Local, err = netip.ParseAddr(d.Local); err != nil {
		return wrong("local: %w", err)
	}
	if f.Remote, err = netip.ParseAddr(d.Remote); err != nil {
		return wrong("remote: %w", err)
	}
	if f.Local.Is4() != f.Remote.Is4() {
		return wrong("local %s is of the other address family", f.Local)
	}
	if d.Protocol < 0 || d.Protocol > 255 || d.Port < 0 || d.Port > 65535 {
		return wrong("protocol %d, port %d: want 0 to 255 and 0 to 65535", d.Protocol, d.Port)
	}
	switch {
	case f.Protocol.HasPorts():
		f.Port = uint16(d.Port)
	case f.Protocol == rules.ICMP:
		f.ICMPType = echo4
	case f.Protocol == rules.ICMPv6:
		f.ICMPType = echo6
	}
	return f, nil
}
