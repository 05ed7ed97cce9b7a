package convert_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

func TestTerraformPlan(t *testing.T) {
	v := mustParse(t, exports(t, "terraform", "plan.json"))
	var got []string
	for i := range v.Groups {
		g := &v.Groups[i]
		head := fmt.Sprintf("%s %s %s inner %v in %s", g.Name, g.Title, g.Type, g.InnerAccess, g.VPC)
		if g.TypeUnknown {
			head = g.Name + " of unknown type"
		}
		got = append(got, head)
		for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
			for _, l := range lines(g.Rules(d)) {
				got = append(got, "  "+d.String()+" "+l)
			}
		}
	}
	if diff := cmp.Diff([]string{
		`alicloud_security_group.jump["a"] jump-a basic inner false in alicloud_vpc.main`,
		"  ingress accept 1 TCP 22/22 CIDR 198.51.100.7",
		"  ingress accept 1 ICMP -1/-1 CIDR 0.0.0.0/0",
		`alicloud_security_group.jump["b"] jump-b basic inner false in alicloud_vpc.main`,
		"  ingress accept 1 TCP 22/22 CIDR 198.51.100.7",
		"  ingress accept 1 ICMP -1/-1 CIDR 0.0.0.0/0",
		"alicloud_security_group.web web basic inner true in alicloud_vpc.main", // nothing says Drop
		"  ingress accept 1 TCP 443/443 CIDR 0.0.0.0/0",
		`  ingress accept 5 TCP 8080/8080 GroupPeer alicloud_security_group.jump["a"]`,
		"  ingress accept 1 TCP 22/22 PrefixListPeer alicloud_ecs_prefix_list.offices",
		"  egress drop 100 ALL -1/-1 CIDR ::/0",
		"module.nodes.alicloud_security_group.this[0] nodes advanced inner false in alicloud_vpc.main",
		"  ingress accept 1 TCP 10250/10250 CIDR 192.168.0.0/19",
		"  ingress accept 1 TCP 10250/10250 CIDR 192.168.32.0/19",
		"  egress accept 1 ALL -1/-1 CIDR 0.0.0.0/0",
		"sg-bp1elsewhere000000001 of unknown type",
		"  ingress accept 1 TCP 22/22 CIDR 203.0.113.0/24", // and not the one that the plan deletes
	}, got); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	c := v.Clusters[0]
	if diff := cmp.Diff([]string{
		"shop Terway module.nodes.alicloud_security_group.this[0]",
		"[192.168.0.0/19 192.168.32.0/19]", "[192.168.64.0/19 192.168.96.0/19]",
		"[192.168.0.0/16] [10.10.0.0/16]", "[API server address]", "[module.nodes.alicloud_security_group.this[0]]",
	}, []string{
		fmt.Sprint(c.Title, " ", c.Facts.Mode, " ", c.Group),
		fmt.Sprint(c.Facts.NodeSubnets), fmt.Sprint(c.Facts.PodSubnets),
		fmt.Sprint(c.Facts.VPC, c.Facts.SecondaryVPC), fmt.Sprint(c.Unknown), fmt.Sprint(c.Pools[0].Groups),
	}); diff != "" {
		t.Errorf("cluster (-want +got):\n%s", diff)
	}
	if got := groupOf(t, v, "alicloud_security_group.web").IngressPlaces[0].Path; got != "/planned_values/root_module/resources/8" {
		t.Errorf("place of a rule: %s", got)
	}
}

func TestTerraformState(t *testing.T) {
	v := mustParse(t, exports(t, "terraform", "state.json"))
	g := groupOf(t, v, "sg-bp1blog0000000000001")
	if diff := cmp.Diff([]string{"accept 1 ALL -1/-1 CIDR 172.20.0.0/16", "accept 1 TCP 22/22 CIDR 10.159.6.18/12"}, lines(g.Ingress)); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	c := v.Clusters[0]
	if c.Facts.Mode != profiles.Flannel || fmt.Sprint(c.Facts.PodCIDRs, c.Facts.APIServer, c.Facts.APIServerPort) != "[172.20.0.0/16] [192.168.0.201/32] 6443" {
		t.Errorf("cluster facts: %+v", c.Facts)
	}
	if len(c.Pools) != 1 || c.Pools[0].ID != "np7bb68aecc47b4ac38f7c0c690d5f0004" || len(c.Unknown) != 0 {
		t.Errorf("pools %+v, unknown %v", c.Pools, c.Unknown)
	}
	if got := fmt.Sprint(v.VPCs[0].Secondary); got != "[10.10.0.0/16]" {
		t.Errorf("the provider tells the secondary CIDR twice: %s", got)
	}
}

