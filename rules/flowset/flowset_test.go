package flowset_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"ringfence.dev/ringfence/rules/flowset"
)

// A source draws values from bytes, so that fuzzing and random tests share
// their generators. It yields zeros when the bytes are used up.
type source struct{ data []byte }

func (s *source) intn(n int) int {
	if len(s.data) == 0 {
		return 0
	}
	v := int(s.data[0])
	s.data = s.data[1:]
	return v % n
}

func randomSource(seed uint64, n int) *source {
	r := rand.New(rand.NewPCG(seed, 0))
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return &source{data}
}

// pick draws a border value, so that ranges meet, nest and overlap often.
func pick[T any](s *source, values []T) T { return values[s.intn(len(values))] }

func addrs(space flowset.Space, six bool) []flowset.Addr {
	const top = 1<<64 - 1
	if !six {
		return []flowset.Addr{{}, {Lo: 1}, {Lo: 9}, {Lo: 10}, {Lo: 11}, {Lo: 255}, {Lo: 256}, {Lo: 1<<32 - 2}, {Lo: 1<<32 - 1}}
	}
	_ = space
	return []flowset.Addr{
		{},
		{Lo: 1},
		{Lo: 1<<32 - 1},
		{Lo: 1 << 32},
		{Lo: top},
		{Hi: 1},
		{Hi: 1, Lo: 5},
		{Hi: 2, Lo: 5},
		{Hi: 1<<32 - 1, Lo: top},
		{Hi: 1 << 32},
		{Hi: 1<<32 | 7, Lo: 7 << 32},
		{Hi: top, Lo: top - 1},
		{Hi: top, Lo: top},
	}
}

func addrRange(s *source, values []flowset.Addr) flowset.AddrRange {
	x, y := pick(s, values), pick(s, values)
	if x.Compare(y) > 0 {
		x, y = y, x
	}
	return flowset.AddrRange{First: x, Last: y}
}

func numRange(s *source, values []uint32) flowset.Range {
	x, y := pick(s, values), pick(s, values)
	return flowset.Range{First: min(x, y), Last: max(x, y)}
}

var (
	protocols = []uint32{0, 1, 5, 6, 17, 58, 132, 255}
	ports     = []uint32{0, 1, 22, 23, 255, 256, 65534, 65535}
	types     = []uint32{0, 3, 8, 254, 255}
	sources   = []uint32{0, 1, 1024, 65535, 65536}
	spaces    = []flowset.Space{flowset.IPv4, flowset.IPv6, flowset.Symbol4, flowset.Symbol6}
)

func box(s *source) flowset.Box {
	space := pick(s, spaces)
	b := flowset.All(space)
	if s.intn(4) != 0 {
		b.Peer = addrRange(s, addrs(space, space == flowset.IPv6))
	}
	if s.intn(4) == 0 {
		b.Member = addrRange(s, addrs(space, space == flowset.IPv6 || space == flowset.Symbol6))
	}
	if s.intn(3) == 0 {
		b.Protocol = numRange(s, protocols)
		return b
	}
	p := pick(s, protocols)
	b.Protocol = flowset.Range{First: p, Last: p}
	switch {
	case flowset.HasPorts(p):
		b.Port = numRange(s, ports)
		if s.intn(3) == 0 {
			b.SourcePort = numRange(s, sources)
		}
	case flowset.HasTypes(p):
		b.Port = numRange(s, types)
	}
	return b
}

func weighted(s *source, n int) []flowset.Weighted {
	list := make([]flowset.Weighted, n)
	for i := range list {
		list[i] = flowset.Weighted{Box: box(s), Leaf: flowset.Leaf(s.intn(6))}
	}
	return list
}

// point draws a flow at the borders.
func point(s *source) flowset.Point {
	space := pick(s, spaces)
	p := flowset.Point{
		Space:      space,
		Peer:       pick(s, addrs(space, space == flowset.IPv6)),
		Protocol:   pick(s, protocols),
		Member:     pick(s, addrs(space, space == flowset.IPv6 || space == flowset.Symbol6)),
		SourcePort: flowset.UnknownSourcePort,
	}
	switch {
	case flowset.HasPorts(p.Protocol):
		p.Port = pick(s, ports)
		p.SourcePort = pick(s, sources)
	case flowset.HasTypes(p.Protocol):
		p.Port = pick(s, types)
	}
	return p
}

