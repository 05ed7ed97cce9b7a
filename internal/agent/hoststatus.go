package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/upstream"
)

// A news is what a host does, for who told it what to do.
type news struct {
	// saved is what is in force; nil if nothing is.
	saved *record
	// wanted is the Ruleset that ought to be; empty if that is not known.
	wanted string
	// open says that somebody lets everything pass for a time.
	open bool
	// reading and applying are what is wrong; nil if nothing is. tries is how
	// often in a row applying failed.
	reading, applying error
	tries             int
	// probes are the results of the last trial, repairs how often the table was
	// put right since the Ruleset runs.
	probes  []v1alpha1.Probe
	repairs int
	// bypassed are sentences about what passes without being judged.
	bypassed []string
	// links says that interfaces may be others than they were.
	links bool
}

// settledTries is how often a change must fail, for another reason than that it
// is wrong, before the host says that it cannot be done.
const settledTries = 2

// hostStatus is what a host says of itself, after what it said before.
func hostStatus(n *news, f *facts, before *v1alpha1.HostStatus, now time.Time) *v1alpha1.HostStatus {
	s := &v1alpha1.HostStatus{ObservedRoles: f.roles, RollbackReason: before.RollbackReason}
	for _, a := range f.addresses {
		s.Addresses = append(s.Addresses, a.String())
	}
	if n.saved != nil {
		s.RulesetName = n.saved.Order.RulesetName
		s.RulesetSince = new(metav1.NewTime(n.saved.Since.Truncate(time.Second)))
		s.Probes, s.DriftRepairs = n.probes, int32(min(n.repairs, 1<<30)) //nolint:gosec // bounded
	}
	for _, c := range before.Conditions { // for the times at which they turned
		if c.Type == v1alpha1.ConditionEnforced || c.Type == v1alpha1.ConditionEnforcementBypassed && len(n.bypassed) > 0 {
			s.Conditions = append(s.Conditions, c)
		}
	}
	at := metav1.NewTime(now.Truncate(time.Second))
	if len(n.bypassed) > 0 {
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionEnforcementBypassed, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonForeignHook,
			Message: cut(strings.Join(n.bypassed, "\n"), maxMessage), LastTransitionTime: at,
		})
	}
	c := enforced(n)
	c.LastTransitionTime = at
	if meta.SetStatusCondition(&s.Conditions, c) && failed(c.Reason) {
		s.RollbackReason = c.Message
	}
	return s
}

func failed(reason string) bool {
	return slices.Contains([]string{v1alpha1.ReasonRolledBack, v1alpha1.ReasonKeepCut, v1alpha1.ReasonApplyFailed}, reason)
}

// enforced is the condition of that type. Its message names the Ruleset that
// could not be enforced: that is how a Rollout knows.
func enforced(n *news) metav1.Condition {
	is := func(status metav1.ConditionStatus, reason, format string, args ...any) metav1.Condition {
		return metav1.Condition{Type: v1alpha1.ConditionEnforced, Status: status, Reason: reason, Message: cut(fmt.Sprintf(format, args...), maxMessage)}
	}
	switch {
	case n.open:
		return is(metav1.ConditionFalse, v1alpha1.ReasonOpened, "somebody lets everything pass for a time: ringfence-agent resume ends it")
	case errors.Is(n.reading, upstream.ErrRuleset):
		return is(metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, "%v", n.reading)
	case errors.Is(n.applying, errWithdrawn):
		return is(metav1.ConditionFalse, v1alpha1.ReasonRolledBack, "Ruleset %s: %v", n.wanted, n.applying)
	case errors.Is(n.applying, errCut):
		return is(metav1.ConditionFalse, v1alpha1.ReasonKeepCut, "Ruleset %s: %v", n.wanted, n.applying)
	case n.applying != nil && n.tries >= settledTries:
		return is(metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, "Ruleset %s: %v", n.wanted, n.applying)
	case n.saved == nil:
		return is(metav1.ConditionFalse, v1alpha1.ReasonTrial, "nothing is enforced yet")
	case n.applying != nil:
		return is(metav1.ConditionFalse, v1alpha1.ReasonTrial, "Ruleset %s is being tried: %v", n.wanted, n.applying)
	case n.saved.Order.Observe:
		return is(metav1.ConditionTrue, v1alpha1.ReasonObserving, "what the rules drop is counted, and passes")
	}
	return is(metav1.ConditionTrue, v1alpha1.ReasonConfirmed, "%s", n.saved.Why)
}
