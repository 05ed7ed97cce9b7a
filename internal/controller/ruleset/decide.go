package ruleset

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// A world is what was gathered of one namespace.
type world struct {
	namespace string
	objects   *convert.Objects
	tables    *profiles.Tables
	rulesets  []v1alpha1.Ruleset
	rollouts  []v1alpha1.Rollout
	// renewed is when hosts gave their last sign of life.
	renewed map[string]time.Time
	// unworn is since when nobody wears the set of a Rollout, by its name.
	unworn map[string]time.Time
	// counted is when the numbers in the status of a Rollout were written, by its
	// name, if that was lately.
	counted map[string]time.Time
	// fits remembers of Rulesets, by name, what compile said.
	fits map[string]error
	now  time.Time
}

// A plan is what is to be written, in this order.
type plan struct {
	makeRulesets []*v1alpha1.Ruleset
	// rollouts are to be made (no Before) or changed, statuses to be changed.
	rollouts, statuses []change
	dropRollouts       []*v1alpha1.Rollout
	dropRulesets       []*v1alpha1.Ruleset
	// held says of sets, by the name of their Rollout, why nothing is made of
	// them: their hosts stay with what they have.
	held map[string]string
	// unworn and counted are the world's, brought up to date.
	unworn, counted map[string]time.Time
	// stepping is true if some candidate is being tried.
	stepping bool
	// countLater is true if numbers changed that were written lately.
	countLater bool
}

type change struct{ before, now *v1alpha1.Rollout }

// A set is a set of groups with the hosts that wear it.
type set struct {
	name     string
	groups   []string
	clusters []string // sorted
	pools    []string // sorted
	hosts    []*v1alpha1.Host
	// clusterOf has the cluster of each host, addressOf its first address; empty
	// for none.
	clusterOf, addressOf []string
	// blocked says why nothing is made of the set; empty if nothing is wrong.
	blocked string
}

// A decider works out the plan of one world.
type decider struct {
	*world
	live  *convert.Namespace
	hosts map[string]*v1alpha1.Host
	// refused has what is wrong with objects that are not accepted.
	groups, clusters, pools map[string]string
	// unknown is true if it is not known of some host which groups it wears,
	// unknownPools has the node pools of such hosts.
	unknown      bool
	unknownPools map[string]bool
	has          map[string]*v1alpha1.Ruleset
	plan         *plan
}

// decide says what is to be written. It changes nothing of the world but what
// fits remembers.
func decide(w *world) *plan {
	d := decider{
		world: w, live: convert.ReadNamespace(w.objects),
		plan:  &plan{held: map[string]string{}, unworn: map[string]time.Time{}, counted: map[string]time.Time{}},
		hosts: map[string]*v1alpha1.Host{}, groups: map[string]string{}, clusters: map[string]string{}, pools: map[string]string{},
		has: map[string]*v1alpha1.Ruleset{}, unknownPools: map[string]bool{},
	}
	for _, h := range w.objects.Hosts {
		d.hosts[h.Name] = h
	}
	for _, g := range w.objects.SecurityGroups {
		d.groups[g.Name] = cmp.Or(refused("group "+g.Name, g.Status.Conditions), pending(g))
	}
	for _, c := range w.objects.Clusters {
		d.clusters[c.Name] = refused("cluster "+c.Name, c.Status.Conditions)
	}
	for _, p := range w.objects.NodePools {
		d.pools[p.Name] = refused("node pool "+p.Name, p.Status.Conditions)
	}
	for i := range w.rulesets {
		d.has[w.rulesets[i].Name] = &w.rulesets[i]
	}
	d.all()
	return d.plan
}

// refused says why an object is not accepted; empty if nobody says so.
func refused(what string, conditions []metav1.Condition) string {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionAccepted)
	if c == nil || c.Status != metav1.ConditionFalse {
		return ""
	}
	return fmt.Sprintf("%s is not accepted: %s", what, cmp.Or(c.Message, c.Reason))
}

// pending says why the rules of a group are not known yet; empty if they are. A
// group that controllers keep for a cluster exists for a moment without its
// system rules, and an advanced one drops everything then.
func pending(g *v1alpha1.SecurityGroup) string {
	unused := g.Status.Protected != nil && !*g.Status.Protected
	ruled := len(g.Status.SystemIngress)+len(g.Status.SystemEgress) > 0
	if g.Spec.Management != v1alpha1.ManagementManaged || ruled || unused {
		return ""
	}
	return fmt.Sprintf("the system rules of group %s are not there yet", g.Name)
}

