package agent

import (
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringfence.dev/ringfence/internal/nft/seen"
)

// observed makes node-1 of manifests only observe.
func observed(manifests string) string {
	return strings.Replace(manifests, "securityGroupNames: [db]", "securityGroupNames: [db], enforcement: Observe", 1)
}

// withDrop lets group db drop what members of app send to a port, as its last
// rule, and what is sent to theirs at 7777.
func withDrop(manifests, port string) string {
	return strings.Replace(manifests, "---\napiVersion: ringfence.dev/v1alpha1\nkind: SecurityGroup\nmetadata: {name: app}",
		"  - {policy: Drop, priority: 1, protocol: TCP, ports: "+port+"/"+port+", peer: {groupName: app}}\n  egress:\n  - {policy: Drop, priority: 1, protocol: TCP, ports: 7777/7777, peer: {groupName: app}}\n---\napiVersion: ringfence.dev/v1alpha1\nkind: SecurityGroup\nmetadata: {name: app}", 1)
}

func (a *node) flows() *seenFlows {
	a.t.Helper()
	w := &seenFlows{}
	if err := json.Unmarshal([]byte(a.must("flows", "-o", "json", "--state-dir", a.state)), w); err != nil {
		a.t.Fatal(err)
	}
	return w
}

// wantSeen waits until the agent tells of a denied TCP flow from another node.
func (a *node) wantSeen(when string, from *node, port uint16, by string, observed bool) {
	a.t.Helper()
	told := wait(func() bool {
		for _, f := range a.flows().Flows {
			if f.Remote == from.addr && f.Local == a.addr && f.Port == port && f.Protocol == "TCP" && f.By == by &&
				f.Direction == "ingress" && f.Observed == observed && f.Packets > 0 {
				return true
			}
		}
		return false
	})
	if !told {
		a.t.Errorf("%s: nobody tells of %s at port %d, denied by %s, observed %t:\n%s", when, from.name, port, by, observed, a.must("flows", "--state-dir", a.state))
	}
}

// decided are the packets of a rule, and when it decided last.
func (a *node) decided(by string) (uint64, *time.Time) {
	a.t.Helper()
	for _, c := range a.status().Rules {
		if c.By == by && c.Direction == "ingress" {
			return c.Packets, c.LastHit
		}
	}
	return 0, nil
}

