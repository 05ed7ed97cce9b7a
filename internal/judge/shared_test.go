package judge_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// These are cases in which several clusters, node pools or hosts share groups:
// what is right for one may be wrong for another.

func vpcObject() string {
	return "apiVersion: ringfence.dev/v1alpha1\nkind: VPC\nmetadata: {name: prod}\n" +
		"spec: {cidrBlock: 10.0.0.0/16, subnets: [{name: nodes, cidrBlock: 10.0.0.0/24}]}\n"
}

func clusterObject(name, group string, more ...string) string {
	return object("Cluster", name, append([]string{
		"vpcName: prod", "network: {mode: Terway, nodeSubnets: [nodes], podSubnets: [nodes]}", "apiServer: {addresses: [10.0.0.200]}", "securityGroup: " + group,
	}, more...)...)
}

func poolObject(cluster, name, group string) string {
	return object("NodePool", name, "clusterName: "+cluster, "subnets: [nodes]", "securityGroup: "+group)
}

func hostObject(name, address string, more ...string) string {
	return object("Host", name, append([]string{"addresses: [" + address + "]"}, more...)...)
}

func groupObject(name string, ingress ...string) string {
	return object("SecurityGroup", name, "vpcName: prod", "type: Basic", "innerAccess: Drop", "ingress: ["+strings.Join(ingress, ", ")+"]")
}

func object(kind, name string, spec ...string) string {
	return fmt.Sprintf("---\napiVersion: ringfence.dev/v1alpha1\nkind: %s\nmetadata: {name: %s}\nspec:\n  %s\n", kind, name, strings.Join(spec, "\n  "))
}

func rule(policy string, priority int, protocol, ports, cidr string) string {
	return fmt.Sprintf("{policy: %s, priority: %d, protocol: %s, ports: %s, peer: {cidr: %s}}", policy, priority, protocol, ports, cidr)
}

// madeRules are the ingress rules of the group that a cluster would get.
func madeRules(t *testing.T, cluster string) []string {
	t.Helper()
	inv := complete(t, parse(t, vpcObject()+cluster))
	g, _ := inv.Group(inv.Clusters[0].Group)
	var out []string
	for _, r := range g.Ingress {
		out = append(out, rule("Accept", int(r.Priority), r.Protocol.String(), r.Ports.String(), r.Peer.String()))
	}
	return out
}

func judged(t *testing.T, inv *convert.Inventory) *judge.Report {
	t.Helper()
	report, err := judge.Check(inv, load(t), judge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

const (
	least       = "{type: Basic, innerAccess: Drop, profile: LeastPrivilege}"
	leastInner  = "{type: Basic, profile: LeastPrivilege}"
	existing    = "{name: web, profile: LeastPrivilege}"
	wide        = "10.0.0.0/8"
	kubeletPort = "10250/10250"
)

// TestPoolsReachEachOther has the nodes of one cluster in several groups, each
// of which lets its own members in, and nobody else, by inner access.
func TestPoolsReachEachOther(t *testing.T) {
	for name, tc := range map[string]struct{ cluster, pools string }{
		"OwnGroups": {clusterObject("shop", leastInner), poolObject("shop", "blue", "{type: Basic}") + poolObject("shop", "green", "{type: Basic}")},
		"Mixed":     {clusterObject("shop", leastInner), poolObject("shop", "blue", "{type: Advanced}") + poolObject("shop", "green", "{type: Basic}")},
		"PodGroups": {strings.Replace(clusterObject("shop", leastInner), "podSubnets: [nodes]", "podSubnets: [nodes], podSecurityGroupNames: [pods]", 1), groupObject("pods", madeRules(t, clusterObject("shop", least))...)},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := hostObject("b1", "10.0.0.11", "clusterName: shop", "nodePoolName: blue") + hostObject("g1", "10.0.0.12", "clusterName: shop", "nodePoolName: green")
			if name == "PodGroups" {
				hosts = ""
			}
			inv := complete(t, parse(t, vpcObject()+tc.cluster+tc.pools+hosts))
			if report := judged(t, inv); len(report.Missing) > 0 || report.Fails(rules.Low) {
				t.Errorf("the groups that are made lack %+v, excess %+v, findings %+v", report.Missing, report.Excess, report.Findings)
			}
			// Whoever has nothing but inner access has no DNS from the next pool.
			for i := range inv.Groups {
				if inv.Groups[i].Name != "pods" {
					inv.Groups[i].Ingress = nil
				}
			}
			var dns int
			for _, it := range judged(t, inv).Missing {
				if it.Ports == "53/53" && it.Direction == rules.Ingress {
					dns++
				}
			}
			if dns == 0 {
				t.Error("groups without rules lack no DNS between pools")
			}
		})
	}
}

