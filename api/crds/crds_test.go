package crds_test

import (
	"context"
	"io/fs"
	"math"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apivalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/json"
	sigsyaml "sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/api/crds"
)

// A kind validates objects of one kind as an API server does.
type kind struct {
	schema *schema.Structural
	values validation.SchemaValidator
	rules  *cel.Validator
}

// definitions reads the generated definitions and holds them against the API
// server's own rules: structural schemas, expressions that compile, and their
// worst cost within the server's budget.
func definitions(t *testing.T) map[string]kind {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := apiextensions.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(crds.Files, "*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no definitions: %v", err)
	}
	kinds := map[string]kind{}
	for _, name := range names {
		text, err := crds.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var v1 apiextensionsv1.CustomResourceDefinition
		if err := sigsyaml.UnmarshalStrict(text, &v1); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		apiextensionsv1.SetDefaults_CustomResourceDefinition(&v1)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&v1.Spec)
		v1.Status.StoredVersions = []string{"v1alpha1"}
		var crd apiextensions.CustomResourceDefinition
		if err := scheme.Convert(&v1, &crd, nil); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, err := range apivalidation.ValidateCustomResourceDefinition(t.Context(), &crd) {
			t.Errorf("%s: the API server would refuse it: %v", name, err)
		}
		kinds[crd.Spec.Names.Kind] = newKind(t, &crd)
	}
	return kinds
}

