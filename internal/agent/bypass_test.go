package agent

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/statedir"
)

func TestBypassedDecision(t *testing.T) {
	t.Parallel()
	lo := way{name: "lo", kind: "device", index: 1, up: true}
	eth0 := way{name: "eth0", kind: "device", index: 2, device: true, up: true, global: true}
	with := func(w way, change func(*way)) way {
		change(&w)
		return w
	}
	eth1 := with(eth0, func(w *way) { w.name, w.index = "eth1", 3 })
	bond := way{name: "bond0", kind: "bond", index: 9, up: true, global: true}
	part := with(eth1, func(w *way) { w.master, w.global = 9, false })
	for name, c := range map[string]struct {
		ways      []way
		uplinks   string
		untracked uint64
		want      string // what the sentences contain, in their order
	}{
		"only an uplink":                 {ways: []way{lo, eth0}, uplinks: "eth0"},
		"an interface more":              {ways: []way{lo, eth0, eth1}, uplinks: "eth0", want: "interface eth1 leads out"},
		"both uplinks":                   {ways: []way{lo, eth0, eth1}, uplinks: "eth0 eth1"},
		"it is down":                     {ways: []way{eth0, with(eth1, func(w *way) { w.up = false })}, uplinks: "eth0"},
		"it has no address":              {ways: []way{eth0, with(eth1, func(w *way) { w.global = false })}, uplinks: "eth0"},
		"part of an uplink":              {ways: []way{bond, part}, uplinks: "bond0"},
		"part of a bond with an address": {ways: []way{eth0, bond, part}, uplinks: "eth0", want: "interface bond0 leads out"},
		"part of a bridge without one":   {ways: []way{eth0, with(bond, func(w *way) { w.global = false }), part}, uplinks: "eth0", want: "name bond0 with --uplink"},
		"part of what an uplink stands on": {
			ways:    []way{part, with(bond, func(w *way) { w.master, w.global = 10, false }), {name: "br0", kind: "bridge", index: 10, up: true, global: true}},
			uplinks: "br0",
		},
		"a bridge of pods":               {ways: []way{eth0, {name: "cni0", kind: "bridge", index: 10, up: true, global: true}, {name: "veth1", kind: "veth", index: 11, master: 10, elsewhere: true, up: true}}, uplinks: "eth0"},
		"an overlay is judged outside":   {ways: []way{eth0, {name: "vxlan0", kind: "vxlan", index: 10, below: 2, up: true, global: true}}, uplinks: "eth0"},
		"a VLAN on an interface":         {ways: []way{eth0, {name: "eth0.7", kind: "vlan", index: 10, below: 2, up: true, global: true}}, uplinks: "eth0", want: "interface eth0.7 leads out"},
		"a macvlan on one of the host's": {ways: []way{eth0, {name: "mac0", kind: "macvlan", index: 10, below: 2, elsewhere: true, up: true, global: true}}, uplinks: "eth0", want: "interface mac0 leads out"},
		"programs":                       {ways: []way{with(eth0, func(w *way) { w.programs = []string{"XDP", "tc egress"} }), with(lo, func(w *way) { w.programs = []string{"XDP"} })}, uplinks: "eth0", want: "at XDP of uplink eth0|at tc egress of uplink eth0"},
		"tcx cannot be asked":            {ways: []way{with(eth0, func(w *way) { w.blind = true })}, uplinks: "eth0", want: "may not call bpf(2)"},
		"untracked packets":              {ways: []way{eth0}, uplinks: "eth0", untracked: 1, want: "notrack"},
	} {
		got := bypassed(c.ways, strings.Fields(c.uplinks), c.untracked)
		want := strings.Split(c.want, "|")
		if c.want == "" {
			want = nil
		}
		if !slices.EqualFunc(got, want, strings.Contains) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// The kinds of BPF programs and the commands of bpf(2) that the test needs.
const (
	loadProgram, createLink = 5, 28
	classifier, expressPath = 3, 6
)

func bpf(command uintptr, attributes []uint64) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&attributes[0])), uintptr(8*len(attributes)))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// program loads a BPF program that returns a number.
func program(kind, answer uint32) (int, error) {
	code := [2]uint64{0xb7 | uint64(answer)<<32, 0x95}
	license := [4]byte{'G', 'P', 'L', 0}
	attributes := []uint64{uint64(kind) | 2<<32, uint64(uintptr(unsafe.Pointer(&code[0]))), uint64(uintptr(unsafe.Pointer(&license[0]))), 0, 0, 0, 0, 0, 0}
	fd, err := bpf(loadProgram, attributes)
	runtime.KeepAlive(&code)
	runtime.KeepAlive(&license)
	return fd, err
}