func inside(r flowset.AddrRange, a flowset.Addr) bool {
	return r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

func holds(b *flowset.Box, p *flowset.Point) bool {
	in := func(r flowset.Range, v uint32) bool { return r.First <= v && v <= r.Last }
	return b.Space == p.Space && inside(b.Peer, p.Peer) && in(b.Protocol, p.Protocol) && in(b.Port, p.Port) &&
		inside(b.Member, p.Member) && in(b.SourcePort, p.SourcePort)
}

// naive is the meaning of a list of boxes, box by box.
func naive(list []flowset.Weighted, p *flowset.Point) flowset.Leaf {
	best := flowset.Leaf(0)
	for i := range list {
		if holds(&list[i].Box, p) {
			best = max(best, list[i].Leaf)
		}
	}
	return best
}

func build(tb testing.TB, a *flowset.Arena, list []flowset.Weighted) flowset.Diagram {
	tb.Helper()
	d, err := a.Build(list)
	if err != nil {
		tb.Fatalf("Build: %v", err)
	}
	return d
}

// checkDiagram compares a diagram with the list that it was built from, by
// look-up and by its boxes.
func checkDiagram(t *testing.T, s *source, list []flowset.Weighted, d flowset.Diagram) {
	t.Helper()
	boxes := map[flowset.Box]flowset.Leaf{}
	for b, v := range d.Boxes() {
		if v == 0 {
			t.Fatalf("Boxes yields %+v with leaf 0", b)
		}
		if err := b.Validate(); err != nil && b.Protocol.First == b.Protocol.Last {
			t.Fatalf("Boxes yields the illegal box %+v: %v", b, err)
		}
		boxes[b] = v
	}
	for range 200 {
		p := point(s)
		want := naive(list, &p)
		if got := d.Lookup(&p); got != want {
			t.Fatalf("Lookup(%+v) = %d, want %d", p, got, want)
		}
		n := 0
		for b, v := range boxes {
			if holds(&b, &p) {
				n++
				if v != want {
					t.Fatalf("box %+v says %d for %+v, want %d", b, v, p, want)
				}
			}
		}
		if wantN := min(int(want), 1); n != wantN {
			t.Fatalf("%d boxes hold %+v, want %d", n, p, wantN)
		}
	}
}

func TestBuildMeansItsBoxes(t *testing.T) {
	for seed := range uint64(300) {
		s := randomSource(seed, 6000)
		list := weighted(s, 1+s.intn(20))
		checkDiagram(t, s, list, build(t, flowset.NewArena(0), list))
	}
}

func FuzzBuild(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomSource(seed, 400).data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &source{data}
		list := weighted(s, 1+s.intn(12))
		s.data = append(s.data, randomSource(uint64(len(data)), 2000).data...)
		checkDiagram(t, s, list, build(t, flowset.NewArena(0), list))
	})
}

// TestCanonical checks that equal meaning is the same reference: order and
// grouping of boxes leave no trace.
func TestCanonical(t *testing.T) {
	for seed := range uint64(200) {
		s := randomSource(seed, 2000)
		list := weighted(s, 2+s.intn(12))
		a := flowset.NewArena(0)
		d := build(t, a, list)
		shuffled := slices.Clone(list)
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if build(t, a, shuffled) != d {
			t.Fatalf("seed %d: another order of boxes gives another diagram", seed)
		}
		half := len(list) / 2
		if build(t, a, list[:half]).Union(build(t, a, list[half:])) != d {
			t.Fatalf("seed %d: the union of two halves differs from the whole", seed)
		}
		var again []flowset.Weighted
		for b, v := range d.Boxes() {
			again = append(again, split(b, v)...)
		}
		if build(t, a, again) != d {
			t.Fatalf("seed %d: a diagram differs from the one built of its boxes", seed)
		}
	}
}

// split makes legal boxes of one whose protocols span several.
func split(b flowset.Box, v flowset.Leaf) []flowset.Weighted {
	if b.Validate() == nil {
		return []flowset.Weighted{{Box: b, Leaf: v}}
	}
	var list []flowset.Weighted
	for p := b.Protocol.First; p <= b.Protocol.Last; p++ {
		one := b
		one.Protocol = flowset.Range{First: p, Last: p}
		list = append(list, flowset.Weighted{Box: one, Leaf: v})
	}
	return list
}

