package profiles_test

import (
	"strings"
	"testing"

	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

func TestValidate(t *testing.T) {
	exposure := func(x profiles.Exposure) func(*profiles.Facts) {
		return func(f *profiles.Facts) { f.Exposures = []profiles.Exposure{x} }
	}
	any4 := []rules.Peer{rules.MustCIDR("0.0.0.0/0")}
	tcp := func(peers ...rules.Peer) profiles.Exposure {
		return profiles.Exposure{Protocol: rules.TCP, Ports: ports(80, 80), Peers: peers}
	}
	for name, tc := range map[string]struct {
		reason string
		edit   func(*profiles.Facts)
		want   []string // each in the error; none means no error
	}{
		"Flannel":    {reason: "the plain cluster is fine", edit: func(*profiles.Facts) {}},
		"Everything": {reason: "all facts together are fine", edit: func(f *profiles.Facts) { everything(f); dualStack(f) }},
		"All": {
			reason: "an exposure may be of all protocols",
			edit:   exposure(profiles.Exposure{Protocol: rules.AllProtocols, Peers: any4}),
		},
		"Joined": {
			reason: "a reader sees all mistakes at once, and whose they are",
			edit: func(f *profiles.Facts) {
				f.Mode, f.NodeSubnets, f.WebhookPorts, f.Hooks = "Weave", nil, []uint16{0}, []uint16{0}
			},
			want: []string{
				`the facts of cluster "shop" do not fit together`, `network mode "Weave": want one of Terway, Flannel`,
				"no node subnets", "webhook port 0", "port 0 of what the API server calls",
			},
		},
		"GroupType": {
			reason: "there are two types",
			edit:   func(f *profiles.Facts) { f.GroupType, f.Others = 7, []profiles.OtherGroup{{Name: "sg-web", Type: 8}} },
			want:   []string{"group type 7", `type 8 of group "sg-web"`},
		},
		"OtherIsItself": {
			reason: "a group beside itself is a mistake of who asks, and a rule that names it would be illegal",
			edit:   func(f *profiles.Facts) { f.Others = []profiles.OtherGroup{{Name: f.Group}} },
			want:   []string{"is one of the others beside itself"},
		},
		"InnerAccess": {
			reason: "advanced groups have no inner access",
			edit:   func(f *profiles.Facts) { f.GroupType = rules.Advanced },
			want:   []string{"inner access on an advanced group"},
		},
		"Encapsulation": {
			reason: "an unknown encapsulation has no port",
			edit:   func(f *profiles.Facts) { f.Encapsulation = "GRE" },
			want:   []string{`encapsulation "GRE": want one of None, VXLAN`},
		},
		"TerwayPods": {
			reason: "ACK's page says not to add pod CIDRs with Terway",
			edit:   func(f *profiles.Facts) { f.Mode = profiles.Terway },
			want:   []string{"pod CIDR 172.20.0.0/16 with Terway"},
		},
		"TerwayOverlay": {
			reason: "Terway wraps nothing",
			edit:   func(f *profiles.Facts) { f.Mode, f.PodCIDRs, f.Encapsulation = profiles.Terway, nil, profiles.VXLAN },
			want:   []string{"encapsulation VXLAN with Terway"},
		},
		"FlannelWithoutPods": {
			reason: "routed pod addresses appear on the wire",
			edit:   func(f *profiles.Facts) { f.PodCIDRs = nil },
			want:   []string{"no pod CIDRs with Flannel and no encapsulation"},
		},
		"FlannelVXLANWithoutPods": {
			reason: "wrapped pod addresses are nobody's business",
			edit:   func(f *profiles.Facts) { f.PodCIDRs, f.Encapsulation = nil, profiles.VXLAN },
		},
		"NativeWithoutPods": {
			reason: "native routing shows pod addresses whatever the plugin",
			edit: func(f *profiles.Facts) {
				f.Mode, f.PodCIDRs, f.Encapsulation = profiles.Cilium, nil, profiles.NoEncapsulation
			},
			want: []string{"no pod CIDRs with Cilium"},
		},
		"PortWithoutEncapsulation": {
			reason: "nothing listens",
			edit:   func(f *profiles.Facts) { f.EncapsulationPort = 8472 },
			want:   []string{"encapsulation port 8472 with encapsulation None"},
		},
		"ZeroCIDRs": {
			reason: "a CIDR that was never parsed means nothing",
			edit: func(f *profiles.Facts) {
				f.AdminCIDRs = []rules.CIDR{{Text: "office"}}
				f.NodePorts = &profiles.NodePorts{Peers: []rules.CIDR{{}}}
			},
			want: []string{`admin CIDRs: entry 1 ("office") is no CIDR`, "NodePort peers: entry 1"},
		},
		"APIServerRange": {
			reason: "a load balancer has an address",
			edit:   func(f *profiles.Facts) { f.APIServer = cidrs("192.168.0.0/24") },
			want:   []string{"API server 192.168.0.0/24: want one address"},
		},
		"PodsAmongNodes": {
			reason: "overlapping ranges would let pods pass for nodes",
			edit:   func(f *profiles.Facts) { f.PodCIDRs = cidrs("192.168.0.128/25") },
			want:   []string{"pod CIDR 192.168.0.128/25 overlaps subnet 192.168.0.0/24"},
		},
		"NodePorts": {
			reason: "NodePorts for nobody are a slip",
			edit:   func(f *profiles.Facts) { f.NodePorts = &profiles.NodePorts{Ports: ports(40000, 30000)} },
			want:   []string{"NodePorts without peers", "NodePorts 40000/30000"},
		},
		"HealthChecks": {
			reason: "ports that nobody probes are a slip",
			edit:   func(f *profiles.Facts) { f.HealthCheckPorts = ports(0, 10256) },
			want:   []string{"health-check ports 0/10256 without peers", "health-check ports 0/10256: want"},
		},
		"ExposureShape": {
			reason: "an exposure must make a legal rule",
			edit:   exposure(profiles.Exposure{Direction: 3, Protocol: 300}),
			want:   []string{"direction 3", "a protocol from 0 to 255", "no peers"},
		},
		"ExposureWithoutPorts": {
			reason: "TCP needs ports",
			edit:   exposure(profiles.Exposure{Protocol: rules.TCP, Peers: any4}),
			want:   []string{"exposure 1 (ingress TCP -1/-1): TCP, UDP and SCTP need ports"},
		},
		"ExposurePorts": {
			reason: "a range goes upwards",
			edit:   exposure(profiles.Exposure{Protocol: rules.TCP, Ports: ports(90, 80), Peers: any4}),
			want:   []string{"90/80: want FIRST/LAST"},
		},
		"ExposurePeers": {
			reason: "peers must mean something",
			edit:   exposure(tcp(nil, rules.CIDR{Text: "x"}, rules.GroupPeer{}, rules.PrefixListPeer{}, rules.PrefixListPeer{Name: "pl-1"})),
			want:   []string{"a peer is missing", `peer "x" is no CIDR`, "a group without a name", "a prefix list without a name"},
		},
		"ExposureICMPv6": {
			reason: "ICMPv6 never comes from an IPv4 address",
			edit:   exposure(profiles.Exposure{Protocol: rules.ICMPv6, Peers: any4}),
			want:   []string{"peer 0.0.0.0/0: ICMPv6 has IPv6 peers only"},
		},
		"ExposureToAdvanced": {
			reason: "nobody can name an advanced group",
			edit: func(f *profiles.Facts) {
				poolGroup(f)
				otherAdvanced(f)
				f.Exposures = []profiles.Exposure{tcp(rules.GroupPeer{Name: "sg-shop"})}
			},
			want: []string{`peer is group "sg-shop", which is advanced and cannot be named`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := with(flannel(), tc.edit).Validate()
			if (err == nil) != (len(tc.want) == 0) {
				t.Fatalf("%s\nValidate(): error %v", tc.reason, err)
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%s\nValidate(): error %q, want %q in it", tc.reason, err, w)
				}
			}
		})
	}
}
