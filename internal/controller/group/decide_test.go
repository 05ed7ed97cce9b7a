package group

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/gather"
)

// circle is a sound group named web, changed.
func circle(change func(*gather.Circle)) *gather.Circle {
	g := &v1alpha1.SecurityGroup{Spec: v1alpha1.SecurityGroupSpec{VPCName: "prod"}}
	g.Name = "web"
	vpc := &v1alpha1.VPC{Spec: v1alpha1.VPCSpec{CIDRBlock: "10.0.0.0/8"}}
	vpc.Name = "prod"
	c := &gather.Circle{Group: g, Objects: convert.Objects{VPCs: []*v1alpha1.VPC{vpc}, SecurityGroups: []*v1alpha1.SecurityGroup{g}}}
	if change != nil {
		change(c)
	}
	return c
}

func cluster(name string) *v1alpha1.Cluster {
	c := &v1alpha1.Cluster{}
	c.Name = name
	return c
}

func pool(name, cluster string) *v1alpha1.NodePool {
	p := &v1alpha1.NodePool{Spec: v1alpha1.NodePoolSpec{ClusterName: cluster}}
	p.Name = name
	return p
}

func host(name string) *v1alpha1.Host {
	h := &v1alpha1.Host{}
	h.Name = name
	return h
}

// rule is a TCP rule for one peer.
func rule(peer v1alpha1.Peer) v1alpha1.Rule {
	r := v1alpha1.Rule{Ports: "1/1", Peer: peer}
	r.Protocol.StrVal, r.Protocol.Type = "TCP", 1
	return r
}

// naming is a group whose rules name web: its user's, or system rules.
func namingGroup(name string, spec bool, users ...string) *v1alpha1.SecurityGroup {
	g := &v1alpha1.SecurityGroup{}
	g.Name = name
	if spec {
		g.Spec.Ingress = []v1alpha1.Rule{rule(v1alpha1.Peer{GroupName: "web"})}
	} else {
		g.Status.SystemIngress = []v1alpha1.SystemRule{{Rule: rule(v1alpha1.Peer{GroupName: "web"})}}
	}
	for _, u := range users {
		g.Status.Clusters = append(g.Status.Clusters, v1alpha1.GroupUser{Name: u})
	}
	return g
}

type summary struct {
	UsedBy          string
	Protected       bool
	Rules, Members  int32
	Accepted, Quota string
}

