package agent

import (
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/rules"
)

// TestOnce enforces a least-privilege cluster on three nodes, and sends what
// is allowed and what is not.
func TestOnce(t *testing.T) {
	t.Parallel()
	node1, node2, node3 := three(t)
	client := node1.network.nodes["client"]
	dir := t.TempDir()
	write(t, dir, clusterText)
	for _, a := range []*node{node1, node2, node3} {
		a.must(a.flags(dir, "--once", "--confirm=never")...)
		a.wantNoDrift("after the first run")
	}
	node2.wantPasses("API server", node1, 6443)
	node1.wantPasses("kubelet", node2, 10250)
	node3.wantPasses("kubelet, webhook", node2, 10250, 8443)
	client.wantPasses("what is exposed", node2, 443)
	client.wantDropped("what is not exposed", node2, 22, 10250, 8443)
	client.wantDropped("what is not exposed", node1, 6443, 2379)
	node3.wantDropped("what no need names", node2, 80, 5432)
	node2.wantDropped("egress", client, 80, 443)

	again := node1.status().Since
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	if s := node1.status(); !s.Since.Equal(*again) || len(s.Uplinks) != 1 || s.Uplinks[0] != "eth0" || s.Running {
		t.Errorf("a second run changes something: %+v", s)
	}
}

// TestInput gives it everything wrong: the kernel is not touched, and the exit
// code tells input from the rest.
func TestInput(t *testing.T) {
	t.Parallel()
	node1, _, _ := three(t)
	good, empty := t.TempDir(), t.TempDir()
	write(t, good, groupsText("other", 80))
	node1.must(node1.flags(good, "--once", "--confirm=never")...)
	before := node1.status()
	wrong := func(change func(string) string) string {
		dir := t.TempDir()
		write(t, dir, change(groupsText("other", 81)))
		return dir
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"NoFolder":     {node1.flags(filepath.Join(empty, "none"), "--once"), exitInput, "no such file"},
		"NoFiles":      {node1.flags(empty, "--once"), exitInput, "no files"},
		"NoHost":       {[]string{"--manifests", good, "--host", "node-9", "--state-dir", node1.state, "--once"}, exitInput, "no Host node-9"},
		"NoHostFlag":   {[]string{"--manifests", good}, exitInput, "--host is missing"},
		"NoGroup":      {node1.flags(wrong(func(s string) string { return strings.Replace(s, "[db]", "[nothing]", 1) }), "--once"), exitInput, "all.yaml:"},
		"Wears none":   {node1.flags(wrong(func(s string) string { return strings.Replace(s, "[db]", "[]", 1) }), "--once"), exitInput, "wears no group"},
		"NoPeer":       {node1.flags(wrong(func(s string) string { return strings.Replace(s, "groupName: app", "groupName: apple", 1) }), "--once"), exitInput, "apple"},
		"NotYAML":      {node1.flags(wrong(func(string) string { return "kind: [" }), "--once"), exitInput, "all.yaml"},
		"BadConfirm":   {node1.flags(good, "--once", "--confirm=maybe"), exitInput, "want never, probe or manual"},
		"BadFlag":      {node1.flags(good, "--onze"), exitInput, "onze"},
		"BadArgument":  {[]string{"enforce"}, exitInput, "enforce"},
		"NoSuchUplink": {node1.flags(good, "--once", "--uplink", "eth7"), exitFailed, "eth7"},
		"NoUplink":     {node1.flags(wrong(func(s string) string { return strings.Replace(s, "[10.50.0.11]", "[10.50.0.99]", 1) }), "--once"), exitFailed, "name one with --uplink"},
	} {
		o := node1.run(c.args...)
		if o.code != c.code || !strings.Contains(o.err, c.says) {
			t.Errorf("%s: exit code %d, want %d and %q; it said %s", name, o.code, c.code, c.says, o.err)
		}
	}
	if after := node1.status(); after.Version != before.Version || len(after.Drift) > 0 {
		t.Errorf("bad input changed something: %+v", after)
	}
}

