package fleet_test

import (
	"cmp"
	"context"
	"testing"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/testenv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// forge gives the Ruleset that a set's first host is to try another content than
// its name says, as one looks to an agent that does not know all of its fields.
func (f *fleet) forge(groups ...string) (name string) {
	f.t.Helper()
	testenv.Eventually(f.t, func(ctx context.Context) string {
		r, err := f.findRollout(ctx, groups...)
		if err != nil {
			return err.Error()
		}
		name = cmp.Or(r.Spec.CandidateRulesetName, r.Spec.StableRulesetName)
		if name == "" {
			return "there is no Ruleset"
		}
		return ""
	})
	was := &v1alpha1.Ruleset{}
	f.check(f.api.Get(f.t.Context(), client.ObjectKey{Namespace: f.namespace, Name: name}, was))
	controllers := testenv.Client(f.t, env.Controllers, scheme(f.t))
	f.check(controllers.Delete(f.t.Context(), was))
	is := &v1alpha1.Ruleset{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: f.namespace, OwnerReferences: was.OwnerReferences, Labels: was.Labels}, Spec: was.Spec}
	is.Spec.Ingress[0].Ports = "1/1"
	f.check(controllers.Create(f.t.Context(), is))
	return name
}

// TestNotUnderstood: a host that does not understand its first Ruleset says so,
// and the Rollout gives up.
func TestNotUnderstood(t *testing.T) {
	t.Parallel()
	f := newFleet(t, map[string]string{"node-1": "10.60.0.11"})
	f.create(groups)
	name := f.forge("db")
	f.nodes["node-1"].comes()
	f.nodes["node-1"].says(v1alpha1.ReasonApplyFailed, name)
}

// TestToldAgain: what a host says of itself stands in the control plane again
// after that has lost it, as one does that is back from a backup.
func TestToldAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, map[string]string{"node-1": "10.60.0.11"})
	f.create(groups)
	f.nodes["node-1"].comes()
	h := f.nodes["node-1"].says(v1alpha1.ReasonConfirmed)
	f.settled(v1alpha1.ReasonStable, "db")
	masters := testenv.Client(t, env.Signed(t, "restorer", "system:masters"), scheme(t))
	testenv.Eventually(t, func(ctx context.Context) string {
		was, err := f.nodes["node-1"].host(ctx)
		if err == nil {
			was.Status.RulesetName, was.Status.RulesetSince = "older", nil
			err = masters.Status().Update(ctx, was)
		}
		if err != nil {
			return err.Error()
		}
		return ""
	})
	testenv.Eventually(t, func(ctx context.Context) string {
		is, err := f.nodes["node-1"].host(ctx)
		if err != nil {
			return err.Error()
		}
		if is.Status.RulesetName != h.Status.RulesetName {
			return "the host runs " + is.Status.RulesetName + ", says the control plane"
		}
		return ""
	})
}
