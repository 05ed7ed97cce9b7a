package ruleset

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/profiles"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// scene returns a world with two groups in use: one host wears web, two wear
// web and db, one of them of cluster shop.
func scene(tb testing.TB) *world {
	tb.Helper()
	tables, err := profiles.Load()
	if err != nil {
		tb.Fatal(err)
	}
	vpc := &v1alpha1.VPC{Spec: v1alpha1.VPCSpec{CIDRBlock: "10.0.0.0/16", Subnets: []v1alpha1.Subnet{{Name: "nodes", CIDRBlock: "10.0.0.0/24"}}}}
	vpc.Name = "prod"
	group := func(name string) *v1alpha1.SecurityGroup {
		g := &v1alpha1.SecurityGroup{Spec: v1alpha1.SecurityGroupSpec{VPCName: "prod", Ingress: []v1alpha1.Rule{
			{Protocol: intstr.FromString("TCP"), Ports: "80/80", Peer: v1alpha1.Peer{CIDR: "0.0.0.0/0"}},
		}}}
		g.Name = name
		return g
	}
	shop := &v1alpha1.Cluster{Spec: v1alpha1.ClusterSpec{
		VPCName: "prod", Network: v1alpha1.Network{Mode: v1alpha1.NetworkCilium, NodeSubnets: []string{"nodes"}, PodCIDRs: []string{"172.20.0.0/16"}},
		APIServer: v1alpha1.APIServer{Addresses: []string{"10.0.9.9"}},
	}}
	shop.Name, shop.Status.SecurityGroupName = "shop", "db"
	host := func(name, clusterName string, groups ...string) *v1alpha1.Host {
		if clusterName != "" {
			groups = append(groups, "db") // of its pool, elsewhere
		}
		h := &v1alpha1.Host{Spec: v1alpha1.HostSpec{ClusterName: clusterName, SecurityGroupNames: groups}}
		h.Name = name
		return h
	}
	return &world{
		namespace: "test", tables: tables, now: noon, fits: map[string]error{}, unworn: map[string]time.Time{},
		objects: &convert.Objects{
			VPCs: []*v1alpha1.VPC{vpc}, Clusters: []*v1alpha1.Cluster{shop},
			SecurityGroups: []*v1alpha1.SecurityGroup{group("web"), group("db")},
			Hosts:          []*v1alpha1.Host{host("a", "", "web"), host("b", "", "db", "web"), host("c", "shop", "web")},
		},
	}
}

// written takes a plan for done, an hour later.
func written(w *world, p *plan) {
	for _, r := range p.makeRulesets {
		r.CreationTimestamp = metav1.NewTime(w.now)
		w.rulesets = append(w.rulesets, *r)
	}
	for _, c := range append(p.rollouts, p.statuses...) {
		w.rollouts = slices.DeleteFunc(w.rollouts, func(r v1alpha1.Rollout) bool { return r.Name == c.now.Name })
		w.rollouts = append(w.rollouts, *c.now)
	}
	for _, dead := range p.dropRollouts {
		w.rollouts = slices.DeleteFunc(slices.Clone(w.rollouts), func(r v1alpha1.Rollout) bool { return r.Name == dead.Name })
	}
	for _, dead := range p.dropRulesets {
		w.rulesets = slices.DeleteFunc(slices.Clone(w.rulesets), func(r v1alpha1.Ruleset) bool { return r.Name == dead.Name })
	}
	w.unworn, w.counted = p.unworn, p.counted
	w.now = w.now.Add(time.Hour)
}

// words tells a plan in words.
func words(p *plan) []string {
	var out []string
	for _, r := range p.makeRulesets {
		out = append(out, fmt.Sprintf("make Ruleset %v", r.Spec.SecurityGroupNames))
	}
	for _, c := range p.rollouts {
		verb := "change"
		if c.before == nil {
			verb = "make"
		}
		out = append(out, fmt.Sprintf("%s Rollout %v", verb, c.now.Spec.SecurityGroupNames))
	}
	for _, r := range p.dropRollouts {
		out = append(out, fmt.Sprintf("drop Rollout %v", r.Spec.SecurityGroupNames))
	}
	for _, r := range p.dropRulesets {
		out = append(out, fmt.Sprintf("drop Ruleset %v", r.Spec.SecurityGroupNames))
	}
	for _, why := range slices.Sorted(maps.Values(p.held)) {
		out = append(out, "held: "+why)
	}
	slices.Sort(out)
	return out
}

