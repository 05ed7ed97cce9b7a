package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"ringfence.dev/ringfence/internal/conntrack"
	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/rules"
)

// A passage is a flow of the kernel's table as one of our hooks judged its
// first packet.
type passage struct {
	flow rules.Flow
	// wire is the flow by its ends.
	wire apply.Revoked
}

// comesIn returns an entry as it is judged at ingress: by the first packet
// before anything is translated.
func comesIn(e *conntrack.Entry) passage {
	return pass(rules.Ingress, e, e.Original.Source, e.Original.Destination)
}

// goesOut returns an entry as it is judged at egress: by the first packet after
// everything is translated, which is what the reply answers to.
func goesOut(e *conntrack.Entry) passage {
	return pass(rules.Egress, e, e.Reply.Source, e.Reply.Destination)
}

func pass(d rules.Direction, e *conntrack.Entry, peer, own netip.AddrPort) passage {
	protocol := rules.Protocol(e.Protocol)
	to, from := own.Port(), peer.Port()
	if d == rules.Egress {
		to, from = from, to
	}
	return passage{
		flow: rules.Flow{
			Direction: d, Protocol: protocol, Local: own.Addr(), Remote: peer.Addr(),
			Port: to, SourcePort: from, HasSourcePort: true, ICMPType: e.ICMPType,
		},
		wire: apply.Revoked{Direction: d, Protocol: protocol, Peer: peer, Own: own},
	}
}

// A closing is what a change of what is enforced means for flows that are there
// already.
type closing struct {
	// peers are those for which the change may mean anything; nil for everybody.
	peers map[netip.Addr]bool
	// none says that no flow can have closed.
	none          bool
	before, after umpire
}

// An umpire tells what a layout lets through. Its rules are compiled when it is
// first asked, which after most changes of members nobody does: no flow is there
// that they are about.
type umpire struct {
	layout *layout // nil if nobody knows the rules: everything
	peers  map[netip.Addr]bool
	policy *rules.Policy
	// err is why it cannot tell; it then lets everything through.
	err error
}

// newClosing compares two layouts; the first is nil if it is not known what was
// enforced before. It returns nil if the change means nothing for any flow.
func newClosing(old, next *layout) *closing {
	c := &closing{none: next.order.Observe}
	if old != nil && old.version.Name == next.version.Name {
		changed := changes(old.order, next.order)
		if len(changed) == 0 {
			return nil
		}
		c.peers = map[netip.Addr]bool{}
		for i := range changed {
			c.peers[changed[i].Address] = true
		}
		c.none = c.none || onlyJoins(next.rules, changed)
	}
	c.before, c.after = umpire{layout: old, peers: c.peers}, umpire{layout: next, peers: c.peers}
	return c
}

// err is why it cannot be told what has closed; nil if it can.
func (c *closing) err() error { return errors.Join(c.before.err, c.after.err) }

// onlyJoins reports whether changes of members can only let more through:
// addresses come into groups, and no rule drops anything of a group.
func onlyJoins(rs *rules.Ruleset, changed []nft.Change) bool {
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		for i := range rs.Rules(d) {
			r := &rs.Rules(d)[i]
			if _, ok := r.Peer.(rules.GroupPeer); ok && r.Action == rules.Drop {
				return false
			}
		}
	}
	return !slices.ContainsFunc(changed, func(c nft.Change) bool {
		return slices.ContainsFunc(c.Before, func(g string) bool { return !slices.Contains(c.After, g) })
	})
}

// accepts reports whether a flow is let through. What a host only observes is.
func (u *umpire) accepts(f *rules.Flow) bool {
	if u.layout == nil || u.layout.order.Observe || u.err != nil {
		return true
	}
	if u.policy == nil {
		members := &u.layout.members
		if u.peers != nil {
			members = u.layout.membersAmong(u.peers)
		}
		if u.policy, u.err = u.layout.policy(members); u.err != nil {
			u.err = fmt.Errorf("cannot tell which flows are let through: %w", u.err)
			return true
		}
	}
	verdict := u.policy.Verdict(f)
	return verdict.Action == rules.Accept
}

