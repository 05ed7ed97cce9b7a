package profiles_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

func TestRowsAreThePages(t *testing.T) {
	want := []string{
		"BI-R1", "BI-R2", "BI-L1", "BI-L2", "BI-L3", "BI-L4", "BI-L5", "BO-R1", "BO-L1", "BO-L2", "BO-L3", "BO-L4",
		"AI-R1", "AI-R2", "AI-L1", "AI-L2", "AI-L3", "AI-L4", "AI-L5", "AO-R1", "AO-L1", "AO-L2", "AO-L3", "AO-L4",
	}
	extra := []string{
		"BO-L3W", "AO-L3W", "X-HOOK-I", "X-HOOK-O",
		"X-VXLAN-I", "X-VXLAN-O", "X-GENEVE-I", "X-GENEVE-O", "X-IPIP-I", "X-IPIP-O", "X-WG-I", "X-WG-O", "X-WG6-I", "X-WG6-O",
		"X-BGP-I", "X-BGP-O", "X-ETCD-I", "X-ETCD-O", "X-NODEPORT-I", "X-HEALTH-I", "X-SSH-I", "X-NTP-O", "X-META-O",
		"X-DHCP-I", "X-DHCP-O", "X-DHCP6-I", "X-DHCP6-O", "BO-L9",
	}
	got := map[string][]string{}
	for _, r := range mustLoad(t).Rows() {
		got[r.File] = append(got[r.File], r.ID)
	}
	if diff := cmp.Diff(map[string][]string{"tables/ack.yaml": want, "tables/extra.yaml": extra}, got); diff != "" {
		t.Errorf("Rows(): -want +got:\n%s", diff)
	}
}

func TestRowsExplainThemselves(t *testing.T) {
	seen := map[int]bool{}
	for _, r := range mustLoad(t).Rows() {
		if r.Origin() == "" || r.Line == 0 {
			t.Errorf("row %s: origin %q, line %d: each row says where it comes from", r.ID, r.Origin(), r.Line)
		}
		if len(r.Ports) == 0 && (r.Component == "" || r.Why == "") {
			t.Errorf("row %s: no component or why", r.ID)
		}
		for _, p := range r.Ports {
			if p.Component == "" || p.Why == "" {
				t.Errorf("row %s: port %v: no component or why", r.ID, p.Range)
			}
		}
		if direction := map[string]rules.Direction{"BI": rules.Ingress, "AI": rules.Ingress, "BO": rules.Egress, "AO": rules.Egress}; r.ID[1] != '-' {
			if want := direction[r.ID[:2]]; r.Direction != want {
				t.Errorf("row %s: direction %s, its id says %s", r.ID, r.Direction, want)
			}
			if (r.ID[0] == 'A') != slices.Equal(r.GroupTypes, []rules.GroupType{rules.Advanced}) {
				t.Errorf("row %s: group types %v do not suit its id", r.ID, r.GroupTypes)
			}
			if (r.ID[3] == 'R') != (r.Scope == profiles.Recommended) {
				t.Errorf("row %s: scope %s does not suit its id", r.ID, r.Scope)
			}
		} else if strings.HasSuffix(r.ID, "-O") != (r.Direction == rules.Egress) {
			t.Errorf("row %s: direction %s, its id says otherwise", r.ID, r.Direction)
		}
		if len(r.Readings) > 0 && r.File == "tables/ack.yaml" && r.Note == "" {
			t.Errorf("row %s: readings %v but no note", r.ID, r.Readings)
		}
		for _, n := range r.Readings {
			seen[n] = true
		}
	}
	for n := 1; n <= 17; n++ {
		if !seen[n] {
			t.Errorf("reading %d: no row names it", n)
		}
	}
}

