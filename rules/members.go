package rules

import (
	"net/netip"
	"slices"
)

// A Membership says which addresses the members of groups have. A group that
// it does not know has unknown members, which is not the same as none: no
// address is known to be among them. The zero value knows no group.
type Membership struct {
	groups map[string]*members
}

type members struct {
	all   []netip.Prefix // sorted, as added
	exact map[netip.Addr]struct{}
	wide  []netip.Prefix // members that are more than one address
}

// Set makes prefixes the addresses of a group's members. An empty list means
// that the group is known to have none. Host bits are ignored.
func (m *Membership) Set(group string, prefixes []netip.Prefix) {
	if m.groups == nil {
		m.groups = map[string]*members{}
	}
	g := &members{exact: make(map[netip.Addr]struct{}, len(prefixes)), all: make([]netip.Prefix, 0, len(prefixes))}
	for _, p := range prefixes {
		p = p.Masked()
		g.all = append(g.all, p)
		if p.IsSingleIP() {
			g.exact[p.Addr()] = struct{}{}
		} else {
			g.wide = append(g.wide, p)
		}
	}
	slices.SortFunc(g.all, netip.Prefix.Compare)
	m.groups[group] = g
}

// Known reports whether the members of a group are known.
func (m *Membership) Known(group string) bool { return m.groups[group] != nil }

// Prefixes returns the addresses of a group's members, sorted; nil if unknown.
func (m *Membership) Prefixes(group string) []netip.Prefix {
	if g := m.groups[group]; g != nil {
		return g.all
	}
	return nil
}

// Contains reports whether an address is known to be a member's. It allocates nothing.
func (m *Membership) Contains(group string, a netip.Addr) bool {
	g := m.groups[group]
	if g == nil {
		return false
	}
	if _, ok := g.exact[a]; ok {
		return true
	}
	for _, p := range g.wide {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
