package convert

import (
	"strings"
	"testing"
)

func TestBadManifest(t *testing.T) {
	for name, tc := range map[string]badInputCase{
		"UnknownField": {
			"people mistype, and a rule that is not read is a hole", rule("{protocol: TCP, port: 443/443, peer: {cidr: 10.0.0.0/8}}"),
			"in.yaml:12: /spec/ingress/0/port: unknown field",
		},
		"UnknownTopField": {
			"also beside the spec", "apiVersion: ringfence.dev/v1alpha1\nkind: VPC\nmetadata: {name: x}\nspecs: {}\n",
			"in.yaml:4: /specs: unknown field",
		},
		"RowOfUser": {
			"only controllers give a reason", rule("{protocol: ALL, peer: {cidr: 10.0.0.0/8}, row: AI-L1}"),
			"in.yaml:12: /spec/ingress/0/row: unknown field",
		},
		"TextForNumber": {
			"a number in quotes is a text", rule(`{protocol: ALL, priority: "1", peer: {cidr: 10.0.0.0/8}}`),
			`in.yaml:12: /spec/ingress/0/priority: found the text "1", want a number in range`,
		},
		"ListForText": {
			"a CIDR is one text", rule(`{protocol: ALL, peer: {cidr: [10.0.0.0/8]}}`),
			"in.yaml:12: /spec/ingress/0/peer/cidr: found a list, want a text",
		},
		"TextForBool": {
			"yes is a text in YAML 1.2", vpc + manifestOf("Cluster", "{vpcName: prod, network: {mode: Terway, bgp: yes}}"),
			`in.yaml:11: /spec/network/bgp: found the text "yes", want true or false`,
		},
		"BoolForObject": {
			"a spec has fields", manifestOf("VPC", "true"),
			"in.yaml:4: /spec: found true, want an object",
		},
		"LongTextForNumber": {
			"what is too long to quote is named", rule("{protocol: ALL, priority: " + strings.Repeat("x", 99) + ", peer: {cidr: 10.0.0.0/8}}"),
			"in.yaml:12: /spec/ingress/0/priority: found a text, want a number in range",
		},
		"NumberForText": {
			"a port alone is no range", rule(`{protocol: TCP, ports: 443, peer: {cidr: 10.0.0.0/8}}`),
			`in.yaml:12: /spec/ingress/0/ports: found the number 443, want a text`,
		},
		"ObjectForList": {
			"rules are a list", group("spec:\n  vpcName: prod\n  ingress: {protocol: ALL}"),
			"in.yaml:11: /spec/ingress: found an object, want a list",
		},
		"ObjectForProtocol": {
			"a protocol is a word", rule("{protocol: {}, peer: {cidr: 10.0.0.0/8}}"),
			"in.yaml:12: /spec/ingress/0/protocol: want a name or a number",
		},
		"BadTime": {
			"metadata is read too", "apiVersion: ringfence.dev/v1alpha1\nkind: VPC\nmetadata:\n  name: x\n  creationTimestamp: noon\nspec: {cidrBlock: 10.0.0.0/8}\n",
			`in.yaml:5: /metadata/creationTimestamp: found the text "noon", want a time such as 2006-01-02T15:04:05Z`,
		},
		"UnknownKind": {
			"the kinds that people write are listed", manifestOf("Firewall", "{}"),
			`in.yaml:2: /kind: unknown kind "Firewall": want VPC, PrefixList, SecurityGroup, Cluster, NodePool or Host`,
		},
		"UnknownVersion": {
			"a later version may mean something else", "apiVersion: ringfence.dev/v1\nkind: VPC\n",
			`in.yaml:1: /apiVersion: unknown version "ringfence.dev/v1": want ringfence.dev/v1alpha1`,
		},
		"ForeignKind": {
			"a file meant for another tool was not meant for this one", "apiVersion: apps/v1\nkind: Deployment\n",
			"in.yaml:2: /kind: kind Deployment of apps/v1 is not something that ringfence reads",
		},
		"ForeignItem": {
			"places within a List count from the file", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: apps/v1\n  kind: Deployment\n",
			"in.yaml:5: /items/0/kind: kind Deployment of apps/v1 is not something that ringfence reads",
		},
		"ListInList": {
			"nobody writes that but an attacker", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List}\n",
			"in.yaml:4: /items/0/kind: a list within a list",
		},
		"ItemWithoutKind": {
			"an item must say what it is", "apiVersion: v1\nkind: List\nitems:\n- 1\n",
			"in.yaml:4: /items/0: an item without apiVersion or kind",
		},
		"NoName": {
			"nothing could refer to it", "apiVersion: ringfence.dev/v1alpha1\nkind: VPC\nspec: {cidrBlock: 10.0.0.0/8}\n",
			"in.yaml:1: /metadata/name: the VPC has no name",
		},
		"BadName": {
			"names appear in verdicts such as web/ingress/1", "apiVersion: ringfence.dev/v1alpha1\nkind: VPC\nmetadata: {name: a/b}\nspec: {cidrBlock: 10.0.0.0/8}\n",
			`in.yaml:3: /metadata/name: name "a/b": want at most 253 lower case letters`,
		},
		"Twice": {
			"two groups of one name", group("spec: {vpcName: prod}") + "---\n" + "apiVersion: ringfence.dev/v1alpha1\nkind: SecurityGroup\nmetadata: {name: web}\nspec: {vpcName: prod}\n",
			"in.yaml:13: /metadata/name: SecurityGroup web stands here twice: it is also in in.yaml:6",
		},
		"TwoNamespaces": {
			"a name never reaches into another namespace",
			"apiVersion: ringfence.dev/v1alpha1\nkind: VPC\nmetadata: {name: a, namespace: n}\nspec: {cidrBlock: 10.0.0.0/8}\n---\n" +
				"apiVersion: ringfence.dev/v1alpha1\nkind: VPC\nmetadata: {name: b, namespace: m}\nspec: {cidrBlock: 10.0.0.0/8}\n",
			"in.yaml:8: /metadata/namespace: namespace m, but in.yaml:3: /metadata/namespace has n: read the objects of one namespace at a time",
		},
	} {
		t.Run(name, func(t *testing.T) { tc.check(t) })
	}
}