func TestExpandIsLegal(t *testing.T) {
	for name, mk := range clusters() {
		for _, s := range scopes() {
			t.Run(name+string(s), func(t *testing.T) {
				f := mk()
				e := expand(t, f, s)
				var seen []string
				for i, r := range e.Rules {
					if why := illegal(r, f); why != "" {
						t.Errorf("rule %+v: %s", r, why)
					}
					if i > 0 && r.Direction < e.Rules[i-1].Direction {
						t.Errorf("rule %+v stands behind egress", r)
					}
					l := strings.Replace(line(r.Direction, "", r.Protocol, r.Ports, r.Peer), r.Row, "", 1) + r.Action.String()
					if slices.Contains(seen, l) {
						t.Errorf("rule %+v stands twice", r)
					}
					seen = append(seen, l)
				}
				for _, n := range e.Needs {
					if n.ID == "" || n.Component == "" || n.Why == "" || n.Source == "" || n.Peer == nil {
						t.Errorf("need %+v does not explain itself", n)
					}
					if n.Protocol.HasPorts() == n.Ports.IsZero() {
						t.Errorf("need %+v: ports do not suit the protocol", n)
					}
				}
			})
		}
	}
}

func TestBothProfilesMeetTheNeeds(t *testing.T) {
	for name, mk := range clusters() {
		t.Run(name, func(t *testing.T) {
			f := mk()
			least := expand(t, f, profiles.LeastPrivilege)
			recommended := expand(t, f, profiles.Recommended)
			if len(least.Needs) == 0 {
				t.Fatal("no needs")
			}
			for _, n := range least.Needs {
				l := line(n.Direction, n.ID, n.Protocol, n.Ports, n.Peer)
				if !admits(least.Rules, n, f) {
					t.Errorf("least privilege does not let its own need through: %s", l)
				}
				if !admits(recommended.Rules, n, f) {
					t.Errorf("recommended does not let a need through: %s", l)
				}
				if !admits(profiles.FixRules(n, f), n, f) && n.Peer != rules.Peer(rules.GroupPeer{Name: f.Group}) {
					t.Errorf("the fix does not meet the need: %s", l)
				}
			}
			for _, n := range recommended.Needs {
				if !admits(recommended.Rules, n, f) {
					t.Errorf("recommended does not let its own need through: %s", line(n.Direction, n.ID, n.Protocol, n.Ports, n.Peer))
				}
			}
		})
	}
}

func TestExpandDoesNotShare(t *testing.T) {
	tables := mustLoad(t)
	f := with(flannel(), everything)
	first, err := tables.Expand(f, profiles.LeastPrivilege)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(first.Rules)
	slices.Reverse(first.Rules)
	tables.Rows()[0] = profiles.Row{}
	tables.Exempt()[0] = rules.Exempt{}
	again, err := tables.Expand(f, profiles.LeastPrivilege)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lines(want), lines(again.Rules)); diff != "" {
		t.Errorf("Expand(...) again: what a caller does must not show: -want +got:\n%s", diff)
	}
}

// TestMinimalList counts an advanced Terway cluster with 3 node and 3 pod
// subnets and no webhooks.
func TestMinimalList(t *testing.T) {
	f := &profiles.Facts{
		Group: "sg-a", GroupType: rules.Advanced, Mode: profiles.Terway,
		VPC:         cidrs("10.0.0.0/8"),
		NodeSubnets: cidrs("10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"),
		PodSubnets:  cidrs("10.1.0.0/24", "10.1.1.0/24", "10.1.2.0/24"),
		APIServer:   cidrs("10.0.0.200"),
	}
	page, implied := 0, 0
	for _, r := range expand(t, f, profiles.LeastPrivilege).Rules {
		switch r.Row {
		case "AO-L3W":
			implied++
		default:
			page++
		}
	}
	// In: 6 subnets x (DNS by TCP and UDP, ICMP, 5 TCP ports). Out: 6 subnets
	// and the API server x (DNS by TCP and UDP, 4 TCP ports), and 100.64.0.0/10.
	if want := 6*8 + 7*6 + 1; page != want {
		t.Errorf("%d rules of the page's rows, want %d", page, want)
	}
	// What may come in on 8082 must be let out by whoever calls it: one more
	// rule for each subnet.
	if implied != 6 {
		t.Errorf("%d rules of row AO-L3W, want 6", implied)
	}
}