// membersAmong is the membership as if there were no other addresses.
func (l *layout) membersAmong(peers map[netip.Addr]bool) *rules.Membership {
	var out rules.Membership
	for g, list := range l.order.Members {
		var few []netip.Prefix
		for _, a := range list {
			if peers[a] {
				few = append(few, netip.PrefixFrom(a, a.BitLen()))
			}
		}
		out.Set(g, few)
	}
	return &out
}

// policy compiles the rules for people to ask, or for us.
func (l *layout) policy(members *rules.Membership) (*rules.Policy, error) {
	world := &rules.World{Members: *members}
	for _, e := range l.exempt {
		if !e.HopLimit255 { // no field of a flow
			world.Exempt = append(world.Exempt, e)
		}
	}
	return rules.NewWorkspace(world, nft.MaxEdges).Compile(l.rules)
}

func (c *closing) concerns(p *passage) bool { return c.peers == nil || c.peers[p.flow.Remote] }

// closed reports whether a flow was let through and is not any more.
func (c *closing) closed(p *passage) bool {
	return !c.none && c.concerns(p) && c.before.accepts(&p.flow) && !c.after.accepts(&p.flow)
}

// firstEphemeral is the first of the ports that Linux gives to who begins a flow
// and names none.
const firstEphemeral = 32768

// turned reports whether a flow may have been begun by the other end, and pass
// then. Before the first rules of a host the kernel may have followed no flows:
// of one that is older than its table, whose packet came first counts as its
// beginning, and that may have been an answer. Later the beginning is known.
func (c *closing) turned(p *passage) bool {
	if c.before.layout != nil || !p.flow.Protocol.HasPorts() {
		return false
	}
	other := p.flow
	other.Direction, other.Port, other.SourcePort = rules.Ingress, p.flow.SourcePort, p.flow.Port
	if p.flow.Direction == rules.Ingress {
		if p.wire.Own.Port() < firstEphemeral {
			return false // nobody begins a flow from there
		}
		other.Direction = rules.Egress
	}
	return c.after.accepts(&other)
}

// cut returns how an entry passed our hooks where it does not pass any more;
// empty if it stays.
//
// An entry does not say by which interfaces its packets come and go. That a
// flow went out by an uplink is told by where the kernel would send its packets
// now; that it came in by one, by where it would send the answers. So flows
// among pods of this host, on the loopback interface and within an overlay are
// none of ours: their peers are not behind an uplink. A flow that comes in
// another way than its answers go out, and one that only a route by mark, source
// or incoming interface leads to an uplink, cannot be told, and is left alone.
func (c *closing) cut(e *conntrack.Entry, byUplink func(netip.Addr) bool) []passage {
	var out []passage
	for _, p := range []passage{comesIn(e), goesOut(e)} {
		if c.closed(&p) && !c.turned(&p) && byUplink(p.flow.Remote) {
			out = append(out, p)
		}
	}
	return out
}

// pardoned returns those of the flows that were cut which may pass again.
func (c *closing) pardoned(list []apply.Revoked) []apply.Revoked {
	var out []apply.Revoked
	for _, r := range list {
		e := &conntrack.Entry{Protocol: uint8(r.Protocol)} //nolint:gosec // a protocol with ports
		e.Original = conntrack.Tuple{Source: r.Peer, Destination: r.Own}
		e.Reply = e.Original
		p := comesIn(e)
		if r.Direction == rules.Egress {
			p = goesOut(e)
		}
		if c.concerns(&p) && c.after.accepts(&p.flow) {
			out = append(out, r)
		}
	}
	return out
}

// String names a flow for people, its first packet's source first.
func (p *passage) String() string {
	from, to := p.wire.Peer, p.wire.Own
	if p.flow.Direction == rules.Egress {
		from, to = to, from
	}
	if !p.flow.Protocol.HasPorts() {
		return fmt.Sprintf("%s %s %s -> %s", p.flow.Direction, p.flow.Protocol, from.Addr(), to.Addr())
	}
	return fmt.Sprintf("%s %s %s -> %s", p.flow.Direction, p.flow.Protocol, from, to)
}
