package judge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// Options say how to judge. The zero value takes every group for what it is:
// own hosts let exempt traffic through, and a cloud does not.
type Options struct {
	// Profile is what the groups were meant to be made from: its rows are
	// excess of severity info only. Empty means the pool's or cluster's own
	// choice, or Recommended where they made none.
	Profile profiles.Scope
	// Cluster is the ID of the one to judge; empty means all. What its fixes do
	// to others is looked at all the same.
	Cluster string
	// Exempt says for which groups exempt traffic passes unasked.
	Exempt ExemptChoice
	// Live are the needs of running clusters, by the cluster's ID. They count
	// beside those of the tables.
	Live map[string]*discover.Report
}

// Check judges every set of groups that hosts of the inventory's clusters wear,
// and offers only what is right for everybody who wears the group to be mended.
//
// Errors are facts that contradict each other: the question cannot be answered
// then.
func Check(inv *convert.Inventory, tables *profiles.Tables, o Options) (*Report, error) {
	j := judge{
		inv: inv, tables: tables, options: o, known: knownGroups(inv), worlds: newWorlds(inv, tables.Exempt(), o.Exempt),
		missing: newItems(), excess: newItems(), findings: newItems(), asked: map[string]*question{},
	}
	j.runningClusters(o.Live)
	used := map[string]bool{}
	for i := range inv.Clusters {
		if err := j.cluster(&inv.Clusters[i], used); err != nil {
			return nil, err
		}
	}
	for i := range inv.Groups {
		if g := &inv.Groups[i]; !used[g.Name] {
			if err := j.unused(g); err != nil {
				return nil, fmt.Errorf("cannot judge group %s: %w", g.Name, err)
			}
		}
	}
	if err := j.concert(); err != nil {
		return nil, err
	}
	j.report.Missing, j.report.Excess, j.report.Findings = j.missing.list, j.excess.list, j.findings.list
	j.report.sort()
	return &j.report, nil
}

type judge struct {
	inv     *convert.Inventory
	tables  *profiles.Tables
	options Options
	worlds
	known map[string]*rules.Group // whose type the files tell, by name
	// running are the clusters that were read, by ID.
	running map[string]*running
	report  Report
	// missing, excess and findings become the report's lists.
	missing, excess, findings items
	// asked keeps the first few questions for [judge.concert].
	asked map[string]*question
}

// cluster judges the sets of a cluster, if it is to be judged, and notes the
// groups that it uses.
func (j *judge) cluster(c *convert.Cluster, used map[string]bool) error {
	asked := j.options.Cluster == "" || j.options.Cluster == c.ID
	judgeable := asked && j.unknownFacts(c)
	if asked {
		j.unknownNeeds(c)
	}
	for _, w := range wornSets(j.inv, c) {
		for _, g := range w.groups {
			used[g.Name] = true
		}
		if !judgeable {
			continue
		}
		if err := j.set(&w); err != nil {
			return fmt.Errorf("cannot judge the groups of %s: %w", w.who, err)
		}
	}
	return nil
}

// unknownFacts tells which facts about a cluster no file holds, and whether it
// can be judged without them.
func (j *judge) unknownFacts(c *convert.Cluster) (judgeable bool) {
	for _, f := range c.Unknown {
		it := Item{
			ID: "unknown-fact", Severity: rules.Medium, Cluster: c.Title, Group: c.Group, Place: c.Place,
			Why: fmt.Sprintf("no file tells the %s of cluster %s: needs that depend on it were not checked; %s", f, c.Title, tell(f)),
		}
		switch f {
		case convert.FactVPC: // only rows of the recommended profile, and DHCP, ask for it
			it.Severity = rules.Info
		case convert.FactMode, convert.FactNodeSubnets:
			it.Severity = rules.High
			it.Why = fmt.Sprintf("no file tells the %s of cluster %s: its groups could not be judged; %s", f, c.Title, tell(f))
		case convert.FactPodSubnets, convert.FactPodCIDRs, convert.FactAPIServer:
		}
		j.findings.list = append(j.findings.list, it)
	}
	return !unjudgeable(c)
}

// unjudgeable reports whether the needs of a cluster are unknown altogether.
func unjudgeable(c *convert.Cluster) bool {
	return slices.Contains(c.Unknown, convert.FactMode) || slices.Contains(c.Unknown, convert.FactNodeSubnets)
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
	world  *rules.World
	facts  profiles.Facts
	policy *rules.Policy
	space  *rules.Workspace
	needs  []rules.Need
	// demands are those among needs that a running cluster has.
	demands map[rules.Need]*demand
	// needed are the flows of needs, by direction, but for those of demands that
	// anybody can make: to expose a port is not to need it.
	needed [2]rules.Set
	// profile are the rules of the profile that the group was meant to have.
	profile []rules.Rule
	// rows are the rules of both profiles.
	rows []rules.Rule
	// excess is what the policy accepts beyond needed, by direction.
	excess [2][]rules.Excess
	// lacking is true once a need was found missing. Rules that decide nothing
	// today may then be what the fix lets decide.
	lacking bool
	// tried remembers what moving rules does.
	tried map[string]*moved
}

