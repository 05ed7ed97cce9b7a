package cluster

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/gather"
	"ringfence.dev/ringfence/profiles"
)

// unit is a sound cluster named shop with a node pool and a host, changed.
func unit(change func(*gather.Unit)) *gather.Unit {
	vpc := &v1alpha1.VPC{}
	vpc.Name = "prod"
	vpc.Spec = v1alpha1.VPCSpec{CIDRBlock: "10.0.0.0/8", Subnets: []v1alpha1.Subnet{{Name: "a", CIDRBlock: "10.0.0.0/16"}}}
	c := &v1alpha1.Cluster{}
	c.Name, c.UID = "shop", "uid-shop"
	c.Spec = v1alpha1.ClusterSpec{
		VPCName: "prod", APIServer: v1alpha1.APIServer{Addresses: []string{"10.0.0.200"}},
		Network: v1alpha1.Network{Mode: v1alpha1.NetworkFlannel, NodeSubnets: []string{"a"}, PodCIDRs: []string{"172.20.0.0/16"}},
	}
	pool := &v1alpha1.NodePool{Spec: v1alpha1.NodePoolSpec{ClusterName: "shop"}}
	pool.Name, pool.UID = "workers", "uid-workers"
	h := &v1alpha1.Host{Spec: v1alpha1.HostSpec{NodePoolName: "workers", Addresses: []string{"10.0.0.1"}}}
	h.Name = "h"
	u := &gather.Unit{
		Cluster: c, Own: map[string]*v1alpha1.Host{"h": h}, Groups: map[string]*v1alpha1.SecurityGroup{},
		Objects: convert.Objects{
			VPCs: []*v1alpha1.VPC{vpc}, Clusters: []*v1alpha1.Cluster{c}, NodePools: []*v1alpha1.NodePool{pool}, Hosts: []*v1alpha1.Host{h},
		},
	}
	if change != nil {
		change(u)
	}
	for _, g := range u.Objects.SecurityGroups {
		u.Groups[g.Name] = g
	}
	return u
}

// with adds a group.
func addGroup(u *gather.Unit, name string, groupType v1alpha1.GroupType, owner types.UID) *v1alpha1.SecurityGroup {
	g := &v1alpha1.SecurityGroup{Spec: v1alpha1.SecurityGroupSpec{VPCName: "prod", Type: groupType}}
	g.Name = name
	if owner != "" {
		g.Spec.Management = v1alpha1.ManagementManaged
		g.OwnerReferences = []metav1.OwnerReference{{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.KindCluster, Name: "shop", UID: owner}}
	}
	u.Objects.SecurityGroups = append(u.Objects.SecurityGroups, g)
	return g
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	tables, err := profiles.Load()
	if err != nil {
		t.Fatal(err)
	}
	return &engine{tables: tables}
}

// summary says what was decided, in short.
type summary struct {
	Groups                 string // that are made or kept, with how many rules
	Accepted, Ready        string // STATUS/REASON of the cluster
	Pool, PoolGroup, Wears string
	Host                   string
}

func summarize(d decision) summary {
	var groups []string
	for i := range d.groups {
		text := d.groups[i].name
		if d.groups[i].have == nil {
			text = "+" + text
		}
		if d.groups[i].rules.size() == 0 {
			text += " (empty)"
		}
		groups = append(groups, text)
	}
	says := func(c metav1.Condition) string { return string(c.Status) + "/" + c.Reason }
	s := summary{
		Groups: strings.Join(groups, " "), Accepted: says(d.cluster.Conditions[0]), Ready: says(d.cluster.Conditions[1]),
		Pool: says(d.pools["workers"].Conditions[0]), PoolGroup: d.pools["workers"].SecurityGroupName,
		Wears: strings.Join(d.pools["workers"].EffectiveSecurityGroupNames, " "),
	}
	if c, ok := d.hosts["h"]; ok {
		s.Host = says(c)
	}
	return s
}

