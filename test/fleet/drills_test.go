package fleet_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/assign"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/identity"
	"ringfence.dev/ringfence/internal/testenv"
)

// dns answers every question with "there is no such name" until the test ends.
func (n *node) dns() {
	n.fleet.t.Helper()
	var conn net.PacketConn
	n.fleet.check(n.Do(func() error {
		var err error
		conn, err = (&net.ListenConfig{}).ListenPacket(n.fleet.t.Context(), "udp", netip.AddrPortFrom(n.addr, 53).String())
		return err
	}))
	n.fleet.t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if size >= 12 { // a header
				buf[2], buf[3] = buf[2]|0x80, 3
				buf[10], buf[11] = 0, 0 // no additional records, such as the question had
				_, _ = conn.WriteTo(buf[:questionEnd(buf[:size])], from)
			}
		}
	}()
}

// questionEnd is where the first question of a message ends.
func questionEnd(b []byte) int {
	i := 12
	for i < len(b) && b[i] != 0 {
		i += int(b[i]) + 1
	}
	return min(i+5, len(b))
}

// rollout returns the Rollout of a set of groups.
func (f *fleet) rollout(ctx context.Context, groups ...string) *v1alpha1.Rollout {
	f.t.Helper()
	r, err := f.findRollout(ctx, groups...)
	f.check(err)
	return r
}

func (f *fleet) findRollout(ctx context.Context, groups ...string) (*v1alpha1.Rollout, error) {
	r := &v1alpha1.Rollout{}
	err := f.api.Get(ctx, client.ObjectKey{Namespace: f.namespace, Name: convert.RolloutName(groups)}, r)
	return r, err
}

// settled waits until a Rollout has a reason.
func (f *fleet) settled(reason string, groups ...string) *v1alpha1.Rollout {
	f.t.Helper()
	var r *v1alpha1.Rollout
	testenv.Eventually(f.t, func(ctx context.Context) string {
		r = f.rollout(ctx, groups...)
		c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionSettled)
		if c == nil || c.Reason != reason {
			return fmt.Sprintf("the Rollout of %v: %+v; want reason %s", groups, c, reason)
		}
		return ""
	})
	return r
}

// drops makes a group drop a TCP port before all else.
func (f *fleet) drops(group string, d v1alpha1.Direction, protocol, ports string) {
	f.t.Helper()
	rule := v1alpha1.Rule{
		Policy: v1alpha1.PolicyDrop, Priority: new(int32(1)), Protocol: intstr.FromString(protocol), Ports: ports, Peer: v1alpha1.Peer{CIDR: "0.0.0.0/0"},
	}
	change(f, group, &v1alpha1.SecurityGroup{}, func(g *v1alpha1.SecurityGroup) {
		if d == v1alpha1.DirectionEgress {
			g.Spec.Egress = append(g.Spec.Egress, rule)
		} else {
			g.Spec.Ingress = append(g.Spec.Ingress, rule)
		}
	})
}

// TestControlPlanePasses: whatever the rules say, a host reaches its control
// plane, and who is told so changes nothing for others.
func TestControlPlanePasses(t *testing.T) {
	t.Parallel()
	f := newFleet(t, map[string]string{"node-1": "10.60.0.11", "node-2": "10.60.0.12"})
	node1 := f.nodes["node-1"]
	f.create(groups)
	node1.comes()
	node1.says(v1alpha1.ReasonConfirmed)
	f.drops("db", v1alpha1.DirectionEgress, "TCP", "6443/6443")
	node1.reaches(false, f.nodes["node-2"], planePort)
	f.settled(v1alpha1.ReasonStable, "db")
	if !node1.dials(t.Context(), f.plane, planePort, time.Second) {
		t.Error("the host does not reach its control plane")
	}
}

