package ruleset_test

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/controller/ruleset"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/testenv"
)

// A room is a namespace with what a test needs to work in it.
type room struct {
	*testing.T
	namespace string
	scheme    *runtime.Scheme
	admin     client.Client
	// us writes what the other controllers would write.
	us client.Client
	// probes is how many probes were made.
	probes int
}

func newRoom(t *testing.T) *room {
	t.Helper()
	t.Parallel()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, coordinationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return &room{
		T: t, namespace: env.Namespace(t, "ruleset"), scheme: scheme,
		admin: testenv.Client(t, env.Admin, scheme), us: testenv.Client(t, env.Controllers, scheme),
	}
}

func (r *room) start(now clock.PassiveClock) *testenv.Job {
	r.Helper()
	return env.StartJob(r.T, r.scheme, r.namespace, func(m manager.Manager) error { return ruleset.AddWithClock(m, now) })
}

func (r *room) make(objects ...client.Object) {
	r.Helper()
	for _, o := range objects {
		o.SetNamespace(r.namespace)
		if err := r.admin.Create(r.Context(), o); err != nil {
			r.Fatal(err)
		}
	}
}

// change changes an object as the administrator.
func change[T client.Object](r *room, o T, with func()) {
	r.Helper()
	r.write(o, func() error { with(); return r.admin.Update(r.Context(), o) })
}

// say writes an object's status as a controller or an agent would.
func say[T client.Object](r *room, o T, with func()) {
	r.Helper()
	r.write(o, func() error { with(); return r.us.Status().Update(r.Context(), o) })
}

func (r *room) write(o client.Object, write func() error) {
	r.Helper()
	for {
		if err := r.us.Get(r.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			r.Fatal(err)
		}
		err := write()
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			r.Fatal(err)
		}
	}
}

func group(name string, ingress ...v1alpha1.Rule) *v1alpha1.SecurityGroup {
	g := &v1alpha1.SecurityGroup{Spec: v1alpha1.SecurityGroupSpec{VPCName: "prod", Ingress: ingress}}
	g.Name = name
	return g
}

func tcp(port int, peer v1alpha1.Peer) v1alpha1.Rule {
	return v1alpha1.Rule{Protocol: intstr.FromString("TCP"), Ports: fmt.Sprintf("%d/%d", port, port), Peer: peer}
}

func from(cidr string) v1alpha1.Peer { return v1alpha1.Peer{CIDR: cidr} }

// host wears groups of its own.
func host(name, address string, groups ...string) *v1alpha1.Host {
	h := &v1alpha1.Host{Spec: v1alpha1.HostSpec{Addresses: []string{address}, SecurityGroupNames: groups}}
	h.Name = name
	return h
}

func vpc() *v1alpha1.VPC {
	v := &v1alpha1.VPC{Spec: v1alpha1.VPCSpec{CIDRBlock: "10.0.0.0/16", Subnets: []v1alpha1.Subnet{{Name: "nodes", CIDRBlock: "10.0.0.0/20"}}}}
	v.Name = "prod"
	return v
}

// stable waits until the Rollout of a set has a stable Ruleset for which ok
// returns nothing, and returns that.
func (r *room) stable(ok func(*v1alpha1.RulesetSpec) string, groups ...string) *v1alpha1.Ruleset {
	r.Helper()
	var found v1alpha1.Ruleset
	testenv.Eventually(r.T, func(ctx context.Context) string {
		var rollout v1alpha1.Rollout
		key := client.ObjectKey{Namespace: r.namespace, Name: convert.RolloutName(groups)}
		if err := r.us.Get(ctx, key, &rollout); err != nil {
			return err.Error()
		}
		key.Name = rollout.Spec.StableRulesetName
		if err := r.us.Get(ctx, key, &found); err != nil {
			return err.Error()
		}
		return ok(&found.Spec)
	})
	return &found
}

func anything(*v1alpha1.RulesetSpec) string { return "" }

// port wants the first ingress rule to be for a port.
func port(n int) func(*v1alpha1.RulesetSpec) string {
	return func(s *v1alpha1.RulesetSpec) string {
		if want := fmt.Sprintf("%d/%d", n, n); len(s.Ingress) == 0 || s.Ingress[0].Ports != want {
			return fmt.Sprintf("ingress %v, want ports %s first", s.Ingress, want)
		}
		return ""
	}
}

