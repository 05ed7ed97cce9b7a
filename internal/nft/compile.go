package nft

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ringfence.dev/ringfence/rules"
	"ringfence.dev/ringfence/rules/flowset"
)

// The budget of one host.
const (
	MaxEdges   = 2_000_000
	MaxClasses = 4_096
)

// ErrClasses says that a ruleset makes more than MaxClasses classes.
var ErrClasses = errors.New("the rules tell too many classes of peers apart")

// An Input is what a host enforces. It must not change while it is in use.
type Input struct {
	// Ruleset is the merged rules. Required.
	Ruleset *rules.Ruleset
	// Exempt is what passes before any rule. Entries with HopLimit255 must be
	// about ICMPv6.
	Exempt []rules.Exempt
	// Observe lets pass, counts and logs what would be dropped.
	Observe bool
}

// A Compiler lays out one ruleset. It remembers classes, so that a change of
// members costs no more than the classes that are new. It is not safe for
// concurrent use.
type Compiler struct {
	in      Input
	version string
	sides   [2]*rules.Classes // by direction
	base    []Node
	targets map[place]string // of branches that are laid out
	leaves  map[string]*Node // by name
	nodes   map[string]*Node // by name
	classes map[place]bool
	// crowds are the chains of the classes whose members are in sets, by direction
	// and family; empty where no group matters.
	crowds [2][2]string
	// homes name the maps that members are in, the same way.
	homes [2][2]home
}

// A home is where the members of one direction and family are: those of the class
// that has a set, and all others.
type home struct{ members, others string }

// A place is a branch where it stands: what a port is depends on the protocol,
// and what a member's address is on the family.
type place struct {
	direction rules.Direction
	space     flowset.Space
	protocol  uint32 // anyProtocol before it is known
	branch    flowset.Branch
}

const anyProtocol = 256

// New compiles a ruleset. Errors name the rule that goes over the budget.
func New(in Input) (*Compiler, error) {
	world := &rules.World{}
	c := &Compiler{in: in, targets: map[place]string{}, leaves: map[string]*Node{}, nodes: map[string]*Node{}, classes: map[place]bool{}}
	for _, e := range in.Exempt {
		if !e.HopLimit255 {
			world.Exempt = append(world.Exempt, e)
		} else if e.Protocol != rules.ICMPv6 || e.Peer != nil {
			return nil, fmt.Errorf("exemption %s: only ICMPv6 from any peer can demand a hop limit of 255", e.Name)
		}
	}
	ws := rules.NewWorkspace(world, MaxEdges)
	for _, d := range sides {
		var err error
		if c.sides[d], err = ws.Classes(in.Ruleset, d); err != nil {
			return nil, fmt.Errorf("cannot lay out the rules for the kernel: %w", err)
		}
	}
	for _, d := range sides {
		for space := range families {
			var err error
			if c.crowds[d][space], err = c.crowd(d, flowset.Space(space)); err != nil {
				return nil, err
			}
		}
	}
	c.version = in.fingerprint()
	for _, d := range sides {
		for space, family := range families {
			chain := DispatchChain(c.version, d, family)
			c.homes[d][space] = home{members: chain + "_members", others: chain + "_others"}
		}
	}
	c.base = c.baseChains()
	return c, nil
}

// fingerprint names a version by everything that decides but the members.
func (in *Input) fingerprint() string {
	const shape = 2 // of what depends on members
	var h strings.Builder
	fmt.Fprintf(&h, "%d %d %q %t\n", shape, in.Ruleset.Type, in.Ruleset.InnerAccess, in.Observe)
	for _, d := range sides {
		for _, r := range in.Ruleset.Rules(d) {
			fmt.Fprintf(&h, "%s %v\n", ruleText(&r), r.Prefixes)
		}
	}
	for _, e := range in.Exempt {
		fmt.Fprintf(&h, "%d %v %d %d %v %t\n", e.Protocol, e.Ports, e.FirstType, e.LastType, e.Peer, e.HopLimit255)
	}
	sum := sha256.Sum256([]byte(h.String()))
	return hex.EncodeToString(sum[:5])
}

// hash is that of everything in n but its name.
func (n *Node) hash() string {
	var w strings.Builder
	anonymous := Node{Maps: n.Maps, Rules: n.Rules, Hook: n.Hook}
	for i := range anonymous.Maps {
		anonymous.Maps[i].write(&w)
	}
	anonymous.write(&w)
	sum := sha256.Sum256([]byte(w.String()))
	return hex.EncodeToString(sum[:8])
}

