package controller_test

import (
	"testing"

	"ringfence.dev/ringfence/api/v1alpha1"
)

const network = `apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec:
  cidrBlock: 192.168.0.0/16
  secondaryCIDRBlocks: [10.10.0.0/16]
  subnets:
  - {name: nodes-a, cidrBlock: 192.168.0.0/19}
  - {name: pods-a, cidrBlock: 192.168.32.0/19}`

// terway is a cluster that asks for this in securityGroup.
func terway(name, securityGroup string) string {
	return manifest("Cluster", name, `{vpcName: prod, network: {mode: Terway, nodeSubnets: [nodes-a], podSubnets: [pods-a], serviceCIDRs: [172.21.0.0/20]},
  apiServer: {addresses: [192.168.0.200]}, webhookPorts: [8443], securityGroup: `+securityGroup+`}`)
}

func TestClusterGetsItsGroup(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.apply(all(network, terway("shop", "{}"), manifest("NodePool", "workers", "{clusterName: shop}")))
	r.ready("shop")
	g := r.group("shop")
	t.Logf("%+v", g)
	r.delete(&v1alpha1.NodePool{}, "workers")
	r.delete(&v1alpha1.Cluster{}, "shop")
	r.gone(&v1alpha1.SecurityGroup{}, "shop")
}