func TestBadRule(t *testing.T) {
	for name, tc := range map[string]badInputCase{
		"NoPortsWithTCP": {
			"ECS refuses TCP without ports", rule("{protocol: TCP, ports: -1/-1, peer: {cidr: 10.0.0.0/8}}"),
			"in.yaml:12: /spec/ingress/0/ports: protocol TCP must name its ports",
		},
		"PortsLeftOut": {
			"the place is where they would stand", rule("{protocol: UDP, peer: {cidr: 10.0.0.0/8}}"),
			"in.yaml:12: /spec/ingress/0/ports: protocol UDP must name its ports",
		},
		"PortsWithAll": {
			"ALL has no ports", rule("{protocol: ALL, ports: 1/65535, peer: {cidr: 10.0.0.0/8}}"),
			"in.yaml:12: /spec/ingress/0/ports: protocol ALL has no ports: want -1/-1, not 1/65535",
		},
		"SourcePortsWithICMP": {
			"nor has ICMP", rule("{protocol: ICMP, sourcePorts: 1/2, peer: {cidr: 10.0.0.0/8}}"),
			"in.yaml:12: /spec/ingress/0/sourcePorts: protocol ICMP has no ports",
		},
		"PortsReversed": {
			"an empty range is a mistake", rule("{protocol: TCP, ports: 90/80, peer: {cidr: 10.0.0.0/8}}"),
			`in.yaml:12: /spec/ingress/0/ports: port range "90/80": want FIRST/LAST`,
		},
		"SinglePort": {
			"ECS refuses it too", rule(`{protocol: TCP, ports: "443", peer: {cidr: 10.0.0.0/8}}`),
			`in.yaml:12: /spec/ingress/0/ports: port range "443": want FIRST/LAST`,
		},
		"PriorityZero": {
			"zero is not the default, it is a mistake", rule("{protocol: ALL, priority: 0, peer: {cidr: 10.0.0.0/8}}"),
			"in.yaml:12: /spec/ingress/0/priority: priority 0: want 1 (first) to 100 (last)",
		},
		"PriorityTooGreat": {
			"100 is the last", rule("{protocol: ALL, priority: 101, peer: {cidr: 10.0.0.0/8}}"),
			"in.yaml:12: /spec/ingress/0/priority: priority 101: want 1 (first) to 100 (last)",
		},
		"PriorityHuge": {
			"numbers must not wrap around", rule("{protocol: ALL, priority: 4294967297, peer: {cidr: 10.0.0.0/8}}"),
			"in.yaml:12: /spec/ingress/0/priority: found the number 4294967297, want a number in range",
		},
		"NoProtocol": {
			"a default of ALL would open what nobody asked for", rule("{peer: {cidr: 10.0.0.0/8}}"),
			"in.yaml:12: /spec/ingress/0/protocol: no protocol: want ALL",
		},
		"UnknownProtocol": {
			"protocols are those of IANA", rule("{protocol: TCPP, peer: {cidr: 10.0.0.0/8}}"),
			`in.yaml:12: /spec/ingress/0/protocol: unknown protocol "TCPP"`,
		},
		"ProtocolTooGreat": {
			"a protocol is one byte", rule("{protocol: 256, peer: {cidr: 10.0.0.0/8}}"),
			`in.yaml:12: /spec/ingress/0/protocol: unknown protocol "256"`,
		},
		"UnknownPolicy": {
			"deny is not a word here", rule("{policy: Deny, protocol: ALL, peer: {cidr: 10.0.0.0/8}}"),
			`in.yaml:12: /spec/ingress/0/policy: unknown word "Deny": want Accept or Drop`,
		},
		"NoPeer": {
			"there is no default peer", rule("{protocol: ALL}"),
			"in.yaml:12: /spec/ingress/0/peer: no peer",
		},
		"TwoPeers": {
			"ECS would pick one silently", rule("{protocol: ALL, peer: {cidr: 10.0.0.0/8, groupName: db}}"),
			"in.yaml:12: /spec/ingress/0/peer: 2 peers: want one of cidr, groupName and prefixListName",
		},
		"BadCIDR": {
			"the text is quoted", rule("{protocol: ALL, peer: {cidr: 10.0.0.0/33}}"),
			`in.yaml:12: /spec/ingress/0/peer/cidr: "10.0.0.0/33" is no CIDR`,
		},
		"MappedCIDR": {
			"an IPv4 address in IPv6 clothes", rule(`{protocol: ALL, peer: {cidr: "::ffff:10.0.0.0/104"}}`),
			`in.yaml:12: /spec/ingress/0/peer/cidr: "::ffff:10.0.0.0/104" is no CIDR`,
		},
		"IPv6WithICMP": {
			"that is ICMPv6", rule("{protocol: ICMP, peer: {cidr: 2001:db8::/32}}"),
			"in.yaml:12: /spec/ingress/0/peer: protocol ICMP goes with IPv4 peers",
		},
		"IPv4WithICMPv6": {
			"that is ICMP", rule("{protocol: 58, peer: {cidr: 10.0.0.0/8}}"),
			"in.yaml:12: /spec/ingress/0/peer: protocol ICMPv6 goes with IPv6 peers",
		},
		"IPv6MemberWithICMP": {
			"the member's family counts too", rule(`{protocol: ICMP, peer: {groupName: db}, memberCIDR: "2001:db8::1"}`),
			"in.yaml:12: /spec/ingress/0/memberCIDR: protocol ICMP goes with IPv4 addresses, not 2001:db8::1/128",
		},
		"MixedFamilies": {
			"no packet has both", rule(`{protocol: ALL, peer: {cidr: 10.0.0.0/8}, memberCIDR: "2001:db8::1"}`),
			"in.yaml:12: /spec/ingress/0/memberCIDR: peer 10.0.0.0/8 and member 2001:db8::1/128 are of different address families",
		},
		"Itself": {
			"that is inner access", rule("{protocol: ALL, peer: {groupName: web}}"),
			"in.yaml:12: /spec/ingress/0/peer: a group cannot name itself",
		},
		"NoSuchGroup": {
			"a name that names nothing accepts nothing", rule("{protocol: ALL, peer: {groupName: db}}"),
			"in.yaml:12: /spec/ingress/0/peer/groupName: there is no SecurityGroup db in the files",
		},
		"NoSuchPrefixList": {
			"at the rule that needs it", rule("{protocol: ALL, peer: {prefixListName: offices}}"),
			"in.yaml:12: /spec/ingress/0: there is no PrefixList offices in the files",
		},
		"PrefixListOfOtherFamily": {
			"such a rule never matches",
			rule("{protocol: ICMPv6, peer: {prefixListName: x}}") + "---\n" + manifestOf("PrefixList", "{entries: [{cidr: 10.0.0.0/8}]}"),
			"in.yaml:12: /spec/ingress/0: protocol ICMPv6 goes with IPv6, but the entries of prefix list x are IPv4",
		},
		"PrefixListAndMember": {
			"nor does this one",
			rule("{protocol: ALL, peer: {prefixListName: x}, memberCIDR: '2001:db8::1'}") + "---\n" + manifestOf("PrefixList", "{entries: [{cidr: 10.0.0.0/8}]}"),
			"in.yaml:12: /spec/ingress/0: prefix list x and member 2001:db8::1/128 are of different address families",
		},
		"LongDescription": {
			"ECS takes 512 characters", rule("{protocol: ALL, peer: {cidr: 10.0.0.0/8}, description: " + strings.Repeat("x", 513) + "}"),
			"in.yaml:12: /spec/ingress/0/description: 513 characters: want at most 512",
		},
		"ProviderOfHosts": {
			"a group on own hosts has no id in the cloud", group("spec:\n  vpcName: prod\n  provider: {id: sg-1}"),
			"in.yaml:11: /spec/provider: regionID and id go with type AlibabaCloud",
		},
		"AdvancedNamesGroup": {
			"advanced groups have addresses only", group("spec:\n  vpcName: prod\n  type: Advanced\n  egress:\n  - {protocol: ALL, peer: {groupName: db}}"),
			"in.yaml:13: /spec/egress/0/peer: an advanced group cannot name group db",
		},
		"AdvancedIsNamed": {
			"nor may others name them",
			rule("{protocol: ALL, peer: {groupName: x}}") + "---\n" + manifestOf("SecurityGroup", "{vpcName: prod, type: Advanced}"),
			"in.yaml:12: /spec/ingress/0: group x is advanced, and no rule may name an advanced group",
		},
		"SystemRule": {
			"system rules are rules", group("spec: {vpcName: prod}\nstatus:\n  systemEgress:\n  - {protocol: TCP, peer: {cidr: 10.0.0.0/8}, row: BO-R1}"),
			"in.yaml:12: /status/systemEgress/0/ports: protocol TCP must name its ports",
		},
		"CloudProtocol": {
			"ECS knows six protocols",
			group("spec:\n  vpcName: prod\n  provider: {type: AlibabaCloud}\n  ingress:\n  - {protocol: VRRP, peer: {cidr: 10.0.0.0/8}}"),
			"in.yaml:13: /spec/ingress/0/protocol: alibaba cloud has no rules for protocol VRRP",
		},
		"InnerAccessOnAdvanced": {
			"only basic groups have it", group("spec:\n  vpcName: prod\n  type: Advanced\n  innerAccess: Accept"),
			"in.yaml:12: /spec/innerAccess: an advanced group has no inner access",
		},
		"UnknownType": {
			"ECS's own words are others", group("spec: {vpcName: prod, type: enterprise}"),
			`in.yaml:9: /spec/type: unknown word "enterprise": want Basic or Advanced`,
		},
		"NoVPC": {
			"a group belongs to a VPC", group("spec: {type: Basic}"),
			"in.yaml:9: /spec/vpcName: no VPC",
		},
		"NoSuchVPC": {
			"named objects must be there", group("spec: {vpcName: dev}"),
			"in.yaml:9: /spec/vpcName: there is no VPC dev in the files",
		},
	} {
		t.Run(name, func(t *testing.T) { tc.check(t) })
	}
}

