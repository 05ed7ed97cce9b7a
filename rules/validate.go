package rules

import (
	"errors"
	"fmt"
	"slices"
)

// The limits of design section 4, item 5. All are the current values of ECS.
const (
	MaxGroupsPerHost     = 10
	MaxRulesPerHost      = 1000 // ingress and egress together
	MaxGroupPeers        = 20   // per basic group
	MaxBasicAddresses    = 6000
	MaxAdvancedAddresses = 65536
)

// Validate reports every mistake in g's own fields and rules, joined. It does
// not ask whether the groups and prefix lists that g names exist.
func (g *Group) Validate() error {
	var mistakes []error
	if g.Name == "" {
		mistakes = append(mistakes, errors.New("the group has no name"))
	}
	if g.Type == Advanced && g.InnerAccess {
		mistakes = append(mistakes, errors.New("an advanced group has no inner access: members reach each other by rules only"))
	}
	for _, d := range []Direction{Ingress, Egress} {
		list := g.Rules(d)
		for i := range list {
			if err := g.ValidateRule(&list[i]); err != nil {
				mistakes = append(mistakes, fmt.Errorf("%s rule %d: %w", d, i+1, err))
			}
			if list[i].Direction != d {
				mistakes = append(mistakes, fmt.Errorf("%s rule %d says %s", d, i+1, list[i].Direction))
			}
		}
	}
	if n := g.GroupPeers(); n > MaxGroupPeers {
		mistakes = append(mistakes, fmt.Errorf("%d rules name a group, at most %d may", n, MaxGroupPeers))
	}
	return errors.Join(mistakes...)
}

// GroupPeers returns the number of rules whose peer is a group.
func (g *Group) GroupPeers() int {
	n := 0
	for _, list := range [][]Rule{g.Ingress, g.Egress} {
		for _, r := range list {
			if _, ok := r.Peer.(GroupPeer); ok {
				n++
			}
		}
	}
	return n
}

// ValidateRule reports the first mistake in r as a rule of g.
func (g *Group) ValidateRule(r *Rule) error {
	if r.Priority < 1 || r.Priority > 100 {
		return fmt.Errorf("priority %d: want 1 (first) to 100 (last)", r.Priority)
	}
	if r.Protocol < AllProtocols || r.Protocol > 255 {
		return fmt.Errorf("protocol %d: want ALL or 0 to 255", int(r.Protocol))
	}
	if err := r.validatePorts(); err != nil {
		return err
	}
	if err := g.validatePeer(r); err != nil {
		return err
	}
	return r.validateFamilies()
}

func (r *Rule) validatePorts() error {
	if !r.Protocol.HasPorts() {
		if !r.Ports.IsZero() || !r.SourcePorts.IsZero() {
			named := r.Ports
			if named.IsZero() {
				named = r.SourcePorts
			}
			return fmt.Errorf("protocol %s has no ports: want -1/-1, not %s", r.Protocol, named)
		}
		return nil
	}
	if r.Ports.IsZero() {
		return fmt.Errorf("protocol %s must name its ports: want FIRST/LAST such as 1/65535, not -1/-1", r.Protocol)
	}
	for _, p := range []PortRange{r.Ports, r.SourcePorts} {
		if !p.IsZero() && (p.First == 0 || p.First > p.Last) {
			return fmt.Errorf("ports %s: want 1 <= FIRST <= LAST <= 65535", p)
		}
	}
	return nil
}

func (g *Group) validatePeer(r *Rule) error {
	switch p := r.Peer.(type) {
	case nil:
		return errors.New("no peer: name a CIDR, a group or a prefix list; there is no default")
	case CIDR:
		if !p.Prefix.IsValid() {
			return fmt.Errorf("peer %q is no CIDR", p.Text)
		}
	case GroupPeer:
		if g.Type == Advanced {
			return fmt.Errorf("an advanced group cannot name group %s: use its addresses", p.Name)
		}
		if p.Name == g.Name {
			return errors.New("a group cannot name itself: use inner access or addresses")
		}
		if p.Name == "" {
			return errors.New("the peer group has no name")
		}
	case PrefixListPeer:
		if p.Name == "" {
			return errors.New("the peer prefix list has no name")
		}
	}
	return nil
}

func (r *Rule) validateFamilies() error {
	c, ok := r.Peer.(CIDR)
	if !ok {
		return nil
	}
	if r.Member.IsValid() && r.Member.Addr().Is4() != c.Prefix.Addr().Is4() {
		return fmt.Errorf("peer %s and member %s are of different address families", c.Text, r.Member)
	}
	switch {
	case r.Protocol == ICMP && c.Prefix.Addr().Is6():
		return fmt.Errorf("protocol ICMP goes with IPv4 peers, not %s: use ICMPv6", c.Text)
	case r.Protocol == ICMPv6 && c.Prefix.Addr().Is4():
		return fmt.Errorf("protocol ICMPv6 goes with IPv6 peers, not %s: use ICMP", c.Text)
	}
	return nil
}

// ValidateECS reports whether ECS can express the protocol of r, in words.
// ECS knows TCP, UDP, ICMP, ICMPv6, GRE and ALL.
func (r *Rule) ValidateECS() error {
	if slices.Contains([]Protocol{AllProtocols, TCP, UDP, ICMP, ICMPv6, GRE}, r.Protocol) {
		return nil
	}
	return fmt.Errorf("alibaba cloud has no rules for protocol %s: use ALL, or keep the group on own hosts", r.Protocol)
}