// TestFixesSuitEverybody checks what is offered where groups are shared.
func TestFixesSuitEverybody(t *testing.T) {
	made := madeRules(t, clusterObject("shop", least))
	without := func(list []string, port string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(r string) bool { return strings.Contains(r, port) })
	}
	hook := rule("Accept", 1, "TCP", "8443/8443", "10.0.0.0/24")
	for name, tc := range map[string]struct {
		reason string
		input  string
		id     string // of the item
		why    string
		fixes  bool
		above  rules.Severity
	}{
		"ExcessOfOneNeededByTheOther": {
			reason: "to remove the webhook's rule because cluster one has none would cut that of cluster two",
			input:  clusterObject("one", existing) + clusterObject("two", existing, "webhookPorts: [8443]") + groupObject("web", append(made, hook)...),
			id:     fmt.Sprintf("web/ingress/%d", len(made)+1), why: "needed here, but some of it by cluster two", above: rules.Info,
		},
		"ExcessOfAll": {
			reason: "what nobody needs goes",
			input:  clusterObject("one", existing) + clusterObject("two", existing) + groupObject("web", append(made, hook)...),
			id:     fmt.Sprintf("web/ingress/%d", len(made)+1), why: "nothing that rule", fixes: true, above: rules.Low,
		},
		"RedundantForOneSetOnly": {
			reason: "a rule that another group of one pool makes redundant is all that the cluster's own hosts have",
			input: clusterObject("one", existing) + groupObject("web", append(without(made, kubeletPort), rule("Accept", 10, "TCP", kubeletPort, "10.0.0.0/24"))...) +
				groupObject("more", rule("Accept", 1, "TCP", kubeletPort, "10.0.0.0/24")) + poolObject("one", "blue", "{names: [web, more]}"),
			id: rules.RedundantRule, why: "would cut what is needed by cluster one", above: rules.Low,
		},
		"MovedDropOpensForAStranger": {
			reason: "the drop in the way of the cluster's host is what keeps the database closed",
			input: clusterObject("one", existing) + groupObject("web", made...) + groupObject("closed", rule("Drop", 1, "TCP", "1/65535", "0.0.0.0/0")) +
				groupObject("open", rule("Accept", 1, "TCP", "3306/3306", "0.0.0.0/0")) +
				hostObject("node", "10.0.0.11", "clusterName: one", "securityGroupNames: [closed, web]") + hostObject("db", "10.0.0.99", "securityGroupNames: [closed, open]"),
			id: "BI-L1", why: "careful: the fix also opens more for db", fixes: true, above: rules.High,
		},
		"MovedAcceptKeepsWhatItMet": {
			reason: "an accept that must make room for a drop has met another need until now",
			input: clusterObject("one", existing) + groupObject("web",
				append(without(without(made, kubeletPort), " 53/53"), rule("Accept", 1, "TCP", "1/65535", "10.0.0.0/16"), rule("Accept", 1, "UDP", "53/53", "10.0.0.0/24"),
					rule("Drop", 1, "TCP", kubeletPort, "10.0.0.0/24"), rule("Drop", 2, "TCP", "53/53", "10.0.0.0/24"))...),
			id: "BI-L3", why: "drops it", fixes: true, above: rules.High,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inv := parse(t, vpcObject()+tc.input)
			report := judged(t, inv)
			all := slices.Concat(report.Missing, report.Excess, report.Findings)
			i := slices.IndexFunc(all, func(it judge.Item) bool { return it.ID == tc.id && strings.Contains(it.Why, tc.why) })
			if i < 0 {
				t.Fatalf("%s\nno item %s that says %q in %+v", tc.reason, tc.id, tc.why, all)
			}
			if it := &all[i]; (len(it.Fix) > 0) != tc.fixes || it.Severity != tc.above {
				t.Errorf("%s\nseverity %s, fix %+v", tc.reason, it.Severity, it.Fix)
			}
			follow(t, inv, report)
		})
	}
}

