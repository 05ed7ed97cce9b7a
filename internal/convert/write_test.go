package convert_test

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/rules"
)

// written are rules with everything that a form may have to write.
func written() []rules.Rule {
	rule := func(d rules.Direction, p rules.Protocol, ports rules.PortRange, peer rules.Peer) rules.Rule {
		return rules.Rule{Direction: d, Action: rules.Accept, Priority: 7, Protocol: p, Ports: ports, Peer: peer}
	}
	https := rules.PortRange{First: 443, Last: 443}
	five := rule(rules.Ingress, rules.TCP, https, rules.MustCIDR("10.0.0.0/8"))
	five.Member, five.SourcePorts = netip.MustParsePrefix("192.168.0.10/32"), rules.PortRange{First: 1024, Last: 2048}
	said := rule(rules.Egress, rules.UDP, rules.PortRange{First: 1, Last: 65535}, rules.MustCIDR("2001:db8::/32"))
	said.Action, said.Description = rules.Drop, `it's "odd": $HOME ${x} %{y} \ #!`
	return []rules.Rule{
		five, said,
		rule(rules.Ingress, rules.AllProtocols, rules.PortRange{}, rules.GroupPeer{Name: "sg-other"}),
		rule(rules.Egress, rules.TCP, https, rules.PrefixListPeer{Name: "pl-offices"}),
		rule(rules.Ingress, rules.ICMPv6, rules.PortRange{}, rules.MustCIDR("::/0")),
		rule(rules.Ingress, rules.GRE, rules.PortRange{}, rules.MustCIDR("10.159.6.18/12")),
	}
}

func TestAliyunCommands(t *testing.T) {
	var edits []rules.Edit
	for _, r := range written() {
		edits = append(edits, rules.Edit{Group: "sg-1", Rule: r})
	}
	edits = append(edits, rules.Edit{Remove: true, Group: "sg-1", Rule: written()[1]})
	got, err := convert.AliyunCommands("cn-hangzhou", edits)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"aliyun ecs AuthorizeSecurityGroup --RegionId cn-hangzhou --SecurityGroupId sg-1 --Permissions.1.IpProtocol TCP --Permissions.1.PortRange 443/443 --Permissions.1.SourceCidrIp 10.0.0.0/8 --Permissions.1.Policy accept --Permissions.1.Priority 7 --Permissions.1.DestCidrIp 192.168.0.10/32 --Permissions.1.SourcePortRange 1024/2048",
		`aliyun ecs AuthorizeSecurityGroupEgress --RegionId cn-hangzhou --SecurityGroupId sg-1 --Permissions.1.IpProtocol UDP --Permissions.1.PortRange 1/65535 --Permissions.1.Ipv6DestCidrIp 2001:db8::/32 --Permissions.1.Policy drop --Permissions.1.Priority 7 --Permissions.1.Description 'it'\''s "odd": $HOME ${x} %{y} \ #!'`,
		"aliyun ecs AuthorizeSecurityGroup --RegionId cn-hangzhou --SecurityGroupId sg-1 --Permissions.1.IpProtocol ALL --Permissions.1.PortRange -1/-1 --Permissions.1.SourceGroupId sg-other --Permissions.1.Policy accept --Permissions.1.Priority 7",
		"aliyun ecs AuthorizeSecurityGroupEgress --RegionId cn-hangzhou --SecurityGroupId sg-1 --Permissions.1.IpProtocol TCP --Permissions.1.PortRange 443/443 --Permissions.1.DestPrefixListId pl-offices --Permissions.1.Policy accept --Permissions.1.Priority 7",
		"aliyun ecs AuthorizeSecurityGroup --RegionId cn-hangzhou --SecurityGroupId sg-1 --Permissions.1.IpProtocol ICMPv6 --Permissions.1.PortRange -1/-1 --Permissions.1.Ipv6SourceCidrIp ::/0 --Permissions.1.Policy accept --Permissions.1.Priority 7 --Permissions.2.IpProtocol GRE --Permissions.2.PortRange -1/-1 --Permissions.2.SourceCidrIp 10.159.6.18/12 --Permissions.2.Policy accept --Permissions.2.Priority 7",
		"aliyun ecs RevokeSecurityGroupEgress --RegionId cn-hangzhou --SecurityGroupId sg-1 --Permissions.1.IpProtocol UDP --Permissions.1.PortRange 1/65535 --Permissions.1.Ipv6DestCidrIp 2001:db8::/32 --Permissions.1.Policy drop --Permissions.1.Priority 7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	many := make([]rules.Edit, 101)
	for i := range many {
		many[i] = edits[0]
	}
	if got, _ := convert.AliyunCommands("", many); len(got) != 2 {
		t.Errorf("101 rules in %d commands, want 2: a call takes 100", len(got))
	}
	if _, err := convert.AliyunCommands("", []rules.Edit{{Group: "g", Rule: rules.Rule{Protocol: rules.VRRP}}}); err == nil {
		t.Error("VRRP is no protocol of ECS")
	}
	if got, _ := convert.AliyunCommands("", []rules.Edit{{Group: "$SECURITY_GROUP_ID", Rule: written()[0]}}); !strings.Contains(got[0], `--SecurityGroupId "$SECURITY_GROUP_ID"`) {
		t.Errorf("a shell variable stays one: %s", got[0])
	}
}

