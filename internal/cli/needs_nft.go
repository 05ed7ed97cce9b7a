package cli

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

const nftHead = `#!/usr/sbin/nft -f
# What the cluster needs, written by ringfence needs -o nft.
#
# It is a place to start from, for hosts without ringfence-agent, the same for each
# of them. It drops nothing: what no rule accepts is counted and passes. Look at the
# last counter of each chain (nft list table inet ringfence_needs); once it holds
# nothing that you miss, write "counter drop" there. Addresses are those of now: write
# it anew when nodes or pods move.

# The interface that leads to the other hosts.
define uplink = "eth0"

table inet ringfence_needs
delete table inet ringfence_needs

table inet ringfence_needs {
`

// The chains judge where a security group outside of the host would: what comes
// in before its destination is translated, what goes out after its source is.
const (
	nftIngress = "  chain ingress {\n    type filter hook prerouting priority -160; policy accept;\n    iifname != $uplink accept\n    jump always\n"
	nftEgress  = "  chain egress {\n    type filter hook postrouting priority 150; policy accept;\n    oifname != $uplink accept\n    jump always\n"
	nftEnd     = "\n    # What nothing above needs.\n    counter accept\n  }\n"
)

// writeNft writes needs as a script for nft. A need that makes no rule stands in
// it with the reason.
func writeNft(w io.Writer, r *discover.Report) error {
	tables, err := profiles.Load()
	if err != nil {
		return err
	}
	s := nftScript{sets: map[discover.Party]nftSets{}}
	for i := range r.Parties {
		s.set(i, &r.Parties[i])
	}
	s.always(tables.Exempt())
	s.chain(nftIngress, r.Needs, func(n *discover.Need) bool { return inside(n.To) })
	s.chain(nftEgress, r.Needs, func(n *discover.Need) bool { return inside(n.From) })
	s.b.WriteString("}\n")
	for i := range r.Unknown {
		s.comment("", "unknown: "+r.Unknown[i].About+": "+r.Unknown[i].Why)
	}
	_, err = io.WriteString(w, nftHead+s.b.String())
	return err
}

// inside reports whether a party may be on a host of the cluster.
func inside(p discover.Party) bool {
	outside := []discover.PartyKind{discover.Anywhere, discover.LoadBalancer, discover.CIDR, discover.External}
	return !slices.Contains(outside, p.Kind)
}

type nftScript struct {
	b    strings.Builder
	sets map[discover.Party]nftSets
}

// nftSets are the names of the sets that hold the addresses of a party, by family.
// Empty for none.
type nftSets struct{ v4, v6 string }

// comment writes a comment. Objects' words must not end it.
func (s *nftScript) comment(indent, text string) {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	const width = 110
	for _, line := range wrap(text, width) {
		fmt.Fprintf(&s.b, "%s# %s\n", indent, line)
	}
}

func (s *nftScript) set(i int, l *discover.Located) {
	var sets nftSets
	s.comment("  ", l.Party.String())
	for _, family := range []struct {
		name, kind string
		into       *string
		is         func(netip.Prefix) bool
	}{
		{"v4", "ipv4_addr", &sets.v4, func(p netip.Prefix) bool { return p.Addr().Is4() }},
		{"v6", "ipv6_addr", &sets.v6, func(p netip.Prefix) bool { return p.Addr().Is6() }},
	} {
		elements := disjoint(slices.DeleteFunc(slices.Clone(l.Prefixes), func(p netip.Prefix) bool { return !family.is(p) }))
		if len(elements) == 0 {
			continue
		}
		*family.into = fmt.Sprintf("party%d_%s", i+1, family.name)
		fmt.Fprintf(&s.b, "  set %s {\n    type %s; flags interval;\n    elements = { %s }\n  }\n", *family.into, family.kind, strings.Join(elements, ",\n      "))
	}
	s.sets[l.Party] = sets
}

// disjoint writes prefixes without those that lie in others, which nft refuses.
func disjoint(prefixes []netip.Prefix) []string {
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	var out []string
	var last netip.Prefix
	for _, p := range prefixes {
		if last.IsValid() && last.Overlaps(p) {
			continue
		}
		last = p
		out = append(out, addressText(p))
	}
	return out
}

