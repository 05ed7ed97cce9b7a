package cluster

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/gather"
	"ringfence.dev/ringfence/profiles"
)

// BenchmarkDecide decides about a cluster of 10,000 hosts in 200 node pools,
// each with a group of its own beside the cluster's.
func BenchmarkDecide(b *testing.B) {
	tables, err := profiles.Load()
	if err != nil {
		b.Fatal(err)
	}
	u := unit(func(u *gather.Unit) {
		u.Objects.NodePools, u.Objects.Hosts = nil, nil
		for i := range 200 {
			p := &v1alpha1.NodePool{Spec: v1alpha1.NodePoolSpec{ClusterName: "shop", SecurityGroup: v1alpha1.NodePoolSecurityGroup{Names: []string{fmt.Sprintf("g%d", i)}}}}
			p.Name = fmt.Sprintf("pool-%d", i)
			u.Objects.NodePools = append(u.Objects.NodePools, p)
			addGroup(u, fmt.Sprintf("g%d", i), v1alpha1.GroupTypeBasic, "")
		}
		for i := range 10000 {
			h := &v1alpha1.Host{Spec: v1alpha1.HostSpec{NodePoolName: fmt.Sprintf("pool-%d", i%200), Addresses: []string{fmt.Sprintf("10.1.%d.%d", i/256, i%256)}}}
			h.Name = fmt.Sprintf("host-%d", i)
			u.Objects.Hosts = append(u.Objects.Hosts, h)
			u.Own[h.Name] = h
		}
	})
	e := engine{tables: tables}
	now := metav1.Unix(1, 0)
	for b.Loop() {
		if d := e.decide(prepare(u), nil, now); d.cluster.Conditions[0].Status != metav1.ConditionTrue {
			b.Fatalf("%+v", d.cluster.Conditions)
		}
	}
}