func TestDecide(t *testing.T) {
	e := newEngine(t)
	fine := summary{Groups: "+shop", Accepted: "True/Accepted", Ready: "False/GroupPending", Pool: "True/Accepted", Wears: "shop"}
	changed := func(change func(*summary)) summary {
		s := fine
		change(&s)
		return s
	}
	still := summary{Accepted: "False/NotFound", Ready: "False/NotAccepted", Pool: "Unknown/Unknown"}
	for name, tc := range map[string]struct {
		reason string
		change func(*gather.Unit)
		want   summary
	}{
		"Plain": {"a cluster that asks for nothing gets a group", nil, fine},
		"Existing": {
			"one that names a group gets none", func(u *gather.Unit) {
				u.Cluster.Spec.SecurityGroup.Name = "web"
				addGroup(u, "web", v1alpha1.GroupTypeBasic, "")
			}, changed(func(s *summary) { s.Groups, s.Wears = "", "web" }),
		},
		"Made": {
			"the group that was made is kept", func(u *gather.Unit) { addGroup(u, "shop", v1alpha1.GroupTypeBasic, "uid-shop") },
			changed(func(s *summary) { s.Groups = "shop" }),
		},
		"Ready": {
			"once the group has its rules and carries the use", func(u *gather.Unit) {
				g := addGroup(u, "shop", v1alpha1.GroupTypeBasic, "uid-shop")
				g.Status.Clusters = []v1alpha1.GroupUser{{Name: "shop", NodePools: []string{"workers"}}}
				yes := true
				g.Status.Protected = &yes
				u.Groups["shop"] = g
				made := e.decide(prepare(u), nil, metav1.Now()).groups[0].rules
				g.Status.SystemIngress, g.Status.SystemEgress = made.ingress, made.egress
			}, changed(func(s *summary) { s.Groups, s.Ready = "shop", "True/GroupInUse" }),
		},
		"OldOwner": {
			"a group of the cluster that had the name before is somebody else's", func(u *gather.Unit) { addGroup(u, "shop", v1alpha1.GroupTypeBasic, "uid-before") },
			changed(func(s *summary) {
				*s = still
				s.Accepted = "False/NameTaken"
			}),
		},
		"OtherType": {
			"a group cannot change its type", func(u *gather.Unit) { addGroup(u, "shop", v1alpha1.GroupTypeAdvanced, "uid-shop") },
			changed(func(s *summary) {
				*s = still
				s.Accepted = "False/NameTaken"
			}),
		},
		"PoolsOwn": {
			"a pool that asks for a group gets one", func(u *gather.Unit) { u.Objects.NodePools[0].Spec.SecurityGroup.Type = v1alpha1.GroupTypeBasic },
			changed(func(s *summary) {
				s.Groups, s.Wears, s.PoolGroup = "+shop +shop-workers", "shop-workers", "shop-workers"
			}),
		},
		"PoolNameTaken": {
			"the cluster goes on without a pool whose group cannot be had", func(u *gather.Unit) {
				u.Objects.NodePools[0].Spec.SecurityGroup.Type = v1alpha1.GroupTypeBasic
				addGroup(u, "shop-workers", v1alpha1.GroupTypeBasic, "")
			}, changed(func(s *summary) { s.Pool, s.Wears = "False/NameTaken", "" }),
		},
		"BrokenPool": {
			"and without one that makes no sense", func(u *gather.Unit) {
				u.Objects.NodePools[0].Spec.SecurityGroup.Names = []string{"gone"}
				u.Objects.NodePools[0].Status.EffectiveSecurityGroupNames = []string{"before"}
			}, changed(func(s *summary) { s.Pool, s.Wears = "False/NotFound", "before" }),
		},
		"BrokenHost": {
			"a host with a mistake is told so", func(u *gather.Unit) { u.Own["h"].Spec.SecurityGroupNames = []string{"gone"} },
			changed(func(s *summary) { s.Host = "False/NotFound" }),
		},
		"MendedHost": {
			"and once it has none", func(u *gather.Unit) {
				u.Own["h"].Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNotFound}}
			}, changed(func(s *summary) { s.Host = "True/Accepted" }),
		},
		"ForeignAddress": {
			"a host names itself into no subnet", func(u *gather.Unit) { u.Own["h"].Status.Addresses = []string{"10.9.0.1"} },
			changed(func(s *summary) { s.Host = "False/ForeignAddress" }),
		},
		"NoVPC": {"a cluster without its VPC stands still", func(u *gather.Unit) { u.Objects.VPCs = nil }, still},
		"BrokenSystemRules": {
			"what was written before does not stand in the way of what is right now", func(u *gather.Unit) {
				g := addGroup(u, "shop", v1alpha1.GroupTypeBasic, "uid-shop")
				g.Status.SystemIngress = []v1alpha1.SystemRule{{Rule: v1alpha1.Rule{Peer: v1alpha1.Peer{PrefixListName: "gone"}}}}
			}, changed(func(s *summary) { s.Groups = "shop" }),
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := metav1.Unix(1, 0)
			u := unit(tc.change)
			d := e.decide(prepare(u), nil, now)
			if diff := cmp.Diff(tc.want, summarize(d)); diff != "" {
				t.Errorf("%s\ndecide(...): -want +got:\n%s\n%+v", tc.reason, diff, d.cluster.Conditions)
			}
			again := e.decide(prepare(u), nil, now)
			if diff := cmp.Diff(d, again, cmp.AllowUnexported(decision{}, groupDecision{}, want{}, systemRules{}), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Errorf("twice the same gives twice the same: -first +second:\n%s", diff)
			}
		})
	}
}