func TestBadNetwork(t *testing.T) {
	cluster := func(spec string) string { return vpc + manifestOf("Cluster", spec) } // its spec is line 11
	for name, tc := range map[string]badInputCase{
		"SubnetOutside": {
			"a vSwitch lies within its VPC", manifestOf("VPC", "{cidrBlock: 10.0.0.0/8, subnets: [{name: a, cidrBlock: 11.0.0.0/16}]}"),
			"in.yaml:4: /spec/subnets/0/cidrBlock: 11.0.0.0/16 lies outside the VPC",
		},
		"SubnetsOverlap": {
			"vSwitches are disjoint", manifestOf("VPC", "{cidrBlock: 10.0.0.0/8, subnets: [{name: a, cidrBlock: 10.1.0.0/16}, {name: b, cidrBlock: 10.2.0.0/16}, {name: c, cidrBlock: 10.1.2.0/24}]}"),
			"in.yaml:4: /spec/subnets/2/cidrBlock: 10.1.2.0/24 overlaps 10.1.0.0/16 of subnet a",
		},
		"SubnetTwice": {
			"names are unique within a VPC", manifestOf("VPC", "{cidrBlock: 10.0.0.0/8, subnets: [{name: a, cidrBlock: 10.1.0.0/16}, {name: a, cidrBlock: 10.2.0.0/16}]}"),
			"in.yaml:4: /spec/subnets/1/name: subnet a stands here twice",
		},
		"NoCIDR": {
			"a VPC has addresses", manifestOf("VPC", "{}"),
			"in.yaml:4: /spec/cidrBlock: no CIDR",
		},
		"IPv4AsIPv6": {
			"the field says which family", manifestOf("VPC", "{cidrBlock: 10.0.0.0/8, ipv6CIDRBlock: 10.0.0.0/8}"),
			"in.yaml:4: /spec/ipv6CIDRBlock: 10.0.0.0/8 is IPv4: want an IPv6 CIDR",
		},
		"MixedList": {
			"a prefix list has one family", manifestOf("PrefixList", "{entries: [{cidr: 10.0.0.0/8}, {cidr: '::/0'}]}"),
			"in.yaml:4: /spec/entries/1/cidr: ::/0 is IPv6 in a list of IPv4",
		},
		"MaxEntriesTooSmall": {
			"the quota covers the entries", manifestOf("PrefixList", "{maxEntries: 1, entries: [{cidr: 10.0.0.0/8}, {cidr: 11.0.0.0/8}]}"),
			"in.yaml:4: /spec/maxEntries: 1: want 1 to 200, and not below the 2 entries",
		},
		"NoMode": {
			"nobody can guess the network plugin", cluster("{vpcName: prod}"),
			"in.yaml:11: /spec/network/mode: nothing said: want Terway, Flannel, ",
		},
		"UnknownMode": {
			"the tables know eight", cluster("{vpcName: prod, network: {mode: Weave}}"),
			`in.yaml:11: /spec/network/mode: unknown word "Weave"`,
		},
		"PodCIDRsWithTerway": {
			"Terway's pods have addresses of the VPC", cluster("{vpcName: prod, network: {mode: Terway, podCIDRs: [172.20.0.0/16]}}"),
			"in.yaml:11: /spec/network/podCIDRs: Terway has no pod CIDRs",
		},
		"PodSubnetsWithFlannel": {
			"what is not used must not be written", cluster("{vpcName: prod, network: {mode: Flannel, podSubnets: [a]}}"),
			"in.yaml:11: /spec/network/podSubnets: pod subnets go with Terway",
		},
		"PodsOverlapVPC": {
			"nobody could tell a pod from a node", cluster("{vpcName: prod, network: {mode: Flannel, podCIDRs: [10.3.0.0/16]}}"),
			"in.yaml:11: /spec/network/podCIDRs/0: pod CIDR 10.3.0.0/16 overlaps 10.0.0.0/8 of VPC prod",
		},
		"PodsOverlapServices": {
			"nor a pod from a service", cluster("{vpcName: prod, network: {mode: Flannel, podCIDRs: [172.20.0.0/16], serviceCIDRs: [172.16.0.0/12]}}"),
			"in.yaml:11: /spec/network/podCIDRs/0: pod CIDR 172.20.0.0/16 overlaps service CIDR 172.16.0.0/12",
		},
		"NoSuchSubnet": {
			"within the VPC of the cluster", cluster("{vpcName: prod, network: {mode: Terway, nodeSubnets: [a, z]}}"),
			"in.yaml:11: /spec/network/nodeSubnets/1: there is no subnet z of VPC prod in the files",
		},
		"APIServerRange": {
			"a load balancer has one address", cluster("{vpcName: prod, network: {mode: Terway}, apiServer: {addresses: [10.0.0.0/24]}}"),
			"in.yaml:11: /spec/apiServer/addresses/0: 10.0.0.0/24 is a range: want one address",
		},
		"WebhookPortZero": {
			"zero is no port", cluster("{vpcName: prod, network: {mode: Terway}, webhookPorts: [8443, 0]}"),
			"in.yaml:11: /spec/webhookPorts/1: port 0: want 1 to 65535",
		},
		"ExposureWithoutPeer": {
			"an exposure says to whom", cluster("{vpcName: prod, network: {mode: Terway}, exposures: [{protocol: TCP, ports: 80/80}]}"),
			"in.yaml:11: /spec/exposures/0: no peers",
		},
		"ExposureWithoutPorts": {
			"an exposure is a rule", cluster("{vpcName: prod, network: {mode: Terway}, exposures: [{protocol: TCP, cidrs: [0.0.0.0/0]}]}"),
			"in.yaml:11: /spec/exposures/0/ports: protocol TCP must name its ports",
		},
		"ExposureFamily": {
			"with the families of a rule", cluster("{vpcName: prod, network: {mode: Terway}, exposures: [{protocol: ICMP, cidrs: ['::/0']}]}"),
			"in.yaml:11: /spec/exposures/0/protocol: protocol ICMP goes with IPv4 peers",
		},
		"ExposureToNoList": {
			"its peers must be there", cluster("{vpcName: prod, network: {mode: Terway}, exposures: [{protocol: ALL, prefixListNames: [offices]}]}"),
			"in.yaml:11: /spec/exposures/0/prefixListNames/0: there is no PrefixList offices in the files",
		},
		"NameAndType": {
			"an existing group has its type", cluster("{vpcName: prod, network: {mode: Terway}, securityGroup: {name: web, type: Basic}}"),
			"in.yaml:11: /spec/securityGroup: name stands for an existing group",
		},
		"NoSuchClusterGroup": {
			"an existing group exists", cluster("{vpcName: prod, network: {mode: Terway}, securityGroup: {name: web}}"),
			"in.yaml:11: /spec/securityGroup/name: there is no SecurityGroup web in the files",
		},
		"NoSuchStatusGroup": {
			"also the one that was made", cluster("{vpcName: prod, network: {mode: Terway}}\nstatus: {securityGroupName: web}"),
			"in.yaml:12: /status/securityGroupName: there is no SecurityGroup web in the files",
		},
		"NodePortsForNobody": {
			"a list that is wanted must not be empty", cluster("{vpcName: prod, network: {mode: Terway}, nodePorts: {ports: 30000/32767}}"),
			"in.yaml:11: /spec/nodePorts/cidrs: no CIDRs: want at least one",
		},
		"ClusterInOtherVPC": {
			"a group serves its own VPC",
			cluster("{vpcName: prod, network: {mode: Terway}, securityGroup: {name: x}}") + "---\n" + manifestOf("SecurityGroup", "{vpcName: dev}") +
				"---\napiVersion: ringfence.dev/v1alpha1\nkind: VPC\nmetadata: {name: dev}\nspec: {cidrBlock: 10.0.0.0/8}\n",
			"in.yaml:8: cluster x is of VPC prod, its group x of VPC dev",
		},
	} {
		t.Run(name, func(t *testing.T) { tc.check(t) })
	}
}