// A tfResource is a resource of a small plan: what is known of its attributes,
// which ones are not, and what those refer to.
type tfResource struct {
	address, values, unknown, expressions string
}

// plan returns `terraform show -json` of a plan without modules.
func plan(resources ...tfResource) string {
	var planned, changes, config []string
	for _, r := range resources {
		base, key, keyed := strings.Cut(r.address, "[")
		kind, name, _ := strings.Cut(base, ".")
		index := ""
		if keyed {
			index = `,"index":` + strings.TrimSuffix(key, "]")
		}
		address := strings.ReplaceAll(r.address, `"`, `\"`)
		planned = append(planned, `{"address":"`+address+`","mode":"managed","type":"`+kind+`","name":"`+name+`"`+index+`,"values":{`+r.values+`}}`)
		changes = append(changes, `{"address":"`+address+`","change":{"actions":["create"],"after_unknown":{"id":true`+comma(r.unknown)+`}}}`)
		config = append(config, `{"address":"`+base+`","mode":"managed","type":"`+kind+`","name":"`+name+`","expressions":{`+r.expressions+`}}`)
	}
	return `{"format_version":"1.2","terraform_version":"1.11.4","planned_values":{"root_module":{"resources":[` + strings.Join(planned, ",") +
		`]}},"resource_changes":[` + strings.Join(changes, ",") + `],"configuration":{"root_module":{"resources":[` + strings.Join(config, ",") + `]}}}`
}

func comma(s string) string {
	if s == "" {
		return ""
	}
	return "," + s
}

func refers(attribute string, refs ...string) string {
	return `"` + attribute + `":{"references":["` + strings.ReplaceAll(strings.Join(refs, "\x00"), "\x00", `","`) + `"]}`
}

const ruleValues = `"type":"ingress","ip_protocol":"tcp","port_range":"22/22","policy":"accept","priority":1`

var webGroup = tfResource{"alicloud_security_group.web", `"security_group_name":"web","vpc_id":"vpc-1"`, `"inner_access_policy":true`, ""}

func TestTerraformReferences(t *testing.T) {
	two := []tfResource{
		{`alicloud_security_group.web[0]`, `"vpc_id":"vpc-1"`, "", ""},
		{`alicloud_security_group.web[1]`, `"vpc_id":"vpc-1"`, "", ""},
	}
	for name, tc := range map[string]struct {
		reason string
		files  []convert.File
		group  string
	}{
		"Direct": {
			"the common case",
			text(plan(webGroup, tfResource{
				"alicloud_security_group_rule.r", ruleValues + `,"cidr_ip":"10.0.0.0/8"`, `"security_group_id":true`,
				refers("security_group_id", "alicloud_security_group.web.id", "alicloud_security_group.web"),
			})),
			"alicloud_security_group.web",
		},
		"ThroughAnotherRule": {
			"an attribute of a resource that refers on",
			text(plan(webGroup,
				tfResource{
					"alicloud_security_group_rule.a", ruleValues + `,"cidr_ip":"10.0.0.0/8"`, `"security_group_id":true`,
					refers("security_group_id", "alicloud_security_group_rule.b.security_group_id", "alicloud_security_group_rule.b"),
				},
				tfResource{
					"alicloud_security_group_rule.b", ruleValues + `,"cidr_ip":"10.0.0.0/8"`, `"security_group_id":true`,
					refers("security_group_id", "alicloud_security_group.web.id", "alicloud_security_group.web"),
				})),
			"alicloud_security_group.web",
		},
		"Index": {
			"a fixed index",
			text(plan(append(two, tfResource{
				"alicloud_security_group_rule.r", ruleValues + `,"cidr_ip":"10.0.0.0/8"`, `"security_group_id":true`,
				refers("security_group_id", "alicloud_security_group.web[1].id", "alicloud_security_group.web[1]", "alicloud_security_group.web"),
			})...)),
			"alicloud_security_group.web[1]",
		},
		"CountIndex": {
			"the rule's own index",
			text(plan(append(two, tfResource{
				"alicloud_security_group_rule.r[1]", ruleValues + `,"cidr_ip":"10.0.0.0/8"`, `"security_group_id":true`,
				refers("security_group_id", "alicloud_security_group.web", "count.index"),
			})...)),
			"alicloud_security_group.web[1]",
		},
		"ExistingID": {
			"a group that the plan only changes has its id",
			text(plan(tfResource{"alicloud_security_group.web", `"id":"sg-1","vpc_id":"vpc-1"`, "", ""},
				tfResource{
					"alicloud_security_group_rule.r", ruleValues + `,"cidr_ip":"10.0.0.0/8"`, `"security_group_id":true`,
					refers("security_group_id", "alicloud_security_group.web.id", "alicloud_security_group.web"),
				})),
			"sg-1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := groupOf(t, mustParse(t, tc.files), tc.group)
			if len(g.Ingress) == 0 {
				t.Errorf("%s\nthe rule is not in group %s", tc.reason, tc.group)
			}
		})
	}
}

