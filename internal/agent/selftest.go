package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/rules"
)

func newSelftest() *cobra.Command {
	return &cobra.Command{
		Use: "selftest", Short: "Prove on this kernel, in a network namespace of its own, what the agent relies on", Args: noArgs,
		Long: "Prove on this kernel what the agent relies on: that a transaction which is refused changes nothing,\nthat a trial ends by itself, that leaves count. It happens in a network namespace of its own, which\nis gone afterwards; what this host enforces is not touched.",
		RunE: func(cmd *cobra.Command, _ []string) error { return selftest(cmd.Context(), cmd.OutOrStdout()) },
	}
}

// selftest runs in a thread that ends with it, since a thread that has left its
// network namespace is good for nothing else.
func selftest(ctx context.Context, out io.Writer) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("cannot make a network namespace, which needs CAP_SYS_ADMIN: %w", err)
			}
			t, err := newTester(ctx)
			if err != nil {
				return err
			}
			return errors.Join(t.all(out), t.close())
		}()
	}()
	return <-done
}

// A tester is a namespace with nothing but a loopback interface, which is
// judged here as an uplink is elsewhere, and a socket that sends to itself.
type tester struct {
	kernel *apply.Kernel
	socket *net.UDPConn
	// closed drops what open lets in.
	open, closed *nft.Version
}

// patience is how long a packet may take on the loopback interface.
const patience = 300 * time.Millisecond

func newTester(ctx context.Context) (*tester, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("cannot find the loopback interface: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return nil, fmt.Errorf("cannot bring the loopback interface up: %w", err)
	}
	t := &tester{}
	if t.kernel, err = apply.Open(); err != nil {
		return nil, err
	}
	if t.open, err = testVersion(rules.Accept); err != nil {
		return nil, err
	}
	if t.closed, err = testVersion(rules.Drop); err != nil {
		return nil, err
	}
	c, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot open a socket: %w", err)
	}
	socket, ok := c.(*net.UDPConn)
	if !ok {
		return nil, fmt.Errorf("a UDP socket is a %T", c)
	}
	t.socket = socket
	return t, nil
}

// testVersion accepts all egress, and does to ingress what it is told.
func testVersion(a rules.Action) (*nft.Version, error) {
	g := &rules.Group{Name: "selftest", Type: rules.Advanced}
	g.Append(rules.Rule{Direction: rules.Egress, Action: rules.Accept, Priority: 1, Protocol: rules.AllProtocols, Peer: rules.MustCIDR("0.0.0.0/0")})
	g.Append(rules.Rule{Direction: rules.Ingress, Action: a, Priority: 1, Protocol: rules.UDP, Ports: rules.PortRange{First: 1, Last: 65535}, Peer: rules.MustCIDR("127.0.0.0/8")})
	rs, err := rules.Merge([]*rules.Group{g}, nil)
	if err != nil {
		return nil, err
	}
	c, err := nft.New(nft.Input{Ruleset: rs})
	if err != nil {
		return nil, err
	}
	return c.Version(&rules.Membership{})
}

func (t *tester) close() error { return errors.Join(t.socket.Close(), t.kernel.Close()) }

func (t *tester) all(out io.Writer) error {
	for _, s := range []struct {
		what string
		try  func() error
	}{
		{"the kernel has what is needed of it", t.kernel.Probe},
		{"a version that is built is out of reach, and in force once confirmed", t.built},
		{"a transaction that is refused changes nothing", t.refused},
		{"a trial is in force, and ends by itself", t.trial},
		{"leaves count, over a swap too", t.counted},
		{"a flow that was cut does not begin anew, and others do", t.cut},
		{"nothing drifts", t.unchanged},
	} {
		if err := s.try(); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		if _, err := fmt.Fprintf(out, "ok    %s\n", s.what); err != nil {
			return err
		}
	}
	return nil
}

// passes reports whether a packet of a new flow comes in.
func (t *tester) passes() (bool, error) {
	from, err := net.DialUDP("udp4", nil, t.socket.LocalAddr().(*net.UDPAddr)) //nolint:forcetypeassert // of a UDP socket
	if err != nil {
		return false, fmt.Errorf("cannot send: %w", err)
	}
	defer func() { _ = from.Close() }()
	return t.arrives(from)
}

