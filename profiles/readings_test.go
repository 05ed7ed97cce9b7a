package profiles_test

import (
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// ACK's page leaves 17 things open; each test below holds one reading of it.

func TestReading01EmptyPeerCells(t *testing.T) {
	for _, pair := range [][2]string{
		{"BI-L2", "BI-L1"},
		{"BI-L3", "BI-L1"},
		{"BI-L4", "BI-L1"},
		{"BO-L3", "BO-L2"},
		{"AI-L2", "AI-L1"},
		{"AI-L3", "AI-L1"},
		{"AI-L4", "AI-L1"},
		{"AO-L3", "AO-L2"},
	} {
		r, dns := row(t, pair[0]), row(t, pair[1])
		if r.PeersOf != dns.ID || !slices.Equal(r.Peers, dns.Peers) {
			t.Errorf("row %s: peersOf %q, peers %v: an empty cell means the peers of the DNS row %s: %v", r.ID, r.PeersOf, r.Peers, dns.ID, dns.Peers)
		}
	}
	got := of(lines(expand(t, flannel(), profiles.LeastPrivilege).Rules), "BI-L2")
	wantLines(t, "ICMP comes from the pods only, not from anywhere", []string{"ingress BI-L2 ICMP -1/-1 172.20.0.0/16"}, got)
}

func row(t *testing.T, id string) profiles.Row {
	t.Helper()
	for _, r := range mustLoad(t).Rows() {
		if r.ID == id {
			return r
		}
	}
	t.Fatalf("no row %s", id)
	return profiles.Row{}
}

func TestReading02AllProtocolsWithPorts(t *testing.T) {
	f := with(terway(), advanced, func(f *profiles.Facts) {
		f.Exposures = []profiles.Exposure{{Protocol: rules.UDP, Ports: ports(5060, 5061), Peers: []rules.Peer{rules.MustCIDR("10.0.0.0/8")}}}
	})
	e := expand(t, f, profiles.LeastPrivilege)
	wantLines(t, "port 53 of all protocols becomes TCP and UDP", []string{
		"ingress AI-L1 TCP 53/53 192.168.0.0/19",
		"ingress AI-L1 UDP 53/53 192.168.0.0/19",
		"ingress AI-L1 TCP 53/53 192.168.32.0/19",
		"ingress AI-L1 UDP 53/53 192.168.32.0/19",
	}, of(lines(e.Rules), "AI-L1"))
	wantLines(t, "an application's ports take the protocol that it serves",
		[]string{"ingress AI-L5 UDP 5060/5061 10.0.0.0/8"}, of(lines(e.Rules), "AI-L5"))
}

func TestReading03ClusterGroupInItself(t *testing.T) {
	for name, tc := range map[string]struct {
		reason                string
		facts                 *profiles.Facts
		ingress, need, egress []string
	}{
		"InnerAccept": {
			reason: "inner access grants the row on ingress; on egress CIDRs stand in",
			facts:  terway(),
			need:   []string{"ingress BI-L2 ICMP -1/-1 group sg-shop"},
			egress: []string{"egress BO-L3W TCP 8082/8082 192.168.0.0/19", "egress BO-L3W TCP 8082/8082 192.168.32.0/19"},
		},
		"InnerAcceptWithoutName": {
			reason: "a group that has no name yet cannot stand in a need",
			facts:  with(terway(), func(f *profiles.Facts) { f.Group = "" }),
			need:   []string{"ingress BI-L2 ICMP -1/-1 192.168.0.0/19", "ingress BI-L2 ICMP -1/-1 192.168.32.0/19"},
			egress: []string{"egress BO-L3W TCP 8082/8082 192.168.0.0/19", "egress BO-L3W TCP 8082/8082 192.168.32.0/19"},
		},
		"InnerDrop": {
			reason:  "without inner access CIDRs stand in both ways",
			facts:   with(terway(), innerDrop),
			ingress: []string{"ingress BI-L2 ICMP -1/-1 192.168.0.0/19", "ingress BI-L2 ICMP -1/-1 192.168.32.0/19"},
			need:    []string{"ingress BI-L2 ICMP -1/-1 192.168.0.0/19", "ingress BI-L2 ICMP -1/-1 192.168.32.0/19"},
			egress:  []string{"egress BO-L3W TCP 8082/8082 192.168.0.0/19", "egress BO-L3W TCP 8082/8082 192.168.32.0/19"},
		},
		"PoolOfBasic": {
			reason:  "another basic group names the cluster's group, and its own members must reach each other as well",
			facts:   with(terway(), poolGroup),
			ingress: []string{"ingress BI-L2 ICMP -1/-1 group sg-shop"},
			need:    []string{"ingress BI-L2 ICMP -1/-1 group sg-shop", "ingress BI-L2 ICMP -1/-1 group sg-pool"},
			egress:  []string{"egress BO-L3W TCP 8082/8082 group sg-shop", "egress BO-L3W TCP 8082/8082 192.168.0.0/19", "egress BO-L3W TCP 8082/8082 192.168.32.0/19"},
		},
		"PoolOfAdvanced": {
			reason:  "an advanced group cannot be named",
			facts:   with(terway(), poolGroup, otherAdvanced),
			ingress: []string{"ingress BI-L2 ICMP -1/-1 192.168.0.0/19", "ingress BI-L2 ICMP -1/-1 192.168.32.0/19"},
			need:    []string{"ingress BI-L2 ICMP -1/-1 192.168.0.0/19", "ingress BI-L2 ICMP -1/-1 192.168.32.0/19"},
			egress:  []string{"egress BO-L3W TCP 8082/8082 192.168.0.0/19", "egress BO-L3W TCP 8082/8082 192.168.32.0/19"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := expand(t, tc.facts, profiles.LeastPrivilege)
			wantLines(t, tc.reason, tc.ingress, of(lines(e.Rules), "BI-L2"))
			wantLines(t, tc.reason, tc.need, of(needLines(e.Needs), "BI-L2"))
			wantLines(t, tc.reason, tc.egress, of(lines(e.Rules), "BO-L3W"))
			if len(tc.ingress) == 0 && !strings.Contains(reasonFor(e, "BI-L2"), "$SG: granted by inner access") {
				t.Errorf("%s\nskipped: %q", tc.reason, reasonFor(e, "BI-L2"))
			}
		})
	}
}

func TestReading04AdvancedNamesNoGroup(t *testing.T) {
	for name, mk := range clusters() {
		f := mk()
		if f.GroupType != rules.Advanced {
			continue
		}
		for _, s := range scopes() {
			e := expand(t, f, s)
			for _, r := range e.Rules {
				if _, ok := r.Peer.(rules.GroupPeer); ok {
					t.Errorf("%s, %s: rule %v: an advanced group cannot name groups", name, s, r)
				}
			}
			for _, n := range e.Needs {
				if _, ok := n.Peer.(rules.GroupPeer); ok {
					t.Errorf("%s, %s: need %v: an advanced group cannot name groups", name, s, n)
				}
			}
		}
	}
	f := with(terway(), advanced, func(f *profiles.Facts) {
		f.Exposures = []profiles.Exposure{{Protocol: rules.TCP, Ports: ports(80, 80), Peers: []rules.Peer{rules.GroupPeer{Name: "sg-web"}}}}
	})
	_, err := mustLoad(t).Expand(f, profiles.LeastPrivilege)
	if err == nil || !strings.Contains(err.Error(), `peer is group "sg-web", but an advanced group cannot name groups`) {
		t.Errorf("Expand(...) with a group among the exposures of an advanced group: error %v", err)
	}
}

func TestReading05BasicEgressNeedsDrop(t *testing.T) {
	e := expand(t, flannel(), profiles.LeastPrivilege)
	last := e.Rules[len(e.Rules)-2:]
	wantLines(t, "the list ends with a drop of both families, dual-stack or not", []string{
		"egress BO-L9 ALL -1/-1 0.0.0.0/0",
		"egress BO-L9 ALL -1/-1 ::/0",
	}, lines(last))
	for _, r := range last {
		if r.Action != rules.Drop || r.Priority != 100 {
			t.Errorf("rule %v: want a drop at priority 100, behind every accept", r)
		}
	}
	wantLines(t, "a rule that drops is nobody's need", nil, of(needLines(e.Needs), "BO-L9"))
	wantLines(t, "an advanced group drops egress by itself", nil,
		of(lines(expand(t, with(flannel(), advanced), profiles.LeastPrivilege).Rules), "BO-L9"))
	wantLines(t, "the recommended rows let all egress pass", nil, of(lines(expand(t, flannel(), profiles.Recommended).Rules), "BO-L9"))
}

func TestReading06DualStack(t *testing.T) {
	f := with(flannel(), advanced, dualStack)
	rec := lines(expand(t, f, profiles.Recommended).Rules)
	wantLines(t, "ICMP from anywhere gets its ICMPv6 counterpart", []string{
		"ingress AI-R1 ICMP -1/-1 0.0.0.0/0", "ingress AI-R1 ICMPv6 -1/-1 ::/0",
	}, of(rec, "AI-R1"))
	wantLines(t, "everything to anywhere gets ::/0", []string{
		"egress AO-R1 ALL -1/-1 0.0.0.0/0", "egress AO-R1 ALL -1/-1 ::/0",
	}, of(rec, "AO-R1"))
	least := lines(expand(t, f, profiles.LeastPrivilege).Rules)
	wantLines(t, "each CIDR gets the ICMP of its family", []string{
		"ingress AI-L2 ICMP -1/-1 192.168.0.0/24", "ingress AI-L2 ICMPv6 -1/-1 2001:db8::/64",
		"ingress AI-L2 ICMP -1/-1 172.20.0.0/16", "ingress AI-L2 ICMPv6 -1/-1 fd00:20::/56",
	}, of(least, "AI-L2"))
	wantLines(t, "Alibaba Cloud's range has no IPv6 counterpart", []string{"egress AO-L1 ALL -1/-1 100.64.0.0/10"}, of(least, "AO-L1"))
	pool := lines(expand(t, with(flannel(), poolGroup, dualStack), profiles.LeastPrivilege).Rules)
	wantLines(t, "a group has members of both families", []string{
		"ingress BI-L2 ICMP -1/-1 group sg-shop", "ingress BI-L2 ICMPv6 -1/-1 group sg-shop",
		"ingress BI-L2 ICMP -1/-1 172.20.0.0/16", "ingress BI-L2 ICMPv6 -1/-1 fd00:20::/56",
	}, of(pool, "BI-L2"))
	single := lines(expand(t, flannel(), profiles.Recommended).Rules)
	wantLines(t, "a cluster of one family gets no ICMPv6", []string{"ingress BI-R1 ICMP -1/-1 0.0.0.0/0"}, of(single, "BI-R1"))
}

func TestReading07APIServerAmongDNSPeers(t *testing.T) {
	got := of(lines(expand(t, with(terway(), advanced), profiles.LeastPrivilege).Rules), "AO-L2")
	want := []string{
		"egress AO-L2 TCP 53/53 192.168.0.200", "egress AO-L2 UDP 53/53 192.168.0.200",
		"egress AO-L2 TCP 53/53 192.168.0.0/19", "egress AO-L2 UDP 53/53 192.168.0.0/19",
		"egress AO-L2 TCP 53/53 192.168.32.0/19", "egress AO-L2 UDP 53/53 192.168.32.0/19",
	}
	wantLines(t, "the load balancer answers no DNS, but stays as the page has it", want, got)
}

func TestReading08WebhooksGoOutToo(t *testing.T) {
	webhooks := func(f *profiles.Facts) { f.WebhookPorts, f.Poseidon = []uint16{8443}, true }
	for name, tc := range map[string]struct {
		reason string
		facts  *profiles.Facts
		want   []string
	}{
		"Basic": {
			reason: "the API server's interfaces wear the group, so its calls must be let out",
			facts:  with(flannel(), webhooks, poolGroup),
			want: []string{
				"egress BO-L3W TCP 8082/8082 group sg-shop", "egress BO-L3W TCP 9082/9082 group sg-shop", "egress BO-L3W TCP 8443/8443 group sg-shop",
				"egress BO-L3W TCP 8082/8082 192.168.0.0/24", "egress BO-L3W TCP 9082/9082 192.168.0.0/24", "egress BO-L3W TCP 8443/8443 192.168.0.0/24",
				"egress BO-L3W TCP 8082/8082 172.20.0.0/16", "egress BO-L3W TCP 9082/9082 172.20.0.0/16", "egress BO-L3W TCP 8443/8443 172.20.0.0/16",
			},
		},
		"Advanced": {
			reason: "9082 stays off without Poseidon",
			facts:  with(flannel(), webhooks, advanced, func(f *profiles.Facts) { f.Poseidon = false }),
			want: []string{
				"egress AO-L3W TCP 8082/8082 192.168.0.0/24", "egress AO-L3W TCP 8443/8443 192.168.0.0/24",
				"egress AO-L3W TCP 8082/8082 172.20.0.0/16", "egress AO-L3W TCP 8443/8443 172.20.0.0/16",
			},
		},
		"Nothing": {
			reason: "without webhooks and old components there is nothing to let out",
			facts:  with(flannel(), func(f *profiles.Facts) { f.OmitLegacy = true }),
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := expand(t, tc.facts, profiles.LeastPrivilege)
			wantLines(t, tc.reason, tc.want, of(lines(e.Rules), "BO-L3W", "AO-L3W"))
			wantLines(t, tc.reason, tc.want, of(needLines(e.Needs), "BO-L3W", "AO-L3W"))
			if len(tc.want) == 0 && reasonFor(e, "BO-L3W") != "none of its ports is in use" {
				t.Errorf("%s\nskipped: %q", tc.reason, reasonFor(e, "BO-L3W"))
			}
		})
	}
}

