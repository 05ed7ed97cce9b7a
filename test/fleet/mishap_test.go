package fleet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/identity"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/internal/testenv"
)

// trio is a fleet of the hosts of groups, of which node-1 has an agent: node-2
// reaches it at port 5432, and node-3 does not.
func trio(t *testing.T) (*fleet, *node) {
	t.Helper()
	f := newFleet(t, map[string]string{"node-1": "10.60.0.11", "node-2": "10.60.0.12", "node-3": "10.60.0.13"})
	f.create(groups)
	f.nodes["node-1"].comes()
	f.runs("5432/5432")
	f.nodes["node-2"].reaches(true, f.nodes["node-1"], 5432)
	return f, f.nodes["node-1"]
}

// keeps wants node-1 to enforce that it is reached at one port only.
func (f *fleet) keeps(when string, port uint16) {
	f.t.Helper()
	for _, tc := range []struct {
		from string
		port uint16
		want bool
	}{{"node-2", port, true}, {"node-2", port + 1, false}, {"node-3", port, false}} {
		patience := short
		if tc.want {
			patience = 3 * time.Second
		}
		if got := f.nodes[tc.from].dials(f.t.Context(), f.nodes["node-1"], tc.port, patience); got != tc.want {
			f.t.Errorf("%s: %s reaches node-1 at port %d: %t, want %t", when, tc.from, tc.port, got, tc.want)
		}
	}
}

// opens makes group db let in one port, and nothing else.
func (f *fleet) opens(port uint16) {
	f.t.Helper()
	change(f, "db", &v1alpha1.SecurityGroup{}, func(g *v1alpha1.SecurityGroup) { g.Spec.Ingress[0].Ports = fmt.Sprintf("%d/%d", port, port) })
}

// logs waits until the agent says some words.
func (n *node) logs(words string) {
	n.fleet.t.Helper()
	testenv.Eventually(n.fleet.t, func(context.Context) string {
		if !strings.Contains(n.said.String(), words) {
			return fmt.Sprintf("%s does not say %q", n.Name, words)
		}
		return ""
	})
}

// flush takes the whole table away, as somebody else would.
func (n *node) flush() {
	n.fleet.t.Helper()
	n.fleet.check(n.Do(func() error {
		k, err := apply.Open()
		if err != nil {
			return err
		}
		return errors.Join(k.Uninstall(), k.Close())
	}))
}

// TestKilledInRollout kills the agent at random points while new rules come in,
// thirty times: the table is always one of the rules, whole, and ends on the
// newest.
func TestKilledInRollout(t *testing.T) {
	t.Parallel()
	const kills = 30
	f, node1 := trio(t)
	node2 := f.nodes["node-2"]
	change(f, "db", &v1alpha1.SecurityGroup{}, func(g *v1alpha1.SecurityGroup) {
		always := g.Spec.Ingress[0]
		always.Ports = "443/443"
		g.Spec.Ingress = append(g.Spec.Ingress, always)
		g.Spec.Ingress[0].Ports = "80/80"
	})
	f.runs("80/80")
	ports := []uint16{80, 5432}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	for i := range kills {
		f.opens(ports[(i+1)%2])
		// Somewhere from before the change arrives to after it is confirmed.
		timer := time.NewTimer(time.Duration(dice.IntN(1500)) * time.Millisecond)
		<-timer.C
		node1.stop(syscall.SIGKILL)
		one, other := node2.dials(t.Context(), node1, ports[0], time.Second), node2.dials(t.Context(), node1, ports[1], short)
		if one == other || !node2.dials(t.Context(), node1, 443, 3*time.Second) || node2.dials(t.Context(), node1, 22, short) {
			t.Errorf("killed %d times, with seed %d: the table is not one of the rules: port %d %t, port %d %t", i+1, seed, ports[0], one, ports[1], other)
		}
		node1.start()
	}
	f.runs("80/80")
	f.keeps("in the end", 80)
	if out, err := node1.run("status", "--state-dir", node1.state, "-o", "json"); err != nil || !strings.Contains(out, `"drift": []`) {
		t.Errorf("status: %v\n%s", err, out)
	}
}

