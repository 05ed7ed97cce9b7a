package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// gatherListeners returns the TCP ports on which others reach something on this
// machine.
func gatherListeners() (map[uint16]bool, error) {
	out := map[uint16]bool{}
	for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(file) //nolint:gosec // a constant
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("cannot see what listens: %w", err)
		}
		err = listeners(f, out)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("cannot see what listens: %s: %w", file, err)
		}
	}
	return out, nil
}

// stateListen is how /proc/net/tcp says that a socket listens.
const stateListen = "0A"

// listeners adds the ports that a table of the kernel has, but for those on
// loopback addresses. The kernel lists sockets that listen before all others.
func listeners(table io.Reader, into map[uint16]bool) error {
	lines := bufio.NewScanner(table)
	lines.Scan() // the names of the columns
	for lines.Scan() {
		columns := strings.Fields(lines.Text())
		if len(columns) < 4 || columns[3] != stateListen { //nolint:mnd // number, local, remote, state
			break
		}
		host, port, _ := strings.Cut(columns[1], ":")
		n, err := strconv.ParseUint(port, 16, 16)
		if err != nil {
			return fmt.Errorf("a port is %q", port)
		}
		if a, ok := kernelAddress(host); ok && !a.IsLoopback() {
			into[uint16(n)] = true
		}
	}
	return lines.Err()
}

// kernelAddress reads an address as the kernel writes it: words of 32 bits, each
// in the order of a little machine's bytes.
func kernelAddress(text string) (netip.Addr, bool) {
	var bytes []byte
	for i := 0; i+8 <= len(text); i += 8 {
		for j := 6; j >= 0; j -= 2 {
			n, err := strconv.ParseUint(text[i+j:i+j+2], 16, 8)
			if err != nil {
				return netip.Addr{}, false
			}
			bytes = append(bytes, byte(n))
		}
	}
	a, ok := netip.AddrFromSlice(bytes)
	return a.Unmap(), ok
}
