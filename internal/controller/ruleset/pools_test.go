package ruleset

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/assign"
	"ringfence.dev/ringfence/internal/convert"
)

// pooled adds a node pool of cluster shop with some groups, and a host of it with
// one more.
func pooled(w *world) (*v1alpha1.NodePool, *v1alpha1.Host) {
	pool := &v1alpha1.NodePool{Spec: v1alpha1.NodePoolSpec{ClusterName: "shop"}}
	pool.Name, pool.Status.EffectiveSecurityGroupNames = "workers", []string{"db"}
	h := &v1alpha1.Host{Spec: v1alpha1.HostSpec{NodePoolName: "workers", SecurityGroupNames: []string{"web"}}}
	h.Name = "pooled"
	w.objects.NodePools, w.objects.Hosts = append(w.objects.NodePools, pool), append(w.objects.Hosts, h)
	return pool, h
}

// TestNodePools checks that a Rollout names the pools of its hosts, so that
// they find it.
func TestNodePools(t *testing.T) {
	pools := func(w *world) map[string][]string {
		out := map[string][]string{}
		for _, r := range w.rollouts {
			out[r.Name] = nil
			for _, p := range r.Spec.NodePools {
				if p.ClusterName != "shop" {
					t.Errorf("pool %s is said to be of cluster %q", p.Name, p.ClusterName)
				}
				out[r.Name] = append(out[r.Name], p.Name)
			}
		}
		return out
	}
	both, web := convert.RolloutName([]string{"db", "web"}), convert.RolloutName([]string{"web"})
	for name, tc := range map[string]struct {
		reason string
		change func(*world, *v1alpha1.NodePool, *v1alpha1.Host)
		want   map[string][]string
	}{
		"Named": {"hosts without a pool name none", func(*world, *v1alpha1.NodePool, *v1alpha1.Host) {}, map[string][]string{both: {"workers"}, web: nil}},
		"Moved": {"the pool wears something else", func(_ *world, p *v1alpha1.NodePool, _ *v1alpha1.Host) {
			p.Status.EffectiveSecurityGroupNames = []string{"web"}
		}, map[string][]string{both: nil, web: {"workers"}}},
		"Unknown": {"it is not known what the pool wears: it stays", func(_ *world, p *v1alpha1.NodePool, _ *v1alpha1.Host) { p.Status.EffectiveSecurityGroupNames = nil }, map[string][]string{both: {"workers"}, web: nil}},
		"Gone": {"nobody wears the set any more, and its Rollout stays for a while", func(w *world, _ *v1alpha1.NodePool, _ *v1alpha1.Host) {
			w.objects.Hosts = slices.DeleteFunc(slices.Clone(w.objects.Hosts), func(h *v1alpha1.Host) bool { return h.Name != "a" })
		}, map[string][]string{both: nil, web: nil}},
	} {
		t.Run(name, func(t *testing.T) {
			w := scene(t)
			pool, host := pooled(w)
			written(w, decide(w))
			tc.change(w, pool, host)
			written(w, decide(w))
			if diff := cmp.Diff(tc.want, pools(w)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
			if more := words(decide(w)); len(more) > 0 && name != "Gone" {
				t.Errorf("and once more: %v", more)
			}
			if r, ok := assign.Rollout(host, w.rollouts); name != "Gone" && (!ok || len(tc.want[r.Name]) == 0) {
				t.Errorf("the host does not find its Rollout")
			}
		})
	}
}

// TestMovedPoolIsStepped checks that what is new to the hosts of a pool is tried
// on one of them, although the set is a new one.
func TestMovedPoolIsStepped(t *testing.T) {
	w := scene(t)
	pool, host := pooled(w)
	host.Spec.SecurityGroupNames = nil
	for _, name := range []string{"more", "and-more"} {
		h := host.DeepCopy()
		h.Name = name
		w.objects.Hosts = append(w.objects.Hosts, h)
	}
	written(w, decide(w))
	w.renewed = map[string]time.Time{}
	for _, h := range w.objects.Hosts[3:] {
		if r, ok := assign.Rollout(h, w.rollouts); !ok {
			t.Errorf("host %s does not find its Rollout", h.Name)
		} else {
			confirms(h, r.Spec.StableRulesetName)
		}
		w.renewed[h.Name] = w.now
	}
	pool.Status.EffectiveSecurityGroupNames = []string{"web"}
	w.objects.Hosts = w.objects.Hosts[1:] // nobody wore it before
	w.rollouts = slices.DeleteFunc(w.rollouts, func(r v1alpha1.Rollout) bool { return r.Name == convert.RolloutName([]string{"web"}) })
	written(w, decide(w))
	told := 0
	for _, h := range w.objects.Hosts {
		if r, ok := assign.Rollout(h, w.rollouts); ok && h.Spec.NodePoolName != "" && assign.Ruleset(&r.Spec, assign.FollowerOf(h)) != "" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("%d hosts are told to run the rules of their pool's new groups, want one", told)
	}
}

// TestDecideSteps checks that a turn gives a rule to one host of each kind of
// change, and one that only opens to all.
func TestDecideSteps(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		change func(*v1alpha1.SecurityGroup)
		want   v1alpha1.RolloutStep
		looks  bool
	}{
		"Closes": {"another port instead", func(g *v1alpha1.SecurityGroup) { g.Spec.Ingress[0].Ports = "81/81" }, v1alpha1.StepOne, true},
		"Opens": {"a port more", func(g *v1alpha1.SecurityGroup) {
			more := g.Spec.Ingress[0]
			more.Ports = "81/81"
			g.Spec.Ingress = append(g.Spec.Ingress, more)
		}, v1alpha1.StepAll, true},
		"OpensSSH": {"SSH more", func(g *v1alpha1.SecurityGroup) {
			more := g.Spec.Ingress[0]
			more.Ports = "22/22"
			g.Spec.Ingress = append(g.Spec.Ingress, more)
		}, v1alpha1.StepOne, true},
		"Nothing": {"no candidate", func(*v1alpha1.SecurityGroup) {}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := scene(t)
			written(w, decide(w))
			w.renewed = map[string]time.Time{"a": w.now}
			web := convert.RolloutName([]string{"web"})
			at := func() *v1alpha1.Rollout {
				i := slices.IndexFunc(w.rollouts, func(r v1alpha1.Rollout) bool { return r.Name == web })
				return &w.rollouts[i]
			}
			confirms(w.objects.Hosts[0], at().Spec.StableRulesetName)
			tc.change(w.objects.SecurityGroups[0])
			p := decide(w)
			written(w, p)
			if got := at().Status.Step; got != tc.want || p.stepping != tc.looks {
				t.Errorf("%s: step %q, looks again soon: %t; want %q, %t", tc.reason, got, p.stepping, tc.want, tc.looks)
			}
		})
	}
}
