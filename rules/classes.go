package rules

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"ringfence.dev/ringfence/rules/flowset"
)

// Classes are one direction of a ruleset, ready to be laid out for a kernel:
// what a peer may do is a [flowset.Branch], found by the groups that hold its
// address and by the address. Peers with equal branches are one class.
//
// A signature, the subset of the named groups that holds an address, is
// compiled when it is first asked for. Classes share the arena of their
// workspace; like it they are not safe for concurrent use.
type Classes struct {
	direction Direction
	verdicts  []Verdict
	groups    []string // sorted
	signer    signer
	holding   []int // scratch: by group of the signer
	made      map[string]*signed
}

// A signed is the diagram of a signature, cut by peers.
type signed struct {
	starts [2][]flowset.Addr // by family, IPv4 first
	kids   [2][]flowset.Branch
}

// Classes compiles one direction of a ruleset. The members in the workspace's
// world are not looked at, its exempt entries are. Errors are as for
// [Workspace.Compile].
func (ws *Workspace) Classes(rs *Ruleset, d Direction) (*Classes, error) {
	c := compiler{ws: ws, rs: rs, direction: d}
	c.collect()
	base, err := ws.arena.Build(c.base)
	if err != nil {
		return nil, c.overBudget(err)
	}
	slices.SortFunc(c.named, func(a, b groupBoxes) int { return cmp.Compare(a.group, b.group) })
	out := &Classes{
		direction: d, verdicts: c.verdicts, made: map[string]*signed{}, holding: make([]int, len(c.named)),
		signer: signer{arena: ws.arena, base: base, groups: c.named, made: map[string]flowset.Diagram{}},
	}
	for _, n := range c.named {
		out.groups = append(out.groups, n.group)
	}
	return out, nil
}

// Groups returns the groups on whose members a class depends, sorted: the
// peers that rules name and, on ingress, the host's own with inner access. It
// is not to be changed.
func (c *Classes) Groups() []string { return c.groups }

// Ranges returns the address ranges of a family that are of one class for
// peers in none of the groups, in order and without gaps.
func (c *Classes) Ranges(s flowset.Space) ([]flowset.AddrRange, []flowset.Branch) {
	var ranges []flowset.AddrRange
	var kids []flowset.Branch
	for r, kid := range c.signer.base.Branch(s).Runs(flowset.Peer, s) {
		ranges, kids = append(ranges, r), append(kids, kid)
	}
	return ranges, kids
}

// Of returns the class of an address that these groups hold, indexes of
// Groups in ascending order.
//
// An error wraps [flowset.ErrBudget] and names the groups.
func (c *Classes) Of(a netip.Addr, groups []int) (flowset.Branch, error) {
	s, err := c.signature(groups)
	if err != nil {
		return flowset.Branch{}, err
	}
	family := int(flowset.SpaceOf(a))
	i, exact := slices.BinarySearchFunc(s.starts[family], flowset.AddrFrom(a), flowset.Addr.Compare)
	if !exact {
		i--
	}
	return s.kids[family][i], nil
}

func (c *Classes) signature(groups []int) (*signed, error) {
	var key []byte
	for _, g := range groups {
		key = binary.AppendUvarint(key, uint64(g)) //nolint:gosec // an index
	}
	if s, ok := c.made[string(key)]; ok {
		return s, nil
	}
	clear(c.holding)
	for _, g := range groups {
		c.holding[g] = 1
	}
	d, err := c.signer.of(c.holding)
	if err == nil {
		err = c.signer.arena.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%s from members of %v: %w", c.direction, c.names(groups), err)
	}
	s := &signed{}
	for family, space := range []flowset.Space{flowset.IPv4, flowset.IPv6} {
		for r, kid := range d.Branch(space).Runs(flowset.Peer, space) {
			s.starts[family], s.kids[family] = append(s.starts[family], r.First), append(s.kids[family], kid)
		}
	}
	c.made[string(key)] = s
	return s, nil
}

func (c *Classes) names(groups []int) []string {
	var out []string
	for _, g := range groups {
		out = append(out, c.groups[g])
	}
	return out
}

// Verdict returns what a leaf of a class means.
func (c *Classes) Verdict(l flowset.Leaf) Verdict { return c.verdicts[l] }
