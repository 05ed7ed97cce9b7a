package crds_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	yamlreader "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// TestAccepted checks that the examples of the design, and one object at least
// of every kind, can be stored as they are, with no field lost.
func TestAccepted(t *testing.T) {
	file, err := os.ReadFile("testdata/accepted.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := servers(t)
	unseen := servers(t)
	reader := yamlreader.NewYAMLReader(bufio.NewReader(bytes.NewReader(file)))
	for {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kind := kindOf(t, string(text))
		delete(unseen, kind)
		accept(t, all[kind], string(text))
	}
	for kind := range unseen {
		t.Errorf("no example of a %s", kind)
	}
}

// accept stores an object and returns how much of the budget is left.
func accept(t *testing.T, s *server, text string) (stored map[string]any, budget int64) {
	t.Helper()
	stored, unknown := s.read(t, text)
	if len(unknown) > 0 {
		t.Errorf("unknown fields %v in\n%s", unknown, text)
	}
	errs, budget := s.create(t.Context(), stored)
	for _, err := range errs {
		t.Errorf("%v in\n%.500s", err, text)
	}
	return stored, budget
}

// TestLargest checks that the rules can be paid for an object as large as the
// schema allows: what the server estimates when it takes the definition is
// one thing, what it counts when it takes an object another. Half of the budget
// stays free.
func TestLargest(t *testing.T) {
	all := servers(t)
	const (
		rules   = `{protocol: icmpv6, priority: 100, peer: {cidr: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128"}, memberCIDR: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128"}`
		ports   = `{protocol: sctp, ports: 10000/65535, sourcePorts: 10000/65535, peer: {cidr: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128"}}`
		rulings = `{by: a/ingress/1%d, policy: Drop, priority: 1, protocol: SCTP, ports: 10000/65535, cidrs: ["2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128"]}`
	)
	for name, text := range map[string]string{
		"Group": object("SecurityGroup", "{vpcName: prod, provider: {type: Hosts}, ingress: "+repeat(500, rules)+", egress: "+repeat(500, ports)+"}") +
			"status: {systemIngress: " + repeat(200, ports) + "}\n",
		"VPC":        object("VPC", "{cidrBlock: 10.0.0.0/8, ipv6CIDRBlock: '2001:db8::/32', subnets: "+repeat(150, "{name: a%d, cidrBlock: 10.%d.100.0/24, ipv6CIDRBlock: '2001:db8:ffff:%d::/64'}")+"}"),
		"PrefixList": object("PrefixList", "{entries: "+repeat(200, "{cidr: '2001:db8:ffff:ffff:ffff:ffff:ffff:%d/128'}")+"}"),
		"Cluster": cluster("Flannel", ", podCIDRs: "+repeat(32, "172.16.%d.0/24")+", serviceCIDRs: "+repeat(32, "172.17.%d.0/24"),
			", exposures: "+repeat(100, "{protocol: ICMP, cidrs: "+repeat(100, "10.0.0.0/8")+", groupNames: "+repeat(20, strings.Repeat("g", 60)+"%d")+"}")),
		"NodePool":     object("NodePool", "{clusterName: shop, subnets: "+repeat(200, "a%d")+"}"),
		"Host":         object("Host", "{addresses: "+repeat(64, "'2001:db8:ffff:ffff:ffff:ffff:ffff:%d'")+"}"),
		"Ruleset":      named(object("Ruleset", "{securityGroupNames: [a], type: Basic, ingress: "+repeat(1000, rulings)+"}"), hash),
		"AddressSlice": object("AddressSlice", "{securityGroupName: a, members: "+repeat(200, "{address: '2001:db8:ffff:ffff:ffff:ffff:ffff:%d', hostName: node-%d}")+"}"),
	} {
		t.Run(name, func(t *testing.T) {
			s := all[kindOf(t, text)]
			stored, left := accept(t, s, text)
			t.Logf("%d left of the budget", left)
			if left < 5_000_000 {
				t.Errorf("%d left of a budget of ten million", left)
			}
			for _, err := range s.update(t.Context(), stored, stored) {
				t.Error(err)
			}
		})
	}
}

// TestDefaults checks what the server writes for what was left out. It writes
// nothing into lists: who applies a list again would change it again.
func TestDefaults(t *testing.T) {
	all := servers(t)
	for name, tc := range map[string]struct{ text, want string }{
		"SecurityGroup": {
			rule("{protocol: ALL, peer: {cidr: 10.0.0.0/8}}"),
			object("SecurityGroup", "{vpcName: prod, type: Basic, management: Manual, ingress: [{protocol: ALL, peer: {cidr: 10.0.0.0/8}}]}"),
		},
		"NodePool": {object("NodePool", "{clusterName: shop}"), object("NodePool", "{clusterName: shop, enforcement: Enforce}")},
		"Cluster":  {cluster("Terway", "", ""), cluster("Terway", "", "")},
		"Host":     {object("Host", "{}"), object("Host", "{}")},
		"VPC":      {object("VPC", "{cidrBlock: 10.0.0.0/8}"), object("VPC", "{cidrBlock: 10.0.0.0/8}")},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := accept(t, all[name], tc.text)
			want, _ := all[name].read(t, tc.want)
			var raw map[string]any
			if err := yaml.Unmarshal([]byte(tc.want), &raw); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(integers(raw), any(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("defaults of defaults: -want +got:\n%s", diff)
			}
		})
	}
}

