package seen

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
)

// ErrTaken says that another process reads the log: the kernel gives a group
// to one reader. A process without the right to read it is told the same.
var ErrTaken = errors.New("another process reads it, or this one lacks CAP_NET_ADMIN")

// A Log is the kernel's log of denied packets, in one network namespace.
type Log struct{ conn *netlink.Conn }

// The messages and attributes of nfnetlink_log that we use.
const (
	messagePacket = unix.NFNL_SUBSYS_ULOG << 8
	messageConfig = unix.NFNL_SUBSYS_ULOG<<8 | 1

	configCommand   = 1 // u8
	configMode      = 2 // be32 range, u8 mode, u8 padding
	configThreshold = 5 // be32 packets
	configFlags     = 6 // be16

	commandBind = 1
	modePacket  = 2
	flagNumber  = 1

	packetPayload = 9
	packetPrefix  = 10
	packetNumber  = 12 // be32

	frame = 4 // struct nfgenmsg
)

// Open takes the log of the calling thread's network namespace. It needs
// CAP_NET_ADMIN. The error wraps ErrTaken if another process has it.
func Open() (*Log, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log of denied packets: %w", err)
	}
	mode := append(binary.BigEndian.AppendUint32(nil, nft.LogSnap), modePacket, 0)
	for _, a := range []netlink.Attribute{
		{Type: configCommand, Data: []byte{commandBind}},
		{Type: configMode, Data: mode},
		{Type: configFlags, Data: binary.BigEndian.AppendUint16(nil, flagNumber)},
		// Tell of each packet at once: the limit in the kernel keeps them few.
		{Type: configThreshold, Data: binary.BigEndian.AppendUint32(nil, 1)},
	} {
		if err := configure(conn, a); err != nil {
			_ = conn.Close()
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) {
				err = ErrTaken
			}
			return nil, fmt.Errorf("cannot read the log of denied packets, NFLOG group %d: %w", nft.LogGroup, err)
		}
	}
	return &Log{conn}, nil
}

func configure(conn *netlink.Conn, a netlink.Attribute) error {
	data, err := netlink.MarshalAttributes([]netlink.Attribute{a})
	if err != nil {
		return err
	}
	header := []byte{unix.AF_UNSPEC, 0, nft.LogGroup >> 8, nft.LogGroup & 0xff}
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: messageConfig, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append(header, data...),
	})
	return err
}

// Close lets the log go.
func (l *Log) Close() error { return l.conn.Close() }

// A Sighting is one denied packet.
type Sighting struct {
	Key   Key
	Local netip.Addr
	// Lost is how many messages before this one did not get through.
	Lost uint64
}

// Read tells of denied packets until the context ends; then it returns nil. It
// closes the log.
func (l *Log) Read(ctx context.Context, tell func(Sighting)) error {
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		stop()
		_ = l.conn.Close()
	}()
	var m meter
	for {
		messages, err := l.conn.Receive()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, unix.ENOBUFS) { // the next number tells how many are lost
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot go on reading the log of denied packets: %w", err)
		}
		for _, message := range messages {
			if message.Header.Type == messagePacket {
				m.read(message.Data, tell)
			}
		}
	}
}

// A meter counts what is lost between messages.
type meter struct {
	next uint32
	lost uint64
}

func (m *meter) read(data []byte, tell func(Sighting)) {
	s, number, ok := readMessage(data)
	if number != nil {
		m.lost += uint64(*number - m.next) // wraps as the kernel's does
		m.next = *number + 1
	}
	if ok {
		s.Lost, m.lost = m.lost, 0
		tell(s)
	}
}

// readMessage reads a message and its number, nil if it has none; false if it
// tells of no packet of ours.
func readMessage(data []byte) (s Sighting, number *uint32, ok bool) {
	if len(data) < frame {
		return Sighting{}, nil, false
	}
	attributes, err := netlink.UnmarshalAttributes(data[frame:])
	if err != nil {
		return Sighting{}, nil, false
	}
	var denial nft.Denial
	var packet Packet
	var named, read bool
	for _, a := range attributes {
		switch a.Type {
		case packetNumber:
			if len(a.Data) == 4 {
				number = new(binary.BigEndian.Uint32(a.Data))
			}
		case packetPrefix:
			denial, named = nft.ReadPrefix(strings.TrimRight(string(a.Data), "\x00"))
		case packetPayload:
			packet, read = ReadPacket(a.Data)
		}
	}
	s = Sighting{Key: Key{Denial: denial, Remote: packet.Source, Protocol: packet.Protocol, Port: packet.Port}, Local: packet.Destination}
	if denial.Direction == rules.Egress {
		s.Key.Remote, s.Local = packet.Destination, packet.Source
	}
	return s, number, named && read
}
