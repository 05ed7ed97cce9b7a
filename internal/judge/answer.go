package judge

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/rules"
)

// An Answerer answers questions about single flows. Each set of groups is
// merged and compiled once.
type Answerer struct {
	inv *convert.Inventory
	worlds
	sets map[string]*answers
}

// answers are what is needed to answer for one set of groups.
type answers struct {
	rules  *rules.Ruleset
	world  *rules.World
	policy *rules.Policy
}

// NewAnswerer returns an Answerer over an inventory.
func NewAnswerer(inv *convert.Inventory, exempt []rules.Exempt, choice ExemptChoice) *Answerer {
	return &Answerer{inv: inv, worlds: newWorlds(inv, exempt, choice), sets: map[string]*answers{}}
}

// GroupsOf returns the groups that decide for an address: those of the
// interface that has it; for a pod address, those of its cluster's pools, if
// they agree.
func (a *Answerer) GroupsOf(addr netip.Addr) ([]string, error) {
	found := a.inv.InterfacesAt(addr)
	switch {
	case len(found) == 1 && len(found[0].Groups) == 0:
		return nil, fmt.Errorf("%s (%s) wears no group", addr, found[0].ID)
	case len(found) == 1:
		return found[0].Groups, nil
	case len(found) > 1:
		return nil, fmt.Errorf("%s is the address of %s and %s: say which groups are meant", addr, found[0].ID, found[1].ID)
	}
	c, ok := a.inv.ClusterByPodAddress(addr)
	if !ok {
		return nil, fmt.Errorf("no file tells which groups %s wears: say them, or add its network interface or Host", addr)
	}
	var agreed []string
	for i, groups := range poolGroups(c) {
		if i > 0 && !slices.Equal(agreed, groups) {
			return nil, fmt.Errorf("%s is a pod of cluster %s, whose node pools wear different groups: say which are meant", addr, c.Title)
		}
		agreed = groups
	}
	if len(agreed) == 0 {
		return nil, fmt.Errorf("%s is a pod of cluster %s, which has no group yet", addr, c.Title)
	}
	return agreed, nil
}

// poolGroups lists the groups of each node pool; of a cluster without pools,
// its own.
func poolGroups(c *convert.Cluster) [][]string {
	var out [][]string
	for i := range c.Pools {
		out = append(out, slices.Sorted(slices.Values(c.Pools[i].Groups)))
	}
	if len(out) == 0 && c.Group != "" {
		out = append(out, []string{c.Group})
	}
	return out
}

// Verdict decides one flow for a host that wears the groups.
func (a *Answerer) Verdict(groups []string, f *rules.Flow) (rules.Verdict, error) {
	s, err := a.set(groups)
	if err != nil {
		return rules.Verdict{}, err
	}
	return s.policy.Verdict(f), nil
}

// Explain decides one flow and tells which other rules match it.
func (a *Answerer) Explain(groups []string, f *rules.Flow) (rules.Explanation, error) {
	s, err := a.set(groups)
	if err != nil {
		return rules.Explanation{}, err
	}
	return rules.Explain(s.rules, s.world, f), nil
}

func (a *Answerer) set(names []string) (*answers, error) {
	if len(names) == 0 {
		return nil, errors.New("no groups: a host wears at least one")
	}
	key := strings.Join(slices.Sorted(slices.Values(names)), "\x00")
	if s, ok := a.sets[key]; ok {
		return s, nil
	}
	w := worn{who: "the host"}
	for _, n := range names {
		g, ok := a.inv.Group(n)
		switch {
		case !ok:
			return nil, fmt.Errorf("no group %q in the files", n)
		case g.RulesUnknown:
			return nil, fmt.Errorf("no file lists the rules of group %s", n)
		case g.TypeUnknown:
			return nil, fmt.Errorf("no file tells the type of group %s: add the output of DescribeSecurityGroups, or say --group-type", n)
		}
		w.groups = append(w.groups, g)
	}
	rs, err := w.merge(a.inv)
	if err != nil {
		return nil, err
	}
	s := &answers{rules: rs, world: a.of(w.groups)}
	if s.policy, err = rules.NewWorkspace(s.world, 0).Compile(rs); err != nil {
		return nil, err
	}
	a.sets[key] = s
	return s, nil
}
