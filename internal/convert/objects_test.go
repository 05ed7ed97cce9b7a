package convert

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// objectsOf reads manifests into the types of the API, as a client does.
func objectsOf(tb testing.TB, manifests []byte) *Objects {
	tb.Helper()
	var o Objects
	for doc := range bytes.SplitSeq(manifests, []byte("\n---\n")) {
		raw, err := yaml.YAMLToJSON(doc)
		if err != nil {
			tb.Fatal(err)
		}
		o.take(tb, raw)
	}
	return &o
}

// take adds one object, or those of a list.
func (o *Objects) take(tb testing.TB, raw []byte) {
	tb.Helper()
	head := into[struct {
		Kind  string            `json:"kind"`
		Items []json.RawMessage `json:"items"`
	}](tb, raw)
	switch head.Kind {
	case v1alpha1.KindVPC:
		o.VPCs = append(o.VPCs, into[v1alpha1.VPC](tb, raw))
	case v1alpha1.KindPrefixList:
		o.PrefixLists = append(o.PrefixLists, into[v1alpha1.PrefixList](tb, raw))
	case v1alpha1.KindSecurityGroup:
		o.SecurityGroups = append(o.SecurityGroups, into[v1alpha1.SecurityGroup](tb, raw))
	case v1alpha1.KindCluster:
		o.Clusters = append(o.Clusters, into[v1alpha1.Cluster](tb, raw))
	case v1alpha1.KindNodePool:
		o.NodePools = append(o.NodePools, into[v1alpha1.NodePool](tb, raw))
	case v1alpha1.KindHost:
		o.Hosts = append(o.Hosts, into[v1alpha1.Host](tb, raw))
	}
	for _, item := range head.Items {
		o.take(tb, item)
	}
}

func into[T any](tb testing.TB, raw []byte) *T {
	tb.Helper()
	var o T
	if err := json.Unmarshal(raw, &o); err != nil {
		tb.Fatal(err)
	}
	return &o
}

// TestObjectsAsFiles checks that an object means what the same manifest means.
func TestObjectsAsFiles(t *testing.T) {
	for _, names := range [][]string{{"shop.yaml"}, {"forms.yaml", "list.json"}} {
		t.Run(names[0], func(t *testing.T) {
			files := manifestFiles(t, names...)
			want := parsed(t, files...)
			var data [][]byte
			for _, f := range files {
				data = append(data, f.Data)
			}
			got, err := FromObjects(objectsOf(t, bytes.Join(data, []byte("\n---\n"))))
			if err != nil {
				t.Fatal(err)
			}
			checkInventory(t, got)
			elsewhere := cmp.FilterValues(func(a, b Place) bool { return a != b }, cmp.Comparer(func(Place, Place) bool { return true }))
			if diff := cmp.Diff(want, got, comparing(), elsewhere); diff != "" {
				t.Errorf("FromObjects(...): -files +objects:\n%s", diff)
			}
		})
	}
}

const twoPools = vpc + `apiVersion: ringfence.dev/v1alpha1
kind: Cluster
metadata: {name: shop}
spec: {vpcName: prod, network: {mode: Flannel, nodeSubnets: [a], podCIDRs: [172.20.0.0/16]}, securityGroup: {name: basic}}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: basic}
spec: {vpcName: prod}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: advanced}
spec: {vpcName: prod, type: Advanced}
---
apiVersion: ringfence.dev/v1alpha1
kind: NodePool
metadata: {name: good}
spec: {clusterName: shop}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: one}
spec: {nodePoolName: good, addresses: [10.0.0.1]}
`

func object1(kind, name, spec string) string {
	return "\n---\napiVersion: ringfence.dev/v1alpha1\nkind: " + kind + "\nmetadata: {name: " + name + "}\nspec: " + spec
}

