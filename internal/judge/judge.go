package judge

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// Options say how to judge. The zero value judges as exports of a cloud are
// judged.
type Options struct {
	// Profile is what the groups were meant to be made from: its rows are
	// excess of severity info only. Empty means the cluster's own choice, or
	// Recommended where it made none.
	Profile profiles.Scope
	// Exempt is the traffic that passes before any group is asked.
	Exempt []rules.Exempt
}

// Check judges every set of groups that hosts of the inventory's clusters wear.
//
// Errors are facts that contradict each other or are missing altogether: the
// question cannot be answered then.
func Check(inv *convert.Inventory, tables *profiles.Tables, o Options) (*Report, error) {
	j := judge{inv: inv, tables: tables, options: o, world: World(inv, o.Exempt), known: knownGroups(inv), seen: map[string]bool{}}
	used := map[string]bool{}
	for i := range inv.Clusters {
		c := &inv.Clusters[i]
		j.unknownFacts(c)
		for _, w := range wornSets(inv, c) {
			for _, g := range w.groups {
				used[g.Name] = true
			}
			if err := j.set(&w); err != nil {
				return nil, err
			}
		}
	}
	for i := range inv.Groups {
		if g := &inv.Groups[i]; !used[g.Name] {
			if err := j.unused(g); err != nil {
				return nil, err
			}
		}
	}
	j.report.sort()
	return &j.report, nil
}

// World returns what verdicts about an inventory depend on beside rules.
func World(inv *convert.Inventory, exempt []rules.Exempt) *rules.World {
	w := &rules.World{Exempt: exempt}
	for i := range inv.Groups {
		if g := &inv.Groups[i]; len(g.Members) > 0 {
			w.Members.Set(g.Name, g.Members)
		}
	}
	return w
}

type judge struct {
	inv     *convert.Inventory
	tables  *profiles.Tables
	options Options
	world   *rules.World
	known   map[string]*rules.Group // whose type the files tell, by name
	report  Report
	// seen holds what was reported: a group that two sets share is told of once.
	seen map[string]bool
}

// unknownFacts tells which facts about a cluster no file holds.
func (j *judge) unknownFacts(c *convert.Cluster) {
	for _, f := range c.Unknown {
		severity := rules.Medium
		if f == convert.FactVPC { // only rows of the recommended profile, and DHCP, ask for it
			severity = rules.Info
		}
		j.report.Findings = append(j.report.Findings, Item{
			ID: "unknown-fact", Severity: severity, Cluster: c.Title, Group: c.Group, Place: c.Place,
			Why: fmt.Sprintf("no file tells the %s of cluster %s: needs that depend on it were not checked; %s", f, c.Title, tell(f)),
		})
	}
}

// tell says how to make a fact known.
func tell(f convert.Fact) string {
	return map[convert.Fact]string{
		convert.FactMode:        "say --network-mode Terway or Flannel",
		convert.FactVPC:         "add the output of DescribeVpcs, or say --vpc-cidr",
		convert.FactNodeSubnets: "add the output of DescribeVSwitches, or say --node-subnets",
		convert.FactPodSubnets:  "say --pod-subnets",
		convert.FactPodCIDRs:    "say --pod-cidrs",
		convert.FactAPIServer:   "say --api-server",
	}[f]
}

// A question is one set of groups with all that its judgement needs.
type question struct {
	worn   *worn
	facts  profiles.Facts
	policy *rules.Policy
	space  *rules.Workspace
	needs  []rules.Need
	// needed are the flows of needs, by direction.
	needed [2]rules.Set
	// profile are the rules of the profile that the group was meant to have.
	profile []rules.Rule
	// excess is what the policy accepts beyond needed, by direction.
	excess [2][]rules.Excess
	// lacking is true once a need was found missing. Rules that decide nothing
	// today may then be what the fix lets decide.
	lacking bool
	// tried remembers what moving rules would open or close.
	tried map[string]string
}