// TestDryRun prints the table that is then in force, and changes nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	node1, _, _ := three(t)
	dir := t.TempDir()
	write(t, dir, groupsText("other", 80))
	out := node1.must(node1.flags(dir, "--once", "--dry-run")...)
	if !strings.Contains(out, "table inet ringfence {") || !strings.Contains(out, `elements = { "eth0" }`) {
		t.Errorf("it prints no table:\n%s", out)
	}
	if s := node1.status(); s.Version != "" || len(s.Drift) > 0 {
		t.Errorf("a dry run enforces: %+v", s)
	}
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	if s := node1.status(); !strings.Contains(out, s.Version) {
		t.Errorf("version %s is enforced; the dry run said %s", s.Version, out)
	}
	write(t, dir, groupsText("other", 81))
	out = node1.must(node1.flags(dir, "--dry-run")...)
	for _, want := range []string{"# - ingress Accept 1 TCP 80/80 app", "# + ingress Accept 1 TCP 81/81 app"} {
		if !strings.Contains(out, want) {
			t.Errorf("the dry run does not say %q:\n%s", want, out)
		}
	}
}

// TestLoop changes members, rules, the table and the interfaces under a running
// agent.
func TestLoop(t *testing.T) {
	t.Parallel()
	node1, node2, node3 := three(t)
	dir := t.TempDir()
	write(t, dir, groupsText("other", 5432))
	p := node1.start(node1.flags(dir, "--confirm=never")...)
	if !wait(func() bool { return node1.status().Version != "" }) {
		t.Fatal("nothing is enforced")
	}
	node2.wantPasses("app", node1, 5432)
	node3.wantDropped("other", node1, 5432)
	first := node1.status()

	write(t, dir, groupsText("app", 5432))
	node3.wantPasses("joined app", node1, 5432)
	if s := node1.status(); s.Version != first.Version || !s.Since.Equal(*first.Since) {
		t.Errorf("a change of members made version %s of %s", s.Version, first.Version)
	}

	write(t, dir, "kind: [")
	if !wait(func() bool { return len(node1.status().Problems) == 1 }) {
		t.Error("nobody says that the manifests are bad")
	}
	node3.wantPasses("bad manifests", node1, 5432)

	write(t, dir, groupsText("other", 5432))
	if !wait(func() bool { return !node3.dials(node1.addr, 5432, short) }) {
		t.Error("it left app, and still comes in")
	}
	node1.wantNoDrift("members left")

	write(t, dir, groupsText("app", 5433))
	node3.wantPasses("new rule", node1, 5433)
	node3.wantDropped("old rule", node1, 5432)
	if !wait(func() bool { return node1.status().Version != first.Version }) {
		t.Error("a change of rules made no new version")
	}
	node1.wantNoDrift("new rule")

	if o := node1.run(node1.flags(dir, "--once")...); o.code != exitFailed || !strings.Contains(o.err, "another ringfence-agent") {
		t.Errorf("two agents work with one folder: %+v", o)
	}
	drifts(t, node1, node3)

	if err := in(node1.ns, func() error { return up("lo", "10.50.0.111/32") }); err != nil {
		t.Fatal(err)
	}
	if o := p.stop(syscall.SIGTERM); o.code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", o.code)
	}
	node3.wantPasses("after SIGTERM", node1, 5433)
	node3.wantDropped("after SIGTERM", node1, 5432)
	node1.wantNoDrift("after SIGTERM")
}