// TestShellReadsTheCommands lets a real shell split the words.
func TestShellReadsTheCommands(t *testing.T) {
	got, err := convert.AliyunCommands("", []rules.Edit{{Group: "sg-1", Rule: written()[1]}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", `aliyun() { printf '%s\n' "$@"; }; `+got[0]).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if last := lines[len(lines)-1]; last != written()[1].Description {
		t.Errorf("the shell reads the description as %q", last)
	}
}

func TestTerraformRule(t *testing.T) {
	list := written()
	for name, tc := range map[string]struct {
		group string
		rule  rules.Rule
		want  []string
	}{
		"Literal":   {"sg-1", list[2], []string{`security_group_id        = "sg-1"`, `source_security_group_id = "sg-other"`, `ip_protocol              = "all"`}},
		"Address":   {"alicloud_security_group.web", list[4], []string{"security_group_id = alicloud_security_group.web.id", `ipv6_cidr_ip      = "::/0"`, `"icmpv6"`}},
		"Attribute": {"alicloud_security_group.web.id", list[5], []string{"= alicloud_security_group.web.id\n"}},
		"Index":     {`alicloud_security_group.web["a"]`, list[5], []string{`= alicloud_security_group.web["a"].id`, `"alicloud_security_group_web__a___ingress`}},
		"Module":    {"module.nodes.alicloud_security_group.this[0]", list[5], []string{"# in module.nodes:\nresource", "= alicloud_security_group.this[0].id"}},
		"Variable":  {"var.group", list[3], []string{"= var.group", `prefix_list_id    = "pl-offices"`}},
		"Quoted":    {"sg-1", list[1], []string{`description       = "it's \"odd\": $HOME $${x} %%{y} \\ #!"`}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := convert.TerraformRule(tc.group, &tc.rule)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
		})
	}
	if _, err := convert.TerraformRule("sg-1", &list[0]); err == nil {
		t.Error("the resource has no five-tuple rules")
	}
	if _, err := convert.TerraformRule("sg-1", &rules.Rule{Protocol: rules.ESP}); err == nil {
		t.Error("ESP is no protocol of ECS")
	}
}

// TestManifestIsReadBack writes a group and reads it: nothing is lost.
func TestManifestIsReadBack(t *testing.T) {
	g := rules.Group{Name: "web", Type: rules.Basic, InnerAccess: true, VPC: "prod"}
	for _, r := range written() {
		if r.Direction == rules.Egress {
			g.Egress = append(g.Egress, r)
		} else {
			g.Ingress = append(g.Ingress, r)
		}
	}
	const around = `
apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec: {cidrBlock: 192.168.0.0/16}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: sg-other}
spec: {vpcName: prod, type: Basic}
---
apiVersion: ringfence.dev/v1alpha1
kind: PrefixList
metadata: {name: pl-offices}
spec: {entries: [{cidr: 203.0.113.0/24}]}
`
	inv, err := convert.Parse([]convert.File{{Name: "around", Data: []byte(around)}, {Name: "group", Data: []byte(convert.ManifestGroup(&g))}})
	if err != nil {
		t.Fatalf("%v\n%s", err, convert.ManifestGroup(&g))
	}
	got, _ := inv.Group("web")
	if diff := cmp.Diff(g, got.Group, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("-written +read:\n%s", diff)
	}
}

func TestEditTexts(t *testing.T) {
	rule := written()[5]
	system := rule
	system.Row = "BI-R2"
	for name, tc := range map[string]struct {
		target convert.Target
		edit   rules.Edit
		want   string
	}{
		"Cloud":         {convert.Target{Origin: convert.Cloud}, rules.Edit{Group: "sg-1", Rule: rule}, "aliyun ecs AuthorizeSecurityGroup --SecurityGroupId sg-1"},
		"CloudCannot":   {convert.Target{Origin: convert.Cloud}, rules.Edit{Group: "sg-1", Rule: rules.Rule{Protocol: rules.ESP, Peer: rule.Peer}}, "add to sg-1: ingress drop ESP"},
		"Terraform":     {convert.Target{Origin: convert.Terraform}, rules.Edit{Group: "sg-1", Rule: rule}, "resource \"alicloud"},
		"TerraformGone": {convert.Target{Origin: convert.Terraform}, rules.Edit{Remove: true, Group: "sg-1", Rule: rule}, "remove from sg-1: ingress accept GRE"},
		"Manifest":      {convert.Target{}, rules.Edit{Group: "web", Rule: rule}, "add to spec.ingress of SecurityGroup web: {policy: Accept"},
		"ManifestGone":  {convert.Target{}, rules.Edit{Remove: true, Group: "web", Rule: rule}, "remove from spec.ingress of SecurityGroup web"},
		"ManifestRow":   {convert.Target{}, rules.Edit{Remove: true, Group: "web", Rule: system}, "rule BI-R2 in status.systemIngress of SecurityGroup web is written by the controllers"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := convert.EditTexts(tc.target, []rules.Edit{tc.edit}); len(got) != 1 || !strings.HasPrefix(got[0], tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