// TestChanges checks what may be changed, and what may not.
func TestChanges(t *testing.T) {
	all := servers(t)
	ruleset := func(more string) string {
		return named(object("Ruleset", "{securityGroupNames: [a], type: Basic"+more+"}"), hash)
	}
	rollout := func(spec string) string { return named(object("Rollout", spec), hash) }
	for name, tc := range map[string]struct {
		before string
		refusal
	}{
		"GroupType": {
			object("SecurityGroup", "{vpcName: prod}"),
			refusal{"its members could not follow", object("SecurityGroup", "{vpcName: prod, type: Advanced}"), "spec.type", "cannot be changed"},
		},
		"GroupVPC": {
			object("SecurityGroup", "{vpcName: prod}"),
			refusal{"its members could not follow", object("SecurityGroup", "{vpcName: dev}"), "spec.vpcName", "make another group"},
		},
		"GroupSaysItsType": {
			object("SecurityGroup", "{vpcName: prod}"),
			refusal{"the default is no change", object("SecurityGroup", "{vpcName: prod, type: Basic}"), "", ""},
		},
		"GroupRules": {
			rule("{protocol: ALL, peer: {cidr: 10.0.0.0/8}}"),
			refusal{"rules are there to be changed", rule("{protocol: GRE, peer: {groupName: db}}"), "", ""},
		},
		"GroupRulesToBad": {
			rule("{protocol: ALL, peer: {cidr: 10.0.0.0/8}}"),
			refusal{"a change is checked like a new one", rule("{protocol: TCP, peer: {cidr: 10.0.0.0/8}}"), "spec.ingress[0].ports", "must name their ports"},
		},
		"ClusterVPC": {
			object("Cluster", "{vpcName: prod, network: {mode: Terway}}"),
			refusal{"its groups could not follow", object("Cluster", "{vpcName: dev, network: {mode: Terway}}"), "spec.vpcName", "make another cluster"},
		},
		"ClusterGroupType": {
			cluster("Terway", "", ", securityGroup: {profile: Recommended}"),
			refusal{"the group was made", cluster("Terway", "", ", securityGroup: {type: Advanced}"), "spec.securityGroup.type", "cannot be changed"},
		},
		"ClusterGroupToExisting": {
			cluster("Terway", "", ", securityGroup: {type: Advanced}"),
			refusal{"the way to another type", cluster("Terway", "", ", securityGroup: {name: web}"), "", ""},
		},
		"PoolCluster": {
			object("NodePool", "{clusterName: shop}"),
			refusal{"its hosts could not follow", object("NodePool", "{clusterName: blog}"), "spec.clusterName", "make another node pool"},
		},
		"PoolGroupType": {
			object("NodePool", "{clusterName: shop, securityGroup: {type: Basic}}"),
			refusal{"the group was made", object("NodePool", "{clusterName: shop, securityGroup: {type: Advanced}}"), "spec.securityGroup.type", "cannot be changed"},
		},
		"PoolGroupToExisting": {
			object("NodePool", "{clusterName: shop, securityGroup: {type: Basic}}"),
			refusal{"the way to another type", object("NodePool", "{clusterName: shop, securityGroup: {names: [web]}}"), "", ""},
		},
		"Ruleset": {
			ruleset(""),
			refusal{"its name is its content", ruleset(", keep: [{row: r, direction: Egress, protocol: ALL, groupName: a}]"), "spec", "make another one"},
		},
		"RolloutGroups": {
			rollout("{securityGroupNames: [a], stableRulesetName: r}"),
			refusal{"its name is its set", rollout("{securityGroupNames: [a, b], stableRulesetName: r}"), "spec.securityGroupNames", "another set of groups has another Rollout"},
		},
		"RolloutStableLost": {
			rollout("{securityGroupNames: [a], stableRulesetName: r}"),
			refusal{"hosts go back to it", rollout("{securityGroupNames: [a], candidateRulesetName: s, bound: '0000000000000000'}"), "spec.stableRulesetName", "not taken away"},
		},
		"RolloutStep": {
			rollout("{securityGroupNames: [a], stableRulesetName: r, candidateRulesetName: s, bound: '1000000000000000'}"),
			refusal{"a candidate becomes stable", rollout("{securityGroupNames: [a], stableRulesetName: s}"), "", ""},
		},
		"SliceGroup": {
			object("AddressSlice", "{securityGroupName: a}"),
			refusal{"watchers of the group would not see it go", object("AddressSlice", "{securityGroupName: b}"), "spec.securityGroupName", "make another AddressSlice"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := all[kindOf(t, tc.before)]
			before, _ := accept(t, s, tc.before)
			after, _ := s.read(t, tc.text)
			errs := s.update(t.Context(), before, after)
			switch {
			case tc.says != "":
				tc.check(t, errs)
			case len(errs) > 0:
				t.Errorf("%s\n%v", tc.reason, errs)
			}
		})
	}
}

// TestRepair checks that an object which an earlier schema let in can still be
// changed elsewhere: a rule that is wrong in one list does not lock the other.
func TestRepair(t *testing.T) {
	s := servers(t)["SecurityGroup"]
	before, _ := s.read(t, object("SecurityGroup", "{vpcName: prod, ingress: [{protocol: TCP, peer: {cidr: 10.0.0.0/8}}]}"))
	after, _ := s.read(t, object("SecurityGroup", "{vpcName: prod, management: Managed, ingress: [{protocol: TCP, peer: {cidr: 10.0.0.0/8}}]}"))
	for _, err := range s.update(t.Context(), before, after) {
		t.Error(err)
	}
}

func kindOf(t *testing.T, text string) string {
	t.Helper()
	var head struct{ Kind string }
	if err := yaml.Unmarshal([]byte(text), &head); err != nil {
		t.Fatalf("%v in\n%.500s", err, text)
	}
	return head.Kind
}
