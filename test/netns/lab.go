package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// A Lab is a network under construction, then in use. Its methods, and those of
// what they return, remember the first error, and do nothing after it: build
// everything, then ask Ready. One goroutine builds; many may use.
type Lab struct {
	err      error
	machines []*Machine
	plugs    []plug
}

// A plug is one end of a cable.
type plug struct {
	machine *Machine
	link    string
}

// New returns a lab without machines. Close it.
func New() *Lab { return &Lab{} }

// Ready waits until every cable carries, and returns the first error. [errors.Is]
// says [os.ErrPermission] if this process may not make namespaces.
func (l *Lab) Ready() error {
	for _, p := range l.plugs {
		l.do(fmt.Sprintf("use %s of %s", p.link, p.machine.Name), func() error {
			return p.machine.Do(func() error { return carries(p.link) })
		})
	}
	return l.err
}

// Close kills what still runs on the machines, and takes them away.
func (l *Lab) Close() error {
	var errs []error
	for _, m := range slices.Backward(l.machines) {
		errs = append(errs, m.close())
	}
	l.machines = nil
	return errors.Join(errs...)
}

// do builds a part: what it is stands in the error.
func (l *Lab) do(what string, f func() error) {
	if l.err != nil {
		return
	}
	if err := f(); err != nil {
		l.err = fmt.Errorf("cannot %s: %w", what, err)
	}
}

// Machine adds a machine with nothing but a loopback interface.
func (l *Lab) Machine(name string) *Machine {
	m := &Machine{lab: l, Name: name, ns: -1}
	l.do("make machine "+name, func() error {
		if err := m.power(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			if errors.Is(err, unix.EPERM) {
				return fmt.Errorf("network namespaces need root, or a user namespace: %w", err)
			}
			return err
		}
		l.machines = append(l.machines, m)
		return m.Do(boot)
	})
	return m
}

// Home is the machine that we are on ourselves, for programs that shall die
// with the lab. Nothing in it can be changed.
func (l *Lab) Home() *Machine {
	m := &Machine{lab: l, Name: "home", ns: -1}
	l.do("use this machine", func() error {
		l.machines = append(l.machines, m)
		return m.power(0)
	})
	return m
}

// boot is what a machine does first.
func boot() error {
	// These a namespace takes over from the machine that we are on.
	for _, key := range []string{"ip_forward", "conf/all/rp_filter", "conf/default/rp_filter"} {
		if err := sysctl("ipv4/"+key, "0"); err != nil {
			return err
		}
	}
	if HasIPv6() {
		// An address is there when we say so: nobody else is on this network.
		for _, key := range []string{"default/accept_dad", "all/accept_dad", "default/router_solicitations"} {
			if err := sysctl("ipv6/conf/"+key, "0"); err != nil {
				return err
			}
		}
	}
	return up("lo")
}

// HasIPv6 reports whether this kernel has IPv6 at all.
func HasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6/conf")
	return err == nil
}

func sysctl(key, value string) error {
	return os.WriteFile("/proc/sys/net/"+key, []byte(value), 0o600)
}

// onThread runs f on an operating system's thread of its own, which ends with it.
// Never on the first one: it is what others see in /proc as the whole process.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		held := make(chan struct{})
		onThread(func() {
			close(held)
			f()
		})
		<-held
		runtime.UnlockOSThread()
	}()
}
