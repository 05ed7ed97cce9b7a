package crds_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// A refusal is an object that cannot be stored, and what its writer reads.
type refusal struct {
	reason string // printed on failure: why it must be refused
	text   string
	// at is the one field that is blamed, and says a part of the message.
	at, says string
}

// object returns a manifest; spec is in flow style.
func object(kind, spec string) string {
	return fmt.Sprintf("apiVersion: ringfence.dev/v1alpha1\nkind: %s\nmetadata: {name: x}\nspec: %s\n", kind, spec)
}

// rule returns a basic group with one ingress rule.
func rule(text string) string {
	return object("SecurityGroup", "{vpcName: prod, ingress: ["+text+"]}")
}

// cluster returns a cluster with these fields beside the required ones.
func cluster(mode, network, more string) string {
	return object("Cluster", "{vpcName: prod, network: {mode: "+mode+network+"}"+more+"}")
}

// repeat returns a flow list; every %d in text becomes the index.
func repeat(n int, text string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.ReplaceAll(text, "%d", fmt.Sprint(i)) + ", ")
	}
	return "[" + b.String() + "]"
}

// hash is a name of the shape that Rulesets and Rollouts have.
const hash = "0123456789abcdef0123456789abcdef01234567"

func named(text, name string) string {
	return strings.Replace(text, "{name: x}", "{name: "+name+"}", 1)
}