// follow makes every edit of a report and checks that nobody lacks anything.
func follow(t *testing.T, inv *convert.Inventory, report *judge.Report) {
	t.Helper()
	var done []rules.Edit
	for _, it := range slices.Concat(report.Missing, report.Excess, report.Findings) {
		for _, e := range it.Fix {
			if !slices.Contains(done, e) {
				done = append(done, e)
			}
		}
	}
	slices.SortStableFunc(done, func(a, b rules.Edit) int { // additions before removals
		if a.Remove == b.Remove {
			return 0
		} else if b.Remove {
			return -1
		}
		return 1
	})
	for _, e := range done {
		i := slices.IndexFunc(inv.Groups, func(g convert.Group) bool { return g.Name == e.Group })
		g := &inv.Groups[i]
		if !e.Remove {
			g.AppendAt(e.Rule, g.Place)
			continue
		}
		list := map[rules.Direction]*[]rules.Rule{rules.Ingress: &g.Ingress, rules.Egress: &g.Egress}[e.Rule.Direction]
		*list = slices.DeleteFunc(*list, func(r rules.Rule) bool { return r == e.Rule })
	}
	if after := judged(t, inv); len(after.Missing) > 0 {
		t.Errorf("after the advice is missing: %+v", after.Missing)
	}
}

// TestEverySetCounts has one need unmet in two sets for two reasons: both are
// told, each with its own fix.
func TestEverySetCounts(t *testing.T) {
	made := madeRules(t, clusterObject("shop", least))
	var low []string
	for _, r := range made {
		if !strings.Contains(r, kubeletPort) {
			low = append(low, r)
		}
	}
	low = append(low, rule("Drop", 50, "TCP", kubeletPort, "10.0.0.0/16"))
	inv := parse(t, vpcObject()+clusterObject("one", existing)+groupObject("web", low...)+
		groupObject("more", rule("Drop", 10, "TCP", kubeletPort, "10.0.0.0/25"))+groupObject("nil")+
		poolObject("one", "blue", "{names: [web, more]}")+poolObject("one", "green", "{names: [web, nil]}"))
	report := judged(t, inv)
	var priorities []uint8
	var who []string
	for _, it := range report.Missing {
		priorities, who = append(priorities, it.Fix[0].Rule.Priority), append(who, strings.Join(it.Who, "+"))
	}
	if want := []uint8{49, 9}; !slices.Equal(priorities, want) || report.Unmet != 3 || who[0] != "cluster one+node pool green of cluster one" {
		t.Errorf("fixes of priorities %v, unmet %d, who %q; want %v, 3, and who shares the first", priorities, report.Unmet, who, want)
	}
	follow(t, inv, report)
}

// TestPoolsOwnProfile has a pool whose group follows another profile than the
// cluster's: what its rows let through is no excess above info.
func TestPoolsOwnProfile(t *testing.T) {
	inv := complete(t, parse(t, vpcObject()+clusterObject("shop", "{type: Advanced, profile: LeastPrivilege}")+
		poolObject("shop", "blue", "{type: Advanced, profile: Recommended}")))
	if report := judged(t, inv); report.Fails(rules.Low) {
		t.Errorf("excess %+v, findings %+v", report.Excess, report.Findings)
	}
}

