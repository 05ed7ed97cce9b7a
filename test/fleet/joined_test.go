package fleet_test

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"syscall"
	"testing"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/identity"
)

// authority names the control plane's certificate authority.
func (f *fleet) authority() string {
	f.t.Helper()
	block, _ := pem.Decode(f.env.Admin.CAData)
	cert, err := x509.ParseCertificate(block.Bytes)
	f.check(err)
	return identity.PublicKeyHash(cert)
}

const groups = `
apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec: {cidrBlock: 10.60.0.0/16, subnets: [{name: nodes, cidrBlock: 10.60.0.0/19}]}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: db}
spec:
  vpcName: prod
  type: Basic
  innerAccess: Drop
  ingress:
  - {policy: Accept, priority: 1, protocol: TCP, ports: 5432/5432, peer: {groupName: app}}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: app}
spec: {vpcName: prod, type: Basic, innerAccess: Drop}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: other}
spec: {vpcName: prod, type: Basic, innerAccess: Drop}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-1}
spec: {addresses: [10.60.0.11], securityGroupNames: [db]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-2}
spec: {addresses: [10.60.0.12], securityGroupNames: [app]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-3}
spec: {addresses: [10.60.0.13], securityGroupNames: [other]}
`

// TestFollow: hosts join, enforce their groups, follow rules and members, say
// so, and go on enforcing without a control plane.
func TestFollow(t *testing.T) {
	f := newFleet(t, map[string]string{"node-1": "10.60.0.11", "node-2": "10.60.0.12", "node-3": "10.60.0.13"})
	node1, node2, node3 := f.nodes["node-1"], f.nodes["node-2"], f.nodes["node-3"]
	f.create(groups)
	for _, n := range []*node{node1, node2, node3} {
		n.comes()
	}
	h := node1.says(v1alpha1.ReasonConfirmed, "Ruleset")
	if len(h.Status.Addresses) != 1 || h.Status.Addresses[0] != "10.60.0.11" || h.Status.RulesetName == "" || h.Status.RulesetSince == nil {
		t.Errorf("the host says of itself: %+v", h.Status)
	}
	node2.reaches(true, node1, 5432)
	node2.reaches(false, node1, 80)
	node3.reaches(false, node1, 5432)

	// A rule more, in steps of one host.
	change(f, "db", &v1alpha1.SecurityGroup{}, func(g *v1alpha1.SecurityGroup) {
		more := g.Spec.Ingress[0]
		more.Ports = "80/80"
		g.Spec.Ingress = append(g.Spec.Ingress, more)
	})
	node2.reaches(true, node1, 80)
	node3.reaches(false, node1, 80)

	// A member more, by element.
	change(f, "node-3", &v1alpha1.Host{}, func(h *v1alpha1.Host) { h.Spec.SecurityGroupNames = []string{"app"} })
	node3.reaches(true, node1, 80)

	// Without a control plane, the agent starts again, and keeps what it had.
	f.proxy.close()
	node1.stop(syscall.SIGKILL)
	node1.start()
	node3.reaches(true, node1, 80)
	node3.reaches(false, node1, 81)
	if out, err := node1.run("status", "--state-dir", node1.state); err != nil || !strings.Contains(out, "groups db, Enforce") || !strings.Contains(out, "follows the control plane https://") {
		t.Errorf("status: %v\n%s", err, out)
	}

	// It is back: what changed meanwhile is caught up with.
	change(f, "db", &v1alpha1.SecurityGroup{}, func(g *v1alpha1.SecurityGroup) { g.Spec.Ingress = g.Spec.Ingress[:1] })
	f.proxy = f.open()
	node3.reaches(false, node1, 80)
	node3.reaches(true, node1, 5432)
}