// always writes what passes on any host before anything else is asked.
func (s *nftScript) always(exempt []rules.Exempt) {
	s.b.WriteString("\n  chain always {\n    ct state established accept\n    ct state related meta l4proto { icmp, ipv6-icmp } accept\n")
	for i := range exempt {
		e := &exempt[i]
		if e.Peer != nil {
			continue // loopback, which is on no uplink
		}
		s.comment("    ", e.Name+": "+e.Why)
		switch {
		case e.Protocol == rules.ICMP:
			fmt.Fprintf(&s.b, "    icmp type %d-%d accept\n", e.FirstType, e.LastType)
		case e.Protocol == rules.ICMPv6 && e.HopLimit255:
			fmt.Fprintf(&s.b, "    ip6 hoplimit 255 icmpv6 type %d-%d accept\n", e.FirstType, e.LastType)
		case e.Protocol == rules.ICMPv6:
			fmt.Fprintf(&s.b, "    icmpv6 type %d-%d accept\n", e.FirstType, e.LastType)
		default:
			fmt.Fprintf(&s.b, "    %s accept\n", nftProtocol(e.Protocol, e.Ports))
		}
	}
	s.b.WriteString("  }\n")
}

func (s *nftScript) chain(head string, needs []discover.Need, concerns func(*discover.Need) bool) {
	s.b.WriteString("\n" + head)
	for i := range needs {
		n := &needs[i]
		if !concerns(n) {
			continue
		}
		s.b.WriteString("\n")
		s.comment("    ", fmt.Sprintf("%s: %s > %s: %s. Without it %s. Because of %s.",
			n.Class, n.From, n.To, protocolPort(n.Protocol, n.Ports), n.Why, becauseText(&n.Because)))
		lines, why := s.rules(n)
		if why != "" {
			s.comment("    ", "No rule: "+why+".")
		}
		for _, line := range lines {
			fmt.Fprintf(&s.b, "    %s counter accept\n", line)
		}
	}
	s.b.WriteString(nftEnd)
}

// rules returns what matches a need, or why nothing does.
func (s *nftScript) rules(n *discover.Need) (lines []string, why string) {
	if n.Wire == discover.Overlay {
		return nil, "it is carried by " + n.In + ", which has one"
	}
	if n.Wire == discover.WireUnknown {
		return nil, "what it looks like on the wire is not known"
	}
	for _, p := range []discover.Party{n.From, n.To} {
		if p.Kind != discover.Anywhere && s.sets[p] == (nftSets{}) {
			return nil, "the addresses of " + p.String() + " are not known"
		}
	}
	from, to := s.sets[n.From], s.sets[n.To]
	for _, f := range []struct{ family, from, to string }{{"ip", from.v4, to.v4}, {"ip6", from.v6, to.v6}} {
		var words []string
		if n.From.Kind != discover.Anywhere {
			words = append(words, f.family+" saddr @"+f.from)
		}
		if n.To.Kind != discover.Anywhere {
			words = append(words, f.family+" daddr @"+f.to)
		}
		if !slices.ContainsFunc(words, func(w string) bool { return strings.HasSuffix(w, "@") }) {
			lines = append(lines, strings.TrimSpace(strings.Join(words, " ")+" "+nftProtocol(n.Protocol, n.Ports)))
		}
	}
	if len(lines) == 0 {
		return nil, "its two ends have no family of addresses in common"
	}
	return lines, ""
}

// nftProtocol matches a protocol and its ports, nothing for all.
func nftProtocol(proto rules.Protocol, ports rules.PortRange) string {
	switch {
	case proto == rules.AllProtocols:
		return ""
	case !proto.HasPorts():
		return "meta l4proto " + strconv.Itoa(int(proto))
	case ports.First == ports.Last:
		return fmt.Sprintf("%s dport %d", strings.ToLower(proto.String()), ports.First)
	}
	return fmt.Sprintf("%s dport %d-%d", strings.ToLower(proto.String()), ports.First, ports.Last)
}