func TestRulesetOfASet(t *testing.T) {
	r := newRoom(t)
	r.start(clock.RealClock{})
	offices := &v1alpha1.PrefixList{Spec: v1alpha1.PrefixListSpec{Entries: []v1alpha1.PrefixListEntry{{CIDR: "192.0.2.0/24"}, {CIDR: "198.51.100.7"}}}}
	offices.Name = "offices"
	web := group("web", tcp(443, from("0.0.0.0/0")), tcp(22, v1alpha1.Peer{PrefixListName: "offices"}), tcp(9100, v1alpha1.Peer{GroupName: "db"}))
	shop := &v1alpha1.Cluster{Spec: v1alpha1.ClusterSpec{
		VPCName: "prod", Network: v1alpha1.Network{Mode: v1alpha1.NetworkCilium, NodeSubnets: []string{"nodes"}, PodCIDRs: []string{"172.20.0.0/16"}},
		APIServer: v1alpha1.APIServer{Addresses: []string{"10.0.0.200"}},
	}}
	shop.Name = "shop"
	workers := &v1alpha1.NodePool{Spec: v1alpha1.NodePoolSpec{ClusterName: "shop"}}
	workers.Name = "workers"
	node := host("node-1", "10.0.0.1", "web")
	node.Spec.NodePoolName, node.Spec.Roles = "workers", []v1alpha1.HostRole{v1alpha1.RoleAPIServer}
	r.make(vpc(), offices, group("db"), group("shop"), web, shop, workers, node)
	say(r, workers, func() { workers.Status.EffectiveSecurityGroupNames = []string{"shop"} })
	one := int32(1)
	own := group("shop")
	own.Namespace = r.namespace
	say(r, own, func() {
		own.Status.SystemIngress = []v1alpha1.SystemRule{{
			Row: "BI-R1", Rule: v1alpha1.Rule{Policy: v1alpha1.PolicyAccept, Priority: &one, Protocol: intstr.FromInt32(1), Peer: from("10.0.0.0/8")},
		}}
	})

	got := r.stable(func(s *v1alpha1.RulesetSpec) string {
		if len(s.Ingress) != 4 {
			return fmt.Sprintf("%d ingress rules, want 4", len(s.Ingress))
		}
		return ""
	}, "web", "shop")
	rule := func(by, protocol, ports string, cidrs ...string) v1alpha1.RulesetRule {
		return v1alpha1.RulesetRule{By: by, Policy: v1alpha1.PolicyAccept, Priority: 1, Protocol: intstr.FromString(protocol), Ports: ports, CIDRs: cidrs}
	}
	keep := func(row string, d v1alpha1.Direction, ports, cidr string, roles ...v1alpha1.HostRole) v1alpha1.KeepFlow {
		return v1alpha1.KeepFlow{
			Row: row, ClusterName: "shop", Roles: roles, Direction: d, Protocol: intstr.FromString("TCP"), Ports: ports, CIDRs: []string{cidr},
		}
	}
	want := v1alpha1.RulesetSpec{
		SecurityGroupNames: []string{"shop", "web"}, Type: v1alpha1.GroupTypeBasic, InnerAccessGroupNames: []string{"shop", "web"},
		Ingress: []v1alpha1.RulesetRule{
			rule("shop/ingress/1", "ICMP", "", "10.0.0.0/8"),
			rule("web/ingress/1", "TCP", "443/443", "0.0.0.0/0"),
			rule("web/ingress/2", "TCP", "22/22", "192.0.2.0/24", "198.51.100.7/32"),
			rule("web/ingress/3", "TCP", "9100/9100"),
		},
		Keep: []v1alpha1.KeepFlow{
			keep("BO-L3", v1alpha1.DirectionEgress, "6443/6443", "10.0.0.200/32"),
			keep("BI-L3", v1alpha1.DirectionIngress, "6443/6443", "10.0.0.0/20", v1alpha1.RoleAPIServer),
			keep("BI-L3", v1alpha1.DirectionIngress, "10250/10250", "10.0.0.1/32"),
			keep("BO-L3", v1alpha1.DirectionEgress, "10250/10250", "10.0.0.0/20", v1alpha1.RoleAPIServer),
		},
	}
	want.Ingress[2].PrefixListName, want.Ingress[3].GroupName = "offices", "db"
	if diff := cmp.Diff(want, got.Spec); diff != "" {
		t.Errorf("Ruleset: -want +got:\n%s", diff)
	}
	if name, err := convert.RulesetName(&got.Spec); err != nil || name != got.Name {
		t.Errorf("the Ruleset is called %s, its content %s (%v)", got.Name, name, err)
	}
}

