package group

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/gather"
	"ringfence.dev/ringfence/internal/status"
	"ringfence.dev/ringfence/rules"
)

// maxMessage is how much of a condition's message lists what is wrong.
const maxMessage = 4096

// maxUsedBy is the room of status.usedBy, 256 characters, less what says that
// there is more.
const maxUsedBy = 240

// The types of condition that are written here.
var conditions = []string{v1alpha1.ConditionAccepted, v1alpha1.ConditionWithinQuota} //nolint:gochecknoglobals // a constant

// decide finds the status of a group from those who have to do with it.
func decide(c *gather.Circle, now metav1.Time) v1alpha1.SecurityGroupStatus {
	g := c.Group
	users := usersOf(c)
	out := v1alpha1.SecurityGroupStatus{Clusters: users, UsedBy: usedBy(c, users), RuleCount: g.Status.RuleCount}
	protected := len(users) > 0 || len(c.Hosts) > 0 || len(naming(c)) > 0
	out.Protected = &protected
	for _, s := range c.Slices {
		out.Members += int32(len(s.Spec.Members)) //nolint:gosec // at most 200
	}
	inv, err := convert.FromObjects(&c.Objects)
	accepted := acceptance(g, err)
	quota := status.Unknown(v1alpha1.ConditionWithinQuota, v1alpha1.ReasonNotAccepted, "the group is not accepted: see condition Accepted", g.Generation)
	if inv != nil {
		out.RuleCount, quota = measure(inv, g, out.Members)
	}
	out.Conditions = status.Conditions(g.Status.Conditions, now, accepted, quota)
	return out
}

// maxUsers is how many clusters, and node pools of each, the API takes. Those
// behind them protect the group no less.
const maxUsers = 256

// usersOf returns the clusters that use the group with those of their node pools
// that do, sorted. A node pool counts for its cluster even if that is gone.
func usersOf(c *gather.Circle) []v1alpha1.GroupUser {
	pools := map[string][]string{}
	for _, o := range c.Clusters {
		pools[o.Name] = nil
	}
	for _, o := range c.Pools {
		pools[o.Spec.ClusterName] = append(pools[o.Spec.ClusterName], o.Name)
	}
	users := make([]v1alpha1.GroupUser, 0, len(pools))
	for name, list := range pools {
		slices.Sort(list)
		users = append(users, v1alpha1.GroupUser{Name: name, NodePools: list[:min(len(list), maxUsers)]})
	}
	slices.SortFunc(users, func(a, b v1alpha1.GroupUser) int { return strings.Compare(a.Name, b.Name) })
	return users[:min(len(users), maxUsers)]
}

// usedBy is the same in one line, with who else holds the group.
func usedBy(c *gather.Circle, users []v1alpha1.GroupUser) string {
	var list []string
	for _, u := range users {
		text := u.Name
		if len(u.NodePools) > 0 {
			text += " (" + strings.Join(u.NodePools, ", ") + ")"
		}
		list = append(list, text)
	}
	for _, name := range naming(c) {
		list = append(list, "rules of group "+name)
	}
	for _, h := range c.Hosts {
		list = append(list, "host "+h.Name)
	}
	text := strings.Join(list, ", ")
	if len(text) > maxUsedBy {
		return text[:strings.LastIndex(text[:maxUsedBy], ",")+1] + " …"
	}
	return text
}

// naming returns the names of the groups whose rules hold the group.
func naming(c *gather.Circle) []string {
	var list []string
	for _, g := range c.Naming {
		if slices.Contains(gather.HeldPeers(g), c.Group.Name) {
			list = append(list, g.Name)
		}
	}
	return list
}

// acceptance is the condition Accepted: what is wrong with the group itself.
func acceptance(g *v1alpha1.SecurityGroup, err error) metav1.Condition {
	var texts []string
	reason := ""
	for _, m := range convert.Mistakes(err) {
		if m.Place.Object != (convert.Object{Kind: v1alpha1.KindSecurityGroup, Name: g.Name}) {
			continue
		}
		if len(texts) == 0 {
			reason = m.Reason
		}
		texts = append(texts, strings.TrimPrefix(m.Place.Path+": ", ": ")+m.Err.Error())
	}
	switch {
	case len(texts) == 0 && err != nil: // the mistakes are those of others: nobody can tell
		return status.Unknown(v1alpha1.ConditionAccepted, v1alpha1.ReasonUnknown, status.Lines([]string{err.Error()}, maxMessage), g.Generation)
	case len(texts) == 0:
		return status.True(v1alpha1.ConditionAccepted, v1alpha1.ReasonAccepted, "", g.Generation)
	case reason == "":
		reason = v1alpha1.ReasonInvalid
	}
	return status.False(v1alpha1.ConditionAccepted, reason, status.Lines(texts, maxMessage), g.Generation)
}

// measure counts rules and tells whether rules and members are too many.
func measure(inv *convert.Inventory, g *v1alpha1.SecurityGroup, members int32) (int32, metav1.Condition) {
	found, _ := inv.Group(g.Name)
	merged, err := rules.Merge([]*rules.Group{&found.Group}, inv.PrefixLists)
	if err != nil {
		return g.Status.RuleCount, status.Unknown(v1alpha1.ConditionWithinQuota, v1alpha1.ReasonUnknown, err.Error(), g.Generation)
	}
	count := 0
	for _, list := range [][]rules.MergedRule{merged.Ingress, merged.Egress} {
		for i := range list {
			count += list[i].Units
		}
	}
	return int32(count), quota(found, merged, g, members)
}

func quota(found *convert.Group, merged *rules.Ruleset, g *v1alpha1.SecurityGroup, members int32) metav1.Condition {
	over := func(reason, message string) metav1.Condition {
		return status.False(v1alpha1.ConditionWithinQuota, reason, message, g.Generation)
	}
	limit := rules.MaxBasicAddresses
	if found.Type == rules.Advanced {
		limit = rules.MaxAdvancedAddresses
	}
	if err := merged.Limits(); err != nil {
		return over(v1alpha1.ReasonTooManyRules, err.Error())
	}
	if n := found.GroupPeers(); n > rules.MaxGroupPeers {
		return over(v1alpha1.ReasonTooManyRules, fmt.Sprintf("%d rules name a group, at most %d may", n, rules.MaxGroupPeers))
	}
	if int(members) > limit {
		return over(v1alpha1.ReasonTooManyMembers, fmt.Sprintf("more than %d addresses: want more groups, or hosts with fewer addresses", limit))
	}
	return status.True(v1alpha1.ConditionWithinQuota, v1alpha1.ReasonWithinLimits, "", g.Generation)
}
