package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"ringfence.dev/ringfence/internal/nft"
)

// A fellow is other software that writes firewall rules on the same host. It
// sends two NodePorts to a pod, and lets pods leave as the host.
type fellow struct {
	programs []string
	bridge   string // the interface towards the pod
	// settle brings it in, work has it write its rules again; both on a node.
	settle, work func(t *testing.T, on *node)
	// save lists its rules beside what nft lists; empty if that is all.
	save string
	// drops are ports that it drops although our rules let them in, accepts
	// ports that it accepts although ours do not.
	drops, accepts []uint16
}

const (
	podAddress = "172.20.0.5"
	podPort    = 8080
	// The first node port is the one that the rules come to let in.
	nodePort, otherNodePort = 30080, 30081
)

// TestCoexistence lets us and others work on one host. Nothing of theirs
// changes, in all that we do; NodePorts are judged by the port on the wire, and
// what pods send by the address of the host.
func TestCoexistence(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]*fellow{
		"kube-proxy, iptables-nft":    iptables("nft", "kube-proxy.iptables", "cni0"),
		"kube-proxy, iptables-legacy": iptables("legacy", "kube-proxy.iptables", "cni0"),
		"kube-proxy, nftables":        nftFile("kube-proxy.nft"),
		"Docker":                      iptables("nft", "docker.iptables", "docker0"),
		"firewalld":                   firewalld(),
		"a table with its own drop":   ownDrop(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n.coexist(t)
		})
	}
}

// needProgram skips a test that lacks a program; the gate has all of them.
func needProgram(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("program %s is missing, and CI is set: install it in .ci/run", n)
		}
		t.Skipf("needs program %s", n)
	}
}

func iptables(kind, file, bridge string) *fellow {
	restore := func(t *testing.T, on *node) {
		t.Helper()
		on.command(t, "", read(t, file), "iptables-"+kind+"-restore")
	}
	save := "iptables-" + kind + "-save"
	return &fellow{programs: []string{"nft", "iptables-" + kind + "-restore", save}, bridge: bridge, save: save, settle: restore, work: restore}
}

func nftFile(file string) *fellow {
	return &fellow{
		programs: []string{"nft"}, bridge: "cni0",
		settle: func(t *testing.T, on *node) {
			t.Helper()
			on.command(t, "", read(t, file), "nft", "--file", "-")
		},
		work: func(t *testing.T, on *node) {
			t.Helper()
			var deletions string
			for l := range strings.SplitSeq(read(t, file), "\n") {
				if strings.HasPrefix(l, "table ") {
					deletions += "delete " + strings.TrimSuffix(l, "{") + "\n"
				}
			}
			on.command(t, "", deletions+read(t, file), "nft", "--file", "-")
		},
	}
}

func ownDrop() *fellow {
	n := nftFile("other.nft")
	n.drops, n.accepts = []uint16{5434, 6001}, []uint16{5435}
	return n
}