func TestOverlays(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		edit   func(*profiles.Facts)
		want   []string
	}{
		"FlannelVXLAN": {
			reason: "outer datagrams are never established, so both directions have a rule",
			edit:   func(f *profiles.Facts) { f.Encapsulation = profiles.VXLAN },
			want:   []string{"ingress X-VXLAN-I UDP 8472/8472 192.168.0.0/24", "egress X-VXLAN-O UDP 8472/8472 192.168.0.0/24"},
		},
		"CalicoVXLAN": {
			reason: "the registered port",
			edit:   func(f *profiles.Facts) { f.Mode, f.Encapsulation = profiles.Calico, profiles.VXLAN },
			want:   []string{"ingress X-VXLAN-I UDP 4789/4789 192.168.0.0/24", "egress X-VXLAN-O UDP 4789/4789 192.168.0.0/24"},
		},
		"PortOverride": {
			reason: "the fact wins",
			edit:   func(f *profiles.Facts) { f.Mode, f.EncapsulationPort = profiles.Cilium, 8473 },
			want:   []string{"ingress X-VXLAN-I UDP 8473/8473 192.168.0.0/24", "egress X-VXLAN-O UDP 8473/8473 192.168.0.0/24"},
		},
		"AntreaByDefault": {
			reason: "Antrea uses Geneve",
			edit:   func(f *profiles.Facts) { f.Mode = profiles.Antrea },
			want:   []string{"ingress X-GENEVE-I UDP 6081/6081 192.168.0.0/24", "egress X-GENEVE-O UDP 6081/6081 192.168.0.0/24"},
		},
		"OVNByDefaultDualStack": {
			reason: "nodes of both families",
			edit:   func(f *profiles.Facts) { f.Mode = profiles.OVNKubernetes; dualStack(f) },
			want: []string{
				"ingress X-GENEVE-I UDP 6081/6081 192.168.0.0/24", "ingress X-GENEVE-I UDP 6081/6081 2001:db8::/64",
				"egress X-GENEVE-O UDP 6081/6081 192.168.0.0/24", "egress X-GENEVE-O UDP 6081/6081 2001:db8::/64",
			},
		},
		"CalicoByDefaultDualStack": {
			reason: "IPIP is protocol 4 and has IPv4 outside",
			edit:   func(f *profiles.Facts) { f.Mode = profiles.Calico; dualStack(f) },
			want:   []string{"ingress X-IPIP-I IPIP -1/-1 192.168.0.0/24", "egress X-IPIP-O IPIP -1/-1 192.168.0.0/24"},
		},
		"CalicoWireGuardDualStack": {
			reason: "Calico has a second device for IPv6",
			edit: func(f *profiles.Facts) {
				f.Mode, f.Encapsulation = profiles.Calico, profiles.WireGuard
				dualStack(f)
			},
			want: []string{
				"ingress X-WG-I UDP 51820/51820 192.168.0.0/24", "ingress X-WG6-I UDP 51821/51821 2001:db8::/64",
				"egress X-WG-O UDP 51820/51820 192.168.0.0/24", "egress X-WG6-O UDP 51821/51821 2001:db8::/64",
			},
		},
		"CiliumWireGuard": {
			reason: "Cilium has a port of its own; no IPv6 device without IPv6 nodes",
			edit:   func(f *profiles.Facts) { f.Mode, f.Encapsulation = profiles.Cilium, profiles.WireGuard },
			want:   []string{"ingress X-WG-I UDP 51871/51871 192.168.0.0/24", "egress X-WG-O UDP 51871/51871 192.168.0.0/24"},
		},
		"FlannelRouted": {
			reason: "routed pods need no overlay",
			edit:   func(*profiles.Facts) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for group, edit := range map[string]func(*profiles.Facts){"Advanced": advanced, "InnerDrop": innerDrop} {
				e := expand(t, with(flannel(), tc.edit, edit), profiles.LeastPrivilege)
				var got, needs []string
				for _, l := range lines(e.Rules) {
					if strings.HasPrefix(strings.Fields(l)[1], "X-") {
						got = append(got, l)
					}
				}
				for _, l := range needLines(e.Needs) {
					if strings.HasPrefix(strings.Fields(l)[1], "X-") {
						needs = append(needs, l)
					}
				}
				wantLines(t, group+": "+tc.reason, tc.want, got)
				wantLines(t, group+": "+tc.reason, tc.want, needs)
			}
		})
	}
}

