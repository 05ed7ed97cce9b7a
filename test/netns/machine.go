package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Machine is a network namespace, and what runs in it. A [Lab] makes it.
type Machine struct {
	// Name is for people.
	Name string

	lab *Lab
	// ns is the namespace, open; -1 for this machine itself.
	ns int
	// requests go to the machine's own thread: programs die with the thread that
	// started them, so that must be one that stays. It has the processes, too.
	requests  chan func()
	processes []*Process
}

// power starts the machine's own thread, in new namespaces of these kinds.
func (m *Machine) power(kinds int) error {
	m.requests = make(chan func())
	made := make(chan error)
	onThread(func() {
		err := m.unshare(kinds)
		made <- err
		if err != nil {
			return
		}
		for f := range m.requests {
			f()
		}
	})
	return <-made
}

func (m *Machine) unshare(kinds int) error {
	if kinds == 0 {
		return nil
	}
	if err := unix.Unshare(kinds); err != nil {
		return err
	}
	// What is mounted here stays here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot keep mounts apart: %w", err)
	}
	var err error
	m.ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return err
}

func (m *Machine) close() error {
	err := m.own(func() error {
		for _, p := range m.processes {
			p.kill()
		}
		return nil
	})
	close(m.requests)
	if m.ns < 0 {
		return err
	}
	return errors.Join(err, unix.Close(m.ns))
}

// Do runs f on the machine, as far as the network is concerned. Sockets that f
// makes stay on it. Goroutines that f starts are not on it: dial addresses, no
// names.
func (m *Machine) Do(f func() error) error {
	done := make(chan error)
	onThread(func() {
		if m.ns >= 0 {
			if err := unix.Setns(m.ns, unix.CLONE_NEWNET); err != nil {
				done <- fmt.Errorf("cannot enter machine %s: %w", m.Name, err)
				return
			}
		}
		done <- f()
	})
	return <-done
}

// own runs f on the machine's own thread, one at a time.
func (m *Machine) own(f func() error) error {
	done := make(chan error)
	m.requests <- func() { done <- f() }
	return <-done
}

// Plug gives the machine an interface on a switch, with addresses.
func (m *Machine) Plug(s *Switch, name string, addresses ...netip.Prefix) {
	m.lab.do(fmt.Sprintf("plug %s of %s into switch %s", name, m.Name, s.machine.Name), func() error {
		s.ports++
		port := fmt.Sprintf("port%d", s.ports)
		m.lab.plugs = append(m.lab.plugs, plug{m, name}, plug{s.machine, port})
		if err := m.Do(func() error { return cable(name, port, s.machine.ns, addresses) }); err != nil {
			return err
		}
		return s.machine.Do(func() error { return join(port) })
	})
}

// Behind puts the machine behind a node, as a pod: its only way out is a cable
// to the node, which routes to it.
func (m *Machine) Behind(node *Machine, port string, address netip.Addr) {
	m.lab.do(fmt.Sprintf("put %s behind %s", m.Name, node.Name), func() error {
		gateway := netip.AddrFrom4([4]byte{169, 254, 1, 1})
		if address.Is6() {
			gateway = netip.MustParseAddr("fe80::1")
		}
		own := netip.PrefixFrom(address, address.BitLen())
		m.lab.plugs = append(m.lab.plugs, plug{m, "eth0"}, plug{node, port})
		if err := m.Do(func() error { return cable("eth0", port, node.ns, []netip.Prefix{own}) }); err != nil {
			return err
		}
		err := node.Do(func() error {
			if err := assign(port, netip.PrefixFrom(gateway, gateway.BitLen())); err != nil {
				return err
			}
			return route(own, netip.Addr{}, port)
		})
		if err != nil {
			return err
		}
		return m.Do(func() error {
			if err := route(netip.PrefixFrom(gateway, gateway.BitLen()), netip.Addr{}, "eth0"); err != nil {
				return err
			}
			return route(netip.PrefixFrom(unspecified(address), 0), gateway, "eth0")
		})
	})
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is6() {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// Route sends what is for these addresses to a neighbour.
func (m *Machine) Route(to netip.Prefix, via netip.Addr) {
	m.lab.do(fmt.Sprintf("route %s of %s", to, m.Name), func() error {
		return m.Do(func() error { return route(to, via, "") })
	})
}

// Forward makes the machine a router.
func (m *Machine) Forward() {
	m.lab.do("make a router of "+m.Name, func() error {
		return m.Do(func() error {
			if HasIPv6() {
				if err := sysctl("ipv6/conf/all/forwarding", "1"); err != nil {
					return err
				}
			}
			return sysctl("ipv4/ip_forward", "1")
		})
	})
}

// Change lets f change the machine's network by itself.
func (m *Machine) Change(what string, f func() error) {
	m.lab.do(what+" of "+m.Name, func() error { return m.Do(f) })
}

// Resolver makes this what programs on the machine find as /etc/resolv.conf. All
// else in /etc is hidden from them.
func (m *Machine) Resolver(servers ...netip.Addr) {
	m.lab.do("name DNS servers for "+m.Name, func() error {
		return m.own(func() error {
			if err := unix.Mount("tmpfs", "/etc", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=64k"); err != nil {
				return err
			}
			var text strings.Builder
			for _, s := range servers {
				fmt.Fprintf(&text, "nameserver %s\n", s)
			}
			return os.WriteFile("/etc/resolv.conf", []byte(text.String()), 0o644) //nolint:gosec // G306: everybody reads it
		})
	})
}

// Disk makes a folder, of which programs on the machine see a disk of its own:
// of that many bytes, and empty.
func (m *Machine) Disk(folder string, size int) {
	m.lab.do("give a disk to "+m.Name, func() error {
		return m.own(func() error {
			if err := os.MkdirAll(folder, 0o700); err != nil {
				return err
			}
			return unix.Mount("tmpfs", folder, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d", size))
		})
	})
}

// A Switch is a bridge without addresses. [Lab.Switch] makes it.
type Switch struct {
	machine *Machine
	ports   int
}

const bridge = "br0"

// Switch adds a switch.
func (l *Lab) Switch(name string) *Switch {
	s := &Switch{machine: l.Machine(name)}
	s.machine.Change("build switch", func() error {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = bridge
		// Without listening to who wants which multicast: neighbour discovery starts at once.
		snooping := false
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attributes, MulticastSnooping: &snooping}); err != nil {
			return err
		}
		return up(bridge)
	})
	return s
}