// TestKeep: rules that cut a flow which the host may not lose are refused by the
// one host that was to try them, and given up.
func TestKeep(t *testing.T) {
	t.Parallel()
	f := newFleet(t, map[string]string{"etcd-1": "10.60.0.11", "etcd-2": "10.60.0.12", "etcd-3": "10.60.0.13"})
	f.create(quorum)
	for _, n := range f.nodes {
		n.comes()
	}
	for _, n := range f.nodes {
		n.says(v1alpha1.ReasonConfirmed)
	}
	set := f.groupsOf("etcd-1")
	f.settled(v1alpha1.ReasonStable, set...)
	for _, port := range []string{"10250/10250", "2380/2380"} {
		f.drops(set[0], v1alpha1.DirectionIngress, "TCP", port)
		r := f.settled(v1alpha1.ReasonAborted, set...)
		if r.Status.Failure == nil || !strings.Contains(r.Status.Failure.Message, "would cut flows") {
			t.Errorf("port %s: why: %+v", port, r.Status.Failure)
		}
		h := f.nodes[r.Status.Failure.HostName].says(v1alpha1.ReasonConfirmed)
		if !strings.Contains(h.Status.RollbackReason, r.Status.Failure.RulesetName) {
			t.Errorf("port %s: the host says: %s", port, h.Status.RollbackReason)
		}
		f.told(r)
		for _, n := range f.nodes {
			if n.Name != "etcd-1" && !n.dials(t.Context(), f.nodes["etcd-1"], 2380, time.Second) {
				t.Errorf("port %s: %s does not reach etcd", port, n.Name)
			}
		}
	}
}

// told waits for the Event of a Rollout's failure.
func (f *fleet) told(r *v1alpha1.Rollout) {
	f.t.Helper()
	testenv.Eventually(f.t, func(ctx context.Context) string {
		var events eventsv1.EventList
		f.check(f.api.List(ctx, &events, client.InNamespace(f.namespace)))
		for i := range events.Items {
			if e := &events.Items[i]; e.Regarding.Name == r.Name && e.Reason == v1alpha1.ReasonAborted && strings.Contains(e.Note, r.Status.Failure.HostName) {
				return ""
			}
		}
		return fmt.Sprintf("no Event says it, of %d", len(events.Items))
	})
}

// TestOneOfTwenty: a bad rule of a group that three sets have reaches one host
// of them, which goes back by itself.
func TestOneOfTwenty(t *testing.T) {
	t.Parallel()
	const hosts = 20
	sets := [][]string{{"base"}, {"base", "db"}, {"app", "base"}}
	addresses := map[string]string{"dns": "10.60.0.3"}
	for i := range hosts {
		addresses[fmt.Sprintf("host-%d", i)] = fmt.Sprintf("10.60.1.%d", i+1)
	}
	f := newFleet(t, addresses)
	dns := f.nodes["dns"]
	dns.dns()
	delete(f.nodes, "dns")
	var text strings.Builder
	text.WriteString(groups[:strings.Index(groups, "---\napiVersion: ringfence.dev/v1alpha1\nkind: Host")] + `---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: base}
spec: {vpcName: prod, type: Basic, innerAccess: Drop}
`)
	for i := range hosts {
		fmt.Fprintf(&text, "---\napiVersion: ringfence.dev/v1alpha1\nkind: Host\nmetadata: {name: host-%d}\nspec: {addresses: [10.60.1.%d], securityGroupNames: [%s]}\n", i, i+1, strings.Join(sets[i%len(sets)], ", "))
	}
	f.create(text.String())
	for _, n := range f.nodes {
		n.Resolver(dns.addr)
	}
	f.check(f.lab.Ready())
	for _, n := range f.nodes {
		n.comes()
	}
	for _, n := range f.nodes {
		n.says(v1alpha1.ReasonConfirmed, "DNS server")
	}
	for _, set := range sets {
		f.settled(v1alpha1.ReasonStable, set...)
	}
	f.drops("base", v1alpha1.DirectionEgress, "UDP", "53/53")
	failed := 0
	testenv.Eventually(t, func(ctx context.Context) string {
		failed = 0
		for _, set := range sets {
			// Those of the other sets do not begin.
			if r := f.rollout(ctx, set...); r.Spec.CandidateRulesetName != "" && r.Spec.Bound != assign.Nobody {
				return fmt.Sprintf("the Rollout of %v tries %s", set, r.Spec.CandidateRulesetName)
			} else if r.Status.Failure != nil {
				failed++
			}
		}
		if failed == 0 {
			return "no Rollout has failed"
		}
		return ""
	})
	tried := 0
	for _, n := range f.nodes {
		n.says(v1alpha1.ReasonConfirmed)
		if strings.Contains(n.said.String(), "does not reach what it reached before: DNS server") {
			tried++
		}
		var answer error
		f.check(n.Do(func() error {
			r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "udp", netip.AddrPortFrom(dns.addr, 53).String())
			}}
			_, answer = r.LookupNS(t.Context(), ".")
			return nil
		}))
		if e, ok := answer.(*net.DNSError); ok && !e.IsNotFound { //nolint:errorlint // as the resolver returns it
			t.Errorf("%s does not reach its DNS server: %v", n.Name, answer)
		}
	}
	if tried != 1 || failed != 1 {
		t.Errorf("%d hosts tried the bad rule, and %d Rollouts failed; want 1 and 1", tried, failed)
	}
}

