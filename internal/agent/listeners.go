package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// gatherListeners returns the TCP ports on which others reach something on this
// machine.
func gatherListeners() (map[uint16]bool, error) {
	out := map[uint16]bool{}
	return out, sockets("what listens", func(table io.Reader) error { return listeners(table, out) })
}

// gatherCallers returns the other ends of the connections to a TCP port of this
// machine, of which some have just begun or just ended.
func gatherCallers(port uint16) (map[netip.AddrPort]bool, error) {
	out := map[netip.AddrPort]bool{}
	return out, sockets("who is connected", func(table io.Reader) error { return callers(table, port, out) })
}

// sockets hands the kernel's tables of TCP sockets to read.
func sockets(what string, read func(table io.Reader) error) error {
	for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(file) //nolint:gosec // a constant
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return fmt.Errorf("cannot see %s: %w", what, err)
		}
		err = read(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("cannot see %s: %s: %w", what, file, err)
		}
	}
	return nil
}

// stateListen is how /proc/net/tcp says that a socket listens.
const stateListen = "0A"

// A socket is a line of such a table.
type socket struct {
	local, remote netip.AddrPort
	state         string
}

// socketsIn yields the lines of a table, or what is wrong with one. The kernel
// lists sockets that listen before all others.
func socketsIn(table io.Reader) iter.Seq2[socket, error] {
	return func(yield func(socket, error) bool) {
		lines := bufio.NewScanner(table)
		lines.Scan() // the names of the columns
		for lines.Scan() {
			columns := strings.Fields(lines.Text())
			if len(columns) < 4 { //nolint:mnd // number, local, remote, state
				break
			}
			local, err := kernelAddrPort(columns[1])
			remote, err2 := kernelAddrPort(columns[2])
			if !yield(socket{local, remote, columns[3]}, errors.Join(err, err2)) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(socket{}, err)
		}
	}
}

// listeners adds the ports that a table has, but for those on loopback
// addresses.
func listeners(table io.Reader, into map[uint16]bool) error {
	for s, err := range socketsIn(table) {
		switch {
		case err != nil:
			return err
		case s.state != stateListen:
			return nil
		case s.local.IsValid() && !s.local.Addr().IsLoopback():
			into[s.local.Port()] = true
		}
	}
	return nil
}

// callers adds the other ends of the connections to a port that a table has.
func callers(table io.Reader, port uint16, into map[netip.AddrPort]bool) error {
	for s, err := range socketsIn(table) {
		if err != nil {
			return err
		}
		if s.state != stateListen && s.local.Port() == port && s.remote.IsValid() {
			into[s.remote] = true
		}
	}
	return nil
}

// kernelAddrPort reads an address and a port as the kernel writes them. It is
// not valid if the address cannot be read.
func kernelAddrPort(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("a port is %q", port)
	}
	a, ok := kernelAddress(host)
	if !ok {
		return netip.AddrPort{}, nil
	}
	return netip.AddrPortFrom(a, uint16(n)), nil
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
