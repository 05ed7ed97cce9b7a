package v1alpha1_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

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
				`"discovery":{"kubeconfigSecretName":"k","open":"Nothing","closeAfterSeconds":0},` +
				`"securityGroup":{"type":"Advanced","profile":"LeastPrivilege"},"etcd":true,"nodePorts":{"ports":"30000/32767","cidrs":["0.0.0.0/0"]},` +
				`"healthChecks":{"ports":"1/2","cidrs":["100.64.0.0/10"]},"adminCIDRs":["10.0.0.0/8"],"ntpServers":["10.0.0.1"],` +
				`"metadataAddresses":["169.254.169.254"],"dhcp":true,"poseidon":true},"status":{"securityGroupName":"shop-nodes",` +
				`"discovered":{"callers":[{"address":"192.168.0.11","goneSince":"2026-01-01T00:09:00Z"}],"hooks":[{"port":9443,"because":"APIService a /spec/service","goneSince":"2026-01-01T00:09:00Z"}]}}}`,
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
		"Ruleset": {
			"what a host enforces", new(v1alpha1.Ruleset),
			`"spec":{"securityGroupNames":["web"],"type":"Basic","innerAccessGroupNames":["web"],` +
				`"ingress":[{"by":"web/ingress/1","policy":"Accept","priority":1,"protocol":"TCP","ports":"443/443","cidrs":["0.0.0.0/0"]}],` +
				`"egress":[{"by":"web/egress/1","policy":"Drop","priority":100,"protocol":"ALL","cidrs":["10.0.0.0/8"],"prefixListName":"offices"},` +
				`{"by":"web/egress/2","policy":"Drop","priority":100,"protocol":"UDP","ports":"1/2","groupName":"db","memberCIDR":"10.0.0.1","sourcePorts":"3/4"}],` +
				`"keep":[{"row":"AI-L3","clusterName":"shop","roles":["Worker"],"direction":"Egress","protocol":"TCP","ports":"6443/6443","cidrs":["192.168.0.200"]}]}}`,
		},
		"Rollout": {
			"who runs it", new(v1alpha1.Rollout),
			`"spec":{"securityGroupNames":["web"],"nodePools":[{"name":"workers","clusterName":"shop","enforcement":"Observe"}],"stableRulesetName":"a","candidateRulesetName":"b","bound":"0000000000000001","criticalHostNames":["cp-1"]},` +
				`"status":{"step":"One","hosts":3,"chosen":1,"confirmed":1,"previousRulesetName":"z","failure":{"rulesetName":"c","hostName":"node-1","message":"no","time":null}}}`,
		},
		"AddressSlice": {
			"some members of a group", new(v1alpha1.AddressSlice),
			`"spec":{"securityGroupName":"web","members":[{"address":"192.168.0.11","hostName":"node-1"}]}}`,
		},
		"FlowReport": {
			"what a host dropped", new(v1alpha1.FlowReport),
			`"from":"2026-01-01T00:00:00Z","to":"2026-01-01T00:10:00Z","rulesetName":"r",` +
				`"denied":[{"by":"web/ingress/1","direction":"Ingress","local":"10.0.0.1","remote":"10.0.0.2","protocol":6,"port":22,"packets":3,` +
				`"lastTime":"2026-01-01T00:09:00Z","observed":true}],"hits":[{"by":"default","direction":"Egress","packets":3}],"omitted":2}`,
		},
		"ClusterNeeds": {
			"what a running cluster needs", new(v1alpha1.ClusterNeeds),
			`"counts":{"essential":1,"expected":0,"optional":2,"unknown":1},"network":{"mode":"Flannel","encapsulation":"VXLAN","encapsulationPort":8472},` +
				`"needs":[{"from":{"kind":"APIServer"},"to":{"kind":"Hosts","name":"a/b"},"protocol":"TCP","ports":"8443/8443","class":"Essential",` +
				`"wire":"Overlay","in":"VXLAN udp/8472","why":"w","logs":"l","because":["Service a/b /spec/ports/0"]}],` +
				`"unknown":[{"about":"a","why":"w","tell":"t"}],"parties":[{"kind":"Hosts","name":"a/b","cidrs":["10.0.0.1/32"],"omitted":3}]}`,
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

// TestScheme checks that every kind is registered with its list, and that a
// copy of one shares nothing with it.
func TestScheme(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{
		v1alpha1.KindVPC, v1alpha1.KindPrefixList, v1alpha1.KindSecurityGroup, v1alpha1.KindCluster, v1alpha1.KindNodePool,
		v1alpha1.KindHost, v1alpha1.KindRuleset, v1alpha1.KindRollout, v1alpha1.KindAddressSlice, v1alpha1.KindFlowReport,
		v1alpha1.KindClusterNeeds,
	} {
		for _, name := range []string{kind, kind + "List"} {
			if !scheme.Recognizes(v1alpha1.GroupVersion.WithKind(name)) {
				t.Errorf("the scheme does not know %s", name)
			}
		}
	}
	g := &v1alpha1.SecurityGroup{Spec: v1alpha1.SecurityGroupSpec{Ingress: []v1alpha1.Rule{{Ports: "1/2"}}}}
	g.DeepCopy().Spec.Ingress[0].Ports = "3/4"
	if g.Spec.Ingress[0].Ports != "1/2" {
		t.Error("a deep copy shares its rules with the original")
	}
}