// TestMadeGroupsStayWithinLimits checks that a group that nobody could wear is
// refused before it is made.
func TestMadeGroupsStayWithinLimits(t *testing.T) {
	var pools string
	for i := range 30 {
		pools += poolObject("shop", fmt.Sprintf("p%d", i), "{type: Basic}")
	}
	inv := complete(t, parse(t, vpcObject()+clusterObject("shop", leastInner)+pools))
	if report := judged(t, inv); report.Fails(rules.Low) {
		t.Errorf("31 groups: missing %+v, excess %+v, findings %+v", report.Missing, report.Excess, report.Findings)
	}
	var ports []string
	for i := range 600 {
		ports = append(ports, fmt.Sprintf("{protocol: TCP, ports: %d/%d, cidrs: [192.0.2.0/24, 203.0.113.0/24]}", 20000+i, 20000+i))
	}
	_, err := judge.Complete(parse(t, vpcObject()+clusterObject("shop", leastInner, "exposures: ["+strings.Join(ports, ", ")+"]")), load(t))
	if err == nil || !strings.Contains(err.Error(), "at most 1000") {
		t.Errorf("1,200 exposures: %v, want a word about the limit", err)
	}
}

// TestExcessIsGradedByTheWorst has rules that let in insiders first and the
// internet later.
func TestExcessIsGradedByTheWorst(t *testing.T) {
	made := madeRules(t, clusterObject("shop", least))
	list := object("PrefixList", "both", "entries: [{cidr: 10.1.0.0/16}, {cidr: 203.0.113.0/24}]")
	for name, tc := range map[string]struct {
		peer string
		want rules.Severity
	}{
		"PrefixList":    {"{prefixListName: both}", rules.Medium},
		"WiderThanTen":  {"{cidr: 10.0.0.0/7}", rules.Medium},
		"Private":       {"{cidr: 10.0.0.0/8}", rules.Low},
		"CarrierShared": {"{cidr: 100.64.0.0/10}", rules.Low},
		"IPv6Local":     {"{cidr: fd00::/8}", rules.Low},
		"IPv6":          {"{cidr: 2001:db8::/32}", rules.Medium},
	} {
		t.Run(name, func(t *testing.T) {
			extra := strings.Replace(rule("Accept", 1, "TCP", "9999/9999", wide), "{cidr: "+wide+"}", tc.peer, 1)
			report := judged(t, parse(t, vpcObject()+list+clusterObject("one", existing)+groupObject("web", append(made, extra)...)))
			i := slices.IndexFunc(report.Excess, func(it judge.Item) bool { return it.Ports == "9999/9999" })
			if i < 0 || report.Excess[i].Severity != tc.want {
				t.Errorf("excess %+v, want severity %s", report.Excess, tc.want)
			}
		})
	}
}

// TestExcessExampleIsNoNeed checks that the packet shown for a rule that is too
// wide is not one that somebody needs.
func TestExcessExampleIsNoNeed(t *testing.T) {
	inv := parse(t, vpcObject()+clusterObject("one", existing, "webhookPorts: [443]")+groupObject("web", "{policy: Accept, priority: 1, protocol: ALL, peer: {cidr: 10.0.0.0/16}}"))
	report := judged(t, inv)
	i := slices.IndexFunc(report.Excess, func(it judge.Item) bool { return it.ID == "web/ingress/1" })
	if i < 0 || report.Excess[i].Example.Port == 443 || report.Excess[i].Example.Protocol != rules.TCP {
		t.Errorf("excess %+v, want another TCP port than 443", report.Excess)
	}
}

// TestAdviceKnowsNoOrder checks that rules of one priority get the same advice
// in any order.
func TestAdviceKnowsNoOrder(t *testing.T) {
	made := madeRules(t, clusterObject("shop", least))
	broad := rule("Accept", 1, "TCP", "1/65535", "10.0.0.0/8")
	var first []string
	for i, list := range [][]string{append([]string{broad}, made...), append(slices.Clone(made), broad)} {
		var got []string
		report := judged(t, parse(t, vpcObject()+clusterObject("one", existing)+groupObject("web", list...)))
		for _, it := range slices.Concat(report.Missing, report.Excess, report.Findings) {
			got = append(got, fmt.Sprint(it.Severity, it.Protocol, it.Ports, it.Peer, len(it.Fix)))
		}
		slices.Sort(got)
		if i > 0 && !slices.Equal(got, first) {
			t.Errorf("the broad rule last: %q\nfirst: %q", got, first)
		}
		first = got
	}
}

