package profiles_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// loadOnce spares the tests of hundreds of clusters from reading the tables each time.
var loadOnce = sync.OnceValues(profiles.Load)

func mustLoad(t *testing.T) *profiles.Tables {
	t.Helper()
	tables, err := loadOnce()
	if err != nil {
		t.Fatalf("Load(): %v", err)
	}
	return tables
}

func expand(t *testing.T, f *profiles.Facts, s profiles.Scope) profiles.Expansion {
	t.Helper()
	e, err := mustLoad(t).Expand(f, s)
	if err != nil {
		t.Fatalf("Expand(%s): %v", s, err)
	}
	return e
}

func cidrs(texts ...string) []rules.CIDR {
	var out []rules.CIDR
	for _, s := range texts {
		out = append(out, rules.MustCIDR(s))
	}
	return out
}

func ports(first, last uint16) rules.PortRange { return rules.PortRange{First: first, Last: last} }

// flannel is an ACK cluster with routed pods and a basic group of its own.
func flannel() *profiles.Facts {
	return &profiles.Facts{
		Cluster: "shop", Group: "sg-shop", GroupType: rules.Basic, InnerAccess: true,
		Mode:        profiles.Flannel,
		VPC:         cidrs("192.168.0.0/16"),
		NodeSubnets: cidrs("192.168.0.0/24"),
		PodCIDRs:    cidrs("172.20.0.0/16"),
		APIServer:   cidrs("192.168.0.200"),
	}
}

// terway is an ACK cluster with pods in subnets and a basic group of its own.
func terway() *profiles.Facts {
	f := flannel()
	f.Mode, f.PodCIDRs = profiles.Terway, nil
	f.NodeSubnets, f.PodSubnets = cidrs("192.168.0.0/19"), cidrs("192.168.32.0/19")
	return f
}

// with returns f after some edits, so that a case says only what is special.
func with(f *profiles.Facts, edits ...func(*profiles.Facts)) *profiles.Facts {
	for _, edit := range edits {
		edit(f)
	}
	return f
}

func advanced(f *profiles.Facts) {
	f.GroupType, f.InnerAccess = rules.Advanced, false
	for i := range f.Others {
		f.Others[i].Type = rules.Advanced
	}
}

func innerDrop(f *profiles.Facts) { f.InnerAccess = false }

// poolGroup makes the group at hand one of a node pool, beside the cluster's.
func poolGroup(f *profiles.Facts) {
	f.Group, f.Others = "sg-pool", []profiles.OtherGroup{{Name: "sg-shop"}}
}

// manyPools has so many groups in one cluster that they cannot all be named.
func manyPools(f *profiles.Facts) {
	for i := range 12 {
		f.Others = append(f.Others, profiles.OtherGroup{Name: fmt.Sprintf("sg-pool-%d", i)})
	}
}

// otherAdvanced makes the cluster's group, beside the group at hand, advanced.
func otherAdvanced(f *profiles.Facts) { f.Others[0].Type = rules.Advanced }

func dualStack(f *profiles.Facts) {
	f.VPC = append(f.VPC, cidrs("2001:db8::/56")...)
	f.NodeSubnets = append(f.NodeSubnets, cidrs("2001:db8::/64")...)
	if f.Mode != profiles.Terway {
		f.PodCIDRs = append(f.PodCIDRs, cidrs("fd00:20::/56")...)
	}
}

// everything turns on every row that ACK's tables leave out.
func everything(f *profiles.Facts) {
	f.Poseidon, f.BGP, f.Etcd, f.DHCP = true, true, true, true
	f.WebhookPorts = []uint16{8443, 9443}
	f.Hooks, f.Callers = []uint16{10250, 15017}, cidrs("192.168.0.11", "192.168.0.12")
	f.NodePorts = &profiles.NodePorts{Peers: cidrs("0.0.0.0/0")}
	f.HealthCheckPeers = cidrs("100.64.0.0/10")
	f.AdminCIDRs = cidrs("203.0.113.0/24")
	f.NTPServers = cidrs("198.51.100.7")
	f.Metadata = cidrs("169.254.169.254")
	f.Exposures = []profiles.Exposure{
		{Direction: rules.Ingress, Protocol: rules.TCP, Ports: ports(443, 443), Peers: []rules.Peer{rules.MustCIDR("0.0.0.0/0")}},
		{Direction: rules.Egress, Protocol: rules.TCP, Ports: ports(5432, 5432), Peers: []rules.Peer{rules.MustCIDR("10.9.0.0/16")}},
	}
}

// lines prints rules without their descriptions, for comparing.
func lines(list []rules.Rule) []string {
	var out []string
	for _, r := range list {
		out = append(out, line(r.Direction, r.Row, r.Protocol, r.Ports, r.Peer))
	}
	return out
}

func needLines(list []rules.Need) []string {
	var out []string
	for _, n := range list {
		out = append(out, line(n.Direction, n.ID, n.Protocol, n.Ports, n.Peer))
	}
	return out
}

func line(d rules.Direction, row string, p rules.Protocol, r rules.PortRange, peer rules.Peer) string {
	kind := ""
	if _, ok := peer.(rules.GroupPeer); ok {
		kind = "group "
	}
	return fmt.Sprintf("%s %s %s %s %s%s", d, row, p, r, kind, peer)
}

// of keeps the lines of some rows.
func of(list []string, rows ...string) []string {
	var out []string
	for _, l := range list {
		if slices.Contains(rows, strings.Fields(l)[1]) {
			out = append(out, l)
		}
	}
	return out
}

