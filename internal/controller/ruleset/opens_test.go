package ruleset

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/profiles"
)

func TestOnlyOpens(t *testing.T) {
	tables, err := profiles.Load()
	if err != nil {
		t.Fatal(err)
	}
	rule := func(policy v1alpha1.Policy, priority int32, protocol, ports, peer string) v1alpha1.RulesetRule {
		r := v1alpha1.RulesetRule{By: "web/ingress/1", Policy: policy, Priority: priority, Protocol: intstr.FromString(protocol), Ports: ports}
		if peer[0] >= 'a' {
			r.GroupName = peer
		} else {
			r.CIDRs = []string{peer}
		}
		return r
	}
	const accept, drop = v1alpha1.PolicyAccept, v1alpha1.PolicyDrop
	type list = []v1alpha1.RulesetRule
	web := rule(accept, 10, "TCP", "80/80", "0.0.0.0/0")
	lan := rule(accept, 10, "TCP", "80/80", "10.0.0.0/8")
	for name, tc := range map[string]struct {
		reason      string
		old, newest list
		inner       []string
		want        bool
	}{
		"More":      {"a port more", list{web}, list{web, rule(accept, 10, "TCP", "443/443", "0.0.0.0/0")}, nil, true},
		"Less":      {"a port less", list{web}, nil, nil, false},
		"Same":      {"the same flows in other words", list{web}, list{rule(accept, 20, "TCP", "80/80", "0.0.0.0/1"), rule(accept, 20, "TCP", "80/80", "128.0.0.0/1")}, nil, true},
		"Drop":      {"a part is dropped", list{web}, list{rule(drop, 1, "TCP", "80/80", "10.0.0.0/8"), web}, nil, false},
		"SSH":       {"SSH is tried first", list{web}, list{web, rule(accept, 10, "TCP", "22/22", "192.0.2.1/32")}, nil, false},
		"EtcdRange": {"so is etcd, in a range", list{web}, list{web, rule(accept, 10, "TCP", "2380/2400", "::/0")}, nil, false},
		"All":       {"and all protocols, which are the kubelet's too", list{web}, list{web, rule(accept, 10, "ALL", "", "192.0.2.1/32")}, nil, false},
		"SSHBefore": {"SSH was open before", list{rule(accept, 10, "TCP", "22/22", "0.0.0.0/0")}, list{web, rule(accept, 10, "TCP", "22/22", "0.0.0.0/0")}, nil, true},
		"UDP":       {"2379 of UDP is nobody's", list{web}, list{web, rule(accept, 10, "UDP", "2379/2379", "0.0.0.0/0")}, nil, true},
		"Group":     {"the members of a group more", list{lan}, list{lan, rule(accept, 10, "TCP", "80/80", "db")}, nil, true},
		"GroupLess": {"a group less, whose members may lie anywhere", list{lan, rule(accept, 10, "TCP", "80/80", "db")}, list{lan}, nil, false},
		"GroupIsWithin": {
			"a group less, whose members reach it anyway",
			list{web, rule(accept, 10, "TCP", "80/80", "db"), rule(accept, 10, "TCP", "80/80", "::/0")},
			list{web, rule(accept, 10, "TCP", "80/80", "::/0")},
			nil, true,
		},
		"GroupDrop": {"members may lie in the CIDR that is let in", list{lan}, list{rule(drop, 1, "TCP", "80/80", "db"), lan}, nil, false},
		"InBoth": {
			"somebody may be in both groups",
			list{rule(accept, 10, "TCP", "80/80", "app")},
			list{rule(drop, 1, "TCP", "80/80", "db"), rule(accept, 10, "TCP", "80/80", "app")},
			nil, false,
		},
		"GroupMoved": {"a CIDR for a group: members may lie elsewhere", list{rule(accept, 10, "TCP", "80/80", "db")}, list{lan}, nil, false},
		"GroupSwap":  {"one group for another", list{rule(accept, 10, "TCP", "80/80", "db")}, list{rule(accept, 10, "TCP", "80/80", "app")}, nil, false},
		"DropAboveGroup": {
			"a drop that only members pass by now",
			list{rule(accept, 10, "TCP", "80/80", "db"), web},
			list{rule(drop, 5, "TCP", "80/80", "10.0.0.0/8"), rule(accept, 10, "TCP", "80/80", "db"), web},
			nil, false,
		},
		"Inner": {"inner access opens SSH to members", list{web}, list{web}, []string{"web"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			spec := func(rules list, inner []string) *v1alpha1.RulesetSpec {
				return &v1alpha1.RulesetSpec{SecurityGroupNames: []string{"web"}, Type: v1alpha1.GroupTypeBasic, InnerAccessGroupNames: inner, Ingress: rules}
			}
			if got := onlyOpens(spec(tc.old, nil), spec(tc.newest, tc.inner), tables.Exempt()); got != tc.want {
				t.Errorf("%s: onlyOpens = %t", tc.reason, got)
			}
		})
	}
}