// TestTooMuch asks for more rules than a host can have.
func TestTooMuch(t *testing.T) {
	e := newEngine(t)
	var cidrs []string
	for i := range 100 {
		cidrs = append(cidrs, fmt.Sprintf("203.0.113.%d", i))
	}
	expose := func(n int) func(*gather.Unit) {
		return func(u *gather.Unit) {
			for i := range n {
				x := v1alpha1.Exposure{Ports: fmt.Sprintf("%d/%d", i+1, i+1), CIDRs: cidrs}
				x.Protocol = intstr.FromString("TCP")
				u.Cluster.Spec.Exposures = append(u.Cluster.Spec.Exposures, x)
			}
		}
	}
	d := e.decide(prepare(unit(expose(8))), nil, metav1.Now())
	if c := d.cluster.Conditions[0]; c.Status != metav1.ConditionTrue || len(d.groups) != 1 {
		t.Errorf("800 exposures fit: %+v", c)
	}
	d = e.decide(prepare(unit(expose(11))), nil, metav1.Now())
	if c := d.cluster.Conditions[0]; c.Reason != v1alpha1.ReasonTooManyRules || !strings.Contains(c.Message, "cannot make group shop: ") || len(d.groups) != 0 {
		t.Errorf("1100 do not, and nothing is written: %+v", c)
	}
}

// TestSharers keeps what an unreadable cluster may need in a group that is
// shared with it.
func TestSharers(t *testing.T) {
	e, now := newEngine(t), metav1.Unix(1, 0)
	sharer := unit(func(u *gather.Unit) {
		u.Cluster.Name = "blog"
		u.Cluster.Spec.SecurityGroup.Name = "shop"
		u.Cluster.Spec.Network.PodCIDRs = []string{"172.30.0.0/16"}
		u.Objects.NodePools, u.Objects.Hosts, u.Own = nil, nil, nil
		addGroup(u, "shop", v1alpha1.GroupTypeBasic, "uid-shop")
	})
	shared := func(have systemRules, with *gather.Unit) systemRules {
		u := unit(func(u *gather.Unit) {
			g := addGroup(u, "shop", v1alpha1.GroupTypeBasic, "uid-shop")
			g.Status.SystemIngress, g.Status.SystemEgress = have.ingress, have.egress
		})
		var sharers []*prepared
		if with != nil {
			sharers = append(sharers, prepare(with))
		}
		return e.decide(prepare(u), sharers, now).groups[0].rules
	}
	alone := shared(systemRules{}, nil)
	both := shared(alone, sharer)
	if both.size() <= alone.size() {
		t.Fatalf("%d rules for both, %d for one", both.size(), alone.size())
	}
	if diff := cmp.Diff(alone.ingress, both.ingress[:len(alone.ingress)]); diff != "" {
		t.Errorf("the owner's come first: -alone +both:\n%s", diff)
	}
	sharer.Objects.VPCs = nil // it makes no sense now
	if kept := shared(both, sharer); !kept.equal(both) {
		t.Errorf("while the other cannot be read, nothing goes:\n%s", cmp.Diff(both, kept, cmp.AllowUnexported(systemRules{})))
	}
	if left := shared(both, nil); !left.equal(alone) {
		t.Errorf("once it is gone, its rules go:\n%s", cmp.Diff(alone, left, cmp.AllowUnexported(systemRules{})))
	}
}