func TestSound(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		more   string
		want   []string // mistakes, each as REASON: TEXT
		hosts  []string // nil: nothing at all is sound
	}{
		"Nothing": {"all is well", "", nil, []string{"one"}},
		"MixedTypes": {
			"a host wears what its pool wears", object1("Host", "two", "{nodePoolName: good, securityGroupNames: [advanced]}"),
			[]string{"MixedTypes: Host two: two wears groups of two types: advanced is advanced, basic is basic; want one type"},
			[]string{"one"},
		},
		"PoolAndItsHosts": {
			"hosts of a pool that makes no sense are not judged", object1("NodePool", "bad", "{clusterName: shop, securityGroup: {names: [gone]}}") + object1("Host", "two", "{nodePoolName: bad}"),
			[]string{"NotFound: NodePool bad: /spec/securityGroup/names/0: there is no SecurityGroup gone"},
			[]string{"one"},
		},
		"AddressConflict": {
			"who came first keeps the address", object1("Host", "another", "{addresses: [10.0.0.1]}"),
			[]string{"AddressConflict: Host another: /spec/addresses/0: address 10.0.0.1 is also that of host one, Host one"},
			[]string{"one"},
		},
		"Stages": {
			"what is left out hides no other mistake", object1("Host", "two", "{nodePoolName: gone}") + object1("Host", "three", "{nodePoolName: good, securityGroupNames: [advanced]}"),
			[]string{
				"NotFound: Host two: /spec/nodePoolName: there is no NodePool gone",
				"MixedTypes: Host three: three wears groups of two types: advanced is advanced, basic is basic; want one type",
			},
			[]string{"one"},
		},
		"OtherCluster": {
			"a pool has one cluster",
			object1("Cluster", "lab", "{vpcName: prod, network: {mode: Other}}") + object1("Host", "two", "{nodePoolName: good, clusterName: lab}"),
			[]string{"OtherCluster: Host two: /spec/nodePoolName: node pool good belongs to cluster shop, not to lab"},
			[]string{"one"},
		},
		"CIDROverlap": {
			"pods are not in the VPC, nor services", object1("Cluster", "lab", "{vpcName: prod, network: {mode: Other, podCIDRs: [10.9.0.0/16], serviceCIDRs: [10.8.0.0/16]}}"),
			[]string{
				"CIDROverlap: Cluster lab: /spec/network/serviceCIDRs/0: service CIDR 10.8.0.0/16 overlaps 10.0.0.0/8 of VPC prod: want a range outside it",
				"CIDROverlap: Cluster lab: /spec/network/podCIDRs/0: pod CIDR 10.9.0.0/16 overlaps 10.0.0.0/8 of VPC prod: want a range outside it",
			},
			nil,
		},
		"Group": {
			"a group is not done without", object1("SecurityGroup", "web", "{vpcName: prod, ingress: [{protocol: ALL, peer: {groupName: advanced}}, {protocol: ALL, peer: {prefixListName: gone}}]}"),
			[]string{
				"AdvancedPeer: SecurityGroup web: /spec/ingress/0: group advanced is advanced, and no rule may name an advanced group: use its addresses",
				"NotFound: SecurityGroup web: /spec/ingress/1: there is no PrefixList gone",
			},
			nil,
		},
		"Alone": {
			"what one object shows has no reason of its own", object1("SecurityGroup", "web", "{vpcName: prod, ingress: [{protocol: TCP, peer: {cidr: 10.0.0.0/8}}]}"),
			[]string{": SecurityGroup web: /spec/ingress/0/ports: protocol TCP must name its ports: want FIRST/LAST such as 1/65535, not -1/-1"},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inv, mistakes := Sound(objectsOf(t, []byte(twoPools+tc.more)))
			var got []string
			for _, m := range mistakes {
				got = append(got, m.Reason+": "+m.Error())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nSound(...): mistakes: -want +got:\n%s", tc.reason, diff)
			}
			if (inv == nil) != (tc.hosts == nil) {
				t.Fatalf("%s\nSound(...): inventory %v", tc.reason, inv)
			}
			if inv == nil {
				return
			}
			var hosts []string
			for i := range inv.Interfaces {
				hosts = append(hosts, inv.Interfaces[i].ID)
			}
			if !slices.Equal(hosts, tc.hosts) {
				t.Errorf("%s\nSound(...): hosts %v, want %v", tc.reason, hosts, tc.hosts)
			}
		})
	}
}