func TestRefusedRules(t *testing.T) {
	const peer = ", peer: {cidr: 10.0.0.0/8}"
	refuse(t, map[string]refusal{
		"NoPortsWithTCP":        {"ECS refuses TCP without ports", rule("{protocol: TCP, ports: -1/-1" + peer + "}"), "spec.ingress[0].ports", "must name their ports"},
		"PortsLeftOut":          {"the place is where they would stand", rule("{protocol: UDP" + peer + "}"), "spec.ingress[0].ports", "such as 443/443"},
		"EmptyPorts":            {"an empty text is no range", rule(`{protocol: 132, ports: ""` + peer + "}"), "spec.ingress[0].ports", "must name their ports"},
		"NumberNeedsPorts":      {"6 is TCP", rule("{protocol: 6" + peer + "}"), "spec.ingress[0].ports", "must name their ports"},
		"TextNumberNeedsPorts":  {"so is the text 6", rule(`{protocol: "6"` + peer + "}"), "spec.ingress[0].ports", "must name their ports"},
		"LowerCaseNeedsPorts":   {"names go in any case", rule("{protocol: udp" + peer + "}"), "spec.ingress[0].ports", "must name their ports"},
		"PortsWithAll":          {"ALL has no ports", rule("{protocol: ALL, ports: 1/65535" + peer + "}"), "spec.ingress[0].ports", "want -1/-1"},
		"PortsWithGRE":          {"nor has GRE", rule("{protocol: 47, ports: 1/65535" + peer + "}"), "spec.ingress[0].ports", "want -1/-1"},
		"SourcePortsWithICMP":   {"nor has ICMP", rule("{protocol: ICMP, sourcePorts: 1/2" + peer + "}"), "spec.ingress[0].sourcePorts", "leave sourcePorts out"},
		"PortsReversed":         {"an empty range is a mistake", rule("{protocol: TCP, ports: 90/80" + peer + "}"), "spec.ingress[0].ports", "FIRST <= LAST"},
		"SinglePort":            {"ECS refuses it too", rule(`{protocol: TCP, ports: "443"` + peer + "}"), "spec.ingress[0].ports", "want FIRST/LAST"},
		"PortZero":              {"zero is no port", rule("{protocol: TCP, ports: 0/80" + peer + "}"), "spec.ingress[0].ports", "from 1 to 65535"},
		"PortTooGreat":          {"a port is two bytes", rule("{protocol: TCP, ports: 1/65536" + peer + "}"), "spec.ingress[0].ports", "from 1 to 65535"},
		"PortList":              {"one range a rule", rule(`{protocol: TCP, ports: "80,443"` + peer + "}"), "spec.ingress[0].ports", "want FIRST/LAST"},
		"NumberForPorts":        {"a port alone is no range", rule("{protocol: TCP, ports: 443" + peer + "}"), "spec.ingress[0].ports", "must be of type string"},
		"BadSourcePorts":        {"source ports are a range as well", rule("{protocol: TCP, ports: 1/2, sourcePorts: 2/1" + peer + "}"), "spec.ingress[0].sourcePorts", "FIRST <= LAST"},
		"PriorityZero":          {"zero is not the default, it is a mistake", rule("{protocol: ALL, priority: 0" + peer + "}"), "spec.ingress[0].priority", "greater than or equal to 1"},
		"PriorityTooGreat":      {"100 is the last", rule("{protocol: ALL, priority: 101" + peer + "}"), "spec.ingress[0].priority", "less than or equal to 100"},
		"NoProtocol":            {"a default of ALL would open what nobody asked for", rule("{peer: {cidr: 10.0.0.0/8}}"), "spec.ingress[0].protocol", "Required"},
		"UnknownProtocol":       {"protocols are those of IANA", rule("{protocol: TCPP" + peer + "}"), "spec.ingress[0].protocol", "want ALL, TCP"},
		"ProtocolTooGreat":      {"a protocol is one byte", rule("{protocol: 256" + peer + "}"), "spec.ingress[0].protocol", "0 to 255"},
		"ProtocolTextTooGreat":  {"also as text", rule(`{protocol: "256"` + peer + "}"), "spec.ingress[0].protocol", "0 to 255"},
		"ProtocolNegative":      {"-1 is how ECS says something else", rule("{protocol: -1" + peer + "}"), "spec.ingress[0].protocol", "0 to 255"},
		"UnknownPolicy":         {"deny is not a word here", rule("{policy: Deny, protocol: ALL" + peer + "}"), "spec.ingress[0].policy", `supported values: "Accept", "Drop"`},
		"NoPeer":                {"there is no default peer", rule("{protocol: ALL, peer: {}}"), "spec.ingress[0].peer", "exactly one of cidr, groupName and prefixListName"},
		"PeerLeftOut":           {"nor may it be left out", rule("{protocol: ALL}"), "spec.ingress[0].peer", "Required"},
		"TwoPeers":              {"ECS would pick one silently", rule("{protocol: ALL, peer: {cidr: 10.0.0.0/8, groupName: db}}"), "spec.ingress[0].peer", "exactly one"},
		"EmptyCIDR":             {"an empty text is no peer", rule(`{protocol: ALL, peer: {cidr: ""}}`), "spec.ingress[0].peer.cidr", "want a CIDR"},
		"BadCIDR":               {"IPv4 has 32 bits", rule("{protocol: ALL, peer: {cidr: 10.0.0.0/33}}"), "spec.ingress[0].peer.cidr", "want a CIDR like 10.0.0.0/8"},
		"MappedCIDR":            {"an IPv4 address in IPv6 clothes", rule(`{protocol: ALL, peer: {cidr: "::ffff:10.0.0.0/104"}}`), "spec.ingress[0].peer.cidr", "no IPv4 in IPv6 clothes"},
		"ZonedAddress":          {"a zone means something on one machine only", rule(`{protocol: ALL, peer: {cidr: "fe80::1%eth0"}}`), "spec.ingress[0].peer.cidr", "no zone"},
		"BadGroupName":          {"no group can be called so", rule("{protocol: ALL, peer: {groupName: Web}}"), "spec.ingress[0].peer.groupName", "lower case letters"},
		"IPv6WithICMP":          {"that is ICMPv6", rule("{protocol: ICMP, peer: {cidr: '2001:db8::/32'}}"), "spec.ingress[0].peer.cidr", "use ICMPv6"},
		"IPv4WithICMPv6":        {"that is ICMP", rule("{protocol: 58" + peer + "}"), "spec.ingress[0].peer.cidr", "use ICMP for IPv4"},
		"IPv6MemberWithICMP":    {"the member's family counts too", rule(`{protocol: 1, peer: {groupName: db}, memberCIDR: "2001:db8::1"}`), "spec.ingress[0].memberCIDR", "use ICMPv6"},
		"IPv4MemberWithICMPv6":  {"both ways", rule("{protocol: ICMPv6, peer: {groupName: db}, memberCIDR: 10.0.0.1}"), "spec.ingress[0].memberCIDR", "use ICMP for IPv4"},
		"MixedFamilies":         {"no packet has both", rule(`{protocol: ALL, peer: {cidr: 10.0.0.0/8}, memberCIDR: "2001:db8::1"}`), "spec.ingress[0].memberCIDR", "one address family"},
		"LongDescription":       {"ECS takes 512 characters", rule("{protocol: ALL, description: " + strings.Repeat("x", 513) + peer + "}"), "spec.ingress[0].description", "Too long"},
		"SystemRuleWithoutPort": {"system rules are rules", rule("{protocol: ALL"+peer+"}") + "status: {systemEgress: [{protocol: TCP, peer: {cidr: 10.0.0.0/8}, row: BO-R1}]}\n", "status.systemEgress[0].ports", "must name their ports"},
	})
}