// TestBypassed puts real things in the way of a running agent.
func TestBypassed(t *testing.T) {
	t.Parallel()
	node1, node2, _ := three(t)
	dir := t.TempDir()
	write(t, dir, groupsText("other", 80))
	p := node1.start(node1.flags(dir, "--confirm=never")...)
	if !wait(func() bool { return node1.status().Version != "" }) {
		t.Fatal("nothing is enforced")
	}
	if s := node1.status(); len(s.Problems) > 0 {
		t.Fatalf("problems before there are any: %q", s.Problems)
	}
	wantProblem := func(what string) {
		t.Helper()
		if s := node1.status(); !slices.ContainsFunc(s.Problems, func(p string) bool { return strings.Contains(p, what) }) {
			t.Errorf("status does not speak of %q: %q", what, s.Problems)
		}
	}
	node1.network.must(in(node1.ns, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		xdp, err := program(expressPath, 2)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(xdp) }()
		return netlink.LinkSetXdpFdWithFlags(l, xdp, 2) // generic
	}))
	wantProblem("BPF program at XDP of uplink eth0")
	node1.network.must(in(node1.ns, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		fd, err := program(classifier, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		err = netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}})
		if err != nil {
			return err
		}
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
			Fd:          fd, Name: "test", DirectAction: true,
		})
	}))
	wantProblem("BPF program at tc egress of uplink eth0")
	var link int
	err := in(node1.ns, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		fd, err := program(classifier, 0xffffffff)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		link, err = bpf(createLink, []uint64{uint64(fd) | uint64(l.Attrs().Index)<<32, tcxIngress, 0, 0, 0, 0})
		return err
	})
	if errors.Is(err, unix.EINVAL) {
		t.Log("this kernel knows no tcx")
	} else {
		node1.network.must(err)
		defer func() { _ = unix.Close(link) }()
		wantProblem("BPF program at tcx ingress of uplink eth0")
	}
	node1.network.must(in(node1.network.lan, func() error {
		below, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		attributes := netlink.NewLinkAttrs()
		attributes.Name, attributes.ParentIndex, attributes.Namespace = "mac0", below.Attrs().Index, netlink.NsFd(node1.ns)
		return netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attributes, Mode: netlink.MACVLAN_MODE_BRIDGE})
	}))
	node1.network.must(in(node1.ns, func() error { return up("mac0", "10.52.0.1/24") }))
	wantProblem("interface mac0 leads out of this host")
	node1.network.must(in(node1.ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Name: "raw", Family: nftables.TableFamilyINet})
		chain := c.AddChain(&nftables.Chain{Table: table, Name: "in", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Notrack{}}})
		return c.Flush()
	}))
	// A first packet may wait for an address to be resolved, longer than one dial.
	arrived := wait(func() bool {
		node2.dials(node1.addr, 80, short)
		return slices.ContainsFunc(node1.status().Problems, func(p string) bool { return strings.Contains(p, "notrack") })
	})
	if !arrived {
		t.Errorf("status does not speak of packets without conntrack: %q", node1.status().Problems)
	}
	noticed := wait(func() bool {
		var r report
		if _, err := (disk{statedir.Dir(node1.state)}).load(statusFile, &r); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(strings.Join(r.Bypassed, "\n"), "interface mac0 leads out")
	})
	if !noticed {
		t.Error("the agent does not notice a new interface")
	}
	p.stop(unix.SIGTERM)
	if !strings.Contains(p.err.String(), "interface mac0 leads out of this host") {
		t.Errorf("the agent does not log what passes without being judged:\n%s", &p.err)
	}
}
