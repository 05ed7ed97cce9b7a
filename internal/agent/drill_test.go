package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/internal/statedir"
	"ringfence.dev/ringfence/profiles"
)

// A drill is a change that locks somebody out, and what must become of it.
type drill struct {
	// host is who gets the change.
	host string
	// bad makes it of manifests that are right.
	bad func(string) string
	// refused says that the agent knows before it tries, seen that a probe of
	// this host notices. What no probe of its own can notice, nobody confirms.
	refused, seen bool
	// from and to are the ends of the flow that is cut, at port.
	from, to string
	port     uint16
	// says is what one has to be told.
	says string
}

// drillText is a cluster whose second host runs etcd too, and whose API server
// is reached at a load balancer, which is no host: the client's machine.
var drillText = strings.NewReplacer(
	"apiServer: {addresses: [10.50.0.11]", "apiServer: {addresses: [10.50.200.9]",
	"{addresses: [10.50.0.12], nodePoolName: workers, roles: [Worker]}", "{addresses: [10.50.0.12], nodePoolName: workers, roles: [ControlPlane, Etcd]}",
).Replace(clusterText)

// worn gives a host one more group, with these rules.
func worn(address, rules string) func(string) string {
	return func(text string) string {
		return replaced("{addresses: ["+address+"],", "{addresses: ["+address+"], securityGroupNames: [extra],")(text) + `---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: extra}
spec:
  vpcName: prod
  type: Advanced
` + rules
	}
}

func replaced(old, now string) func(string) string {
	return func(text string) string { return strings.Replace(text, old, now, 1) }
}

var drills = map[string]*drill{
	"default-deny by mistake": {
		host: "node-3", refused: true, seen: true, from: "node-3", to: "client", port: 6443, says: "10.50.200.9",
		bad: func(text string) string {
			return replaced("securityGroup: {type: Advanced, profile: LeastPrivilege}", "securityGroup: {name: nothing}")(text) + `---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: nothing}
spec: {vpcName: prod, type: Advanced}
`
		},
	},
	"kubelet's port dropped": {
		host: "node-3", refused: true, from: "node-1", to: "node-3", port: 10250, says: "10250",
		bad: worn("10.50.0.13", "  ingress:\n  - {policy: Drop, priority: 1, protocol: TCP, ports: 10250/10250, peer: {cidr: 10.50.0.0/16}}\n"),
	},
	"etcd peer dropped": {
		host: "node-2", refused: true, seen: true, from: "node-2", to: "node-1", port: 2380, says: "10.50.0.11",
		bad: worn("10.50.0.12", "  egress:\n  - {policy: Drop, priority: 1, protocol: TCP, ports: 2380/2380, peer: {cidr: 10.50.0.11/32}}\n"),
	},
	"address of the API server removed": {
		host: "node-3", seen: true, from: "node-3", to: "client", port: 6443, says: "10.50.200.9:6443",
		bad: replaced("apiServer: {addresses: [10.50.200.9]", "apiServer: {addresses: [10.50.200.8]"),
	},
}

// TestLockedOut pushes what locks somebody out. It is refused; if that is
// forced, it is tried, and ends by itself with what was enforced before; and one
// is told why.
func TestLockedOut(t *testing.T) {
	t.Parallel()
	for name, d := range drills {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d.run(t)
		})
	}
}

// A drilled host is one with a drill on it.
type drilled struct {
	*drill
	t              *testing.T
	node, from, to *node
	dir            string
	version        string // what it must end with
}

func (d *drill) run(t *testing.T) {
	t.Helper()
	node1, _, _ := three(t)
	nodes := node1.network.nodes
	nodes["client"].listen(6443)
	node1.listen(2379)
	node1.listen(2380)
	h := &drilled{drill: d, t: t, node: nodes[d.host], from: nodes[d.from], to: nodes[d.to], dir: t.TempDir()}
	write(t, h.dir, drillText)
	h.node.must(h.node.flags(h.dir, "--once", "--confirm=probe")...)
	h.version = h.node.status().Version
	h.from.wantPasses("before", h.to, h.port)

	var forced []string
	if d.refused {
		told := h.pushed("refused", nil, nil)
		for _, row := range regexp.MustCompile(`--force (\S+)`).FindAllStringSubmatch(told, -1) {
			forced = append(forced, "--force="+row[1])
		}
		if len(forced) == 0 {
			t.Errorf("nobody says how to force it: %s", told)
		}
	}
	if d.seen {
		h.pushed("probed", forced, nil)
	}
	h.pushed("nobody confirms", append(forced, "--confirm=manual"), func() {
		if !wait(func() bool { return h.node.status().Trial != "" }) {
			t.Error("nothing is on trial")
		}
		h.from.wantDropped("on trial", h.to, h.port)
	})
}