// runs waits until the Rollout of group db has settled on rules whose first lets
// in these ports, and node-1 has confirmed them.
func (f *fleet) runs(ports string) {
	f.t.Helper()
	testenv.Eventually(f.t, func(ctx context.Context) string {
		r, err := f.findRollout(ctx, "db")
		if err != nil {
			return err.Error()
		}
		rules := &v1alpha1.Ruleset{}
		if err := f.api.Get(ctx, client.ObjectKey{Namespace: f.namespace, Name: r.Spec.StableRulesetName}, rules); err != nil {
			return err.Error()
		}
		h, err := f.nodes["node-1"].host(ctx)
		if err != nil {
			return err.Error()
		}
		if r.Spec.CandidateRulesetName != "" || rules.Spec.Ingress[0].Ports != ports || h.Status.RulesetName != rules.Name ||
			!meta.IsStatusConditionTrue(h.Status.Conditions, v1alpha1.ConditionEnforced) {
			return fmt.Sprintf("the Rollout: %+v; host node-1: %+v", r.Spec, h.Status)
		}
		return ""
	})
}

// TestFullDisk: a host whose state folder is full keeps what it enforces, across
// a restart too, says why it takes nothing new, and does so once there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	f := newFleet(t, map[string]string{"node-1": "10.60.0.11", "node-2": "10.60.0.12", "node-3": "10.60.0.13"})
	node1 := f.nodes["node-1"]
	f.create(groups)
	node1.Disk(node1.state, 256<<10)
	f.check(f.lab.Ready())
	node1.comes()
	f.runs("5432/5432")
	f.nodes["node-2"].reaches(true, node1, 5432)

	filler := filepath.Join(node1.state, "filler")
	if err := node1.Run(exec.Command("dd", "if=/dev/zero", "of="+filler, "bs=1M", "count=1")); err == nil {
		t.Fatal("the disk is not full: the test proves nothing")
	}
	f.opens(80)
	r := f.settled(v1alpha1.ReasonAborted, "db")
	if r.Status.Failure == nil || !strings.Contains(r.Status.Failure.Message, "no space left on device") {
		t.Errorf("the Rollout does not say why: %+v", r.Status.Failure)
	}
	f.keeps("full", 5432)
	node1.stop(syscall.SIGKILL)
	node1.start()
	f.keeps("started again, full", 5432)
	node1.says(v1alpha1.ReasonConfirmed)

	f.check(node1.Run(exec.Command("rm", filler)))
	retry := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationRetry, r.Status.Failure.Time.Add(time.Second).UTC().Format(time.RFC3339))
	f.check(f.api.Patch(t.Context(), r, client.RawPatch(types.MergePatchType, []byte(retry))))
	f.runs("80/80")
	f.keeps("with room again", 80)
}

// TestTwoAgents: who starts a second agent on the folder of one that runs is told
// so, and changes nothing; --dry-run and --once are for hosts that have joined,
// too.
func TestTwoAgents(t *testing.T) {
	t.Parallel()
	f, node1 := trio(t)
	for _, args := range [][]string{{}, {"--once"}, {"restore"}, {"uninstall"}, {"join", "--server", "https://10.60.0.2:6443", "--token", "abcdef.0123456789abcdef", "--ca-cert-hash", f.authority(), "--name", "node-1"}} {
		if out, err := node1.run(append(args, "--state-dir", node1.state)...); err == nil || !strings.Contains(out, "another ringfence-agent works with this state folder") {
			t.Errorf("%v beside an agent that runs: %v\n%s", args, err, out)
		}
	}
	f.keeps("two agents", 5432)
	f.opens(80)
	f.runs("80/80")

	out, err := node1.run("--dry-run", "--state-dir", node1.state)
	if err != nil || !strings.Contains(out, "is in force, and stays") || !strings.Contains(out, "table inet ringfence") {
		t.Errorf("--dry-run beside it: %v\n%s", err, out)
	}
	node1.stop(syscall.SIGTERM)
	f.opens(81)
	testenv.Eventually(t, func(context.Context) string {
		out, err = node1.run("--dry-run", "--state-dir", node1.state)
		if err != nil || !strings.Contains(out, "would take its place") || !strings.Contains(out, "+ ingress Accept 1 TCP 81/81") {
			return fmt.Sprintf("--dry-run: %v\n%s", err, out)
		}
		return ""
	})
	f.keeps("after --dry-run", 80)
	if out, err := node1.run("--once", "--state-dir", node1.state); err != nil || !strings.Contains(out, "level=INFO msg=enforced") {
		t.Errorf("--once: %v\n%s", err, out)
	}
	f.keeps("after --once", 81)
	f.proxy.close()
	if out, err := node1.run("--dry-run", "--state-dir", node1.state); err == nil || !strings.Contains(out, "does not answer") {
		t.Errorf("--dry-run without a control plane: %v\n%s", err, out)
	}
}