// Version lays out everything for hosts whose rules name groups with these
// members. Members are single addresses; a group that members does not know is
// an error, since unknown is not empty.
func (c *Compiler) Version(members *rules.Membership) (*Version, error) {
	v := &Version{Name: c.version, Base: c.base}
	for _, d := range sides {
		signed, err := c.signatures(d, members)
		if err != nil {
			return nil, err
		}
		for space, family := range families {
			n, err := c.dispatch(d, flowset.Space(space), family, signed[space])
			if err != nil {
				return nil, err
			}
			v.Dispatch = append(v.Dispatch, n)
		}
	}
	v.Leaves, v.Classes = c.reachable(v.Dispatch)
	return v, nil
}

// reachable returns what the dispatch leads to, in canonical order: what was
// laid out for members that have left since is not there.
func (c *Compiler) reachable(dispatch []Node) (leaves, classes []Node) {
	seen := map[string]bool{}
	var visit func(n *Node)
	follow := func(name string) {
		if n := cmp.Or(c.leaves[name], c.nodes[name]); n != nil && !seen[name] {
			seen[name] = true
			visit(n)
		}
	}
	visit = func(n *Node) {
		for _, name := range n.targets() {
			follow(name)
		}
	}
	for i := range dispatch {
		visit(&dispatch[i])
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if n, ok := c.leaves[name]; ok {
			leaves = append(leaves, *n)
		} else {
			classes = append(classes, *c.nodes[name])
		}
	}
	slices.SortStableFunc(classes, func(a, b Node) int { return cmp.Compare(a.rank(), b.rank()) })
	return leaves, classes
}

// rank orders nodes by the field that they ask for, the last field first, so
// that what a node refers to comes before it.
func (n *Node) rank() int {
	kind, _, _ := strings.Cut(n.Name, "_")
	return slices.Index([]string{"sport", "member", "type", "port", "proto"}, kind)
}

// targets returns the chains that n leads to.
func (n *Node) targets() []string {
	var out []string
	for i := range n.Maps {
		for _, e := range n.Maps[i].Elements {
			out = append(out, e.Goto)
		}
	}
	for _, r := range n.Rules {
		switch r := r.(type) {
		case Goto:
			out = append(out, r.Chain)
		case GotoProtocol:
			out = append(out, r.Chain)
		case GotoKnown:
			out = append(out, r.Chain)
		case GotoIn:
			out = append(out, r.Chain)
		case GotoFamily:
			out = append(out, r.Chain)
		case Accept, AcceptEstablished, AcceptForeign, AcceptLinkLocal, AcceptProtocol, JumpRelated, GotoUntracked, GotoRevoked, RenewRevoked, Count, CountAccept, Drop, Log, Lookup:
		}
	}
	return out
}

// A holder is an address and one of the groups that hold it.
type holder struct {
	addr  netip.Addr
	group int
}

// signatures returns, by family, who is in which groups, sorted.
func (c *Compiler) signatures(d rules.Direction, members *rules.Membership) ([2][]holder, error) {
	var out [2][]holder
	for g, name := range c.sides[d].Groups() {
		if !members.Known(name) {
			return out, fmt.Errorf("%s rules of %v: the members of group %s are unknown", d, c.in.Ruleset.Groups, name)
		}
		for _, p := range members.Prefixes(name) {
			if !p.IsSingleIP() {
				return out, fmt.Errorf("group %s: member %s is more than one address", name, p)
			}
			space := flowset.SpaceOf(p.Addr())
			out[space] = append(out[space], holder{p.Addr(), g})
		}
	}
	for i := range out {
		slices.SortFunc(out[i], func(a, b holder) int { return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.group, b.group)) })
		out[i] = slices.Compact(out[i]) // a group may name an address twice
	}
	return out, nil
}

// ruleAt names the last rule that is tried for some peer by its address.
func (c *Compiler) ruleAt(d rules.Direction, at flowset.Addr, s flowset.Space) string {
	list := c.in.Ruleset.Rules(d)
	for i := len(list) - 1; i >= 0; i-- {
		for _, p := range list[i].Prefixes {
			r := flowset.RangeOf(p)
			if flowset.SpaceOf(p.Addr()) == s && r.First.Compare(at) <= 0 && at.Compare(r.Last) <= 0 {
				return list[i].String()
			}
		}
	}
	return "none"
}

func peerKey(d rules.Direction, s flowset.Space) Key {
	return [...][2]Key{rules.Ingress: {Source4, Source6}, rules.Egress: {Destination4, Destination6}}[d][s]
}