// TestLaws checks the algebra of sets on random triples.
func TestLaws(t *testing.T) {
	for seed := range uint64(200) {
		s := randomSource(seed, 3000)
		a := flowset.NewArena(0)
		set := func() flowset.Diagram {
			d := build(t, a, weighted(s, 1+s.intn(6)))
			return d.Map(func(v flowset.Leaf) flowset.Leaf { return min(v, 1) })
		}
		x, y, z := set(), set(), set()
		not := flowset.Diagram.Complement
		for name, law := range map[string]bool{
			"union commutes":             x.Union(y) == y.Union(x),
			"intersection commutes":      x.Intersect(y) == y.Intersect(x),
			"union associates":           x.Union(y.Union(z)) == x.Union(y).Union(z),
			"intersection associates":    x.Intersect(y.Intersect(z)) == x.Intersect(y).Intersect(z),
			"union distributes":          x.Union(y.Intersect(z)) == x.Union(y).Intersect(x.Union(z)),
			"intersection distributes":   x.Intersect(y.Union(z)) == x.Intersect(y).Union(x.Intersect(z)),
			"absorption":                 x.Union(x.Intersect(y)) == x && x.Intersect(x.Union(y)) == x,
			"de morgan":                  not(x.Union(y)) == not(x).Intersect(not(y)),
			"complement is its own undo": not(not(x)) == x,
			"excluded middle":            x.Union(not(x)) == a.Const(1) && x.Intersect(not(x)).IsEmpty(),
			"difference is disjoint":     x.Subtract(y).Intersect(y).IsEmpty(),
			"difference and the rest":    x.Subtract(y).Union(x.Intersect(y)) == x,
			"meets":                      x.Meets(y) == !x.Intersect(y).IsEmpty(),
			"subset":                     x.Intersect(y).SubsetOf(x) && x.SubsetOf(x.Union(y)),
			"subset both ways is equal":  (x.SubsetOf(y) && y.SubsetOf(x)) == (x == y),
			"merge agrees with subtract": x.Merge(y, func(v, w flowset.Leaf) flowset.Leaf { return v &^ w }) == x.Subtract(y),
			"merge agrees with union":    x.Merge(y, func(v, w flowset.Leaf) flowset.Leaf { return v | w }) == x.Union(y),
		} {
			if !law {
				t.Errorf("seed %d: %s: broken", seed, name)
			}
		}
		checkExample(t, x.Subtract(y), x, y)
	}
}

func checkExample(t *testing.T, diff, x, y flowset.Diagram) {
	t.Helper()
	p, v, ok := diff.Example()
	if ok == diff.IsEmpty() {
		t.Fatalf("Example says %t for a set that is empty: %t", ok, diff.IsEmpty())
	}
	if ok && (v != 1 || x.Lookup(&p) != 1 || y.Lookup(&p) != 0) {
		t.Fatalf("Example %+v is in x: %d, in y: %d; want 1 and 0", p, x.Lookup(&p), y.Lookup(&p))
	}
}

// TestIntersectKeepsLeaves checks the decision-list side of the operations.
func TestIntersectKeepsLeaves(t *testing.T) {
	s := randomSource(7, 6000)
	a := flowset.NewArena(0)
	list, mask := weighted(s, 15), weighted(s, 5)
	d, m := build(t, a, list), build(t, a, mask)
	for range 500 {
		p := point(s)
		want, in := naive(list, &p), naive(mask, &p) != 0
		only, except := d.Intersect(m), d.Subtract(m)
		if in && (only.Lookup(&p) != want || except.Lookup(&p) != 0) || !in && (only.Lookup(&p) != 0 || except.Lookup(&p) != want) {
			t.Fatalf("%+v (in mask: %t, leaf %d): Intersect %d, Subtract %d", p, in, want, only.Lookup(&p), except.Lookup(&p))
		}
	}
}