func TestReading09NoICMPEgress(t *testing.T) {
	for name, mk := range clusters() {
		for _, n := range expand(t, mk(), profiles.LeastPrivilege).Needs {
			if n.Direction == rules.Egress && (n.Protocol == rules.ICMP || n.Protocol == rules.ICMPv6) {
				t.Errorf("%s: need %v: the page has no ICMP row on the way out", name, n)
			}
		}
	}
	var names []string
	for _, e := range mustLoad(t).Exempt() {
		names = append(names, e.Name)
	}
	for _, want := range []string{"icmp-unreachable", "icmpv6-errors"} {
		if !slices.Contains(names, want) {
			t.Errorf("exemptions %v: path MTU discovery depends on %s", names, want)
		}
	}
}

func TestReading10PodsOnlyByExposures(t *testing.T) {
	app := rules.Need{Direction: rules.Ingress, Protocol: rules.TCP, Ports: ports(8080, 8080), Peer: rules.MustCIDR("172.20.1.2")}
	f := with(flannel(), advanced)
	if e := expand(t, f, profiles.LeastPrivilege); admits(e.Rules, app, f) {
		t.Error("least privilege admits pods of other nodes on any port: no row says so")
	}
	f.Exposures = []profiles.Exposure{{Protocol: rules.TCP, Ports: ports(8080, 8080), Peers: []rules.Peer{rules.MustCIDR("172.20.0.0/16")}}}
	if e := expand(t, f, profiles.LeastPrivilege); !admits(e.Rules, app, f) {
		t.Error("an exposure to the pods does not admit them")
	}
}

