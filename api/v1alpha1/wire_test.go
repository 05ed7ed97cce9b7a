package v1alpha1_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// TestWire checks that the names of the fields are those of the contract: each
// object is read without an unknown field and written again as it was.
func TestWire(t *testing.T) {
	const head = `{"kind":"K","apiVersion":"ringfence.dev/v1alpha1","metadata":{"name":"x"},`
	for name, tc := range map[string]struct {
		reason string
		into   any
		text   string
	}{
		"VPC": {
			"a network with its subnets", new(v1alpha1.VPC),
			`"spec":{"cidrBlock":"192.168.0.0/16","ipv6CIDRBlock":"2001:db8::/48","secondaryCIDRBlocks":["10.10.0.0/16"],` +
				`"subnets":[{"name":"nodes-a","cidrBlock":"192.168.0.0/19","zone":"a"}]}}`,
		},
		"PrefixList": {
			"a list of CIDRs", new(v1alpha1.PrefixList),
			`"spec":{"addressFamily":"IPv4","maxEntries":5,"entries":[{"cidr":"10.0.0.0/8","description":"office"}]}}`,
		},
		"SecurityGroup": {
			"the user's rules and the system's, an unprotected group that says so", new(v1alpha1.SecurityGroup),
			`"spec":{"vpcName":"prod","type":"Basic","innerAccess":"Accept",` +
				`"ingress":[{"policy":"Accept","priority":1,"protocol":"TCP","ports":"443/443","peer":{"cidr":"0.0.0.0/0"},"description":"shop front"}],` +
				`"egress":[{"policy":"Drop","priority":100,"protocol":4,"peer":{"prefixListName":"offices"},"memberCIDR":"10.0.0.1","sourcePorts":"1/2"}],` +
				`"management":"Managed","provider":{"type":"AlibabaCloud","regionID":"cn-hangzhou","id":"sg-1"}},` +
				`"status":{"systemIngress":[{"protocol":"ALL","peer":{"groupName":"db"},"row":"AI-L3"}],"members":3,"ruleCount":4,` +
				`"clusters":[{"name":"shop","nodePools":["workers"]}],"protected":false}}`,
		},
		"Cluster": {
			"every fact", new(v1alpha1.Cluster),
			`"spec":{"vpcName":"prod","network":{"mode":"Terway","encapsulation":"None","encapsulationPort":1,"bgp":true,"nodeSubnets":["a"],` +
				`"podSubnets":["b"],"podCIDRs":["172.20.0.0/16"],"serviceCIDRs":["172.21.0.0/20"],"podSecurityGroupNames":["pods"]},` +
				`"apiServer":{"addresses":["192.168.0.200"],"port":6443},"webhookPorts":[8443],` +
				`"exposures":[{"direction":"Egress","protocol":"TCP","ports":"443/443","cidrs":["0.0.0.0/0"],"groupNames":["g"],"prefixListNames":["l"]}],` +
				`"securityGroup":{"type":"Advanced","profile":"LeastPrivilege"},"etcd":true,"nodePorts":{"ports":"30000/32767","cidrs":["0.0.0.0/0"]},` +
				`"healthChecks":{"ports":"1/2","cidrs":["100.64.0.0/10"]},"adminCIDRs":["10.0.0.0/8"],"ntpServers":["10.0.0.1"],` +
				`"metadataAddresses":["169.254.169.254"],"dhcp":true,"poseidon":true},"status":{"securityGroupName":"shop-nodes"}}`,
		},
		"NodePool": {
			"groups of its own", new(v1alpha1.NodePool),
			`"spec":{"clusterName":"shop","subnets":["a"],"securityGroup":{"names":["web"]},"enforcement":"Observe"}}`,
		},
		"Host": {
			"what the agent reports", new(v1alpha1.Host),
			`"spec":{"addresses":["192.168.0.11"],"clusterName":"shop","nodePoolName":"workers","securityGroupNames":["web"],"roles":["Worker"]},` +
				`"status":{"addresses":["192.168.0.11"],"observedRoles":["Etcd"],"rulesetName":"r","probes":[{"name":"APIServer","passed":true}]}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dec := json.NewDecoder(bytes.NewReader([]byte(head + tc.text)))
			dec.DisallowUnknownFields()
			if err := dec.Decode(tc.into); err != nil {
				t.Fatalf("%s\nDecode(...): %v", tc.reason, err)
			}
			got, err := json.Marshal(tc.into)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != head+tc.text {
				t.Errorf("%s\nMarshal(...):\n%s\nwant\n%s", tc.reason, got, head+tc.text)
			}
		})
	}
}
