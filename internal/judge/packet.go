package judge

import (
	"net/netip"

	"ringfence.dev/ringfence/rules"
)

// ordinaryPort is a source port as clients have it.
const ordinaryPort = 40000

// packet turns an example into one that a reader can picture: an address that
// some interface really has, or an ordinary one of the same range, instead of
// the first of the range. The verdict must stay the same, and so must whether
// anybody needs the flow: that of an excess is nobody's need.
func (q *question) packet(f *rules.Flow, need *rules.Need) *rules.Flow {
	best := *f
	want, needed := q.policy.Verdict(f), q.space.Contains(q.needed[f.Direction], f)
	try := func(candidate rules.Flow) bool {
		if q.policy.Verdict(&candidate) != want || need != nil && !asksFor(q.world, need, &candidate) ||
			need == nil && !needed && q.space.Contains(q.needed[f.Direction], &candidate) {
			return false
		}
		best = candidate
		return true
	}
	if f.Protocol == 0 { // the first of all: nobody sends it
		for _, port := range []uint16{443, 80, 22, 3306, 8080} {
			known := best
			known.Protocol, known.Port, known.HasSourcePort, known.SourcePort = rules.TCP, port, true, ordinaryPort
			if try(known) {
				break
			}
		}
	}
	for _, a := range locals(q, f.Local) {
		candidate := best
		candidate.Local = a
		if try(candidate) {
			break
		}
	}
	for _, a := range remotes(q, f, need) {
		candidate := best
		candidate.Remote = a
		if a != best.Local && try(candidate) {
			break
		}
	}
	if best.Protocol.HasPorts() {
		best.SourcePort = sourcePort(q, best, want)
		best.HasSourcePort = best.SourcePort != 0
	}
	return &best
}

// sourcePort returns the source port to show: none if it does not matter, an
// ordinary one if that shows the same, else the example's own.
func sourcePort(q *question, f rules.Flow, want rules.Verdict) uint16 {
	unknown, ordinary := f, f
	unknown.HasSourcePort, unknown.SourcePort = false, 0
	ordinary.HasSourcePort, ordinary.SourcePort = true, ordinaryPort
	switch want {
	case q.policy.Verdict(&ordinary):
		if q.policy.Verdict(&unknown) == want {
			return 0
		}
		return ordinary.SourcePort
	default:
		return f.SourcePort
	}
}

// asksFor reports whether a flow's peer is one of the need's.
func asksFor(w *rules.World, n *rules.Need, f *rules.Flow) bool {
	switch p := n.Peer.(type) {
	case rules.CIDR:
		return p.Prefix.Contains(f.Remote)
	case rules.GroupPeer:
		return f.RemoteGroup == p.Name || w.Members.Contains(p.Name, f.Remote)
	case rules.PrefixListPeer:
	}
	return false // one of a list's entries: the first example is as good as any
}

// locals are addresses that a host of the set may have.
func locals(q *question, like netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, g := range q.worn.groups {
		out = append(out, ordinary(g.Members, like)...)
	}
	for _, c := range q.facts.NodeSubnets {
		out = append(out, ordinary([]netip.Prefix{c.Prefix}, like)...)
	}
	return out
}

// remotes are addresses that a peer may have.
func remotes(q *question, f *rules.Flow, need *rules.Need) []netip.Addr {
	if !f.Remote.IsValid() {
		return nil
	}
	var out []netip.Addr
	if need != nil {
		if c, ok := need.Peer.(rules.CIDR); ok {
			for _, g := range q.worn.groups {
				for _, a := range ordinary(g.Members, f.Remote) {
					if c.Prefix.Contains(a) {
						out = append(out, a)
					}
				}
			}
			return append(out, ordinary([]netip.Prefix{c.Prefix}, f.Remote)...)
		}
	}
	if f.Remote.Is4() { // documentation range: recognisably not a real peer
		out = append(out, netip.AddrFrom4([4]byte{203, 0, 113, 10}))
	}
	return append(out, f.Remote.Next())
}

// ordinary returns addresses of the same family as like, at most a handful: of
// a range not the first, which is the network's own.
func ordinary(prefixes []netip.Prefix, like netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, p := range prefixes {
		a := p.Addr()
		if a.Is4() != like.Is4() {
			continue
		}
		for i := range 12 {
			if i >= 10 || p.IsSingleIP() {
				out = append(out, a)
			}
			next := a.Next()
			if !p.Contains(next) {
				break
			}
			a = next
		}
		if len(out) >= 4 {
			return out
		}
	}
	return out
}