// TestTraffic sends packets to a host that observes: what would be dropped
// passes, counts and is told with its rule. When it enforces, the same is
// dropped. Counts go on over a change of rules, and what was seen over a restart.
func TestTraffic(t *testing.T) {
	t.Parallel()
	node1, node2, _ := three(t)
	dir := t.TempDir()
	enforce := withDrop(groupsText("other", 80), "81")
	write(t, dir, observed(enforce))
	p := node1.start(node1.flags(dir, "--confirm=never")...)
	if !wait(func() bool { return node1.status().Observe }) {
		t.Fatal("nothing is observed")
	}
	node2.wantPasses("observing", node1, 80, 81, 82)
	node1.wantSeen("observing", node2, 81, "db/ingress/2", true)
	node1.wantSeen("observing", node2, 82, "default", true)
	node1.wantPasses("observing", node2, 7777)
	left := func(f DeniedFlow) bool {
		return f.Direction == "egress" && f.By == "db/egress/1" && f.Remote == node2.addr && f.Local == node1.addr && f.Port == 7777
	}
	if !wait(func() bool { return slices.ContainsFunc(node1.flows().Flows, left) }) {
		t.Errorf("nobody tells of what would not leave: %+v", node1.flows())
	}
	for _, f := range node1.flows().Flows {
		if f.Port == 80 {
			t.Errorf("what is accepted is told as denied: %+v", f)
		}
	}
	if packets, at := node1.decided("db/ingress/2"); packets == 0 || at == nil {
		t.Errorf("the rule has %d packets, last %v; want some", packets, at)
	}

	write(t, dir, enforce)
	if !wait(func() bool { s := node1.status(); return !s.Observe && len(s.Drift) == 0 }) {
		t.Fatal("it does not enforce")
	}
	node2.wantDropped("enforcing", node1, 81, 82)
	node2.wantPasses("enforcing", node1, 80)
	node1.wantSeen("enforcing", node2, 81, "db/ingress/2", false)
	node1.wantSeen("enforcing", node2, 82, "default", false)

	drops, last := node1.decided("db/ingress/2")
	accepts, _ := node1.decided("db/ingress/1")
	if drops == 0 || accepts == 0 || last == nil {
		t.Fatalf("%d drops, %d accepts, last drop %v: want some", drops, accepts, last)
	}
	version := node1.status().Version
	write(t, dir, withDrop(groupsText("other", 79, 80), "81")) // each rule moves by one
	if !wait(func() bool { return node1.status().Version != version }) {
		t.Fatal("no new version")
	}
	node2.wantPasses("swapped", node1, 79)
	if n, _ := node1.decided("db/ingress/2"); n < accepts {
		t.Errorf("the rule for port 80 had accepted %d packets, and has %d after a swap", accepts, n)
	}
	if n, at := node1.decided("db/ingress/3"); n < drops || at == nil || at.Before(*last) {
		t.Errorf("the rule for port 81 had dropped %d packets until %s, and has %d until %v after a swap", drops, last, n, at)
	}
	node1.wantSeen("swapped", node2, 81, "db/ingress/3", false) // the same flow, by the rule's name of now

	p.stop(syscall.SIGTERM)
	if w := node1.flows(); w.Running || len(w.Flows) == 0 {
		t.Errorf("after the agent has stopped: %+v", w)
	}
	if out := node1.must("flows", "--state-dir", node1.state); !strings.Contains(out, "the agent does not run") || !strings.Contains(out, "would drop") {
		t.Errorf("after the agent has stopped it says:\n%s", out)
	}
	node1.start(node1.flags(dir, "--confirm=never")...)
	if !wait(func() bool { return node1.status().Running }) {
		t.Fatal("it does not start again")
	}
	again := func(f DeniedFlow) bool { return f.Port == 83 && f.Remote == node2.addr && f.By == "default" }
	if !wait(func() bool { // it may take a while until it reads the log
		node2.wantDropped("started again", node1, 83)
		return slices.ContainsFunc(node1.flows().Flows, again)
	}) {
		t.Errorf("started again: nobody tells of node-2 at port 83: %+v", node1.flows())
	}
	node1.wantSeen("of before", node2, 81, "db/ingress/3", false)
	wantReport(t, node1, node2)
}

// TestLogTaken starts an agent while another process reads the log, which then
// lets it go.
func TestLogTaken(t *testing.T) {
	t.Parallel()
	node1, node2, _ := three(t)
	var other *seen.Log
	if err := in(node1.ns, func() (err error) {
		other, err = seen.Open()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, groupsText("other", 80))
	node1.start(node1.flags(dir, "--confirm=never")...)
	if !wait(func() bool {
		s := node1.status()
		return s.Version != "" && len(s.Problems) == 1 && strings.Contains(s.Problems[0], seen.ErrTaken.Error())
	}) {
		t.Errorf("another process has the log, and status says: %+v", node1.status())
	}
	node2.wantDropped("the log is taken", node1, 81)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if !wait(func() bool { return len(node1.status().Problems) == 0 }) {
		t.Errorf("the log is free, and status says: %+v", node1.status())
	}
	node2.wantDropped("the log is free", node1, 82)
	node1.wantSeen("the log is free", node2, 82, "default", false)
}

// wantReport wants the FlowReport of a node to tell what was seen.
func wantReport(t *testing.T, node1, node2 *node) {
	t.Helper()
	var r struct {
		Kind     string
		Metadata struct{ Name string }
		Denied   []struct {
			By, Direction, Local, Remote string
			Protocol, Port, Packets      int
		}
		Hits []struct {
			By      string
			Packets int
		}
	}
	if err := json.Unmarshal([]byte(node1.must("flows", "-o", "report", "--state-dir", node1.state)), &r); err != nil {
		t.Fatal(err)
	}
	denied, hit := false, false
	for _, d := range r.Denied {
		denied = denied || d.By == "db/ingress/3" && d.Direction == "Ingress" && d.Local == node1.addr.String() && d.Remote == node2.addr.String() && d.Protocol == 6 && d.Port == 81 && d.Packets > 0
	}
	for _, h := range r.Hits {
		hit = hit || h.By == "db/ingress/3" && h.Packets > 0
	}
	if !denied || !hit || r.Kind != "FlowReport" || r.Metadata.Name != "node-1" {
		t.Errorf("the report lacks something: %+v", r)
	}
}