func TestDecideChanges(t *testing.T) {
	accepted := func(list *[]metav1.Condition, reason string) {
		*list = []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionFalse, Reason: reason, Message: "for the test"}}
	}
	port := func(w *world, group, ports string) {
		for _, g := range w.objects.SecurityGroups {
			if g.Name == group {
				g.Spec.Ingress[0].Ports = ports
			}
		}
	}
	for name, tc := range map[string]struct {
		reason string
		change func(*world)
		want   []string
	}{
		"Nothing": {"what is right is not written again", func(*world) {}, nil},
		"Rule": {"a rule costs the sets with its group", func(w *world) { port(w, "db", "1/1") }, []string{
			"change Rollout [db web]", "make Ruleset [db web]",
		}},
		"ClusterFact": {"what hosts keep is part of their Ruleset", func(w *world) { w.objects.Clusters[0].Spec.APIServer.Port = 443 }, []string{
			"change Rollout [db web]", "make Ruleset [db web]",
		}},
		"SameHost": {"one more host that wears a known set costs nothing", func(w *world) {
			h := w.objects.Hosts[0].DeepCopy()
			h.Name = "d"
			w.objects.Hosts = append(w.objects.Hosts, h)
		}, nil},
		"BrokenGroup": {"a broken group holds its own sets up, and no others", func(w *world) {
			port(w, "web", "1/1")
			port(w, "db", "0/0")
		}, []string{
			"change Rollout [web]",
			`held: SecurityGroup db: /spec/ingress/0/ports: port range "0/0": want FIRST/LAST from 1 to 65535 with FIRST <= LAST, or -1/-1 for protocols without ports`,
			"make Ruleset [web]",
		}},
		"GroupNotAccepted": {"so does one that is not accepted", func(w *world) {
			port(w, "db", "1/1")
			accepted(&w.objects.SecurityGroups[1].Status.Conditions, v1alpha1.ReasonNotFound)
		}, []string{"held: group db is not accepted: for the test"}},
		"GroupPending": {"a managed group has no rules yet, which is not none", func(w *world) {
			port(w, "db", "1/1")
			w.objects.SecurityGroups[1].Spec.Management = v1alpha1.ManagementManaged
		}, []string{"held: the system rules of group db are not there yet"}},
		"GroupUnused": {"one that no cluster uses has none", func(w *world) {
			port(w, "db", "1/1")
			no := false
			w.objects.SecurityGroups[1].Spec.Management, w.objects.SecurityGroups[1].Status.Protected = v1alpha1.ManagementManaged, &no
		}, []string{"change Rollout [db web]", "make Ruleset [db web]"}},
		"ClusterNotAccepted": {"what a cluster's hosts must keep is unknown then", func(w *world) {
			port(w, "web", "1/1")
			accepted(&w.objects.Clusters[0].Status.Conditions, v1alpha1.ReasonCIDROverlap)
		}, []string{"change Rollout [web]", "held: cluster shop is not accepted: for the test", "make Ruleset [web]"}},
		"VPCGone": {"so it is without its networks", func(w *world) { w.objects.VPCs = nil }, []string{
			"held: cluster shop: there is no VPC prod",
		}},
		"HostNotAccepted": {"one host at fault holds nobody else up", func(w *world) {
			port(w, "web", "1/1")
			accepted(&w.objects.Hosts[2].Status.Conditions, v1alpha1.ReasonOtherVPC)
		}, []string{"change Rollout [db web]", "change Rollout [web]", "make Ruleset [db web]", "make Ruleset [web]"}},
		"RulesetLost": {"one that somebody took away is made again", func(w *world) { w.rulesets = nil }, []string{
			"make Ruleset [db web]", "make Ruleset [web]",
		}},
		"NobodyWears": {"a Rollout that nobody wears stays at first", func(w *world) { w.objects.Hosts = w.objects.Hosts[1:] }, nil},
		"NobodyWearsForLong": {"and goes later, with its Rulesets", func(w *world) {
			w.objects.Hosts = w.objects.Hosts[1:]
			w.unworn[convert.RolloutName([]string{"web"})] = w.now.Add(-unwornFor)
		}, []string{"drop Rollout [web]", "drop Ruleset [web]"}},
		"PerhapsSomebodyWears": {"unless it is not known of some host what it wears", func(w *world) {
			w.objects.Hosts = w.objects.Hosts[1:]
			w.objects.Hosts[0].Spec.NodePoolName = "nowhere"
			w.unworn[convert.RolloutName([]string{"web"})] = w.now.Add(-unwornFor)
		}, nil},
		"NobodyWearsButRuns": {"a host still runs its Ruleset", func(w *world) {
			w.objects.Hosts = w.objects.Hosts[1:]
			w.unworn[convert.RolloutName([]string{"web"})] = w.now.Add(-unwornFor)
			for _, r := range w.rulesets {
				if len(r.Spec.SecurityGroupNames) == 1 {
					w.objects.Hosts[0].Status.RulesetName = r.Name
				}
			}
		}, []string{"drop Rollout [web]"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := scene(t)
			first := decide(w)
			if diff := cmp.Diff([]string{"make Rollout [db web]", "make Rollout [web]", "make Ruleset [db web]", "make Ruleset [web]"}, words(first)); diff != "" {
				t.Fatalf("the first plan: -want +got:\n%s", diff)
			}
			written(w, first)
			tc.change(w)
			got := decide(w)
			if diff := cmp.Diff(tc.want, words(got)); diff != "" {
				t.Errorf("%s\ndecide: -want +got:\n%s", tc.reason, diff)
			}
			written(w, got)
			for _, again := range words(decide(w)) {
				if !strings.HasPrefix(again, "held: ") && !strings.HasPrefix(again, "drop ") {
					t.Errorf("%s\nand once more: %s", tc.reason, again)
				}
			}
		})
	}
}

