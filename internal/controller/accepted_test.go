package controller_test

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// TestAccepted writes what only several objects together show to be wrong. Each
// case has a namespace with a sound cluster, which stays ready unless the case is
// about it. Who came first is in the right; of what was made in one second, who
// comes first in the alphabet.
func TestAccepted(t *testing.T) {
	t.Parallel()
	const advanced = "{vpcName: prod, type: Advanced}"
	for name, tc := range map[string]struct {
		manifests string
		object    client.Object
		name      string
		want      string // REASON: a part of the message
		whole     bool   // the cluster shop stands still
	}{
		"MixedTypesThroughPoolAndHost": {
			all(manifest("SecurityGroup", "adv", advanced), manifest("NodePool", "workers", "{clusterName: shop}"), manifest("Host", "h", "{nodePoolName: workers, securityGroupNames: [adv]}")),
			&v1alpha1.Host{}, "h", "MixedTypes: adv is advanced, shop is basic; want one type", false,
		},
		"MixedTypesInPool": {
			all(manifest("SecurityGroup", "adv", advanced), manifest("SecurityGroup", "basic", "{vpcName: prod}"), manifest("NodePool", "workers", "{clusterName: shop, securityGroup: {names: [adv, basic]}}")),
			&v1alpha1.NodePool{}, "workers", "MixedTypes: node pool workers wears groups of two types", false,
		},
		"GroupOfAnotherVPC": {
			all(manifest("VPC", "lab", "{cidrBlock: 10.99.0.0/16}"), manifest("SecurityGroup", "far", "{vpcName: lab}"), manifest("NodePool", "workers", "{clusterName: shop, securityGroup: {names: [far]}}")),
			&v1alpha1.NodePool{}, "workers", "OtherVPC: is of VPC prod, its group far of VPC lab", false,
		},
		"GroupNotFound": {
			terway("other", "{name: gone}"),
			&v1alpha1.Cluster{}, "other", "NotFound: /spec/securityGroup/name: there is no SecurityGroup gone", false,
		},
		"PrefixListNotFound": {
			manifest("SecurityGroup", "web", "{vpcName: prod, ingress: [{protocol: ALL, peer: {prefixListName: gone}}]}"),
			&v1alpha1.SecurityGroup{}, "web", "NotFound: /spec/ingress/0: there is no PrefixList gone", false,
		},
		"AdvancedPeer": {
			all(manifest("SecurityGroup", "adv", advanced), manifest("SecurityGroup", "web", "{vpcName: prod, egress: [{protocol: ALL, peer: {groupName: adv}}]}")),
			&v1alpha1.SecurityGroup{}, "web", "AdvancedPeer: /spec/egress/0: group adv is advanced", false,
		},
		"FamilyMismatch": {
			all(manifest("PrefixList", "six", `{entries: [{cidr: "2001:db8::/32"}]}`), manifest("SecurityGroup", "web", "{vpcName: prod, egress: [{protocol: ICMP, peer: {prefixListName: six}}]}")),
			&v1alpha1.SecurityGroup{}, "web", "FamilyMismatch: entries of prefix list six are IPv6", false,
		},
		"PodCIDRInVPC": {
			manifest("Cluster", "other", "{vpcName: prod, network: {mode: Flannel, nodeSubnets: [nodes-a], podCIDRs: [10.10.4.0/24]}}"),
			&v1alpha1.Cluster{}, "other", "CIDROverlap: pod CIDR 10.10.4.0/24 overlaps 10.10.0.0/16 of VPC prod", false,
		},
		"PodCIDRTwice": {
			all(flannel("older", 50, "{}"), flannel("younger", 50, "{}")),
			&v1alpha1.Cluster{}, "younger", "CIDROverlap: overlaps 172.50.0.0/16 of cluster older in the same VPC", false,
		},
		"AddressTwice": {
			all(manifest("Host", "first", "{clusterName: shop, addresses: [192.168.0.9]}"), manifest("Host", "second", "{clusterName: shop, addresses: [192.168.0.9]}")),
			&v1alpha1.Host{}, "second", "AddressConflict: address 192.168.0.9 is also that of host first", false,
		},
		"AddressTwiceInTwoClusters": {
			all(flannel("aside", 51, "{}"), manifest("Host", "first", "{clusterName: aside, addresses: [192.168.0.9]}"), manifest("Host", "second", "{clusterName: shop, addresses: [192.168.0.9]}")),
			&v1alpha1.Host{}, "second", "AddressConflict: address 192.168.0.9 is also that of host first", false,
		},
		"PoolOfAnotherCluster": {
			all(flannel("aside", 52, "{}"), manifest("NodePool", "workers", "{clusterName: aside}"), manifest("Host", "h", "{clusterName: shop, nodePoolName: workers}")),
			&v1alpha1.Host{}, "h", "OtherCluster: node pool workers belongs to cluster aside", false,
		},
		"TooManyGroups": {
			all(elevenGroups(), manifest("NodePool", "workers", "{clusterName: shop}"), manifest("Host", "h", "{nodePoolName: workers, securityGroupNames: [g0, g1, g2, g3, g4, g5, g6, g7, g8, g9]}")),
			&v1alpha1.Host{}, "h", "TooManyGroups: h wears 11 groups, at most 10 may", false,
		},
		"TooManyRules": {
			all(bigGroup("big", 600), bigGroup("bigger", 500), manifest("NodePool", "workers", "{clusterName: shop, securityGroup: {names: [big, bigger]}}")),
			&v1alpha1.NodePool{}, "workers", "TooManyRules: 1100 rules on one host", false,
		},
		"PodGroups": {
			all(
				manifest("SecurityGroup", "pods", "{vpcName: prod}"),
				manifest("Cluster", "other", "{vpcName: prod, network: {mode: Terway, nodeSubnets: [nodes-a], podSubnets: [pods-a], podSecurityGroupNames: [pods]}}"),
				manifest("Host", "h", "{clusterName: other}"),
			),
			&v1alpha1.Host{}, "h", "PodGroups: pods have groups pods, which a host of your own cannot enforce", false,
		},
		"LoneHostMixedTypes": {
			all(manifest("SecurityGroup", "adv", advanced), manifest("SecurityGroup", "basic", "{vpcName: prod}"), manifest("Host", "h", "{securityGroupNames: [adv, basic]}")),
			&v1alpha1.Host{}, "h", "MixedTypes: h wears groups of two types", false,
		},
		"LoneHostOfNoCluster": {
			manifest("Host", "h", "{clusterName: gone}"),
			&v1alpha1.Host{}, "h", "NotFound: /spec/clusterName: there is no Cluster gone", false,
		},
		"LoneHostOfLonePool": {
			all(manifest("NodePool", "workers", "{clusterName: gone}"), manifest("Host", "h", "{nodePoolName: workers}")),
			&v1alpha1.Host{}, "h", "NotFound: node pool workers is of cluster gone, which is not there", false,
		},
		"LonePool": {
			manifest("NodePool", "workers", "{clusterName: gone}"),
			&v1alpha1.NodePool{}, "workers", "NotFound: /spec/clusterName: there is no Cluster gone", false,
		},
		"BrokenGroupSpoilsItsCluster": {
			all(manifest("SecurityGroup", "web", "{vpcName: prod, ingress: [{protocol: ALL, peer: {prefixListName: gone}}]}"), manifest("NodePool", "workers", "{clusterName: shop, securityGroup: {names: [web]}}")),
			&v1alpha1.Cluster{}, "shop", "NotFound: SecurityGroup web: /spec/ingress/0: there is no PrefixList gone", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t)
			r.apply(all(network, terway("shop", "{}")))
			r.ready("shop")
			r.apply(tc.manifests)
			reason, part, _ := strings.Cut(tc.want, ": ")
			if message := r.says(tc.object, tc.name, "Accepted=False/"+reason); !strings.Contains(message, part) {
				t.Errorf("message %q, want %q in it", message, part)
			}
			want := "Accepted=True/Accepted"
			if tc.whole {
				want = "Accepted=False/" + reason
			}
			r.says(&v1alpha1.Cluster{}, "shop", want)
		})
	}
}

func elevenGroups() string {
	var list []string
	for i := range 10 {
		list = append(list, manifest("SecurityGroup", fmt.Sprintf("g%d", i), "{vpcName: prod}"))
	}
	return all(list...)
}

func bigGroup(name string, n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("{protocol: TCP, ports: %d/%d, peer: {cidr: 10.0.0.0/8}}", i+1, i+1))
	}
	return manifest("SecurityGroup", name, "{vpcName: prod, ingress: ["+strings.Join(list, ", ")+"]}")
}