func TestRefusedGroups(t *testing.T) {
	group := func(spec string) string { return object("SecurityGroup", spec) }
	const toGroup = "{protocol: ALL, peer: {groupName: db%d}}"
	refuse(t, map[string]refusal{
		"Itself":                 {"that is inner access", rule("{protocol: ALL, peer: {groupName: x}}"), "spec.ingress", "cannot name itself"},
		"ItselfOnEgress":         {"both ways", group("{vpcName: prod, egress: [{protocol: ALL, peer: {groupName: x}}]}"), "spec.egress", "cannot name itself"},
		"AdvancedNamesGroup":     {"advanced groups have addresses only", group("{vpcName: prod, type: Advanced, egress: [{protocol: ALL, peer: {groupName: db}}]}"), "spec.egress", "cannot name groups"},
		"AdvancedIngress":        {"both ways", group("{vpcName: prod, type: Advanced, ingress: [{protocol: ALL, peer: {groupName: db}}]}"), "spec.ingress", "cannot name groups"},
		"AdvancedSystemRule":     {"also for controllers", group("{vpcName: prod, type: Advanced}") + "status: {systemIngress: [{protocol: ALL, peer: {groupName: db}}]}\n", "status.systemIngress", "cannot name groups"},
		"AdvancedInnerAccess":    {"only basic groups have it", group("{vpcName: prod, type: Advanced, innerAccess: Accept}"), "spec.innerAccess", "want Drop"},
		"TooManyGroupPeers":      {"the limit of ECS is 20 rules, both ways together", group("{vpcName: prod, ingress: " + repeat(11, toGroup) + ", egress: " + repeat(10, toGroup) + "}"), "spec", "more than 20 rules name a group"},
		"TooManyRules":           {"no host takes more than 1,000", group("{vpcName: prod, ingress: " + repeat(600, "{protocol: ALL, peer: {cidr: 10.0.0.0/8}}") + ", egress: " + repeat(401, "{protocol: ALL, peer: {cidr: 10.0.0.0/8}}") + "}"), "spec", "more than 1000 rules"},
		"CloudProtocol":          {"ECS has no VRRP", group("{vpcName: prod, provider: {type: AlibabaCloud}, ingress: [{protocol: VRRP, peer: {cidr: 10.0.0.0/8}}]}"), "spec.ingress", "alibaba cloud has rules for TCP"},
		"CloudProtocolNumber":    {"nor protocol 50", group("{vpcName: prod, provider: {type: AlibabaCloud}, egress: [{protocol: 50, peer: {cidr: 10.0.0.0/8}}]}"), "spec.egress", "keep the group on own hosts"},
		"ProviderOfHosts":        {"a group on own hosts has no id in the cloud", group("{vpcName: prod, provider: {id: sg-1}}"), "spec.provider", "go with type AlibabaCloud"},
		"UnknownProvider":        {"one cloud so far", group("{vpcName: prod, provider: {type: AWS}}"), "spec.provider.type", `supported values: "Hosts", "AlibabaCloud"`},
		"UnknownType":            {"ECS's own words are others", group("{vpcName: prod, type: enterprise}"), "spec.type", `supported values: "Basic", "Advanced"`},
		"UnknownInnerAccess":     {"yes is no answer", group("{vpcName: prod, innerAccess: Allow}"), "spec.innerAccess", `supported values: "Accept", "Drop"`},
		"UnknownManagement":      {"a slip must not switch controllers off", group("{vpcName: prod, management: Auto}"), "spec.management", "supported values"},
		"NoVPC":                  {"a group belongs to a VPC", group("{type: Basic}"), "spec.vpcName", "Required"},
		"NoSpec":                 {"an object without spec says nothing", "apiVersion: ringfence.dev/v1alpha1\nkind: SecurityGroup\nmetadata: {name: x}\n", "spec", "Required"},
		"TwoConditionsOfOneType": {"one a type", group("{vpcName: prod}") + "status: {conditions: " + repeat(2, `{type: Accepted, status: "True", reason: Accepted, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}`) + "}\n", "status.conditions[1]", "Duplicate"},
	})
}

