package advice

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/internal/gather"
	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/internal/status"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// maxMessage is how much of a condition's message lists needs or rules: the
// needs of a whole profile fit, and the API takes four times as much.
const maxMessage = 8192

// A verdict is what is to be said about one cluster and, on its behalf, about
// its groups.
type verdict struct {
	needsMet, tight metav1.Condition
	// excess has the lines about each group that was judged, by the rule's
	// name; a group with nothing to say has an empty one. Nil means that nobody
	// can tell.
	excess map[string]map[string]string
}

// groups returns the excess by group, never nil.
func (v *verdict) groups() map[string]map[string]string {
	if v == nil || v.excess == nil {
		return map[string]map[string]string{}
	}
	return v.excess
}

// worse reports whether the verdict has bad news, beside what is said already.
func (v *verdict) worse(said []metav1.Condition) bool {
	for _, c := range []metav1.Condition{v.needsMet, v.tight} {
		if c.Status == metav1.ConditionFalse && !meta.IsStatusConditionFalse(said, c.Type) {
			return true
		}
	}
	return false
}

// judgeCluster says of a cluster what ringfence check says. Needs are those of the
// running cluster; nil if it is not read.
func judgeCluster(u *gather.Unit, needs *v1alpha1.ClusterNeeds, tables *profiles.Tables) verdict {
	c := u.Cluster
	if ready := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady); ready == nil || ready.Status != metav1.ConditionTrue {
		return unknown(c, "the cluster is not ready: see condition Ready")
	}
	inv, mistakes := convert.Sound(&u.Objects)
	if inv == nil {
		return unknown(c, mistakes[0].Error())
	}
	live := map[string]*discover.Report{}
	if needs != nil {
		report, err := discover.FromObject(needs)
		if err != nil {
			return unknown(c, err.Error())
		}
		live[c.Name] = report
	}
	report, err := judge.Check(inv, tables, judge.Options{Live: live})
	if err != nil {
		return unknown(c, err.Error())
	}
	return verdictOf(c, inv, report)
}

func unknown(c *v1alpha1.Cluster, why string) verdict {
	message := status.Lines([]string{why}, maxMessage)
	return verdict{
		needsMet: status.Unknown(v1alpha1.ConditionNeedsMet, v1alpha1.ReasonUnknown, message, c.Generation),
		tight:    status.Unknown(v1alpha1.ConditionTight, v1alpha1.ReasonUnknown, message, c.Generation),
	}
}

// verdictOf makes conditions of a report. Excess of severity info is what the
// chosen profile's own rows, inner access or the default admit: that was asked
// for.
func verdictOf(c *v1alpha1.Cluster, inv *convert.Inventory, report *judge.Report) verdict {
	v := verdict{excess: map[string]map[string]string{}}
	for i := range inv.Groups {
		v.excess[inv.Groups[i].Name] = map[string]string{}
	}
	var missing, doubts []string
	for i := range report.Missing {
		missing = append(missing, line(&report.Missing[i]))
	}
	for i := range report.Findings {
		if f := &report.Findings[i]; f.Severity > rules.Info && unsure(f.ID) {
			doubts = append(doubts, f.Why)
		}
	}
	excess := map[string]string{}
	for i := range report.Excess {
		if x := &report.Excess[i]; x.Severity > rules.Info && x.Cluster == c.Name {
			excess[x.ID] = line(x)
			if of := v.excess[x.Group]; of != nil {
				of[x.ID] = line(x)
			}
		}
	}
	switch {
	case len(missing) > 0:
		v.needsMet = status.False(v1alpha1.ConditionNeedsMet, v1alpha1.ReasonNeedsMissing, status.Lines(missing, maxMessage), c.Generation)
	case len(doubts) > 0:
		v.needsMet = status.Unknown(v1alpha1.ConditionNeedsMet, v1alpha1.ReasonUnknown, status.Lines(doubts, maxMessage), c.Generation)
	default:
		v.needsMet = status.True(v1alpha1.ConditionNeedsMet, v1alpha1.ReasonNothingMissing, "", c.Generation)
	}
	v.tight = tight(excess, c.Generation)
	return v
}

// unsure reports whether a finding says that something could not be judged.
func unsure(id string) bool {
	return slices.Contains([]string{"unknown-fact", "unknown-group", rules.UnknownMembers}, id)
}

// line is one item of a report: what ringfence check lists, in one line.
func line(it *judge.Item) string {
	way := "from"
	if it.Direction == rules.Egress {
		way = "to"
	}
	return fmt.Sprintf("%s: %s %s %s %s %s (group %s)", it.ID, it.Direction, it.Protocol, it.Ports, way, it.Peer, it.Group)
}

// tight is the condition Tight of a cluster or a group with these lines.
func tight(excess map[string]string, generation int64) metav1.Condition {
	if len(excess) == 0 {
		return status.True(v1alpha1.ConditionTight, v1alpha1.ReasonNothingInExcess, "", generation)
	}
	var lines []string
	for _, id := range slices.SortedFunc(maps.Keys(excess), natural) {
		lines = append(lines, excess[id])
	}
	return status.False(v1alpha1.ConditionTight, v1alpha1.ReasonExcess, status.Lines(lines, maxMessage), generation)
}

// natural orders the names of rules, GROUP/DIRECTION/N, by N as a number.
func natural(a, b string) int {
	i, j := strings.LastIndexByte(a, '/'), strings.LastIndexByte(b, '/')
	if c := strings.Compare(a[:i+1], b[:j+1]); c != 0 {
		return c
	}
	if len(a)-i != len(b)-j {
		return (len(a) - i) - (len(b) - j)
	}
	return strings.Compare(a, b)
}

// judgeGroup says of a group what holds for all clusters that use it: a rule is
// in excess if none of them needs what it lets through. Nil means that nobody
// can tell yet.
func judgeGroup(g *v1alpha1.SecurityGroup, verdicts []*verdict) *metav1.Condition {
	var common map[string]string
	for i, v := range verdicts {
		switch {
		case v == nil:
			return nil
		case v.excess == nil:
			c := status.Unknown(v1alpha1.ConditionTight, v1alpha1.ReasonUnknown, "a cluster that uses the group cannot be judged: see its conditions", g.Generation)
			return &c
		case i == 0:
			common = maps.Clone(v.excess[g.Name])
		}
		maps.DeleteFunc(common, func(id, _ string) bool { return v.excess[g.Name][id] == "" })
	}
	c := tight(common, g.Generation)
	return &c
}
