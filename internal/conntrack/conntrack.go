// Package conntrack reads and deletes what the kernel's table of connections
// has, in the network namespace of the calling thread, by netlink. It decides
// nothing, and is for the agent. It needs CAP_NET_ADMIN.
//
// A table may have hundreds of thousands of entries, so they are read as a
// stream: what is kept of them is the caller's matter.
package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Tuple is one way of a flow, as packets on it have their ends before the
// kernel translates them. Ports are 0 where there are none.
type Tuple struct{ Source, Destination netip.AddrPort }

// An Entry is a flow that the kernel follows.
type Entry struct {
	// Protocol is an IANA number, ICMPType that of the first packet if the
	// protocol is ICMP or ICMPv6.
	Protocol, ICMPType uint8
	// Original is the way of the first packet; Reply the way of what answers it:
	// reversed, it is how the first packet left after all translation.
	Original, Reply Tuple
	// name is what the kernel wants in order to find the entry again: the first
	// tuple, the zone, and the number by which it is told from a later flow.
	name string
}

// The attributes of a tuple, and of an entry; the rest is in package nl.
const (
	tupleIP, tupleProto                          = 1, 2
	ip4Source, ip4Destination                    = 1, 2
	ip6Source, ip6Destination                    = 3, 4
	protoNumber, protoSource, protoDestination   = 1, 2, 3
	protoICMPType, protoICMPv6Type               = 5, 8
	attributeHeader, attributeAlign, nfnetHeader = 4, 4, 4
)

// errInterrupted says that the table changed while it was read.
var errInterrupted = errors.New("the table of connections changed while it was read: some may be missing")

// IsInterrupted reports whether an error of Find says that entries may have
// been left out, and nothing worse.
func IsInterrupted(err error) bool { return errors.Is(err, errInterrupted) }

// Find returns entries that are wanted, and at most so many. It asks about every
// entry, also when it has enough. Entries that come while it reads may be left
// out; if others may be as well, the error is one of [IsInterrupted], and what
// was found is returned with it.
func Find(most int, wanted func(*Entry) bool) ([]Entry, error) {
	var found []Entry
	var damaged error
	interrupted := false
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		err := request(family, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP).ExecuteIter(unix.NETLINK_NETFILTER, 0, func(message []byte) bool {
			e, ok := read(message)
			if !ok {
				damaged = errors.New("an entry has no addresses")
				return false
			}
			if wanted(&e) && len(found) < most {
				e.name = nameOf(message)
				found = append(found, e)
			}
			return true
		})
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			interrupted, err = true, nil
		}
		if err == nil {
			err = damaged
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the table of connections: %w", err)
		}
	}
	if interrupted {
		return found, errInterrupted
	}
	return found, nil
}

func request(family uint8, kind, flags int) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(int(netlink.ConntrackTable)<<8|kind, flags)
	r.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return r
}

// Delete takes entries out of the table: the next packet of such a flow begins
// a new one. One that has gone meanwhile, or has made way for another flow of
// the same ends, is no error.
func Delete(list []Entry) error {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	defer socket.Close()
	sockets := map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: socket}}
	for i := range list {
		family := uint8(unix.AF_INET)
		if list[i].Original.Source.Addr().Is6() {
			family = unix.AF_INET6
		}
		r := request(family, nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
		r.AddRawData([]byte(list[i].name))
		r.Sockets = sockets
		if _, err := r.Execute(unix.NETLINK_NETFILTER, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cannot delete a connection: %w", err)
		}
	}
	return nil
}

// read reads an entry; false if it has no addresses.
func read(message []byte) (Entry, bool) {
	var e Entry
	if len(message) < nfnetHeader {
		return e, false
	}
	for kind, attribute := range attributes(message[nfnetHeader:]) {
		switch content := attribute[attributeHeader:]; kind {
		case nl.CTA_TUPLE_ORIG:
			e.Original = e.tuple(content)
		case nl.CTA_TUPLE_REPLY:
			var other Entry
			e.Reply = other.tuple(content)
		}
	}
	return e, e.Original.Source.IsValid() && e.Reply.Source.IsValid()
}

// nameOf returns what the kernel wants in order to find an entry again.
func nameOf(message []byte) string {
	var name []byte
	for kind, attribute := range attributes(message[nfnetHeader:]) {
		switch kind {
		case nl.CTA_TUPLE_ORIG, nl.CTA_ZONE, nl.CTA_ID:
			name = append(name, attribute...)
			name = append(name, make([]byte, padding(len(attribute)))...)
		}
	}
	return string(name)
}

// tuple reads a tuple, and what it says of the protocol.
func (e *Entry) tuple(b []byte) Tuple {
	var source, destination netip.Addr
	var from, to uint16
	for kind, part := range attributes(b) {
		switch kind {
		case tupleIP:
			for kind, a := range attributes(part[attributeHeader:]) {
				switch kind {
				case ip4Source, ip6Source:
					source, _ = netip.AddrFromSlice(a[attributeHeader:])
				case ip4Destination, ip6Destination:
					destination, _ = netip.AddrFromSlice(a[attributeHeader:])
				}
			}
		case tupleProto:
			for kind, a := range attributes(part[attributeHeader:]) {
				switch value := a[attributeHeader:]; {
				case kind == protoNumber && len(value) >= 1:
					e.Protocol = value[0]
				case kind == protoSource && len(value) >= 2:
					from = binary.BigEndian.Uint16(value)
				case kind == protoDestination && len(value) >= 2:
					to = binary.BigEndian.Uint16(value)
				case (kind == protoICMPType || kind == protoICMPv6Type) && len(value) >= 1:
					e.ICMPType = value[0]
				}
			}
		}
	}
	return Tuple{netip.AddrPortFrom(source, from), netip.AddrPortFrom(destination, to)}
}

// attributes yields the kinds of the attributes in b, and each with its header.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= attributeHeader {
			length := int(nl.NativeEndian().Uint16(b))
			if length < attributeHeader || length > len(b) {
				return
			}
			if !yield(nl.NativeEndian().Uint16(b[2:])&nl.NLA_TYPE_MASK, b[:length:length]) {
				return
			}
			b = b[min(len(b), length+padding(length)):]
		}
	}
}

// padding is what follows an attribute, so that the next one is aligned.
func padding(length int) int { return -length & (attributeAlign - 1) }