func (d *decider) all() {
	sets := d.sets()
	rollouts := map[string]*v1alpha1.Rollout{}
	for i := range d.rollouts {
		rollouts[d.rollouts[i].Name] = &d.rollouts[i]
	}
	var trials []*trial
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		newest, err := d.newest(sets[name])
		if err != nil {
			d.plan.held[name] = err.Error()
		}
		trials = append(trials, d.trial(sets[name], rollouts[name], newest))
	}
	advance(trials)
	wanted := map[string]v1alpha1.RolloutSpec{} // by name
	for _, t := range trials {
		if t.spec.StableRulesetName == "" && t.spec.CandidateRulesetName == "" {
			continue // nothing good was ever made of it
		}
		wanted[t.set.name] = t.spec
		d.step(rollouts[t.set.name], t)
	}
	d.garbage(sets, wanted)
}

// sets finds the distinct sets of groups.
func (d *decider) sets() map[string]*set {
	sets := map[string]*set{}
	wearers := d.live.Wearers()
	for i := range wearers {
		w := &wearers[i]
		h := d.hosts[w.Name]
		switch {
		case w.Unknown != "":
			d.unknown = true
			if h != nil {
				d.unknownPools[h.Spec.NodePoolName] = true
			}
			continue
		case len(w.Groups) == 0:
			continue
		}
		name := convert.RolloutName(w.Groups)
		s := sets[name]
		if s == nil {
			s = &set{name: name, groups: w.Groups}
			for _, g := range w.Groups {
				s.blocked = cmp.Or(s.blocked, d.groups[g])
			}
			sets[name] = s
		}
		s.hosts, s.clusterOf, s.addressOf = append(s.hosts, h), append(s.clusterOf, w.Cluster), append(s.addressOf, first(w.Addresses))
		if at, found := slices.BinarySearch(s.pools, w.Pool); !found && w.Pool != "" {
			s.pools = slices.Insert(s.pools, at, w.Pool)
		}
		s.blocked = cmp.Or(s.blocked, d.clusters[w.Cluster], d.pools[w.Pool])
		if at, found := slices.BinarySearch(s.clusters, w.Cluster); !found && w.Cluster != "" {
			s.clusters = slices.Insert(s.clusters, at, w.Cluster)
		}
	}
	return sets
}

func first(list []netip.Addr) string {
	if len(list) == 0 {
		return ""
	}
	return list[0].String()
}

// newest returns the name of the Ruleset that a set means now, which is made if
// it is not there.
func (d *decider) newest(s *set) (string, error) {
	if s.blocked != "" {
		return "", fmt.Errorf("%s", s.blocked)
	}
	merged, err := d.live.Ruleset(s.groups)
	if err != nil {
		return "", err
	}
	var keep [][]v1alpha1.KeepFlow
	for _, c := range s.clusters {
		flows, err := d.live.Keep(d.tables, c, merged.Type)
		if err != nil {
			return "", err
		}
		keep = append(keep, flows)
	}
	kept, err := convert.Kept(keep...)
	if err != nil {
		return "", err
	}
	spec := convert.RulesetSpec(merged, kept)
	name, err := convert.RulesetName(&spec)
	if err != nil || d.has[name] != nil {
		return name, err
	}
	if err := d.fit(name, merged); err != nil {
		return "", err
	}
	made := &v1alpha1.Ruleset{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: d.namespace}, Spec: spec}
	d.has[name] = made
	d.plan.makeRulesets = append(d.plan.makeRulesets, made)
	return name, nil
}

// budget is what a host can load: two million edges of the diagram.
const budget = 2_000_000

// fit reports whether a host can load a ruleset. Groups that are named as peers
// count as points here, which is the least that they can cost.
func (d *decider) fit(name string, merged *rules.Ruleset) error {
	err, known := d.fits[name]
	if !known {
		_, err = rules.NewWorkspace(&rules.World{Exempt: d.tables.Exempt()}, budget).Compile(merged)
		d.fits[name] = err
	}
	if err != nil {
		return fmt.Errorf("too complex for a host: %w", err)
	}
	return nil
}