func reasonFor(e profiles.Expansion, row string) string {
	var out []string
	for _, s := range e.Skipped {
		if s.Row == row {
			out = append(out, s.Reason)
		}
	}
	return strings.Join(out, "; ")
}

func wantLines(t *testing.T, reason string, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s\n-want +got:\n%s", reason, diff)
	}
}

// clusters are the shapes that every table has to suit.
func clusters() map[string]func() *profiles.Facts {
	out := map[string]func() *profiles.Facts{}
	for mode, mk := range map[string]func() *profiles.Facts{
		"Flannel": flannel, "Terway": terway, "FlannelVXLAN": func() *profiles.Facts {
			return with(flannel(), func(f *profiles.Facts) { f.Encapsulation = profiles.VXLAN })
		},
		"CalicoIPIP": func() *profiles.Facts {
			return with(flannel(), func(f *profiles.Facts) { f.Mode = profiles.Calico })
		},
		"CiliumWireGuard": func() *profiles.Facts {
			return with(flannel(), func(f *profiles.Facts) {
				f.Mode, f.Encapsulation = profiles.Cilium, profiles.WireGuard
			})
		},
		"AntreaGeneve": func() *profiles.Facts {
			return with(flannel(), func(f *profiles.Facts) { f.Mode = profiles.Antrea })
		},
	} {
		for group, edit := range map[string]func(*profiles.Facts){
			"BasicInnerAccept": func(*profiles.Facts) {}, "BasicInnerDrop": innerDrop, "Advanced": advanced,
			"PoolOfBasic":         poolGroup,
			"PoolOfBasicDrop":     func(f *profiles.Facts) { poolGroup(f); innerDrop(f) },
			"PoolOfAdvanced":      func(f *profiles.Facts) { poolGroup(f); otherAdvanced(f) },
			"AdvancedPoolOfBasic": func(f *profiles.Facts) { advanced(f); poolGroup(f) },
			"ManyPools":           manyPools,
		} {
			for stack, more := range map[string]func(*profiles.Facts){
				"": func(*profiles.Facts) {}, "DualStack": dualStack,
				"Everything": everything, "DualStackEverything": func(f *profiles.Facts) { dualStack(f); everything(f) },
			} {
				out[mode+group+stack] = func() *profiles.Facts { return with(mk(), edit, more) }
			}
		}
	}
	return out
}

func scopes() []profiles.Scope {
	return []profiles.Scope{profiles.Recommended, profiles.LeastPrivilege}
}

// illegal says what is wrong with a rule for a group, by the words of package rules.
func illegal(r rules.Rule, f *profiles.Facts) string {
	cidr, isCIDR := r.Peer.(rules.CIDR)
	group, isGroup := r.Peer.(rules.GroupPeer)
	switch {
	case r.Priority < 1 || r.Priority > 100:
		return "priority"
	case r.Action == rules.Accept && r.Priority != 1:
		return "accept not at priority 1"
	case r.Protocol.HasPorts() == r.Ports.IsZero():
		return "ports do not suit the protocol"
	case !r.Ports.IsZero() && (r.Ports.First < 1 || r.Ports.First > r.Ports.Last):
		return "ports"
	case r.Peer == nil:
		return "no peer"
	case isGroup && f.GroupType == rules.Advanced:
		return "an advanced group names a group"
	case isGroup && group.Name == f.Group:
		return "a group names itself"
	case isGroup && slices.Contains(f.Others, profiles.OtherGroup{Name: group.Name, Type: rules.Advanced}):
		return "an advanced group is named"
	case isCIDR && !cidr.Prefix.IsValid():
		return "peer"
	case isCIDR && r.Protocol == rules.ICMP && cidr.Prefix.Addr().Is6():
		return "ICMP with an IPv6 peer"
	case isCIDR && r.Protocol == rules.ICMPv6 && cidr.Prefix.Addr().Is4():
		return "ICMPv6 with an IPv4 peer"
	case r.Row == "" || r.Description == "" || len(r.Description) > 512:
		return "row or description"
	case r.Member != netip.Prefix{} || !r.SourcePorts.IsZero():
		return "five-tuple fields"
	}
	return ""
}

// admits says whether a group with these rules lets a need through, by the
// plain reading: members first, then accepts, then what the type does.
func admits(list []rules.Rule, n rules.Need, f *profiles.Facts) bool {
	if f.InnerAccess && n.Direction == rules.Ingress && n.Peer == rules.Peer(rules.GroupPeer{Name: f.Group}) {
		return true
	}
	closed := f.GroupType == rules.Advanced || n.Direction == rules.Ingress
	for _, r := range list {
		if r.Direction != n.Direction {
			continue
		}
		if r.Action == rules.Drop {
			closed = true
			continue
		}
		fits := r.Protocol == rules.AllProtocols ||
			r.Protocol == n.Protocol && r.Ports.First <= n.Ports.First && n.Ports.Last <= r.Ports.Last
		if fits && contains(r.Peer, n.Peer) {
			return true
		}
	}
	return !closed
}

func contains(outer, inner rules.Peer) bool {
	o, ok1 := outer.(rules.CIDR)
	i, ok2 := inner.(rules.CIDR)
	if !ok1 || !ok2 {
		return outer == inner
	}
	return o.Prefix.Bits() <= i.Prefix.Bits() && o.Prefix.Contains(i.Prefix.Addr())
}