// drifts changes the table by hand in every way: it is repaired, and said.
func drifts(t *testing.T, node1, node3 *node) {
	t.Helper()
	table := &nftables.Table{Name: nft.TableName, Family: nftables.TableFamilyINet}
	version := node1.status().Version
	for name, edit := range map[string]func(*nftables.Conn){
		"Policy": func(c *nftables.Conn) { c.FlushChain(&nftables.Chain{Table: table, Name: nft.Policy(rules.Ingress)}) },
		"Chain": func(c *nftables.Conn) {
			c.FlushChain(&nftables.Chain{Table: table, Name: nft.DispatchChain(version, rules.Ingress, "4")})
		},
		"Members": func(c *nftables.Conn) {
			c.FlushSet(&nftables.Set{Table: table, Name: nft.DispatchChain(version, rules.Ingress, "4") + "_members"})
		},
		"Uplinks": func(c *nftables.Conn) { c.FlushSet(uplinkSet()) },
		"Foreign": func(c *nftables.Conn) { c.AddChain(&nftables.Chain{Table: table, Name: "mine"}) },
		"Table":   func(c *nftables.Conn) { c.DelTable(table) },
		"Ruleset": func(c *nftables.Conn) { c.FlushRuleset() },
	} {
		err := in(node1.ns, func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			edit(c)
			return c.Flush()
		})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		repaired := wait(func() bool {
			s := node1.status()
			return len(s.Drift) == 0 && len(s.Uplinks) == 1
		})
		if !repaired {
			t.Errorf("%s: not repaired: %+v", name, node1.status())
		}
		node3.wantPasses(name, node1, 5433)
		node3.wantDropped(name, node1, 5432)
	}
	if s := node1.status(); s.LastDrift == nil || !s.LastDrift.Repaired {
		t.Errorf("nobody says that the table was changed: %+v", s)
	}
}

// TestUplinks lets an interface become an uplink while the agent runs.
func TestUplinks(t *testing.T) {
	t.Parallel()
	node1, node2, _ := three(t)
	dir := t.TempDir()
	write(t, dir, groupsText("other", 5432))
	node1.start(node1.flags(dir, "--confirm=never", "--uplink", "lo")...)
	if !wait(func() bool { return strings.Join(node1.status().Uplinks, " ") == "eth0 lo" }) {
		t.Fatalf("uplinks %q, want eth0 and lo", node1.status().Uplinks)
	}
	write(t, dir, strings.Replace(groupsText("other", 5432), "addresses: [10.50.0.11]", "addresses: [10.50.0.11, 10.51.0.1]", 1))
	err := in(node1.ns, func() error { return veth("eth1", "wire", "10.51.0.1/24") })
	if err != nil {
		t.Fatal(err)
	}
	if !wait(func() bool { return strings.Join(node1.status().Uplinks, " ") == "eth0 eth1 lo" }) {
		t.Errorf("uplinks %q, want eth1 too", node1.status().Uplinks)
	}
	node2.wantPasses("another uplink", node1, 5432)
	node2.wantDropped("another uplink", node1, 5431)
}

// TestProbe pushes a change that cuts the host off the API server: first it is
// refused, and when that is forced, it is tried and withdrawn.
func TestProbe(t *testing.T) {
	t.Parallel()
	node1, node2, node3 := three(t)
	node1.listen(6443)
	dir := t.TempDir()
	write(t, dir, clusterText)
	o := node2.run(node2.flags(dir, "--once", "--confirm=probe")...)
	if s := node2.status(); o.code != 0 || !strings.Contains(s.Why, "10.50.0.11:6443") {
		t.Fatalf("exit code %d, why %q: want 0, and the API server probed\n%s", o.code, s.Why, o.err)
	}
	before := node2.status()
	// The cluster now wears a group that somebody wrote, which lets nothing out.
	bad := strings.Replace(clusterText, "securityGroup: {type: Advanced, profile: LeastPrivilege}", "securityGroup: {name: mine}", 1) + `---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: mine}
spec:
  vpcName: prod
  type: Advanced
  ingress:
  - {policy: Accept, priority: 1, protocol: TCP, ports: 10250/10250, peer: {cidr: 10.50.0.0/16}}
`
	write(t, dir, bad)
	o = node2.run(node2.flags(dir, "--once", "--confirm=probe")...)
	if o.code != exitFailed || !strings.Contains(o.err, "--force AO-L3") || !strings.Contains(o.err, "6443") {
		t.Errorf("exit code %d, it said %q; want a refusal that names the row", o.code, o.err)
	}
	o = node2.run(node2.flags(dir, "--once", "--confirm=probe", "--confirm-timeout=5s", "--force", "AO-L3")...)
	if o.code != exitFailed || !strings.Contains(o.err, errWithdrawn.Error()) || !strings.Contains(o.err, "10.50.0.11:6443") {
		t.Errorf("exit code %d, it said %q; want the change withdrawn", o.code, o.err)
	}
	if s := node2.status(); s.Version != before.Version || len(s.Drift) > 0 || s.Trial != "" {
		t.Errorf("after it was withdrawn: %+v, want %+v", s, before)
	}
	node2.wantPasses("withdrawn", node1, 6443)
	node3.wantPasses("withdrawn", node2, 8443)

	// In the loop the same, and what is right again is applied.
	p := node2.start(node2.flags(dir, "--confirm=probe", "--confirm-timeout=5s", "--force=AO-L3")...)
	if !wait(func() bool { return len(node2.status().Problems) == 1 }) {
		t.Error("the agent says nothing of a change that it withdrew")
	}
	write(t, dir, strings.Replace(clusterText, "[8443]", "[8443, 9443]", 1))
	node3.wantPasses("right again", node2, 9443)
	if !wait(func() bool { return len(node2.status().Problems) == 0 }) {
		t.Errorf("problems %q, want none", node2.status().Problems)
	}
	p.stop(syscall.SIGTERM)
	node2.wantNoDrift("at the end")
}