func memberKey(d rules.Direction, s flowset.Space) Key { return peerKey(1-d, s) }

// dispatch lays out one direction and family: the members, then the ranges. The
// class that most ranges have needs no element: it is where misses go.
func (c *Compiler) dispatch(d rules.Direction, s flowset.Space, family string, list []holder) (Node, error) {
	key := peerKey(d, s)
	n := Node{Name: DispatchChain(c.version, d, family)}
	ranges := Map{Name: n.Name + "_ranges", Key: key, Interval: true}
	spans, kids := c.sides[d].Ranges(s)
	rest := mostFrequent(kids)
	fallback, err := c.class(d, s, rest)
	if err != nil {
		return n, err
	}
	for i, span := range spans {
		if kids[i] == rest {
			continue
		}
		target, err := c.class(d, s, kids[i])
		if err != nil {
			return n, fmt.Errorf("%w; the first too many is %s, which rule %s tells apart", err, key.value(span.First), c.ruleAt(d, span.First, s))
		}
		ranges.Elements = append(ranges.Elements, Element{span, target})
	}
	members := Map{Name: c.homes[d][s].members, Key: key, Set: true}
	others := Map{Name: c.homes[d][s].others, Key: key}
	for len(list) > 0 {
		addr := list[0].addr
		var groups []int
		for len(list) > 0 && list[0].addr == addr {
			groups, list = append(groups, list[0].group), list[1:]
		}
		e, err := c.member(d, addr, groups)
		if err != nil {
			return n, err
		}
		if e.Goto == c.crowds[d][s] {
			members.Elements = append(members.Elements, e)
		} else {
			others.Elements = append(others.Elements, e)
		}
	}
	n.Maps = []Map{members, ranges, others}
	if crowd := c.crowds[d][s]; crowd != "" { // else there can be no members
		n.Rules = []Rule{GotoIn{key, members.Name, crowd}, Lookup{key, others.Name}}
	}
	n.Rules = append(n.Rules, Lookup{key, ranges.Name}, Goto{fallback})
	return n, nil
}

// crowd returns the chain of the class that most members are likely to have:
// those of one group, outside the ranges that rules tell apart. They are kept in
// a set. In a verdict map each of them would be looked at by the kernel whenever
// another is added. It is a guess from the rules alone, since a version does not
// change with its members; where it is wrong, only speed is lost.
func (c *Compiler) crowd(d rules.Direction, s flowset.Space) (string, error) {
	groups := c.sides[d].Groups()
	if len(groups) == 0 {
		return "", nil
	}
	likely := 0 // the first, unless hosts wear one
	for i, name := range groups {
		if slices.Contains(c.in.Ruleset.InnerAccess, name) {
			likely = i
			break
		}
	}
	spans, kids := c.sides[d].Ranges(s)
	at := spans[slices.Index(kids, mostFrequent(kids))].First
	addr := at.In6()
	if s == flowset.IPv4 {
		addr = at.In4()
	}
	branch, err := c.sides[d].Of(addr, []int{likely})
	if err != nil {
		return "", fmt.Errorf("cannot lay out the rules for members of %s: %w", groups[likely], err)
	}
	return c.class(d, s, branch)
}

// Groups returns the groups on whose members a direction depends, sorted.
func (c *Compiler) Groups(d rules.Direction) []string { return c.sides[d].Groups() }

// membership returns the move that takes an address into the map for a class, or
// out of it. Of no class it says nothing.
func (c *Compiler) membership(d rules.Direction, a netip.Addr, class string) Move {
	space := flowset.SpaceOf(a)
	m := Move{Map: c.homes[d][space].others, Key: peerKey(d, space), Address: flowset.AddrFrom(a)}
	if class == c.crowds[d][space] {
		m.Map, m.Set = c.homes[d][space].members, true
	}
	return m
}

// member returns the element of an address that these groups hold: indexes of
// Groups, ascending, at least one.
func (c *Compiler) member(d rules.Direction, a netip.Addr, groups []int) (Element, error) {
	branch, err := c.sides[d].Of(a, groups)
	if err != nil {
		return Element{}, fmt.Errorf("cannot lay out the rules for %s: %w", a, err)
	}
	target, err := c.class(d, flowset.SpaceOf(a), branch)
	at := flowset.AddrFrom(a)
	return Element{flowset.AddrRange{First: at, Last: at}, target}, err
}

// A Change is an address that groups held before, and that others hold after.
// Groups that no rule names may be among them.
type Change struct {
	Address netip.Addr
	Before  []string
	After   []string
}

