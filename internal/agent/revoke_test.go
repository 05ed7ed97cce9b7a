package agent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/conntrack"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/rules"
)

// entry is a flow, written "FROM TO" and, if somebody translates it, where the
// answers come from and go to.
func entry(protocol rules.Protocol, ends string) *conntrack.Entry {
	var at []netip.AddrPort
	for s := range strings.FieldsSeq(ends) {
		at = append(at, netip.MustParseAddrPort(s))
	}
	if len(at) == 2 {
		at = append(at, at[1], at[0])
	}
	return &conntrack.Entry{
		Protocol: uint8(protocol), ICMPType: 8,
		Original: conntrack.Tuple{Source: at[0], Destination: at[1]}, Reply: conntrack.Tuple{Source: at[2], Destination: at[3]},
	}
}

// lets is a rule of group g.
func lets(d rules.Direction, a rules.Action, p rules.Protocol, port uint16, peer rules.Peer) rules.Rule {
	r := rules.Rule{Direction: d, Action: a, Priority: 1, Protocol: p, Peer: peer}
	if p.HasPorts() {
		r.Ports = rules.PortRange{First: port, Last: port}
	}
	return r
}

// layoutOf is a host that wears a basic group with these rules; app has these
// members.
func layoutOf(t *testing.T, observe bool, app string, list ...rules.Rule) *layout {
	t.Helper()
	g := &rules.Group{Name: "g"}
	for _, r := range list {
		g.Append(r)
	}
	rs, err := rules.Merge([]*rules.Group{g}, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := &Order{Ruleset: convert.RulesetSpec(rs, nil), Observe: observe, Members: map[string][]netip.Addr{}}
	o.Members["app"] = addrs(app)
	l, err := lay(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestWhatIsCut: the host is 10.0.0.1, its pods are in 172.20.0.0/16, and
// everything else lies behind an uplink.
func TestWhatIsCut(t *testing.T) {
	inside := netip.MustParsePrefix("172.20.0.0/16")
	byUplink := func(a netip.Addr) bool {
		return a != netip.MustParseAddr("10.0.0.1") && !inside.Contains(a) && !a.IsLoopback()
	}
	any4, app := rules.MustCIDR("0.0.0.0/0"), rules.GroupPeer{Name: "app"}
	web := lets(rules.Ingress, rules.Accept, rules.TCP, 80, any4)
	node := lets(rules.Ingress, rules.Accept, rules.TCP, 30080, any4)
	ping := lets(rules.Ingress, rules.Accept, rules.ICMP, 0, any4)
	noHTTPS := lets(rules.Egress, rules.Drop, rules.TCP, 443, any4)
	fromApp := lets(rules.Ingress, rules.Accept, rules.UDP, 53, app)
	notApp := lets(rules.Egress, rules.Drop, rules.UDP, 53, app)
	none := layoutOf(t, false, "")
	joined := layoutOf(t, false, "")
	joined.order.Plane = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:6443")}
	for name, c := range map[string]struct {
		old, next *layout
		protocol  rules.Protocol
		ends      string
		want      string // the flow as it is cut; empty if it stays
	}{
		"the rule goes":                      {layoutOf(t, false, "", web), none, rules.TCP, "10.0.0.2:9 10.0.0.1:80", "ingress TCP 10.0.0.2:9 -> 10.0.0.1:80"},
		"IPv6 is another family":             {layoutOf(t, false, "", web), none, rules.TCP, "[fd00::2]:9 [fd00::1]:80", ""},
		"the rule stays":                     {layoutOf(t, false, "", web, ping), layoutOf(t, false, "", web), rules.TCP, "10.0.0.2:9 10.0.0.1:80", ""},
		"it was never let in":                {layoutOf(t, false, "", web), none, rules.TCP, "10.0.0.2:9 10.0.0.1:81", ""},
		"nothing is known of before":         {nil, none, rules.TCP, "10.0.0.2:9 10.0.0.1:81", "ingress TCP 10.0.0.2:9 -> 10.0.0.1:81"},
		"the agent's own, seen backwards":    {nil, joined, rules.TCP, "10.0.0.2:6443 10.0.0.1:40000", ""},
		"out, seen backwards":                {nil, none, rules.TCP, "10.0.0.2:443 10.0.0.1:40000", ""},
		"which must not go out":              {nil, layoutOf(t, false, "", noHTTPS), rules.TCP, "10.0.0.2:443 10.0.0.1:40000", "ingress TCP 10.0.0.2:443 -> 10.0.0.1:40000"},
		"in, seen backwards":                 {nil, layoutOf(t, false, "", web, noHTTPS), rules.TCP, "10.0.0.1:80 10.0.0.2:443", ""},
		"later it is known who began it":     {layoutOf(t, false, "", lets(rules.Ingress, rules.Accept, rules.TCP, 40000, any4)), none, rules.TCP, "10.0.0.2:443 10.0.0.1:40000", "ingress TCP 10.0.0.2:443 -> 10.0.0.1:40000"},
		"before, it only observed":           {layoutOf(t, true, "", web), layoutOf(t, false, "", web), rules.TCP, "10.0.0.2:9 10.0.0.1:81", "ingress TCP 10.0.0.2:9 -> 10.0.0.1:81"},
		"it only observes":                   {layoutOf(t, false, "", web), layoutOf(t, true, ""), rules.TCP, "10.0.0.2:9 10.0.0.1:80", ""},
		"what has no ports":                  {layoutOf(t, false, "", ping), none, rules.ICMP, "10.0.0.2:0 10.0.0.1:0", "ingress ICMP 10.0.0.2 -> 10.0.0.1"},
		"a pod to the host is none of ours":  {layoutOf(t, false, "", web), none, rules.TCP, "172.20.0.5:9 10.0.0.1:80", ""},
		"pods among themselves neither":      {layoutOf(t, false, "", web), none, rules.TCP, "172.20.0.5:9 172.20.0.6:80", ""},
		"nor the loopback":                   {layoutOf(t, false, "", web), none, rules.TCP, "127.0.0.1:9 127.0.0.1:80", ""},
		"nor the host to itself":             {layoutOf(t, false, "", web), none, rules.TCP, "10.0.0.1:9 10.0.0.1:80", ""},
		"a NodePort by its own number":       {layoutOf(t, false, "", node), none, rules.TCP, "10.0.0.2:9 10.0.0.1:30080 172.20.0.5:8080 10.0.0.2:9", "ingress TCP 10.0.0.2:9 -> 10.0.0.1:30080"},
		"not by the pod's":                   {layoutOf(t, false, "", web), none, rules.TCP, "10.0.0.2:9 10.0.0.1:30080 172.20.0.5:80 10.0.0.2:9", ""},
		"egress":                             {none, layoutOf(t, false, "", noHTTPS), rules.TCP, "10.0.0.1:9 10.0.0.2:443", "egress TCP 10.0.0.1:9 -> 10.0.0.2:443"},
		"a masqueraded pod as the host":      {none, layoutOf(t, false, "", noHTTPS), rules.TCP, "172.20.0.5:9 10.0.0.2:443 10.0.0.2:443 10.0.0.1:61000", "egress TCP 10.0.0.1:61000 -> 10.0.0.2:443"},
		"a service by where it leads":        {none, layoutOf(t, false, "", noHTTPS), rules.TCP, "10.0.0.1:9 172.21.0.1:80 10.0.0.3:443 10.0.0.1:9", "egress TCP 10.0.0.1:9 -> 10.0.0.3:443"},
		"a service on this host stays":       {none, layoutOf(t, false, "", noHTTPS), rules.TCP, "10.0.0.1:9 172.21.0.1:443 172.20.0.5:443 10.0.0.1:9", ""},
		"an answer is no egress":             {none, layoutOf(t, false, "", noHTTPS), rules.TCP, "10.0.0.2:443 10.0.0.1:9", ""},
		"what is passed on, where it leaves": {layoutOf(t, false, "", web), layoutOf(t, false, "", web, lets(rules.Egress, rules.Drop, rules.TCP, 80, any4)), rules.TCP, "10.0.0.2:9 10.0.0.3:80", "egress TCP 10.0.0.2:9 -> 10.0.0.3:80"},
		"a member leaves":                    {layoutOf(t, false, "10.0.0.2 10.0.0.3", fromApp), layoutOf(t, false, "10.0.0.3", fromApp), rules.UDP, "10.0.0.2:9 10.0.0.1:53", "ingress UDP 10.0.0.2:9 -> 10.0.0.1:53"},
		"another one stays":                  {layoutOf(t, false, "10.0.0.2 10.0.0.3", fromApp), layoutOf(t, false, "10.0.0.3", fromApp), rules.UDP, "10.0.0.3:9 10.0.0.1:53", ""},
		"one comes whom a rule drops":        {layoutOf(t, false, "", notApp), layoutOf(t, false, "10.0.0.2", notApp), rules.UDP, "10.0.0.1:9 10.0.0.2:53", "egress UDP 10.0.0.1:9 -> 10.0.0.2:53"},
	} {
		closing := newClosing(c.old, c.next)
		got := ""
		if closing != nil {
			cut := closing.cut(entry(c.protocol, c.ends), byUplink)
			for i := range cut {
				got += cut[i].String()
			}
		}
		if got != c.want {
			t.Errorf("%s: cut %q, want %q", name, got, c.want)
		}
	}
}

// TestWhoMayComeBack: of the flows that were cut, those that are let in again.
func TestWhoMayComeBack(t *testing.T) {
	list := []apply.Revoked{
		{Direction: rules.Ingress, Protocol: rules.TCP, Peer: netip.MustParseAddrPort("10.0.0.2:9"), Own: netip.MustParseAddrPort("10.0.0.1:80")},
		{Direction: rules.Ingress, Protocol: rules.TCP, Peer: netip.MustParseAddrPort("10.0.0.2:9"), Own: netip.MustParseAddrPort("10.0.0.1:81")},
		{Direction: rules.Egress, Protocol: rules.TCP, Peer: netip.MustParseAddrPort("10.0.0.2:443"), Own: netip.MustParseAddrPort("10.0.0.1:9")},
	}
	any4 := rules.MustCIDR("0.0.0.0/0")
	noHTTPS := lets(rules.Egress, rules.Drop, rules.TCP, 443, any4)
	was := layoutOf(t, false, "", noHTTPS)
	for name, c := range map[string]struct {
		next *layout
		want []apply.Revoked
	}{
		"a rule for the first": {layoutOf(t, false, "", noHTTPS, lets(rules.Ingress, rules.Accept, rules.TCP, 80, any4)), list[:1]},
		"egress is open again": {layoutOf(t, false, ""), list[2:]},
		"it only observes":     {layoutOf(t, true, "", noHTTPS), list},
	} {
		if got := newClosing(was, c.next).pardoned(list); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