func newKind(t *testing.T, crd *apiextensions.CustomResourceDefinition) kind {
	t.Helper()
	props := crd.Spec.Validation
	if props == nil {
		props = crd.Spec.Versions[0].Schema
	}
	structural, err := schema.NewStructural(props.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	values, _, err := validation.NewSchemaValidator(props.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	return kind{structural, values, cel.NewValidator(structural, true, math.MaxInt64)}
}

// errors returns what is wrong with an object, or with its update from old.
func (k *kind) errors(ctx context.Context, obj, old map[string]any) []string {
	defaulting.Default(obj, k.schema)
	list := validation.ValidateCustomResource(nil, obj, k.values)
	var before any
	if old != nil {
		defaulting.Default(old, k.schema)
		before = old
	}
	list = append(list, listtype.ValidateListSetsAndMaps(nil, k.schema, obj)...)
	more, _ := k.rules.Validate(ctx, nil, k.schema, obj, before, math.MaxInt64)
	var out []string
	for _, err := range append(list, more...) {
		out = append(out, err.Error())
	}
	return out
}

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	js, err := sigsyaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	var obj map[string]any
	if err := json.UnmarshalCaseSensitivePreserveInts(js, &obj); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return obj
}

// legal is the example of the design, one object of each kind.
var legal = map[string]string{
	"VPC": `
spec:
  cidrBlock: 192.168.0.0/16
  secondaryCIDRBlocks: [10.10.0.0/16]
  subnets:
  - {name: nodes-a, cidrBlock: 192.168.0.0/19, zone: a}
  - {name: pods-a, cidrBlock: 192.168.32.0/19, zone: a}
  - {name: more, cidrBlock: 10.10.1.0/24}`,
	"Cluster": `
spec:
  vpcName: prod
  network: {mode: Terway, nodeSubnets: [nodes-a], podSubnets: [pods-a], serviceCIDRs: [172.21.0.0/20]}
  apiServer: {addresses: [192.168.0.200], port: 6443}
  webhookPorts: [8443]
  exposures: [{protocol: TCP, ports: 443/443, cidrs: [0.0.0.0/0]}]
  securityGroup: {type: Advanced, profile: LeastPrivilege}`,
	"NodePool": `
spec: {clusterName: shop, subnets: [nodes-a], securityGroup: {}}`,
	"SecurityGroup": `
spec:
  vpcName: prod
  type: Basic
  innerAccess: Accept
  ingress: [{policy: Accept, priority: 1, protocol: TCP, ports: 443/443, peer: {cidr: 0.0.0.0/0}, description: shop front}]
  egress: [{policy: Drop, priority: 100, protocol: ALL, peer: {prefixListName: offices}}]`,
	"PrefixList": `
spec: {addressFamily: IPv4, maxEntries: 10, entries: [{cidr: 203.0.113.0/24}, {cidr: 198.51.100.7}]}`,
	"Host": `
spec: {addresses: [192.168.0.11, '2001:db8::11'], clusterName: shop, nodePoolName: workers, securityGroupNames: [web], roles: [Worker]}`,
}

func named(kind, name, text string) string {
	return "apiVersion: ringfence.dev/v1alpha1\nkind: " + kind + "\nmetadata: {name: " + name + "}" + text
}

func TestDesignsExampleIsLegal(t *testing.T) {
	kinds := definitions(t)
	for name, text := range legal {
		k, ok := kinds[name]
		if !ok {
			t.Errorf("no definition of %s", name)
			continue
		}
		if got := k.errors(t.Context(), object(t, named(name, "web", text)), nil); len(got) != 0 {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A fault is an edit of a legal object that must be refused.
type fault struct {
	kind, from, to string
	want           string // in the message: the field, and what would be right
}

var faults = map[string]fault{
	"RulePolicy":            {"SecurityGroup", "policy: Accept", "policy: Maybe", `spec.ingress[0].policy`},
	"RulePriorityZero":      {"SecurityGroup", "priority: 1,", "priority: 0,", `spec.ingress[0].priority`},
	"RulePriorityHigh":      {"SecurityGroup", "priority: 100", "priority: 101", `spec.egress[0].priority`},
	"RuleProtocol":          {"SecurityGroup", "protocol: TCP", "protocol: HTTP", "spec.ingress[0].protocol: Invalid value: unknown protocol"},
	"RuleProtocolNumber":    {"SecurityGroup", "protocol: ALL", "protocol: 256", "unknown protocol"},
	"RuleProtocolText":      {"SecurityGroup", "protocol: ALL", "protocol: '47'", "unknown protocol"},
	"RulePortsMissing":      {"SecurityGroup", "ports: 443/443, ", "", "must name ports"},
	"RulePortsOfNothing":    {"SecurityGroup", "ports: 443/443", "ports: -1/-1", "must name ports"},
	"RulePortsOfALL":        {"SecurityGroup", "protocol: ALL", "protocol: ALL, ports: 1/2", "must name ports"},
	"RulePortsBackwards":    {"SecurityGroup", "ports: 443/443", "ports: 444/443", "FIRST <= LAST"},
	"RulePortsTooLarge":     {"SecurityGroup", "ports: 443/443", "ports: 1/65536", "<= 65535"},
	"RulePortSingle":        {"SecurityGroup", "ports: 443/443", "ports: '443'", "spec.ingress[0].ports"},
	"RulePortZero":          {"SecurityGroup", "ports: 443/443", "ports: 0/443", "spec.ingress[0].ports"},
	"RuleSourcePortsOfALL":  {"SecurityGroup", "protocol: ALL", "protocol: ALL, sourcePorts: 1/2", "source ports go with"},
	"RuleSourceBackwards":   {"SecurityGroup", "ports: 443/443", "ports: 443/443, sourcePorts: 9/1", "FIRST <= LAST"},
	"RuleNoPeer":            {"SecurityGroup", "peer: {cidr: 0.0.0.0/0}", "peer: {}", "want one of cidr"},
	"RuleTwoPeers":          {"SecurityGroup", "peer: {cidr: 0.0.0.0/0}", "peer: {cidr: 0.0.0.0/0, groupName: db}", "want one of cidr"},
	"RuleBadCIDR":           {"SecurityGroup", "cidr: 0.0.0.0/0", "cidr: 10.0.0.0/33", "no CIDR"},
	"RuleEmptyCIDR":         {"SecurityGroup", "cidr: 0.0.0.0/0", "cidr: ''", "spec.ingress[0].peer.cidr"},
	"RuleICMPToIPv6":        {"SecurityGroup", "protocol: TCP, ports: 443/443, peer: {cidr: 0.0.0.0/0}", "protocol: ICMP, peer: {cidr: '::/0'}", "use ICMPv6"},
	"RuleICMPv6ToIPv4":      {"SecurityGroup", "protocol: TCP, ports: 443/443", "protocol: ICMPv6", "use ICMP"},
	"RuleMemberFamily":      {"SecurityGroup", "ports: 443/443", "ports: 443/443, memberCIDR: '2001:db8::/64'", "another address family"},
	"RuleMemberNoCIDR":      {"SecurityGroup", "ports: 443/443", "ports: 443/443, memberCIDR: here", "no CIDR"},
	"RuleDescription":       {"SecurityGroup", "description: shop front", "description: " + strings.Repeat("x", 513), "spec.ingress[0].description"},
	"GroupNoVPC":            {"SecurityGroup", "vpcName: prod", "vpcName: ''", "spec.vpcName"},
	"GroupType":             {"SecurityGroup", "type: Basic", "type: Huge", "spec.type"},
	"GroupInnerAccess":      {"SecurityGroup", "innerAccess: Accept", "innerAccess: Sometimes", "spec.innerAccess"},
	"GroupAdvancedInner":    {"SecurityGroup", "type: Basic", "type: Advanced", "no inner access"},
	"GroupAdvancedNames":    {"SecurityGroup", "type: Basic\n  innerAccess: Accept\n  ingress: [{policy: Accept, priority: 1, protocol: TCP, ports: 443/443, peer: {cidr: 0.0.0.0/0}", "type: Advanced\n  ingress: [{policy: Accept, priority: 1, protocol: TCP, ports: 443/443, peer: {groupName: db}", "cannot name groups"},
	"GroupNamesItself":      {"SecurityGroup", "peer: {cidr: 0.0.0.0/0}", "peer: {groupName: web}", "cannot name itself"},
	"GroupEgressItself":     {"SecurityGroup", "prefixListName: offices", "groupName: web", "cannot name itself"},
	"GroupManagement":       {"SecurityGroup", "type: Basic", "type: Basic\n  management: Robot", "spec.management"},
	"GroupProviderType":     {"SecurityGroup", "type: Basic", "type: Basic\n  provider: {type: Moon}", "spec.provider.type"},
	"GroupProviderID":       {"SecurityGroup", "type: Basic", "type: Basic\n  provider: {type: Hosts, id: sg-1}", "go with type AlibabaCloud"},
	"GroupCloudProtocol":    {"SecurityGroup", "innerAccess: Accept\n  ingress: [{policy: Accept, priority: 1, protocol: TCP, ports: 443/443", "provider: {type: AlibabaCloud}\n  ingress: [{policy: Accept, priority: 1, protocol: IPIP", "Alibaba Cloud knows"},
	"VPCBlock":              {"VPC", "cidrBlock: 192.168.0.0/16", "cidrBlock: 192.168.0.0", "no CIDR"},
	"VPCSecondary":          {"VPC", "[10.10.0.0/16]", "[ten]", "no CIDR"},
	"VPCIPv6":               {"VPC", "cidrBlock: 192.168.0.0/16", "cidrBlock: 192.168.0.0/16\n  ipv6CIDRBlock: 10.0.0.0/8", "no IPv6 CIDR"},
	"SubnetOutside":         {"VPC", "cidrBlock: 192.168.32.0/19", "cidrBlock: 192.169.32.0/19", "lies outside the VPC"},
	"SubnetsOverlap":        {"VPC", "cidrBlock: 192.168.32.0/19", "cidrBlock: 192.168.16.0/20", "subnets overlap"},
	"SubnetTwice":           {"VPC", "name: pods-a", "name: nodes-a", "Duplicate"},
	"SubnetNoName":          {"VPC", "name: pods-a", "name: ''", "name"},
	"SubnetBlock":           {"VPC", "cidrBlock: 192.168.32.0/19", "cidrBlock: pods", "no CIDR"},
	"ListFamily":            {"PrefixList", "addressFamily: IPv4", "addressFamily: IPv5", "spec.addressFamily"},
	"ListMixed":             {"PrefixList", "{cidr: 198.51.100.7}", "{cidr: '2001:db8::/32'}", "address famil"},
	"ListFull":              {"PrefixList", "maxEntries: 10", "maxEntries: 1", "more entries than maxEntries"},
	"ListTooLarge":          {"PrefixList", "maxEntries: 10", "maxEntries: 201", "spec.maxEntries"},
	"ListTwice":             {"PrefixList", "{cidr: 198.51.100.7}", "{cidr: 203.0.113.0/24}", "Duplicate"},
	"ListNoCIDR":            {"PrefixList", "{cidr: 198.51.100.7}", "{cidr: office}", "no CIDR"},
	"ClusterNoVPC":          {"Cluster", "vpcName: prod", "vpcName: ''", "spec.vpcName"},
	"ClusterMode":           {"Cluster", "mode: Terway", "mode: Magic", "spec.network.mode"},
	"ClusterTerwayPodCIDR":  {"Cluster", "podSubnets: [pods-a]", "podCIDRs: [172.20.0.0/16]", "want no podCIDRs"},
	"ClusterPodSubnets":     {"Cluster", "mode: Terway", "mode: Flannel", "want podCIDRs"},
	"ClusterOverlap":        {"Cluster", "mode: Terway, nodeSubnets: [nodes-a], podSubnets: [pods-a]", "mode: Flannel, nodeSubnets: [nodes-a], podCIDRs: [172.16.0.0/12]", "pod and service ranges overlap"},
	"ClusterServiceCIDR":    {"Cluster", "[172.21.0.0/20]", "[services]", "no CIDR"},
	"ClusterAPIServer":      {"Cluster", "addresses: [192.168.0.200]", "addresses: [192.168.0.0/24]", "no address"},
	"ClusterAPIServerPort":  {"Cluster", "port: 6443", "port: 65536", "spec.apiServer.port"},
	"ClusterWebhookPort":    {"Cluster", "[8443]", "[0]", "spec.webhookPorts[0]"},
	"ClusterExposure":       {"Cluster", "cidrs: [0.0.0.0/0]", "cidrs: []", "nobody is outside"},
	"ClusterExposurePorts":  {"Cluster", "protocol: TCP, ports: 443/443", "protocol: TCP", "must name ports"},
	"ClusterExposureProto":  {"Cluster", "protocol: TCP", "protocol: HTTP", "spec.exposures[0].protocol: Invalid value: unknown protocol"},
	"ClusterGroupBoth":      {"Cluster", "{type: Advanced", "{name: web, type: Advanced", "one or the other"},
	"ClusterGroupInner":     {"Cluster", "{type: Advanced", "{innerAccess: Accept, type: Advanced", "no inner access"},
	"ClusterGroupProfile":   {"Cluster", "profile: LeastPrivilege", "profile: Tight", "spec.securityGroup.profile"},
	"ClusterEncapsulation":  {"Cluster", "mode: Terway", "mode: Terway, encapsulation: Tunnel", "spec.network.encapsulation"},
	"PoolNoCluster":         {"NodePool", "clusterName: shop", "clusterName: ''", "spec.clusterName"},
	"PoolGroupBoth":         {"NodePool", "securityGroup: {}", "securityGroup: {names: [web], type: Basic}", "one or the other"},
	"PoolGroupProfileAlone": {"NodePool", "securityGroup: {}", "securityGroup: {profile: Recommended}", "go with a type"},
	"PoolTooManyGroups":     {"NodePool", "securityGroup: {}", "securityGroup: {names: [a, b, c, d, e, f, g, h, i, j, k]}", "spec.securityGroup.names"},
	"PoolEnforcement":       {"NodePool", "securityGroup: {}", "securityGroup: {}, enforcement: Perhaps", "spec.enforcement"},
	"HostAddress":           {"Host", "192.168.0.11,", "192.168.0.0/24,", "no address"},
	"HostRole":              {"Host", "[Worker]", "[Boss]", "spec.roles[0]"},
	"HostTooManyGroups":     {"Host", "[web]", "[a, b, c, d, e, f, g, h, i, j, k]", "spec.securityGroupNames"},
	"HostEnforcement":       {"Host", "roles: [Worker]", "roles: [Worker], enforcement: Perhaps", "spec.enforcement"},
}

func TestIllegalStatesAreUnwritable(t *testing.T) {
	kinds := definitions(t)
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(legal[f.kind], f.from, f.to, 1)
			if text == legal[f.kind] {
				t.Fatal("the case changes nothing")
			}
			k := kinds[f.kind]
			got := k.errors(t.Context(), object(t, named(f.kind, "web", text)), nil)
			if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, f.want) }) {
				t.Errorf("got %q, want an error with %q", got, f.want)
			}
		})
	}
}

