package judge

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// The IDs of needs that were derived from a running cluster, by class.
const (
	EssentialNeed = "essential-need"
	ExpectedNeed  = "expected-need"
	OptionalNeed  = "optional-need"
)

// A demand is a need of a running cluster, as one of its two ends has it.
type demand struct {
	rules.Need

	class discover.Class
	// logs is what the API server logs while it is not met.
	logs string
	// whom are the addresses of the other end.
	whom []rules.CIDR
}

// severity of a demand that is not met.
func (d *demand) severity() rules.Severity {
	switch {
	case d.class == discover.Essential:
		return rules.High
	case d.class == discover.Optional:
		return rules.Info
	case slices.ContainsFunc(d.whom, func(c rules.CIDR) bool { return c.Prefix.Bits() == 0 }):
		return rules.Low // that the world reaches a Service may not be what anybody wants
	}
	return rules.Medium
}

// A running is a cluster as its own objects tell.
type running struct {
	report *discover.Report
	places map[discover.Party][]netip.Prefix
	// lists name the addresses of parties, so that one need is one need.
	lists map[discover.Party]rules.PrefixList
	// alone is set if all of the cluster wears one set of groups.
	alone bool
}

func newRunning(cluster string, r *discover.Report) *running {
	c := &running{report: r, places: map[discover.Party][]netip.Prefix{}, lists: map[discover.Party]rules.PrefixList{}}
	for i := range r.Parties {
		c.places[r.Parties[i].Party] = r.Parties[i].Prefixes
	}
	for i := range r.Needs {
		for _, p := range []discover.Party{r.Needs[i].From, r.Needs[i].To} {
			if _, ok := c.lists[p]; ok {
				continue
			}
			if list := c.list(cluster, p); len(list.Entries) > 0 {
				c.lists[p] = list
			}
		}
	}
	return c
}

// list is a party as a peer. Its name has spaces: no list of a user has.
func (c *running) list(cluster string, p discover.Party) rules.PrefixList {
	out := rules.PrefixList{Name: p.String() + " of cluster " + cluster}
	for _, prefix := range c.whom(p) {
		out.Entries = append(out.Entries, rules.CIDR{Prefix: prefix, Text: textOf(prefix)})
	}
	out.Entries = rules.JoinCIDRs(out.Entries)
	return out
}

// whom returns the addresses by which others know a party. Pods come and go: it
// is their ranges that count, where these are known.
func (c *running) whom(p discover.Party) []netip.Prefix {
	switch p.Kind {
	case discover.Anywhere:
		any4, any6 := netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		if slices.ContainsFunc(c.places[discover.Party{Kind: discover.Nodes}], func(p netip.Prefix) bool { return p.Addr().Is6() }) {
			return []netip.Prefix{any4, any6}
		}
		return []netip.Prefix{any4}
	case discover.APIServer, discover.ControlPlane, discover.Nodes, discover.AllPods, discover.LoadBalancer,
		discover.CIDR, discover.Address, discover.External:
	case discover.Hosts:
		if len(c.places[p]) == 0 { // not scheduled yet: it may come up on any
			return c.places[discover.Party{Kind: discover.Nodes}]
		}
	case discover.Pods:
		all := c.places[discover.Party{Kind: discover.AllPods}]
		outside := slices.ContainsFunc(c.places[p], func(one netip.Prefix) bool {
			return !slices.ContainsFunc(all, func(r netip.Prefix) bool { return r.Bits() <= one.Bits() && r.Overlaps(one) })
		})
		if len(all) > 0 && !outside {
			return all
		}
	}
	return c.places[p]
}

// demands returns what those who wear a set must be able to do, or to take. It leaves out
// what is on the wire in an overlay only, which is a need of its own, and those
// whose other end nobody knows: the report says so.
func (c *running) demands(w *wearer) []demand {
	var out []demand
	for i := range c.report.Needs {
		n := &c.report.Needs[i]
		if n.Wire != discover.Host && n.Wire != discover.RoutedPod {
			continue
		}
		for _, end := range []struct {
			direction   rules.Direction
			local, peer discover.Party
		}{{rules.Egress, n.From, n.To}, {rules.Ingress, n.To, n.From}} {
			list, known := c.lists[end.peer]
			if known && c.at(end.local, w) {
				out = append(out, demandOf(n, end.direction, &list))
			}
		}
	}
	return out
}

func demandOf(n *discover.Need, d rules.Direction, peer *rules.PrefixList) demand {
	out := demand{class: n.Class, logs: n.Logs, whom: peer.Entries}
	out.Need = rules.Need{
		ID:        map[discover.Class]string{discover.Essential: EssentialNeed, discover.Expected: ExpectedNeed, discover.Optional: OptionalNeed}[n.Class],
		Direction: d, Protocol: n.Protocol, Ports: n.Ports, Peer: rules.PrefixListPeer{Name: peer.Name},
		Component: fmt.Sprintf("%s to %s", n.From, n.To), Why: n.Why, Source: sourceOf(&n.Because),
	}
	if len(peer.Entries) == 1 {
		out.Peer = peer.Entries[0]
	}
	return out
}

// sourceOf names the object because of which there is a need.
func sourceOf(b *discover.Because) string {
	if len(b.Evidence) == 0 {
		return "the running cluster"
	}
	return b.Cause().String()
}

// A wearer is a set with the addresses of those who wear it, as far as known.
type wearer struct {
	*worn

	addresses []netip.Prefix
}