// TestObjectsGone: a Rollout that somebody deletes, and a Host that is deleted and
// made anew with other groups, take nothing from the host; then it follows them.
func TestObjectsGone(t *testing.T) {
	t.Parallel()
	f, node1 := trio(t)
	node2, node3 := f.nodes["node-2"], f.nodes["node-3"]
	controllers := testenv.Client(t, f.env.Controllers, scheme(t))
	r := f.rollout(t.Context(), "db")
	f.check(controllers.Delete(t.Context(), r))
	f.keeps("the Rollout is deleted", 5432)
	testenv.Eventually(t, func(ctx context.Context) string {
		if now, err := f.findRollout(ctx, "db"); err != nil || now.UID == r.UID {
			return fmt.Sprintf("there is no new Rollout: %v", err)
		}
		return ""
	})
	f.opens(80)
	f.runs("80/80")
	f.keeps("a new Rollout", 80)

	h, err := node1.host(t.Context())
	f.check(err)
	f.check(f.api.Delete(t.Context(), h))
	node1.logs("there is no Host")
	f.keeps("the Host is deleted", 80)
	f.check(f.api.Create(t.Context(), &v1alpha1.Host{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: node1.Name},
		Spec:       v1alpha1.HostSpec{Addresses: []v1alpha1.Address{"10.60.0.11"}, SecurityGroupNames: []v1alpha1.Name{"app"}},
	}))
	node1.says(v1alpha1.ReasonConfirmed, "of groups app")
	node2.reaches(false, node1, 80)
	node3.reaches(false, node1, 80)
}

// TestPoolChange: a host of a pool follows what its pool wears, and keeps that
// while it is not known.
func TestPoolChange(t *testing.T) {
	t.Parallel()
	f := newFleet(t, map[string]string{"node-1": "10.60.0.11", "node-2": "10.60.0.12", "node-3": "10.60.0.13"})
	node1, node2 := f.nodes["node-1"], f.nodes["node-2"]
	kubelet := "ingress:\n  - {policy: Accept, priority: 1, protocol: TCP, ports: 10250/10250, peer: {cidr: 10.60.0.2/32}}"
	f.create(strings.NewReplacer(
		"securityGroupNames: [db]}", "nodePoolName: red}",
		"ingress:", kubelet,
		"metadata: {name: app}\nspec: {vpcName: prod, type: Basic, innerAccess: Drop}", "metadata: {name: app}\nspec:\n  vpcName: prod\n  type: Basic\n  innerAccess: Drop\n  "+kubelet,
	).Replace(groups) + `---
apiVersion: ringfence.dev/v1alpha1
kind: Cluster
metadata: {name: shop}
spec:
  vpcName: prod
  network: {mode: Flannel, encapsulation: VXLAN, nodeSubnets: [nodes], podCIDRs: [172.20.0.0/16], serviceCIDRs: [172.21.0.0/20]}
  apiServer: {addresses: [10.60.0.2], port: 6443}
  securityGroup: {name: other}
---
apiVersion: ringfence.dev/v1alpha1
kind: NodePool
metadata: {name: red}
spec: {clusterName: shop, subnets: [nodes], securityGroup: {names: [db]}}
---
apiVersion: ringfence.dev/v1alpha1
kind: NodePool
metadata: {name: blue}
spec: {clusterName: shop, subnets: [nodes], securityGroup: {names: [app]}}
`)
	node1.comes()
	node1.says(v1alpha1.ReasonConfirmed, "of groups db")
	node2.reaches(true, node1, 5432)

	f.check(f.api.Delete(t.Context(), &v1alpha1.NodePool{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "red"}}))
	f.keeps("the pool is gone", 5432)
	change(f, "node-1", &v1alpha1.Host{}, func(h *v1alpha1.Host) { h.Spec.NodePoolName = "blue" })
	node1.says(v1alpha1.ReasonConfirmed, "of groups app")
	node2.reaches(false, node1, 5432)
	change(f, "blue", &v1alpha1.NodePool{}, func(p *v1alpha1.NodePool) {
		p.Spec.SecurityGroup.Names = []v1alpha1.Name{"db"}
	})
	node1.says(v1alpha1.ReasonConfirmed, "of groups db")
	node2.reaches(true, node1, 5432)
}