func (j *judge) set(w *worn) error {
	if j.unjudged(w) {
		return nil
	}
	q, err := j.ask(w)
	if err != nil {
		return fmt.Errorf("cannot judge the groups of %s: %w", w.who, err)
	}
	if err := j.expand(q); err != nil {
		return err
	}
	j.report.Groups++
	j.report.Needs += len(q.needs)
	if err := j.measure(q); err != nil {
		return fmt.Errorf("cannot judge the groups of %s: %w", w.who, err)
	}
	if err := j.missing(q); err != nil {
		return err
	}
	if err := j.excess(q); err != nil {
		return err
	}
	return j.lint(q)
}

// ask starts a question with the rules of a set, compiled.
func (j *judge) ask(w *worn) (*question, error) {
	rs, err := w.merge(j.inv)
	if err != nil {
		return nil, err
	}
	q := &question{worn: w, space: rules.NewWorkspace(j.world, 0), tried: map[string]string{}}
	q.policy, err = q.space.Compile(rs)
	return q, err
}

// measure finds the needed flows, and what is accepted beyond them.
func (j *judge) measure(q *question) (err error) {
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		if q.needed[d], err = q.space.NeedSet(d, q.needs, j.inv.PrefixLists); err != nil {
			return err
		}
		if q.excess[d], err = q.policy.Excess(q.needed[d]); err != nil {
			return err
		}
	}
	return nil
}

// unjudged reports whether some group's rules or type are unknown, and says so:
// unknown is not empty.
func (j *judge) unjudged(w *worn) bool {
	for _, g := range w.groups {
		var why, fix string
		switch {
		case g.RulesUnknown:
			why, fix = "rules", "DescribeSecurityGroupAttribute"
		case g.TypeUnknown:
			why, fix = "type (basic or advanced)", "DescribeSecurityGroups, or say --group-type"
		default:
			continue
		}
		j.add(&j.report.Findings, Item{
			ID: "unknown-group", Severity: rules.High, Cluster: w.cluster.Title, Group: g.Name, Place: g.Place, Target: g.Target(),
			Why: fmt.Sprintf("%s uses group %s, but no file tells its %s: add the output of %s", w.who, g.Name, why, fix),
		})
		return true
	}
	return false
}

// expand turns the facts of a set into needs and the rules of the profile.
func (j *judge) expand(q *question) error {
	q.facts = q.worn.facts(j.inv)
	least, err := j.tables.Expand(&q.facts, profiles.LeastPrivilege)
	if err != nil {
		return err
	}
	q.needs = least.Needs
	scope := cmp.Or(j.options.Profile, q.worn.cluster.Profile, profiles.Recommended)
	chosen, err := j.tables.Expand(&q.facts, scope)
	if err != nil {
		return err
	}
	q.profile = chosen.Rules
	return nil
}

// add appends an item unless the same was reported before.
func (j *judge) add(list *[]Item, it Item) {
	key := strings.Join([]string{it.ID, it.Group, it.Direction.String(), it.Protocol, it.Ports, it.Peer, it.Why}, "\x00")
	if j.seen[key] {
		return
	}
	j.seen[key] = true
	*list = append(*list, it)
}

func (j *judge) missing(q *question) error {
	missing, err := q.policy.Cover(q.needs, j.inv.PrefixLists)
	if err != nil {
		return fmt.Errorf("cannot judge the groups of %s: %w", q.worn.who, err)
	}
	for i := range missing {
		m := &missing[i]
		it := newItem(q, m.Need.Direction)
		it.ID, it.Severity, it.Component, it.Source = m.Need.ID, rules.High, m.Need.Component, m.Need.Source
		it.Protocol, it.Ports, it.Peer = m.Need.Protocol.String(), m.Need.Ports.String(), m.Need.Peer.String()
		it.Example = j.packet(q, &m.Example, &m.Need)
		it.Why = m.Need.Why + "; " + decided(&m.Verdict)
		if m.OnlyUnknown {
			it.ID = rules.UnknownMembers
			it.Why = fmt.Sprintf("no file lists the members of group %s, so nobody can tell whether rules by address let them in: add the output of DescribeNetworkInterfaces --SecurityGroupId %s (needed: %s)",
				m.Need.Peer, m.Need.Peer, m.Need.Why)
			j.add(&j.report.Findings, it)
			continue
		}
		fix, careful, err := j.fix(q, m)
		if err != nil {
			return fmt.Errorf("cannot find what would fix the groups of %s: %w", q.worn.who, err)
		}
		it.Fix, it.Why, q.lacking = fix, it.Why+careful, true
		j.add(&j.report.Missing, it)
	}
	return nil
}