// arrives reports whether a packet of a socket comes in.
func (t *tester) arrives(from net.Conn) (bool, error) {
	text := from.LocalAddr().String()
	if _, err := io.WriteString(from, text); err != nil && !errors.Is(err, unix.EPERM) {
		return false, fmt.Errorf("cannot send: %w", err)
	}
	var b [64]byte
	for {
		if err := t.socket.SetReadDeadline(time.Now().Add(patience)); err != nil { //nolint:forbidigo // the kernel's own clock
			return false, fmt.Errorf("cannot receive: %w", err)
		}
		n, err := t.socket.Read(b[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("cannot receive: %w", err)
		case string(b[:n]) == text:
			return true, nil
		}
	}
}

func (t *tester) wantPasses() error {
	got, err := t.passes()
	if err == nil && !got {
		err = errors.New("a packet is dropped that must pass")
	}
	return err
}

func (t *tester) wantDropped() error {
	got, err := t.passes()
	if err == nil && got {
		err = errors.New("a packet passes that must be dropped")
	}
	return err
}

func (t *tester) built() error {
	if err := t.kernel.Build(t.closed, []string{"lo"}); err != nil {
		return err
	}
	if err := t.wantPasses(); err != nil {
		return err
	}
	if err := t.kernel.Confirm(t.closed.Name); err != nil {
		return err
	}
	if err := t.wantDropped(); err != nil {
		return err
	}
	if err := t.kernel.Build(t.open, nil); err != nil {
		return err
	}
	if err := t.wantDropped(); err != nil {
		return err
	}
	if err := t.kernel.Confirm(t.open.Name); err != nil {
		return err
	}
	return t.wantPasses()
}

func (t *tester) refused() error {
	if err := t.kernel.Confirm("absent"); err == nil {
		return errors.New("the kernel confirms a version that is not there")
	}
	return t.wantPasses()
}

func (t *tester) trial() error {
	const span = 600 * time.Millisecond
	if err := t.kernel.Trial(t.closed.Name, span); err != nil {
		return err
	}
	if s, err := t.kernel.State(); err != nil || s.Trial != t.closed.Name {
		return errors.Join(err, fmt.Errorf("on trial is %q", s.Trial))
	}
	if err := t.wantDropped(); err != nil {
		return err
	}
	for range 100 {
		s, err := t.kernel.State()
		if err != nil {
			return err
		}
		if s.Trial == "" {
			return t.wantPasses()
		}
		if _, err := t.passes(); err != nil { // which waits a little, too
			return err
		}
	}
	return errors.New("the kernel does not end it")
}

func (t *tester) counted() error {
	before, err := t.kernel.Tallies()
	if err != nil {
		return err
	}
	if err := t.kernel.EndTrial(); err != nil {
		return err
	}
	if err := t.kernel.Delete(t.open); err != nil {
		return err
	}
	if err := t.wantPasses(); err != nil {
		return err
	}
	after, err := t.kernel.Tallies()
	if err != nil {
		return err
	}
	more := 0
	for leaf, tally := range after {
		if tally.Packets > before[leaf].Packets {
			more++
		}
	}
	if more != 2 { //nolint:mnd // one for each direction
		return fmt.Errorf("%d leaves counted a packet that left and came in: want 2", more)
	}
	return nil
}

// cut cuts a flow that the rules let in, and lets it begin anew.
func (t *tester) cut() error {
	from, err := net.DialUDP("udp4", nil, t.socket.LocalAddr().(*net.UDPAddr)) //nolint:forcetypeassert // of a UDP socket
	if err != nil {
		return fmt.Errorf("cannot send: %w", err)
	}
	defer func() { _ = from.Close() }()
	peer, own := from.LocalAddr().(*net.UDPAddr), t.socket.LocalAddr().(*net.UDPAddr) //nolint:forcetypeassert // of UDP sockets
	flow := []apply.Revoked{{Direction: rules.Ingress, Protocol: rules.UDP, Peer: peer.AddrPort(), Own: own.AddrPort()}}
	if err := t.kernel.Revoke(flow); err != nil {
		return err
	}
	if got, err := t.arrives(from); err != nil || got {
		return errors.Join(err, fmt.Errorf("it was cut, and passes: %t", got))
	}
	if err := t.wantPasses(); err != nil {
		return err
	}
	if err := t.kernel.Pardon(flow); err != nil {
		return err
	}
	if got, err := t.arrives(from); err != nil || !got {
		return errors.Join(err, fmt.Errorf("it may pass again, and passes: %t", got))
	}
	return nil
}

func (t *tester) unchanged() error {
	drift, err := t.kernel.Drift(t.open)
	if err == nil && len(drift) > 0 {
		err = fmt.Errorf("%q", drift)
	}
	return err
}