func TestRefusedNetworks(t *testing.T) {
	vpc := func(spec string) string { return object("VPC", spec) }
	list := func(spec string) string { return object("PrefixList", spec) }
	refuse(t, map[string]refusal{
		"NoCIDR":            {"a VPC has addresses", vpc("{}"), "spec.cidrBlock", "Required"},
		"NotACIDR":          {"text is no range", vpc("{cidrBlock: prod}"), "spec.cidrBlock", "want a CIDR with its prefix length"},
		"AddressForBlock":   {"a network is more than one address", vpc("{cidrBlock: 10.0.0.1}"), "spec.cidrBlock", "with its prefix length"},
		"Loopback":          {"every machine has that", vpc("{cidrBlock: 127.0.0.0/16}"), "spec.cidrBlock", "not loopback"},
		"Multicast":         {"no machine has such an address", vpc("{cidrBlock: 10.0.0.0/8, secondaryCIDRBlocks: [239.0.0.0/8]}"), "spec.secondaryCIDRBlocks[0]", "not loopback, link-local or multicast"},
		"LinkLocal":         {"these are not routed", vpc("{cidrBlock: 10.0.0.0/8, ipv6CIDRBlock: 'fe80::/64'}"), "spec.ipv6CIDRBlock", "not loopback, link-local or multicast"},
		"Everything":        {"that holds loopback", vpc("{cidrBlock: 0.0.0.0/0}"), "spec.cidrBlock", "none that holds those"},
		"IPv4AsIPv6":        {"the field says which family", vpc("{cidrBlock: 10.0.0.0/8, ipv6CIDRBlock: 11.0.0.0/8}"), "spec.ipv6CIDRBlock", "want an IPv6 CIDR"},
		"SecondaryOverlaps": {"an address belongs to one range", vpc("{cidrBlock: 10.0.0.0/8, secondaryCIDRBlocks: [10.1.0.0/16]}"), "spec.secondaryCIDRBlocks", "must be disjoint"},
		"SecondaryTwice":    {"also among themselves", vpc("{cidrBlock: 10.0.0.0/8, secondaryCIDRBlocks: [11.0.0.0/8, 11.0.0.0/8]}"), "spec.secondaryCIDRBlocks", "must be disjoint"},
		"IPv6Overlaps":      {"in both families", vpc("{cidrBlock: 10.0.0.0/8, ipv6CIDRBlock: '2001:db8::/48', secondaryCIDRBlocks: ['2001:db8::/32']}"), "spec.ipv6CIDRBlock", "must be disjoint"},
		"SubnetOutside":     {"a vSwitch lies within its VPC", vpc("{cidrBlock: 10.0.0.0/8, subnets: [{name: a, cidrBlock: 10.1.0.0/16}, {name: b, cidrBlock: 11.0.0.0/16}]}"), "spec.subnets", "subnet b lies outside the VPC"},
		"SubnetWider":       {"and is no wider than it", vpc("{cidrBlock: 10.0.0.0/16, subnets: [{name: a, cidrBlock: 10.0.0.0/8}]}"), "spec.subnets", "subnet a lies outside"},
		"IPv6Outside":       {"in both families", vpc("{cidrBlock: 10.0.0.0/8, subnets: [{name: a, cidrBlock: 10.1.0.0/16, ipv6CIDRBlock: '2001:db8::/64'}]}"), "spec.subnets", "subnet a lies outside"},
		"SubnetsOverlap":    {"vSwitches are disjoint", vpc("{cidrBlock: 10.0.0.0/8, subnets: [{name: a, cidrBlock: 10.1.0.0/16}, {name: b, cidrBlock: 10.2.0.0/16}, {name: c, cidrBlock: 10.1.2.0/24}]}"), "spec.subnets", "subnet a overlaps another one"},
		"IPv6Overlap":       {"in both families", vpc("{cidrBlock: 10.0.0.0/8, ipv6CIDRBlock: '2001:db8::/48', subnets: [{name: a, cidrBlock: '2001:db8::/56'}, {name: b, cidrBlock: 10.1.0.0/16, ipv6CIDRBlock: '2001:db8::/64'}]}"), "spec.subnets", "IPv6 range of subnet b overlaps"},
		"TwoIPv6Ranges":     {"a subnet has one of them", vpc("{cidrBlock: '2001:db8::/48', subnets: [{name: a, cidrBlock: '2001:db8:0:1::/64', ipv6CIDRBlock: '2001:db8:0:2::/64'}]}"), "spec.subnets[0].cidrBlock", "want an IPv4 CIDR"},
		"SubnetTwice":       {"names are unique within a VPC", vpc("{cidrBlock: 10.0.0.0/8, subnets: [{name: a, cidrBlock: 10.1.0.0/16}, {name: a, cidrBlock: 10.2.0.0/16}]}"), "spec.subnets[1]", "Duplicate"},
		"BadSubnet":         {"one message, not one a rule", vpc("{cidrBlock: 10.0.0.0/8, subnets: [{name: a, cidrBlock: 10.1.0.0}, {name: b, cidrBlock: 10.2.0.0/16}]}"), "spec.subnets[0].cidrBlock", "with its prefix length"},
		"MixedList":         {"a prefix list has one family", list("{entries: [{cidr: 10.0.0.0/8}, {cidr: '::/0'}]}"), "spec.entries", "::/0 is of the other address family"},
		"OtherFamily":       {"the one that it says", list("{addressFamily: IPv6, entries: [{cidr: 10.0.0.0/8}]}"), "spec.entries", "10.0.0.0/8 is of the other"},
		"UnknownFamily":     {"there are two", list("{addressFamily: ipv4}"), "spec.addressFamily", `supported values: "IPv4", "IPv6"`},
		"MaxEntriesSmall":   {"the quota covers the entries", list("{maxEntries: 1, entries: [{cidr: 10.0.0.0/8}, {cidr: 11.0.0.0/8}]}"), "spec.maxEntries", "not below the number of entries"},
		"MaxEntriesGreat":   {"the limit of ECS", list("{maxEntries: 201}"), "spec.maxEntries", "less than or equal to 200"},
		"TooManyEntries":    {"the limit of ECS", list("{entries: " + repeat(201, "{cidr: 10.0.0.%d}") + "}"), "spec.entries", "must have at most 200 items"},
		"BadEntry":          {"entries are CIDRs", list("{entries: [{cidr: office}]}"), "spec.entries[0].cidr", "want a CIDR"},
	})
}

