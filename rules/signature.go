package rules

import (
	"encoding/binary"
	"slices"

	"ringfence.dev/ringfence/rules/flowset"
)

// This file gives group peers their addresses. An address's signature is the
// subset of the named groups that hold it; one diagram a signature is made, and
// every member address points into it. Rules are never multiplied by members.

// diagram builds the boxes that c collected.
func (c *compiler) diagram() (flowset.Diagram, error) {
	base, err := c.ws.arena.Build(append(c.base, c.symbolBoxes()...))
	if err != nil {
		return base, err
	}
	var known []groupBoxes
	for _, n := range c.named {
		if c.ws.world.Members.Known(n.group) {
			known = append(known, n)
		}
	}
	s := signer{arena: c.ws.arena, base: base, groups: known, made: map[string]flowset.Diagram{}}
	var patches []flowset.Patch
	for _, space := range []flowset.Space{flowset.IPv4, flowset.IPv6} {
		more, err := s.patches(space, &c.ws.world.Members)
		if err != nil {
			return base, err
		}
		patches = append(patches, more...)
	}
	return base.Patch(patches), c.ws.arena.Err()
}

// symbolBoxes are the boxes of the named groups whose members are unknown:
// each has one point in the symbol spaces.
func (c *compiler) symbolBoxes() []flowset.Weighted {
	var out []flowset.Weighted
	for _, n := range c.named {
		if c.ws.world.Members.Known(n.group) {
			continue
		}
		at := flowset.Addr{Lo: uint64(c.ws.symbols.of(n.group))}
		for _, w := range n.boxes {
			w.Box.Space += flowset.Symbol4
			w.Box.Peer = flowset.AddrRange{First: at, Last: at}
			out = append(out, w)
		}
	}
	return out
}

// A signer makes the diagrams of signatures.
type signer struct {
	arena  *flowset.Arena
	base   flowset.Diagram
	groups []groupBoxes
	made   map[string]flowset.Diagram // by signature
	key    []byte                     // scratch: the signature at hand
}

// A border is where the members of a group begin or end.
type border struct {
	at    flowset.Addr
	group int
	delta int // +1 begins, -1 ends
}

// patches returns one patch for every range of addresses of one signature.
func (s *signer) patches(space flowset.Space, members *Membership) ([]flowset.Patch, error) {
	borders := s.borders(space, members)
	holding := make([]int, len(s.groups)) // how many member ranges of each group hold the address
	var patches []flowset.Patch
	for i := 0; i < len(borders); {
		at := borders[i].at
		for ; i < len(borders) && borders[i].at == at; i++ {
			holding[borders[i].group] += borders[i].delta
		}
		if !slices.ContainsFunc(holding, func(n int) bool { return n > 0 }) {
			continue
		}
		d, err := s.of(holding)
		if err != nil {
			return nil, err
		}
		patches = append(patches, flowset.Patch{Space: space, Peers: flowset.AddrRange{First: at, Last: lastBefore(borders, i, space)}, From: d})
	}
	return patches, nil
}

// lastBefore returns the last address before border i. An end at the very last
// address has no border: the range ends with the space.
func lastBefore(borders []border, i int, space flowset.Space) flowset.Addr {
	if i < len(borders) {
		return borders[i].at.Prev()
	}
	if space == flowset.IPv4 {
		return flowset.AllIPv4().Last
	}
	return flowset.AllIPv6().Last
}

func (s *signer) borders(space flowset.Space, members *Membership) []border {
	var out []border
	for g := range s.groups {
		for _, p := range members.Prefixes(s.groups[g].group) {
			if flowset.SpaceOf(p.Addr()) != space {
				continue
			}
			r := flowset.RangeOf(p)
			out = append(out, border{r.First, g, 1})
			if r.Last != lastBefore(nil, 0, space) {
				out = append(out, border{r.Last.Next(), g, -1})
			}
		}
	}
	slices.SortFunc(out, func(a, b border) int { return a.at.Compare(b.at) })
	return out
}

// of returns the diagram for addresses that these groups hold.
func (s *signer) of(holding []int) (flowset.Diagram, error) {
	s.key = s.key[:0]
	for g, n := range holding {
		if n > 0 {
			s.key = binary.AppendUvarint(s.key, uint64(g))
		}
	}
	if d, ok := s.made[string(s.key)]; ok {
		return d, nil
	}
	var boxes []flowset.Weighted
	for g, n := range holding {
		if n > 0 {
			boxes = append(boxes, s.groups[g].boxes...)
		}
	}
	d, err := s.arena.Build(boxes)
	if err != nil {
		return d, err
	}
	d = s.base.Union(d)
	s.made[string(s.key)] = d
	return d, nil
}
