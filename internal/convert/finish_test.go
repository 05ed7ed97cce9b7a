package convert

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// TestDesignExample reads the example of the design.
func TestDesignExample(t *testing.T) {
	got := parsed(t, manifestFiles(t, "shop.yaml")...)
	at := func(line int, path string) Place { return Place{File: "shop.yaml", Line: line, Path: path} }
	web := Group{
		Title: "web", Place: at(32, ""), Members: []netip.Prefix{netip.MustParsePrefix("192.168.0.11/32")},
		IngressPlaces: []Place{at(39, "/spec/ingress/0")}, EgressPlaces: []Place{at(40, "/spec/egress/0")},
	}
	web.Group = rules.Group{
		Name: "web", VPC: "prod", InnerAccess: true,
		Ingress: []rules.Rule{{
			Action: rules.Accept, Priority: 1, Protocol: rules.TCP, Ports: rules.PortRange{First: 443, Last: 443},
			Peer: rules.MustCIDR("0.0.0.0/0"), Description: "shop front",
		}},
		Egress: []rules.Rule{{
			Direction: rules.Egress, Priority: 100, Protocol: rules.AllProtocols, Peer: rules.PrefixListPeer{Name: "offices"},
		}},
	}
	want := &Inventory{
		Groups: []Group{web},
		PrefixLists: map[string]rules.PrefixList{
			"offices": {Name: "offices", MaxEntries: 5, Entries: []rules.CIDR{rules.MustCIDR("203.0.113.0/24")}},
		},
		VPCs: []VPC{{
			ID: "prod", CIDRs: []rules.CIDR{rules.MustCIDR("192.168.0.0/16")}, Secondary: []rules.CIDR{rules.MustCIDR("10.10.0.0/16")},
			Place: at(2, ""),
		}},
		Subnets: []Subnet{
			{ID: "nodes-a", VPC: "prod", CIDRs: []rules.CIDR{rules.MustCIDR("192.168.0.0/19")}, Place: at(9, "/spec/subnets/0")},
			{ID: "pods-a", VPC: "prod", CIDRs: []rules.CIDR{rules.MustCIDR("192.168.32.0/19")}, Place: at(10, "/spec/subnets/1")},
		},
		Clusters: []Cluster{{
			ID: "shop", Title: "shop", VPC: "prod", GroupType: rules.Advanced, Profile: profiles.LeastPrivilege,
			Facts: profiles.Facts{
				Cluster: "shop", Mode: profiles.Terway,
				VPC: []rules.CIDR{rules.MustCIDR("192.168.0.0/16")}, SecondaryVPC: []rules.CIDR{rules.MustCIDR("10.10.0.0/16")},
				NodeSubnets: []rules.CIDR{rules.MustCIDR("192.168.0.0/19")}, PodSubnets: []rules.CIDR{rules.MustCIDR("192.168.32.0/19")},
				APIServer: []rules.CIDR{rules.MustCIDR("192.168.0.200")}, APIServerPort: 6443, WebhookPorts: []uint16{8443},
				Exposures: []profiles.Exposure{{
					Protocol: rules.TCP, Ports: rules.PortRange{First: 443, Last: 443}, Peers: []rules.Peer{rules.MustCIDR("0.0.0.0/0")},
				}},
			},
			Pools: []NodePool{{ID: "workers", Title: "workers", Place: at(27, "")}},
			Place: at(12, ""),
		}},
		Interfaces: []Interface{{
			ID: "node-1", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.0.11/32")}, Groups: []string{"web"},
			VPC: "prod", Cluster: "shop", Pool: "workers", Roles: []string{"Worker"}, Place: at(42, ""),
		}},
	}
	if diff := cmp.Diff(want, got, comparing()); diff != "" {
		t.Errorf("the files hold another inventory: -want +got:\n%s", diff)
	}
}

