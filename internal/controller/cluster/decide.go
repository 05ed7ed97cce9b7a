package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/gather"
	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/internal/status"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// maxMessage is how much of a condition's message lists what is wrong: a screen
// full. The API takes 32 KiB.
const maxMessage = 4096

// A decision is what is to be written for one cluster.
type decision struct {
	// groups are those that the cluster and its node pools ask for and can have.
	groups  []groupDecision
	cluster v1alpha1.ClusterStatus
	pools   map[string]v1alpha1.NodePoolStatus
	// hosts have the condition Accepted of those hosts about which there is
	// something to say: it is wrong, or was.
	hosts map[string]metav1.Condition
}

// A groupDecision is a group and its system rules.
type groupDecision struct {
	want
	// expanded are what the profile means, rules what is to be written: a
	// little more, while a cluster that shares the group cannot be read.
	expanded []rules.Rule
	rules    systemRules
}

// A decider decides about one cluster.
type decider struct {
	*prepared
	tables     *profiles.Tables
	complexity *complexity
	sharers    []*prepared
	inv        *convert.Inventory // nil if the cluster makes no sense
	judged     map[string]bool    // the hosts in inv
	mistakes   map[convert.Object][]*convert.InputError
	// fatal are the mistakes that the whole cluster stands still for.
	fatal []*convert.InputError
	out   decision
}

// An engine is what is decided with.
type engine struct {
	tables     *profiles.Tables
	complexity complexity
}

// decide finds what is to be written for a cluster, given the others that use a
// group made for it.
func (e *engine) decide(p *prepared, sharers []*prepared, now metav1.Time) decision {
	d := decider{prepared: p, tables: e.tables, complexity: &e.complexity, sharers: sharers, mistakes: map[convert.Object][]*convert.InputError{}}
	inv, mistakes := p.sound()
	d.inv = inv
	for _, m := range mistakes {
		d.blame(m)
	}
	if inv != nil {
		d.groups()
		d.limits()
		d.wearing()
	}
	d.out.pools = map[string]v1alpha1.NodePoolStatus{}
	d.out.hosts = map[string]metav1.Condition{}
	d.cluster(now)
	hosts := map[string]int32{} // by node pool
	for _, h := range p.unit.Own {
		hosts[h.Spec.NodePoolName]++
		d.host(h, now)
	}
	for _, pool := range p.unit.Objects.NodePools {
		d.out.pools[pool.Name] = d.pool(pool, hosts[pool.Name], now)
	}
	return d.out
}

func (d *decider) blame(m *convert.InputError) {
	o := m.Place.Object
	d.mistakes[o] = append(d.mistakes[o], m)
	if o.Kind != v1alpha1.KindNodePool && o.Kind != v1alpha1.KindHost {
		d.fatal = append(d.fatal, m)
	}
}

// blameFor blames an object for what it asks for together with others.
func (d *decider) blameFor(kind, name, reason string, err error) {
	d.blame(&convert.InputError{Place: convert.Place{Object: convert.Object{Kind: kind, Name: name}}, Err: err, Reason: reason})
}

// groups finds the system rules of the groups that are asked for. Those of a
// node pool that makes no sense are left as they are.
func (d *decider) groups() {
	for i := range d.wants {
		w := &d.wants[i]
		if w.kind == v1alpha1.KindNodePool && d.poolOf(w.owner.GetName()) == nil {
			continue
		}
		users, all := d.users(w.name)
		expanded, err := expand(d.tables, w.name, d.scope(w), users)
		if err != nil {
			d.blameFor(w.kind, w.owner.GetName(), v1alpha1.ReasonInvalid, err)
			continue
		}
		if err := d.fits(w.name, expanded); err != nil {
			d.blameFor(w.kind, w.owner.GetName(), v1alpha1.ReasonTooManyRules, err)
			continue
		}
		ingress, egress := convert.SystemRules(expanded)
		list := systemRules{ingress, egress}
		if w.have != nil && !all { // what is unknown is not removed
			have := rulesOf(w.have)
			list = systemRules{with(list.ingress, have.ingress), with(list.egress, have.egress)}
		}
		d.out.groups = append(d.out.groups, groupDecision{*w, expanded, list})
	}
}

// fits reports rules that are too many for a group, as the command does.
func (d *decider) fits(group string, expanded []rules.Rule) error {
	g := rules.Group{Name: group}
	for _, r := range expanded {
		g.Append(r)
	}
	if err := judge.WithinLimits(&g, d.inv.PrefixLists); err != nil {
		return fmt.Errorf("cannot make group %s: %w", group, err)
	}
	return nil
}

// scope is the profile of a group: that of who asked for it.
func (d *decider) scope(w *want) profiles.Scope {
	if w.profile != "" {
		return w.profile
	}
	return profiles.Scope(d.unit.Cluster.Spec.SecurityGroup.Profile)
}

// users returns the inventories of the clusters that use a group, the own one
// first, and whether that is all of them: some may make no sense just now.
func (d *decider) users(group string) (list []*convert.Inventory, all bool) {
	list, all = []*convert.Inventory{d.inv}, true
	for _, s := range d.sharers {
		inv, _ := s.sound()
		switch {
		case !s.names(group):
		case inv == nil:
			all = false
		case len(judge.Uses(inv, group).Users) > 0:
			list = append(list, inv)
		}
	}
	return list, all
}