// confirms has a host say that it runs a Ruleset.
func confirms(h *v1alpha1.Host, ruleset string) {
	h.Status.RulesetName = ruleset
	h.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionEnforced, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonConfirmed}}
}

// TestCounting checks that hosts which confirm one by one cost few writes, and
// the first and the last one of them a write at once: they change the condition.
func TestCounting(t *testing.T) {
	w := scene(t)
	for n := range 20 {
		h := w.objects.Hosts[0].DeepCopy()
		h.Name = fmt.Sprintf("node-%d", n)
		w.objects.Hosts = append(w.objects.Hosts, h)
	}
	p := decide(w)
	written(w, p)
	w.renewed = map[string]time.Time{}
	for _, h := range w.objects.Hosts[3:] {
		w.renewed[h.Name] = noon
	}
	var runs string
	for _, r := range p.rollouts {
		if len(r.now.Spec.SecurityGroupNames) == 1 {
			runs = r.now.Spec.StableRulesetName
		}
	}
	w.now = noon
	var writes []string
	for n := range 20 {
		w.now = w.now.Add(time.Second)
		confirms(w.objects.Hosts[3+n], runs)
		p := decide(w)
		for _, c := range p.statuses {
			s := &c.now.Status
			writes = append(writes, fmt.Sprintf("after %d s: %d of %d, %s", n+1, s.Confirmed, s.Hosts, s.Conditions[0].Status))
		}
		if later := len(p.statuses) == 0; later != p.countLater {
			t.Errorf("after %d s: looks again for the numbers: %t, want %t", n+1, p.countLater, later)
		}
		at := w.now
		written(w, p)
		w.now = at
	}
	if diff := cmp.Diff([]string{"after 1 s: 1 of 20, False", "after 11 s: 11 of 20, False", "after 20 s: 20 of 20, True"}, writes); diff != "" {
		t.Errorf("writes: -want +got:\n%s", diff)
	}
}

// TestTooComplex checks that what no host can load is not given to any.
func TestTooComplex(t *testing.T) {
	w := scene(t)
	web := w.objects.SecurityGroups[0]
	for i := range 999 {
		web.Spec.Ingress = append(web.Spec.Ingress, v1alpha1.Rule{
			Protocol: intstr.FromString("TCP"), Ports: fmt.Sprintf("%d/%d", 1+i*31%7000, 20_000+i*17%40_000), SourcePorts: fmt.Sprintf("%d/%d", 1+i*13%9000, 10_000+i*29%50_000),
			Peer: v1alpha1.Peer{CIDR: fmt.Sprintf("10.%d.%d.0/%d", i*7%250, i*11%250, 8+i%17)}, MemberCIDR: fmt.Sprintf("10.%d.0.0/%d", i*3%250, 9+i%8),
		})
	}
	said := strings.Join(words(decide(w)), "\n")
	for _, want := range []string{"held: 1001 rules on one host", "held: too complex for a host: ", "rule web/ingress/"} {
		if !strings.Contains(said, want) || strings.Contains(said, "make ") {
			t.Errorf("the plan is\n%s\nwant %q, and nothing made", said, want)
		}
	}
}