// TestKeepOfMembers refuses a change of members that cuts what must be kept.
func TestKeepOfMembers(t *testing.T) {
	t.Parallel()
	node1, node2, _ := three(t)
	dir := t.TempDir()
	text := strings.Replace(clusterText, "securityGroup: {type: Advanced, profile: LeastPrivilege}", "securityGroup: {name: mine}", 1) + `---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: mine}
spec:
  vpcName: prod
  type: Basic
  innerAccess: Accept
`
	write(t, dir, text)
	node2.must(node2.flags(dir, "--once", "--confirm=never")...)
	node1.wantPasses("inner access", node2, 10250)
	write(t, dir, strings.Replace(text, node1Text, "", 1))
	o := node2.run(node2.flags(dir, "--once", "--confirm=never")...)
	if o.code != exitFailed || !strings.Contains(o.err, "a change of 1 members") || !strings.Contains(o.err, "--force BI-L3") {
		t.Errorf("exit code %d, it said %q; want the leaving of the API server's host refused", o.code, o.err)
	}
	node1.wantPasses("refused", node2, 10250)
	node2.wantNoDrift("refused")
	node2.must(node2.flags(dir, "--once", "--confirm=never", "--force=BI-L3")...)
	node1.wantDropped("forced", node2, 10250)
	node2.wantNoDrift("forced")
}

// TestManual waits for a person; without one the kernel goes back.
func TestManual(t *testing.T) {
	t.Parallel()
	node1, node2, node3 := three(t)
	dir := t.TempDir()
	write(t, dir, groupsText("other", 80))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	first := node1.status().Version

	write(t, dir, groupsText("other", 81))
	p := node1.start(node1.flags(dir, "--once", "--confirm=manual", "--confirm-timeout=2s")...)
	node2.wantPasses("on trial", node1, 81)
	if o := p.end(); o.code != exitFailed || !strings.Contains(o.err, "nobody confirmed") {
		t.Errorf("nobody confirmed, and it ended with %+v", o)
	}
	node2.wantPasses("trial over", node1, 80)
	node2.wantDropped("trial over", node1, 81)
	node1.wantNoDrift("trial over")

	p = node1.start(node1.flags(dir, "--confirm=manual", "--confirm-timeout=1h")...)
	if !wait(func() bool { return node1.status().Trial != "" }) {
		t.Fatal("nothing is on trial")
	}
	write(t, dir, groupsText("app", 81)) // members change for both versions
	node3.wantPasses("joined in the trial", node1, 81)
	node1.must("confirm", "--state-dir", node1.state)
	if !wait(func() bool { return node1.status().Version != first && len(node1.status().Drift) == 0 }) {
		t.Errorf("confirmed, and status says %+v", node1.status())
	}
	if s := node1.status(); !strings.Contains(s.Why, "confirmed by a person") {
		t.Errorf("why %q", s.Why)
	}
	node3.wantDropped("confirmed", node1, 80)
	if o := node1.run("confirm", "--state-dir", node1.state); o.code != exitFailed {
		t.Errorf("confirmed twice: %+v", o)
	}
	p.stop(syscall.SIGKILL)
}