// pushed runs an agent, pushes the change, and wants the host to end with what
// it enforced, and to say why. It returns what was said. Meanwhile may look at
// the trial.
func (h *drilled) pushed(how string, flags []string, meanwhile func()) string {
	h.t.Helper()
	write(h.t, h.dir, drillText)
	p := h.node.start(h.node.flags(h.dir, append([]string{"--confirm=probe", "--confirm-timeout=5s"}, flags...)...)...)
	if !wait(func() bool { s := h.node.status(); return s.Running && len(s.Problems) == 0 && s.Version == h.version }) {
		h.t.Fatalf("%s: it does not come up: %+v", how, h.node.status())
	}
	write(h.t, h.dir, h.bad(drillText))
	if meanwhile != nil {
		meanwhile()
	}
	says := h.says
	if slices.Contains(flags, "--confirm=manual") {
		says = "nobody confirmed"
	}
	var told string
	ended := wait(func() bool {
		s := h.node.status()
		told = strings.Join(s.Problems, "\n")
		return strings.Contains(told, says) && s.Trial == "" && s.Version == h.version && len(s.Drift) == 0
	})
	if !ended {
		h.t.Errorf("%s: want the version before, and %q said: %+v", how, says, h.node.status())
	}
	h.from.wantPasses(how, h.to, h.port)

	write(h.t, h.dir, drillText)
	if !wait(func() bool { return len(h.node.status().Problems) == 0 }) {
		h.t.Errorf("%s: the manifests are right again, and it still says %q", how, h.node.status().Problems)
	}
	if o := p.stop(syscall.SIGTERM); !strings.Contains(o.err, says) {
		h.t.Errorf("%s: the log does not say %q: %s", how, says, o.err)
	}
	return told
}

// TestHalfWay lets the kernel refuse the last part of a version of which the
// first is built.
func TestHalfWay(t *testing.T) {
	t.Parallel()
	node1, node2, _ := three(t)
	dir := t.TempDir()
	write(t, dir, groupsText("other", 80))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	tables, err := profiles.Load()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	err = in(node1.ns, func() error {
		config := &Config{StateDir: node1.state, Policy: Policy{Confirm: ConfirmProbe, Trial: 5 * time.Second}}
		a, done, err := newAgent(config, tables, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			return err
		}
		defer done()
		return halfWay(t, a.host, node1, node2)
	})
	if err != nil {
		t.Fatal(err)
	}
	node2.wantPasses("half-way", node1, 80)
	node2.wantDropped("half-way", node1, 81, 1000)
	node1.wantNoDrift("half-way")
	write(t, dir, groupsText("other", 81))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	node2.wantPasses("the next change", node1, 81)
	node1.wantNoDrift("the next change")
}

func halfWay(t *testing.T, h *host, node1, node2 *node) error {
	t.Helper()
	if err := h.recover(); err != nil {
		return err
	}
	// So many leaves that drop do not fit into one transaction.
	o := *h.current.order
	one := o.Ruleset.Ingress[0]
	for port := 1000; port < 1900; port++ {
		r := one
		r.Policy, r.Ports = v1alpha1.PolicyDrop, fmt.Sprintf("%d/%d", port, port)
		o.Ruleset.Ingress = append(o.Ruleset.Ingress, r)
	}
	next, err := lay(&o, h.exempt)
	if err != nil {
		return err
	}
	last := &next.version.Dispatch[len(next.version.Dispatch)-1]
	last.Rules = append(last.Rules, nft.Goto{Chain: "nowhere"})
	if err := h.kernel.Build(next.version, nil); err == nil {
		t.Error("the kernel builds what leads nowhere: the test proves nothing")
	}
	if drift, err := h.kernel.Drift(h.current.version); err != nil || len(drift) < 100 {
		t.Errorf("nothing is built of what was refused half-way: %q, %v", drift, err)
	}
	node2.wantPasses("half is built", node1, 80)
	node2.wantDropped("half is built", node1, 81, 1000)
	r := &record{Version: next.version.Name, Since: h.clock.Now(), Why: "a drill", Uplinks: h.saved.Uplinks, Order: o}
	if err := h.swap(t.Context(), next, r); err == nil || !strings.Contains(err.Error(), "the kernel refuses") {
		t.Errorf("a version that cannot be built: %v", err)
	}
	return nil
}

// TestRebootInTrial boots into an empty kernel in the middle of a trial: the
// restored table is that of before, and the agent tries again and says why it
// did not stay.
func TestRebootInTrial(t *testing.T) {
	t.Parallel()
	node1, node2, _ := three(t)
	dir := t.TempDir()
	write(t, dir, groupsText("other", 80))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	first := node1.status().Version
	write(t, dir, groupsText("other", 81))
	manual := node1.flags(dir, "--confirm=manual", "--confirm-timeout=5s")
	p := node1.start(manual...)
	node2.wantPasses("on trial", node1, 81)
	p.stop(syscall.SIGKILL)

	booted, again, _ := three(t) // the same machines, as they come up
	booted.state = node1.state
	if o := booted.run("restore", "--state-dir", booted.state); o.code != 0 || !strings.Contains(o.err, "left behind before it was confirmed") {
		t.Errorf("restore: exit code %d, it said %s", o.code, o.err)
	}
	again.wantPasses("restored", booted, 80)
	again.wantDropped("restored", booted, 81)
	booted.wantNoDrift("restored")

	p = booted.start(manual...)
	again.wantPasses("on trial again", booted, 81)
	back := wait(func() bool {
		s := booted.status()
		return s.Version == first && s.Trial == "" && strings.Contains(strings.Join(s.Problems, ""), "nobody confirmed")
	})
	if !back {
		t.Errorf("it does not go back, or does not say why: %+v", booted.status())
	}
	again.wantPasses("nobody confirmed", booted, 80)
	again.wantDropped("nobody confirmed", booted, 81)
	p.stop(syscall.SIGTERM)
	booted.wantNoDrift("at the end")
}