func TestDecide(t *testing.T) {
	free := summary{Accepted: "True/Accepted", Quota: "True/WithinLimits"}
	held := func(by string) summary {
		s := free
		s.UsedBy, s.Protected = by, true
		return s
	}
	for name, tc := range map[string]struct {
		reason string
		change func(*gather.Circle)
		want   summary
	}{
		"Free":    {"nobody uses it", nil, free},
		"Cluster": {"a cluster uses it", func(c *gather.Circle) { c.Clusters = append(c.Clusters, cluster("shop")) }, held("shop")},
		"Pools": {"clusters with their pools", func(c *gather.Circle) {
			c.Clusters = append(c.Clusters, cluster("shop"))
			c.Pools = append(c.Pools, pool("b", "shop"), pool("a", "shop"), pool("c", "blog"))
		}, held("blog (c), shop (a, b)")},
		"Worn":        {"a host wears it", func(c *gather.Circle) { c.Hosts = append(c.Hosts, host("h")) }, held("host h")},
		"Named":       {"a user's rule names it", func(c *gather.Circle) { c.Naming = append(c.Naming, namingGroup("db", true)) }, held("rules of group db")},
		"NamedInUse":  {"so does the system rule of a group in use", func(c *gather.Circle) { c.Naming = append(c.Naming, namingGroup("db", false, "shop")) }, held("rules of group db")},
		"NamedUnused": {"but not that of one that nobody uses", func(c *gather.Circle) { c.Naming = append(c.Naming, namingGroup("db", false)) }, free},
		"Counts": {"a prefix list counts for its MaxEntries, system rules count too", func(c *gather.Circle) {
			list := &v1alpha1.PrefixList{Spec: v1alpha1.PrefixListSpec{MaxEntries: 7}}
			list.Name = "offices"
			c.Objects.PrefixLists = append(c.Objects.PrefixLists, list)
			c.Group.Spec.Egress = []v1alpha1.Rule{rule(v1alpha1.Peer{PrefixListName: "offices"})}
			c.Group.Status.SystemIngress = []v1alpha1.SystemRule{{Rule: rule(v1alpha1.Peer{CIDR: "10.0.0.0/8"})}}
			s := &v1alpha1.AddressSlice{}
			s.Spec.Members = []v1alpha1.MemberAddress{{Address: "10.0.0.1"}, {Address: "10.0.0.2"}}
			c.Slices = append(c.Slices, s, s)
		}, summary{Rules: 8, Members: 4, Accepted: "True/Accepted", Quota: "True/WithinLimits"}},
		"TooManyRules": {"system rules and the user's together", func(c *gather.Circle) {
			for i := range 501 {
				c.Group.Spec.Ingress = append(c.Group.Spec.Ingress, rule(v1alpha1.Peer{CIDR: fmt.Sprintf("10.0.%d.%d", i/256, i%256)}))
				c.Group.Status.SystemIngress = append(c.Group.Status.SystemIngress, v1alpha1.SystemRule{Rule: rule(v1alpha1.Peer{CIDR: "10.0.0.0/8"})})
			}
		}, summary{Rules: 1002, Accepted: "True/Accepted", Quota: "False/TooManyRules"}},
		"TooManyPeers": {"twenty may name a group", func(c *gather.Circle) {
			for i := range 21 {
				g := &v1alpha1.SecurityGroup{Spec: v1alpha1.SecurityGroupSpec{VPCName: "prod"}}
				g.Name = fmt.Sprintf("g%d", i)
				c.Objects.SecurityGroups = append(c.Objects.SecurityGroups, g)
				c.Group.Spec.Ingress = append(c.Group.Spec.Ingress, rule(v1alpha1.Peer{GroupName: g.Name}))
			}
		}, summary{Rules: 21, Accepted: "True/Accepted", Quota: "False/TooManyRules"}},
		"TooManyMembers": {"6,000 addresses are the end of a basic group", func(c *gather.Circle) {
			s := &v1alpha1.AddressSlice{}
			s.Spec.Members = make([]v1alpha1.MemberAddress, 6001)
			c.Slices = append(c.Slices, s)
		}, summary{Members: 6001, Accepted: "True/Accepted", Quota: "False/TooManyMembers"}},
		"Advanced": {"not of an advanced one", func(c *gather.Circle) {
			c.Group.Spec.Type = v1alpha1.GroupTypeAdvanced
			s := &v1alpha1.AddressSlice{}
			s.Spec.Members = make([]v1alpha1.MemberAddress, 6001)
			c.Slices = append(c.Slices, s)
		}, summary{Members: 6001, Accepted: "True/Accepted", Quota: "True/WithinLimits"}},
		"NotFound": {"what cannot be read keeps its number of rules", func(c *gather.Circle) {
			c.Group.Status.RuleCount = 5
			c.Group.Spec.Egress = []v1alpha1.Rule{rule(v1alpha1.Peer{PrefixListName: "gone"})}
		}, summary{Rules: 5, Accepted: "False/NotFound", Quota: "Unknown/NotAccepted"}},
		"Invalid": {"an old object that is refused today", func(c *gather.Circle) {
			c.Group.Spec.Egress = []v1alpha1.Rule{{}}
		}, summary{Accepted: "False/Invalid", Quota: "Unknown/NotAccepted"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := circle(tc.change)
			s := decide(c, metav1.Unix(1, 0))
			says := func(c metav1.Condition) string { return string(c.Status) + "/" + c.Reason }
			got := summary{s.UsedBy, *s.Protected, s.RuleCount, s.Members, says(s.Conditions[0]), says(s.Conditions[1])}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\ndecide(...): -want +got:\n%s\n%v", tc.reason, diff, s.Conditions)
			}
			if diff := cmp.Diff(s, decide(c, metav1.Unix(1, 0))); diff != "" {
				t.Errorf("twice the same gives twice the same: -first +second:\n%s", diff)
			}
		})
	}
}

func TestUsedByIsBounded(t *testing.T) {
	c := circle(func(c *gather.Circle) {
		for i := range 100 {
			c.Hosts = append(c.Hosts, host(fmt.Sprintf("host-%03d", i)))
		}
	})
	text := usedBy(c, nil)
	if n := utf8.RuneCountInString(text); n > 256 || !strings.HasSuffix(text, ", …") || !strings.HasPrefix(text, "host host-000, host host-001, ") {
		t.Errorf("%d characters: %q", n, text)
	}
	c = circle(func(c *gather.Circle) { c.Hosts = append(c.Hosts, host(strings.Repeat("x", 253))) })
	if text := usedBy(c, nil); len(text) > 256 || text == "" {
		t.Errorf("%d bytes: %q", len(text), text)
	}
}
