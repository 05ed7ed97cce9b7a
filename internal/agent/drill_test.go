package agent

import (
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
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