func TestReading11BasicTrustsGroupAdvancedVPC(t *testing.T) {
	second := func(f *profiles.Facts) { f.SecondaryVPC = cidrs("10.10.0.0/16") }
	basic := lines(expand(t, with(flannel(), second, poolGroup), profiles.Recommended).Rules)
	wantLines(t, "the basic table names the group and not the VPC",
		[]string{"ingress BI-R2 ALL -1/-1 group sg-shop", "ingress BI-R2 ALL -1/-1 172.20.0.0/16"}, of(basic, "BI-R2"))
	adv := lines(expand(t, with(flannel(), second, advanced), profiles.Recommended).Rules)
	wantLines(t, "the advanced table names the whole VPC", []string{
		"ingress AI-R2 ALL -1/-1 192.168.0.0/16", "ingress AI-R2 ALL -1/-1 10.10.0.0/16", "ingress AI-R2 ALL -1/-1 172.20.0.0/16",
	}, of(adv, "AI-R2"))
}

func TestReading12EgressExposuresAreTargets(t *testing.T) {
	e := expand(t, with(flannel(), everything), profiles.LeastPrivilege)
	wantLines(t, "what the cluster exposes comes in, what it calls goes out", []string{
		"ingress BI-L5 TCP 443/443 0.0.0.0/0", "egress BO-L4 TCP 5432/5432 10.9.0.0/16",
	}, of(lines(e.Rules), "BI-L5", "BO-L4"))
}

