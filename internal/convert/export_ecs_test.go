package convert_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/rules"
)

// exports reads files of a folder below testdata; without names, all of them.
func exports(tb testing.TB, folder string, names ...string) []convert.File {
	tb.Helper()
	if len(names) == 0 {
		found, err := filepath.Glob(filepath.Join("testdata", folder, "*.json"))
		if err != nil || len(found) == 0 {
			tb.Fatalf("no files in testdata/%s: %v", folder, err)
		}
		for _, f := range found {
			names = append(names, filepath.Base(f))
		}
	}
	var files []convert.File
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join("testdata", folder, name))
		if err != nil {
			tb.Fatal(err)
		}
		files = append(files, convert.File{Name: name, Data: data})
	}
	return files
}

// text makes files of texts, named 0.json, 1.json and so on.
func text(texts ...string) []convert.File {
	var files []convert.File
	for i, s := range texts {
		files = append(files, convert.File{Name: fmt.Sprintf("%d.json", i), Data: []byte(s)})
	}
	return files
}

func mustParse(t *testing.T, files []convert.File) *convert.Inventory {
	t.Helper()
	v, err := convert.Parse(files)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return v
}

// refused checks that Parse fails with an input error at a place, in words
// that hold all of want.
func refused(t *testing.T, files []convert.File, place string, want ...string) {
	t.Helper()
	v, err := convert.Parse(files)
	if err == nil {
		t.Fatalf("Parse: no error, want one at %s", place)
	}
	if v != nil {
		t.Errorf("Parse: an inventory beside the error %v", err)
	}
	input, ok := errors.AsType[*convert.InputError](err)
	if !ok {
		t.Fatalf("Parse: %v is no input error", err)
	}
	if input.Place.String() != place {
		t.Errorf("Parse: error at %q, want %q: %v", input.Place, place, err)
	}
	for _, w := range want {
		if !strings.Contains(input.Err.Error(), w) {
			t.Errorf("Parse: %q, want it to say %q", input.Err, w)
		}
	}
}

// lines describes rules one a line.
func lines(list []rules.Rule) []string {
	var out []string
	for _, r := range list {
		s := fmt.Sprintf("%s %d %s %s %T %s", r.Action, r.Priority, r.Protocol, r.Ports, r.Peer, r.Peer)
		if r.Member.IsValid() {
			s += " member " + r.Member.String()
		}
		if !r.SourcePorts.IsZero() {
			s += " from " + r.SourcePorts.String()
		}
		out = append(out, strings.ReplaceAll(s, "rules.", ""))
	}
	return out
}

func groupOf(t *testing.T, v *convert.Inventory, id string) *convert.Group {
	t.Helper()
	g, ok := v.Group(id)
	if !ok {
		t.Fatalf("no group %s", id)
	}
	return g
}

