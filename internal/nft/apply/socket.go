package apply

import (
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// force sets a buffer of the socket beyond the limit that processes without
// CAP_NET_ADMIN have.
func force(c *netlink.Conn, option int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, buffer) }); err != nil {
		return err
	}
	if set != nil {
		return fmt.Errorf("cannot enlarge the buffers of the netlink socket, which needs CAP_NET_ADMIN: %w", set)
	}
	return nil
}