func TestNodesInABasicGroup(t *testing.T) {
	vxlan := func(f *profiles.Facts) { f.Encapsulation = profiles.VXLAN }
	for name, tc := range map[string]struct {
		reason     string
		facts      *profiles.Facts
		rule, need []string
	}{
		"Own": {
			reason: "members let each other in, so nothing is missing; the rule serves nodes that wear another group",
			facts:  with(flannel(), vxlan),
			rule:   []string{"ingress X-VXLAN-I UDP 8472/8472 192.168.0.0/24"},
			need:   []string{"ingress X-VXLAN-I UDP 8472/8472 group sg-shop"},
		},
		"WithoutName": {
			reason: "a group that has no name yet cannot stand in a need",
			facts:  with(flannel(), vxlan, func(f *profiles.Facts) { f.Group = "" }),
			rule:   []string{"ingress X-VXLAN-I UDP 8472/8472 192.168.0.0/24"},
			need:   []string{"ingress X-VXLAN-I UDP 8472/8472 192.168.0.0/24"},
		},
		"Pool": {
			reason: "nodes of the pool and of the cluster's group must reach each other",
			facts:  with(flannel(), vxlan, poolGroup),
			rule:   []string{"ingress X-VXLAN-I UDP 8472/8472 192.168.0.0/24"},
			need:   []string{"ingress X-VXLAN-I UDP 8472/8472 192.168.0.0/24"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, s := range scopes() {
				e := expand(t, tc.facts, s)
				wantLines(t, string(s)+": "+tc.reason, tc.rule, of(lines(e.Rules), "X-VXLAN-I"))
				if s == profiles.LeastPrivilege {
					wantLines(t, tc.reason, tc.need, of(needLines(e.Needs), "X-VXLAN-I"))
				}
			}
		})
	}
}

func TestRecommendedTakesWhatItsRowsLeaveOut(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		facts  *profiles.Facts
		want   []string
	}{
		"BasicNothing": {
			reason: "the page's rows cover the page's needs",
			facts:  flannel(),
			want: []string{
				"ingress BI-R1 ICMP -1/-1 0.0.0.0/0", "ingress BI-R2 ALL -1/-1 172.20.0.0/16", "egress BO-R1 ALL -1/-1 0.0.0.0/0",
			},
		},
		"AdvancedNothing": {
			reason: "the page's rows cover the page's needs",
			facts:  with(terway(), advanced),
			want: []string{
				"ingress AI-R1 ICMP -1/-1 0.0.0.0/0", "ingress AI-R2 ALL -1/-1 192.168.0.0/16", "egress AO-R1 ALL -1/-1 0.0.0.0/0",
			},
		},
		"AdvancedOutsiders": {
			reason: "who comes from outside the VPC is added, who comes from inside is not",
			facts: with(terway(), advanced, func(f *profiles.Facts) {
				f.AdminCIDRs = cidrs("192.168.7.0/24", "203.0.113.0/24")
				f.Exposures = []profiles.Exposure{{
					Protocol: rules.TCP, Ports: ports(443, 443),
					Peers: []rules.Peer{rules.MustCIDR("0.0.0.0/0"), rules.PrefixListPeer{Name: "pl-offices"}},
				}}
			}),
			want: []string{
				"ingress AI-R1 ICMP -1/-1 0.0.0.0/0", "ingress AI-R2 ALL -1/-1 192.168.0.0/16",
				"ingress AI-L5 TCP 443/443 0.0.0.0/0", "ingress AI-L5 TCP 443/443 pl-offices", "ingress X-SSH-I TCP 22/22 203.0.113.0/24",
				"egress AO-R1 ALL -1/-1 0.0.0.0/0",
			},
		},
		"AdvancedNodeOutsideVPC": {
			reason: "a subnet that the VPC's CIDRs do not hold is not forgotten",
			facts: with(terway(), advanced, func(f *profiles.Facts) {
				f.VPC, f.PodSubnets, f.OmitLegacy = cidrs("192.168.0.0/22"), nil, true
			}),
			want: []string{
				"ingress AI-R1 ICMP -1/-1 0.0.0.0/0", "ingress AI-R2 ALL -1/-1 192.168.0.0/22",
				"ingress AI-L1 TCP 53/53 192.168.0.0/19", "ingress AI-L1 UDP 53/53 192.168.0.0/19",
				"ingress AI-L3 TCP 10250/10250 192.168.0.0/19", "ingress AI-L3 TCP 443/443 192.168.0.0/19", "ingress AI-L3 TCP 6443/6443 192.168.0.0/19",
				"egress AO-R1 ALL -1/-1 0.0.0.0/0",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantLines(t, tc.reason, tc.want, lines(expand(t, tc.facts, profiles.Recommended).Rules))
		})
	}
}