func TestReading13RowsThatThePageLacks(t *testing.T) {
	e := expand(t, with(flannel(), innerDrop), profiles.LeastPrivilege)
	for _, r := range e.Rules {
		if strings.HasPrefix(r.Row, "X-") {
			t.Errorf("rule %v: rows that the page lacks are off until a fact asks for them", r)
		}
	}
	for name, tc := range map[string]struct {
		reason string
		facts  *profiles.Facts
		rows   []string
		want   []string
	}{
		"Services": {
			reason: "each fact turns on its rows",
			facts:  with(flannel(), innerDrop, everything, func(f *profiles.Facts) { f.NodePorts.Peers = cidrs("192.0.2.0/24") }),
			rows:   []string{"X-NODEPORT-I", "X-HEALTH-I", "X-SSH-I", "X-NTP-O", "X-META-O"},
			want: []string{
				"ingress X-NODEPORT-I TCP 30000/32767 192.0.2.0/24", "ingress X-NODEPORT-I UDP 30000/32767 192.0.2.0/24",
				"ingress X-HEALTH-I TCP 10256/10256 100.64.0.0/10", "ingress X-SSH-I TCP 22/22 203.0.113.0/24",
				"egress X-NTP-O UDP 123/123 198.51.100.7", "egress X-META-O TCP 80/80 169.254.169.254",
			},
		},
		"ServicePorts": {
			reason: "facts override the usual ports",
			facts: with(flannel(), innerDrop, everything, func(f *profiles.Facts) {
				f.NodePorts = &profiles.NodePorts{Ports: ports(20000, 20100), Peers: cidrs("192.0.2.0/24")}
				f.HealthCheckPorts = ports(10250, 10256)
			}),
			rows: []string{"X-NODEPORT-I", "X-HEALTH-I"},
			want: []string{
				"ingress X-NODEPORT-I TCP 20000/20100 192.0.2.0/24", "ingress X-NODEPORT-I UDP 20000/20100 192.0.2.0/24",
				"ingress X-HEALTH-I TCP 10250/10256 100.64.0.0/10",
			},
		},
		"Nodes": {
			reason: "BGP and etcd go between nodes, both ways",
			facts:  with(flannel(), innerDrop, everything),
			rows:   []string{"X-BGP-I", "X-BGP-O", "X-ETCD-I", "X-ETCD-O"},
			want: []string{
				"ingress X-BGP-I TCP 179/179 192.168.0.0/24", "ingress X-ETCD-I TCP 2379/2380 192.168.0.0/24",
				"egress X-BGP-O TCP 179/179 192.168.0.0/24", "egress X-ETCD-O TCP 2379/2380 192.168.0.0/24",
			},
		},
		"Leases": {
			reason: "DHCP has its own ports and peers for each family",
			facts:  with(flannel(), advanced, everything, dualStack),
			rows:   []string{"X-DHCP-I", "X-DHCP-O", "X-DHCP6-I", "X-DHCP6-O"},
			want: []string{
				"ingress X-DHCP-I UDP 68/68 192.168.0.0/16", "ingress X-DHCP6-I UDP 546/546 fe80::/10",
				"egress X-DHCP-O UDP 67/67 192.168.0.0/16", "egress X-DHCP-O UDP 67/67 255.255.255.255/32",
				"egress X-DHCP6-O UDP 547/547 ff02::1:2/128", "egress X-DHCP6-O UDP 547/547 fe80::/10",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := expand(t, tc.facts, profiles.LeastPrivilege)
			wantLines(t, tc.reason, tc.want, of(lines(e.Rules), tc.rows...))
			wantLines(t, tc.reason, tc.want, of(needLines(e.Needs), tc.rows...))
		})
	}
}