// modules is a plan in which the group of a rule is the output of one of two
// instances of a module, which hands on what a module within it makes.
const modules = `{"format_version":"1.2","planned_values":{"root_module":{
 "resources":[{"address":"alicloud_security_group_rule.r","mode":"managed","type":"alicloud_security_group_rule","name":"r",
  "values":{"type":"ingress","ip_protocol":"tcp","port_range":"22/22","cidr_ip":"10.0.0.0/8"}}],
 "child_modules":[
  {"address":"module.team[\"a.b\"]","child_modules":[{"address":"module.team[\"a.b\"].module.group","resources":[
   {"address":"module.team[\"a.b\"].module.group.alicloud_security_group.this","mode":"managed","type":"alicloud_security_group","name":"this","values":{"name":"ab"}}]}]},
  {"address":"module.team[\"c\"]","child_modules":[{"address":"module.team[\"c\"].module.group","resources":[
   {"address":"module.team[\"c\"].module.group.alicloud_security_group.this","mode":"managed","type":"alicloud_security_group","name":"this","values":{"name":"c"}}]}]}]}},
"resource_changes":[{"address":"alicloud_security_group_rule.r","change":{"actions":["create"],"after_unknown":{"id":true,"security_group_id":true}}}],
"configuration":{"root_module":{"resources":[{"address":"alicloud_security_group_rule.r","mode":"managed","type":"alicloud_security_group_rule","name":"r",
  "expressions":{"security_group_id":{"references":[REFERENCES]}}}],
 "module_calls":{"team":{"for_each_expression":{"constant_value":{"a.b":1,"c":2}},"module":{
  "outputs":{"group":{"expression":{"references":["module.group.group","module.group"]}},"fixed":{"expression":{"constant_value":"sg-1"}}},
  "module_calls":{"group":{"module":{
   "outputs":{"group":{"expression":{"references":["alicloud_security_group.this"]}}},
   "resources":[{"address":"alicloud_security_group.this","mode":"managed","type":"alicloud_security_group","name":"this","expressions":{}}]}}}}}}}}}`

func TestTerraformModules(t *testing.T) {
	refer := func(refs ...string) []convert.File {
		var quoted []string
		for _, r := range refs {
			quoted = append(quoted, `"`+strings.ReplaceAll(r, `"`, `\"`)+`"`)
		}
		return text(strings.Replace(modules, "REFERENCES", strings.Join(quoted, ","), 1))
	}
	const at = "0.json: /planned_values/root_module/resources/0/values/security_group_id"

	v := mustParse(t, refer(`module.team["a.b"].group.id`, `module.team["a.b"].group`, `module.team["a.b"]`))
	if g := groupOf(t, v, `module.team["a.b"].module.group.alicloud_security_group.this`); len(g.Ingress) != 1 {
		t.Errorf("the rule is not in the group of the module that it names: %+v", v.Groups)
	}
	refused(t, refer("module.team", "var.which"), at, "known only after apply")
	refused(t, refer(`module.team["d"].group`, `module.team["d"]`), at, "known only after apply")
	refused(t, refer("module.none.group", "module.none"), at, "known only after apply")
	refused(t, refer("module.team.group"), at, "cannot tell which of")
	refused(t, refer(`module.team["c"].fixed`, `module.team["c"]`), at, "known only after apply")
}

