package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
)

const guarded = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: guard}
webhooks:
- name: a.guard.example
  clientConfig: {service: {namespace: guard, name: guard}}
---
apiVersion: v1
kind: Service
metadata: {name: guard, namespace: guard}
spec: {selector: {app: guard}, ports: [{port: 443, targetPort: web}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: guard, namespace: guard}
spec:
  template:
    metadata: {labels: {app: guard}}
    spec: {containers: [{image: guard, ports: [{name: web, containerPort: 8443}]}]}
`

func TestNeedsTable(t *testing.T) {
	r := run(t, guarded, "needs", "-f", "-")
	if r.code != 0 || r.err != "" {
		t.Fatalf("exit code %d, %s", r.code, r.err)
	}
	for _, want := range []string{
		"API server  pods of Service guard/guard  tcp/8443  essential  unknown  Deployment guard/guard, Service guard/guard, ValidatingWebhookConfiguration guard",
		"unknown: the nodes",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in:\n%s", want, r.out)
		}
	}
}

func TestNeedsJSON(t *testing.T) {
	r := run(t, guarded, "needs", "-f", "-", "-o", "json")
	var got struct {
		Needs []struct {
			From, To, Protocol, Ports, Class, Wire, Why string
			Because                                     []struct{ Object, Field, Place string }
		}
		Unknown           []struct{ About, Why, Tell string }
		Findings, Parties []any
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 0 {
		t.Fatalf("exit code %d, %v: %s", r.code, err, r.out)
	}
	if len(got.Needs) != 1 || got.Findings == nil || got.Parties == nil || len(got.Unknown) == 0 {
		t.Fatalf("want one need, something unknown and lists that are not null: %s", r.out)
	}
	n := got.Needs[0]
	if n.Ports != "8443/8443" || n.Protocol != "TCP" || n.Class != "essential" || n.Wire != "unknown" || n.Why != "webhook a.guard.example fails" {
		t.Errorf("need %+v", n)
	}
	if e := n.Because[0]; e.Object != "Deployment guard/guard" || e.Field != "/spec/template/spec/containers/0/ports/0/containerPort" || e.Place != "standard input:13" {
		t.Errorf("evidence %+v", e)
	}
}

func TestNeedsCSV(t *testing.T) {
	r := run(t, guarded, "needs", "-f", "-", "-o", "csv")
	want := "from,to,protocol,ports,class,wire,in,why,because\nAPI server,pods of Service guard/guard,TCP,8443/8443,essential,unknown,,webhook a.guard.example fails,"
	if r.code != 0 || !strings.HasPrefix(r.out, want) {
		t.Errorf("exit code %d: want %q at the start of %q", r.code, want, r.out)
	}
}

func TestNeedsInput(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"no YAML", "a: [", "standard input"},
		{"no object", "a: b\n", "standard input:1: no object of Kubernetes: want apiVersion and kind"},
		{"a list in a list", `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"List","items":[]}]}`, "standard input: /items/0/kind: a list within a list"},
		{"nothing", "", "standard input: the file is empty"},
	} {
		if r := run(t, c.in, "needs", "-f", "-"); r.code != 2 || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: exit code %d, %q: want 2 and %q", c.name, r.code, r.err, c.want)
		}
	}
	r := run(t, "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: -1}]}\n", "needs", "-f", "-")
	if r.code != 0 || !strings.Contains(r.out, "port -1: want 1 to 65535") {
		t.Errorf("a finding: exit code %d: want 0 and the finding: %s", r.code, r.out)
	}
}
