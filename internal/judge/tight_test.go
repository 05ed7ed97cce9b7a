package judge_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/rules"
)

func tighten(t *testing.T, r *discover.Report, wish judge.TightWish) *judge.Tight {
	t.Helper()
	tight, err := judge.Tighten(&convert.Cluster{ID: "shop"}, r, wish)
	if err != nil {
		t.Fatal(err)
	}
	return tight
}

func ruleLines(g *rules.Group) []string {
	var out []string
	for _, list := range [][]rules.Rule{g.Ingress, g.Egress} {
		for _, r := range list {
			out = append(out, fmt.Sprintf("%s %s %s %s %s", r.Direction, r.Action, r.Protocol, r.Ports, r.Peer))
		}
	}
	return out
}

func TestTighten(t *testing.T) {
	r := report(t, runningCluster, strict())
	for name, tc := range map[string]struct {
		reason string
		wish   judge.TightWish
		want   []string
	}{
		"Advanced": {
			"each need once a direction, to the very addresses, neighbours joined", judge.TightWish{Type: rules.Advanced, Class: discover.Essential}, []string{
				"ingress accept TCP 6443/6443 10.0.0.11", "ingress accept TCP 6443/6443 10.0.0.12", "ingress accept TCP 9443/9443 10.0.0.11", "ingress accept TCP 10250/10250 10.0.0.11",
				"ingress accept UDP 8472/8472 10.0.0.11", "ingress accept UDP 8472/8472 10.0.0.12",
				"egress accept TCP 6443/6443 10.0.0.11", "egress accept TCP 9443/9443 10.0.0.12", "egress accept TCP 10250/10250 10.0.0.11", "egress accept TCP 10250/10250 10.0.0.12",
				"egress accept UDP 8472/8472 10.0.0.11", "egress accept UDP 8472/8472 10.0.0.12",
			},
		},
		"Basic": {
			"what a basic group lets out by default is dropped; few rules let a little more in", judge.TightWish{Type: rules.Basic, Class: discover.Essential, MaxRules: 10}, []string{
				"ingress accept TCP 6443/6443 10.0.0.8/29", "ingress accept TCP 9443/9443 10.0.0.11", "ingress accept TCP 10250/10250 10.0.0.11", "ingress accept UDP 8472/8472 10.0.0.8/29",
				"egress accept TCP 6443/6443 10.0.0.11", "egress accept TCP 9443/9443 10.0.0.12", "egress accept TCP 10250/10250 10.0.0.8/29", "egress accept UDP 8472/8472 10.0.0.8/29",
				"egress drop ALL -1/-1 0.0.0.0/0", "egress drop ALL -1/-1 ::/0",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tight := tighten(t, r, tc.wish)
			if got := ruleLines(&tight.Group); !slices.Equal(got, tc.want) {
				t.Errorf("%s\ngot:\n%s\nwant:\n%s", tc.reason, strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
	if _, err := judge.Tighten(&convert.Cluster{ID: "shop"}, r, judge.TightWish{Type: rules.Advanced, MaxRules: 5}); err == nil || !strings.Contains(err.Error(), "rules at least") {
		t.Errorf("too few rules: %v", err)
	}
}

// TestTightenedGroupsHaveNothingMissing: the command's two halves agree, at any
// size: a group that is made from needs has every one of them, and within its
// quota as few addresses more as that takes.
func TestTightenedGroupsHaveNothingMissing(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	for _, nodes := range []int{1, 3, 40, 700} {
		var b strings.Builder
		b.WriteString(runningCluster + strict())
		for i := range nodes {
			fmt.Fprintf(&b, "apiVersion: v1\nkind: Node\nmetadata: {name: n-%d}\nstatus: {addresses: [{type: InternalIP, address: 10.0.%d.%d}], daemonEndpoints: {kubeletEndpoint: {Port: 10250}}}\n---\n", i, random.IntN(16), random.IntN(256))
		}
		r := report(t, b.String())
		for _, kind := range []rules.GroupType{rules.Basic, rules.Advanced} {
			for _, most := range []int{20, 200, 1000} {
				tight := tighten(t, r, judge.TightWish{Type: kind, MaxRules: most})
				if n := len(tight.Group.Ingress) + len(tight.Group.Egress); n > most {
					t.Errorf("%d nodes: %d rules: want at most %d", nodes, n, most)
				}
				var texts []string
				for _, text := range ruleLines(&tight.Group) {
					f := strings.Fields(text)
					prio := 1
					if f[1] == "drop" {
						prio = 100
					}
					texts = append(texts, rule(map[string]string{"accept": "Accept", "drop": "Drop"}[f[1]], prio, f[2], f[3], strconv.Quote(f[4])))
				}
				in, out := texts[:len(tight.Group.Ingress)], texts[len(tight.Group.Ingress):]
				inv := parse(t, vpcObject()+
					object("Cluster", "shop", "vpcName: prod", "network: {mode: Flannel, encapsulation: VXLAN, nodeSubnets: [nodes]}", "apiServer: {addresses: [10.0.0.11]}", "securityGroup: {name: nodes}")+
					object("SecurityGroup", "nodes", "vpcName: prod", "type: "+map[rules.GroupType]string{rules.Basic: "Basic\n  innerAccess: Drop", rules.Advanced: "Advanced"}[kind],
						"ingress: ["+strings.Join(in, ", ")+"]", "egress: ["+strings.Join(out, ", ")+"]"))
				if got := demands(check(t, inv, r)); len(got) > 0 {
					t.Errorf("%d nodes, %v, at most %d rules: %v", nodes, kind, most, got)
				}
			}
		}
	}
}

// TestTightenSaysWhatIsLeft: a need without addresses is told, not dropped.
func TestTightenSaysWhatIsLeft(t *testing.T) {
	r := report(t, runningCluster, `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: far}
webhooks: [{name: far.example, clientConfig: {url: "https://hooks.example.com:8443/x"}}]
`)
	tight := tighten(t, r, judge.TightWish{Type: rules.Advanced, Class: discover.Essential})
	if len(tight.Left) != 1 || tight.Left[0].Need.To.Name != "hooks.example.com" || !strings.Contains(tight.Left[0].Why, "not known") {
		t.Errorf("left %+v", tight.Left)
	}
	if slices.ContainsFunc(tight.Widened, netip.Prefix.IsValid) {
		t.Errorf("widened %v", tight.Widened)
	}
}