// names reports whether a cluster or one of its node pools names a group.
func (p *prepared) names(group string) bool {
	return slices.Contains(gather.UsedByCluster(p.unit.Cluster), group) ||
		slices.ContainsFunc(p.unit.Objects.NodePools, func(o *v1alpha1.NodePool) bool { return slices.Contains(gather.UsedByPool(o), group) })
}

// limits blames who wears more rules than fit a host.
func (d *decider) limits() {
	c := &d.inv.Clusters[0]
	d.limit(v1alpha1.KindCluster, c.ID, []string{c.Group})
	for i := range c.Pools {
		d.limit(v1alpha1.KindNodePool, c.Pools[i].ID, c.Pools[i].Groups)
	}
	seen := map[string]bool{}
	for i := range d.inv.Interfaces {
		f := &d.inv.Interfaces[i]
		key := strings.Join(f.Groups, "/")
		if _, own := d.unit.Own[f.ID]; own && len(f.Groups) > 0 && !seen[key] {
			seen[key] = d.limit(v1alpha1.KindHost, f.ID, f.Groups)
		}
	}
}

// limit reports whether the groups fit together.
func (d *decider) limit(kind, name string, groups []string) bool {
	var list []*rules.Group
	for _, n := range groups {
		if g, ok := d.inv.Group(n); ok {
			list = append(list, d.withSystem(&g.Group))
		}
	}
	if len(list) == 0 {
		return true
	}
	reason := v1alpha1.ReasonTooManyRules
	merged, err := rules.Merge(list, d.inv.PrefixLists)
	if err == nil {
		err = merged.Limits()
	}
	if err == nil {
		reason, err = v1alpha1.ReasonTooComplex, d.complexity.check(merged)
	}
	if err != nil {
		d.blameFor(kind, name, reason, fmt.Errorf("groups %s: %w", strings.Join(groups, ", "), err))
	}
	return err == nil
}

// withSystem is a group with its system rules, which the inventory is without.
func (d *decider) withSystem(g *rules.Group) *rules.Group {
	i := slices.IndexFunc(d.out.groups, func(o groupDecision) bool { return o.name == g.Name })
	if i < 0 {
		return g
	}
	whole := *g
	whole.Ingress, whole.Egress = nil, nil
	for _, list := range [][]rules.Rule{d.out.groups[i].expanded, g.Ingress, g.Egress} {
		for _, r := range list {
			whole.Append(r)
		}
	}
	return &whole
}

// wearing blames hosts for addresses that are not theirs, and for groups of pods
// that they cannot enforce.
func (d *decider) wearing() {
	podGroups := d.inv.Clusters[0].PodGroups
	d.judged = make(map[string]bool, len(d.inv.Interfaces))
	for i := range d.inv.Interfaces {
		f := &d.inv.Interfaces[i]
		d.judged[f.ID] = true
		if d.unit.Own[f.ID] == nil {
			continue
		}
		if len(f.Refused) > 0 {
			d.blameFor(v1alpha1.KindHost, f.ID, v1alpha1.ReasonForeignAddress,
				fmt.Errorf("/status/addresses: %s: outside the subnets of its node pool, or those of another host too; not taken for its own", addresses(f.Refused)))
		}
		if len(podGroups) > 0 {
			d.blameFor(v1alpha1.KindHost, f.ID, v1alpha1.ReasonPodGroups,
				fmt.Errorf("the interfaces of its cluster's pods have groups %s, which a host of your own cannot enforce", strings.Join(podGroups, ", ")))
		}
	}
}

func addresses(list []netip.Addr) string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

func (d *decider) poolOf(name string) *convert.NodePool {
	if d.inv == nil {
		return nil
	}
	list := d.inv.Clusters[0].Pools
	i := slices.IndexFunc(list, func(p convert.NodePool) bool { return p.ID == name })
	if i < 0 {
		return nil
	}
	return &list[i]
}

func (d *decider) cluster(now metav1.Time) {
	c := d.unit.Cluster
	accepted := acceptance(d.fatal, c.Generation)
	out := &d.out.cluster
	var groups []string
	if out.SecurityGroupName = c.Status.SecurityGroupName; d.inv != nil {
		out.SecurityGroupName = d.inv.Clusters[0].Group
		groups = append(slices.Clone(d.inv.Clusters[0].PodGroups), out.SecurityGroupName)
	}
	ready := d.ready(c.Status.Conditions, groups, "", accepted)
	if c.DeletionTimestamp != nil {
		ready = status.False(v1alpha1.ConditionReady, v1alpha1.ReasonDeleting, "the cluster is being deleted", c.Generation)
	}
	out.Conditions = status.Conditions(c.Status.Conditions, now, accepted, ready)
}