// TestCertificate: a host renews its certificate, keeps what it enforces with a
// damaged one, and says so.
func TestCertificate(t *testing.T) {
	t.Parallel()
	f, node1 := trio(t)
	node1.stop(syscall.SIGTERM)
	file := filepath.Join(node1.state, "host.pem")
	// Most of its time is over.
	user := identity.Host{Namespace: f.namespace, Name: node1.Name}.User()
	signed := f.env.Signed(t, user, identity.HostGroup)
	old := slices.Concat(signed.CertData, signed.KeyData) // as they are in the file
	f.check(os.WriteFile(file, old, 0o600))
	node1.start()
	node1.logs("the host has a new certificate")
	pair, err := os.ReadFile(file)
	f.check(err)
	if block, _ := pem.Decode(pair); block == nil || bytes.Equal(pair, old) {
		t.Fatal("the certificate is the old one")
	}
	f.proxy.close() // every connection begins anew
	f.proxy = f.open()
	f.opens(80)
	f.runs("80/80")

	for what, content := range map[string][]byte{"damaged": []byte("-----BEGIN"), "empty": nil, "gone": nil} {
		f.check(os.WriteFile(file, content, 0o600))
		if what == "gone" {
			f.check(os.Remove(file))
		}
		node1.stop(syscall.SIGKILL)
		if out, err := node1.run("--once", "--state-dir", node1.state); err == nil || !strings.Contains(out, "join again") {
			t.Errorf("%s: --once: %v\n%s", what, err, out)
		}
		node1.start()
		node1.logs("join again")
		f.keeps(what, 80)
		node1.flush()
		f.nodes["node-2"].reaches(false, node1, 81) // repaired
		f.keeps(what+", and somebody took the table away", 80)
		node1.stop(syscall.SIGTERM)
		f.check(os.WriteFile(file, pair, 0o600))
		node1.start()
	}
	f.opens(81)
	f.runs("81/81")
}

// TestClock: a host's clock that jumps takes nothing from what it enforces, and
// does not keep it from following.
func TestClock(t *testing.T) {
	t.Parallel()
	f, node1 := trio(t)

	// What was saved is of a time that is to come.
	node1.stop(syscall.SIGKILL)
	file := filepath.Join(node1.state, "enforced.json")
	data, err := os.ReadFile(file)
	f.check(err)
	record := map[string]any{}
	f.check(json.Unmarshal(data, &record))
	record["since"] = "2090-01-01T00:00:00Z"
	data, err = json.Marshal(record)
	f.check(err)
	f.check(os.WriteFile(file, data, 0o600))
	node1.start()
	f.opens(80)
	f.runs("80/80")
	f.keeps("saved in the future", 80)

	// The clock that only goes ahead is more than a year further, then back.
	node1.stop(syscall.SIGKILL)
	node1.startIn("unshare", "--time", "--monotonic", "40000000", "--boottime", "40000000")
	f.opens(81)
	f.runs("81/81")
	f.keeps("a year of monotonic time later", 81)
	node1.stop(syscall.SIGKILL)
	node1.start()
	f.opens(82)
	f.runs("82/82")
	f.keeps("and back", 82)
}

// TestPausedInTrial stops the agent's time in the middle of a trial, as a virtual
// machine that is suspended: the kernel goes back by itself, and the agent, when
// it comes to, does not confirm what is over.
func TestPausedInTrial(t *testing.T) {
	t.Parallel()
	f, node1 := trio(t)
	node2 := f.nodes["node-2"]
	node1.stop(syscall.SIGTERM)
	node1.start("--confirm=manual")
	f.opens(80)
	node2.reaches(true, node1, 80)
	f.check(node1.proc.Signal(syscall.SIGSTOP))
	node2.reaches(false, node1, 80) // the deadline is over
	f.keeps("nobody was there to confirm", 5432)
	f.check(node1.proc.Signal(syscall.SIGCONT))
	r := f.settled(v1alpha1.ReasonAborted, "db")
	if r.Status.Failure == nil || !strings.Contains(r.Status.Failure.Message, "nobody confirmed") {
		t.Errorf("the Rollout: %+v", r.Status.Failure)
	}
	f.keeps("it came to", 5432)
}
