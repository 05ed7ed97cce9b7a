package convert

import (
	"bytes"
	"errors"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// checkParse parses files and checks what must hold whatever they are: an
// inventory that keeps its promises, or an error with a place.
func checkParse(t *testing.T, files ...File) {
	t.Helper()
	inv, err := Parse(files)
	switch {
	case err == nil:
		checkInventory(t, inv)
	case inv != nil:
		t.Errorf("Parse(...): an inventory beside the error %v", err)
	default:
		if _, ok := errors.AsType[*InputError](err); !ok {
			t.Errorf("Parse(...): error without a place: %v", err)
		}
	}
	_, again := Parse(files)
	if (err == nil) != (again == nil) || err != nil && err.Error() != again.Error() {
		t.Errorf("Parse(...): %v, and another time %v", err, again)
	}
}

// FuzzConvertManifest reads one more object beside a tenant's manifests.
func FuzzConvertManifest(f *testing.F) {
	kinds := []string{"VPC", "PrefixList", "SecurityGroup", "Cluster", "NodePool", "Host", "List", "Rollout"}
	for i, spec := range []string{
		"{cidrBlock: 10.0.0.0/8, ipv6CIDRBlock: '2001:db8::/48', subnets: [{name: a, cidrBlock: 10.0.0.0/16}, {name: b, cidrBlock: 10.0.0.0/15}]}",
		"{addressFamily: IPv6, maxEntries: 2, entries: [{cidr: '::/0'}]}",
		"{vpcName: prod, type: Advanced, ingress: [{protocol: 6, ports: 1/2, peer: {cidr: 10.0.0.1}, memberCIDR: 10.0.0.0/8, sourcePorts: 1/2}]}",
		"{vpcName: prod, network: {mode: Terway, nodeSubnets: [a], podSubnets: [b]}, securityGroup: {type: Basic}}",
		"{clusterName: shop, securityGroup: {names: [web, db]}}",
		"{addresses: [10.0.0.1, '2001:db8::1'], nodePoolName: b-names, securityGroupNames: [web], roles: [Etcd]}\nstatus: {addresses: [192.168.7.1, 10.0.0.1]}",
		"{}\nitems: [{apiVersion: ringfence.dev/v1alpha1, kind: Host, metadata: {name: y}, spec: {addresses: [10.0.0.1]}}]",
		"null",
		"{vpcName: prod}\nstatus: {systemEgress: [{protocol: ALL, peer: {prefixListName: offices}, row: AI-L3}]}",
	} {
		f.Add(uint8(i), spec)
	}
	around := manifestFiles(f, "forms.yaml", "list.json")
	f.Fuzz(func(t *testing.T, kind uint8, spec string) {
		name := kinds[int(kind)%len(kinds)]
		api := "ringfence.dev/v1alpha1"
		if name == "List" {
			api = "v1"
		}
		input := "apiVersion: " + api + "\nkind: " + name + "\nmetadata: {name: x}\nspec: " + spec + "\n"
		checkParse(t, append([]File{text("x.yaml", input)}, around...)...)
	})
}

// FuzzConvertYAML checks that a YAML document becomes JSON whose places exist.
func FuzzConvertYAML(f *testing.F) {
	for _, seed := range []string{
		"a: &x [1, 2.5, true, ~, \"t\", 'u', 2001-01-01, 0x1f, 010]\nb: *x\n", "- - - a\n", "? b\n: c\n", "a: |\n  x\n  y\n---\nb: >-\n  z\n",
		"%YAML 1.2\n---\n!!str 1\n", "a: !!binary aGk=\n", "\"\\u00e9\\0\": \"\\x01\"\n", "a: {<<: {b: c}}\n", "a: .inf\n", "a: 1e400\n",
		"a: 123456789012345678901234567890\n", "# c\n", "...\n", "a: &a\n  b: *a\n", "\ufeffa: b\n", "a: yes\n", "1: a\n01: b\n", "!x {a: !y b}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Add(manifestFiles(f, "shop.yaml")[0].Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) + 2
		for doc, err := range yamlDocuments("in.yaml", data) {
			if err != nil {
				if in, ok := errors.AsType[*InputError](err); !ok || in.Place.Line > lines {
					t.Errorf("an error without a place in %d lines: %v", lines, err)
				}
				continue
			}
			if !doc.json.IsValid() {
				t.Fatalf("no JSON: %s", doc.json)
			}
			checkPlaces(t, &doc, lines)
		}
	})
}

// checkPlaces checks that every value of a document has a line of its own file.
func checkPlaces(t *testing.T, d *document, lines int) {
	t.Helper()
	dec := jsontext.NewDecoder(bytes.NewReader(d.json))
	for range 1000 {
		if _, err := dec.ReadToken(); err != nil {
			return
		}
		p := d.at(string(dec.StackPointer()))
		if p.Line < 1 || p.Line > lines {
			t.Errorf("place %s in a file of at most %d lines", p, lines)
		}
	}
}

// FuzzConvertAny reads anything.
func FuzzConvertAny(f *testing.F) {
	for _, file := range manifestFiles(f, "shop.yaml", "forms.yaml", "list.json") {
		f.Add(file.Data)
	}
	for _, seed := range []string{
		"", "{}", "[]", "{} {}", "{\"a\":", "null", "\x00", "a: [", "---\n", `{"apiVersion":"v1","kind":"List","items":[{}]}`,
		`{"SecurityGroupId":"sg-1","InnerAccessPolicy":"Accept","VpcId":"v","Permissions":{"Permission":[{"Direction":"ingress","IpProtocol":"TCP","PortRange":"1/2","Priority":"1","Policy":"Accept","SourceCidrIp":"10.0.0.0/8"}]}}`,
		`{"SecurityGroups":{"SecurityGroup":[{"SecurityGroupId":"sg-1","SecurityGroupType":"normal"}]},"TotalCount":1}`,
		`{"Instances":{"Instance":[{"InstanceId":"i-1","SecurityGroupIds":{"SecurityGroupId":["sg-1"]},"VpcAttributes":{"VpcId":"v","PrivateIpAddress":{"IpAddress":["10.0.0.1"]}}}]},"TotalCount":1}`,
		`{"NetworkInterfaceSets":{"NetworkInterfaceSet":[{"NetworkInterfaceId":"eni-1","PrivateIpAddress":"10.0.0.1","SecurityGroupIds":{"SecurityGroupId":["sg-1"]}}]}}`,
		`{"cluster_id":"c1","vpc_id":"v","security_group_id":"sg-1","vswitch_ids":["vsw-1"],"meta_data":"{}"}`,
		`{"cluster_id":"c1"} {"nodepools":[{"nodepool_info":{"nodepool_id":"np1"},"scaling_group":{"security_group_ids":["sg-1"],"vswitch_ids":["vsw-1"]}}]}`,
		`{"VSwitches":{"VSwitch":[{"VSwitchId":"vsw-1","VpcId":"v","CidrBlock":"10.0.0.0/16"}]}} {"Vpcs":{"Vpc":[{"VpcId":"v","CidrBlock":"10.0.0.0/8"}]}}`,
		`{"PrefixListId":"pl-1","Entries":{"Entry":[{"Cidr":"10.0.0.0/8"}]}}`,
		`{"format_version":"1.2","values":{"root_module":{"resources":[]}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkParse(t, File{Name: "in", Data: data}) })
}