// TestDiffComparesWhatItCan has one side that knows groups and no cluster.
func TestDiffComparesWhatItCan(t *testing.T) {
	made := madeRules(t, clusterObject("shop", least))
	whole := parse(t, vpcObject()+clusterObject("one", existing)+groupObject("web", made...))
	for name, tc := range map[string]struct {
		reason     string
		updated    string
		cut        bool
		incomplete bool
	}{
		"RulesGone":  {"the cluster of OLD needs the rules that NEW lacks", groupObject("web"), true, false},
		"Same":       {"nothing changes, and all of it was compared", groupObject("web", made...), false, false},
		"GroupGone":  {"a group that NEW does not hold cannot be compared", groupObject("other"), false, true},
		"NewCluster": {"a cluster that only NEW has wears the group of OLD", clusterObject("two", existing) + groupObject("web", made[1:]...), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := judge.Compare(whole, parse(t, vpcObject()+tc.updated), load(t))
			if err != nil {
				t.Fatal(err)
			}
			cut := slices.ContainsFunc(c.Differences, func(d judge.Difference) bool { return len(d.NeedsCut) > 0 })
			if cut != tc.cut || c.Incomplete != tc.incomplete || len(c.Notes) == 0 {
				t.Errorf("%s: cut %t, incomplete %t, notes %q", tc.reason, cut, c.Incomplete, c.Notes)
			}
		})
	}
}

// TestUnknownClusterStopsNoOther has one cluster that cannot be judged, beside
// one that can.
func TestUnknownClusterStopsNoOther(t *testing.T) {
	inv := parse(t, vpcObject()+clusterObject("one", existing)+clusterObject("two", existing)+groupObject("web"))
	inv.Clusters[0].Unknown = []convert.Fact{convert.FactMode}
	inv.Clusters[0].Facts.Mode = ""
	report := judged(t, inv)
	if !slices.ContainsFunc(report.Findings, func(it judge.Item) bool { return it.Severity == rules.High && it.Cluster == "one" }) || len(report.Missing) == 0 {
		t.Errorf("missing %+v, findings %+v; want the needs of two and a finding about one", report.Missing, report.Findings)
	}
}

// TestRulesForAPoolsGroupCloseTheLoop makes the group of a pool by the facts
// for that group, and finds nothing missing.
func TestRulesForAPoolsGroupCloseTheLoop(t *testing.T) {
	inv := parse(t, vpcObject()+clusterObject("one", existing)+groupObject("web", madeRules(t, clusterObject("shop", least))...)+
		groupObject("own")+poolObject("one", "blue", "{names: [own]}"))
	g, _ := inv.Group("own")
	f, scope := judge.GroupFacts(inv, &inv.Clusters[0], &g.Group)
	e, err := load(t).Expand(&f, scope)
	if err != nil {
		t.Fatal(err)
	}
	if scope != profiles.LeastPrivilege {
		t.Errorf("profile %q, want the cluster's", scope)
	}
	for _, r := range e.Rules {
		g.AppendAt(r, g.Place)
	}
	if report := judged(t, inv); report.Fails(rules.Low) {
		t.Errorf("missing %+v, excess %+v, findings %+v", report.Missing, report.Excess, report.Findings)
	}
}

// TestEtcdHostsMakeEtcdNeeded checks that a host with role Etcd says that its
// cluster has members of etcd: the group that is made lets them reach each other.
func TestEtcdHostsMakeEtcdNeeded(t *testing.T) {
	for role, want := range map[string]bool{"Etcd": true, "Worker": false} {
		inv := complete(t, parse(t, vpcObject()+clusterObject("shop", leastInner)+poolObject("shop", "blue", "{}")+
			hostObject("e1", "10.0.0.11", "clusterName: shop", "nodePoolName: blue", "roles: ["+role+"]")))
		g, _ := inv.Group("shop")
		got := slices.ContainsFunc(g.Ingress, func(r rules.Rule) bool { return r.Ports.First == 2379 })
		if got != want {
			t.Errorf("a host with role %s: the group lets etcd through: %t", role, got)
		}
	}
}
