package agent

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/internal/statedir"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// downgrade gives a node the base chains of an older agent, and returns the
// counts of its leaves.
func (a *node) downgrade() map[string]apply.Tally {
	a.t.Helper()
	var counts map[string]apply.Tally
	a.ask(func(k *apply.Kernel) error {
		tables, err := profiles.Load()
		if err != nil {
			return err
		}
		saved, err := disk{statedir.Dir(a.state)}.read(enforcedFile)
		if err != nil {
			return err
		}
		l, err := lay(&saved.Order, tables.Exempt())
		if err != nil {
			return err
		}
		old := *l.version
		old.Base = nil
		for d, hook := range map[rules.Direction]*nft.Hook{rules.Ingress: {Name: "prerouting", Priority: -160}, rules.Egress: {Name: "postrouting", Priority: 150}} {
			old.Base = append(old.Base, nft.Node{
				Name: "base_" + d.String() + "_old", Hook: hook,
				Rules: []nft.Rule{nft.AcceptForeign{Egress: d == rules.Egress}, nft.AcceptEstablished{}, nft.Goto{Chain: nft.Policy(d)}},
			})
		}
		if err := k.Delete(&old); err != nil {
			return err
		}
		counts, err = k.Tallies()
		return err
	})
	return counts
}

// TestUpgrade starts an agent where an older one has laid out the base chains
// otherwise, while packets come: nothing that must be dropped comes in, what is
// let in loses nothing, and counts go on.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	node1, node2, node3 := three(t)
	dir := t.TempDir()
	write(t, dir, wornBy1("other", "", "in protocol: UDP, ports: 90/90, peer: {groupName: app}, policy: Accept"))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	stop := node2.callsUDP(4000, node1, 90).goesOn()
	quit, ended := make(chan struct{}), make(chan error)
	var closed, stranger net.Conn
	node1.network.must(in(node1.ns, func() error {
		var err error
		closed, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(node1.at(99)), net.UDPAddrFromAddrPort(node3.at(99)))
		return err
	}))
	defer func() { _ = closed.Close() }()
	node1.network.must(in(node3.ns, func() error {
		var err error
		stranger, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(node3.at(99)), net.UDPAddrFromAddrPort(node1.at(99)))
		return err
	}))
	defer func() { _ = stranger.Close() }()
	go func() {
		for {
			select {
			case <-quit:
				ended <- nil
				return
			default:
			}
			if _, err := io.WriteString(stranger, "let me in"); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
				ended <- err
				return
			}
		}
	}()
	before := node1.downgrade()
	if len(node1.status().Drift) == 0 {
		t.Fatal("the base chains are not those of an older agent: this proves nothing")
	}
	p := node1.start(node1.flags(dir, "--confirm=never")...)
	if !wait(func() bool { return len(node1.status().Drift) == 0 }) {
		t.Errorf("the base chains are not replaced: %q", node1.status().Drift)
	}
	close(quit)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	stop()
	if o := p.stop(syscall.SIGTERM); o.code != exitOK {
		t.Errorf("exit code %d", o.code)
	}
	node1.ask(func(k *apply.Kernel) error {
		after, err := k.Tallies()
		for leaf, tally := range before {
			if after[leaf].Packets < tally.Packets {
				t.Errorf("leaf %s counted %d packets, now %d", leaf, tally.Packets, after[leaf].Packets)
			}
		}
		return err
	})
	if err := closed.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil { //nolint:forbidigo // the kernel's own clock
		t.Fatal(err)
	}
	if _, err := closed.Read(make([]byte, 64)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a packet that must be dropped came in while the base chains were replaced (%v)", err)
	}
}