func (j *judge) set(w *worn) error {
	if j.unjudged(w) {
		return nil
	}
	q, err := j.ask(w)
	if err != nil {
		return err
	}
	j.report.Groups++
	j.report.Needs += len(q.needs)
	for _, step := range []func(*question) error{j.findMissing, j.findExcess, j.lint} {
		if err := step(q); err != nil {
			return err
		}
	}
	return nil
}

// maxAsked bounds the memory that questions take which are asked twice.
const maxAsked = 16

// ask asks a question about a set: its rules compiled, its needs measured.
// A set without a cluster has none.
func (j *judge) ask(w *worn) (*question, error) {
	key := w.who + "\x00" + w.key()
	if q, ok := j.asked[key]; ok {
		return q, nil
	}
	q := &question{worn: w, world: j.of(w.groups), tried: map[string]*moved{}}
	q.space = rules.NewWorkspace(q.world, 0)
	var err error
	if q.policy, err = j.compile(q, w); err != nil {
		return nil, err
	}
	if w.cluster != nil {
		if err := j.expand(q); err != nil {
			return nil, err
		}
	}
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		if q.needed[d], err = q.space.NeedSet(d, q.wanted(), j.inv.PrefixLists); err != nil {
			return nil, err
		}
		if q.excess[d], err = q.policy.Excess(q.needed[d]); err != nil {
			return nil, err
		}
	}
	if len(j.asked) < maxAsked {
		j.asked[key] = q
	}
	return q, nil
}

// compile compiles the rules of a set for advice, which should not depend on the
// order in which a cloud lists them.
func (j *judge) compile(q *question, w *worn) (*rules.Policy, error) {
	rs, err := w.merge(j.inv)
	if err != nil {
		return nil, err
	}
	rs.WideFirst()
	return q.space.Compile(rs)
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
		j.findings.add(Item{
			ID: "unknown-group", Severity: rules.High, Cluster: w.cluster.Title, Group: g.Name, Place: g.Place, Target: g.Target(), Who: []string{w.who},
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
	j.live(q)
	scope := cmp.Or(j.options.Profile, q.worn.profile, profiles.Recommended)
	chosen, err := j.tables.Expand(&q.facts, scope)
	if err != nil {
		return err
	}
	q.profile = chosen.Rules
	q.rows = slices.Concat(chosen.Rules, least.Rules)
	return nil
}

func (j *judge) findMissing(q *question) error {
	missing, err := j.lacking(q)
	if err != nil {
		return err
	}
	for i := range missing {
		m := &missing[i]
		it := q.missingItem(m)
		if m.OnlyUnknown {
			j.findings.add(it)
			continue
		}
		fix, careful, err := j.fix(q, m)
		if err != nil {
			return fmt.Errorf("cannot find what would mend them: %w", err)
		}
		it.Fix, it.Why, q.lacking = fix, it.Why+careful, true
		if it.Severity < rules.High { // a component's, or nobody's: no need of the cluster
			j.findings.add(it)
			continue
		}
		j.report.Unmet++
		j.missing.add(it)
	}
	return nil
}

// lacking returns the needs of a set that its rules do not meet.
func (j *judge) lacking(q *question) ([]rules.Missing, error) {
	all, err := q.policy.Cover(q.needs, j.inv.PrefixLists)
	if err != nil {
		return nil, err
	}
	var out []rules.Missing
	for i := range all {
		met, err := j.metByAddress(q, &all[i])
		if err != nil {
			return nil, err
		}
		if !met {
			out = append(out, all[i])
		}
	}
	return out, nil
}

// missingItem tells of a need that is not met, or cannot be shown to be.
func (q *question) missingItem(m *rules.Missing) Item {
	it := newItem(q, m.Need.Direction)
	it.ID, it.Severity, it.Component, it.Source = m.Need.ID, rules.High, m.Need.Component, m.Need.Source
	it.Protocol, it.Ports, it.Peer = m.Need.Protocol.String(), m.Need.Ports.String(), m.Need.Peer.String()
	it.Example = q.packet(&m.Example, &m.Need)
	it.Why = m.Need.Why + "; " + decided(&m.Verdict)
	if d := q.demands[m.Need]; d != nil {
		it.Severity, it.Logs = d.severity(), d.logs
	}
	if m.OnlyUnknown {
		it.ID = rules.UnknownMembers
		it.Why = fmt.Sprintf("no file lists the members of group %s, so nobody can tell whether rules by address let them in: add the output of DescribeNetworkInterfaces --SecurityGroupId %s (needed: %s)",
			m.Need.Peer, m.Need.Peer, m.Need.Why)
	}
	return it
}

// metByAddress reports whether rules about addresses meet a need that is about
// members of a group of the cluster whom no file lists: whoever they are, as
// nodes and pods they live in the cluster's subnets. So it is known, too, that
// they do not meet it.
func (j *judge) metByAddress(q *question, m *rules.Missing) (bool, error) {
	same := profiles.ByAddress(m.Need, &q.facts)
	if !m.OnlyUnknown || len(same) == 0 {
		return false, nil
	}
	lacking, err := q.policy.Cover(same, j.inv.PrefixLists)
	m.OnlyUnknown = false
	return err == nil && len(lacking) == 0, err
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
	it := Item{Group: g.Name, Worn: q.worn.names(), Direction: d, Place: g.Place, Target: g.Target(), asked: q.worn.who}
	if q.worn.who != "" {
		it.Who = []string{q.worn.who}
	}
	if q.worn.cluster != nil {
		it.Cluster = q.worn.cluster.Title
	}
	return it
}

func (j *judge) findExcess(q *question) error {
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		profile, err := q.space.RuleSet(d, q.profile, j.inv.PrefixLists)
		if err != nil {
			return err
		}
		inside, err := q.space.RuleSet(d, insiders(), nil)
		if err != nil {
			return err
		}
		asked := q.needed[d].Union(profile)
		beyond, err := byCause(q, asked)
		if err != nil {
			return err
		}
		public, err := byCause(q, asked.Union(inside))
		if err != nil {
			return err
		}
		for _, e := range q.excess[d] {
			severity := rules.Info
			worse, ok := beyond[e.Verdict.By()]
			worst, open := public[e.Verdict.By()]
			switch {
			case e.Verdict.Cause != rules.ByRule:
			case open:
				e.Example, severity = worst.Example, rules.Medium
			case ok:
				e.Example, severity = worse.Example, rules.Low
			}
			j.excess.add(q.excessItem(&e, severity))
		}
	}
	return nil
}

// byCause returns what the policy accepts outside a set, by what lets it through.
func byCause(q *question, beyond rules.Set) (map[string]rules.Excess, error) {
	list, err := q.policy.Excess(beyond)
	out := make(map[string]rules.Excess, len(list))
	for _, e := range list {
		out[e.Verdict.By()] = e
	}
	return out, err
}

// insiders are rules that let through whoever is not on the internet: private
// addresses (RFC 1918, RFC 4193), the shared ones where Alibaba Cloud has its
// services (RFC 6598), and those of the link. What is too open to these profits
// nobody but an insider.
func insiders() []rules.Rule {
	var list []rules.Rule
	for _, text := range []string{
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7", "fe80::/10",
	} {
		for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
			list = append(list, rules.Rule{Direction: d, Action: rules.Accept, Protocol: rules.AllProtocols, Peer: rules.MustCIDR(text)})
		}
	}
	return list
}

