package judge

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/rules"
)

// A TightWish says what group to make from the needs of a running cluster.
type TightWish struct {
	Type rules.GroupType
	// Class is the lowest class of need that counts.
	Class discover.Class
	// MaxRules is how many rules the group may have, 1 to
	// [rules.MaxRulesPerHost]; 0 means the latter.
	MaxRules int
}

// A Tight is a group that lets the needs of a cluster through, and as little
// else as its quota allows.
type Tight struct {
	Group rules.Group
	// Needs is how many ends of needs it was made from, all of which it meets.
	Needs int
	// Widened are the CIDRs that stand for more addresses than are needed,
	// because the exact ones are more than there may be rules. Sorted.
	Widened []netip.Prefix
	// Left are needs of that class that no rule can stand for, with the reason.
	Left []LeftNeed
}

// A LeftNeed is a need without a rule.
type LeftNeed struct {
	Need *discover.Need
	Why  string
}

// Tighten makes one group for all nodes of a cluster from its needs, and proves
// by the diagram that it lets all of them through and nothing else but what
// Widened says. Errors are a quota that cannot be kept to, and facts that make no
// sense.
func Tighten(c *convert.Cluster, report *discover.Report, wish TightWish) (*Tight, error) {
	most := cmp.Or(wish.MaxRules, rules.MaxRulesPerHost)
	if most < 1 || most > rules.MaxRulesPerHost {
		return nil, fmt.Errorf("at most %d rules: want 1 to %d", most, rules.MaxRulesPerHost)
	}
	r := newRunning(c.ID, report)
	t := &Tight{Group: rules.Group{Name: cmp.Or(c.Group, c.ID), Type: wish.Type, VPC: c.VPC}}
	t.leave(r, wish.Class)
	closing := closingRules(wish.Type)
	r.alone = true
	w := &wearer{worn: &worn{cluster: &convert.Cluster{ID: c.ID}}}
	var demands []demand
	for _, d := range r.demands(w) {
		if d.class >= wish.Class {
			demands = append(demands, d)
		}
	}
	t.Needs = len(demands)
	opens := merge(demands)
	if err := t.widen(opens, most-len(closing)); err != nil {
		return nil, err
	}
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		for _, o := range opens {
			for _, rule := range o.rules(d) {
				t.Group.Append(rule)
			}
		}
	}
	for _, rule := range closing {
		t.Group.Append(rule)
	}
	return t, t.prove(demands)
}

// leave notes the needs that no rule stands for.
func (t *Tight) leave(r *running, lowest discover.Class) {
	for i := range r.report.Needs {
		n := &r.report.Needs[i]
		switch {
		case n.Class < lowest || n.Wire == discover.Overlay: // in the overlay, which has its own
		case n.Wire == discover.WireUnknown:
			t.Left = append(t.Left, LeftNeed{n, "it is not known with which addresses it is on the wire"})
		case len(r.whom(n.From)) == 0:
			t.Left = append(t.Left, LeftNeed{n, "the addresses of " + n.From.String() + " are not known"})
		case len(r.whom(n.To)) == 0 && n.To.Kind == discover.External:
			t.Left = append(t.Left, LeftNeed{n, "the addresses of " + n.To.String() + " are not known"})
		}
	}
}

// closingRules are what a basic group needs to mean anything by its egress rules.
func closingRules(t rules.GroupType) []rules.Rule {
	if t != rules.Basic {
		return nil
	}
	var list []rules.Rule
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		list = append(list, rules.Rule{
			Direction: rules.Egress, Action: rules.Drop, Priority: 100, Protocol: rules.AllProtocols, Peer: rules.MustCIDR(all),
			Description: "nothing else leaves", Row: "BO-L9",
		})
	}
	return list
}

// An opening is what rules of one protocol and range of ports let through.
type opening struct {
	direction rules.Direction
	protocol  rules.Protocol
	ports     rules.PortRange
	whom      []rules.CIDR // joined
	id, text  string
}