// TestIPv6Only enforces on machines that have no IPv4 address: rules, members,
// a trial, and drift.
func TestIPv6Only(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, map[string]string{"node-1": "fd00:50::11", "node-2": "fd00:50::12", "node-3": "fd00:50::13"})
	node1, node2, node3 := n.nodes["node-1"], n.nodes["node-2"], n.nodes["node-3"]
	dir := t.TempDir()
	six := func(node3 string, port int) {
		write(t, dir, strings.NewReplacer(
			"{cidrBlock: 10.50.0.0/16, subnets: [{name: nodes-a, cidrBlock: 10.50.0.0/19}]}",
			"{cidrBlock: 10.50.0.0/16, ipv6CIDRBlock: fd00:50::/56, subnets: [{name: nodes-a, cidrBlock: 'fd00:50::/64'}]}",
			"10.50.0.", "fd00:50::",
		).Replace(groupsText(node3, port)))
	}
	six("other", 80)
	p := node1.start(node1.flags(dir, "--confirm=manual", "--confirm-timeout=5s")...)
	if !wait(func() bool { return node1.status().Trial != "" }) {
		t.Fatalf("nothing is on trial: %+v", node1.status())
	}
	node1.must("confirm", "--state-dir", node1.state)
	if !wait(func() bool { return node1.status().Version != "" }) {
		t.Fatalf("nothing is enforced: %+v", node1.status())
	}
	node2.wantPasses("member", node1, 80)
	node3.wantDropped("no member", node1, 80)
	six("app", 80)
	node3.wantPasses("joined", node1, 80)
	node1.flush()
	if !wait(func() bool { return !node3.dials(node1.addr, 81, short) }) {
		t.Error("what others flushed is not repaired")
	}
	node2.wantPasses("repaired", node1, 80)
	p.stop(syscall.SIGTERM)
	node1.wantNoDrift("at the end")
}

// TestTrialLeftBehind kills the agent in a trial. The kernel goes back alone;
// until somebody starts the agent again, status says what happened.
func TestTrialLeftBehind(t *testing.T) {
	t.Parallel()
	node1, node2, _ := three(t)
	dir := t.TempDir()
	write(t, dir, groupsText("other", 80))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	first := node1.status().Version
	write(t, dir, groupsText("other", 81))
	p := node1.start(node1.flags(dir, "--confirm=manual", "--confirm-timeout=5s")...)
	node2.wantPasses("on trial", node1, 81)
	p.stop(syscall.SIGKILL)
	node2.wantPasses("nobody is there", node1, 80)
	node2.wantDropped("nobody is there", node1, 81)
	s := node1.status()
	if s.Version != first || s.Running || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "ended in the middle of a change") {
		t.Errorf("status says %+v; want version %s, and what happened", s, first)
	}
	write(t, dir, groupsText("other", 80))
	if o := node1.run(node1.flags(dir, "--once", "--confirm=never")...); o.code != 0 || !strings.Contains(o.err, "left behind before it was confirmed") {
		t.Errorf("started again: exit code %d, it said %s", o.code, o.err)
	}
	if s := node1.status(); len(s.Problems)+len(s.Drift) > 0 || s.Version != first {
		t.Errorf("started again: %+v", s)
	}
}

// wantWhole wants the kernel to have exactly one of the states that the disk
// knows, before a change or after it, but for what no packet gets to. No agent
// may run.
func (a *node) wantWhole(when string) {
	a.t.Helper()
	tables, err := profiles.Load()
	if err != nil {
		a.t.Fatal(err)
	}
	err = in(a.ns, func() error {
		return withKernel(func(k *apply.Kernel, state apply.State) error {
			var broken []string
			for _, file := range []string{enforcedFile, candidateFile} {
				r, err := disk{statedir.Dir(a.state)}.read(file)
				if err != nil || r == nil || r.Version != state.Confirmed {
					continue
				}
				l, err := lay(&r.Order, tables.Exempt())
				if err != nil {
					return err
				}
				drift, err := k.Drift(l.version)
				drift = slices.DeleteFunc(drift, func(d apply.Difference) bool { return d.Foreign() || strings.HasSuffix(d.Name, "_trial") })
				if err != nil || len(drift) == 0 {
					return err
				}
				broken = append(broken, words(drift)...)
			}
			return fmt.Errorf("version %q is confirmed, and not whole: %q", state.Confirmed, broken)
		})
	})
	if err != nil {
		a.t.Errorf("%s: %v", when, err)
	}
}
