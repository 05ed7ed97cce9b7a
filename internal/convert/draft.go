package convert

import (
	"fmt"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// A term is one member of a rule as it stands in the input.
type term struct{ name, text string }

// An endpoint is one side of a rule's flow: its peer, or the group's own
// addresses. At most one of them counts; see [draft.setPeer].
type endpoint struct{ cidr, cidr6, group, list term }

func (e *endpoint) fields() []term { return []term{e.cidr, e.cidr6, e.group, e.list} }

// A draft is a rule in the words of a cloud, not yet understood.
type draft struct {
	// bad makes an input error at a field; the empty name is the rule itself.
	bad       func(name, format string, args ...any) error
	direction rules.Direction

	policy, priority, protocol   term
	ports, portList, sourcePorts term
	peer, member                 endpoint
	description                  string
}

// rule understands the draft, or says which field it does not understand.
func (w *draft) rule() (rules.Rule, error) {
	r := rules.Rule{Direction: w.direction, Description: w.description}
	for _, step := range []func(*rules.Rule) error{w.setPolicy, w.setProtocol, w.setPorts, w.setPeer, w.setMember} {
		if err := step(&r); err != nil {
			return rules.Rule{}, err
		}
	}
	return r, nil
}

// oldDefaultPriority is outside today's range of 1 to 100. The accept rules of
// default groups that an account got before 27 May 2020 still have it (Security
// group overview, "default security group").
const oldDefaultPriority = 110

func (w *draft) setPolicy(r *rules.Rule) error {
	switch strings.ToLower(w.policy.text) {
	case "accept":
		r.Action = rules.Accept
	case "drop":
		r.Action = rules.Drop
	default:
		return w.bad(w.policy.name, "policy %q: want Accept or Drop", w.policy.text)
	}
	n, err := strconv.Atoi(w.priority.text)
	if err == nil && n == oldDefaultPriority && r.Action == rules.Accept {
		// 100 decides the same: among equals a drop wins, as it would against
		// 110, and two accepts need no order. A drop at 110 would be different.
		n = 100
	}
	if err != nil || n < 1 || n > 100 {
		return w.bad(w.priority.name, "priority %q: want 1 (first) to 100 (last)", w.priority.text)
	}
	r.Priority = uint8(n)
	return nil
}

func (w *draft) setProtocol(r *rules.Rule) error {
	p, err := rules.ParseProtocol(w.protocol.text)
	if err != nil {
		return w.bad(w.protocol.name, "%w", err)
	}
	r.Protocol = p
	return nil
}

func (w *draft) setPorts(r *rules.Rule) error {
	if w.portList.text != "" && w.ports.text == "" {
		return w.bad(w.portList.name, "port range list %s: port range lists are not supported yet: "+
			"write one rule with %s for each of the list's ranges, and check those", w.portList.text, w.ports.name)
	}
	for _, p := range []struct {
		from term
		to   *rules.PortRange
	}{{w.ports, &r.Ports}, {w.sourcePorts, &r.SourcePorts}} {
		if p.from.text == "" {
			continue
		}
		ports, err := rules.ParsePortRange(p.from.text)
		if err != nil {
			return w.bad(p.from.name, "%w", err)
		}
		*p.to = ports
	}
	return nil
}

// setPeer picks the peer as ECS does: a CIDR goes before a group, a group
// before a prefix list, and there is no "anybody" when none is given.
func (w *draft) setPeer(r *rules.Rule) error {
	cidr, ok, err := w.cidr(&w.peer)
	switch {
	case err != nil:
		return err
	case ok:
		r.Peer = cidr
	case w.peer.group.text != "":
		r.Peer = rules.GroupPeer{Name: w.peer.group.text}
	case w.peer.list.text != "":
		r.Peer = rules.PrefixListPeer{Name: w.peer.list.text}
	default:
		return w.bad("", "no peer: want one of %s", names(w.peer.fields()))
	}
	return nil
}

// setMember reads the five-tuple form, which names the group's own addresses.
func (w *draft) setMember(r *rules.Rule) error {
	for _, f := range []term{w.member.group, w.member.list} {
		if f.text != "" {
			return w.bad(f.name, "an %s rule cannot have %s: want one of %s", w.direction, f.name, names(w.peer.fields()))
		}
	}
	cidr, ok, err := w.cidr(&w.member)
	if err != nil || !ok {
		return err
	}
	r.Member = cidr.Prefix
	return nil
}

// cidr returns the CIDR of one side, if it has one.
func (w *draft) cidr(e *endpoint) (rules.CIDR, bool, error) {
	if e.cidr.text != "" && e.cidr6.text != "" {
		return rules.CIDR{}, false, w.bad(e.cidr6.name, "%s and %s exclude each other: want one rule for each", e.cidr.name, e.cidr6.name)
	}
	here, other, want := e.cidr, e.cidr6, "IPv4"
	if here.text == "" {
		here, other, want = other, here, "IPv6"
	}
	if here.text == "" {
		return rules.CIDR{}, false, nil
	}
	c, err := rules.ParseCIDR(here.text)
	if err != nil {
		return rules.CIDR{}, false, w.bad(here.name, "%w", err)
	}
	if string(familyOf(c)) != want {
		return rules.CIDR{}, false, w.bad(here.name, "%s is %s: %s wants %s, %s is expected in %s",
			here.text, familyOf(c), here.name, want, familyOf(c), other.name)
	}
	return c, true, nil
}

func names(fields []term) string {
	var list []string
	for _, f := range fields {
		if f.name != "" {
			list = append(list, f.name)
		}
	}
	return strings.Join(list, ", ")
}

// cidrOf reads a CIDR that must be of one family, IPv4 or IPv6.
func cidrOf(text, want string) (rules.CIDR, error) {
	c, err := rules.ParseCIDR(text)
	if err != nil {
		return rules.CIDR{}, err
	}
	if string(familyOf(c)) != want {
		return rules.CIDR{}, fmt.Errorf("%s is %s, want %s", text, familyOf(c), want)
	}
	return c, nil
}