func TestBadHost(t *testing.T) {
	// Two groups of different type, a cluster and a pool; the host's spec is line 31.
	const around = vpc + `apiVersion: ringfence.dev/v1alpha1
kind: Cluster
metadata: {name: shop}
spec: {vpcName: prod, network: {mode: Flannel, podCIDRs: [172.20.0.0/16], nodeSubnets: [a]}, securityGroup: {name: basic}}
---
apiVersion: ringfence.dev/v1alpha1
kind: NodePool
metadata: {name: workers}
spec: {clusterName: shop}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: basic}
spec: {vpcName: prod}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: advanced}
spec: {vpcName: prod, type: Advanced}
---
`
	host := func(spec string) string { return around + manifestOf("Host", spec) }
	for name, tc := range map[string]badInputCase{
		"MixedTypes": {
			"all groups on one host have one type", host("{addresses: [10.0.0.1], nodePoolName: workers, securityGroupNames: [advanced]}"),
			"in.yaml:28: x wears groups of two types: advanced is advanced, basic is basic; want one type",
		},
		"MixedTypesOnPool": {
			"so have those of a pool", around + manifestOf("NodePool", "{clusterName: shop, securityGroup: {names: [basic, advanced]}}"),
			"in.yaml:28: node pool x wears groups of two types: basic is basic, advanced is advanced; want one type",
		},
		"SharedAddress": {
			"an address has one host",
			host("{addresses: [10.0.0.1]}") + "---\napiVersion: ringfence.dev/v1alpha1\nkind: Host\nmetadata: {name: y}\nspec: {addresses: [10.0.0.2, 10.0.0.1]}\n",
			"in.yaml:36: /spec/addresses/1: address 10.0.0.1 is also that of host x, in.yaml:28",
		},
		"AddressTwice": {
			"also on one host", host("{addresses: [10.0.0.1, 10.0.0.1]}"),
			"in.yaml:31: /spec/addresses/1: 10.0.0.1 stands here twice",
		},
		"Range": {
			"a host has addresses, not ranges", host("{addresses: [10.0.0.0/24]}"),
			`in.yaml:31: /spec/addresses/0: "10.0.0.0/24" is no address`,
		},
		"Loopback": {
			"every host has that", host("{addresses: [127.0.0.1]}"),
			"in.yaml:31: /spec/addresses/0: 127.0.0.1 is not an address that a host can have for itself",
		},
		"NoSuchPool": {
			"named objects must be there", host("{nodePoolName: masters}"),
			"in.yaml:31: /spec/nodePoolName: there is no NodePool masters in the files",
		},
		"NoSuchCluster": {
			"named objects must be there", host("{clusterName: blog}"),
			"in.yaml:31: /spec/clusterName: there is no Cluster blog in the files",
		},
		"NoSuchGroup": {
			"named objects must be there", host("{securityGroupNames: [basic, db]}"),
			"in.yaml:31: /spec/securityGroupNames/1: there is no SecurityGroup db in the files",
		},
		"GroupTwice": {
			"a slip of the hand", host("{securityGroupNames: [basic, basic]}"),
			"in.yaml:31: /spec/securityGroupNames/1: basic is named twice",
		},
		"ForeignPool": {
			"a pool belongs to one cluster",
			host("{clusterName: blog, nodePoolName: workers}") + "---\napiVersion: ringfence.dev/v1alpha1\nkind: Cluster\nmetadata: {name: blog}\nspec: {vpcName: prod, network: {mode: Terway}}\n",
			"in.yaml:31: /spec/nodePoolName: node pool workers belongs to cluster shop, not to blog",
		},
		"UnknownRole": {
			"roles decide about the order of changes", host("{roles: [Master]}"),
			`in.yaml:31: /spec/roles/0: unknown word "Master": want Worker, ControlPlane, APIServer or Etcd`,
		},
		"UnknownEnforcement": {
			"a slip must not switch enforcement off", host("{enforcement: Off}"),
			`in.yaml:31: /spec/enforcement: unknown word "Off": want Enforce or Observe`,
		},
		"PoolSubnet": {
			"the subnets of a pool are those of its cluster's VPC", around + manifestOf("NodePool", "{clusterName: shop, subnets: [z]}"),
			"in.yaml:31: /spec/subnets/0: there is no subnet z of VPC prod in the files",
		},
		"PoolNamesAndType": {
			"existing groups or a new one", around + manifestOf("NodePool", "{clusterName: shop, securityGroup: {names: [basic], type: Basic}}"),
			"in.yaml:31: /spec/securityGroup: names stands for existing groups",
		},
		"PoolWithoutCluster": {
			"a pool belongs to a cluster", around + manifestOf("NodePool", "{}"),
			"in.yaml:31: /spec/clusterName: no cluster",
		},
	} {
		t.Run(name, func(t *testing.T) { tc.check(t) })
	}
}