// at reports whether a party is, or may be, among those who wear a set.
func (c *running) at(p discover.Party, w *wearer) bool {
	pods := w.ofPods()
	where := c.places[p]
	switch p.Kind {
	case discover.Anywhere, discover.External, discover.CIDR, discover.LoadBalancer:
		return false
	case discover.Pods, discover.AllPods:
		return pods || len(w.cluster.PodGroups) == 0
	case discover.Address:
		return !pods
	case discover.APIServer:
		where = within(where, c.places[discover.Party{Kind: discover.Nodes}])
		if len(where) == 0 {
			return false // it is no node, as far as is known
		}
	case discover.Nodes:
		if p.Name == "" {
			return !pods
		}
	case discover.ControlPlane, discover.Hosts:
	}
	switch {
	case pods:
		return false
	case len(where) == 0: // it may come up anywhere
		return true
	case len(w.addresses) == 0:
		return c.alone
	}
	return len(within(where, w.addresses)) > 0
}

// within returns those of a that overlap one of b.
func within(a, b []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(a), func(p netip.Prefix) bool {
		return !slices.ContainsFunc(b, p.Overlaps)
	})
}

// ofPods reports whether it is interfaces of pods that wear the set, and nodes
// wear others.
func (w *worn) ofPods() bool {
	names := slices.Sorted(slices.Values(w.cluster.PodGroups))
	return len(names) > 0 && slices.Equal(names, w.names())
}

// wearing returns the addresses of the interfaces of a cluster that wear a set.
func (j *judge) wearing(w *worn) []netip.Prefix {
	var out []netip.Prefix
	names := w.names()
	for i := range j.inv.Interfaces {
		f := &j.inv.Interfaces[i]
		if (f.Cluster == w.cluster.ID || f.Cluster == "") && slices.Equal(f.Groups, names) {
			out = append(out, f.Addresses...)
		}
	}
	return out
}

// live adds what a running cluster demands to a question.
func (j *judge) live(q *question) {
	c := j.running[q.worn.cluster.ID]
	if c == nil {
		return
	}
	q.demands = map[rules.Need]*demand{}
	for _, d := range c.demands(&wearer{q.worn, j.wearing(q.worn)}) {
		if q.demands[d.Need] == nil {
			q.needs = append(q.needs, d.Need)
			q.demands[d.Need] = &d
		}
	}
}

// wanted are the needs without the demands that anybody in the cluster can make.
func (q *question) wanted() []rules.Need {
	return slices.DeleteFunc(slices.Clone(q.needs), func(n rules.Need) bool {
		d := q.demands[n]
		return d != nil && d.severity() < rules.Medium
	})
}

// runningClusters prepares the reports about running clusters, and adds the
// lists that name their parties to the inventory's own.
func (j *judge) runningClusters(live map[string]*discover.Report) {
	if len(live) == 0 {
		return
	}
	j.running = map[string]*running{}
	inv := *j.inv
	inv.PrefixLists = maps.Clone(j.inv.PrefixLists)
	if inv.PrefixLists == nil {
		inv.PrefixLists = map[string]rules.PrefixList{}
	}
	for id, report := range live {
		r := newRunning(id, report)
		if c, ok := inv.Cluster(id); ok {
			r.alone = len(wornSets(&inv, c)) == 1
		}
		for _, list := range r.lists {
			inv.PrefixLists[list.Name] = list
		}
		j.running[id] = r
	}
	j.inv = &inv
}

// unknownNeeds tells what a running cluster's objects leave open, which is not
// the same as no need, and what of them contradicts the facts.
func (j *judge) unknownNeeds(c *convert.Cluster) {
	r := j.running[c.ID]
	if r == nil {
		return
	}
	if why := r.contradiction(c, j.tables); why != "" {
		j.findings.add(Item{ID: "fact-differs", Severity: rules.Medium, Cluster: c.Title, Group: c.Group, Place: c.Place, Why: why})
	}
	for i := range r.report.Unknown {
		u := &r.report.Unknown[i]
		j.findings.add(Item{
			ID: "unknown-need", Severity: rules.Low, Cluster: c.Title, Source: sourceOf(&u.Because), Place: c.Place,
			Why: fmt.Sprintf("%s: %s, so what hangs on it was not checked; what would tell: %s", u.About, u.Why, u.Tell),
		})
	}
}

// fixRules returns the rules that meet a need. That of a running cluster names
// the nodes' subnets where it is about nodes that live in them, and addresses
// else; nil if these are more than anybody would write.
func (q *question) fixRules(n *rules.Need) []rules.Rule {
	d := q.demands[*n]
	if d == nil {
		return profiles.FixRules(*n, &q.facts)
	}
	const most = 16
	peers := d.whom
	if subnets := subnetsOf(&q.facts, peers); len(subnets) > 0 && len(subnets) < len(peers) {
		peers = subnets
	}
	if len(peers) > most {
		return nil
	}
	var out []rules.Rule
	for _, c := range peers {
		one := *n
		one.Peer = c
		out = append(out, profiles.FixRules(one, &q.facts)...)
	}
	return out
}

// subnetsOf returns the subnets that addresses are in; nil if some are in none.
func subnetsOf(f *profiles.Facts, list []rules.CIDR) []rules.CIDR {
	var out []rules.CIDR
	for _, c := range list {
		i := slices.IndexFunc(f.NodeSubnets, func(s rules.CIDR) bool {
			return s.Prefix.Bits() <= c.Prefix.Bits() && s.Prefix.Overlaps(c.Prefix)
		})
		if i < 0 {
			return nil
		}
		if s := f.NodeSubnets[i]; !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