func TestExposures(t *testing.T) {
	expose := func(x profiles.Exposure) func(*profiles.Facts) {
		return func(f *profiles.Facts) { f.Exposures = append(f.Exposures, x) }
	}
	for name, tc := range map[string]struct {
		reason string
		facts  *profiles.Facts
		rules  []string
		needs  []string
	}{
		"OtherGroup": {
			reason: "a basic group may name another",
			facts:  with(flannel(), expose(profiles.Exposure{Protocol: rules.TCP, Ports: ports(80, 80), Peers: []rules.Peer{rules.GroupPeer{Name: "sg-web"}}})),
			rules:  []string{"ingress BI-L5 TCP 80/80 group sg-web"},
			needs:  []string{"ingress BI-L5 TCP 80/80 group sg-web"},
		},
		"Itself": {
			reason: "a group cannot name itself; inner access lets its members in",
			facts:  with(flannel(), expose(profiles.Exposure{Protocol: rules.TCP, Ports: ports(80, 80), Peers: []rules.Peer{rules.GroupPeer{Name: "sg-shop"}}})),
			needs:  []string{"ingress BI-L5 TCP 80/80 group sg-shop"},
		},
		"ItselfOut": {
			reason: "on the way out CIDRs stand in",
			facts: with(flannel(), expose(profiles.Exposure{
				Direction: rules.Egress, Protocol: rules.TCP, Ports: ports(80, 80), Peers: []rules.Peer{rules.GroupPeer{Name: "sg-shop"}},
			})),
			rules: []string{"egress BO-L4 TCP 80/80 192.168.0.0/24"},
			needs: []string{"egress BO-L4 TCP 80/80 192.168.0.0/24"},
		},
		"PingAndTunnel": {
			reason: "protocols without ports; ICMP takes the family of its peer",
			facts: with(flannel(),
				expose(profiles.Exposure{Protocol: rules.ICMP, Peers: []rules.Peer{rules.MustCIDR("10.0.0.0/8"), rules.MustCIDR("2001:db8:1::/48")}}),
				expose(profiles.Exposure{Protocol: rules.GRE, Peers: []rules.Peer{rules.MustCIDR("10.0.0.1")}})),
			rules: []string{"ingress BI-L5 ICMP -1/-1 10.0.0.0/8", "ingress BI-L5 ICMPv6 -1/-1 2001:db8:1::/48", "ingress BI-L5 GRE -1/-1 10.0.0.1"},
			needs: []string{"ingress BI-L5 ICMP -1/-1 10.0.0.0/8", "ingress BI-L5 ICMPv6 -1/-1 2001:db8:1::/48", "ingress BI-L5 GRE -1/-1 10.0.0.1"},
		},
		"Twice": {
			reason: "one rule however a CIDR is written",
			facts: with(flannel(),
				expose(profiles.Exposure{Protocol: rules.TCP, Ports: ports(80, 80), Peers: []rules.Peer{rules.MustCIDR("10.0.0.1/8")}}),
				expose(profiles.Exposure{Protocol: rules.TCP, Ports: ports(80, 80), Peers: []rules.Peer{rules.MustCIDR("10.0.0.0/8")}})),
			rules: []string{"ingress BI-L5 TCP 80/80 10.0.0.1/8"},
			needs: []string{"ingress BI-L5 TCP 80/80 10.0.0.1/8"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := expand(t, tc.facts, profiles.LeastPrivilege)
			wantLines(t, tc.reason, tc.rules, of(lines(e.Rules), "BI-L5", "BO-L4"))
			wantLines(t, tc.reason, tc.needs, of(needLines(e.Needs), "BI-L5", "BO-L4"))
		})
	}
}

