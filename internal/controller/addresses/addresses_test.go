package addresses_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/controller/addresses"
	"ringfence.dev/ringfence/internal/testenv"
)

// A room is a namespace with what a test needs to work in it.
type room struct {
	*testing.T
	namespace string
	scheme    *runtime.Scheme
	admin, us client.Client
	clock     *clocktesting.FakePassiveClock
	turns     int
}

func newRoom(t *testing.T, groups ...string) *room {
	t.Helper()
	t.Parallel()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, coordinationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	r := &room{
		T: t, namespace: env.Namespace(t, "addresses"), scheme: scheme,
		admin: testenv.Client(t, env.Admin, scheme), us: testenv.Client(t, env.Controllers, scheme),
		clock: clocktesting.NewFakePassiveClock(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)),
	}
	for _, name := range append(groups, "marker") {
		g := &v1alpha1.SecurityGroup{Spec: v1alpha1.SecurityGroupSpec{VPCName: "prod"}}
		g.Name = name
		r.make(g)
	}
	return r
}

func (r *room) start() *testenv.Job {
	r.Helper()
	return env.StartJob(r.T, r.scheme, r.namespace, func(m manager.Manager) error { return addresses.AddWithClock(m, r.clock) })
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

func host(n int, groups ...string) *v1alpha1.Host {
	h := &v1alpha1.Host{Spec: v1alpha1.HostSpec{Addresses: []string{fmt.Sprintf("10.0.%d.%d", n>>8, n&255)}, SecurityGroupNames: groups}}
	h.Name = fmt.Sprintf("node-%d", n)
	return h
}

func (r *room) delete(objects ...client.Object) {
	r.Helper()
	for _, o := range objects {
		o.SetNamespace(r.namespace)
		if err := r.admin.Delete(r.Context(), o); err != nil {
			r.Fatal(err)
		}
	}
}

// alive renews the Leases of hosts.
func (r *room) alive(hosts ...int) {
	r.Helper()
	for _, n := range hosts {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: host(n).Name, Namespace: r.namespace}}
		err := r.us.Get(r.Context(), client.ObjectKeyFromObject(lease), lease)
		lease.Spec.RenewTime = &metav1.MicroTime{Time: r.clock.Now()}
		if apierrors.IsNotFound(err) {
			err = r.us.Create(r.Context(), lease)
		} else if err == nil {
			err = r.us.Update(r.Context(), lease)
		}
		if err != nil {
			r.Fatal(err)
		}
	}
}

// members lists what slices of a group hold: HOST ADDRESS, with * for one that
// is leaving.
func (r *room) members(ctx context.Context, group string) []string {
	r.Helper()
	var list v1alpha1.AddressSliceList
	if err := r.us.List(ctx, &list, client.InNamespace(r.namespace)); err != nil {
		r.Fatal(err)
	}
	out := []string{}
	for _, s := range list.Items {
		for _, m := range s.Spec.Members {
			text := m.HostName + " " + m.Address
			if m.LeavingSince != nil {
				text += "*"
			}
			if s.Spec.SecurityGroupName == group {
				out = append(out, text)
			}
		}
	}
	slices.Sort(out)
	return out
}

// expect waits until a group has some members, and no others.
func (r *room) expect(group string, want ...string) {
	r.Helper()
	testenv.Eventually(r.T, func(ctx context.Context) string {
		return cmp.Diff(append([]string{}, want...), r.members(ctx, group))
	})
}

// settle waits until the job has seen every host that was written until now.
func (r *room) settle() {
	r.Helper()
	r.turns++
	r.make(host(60000+r.turns, "marker"))
	testenv.Eventually(r.T, func(ctx context.Context) string {
		if got := r.members(ctx, "marker"); len(got) != r.turns {
			return fmt.Sprintf("%d markers, want %d", len(got), r.turns)
		}
		return ""
	})
}

