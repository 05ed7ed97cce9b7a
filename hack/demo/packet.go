package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"ringfence.dev/ringfence/test/netns"
)

// A parcel is one packet, or one connection, that carries a text that no other has.
type parcel struct {
	sender, receiver *netns.Machine
	pair
	kind
	// at is where the receiver waits, which is elsewhere behind a node's port.
	at netip.AddrPort
	// service listens there already; nil if nobody does.
	service *service
	// wrap hides the text in something else; nil for not.
	wrap func([]byte) []byte
}

// again is how often a packet is sent once more: as long as nobody says that it
// has come, or has been dropped.
const again = 200 * time.Millisecond

// numbers are the protocols that the demo sends.
func numbers() map[string]int {
	return map[string]int{"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "icmpv6": 58}
}

// send sends the parcel again and again. The channel has something once the
// receiver has it; done ends everything.
func (p *parcel) send(ctx context.Context) (received <-chan struct{}, done func(), err error) {
	text := []byte(rand.Text())
	came := make(chan struct{}, 1)
	sink, err := p.wait(ctx, func(got []byte) {
		if bytes.Contains(got, text) {
			select {
			case came <- struct{}{}:
			default:
			}
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot receive %s on %s: %w", p.protocol, p.receiver.Name, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(again)
		defer ticker.Stop()
		for ctx.Err() == nil {
			// An error is an answer too, but not one to believe: the kernel says
			// so to who sends what is dropped on the way out.
			_ = p.sender.Do(func() error { return p.try(ctx, text) })
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
	}()
	return came, func() {
		cancel()
		<-ended
		_ = sink.Close() // it is over
	}, nil
}

// wait lets the receiver hand what it gets to a function.
func (p *parcel) wait(ctx context.Context, got func([]byte)) (io.Closer, error) {
	if p.service != nil {
		return p.service.listen(got), nil
	}
	switch p.protocol {
	case "tcp":
		l, err := listen(ctx, p.receiver, p.at)
		if err == nil {
			go echo(l, got)
		}
		return l, err
	case "udp":
		return p.hear(ctx, "udp", net.UDPAddrFromAddrPort(p.at), got)
	}
	return p.hear(ctx, p.raw(), &net.IPAddr{IP: p.at.Addr().AsSlice()}, got)
}

func (p *parcel) raw() string {
	family := "ip4"
	if p.dst.Is6() {
		family = "ip6"
	}
	return fmt.Sprintf("%s:%d", family, numbers()[p.protocol])
}

// hear waits for packets.
func (p *parcel) hear(ctx context.Context, network string, at net.Addr, got func([]byte)) (io.Closer, error) {
	var c net.PacketConn
	err := p.receiver.Do(func() (err error) {
		c, err = (&net.ListenConfig{}).ListenPacket(ctx, network, at.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	go func() {
		for buffer := make([]byte, 2048); ; { // more than we send
			n, from, err := c.ReadFrom(buffer)
			if err != nil {
				return
			}
			got(buffer[:n])
			if network == "udp" {
				_, _ = c.WriteTo(buffer[:n], from)
			}
		}
	}()
	return c, nil
}

// listen accepts connections on a machine.
func listen(ctx context.Context, m *netns.Machine, at netip.AddrPort) (net.Listener, error) {
	var l net.Listener
	err := m.Do(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", at.String())
		return err
	})
	return l, err
}

// echo sends back what it gets.
func echo(l net.Listener, got func([]byte)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close() //nolint:errcheck // it is over
			buffer := make([]byte, 64)
			n, _ := c.Read(buffer)
			got(buffer[:n])
			_, _ = c.Write(buffer[:n])
		}()
	}
}

// try sends the text once.
func (p *parcel) try(ctx context.Context, text []byte) error {
	if p.wrap != nil {
		text = p.wrap(text)
	}
	local, remote := netip.AddrPortFrom(p.src, 0), netip.AddrPortFrom(p.dst, p.port)
	switch p.protocol {
	case "tcp":
		c, err := (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local)}).DialContext(ctx, "tcp", remote.String())
		if err != nil {
			return err
		}
		defer context.AfterFunc(ctx, func() { _ = c.Close() })() // who waits for an answer is told
		defer c.Close()                                          //nolint:errcheck // it is over
		if _, err := c.Write(text); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, c)
		return err
	case "udp":
		return once(ctx, &net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(local)}, "udp", remote.String(), text)
	case "icmp", "icmpv6":
		text = ping(text, p.protocol)
	case "gre":
		text = append([]byte{0, 0, 0x88, 0xb5}, text...) // no options, and a protocol for experiments
	case "esp":
		text = append([]byte{0, 0, 1, 0, 0, 0, 0, 1}, text...) // an index and a number
	}
	return once(ctx, &net.Dialer{LocalAddr: &net.IPAddr{IP: p.src.AsSlice()}}, p.raw(), p.dst.String(), text)
}

func once(ctx context.Context, d *net.Dialer, network, to string, text []byte) error {
	c, err := d.DialContext(ctx, network, to)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // it is over
	_, err = c.Write(text)
	return err
}

// ping is an echo request. The kernel sums up those of ICMPv6.
func ping(text []byte, protocol string) []byte {
	const echoRequest, echoRequestIPv6 = 8, 128
	// The text also gives the number that tells one ping from another.
	packet := append([]byte{echoRequest, 0, 0, 0, text[0], text[1], 0, 1}, text...)
	if protocol == "icmpv6" {
		packet[0] = echoRequestIPv6
		return packet
	}
	binary.BigEndian.PutUint16(packet[2:], checksum(packet))
	return packet
}

// checksum is that of RFC 1071, of an even or odd number of bytes.
func checksum(data []byte) uint16 {
	var sum uint32
	for i, b := range data {
		sum += uint32(b) << (8 * (1 - i%2)) // bytes in a word
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// forge returns what somebody would send to a node's VXLAN port to speak to a
// pod: a frame for the node's tunnel, with a datagram from another pod in it.
func forge(tunnel net.HardwareAddr, from netip.Addr, to netip.AddrPort) func([]byte) []byte {
	return func(text []byte) []byte {
		const network, ipv4 = 1, 0x0800
		const vxlanHeader, frameHeader, ipHeader, udpHeader = 8, 14, 20, 8
		packet := make([]byte, vxlanHeader+frameHeader+ipHeader+udpHeader, 128) // and room for the text
		packet[0] = 0x08                                                        // there is a network's number
		binary.BigEndian.PutUint32(packet[4:], network<<8)
		frame := packet[vxlanHeader:]
		copy(frame, tunnel)
		frame[6] = 0x02 // from a made-up address
		binary.BigEndian.PutUint16(frame[12:], ipv4)
		ip := frame[frameHeader:]
		ip[0], ip[8], ip[9] = 0x45, 64, 17                                       // five words, hops left, UDP
		binary.BigEndian.PutUint16(ip[2:], uint16(ipHeader+udpHeader+len(text))) //nolint:gosec // G115: a text is short
		copy(ip[12:], from.AsSlice())
		copy(ip[16:], to.Addr().AsSlice())
		binary.BigEndian.PutUint16(ip[10:], checksum(ip[:ipHeader]))
		udp := ip[ipHeader:] // without a checksum, as IPv4 allows
		binary.BigEndian.PutUint16(udp, to.Port())
		binary.BigEndian.PutUint16(udp[2:], to.Port())
		binary.BigEndian.PutUint16(udp[4:], uint16(udpHeader+len(text))) //nolint:gosec // G115: a text is short
		return append(packet, text...)
	}
}
