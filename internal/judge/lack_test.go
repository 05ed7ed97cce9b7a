package judge_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/rules"
)

// TestHost asks what one host lacks, and which of the flows that were seen
// belong to that.
func TestHost(t *testing.T) {
	flow := func(d rules.Direction, remote string, p rules.Protocol, port uint16) rules.Flow {
		return rules.Flow{Direction: d, Local: netip.MustParseAddr("10.0.0.11"), Remote: netip.MustParseAddr(remote), Protocol: p, Port: port}
	}
	seen := []rules.Flow{
		flow(rules.Ingress, "10.0.0.200", rules.TCP, 10250),     // 0: the API server asks the kubelet
		flow(rules.Ingress, "198.51.100.7", rules.TCP, 22),      // 1: nobody needs it
		flow(rules.Egress, "10.0.0.200", rules.TCP, 6443),       // 2: to the API server
		flow(rules.Egress, "198.51.100.7", rules.TCP, 25),       // 3: nobody needs it
		flow(rules.Ingress, "172.20.3.4", rules.UDP, 53),        // 4: a pod asks for DNS
		flow(rules.Ingress, "10.0.0.12", rules.Protocol(51), 0), // 5: nobody needs it
	}
	closed := "---\napiVersion: ringfence.dev/v1alpha1\nkind: SecurityGroup\nmetadata: {name: closed}\nspec: {vpcName: prod, type: Advanced}\n"
	for name, tc := range map[string]struct {
		reason, group          string
		asked, others, passing []int
	}{
		"Closed":  {"nothing passes: all that is needed is lacking", "{name: closed}", []int{0, 2, 4}, []int{1, 3, 5}, nil},
		"Web":     {"members and pods are let in, and egress is open: that is all a basic group needs", "{name: web}", nil, []int{0, 1, 5}, []int{2, 3, 4}},
		"Profile": {"what the profile makes lacks nothing", "{type: Advanced, profile: LeastPrivilege}", nil, []int{1, 3, 5}, []int{0, 2, 4}},
	} {
		inv := complete(t, world(t, tc.group, "{}", closed))
		r, err := judge.Host(inv, load(t), "node-1", seen)
		if err != nil {
			t.Fatal(err)
		}
		asked := map[int]bool{}
		for _, l := range r.Lacks {
			for _, i := range l.Seen {
				asked[i] = true
				f := &seen[i]
				if l.Direction != f.Direction || l.Protocol != f.Protocol.String() && l.Protocol != "ALL" {
					t.Errorf("%s: flow %d is told of need %s %s %s %s", name, i, l.ID, l.Direction, l.Protocol, l.Ports)
				}
			}
			if len(l.Fix) > 0 || l.Example == nil {
				t.Errorf("%s: %+v: want an example, and no fix", name, l)
			}
		}
		for i := range seen {
			if asked[i] != slices.Contains(tc.asked, i) {
				t.Errorf("%s: %s: flow %d is needed and dropped: %t", name, tc.reason, i, asked[i])
			}
		}
		if !slices.Equal(r.Others, tc.others) || !slices.Equal(r.Passing, tc.passing) || r.Needs == 0 || name == "Profile" && len(r.Lacks) > 0 {
			t.Errorf("%s: %s: others %v, passing %v, %d lacks of %d needs", name, tc.reason, r.Others, r.Passing, len(r.Lacks), r.Needs)
		}
		report, err := judge.Check(inv, load(t), judge.Options{})
		if err != nil || (len(report.Missing) == 0) != (len(r.Lacks) == 0) {
			t.Errorf("%s: check finds %d missing needs (%v), of the host it is %d", name, len(report.Missing), err, len(r.Lacks))
		}
	}
	alone := "---\napiVersion: ringfence.dev/v1alpha1\nkind: Host\nmetadata: {name: alone}\nspec: {addresses: [10.0.0.99], securityGroupNames: [closed]}\n"
	inv := complete(t, world(t, "{name: web}", "{}", closed+alone))
	for host, want := range map[string]string{"alone": "is of no cluster", "nobody": "there is no Host nobody"} {
		if _, err := judge.Host(inv, load(t), host, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", host, err, want)
		}
	}
}