// firewalld is the real one, with a message bus of its own.
func firewalld() *fellow {
	bus := ""
	cmd := func(t *testing.T, on *node, args ...string) {
		t.Helper()
		on.command(t, bus, "", "firewall-cmd", args...)
	}
	return &fellow{
		programs: []string{"nft", "firewalld", "firewall-cmd", "dbus-daemon"}, bridge: "cni0", drops: []uint16{5434},
		settle: func(t *testing.T, on *node) {
			t.Helper()
			bus = on.firewalld(t)
			cmd(t, on, "--zone=public", "--add-interface=eth0")
			cmd(t, on, "--zone=trusted", "--add-interface=cni0")
			cmd(t, on, "--zone=public", "--add-masquerade")
			for _, p := range []int{nodePort, otherNodePort} {
				cmd(t, on, "--zone=public", fmt.Sprintf("--add-forward-port=port=%d:proto=tcp:toaddr=%s:toport=%d", p, podAddress, podPort))
			}
			cmd(t, on, "--runtime-to-permanent")
		},
		work: func(t *testing.T, on *node) {
			t.Helper()
			cmd(t, on, "--reload")
		},
	}
}

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
`

// firewalld starts it in the namespace of a node, and returns the address of
// its bus. It ends with the test.
func (a *node) firewalld(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"bus.conf":       fmt.Sprintf(busConfig, filepath.Join(dir, "bus")),
		"firewalld.conf": "DefaultZone=public\nFirewallBackend=nftables\nFlushAllOnReload=yes\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bus := "unix:path=" + filepath.Join(dir, "bus")
	a.daemon(t, bus, "dbus-daemon", "--config-file="+filepath.Join(dir, "bus.conf"), "--nofork", "--nopidfile")
	if !wait(func() bool { _, err := os.Stat(filepath.Join(dir, "bus")); return err == nil }) {
		t.Fatal("the message bus does not come up")
	}
	a.daemon(t, bus, "firewalld", "--nofork", "--nopid", "--system-config", dir, "--log-target", "file", "--log-file", filepath.Join(dir, "log"))
	if !wait(func() bool { _, err := a.output(bus, "", "firewall-cmd", "--state"); return err == nil }) {
		t.Fatal("firewalld does not come up")
	}
	return bus
}

// daemon runs a program in the namespace of a node until the test ends.
func (a *node) daemon(t *testing.T, bus, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+bus)
	if err := in(a.ns, cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// output runs a program in the namespace of a node to its end.
func (a *node) output(bus, input, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(a.t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+bus)
	var out []byte
	err := in(a.ns, func() error {
		var err error
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// command is output for what has to succeed.
func (a *node) command(t *testing.T, bus, input, name string, args ...string) string {
	t.Helper()
	out, err := a.output(bus, input, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "coexist", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A shared host is one that a fellow works on, too, with a pod on it.
type sharedHost struct {
	*fellow
	t                        *testing.T
	node1, node2, node3, pod *node
}

func (n *fellow) coexist(t *testing.T) {
	t.Helper()
	needProgram(t, n.programs...)
	h := &sharedHost{fellow: n, t: t}
	h.node1, h.node2, h.node3 = three(t)
	h.addPod()
	h.settle(t, h.node1)
	h.node3.listen(9000)
	h.node3.listen(9001)
	h.wantConnects("without us", h.node2, h.node1.addr, nodePort, otherNodePort)
	h.wantConnects("without us", h.pod, h.node3.addr, 9000, 9001)
	before := h.others()

	dir := t.TempDir()
	write(t, dir, h.manifests("other", podPort))
	p := h.node1.start(h.node1.flags(dir, "--confirm=never")...)
	if !wait(func() bool { return h.node1.status().Version != "" }) {
		t.Fatal("nothing is enforced")
	}
	h.node2.wantDropped("by the port of the pod", h.node1, nodePort, otherNodePort)
	h.wantSame("applied", before)

	write(t, dir, h.manifests("other", nodePort))
	h.judged("swapped", false)
	h.wantSame("swapped", before)

	write(t, dir, h.manifests("app", nodePort))
	h.judged("joined", true)
	h.wantSame("joined", before)

	h.deleteTable()
	if !wait(func() bool { s := h.node1.status(); return s.LastDrift != nil && len(s.Drift) == 0 }) {
		t.Error("nobody repairs, and says, that the table was deleted")
	}
	h.judged("repaired", true)
	h.wantSame("repaired", before)

	h.work(t, h.node1)
	h.judged("they wrote theirs again", true)
	h.node1.wantNoDrift("they wrote theirs again")
	before = h.others()

	p.stop(syscall.SIGTERM)
	h.node1.must("uninstall", "--state-dir", h.node1.state)
	h.wantConnects("uninstalled", h.node3, h.node1.addr, nodePort, otherNodePort)
	h.wantConnects("uninstalled", h.pod, h.node3.addr, 9000, 9001)
	h.wantSame("uninstalled", before)
	h.node1.command(t, "", "", "nft", "add", "table", "ip", "unheard-of")
	if h.others() == before {
		t.Error("a change of theirs goes unnoticed: the test proves nothing")
	}
}

// addPod gives the first node a pod that listens, and lets it forward.
func (h *sharedHost) addPod() {
	h.t.Helper()
	n := h.node1.network
	h.pod = &node{t: h.t, network: n, name: "pod", addr: netip.MustParseAddr(podAddress), ns: n.namespace()}
	n.must(in(h.node1.ns, func() error {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = h.bridge
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "eth0", PeerNamespace: netlink.NsFd(h.pod.ns)}); err != nil {
			return err
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
			return err
		}
		return up(h.bridge, "172.20.0.1/24")
	}))
	n.must(in(h.pod.ns, func() error {
		if err := up("eth0", podAddress+"/24"); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("172.20.0.1")})
	}))
	h.pod.listen(podPort)
}

// manifests let members of app in at a port of the first node, and at those
// that others drop; and keep TCP 9000 in, if it leaves as the host, and 9001, if
// it left as the pod.
func (h *sharedHost) manifests(node3 string, port int) string {
	ports := []int{port}
	for _, p := range h.drops {
		ports = append(ports, int(p))
	}
	const egress = `  egress:
  - {policy: Drop, priority: 1, protocol: TCP, ports: 9000/9000, memberCIDR: 10.50.0.11/32, peer: {cidr: 10.50.0.0/16}}
  - {policy: Drop, priority: 1, protocol: TCP, ports: 9001/9001, memberCIDR: 172.20.0.0/16, peer: {cidr: 10.50.0.0/16}}
  ingress:
`
	return strings.Replace(groupsText(node3, ports...), "  ingress:\n", egress, 1)
}

// judged wants packets to be judged as the manifests say.
func (h *sharedHost) judged(when string, joined bool) {
	h.t.Helper()
	h.wantConnects(when, h.node2, h.node1.addr, nodePort)
	if joined {
		h.wantConnects(when, h.node3, h.node1.addr, nodePort)
	} else {
		h.node3.wantDropped(when, h.node1, nodePort)
	}
	h.node2.wantDropped(when, h.node1, otherNodePort)
	h.node2.wantDropped(when+", both verdicts", h.node1, h.drops...)
	h.node2.wantDropped(when+", both verdicts", h.node1, h.accepts...)
	h.wantConnects(when, h.pod, h.node3.addr, 9001)
	h.pod.wantDropped(when, h.node3, 9000)
}

// wantConnects waits until somebody answers, which nobody does in place of
// another: a refusal does not count.
func (h *sharedHost) wantConnects(when string, from *node, to netip.Addr, ports ...uint16) {
	h.t.Helper()
	for _, port := range ports {
		var last error
		connects := wait(func() bool {
			last = in(from.ns, func() error {
				ctx, cancel := context.WithTimeout(h.t.Context(), time.Second)
				defer cancel()
				return dial(ctx, netip.AddrPortFrom(to, port).String())
			})
			return last == nil
		})
		if !connects {
			h.t.Errorf("%s: %s does not reach %s:%d: %v", when, from.name, to, port, last)
		}
	}
}

// deleteTable does what people do by mistake.
func (h *sharedHost) deleteTable() {
	h.t.Helper()
	err := in(h.node1.ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.DelTable(&nftables.Table{Name: nft.TableName, Family: nftables.TableFamilyINet})
		return c.Flush()
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *sharedHost) wantSame(when, before string) {
	h.t.Helper()
	if after := h.others(); after != before {
		h.t.Errorf("%s: what is theirs changed\nbefore: %s\nafter: %s", when, before, after)
	}
}

// counts are those in the listings of iptables.
var counts = regexp.MustCompile(`(?m)\[\d+:\d+\]|^#.*$`)

// others lists all that is not ours, but for counts.
func (h *sharedHost) others() string {
	h.t.Helper()
	var out strings.Builder
	if h.save != "" { // first, since it may make what it lists
		out.WriteString(counts.ReplaceAllString(h.node1.command(h.t, "", "", h.save), ""))
	}
	var listing struct {
		Objects []map[string]map[string]any `json:"nftables"`
	}
	text := h.node1.command(h.t, "", "", "nft", "--json", "list", "ruleset")
	if err := json.Unmarshal([]byte(text), &listing); err != nil {
		h.t.Fatal(err)
	}
	for _, o := range listing.Objects {
		for kind, fields := range o {
			if kind == "metainfo" || fields["table"] == nft.TableName || kind == "table" && fields["name"] == nft.TableName {
				continue
			}
			uncounted(fields)
			line, err := json.Marshal(fields)
			if err != nil {
				h.t.Fatal(err)
			}
			fmt.Fprintf(&out, "%s %s\n", kind, line)
		}
	}
	if out.Len() == 0 {
		h.t.Error("nothing is listed, so nothing is compared")
	}
	return out.String()
}

// uncounted takes counts out of what nft lists.
func uncounted(of any) {
	switch of := of.(type) {
	case map[string]any:
		delete(of, "packets")
		delete(of, "bytes")
		for _, v := range of {
			uncounted(v)
		}
	case []any:
		for _, v := range of {
			uncounted(v)
		}
	}
}