func TestTerraformAddonConfig(t *testing.T) {
	cluster := func(config string) string {
		return plan(
			tfResource{"alicloud_vswitch.nodes", `"vpc_id":"vpc-1","cidr_block":"10.0.0.0/24"`, "", ""},
			tfResource{"alicloud_vswitch.pods", `"vpc_id":"vpc-1","cidr_block":"10.0.1.0/24"`, "", ""},
			tfResource{
				"alicloud_cs_managed_kubernetes.k", `"name":"k","addons":[{"name":"terway-eniip"}]`,
				`"vswitch_ids":[true],"addons":[{"config":true}],"vpc_id":true`,
				refers("vswitch_ids", "alicloud_vswitch.nodes.id", "alicloud_vswitch.nodes") +
					`,"addons":[{"name":{"constant_value":"terway-eniip"},"config":{"references":[` + config + `]}}]`,
			})
	}
	c := mustParse(t, text(cluster(`"alicloud_vswitch.pods.id","alicloud_vswitch.pods"`))).Clusters[0]
	if got := fmt.Sprint(c.VPC, c.Facts.Mode, c.Facts.NodeSubnets, c.Facts.PodSubnets); got != "vpc-1Terway[10.0.0.0/24] [10.0.1.0/24]" {
		t.Errorf("pod subnets within jsonencode: %s", got)
	}
	c = mustParse(t, text(cluster(`"local.terway"`))).Clusters[0]
	if !slices.Contains(c.Unknown, convert.FactPodSubnets) {
		t.Errorf("unknown facts %v, want the pod subnets among them", c.Unknown)
	}
}

func TestTerraformInnerAccess(t *testing.T) {
	for name, tc := range map[string]struct {
		reason, values string
		want           bool
	}{
		"Unset":         {"the provider sets Accept", ``, true},
		"Null":          {"the same", `"inner_access_policy":null,`, true},
		"Drop":          {"written", `"inner_access_policy":"Drop",`, false},
		"Deprecated":    {"the old attribute", `"inner_access":false,`, false},
		"NewBeforeOld":  {"the provider prefers the new one", `"inner_access":false,"inner_access_policy":"Accept",`, true},
		"Enterprise":    {"has none", `"security_group_type":"enterprise",`, false},
		"EnterpriseAny": {"the provider ignores it", `"security_group_type":"enterprise","inner_access_policy":"Accept",`, false},
	} {
		t.Run(name, func(t *testing.T) {
			v := mustParse(t, text(plan(tfResource{"alicloud_security_group.web", tc.values + `"vpc_id":"vpc-1"`, "", ""})))
			if got := v.Groups[0].InnerAccess; got != tc.want {
				t.Errorf("%s: inner access %v", tc.reason, got)
			}
		})
	}
}