func TestPatch(t *testing.T) {
	for seed := range uint64(200) {
		s := randomSource(seed, 8000)
		a := flowset.NewArena(0)
		lists := [][]flowset.Weighted{weighted(s, 8), weighted(s, 8), weighted(s, 8)}
		var diagrams []flowset.Diagram
		for _, l := range lists {
			diagrams = append(diagrams, build(t, a, l))
		}
		from := make(map[flowset.Space]map[flowset.Addr]int, len(spaces))
		var patches []flowset.Patch
		for _, space := range spaces {
			from[space] = map[flowset.Addr]int{}
			for _, addr := range addrs(space, space == flowset.IPv6) {
				if s.intn(2) == 0 {
					continue
				}
				i := 1 + s.intn(2)
				from[space][addr] = i
				patches = append(patches, flowset.Patch{Space: space, Peers: flowset.AddrRange{First: addr, Last: addr}, From: diagrams[i]})
			}
		}
		rand.New(rand.NewPCG(seed, 2)).Shuffle(len(patches), func(i, j int) { patches[i], patches[j] = patches[j], patches[i] })
		d := diagrams[0].Patch(patches)
		for range 300 {
			p := point(s)
			if got, want := d.Lookup(&p), naive(lists[from[p.Space][p.Peer]], &p); got != want {
				t.Fatalf("seed %d: %+v: got %d, want %d of list %d", seed, p, got, want, from[p.Space][p.Peer])
			}
		}
	}
}

func TestImport(t *testing.T) {
	s := randomSource(3, 4000)
	list := weighted(s, 30)
	a, b := flowset.NewArena(0), flowset.NewArena(0)
	d := build(t, a, list)
	if b.Import(d) != build(t, b, list) {
		t.Error("an imported diagram differs from the same one built in place")
	}
	if b.Import(d).Size() != d.Size() {
		t.Error("Import changes the size")
	}
	c := flowset.NewArena(0)
	c.Import(d)
	if got, want := c.Edges(), d.Size().Edges; got != want {
		t.Errorf("a fresh arena holds %d edges after Import, want only the diagram's %d", got, want)
	}
}

// TestExamples checks that every leaf that some flow has gets one example, and
// no other.
func TestExamples(t *testing.T) {
	for seed := range uint64(100) {
		s := randomSource(seed, 3000)
		d := build(t, flowset.NewArena(0), weighted(s, 1+s.intn(15)))
		want := make(map[flowset.Leaf]bool)
		for _, v := range d.Boxes() {
			want[v] = true
		}
		got := d.Examples()
		for v, p := range got {
			if d.Lookup(&p) != v || !want[v] {
				t.Errorf("seed %d: example %+v of leaf %d has leaf %d", seed, p, v, d.Lookup(&p))
			}
		}
		if len(got) != len(want) {
			t.Errorf("seed %d: %d examples, want %d", seed, len(got), len(want))
		}
	}
}

func TestICMPTypes(t *testing.T) {
	a := flowset.NewArena(0)
	all := flowset.All(flowset.IPv4)
	all.Protocol = flowset.Range{First: 1, Last: 1}
	every := all
	every.Port = flowset.Range{First: 0, Last: 255}
	x, _ := a.SetOf([]flowset.Box{all})
	y, _ := a.SetOf([]flowset.Box{every})
	if x != y {
		t.Error("types 0-255 are not the same as every type")
	}
	three := all
	three.Port = flowset.Range{First: 3, Last: 3}
	z, _ := a.SetOf([]flowset.Box{three})
	for b := range x.Subtract(z).Boxes() {
		if b.Port.Last > 255 {
			t.Errorf("Boxes yields ICMP types %d-%d", b.Port.First, b.Port.Last)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	mod := func(f func(b *flowset.Box)) flowset.Weighted {
		b := flowset.All(flowset.IPv4)
		f(&b)
		return flowset.Weighted{Box: b, Leaf: 1}
	}
	for name, tc := range map[string]struct {
		reason string
		box    flowset.Weighted
	}{
		"Space":       {"there are four spaces", mod(func(b *flowset.Box) { b.Space = 4 })},
		"Protocol":    {"protocols end at 255", mod(func(b *flowset.Box) { b.Protocol.Last = 256 })},
		"Backwards":   {"a range that ends before it begins is a mistake, not an empty set", mod(func(b *flowset.Box) { b.Protocol.First, b.Protocol.Last = 7, 6 })},
		"Peer":        {"IPv4 has 32 bits", mod(func(b *flowset.Box) { b.Peer.Last = flowset.Addr{Lo: 1 << 32} })},
		"Member":      {"empty range of members", mod(func(b *flowset.Box) { b.Member.First = flowset.Addr{Hi: 1} })},
		"PortsOfALL":  {"nothing reads a port where there is none", mod(func(b *flowset.Box) { b.Port.Last = 80 })},
		"SourcePorts": {"GRE has no source ports", mod(func(b *flowset.Box) { b.Protocol = flowset.Range{First: 47, Last: 47}; b.SourcePort.Last = 1 })},
		"ICMPType":    {"types end at 255", mod(func(b *flowset.Box) { b.Protocol = flowset.Range{First: 1, Last: 1}; b.Port.Last = 300 })},
		"Leaf":        {"references use the highest bit", flowset.Weighted{Box: flowset.All(flowset.IPv4), Leaf: flowset.MaxLeaf + 1}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := flowset.NewArena(0).Build([]flowset.Weighted{tc.box}); err == nil {
				t.Errorf("Build accepts the box; want an error: %s", tc.reason)
			}
		})
	}
}

func TestBudget(t *testing.T) {
	a := flowset.NewArena(50)
	_, err := a.Build(weighted(randomSource(1, 4000), 100))
	if !errors.Is(err, flowset.ErrBudget) {
		t.Fatalf("Build over budget: got %v, want ErrBudget", err)
	}
	d := a.Const(1).Union(a.Empty())
	if !errors.Is(a.Err(), flowset.ErrBudget) || a.Edges() > 50 {
		t.Errorf("after going over budget: Err %v, %d edges; the error must stay and the edges be within 50", a.Err(), a.Edges())
	}
	_ = d
}

func TestMixedArenasPanic(t *testing.T) {
	for name, f := range map[string]func(x, y flowset.Diagram){
		"Union": func(x, y flowset.Diagram) { x.Union(y) },
		"Merge": func(x, y flowset.Diagram) { x.Merge(y, func(flowset.Leaf, flowset.Leaf) flowset.Leaf { return 0 }) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("diagrams of two arenas were combined: any answer would be wrong")
				}
			}()
			f(flowset.NewArena(0).Empty(), flowset.NewArena(0).Empty())
		})
	}
}