func TestECSExports(t *testing.T) {
	v := mustParse(t, exports(t, "ecs"))

	web := groupOf(t, v, "sg-bp1web00000000000001")
	if web.TypeUnknown || web.RulesUnknown || web.Type != rules.Basic || !web.InnerAccess || web.Title != "web" || web.Origin != convert.Cloud {
		t.Errorf("group web: %+v", web)
	}
	if diff := cmp.Diff([]string{
		"accept 1 TCP 22/22 CIDR 10.159.6.18/12",
		"accept 100 ICMP -1/-1 CIDR 0.0.0.0/0",
		"accept 10 TCP 3306/3306 GroupPeer sg-bp1db000000000000002",
		"accept 2 UDP 53/53 PrefixListPeer pl-bp1offices0000000001",
		"accept 1 TCP 443/443 CIDR 2001:db8::/32",
		"accept 1 TCP 8080/8081 CIDR 172.16.0.7 member 192.168.0.0/25 from 1024/65535",
	}, lines(web.Ingress)); diff != "" {
		t.Errorf("ingress of web (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"drop 100 ALL -1/-1 CIDR 0.0.0.0/0",
		"accept 1 TCP 443/443 GroupPeer sg-bp1db000000000000002 member 192.168.0.0/25",
	}, lines(web.Egress)); diff != "" {
		t.Errorf("egress of web (-want +got):\n%s", diff)
	}
	if got := web.EgressPlaces[1].String(); got != "attribute-web.json: /Permissions/Permission/7" {
		t.Errorf("place of web's second egress rule: %s", got)
	}
	if diff := cmp.Diff("[192.168.0.11/32 192.168.0.12/32 192.168.0.21/32 192.168.1.16/28 2001:db8:0:1::11/128 2001:db8:0:1:8::/80]",
		fmt.Sprint(web.Members)); diff != "" {
		t.Errorf("members of web (-want +got):\n%s", diff)
	}

	nodes := groupOf(t, v, "sg-bp1adv00000000000003")
	if nodes.TypeUnknown || nodes.Type != rules.Advanced || nodes.InnerAccess || len(nodes.Ingress) != 2 || len(nodes.Egress) != 1 {
		t.Errorf("group nodes, listed in two pages: %+v", nodes)
	}
	if db := groupOf(t, v, "sg-bp1db000000000000002"); !db.RulesUnknown || db.TypeUnknown {
		t.Errorf("group db, whose rules no file lists: %+v", db)
	}
	if got := v.PrefixLists["pl-bp1offices0000000001"]; len(got.Entries) != 2 || got.MaxEntries != 10 {
		t.Errorf("prefix list: %+v", got)
	}
	if diff := cmp.Diff("[192.168.0.0/16 2001:db8:0::/56] [10.10.0.0/16]", fmt.Sprint(v.VPCs[0].CIDRs, v.VPCs[0].Secondary)); diff != "" {
		t.Errorf("VPC (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("[192.168.0.0/19 2001:db8:0:1::/64]", fmt.Sprint(v.Subnets[0].CIDRs)); diff != "" {
		t.Errorf("subnet (-want +got):\n%s", diff)
	}
}

func TestInstancesAlone(t *testing.T) {
	for _, name := range []string{"instances.json", "instances-pager.json"} {
		v := mustParse(t, exports(t, "ecs", name))
		if len(v.Interfaces) != 1 {
			t.Fatalf("%s: %d interfaces, want the instance's primary one", name, len(v.Interfaces))
		}
		got := v.Interfaces[0]
		// Not the public address, and not the secondary interface, whose groups
		// this export does not tell.
		if diff := cmp.Diff("[192.168.0.11/32 192.168.0.12/32 2001:db8:0:1::11/128] [sg-bp1web00000000000001] vpc-bp1a2b3c4d5e6f7g8h9i0",
			fmt.Sprint(got.Addresses, got.Groups, " ", got.VPC)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// attribute returns DescribeSecurityGroupAttribute with one rule, made of the
// members of an ordinary one and those given.
func attribute(inner string, members ...string) string {
	rule := map[string]string{
		"Direction": `"ingress"`, "Policy": `"Accept"`, "Priority": `"1"`, "IpProtocol": `"TCP"`, "PortRange": `"22/22"`,
		"SourceCidrIp": `"10.0.0.0/8"`, "NicType": `"intranet"`,
	}
	for _, m := range members {
		name, value, _ := strings.Cut(m, "=")
		rule[name] = value
	}
	var list []string
	for name, value := range rule {
		list = append(list, `"`+name+`":`+value)
	}
	return `{"SecurityGroupId":"sg-1","VpcId":"vpc-1","InnerAccessPolicy":"` + inner + `","NextToken":"",` +
		`"Permissions":{"Permission":[{` + strings.Join(list, ",") + `}]}}`
}

func described(kind string) string {
	return `{"TotalCount":1,"SecurityGroups":{"SecurityGroup":[{"SecurityGroupId":"sg-1","SecurityGroupType":"` + kind + `","VpcId":"vpc-1"}]}}`
}

func TestGroupType(t *testing.T) {
	for name, tc := range map[string]struct {
		reason  string
		files   []convert.File
		unknown bool
		want    rules.GroupType
	}{
		"AloneWithDrop": {
			"DescribeSecurityGroupAttribute does not tell the type, and both types may look like this",
			text(attribute("Drop")), true, rules.Basic,
		},
		"AloneWithAccept": {"only basic groups have inner access", text(attribute("Accept")), false, rules.Basic},
		"AloneWithGroupPeer": {
			"only basic groups name groups",
			text(attribute("Drop", `SourceCidrIp=""`, `SourceGroupId="sg-2"`)), false, rules.Basic,
		},
		"Described":       {"DescribeSecurityGroups tells it", text(attribute("Drop"), described("enterprise")), false, rules.Advanced},
		"DescribedBefore": {"in any order", text(described("normal"), attribute("Drop")), false, rules.Basic},
	} {
		t.Run(name, func(t *testing.T) {
			g := groupOf(t, mustParse(t, tc.files), "sg-1")
			if g.TypeUnknown != tc.unknown || g.Type != tc.want || g.RulesUnknown || len(g.Ingress) != 1 {
				t.Errorf("%s\ngot type %s, unknown %v, rules unknown %v, %d rules", tc.reason, g.Type, g.TypeUnknown, g.RulesUnknown, len(g.Ingress))
			}
		})
	}
}

func TestECSRule(t *testing.T) {
	for name, tc := range map[string]struct {
		reason  string
		members []string
		want    string
	}{
		"CIDRBeforeGroup":    {"ECS ignores the group then", []string{`SourceGroupId="sg-2"`, `SourcePrefixListId="pl-1"`}, "accept 1 TCP 22/22 CIDR 10.0.0.0/8"},
		"GroupBeforeList":    {"ECS ignores the list then", []string{`SourceCidrIp=""`, `SourceGroupId="sg-2"`, `SourcePrefixListId="pl-1"`}, "accept 1 TCP 22/22 GroupPeer sg-2"},
		"IPv6BeforeGroup":    {"as IPv4", []string{`SourceCidrIp=""`, `Ipv6SourceCidrIp="2001:DB8::1/64"`, `SourceGroupId="sg-2"`}, "accept 1 TCP 22/22 CIDR 2001:DB8::1/64"},
		"PriorityAsNumber":   {"the reference's own example prints a number", []string{`Priority=7`}, "accept 7 TCP 22/22 CIDR 10.0.0.0/8"},
		"OldDefaultPriority": {"default groups of before 27 May 2020 have 110", []string{`Priority=110`}, "accept 100 TCP 22/22 CIDR 10.0.0.0/8"},
		"AnyCase":            {"requests may be in any case, and old answers are", []string{`Policy="DROP"`, `IpProtocol="udp"`, `Direction="INGRESS"`}, "drop 1 UDP 22/22 CIDR 10.0.0.0/8"},
		"ProtocolNumber":     {"some regions know IANA numbers", []string{`IpProtocol="50"`, `PortRange="-1/-1"`}, "accept 1 ESP -1/-1 CIDR 10.0.0.0/8"},
		"ListBesidePorts":    {"a port range list is ignored beside a range", []string{`PortRangeListId="prl-1"`}, "accept 1 TCP 22/22 CIDR 10.0.0.0/8"},
		"NullMembers":        {"null is not set", []string{`SourceGroupId=null`, `SourcePortRange=null`}, "accept 1 TCP 22/22 CIDR 10.0.0.0/8"},
	} {
		t.Run(name, func(t *testing.T) {
			g := groupOf(t, mustParse(t, text(attribute("Accept", tc.members...))), "sg-1")
			if diff := cmp.Diff([]string{tc.want}, lines(g.Ingress)); diff != "" {
				t.Errorf("%s\n(-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestBadECSRule(t *testing.T) {
	const at = "0.json: /Permissions/Permission/0"
	for name, tc := range map[string]struct {
		reason  string
		members []string
		place   string
		want    []string
	}{
		"NoDirection":       {"nothing says whose side the ports are on", []string{`Direction=""`}, at + "/Direction", []string{"want ingress or egress"}},
		"NoPolicy":          {"a rule without a policy does nothing that we know", []string{`Policy=""`}, at + "/Policy", []string{"want Accept or Drop"}},
		"Priority0":         {"1 is the first", []string{`Priority="0"`}, at + "/Priority", []string{"1 (first) to 100 (last)"}},
		"Priority101":       {"100 is the last", []string{`Priority=101`}, at + "/Priority", []string{`"101"`}},
		"DropAt110":         {"unlike an accept, a drop at 110 is weaker than an accept at 100", []string{`Priority=110`, `Policy="Drop"`}, at + "/Priority", []string{`"110"`}},
		"PriorityList":      {"a list is no number", []string{`Priority=[1]`}, at + "/Priority", []string{"want text or a number"}},
		"Protocol":          {"a name that nobody has", []string{`IpProtocol="TPC"`}, at + "/IpProtocol", []string{`"TPC"`, "want ALL, TCP"}},
		"SinglePort":        {"ECS refuses it too", []string{`PortRange="22"`}, at + "/PortRange", []string{"want FIRST/LAST"}},
		"NoPorts":           {"TCP has ports", []string{`PortRange="-1/-1"`}, at, []string{"protocol TCP must name its ports"}},
		"SourcePorts":       {"same syntax", []string{`SourcePortRange="9/1"`}, at + "/SourcePortRange", []string{"want FIRST/LAST"}},
		"PortRangeList":     {"there is no way yet to read the list", []string{`PortRange=""`, `PortRangeListId="prl-1"`}, at + "/PortRangeListId", []string{"not supported yet", "write one rule"}},
		"NoPeer":            {"there is no anybody by default", []string{`SourceCidrIp=""`}, at, []string{"no peer", "SourceCidrIp, Ipv6SourceCidrIp, SourceGroupId, SourcePrefixListId"}},
		"NoPeerEgress":      {"the peer of egress is the destination", []string{`Direction="egress"`}, at, []string{"no peer", "DestCidrIp"}},
		"BothFamilies":      {"ECS refuses it (InvalidParam.SourceIp)", []string{`Ipv6SourceCidrIp="::/0"`}, at + "/Ipv6SourceCidrIp", []string{"exclude each other"}},
		"IPv6InIPv4Field":   {"the other field is meant", []string{`SourceCidrIp="2001:db8::/32"`}, at + "/SourceCidrIp", []string{"wants IPv4", "expected in Ipv6SourceCidrIp"}},
		"IPv4InIPv6Field":   {"the other field is meant", []string{`SourceCidrIp=""`, `Ipv6SourceCidrIp="10.0.0.0/8"`}, at + "/Ipv6SourceCidrIp", []string{"wants IPv6", "expected in SourceCidrIp"}},
		"BadCIDR":           {"a typing mistake", []string{`SourceCidrIp="10.0.0/8"`}, at + "/SourceCidrIp", []string{"no CIDR"}},
		"MemberOfOtherKind": {"mixed families match nothing", []string{`Ipv6DestCidrIp="2001:db8::/64"`}, at, []string{"different address families"}},
		"MemberGroup":       {"an ingress rule has no destination group", []string{`DestGroupId="sg-2"`}, at + "/DestGroupId", []string{"an ingress rule cannot have DestGroupId"}},
		"ICMPv6WithIPv4":    {"ECS refuses it", []string{`IpProtocol="ICMPv6"`, `PortRange="-1/-1"`}, at, []string{"use ICMP"}},
		"ItsOwnGroup":       {"ECS refuses it", []string{`SourceCidrIp=""`, `SourceGroupId="sg-1"`}, at, []string{"cannot name itself"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Log(tc.reason)
			refused(t, text(attribute("Drop", tc.members...)), tc.place, tc.want...)
		})
	}
}

func TestBadECSExport(t *testing.T) {
	page := strings.Replace(attribute("Drop"), `"NextToken":""`, `"NextToken":"x"`, 1)
	eni := func(groups string) string {
		return `{"NetworkInterfaceSets":{"NetworkInterfaceSet":[{"NetworkInterfaceId":"eni-1","PrivateIpAddress":"10.0.0.1","SecurityGroupIds":{"SecurityGroupId":[` + groups + `]}}]}}`
	}
	for name, tc := range map[string]struct {
		reason string
		files  []convert.File
		place  string
		want   []string
	}{
		"MergedPages": {
			"aliyun --pager prints the list alone", text(`{"Permissions":{"Permission":[]}}`),
			"0.json: /SecurityGroupId",
			[]string{"--pager"},
		},
		"NoInnerAccess": {
			"it decides what members of a basic group may do", text(`{"SecurityGroupId":"sg-1","Permissions":{"Permission":[]}}`, described("normal")),
			"0.json: /InnerAccessPolicy",
			[]string{"want Accept or Drop"},
		},
		"EnterpriseWithAccept": {
			"advanced groups have no inner access", text(attribute("Accept"), described("enterprise")),
			"1.json: /SecurityGroups/SecurityGroup/0",
			[]string{"sg-1", "type"},
		},
		"EnterpriseWithGroupPeer": {
			"advanced groups name no groups", text(described("enterprise"), attribute("Drop", `SourceCidrIp=""`, `SourceGroupId="sg-2"`)),
			"0.json: /SecurityGroups/SecurityGroup/0",
			[]string{"sg-1", "type"},
		},
		"OtherVPC": {
			"a group has one VPC", text(attribute("Drop"), strings.Replace(described("normal"), "vpc-1", "vpc-2", 1)),
			"1.json: /SecurityGroups/SecurityGroup/0",
			[]string{"VPC"},
		},
		"UnknownType": {
			"a third type would have rules of its own", text(described("managed")),
			"0.json: /SecurityGroups/SecurityGroup/0/SecurityGroupType",
			[]string{"want normal or enterprise"},
		},
		"NoLastPage": {
			"half a group is worse than none", text(page),
			"0.json",
			[]string{"another page follows"},
		},
		"MissingPage": {
			"the count says so", text(`{"TotalCount":12,"PageNumber":1,"PageSize":10,"Vpcs":{"Vpc":[{"VpcId":"vpc-1","CidrBlock":"10.0.0.0/8"}]}}`),
			"0.json",
			[]string{"lists 1 of 12"},
		},
		"Classic": {
			"rules for public interfaces mean something else",
			text(strings.Replace(attribute("Drop", `NicType="internet"`), `"VpcId":"vpc-1"`, `"VpcId":""`, 1)),
			"0.json: /Permissions/Permission/0/NicType",
			[]string{"classic network"},
		},
		"WrongKind": {
			"an object where a list belongs", text(`{"SecurityGroupId":"sg-1","InnerAccessPolicy":"Drop","Permissions":{"Permission":{}}}`),
			"0.json: /Permissions/Permission",
			[]string{"want a list"},
		},
		"InterfaceGroups": {
			"an interface is in one set of groups", text(eni(`"sg-1"`), eni(`"sg-2"`)),
			"1.json: /NetworkInterfaceSets/NetworkInterfaceSet/0",
			[]string{"eni-1", "list of groups"},
		},
		"Address": {
			"a typing mistake", text(strings.Replace(eni(`"sg-1"`), "10.0.0.1", "10.0.0.256", 1)),
			"0.json: /NetworkInterfaceSets/NetworkInterfaceSet/0/PrivateIpAddress",
			[]string{"10.0.0.256"},
		},
		"NoVPCRange": {
			"every VPC has one", text(`{"Vpcs":{"Vpc":[{"VpcId":"vpc-1"}]}}`),
			"0.json: /Vpcs/Vpc/0/CidrBlock",
			[]string{"no CidrBlock"},
		},
		"SubnetFamily": {
			"IPv6 stands in its own field", text(`{"VSwitches":{"VSwitch":[{"VSwitchId":"vsw-1","VpcId":"vpc-1","CidrBlock":"2001:db8::/64"}]}}`),
			"0.json: /VSwitches/VSwitch/0/CidrBlock",
			[]string{"want IPv4"},
		},
		"ListFamily": {
			"a prefix list has one family", text(`{"PrefixListId":"pl-1","AddressFamily":"IPv6","Entries":{"Entry":[{"Cidr":"10.0.0.0/8"}]}}`),
			"0.json: /Entries/Entry/0/Cidr",
			[]string{"want IPv6"},
		},
		"MissingList": {
			"nobody can say who may come in", text(attribute("Drop", `SourceCidrIp=""`, `SourcePrefixListId="pl-1"`)),
			"0.json: /Permissions/Permission/0",
			[]string{"pl-1", "DescribePrefixListAttributes"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Log(tc.reason)
			refused(t, tc.files, tc.place, tc.want...)
		})
	}
}

// TestNoInnerAccessOfAdvanced checks that what an advanced group does not have
// need not be told.
func TestNoInnerAccessOfAdvanced(t *testing.T) {
	v := mustParse(t, text(`{"SecurityGroupId":"sg-1","Permissions":{"Permission":[]}}`, described("enterprise")))
	if g := groupOf(t, v, "sg-1"); g.Type != rules.Advanced || g.InnerAccess {
		t.Errorf("got %s, inner access %t; want advanced without", g.Type, g.InnerAccess)
	}
}

func TestMissingIDs(t *testing.T) {
	for input, place := range map[string]string{
		`{"SecurityGroups":{"SecurityGroup":[{"SecurityGroupType":"normal"}]}}`:              "/SecurityGroups/SecurityGroup/0/SecurityGroupId",
		`{"NetworkInterfaceSets":{"NetworkInterfaceSet":[{"PrivateIpAddress":"10.0.0.1"}]}}`: "/NetworkInterfaceSets/NetworkInterfaceSet/0/NetworkInterfaceId",
		`{"Instances":{"Instance":[{}]}}`:                                                    "/Instances/Instance/0/InstanceId",
		`{"Vpcs":{"Vpc":[{"CidrBlock":"10.0.0.0/8"}]}}`:                                      "/Vpcs/Vpc/0/VpcId",
		`{"VSwitches":{"VSwitch":[{"CidrBlock":"10.0.0.0/8"}]}}`:                             "/VSwitches/VSwitch/0/VSwitchId",
		`{"PrefixListId":"","Entries":{"Entry":[]}}`:                                         "/PrefixListId",
		`{"cluster_id":""}`: "/cluster_id",
	} {
		refused(t, text(input), "0.json: "+place, "want one such as")
	}
}

func TestPrefixListPages(t *testing.T) {
	refused(t, text(`{"PrefixListId":"pl-1","NextToken":"x","Entries":{"Entry":[{"Cidr":"10.0.0.0/8"}]}}`), "0.json", "pl-1", "another page follows")
}

func TestSeveralMistakes(t *testing.T) {
	bad := strings.Replace(attribute("Drop", `Priority="0"`), `"Permission":[`, `"Permission":[{"Direction":"sideways"},`, 1)
	_, err := convert.Parse(text(bad))
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("Parse: %v, want the mistakes of both rules", err)
	}
}

// fuzz checks that Parse never panics and never answers beside an error.
func fuzz(f *testing.F, folder string) {
	f.Helper()
	for _, file := range exports(f, folder) {
		f.Add(file.Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := convert.Parse([]convert.File{{Name: "in.json", Data: data}})
		if (v == nil) == (err == nil) {
			t.Errorf("Parse: inventory %v with error %v", v, err)
		}
		if err == nil {
			return
		}
		if _, ok := errors.AsType[*convert.InputError](err); !ok {
			t.Errorf("Parse: %v is no input error", err)
		}
	})
}

func FuzzConvertECS(f *testing.F) { fuzz(f, "ecs") }
