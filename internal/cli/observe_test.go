package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// seenFlows is what node-1 has seen: the kubelet asked by a pod elsewhere,
// which nothing lets in; SSH, which nothing needs; and what passes by now.
const seenFlows = `{
  "apiVersion": "ringfence.dev/v1alpha1", "kind": "FlowReport", "metadata": {"name": "node-1"},
  "from": "2026-11-24T12:00:00Z", "to": "2026-11-24T12:10:00Z", "omitted": 3,
  "denied": [
    {"by": "default", "direction": "Ingress", "local": "10.0.0.11", "remote": "172.20.5.6", "protocol": 6, "port": 10250, "packets": 7, "lastTime": "2026-11-24T12:09:00Z", "observed": true},
    {"by": "web/ingress/9", "direction": "Ingress", "local": "10.0.0.11", "remote": "198.51.100.7", "protocol": 6, "port": 22, "packets": 2, "lastTime": "2026-11-24T12:08:00Z", "observed": true},
    {"by": "default", "direction": "Ingress", "local": "10.0.0.11", "remote": "198.51.100.7", "protocol": 6, "port": 443, "packets": 1, "lastTime": "2026-11-24T12:01:00Z", "observed": true}
  ]
}`

// observing has node-1 only observe.
var observing = strings.Replace(manifests, "nodePoolName: workers, roles: [Worker]}", "nodePoolName: workers, roles: [Worker], enforcement: Observe}", 1)

type observed struct {
	Observe bool
	Needs   int
	Groups  []string
	Cut     []struct {
		ID, Protocol, Ports, Peer, Direction, Component string
		Seen                                            []struct {
			Remote, By string
			Port       int
			Packets    int
			Observed   bool
		}
	}
	NotNeeded, NowPassing []struct{ Port int }
	Report                *struct{ Omitted int }
}

func wantObserved(t *testing.T, r result) {
	t.Helper()
	var got observed
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 1 {
		t.Fatalf("exit %d, %v: %s%s", r.code, err, r.out, r.err)
	}
	asked, unseen := 0, 0
	for _, c := range got.Cut {
		if len(c.Seen) == 0 {
			unseen++
			continue
		}
		asked++
		if s := c.Seen[0]; c.Ports != "10250/10250" || c.Protocol != "TCP" || c.Direction != "ingress" || len(c.Seen) != 1 ||
			s.Remote != "172.20.5.6" || s.Port != 10250 || s.Packets != 7 || s.By != "default" || !s.Observed {
			t.Errorf("%+v: want the pod's flow to the kubelet", c)
		}
	}
	if asked == 0 || unseen == 0 || !got.Observe || got.Needs < asked+unseen || strings.Join(got.Groups, ",") != "web" {
		t.Errorf("%d needs with a flow that was seen, %d without: %+v", asked, unseen, got)
	}
	if len(got.NotNeeded) != 1 || got.NotNeeded[0].Port != 22 || len(got.NowPassing) != 1 || got.NowPassing[0].Port != 443 || got.Report.Omitted != 3 {
		t.Errorf("not needed %v, passing %v, report %+v", got.NotNeeded, got.NowPassing, got.Report)
	}
}

func TestObserve(t *testing.T) {
	dir := t.TempDir()
	file, report := write(t, dir, "all.yaml", observing), write(t, dir, "flows.json", seenFlows)
	wantObserved(t, run(t, "", "observe", "node-1", "-f", file, "--report", report, "-o", "json"))
	r := run(t, "", "observe", "node-1", "-f", file, "--report", report)
	for _, want := range []string{
		"host node-1 (groups web) would drop, if it enforced, flows of", "7 packets, last 2026-11-24T12:09:00Z", "not yet",
		"172.20.5.6 to 10.0.0.11, tcp port 10250, 7 packets, by default, last 2026-11-24T12:09:00Z",
		"1 more flow was seen that nothing needs", "ringfence check tells why", "1 more flow was seen that the groups let through by now", "there was no room for 3 rows",
	} {
		if r.code != 1 || !strings.Contains(strings.Join(strings.Fields(r.out), " "), want) {
			t.Errorf("exit %d, want %q:\n%s%s", r.code, want, r.out, r.err)
		}
	}
	if r := run(t, "", "observe", "node-2", "-f", file); r.code != 1 || !strings.Contains(r.out, "host node-2 (groups web) drops flows of") || !strings.Contains(r.out, "there is no FlowReport") {
		t.Errorf("without a report: exit %d:\n%s%s", r.code, r.out, r.err)
	}
	good := write(t, t.TempDir(), "all.yaml", strings.Replace(observing, "securityGroup: {name: web}", "securityGroup: {type: Advanced, profile: LeastPrivilege}", 1))
	if r := run(t, "", "observe", "node-1", "-f", good, "--report", report); r.code != 0 || !strings.Contains(r.out, "no needed flow") || !strings.Contains(r.out, "2 more flows were seen that nothing needs") {
		t.Errorf("nothing is cut: exit %d:\n%s%s", r.code, r.out, r.err)
	}
	other := write(t, t.TempDir(), "flows.json", strings.Replace(seenFlows, `"node-1"`, `"node-2"`, 1))
	odd := write(t, t.TempDir(), "flows.json", strings.Replace(seenFlows, `"172.20.5.6"`, `"fd00::1"`, 1))
	for want, args := range map[string][]string{
		"there is no Host node-9":          {"node-9", "-f", file},
		"host db-1 is of no cluster":       {"db-1", "-f", file},
		"want the FlowReport of host":      {"node-1", "-f", file, "--report", other},
		"want a FlowReport":                {"node-1", "-f", file, "--report", file},
		"local 10.0.0.11 is of the other":  {"node-1", "-f", file, "--report", odd},
		"cannot read the report":           {"node-1", "-f", file, "--report", dir + "/none"},
		"nothing to read":                  {"node-1"},
		"accepts 1 arg(s)":                 {"-f", file},
		"-o sarif: want table, json, yaml": {"node-1", "-f", file, "-o", "sarif"},
	} {
		if r := run(t, "", append([]string{"observe"}, args...)...); r.code != 2 || !strings.Contains(r.err, want) {
			t.Errorf("%v: exit %d, want 2 and %q: %s%s", args, r.code, want, r.out, r.err)
		}
	}
}

// TestObserveLive asks the API server for the same, whose rules for FlowReports
// this one has to obey.
func TestObserveLive(t *testing.T) {
	ns := namespace(t, decodeAll(t, observing)...)
	live := []string{"observe", "node-1", "--kubeconfig", adminFile(), "-n", ns}
	if r := run(t, "", live...); r.code != 1 || !strings.Contains(r.out, "there is no FlowReport") {
		t.Errorf("without a report: exit %d:\n%s%s", r.code, r.out, r.err)
	}
	o := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(seenFlows), &o.Object); err != nil {
		t.Fatal(err)
	}
	reports := dynamic.NewForConfigOrDie(env.Controllers).Resource(schema.GroupVersionResource{Group: "ringfence.dev", Version: "v1alpha1", Resource: "flowreports"}).Namespace(ns)
	if _, err := reports.Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantObserved(t, run(t, "", append(live, "-o", "json")...))
}