// TestManifestForms reads every optional field once.
func TestManifestForms(t *testing.T) {
	inv := parsed(t, manifestFiles(t, "forms.yaml", "list.json")...)
	c, _ := inv.Cluster("shop")
	wantFacts := profiles.Facts{
		Cluster: "shop", Mode: profiles.Flannel, Encapsulation: profiles.VXLAN, EncapsulationPort: 8472, BGP: true,
		VPC: []rules.CIDR{rules.MustCIDR("10.0.0.0/8"), rules.MustCIDR("2001:db8::/48")}, SecondaryVPC: []rules.CIDR{rules.MustCIDR("192.168.0.0/16")},
		NodeSubnets: []rules.CIDR{
			rules.MustCIDR("10.0.0.0/16"), rules.MustCIDR("2001:db8:0:1::/64"), rules.MustCIDR("10.1.0.0/16"), rules.MustCIDR("192.168.7.0/24"),
		},
		PodCIDRs: []rules.CIDR{rules.MustCIDR("172.20.0.0/16")}, APIServer: []rules.CIDR{rules.MustCIDR("10.0.0.200"), rules.MustCIDR("2001:db8:0:1::c8")},
		WebhookPorts: []uint16{8443, 9443},
		Exposures: []profiles.Exposure{
			{Protocol: rules.ICMP, Peers: []rules.Peer{rules.MustCIDR("0.0.0.0/0")}},
			{
				Direction: rules.Egress, Protocol: rules.UDP, Ports: rules.PortRange{First: 53, Last: 53},
				Peers: []rules.Peer{rules.MustCIDR("8.8.8.8"), rules.GroupPeer{Name: "db"}, rules.PrefixListPeer{Name: "offices"}},
			},
		},
		Etcd: true, DHCP: true, Poseidon: true,
		NodePorts:        &profiles.NodePorts{Peers: []rules.CIDR{rules.MustCIDR("0.0.0.0/0")}},
		HealthCheckPorts: rules.PortRange{First: 30000, Last: 30001}, HealthCheckPeers: []rules.CIDR{rules.MustCIDR("100.64.0.0/10")},
		AdminCIDRs: []rules.CIDR{rules.MustCIDR("10.9.0.0/24")}, NTPServers: []rules.CIDR{rules.MustCIDR("203.0.113.1")},
		Metadata: []rules.CIDR{rules.MustCIDR("169.254.169.254")},
	}
	if diff := cmp.Diff(wantFacts, c.Facts, comparing()); diff != "" {
		t.Errorf("facts: -want +got:\n%s", diff)
	}
	if c.Group != "db" || c.GroupType != rules.Basic || c.InnerAccess || c.Profile != profiles.Recommended || len(c.Unknown) > 0 {
		t.Errorf("cluster: group %q %s, inner access %t, profile %q, unknown %v", c.Group, c.GroupType, c.InnerAccess, c.Profile, c.Unknown)
	}
	wantPools := map[string]string{
		"a-cluster": "[db] <nil> false", "b-names": "[db web] <nil> true", "c-own": "[] &{advanced false LeastPrivilege} false",
		"d-default": "[] &{basic true Recommended} false", "e-made": "[web] <nil> false",
	}
	gotPools := map[string]string{}
	for _, p := range c.Pools {
		gotPools[p.ID] = fmt.Sprintf("%v %v %t", p.Groups, p.Wants, p.Observe)
	}
	if diff := cmp.Diff(wantPools, gotPools); diff != "" {
		t.Errorf("pools: -want +got:\n%s", diff)
	}
	web, _ := inv.Group("web")
	var got []string
	for _, r := range append(web.Ingress, web.Egress...) {
		got = append(got, fmt.Sprintf("%s %s %d %s %s %s member %v from %s row %q", r.Direction, r.Action, r.Priority, r.Protocol, r.Ports, r.Peer, r.Member.IsValid(), r.SourcePorts, r.Row))
	}
	want := []string{
		`ingress accept 1 TCP 10250/10250 10.0.0.0/16 member false from -1/-1 row "BI-R1"`,
		`ingress drop 7 VRRP -1/-1 10.0.0.0/8 member false from -1/-1 row ""`,
		`ingress accept 1 0 -1/-1 10.0.0.0/8 member false from -1/-1 row ""`,
		`ingress accept 1 ICMPv6 -1/-1 ::/0 member false from -1/-1 row ""`,
		`ingress accept 1 SCTP 1/65535 db member true from 1024/65535 row ""`,
		`egress drop 100 ALL -1/-1 offices member false from -1/-1 row "BO-L9"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules of web: -want +got:\n%s", diff)
	}
}

// TestHostAddresses checks whose addresses count.
func TestHostAddresses(t *testing.T) {
	const around = vpc + `apiVersion: ringfence.dev/v1alpha1
kind: Cluster
metadata: {name: shop}
spec: {vpcName: prod, network: {mode: Terway, nodeSubnets: [b]}}
---
apiVersion: ringfence.dev/v1alpha1
kind: NodePool
metadata: {name: pool-a}
spec: {clusterName: shop, subnets: [a]}
---
apiVersion: ringfence.dev/v1alpha1
kind: NodePool
metadata: {name: pool-b}
spec: {clusterName: shop, enforcement: Observe}
---
`
	host := func(name, spec, status string) string {
		return fmt.Sprintf("---\napiVersion: ringfence.dev/v1alpha1\nkind: Host\nmetadata: {name: %s}\nspec: {%s}\nstatus: {addresses: [%s]}\n", name, spec, status)
	}
	for name, tc := range map[string]struct {
		reason, spec, status, others string
		addresses, refused           string
	}{
		"SpecOnly":      {"what a user wrote counts", "addresses: [203.0.113.1, 10.0.0.1]", "", "", "10.0.0.1/32 203.0.113.1/32", ""},
		"InSubnet":      {"within the pool's subnets the agent is believed", "nodePoolName: pool-a", "10.0.0.1, 10.0.0.2", "", "10.0.0.1/32 10.0.0.2/32", ""},
		"OutsideSubnet": {"elsewhere it is not", "nodePoolName: pool-a", "10.1.0.1, 10.0.0.2", "", "10.0.0.2/32", "10.1.0.1"},
		"ClusterSubnet": {"a pool without subnets lives in those of its cluster", "nodePoolName: pool-b", "10.1.0.1, 10.0.0.2", "", "10.1.0.1/32", "10.0.0.2"},
		"NoPool":        {"a host without pool has no subnets", "clusterName: shop", "10.1.0.1", "", "", "10.1.0.1"},
		"BothSay":       {"the spec counts also when the status repeats it", "addresses: [203.0.113.1]", "203.0.113.1", "", "203.0.113.1/32", ""},
		"InOthersSpec": {
			"no host takes what is another's", "nodePoolName: pool-a", "10.0.0.1, 10.0.0.2",
			host("b", "addresses: [10.0.0.1]", ""), "10.0.0.2/32", "10.0.0.1",
		},
		"InOthersStatus": {
			"nor what two claim", "nodePoolName: pool-a", "10.0.0.1, 10.0.0.2",
			host("b", "nodePoolName: pool-a", "10.0.0.1"), "10.0.0.2/32", "10.0.0.1",
		},
		"OthersIdleClaim": {
			"a claim that is refused anyway takes nothing away", "nodePoolName: pool-a", "10.0.0.1",
			host("b", "nodePoolName: pool-b", "10.0.0.1"), "10.0.0.1/32", "",
		},
		"SpecAgainstClaim": {
			"a claim takes nothing from a spec", "addresses: [10.0.0.1]", "",
			host("b", "nodePoolName: pool-a", "10.0.0.1"), "10.0.0.1/32", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inv := parsed(t, text("in.yaml", around+strings.TrimPrefix(host("a", tc.spec, tc.status), "---\n")+tc.others))
			a := inv.Interfaces[0]
			if got := strings.Trim(fmt.Sprint(a.Addresses), "[]"); got != tc.addresses {
				t.Errorf("%s\naddresses %q, want %q", tc.reason, got, tc.addresses)
			}
			if got := strings.Trim(fmt.Sprint(a.Refused), "[]"); got != tc.refused {
				t.Errorf("%s\nrefused %q, want %q", tc.reason, got, tc.refused)
			}
		})
	}
}

func TestHostEnforcement(t *testing.T) {
	const around = vpc + `apiVersion: ringfence.dev/v1alpha1
kind: Cluster
metadata: {name: shop}
spec: {vpcName: prod, network: {mode: Terway}}
---
apiVersion: ringfence.dev/v1alpha1
kind: NodePool
metadata: {name: pool}
spec: {clusterName: shop, enforcement: Observe}
---
`
	for spec, want := range map[string]bool{
		"{}":                     false,
		"{enforcement: Observe}": true,
		"{nodePoolName: pool}":   true,
		"{nodePoolName: pool, enforcement: Enforce}":    false,
		"{nodePoolName: pool, clusterName: shop}":       true,
		"{enforcement: Enforce, roles: [Worker, Etcd]}": false,
	} {
		inv := parsed(t, text("in.yaml", around+manifestOf("Host", spec)))
		if got := inv.Interfaces[0].Observe; got != want {
			t.Errorf("a Host with spec %s: Observe %t, want %t", spec, got, want)
		}
	}
}

// TestIgnoredKinds checks that what controllers compute may lie beside.
func TestIgnoredKinds(t *testing.T) {
	input := ""
	for _, kind := range []string{"Ruleset", "Rollout", "AddressSlice", "FlowReport"} {
		input += "---\napiVersion: ringfence.dev/v1alpha1\nkind: " + kind + "\nmetadata: {name: x, namespace: y}\nanything: true\n"
	}
	inv := parsed(t, text("in.yaml", input))
	if len(inv.Groups)+len(inv.Clusters)+len(inv.Interfaces) != 0 {
		t.Errorf("Parse(...): %+v", inv)
	}
}

// TestManifestOverExport checks that a Cluster may name what exports hold.
func TestManifestOverExport(t *testing.T) {
	b := exported()
	inv := finished(t, &b, text("in.yaml", manifestOf("Cluster",
		"{vpcName: vpc-1, network: {mode: Terway, nodeSubnets: [vsw-1]}, webhookPorts: [8443], securityGroup: {name: sg-1}}")))
	c, _ := inv.Cluster("x")
	if len(c.Facts.VPC) != 1 || len(c.Facts.NodeSubnets) != 1 || c.Group != "sg-1" || c.GroupType != rules.Advanced {
		t.Errorf("cluster x: %+v", c)
	}
}

// exported returns what the exports of one cluster say: a VPC, a vSwitch, a
// group in two pieces, a cluster and its pools apart, an instance and its
// interface.
func exported() builder {
	at := func(path string) Place { return Place{File: "e.json", Path: path} }
	rule := rules.Rule{Action: rules.Accept, Priority: 1, Protocol: rules.AllProtocols, Peer: rules.MustCIDR("10.0.0.0/8")}
	described := Group{Group: rules.Group{Name: "sg-1", Type: rules.Advanced, VPC: "vpc-1"}, Origin: Cloud, RulesUnknown: true, Place: at("/described")}
	listed := Group{
		Group:  rules.Group{Name: "sg-1", VPC: "vpc-1", Ingress: []rules.Rule{rule}},
		Origin: Cloud, TypeUnknown: true, Place: at("/listed"), IngressPlaces: []Place{at("/listed/0")},
	}
	one := cluster{Cluster: Cluster{ID: "c-1", Title: "shop", VPC: "vpc-1", Group: "sg-1", Origin: Cloud, GroupType: rules.Advanced, Place: at("/cluster")}}
	one.subnetIDs = []string{"vsw-1"}
	one.Facts.Mode = profiles.Flannel
	pools := cluster{Cluster: Cluster{Origin: Cloud, Place: at("/pools"), Pools: []NodePool{
		{ID: "np-1", Place: at("/pools/0")}, {ID: "np-2", Groups: []string{"sg-2"}, Place: at("/pools/1")},
	}}}
	return builder{
		vpcs:     []VPC{{ID: "vpc-1", CIDRs: []rules.CIDR{rules.MustCIDR("10.0.0.0/8")}, Place: at("/vpc")}},
		subnets:  []Subnet{{ID: "vsw-1", VPC: "vpc-1", CIDRs: []rules.CIDR{rules.MustCIDR("10.0.0.0/16")}, Place: at("/vsw")}},
		groups:   []Group{described, listed},
		pages:    []page{{kind: "DescribeSecurityGroupAttribute", of: "sg-1", count: 1, place: at("/listed")}},
		clusters: []cluster{pools, one},
		interfaces: []Interface{
			{ID: "i-1", Origin: Cloud, VPC: "vpc-1", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}, Groups: []string{"sg-1"}, Place: at("/i")},
			{ID: "eni-1", Origin: Cloud, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32"), netip.MustParsePrefix("10.0.0.1/32")}, Groups: []string{"sg-1"}, Place: at("/eni")},
		},
	}
}

// finished reads more files into b and finishes.
func finished(tb testing.TB, b *builder, files ...File) *Inventory {
	tb.Helper()
	for _, f := range files {
		if err := b.file(f); err != nil {
			tb.Fatal(err)
		}
	}
	inv, err := b.finish()
	if err != nil {
		tb.Fatal(err)
	}
	checkInventory(tb, inv)
	return inv
}

func TestExports(t *testing.T) {
	b := exported()
	inv := finished(t, &b)
	g, _ := inv.Group("sg-1")
	if g.Type != rules.Advanced || g.TypeUnknown || g.RulesUnknown || len(g.Ingress) != 1 {
		t.Errorf("sg-1 is not joined of its pieces: %+v", g)
	}
	if got := fmt.Sprint(g.Members); got != "[10.0.0.1/32 10.0.0.2/32]" {
		t.Errorf("members of sg-1: %s", got)
	}
	if len(inv.Interfaces) != 1 || inv.Interfaces[0].ID != "eni-1" {
		t.Errorf("an instance and its interface are not one: %+v", inv.Interfaces)
	}
	c, _ := inv.Cluster("shop")
	if got := fmt.Sprint(c.Pools[0].Groups, c.Pools[1].Groups); got != "[sg-1] [sg-2]" {
		t.Errorf("groups of the pools: %s", got)
	}
	if got := fmt.Sprint(c.Unknown); got != "[API server address pod CIDRs]" {
		t.Errorf("unknown facts: %s", got)
	}
	other, ok := inv.Group("sg-2")
	if !ok || !other.RulesUnknown || !other.TypeUnknown || len(other.Members) != 0 {
		t.Errorf("sg-2, which only a pool names: %+v", other)
	}
}

func TestMissingFacts(t *testing.T) {
	b := exported()
	b.vpcs, b.subnets = nil, nil
	inv := finished(t, &b)
	if got := fmt.Sprint(inv.Clusters[0].Unknown); got != "[API server address VPC CIDR node subnets pod CIDRs]" {
		t.Errorf("unknown facts: %s", got)
	}
	b = exported()
	b.clusters[1].subnetIDs = []string{"vsw-1", "vsw-2"}
	b.clusters[1].Facts.Mode = ""
	inv = finished(t, &b)
	if got := fmt.Sprint(inv.Clusters[0].Unknown); got != "[API server address network mode node subnets pod CIDRs]" {
		t.Errorf("unknown facts with a vSwitch that is not there: %s", got)
	}
	b = exported()
	b.clusters[1].VPC = ""
	inv = finished(t, &b)
	if got := inv.Clusters[0].VPC; got != "vpc-1" {
		t.Errorf("VPC of a cluster that does not name it: %q", got)
	}
}

// TestPagedRules checks that pages join in order, the last one last.
func TestPagedRules(t *testing.T) {
	for name, order := range map[string][]int{"InOrder": {0, 1, 2}, "LastFirst": {2, 0, 1}} {
		t.Run(name, func(t *testing.T) {
			var b builder
			for _, k := range order {
				place := Place{File: fmt.Sprintf("p%d.json", k)}
				r := rules.Rule{Action: rules.Accept, Priority: uint8(k + 1), Protocol: rules.AllProtocols, Peer: rules.MustCIDR("10.0.0.0/8")}
				b.groups = append(b.groups, Group{
					Group: rules.Group{Name: "sg-1", Ingress: []rules.Rule{r}}, Origin: Cloud, TypeUnknown: true, Place: place, IngressPlaces: []Place{place},
				})
				b.pages = append(b.pages, page{kind: "DescribeSecurityGroupAttribute", of: "sg-1", count: 1, more: k < 2, place: place})
			}
			inv := finished(t, &b)
			for k, r := range inv.Groups[0].Ingress {
				if int(r.Priority) != k+1 || inv.Groups[0].IngressPlaces[k].File != fmt.Sprintf("p%d.json", k) {
					t.Errorf("rule %d: priority %d, %s", k, r.Priority, inv.Groups[0].IngressPlaces[k])
				}
			}
		})
	}
}

func TestBadExports(t *testing.T) {
	at := func(file string) Place { return Place{File: file} }
	listed := func(name string, rule ...rules.Rule) Group {
		g := Group{Group: rules.Group{Name: name, Ingress: rule}, Origin: Cloud, TypeUnknown: true, Place: at("rules.json")}
		for range rule {
			g.IngressPlaces = append(g.IngressPlaces, Place{File: "rules.json", Path: "/0"})
		}
		return g
	}
	typed := func(name string, kind rules.GroupType) Group {
		return Group{Group: rules.Group{Name: name, Type: kind}, Origin: Cloud, RulesUnknown: true, Place: at("groups.json")}
	}
	address := func(text string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(text)} }
	for name, tc := range map[string]struct {
		reason string
		break_ func(*builder) //nolint:revive // break is a keyword
		want   string
	}{
		"HalfList": {
			"judging half the instances would miss members",
			func(b *builder) {
				b.pages = []page{{kind: "DescribeInstances", count: 10, total: 65, place: at("i.json")}}
			},
			"i.json: DescribeInstances lists 10 of 65 elements: export all pages, once",
		},
		"PageTwice": {
			"the missing page hides behind a second copy of another",
			func(b *builder) {
				b.pages = []page{{kind: "DescribeInstances", count: 50, total: 65, place: at("i.json")}, {kind: "DescribeInstances", count: 50, total: 65, place: at("j.json")}}
			},
			"i.json: DescribeInstances lists 100 of 65 elements",
		},
		"TokenLeft": {
			"a token says that more follows",
			func(b *builder) {
				b.pages = []page{{kind: "DescribeNetworkInterfaces", count: 10, more: true, place: at("e.json")}}
			},
			"e.json: DescribeNetworkInterfaces says that another page follows: export all pages",
		},
		"RulesLeft": {
			"rules that are not read are holes",
			func(b *builder) {
				b.groups = []Group{listed("sg-1")}
				b.pages = []page{{kind: "DescribeSecurityGroupAttribute", of: "sg-1", more: true, place: at("rules.json")}}
			},
			"rules.json: DescribeSecurityGroupAttribute of sg-1 says that another page follows: export all pages",
		},
		"RulesTwice": {
			"nobody can tell which of two lists is the newer",
			func(b *builder) {
				b.groups = []Group{listed("sg-1"), listed("sg-1")}
				b.pages = []page{
					{kind: "DescribeSecurityGroupAttribute", of: "sg-1", place: at("a.json")},
					{kind: "DescribeSecurityGroupAttribute", of: "sg-1", place: at("b.json")},
				}
			},
			"b.json: DescribeSecurityGroupAttribute of sg-1 is also in a.json: want it once",
		},
		"RulesOfTwoForms": {
			"also where one of them is no export",
			func(b *builder) {
				b.groups = []Group{listed("sg-1"), listed("sg-1")}
				b.pages = []page{{kind: "DescribeSecurityGroupAttribute", of: "sg-1", place: at("a.json")}}
			},
			"rules.json: the rules of group sg-1 are also in rules.json: want them once",
		},
		"NoPrefixList": {
			"a list that nobody knows cannot be judged",
			func(b *builder) {
				b.groups = []Group{listed("sg-1", rules.Rule{Priority: 1, Protocol: rules.AllProtocols, Peer: rules.PrefixListPeer{Name: "pl-x"}})}
			},
			"rules.json: /0: prefix list pl-x is not in the files: add the output of DescribePrefixListAttributes",
		},
		"TwoTypes": {
			"two exports disagree",
			func(b *builder) {
				b.groups = []Group{typed("sg-1", rules.Basic), typed("sg-1", rules.Advanced)}
			},
			"groups.json: group sg-1 has another type than in groups.json",
		},
		"MixedTypes": {
			"ECS refuses two types on one interface, so the files are of two times",
			func(b *builder) {
				b.groups = []Group{typed("sg-1", rules.Basic), typed("sg-2", rules.Advanced)}
				b.interfaces = []Interface{{ID: "eni-1", Origin: Cloud, Groups: []string{"sg-2", "sg-1"}, Place: at("e.json")}}
			},
			"e.json: eni-1 wears groups of two types: sg-1 is basic, sg-2 is advanced; want one type",
		},
		"TooManyGroups": {
			"ten at most",
			func(b *builder) {
				b.interfaces = []Interface{{ID: "eni-1", Origin: Cloud, Groups: strings.Split("a b c d e f g h i j k", " "), Place: at("e.json")}}
			},
			"e.json: eni-1 wears 11 groups, at most 10 may",
		},
		"SameAddress": {
			"one address with two sets of groups",
			func(b *builder) {
				b.interfaces = []Interface{
					{ID: "eni-1", Origin: Cloud, VPC: "v", Addresses: address("10.0.0.1/32"), Groups: []string{"sg-1"}, Place: at("e.json")},
					{ID: "eni-2", Origin: Cloud, VPC: "v", Addresses: address("10.0.0.1/32"), Groups: []string{"sg-2"}, Place: at("f.json")},
				}
			},
			"f.json: eni-2 has another list of groups than eni-1, e.json, with the same ID or address",
		},
		"OtherVPC": {
			"two exports disagree", func(b *builder) {
				b.vpcs = []VPC{{ID: "v", CIDRs: []rules.CIDR{rules.MustCIDR("10.0.0.0/8")}, Place: at("v.json")}, {ID: "v", Place: at("w.json")}}
			},
			"w.json: VPC v has other CIDRs than in v.json",
		},
		"OtherSubnet": {
			"two exports disagree", func(b *builder) {
				b.subnets = []Subnet{{ID: "s", CIDRs: []rules.CIDR{rules.MustCIDR("10.0.0.0/8")}, Place: at("v.json")}, {ID: "s", Place: at("w.json")}}
			},
			"w.json: subnet s has other CIDRs than in v.json",
		},
		"OtherPrefixList": {
			"two exports disagree", func(b *builder) {
				b.lists = []prefixList{{PrefixList: rules.PrefixList{Name: "pl-x"}, place: at("v.json")}, {PrefixList: rules.PrefixList{Name: "pl-x", MaxEntries: 3}, place: at("w.json")}}
			},
			"w.json: prefix list pl-x has other entries than in v.json",
		},
		"OtherCluster": {
			"two exports disagree", func(b *builder) {
				b.clusters = []cluster{
					{Cluster: Cluster{ID: "c", VPC: "v", Group: "sg-1", Origin: Cloud, Place: at("c.json")}},
					{Cluster: Cluster{ID: "c", VPC: "w", Group: "sg-2", Origin: Cloud, Place: at("d.json")}},
				}
			},
			"d.json: cluster c has another VPC and group than in c.json",
		},
		"OtherPool": {
			"two exports disagree", func(b *builder) {
				for i, file := range []string{"c.json", "d.json"} {
					pool := NodePool{ID: "np", Groups: []string{fmt.Sprintf("sg-%d", i)}}
					b.clusters = append(b.clusters, cluster{Cluster: Cluster{ID: "c", Origin: Cloud, Pools: []NodePool{pool}, Place: at(file)}})
				}
			},
			"d.json: cluster c has another list of groups for node pool np than in c.json",
		},
		"ManifestAndExport": {
			"nobody can tell which of the two counts", func(b *builder) {
				b.clusters = []cluster{{Cluster: Cluster{ID: "c", Place: at("c.yaml")}}, {Cluster: Cluster{ID: "c", Origin: Cloud, Place: at("d.json")}}}
			},
			"d.json: cluster c is also in c.yaml: want either the manifest or the export",
		},
		"HostAndExport": {
			"a Host is no interface in the cloud", func(b *builder) {
				_ = b.file(text("h.yaml", manifestOf("Host", "{addresses: [10.0.0.1]}")))
				b.interfaces = []Interface{{ID: "i-1", Origin: Cloud, Addresses: address("10.0.0.1/32"), Place: at("i.json")}}
			},
			"h.yaml:1: x and i-1, i.json, are one by name or address: want either the Host or the export",
		},
		"PoolsOfNobody": {
			"node pools do not say whose they are", func(b *builder) {
				b.clusters = []cluster{{Cluster: Cluster{Origin: Cloud, Place: at("p.json")}}}
			},
			"p.json: the node pools do not name their cluster: add the output of DescribeClusterDetail",
		},
		"PoolsOfTwo": {
			"nor may we guess", func(b *builder) {
				b.clusters = []cluster{{Cluster: Cluster{Origin: Cloud, Place: at("p.json")}}, {Cluster: Cluster{ID: "c", Origin: Cloud}}, {Cluster: Cluster{ID: "d", Origin: Cloud}}}
			},
			"p.json: the node pools do not name their cluster, and the files hold 2: read one cluster at a time",
		},
		"NamesAdvanced": {
			"a plan that ECS would refuse", func(b *builder) {
				g := listed("sg-1", rules.Rule{Priority: 1, Protocol: rules.AllProtocols, Peer: rules.GroupPeer{Name: "sg-2"}})
				g.Origin = Terraform
				b.groups = []Group{g, typed("sg-2", rules.Advanced)}
			},
			"rules.json: /0: group sg-2 is advanced, and no rule may name an advanced group",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b builder
			tc.break_(&b)
			inv, err := b.finish()
			if err == nil || inv != nil {
				t.Fatalf("%s\nfinish(): inventory %v, error %v; want %q", tc.reason, inv, err, tc.want)
			}
			if !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("%s\nfinish(): error\n%s\nwant one that begins with\n%s", tc.reason, err, tc.want)
			}
		})
	}
}

// TestGoodExports checks what must not be refused.
func TestGoodExports(t *testing.T) {
	at := func(file string) Place { return Place{File: file} }
	address := func(text string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(text)} }
	for name, b := range map[string]builder{
		"pages that add up": {pages: []page{
			{kind: "DescribeInstances", count: 50, total: 65, more: true, place: at("a")}, {kind: "DescribeInstances", count: 15, total: 65, place: at("b")},
		}},
		"two lists of one kind": {pages: []page{
			{kind: "DescribeVSwitches", count: 3, total: 3, place: at("a")}, {kind: "DescribeVSwitches", count: 5, total: 5, place: at("b")},
		}},
		"tokens without a total": {pages: []page{
			{kind: "DescribeNetworkInterfaces", count: 3, more: true, place: at("a")}, {kind: "DescribeNetworkInterfaces", count: 5, place: at("b")},
		}},
		"an empty list": {pages: []page{{kind: "DescribeInstances", place: at("a")}}},
		"a group peer that no file holds": {groups: []Group{{
			Group:  rules.Group{Name: "sg-1", Ingress: []rules.Rule{{Priority: 1, Protocol: rules.AllProtocols, Peer: rules.GroupPeer{Name: "sg-x"}}}},
			Origin: Cloud, IngressPlaces: []Place{at("a")},
		}}},
		"one address in two networks": {interfaces: []Interface{
			{ID: "eni-1", Origin: Cloud, VPC: "v", Addresses: address("10.0.0.1/32"), Groups: []string{"sg-1"}},
			{ID: "eni-2", Origin: Cloud, VPC: "w", Addresses: address("10.0.0.1/32"), Groups: []string{"sg-2"}},
		}},
		"a chain of interfaces that are one": {interfaces: []Interface{
			{ID: "a", Origin: Cloud, VPC: "v", Addresses: address("10.0.0.1/32"), Groups: []string{"sg-1"}},
			{ID: "b", Origin: Cloud, VPC: "v", Addresses: address("10.0.0.2/32")},
			{ID: "c", Origin: Cloud, VPC: "v", Addresses: append(address("10.0.0.1/32"), address("10.0.0.2/32")...), Groups: []string{"sg-1", "sg-1"}},
		}},
		"the same exports once more": {
			vpcs:    []VPC{{ID: "v", CIDRs: []rules.CIDR{rules.MustCIDR("10.0.0.0/8")}}, {ID: "v", CIDRs: []rules.CIDR{rules.MustCIDR("10.0.0.0/8")}}},
			subnets: []Subnet{{ID: "s", VPC: "v"}, {ID: "s", VPC: "v"}, {ID: "s", VPC: "w"}},
			lists:   []prefixList{{PrefixList: rules.PrefixList{Name: "pl-x"}}, {PrefixList: rules.PrefixList{Name: "pl-x"}}},
			clusters: []cluster{
				{Cluster: Cluster{ID: "c", VPC: "v", Origin: Cloud, Pools: []NodePool{{ID: "np", Groups: []string{"sg-1"}}}}},
				{Cluster: Cluster{ID: "c", VPC: "v", Origin: Cloud, Pools: []NodePool{{ID: "np", Groups: []string{"sg-1"}}}}},
			},
		},
		"a group that two exports describe alike": {groups: []Group{
			{Group: rules.Group{Name: "sg-1", VPC: "v"}, Origin: Cloud, RulesUnknown: true, Place: at("a")},
			{Group: rules.Group{Name: "sg-1", VPC: "v"}, Origin: Cloud, RulesUnknown: true, Place: at("b")},
		}},
	} {
		t.Run(name, func(t *testing.T) { finished(t, &b) })
	}
}

// TestOrderOfFiles checks that it does not matter.
func TestOrderOfFiles(t *testing.T) {
	var files []File
	for i, doc := range strings.Split(string(manifestFiles(t, "forms.yaml")[0].Data), "\n---\n") {
		files = append(files, text(fmt.Sprintf("part-%d.yaml", i), doc))
	}
	files = append(files, manifestFiles(t, "list.json")...)
	want := parsed(t, files...)
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		random.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		if diff := cmp.Diff(want, parsed(t, files...), comparing()); diff != "" {
			t.Fatalf("another order, another inventory: -want +got:\n%s", diff)
		}
	}
	// The mistakes come in one order too.
	files = append(files, text("z.yaml", rule("{protocol: X}")), text("y.yaml", "a: b"))
	_, first := Parse(files)
	for range 10 {
		random.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		if _, err := Parse(files); err == nil || err.Error() != first.Error() {
			t.Fatalf("another order, another error:\n%v\nfirst:\n%v", err, first)
		}
	}
}

// TestShuffledPieces does the same for what exports say piece by piece.
func TestShuffledPieces(t *testing.T) {
	b := exported()
	want := finished(t, &b)
	random := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		b := exported()
		random.Shuffle(len(b.groups), func(i, j int) { b.groups[i], b.groups[j] = b.groups[j], b.groups[i] })
		random.Shuffle(len(b.clusters), func(i, j int) { b.clusters[i], b.clusters[j] = b.clusters[j], b.clusters[i] })
		random.Shuffle(len(b.interfaces), func(i, j int) { b.interfaces[i], b.interfaces[j] = b.interfaces[j], b.interfaces[i] })
		if diff := cmp.Diff(want, finished(t, &b), comparing()); diff != "" {
			t.Fatalf("another order, another inventory: -want +got:\n%s", diff)
		}
	}
}

// TestManyMistakes checks that an error is of a length that people read.
func TestManyMistakes(t *testing.T) {
	spec := "spec:\n  vpcName: prod\n  ingress:\n" + strings.Repeat("  - {protocol: X}\n", 500)
	_, err := Parse([]File{text("in.yaml", group(spec))})
	if n := strings.Count(err.Error(), "\n") + 1; n != maxMistakes+1 {
		t.Errorf("an error of %d lines, want %d", n, maxMistakes+1)
	}
	if !strings.HasSuffix(err.Error(), "and more mistakes") {
		t.Errorf("Parse(...): %v", err)
	}
}
