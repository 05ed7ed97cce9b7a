package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/crds"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/testenv"
)

// younger are the fields, by the plural of their kind, that the server does not
// know which is one version older than the agent. A star is the items of a list.
var younger = map[string][]string{
	"hosts":       {"status.probes", "status.driftRepairs", "status.rulesetSince"},
	"rollouts":    {"spec.dialers"},
	"flowreports": {"omitted", "denied.*.observed"},
}

// older are the definitions without what is younger.
func older(t *testing.T) fs.FS {
	t.Helper()
	out := fstest.MapFS{}
	files, err := fs.Glob(crds.Files, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		data, err := fs.ReadFile(crds.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		plural := strings.TrimSuffix(strings.TrimPrefix(name, v1alpha1.GroupName+"_"), ".yaml")
		out[name] = &fstest.MapFile{Data: without(t, data, younger[plural])}
	}
	return out
}

// without takes fields, and the rules that name them, from a definition.
func without(t *testing.T, definition []byte, fields []string) []byte {
	t.Helper()
	crd := map[string]any{}
	if err := utilyaml.Unmarshal(definition, &crd); err != nil {
		t.Fatal(err)
	}
	versions, _, err := unstructured.NestedSlice(crd, "spec", "versions")
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range fields {
		version, _ := versions[0].(map[string]any)
		schema, _, _ := unstructured.NestedMap(version, "schema", "openAPIV3Schema")
		if !drop(schema, strings.Split(field, ".")) {
			t.Fatalf("there is no field %s: what is younger has another name now", field)
		}
		if err := unstructured.SetNestedMap(version, schema, "schema", "openAPIV3Schema"); err != nil {
			t.Fatal(err)
		}
	}
	if err := unstructured.SetNestedSlice(crd, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(crd) // which is YAML, too
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// drop takes a field from a schema, and reports whether it was there.
func drop(schema map[string]any, path []string) bool {
	if path[0] == "*" {
		items, _ := schema["items"].(map[string]any)
		return drop(items, path[1:])
	}
	properties, _ := schema["properties"].(map[string]any)
	if len(path) > 1 {
		next, _ := properties[path[0]].(map[string]any)
		return drop(next, path[1:])
	}
	_, there := properties[path[0]]
	delete(properties, path[0])
	rules, _ := schema["x-kubernetes-validations"].([]any)
	var left []any
	for _, r := range rules {
		if !strings.Contains(fmt.Sprint(r), "self."+path[0]) {
			left = append(left, r)
		}
	}
	if len(left) < len(rules) {
		schema["x-kubernetes-validations"] = left
	}
	return there
}

// statusWrites counts the writes of Host statuses in an audit log.
func (f *fleet) statusWrites(audit string) int {
	f.t.Helper()
	data, err := os.ReadFile(audit)
	f.check(err)
	n := 0
	for line := range strings.Lines(string(data)) {
		event := struct {
			ObjectRef struct{ Resource, Subresource string }
		}{}
		f.check(json.Unmarshal([]byte(line), &event))
		if event.ObjectRef.Resource == "hosts" && event.ObjectRef.Subresource == "status" {
			n++
		}
	}
	return n
}

// TestOlderServer: agents follow a server that is one version older, which does
// not know some of what they say: they join, enforce, confirm, tell the rest, and
// do not say it again and again.
func TestOlderServer(t *testing.T) {
	t.Parallel()
	old := config()
	old.CRDs, old.AuditLog = older(t), filepath.Join(t.TempDir(), "audit.log")
	f := fleetOf(t, testenv.Start(t, old), map[string]string{"node-1": "10.60.0.11", "node-2": "10.60.0.12", "node-3": "10.60.0.13"})
	node1, node2, node3 := f.nodes["node-1"], f.nodes["node-2"], f.nodes["node-3"]
	f.create(groups)
	for _, n := range f.nodes {
		n.comes()
	}
	for _, n := range f.nodes {
		n.says(v1alpha1.ReasonConfirmed)
	}
	node2.reaches(true, node1, 5432)
	node3.reaches(false, node1, 5432)
	was := f.settled(v1alpha1.ReasonStable, "db").Spec.StableRulesetName
	change(f, "db", &v1alpha1.SecurityGroup{}, func(g *v1alpha1.SecurityGroup) { g.Spec.Ingress[0].Ports = "80/80" })
	node2.reaches(true, node1, 80)
	node2.reaches(false, node1, 5432)
	testenv.Eventually(t, func(ctx context.Context) string {
		if r := f.rollout(ctx, "db"); r.Spec.StableRulesetName == was || r.Spec.CandidateRulesetName != "" {
			return fmt.Sprintf("it is not stable: %+v", r.Spec)
		}
		return ""
	})
	h := node1.says(v1alpha1.ReasonConfirmed)
	if len(h.Status.Addresses) != 1 || len(h.Status.Probes) > 0 || h.Status.RulesetSince != nil {
		t.Errorf("the host says: %+v; want what the server knows, and no more", h.Status)
	}
	testenv.Eventually(t, func(ctx context.Context) string {
		r := &v1alpha1.FlowReport{}
		if err := f.api.Get(ctx, client.ObjectKey{Namespace: f.namespace, Name: "node-1"}, r); err != nil {
			return err.Error()
		}
		return ""
	})
	told := f.statusWrites(old.AuditLog)
	for i := range 10 { // what happens to a Host is no reason to say it again
		change(f, "node-1", &v1alpha1.Host{}, func(h *v1alpha1.Host) {
			h.Annotations = map[string]string{"touched": fmt.Sprint(i)}
		})
	}
	change(f, "node-1", &v1alpha1.Host{}, func(h *v1alpha1.Host) { h.Spec.SecurityGroupNames = []string{"other"} })
	node2.reaches(false, node1, 80)
	node1.says(v1alpha1.ReasonConfirmed, "groups other")
	more := f.statusWrites(old.AuditLog) - told
	t.Logf("FIGURE %d writes of Host statuses until all was told, %d for one more change", told, more)
	if told == 0 || more > 8 {
		t.Errorf("%d more writes of Host statuses for one change: they are told again and again", more)
	}
}