func TestReading14LegacyPorts(t *testing.T) {
	legacy := func(f *profiles.Facts) []string {
		var out []string
		for _, r := range expand(t, f, profiles.LeastPrivilege).Rules {
			if r.Ports == ports(10255, 10255) || r.Ports == ports(8082, 8082) {
				out = append(out, line(r.Direction, r.Row, r.Protocol, r.Ports, r.Peer))
			}
		}
		return out
	}
	f := with(flannel(), advanced, func(f *profiles.Facts) { f.APIServer, f.PodCIDRs = nil, cidrs("172.20.0.0/16") })
	wantLines(t, "old ports are kept", []string{
		"ingress AI-L3 TCP 10255/10255 192.168.0.0/24", "ingress AI-L3 TCP 8082/8082 192.168.0.0/24",
		"ingress AI-L3 TCP 10255/10255 172.20.0.0/16", "ingress AI-L3 TCP 8082/8082 172.20.0.0/16",
		"egress AO-L3 TCP 10255/10255 192.168.0.0/24", "egress AO-L3 TCP 10255/10255 172.20.0.0/16",
		"egress AO-L3W TCP 8082/8082 192.168.0.0/24", "egress AO-L3W TCP 8082/8082 172.20.0.0/16",
	}, legacy(f))
	f.OmitLegacy = true
	wantLines(t, "old ports can be left out", nil, legacy(f))
}