func (q *question) excessItem(e *rules.Excess, severity rules.Severity) Item {
	it := newItem(q, e.Example.Direction)
	it.ID, it.Severity = e.Verdict.By(), severity
	it.Protocol, it.Ports, it.Peer = rules.AllProtocols.String(), rules.PortRange{}.String(), "any"
	it.Example = q.packet(&e.Example, nil)
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
		if (f.ID == rules.ShadowedRule || f.ID == rules.RedundantRule) && q.isRow(f.Rules[0]) {
			continue // the tables say some things twice, and who follows them is not to blame
		}
		it := q.lintItem(f)
		if removable(q, f, needed) {
			r := f.Rules[0]
			it.Fix = []rules.Edit{{Remove: true, Group: r.Group, Rule: r.Rule}}
		}
		j.findings.add(it)
	}
	return nil
}

// isRow reports whether a rule is one of a profile's.
func (q *question) isRow(r *rules.MergedRule) bool {
	return slices.ContainsFunc(q.rows, func(row rules.Rule) bool {
		return row.Direction == r.Direction && row.Action == r.Action && row.Priority == r.Priority &&
			row.Protocol == r.Protocol && row.Ports == r.Ports && !r.Member.IsValid() && r.SourcePorts.IsZero() &&
			rules.PlainPeer(row.Peer) == rules.PlainPeer(r.Peer)
	})
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

func (q *question) lintItem(f *rules.Finding) Item {
	it := newItem(q, f.Direction)
	it.ID, it.Severity, it.Why = f.ID, f.Severity, f.Why
	if len(f.Rules) > 0 {
		r := f.Rules[0]
		it.Group, it.Place = r.Group, q.worn.place(r)
		it.Protocol, it.Ports, it.Peer = r.Protocol.String(), r.Ports.String(), r.Peer.String()
		it.subject = r.String()
		if f.ID == rules.WorldOpen { // one rule may open several ports
			it.subject += f.Why
		}
	}
	it.Source = it.Place.String()
	if f.Example.Local.IsValid() {
		it.Example = q.packet(&f.Example, nil)
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
		return err
	}
	j.findings.add(Item{
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