// TestBreakGlass opens a host, resumes, restores after a reboot, and uninstalls.
func TestBreakGlass(t *testing.T) {
	t.Parallel()
	node1, node2, node3 := three(t)
	dir := t.TempDir()
	state := []string{"--state-dir", node1.state}
	with := func(words ...string) []string { return append(words, state...) }
	if o := node1.run(with("open")...); o.code != exitFailed {
		t.Errorf("opened what enforces nothing: %+v", o)
	}
	write(t, dir, groupsText("other", 80))
	p := node1.start(node1.flags(dir, "--confirm=never")...)
	node2.wantPasses("enforced", node1, 80)
	if !wait(func() bool { return node1.status().Version != "" }) {
		t.Fatal("nothing is enforced")
	}
	node3.wantDropped("enforced", node1, 80)
	node1.must(with("open", "--for", "1h")...)
	node3.wantPasses("open", node1, 80, 22)
	write(t, dir, groupsText("other", 81))
	if !wait(func() bool { s := node1.status(); return s.Trial == openName && len(s.Problems) == 1 }) {
		t.Errorf("open is not said loudly: %+v", node1.status())
	}
	node1.must(with("resume")...)
	node2.wantPasses("resumed", node1, 81)
	node3.wantDropped("resumed", node1, 81, 80)
	node1.must(with("open", "--for", "2s")...)
	if !wait(func() bool { return !node3.dials(node1.addr, 22, short) }) {
		t.Error("it does not close by itself")
	}
	if o := node1.run(with("uninstall")...); o.code != exitFailed || !strings.Contains(o.err, "stop it first") {
		t.Errorf("uninstalled under a running agent: %+v", o)
	}
	p.stop(syscall.SIGTERM)

	if err := os.RemoveAll(dir); err != nil { // no manifests at boot
		t.Fatal(err)
	}
	node1.flush()
	node3.wantPasses("rebooted", node1, 80)
	node1.must(with("restore")...)
	node2.wantPasses("restored", node1, 81)
	node3.wantDropped("restored", node1, 80, 81)
	node1.wantNoDrift("restored")

	node1.must(with("uninstall")...)
	node3.wantPasses("uninstalled", node1, 80)
	if left, err := os.ReadDir(node1.state); err != nil || len(left) > 0 {
		t.Errorf("left in the state folder: %v, %v", left, err)
	}
	node1.must(with("restore")...)
}

// kills is how often an agent is killed in a change.
var kills = flag.Int("agent.kills", 20, "how often the agent is killed at a random moment")

// TestKilled kills the agent at random moments of a change of rules, of members
// or of both. The table is one complete version whenever one looks, and the
// next start makes all whole.
func TestKilled(t *testing.T) {
	t.Parallel()
	node1, node2, node3 := three(t)
	dir := t.TempDir()
	ports := []uint16{80, 81}
	began := time.Now() //nolint:forbidigo // how long a run takes here, to hit its middle
	write(t, dir, groupsText("other", int(ports[0]), 5432))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	span := time.Since(began) //nolint:forbidigo // as above
	dice := rand.New(rand.NewPCG(1, 2))
	complete := func(when string) {
		t.Helper()
		var open int
		for _, port := range ports {
			if node2.dials(node1.addr, port, short) {
				open++
			}
		}
		if open != 1 {
			t.Errorf("%s: %d of the two versions' ports are open", when, open)
		}
		node1.wantWhole(when)
	}
	killed := 0
	for i := range *kills {
		joined := dice.IntN(2) == 0
		write(t, dir, groupsText(map[bool]string{true: "app", false: "other"}[joined], int(ports[(i+dice.IntN(2))%2]), 5432))
		p := node1.start(node1.flags(dir, "--once", "--confirm="+[]string{"never", "probe"}[dice.IntN(2)])...)
		delay := time.NewTimer(time.Duration(dice.Int64N(int64(span * 3 / 4))))
		select {
		case <-delay.C:
		case <-p.ended:
		}
		if o := p.stop(syscall.SIGKILL); o.code != 0 {
			killed++
		}
		complete("killed")
		if dice.IntN(2) == 0 { // else the next swap starts from what is left
			node1.must(node1.flags(dir, "--once", "--confirm=never")...)
			node1.wantNoDrift("started again")
			node2.wantPasses("started again", node1, 5432)
			if joined {
				node3.wantPasses("joined", node1, 5432)
			} else {
				node3.wantDropped("not joined", node1, 5432)
			}
			complete("started again")
		}
	}
	if killed == 0 {
		t.Error("no agent was killed in its work: the test proves nothing")
	}
	t.Logf("%d of %d were killed before they had ended", killed, *kills)
	node1.must("restore", "--state-dir", node1.state)
	node1.wantNoDrift("at the end")
}