func TestSubnetsOnce(t *testing.T) {
	f := with(terway(), advanced, func(f *profiles.Facts) {
		f.NodeSubnets, f.PodSubnets = cidrs("192.168.0.0/19", "192.168.64.0/19"), cidrs("192.168.0.0/19", "192.168.32.0/19")
	})
	wantLines(t, "pods may share the nodes' subnets", []string{
		"ingress AI-L2 ICMP -1/-1 192.168.0.0/19", "ingress AI-L2 ICMP -1/-1 192.168.64.0/19", "ingress AI-L2 ICMP -1/-1 192.168.32.0/19",
	}, of(lines(expand(t, f, profiles.LeastPrivilege).Rules), "AI-L2"))
}

func TestExpandErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		facts  *profiles.Facts
		scope  profiles.Scope
		want   string
	}{
		"Scope": {
			reason: "there are two profiles",
			facts:  flannel(), scope: "Strict",
			want: `scope "Strict": want one of Recommended, LeastPrivilege`,
		},
		"Facts": {
			reason: "wrong facts make no rules",
			facts:  with(flannel(), func(f *profiles.Facts) { f.NodeSubnets = nil }), scope: profiles.LeastPrivilege,
			want: "no node subnets",
		},
		"DefaultWithoutPort": {
			reason: "Calico's default has no port, which only the tables know",
			facts: with(flannel(), func(f *profiles.Facts) {
				f.Mode, f.EncapsulationPort = profiles.Calico, 4789
			}), scope: profiles.LeastPrivilege,
			want: "mode Calico wraps with IPIP by default: encapsulation port 4789",
		},
		"DefaultRouted": {
			reason: "kube-router's default shows pod addresses, which only the tables know",
			facts: with(flannel(), func(f *profiles.Facts) {
				f.Mode, f.PodCIDRs = profiles.KubeRouter, nil
			}), scope: profiles.Recommended,
			want: "no pod CIDRs with KubeRouter and no encapsulation",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mustLoad(t).Expand(tc.facts, tc.scope)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nExpand(...): error %v, want %q in it", tc.reason, err, tc.want)
			}
		})
	}
}

func TestEncapsulation(t *testing.T) {
	tables := mustLoad(t)
	for mode, want := range map[profiles.NetworkMode]profiles.Encapsulation{
		profiles.Terway: profiles.NoEncapsulation, profiles.Flannel: profiles.NoEncapsulation, profiles.Calico: profiles.IPIP,
		profiles.Cilium: profiles.VXLAN, profiles.Antrea: profiles.Geneve, profiles.OVNKubernetes: profiles.Geneve,
		profiles.KubeRouter: profiles.NoEncapsulation, profiles.OtherNetwork: profiles.NoEncapsulation,
	} {
		if got := tables.Encapsulation(&profiles.Facts{Mode: mode}); got != want {
			t.Errorf("Encapsulation of %s: %s, want %s", mode, got, want)
		}
	}
}