// TestWrites checks what the design promises: a rule that changes costs writes
// for the sets of groups, and a host that wears a known set costs none.
func TestWrites(t *testing.T) {
	r := newRoom(t)
	const hosts = 60
	web, db, other := group("web", tcp(1, from("0.0.0.0/0"))), group("db"), group("other")
	r.make(vpc(), web, db, other)
	for i := range hosts {
		sets := [][]string{{"web"}, {"web", "db"}, {"other"}}
		r.make(host(fmt.Sprintf("node-%d", i), fmt.Sprintf("10.0.0.%d", i+1), sets[i%3]...))
	}
	job := r.start(clock.RealClock{})
	r.stable(port(1), "web")
	r.stable(port(1), "web", "db")
	r.stable(anything, "other")
	// Each step ends with the last write that it causes, and the next begins
	// with the count that it leaves: a write too many shows in one of them.
	expect := func(what string, want map[string]int) {
		t.Helper()
		testenv.Eventually(t, func(context.Context) string { return missing(want, job.Writes()) })
		if diff := cmp.Diff(want, job.Writes()); diff != "" {
			t.Fatalf("%s: writes -want +got:\n%s", what, diff)
		}
	}
	total := map[string]int{"POST rulesets": 3, "POST rollouts": 3, "PUT rollouts/status": 3}
	expect("three sets", total)

	change(r, web, func() { web.Spec.Ingress[0].Ports = "2/2" })
	r.stable(port(2), "web")
	r.stable(port(2), "web", "db")
	total["POST rulesets"] += 2
	total["PUT rollouts"] += 2
	total["PUT rollouts/status"] += 2 // what was stable before
	expect("a rule of a group in two sets", total)

	r.make(host("late", "10.0.1.1", "web", "db"))
	r.make(host("later", "10.0.1.2", "other", "db"))
	r.stable(anything, "other", "db")
	total["POST rulesets"]++
	total["POST rollouts"]++
	total["PUT rollouts/status"]++
	expect("a host with a set that is known, and one with a new set", total)

	job.Stop(t)
	again := r.start(clock.RealClock{})
	r.make(host("last", "10.0.1.3", "db"))
	r.stable(anything, "db")
	job = again
	expect("after a restart, only what is new", map[string]int{"POST rulesets": 1, "POST rollouts": 1, "PUT rollouts/status": 1})
}

// missing says which of the wanted writes have not been sent.
func missing(want, got map[string]int) string {
	for what, n := range want {
		if got[what] < n {
			return fmt.Sprintf("%d of %d %s", got[what], n, what)
		}
	}
	return ""
}

// TestFailStatic checks that what does not make sense changes nothing.
func TestFailStatic(t *testing.T) {
	r := newRoom(t)
	web, marker := group("web", tcp(1, from("0.0.0.0/0"))), group("marker", tcp(1, from("0.0.0.0/0")))
	r.make(vpc(), web, marker, host("node-1", "10.0.0.1", "web"), host("node-2", "10.0.0.2", "marker"))
	r.start(clock.RealClock{})
	good := r.stable(port(1), "web")
	// The job works through a namespace in one go: when the marker's rule is out,
	// so is what it made of the group.
	turn := 1
	settle := func() {
		t.Helper()
		turn++
		change(r, marker, func() { marker.Spec.Ingress = []v1alpha1.Rule{tcp(turn, from("0.0.0.0/0"))} })
		r.stable(port(turn), "marker")
	}
	// Hosts come by another way than groups: what is made of a host that comes
	// after a change shows that the change was seen.
	seen := func() {
		t.Helper()
		turn++
		name := fmt.Sprintf("probe-%d", turn)
		r.make(group(name), host(name, fmt.Sprintf("10.0.2.%d", turn), name))
		r.stable(anything, name)
	}
	accepted := func(conditions *[]metav1.Condition, status metav1.ConditionStatus) {
		*conditions = []metav1.Condition{{
			Type: v1alpha1.ConditionAccepted, Status: status, Reason: v1alpha1.ReasonNotFound, Message: "for the test", LastTransitionTime: metav1.Now(),
		}}
	}
	node := host("node-1", "10.0.0.1")
	node.Namespace = r.namespace
	for name, step := range map[string]struct{ harm, heal func() }{
		"GroupPeerMissing": {
			func() {
				change(r, web, func() { web.Spec.Ingress = []v1alpha1.Rule{tcp(7, v1alpha1.Peer{GroupName: "nobody"})} })
			},
			func() { change(r, web, func() { web.Spec.Ingress = []v1alpha1.Rule{tcp(1, from("0.0.0.0/0"))} }) },
		},
		"PrefixListMissing": {
			func() {
				change(r, web, func() { web.Spec.Ingress = []v1alpha1.Rule{tcp(7, v1alpha1.Peer{PrefixListName: "nothing"})} })
			},
			func() { change(r, web, func() { web.Spec.Ingress = []v1alpha1.Rule{tcp(1, from("0.0.0.0/0"))} }) },
		},
		"GroupNotAccepted": {
			func() {
				say(r, web, func() { accepted(&web.Status.Conditions, metav1.ConditionFalse) })
				change(r, web, func() { web.Spec.Ingress = []v1alpha1.Rule{tcp(7, from("0.0.0.0/0"))} })
			},
			func() {
				change(r, web, func() { web.Spec.Ingress = []v1alpha1.Rule{tcp(1, from("0.0.0.0/0"))} })
				say(r, web, func() { accepted(&web.Status.Conditions, metav1.ConditionTrue) })
			},
		},
		"HostNotAccepted": {
			func() {
				say(r, node, func() { accepted(&node.Status.Conditions, metav1.ConditionFalse) })
				seen()
				change(r, web, func() { web.Spec.Ingress = []v1alpha1.Rule{tcp(7, from("0.0.0.0/0"))} })
			},
			func() {
				change(r, web, func() { web.Spec.Ingress = []v1alpha1.Rule{tcp(1, from("0.0.0.0/0"))} })
				say(r, node, func() { accepted(&node.Status.Conditions, metav1.ConditionTrue) })
			},
		},
		"PoolMissing": {
			func() {
				change(r, node, func() { node.Spec.NodePoolName = "nowhere" })
				seen()
				change(r, web, func() { web.Spec.Ingress = []v1alpha1.Rule{tcp(7, from("0.0.0.0/0"))} })
			},
			func() {
				change(r, web, func() { web.Spec.Ingress = []v1alpha1.Rule{tcp(1, from("0.0.0.0/0"))} })
				change(r, node, func() { node.Spec.NodePoolName = "" })
			},
		},
	} {
		step.harm()
		settle()
		if now := r.stable(anything, "web"); now.Name != good.Name {
			t.Errorf("%s: hosts run another Ruleset: %v", name, now.Spec.Ingress)
		}
		step.heal()
		settle()
		if now := r.stable(anything, "web"); now.Name != good.Name {
			t.Errorf("%s: healed, hosts run another Ruleset than before: %v", name, now.Spec.Ingress)
		}
	}
}

