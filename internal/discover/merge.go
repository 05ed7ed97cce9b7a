package discover

import (
	"cmp"
	"net/netip"
	"slices"

	"ringfence.dev/ringfence/rules"
)

// A Change is what differs between two reports about one thing. Before is nil for
// what came, After for what went. What they point to does not change any more.
type Change[T any] struct{ Before, After *T }

// Changes are what differs between two reports, each list in the order of its kind.
type Changes struct {
	Needs   []Change[Need]
	Unknown []Change[Unknown]
	Parties []Change[Located]
}

// A group is what several parts say about one thing.
type group[T any] struct {
	of []*T
	// told is what the report says of it; nil for nothing.
	told *T
}

// groups are all things of one kind.
type groups[K comparable, T any] struct {
	by    map[K]*group[T]
	dirty map[K]bool
	// told is what the report says, in order.
	told []*T
}

func newGroups[K comparable, T any]() groups[K, T] {
	return groups[K, T]{by: map[K]*group[T]{}, dirty: map[K]bool{}}
}

func (g *groups[K, T]) add(k K, x *T) {
	if g.by[k] == nil {
		g.by[k] = &group[T]{}
	}
	g.by[k].of = append(g.by[k].of, x)
	g.dirty[k] = true
}

func (g *groups[K, T]) take(k K, x *T) {
	g.by[k].of = without(g.by[k].of, x)
	g.dirty[k] = true
}

// A manner is how what several parts say becomes one.
type manner[K comparable, T any] struct {
	// merge returns nil for nothing. It is called with one element or more.
	merge   func(K, []*T) *T
	same    func(a, b *T) bool
	compare func(a, b *T) int
}

// settle brings told up to date, and returns what is new in it.
func (g *groups[K, T]) settle(how manner[K, T]) []Change[T] {
	var changes []Change[T]
	stale := map[*T]bool{}
	var came []*T
	for k := range g.dirty {
		group := g.by[k]
		if group == nil {
			continue
		}
		var now *T
		if len(group.of) > 0 {
			now = how.merge(k, group.of)
		}
		before := group.told
		if before == nil && now == nil || before != nil && now != nil && how.same(before, now) {
			now = before
		} else {
			changes = append(changes, Change[T]{before, now})
		}
		if before != now && before != nil {
			stale[before] = true
		}
		if before != now && now != nil {
			came = append(came, now)
		}
		if group.told = now; len(group.of) == 0 {
			delete(g.by, k)
		}
	}
	clear(g.dirty)
	if len(changes) > 0 {
		slices.SortFunc(came, how.compare)
		g.told = replaced(g.told, stale, came, how.compare)
		slices.SortFunc(changes, func(a, b Change[T]) int { return how.compare(a.one(), b.one()) })
	}
	return changes
}

func (c *Change[T]) one() *T {
	if c.After != nil {
		return c.After
	}
	return c.Before
}

// replaced returns a sorted list without some elements and with others, sorted too.
func replaced[T any](list []*T, stale map[*T]bool, came []*T, compare func(a, b *T) int) []*T {
	out := make([]*T, 0, len(list)-len(stale)+len(came))
	for _, x := range list {
		if len(stale) > 0 && stale[x] {
			continue
		}
		for len(came) > 0 && compare(came[0], x) < 0 {
			out, came = append(out, came[0]), came[1:]
		}
		out = append(out, x)
	}
	return append(out, came...)
}

// values returns what the elements point to; nil for none.
func values[T any](list []*T) []T {
	if len(list) == 0 {
		return nil
	}
	out := make([]T, len(list))
	for i, x := range list {
		out[i] = *x
	}
	return out
}

// A result is all that parts have added.
type result struct {
	needs   groups[needKey, Need]
	unknown groups[string, Unknown]
	places  groups[Party, Located]
	// used counts the needs of a party.
	used map[Party]int
	// wrong are the parts with findings.
	wrong map[*part]bool
	// renewed is set if findings may have changed since the last report.
	renewed bool
	last    Report
}

func newResult() result {
	return result{needs: newGroups[needKey, Need](), unknown: newGroups[string, Unknown](), places: newGroups[Party, Located](), used: map[Party]int{}, wrong: map[*part]bool{}}
}

// A needKey is what makes two needs one.
type needKey struct {
	from, to Party
	protocol rules.Protocol
	ports    rules.PortRange
	wire     Wire
}

func (n *Need) key() needKey { return needKey{n.From, n.To, n.Protocol, n.Ports, n.Wire} }

// include adds what a part says.
func (r *result) include(p *part) {
	for i := range p.needs {
		n := &p.needs[i]
		n.Because.sort()
		r.needs.add(n.key(), n)
	}
	for i := range p.unknown {
		u := &p.unknown[i]
		u.Because.sort()
		r.unknown.add(u.About, u)
	}
	for i := range p.places {
		r.places.add(p.places[i].Party, &p.places[i])
	}
	if len(p.findings) > 0 {
		r.wrong[p], r.renewed = true, true
	}
}

// exclude takes back what include has added.
func (r *result) exclude(p *part) {
	for i := range p.needs {
		r.needs.take(p.needs[i].key(), &p.needs[i])
	}
	for i := range p.unknown {
		r.unknown.take(p.unknown[i].About, &p.unknown[i])
	}
	for i := range p.places {
		r.places.take(p.places[i].Party, &p.places[i])
	}
	if len(p.findings) > 0 {
		delete(r.wrong, p)
		r.renewed = true
	}
}