// TestWhoseAddresses checks which addresses count as a host's own.
func TestWhoseAddresses(t *testing.T) {
	r := newRoom(t, "shop", "web")
	vpc := &v1alpha1.VPC{Spec: v1alpha1.VPCSpec{CIDRBlock: "10.0.0.0/16", Subnets: []v1alpha1.Subnet{{Name: "nodes", CIDRBlock: "10.0.0.0/24"}}}}
	vpc.Name = "prod"
	shop := &v1alpha1.Cluster{Spec: v1alpha1.ClusterSpec{
		VPCName: "prod", Network: v1alpha1.Network{Mode: v1alpha1.NetworkCilium, NodeSubnets: []string{"nodes"}, PodCIDRs: []string{"172.20.0.0/16"}},
	}}
	shop.Name = "shop"
	workers := &v1alpha1.NodePool{Spec: v1alpha1.NodePoolSpec{ClusterName: "shop"}}
	workers.Name = "workers"
	r.make(vpc, shop, workers)
	workers.Status.EffectiveSecurityGroupNames = []string{"shop"}
	if err := r.us.Status().Update(t.Context(), workers); err != nil {
		t.Fatal(err)
	}
	reports := func(n int, list ...string) {
		h := host(n)
		h.Spec.NodePoolName = "workers"
		r.make(h)
		h.Status.Addresses = list
		if err := r.us.Status().Update(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	reports(1, "10.0.0.1", "10.0.0.101")              // its own, and one in the subnet
	reports(2, "10.0.0.1", "10.0.1.102", "10.0.0.99") // one of another's spec, one outside, one that is claimed twice
	reports(3, "10.0.0.99")
	inCluster := host(4, "web")
	inCluster.Spec.ClusterName = "shop"
	r.make(inCluster)
	shop.Status.SecurityGroupName = "shop"
	if err := r.us.Status().Update(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.expect("shop", "node-1 10.0.0.1", "node-1 10.0.0.101", "node-2 10.0.0.2", "node-3 10.0.0.3")
	r.expect("web", "node-4 10.0.0.4") // of the cluster, and of no pool
}

// TestWrites checks that a host costs writes for the groups that it wears, and
// nothing else costs any.
func TestWrites(t *testing.T) {
	r := newRoom(t, "a", "b", "c")
	for n := range 150 {
		r.make(host(n+1, "a", "b", "c"))
	}
	job := r.start()
	count := func(what string, want map[string]int) {
		t.Helper()
		if diff := cmp.Diff(want, job.Writes()); diff != "" {
			t.Errorf("%s: writes -want +got:\n%s", what, diff)
		}
	}
	total := map[string]int{"POST addressslices": 6}
	testenv.Eventually(t, func(ctx context.Context) string {
		if n := len(r.members(ctx, "c")); n != 150 {
			return fmt.Sprintf("%d members of c", n)
		}
		return missing(total, job.Writes())
	})
	count("150 hosts in three groups", total)

	r.settle() // itself one write
	total["POST addressslices"]++
	count("nothing", total)

	r.make(host(200, "a", "b"))
	r.settle()
	total["PUT addressslices"] += 3
	testenv.Eventually(t, func(context.Context) string { return missing(total, job.Writes()) })
	count("a host that joins two groups", total)

	job.Stop(t)
	r.delete(host(200), host(1)) // no agents: they leave at once
	job = r.start()
	r.settle()
	total = map[string]int{"PUT addressslices": 1 + 5} // node-1 in the first of two slices of three groups, node-200 in the second of two
	testenv.Eventually(t, func(context.Context) string { return missing(total, job.Writes()) })
	count("after a restart, two hosts that left", total)
	if n := len(r.members(t.Context(), "a")); n != 149 {
		t.Errorf("%d members of a, want 149", n)
	}
}

func missing(want, got map[string]int) string {
	for what, n := range want {
		if got[what] < n {
			return fmt.Sprintf("%d of %d %s", got[what], n, what)
		}
	}
	return ""
}

// TestLeave checks what happens to hosts that are deleted while their agents
// live.
func TestLeave(t *testing.T) {
	r := newRoom(t, "web")
	var all []int
	for n := 1; n <= 5; n++ {
		all = append(all, n)
		r.make(host(n, "web"))
	}
	r.alive(all...)
	job := r.start()
	r.expect("web", "node-1 10.0.0.1", "node-2 10.0.0.2", "node-3 10.0.0.3", "node-4 10.0.0.4", "node-5 10.0.0.5")

	r.delete(host(1), host(2))
	r.expect("web", "node-1 10.0.0.1*", "node-2 10.0.0.2*", "node-3 10.0.0.3", "node-4 10.0.0.4", "node-5 10.0.0.5")
	r.make(host(2, "web")) // deleted by mistake
	r.expect("web", "node-1 10.0.0.1*", "node-2 10.0.0.2", "node-3 10.0.0.3", "node-4 10.0.0.4", "node-5 10.0.0.5")
	r.pass(61*time.Second, all...)
	r.expect("web", "node-2 10.0.0.2", "node-3 10.0.0.3", "node-4 10.0.0.4", "node-5 10.0.0.5")

	// A second and third of five within ten minutes are held: one is deleted,
	// the other one wears the group no more.
	r.delete(host(2))
	r.undress(host(3))
	r.expect("web", "node-2 10.0.0.2*", "node-3 10.0.0.3*", "node-4 10.0.0.4", "node-5 10.0.0.5")
	r.pass(61*time.Second, all...)
	r.held("node-2", "node-3")
	// So they stay when nobody asks for long, and the job begins anew.
	job.Stop(t)
	job = r.start()
	r.pass(time.Hour, all...)
	r.held("node-2", "node-3")
	r.expect("web", "node-2 10.0.0.2*", "node-3 10.0.0.3*", "node-4 10.0.0.4", "node-5 10.0.0.5")
	// Writes since: the markers' own.
	if diff := cmp.Diff(map[string]int{"PUT addressslices": 1}, job.Writes()); diff != "" {
		t.Errorf("after a restart, with hosts held: writes -want +got:\n%s", diff)
	}

	// An agent that stops lets its host go, but not one that was silenced by the
	// deletion of its Host: that one a person lets go.
	r.clock.SetTime(r.clock.Now().Add(2 * time.Minute))
	r.alive(4, 5)
	r.settle()
	r.expect("web", "node-2 10.0.0.2*", "node-4 10.0.0.4", "node-5 10.0.0.5")
	r.held("node-2")
	web := &v1alpha1.SecurityGroup{}
	web.Name, web.Namespace = "web", r.namespace
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationReleaseRemovals, r.clock.Now().Format(time.RFC3339))
	if err := r.admin.Patch(t.Context(), web, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
	r.expect("web", "node-4 10.0.0.4", "node-5 10.0.0.5")
	r.held()
}

// undress takes all groups from a host.
func (r *room) undress(h *v1alpha1.Host) {
	r.Helper()
	h.Namespace = r.namespace
	patch := []byte(`{"spec":{"securityGroupNames":null}}`)
	if err := r.admin.Patch(r.Context(), h, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		r.Fatal(err)
	}
}

// pass lets time go by with living agents, and the job see it.
func (r *room) pass(d time.Duration, alive ...int) {
	r.Helper()
	r.clock.SetTime(r.clock.Now().Add(d))
	r.alive(alive...)
	r.settle()
}

// held waits until the group web says that it holds some hosts, and no others.
func (r *room) held(want ...string) {
	r.Helper()
	testenv.Eventually(r.T, func(ctx context.Context) string {
		var g v1alpha1.SecurityGroup
		if err := r.us.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: "web"}, &g); err != nil {
			return err.Error()
		}
		var got []string
		for _, h := range g.Status.HeldRemovals {
			got = append(got, h.HostName)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return diff
		}
		var conditions []string
		for _, c := range g.Status.Conditions {
			conditions = append(conditions, c.Type+" "+string(c.Status)+" "+c.Reason)
		}
		if said := slices.Contains(conditions, "RemovalHeld True TooManyRemovals"); said != (len(want) > 0) {
			return fmt.Sprintf("conditions %v with %v held", conditions, want)
		}
		for _, c := range g.Status.Conditions {
			if !strings.Contains(c.Message, strings.Join(want, ", ")) {
				return fmt.Sprintf("message %q does not name %v", c.Message, want)
			}
		}
		return ""
	})
}

// TestStays checks what changes no membership: hosts of which nothing is known,
// and groups that are not there while Rulesets name them.
func TestStays(t *testing.T) {
	r := newRoom(t, "web")
	ruleset := &v1alpha1.Ruleset{Spec: v1alpha1.RulesetSpec{SecurityGroupNames: []string{"other"}, Type: v1alpha1.GroupTypeBasic}}
	ruleset.Name, ruleset.Namespace = strings.Repeat("a", 40), r.namespace
	ruleset.Spec.Ingress = []v1alpha1.RulesetRule{{
		By: "other/ingress/1", Policy: v1alpha1.PolicyAccept, Priority: 1, Protocol: intstr.FromString("ALL"), GroupName: "gone",
	}}
	orphan := &v1alpha1.AddressSlice{Spec: v1alpha1.AddressSliceSpec{
		SecurityGroupName: "forgotten", Members: []v1alpha1.MemberAddress{{Address: "10.0.0.9", HostName: "node-9"}},
	}}
	orphan.Name, orphan.Namespace = "forgotten-1", r.namespace
	for _, o := range []client.Object{ruleset, orphan} {
		if err := r.us.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	lost := host(1, "web")
	r.make(lost, host(2, "web", "gone"))
	r.start()
	r.expect("web", "node-1 10.0.0.1", "node-2 10.0.0.2")
	r.expect("gone", "node-2 10.0.0.2") // hosts ask for it
	r.expect("forgotten")               // nobody does

	lost.Spec.NodePoolName, lost.Spec.SecurityGroupNames = "nowhere", nil
	if err := r.admin.Update(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.expect("web", "node-1 10.0.0.1", "node-2 10.0.0.2")

	if err := r.us.Delete(t.Context(), ruleset); err != nil {
		t.Fatal(err)
	}
	r.expect("gone")
}