func TestZeroDiagramDecidesNothing(t *testing.T) {
	var d flowset.Diagram
	if got := d.Lookup(&flowset.Point{}); got != 0 {
		t.Errorf("Lookup in the zero diagram = %d, want 0", got)
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	s := randomSource(5, 4000)
	d := build(t, flowset.NewArena(0), weighted(s, 50))
	p := point(s)
	if n := testing.AllocsPerRun(100, func() { d.Lookup(&p) }); n != 0 {
		t.Errorf("Lookup allocates %v times", n)
	}
}

func TestAddresses(t *testing.T) {
	for _, text := range []string{"0.0.0.0/0", "10.1.2.3/32", "10.0.0.0/8", "::/0", "2001:db8::/32", "2001:db8::5/128", "2001:db8:0:1::/64", "fe80::/10", "2001:db8::/65"} {
		p := netip.MustParsePrefix(text)
		r := flowset.RangeOf(p)
		first, last := r.First.In6(), r.Last.In6()
		if p.Addr().Is4() {
			first, last = r.First.In4(), r.Last.In4()
		}
		if first != p.Addr() || !p.Contains(last) || p.Contains(last.Next()) && last.Next().IsValid() {
			t.Errorf("RangeOf(%s) = %s - %s", text, first, last)
		}
		if got := flowset.SpaceOf(p.Addr()); (got == flowset.IPv4) != p.Addr().Is4() {
			t.Errorf("SpaceOf(%s) = %s", text, got)
		}
	}
	names := []string{}
	for _, s := range append(spaces, 9) {
		names = append(names, s.String())
	}
	if want := []string{"ipv4", "ipv6", "symbol4", "symbol6", "space 9"}; !slices.Equal(names, want) {
		t.Errorf("spaces are called %v, want %v", names, want)
	}
}

func TestSizeAndBytes(t *testing.T) {
	a := flowset.NewArena(0)
	one := flowset.All(flowset.IPv4)
	one.Peer = flowset.RangeOf(netip.MustParsePrefix("10.0.0.0/8"))
	d, err := a.SetOf([]flowset.Box{one})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := d.Size(), (flowset.Size{Nodes: 1, Edges: 3, Children: 2}); got != want {
		t.Errorf("Size = %+v, want %+v", got, want)
	}
	if a.Nodes() != 1 || a.Edges() != 3 || a.Bytes() <= 0 {
		t.Errorf("arena: %d nodes, %d edges, %d bytes; want 1, 3 and some", a.Nodes(), a.Edges(), a.Bytes())
	}
}

// TestManyNodes makes the tables grow several times.
func TestManyNodes(t *testing.T) {
	s := randomSource(11, 60000)
	list := weighted(s, 400)
	a := flowset.NewArena(0)
	d := build(t, a, list)
	checkDiagram(t, s, list, d)
}
