package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/internal/convert"
)

func rolloutsOf(ns string, who *rest.Config) dynamic.ResourceInterface {
	resource := schema.GroupVersionResource{Group: "ringfence.dev", Version: "v1alpha1", Resource: "rollouts"}
	return dynamic.NewForConfigOrDie(who).Resource(resource).Namespace(ns)
}

// makeRollout writes what the controllers write.
func makeRollout(t *testing.T, ns string, groups []string, spec, status map[string]any) {
	t.Helper()
	var names []any
	for _, g := range groups {
		names = append(names, g)
	}
	spec["securityGroupNames"] = names
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "ringfence.dev/v1alpha1", "kind": "Rollout", "spec": spec}}
	o.SetName(convert.RolloutName(groups))
	made, err := rolloutsOf(ns, env.Controllers).Create(t.Context(), o, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Object["status"] = status
	if _, err := rolloutsOf(ns, env.Controllers).UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func settled(reason, message string) []any {
	status := "False"
	if reason == "Stable" {
		status = "True"
	}
	return []any{map[string]any{"type": "Settled", "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-11-24T12:00:00Z"}}
}

func TestRollout(t *testing.T) {
	ns := namespace(t)
	at := []string{"--kubeconfig", adminFile(), "-n", ns}
	command := func(args ...string) result { return run(t, "", append(append([]string{"rollout"}, args...), at...)...) }
	if r := command("status"); r.code != 0 || r.out != "no host wears any group here\n" {
		t.Errorf("without any: exit %d: %s%s", r.code, r.out, r.err)
	}
	makeRollout(t, ns, []string{"db", "web"},
		map[string]any{"stableRulesetName": "aaaaaaaaaaaaaaaa", "candidateRulesetName": "bbbbbbbbbbbbbbbb", "bound": "0000000000000001", "nodePools": []any{map[string]any{"name": "workers"}}},
		map[string]any{"step": "Tenth", "hosts": int64(30), "chosen": int64(3), "confirmed": int64(2), "conditions": settled("Stepping", "a candidate is being tried")})
	makeRollout(t, ns, []string{"web"}, map[string]any{"stableRulesetName": "cccccccccccccccc"},
		map[string]any{"hosts": int64(5), "chosen": int64(5), "confirmed": int64(5), "previousRulesetName": "dddddddddddddddd", "conditions": settled("Stable", "all is well")})
	makeRollout(t, ns, []string{"app"}, map[string]any{"stableRulesetName": "eeeeeeeeeeeeeeee"}, map[string]any{"conditions": settled("Stable", "all is well")})

	if r := command("status"); r.code != 0 || !strings.Contains(r.out, "db,web  Stepping  Tenth  2/3/30                  aaaaaaaaaaaa  bbbbbbbbbbbb") ||
		!strings.Contains(r.out, "web     Stable    -      5/5/5                   cccccccccccc  -") || !strings.Contains(r.out, "why      a candidate is being tried") {
		t.Errorf("exit %d:\n%s%s", r.code, r.out, r.err)
	}
	annotations := func(groups ...string) map[string]string {
		t.Helper()
		o, err := rolloutsOf(ns, env.Admin).Get(t.Context(), convert.RolloutName(groups), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return o.GetAnnotations()
	}
	if r := command("pause", "web,db"); r.code != 0 || r.out != "web,db: paused with 3 of 30 hosts on bbbbbbbbbbbb, until ringfence rollout resume\n" {
		t.Errorf("pause: exit %d: %s%s", r.code, r.out, r.err)
	}
	if annotations("web", "db")["ringfence.dev/paused"] == "" {
		t.Error("it is not paused")
	}
	if r := command("status", "web,db"); !strings.Contains(r.out, "Stepping, paused") {
		t.Errorf("status: %s%s", r.out, r.err)
	}
	if r := command("undo", "db,web", convert.RolloutName([]string{"web"})); r.code != 0 || !strings.Contains(r.out, "bbbbbbbbbbbb is taken back") || !strings.Contains(r.out, "goes back from cccccccccccc to dddddddddddd") {
		t.Errorf("undo: exit %d: %s%s", r.code, r.out, r.err)
	}
	if a, b := annotations("web", "db")["ringfence.dev/undone"], annotations("web")["ringfence.dev/undone"]; a != "bbbbbbbbbbbbbbbb" || b != "cccccccccccccccc" {
		t.Errorf("undone: %q and %q", a, b)
	}
	if r := command("resume", "web,db", "web"); r.code != 0 || strings.Count(r.out, "goes on\n") != 2 {
		t.Errorf("resume: exit %d: %s%s", r.code, r.out, r.err)
	}
	if got := annotations("web", "db"); len(got) != 0 {
		t.Errorf("after resume: %v", got)
	}
	for want, args := range map[string][]string{
		"there are none to go back to":                     {"undo", "app"},
		"there is no Rollout of nobody in namespace " + ns: {"pause", "nobody"},
		"requires at least 1 arg(s)":                       {"pause"},
	} {
		if r := command(args...); r.code != 2 || !strings.Contains(r.err, want) {
			t.Errorf("%v: exit %d, want %q: %s%s", args, r.code, want, r.out, r.err)
		}
	}
}

func TestRolloutAborted(t *testing.T) {
	ns := namespace(t)
	makeRollout(t, ns, []string{"web"}, map[string]any{"stableRulesetName": "aaaaaaaaaaaaaaaa"}, map[string]any{
		"conditions": settled("Aborted", "host node-1 could not confirm it"),
		"failure":    map[string]any{"rulesetName": "bbbbbbbbbbbbbbbb", "hostName": "node-1", "message": "no answer", "time": "2026-11-24T12:00:00Z"},
	})
	at := []string{"--kubeconfig", adminFile(), "-n", ns}
	r := run(t, "", append([]string{"rollout", "status", "-o", "json"}, at...)...)
	var listed []struct {
		Groups  []string
		State   string
		Failure struct{ Ruleset, Host, Message, Time string }
	}
	if err := json.Unmarshal([]byte(r.out), &listed); err != nil || r.code != 1 {
		t.Fatalf("exit %d, %v: %s%s", r.code, err, r.out, r.err)
	}
	if l := listed[0]; l.State != "Aborted" || l.Failure.Host != "node-1" || l.Failure.Ruleset != "bbbbbbbbbbbbbbbb" || l.Failure.Time != "2026-11-24T12:00:00Z" {
		t.Errorf("listed: %+v", listed)
	}
	if r := run(t, "", append([]string{"rollout", "resume", "web"}, at...)...); r.code != 0 || !strings.Contains(r.out, "tries bbbbbbbbbbbb again, which host node-1 could not confirm") {
		t.Errorf("resume: exit %d: %s%s", r.code, r.out, r.err)
	}
	o, err := rolloutsOf(ns, env.Admin).Get(t.Context(), convert.RolloutName([]string{"web"}), metav1.GetOptions{})
	if err != nil || o.GetAnnotations()["ringfence.dev/retry"] == "" {
		t.Errorf("nothing says that it is to be tried again: %v %v", o.GetAnnotations(), err)
	}
}

// TestPeopleWriteAnnotationsOnly: who runs what is not people's to write.
func TestPeopleWriteAnnotationsOnly(t *testing.T) {
	ns := namespace(t)
	makeRollout(t, ns, []string{"web"}, map[string]any{"stableRulesetName": "aaaaaaaaaaaaaaaa"}, map[string]any{})
	for _, patch := range []string{
		`{"spec":{"stableRulesetName":"bbbbbbbbbbbbbbbb"}}`,
		`{"spec":{"nodePools":[{"name":"workers"}]}}`,
		`{"metadata":{"finalizers":["example.com/x"]}}`,
		`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"y"}]}}`,
	} {
		_, err := rolloutsOf(ns, env.Admin).Patch(t.Context(), convert.RolloutName([]string{"web"}), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "ringfence rollout --help") {
			t.Errorf("%s: want it refused by the policy, got %v", patch, err)
		}
	}
}
