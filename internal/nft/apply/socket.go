package apply

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// page is how much the kernel puts into one answer at most. It puts less if
// the socket was never read with so much room, as the library never does; and
// since for each answer it walks the map again from where it begins, to read
// one of 65,000 elements would take a second.
const page = 32 << 10

// enlarge prepares the socket for tens of thousands of elements at once. Who is
// root of a user namespace only gets what the machine lets anybody have: enough
// for some thousands, and more is refused by the kernel with an error.
func enlarge(c *netlink.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot reach the netlink socket: %w", err)
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		for force, ask := range map[int]int{unix.SO_SNDBUFFORCE: unix.SO_SNDBUF, unix.SO_RCVBUFFORCE: unix.SO_RCVBUF} {
			err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, force, buffer)
			if errors.Is(err, unix.EPERM) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, ask, buffer)
			}
			set = errors.Join(set, err)
		}
	})
	if err := errors.Join(err, set); err != nil {
		return fmt.Errorf("cannot enlarge the buffers of the netlink socket: %w", err)
	}
	return widen(c, raw)
}

// widen reads an answer with room for a page: the kernel remembers.
func widen(c *netlink.Conn, raw syscall.RawConn) error {
	_, err := c.Send(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   make([]byte, 4), //nolint:mnd // struct nfgenmsg
	})
	if err != nil {
		return fmt.Errorf("cannot ask nftables anything: %w", err)
	}
	var read error
	answer, size := make([]byte, page), 0
	err = raw.Read(func(fd uintptr) bool {
		size, _, read = unix.Recvfrom(int(fd), answer, 0)
		return !errors.Is(read, unix.EAGAIN)
	})
	if err := errors.Join(err, read, refusal(answer[:max(0, size)])); err != nil {
		return fmt.Errorf("cannot read what nftables answers: %w", err)
	}
	return nil
}

// refusal is the error that an answer is; nil if it is none.
func refusal(answer []byte) error {
	const header, code = 16, 4 // bytes: struct nlmsghdr, then a number
	if len(answer) < header+code || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return nil
	}
	err := unix.Errno(-int32(binary.NativeEndian.Uint32(answer[header:]))) //nolint:gosec // the kernel's numbers are small
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("this process lacks CAP_NET_ADMIN: %w", err)
	}
	return err
}
