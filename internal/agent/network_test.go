package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// asAgent makes the test binary be ringfence-agent, so that a test can start
// it in a network namespace, and kill it.
const asAgent = "RINGFENCE_TEST_AS_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM) //nolint:forbidigo // the main of a program
	code := Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// A network is some machines on one switch, each a network namespace.
type network struct {
	t     *testing.T
	lan   int
	nodes map[string]*node
}

// A node is one machine.
type node struct {
	t       *testing.T
	name    string
	addr    netip.Addr
	ns      int
	state   string // its state folder
	network *network
}

// newNetwork makes machines with these addresses in one /16 or, of IPv6, one
// /64. It skips the test if it may not make namespaces.
func newNetwork(t *testing.T, addresses map[string]string) *network {
	t.Helper()
	n := &network{t: t, nodes: map[string]*node{}}
	n.lan = n.namespace()
	n.must(in(n.lan, func() error {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = "br0"
		// A bridge that snoops joins a group, and tells it in packets that nobody sent.
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attributes, MulticastSnooping: new(false)}); err != nil {
			return err
		}
		return up("br0", "")
	}))
	for name, text := range addresses {
		a := &node{t: t, network: n, name: name, addr: netip.MustParseAddr(text), ns: n.namespace(), state: filepath.Join(t.TempDir(), name)}
		n.nodes[name] = a
		n.must(in(a.ns, func() error {
			if err := up("lo", ""); err != nil {
				return err
			}
			attributes := netlink.NewLinkAttrs()
			attributes.Name = "eth0"
			if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "p" + name, PeerNamespace: netlink.NsFd(n.lan)}); err != nil {
				return err
			}
			return up("eth0", text+map[bool]string{true: "/16", false: "/64"}[a.addr.Is4()])
		}))
		n.must(in(n.lan, func() error {
			port, err := netlink.LinkByName("p" + name)
			if err != nil {
				return err
			}
			bridge, err := netlink.LinkByName("br0")
			if err != nil {
				return err
			}
			if err := netlink.LinkSetMaster(port, bridge); err != nil {
				return err
			}
			return netlink.LinkSetUp(port)
		}))
	}
	return n
}

func (n *network) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *network) namespace() int {
	n.t.Helper()
	type answer struct {
		fd  int
		err error
	}
	made := make(chan answer)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- answer{err: err}
			return
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		made <- answer{fd, err}
	}()
	a := <-made
	if errors.Is(a.err, unix.EPERM) {
		n.t.Skipf("needs root, to make network namespaces: %v", a.err)
	}
	n.must(a.err)
	n.t.Cleanup(func() { _ = unix.Close(a.fd) })
	return a.fd
}

// in runs f in a namespace.
func in(ns int, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func up(name, address string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if address != "" {
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD // nobody else has it, and we need it at once
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

const (
	// long is how long what must happen may take, on a machine that is busy.
	long = 20 * time.Second
	// short is how long a packet is waited for that must not come.
	short = 300 * time.Millisecond
)

// dials tries a TCP connection. One that is refused has gone there and back,
// so it counts: no test needs a listener for each port. One that a firewall
// rejects has not.
func (a *node) dials(to netip.Addr, port uint16, patience time.Duration) bool {
	a.t.Helper()
	err := in(a.ns, func() error {
		c, err := (&net.Dialer{Timeout: patience}).DialContext(a.t.Context(), "tcp", netip.AddrPortFrom(to, port).String())
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	if err == nil || errors.Is(err, unix.ECONNREFUSED) {
		return true
	}
	if e, ok := errors.AsType[net.Error](err); !errors.Is(err, unix.EHOSTUNREACH) && (!ok || !e.Timeout()) {
		a.t.Fatalf("%s to %s:%d: %v", a.name, to, port, err)
	}
	return false
}

// wantPasses waits until a flow passes, or fails.
func (a *node) wantPasses(when string, to *node, ports ...uint16) {
	a.t.Helper()
	for _, port := range ports {
		if !wait(func() bool { return a.dials(to.addr, port, time.Second) }) {
			a.t.Errorf("%s: %s does not reach %s at port %d", when, a.name, to.name, port)
		}
	}
}

// wantDropped wants a flow not to pass.
func (a *node) wantDropped(when string, to *node, ports ...uint16) {
	a.t.Helper()
	for _, port := range ports {
		if a.dials(to.addr, port, short) {
			a.t.Errorf("%s: %s reaches %s at port %d, which must be dropped", when, a.name, to.name, port)
		}
	}
}

// wait asks until the answer is yes, and reports whether it ever was. Asking
// takes a while by itself.
func wait(done func() bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), long) //nolint:forbidigo // nothing outlives it
	defer cancel()
	for !done() {
		if ctx.Err() != nil {
			return false
		}
	}
	return true
}

// listen accepts connections at a port until the test ends.
func (a *node) listen(port uint16) {
	a.t.Helper()
	var l net.Listener
	err := in(a.ns, func() error {
		var err error
		l, err = (&net.ListenConfig{}).Listen(a.t.Context(), "tcp", netip.AddrPortFrom(a.addr, port).String())
		return err
	})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
}

// An outcome is how a run of the program ended.
type outcome struct {
	code     int
	out, err string
}

// A process is an agent that runs.
type process struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err bytes.Buffer
	ended    chan struct{}
}

// start starts the agent on a node.
func (a *node) start(args ...string) *process {
	a.t.Helper()
	return a.startAfter(func() error { return nil }, args...)
}

// startAfter is start in a thread that something was done to.
func (a *node) startAfter(first func() error, args ...string) *process {
	a.t.Helper()
	p := &process{t: a.t, cmd: exec.Command(os.Args[0], args...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), asAgent+"=1")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	err := in(a.ns, func() error {
		if err := first(); err != nil {
			return err
		}
		return p.cmd.Start()
	})
	if err != nil {
		a.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	a.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if a.t.Failed() && args[0] != "status" {
			a.t.Logf("%s %v said:\n%s%s", a.name, args, &p.out, &p.err)
		}
	})
	return p
}

// stop sends a signal, and waits for the end.
func (p *process) stop(s os.Signal) outcome {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
	return p.end()
}

func (p *process) end() outcome {
	<-p.ended
	return outcome{p.cmd.ProcessState.ExitCode(), p.out.String(), p.err.String()}
}

// run runs the agent on a node to its end.
func (a *node) run(args ...string) outcome {
	a.t.Helper()
	return a.start(args...).end()
}

// must is run for what has to succeed.
func (a *node) must(args ...string) string {
	a.t.Helper()
	o := a.run(args...)
	if o.code != 0 {
		a.t.Fatalf("%s: %v: exit code %d, want 0\n%s", a.name, args, o.code, o.err)
	}
	return o.out
}

func (a *node) status() *Status {
	a.t.Helper()
	s := &Status{}
	if err := json.Unmarshal([]byte(a.must("status", "-o", "json", "--state-dir", a.state)), s); err != nil {
		a.t.Fatal(err)
	}
	return s
}

// wantNoDrift wants the kernel to have exactly what the disk says.
func (a *node) wantNoDrift(when string) {
	a.t.Helper()
	if s := a.status(); len(s.Drift) > 0 || s.Version == "" {
		a.t.Errorf("%s: %s: version %q, drift %q", when, a.name, s.Version, s.Drift)
	}
}

// flags are those of a run with manifests.
func (a *node) flags(manifests string, more ...string) []string {
	return slices.Concat([]string{"--manifests", manifests, "--host", a.name, "--state-dir", a.state}, more)
}

// write writes manifests as the only file of a folder, at once.
func write(t *testing.T, dir, text string) {
	t.Helper()
	next := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(dir, "all.yaml")); err != nil {
		t.Fatal(err)
	}
}