func (d *decider) pool(o *v1alpha1.NodePool, hosts int32, now metav1.Time) v1alpha1.NodePoolStatus {
	mistakes := d.mistakes[convert.Object{Kind: v1alpha1.KindNodePool, Name: o.Name}]
	out := v1alpha1.NodePoolStatus{
		SecurityGroupName:           o.Status.SecurityGroupName,
		EffectiveSecurityGroupNames: o.Status.EffectiveSecurityGroupNames,
		Hosts:                       hosts,
	}
	accepted := acceptance(mistakes, o.Generation)
	if len(mistakes) == 0 && d.inv == nil {
		accepted = before(o.Status.Conditions, v1alpha1.ConditionAccepted, o.Generation)
	}
	if p := d.poolOf(o.Name); p != nil {
		out.EffectiveSecurityGroupNames = slices.Sorted(slices.Values(p.Groups))
		out.SecurityGroupName = ""
		if o.Spec.SecurityGroup.Type != "" {
			out.SecurityGroupName = gather.PoolGroup(o)
		}
	}
	ready := d.ready(o.Status.Conditions, out.EffectiveSecurityGroupNames, o.Name, accepted)
	if o.DeletionTimestamp != nil {
		ready = status.False(v1alpha1.ConditionReady, v1alpha1.ReasonDeleting, "the node pool is being deleted", o.Generation)
	}
	out.Conditions = status.Conditions(o.Status.Conditions, now, accepted, ready)
	return out
}

// before is the condition as it was: nobody can tell whether it still holds.
func before(all []metav1.Condition, kind string, generation int64) metav1.Condition {
	if old := status.Owned(all, kind); len(old) > 0 {
		return old[0]
	}
	return status.Unknown(kind, v1alpha1.ReasonUnknown, "its cluster makes no sense just now, see there", generation)
}

func (d *decider) host(h *v1alpha1.Host, now metav1.Time) {
	mistakes := d.mistakes[convert.Object{Kind: v1alpha1.KindHost, Name: h.Name}]
	wrong := status.Owned(h.Status.Conditions, v1alpha1.ConditionAccepted)
	if len(mistakes) > 0 || d.judged[h.Name] && len(wrong) > 0 {
		d.out.hosts[h.Name] = status.Conditions(h.Status.Conditions, now, acceptance(mistakes, h.Generation))[0]
	}
}

// acceptance is the condition Accepted of what has these mistakes.
func acceptance(mistakes []*convert.InputError, generation int64) metav1.Condition {
	if len(mistakes) == 0 {
		return status.True(v1alpha1.ConditionAccepted, v1alpha1.ReasonAccepted, "", generation)
	}
	texts := make([]string, len(mistakes))
	for i, m := range mistakes {
		texts[i] = m.Error()
	}
	reason := mistakes[0].Reason
	if reason == "" {
		reason = v1alpha1.ReasonInvalid
	}
	return status.False(v1alpha1.ConditionAccepted, reason, status.Lines(texts, maxMessage), generation)
}

// ready is the condition Ready of a cluster, or of one of its node pools, which
// has said something before.
func (d *decider) ready(said []metav1.Condition, groups []string, pool string, accepted metav1.Condition) metav1.Condition {
	generation := accepted.ObservedGeneration
	was := meta.IsStatusConditionTrue(said, v1alpha1.ConditionReady)
	if accepted.Status != metav1.ConditionTrue || len(d.fatal) > 0 {
		return status.False(v1alpha1.ConditionReady, v1alpha1.ReasonNotAccepted, "it is not accepted, or its cluster is not: see condition Accepted", generation)
	}
	slices.Sort(groups)
	var pending []string
	for _, name := range groups {
		err := carries(d.unit.Groups[name], d.unit.Cluster.Name, pool)
		if err == nil && !was && !d.written(name) {
			err = errors.New("does not have its rules yet")
		}
		if err != nil {
			pending = append(pending, fmt.Sprintf("security group %s %v", name, err))
		}
	}
	if len(pending) > 0 {
		return status.False(v1alpha1.ConditionReady, v1alpha1.ReasonGroupPending, status.Lines(pending, maxMessage), generation)
	}
	return status.True(v1alpha1.ConditionReady, v1alpha1.ReasonGroupInUse, "", generation)
}

// written reports whether a group has the system rules that it shall have.
func (d *decider) written(group string) bool {
	i := slices.IndexFunc(d.out.groups, func(g groupDecision) bool { return g.name == group })
	return i < 0 || d.out.groups[i].have != nil && rulesOf(d.out.groups[i].have).equal(d.out.groups[i].rules)
}

// carries tells what a group lacks to be protected for a cluster, or for one of
// its node pools.
func carries(g *v1alpha1.SecurityGroup, cluster, pool string) error {
	if g == nil {
		return errors.New("is being made")
	}
	if g.DeletionTimestamp != nil {
		return errors.New("is being deleted")
	}
	i := slices.IndexFunc(g.Status.Clusters, func(u v1alpha1.GroupUser) bool { return u.Name == cluster })
	listed := i >= 0 && (pool == "" || slices.Contains(g.Status.Clusters[i].NodePools, pool))
	if !listed || g.Status.Protected == nil || !*g.Status.Protected {
		return errors.New("does not carry the use yet")
	}
	return nil
}
