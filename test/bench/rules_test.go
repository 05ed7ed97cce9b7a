package bench_test

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// port is where the packets of all measurements go: what decides about them is
// tried last.
const port = 9000

// wires is where all packets come from.
var wires = rules.MustCIDR("198.18.0.0/15")

func number(first string, n int) netip.Addr {
	b := netip.MustParseAddr(first).As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
	return netip.AddrFrom4(b)
}

func cidr(p netip.Prefix) rules.CIDR { return rules.CIDR{Prefix: p, Text: p.String()} }

func accept(protocol rules.Protocol, port int, peer rules.Peer) rules.Rule {
	p := uint16(port)
	return rules.Rule{Action: rules.Accept, Priority: 1, Protocol: protocol, Ports: rules.PortRange{First: p, Last: p}, Peer: peer}
}

// many is n members and n CIDRs in at most 1,000 rules, each with a port of its
// own, and last the rules for what is measured: no member, but of one more CIDR.
func (r *report) many(n int) *nft.Version {
	r.Helper()
	count := min(n, 1_000) - 3
	g := &rules.Group{Name: "g", Ingress: []rules.Rule{accept(rules.TCP, 443, rules.GroupPeer{Name: "db"})}}
	lists := map[string]rules.PrefixList{}
	for i := range count {
		l := rules.PrefixList{Name: fmt.Sprint("list-", i)}
		for k := i; k < n; k += count {
			l.Entries = append(l.Entries, cidr(netip.PrefixFrom(number("11.0.0.0", k<<8), 25)))
		}
		lists[l.Name] = l
		g.Ingress = append(g.Ingress, accept([]rules.Protocol{rules.TCP, rules.UDP}[i%2], 10_000+i, rules.PrefixListPeer{Name: l.Name}))
	}
	g.Ingress = append(g.Ingress, accept(rules.TCP, port, wires), accept(rules.UDP, port, wires))
	return r.version(g, lists, members(n))
}

// A flat list is n rules of one CIDR and one port each, the last of which lets
// in what is measured. In a wide one all CIDRs hold the sender, as those of a
// VPC do, and the ports differ; else the CIDRs differ, four rules each.
type flat struct {
	rules int
	wide  bool
}

func (f flat) at(i int) (netip.Prefix, int) {
	if i == f.rules-1 {
		return wires.Prefix, port
	}
	if f.wide {
		return []netip.Prefix{wires.Prefix, netip.MustParsePrefix("198.16.0.0/14"), netip.MustParsePrefix("198.16.0.0/13"), netip.MustParsePrefix("198.0.0.0/9")}[i%4], 10_000 + i
	}
	return netip.PrefixFrom(number("11.0.0.0", i/4<<8), 25), 10_000 + i%4
}

func (r *report) flat(f flat) *nft.Version {
	r.Helper()
	g := &rules.Group{Name: "g"}
	for i := range f.rules {
		peer, port := f.at(i)
		g.Ingress = append(g.Ingress, accept(rules.UDP, port, cidr(peer)))
	}
	return r.version(g, nil, nil)
}

// text is the same as one chain that is walked, and counts as ours does.
func (f flat) text() string {
	var w strings.Builder
	w.WriteString("table inet linear {\n chain in {\n type filter hook prerouting priority -160; policy accept;\n")
	for i := range f.rules {
		peer, port := f.at(i)
		fmt.Fprintf(&w, "  ip saddr %s udp dport %d counter accept\n", peer, port)
	}
	w.WriteString("  counter drop\n }\n}\n")
	return w.String()
}

// tables is the same for iptables-restore.
func (f flat) tables() string {
	var w strings.Builder
	w.WriteString("*filter\n:INPUT ACCEPT [0:0]\n")
	for i := range f.rules {
		peer, port := f.at(i)
		fmt.Fprintf(&w, "-A INPUT -s %s -p udp --dport %d -j ACCEPT\n", peer, port)
	}
	w.WriteString("-A INPUT -j DROP\nCOMMIT\n")
	return w.String()
}

func members(n int) *rules.Membership {
	list := make([]netip.Prefix, n)
	for i := range list {
		list[i] = netip.PrefixFrom(number("10.0.0.0", i), 32)
	}
	m := &rules.Membership{}
	m.Set("db", list)
	return m
}

func (r *report) version(g *rules.Group, lists map[string]rules.PrefixList, m *rules.Membership) *nft.Version {
	r.Helper()
	v, err := r.compiler(g, lists).Version(cmp.Or(m, &rules.Membership{}))
	r.check(err)
	return v
}

func (r *report) compiler(g *rules.Group, lists map[string]rules.PrefixList) *nft.Compiler {
	r.Helper()
	merged, err := rules.Merge([]*rules.Group{g}, lists)
	r.check(err)
	tables, err := profiles.Load()
	r.check(err)
	c, err := nft.New(nft.Input{Ruleset: merged, Exempt: tables.Exempt()})
	r.check(err)
	return c
}