// Moves returns what changes of members change in the maps of the version.
// What they need must be in the kernel first.
func (c *Compiler) Moves(changes []Change) ([]Move, error) {
	var out []Move
	for i := range changes {
		for _, d := range sides {
			from, err := c.targetOf(d, changes[i].Address, changes[i].Before)
			if err != nil {
				return nil, err
			}
			to, err := c.targetOf(d, changes[i].Address, changes[i].After)
			if err != nil {
				return nil, err
			}
			if from != to {
				out = c.moves(out, d, changes[i].Address, from, to)
			}
		}
	}
	return out, nil
}

// moves adds the one or two moves between two classes; empty is none.
func (c *Compiler) moves(out []Move, d rules.Direction, a netip.Addr, from, to string) []Move {
	leave, join := c.membership(d, a, from), c.membership(d, a, to)
	leave.From, join.To = from, to
	if from != "" && to != "" && leave.Map == join.Map {
		leave.To = to
		return append(out, leave)
	}
	if from != "" {
		out = append(out, leave)
	}
	if to != "" {
		out = append(out, join)
	}
	return out
}

// targetOf returns where an address that these groups hold leads; empty if no
// rule names any of them.
func (c *Compiler) targetOf(d rules.Direction, a netip.Addr, groups []string) (string, error) {
	var held []int
	for i, name := range c.sides[d].Groups() {
		if slices.Contains(groups, name) {
			held = append(held, i)
		}
	}
	if len(held) == 0 {
		return "", nil
	}
	e, err := c.member(d, a, held)
	return e.Goto, err
}

// Needs returns the nodes that the moves lead to, in the order in which they
// can be made; the kernel may have some of them already.
func (c *Compiler) Needs(moves []Move) []*Node {
	var entry Node
	last := ""
	for i := range moves {
		if to := moves[i].To; to != "" && to != last { // most go where the one before goes
			entry.Rules, last = append(entry.Rules, Goto{to}), to
		}
	}
	leaves, classes := c.reachable([]Node{entry})
	var out []*Node
	for _, list := range [][]Node{leaves, classes} {
		for i := range list {
			out = append(out, &list[i])
		}
	}
	return out
}

// class returns the chain for what a peer may do.
func (c *Compiler) class(d rules.Direction, s flowset.Space, b flowset.Branch) (string, error) {
	at := place{d, s, anyProtocol, b}
	c.classes[at] = true
	if len(c.classes) > MaxClasses {
		return "", fmt.Errorf("%w (at most %d): %s rules of %v", ErrClasses, MaxClasses, d, c.in.Ruleset.Groups)
	}
	return c.target(at)
}

// mostFrequent returns the branch that occurs most, of equals the first.
func mostFrequent(kids []flowset.Branch) flowset.Branch {
	total := map[flowset.Branch]int{}
	for _, k := range kids {
		total[k]++
	}
	best := kids[0]
	for _, k := range kids {
		if total[k] > total[best] {
			best = k
		}
	}
	return best
}

// target returns the chain of a branch, and makes it if it is new.
func (c *Compiler) target(at place) (string, error) {
	if name, ok := c.targets[at]; ok {
		return name, nil
	}
	name, err := c.lay(at)
	if err == nil {
		c.targets[at] = name
	}
	return name, err
}

func (c *Compiler) lay(at place) (string, error) {
	if leaf, ok := at.branch.Leaf(); ok {
		return c.leaf(at.direction, c.sides[at.direction].Verdict(leaf)), nil
	}
	switch field, _ := at.branch.Field(); field {
	case flowset.Protocol:
		return c.byProtocol(at)
	case flowset.Port:
		switch rules.Protocol(at.protocol) { //nolint:gosec // at most 256
		case rules.TCP, rules.UDP, rules.SCTP:
			return c.byRange(at, field, "port", DestinationPort)
		case rules.ICMP:
			return c.byRange(at, field, "type", ICMPType)
		case rules.ICMPv6:
			return c.byRange(at, field, "type", ICMPv6Type)
		}
	case flowset.Member:
		return c.byRange(at, field, "member", memberKey(at.direction, at.space))
	case flowset.SourcePort:
		return c.byRange(at, field, "sport", SourcePort)
	case flowset.Peer:
	}
	return "", fmt.Errorf("protocol %d: the diagram asks for a field that its packets do not have", at.protocol)
}

// A choice is one part of a field's values, and the chain for it.
type choice struct {
	values flowset.AddrRange
	target string
}

func (c *choice) size() uint64 { return c.values.Last.Lo - c.values.First.Lo + 1 }

