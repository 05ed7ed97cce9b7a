package apply_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/rules"
)

// A packet is the first of a flow, with a number by which it is known again:
// the identification of IPv4, the flow label of IPv6.
type packet struct {
	flow     rules.Flow
	hopLimit uint8
	id       uint16
	// sentFrom is who sends it if others translate that to flow.Local on the way.
	sentFrom netip.Addr
}

func (p *packet) ends() (from, to netip.Addr) {
	switch {
	case p.sentFrom.IsValid():
		return p.sentFrom, p.flow.Remote
	case p.flow.Direction == rules.Egress:
		return p.flow.Local, p.flow.Remote
	}
	return p.flow.Remote, p.flow.Local
}

// bytes is the packet from its IP header on.
func (p *packet) bytes() []byte {
	from, to := p.ends()
	payload := p.payload()
	protocol := byte(p.flow.Protocol)
	var header []byte
	if from.Is4() {
		header = make([]byte, 20)
		header[0], header[8], header[9] = 0x45, p.hopLimit, protocol
		binary.BigEndian.PutUint16(header[2:], uint16(20+len(payload)))
		binary.BigEndian.PutUint16(header[4:], p.id)
		copy(header[12:], from.AsSlice())
		copy(header[16:], to.AsSlice())
		binary.BigEndian.PutUint16(header[10:], checksum(0, header))
	} else {
		header = make([]byte, 40)
		header[0], header[6], header[7] = 0x60, protocol, p.hopLimit
		binary.BigEndian.PutUint16(header[2:], p.id)
		binary.BigEndian.PutUint16(header[4:], uint16(len(payload)))
		copy(header[8:], from.AsSlice())
		copy(header[24:], to.AsSlice())
	}
	pseudo := append(append(from.AsSlice(), to.AsSlice()...), 0, protocol, 0, byte(len(payload)))
	switch p.flow.Protocol {
	case rules.TCP:
		binary.BigEndian.PutUint16(payload[16:], checksum(0, append(pseudo, payload...)))
	case rules.UDP:
		binary.BigEndian.PutUint16(payload[6:], checksum(0, append(pseudo, payload...)))
	case rules.ICMP:
		binary.BigEndian.PutUint16(payload[2:], checksum(0, payload))
	case rules.ICMPv6:
		binary.BigEndian.PutUint16(payload[2:], checksum(0, append(pseudo, payload...)))
	}
	return slices.Concat(header, payload)
}

func (p *packet) payload() []byte {
	out := make([]byte, 24)
	f := &p.flow
	if f.Protocol.HasPorts() {
		binary.BigEndian.PutUint16(out, f.SourcePort)
		binary.BigEndian.PutUint16(out[2:], f.Port)
	}
	switch f.Protocol {
	case rules.TCP:
		out = out[:20]
		out[12], out[13] = 5<<4, 2 // 20 bytes of header, SYN
	case rules.UDP:
		binary.BigEndian.PutUint16(out[4:], uint16(len(out)))
	case rules.ICMP, rules.ICMPv6:
		out[0] = f.ICMPType
		out[5] = 1
	}
	return out
}

func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// send lets the packet come in by the wire, or go out by the host's stack. That
// the firewall refuses it is no error here.
func (s *sender) send(p *packet) error {
	_, to := p.ends()
	if p.flow.Direction == rules.Ingress {
		return unix.Sendto(s.wire, s.ethernet(p), 0, &s.to)
	}
	var err error
	if to.Is4() {
		err = unix.Sendto(s.raw4, p.bytes(), 0, &unix.SockaddrInet4{Addr: to.As4()})
	} else {
		err = unix.Sendto(s.raw6, p.bytes(), 0, &unix.SockaddrInet6{Addr: to.As16()})
	}
	if errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}

// ethernet is the packet as it comes in by the wire.
func (s *sender) ethernet(p *packet) []byte {
	frame := make([]byte, 0, 128)
	frame = append(frame, s.mac...)
	frame = append(frame, 2, 0, 0, 0, 0, 1)
	if from, _ := p.ends(); from.Is4() {
		frame = append(frame, 0x08, 0x00)
	} else {
		frame = append(frame, 0x86, 0xdd)
	}
	return append(frame, p.bytes()...)
}
