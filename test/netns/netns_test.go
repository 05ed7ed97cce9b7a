package netns_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/test/netns"
)

// patience is far beyond what anything here takes.
const patience = 10 * time.Second

// TestMain lets the tests run without root too, where user namespaces are allowed.
func TestMain(m *testing.M) {
	if code, ran, err := netns.Elevate(); err == nil && ran {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func newLab(t *testing.T) *netns.Lab {
	t.Helper()
	l := netns.New()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// built skips the test if labs cannot be made here.
func built(t *testing.T, l *netns.Lab) {
	t.Helper()
	switch err := l.Ready(); {
	case errors.Is(err, os.ErrPermission):
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
}

// echo answers on a machine, until the test ends, with the peer's address.
func echo(t *testing.T, m *netns.Machine, at netip.AddrPort) {
	t.Helper()
	var l net.Listener
	err := m.Do(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", at.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(c.RemoteAddr().String()))
			_ = c.Close()
		}
	}()
}

// ask returns what echo answers.
func ask(t *testing.T, m *netns.Machine, at netip.AddrPort) string {
	t.Helper()
	var answer bytes.Buffer
	err := m.Do(func() error {
		c, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", at.String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = answer.ReadFrom(c)
		return err
	})
	if err != nil {
		t.Fatalf("%s does not reach %s: %v", m.Name, at, err)
	}
	host, _, _ := net.SplitHostPort(answer.String())
	return host
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// TestReach builds two networks with a router between them and a pod on one,
// and connects over all of it.
func TestReach(t *testing.T) {
	l := newLab(t)
	lan, wan := l.Switch("lan"), l.Switch("wan")
	node, router, client, pod := l.Machine("node"), l.Machine("router"), l.Machine("client"), l.Machine("pod")
	node.Plug(lan, "eth0", prefixes("192.168.0.11/24", "fd00:1::11/64")...)
	router.Plug(lan, "eth0", prefixes("192.168.0.1/24", "fd00:1::1/64")...)
	router.Plug(wan, "eth1", prefixes("203.0.113.1/24", "fd00:2::1/64")...)
	client.Plug(wan, "eth0", prefixes("203.0.113.9/24", "fd00:2::9/64")...)
	node.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.168.0.1"))
	node.Route(netip.MustParsePrefix("::/0"), netip.MustParseAddr("fd00:1::1"))
	client.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("203.0.113.1"))
	client.Route(netip.MustParsePrefix("::/0"), netip.MustParseAddr("fd00:2::1"))
	router.Route(netip.MustParsePrefix("172.20.1.0/24"), netip.MustParseAddr("192.168.0.11"))
	node.Forward()
	router.Forward()
	pod.Behind(node, "pod1", netip.MustParseAddr("172.20.1.2"))
	built(t, l)

	echo(t, node, netip.MustParseAddrPort("192.168.0.11:80"))
	echo(t, node, netip.MustParseAddrPort("[fd00:1::11]:80"))
	echo(t, client, netip.MustParseAddrPort("203.0.113.9:80"))
	for _, tc := range []struct {
		reason   string
		from     *netns.Machine
		to, want string
	}{
		{"through the router", client, "192.168.0.11:80", "203.0.113.9"},
		{"through the router, IPv6", client, "[fd00:1::11]:80", "fd00:2::9"},
		{"a pod has its own address on the wire where it is routed", pod, "203.0.113.9:80", "172.20.1.2"},
	} {
		if got := ask(t, tc.from, netip.MustParseAddrPort(tc.to)); got != tc.want {
			t.Errorf("%s: %s sees %s, want %s", tc.reason, tc.to, got, tc.want)
		}
	}
}

// TestOverlay connects pods of two nodes: through a tunnel, by a node's port,
// and to the outside with the node's address.
func TestOverlay(t *testing.T) {
	l := newLab(t)
	lan := l.Switch("lan")
	client := l.Machine("client")
	client.Plug(lan, "eth0", prefixes("192.168.0.9/24")...)
	nodes, pods := map[string]*netns.Machine{}, map[string]*netns.Machine{}
	for _, n := range []struct{ name, other string }{{"2", "3"}, {"3", "2"}} {
		node, pod := l.Machine("node-"+n.name), l.Machine("pod-"+n.name)
		nodes[n.name], pods[n.name] = node, pod
		node.Plug(lan, "eth0", prefixes("192.168.0.1"+n.name+"/24")...)
		node.Forward()
		pod.Behind(node, "pod", netip.MustParseAddr("172.20."+n.name+".2"))
		node.Tunnel(netns.VXLAN{
			Name: "flannel.1", Port: 8472,
			Local: netip.MustParseAddr("192.168.0.1" + n.name), Remote: netip.MustParseAddr("192.168.0.1" + n.other),
			Address: netip.MustParseAddr("172.20." + n.name + ".0"), Peer: netip.MustParseAddr("172.20." + n.other + ".0"), Far: prefixes("172.20." + n.other + ".0/24")[0],
		})
		node.Masquerade(netip.MustParsePrefix("172.20.0.0/16"), "eth0")
		node.NodePort(30080, netip.MustParseAddrPort("172.20."+n.name+".2:8080"))
	}
	built(t, l)
	echo(t, pods["3"], netip.MustParseAddrPort("172.20.3.2:8080"))
	echo(t, client, netip.MustParseAddrPort("192.168.0.9:80"))
	for _, tc := range []struct {
		reason   string
		from     *netns.Machine
		to, want string
	}{
		{"pods keep their addresses in the tunnel", pods["2"], "172.20.3.2:8080", "172.20.2.2"},
		{"a node's port leads to its pod", client, "192.168.0.13:30080", "192.168.0.9"},
		{"outside, a pod has its node's address", pods["2"], "192.168.0.9:80", "192.168.0.12"},
	} {
		if got := ask(t, tc.from, netip.MustParseAddrPort(tc.to)); got != tc.want {
			t.Errorf("%s: %s sees %s, want %s", tc.reason, tc.to, got, tc.want)
		}
	}
}

// TestProcess runs programs on a machine, which must end with the lab.
func TestProcess(t *testing.T) {
	l := newLab(t)
	m := l.Machine("node")
	m.Resolver(netip.MustParseAddr("192.168.0.53"))
	built(t, l)
	var out bytes.Buffer
	cmd := exec.Command("cat", "/etc/resolv.conf", "/proc/net/dev")
	cmd.Stdout = &out
	if err := m.Run(cmd); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "nameserver 192.168.0.53\n") || strings.Count(got, ":") != 1 {
		t.Errorf("on the machine there are\n%s\nwant its DNS server, and lo alone", got)
	}
	if text, _ := os.ReadFile("/etc/resolv.conf"); strings.Contains(string(text), "192.168.0.53") {
		t.Error("the machine's resolv.conf is ours too")
	}
	p, err := m.Start(exec.Command("sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	own, _ := os.Readlink("/proc/self/ns/net")
	theirs, _ := os.Readlink("/proc/" + pid(p) + "/ns/net")
	if own == theirs || theirs == "" {
		t.Errorf("the program is in %q, we are in %q", theirs, own)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(p.PID(), 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the program lives on: %v", err)
	}
}

// TestKilled kills a process with a lab: the program on it must go, and with it
// the namespace.
func TestKilled(t *testing.T) {
	if os.Getenv(asLab) != "" {
		l := netns.New()
		p, err := l.Machine("node").Start(exec.Command("sleep", "1000"))
		if err != nil {
			os.Stdout.WriteString(err.Error() + "\n")
			return
		}
		os.Stdout.WriteString("pid " + pid(p) + "\n")
		select {} // until it is killed
	}
	l := newLab(t)
	l.Machine("any")
	built(t, l)
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), asLab+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	child, ok := strings.CutPrefix(strings.TrimSpace(string(line[:n])), "pid ")
	if !ok {
		t.Fatalf("the lab says %q", line[:n])
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	deadline := time.Now().Add(patience) //nolint:forbidigo // a deadline, no measure
	for {
		// Who adopts it may be slow to bury it.
		stat, err := os.ReadFile("/proc/" + child + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) { //nolint:forbidigo // a deadline, no measure
			t.Fatalf("process %s outlives its lab", child)
		}
	}
}

// asLab makes the test binary be a lab that can be killed.
const asLab = "RINGFENCE_TEST_AS_LAB"

func pid(p *netns.Process) string { return strconv.Itoa(p.PID()) }