// choices returns the parts of a field's values up to last, and the chain that
// most of the values lead to.
func (c *Compiler) choices(at place, field flowset.Field, last flowset.Addr) (list []choice, rest string, err error) {
	weight := map[string]uint64{}
	for r, kid := range at.branch.Runs(field, at.space) {
		if r.First.Compare(last) > 0 {
			break // a source port that nobody told: no packet is like that
		}
		if r.Last.Compare(last) > 0 {
			r.Last = last
		}
		below := place{at.direction, at.space, at.protocol, kid}
		if field == flowset.Protocol {
			below.protocol = uint32(r.First.Lo) //nolint:gosec // at most 255; what asks for ports has one protocol
		}
		target, err := c.target(below)
		if err != nil {
			return nil, "", err
		}
		next := choice{r, target}
		list = append(list, next)
		weight[target] += next.size()
		if rest == "" || weight[target] > weight[rest] {
			rest = target
		}
	}
	return list, rest, nil
}

// singles returns an element for every value that does not lead to rest.
func singles(list []choice, rest string) []Element {
	var out []Element
	for _, ch := range list {
		for v := ch.values.First.Lo; ch.target != rest && v <= ch.values.Last.Lo; v++ {
			out = append(out, Element{single(v), ch.target})
		}
	}
	return out
}

func single(v uint64) flowset.AddrRange {
	a := flowset.Addr{Lo: v}
	return flowset.AddrRange{First: a, Last: a}
}

// maxRules is up to how many protocols are told apart by rules: each costs
// some 15 ns, a hash map 60.
const maxRules = 4

// byProtocol lays out what depends on the protocol; what most protocols have
// is what all that are not named get.
func (c *Compiler) byProtocol(at place) (string, error) {
	list, rest, err := c.choices(at, flowset.Protocol, L4Protocol.Last())
	if err != nil {
		return "", err
	}
	elements := singles(list, rest)
	if len(elements) > maxRules {
		return c.add("proto", at.direction, &Map{Key: L4Protocol, Elements: elements}, GotoKnown{L4Protocol, rest}), nil
	}
	slices.SortStableFunc(elements, func(a, b Element) int { return cmp.Compare(rarity(a), rarity(b)) })
	var more []Rule
	for _, e := range elements {
		more = append(more, GotoProtocol{uint8(e.Range.First.Lo), e.Goto}) //nolint:gosec // at most 255
	}
	return c.add("proto", at.direction, nil, append(more, GotoKnown{L4Protocol, rest})...), nil
}

// rarity ranks protocols by how seldom a flow has them.
func rarity(e Element) int {
	switch rules.Protocol(e.Range.First.Lo) { //nolint:gosec // at most 255
	case rules.TCP:
		return 0
	case rules.UDP:
		return 1
	}
	return 2 //nolint:mnd // all others
}

// maxSingles is up to how many values of a port or type are listed one by one,
// in a hash map, which is asked faster than one of intervals.
const maxSingles = 256

// byRange lays out any other field. An interval map has no gaps, and a hash
// map is followed by a rule for the rest, so that only a packet in which the
// field cannot be read gets past.
func (c *Compiler) byRange(at place, field flowset.Field, kind string, key Key) (string, error) {
	list, rest, err := c.choices(at, field, key.Last())
	if err != nil {
		return "", err
	}
	if field != flowset.Member {
		listed := uint64(0)
		for _, ch := range list {
			if ch.target != rest {
				listed += ch.size()
			}
		}
		if listed <= maxSingles {
			return c.add(kind, at.direction, &Map{Key: key, Elements: singles(list, rest)}, GotoKnown{key, rest}), nil
		}
	}
	m := Map{Key: key, Interval: true}
	for _, ch := range list {
		m.Elements = append(m.Elements, Element{ch.values, ch.target})
	}
	return c.add(kind, at.direction, &m), nil
}

// add makes the node that asks a map, if there is one, then tries more, then
// gives up.
func (c *Compiler) add(kind string, d rules.Direction, m *Map, more ...Rule) string {
	n := &Node{Rules: append(more, Goto{c.unreadable(d)})}
	if m != nil {
		n.Maps = []Map{*m}
		n.Rules = append([]Rule{Lookup{Key: m.Key}}, n.Rules...)
	}
	n.Name = kind + "_" + n.hash()
	if _, ok := c.nodes[n.Name]; ok {
		return n.Name
	}
	if m != nil {
		n.Maps[0].Name, n.Rules[0] = n.Name, Lookup{m.Key, n.Name}
	}
	c.nodes[n.Name] = n
	return n.Name
}
