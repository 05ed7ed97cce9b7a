package convert_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

func liveVPC() *v1alpha1.VPC {
	v := &v1alpha1.VPC{Spec: v1alpha1.VPCSpec{CIDRBlock: "10.0.0.0/16", Subnets: []v1alpha1.Subnet{{Name: "nodes", CIDRBlock: "10.0.0.0/24"}, {Name: "more", CIDRBlock: "10.0.1.0/24"}}}}
	v.Name = "prod"
	return v
}

func liveCluster(name string) *v1alpha1.Cluster {
	c := &v1alpha1.Cluster{Spec: v1alpha1.ClusterSpec{
		VPCName: "prod", Network: v1alpha1.Network{Mode: v1alpha1.NetworkCilium, NodeSubnets: []string{"nodes"}, PodCIDRs: []string{"172.20.0.0/16"}},
		APIServer: v1alpha1.APIServer{Addresses: []string{"10.0.9.9"}},
	}}
	c.Name, c.Status.SecurityGroupName = name, name
	return c
}

func livePool(name, clusterName string, groups ...string) *v1alpha1.NodePool {
	p := &v1alpha1.NodePool{Spec: v1alpha1.NodePoolSpec{ClusterName: clusterName}}
	p.Name, p.Status.EffectiveSecurityGroupNames = name, groups
	return p
}

func liveGroup(name string, ingress ...v1alpha1.Rule) *v1alpha1.SecurityGroup {
	g := &v1alpha1.SecurityGroup{Spec: v1alpha1.SecurityGroupSpec{VPCName: "prod", Ingress: ingress}}
	g.Name = name
	return g
}

func liveHost(name string, change func(*v1alpha1.Host)) *v1alpha1.Host {
	h := &v1alpha1.Host{}
	h.Name = name
	change(h)
	return h
}

