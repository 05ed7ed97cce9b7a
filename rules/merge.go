package rules

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
)

// A Ruleset is what one set of groups means for a host that wears them all:
// their rules merged, in the order in which they are tried, prefix lists
// expanded. It does not change after [Merge] returned it.
type Ruleset struct {
	Type GroupType
	// Groups are the names of the merged groups, sorted.
	Groups []string
	// InnerAccess are those of Groups whose members reach each other before any rule.
	InnerAccess []string
	// Ingress and Egress are sorted by priority, drops first, then by group
	// name and position.
	Ingress, Egress []MergedRule
}

// A MergedRule is a rule with its place of origin.
type MergedRule struct {
	Rule
	// Group is the group that holds the rule, Position its place there, from 1.
	Group    string
	Position int
	// Prefixes are the addresses that the peer means; nil for a group peer.
	Prefixes []netip.Prefix
	// Units is what the rule counts for in quotas: 1, or the size of its prefix list.
	Units int
}

// String returns GROUP/DIRECTION/POSITION, which names the rule in verdicts.
func (r *MergedRule) String() string {
	return fmt.Sprintf("%s/%s/%d", r.Group, r.Direction, r.Position)
}

// Rules returns the merged rules of one direction.
func (rs *Ruleset) Rules(d Direction) []MergedRule {
	if d == Egress {
		return rs.Egress
	}
	return rs.Ingress
}

// Merge merges the groups that one host wears. Prefix lists are looked up by
// name in lists.
//
// It is an error to merge no group, one twice, groups of different types, more
// than MaxGroupsPerHost, or rules whose prefix list is missing. Quotas on the
// number of rules are [Ruleset.Limits]'.
func Merge(groups []*Group, lists map[string]PrefixList) (*Ruleset, error) {
	if len(groups) == 0 {
		return nil, errors.New("a host wears at least one group")
	}
	if len(groups) > MaxGroupsPerHost {
		return nil, fmt.Errorf("%d groups on one host: at most %d", len(groups), MaxGroupsPerHost)
	}
	sorted := slices.Clone(groups)
	slices.SortFunc(sorted, func(a, b *Group) int { return cmp.Compare(a.Name, b.Name) })
	rs := &Ruleset{Type: sorted[0].Type}
	for i, g := range sorted {
		if i > 0 && g.Name == sorted[i-1].Name {
			return nil, fmt.Errorf("group %s is named twice", g.Name)
		}
		if g.Type != rs.Type {
			return nil, fmt.Errorf("all groups on a host have one type: %s is %s, %s is %s", sorted[0].Name, rs.Type, g.Name, g.Type)
		}
		if err := rs.add(g, lists); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(rs.Ingress, compareRules)
	slices.SortStableFunc(rs.Egress, compareRules)
	return rs, nil
}

// compareRules orders rules as they are tried. Group name and position decide
// nothing about the flow, only which rule is said to have decided.
func compareRules(a, b MergedRule) int {
	return cmp.Or(
		cmp.Compare(a.Priority, b.Priority),
		cmp.Compare(a.Action, b.Action), // Drop is 0
		cmp.Compare(a.Group, b.Group),
		cmp.Compare(a.Position, b.Position),
	)
}

// WideFirst lets, among accepts of one priority, the wider be tried first. No
// flow is decided otherwise by it, only in the name of another rule: so that
// advice does not depend on the order in which a cloud lists rules, and a rule
// that lies within another is the one that is called redundant.
func (rs *Ruleset) WideFirst() {
	for _, list := range [][]MergedRule{rs.Ingress, rs.Egress} {
		slices.SortStableFunc(list, func(a, b MergedRule) int {
			if a.Priority != b.Priority || a.Action != Accept || b.Action != Accept {
				return compareRules(a, b)
			}
			return cmp.Or(cmp.Compare(b.width(), a.width()), compareRules(a, b))
		})
	}
}

// width ranks rules by how much they match, roughly: a rule that lies within
// another is never ranked before it.
func (r *MergedRule) width() float64 {
	bits := 0.0
	for _, p := range r.Prefixes {
		bits += math.Exp2(float64(p.Addr().BitLen() - p.Bits()))
	}
	width := math.Log2(bits + 1)
	if r.Protocol == AllProtocols {
		width += 32
	}
	for _, ports := range []PortRange{r.Ports, r.SourcePorts} {
		n := 1 << 16
		if !ports.IsZero() {
			n = int(ports.Last-ports.First) + 1
		}
		width += math.Log2(float64(n))
	}
	if !r.Member.IsValid() {
		return width + 129
	}
	return width + float64(r.Member.Addr().BitLen()-r.Member.Bits())
}

func (rs *Ruleset) add(g *Group, lists map[string]PrefixList) error {
	rs.Groups = append(rs.Groups, g.Name)
	if g.InnerAccess {
		rs.InnerAccess = append(rs.InnerAccess, g.Name)
	}
	for _, side := range []struct {
		from []Rule
		to   *[]MergedRule
	}{{g.Ingress, &rs.Ingress}, {g.Egress, &rs.Egress}} {
		for i, r := range side.from {
			m, err := merged(g.Name, i, r, lists)
			if err != nil {
				return err
			}
			*side.to = append(*side.to, m)
		}
	}
	return nil
}

func merged(group string, i int, r Rule, lists map[string]PrefixList) (MergedRule, error) {
	m := MergedRule{Rule: r, Group: group, Position: i + 1, Units: 1}
	switch p := r.Peer.(type) {
	case CIDR:
		m.Prefixes = []netip.Prefix{p.Prefix}
	case PrefixListPeer:
		list, ok := lists[p.Name]
		if !ok {
			return m, fmt.Errorf("rule %s: no prefix list %s", &m, p.Name)
		}
		m.Units = max(list.MaxEntries, len(list.Entries))
		m.Prefixes = make([]netip.Prefix, 0, len(list.Entries))
		for _, e := range list.Entries {
			m.Prefixes = append(m.Prefixes, e.Prefix)
		}
	case GroupPeer:
	}
	return m, nil
}

// Limits reports the quota that the ruleset is over, or nil: at most
// MaxRulesPerHost rules, a prefix list counting for its size.
func (rs *Ruleset) Limits() error {
	units := 0
	for _, list := range [][]MergedRule{rs.Ingress, rs.Egress} {
		for i := range list {
			units += list[i].Units
		}
	}
	if units > MaxRulesPerHost {
		return fmt.Errorf("%d rules on one host, prefix lists counted by size: at most %d", units, MaxRulesPerHost)
	}
	return nil
}