// merge makes as few openings of demands as mean exactly the same.
func merge(demands []demand) []*opening {
	var out []*opening
	for i := range demands {
		d := &demands[i]
		k := slices.IndexFunc(out, func(o *opening) bool {
			return o.direction == d.Direction && o.protocol == d.Protocol && o.ports == d.Ports
		})
		if k < 0 {
			out = append(out, &opening{direction: d.Direction, protocol: d.Protocol, ports: d.Ports, id: d.ID, text: describe(d)})
			k = len(out) - 1
		}
		out[k].whom = rules.JoinCIDRs(append(slices.Clone(out[k].whom), d.whom...))
		out[k].also(describe(d))
	}
	for _, o := range out {
		for _, other := range out {
			if o != other && other.protocol == rules.AllProtocols && other.direction == o.direction && o.protocol != rules.AllProtocols {
				o.without(other.whom)
			}
		}
	}
	out = slices.DeleteFunc(out, func(o *opening) bool { return len(o.whom) == 0 })
	slices.SortStableFunc(out, func(a, b *opening) int {
		return cmp.Or(cmp.Compare(a.direction, b.direction), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.ports.First, b.ports.First))
	})
	return neighbours(out)
}

// without leaves out whom a rule for all protocols lets through anyway.
func (o *opening) without(list []rules.CIDR) {
	o.whom = slices.DeleteFunc(o.whom, func(c rules.CIDR) bool {
		return slices.ContainsFunc(list, func(all rules.CIDR) bool {
			return all.Prefix.Bits() <= c.Prefix.Bits() && all.Prefix.Overlaps(c.Prefix)
		})
	})
}

// neighbours puts openings together whose ports overlap or follow each other, for
// the same addresses. They are sorted by their first port.
func neighbours(list []*opening) []*opening {
	var out []*opening
	for _, o := range list {
		k := slices.IndexFunc(out, func(p *opening) bool {
			return p.direction == o.direction && p.protocol == o.protocol && o.protocol.HasPorts() &&
				int(o.ports.First) <= int(p.ports.Last)+1 && slices.Equal(p.whom, o.whom)
		})
		if k < 0 {
			out = append(out, o)
			continue
		}
		p := out[k]
		p.ports.Last = max(p.ports.Last, o.ports.Last)
		p.also(o.text)
	}
	return out
}

// also adds what else the opening is for.
func (o *opening) also(text string) {
	if !strings.Contains(o.text, text) {
		o.text += "; " + text
	}
}

// describe says whose flow it is and because of what.
func describe(d *demand) string { return d.Component + ", " + d.Source }

func (o *opening) rules(d rules.Direction) []rules.Rule {
	if o.direction != d {
		return nil
	}
	const longest = 256 // what clouds keep of a description
	text := o.text
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest-3], "") + "..."
	}
	var list []rules.Rule
	for _, c := range o.whom {
		list = append(list, rules.Rule{Direction: d, Action: rules.Accept, Priority: 1, Protocol: o.protocol, Ports: o.ports, Peer: c, Description: text, Row: o.id})
	}
	return list
}

// widen makes CIDRs larger, those first that let the fewest addresses more in,
// until the rules are few enough. Openings for the same addresses stay so.
func (t *Tight) widen(opens []*opening, most int) error {
	sets := map[string]*peerSet{}
	total := 0
	for _, o := range opens {
		key := fmt.Sprint(o.whom)
		if sets[key] == nil {
			sets[key] = newPeerSet(o.whom)
		}
		sets[key].users = append(sets[key].users, o)
		total += len(o.whom)
	}
	order := slices.Sorted(maps.Keys(sets))
	for total > most {
		best := sets[order[0]]
		for _, key := range order[1:] {
			if sets[key].cost() < best.cost() {
				best = sets[key]
			}
		}
		if math.IsInf(best.cost(), 1) {
			return fmt.Errorf("the needs take %d rules at least, and the group may have %d: let it have more, or count the essential ones only", total, most)
		}
		total -= best.step() * len(best.users)
	}
	for _, s := range sets {
		for _, o := range s.users {
			o.whom = s.cidrs
		}
		for _, c := range s.cidrs {
			if !slices.Contains(s.exact, c) {
				t.Widened = append(t.Widened, c.Prefix)
			}
		}
	}
	slices.SortFunc(t.Widened, netip.Prefix.Compare)
	t.Widened = slices.Compact(t.Widened)
	return nil
}