func TestFixRules(t *testing.T) {
	need := func(p rules.Protocol, peer rules.Peer) rules.Need {
		n := rules.Need{ID: "BI-L3", Protocol: p, Peer: peer, Component: "kubelet", Why: "logs time out"}
		if p.HasPorts() {
			n.Ports = ports(10250, 10250)
		}
		return n
	}
	for name, tc := range map[string]struct {
		reason string
		need   rules.Need
		facts  *profiles.Facts
		want   []string
	}{
		"CIDR": {
			reason: "a CIDR is its own fix",
			need:   need(rules.TCP, rules.MustCIDR("10.0.0.0/8")), facts: flannel(),
			want: []string{"ingress BI-L3 TCP 10250/10250 10.0.0.0/8"},
		},
		"OtherGroup": {
			reason: "a basic group may name the cluster's basic group",
			need:   need(rules.TCP, rules.GroupPeer{Name: "sg-shop"}), facts: with(flannel(), poolGroup),
			want: []string{"ingress BI-L3 TCP 10250/10250 group sg-shop"},
		},
		"OwnGroup": {
			reason: "a group cannot name itself",
			need:   need(rules.TCP, rules.GroupPeer{Name: "sg-shop"}), facts: terway(),
			want: []string{"ingress BI-L3 TCP 10250/10250 192.168.0.0/19", "ingress BI-L3 TCP 10250/10250 192.168.32.0/19"},
		},
		"Advanced": {
			reason: "an advanced group names no group",
			need:   need(rules.TCP, rules.GroupPeer{Name: "sg-web"}), facts: with(flannel(), advanced),
			want: []string{"ingress BI-L3 TCP 10250/10250 192.168.0.0/24"},
		},
		"OfAdvanced": {
			reason: "an advanced group cannot be named",
			need:   need(rules.TCP, rules.GroupPeer{Name: "sg-shop"}),
			facts:  with(flannel(), poolGroup, otherAdvanced),
			want:   []string{"ingress BI-L3 TCP 10250/10250 192.168.0.0/24"},
		},
		"ICMP": {
			reason: "ICMP has IPv4 peers",
			need:   need(rules.ICMP, rules.GroupPeer{Name: "sg-shop"}), facts: with(flannel(), dualStack),
			want: []string{"ingress BI-L3 ICMP -1/-1 192.168.0.0/24"},
		},
		"ICMPv6": {
			reason: "ICMPv6 has IPv6 peers",
			need:   need(rules.ICMPv6, rules.GroupPeer{Name: "sg-shop"}), facts: with(flannel(), dualStack),
			want: []string{"ingress BI-L3 ICMPv6 -1/-1 2001:db8::/64"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := profiles.FixRules(tc.need, tc.facts)
			wantLines(t, tc.reason, tc.want, lines(got))
			for _, r := range got {
				if why := illegal(r, tc.facts); why != "" {
					t.Errorf("%s\nrule %+v: %s", tc.reason, r, why)
				}
				if want := "BI-L3 kubelet"; r.Description != want {
					t.Errorf("description %q, want %q", r.Description, want)
				}
			}
		})
	}
}