// TestServersOwnHost: a default-deny on the host of the control plane lets hosts
// of the VPC join all the same, and nobody else in.
func TestServersOwnHost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, map[string]string{"node-1": "10.60.0.11", "outside": "10.60.100.1"})
	f.create(strings.Replace(groups, "cidrBlock: 10.60.0.0/16", "cidrBlock: 10.60.0.0/18", 1) + `---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: plane}
spec:
  vpcName: prod
  type: Basic
  innerAccess: Drop
  ingress:
  - {policy: Accept, priority: 1, protocol: TCP, ports: 6443/6443, peer: {cidr: 0.0.0.0/0}}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: plane}
spec: {addresses: [10.60.0.2], securityGroupNames: [plane]}
`)
	f.plane.comes()
	f.plane.says(v1alpha1.ReasonConfirmed)
	f.nodes["outside"].reaches(true, f.plane, planePort)
	change(f, "plane", &v1alpha1.SecurityGroup{}, func(g *v1alpha1.SecurityGroup) { g.Spec.Ingress = nil })
	f.settled(v1alpha1.ReasonStable, "plane")
	f.nodes["outside"].reaches(false, f.plane, planePort)
	f.nodes["node-1"].comes()
	f.nodes["node-1"].says(v1alpha1.ReasonConfirmed)
	f.nodes["node-1"].reaches(false, f.plane, 22)
}

// TestJoinRefused: what people get wrong, and what they are told.
func TestJoinRefused(t *testing.T) { //nolint:tparallel // its parts are before what comes after
	t.Parallel()
	f := newFleet(t, map[string]string{"node-1": "10.60.0.11", "node-2": "10.60.0.12"})
	node1, node2 := f.nodes["node-1"], f.nodes["node-2"]
	f.create(groups)
	server := "https://" + planeAddress + ":6443"
	token := f.token(identity.Token{HostName: "node-1"})
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"OtherHash":  {[]string{"--server", server, "--token", token.String(), "--ca-cert-hash", "sha256:" + strings.Repeat("0", 64), "--name", "node-1"}, "another server"},
		"NoHash":     {[]string{"--server", server, "--token", token.String(), "--name", "node-1"}, "--ca-cert-hash or --ca-file"},
		"NoServer":   {[]string{"--token", token.String(), "--name", "node-1"}, "--server is missing"},
		"PlainHTTP":  {[]string{"--server", "http://" + planeAddress, "--token", token.String(), "--ca-cert-hash", f.authority(), "--name", "node-1"}, "want a URL such as https://"},
		"NobodyHome": {[]string{"--server", "https://" + planeAddress + ":6444", "--token", token.String(), "--ca-cert-hash", f.authority(), "--name", "node-1"}, "nobody answers"},
		"WrongToken": {[]string{"--server", server, "--token", "abcdef.0123456789abcdef", "--ca-cert-hash", f.authority(), "--name", "node-1"}, "the token"},
		"OtherHost":  {[]string{"--server", server, "--token", token.String(), "--ca-cert-hash", f.authority(), "--name", "node-2"}, "is for host"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := node1.run(append([]string{"join", "--namespace", f.namespace, "--state-dir", node1.state}, tc.args...)...)
			if err == nil || !strings.Contains(out, tc.want) {
				t.Errorf("%v: want %q in\n%s", err, tc.want, out)
			}
		})
	}
	node1.comes()
	node1.says(v1alpha1.ReasonConfirmed)
	// Somebody else cannot take the name of a host that runs.
	node2.Name = "node-1"
	if out, err := node2.joins(f.token(identity.Token{HostName: "node-1"})); err == nil || !strings.Contains(out, "its Lease is fresh") {
		t.Errorf("%v: a name that runs was given away:\n%s", err, out)
	}
}

