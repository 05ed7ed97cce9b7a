package fleet_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/testenv"
)

const workers = `
apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec: {cidrBlock: 10.60.0.0/16, subnets: [{name: nodes, cidrBlock: 10.60.0.0/19}]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Cluster
metadata: {name: shop}
spec:
  vpcName: prod
  network: {mode: Flannel, encapsulation: VXLAN, nodeSubnets: [nodes], podCIDRs: [172.20.0.0/16], serviceCIDRs: [172.21.0.0/20]}
  apiServer: {addresses: [10.60.0.2], port: 6443}
  securityGroup: {type: Advanced, profile: LeastPrivilege}
---
apiVersion: ringfence.dev/v1alpha1
kind: NodePool
metadata: {name: workers}
spec: {clusterName: shop, subnets: [nodes], securityGroup: {}}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-1}
spec: {addresses: [10.60.0.11], nodePoolName: workers}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-2}
spec: {addresses: [10.60.0.12], nodePoolName: workers}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-3}
spec: {addresses: [10.60.0.13], nodePoolName: workers}
`

// listens accepts TCP connections on a port, and keeps them until the other end
// closes, as long as the test runs.
func (n *node) listens(port uint16) {
	n.fleet.t.Helper()
	var l net.Listener
	n.fleet.check(n.Do(func() error {
		var err error
		l, err = (&net.ListenConfig{}).Listen(n.fleet.t.Context(), "tcp", netip.AddrPortFrom(n.addr, port).String())
		return err
	}))
	n.fleet.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = c.Read(make([]byte, 1))
				_ = c.Close()
			}()
		}
	}()
}

// bars makes a group drop a TCP port from a block before all else.
func (f *fleet) bars(group, ports, cidr string) {
	f.t.Helper()
	change(f, group, &v1alpha1.SecurityGroup{}, func(g *v1alpha1.SecurityGroup) {
		g.Spec.Ingress = append(g.Spec.Ingress, v1alpha1.Rule{
			Policy: v1alpha1.PolicyDrop, Priority: new(int32(1)), Protocol: intstr.FromString("TCP"), Ports: ports, Peer: v1alpha1.Peer{CIDR: cidr},
		})
	})
}

// TestDialled: rules by which other nodes do not reach the kubelet are withdrawn,
// although nothing that the host can try by itself is lost: a host that has
// confirmed them dials the next one. What closes another port is confirmed.
func TestDialled(t *testing.T) {
	t.Parallel()
	f := newFleet(t, map[string]string{"node-1": "10.60.0.11", "node-2": "10.60.0.12", "node-3": "10.60.0.13"})
	f.create(workers)
	for _, n := range f.nodes {
		n.listens(10250)
		n.comes()
	}
	for _, n := range f.nodes {
		n.says(v1alpha1.ReasonConfirmed)
	}
	set := f.groupsOf("node-1")
	stable := f.settled(v1alpha1.ReasonStable, set...).Spec.StableRulesetName

	f.bars(set[0], "10250/10250", "10.60.0.8/29")
	r := f.settled(v1alpha1.ReasonAborted, set...)
	if r.Status.Failure == nil || r.Spec.StableRulesetName != stable {
		t.Fatalf("the Rollout: %+v %+v", r.Spec, r.Status)
	}
	why := r.Status.Failure.Message
	if !strings.Contains(why, "port 10250 of this host, dialled by host") || strings.Contains(why, "dialled by host "+r.Status.Failure.HostName) {
		t.Errorf("why: %s", why)
	}
	f.told(r)
	h := f.nodes[r.Status.Failure.HostName].says(v1alpha1.ReasonConfirmed)
	if !strings.Contains(h.Status.RollbackReason, r.Status.Failure.RulesetName) {
		t.Errorf("the host says: %s", h.Status.RollbackReason)
	}
	for _, n := range f.nodes {
		n.says(v1alpha1.ReasonConfirmed)
		for _, to := range f.nodes {
			if n != to && !n.dials(t.Context(), to, 10250, time.Second) {
				t.Errorf("%s does not reach the kubelet of %s", n.Name, to.Name)
			}
		}
	}

	// Something else is closed instead, and stays so.
	change(f, set[0], &v1alpha1.SecurityGroup{}, func(g *v1alpha1.SecurityGroup) { g.Spec.Ingress[len(g.Spec.Ingress)-1].Ports = "10255/10255" })
	testenv.Eventually(t, func(ctx context.Context) string {
		if r := f.rollout(ctx, set...); r.Spec.StableRulesetName == stable || r.Spec.CandidateRulesetName != "" || len(r.Spec.Dialers) > 0 {
			return fmt.Sprintf("it is not confirmed by all: %+v %+v", r.Spec, r.Status)
		}
		return ""
	})
	dialled := 0
	for _, n := range f.nodes {
		for _, p := range n.says(v1alpha1.ReasonConfirmed).Status.Probes {
			if strings.HasPrefix(p.Name, "port 10250 of this host, dialled by host") && p.Passed {
				dialled++
			}
		}
	}
	if dialled != 2 {
		t.Errorf("%d hosts were dialled; want the two that came after the first", dialled)
	}
}
