package judge_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// base is a VPC and a Flannel cluster; %GROUP% and %POOLS% are filled in.
const base = `apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec: {cidrBlock: 10.0.0.0/16, subnets: [{name: nodes, cidrBlock: 10.0.0.0/24}]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Cluster
metadata: {name: shop}
spec:
  vpcName: prod
  network: {mode: Flannel, nodeSubnets: [nodes], podCIDRs: [172.20.0.0/16]}
  apiServer: {addresses: [10.0.0.200]}
  securityGroup: %GROUP%
---
apiVersion: ringfence.dev/v1alpha1
kind: NodePool
metadata: {name: blue}
spec: {clusterName: shop, subnets: [nodes], securityGroup: %BLUE%}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-1}
spec: {addresses: [10.0.0.11], clusterName: shop, nodePoolName: blue, roles: [Worker]}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: web}
spec: {vpcName: prod, type: Basic, ingress: [{policy: Accept, protocol: ALL, peer: {cidr: 172.20.0.0/16}}]}
`

func world(t *testing.T, group, blue, more string) *convert.Inventory {
	t.Helper()
	text := strings.NewReplacer("%GROUP%", group, "%BLUE%", blue).Replace(base) + more
	return parse(t, text)
}

func parse(t *testing.T, texts ...string) *convert.Inventory {
	t.Helper()
	var files []convert.File
	for i, text := range texts {
		files = append(files, convert.File{Name: string(rune('a' + i)), Data: []byte(text)})
	}
	inv, err := convert.Parse(files)
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func load(t *testing.T) *profiles.Tables {
	t.Helper()
	tables, err := profiles.Load()
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

func complete(t *testing.T, inv *convert.Inventory) *convert.Inventory {
	t.Helper()
	out, err := judge.Complete(inv, load(t))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCompleteMakesWhatIsAskedFor(t *testing.T) {
	for name, tc := range map[string]struct {
		reason, group, blue string
		groups              []string
		wears               []string
	}{
		"Nothing":    {"a cluster with a group asks for none", "{name: web}", "{}", []string{"web"}, []string{"web"}},
		"Cluster":    {"the cluster's own, named after it", "{type: Basic, profile: LeastPrivilege}", "{}", []string{"shop", "web"}, []string{"shop"}},
		"Pool":       {"the pool's own beside the cluster's existing one", "{name: web}", "{type: Basic, profile: Recommended}", []string{"shop-blue", "web"}, []string{"shop-blue"}},
		"Both":       {"each its own", "{type: Basic}", "{type: Basic}", []string{"shop", "shop-blue", "web"}, []string{"shop-blue"}},
		"PoolNames":  {"an existing one for the pool alone", "{type: Advanced}", "{names: [web]}", []string{"shop", "web"}, []string{"web"}},
		"InnerDrop":  {"no inner access if that is asked", "{type: Basic, innerAccess: Drop}", "{}", []string{"shop", "web"}, []string{"shop"}},
		"Advanced":   {"advanced ones too", "{type: Advanced, profile: Recommended}", "{}", []string{"shop", "web"}, []string{"shop"}},
		"MixedTypes": {"types may differ between pools", "{type: Advanced}", "{type: Basic}", []string{"shop", "shop-blue", "web"}, []string{"shop-blue"}},
	} {
		t.Run(name, func(t *testing.T) {
			inv := complete(t, world(t, tc.group, tc.blue, ""))
			var names []string
			for i := range inv.Groups {
				names = append(names, inv.Groups[i].Name)
			}
			f, ok := inv.InterfaceAt(netip.MustParseAddr("10.0.0.11"))
			if !ok || !slices.Equal(names, tc.groups) || !slices.Equal(f.Groups, tc.wears) {
				t.Fatalf("%s: groups %v, node-1 wears %v; want %v and %v", tc.reason, names, f.Groups, tc.groups, tc.wears)
			}
			g, _ := inv.Group(tc.wears[0])
			if len(g.Members) != 1 || g.Members[0].Addr() != netip.MustParseAddr("10.0.0.11") {
				t.Errorf("members of %s: %v, want node-1's address", g.Name, g.Members)
			}
			report, err := judge.Check(inv, load(t), judge.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if tc.group != "{name: web}" && tc.blue == "{}" && len(report.Missing) != 0 {
				t.Errorf("a group that is made lacks %+v", report.Missing)
			}
		})
	}
}

func TestCompleteRefusesATakenName(t *testing.T) {
	taken := "---\napiVersion: ringfence.dev/v1alpha1\nkind: SecurityGroup\nmetadata: {name: shop}\nspec: {vpcName: prod, type: Basic}\n"
	_, err := judge.Complete(world(t, "{type: Basic}", "{}", taken), load(t))
	if err == nil || !strings.Contains(err.Error(), "a group of that name exists") {
		t.Errorf("got %v, want a word about the name", err)
	}
}

func TestGroupsOfAnAddress(t *testing.T) {
	green := "---\napiVersion: ringfence.dev/v1alpha1\nkind: NodePool\nmetadata: {name: green}\nspec: {clusterName: shop, subnets: [nodes], securityGroup: %S}\n" +
		"---\napiVersion: ringfence.dev/v1alpha1\nkind: SecurityGroup\nmetadata: {name: api}\nspec: {vpcName: prod, type: Basic}\n"
	for name, tc := range map[string]struct {
		reason, green, address string
		want                   string
	}{
		"Host":            {"a host wears its pool's groups", "{}", "10.0.0.11", "web"},
		"Pod":             {"a pod those of its cluster's pools", "{}", "172.20.5.6", "web"},
		"PodsOfTwoMinds":  {"which must agree", "{names: [api]}", "172.20.5.6", "error: node pools wear different groups"},
		"NobodysAddress":  {"nobody knows it", "{}", "10.0.9.9", "error: no file tells which groups 10.0.9.9 wears"},
		"AnotherPodRange": {"nor this", "{}", "172.21.0.1", "error: no file tells"},
	} {
		t.Run(name, func(t *testing.T) {
			inv := world(t, "{name: web}", "{}", strings.Replace(green, "%S", tc.green, 1))
			groups, err := judge.NewAnswerer(inv, nil, judge.ExemptNever).GroupsOf(netip.MustParseAddr(tc.address))
			got := strings.Join(groups, " ")
			if err != nil {
				got = "error: " + err.Error()
			}
			if want := strings.TrimPrefix(tc.want, "error: "); !strings.Contains(got, want) || (err != nil) != strings.HasPrefix(tc.want, "error") {
				t.Errorf("%s: got %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

// TestUnknownIsNotEmpty checks that what no file tells is a finding that fails.
func TestUnknownIsNotEmpty(t *testing.T) {
	const cluster = `{"cluster_id":"c1","name":"shop","vpc_id":"vpc-1","security_group_id":"sg-1","container_cidr":"172.20.0.0/16","vswitch_ids":["vsw-1"],"master_url":"{\"intranet_api_server_endpoint\":\"https://10.0.0.9:6443\"}"}`
	const vswitches = `{"TotalCount":1,"VSwitches":{"VSwitch":[{"VSwitchId":"vsw-1","VpcId":"vpc-1","CidrBlock":"10.0.0.0/24"}]}}`
	const rulesOnly = `{"SecurityGroupId":"sg-1","VpcId":"vpc-1","InnerAccessPolicy":"Drop","Permissions":{"Permission":[]}}`
	const typeOnly = `{"TotalCount":1,"SecurityGroups":{"SecurityGroup":[{"SecurityGroupId":"sg-1","SecurityGroupType":"enterprise","VpcId":"vpc-1"}]}}`
	for name, tc := range map[string]struct {
		files []string
		want  string
	}{
		"NoGroup": {nil, "no file tells its rules"},
		"NoRules": {[]string{typeOnly}, "no file tells its rules"},
		"NoType":  {[]string{rulesOnly}, "no file tells its type"},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := judge.Check(parse(t, append([]string{cluster, vswitches}, tc.files...)...), load(t), judge.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !report.Fails(rules.High) || !slices.ContainsFunc(report.Findings, func(it judge.Item) bool { return strings.Contains(it.Why, tc.want) }) {
				t.Errorf("findings %+v, want one of severity high with %q", report.Findings, tc.want)
			}
		})
	}
}

func TestCompareTellsWhoIsNew(t *testing.T) {
	green := "---\napiVersion: ringfence.dev/v1alpha1\nkind: NodePool\nmetadata: {name: green}\nspec: {clusterName: shop, subnets: [nodes], securityGroup: {}}\n"
	old, updated := world(t, "{name: web}", "{}", ""), world(t, "{name: web}", "{}", green)
	for name, tc := range map[string]struct {
		from, to *convert.Inventory
		want     string
	}{
		"New":  {old, updated, "node pool green of cluster shop is new"},
		"Gone": {updated, old, "node pool green of cluster shop is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := judge.Compare(tc.from, tc.to, load(t))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(c.Notes, tc.want) {
				t.Errorf("notes %q, want %q", c.Notes, tc.want)
			}
			for i := range c.Differences {
				if !c.Differences[i].IsEmpty() {
					t.Errorf("a difference where nothing differs: %+v", c.Differences[i])
				}
			}
		})
	}
}

// TestCheckIsStable checks that the same files give the same report, item by
// item: nothing comes out in the order of a map.
func TestCheckIsStable(t *testing.T) {
	inv := world(t, "{name: web}", "{type: Basic}", "")
	var first string
	for i := range 5 {
		report, err := judge.Check(complete(t, inv), load(t), judge.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, list := range [][]judge.Item{report.Missing, report.Excess, report.Findings} {
			for _, it := range list {
				b.WriteString(it.ID + it.Group + it.Protocol + it.Ports + it.Peer + it.Why + "\n")
			}
		}
		if i > 0 && b.String() != first {
			t.Fatalf("run %d differs:\n%s\nfirst:\n%s", i, b.String(), first)
		}
		first = b.String()
	}
}