// TestGarbage checks that what nothing points to goes, and what something
// points to stays.
func TestGarbage(t *testing.T) {
	r := newRoom(t)
	now := clocktesting.NewFakePassiveClock(clock.RealClock{}.Now())
	web, marker := group("web", tcp(1, from("0.0.0.0/0"))), group("marker")
	node := host("node-1", "10.0.0.1", "web")
	r.make(vpc(), web, marker, node, host("node-2", "10.0.0.2", "marker"))
	r.start(now)
	first := r.stable(port(1), "web")
	for turn := 2; turn <= 7; turn++ {
		change(r, web, func() { web.Spec.Ingress = []v1alpha1.Rule{tcp(turn, from("0.0.0.0/0"))} })
		r.stable(port(turn), "web")
	}
	ports := func() map[string]bool {
		var list v1alpha1.RulesetList
		if err := r.us.List(t.Context(), &list, client.InNamespace(r.namespace)); err != nil {
			t.Fatal(err)
		}
		out := map[string]bool{}
		for _, s := range list.Items {
			if s.Spec.SecurityGroupNames[0] == "web" {
				out[s.Spec.Ingress[0].Ports] = true
			}
		}
		return out
	}
	if got := ports(); len(got) != 7 {
		t.Errorf("Rulesets for ports %v, want seven: none is a minute old", got)
	}
	say(r, node, func() { node.Status.RulesetName = first.Name })
	now.SetTime(now.Now().Add(2 * time.Minute))
	change(r, marker, func() { marker.Spec.Ingress = []v1alpha1.Rule{tcp(1, from("0.0.0.0/0"))} })
	// 7 is stable, 6 was before it, 1 runs on a host, and three of the rest are
	// spared. They are of one second or two, so which three is not said.
	testenv.Eventually(t, func(context.Context) string {
		if got := ports(); len(got) != 6 || !got["7/7"] || !got["6/6"] || !got["1/1"] {
			return fmt.Sprintf("Rulesets for ports %v, want six, 7, 6 and 1 among them", got)
		}
		return ""
	})

	if err := r.admin.Delete(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	// A minute passes after it was seen unworn, then ten.
	change(r, marker, func() { marker.Spec.Ingress = []v1alpha1.Rule{tcp(2, from("0.0.0.0/0"))} })
	r.stable(port(2), "marker")
	if got := ports(); !got["7/7"] {
		t.Errorf("Rulesets for ports %v, want the stable one to stay for a while", got)
	}
	now.SetTime(now.Now().Add(11 * time.Minute))
	change(r, marker, func() { marker.Spec.Ingress = []v1alpha1.Rule{tcp(3, from("0.0.0.0/0"))} })
	testenv.Eventually(t, func(ctx context.Context) string {
		var rollout v1alpha1.Rollout
		err := r.us.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: convert.RolloutName([]string{"web"})}, &rollout)
		if got := ports(); !apierrors.IsNotFound(err) || len(got) > 0 {
			return fmt.Sprintf("Rulesets for ports %v, Rollout: %v; want neither", maps.Keys(got), err)
		}
		return ""
	})
	r.stable(port(3), "marker")
}