func TestElders(t *testing.T) {
	o := objectsOf(t, []byte(twoPools))
	elder := *o.Clusters[0]
	elder.Name = "first"
	o.Elders = []*v1alpha1.Cluster{&elder}
	_, mistakes := Sound(o)
	const want = "Cluster shop: /spec/network/podCIDRs/0: pod CIDR 172.20.0.0/16 overlaps 172.20.0.0/16 of cluster first in the same VPC: want a range of its own"
	if len(mistakes) != 1 || mistakes[0].Error() != want || mistakes[0].Reason != v1alpha1.ReasonCIDROverlap {
		t.Errorf("Sound(...): %v, want %s", mistakes, want)
	}
	elder.Spec.VPCName = "other"
	if _, mistakes := Sound(o); len(mistakes) > 0 {
		t.Errorf("two VPCs may use the same addresses: %v", mistakes)
	}
}

// TestSystemRules checks that what is written into a status is read back as it
// was, for every rule of the profiles.
func TestSystemRules(t *testing.T) {
	tables, err := profiles.Load()
	if err != nil {
		t.Fatal(err)
	}
	odd := []rules.Rule{{
		Direction: rules.Ingress, Action: rules.Drop, Priority: 100, Protocol: 112, Peer: rules.PrefixListPeer{Name: "offices"}, Row: "X-1",
	}, {
		Direction: rules.Egress, Action: rules.Accept, Priority: 1, Protocol: rules.SCTP, Ports: rules.PortRange{First: 1, Last: 9},
		Peer: rules.MustCIDR("10.0.0.1"), Member: rules.MustCIDR("10.0.0.0/8").Prefix, SourcePorts: rules.PortRange{First: 7, Last: 7}, Description: "odd",
	}, {
		Direction: rules.Egress, Action: rules.Accept, Priority: 1, Protocol: 0, Peer: rules.MustCIDR("::/0"),
	}}
	inv := parsed(t, manifestFiles(t, "shop.yaml")...)
	for _, groupType := range []rules.GroupType{rules.Basic, rules.Advanced} {
		for _, scope := range []profiles.Scope{profiles.Recommended, profiles.LeastPrivilege} {
			facts := inv.Clusters[0].Facts
			facts.Group, facts.GroupType = "made", groupType
			e, err := tables.Expand(&facts, scope)
			if err != nil {
				t.Fatal(err)
			}
			checkRoundTrip(t, groupType, append(e.Rules, odd...))
		}
	}
}

func checkRoundTrip(t *testing.T, groupType rules.GroupType, list []rules.Rule) {
	t.Helper()
	o := objectsOf(t, manifestFiles(t, "shop.yaml")[0].Data)
	made := &v1alpha1.SecurityGroup{}
	made.Name, made.Spec.VPCName = "made", "prod"
	if groupType == rules.Advanced {
		made.Spec.Type = v1alpha1.GroupTypeAdvanced
	}
	made.Status.SystemIngress, made.Status.SystemEgress = SystemRules(list)
	o.SecurityGroups = append(o.SecurityGroups, made)
	inv, err := FromObjects(o)
	if err != nil {
		t.Fatal(err)
	}
	g, _ := inv.Group("made")
	var want rules.Group
	for _, r := range list {
		want.Append(r)
	}
	if diff := cmp.Diff([][]rules.Rule{want.Ingress, want.Egress}, [][]rules.Rule{g.Ingress, g.Egress}, comparing()); diff != "" {
		t.Errorf("%s: -written +read:\n%s", groupType, diff)
	}
}