func TestReading15Ports443And6443(t *testing.T) {
	components := func(id string) map[rules.PortRange]string {
		out := map[rules.PortRange]string{}
		for _, p := range row(t, id).Ports {
			out[p.Range] = p.Component
		}
		return out
	}
	for _, group := range []string{"B", "A"} {
		in, out := components(group+"I-L3"), components(group+"O-L3")
		if in[ports(443, 443)] != "webhook" || out[ports(443, 443)] != "API server" {
			t.Errorf("443: %q in, %q out: want a webhook inbound, the API server outbound", in[ports(443, 443)], out[ports(443, 443)])
		}
		if in[ports(6443, 6443)] != "API server" || out[ports(6443, 6443)] != "API server" {
			t.Errorf("6443: want the API server both ways")
		}
	}
	for port, want := range map[uint16][]string{
		0: nil, 6443: nil, 443: nil,
		16443: {"ingress AI-L3 TCP 16443/16443 192.168.0.0/24", "egress AO-L3 TCP 16443/16443 192.168.0.0/24"},
	} {
		f := with(flannel(), advanced, func(f *profiles.Facts) {
			f.Mode, f.PodCIDRs, f.APIServer, f.APIServerPort = profiles.Terway, nil, nil, port
		})
		var got []string
		for _, r := range expand(t, f, profiles.LeastPrivilege).Rules {
			if r.Ports == ports(16443, 16443) {
				got = append(got, line(r.Direction, r.Row, r.Protocol, r.Ports, r.Peer))
			}
		}
		wantLines(t, "a port of the API server's own stands beside 6443", want, got)
	}
}

