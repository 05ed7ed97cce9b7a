package fleet_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
)

var members = flag.Int("fleet.members", 640, "how many addresses the group has that TestMembers enforces")

// addressesEach is how many addresses one Host may have.
const addressesEach = 64

// TestMembers lets a host enforce a group with many members, and prints how much
// memory its agent takes.
func TestMembers(t *testing.T) {
	f := newFleet(t, map[string]string{"node-1": "10.60.255.1"})
	f.create(`
apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec: {cidrBlock: 10.0.0.0/8}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: crowd}
spec: {vpcName: prod, type: Basic, innerAccess: Drop}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: db}
spec:
  vpcName: prod
  type: Basic
  innerAccess: Drop
  ingress:
  - {policy: Accept, priority: 1, protocol: TCP, ports: 5432/5432, peer: {groupName: crowd}}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-1}
spec: {addresses: [10.60.255.1], securityGroupNames: [db]}
`)
	next := netip.MustParseAddr("10.100.0.0")
	for made := 0; made < *members; {
		h := &v1alpha1.Host{
			ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: fmt.Sprintf("crowd-%d", made)},
			Spec:       v1alpha1.HostSpec{SecurityGroupNames: []v1alpha1.Name{"crowd"}},
		}
		for ; made < *members && len(h.Spec.Addresses) < addressesEach; made++ {
			h.Spec.Addresses = append(h.Spec.Addresses, next.String())
			next = next.Next()
		}
		f.check(f.api.Create(t.Context(), h))
	}
	node1 := f.nodes["node-1"]
	node1.comes()
	f.slowly(func(context.Context) string {
		out, err := node1.run("status", "-o", "json", "--state-dir", node1.state)
		if err != nil {
			return out
		}
		var s struct{ Members int }
		f.check(json.Unmarshal([]byte(out), &s))
		if s.Members != *members {
			return fmt.Sprintf("%d members, want %d", s.Members, *members)
		}
		return ""
	})
	node1.says(v1alpha1.ReasonConfirmed)
	figure := func(what string) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", node1.proc.PID()))
		f.check(err)
		t.Logf("FIGURE %d members, joined, %s: %s", *members, what, regexp.MustCompile(`Vm(HWM|RSS):\s+\d+ kB`).FindAllString(string(text), -1))
	}
	figure("just enforced")
	// One more: what a change costs, when all is there.
	f.check(f.api.Create(t.Context(), &v1alpha1.Host{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "one-more"},
		Spec:       v1alpha1.HostSpec{SecurityGroupNames: []v1alpha1.Name{"crowd"}, Addresses: []v1alpha1.Address{"10.60.0.77"}},
	}))
	more := f.lab.Machine("one-more")
	more.Plug(f.lan, "eth0", netip.MustParsePrefix("10.60.0.77/8"))
	f.check(f.lab.Ready())
	(&node{Machine: more, fleet: f}).reaches(true, &node{Machine: node1.Machine, fleet: f, addr: node1.addr}, 5432)
	figure(fmt.Sprintf("after one more, %s later", short.Round(time.Millisecond)))
}