const quorum = `
apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec: {cidrBlock: 10.60.0.0/16, subnets: [{name: nodes, cidrBlock: 10.60.0.0/19}]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Cluster
metadata: {name: shop}
spec:
  vpcName: prod
  network: {mode: Flannel, encapsulation: VXLAN, nodeSubnets: [nodes], podCIDRs: [172.20.0.0/16], serviceCIDRs: [172.21.0.0/20]}
  apiServer: {addresses: [10.60.0.11], port: 6443}
  etcd: true
  securityGroup: {type: Advanced, profile: LeastPrivilege}
---
apiVersion: ringfence.dev/v1alpha1
kind: NodePool
metadata: {name: masters}
spec: {clusterName: shop, subnets: [nodes], securityGroup: {}}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: etcd-1}
spec: {addresses: [10.60.0.11], nodePoolName: masters, roles: [ControlPlane, APIServer, Etcd]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: etcd-2}
spec: {addresses: [10.60.0.12], nodePoolName: masters, roles: [ControlPlane, APIServer, Etcd]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: etcd-3}
spec: {addresses: [10.60.0.13], nodePoolName: masters, roles: [ControlPlane, APIServer, Etcd]}
`

// A witness looks at every event of a Rollout and of hosts, for whether two
// critical hosts change at once.
type witness struct {
	mu      sync.Mutex
	rollout *v1alpha1.Rollout
	hosts   map[string]*v1alpha1.Host
	crowds  []string
}

func (w *witness) see(o any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch o := o.(type) {
	case *v1alpha1.Rollout:
		w.rollout = o
	case *v1alpha1.Host:
		w.hosts[o.Name] = o
	}
	if w.rollout == nil || w.rollout.Spec.CandidateRulesetName == "" {
		return
	}
	var changing []string
	for _, name := range w.rollout.Spec.CriticalHostNames {
		if h := w.hosts[name]; h == nil || h.Status.RulesetName != w.rollout.Spec.CandidateRulesetName {
			changing = append(changing, name)
		}
	}
	if len(changing) > 1 {
		w.crowds = append(w.crowds, strings.Join(changing, " and "))
	}
}

// witness begins to look.
func (f *fleet) witness() *witness {
	f.t.Helper()
	own := rest.CopyConfig(f.env.Admin)
	api, err := client.NewWithWatch(own, client.Options{Scheme: f.api.Scheme()})
	f.check(err)
	w := &witness{hosts: map[string]*v1alpha1.Host{}}
	for _, list := range []client.ObjectList{&v1alpha1.HostList{}, &v1alpha1.RolloutList{}} {
		events, err := api.Watch(f.t.Context(), list, client.InNamespace(f.namespace))
		f.check(err)
		f.t.Cleanup(events.Stop)
		go func(events watch.Interface) {
			for e := range events.ResultChan() {
				w.see(e.Object)
			}
		}(events)
	}
	return w
}