func TestBadTerraform(t *testing.T) {
	const at = "0.json: /planned_values/root_module/resources/0"
	one := func(values, unknown, expressions string) []convert.File {
		return text(plan(tfResource{"alicloud_security_group_rule.r", ruleValues + comma(values), unknown, expressions}))
	}
	cidr := `"cidr_ip":"10.0.0.0/8"`
	for name, tc := range map[string]struct {
		reason string
		files  []convert.File
		place  string
		want   []string
	}{
		"Empty":   {"a state without resources", text(`{"format_version":"1.0"}`), "0.json", []string{"neither planned_values nor values"}},
		"Errored": {"half a plan", text(`{"format_version":"1.2","errored":true,"planned_values":{}}`), "0.json: /errored", []string{"not complete"}},
		"UnknownCIDR": {
			"an address that the cloud will choose",
			one(`"security_group_id":"sg-1"`, `"cidr_ip":true`, refers("cidr_ip", "alicloud_eip.nat.ip_address", "alicloud_eip.nat")),
			at + "/values/cidr_ip",
			[]string{"alicloud_security_group_rule.r: ", "known only after apply", "alicloud_eip.nat.ip_address"},
		},
		"Local": {
			"a plan does not hold locals",
			one(cidr, `"security_group_id":true`, refers("security_group_id", "local.group")),
			at + "/values/security_group_id",
			[]string{"local.group"},
		},
		"Data": {
			"a data source is read later",
			one(cidr, `"security_group_id":true`, refers("security_group_id", "data.alicloud_security_groups.x.ids[0]", "data.alicloud_security_groups.x")),
			at + "/values/security_group_id",
			[]string{"known only after apply"},
		},
		"Circle": {
			"no plan has one, a file may",
			one(cidr, `"security_group_id":true`, refers("security_group_id", "alicloud_security_group_rule.r.security_group_id", "alicloud_security_group_rule.r")),
			at + "/values/security_group_id",
			[]string{"known only after apply"},
		},
		"OneOfTwo": {
			"a condition chooses",
			text(plan(tfResource{
				"alicloud_security_group_rule.r", ruleValues + comma(cidr), `"security_group_id":true`,
				refers("security_group_id", "alicloud_security_group.web.id", "alicloud_security_group.web", "alicloud_security_group.db.id", "alicloud_security_group.db"),
			},
				webGroup, tfResource{"alicloud_security_group.db", "", "", ""})),
			at + "/values/security_group_id",
			[]string{"cannot tell which of alicloud_security_group.web, alicloud_security_group.db"},
		},
		"NoGroup":  {"a rule belongs to a group", one(cidr, "", ""), at + "/values/security_group_id", []string{"no security_group_id"}},
		"NoPeer":   {"the provider has no default either", one(`"security_group_id":"sg-1"`, "", ""), at, []string{"alicloud_security_group_rule.r: no peer", "cidr_ip, ipv6_cidr_ip, source_security_group_id, prefix_list_id"}},
		"IPv6CIDR": {"the other attribute is meant", one(`"security_group_id":"sg-1","cidr_ip":"::/0"`, "", ""), at + "/values/cidr_ip", []string{"expected in ipv6_cidr_ip"}},
		"Type": {
			"a typing mistake", text(strings.Replace(plan(tfResource{"alicloud_security_group_rule.r", ruleValues + comma(cidr) + `,"security_group_id":"sg-1"`, "", ""}), "ingress", "in", 1)),
			at + "/values/type",
			[]string{`type "in": want ingress or egress`},
		},
		"TwoDocs":     {"plan and state of one stack", append(text(plan(webGroup)), convert.File{Name: "1.json", Data: []byte(plan(webGroup))}), "1.json: /planned_values/root_module/resources/0", []string{"alicloud_security_group.web"}},
		"ListEntry":   {"entries are looked at one by one", text(plan(tfResource{"alicloud_ecs_prefix_list.l", `"entry":[{"cidr":"10.0.0.0/8"},{"cidr":"10.0.0/8"}]`, "", ""})), at + "/values/entry/1/cidr", []string{"alicloud_ecs_prefix_list.l"}},
		"ListUnknown": {"an entry that the cloud will choose", text(plan(tfResource{"alicloud_ecs_prefix_list.l", `"entry":[{}]`, `"entry":[{"cidr":true}]`, ""})), at + "/values/entry", []string{"known only after apply"}},
		"VPCRange": {
			"without it, nothing can be judged", text(plan(tfResource{"alicloud_vpc.main", `"vpc_name":"x"`, `"cidr_block":true`, ""})),
			at + "/values/cidr_block",
			[]string{"alicloud_vpc.main: cidr_block is known only after apply"},
		},
		"IPv6Range": {
			"the cloud chooses it, and it is needed", text(plan(tfResource{"alicloud_vpc.main", `"cidr_block":"10.0.0.0/8","enable_ipv6":true`, `"ipv6_cidr_block":true`, ""})),
			at + "/values/ipv6_cidr_block",
			[]string{"known only after apply"},
		},
		"GroupType":      {"a third type", text(plan(tfResource{"alicloud_security_group.web", `"security_group_type":"other"`, "", ""})), at + "/values/security_group_type", []string{"want normal or enterprise"}},
		"AdvancedToPeer": {"advanced groups name no groups", text(plan(tfResource{"alicloud_security_group_rule.r", ruleValues + `,"security_group_id":"sg-1","source_security_group_id":"sg-2"`, "", ""}, tfResource{"alicloud_security_group.web", `"id":"sg-1","security_group_type":"enterprise"`, "", ""})), at, []string{"alicloud_security_group_rule.r: an advanced group cannot name group sg-2"}},
		"PoolOwner":      {"pools belong to a cluster", text(plan(tfResource{"alicloud_cs_kubernetes_node_pool.p", `"name":"p"`, "", ""})), at + "/values/cluster_id", []string{"no cluster_id"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Log(tc.reason)
			refused(t, tc.files, tc.place, tc.want...)
		})
	}
}

// TestTerraformScale keeps references cheap: every attribute looks into the
// configuration, and every reference into the resources.
func TestTerraformScale(t *testing.T) {
	resources := []tfResource{webGroup}
	for i := range 5000 {
		resources = append(resources, tfResource{
			fmt.Sprintf("alicloud_security_group_rule.r%d", i),
			ruleValues + fmt.Sprintf(`,"cidr_ip":"10.%d.%d.0/24"`, i/256, i%256), `"security_group_id":true`,
			refers("security_group_id", "alicloud_security_group.web.id", "alicloud_security_group.web"),
		})
	}
	v := mustParse(t, text(plan(resources...)))
	if got := len(v.Groups[0].Ingress); got != 5000 {
		t.Errorf("%d rules, want 5000", got)
	}
}

func FuzzConvertTerraform(f *testing.F) {
	for _, file := range exports(f, "terraform") {
		// Without white space the fuzzer has less to chew on.
		f.Add(bytes.Join(bytes.Fields(file.Data), []byte(" ")))
	}
	f.Add([]byte(plan(webGroup)))
	fuzz(f, "terraform")
}