func TestRefusedClusters(t *testing.T) {
	pool := func(spec string) string { return object("NodePool", spec) }
	host := func(spec string) string { return object("Host", spec) }
	refuse(t, map[string]refusal{
		"NoMode":                {"nobody can guess the network plugin", object("Cluster", "{vpcName: prod, network: {}}"), "spec.network.mode", "Required"},
		"UnknownMode":           {"the tables know eight", cluster("Weave", "", ""), "spec.network.mode", "supported values"},
		"UnknownEncapsulation":  {"GRE is not among them", cluster("Calico", ", encapsulation: GRE", ""), "spec.network.encapsulation", "supported values"},
		"PodCIDRsWithTerway":    {"Terway's pods have addresses of the VPC", cluster("Terway", ", podCIDRs: [172.20.0.0/16]", ""), "spec.network.podCIDRs", "Terway has no pod CIDRs"},
		"PodSubnetsWithFlannel": {"what is not used must not be written", cluster("Flannel", ", podSubnets: [a]", ""), "spec.network.podSubnets", "go with Terway"},
		"PodGroupsWithFlannel":  {"its pods have no interfaces", cluster("Flannel", ", podSecurityGroupNames: [a]", ""), "spec.network.podSecurityGroupNames", "go with Terway"},
		"PodsOverlapServices":   {"nobody could tell a pod from a service", cluster("Flannel", ", podCIDRs: ['fd00::/48', 172.20.0.0/16], serviceCIDRs: [172.16.0.0/12]", ""), "spec.network.podCIDRs", "pod CIDR 172.20.0.0/16 overlaps a service CIDR"},
		"PodsOverlapPods":       {"nor one range from the other", cluster("Flannel", ", podCIDRs: [172.20.0.0/16, 172.20.1.0/24]", ""), "spec.network.podCIDRs", "overlap each other"},
		"ServicesOverlap":       {"nor one range from the other", cluster("Terway", ", serviceCIDRs: [172.20.0.0/16, 172.20.1.0/24]", ""), "spec.network.serviceCIDRs", "overlap each other"},
		"BadPodCIDR":            {"one message, not one a rule", cluster("Flannel", ", podCIDRs: [172.20.0.0], serviceCIDRs: [172.21.0.0/20]", ""), "spec.network.podCIDRs[0]", "with its prefix length"},
		"SubnetNamedTwice":      {"a slip of the hand", cluster("Terway", ", nodeSubnets: [a, a]", ""), "spec.network.nodeSubnets[1]", "Duplicate"},
		"APIServerRange":        {"a load balancer has one address", cluster("Terway", "", ", apiServer: {addresses: [10.0.0.0/24]}"), "spec.apiServer.addresses[0]", "not a range"},
		"APIServerPort":         {"a port is two bytes", cluster("Terway", "", ", apiServer: {port: 65536}"), "spec.apiServer.port", "less than or equal to 65535"},
		"WebhookPortZero":       {"zero is no port", cluster("Terway", "", ", webhookPorts: [8443, 0]"), "spec.webhookPorts[1]", "greater than or equal to 1"},
		"ExposureWithoutPeer":   {"an exposure says to whom", cluster("Terway", "", ", exposures: [{protocol: TCP, ports: 80/80}]"), "spec.exposures[0]", "no peers"},
		"ExposureWithoutPorts":  {"an exposure is a rule", cluster("Terway", "", ", exposures: [{protocol: TCP, cidrs: [0.0.0.0/0]}]"), "spec.exposures[0].ports", "must name their ports"},
		"ExposureFamily":        {"with the families of a rule", cluster("Terway", "", ", exposures: [{protocol: ICMP, cidrs: ['::/0']}]"), "spec.exposures[0].cidrs", "use ICMPv6"},
		"ExposureDirection":     {"there are two", cluster("Terway", "", ", exposures: [{direction: In, protocol: ALL, cidrs: [0.0.0.0/0]}]"), "spec.exposures[0].direction", "supported values"},
		"NameAndType":           {"an existing group has its type", cluster("Terway", "", ", securityGroup: {name: web, type: Basic}"), "spec.securityGroup", "want one or the other"},
		"AdvancedInnerAccess":   {"only basic groups have it", cluster("Terway", "", ", securityGroup: {type: Advanced, innerAccess: Accept}"), "spec.securityGroup.innerAccess", "want Drop"},
		"UnknownProfile":        {"there are two", cluster("Terway", "", ", securityGroup: {profile: Strict}"), "spec.securityGroup.profile", "supported values"},
		"NodePortsForNobody":    {"a list that is wanted must not be empty", cluster("Terway", "", ", nodePorts: {cidrs: []}"), "spec.nodePorts.cidrs", "at least 1 items"},
		"HealthChecksNoPorts":   {"they probe some port", cluster("Terway", "", ", healthChecks: {ports: -1/-1, cidrs: [100.64.0.0/10]}"), "spec.healthChecks.ports", "no ports"},
		"PoolWithoutCluster":    {"a pool belongs to a cluster", pool("{}"), "spec.clusterName", "Required"},
		"PoolNamesAndType":      {"existing groups or a new one", pool("{clusterName: shop, securityGroup: {names: [web], type: Basic}}"), "spec.securityGroup", "want one or the other"},
		"PoolProfileAlone":      {"a profile is that of a new group", pool("{clusterName: shop, securityGroup: {profile: Recommended}}"), "spec.securityGroup.type", "go with a type"},
		"PoolTooManyGroups":     {"a host wears at most 10", pool("{clusterName: shop, securityGroup: {names: " + repeat(11, "g%d") + "}}"), "spec.securityGroup.names", "must have at most 10 items"},
		"PoolEnforcement":       {"a slip must not switch enforcement off", pool("{clusterName: shop, enforcement: Audit}"), "spec.enforcement", "supported values"},
		"HostRange":             {"a host has addresses, not ranges", host("{addresses: [10.0.0.0/24]}"), "spec.addresses[0]", "no range"},
		"HostLoopback":          {"every host has that", host("{addresses: [127.0.0.1]}"), "spec.addresses[0]", "no loopback"},
		"HostMulticast":         {"no host has that", host("{addresses: ['ff02::1']}"), "spec.addresses[0]", "no multicast"},
		"HostAddressTwice":      {"a slip of the hand", host("{addresses: [10.0.0.1, 10.0.0.1]}"), "spec.addresses[1]", "Duplicate"},
		"HostGroupTwice":        {"a slip of the hand", host("{securityGroupNames: [web, web]}"), "spec.securityGroupNames[1]", "Duplicate"},
		"HostTooManyGroups":     {"the limit of ECS", host("{securityGroupNames: " + repeat(11, "g%d") + "}"), "spec.securityGroupNames", "must have at most 10 items"},
		"HostRole":              {"roles decide about the order of changes", host("{roles: [Master]}"), "spec.roles[0]", "supported values"},
		"HostReports":           {"agents write addresses too", host("{}") + "status: {addresses: [node-1]}\n", "status.addresses[0]", "want an address"},
	})
}