func TestGroupPeersAreCounted(t *testing.T) {
	k := definitions(t)["SecurityGroup"]
	rule := "{protocol: TCP, ports: 1/2, peer: {groupName: db}}"
	for n, want := range map[int]bool{20: true, 21: false} {
		text := "\nspec: {vpcName: prod, ingress: [" + strings.Repeat(rule+", ", n-1) + rule + "]}"
		if got := k.errors(t.Context(), object(t, named("SecurityGroup", "web", text)), nil); (len(got) == 0) != want {
			t.Errorf("%d rules that name groups: %q, want legal: %t", n, got, want)
		}
	}
}

func TestWhatNeverChanges(t *testing.T) {
	kinds := definitions(t)
	for name, f := range map[string]fault{
		"GroupVPC":    {"SecurityGroup", "vpcName: prod", "vpcName: dev", "never moves to another VPC"},
		"GroupType":   {"SecurityGroup", "type: Basic\n  innerAccess: Accept", "type: Advanced", "type of a group never changes"},
		"ClusterVPC":  {"Cluster", "vpcName: prod", "vpcName: dev", "never moves to another VPC"},
		"PoolCluster": {"NodePool", "clusterName: shop", "clusterName: blog", "never moves to another cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			k := kinds[f.kind]
			old, updated := object(t, named(f.kind, "web", legal[f.kind])), object(t, named(f.kind, "web", strings.Replace(legal[f.kind], f.from, f.to, 1)))
			got := k.errors(t.Context(), updated, old)
			if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, f.want) }) {
				t.Errorf("got %q, want an error with %q", got, f.want)
			}
			if got := k.errors(t.Context(), object(t, named(f.kind, "web", legal[f.kind])), old); len(got) != 0 {
				t.Errorf("an update that changes nothing is refused: %q", got)
			}
		})
	}
}

// TestTypeIsBasicFromTheStart checks the one default: without it, a group that
// leaves the type out could be turned into an advanced one later.
func TestTypeIsBasicFromTheStart(t *testing.T) {
	k := definitions(t)["SecurityGroup"]
	old := object(t, named("SecurityGroup", "web", "\nspec: {vpcName: prod}"))
	if got := k.errors(t.Context(), object(t, named("SecurityGroup", "web", "\nspec: {vpcName: prod, type: Advanced}")), old); len(got) == 0 {
		t.Error("a group without type becomes advanced")
	}
}