// TestQuorum: with one etcd host unconfirmed no other one changes.
func TestQuorum(t *testing.T) {
	t.Parallel()
	f := newFleet(t, map[string]string{"etcd-1": "10.60.0.11", "etcd-2": "10.60.0.12", "etcd-3": "10.60.0.13"})
	f.create(quorum)
	for _, n := range f.nodes {
		n.comes()
	}
	for _, n := range f.nodes {
		n.says(v1alpha1.ReasonConfirmed)
	}
	set := f.groupsOf("etcd-1")
	stable := f.settled(v1alpha1.ReasonStable, set...).Spec.StableRulesetName
	w := f.witness()
	for _, n := range f.nodes {
		f.check(n.proc.Signal(syscall.SIGSTOP))
	}
	change(f, "shop", &v1alpha1.Cluster{}, func(c *v1alpha1.Cluster) { c.Spec.WebhookPorts = append(c.Spec.WebhookPorts, 2380+6000) })
	var first string
	testenv.Eventually(t, func(ctx context.Context) string {
		r := f.rollout(ctx, set...)
		if len(r.Spec.CriticalHostNames) == 0 {
			return fmt.Sprintf("no critical host is chosen: %+v", r.Spec)
		}
		first = r.Spec.CriticalHostNames[0]
		return ""
	})
	// The others run again, and have said so; they must not be told to change.
	for name, n := range f.nodes {
		if name != first {
			f.check(n.proc.Signal(syscall.SIGCONT))
		}
	}
	for name, n := range f.nodes {
		if name == first {
			continue
		}
		if !n.dials(t.Context(), f.nodes[first], 2380, time.Second) {
			t.Errorf("%s does not reach etcd on %s", name, first)
		}
	}
	f.check(f.nodes[first].proc.Signal(syscall.SIGCONT))
	testenv.Eventually(t, func(ctx context.Context) string {
		if r := f.rollout(ctx, set...); r.Spec.StableRulesetName == stable || r.Spec.CandidateRulesetName != "" {
			return fmt.Sprintf("not all etcd hosts have the change: %+v", r.Spec)
		}
		return ""
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.crowds) > 0 {
		t.Errorf("changed at once: %v", w.crowds)
	}
}

// groupsOf are the groups that a host wears, by the Rollout that it follows.
func (f *fleet) groupsOf(name string) []string {
	f.t.Helper()
	h, err := f.nodes[name].host(f.t.Context())
	f.check(err)
	var all v1alpha1.RolloutList
	f.check(f.api.List(f.t.Context(), &all, client.InNamespace(f.namespace)))
	r, ok := assign.Rollout(h, all.Items)
	if !ok {
		f.t.Fatalf("host %s follows no Rollout", name)
	}
	return r.Spec.SecurityGroupNames
}

// TestAllMastersDeleted: who deletes all control-plane Hosts at once takes
// nothing from them: their addresses are held, and they go on enforcing.
func TestAllMastersDeleted(t *testing.T) {
	t.Parallel()
	f := newFleet(t, map[string]string{"etcd-1": "10.60.0.11", "etcd-2": "10.60.0.12", "etcd-3": "10.60.0.13", "db-1": "10.60.0.21", "db-2": "10.60.0.22"})
	f.create(`
apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec: {cidrBlock: 10.60.0.0/16, subnets: [{name: nodes, cidrBlock: 10.60.0.0/19}]}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: masters}
spec: {vpcName: prod, type: Basic, innerAccess: Accept}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: db}
spec:
  vpcName: prod
  type: Basic
  innerAccess: Drop
  ingress:
  - {policy: Accept, priority: 1, protocol: TCP, ports: 5432/5432, peer: {groupName: masters}}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: etcd-1}
spec: {addresses: [10.60.0.11], securityGroupNames: [masters], roles: [Etcd]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: etcd-2}
spec: {addresses: [10.60.0.12], securityGroupNames: [masters], roles: [Etcd]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: etcd-3}
spec: {addresses: [10.60.0.13], securityGroupNames: [masters], roles: [Etcd]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: db-1}
spec: {addresses: [10.60.0.21], securityGroupNames: [db]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: db-2}
spec: {addresses: [10.60.0.22], securityGroupNames: [db]}
`)
	for _, n := range f.nodes {
		n.comes()
	}
	for _, n := range f.nodes {
		n.says(v1alpha1.ReasonConfirmed)
	}
	masters := []*node{f.nodes["etcd-1"], f.nodes["etcd-2"], f.nodes["etcd-3"]}
	for _, n := range masters {
		h, err := n.host(t.Context())
		f.check(err)
		f.check(f.api.Delete(t.Context(), h))
	}
	// A host that goes while it runs leaves its groups after a minute.
	f.slowly(func(ctx context.Context) string {
		g := &v1alpha1.SecurityGroup{}
		if err := f.api.Get(ctx, client.ObjectKey{Namespace: f.namespace, Name: "masters"}, g); err != nil {
			return err.Error()
		}
		if !meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionRemovalHeld) {
			return fmt.Sprintf("group masters: %+v; want RemovalHeld", g.Status.Conditions)
		}
		return ""
	})
	for i, n := range masters {
		other := masters[(i+1)%len(masters)]
		if !n.dials(t.Context(), other, 2380, time.Second) || !n.dials(t.Context(), f.nodes["db-1"], 5432, time.Second) {
			t.Errorf("%s has lost its peers", n.Name)
		}
		if f.nodes["db-2"].dials(t.Context(), n, 22, short) {
			t.Errorf("%s lets in what its group does not", n.Name)
		}
	}
	if names := slices.Collect(f.left("masters")); len(names) != 3 {
		t.Errorf("members of group masters: %v", names)
	}
}

// left are the addresses of a group.
func (f *fleet) left(group string) func(func(string) bool) {
	f.t.Helper()
	var list v1alpha1.AddressSliceList
	f.check(f.api.List(f.t.Context(), &list, client.InNamespace(f.namespace)))
	return func(yield func(string) bool) {
		for i := range list.Items {
			if list.Items[i].Spec.SecurityGroupName != group {
				continue
			}
			for _, m := range list.Items[i].Spec.Members {
				if !yield(m.Address) {
					return
				}
			}
		}
	}
}

// slowly is testenv.Eventually for what takes a minute by itself.
func (f *fleet) slowly(check func(context.Context) string) {
	f.t.Helper()
	last := ""
	err := wait.PollUntilContextTimeout(f.t.Context(), time.Second, 3*time.Minute, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == "", nil
	})
	if err != nil {
		f.t.Fatal(last)
	}
}