func TestRefusedComputed(t *testing.T) {
	ruleset := func(spec string) string { return named(object("Ruleset", spec), hash) }
	rollout := func(spec string) string { return named(object("Rollout", spec), hash) }
	slice := func(spec string) string { return object("AddressSlice", spec) }
	report := func(text string) string {
		return "apiVersion: ringfence.dev/v1alpha1\nkind: FlowReport\nmetadata: {name: x}\nfrom: '2026-01-01T00:00:00Z'\n" + text
	}
	needs := func(text string) string {
		return "apiVersion: ringfence.dev/v1alpha1\nkind: ClusterNeeds\nmetadata: {name: x}\n" + text
	}
	const (
		some = "by: a/ingress/1, policy: Drop, priority: 1, protocol: "
		to   = "to: '2026-01-01T00:10:00Z'\n"
		hit  = "{by: default, direction: Ingress, packets: 1}"
	)
	refuse(t, map[string]refusal{
		"NameOfRuleset":         {"the name is the content", object("Ruleset", "{securityGroupNames: [a], type: Basic}"), "", "first 40 hexadecimal digits"},
		"RulesetOfNothing":      {"it is that of some groups", ruleset("{securityGroupNames: [], type: Basic}"), "spec.securityGroupNames", "at least 1 items"},
		"RulesetRuleNoPeer":     {"a rule has a peer", ruleset("{securityGroupNames: [a], type: Basic, ingress: [{" + some + "ALL}]}"), "spec.ingress[0]", "exactly one of cidrs and groupName"},
		"RulesetRuleTwoPeers":   {"one peer", ruleset("{securityGroupNames: [a], type: Basic, ingress: [{" + some + "ALL, cidrs: [10.0.0.1], groupName: b}]}"), "spec.ingress[0]", "exactly one"},
		"RulesetRulePorts":      {"as everywhere", ruleset("{securityGroupNames: [a], type: Basic, ingress: [{" + some + "TCP, cidrs: [10.0.0.1]}]}"), "spec.ingress[0].ports", "must name their ports"},
		"RulesetRuleBy":         {"counters go by it", ruleset("{securityGroupNames: [a], type: Basic, egress: [{by: a, policy: Drop, priority: 1, protocol: ALL, cidrs: [10.0.0.1]}]}"), "spec.egress[0].by", "GROUP/ingress/N"},
		"RulesetInnerAccess":    {"of the same groups", ruleset("{securityGroupNames: [a], type: Basic, innerAccessGroupNames: [b]}"), "spec.innerAccessGroupNames", "some of securityGroupNames"},
		"RulesetAdvancedInner":  {"advanced groups have none", ruleset("{securityGroupNames: [a], type: Advanced, innerAccessGroupNames: [a]}"), "spec.innerAccessGroupNames", "no inner access"},
		"RulesetAdvancedGroups": {"nor group peers", ruleset("{securityGroupNames: [a], type: Advanced, ingress: [{" + some + "ALL, groupName: b}]}"), "spec.ingress", "name no groups"},
		"KeepWithoutPeer":       {"a flow has two ends", ruleset("{securityGroupNames: [a], type: Basic, keep: [{row: r, direction: Egress, protocol: ALL}]}"), "spec.keep[0]", "exactly one"},
		"NameOfRollout":         {"the name is the set", object("Rollout", "{securityGroupNames: [a], stableRulesetName: r}"), "", "named by its set of groups"},
		"RolloutOfNothing":      {"some Ruleset must run", rollout("{securityGroupNames: [a]}"), "spec", "want a stableRulesetName"},
		"RolloutOfSame":         {"that changes nothing", rollout("{securityGroupNames: [a], stableRulesetName: r, candidateRulesetName: r, bound: '0000000000000000'}"), "spec.candidateRulesetName", "is the stable Ruleset"},
		"RolloutWithoutBound":   {"no default could be right", rollout("{securityGroupNames: [a], stableRulesetName: r, candidateRulesetName: s}"), "spec.bound", "goes with a candidate"},
		"RolloutBoundAlone":     {"of what?", rollout("{securityGroupNames: [a], stableRulesetName: r, bound: '0000000000000000'}"), "spec.bound", "goes with a candidate"},
		"RolloutBoundShort":     {"numbers of one length compare as text", rollout("{securityGroupNames: [a], candidateRulesetName: s, bound: 'ff'}"), "spec.bound", "16 lower case"},
		"RolloutBoundTooGreat":  {"everybody is all there is", rollout("{securityGroupNames: [a], candidateRulesetName: s, bound: '1000000000000001'}"), "spec.bound", "at most 1000000000000000"},
		"RolloutCriticalAlone":  {"they run the candidate", rollout("{securityGroupNames: [a], stableRulesetName: r, criticalHostNames: [cp]}"), "spec.criticalHostNames", "go with a candidate"},
		"RolloutPoolTwice":      {"a set has each once", rollout("{securityGroupNames: [a], nodePools: [{name: p}, {name: p}], stableRulesetName: r}"), "spec.nodePools[1]", "Duplicate"},
		"RolloutStep":           {"there are three", rollout("{securityGroupNames: [a], stableRulesetName: r}") + "status: {step: Half}\n", "status.step", "supported values"},
		"NeedsClass":            {"there are three", needs("needs: [{from: {kind: Nodes}, to: {kind: Nodes}, protocol: TCP, ports: 1/1, class: High, wire: Host, why: w}]\n"), "needs[0].class", "supported values"},
		"NeedsPorts":            {"as everywhere", needs("needs: [{from: {kind: Nodes}, to: {kind: Nodes}, protocol: TCP, ports: '1', class: Optional, wire: Host, why: w}]\n"), "needs[0].ports", "want FIRST/LAST"},
		"NeedsParty":            {"addresses are addresses", needs("parties: [{kind: Nodes, cidrs: [node-1]}]\n"), "parties[0].cidrs[0]", "should match"},
		"SliceOfNothing":        {"members of what?", slice("{members: []}"), "spec.securityGroupName", "Required"},
		"SliceSpelling":         {"one address, one text", slice("{securityGroupName: a, members: [{address: '2001:DB8::1'}]}"), "spec.members[0].address", "canonical spelling"},
		"SliceAddressTwice":     {"an address is one member", slice("{securityGroupName: a, members: [{address: 10.0.0.1}, {address: 10.0.0.1}]}"), "spec.members[1]", "Duplicate"},
		"SliceTooLong":          {"or one join rewrites too much", slice("{securityGroupName: a, members: " + repeat(201, "{address: 10.0.0.%d}") + "}"), "spec.members", "must have at most 200 items"},
		"SliceRange":            {"members have addresses", slice("{securityGroupName: a, members: [{address: 10.0.0.0/24}]}"), "spec.members[0].address", "want an address"},
		"ReportBackwards":       {"time goes on", report("to: '2025-01-01T00:10:00Z'\n"), "to", "not before from"},
		"ReportTooLong":         {"a host under attack must not fill the control plane", report(to + "denied: []\nhits: " + repeat(65, hit) + "\n"), "hits", "must have at most 64 items"},
		"ReportTooLongTogether": {"64 rows in all", report(to + "hits: " + repeat(33, hit) + "\ndenied: " + repeat(32, "{by: default, direction: Egress, local: 10.0.0.1, remote: 10.0.0.2, protocol: 6, port: %d, packets: 1, lastTime: '2026-01-01T00:01:00Z'}") + "\n"), "", "more than 64 rows"},
		"ReportBy":              {"verdicts name what decided", report(to + "hits: [{by: me, direction: Ingress, packets: 1}]\n"), "hits[0].by", "GROUP/ingress/N"},
		"ReportProtocol":        {"a protocol is one byte", report(to + "denied: [{by: default, direction: Egress, local: 10.0.0.1, remote: 10.0.0.2, protocol: 256, packets: 1, lastTime: '2026-01-01T00:01:00Z'}]\n"), "denied[0].protocol", "less than or equal to 255"},
	})
}

func refuse(t *testing.T, cases map[string]refusal) {
	t.Helper()
	all := servers(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := all[kindOf(t, tc.text)]
			o, unknown := s.read(t, tc.text)
			if len(unknown) > 0 {
				t.Errorf("unknown fields %v", unknown)
			}
			errs, _ := s.create(t.Context(), o)
			tc.check(t, errs)
		})
	}
}

// check wants one error, at the right place, with the right words.
func (r refusal) check(t *testing.T, errs field.ErrorList) {
	t.Helper()
	if len(errs) != 1 {
		t.Fatalf("%s\n%d errors, want one: %v", r.reason, len(errs), errs)
	}
	at := errs[0].Field
	if at == "<nil>" {
		at = "" // how the server writes the object as a whole
	}
	if at != r.at || !strings.Contains(errs[0].Error(), r.says) {
		t.Errorf("%s\ngot  %v\nwant %s: … %s …", r.reason, errs[0], r.at, r.says)
	}
}
