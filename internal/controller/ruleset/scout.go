package ruleset

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// One bad rule of a group makes a bad candidate of every set with the group, and
// each would be tried on a host of its own. So the candidates of one change send
// one scout: of the Rollouts in which the same groups, or what is kept for the
// same clusters, change, one tries its candidate on a first host, and only when
// that has confirmed do the others begin. If it fails they do not, until the
// groups change or somebody says so of either.

// scouts are the Rollouts of a namespace.
type scouts []*trial

// hold says why a Rollout may not try its candidate on a first host yet; empty
// if it may.
func (s scouts) hold(t *trial) string {
	proven, scouting := false, ""
	mine := t.changes()
	for _, a := range s {
		if a == t || a.spec.CandidateRulesetName == "" && a.status.Failure == nil || !share(mine, a.changes()) {
			continue
		}
		if f := a.status.Failure; f != nil && f.Time.After(t.retry) {
			return "host " + f.HostName + " could not confirm what the same change makes of Rollout " + a.set.name
		}
		switch chosen, confirmed := a.progress(); {
		case confirmed:
			proven = true
		case chosen && !a.paused:
			scouting = "a host of Rollout " + a.set.name + " tries the same change first"
		}
	}
	if proven {
		return ""
	}
	return scouting
}

// progress reports whether some host runs the candidate or is to, and whether
// one has confirmed it.
func (t *trial) progress() (chosen, confirmed bool) {
	for i := range t.members {
		m := &t.members[i]
		if t.counted(m) && t.chosen(m) {
			chosen = true
			confirmed = confirmed || m.runs == t.spec.CandidateRulesetName
		}
	}
	return chosen, confirmed
}

// changes are the sources of what is new in the candidate, or in the one that
// was given up: names of groups, and of clusters behind a slash.
func (t *trial) changes() map[string]bool {
	if t.changed == nil {
		updated := t.spec.CandidateRulesetName
		if f := t.status.Failure; f != nil {
			updated = f.RulesetName
		}
		t.changed = changes(t.rulesets[t.spec.StableRulesetName], t.rulesets[updated])
	}
	return t.changed
}

// changes compares two Rulesets by their sources. Without an old one all is new.
func changes(old, updated *v1alpha1.Ruleset) map[string]bool {
	out := map[string]bool{}
	before, after := sources(old), sources(updated)
	for source := range maps.Keys(before) {
		out[source] = !reflect.DeepEqual(before[source], after[source])
	}
	for source := range maps.Keys(after) {
		out[source] = !reflect.DeepEqual(before[source], after[source])
	}
	maps.DeleteFunc(out, func(_ string, differs bool) bool { return !differs })
	return out
}

// A source is what one group or cluster brings into a Ruleset.
type source struct {
	inner           bool
	ingress, egress []v1alpha1.RulesetRule
	keep            []v1alpha1.KeepFlow
}

func sources(r *v1alpha1.Ruleset) map[string]*source {
	out := map[string]*source{}
	if r == nil {
		return out
	}
	of := func(name string) *source {
		if out[name] == nil {
			out[name] = &source{}
		}
		return out[name]
	}
	for _, g := range r.Spec.SecurityGroupNames {
		of(g).inner = slices.Contains(r.Spec.InnerAccessGroupNames, g)
	}
	for _, rule := range r.Spec.Ingress {
		s := of(groupOf(rule.By))
		s.ingress = append(s.ingress, rule)
	}
	for _, rule := range r.Spec.Egress {
		s := of(groupOf(rule.By))
		s.egress = append(s.egress, rule)
	}
	for _, k := range r.Spec.Keep {
		s := of("/" + k.ClusterName)
		s.keep = append(s.keep, k)
	}
	return out
}

// groupOf returns the group of GROUP/DIRECTION/N.
func groupOf(by string) string {
	group, _, _ := strings.Cut(by, "/")
	return group
}

func share(a, b map[string]bool) bool {
	for name := range a {
		if b[name] {
			return true
		}
	}
	return false
}