func TestReading16PodCIDRsByNetworkMode(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		edit   func(*profiles.Facts)
		want   []string
		skip   string
	}{
		"FlannelRouted": {
			reason: "Alibaba Cloud routes pod addresses",
			edit:   func(*profiles.Facts) {},
			want:   []string{"ingress BI-R2 ALL -1/-1 172.20.0.0/16"},
		},
		"Terway": {
			reason: "the page says not to add pod CIDRs with Terway",
			edit:   func(f *profiles.Facts) { f.Mode, f.PodCIDRs = profiles.Terway, nil },
			skip:   "$POD: Terway's pods have addresses of pod subnets",
		},
		"FlannelVXLAN": {
			reason: "VXLAN hides pod addresses",
			edit:   func(f *profiles.Facts) { f.Encapsulation = profiles.VXLAN },
			skip:   "$POD: pod addresses are wrapped in VXLAN on the wire",
		},
		"CalicoByDefault": {
			reason: "Calico's manifest wraps IPv4 in IPIP",
			edit:   func(f *profiles.Facts) { f.Mode = profiles.Calico },
			skip:   "$POD: pod addresses are wrapped in IPIP on the wire",
		},
		"CalicoByDefaultDualStack": {
			reason: "Calico cannot wrap IPv6 in IPIP, so IPv6 pods appear on the wire",
			edit:   func(f *profiles.Facts) { f.Mode = profiles.Calico; dualStack(f) },
			want:   []string{"ingress BI-R2 ALL -1/-1 fd00:20::/56"},
		},
		"CiliumNative": {
			reason: "native routing shows pod addresses",
			edit:   func(f *profiles.Facts) { f.Mode, f.Encapsulation = profiles.Cilium, profiles.NoEncapsulation },
			want:   []string{"ingress BI-R2 ALL -1/-1 172.20.0.0/16"},
		},
		"KubeRouterByDefault": {
			reason: "kube-router routes within a subnet",
			edit:   func(f *profiles.Facts) { f.Mode = profiles.KubeRouter },
			want:   []string{"ingress BI-R2 ALL -1/-1 172.20.0.0/16"},
		},
		"OtherWithout": {
			reason: "nothing is assumed of an unknown plugin",
			edit:   func(f *profiles.Facts) { f.Mode, f.PodCIDRs = profiles.OtherNetwork, nil },
			skip:   "$POD: the cluster has no pod CIDR",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := expand(t, with(flannel(), tc.edit), profiles.Recommended)
			wantLines(t, tc.reason, tc.want, of(lines(e.Rules), "BI-R2"))
			if tc.skip != "" && !strings.Contains(reasonFor(e, "BI-R2"), tc.skip) {
				t.Errorf("%s\nskipped: %q, want %q among it", tc.reason, reasonFor(e, "BI-R2"), tc.skip)
			}
		})
	}
}

func TestReading17PageVersions(t *testing.T) {
	for _, r := range mustLoad(t).Rows() {
		want := ""
		switch {
		case r.ID == "BI-L4" || r.ID == "AI-L4":
			want = "2026-02-01"
		case r.File == "tables/ack.yaml":
			want = "2024-10-31"
		}
		if r.Page != want {
			t.Errorf("row %s: page %q, want %q", r.ID, r.Page, want)
		}
	}
	f := with(flannel(), advanced)
	wantLines(t, "9082 is not in the older page", nil, of(lines(expand(t, f, profiles.LeastPrivilege).Rules), "AI-L4"))
	f.Poseidon = true
	e := expand(t, f, profiles.LeastPrivilege)
	wantLines(t, "9082 is for clusters with Poseidon", []string{
		"ingress AI-L4 TCP 9082/9082 192.168.0.0/24", "ingress AI-L4 TCP 9082/9082 172.20.0.0/16",
	}, of(lines(e.Rules), "AI-L4"))
	for _, n := range e.Needs {
		if n.ID == "AI-L4" && !strings.HasSuffix(n.Source, "; page of 2026-02-01") {
			t.Errorf("need %v: a need says which page it is from", n)
		}
	}
}
