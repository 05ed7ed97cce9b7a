package assign_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/assign"
	"ringfence.dev/ringfence/internal/convert"
)

func host(pool string, groups ...string) *v1alpha1.Host {
	h := &v1alpha1.Host{Spec: v1alpha1.HostSpec{NodePoolName: pool, SecurityGroupNames: groups}}
	h.Name = "node-1"
	return h
}

// rollout is written GROUP,GROUP:POOL,POOL.
func rollout(text string) v1alpha1.Rollout {
	groups, pools, _ := strings.Cut(text, ":")
	var r v1alpha1.Rollout
	r.Spec.SecurityGroupNames = strings.Split(groups, ",")
	r.Name = convert.RolloutName(r.Spec.SecurityGroupNames)
	if pools != "" {
		for name := range strings.SplitSeq(pools, ",") {
			r.Spec.NodePools = append(r.Spec.NodePools, v1alpha1.RolloutNodePool{Name: name})
		}
	}
	return r
}

func TestRollout(t *testing.T) {
	for name, tc := range map[string]struct {
		reason   string
		host     *v1alpha1.Host
		rollouts []string
		want     string
	}{
		"Own":         {"without a pool it wears its own groups", host("", "b", "a"), []string{"a", "a,b", "a,b,c"}, "a,b"},
		"OwnNotThere": {"nothing is made of them yet", host("", "b", "a"), []string{"a", "a,b,c"}, ""},
		"Naked":       {"a host that wears nothing follows nobody", host(""), []string{"a"}, ""},
		"Pool":        {"its pool has a, others of the pool more", host("p"), []string{"a,b:p", "a:p", "a,c,d:p"}, "a"},
		"Extra":       {"its own group beside those of the pool", host("p", "b"), []string{"a,b:p", "a:p", "a,b,d:p", "b:q"}, "a,b"},
		"OtherPool":   {"who names another pool is not meant", host("p"), []string{"a:q", "a,b:p"}, "a,b"},
		"NotYet":      {"the set with its own group is not there yet", host("p", "b"), []string{"a:p"}, ""},
		"Moving":      {"between two sets of the pool that do not hold each other, nobody can tell", host("p"), []string{"a:p", "b:p"}, ""},
		"MovingDeep":  {"nor if the smallest is not in all others", host("p"), []string{"a:p", "b,c:p"}, ""},
		"Shared":      {"a Rollout of several pools", host("q"), []string{"a:p,q", "a,b:p"}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			var all []v1alpha1.Rollout
			for _, text := range tc.rollouts {
				all = append(all, rollout(text))
			}
			got := ""
			if r, ok := assign.Rollout(tc.host, all); ok {
				got = strings.Join(r.Spec.SecurityGroupNames, ",")
			}
			if got != tc.want {
				t.Errorf("%s: Rollout = %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

// TestRolloutIsTheSet makes random pools with hosts and checks that each host
// finds the set that it wears.
func TestRolloutIsTheSet(t *testing.T) {
	for seed := range uint64(300) {
		dice := rand.New(rand.NewPCG(seed, 1))
		some := func(n int) (out []string) {
			for range dice.IntN(n + 1) {
				out = append(out, fmt.Sprintf("g%d", dice.IntN(6)))
			}
			return slices.Compact(slices.Sorted(slices.Values(out)))
		}
		pools := map[string][]string{"p": append(some(2), "p-own"), "q": append(some(2), "q-own"), "r": {"g1", "g2"}}
		sets := map[string]*v1alpha1.Rollout{}
		wears := map[*v1alpha1.Host]string{}
		for _, pool := range []string{"p", "p", "p", "q", "q", "r", "r", "", ""} {
			h := host(pool, some(3)...)
			all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(h.Spec.SecurityGroupNames, pools[pool]))))
			if len(all) == 0 {
				continue
			}
			name := convert.RolloutName(all)
			if sets[name] == nil {
				made := rollout(strings.Join(all, ","))
				sets[name] = &made
			}
			if pool != "" && assign.Pool(h, sets[name]) == nil {
				sets[name].Spec.NodePools = append(sets[name].Spec.NodePools, v1alpha1.RolloutNodePool{Name: pool})
			}
			wears[h] = name
		}
		var list []v1alpha1.Rollout
		for _, r := range sets {
			list = append(list, *r)
		}
		for h, want := range wears {
			if r, ok := assign.Rollout(h, list); !ok || r.Name != want {
				t.Errorf("seed %d: a host of pool %q with %v does not find its set", seed, h.Spec.NodePoolName, h.Spec.SecurityGroupNames)
			}
			if r, ok := assign.Rollout(h, among(h, list)); !ok || r.Name != want {
				t.Errorf("seed %d: a host of pool %q with %v does not find its set among those that it looks at", seed, h.Spec.NodePoolName, h.Spec.SecurityGroupNames)
			}
		}
	}
}

// among are the Rollouts that a host looks at.
func among(h *v1alpha1.Host, all []v1alpha1.Rollout) []v1alpha1.Rollout {
	name, label := assign.Among(h)
	return slices.DeleteFunc(slices.Clone(all), func(r v1alpha1.Rollout) bool {
		_, labelled := assign.Labels(nil, r.Spec.NodePools)[label]
		return r.Name != name && !labelled
	})
}

func TestLabels(t *testing.T) {
	long := strings.Repeat("a", 64)
	have := map[string]string{"mine": "x", assign.PoolLabel("gone"): ""}
	got := assign.Labels(have, []v1alpha1.RolloutNodePool{{Name: "p"}, {Name: long}})
	want := map[string]string{"mine": "x", "pool.ringfence.dev/p": "", "pool.ringfence.dev/ffe054fe7ae0cb6dc65c3af9b61d5209f439851d": ""}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("labels %v, want %v", got, want)
	}
	if got := assign.Labels(nil, nil); got != nil {
		t.Errorf("no pools, labels %v", got)
	}
	if name, label := assign.Among(host("")); name+label != "" {
		t.Errorf("a host that wears nothing looks at %q %q", name, label)
	}
}

// TestBound checks that the bound above the k-th digest chooses k hosts, and
// that the order is the candidate's own.
func TestBound(t *testing.T) {
	order := func(candidate string) []string {
		var out []string
		for n := range 100 {
			out = append(out, assign.Digest(candidate, fmt.Sprintf("node-%d", n)))
		}
		slices.Sort(out)
		return out
	}
	spec := v1alpha1.RolloutSpec{CandidateRulesetName: "c", StableRulesetName: "s", CriticalHostNames: []string{"node-7"}}
	digests := order("c")
	for k := range 101 {
		spec.Bound = assign.Nobody
		if k > 0 {
			spec.Bound = assign.Above(digests[k-1])
		}
		chosen := 0
		for n := range 100 {
			if assign.Chosen(&spec, assign.Follower{Name: fmt.Sprintf("node-%d", n)}) {
				chosen++
			}
		}
		if chosen != k || len(spec.Bound) != 16 {
			t.Fatalf("bound %s chooses %d hosts, want %d", spec.Bound, chosen, k)
		}
	}
	if slices.Equal(digests, order("d")) {
		t.Error("two candidates have one order: the same host is always the first")
	}
	if got := assign.Above("0fffffffffffffff"); got != assign.Everybody {
		t.Errorf("Above(the greatest) = %s, want %s", got, assign.Everybody)
	}
	for _, tc := range []struct {
		host  assign.Follower
		bound string
		want  string
	}{
		{assign.Follower{Name: "node-7", Critical: true}, assign.Nobody, "c"},
		{assign.Follower{Name: "node-8", Critical: true}, assign.Everybody, "s"},
		{assign.Follower{Name: "node-8", Critical: false}, assign.Everybody, "c"},
		{assign.Follower{Name: "node-7", Critical: false}, assign.Nobody, "s"},
	} {
		spec.Bound = tc.bound
		if got := assign.Ruleset(&spec, tc.host); got != tc.want {
			t.Errorf("%+v: Ruleset = %s", tc, got)
		}
	}
}

// TestDigestIsWhatTheAPISays holds the digest against the documented shape,
// worked out by hand: printf c/node-1 | sha256sum.
func TestDigestIsWhatTheAPISays(t *testing.T) {
	if got := assign.Digest("c", "node-1"); got != "0ade97e83faff9b5" {
		t.Errorf("Digest = %s", got)
	}
}

func TestCritical(t *testing.T) {
	h := host("")
	h.Spec.Roles = []v1alpha1.HostRole{v1alpha1.RoleWorker, v1alpha1.RoleControlPlane}
	if assign.Critical(h) {
		t.Error("a control-plane host without etcd or API server is not critical")
	}
	h.Status.ObservedRoles = []v1alpha1.HostRole{v1alpha1.RoleEtcd}
	if !assign.Critical(h) {
		t.Error("what the agent sees counts as well")
	}
}

// TestOfThePool checks what a host takes from its node pool, which it may not
// read.
func TestOfThePool(t *testing.T) {
	observing := &v1alpha1.Rollout{Spec: v1alpha1.RolloutSpec{NodePools: []v1alpha1.RolloutNodePool{
		{Name: "p", ClusterName: "shop", Enforcement: v1alpha1.EnforcementObserve}, {Name: "q", ClusterName: "bank"},
	}}}
	flows := []v1alpha1.KeepFlow{
		{Row: "all"},
		{Row: "shop", ClusterName: "shop"},
		{Row: "bank", ClusterName: "bank"},
		{Row: "shop-etcd", ClusterName: "shop", Roles: []v1alpha1.HostRole{v1alpha1.RoleEtcd, v1alpha1.RoleAPIServer}},
	}
	etcd := host("p")
	etcd.Status.ObservedRoles = []v1alpha1.HostRole{v1alpha1.RoleEtcd}
	enforcing := host("p")
	enforcing.Spec.Enforcement = v1alpha1.EnforcementEnforce
	alone := host("")
	alone.Spec.ClusterName, alone.Spec.Enforcement = "bank", v1alpha1.EnforcementObserve
	for name, tc := range map[string]struct {
		reason   string
		host     *v1alpha1.Host
		observes bool
		keep     string
	}{
		"Pool":      {"its pool observes, and is of cluster shop", host("p"), true, "all shop"},
		"OtherPool": {"a pool that says nothing enforces", host("q"), false, "all bank"},
		"Own":       {"what the host says itself comes first", enforcing, false, "all shop"},
		"Role":      {"what the agent sees listening is a role, too", etcd, true, "all shop shop-etcd"},
		"Alone":     {"without a pool it says all itself", alone, true, "all bank"},
		"Nowhere":   {"in no cluster it keeps what all keep", host(""), false, "all"},
	} {
		t.Run(name, func(t *testing.T) {
			var rows []string
			for _, f := range assign.Keep(tc.host, observing, flows) {
				rows = append(rows, f.Row)
			}
			if got := strings.Join(rows, " "); got != tc.keep || assign.Observes(tc.host, observing) != tc.observes {
				t.Errorf("%s: keeps %q, observes %t", tc.reason, got, !tc.observes)
			}
		})
	}
}