func TestWearers(t *testing.T) {
	inPool := func(spec, status string) func(*v1alpha1.Host) {
		return func(h *v1alpha1.Host) {
			h.Spec.NodePoolName, h.Spec.Addresses, h.Status.Addresses = "workers", strings.Fields(spec), strings.Fields(status)
		}
	}
	refused := func(reason string) func(*v1alpha1.Host) {
		return func(h *v1alpha1.Host) {
			h.Spec.SecurityGroupNames, h.Spec.Addresses = []string{"web"}, []string{"10.0.0.1"}
			h.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionFalse, Reason: reason, Message: "because"}}
		}
	}
	for name, tc := range map[string]struct {
		reason string
		hosts  []*v1alpha1.Host
		change func(*convert.Objects)
		want   []string
	}{
		"Own": {
			reason: "a host outside every cluster wears what it names",
			hosts:  []*v1alpha1.Host{liveHost("a", func(h *v1alpha1.Host) { h.Spec.SecurityGroupNames = []string{"web", "db"} })},
			want:   []string{"a: [db web] []"},
		},
		"None": {reason: "a host may wear nothing", hosts: []*v1alpha1.Host{liveHost("a", func(*v1alpha1.Host) {})}, want: []string{"a: [] []"}},
		"Pool": {
			reason: "the groups of the pool and its own, each once",
			hosts: []*v1alpha1.Host{liveHost("a", func(h *v1alpha1.Host) {
				h.Spec.NodePoolName, h.Spec.SecurityGroupNames, h.Spec.Addresses = "workers", []string{"web", "shop"}, []string{"10.0.0.1"}
			})},
			want: []string{"a: [shop web] [10.0.0.1]"},
		},
		"Cluster": {
			reason: "without a pool, its own groups only, as in files",
			hosts:  []*v1alpha1.Host{liveHost("a", func(h *v1alpha1.Host) { h.Spec.ClusterName, h.Spec.SecurityGroupNames = "shop", []string{"web"} })},
			want:   []string{"a: [web] []"},
		},
		"ClusterMissing": {
			reason: "nor is that of a cluster that is not there", want: []string{"a: there is no Cluster blog"},
			hosts: []*v1alpha1.Host{liveHost("a", func(h *v1alpha1.Host) { h.Spec.ClusterName = "blog" })},
		},
		"PoolPending": {
			reason: "nor that of a pool", hosts: []*v1alpha1.Host{liveHost("a", inPool("10.0.0.1", ""))},
			change: func(o *convert.Objects) { o.NodePools[0].Status.EffectiveSecurityGroupNames = nil },
			want:   []string{"a: it is not known yet which groups node pool workers has"},
		},
		"PoolMissing": {
			reason: "nor that of a pool that is not there", want: []string{"a: there is no NodePool gone"},
			hosts: []*v1alpha1.Host{liveHost("a", func(h *v1alpha1.Host) { h.Spec.NodePoolName = "gone" })},
		},
		"OtherCluster": {
			reason: "which of the two is meant?", want: []string{"a: node pool workers belongs to cluster shop, not to blog"},
			hosts: []*v1alpha1.Host{liveHost("a", func(h *v1alpha1.Host) { h.Spec.NodePoolName, h.Spec.ClusterName = "workers", "blog" })},
		},
		"NotAccepted": {
			reason: "a host that wears what cannot be worn stays what it was", hosts: []*v1alpha1.Host{liveHost("a", refused(v1alpha1.ReasonMixedTypes))},
			want: []string{"a: host a is not accepted: because"},
		},
		"ForeignAddress": {
			reason: "an address that is not its own does not count, and that is all", hosts: []*v1alpha1.Host{liveHost("a", refused(v1alpha1.ReasonForeignAddress))},
			want: []string{"a: [web] [10.0.0.1]"},
		},
		"BadAddress": {
			reason: "what today's schema refuses is not nothing", want: []string{`a: Host a: /spec/addresses/0: "ten" is no address: want one like 10.0.0.1 or 2001:db8::1`},
			hosts: []*v1alpha1.Host{liveHost("a", inPool("ten", ""))},
		},
		"Reported": {
			reason: "what a host reports counts in the subnets of its pool, here the cluster's", hosts: []*v1alpha1.Host{liveHost("a", inPool("10.0.5.1", "10.0.0.8 10.0.1.8 10.0.5.1 192.0.2.1"))},
			want: []string{"a: [shop] [10.0.0.8 10.0.5.1]"},
		},
		"ReportedPoolSubnets": {
			reason: "a pool may have subnets of its own", hosts: []*v1alpha1.Host{liveHost("a", inPool("", "10.0.0.8 10.0.1.8"))},
			change: func(o *convert.Objects) { o.NodePools[0].Spec.Subnets = []string{"more"} },
			want:   []string{"a: [shop] [10.0.1.8]"},
		},
		"ReportedUnknownSubnets": {
			reason: "a subnet that is not there is unknown, not empty", hosts: []*v1alpha1.Host{liveHost("a", inPool("", "10.0.0.8")), liveHost("b", inPool("10.0.0.9", "10.0.0.9"))},
			change: func(o *convert.Objects) { o.VPCs[0].Spec.Subnets = nil },
			want:   []string{"a: VPC prod has not all subnets of node pool workers", "b: [shop] [10.0.0.9]"},
		},
		"ReportedTwice": {
			reason: "no host reports another one's address away, nor into its own group", want: []string{"a: [shop] [10.0.0.1]", "b: [shop] []", "c: [shop] []"},
			hosts: []*v1alpha1.Host{liveHost("a", inPool("10.0.0.1", "")), liveHost("b", inPool("", "10.0.0.1 10.0.0.2")), liveHost("c", inPool("", "10.0.0.2"))},
		},
		"SpecTwice": {
			reason: "where two specs name one address it is the elder's", want: []string{"b: [shop] [10.0.0.1]", "a: [shop] [10.0.0.2]"},
			hosts: []*v1alpha1.Host{
				liveHost("a", func(h *v1alpha1.Host) {
					inPool("10.0.0.1 10.0.0.2", "")(h)
					h.CreationTimestamp = metav1.NewTime(time.Unix(2000, 0))
				}),
				liveHost("b", func(h *v1alpha1.Host) {
					inPool("10.0.0.1", "")(h)
					h.CreationTimestamp = metav1.NewTime(time.Unix(1000, 0))
				}),
			},
		},
		"Deleting": {
			reason: "a host that is being deleted is gone",
			hosts:  []*v1alpha1.Host{liveHost("a", func(h *v1alpha1.Host) { h.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} })},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := &convert.Objects{
				VPCs: []*v1alpha1.VPC{liveVPC()}, Clusters: []*v1alpha1.Cluster{liveCluster("shop")},
				NodePools: []*v1alpha1.NodePool{livePool("workers", "shop", "shop")}, Hosts: tc.hosts,
			}
			if tc.change != nil {
				tc.change(o)
			}
			var got []string
			for _, w := range convert.ReadNamespace(o).Wearers() {
				if w.Unknown != "" {
					got = append(got, w.Name+": "+w.Unknown)
					continue
				}
				got = append(got, fmt.Sprintf("%s: %v %v", w.Name, w.Groups, w.Addresses))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nWearers: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func liveTCP(peer v1alpha1.Peer) v1alpha1.Rule {
	return v1alpha1.Rule{Protocol: intstr.FromString("TCP"), Ports: "1/1", Peer: peer}
}

func TestNamespaceRulesetErrors(t *testing.T) {
	many := func(n int) (out []v1alpha1.Rule) {
		for range n {
			out = append(out, liveTCP(v1alpha1.Peer{CIDR: "10.0.0.0/8"}))
		}
		return out
	}
	advanced := func(g *v1alpha1.SecurityGroup) *v1alpha1.SecurityGroup {
		g.Spec.Type = v1alpha1.GroupTypeAdvanced
		return g
	}
	foreign := liveGroup("c")
	foreign.Spec.VPCName = "test"
	v6 := &v1alpha1.PrefixList{Spec: v1alpha1.PrefixListSpec{Entries: []v1alpha1.PrefixListEntry{{CIDR: "2001:db8::/32"}}}}
	v6.Name = "v6"
	for name, tc := range map[string]struct {
		reason string
		groups []*v1alpha1.SecurityGroup
		want   string // empty for no error
	}{
		"Fine":        {"two groups go together", []*v1alpha1.SecurityGroup{liveGroup("a", many(2)...), liveGroup("b")}, ""},
		"Absent":      {"a group that is not there is not one without rules", []*v1alpha1.SecurityGroup{liveGroup("a")}, "there is no SecurityGroup b"},
		"Wrong":       {"nor is one that cannot be read", []*v1alpha1.SecurityGroup{liveGroup("a", liveTCP(v1alpha1.Peer{CIDR: "ten"})), liveGroup("b")}, `"ten" is no CIDR`},
		"PeerAbsent":  {"a peer that is not there is not one without members", []*v1alpha1.SecurityGroup{liveGroup("a", liveTCP(v1alpha1.Peer{GroupName: "x"})), liveGroup("b")}, "group a names group x: there is no SecurityGroup x"},
		"PeerIsThere": {"and one that is there is right", []*v1alpha1.SecurityGroup{liveGroup("a", liveTCP(v1alpha1.Peer{GroupName: "x"})), liveGroup("b"), liveGroup("x", liveTCP(v1alpha1.Peer{PrefixListName: "none"}))}, ""},
		"PeerTyped":   {"no rule names an advanced group", []*v1alpha1.SecurityGroup{liveGroup("a", liveTCP(v1alpha1.Peer{GroupName: "x"})), liveGroup("b"), advanced(liveGroup("x"))}, "group x is advanced"},
		"ListAbsent":  {"a list that is not there is not an empty one", []*v1alpha1.SecurityGroup{liveGroup("a", liveTCP(v1alpha1.Peer{PrefixListName: "none"})), liveGroup("b")}, "group a names prefix list none: there is no PrefixList none"},
		"ListFamily":  {"ICMP has no IPv6 peers", []*v1alpha1.SecurityGroup{liveGroup("a", v1alpha1.Rule{Protocol: intstr.FromInt32(1), Peer: v1alpha1.Peer{PrefixListName: "v6"}}), liveGroup("b")}, "prefix list v6 are IPv6"},
		"Types":       {"one type a host", []*v1alpha1.SecurityGroup{liveGroup("a"), advanced(liveGroup("b"))}, "groups of two types"},
		"VPCs":        {"one VPC a host", []*v1alpha1.SecurityGroup{liveGroup("a"), {ObjectMeta: metav1.ObjectMeta{Name: "b"}, Spec: foreign.Spec}}, "VPC test"},
		"TooMany":     {"a thousand rules a host", []*v1alpha1.SecurityGroup{liveGroup("a", many(600)...), liveGroup("b", many(401)...)}, "1001 rules on one host"},
	} {
		t.Run(name, func(t *testing.T) {
			n := convert.ReadNamespace(&convert.Objects{SecurityGroups: tc.groups, PrefixLists: []*v1alpha1.PrefixList{v6}})
			_, err := n.Ruleset([]string{"a", "b"})
			if tc.want == "" {
				if err != nil {
					t.Errorf("%s\nRuleset: %v", tc.reason, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nRuleset: error %v, want %q in it", tc.reason, err, tc.want)
			}
		})
	}
}

func TestKeepErrors(t *testing.T) {
	tables, err := profiles.Load()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		reason string
		change func(*convert.Objects)
		want   string
	}{
		"Fine":    {"all is known", func(*convert.Objects) {}, ""},
		"Cluster": {"a cluster that is not there needs something nobody knows", func(o *convert.Objects) { o.Clusters = nil }, "there is no Cluster shop"},
		"VPC":     {"so does one in a VPC that is not there", func(o *convert.Objects) { o.VPCs = nil }, "cluster shop: there is no VPC prod"},
		"Subnets": {"half the nodes are not all", func(o *convert.Objects) { o.NodePools[0].Spec.Subnets = []string{"nowhere"} }, "has not all subnets"},
		"Wrong":   {"a cluster that cannot be read needs something nobody knows", func(o *convert.Objects) { o.Clusters[0].Spec.APIServer.Port = -1 }, "port -1"},
	} {
		t.Run(name, func(t *testing.T) {
			o := &convert.Objects{
				VPCs: []*v1alpha1.VPC{liveVPC()}, Clusters: []*v1alpha1.Cluster{liveCluster("shop")}, NodePools: []*v1alpha1.NodePool{livePool("workers", "shop", "shop")},
			}
			tc.change(o)
			flows, err := convert.ReadNamespace(o).Keep(tables, "shop", rules.Basic)
			switch {
			case tc.want == "" && (err != nil || len(flows) == 0):
				t.Errorf("%s\nKeep: %d flows, %v", tc.reason, len(flows), err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%s\nKeep: error %v, want %q in it", tc.reason, err, tc.want)
			}
		})
	}
}

// TestRulesetSpec checks that everything which a rule says arrives, that equal
// rules have equal specs, and that an empty list leaves no rule.
func TestRulesetSpec(t *testing.T) {
	empty := &v1alpha1.PrefixList{}
	empty.Name = "empty"
	spec := func(rule v1alpha1.Rule) v1alpha1.RulesetSpec {
		g := liveGroup("a", liveTCP(v1alpha1.Peer{PrefixListName: "empty"}), rule)
		n := convert.ReadNamespace(&convert.Objects{SecurityGroups: []*v1alpha1.SecurityGroup{g}, PrefixLists: []*v1alpha1.PrefixList{empty}})
		rs, err := n.Ruleset([]string{"a"})
		if err != nil {
			t.Fatal(err)
		}
		return convert.RulesetSpec(rs, nil)
	}
	nine := int32(9)
	rule := v1alpha1.Rule{
		Policy: v1alpha1.PolicyDrop, Priority: &nine, Protocol: intstr.FromInt32(6), Ports: "1/2", SourcePorts: "3/4",
		Peer: v1alpha1.Peer{CIDR: "10.1.2.3/8"}, MemberCIDR: "10.0.0.1",
	}
	got := spec(rule)
	want := v1alpha1.RulesetSpec{
		SecurityGroupNames: []string{"a"}, Type: v1alpha1.GroupTypeBasic, InnerAccessGroupNames: []string{"a"},
		Ingress: []v1alpha1.RulesetRule{{
			By: "a/ingress/2", Policy: v1alpha1.PolicyDrop, Priority: 9, Protocol: intstr.FromString("TCP"), Ports: "1/2", SourcePorts: "3/4",
			CIDRs: []string{"10.0.0.0/8"}, MemberCIDR: "10.0.0.1/32",
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("RulesetSpec: -want +got:\n%s", diff)
	}
	rule.Protocol, rule.Peer.CIDR, rule.MemberCIDR = intstr.FromString("tcp"), "10.0.0.0/8", "10.0.0.1/32"
	again := spec(rule)
	a, err1 := convert.RulesetName(&got)
	b, err2 := convert.RulesetName(&again)
	if a != b || err1 != nil || err2 != nil {
		t.Errorf("the same in other words is called %s, not %s (%v, %v)", b, a, err1, err2)
	}
}

func TestRolloutName(t *testing.T) {
	sum := sha256.Sum256([]byte("db\nweb\n"))
	want := hex.EncodeToString(sum[:20])
	for _, set := range [][]string{{"db", "web"}, {"web", "db"}} {
		if got := convert.RolloutName(set); got != want {
			t.Errorf("RolloutName(%v) = %s, want %s", set, got, want)
		}
	}
}