func decided(v *rules.Verdict) string {
	if v.Cause == rules.ByRule {
		return fmt.Sprintf("rule %s (priority %d) drops it", v.Rule, v.Rule.Priority)
	}
	return "no rule lets it through"
}

// newItem starts an item about the set's first group.
func newItem(q *question, d rules.Direction) Item {
	g := q.worn.groups[0]
	return Item{
		Cluster: q.worn.cluster.Title, Group: g.Name, Worn: q.worn.names(), Who: q.worn.who,
		Direction: d, Place: g.Place, Target: g.Target(),
	}
}

func (j *judge) excess(q *question) error {
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		profile, err := q.space.RuleSet(d, q.profile, j.inv.PrefixLists)
		if err != nil {
			return err
		}
		unasked, err := q.policy.Excess(q.needed[d].Union(profile))
		if err != nil {
			return err
		}
		beyond := map[string]rules.Excess{}
		for _, e := range unasked {
			beyond[e.Verdict.By()] = e
		}
		for _, e := range q.excess[d] {
			severity := rules.Info
			if worse, ok := beyond[e.Verdict.By()]; ok && e.Verdict.Cause == rules.ByRule {
				needed := e.Needed
				e = worse
				e.Needed = needed
				severity = grade(&e.Example)
			}
			j.add(&j.report.Excess, j.excessItem(q, &e, severity))
		}
	}
	return nil
}

// grade ranks an excess by who profits: anybody on the internet, or somebody
// inside.
func grade(f *rules.Flow) rules.Severity {
	if f.Remote.IsValid() && !f.Remote.IsPrivate() && !shared(f.Remote) {
		return rules.Medium
	}
	return rules.Low
}

// shared reports whether a is in 100.64.0.0/10, where Alibaba Cloud's own
// services are.
func shared(a netip.Addr) bool {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10).Contains(a)
}

func (j *judge) excessItem(q *question, e *rules.Excess, severity rules.Severity) Item {
	it := newItem(q, e.Example.Direction)
	it.ID, it.Severity = e.Verdict.By(), severity
	it.Protocol, it.Ports, it.Peer = rules.AllProtocols.String(), rules.PortRange{}.String(), "any"
	it.Example = j.packet(q, &e.Example, nil)
	switch e.Verdict.Cause {
	case rules.ByRule:
		r := e.Verdict.Rule
		it.Group, it.Place = r.Group, q.worn.place(r)
		it.Source = it.Place.String()
		it.Protocol, it.Ports, it.Peer = r.Protocol.String(), r.Ports.String(), r.Peer.String()
		it.Why = excessWhy(r, e.Needed, severity)
		if !e.Needed && severity > rules.Info {
			it.Fix = []rules.Edit{{Remove: true, Group: r.Group, Rule: r.Rule}}
		}
	case rules.ByInnerAccess:
		it.ID, it.Source = "inner-access", "inner access"
		it.Peer = strings.Join(q.policy.Rules.InnerAccess, ", ")
		it.Why = "inner access lets members of the group reach each other on every port, needed or not"
	case rules.ByDefault, rules.ByExempt:
		it.ID, it.Source = "default", "default of "+q.policy.Rules.Type.String()+" groups"
		it.Why = "a basic group lets all egress pass that no rule drops"
	}
	return it
}

func excessWhy(r *rules.MergedRule, needed bool, severity rules.Severity) string {
	switch {
	case severity == rules.Info:
		return "the profile's own rows let this through; nothing in the least-privilege list needs it"
	case needed:
		return fmt.Sprintf("rule %s lets through more than is needed: narrow it", r)
	}
	return fmt.Sprintf("nothing that rule %s lets through is needed or declared", r)
}