// TestSelftest runs it where it may.
func TestSelftest(t *testing.T) {
	t.Parallel()
	node1, _, _ := three(t)
	if out := node1.must("selftest"); strings.Count(out, "ok ") != 7 {
		t.Errorf("it said %s", out)
	}
	if s := node1.status(); len(s.Drift) > 0 {
		t.Errorf("the self-test touched the host: %+v", s)
	}
}

// TestCapabilities lets it run with CAP_NET_ADMIN and nothing more, as its unit does.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	node1, node2, node3 := three(t)
	dir := t.TempDir()
	write(t, dir, groupsText("other", 80))
	dropAll := func() error {
		for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
			if c == unix.CAP_NET_ADMIN {
				continue
			}
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
				return err
			}
		}
		return nil
	}
	if o := node1.startAfter(dropAll, node1.flags(dir, "--once", "--confirm=probe")...).end(); o.code != 0 {
		t.Fatalf("exit code %d, it said %s", o.code, o.err)
	}
	node2.wantPasses("enforced", node1, 80)
	node3.wantDropped("enforced", node1, 80)
	if o := node1.startAfter(dropAll, "restore", "--state-dir", node1.state).end(); o.code != 0 {
		t.Errorf("restore: exit code %d, it said %s", o.code, o.err)
	}
	withoutAny := func() error {
		return errors.Join(dropAll(), unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0, 0, 0))
	}
	if o := node1.startAfter(withoutAny, node1.flags(dir, "--once")...).end(); o.code != exitFailed || !strings.Contains(o.err, "CAP_NET_ADMIN") {
		t.Errorf("without a right: exit code %d, it said %s", o.code, o.err)
	}
}

// TestObserve lets pass what would be dropped, and counts it.
func TestObserve(t *testing.T) {
	t.Parallel()
	node1, node2, node3 := three(t)
	dir := t.TempDir()
	write(t, dir, strings.Replace(groupsText("other", 80), "securityGroupNames: [db]", "securityGroupNames: [db], enforcement: Observe", 1))
	node1.must(node1.flags(dir, "--once", "--confirm=probe")...)
	node2.wantPasses("observed", node1, 80, 81)
	node3.wantPasses("observed", node1, 80)
	var would uint64
	s := node1.status()
	for _, r := range s.Rules {
		if r.By == "default" && r.Direction == "ingress" {
			would = r.Packets
		}
	}
	if would != 2 || !s.Observe {
		t.Errorf("%d packets would be dropped, want 2: %+v", would, s)
	}
}

// TestFullDisk: what cannot be saved is not applied, and the rest goes on.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	node1, node2, node3 := three(t)
	dir := t.TempDir()
	write(t, dir, groupsText("other", 80))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	// A folder stands where the file would be written, which fails for root too.
	if err := os.Mkdir(filepath.Join(node1.state, candidateFile+".new"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"Rules": groupsText("other", 81), "Members": groupsText("app", 80)} {
		write(t, dir, text)
		if o := node1.run(node1.flags(dir, "--once", "--confirm=never")...); o.code != exitFailed || !strings.Contains(o.err, "cannot save the state") {
			t.Errorf("%s: exit code %d, it said %s", name, o.code, o.err)
		}
		node2.wantPasses(name, node1, 80)
		node2.wantDropped(name, node1, 81)
		node3.wantDropped(name, node1, 80)
		node1.wantNoDrift(name)
	}
}
