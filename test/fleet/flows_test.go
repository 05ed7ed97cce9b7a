package fleet_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/testenv"
)

// TestFlowReport: what a host that observes would have dropped arrives at the
// control plane, which takes it for valid, with the rule and the Ruleset.
func TestFlowReport(t *testing.T) {
	f := newFleet(t, map[string]string{"node-1": "10.60.0.11", "node-3": "10.60.0.13"})
	node1, node3 := f.nodes["node-1"], f.nodes["node-3"]
	f.create(strings.Replace(groups, "securityGroupNames: [db]", "securityGroupNames: [db], enforcement: Observe", 1))
	node1.comes()
	h := node1.says(v1alpha1.ReasonObserving)
	node3.reaches(true, node1, 5432)
	r := &v1alpha1.FlowReport{}
	testenv.Eventually(t, func(ctx context.Context) string {
		if err := f.api.Get(ctx, client.ObjectKey{Namespace: f.namespace, Name: "node-1"}, r); err != nil {
			return err.Error()
		}
		return ""
	})
	told := false
	for _, d := range r.Denied {
		told = told || d.By == "default" && d.Direction == v1alpha1.DirectionIngress && d.Local == "10.60.0.11" && d.Remote == "10.60.0.13" &&
			d.Protocol == 6 && d.Port == 5432 && d.Packets > 0 && d.Observed && !d.LastTime.Before(&r.From) && !r.To.Before(&d.LastTime)
	}
	if !told || r.RulesetName != h.Status.RulesetName || len(r.Hits) == 0 {
		t.Errorf("the report does not tell of node-3 at port 5432: %+v", r)
	}
	if out, err := node1.run("flows", "--state-dir", node1.state); err != nil || !strings.Contains(out, fmt.Sprint(5432)) || !strings.Contains(out, "would drop") {
		t.Errorf("flows: %v\n%s", err, out)
	}
}