// The parts of manifests.
const (
	vpcText = `
apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec: {cidrBlock: 10.50.0.0/16, subnets: [{name: nodes-a, cidrBlock: 10.50.0.0/19}]}
`
	node1Text = `---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-1}
spec: {addresses: [10.50.0.11], nodePoolName: workers, roles: [ControlPlane, APIServer, Etcd]}
`
	clusterText = vpcText + `---
apiVersion: ringfence.dev/v1alpha1
kind: Cluster
metadata: {name: shop}
spec:
  vpcName: prod
  network: {mode: Flannel, encapsulation: VXLAN, nodeSubnets: [nodes-a], podCIDRs: [172.20.0.0/16], serviceCIDRs: [172.21.0.0/20]}
  apiServer: {addresses: [10.50.0.11], port: 6443}
  webhookPorts: [8443]
  etcd: true
  exposures: [{protocol: TCP, ports: 443/443, cidrs: [0.0.0.0/0]}]
  securityGroup: {type: Advanced, profile: LeastPrivilege}
---
apiVersion: ringfence.dev/v1alpha1
kind: NodePool
metadata: {name: workers}
spec: {clusterName: shop, subnets: [nodes-a], securityGroup: {}}
` + node1Text + `---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-2}
spec: {addresses: [10.50.0.12], nodePoolName: workers, roles: [Worker]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-3}
spec: {addresses: [10.50.0.13], nodePoolName: workers, roles: [Worker]}
`
)

// groupsText is a host that wears the basic group db, and two that wear app or
// not. Group db lets app in at these ports.
func groupsText(node3 string, ports ...int) string {
	var rules strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&rules, "  - {policy: Accept, priority: 1, protocol: TCP, ports: %d/%d, peer: {groupName: app}}\n", p, p)
	}
	return vpcText + `---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: db}
spec:
  vpcName: prod
  type: Basic
  innerAccess: Drop
  ingress:
` + rules.String() + `---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: app}
spec: {vpcName: prod, type: Basic, innerAccess: Drop}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: other}
spec: {vpcName: prod, type: Basic, innerAccess: Drop}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-1}
spec: {addresses: [10.50.0.11], securityGroupNames: [db]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-2}
spec: {addresses: [10.50.0.12], securityGroupNames: [app]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-3}
spec: {addresses: [10.50.0.13], securityGroupNames: [` + node3 + `]}
`
}

// three makes a network of three nodes and a client that is no host of anybody.
func three(t *testing.T) (node1, node2, node3 *node) {
	t.Helper()
	n := newNetwork(t, map[string]string{"node-1": "10.50.0.11", "node-2": "10.50.0.12", "node-3": "10.50.0.13", "client": "10.50.200.9"})
	return n.nodes["node-1"], n.nodes["node-2"], n.nodes["node-3"]
}

// veth makes a pair of interfaces, the first of which has an address.
func veth(name, peer, address string) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = name
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: peer}); err != nil {
		return err
	}
	if err := up(peer, ""); err != nil {
		return err
	}
	return up(name, address)
}

// flush does to the node what a reboot does to nftables, and what others do by
// mistake.
func (a *node) flush() {
	a.t.Helper()
	err := in(a.ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushRuleset()
		return c.Flush()
	})
	if err != nil {
		a.t.Fatal(err)
	}
}