// A peerSet is who some openings are for. Its CIDRs are sorted and disjoint.
type peerSet struct {
	exact, cidrs []rules.CIDR
	users        []*opening
	// first to last are the cheapest to put together, and price is how many
	// addresses that lets in for each rule that it saves; infinite if there is
	// nothing to put together.
	first, last int
	price       float64
}

func newPeerSet(list []rules.CIDR) *peerSet {
	s := &peerSet{exact: list, cidrs: list}
	s.look()
	return s
}

// cost is what a step lets in, a rule that it saves.
func (s *peerSet) cost() float64 { return s.price / float64(len(s.users)) }

// look finds the cheapest step.
func (s *peerSet) look() {
	s.price = math.Inf(1)
	for i := 1; i < len(s.cidrs); i++ {
		if s.cidrs[i-1].Prefix.Addr().Is4() != s.cidrs[i].Prefix.Addr().Is4() {
			continue
		}
		whole := common(s.cidrs[i-1].Prefix, s.cidrs[i].Prefix)
		first, last := i-1, i
		for first > 0 && whole.Overlaps(s.cidrs[first-1].Prefix) {
			first--
		}
		for last+1 < len(s.cidrs) && whole.Overlaps(s.cidrs[last+1].Prefix) {
			last++
		}
		added := size(whole)
		for _, c := range s.cidrs[first : last+1] {
			added -= size(c.Prefix)
		}
		if price := added / float64(last-first); price < s.price {
			s.first, s.last, s.price = first, last, price
		}
	}
}

// step puts the cheapest together and returns how many fewer there are.
func (s *peerSet) step() int {
	whole := common(s.cidrs[s.first].Prefix, s.cidrs[s.last].Prefix)
	saved := s.last - s.first
	s.cidrs = slices.Concat(s.cidrs[:s.first], []rules.CIDR{{Prefix: whole, Text: whole.String()}}, s.cidrs[s.last+1:])
	s.look()
	return saved
}

// common is the smallest prefix that holds both.
func common(a, b netip.Prefix) netip.Prefix {
	for bits := min(a.Bits(), b.Bits()); ; bits-- {
		if p := netip.PrefixFrom(a.Addr(), bits).Masked(); p.Contains(b.Addr()) {
			return p
		}
	}
}

func size(p netip.Prefix) float64 { return math.Pow(2, float64(p.Addr().BitLen()-p.Bits())) }

// errUnproven is a mistake of ours, which must not become a group.
var errUnproven = errors.New("the group that was made does not do what it should: please report this")

// prove compiles the group and looks that it meets every demand, and that what it
// lets through beyond is due to what was widened.
func (t *Tight) prove(demands []demand) error {
	ws := rules.NewWorkspace(&rules.World{}, 0)
	rs, err := rules.Merge([]*rules.Group{&t.Group}, nil)
	if err != nil {
		return err
	}
	policy, err := ws.Compile(rs)
	if err != nil {
		return err
	}
	needs := []rules.Need{}
	lists := map[string]rules.PrefixList{}
	for i := range demands {
		needs = append(needs, demands[i].Need)
		if p, ok := demands[i].Peer.(rules.PrefixListPeer); ok {
			lists[p.Name] = rules.PrefixList{Name: p.Name, Entries: demands[i].whom}
		}
	}
	missing, err := policy.Cover(needs, lists)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w (it lacks %s %s)", errUnproven, missing[0].Need.Direction, missing[0].Need.Component)
	}
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		needed, err := ws.NeedSet(d, needs, lists)
		if err != nil {
			return err
		}
		excess, err := policy.Excess(needed)
		if err != nil {
			return err
		}
		for _, e := range excess {
			// Members of a group that nobody knows are outside every CIDR, even
			// that of all: nothing else is left to the default.
			if e.Verdict.Cause == rules.ByDefault && !e.Example.Remote.IsValid() {
				continue
			}
			if e.Verdict.Rule == nil || !t.widened(e.Verdict.Rule.Peer) {
				return fmt.Errorf("%w (it lets through more than is needed: %+v by %s)", errUnproven, e.Example, e.Verdict.By())
			}
		}
	}
	return nil
}

func (t *Tight) widened(p rules.Peer) bool {
	c, ok := p.(rules.CIDR)
	return ok && slices.Contains(t.Widened, c.Prefix)
}