// tell returns the report as it is now.
func (r *result) tell() *Report {
	out := r.last
	out.Changes = Changes{}
	out.Changes.Needs = r.needs.settle(manner[needKey, Need]{mergeNeeds, sameNeed, compareNeeds})
	for _, c := range out.Changes.Needs {
		r.count(c.Before, -1)
		r.count(c.After, +1)
	}
	out.Changes.Unknown = r.unknown.settle(manner[string, Unknown]{mergeUnknown, sameUnknown, func(a, b *Unknown) int { return cmp.Compare(a.About, b.About) }})
	out.Changes.Parties = r.places.settle(manner[Party, Located]{r.mergePlaces, sameLocated, func(a, b *Located) int { return a.Party.compare(b.Party) }})
	if len(out.Changes.Needs) > 0 {
		out.Needs = values(r.needs.told)
	}
	if len(out.Changes.Unknown) > 0 {
		out.Unknown = values(r.unknown.told)
	}
	if len(out.Changes.Parties) > 0 {
		out.Parties = values(r.places.told)
	}
	if r.renewed {
		out.Findings = r.findings()
	}
	r.renewed = false
	r.last = out
	return &out
}

// count notes the parties of a need that came or went.
func (r *result) count(n *Need, by int) {
	if n == nil {
		return
	}
	for _, p := range []Party{n.From, n.To} {
		r.used[p] += by
		if r.used[p] == 0 {
			delete(r.used, p)
		}
		r.places.dirty[p] = true
	}
}

// findings are those of all parts, each once.
func (r *result) findings() []Finding {
	var out []Finding
	for p := range r.wrong {
		out = append(out, p.findings...)
	}
	slices.SortFunc(out, func(a, b Finding) int {
		return cmp.Or(a.Object.compare(b.Object), cmp.Compare(a.Place, b.Place), cmp.Compare(a.Why, b.Why))
	})
	return slices.Compact(out)
}

// mergeNeeds: of several reasons the one of the highest class is told, and of
// those the first.
func mergeNeeds(_ needKey, of []*Need) *Need {
	out := *of[0]
	because := make([]*Because, 0, len(of))
	for _, n := range of {
		if cmp.Or(cmp.Compare(out.Class, n.Class), cmp.Compare(n.Why, out.Why), cmp.Compare(n.Logs, out.Logs), cmp.Compare(n.In, out.In)) < 0 {
			out.Class, out.Why, out.In, out.Logs = n.Class, n.Why, n.In, n.Logs
		}
		because = append(because, &n.Because)
	}
	out.Because = mergeBecause(because)
	return &out
}

func mergeUnknown(_ string, of []*Unknown) *Unknown {
	out := *of[0]
	because := make([]*Because, 0, len(of))
	for _, u := range of {
		if cmp.Or(cmp.Compare(u.Why, out.Why), cmp.Compare(u.Tell, out.Tell)) < 0 {
			out.Why, out.Tell = u.Why, u.Tell
		}
		because = append(because, &u.Because)
	}
	out.Because = mergeBecause(because)
	return &out
}

// mergePlaces leaves out parties without needs, but for those by which others
// are told.
func (r *result) mergePlaces(p Party, of []*Located) *Located {
	told := p.Name == "" && (p.Kind == Nodes || p.Kind == ControlPlane || p.Kind == APIServer || p.Kind == AllPods)
	if r.used[p] == 0 && !told {
		return nil
	}
	var all []netip.Prefix
	for _, l := range of {
		all = append(all, l.Prefixes...)
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return &Located{p, slices.Clip(slices.Compact(all))}
}

// mergeBecause keeps the first few pieces of evidence, of lists that are sorted.
func mergeBecause(of []*Because) Because {
	all := of[0].Evidence
	if len(of) > 1 {
		all = nil
		for _, b := range of {
			all = append(all, b.Evidence...)
		}
		slices.SortFunc(all, Evidence.compare)
		all = slices.Compact(all)
	}
	if over := len(all) - maxEvidence; over > 0 {
		return Because{slices.Clone(all[:maxEvidence]), over}
	}
	return Because{slices.Clip(all), 0}
}

func (e Evidence) compare(o Evidence) int {
	return cmp.Or(e.Object.compare(o.Object), cmp.Compare(e.Field, o.Field), cmp.Compare(e.Place, o.Place))
}

func (b *Because) sort() {
	slices.SortFunc(b.Evidence, Evidence.compare)
	b.Evidence = slices.Compact(b.Evidence)
}

func (b *Because) same(o *Because) bool {
	return b.More == o.More && slices.Equal(b.Evidence, o.Evidence)
}

func sameNeed(a, b *Need) bool {
	return a.Class == b.Class && a.In == b.In && a.Why == b.Why && a.Logs == b.Logs && a.Because.same(&b.Because)
}

func sameUnknown(a, b *Unknown) bool {
	return a.Why == b.Why && a.Tell == b.Tell && a.Because.same(&b.Because)
}

func sameLocated(a, b *Located) bool { return slices.Equal(a.Prefixes, b.Prefixes) }

func (p Party) compare(o Party) int {
	return cmp.Or(cmp.Compare(p.Kind, o.Kind), cmp.Compare(p.Name, o.Name))
}

// compareNeeds orders needs: the essential ones first.
func compareNeeds(a, b *Need) int {
	return cmp.Or(cmp.Compare(b.Class, a.Class), a.To.compare(b.To), a.From.compare(b.From),
		cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Ports.First, b.Ports.First), cmp.Compare(a.Ports.Last, b.Ports.Last), cmp.Compare(a.Wire, b.Wire))
}