// lint reports what is wrong with rules whatever they are for.
func (j *judge) lint(q *question) error {
	needed := map[string]bool{} // by rule: whether it lets needed flows in too
	for _, e := range q.excess[rules.Ingress] {
		needed[e.Verdict.By()] = e.Needed
	}
	findings, err := q.policy.Lint(q.needed[rules.Ingress], j.known)
	if err != nil {
		return err
	}
	for i := range findings {
		f := &findings[i]
		if f.ID == rules.UnknownMembers && cuts(q.needs, f.Rules[0]) {
			f.Severity = rules.High
			f.Why += "; it drops, and what it drops may be needed: add the output of DescribeNetworkInterfaces for that group"
		}
		it := j.lintItem(q, f)
		if removable(q, f, needed) {
			r := f.Rules[0]
			it.Fix = []rules.Edit{{Remove: true, Group: r.Group, Rule: r.Rule}}
		}
		j.add(&j.report.Findings, it)
	}
	return nil
}

// knownGroups are the groups whose type the files tell, by name.
func knownGroups(inv *convert.Inventory) map[string]*rules.Group {
	known := map[string]*rules.Group{}
	for i := range inv.Groups {
		if g := &inv.Groups[i]; !g.TypeUnknown {
			known[g.Name] = &g.Group
		}
	}
	return known
}

// removable reports whether to remove the rule would put a finding right. A
// rule that needed flows pass through as well is to be narrowed instead, and one
// that decides nothing may be the needed one, hidden by another.
func removable(q *question, f *rules.Finding, needed map[string]bool) bool {
	switch f.ID {
	case rules.WorldOpen:
		return !needed[f.Rules[0].String()]
	case rules.ShadowedRule, rules.RedundantRule:
		return !q.lacking
	}
	return false
}

func (j *judge) lintItem(q *question, f *rules.Finding) Item {
	g := q.worn.groups[0]
	it := Item{ID: f.ID, Severity: f.Severity, Direction: f.Direction, Why: f.Why, Group: g.Name, Place: g.Place, Target: g.Target()}
	if q.worn.cluster != nil {
		it.Cluster = q.worn.cluster.Title
	}
	if len(f.Rules) > 0 {
		r := f.Rules[0]
		it.Group, it.Place = r.Group, q.worn.place(r)
		it.Protocol, it.Ports, it.Peer = r.Protocol.String(), r.Ports.String(), r.Peer.String()
	}
	it.Source = it.Place.String()
	if f.Example.Local.IsValid() {
		it.Example = j.packet(q, &f.Example, nil)
	}
	return it
}

// unused judges a group that no cluster of these files uses, by its rules alone.
func (j *judge) unused(g *convert.Group) error {
	if g.RulesUnknown || g.TypeUnknown {
		return nil
	}
	q, err := j.ask(&worn{groups: []*convert.Group{g}})
	if err != nil {
		return fmt.Errorf("cannot judge group %s: %w", g.Name, err)
	}
	j.add(&j.report.Findings, Item{
		ID: "unused-group", Severity: rules.Info, Group: g.Name, Place: g.Place, Target: g.Target(), Source: g.Place.String(),
		Why: fmt.Sprintf("no cluster of these files uses group %s: its rules were read for mistakes, but nothing says what they must let through", g.Name),
	})
	return j.lint(q)
}

// cuts reports whether a drop rule may cut a need, whoever the peer is.
func cuts(needs []rules.Need, r *rules.MergedRule) bool {
	return r.Action == rules.Drop && slices.ContainsFunc(needs, func(n rules.Need) bool {
		return n.Direction == r.Direction &&
			(n.Protocol == r.Protocol || n.Protocol == rules.AllProtocols || r.Protocol == rules.AllProtocols) &&
			n.Ports.Overlaps(r.Ports)
	})
}

func (r *Report) sort() {
	for _, list := range [][]Item{r.Missing, r.Excess, r.Findings} {
		slices.SortStableFunc(list, func(a, b Item) int {
			return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Cluster, b.Cluster))
		})
	}
}