func TestExpandStaysWithinLimits(t *testing.T) {
	subnets := func(list ...string) func(*profiles.Facts) {
		return func(f *profiles.Facts) { f.NodeSubnets = cidrs(list...) }
	}
	var many []string
	for i := range 256 {
		many = append(many, fmt.Sprintf("10.0.%d.0/24", i))
	}
	for name, tc := range map[string]struct {
		reason string
		facts  *profiles.Facts
		names  int
		peers  []string // of the rules for the kubelet
	}{
		"ManyPools": {
			reason: "12 groups in each of some rules are more than 20 names: subnets stand for all",
			facts:  with(terway(), manyPools),
			peers:  []string{"192.168.0.0/19", "192.168.32.0/19"},
		},
		"OneOther": {
			reason: "one other group is named, where that is tighter",
			facts:  with(terway(), poolGroup), names: 15,
			peers: []string{"sg-shop"},
		},
		"ManySubnets": {
			reason: "256 subnets that make up one range are that range, before the group is too long",
			facts:  with(terway(), advanced, subnets(many...)),
			peers:  []string{"10.0.0.0/16", "192.168.32.0/19"},
		},
		"Overlapping": {
			reason: "ranges stay as written while there is room",
			facts:  with(terway(), advanced, subnets("10.0.0.0/25", "10.0.0.128/25")),
			peers:  []string{"10.0.0.0/25", "10.0.0.128/25", "192.168.32.0/19"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := expand(t, tc.facts, profiles.LeastPrivilege)
			g := rules.Group{Ingress: e.Rules}
			if len(e.Rules) > rules.MaxRulesPerHost || g.GroupPeers() != tc.names {
				t.Errorf("%s\n%d rules, %d of them name a group, want %d", tc.reason, len(e.Rules), g.GroupPeers(), tc.names)
			}
			var peers []string
			for _, r := range e.Rules {
				if r.Direction == rules.Ingress && r.Ports == ports(10250, 10250) {
					peers = append(peers, r.Peer.String())
				}
			}
			if diff := cmp.Diff(tc.peers, peers); diff != "" {
				t.Errorf("%s\n-want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestHooks: what was seen of the running cluster opens ports for the API
// server's own hosts and for nobody else, whatever the profile.
func TestHooks(t *testing.T) {
	seen := func(f *profiles.Facts) {
		f.Hooks, f.Callers = []uint16{9443}, cidrs("192.168.0.11", "192.168.0.12")
	}
	for name, tc := range map[string]struct {
		reason string
		facts  *profiles.Facts
		scope  profiles.Scope
		want   []string
	}{
		"Advanced": {
			"in from each host, out to wherever it may listen", with(flannel(), advanced, seen), profiles.LeastPrivilege,
			[]string{
				"ingress X-HOOK-I TCP 9443/9443 192.168.0.11", "ingress X-HOOK-I TCP 9443/9443 192.168.0.12",
				"egress X-HOOK-O TCP 9443/9443 192.168.0.0/24", "egress X-HOOK-O TCP 9443/9443 172.20.0.0/16",
			},
		},
		"Terway": {
			"pods have addresses of subnets", with(terway(), advanced, seen), profiles.LeastPrivilege,
			[]string{
				"ingress X-HOOK-I TCP 9443/9443 192.168.0.11", "ingress X-HOOK-I TCP 9443/9443 192.168.0.12",
				"egress X-HOOK-O TCP 9443/9443 192.168.0.0/19", "egress X-HOOK-O TCP 9443/9443 192.168.32.0/19",
			},
		},
		"Recommended": {
			"its rows let nodes reach each other already, and a caller among the nodes with them",
			with(flannel(), advanced, seen), profiles.Recommended, nil,
		},
		"RecommendedOutside": {
			"an API server that is no node has to be let in", with(flannel(), advanced, seen, func(f *profiles.Facts) { f.Callers = cidrs("203.0.113.9") }), profiles.Recommended,
			[]string{"ingress X-HOOK-I TCP 9443/9443 203.0.113.9"},
		},
		"Nobody": {
			"without knowing who calls nothing is opened for anybody", with(flannel(), advanced, seen, func(f *profiles.Facts) { f.Callers = nil }), profiles.LeastPrivilege,
			[]string{"egress X-HOOK-O TCP 9443/9443 192.168.0.0/24", "egress X-HOOK-O TCP 9443/9443 172.20.0.0/16"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := expand(t, tc.facts, tc.scope)
			wantLines(t, tc.reason, tc.want, of(lines(e.Rules), "X-HOOK-I", "X-HOOK-O"))
		})
	}
}
