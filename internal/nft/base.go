package nft

import (
	"ringfence.dev/ringfence/rules"
	"ringfence.dev/ringfence/rules/flowset"
)

// baseChains returns the two base chains, named by their content, after what
// they lead to. Packets pass them in this order: not ours; let in before; said
// to belong to what was; exempt by the hop limit; without a flow that could be
// followed; of a flow that was cut; all others. What was cut is not asked for
// packets without a flow: it could not have been cut, and they are the ones
// that pay for every rule each time.
func (c *Compiler) baseChains() []Node {
	related := Node{Rules: []Rule{AcceptProtocol{uint8(rules.ICMP)}, AcceptProtocol{uint8(rules.ICMPv6)}}}
	related.Name = "related_" + related.hash()
	out := []Node{related}
	for _, d := range sides {
		egress := d == rules.Egress
		revoked, untracked := revokedNode(d), untrackedNode(d)
		n := Node{Hook: &Hook{"prerouting", -160}}
		if egress {
			n.Hook = &Hook{"postrouting", 150}
		}
		n.Rules = []Rule{AcceptForeign{egress}, AcceptEstablished{}, JumpRelated{related.Name}}
		for _, e := range c.in.Exempt {
			if e.HopLimit255 {
				n.Rules = append(n.Rules, AcceptLinkLocal{e.FirstType, e.LastType})
			}
		}
		n.Rules = append(n.Rules,
			GotoUntracked{untracked.Name}, GotoRevoked{d, flowset.IPv4, revoked.Name}, GotoRevoked{d, flowset.IPv6, revoked.Name}, Goto{Policy(d)})
		n.Name = "base_" + short[d] + "_" + n.hash()
		out = append(out, revoked, untracked, n)
	}
	return out
}

// Untracked names the chain and the counter of a direction's packets that the
// host follows no flow for. What it holds never changes: another one needs
// another name.
func Untracked(d rules.Direction) string { return "untracked_" + short[d] }

// untrackedNode counts, and leads to the rules. ICMPv6 is not counted: the
// kernel itself follows no flow for what neighbours say to each other.
func untrackedNode(d rules.Direction) Node {
	name := Untracked(d)
	return Node{Name: name, Counted: true, Rules: []Rule{GotoProtocol{uint8(rules.ICMPv6), Policy(d)}, Count{name}, Goto{Policy(d)}}}
}

// Revoked names the chain and the counter of a direction's packets of flows
// that were cut. What it holds never changes, either.
func Revoked(d rules.Direction) string { return "revoked_" + short[d] + "_drop" }

func revokedNode(d rules.Direction) Node {
	name := Revoked(d)
	return Node{Name: name, Counted: true, Rules: []Rule{
		RenewRevoked{d, flowset.IPv4},
		RenewRevoked{d, flowset.IPv6},
		Count{name},
		Log{prefix("ringfence drop", name, "revoked")},
		Drop{},
	}}
}
