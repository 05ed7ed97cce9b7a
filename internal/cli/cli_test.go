package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/cli"
)

// A result is what one run of the command line left behind.
type result struct {
	code     int
	out, err string
}

// run runs a command line in process.
func run(tb testing.TB, stdin string, args ...string) result {
	tb.Helper()
	var out, errs bytes.Buffer
	code := cli.Main(append([]string{"ringfence"}, args...), cli.Streams{In: strings.NewReader(stdin), Out: &out, Err: &errs})
	return result{code, out.String(), errs.String()}
}

// write writes a file into a directory of the test and returns its path.
func write(tb testing.TB, dir, name, text string) string {
	tb.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// A report is what `check -o json` prints.
type report struct {
	Missing, Excess, Findings []item
	Checked                   struct{ Needs, GroupSets int }
}

type item struct {
	ID, Severity, Cluster, Group, Direction, Protocol, Ports, Peer, Component, Why, Source string
	Example                                                                                *packet
	Fix                                                                                    []string
}

type packet struct {
	Local, Remote, Protocol string
	Port                    int
}

// check runs `check -o json` and returns its report.
func check(tb testing.TB, args ...string) (report, int) {
	tb.Helper()
	r := run(tb, "", append([]string{"check", "-o", "json"}, args...)...)
	var out report
	if err := json.Unmarshal([]byte(r.out), &out); err != nil {
		tb.Fatalf("check %v: exit %d, no JSON (%v): %s%s", args, r.code, err, r.out, r.err)
	}
	return out, r.code
}

func above(list []item, info string) []item {
	var out []item
	for _, it := range list {
		if it.Severity != info {
			out = append(out, it)
		}
	}
	return out
}

// clusterManifest is the design's example with the group left open.
func clusterManifest(mode, group string, dual bool) string {
	network := "mode: Terway\n    nodeSubnets: [nodes-a]\n    podSubnets: [pods-a]"
	if mode == "Flannel" {
		network = "mode: Flannel\n    nodeSubnets: [nodes-a]\n    podCIDRs: [172.20.0.0/16]"
		if dual {
			network = "mode: Flannel\n    nodeSubnets: [nodes-a, nodes-6]\n    podCIDRs: [172.20.0.0/16, 'fd00:20::/56']"
		}
	}
	six := ""
	if dual {
		six = "\n  - {name: nodes-6, cidrBlock: '2001:db8:0:1::/64'}"
		network = strings.Replace(network, "nodeSubnets: [nodes-a]\n    podSubnets", "nodeSubnets: [nodes-a, nodes-6]\n    podSubnets", 1)
	}
	vpc := "cidrBlock: 192.168.0.0/16\n  secondaryCIDRBlocks: [10.10.0.0/16]"
	if dual {
		vpc = "cidrBlock: 192.168.0.0/16\n  secondaryCIDRBlocks: [10.10.0.0/16, '2001:db8::/56']"
	}
	return fmt.Sprintf(`apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec:
  %s
  subnets:
  - {name: nodes-a, cidrBlock: 192.168.0.0/19, zone: a}
  - {name: pods-a, cidrBlock: 192.168.32.0/19, zone: a}%s
---
apiVersion: ringfence.dev/v1alpha1
kind: Cluster
metadata: {name: shop}
spec:
  vpcName: prod
  network:
    %s
    serviceCIDRs: [172.21.0.0/20]
  apiServer: {addresses: [192.168.0.200], port: 6443}
  webhookPorts: [8443]
  exposures: [{protocol: TCP, ports: 443/443, cidrs: [0.0.0.0/0]}]
  securityGroup: %s
---
apiVersion: ringfence.dev/v1alpha1
kind: NodePool
metadata: {name: workers}
spec: {clusterName: shop, subnets: [nodes-a], securityGroup: {}}
`, vpc, six, network, group)
}

// TestEightTables makes a group from each of the tables (basic and advanced,
// recommended and least-privilege, each with its inbound and outbound half) and
// checks it against the cluster that it was made for.
func TestEightTables(t *testing.T) {
	for _, mode := range []string{"Terway", "Flannel"} {
		for _, group := range []string{"type: Basic", "type: Basic, innerAccess: Drop", "type: Advanced"} {
			for _, profile := range []string{"Recommended", "LeastPrivilege"} {
				for _, dual := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s/%s/dual=%t", mode, group, profile, dual), func(t *testing.T) {
						checkTable(t, clusterManifest(mode, fmt.Sprintf("{%s, profile: %s}", group, profile), dual),
							clusterManifest(mode, fmt.Sprintf("{name: shop, profile: %s}", profile), dual), profile)
					})
				}
			}
		}
	}
}

func checkTable(t *testing.T, asking, naming, profile string) {
	t.Helper()
	dir := t.TempDir()
	made := run(t, "", "rules", "-f", write(t, dir, "asking.yaml", asking), "-o", "yaml")
	if made.code != 0 {
		t.Fatalf("rules: exit %d: %s", made.code, made.err)
	}
	cluster, group := write(t, dir, "cluster.yaml", naming), write(t, dir, "group.yaml", made.out)
	got, code := check(t, "-f", cluster, "-f", group)
	if code != 0 || len(got.Missing) != 0 {
		t.Errorf("a group made by %s: exit %d, missing %+v, findings %+v; want 0 and nothing missing", profile, code, got.Missing, above(got.Findings, "info"))
	}
	if profile == "LeastPrivilege" {
		if extra := above(got.Excess, "info"); len(extra) != 0 {
			t.Errorf("least privilege lets through more than is needed: %+v", extra)
		}
	}
	if got.Checked.Needs == 0 {
		t.Error("nothing was checked")
	}
	if asked, code := check(t, "-f", filepath.Join(dir, "asking.yaml")); code != 0 || len(asked.Missing) != 0 {
		t.Errorf("the group that is yet to be made: exit %d, missing %+v", code, asked.Missing)
	}
}

// TestRulesFormats checks that every form of the rules tells the same list.
func TestRulesFormats(t *testing.T) {
	file := write(t, t.TempDir(), "cluster.yaml", clusterManifest("Terway", "{type: Advanced, profile: LeastPrivilege}", false))
	var list []map[string]any
	r := run(t, "", "rules", "-f", file, "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list) == 0 {
		t.Fatalf("rules -o json: %v: %s%s", err, r.out, r.err)
	}
	for _, key := range []string{"direction", "policy", "priority", "protocol", "ports", "peer", "row", "note"} {
		if _, ok := list[0][key]; !ok {
			t.Errorf("rules -o json: no %q in %v", key, list[0])
		}
	}
	for format, mark := range map[string]string{"aliyun": "aliyun ecs AuthorizeSecurityGroup", "terraform": `resource "alicloud_security_group_rule"`, "yaml": "  - {policy: ", "table": "\n"} {
		r := run(t, "", "rules", "-f", file, "-o", format)
		if n := strings.Count(r.out, mark); r.code != 0 || n < len(list) {
			t.Errorf("rules -o %s: exit %d, %d rules, want %d: %s", format, r.code, n, len(list), r.err)
		}
	}
}

// TestEveryModeAndFact does the same for every network mode and encapsulation,
// with every fact that ACK's tables leave out.
func TestEveryModeAndFact(t *testing.T) {
	const facts = `
  etcd: true
  dhcp: true
  poseidon: true
  nodePorts: {cidrs: [10.50.0.0/16]}
  healthChecks: {ports: 10256/10256, cidrs: [10.60.0.0/24]}
  adminCIDRs: [10.70.0.0/24]
  ntpServers: [10.80.0.1]
  metadataAddresses: [100.100.100.200]
  webhookPorts: [8443, 9443]
  exposures:
  - {protocol: TCP, ports: 443/443, cidrs: [0.0.0.0/0]}
  - {direction: Egress, protocol: TCP, ports: 5432/5432, cidrs: [10.90.0.0/16]}
  - {protocol: ICMP, cidrs: [10.91.0.0/16]}`
	modes := map[string][]string{
		"Terway": {""}, "Flannel": {"", "VXLAN", "WireGuard"}, "Calico": {"", "None", "VXLAN", "IPIP", "WireGuard"},
		"Cilium": {"", "None", "Geneve", "WireGuard"}, "Antrea": {"", "None", "VXLAN"}, "OVNKubernetes": {""}, "KubeRouter": {"", "IPIP"}, "Other": {"", "VXLAN"},
	}
	for mode, encapsulations := range modes {
		for _, encapsulation := range encapsulations {
			for _, group := range []string{"type: Basic", "type: Basic, innerAccess: Drop", "type: Advanced"} {
				for _, profile := range []string{"Recommended", "LeastPrivilege"} {
					t.Run(strings.Join([]string{mode, encapsulation, group, profile}, "/"), func(t *testing.T) {
						manifest := func(securityGroup string) string {
							text := clusterManifest(map[bool]string{true: "Terway", false: "Flannel"}[mode == "Terway"], securityGroup, false)
							text = strings.Replace(text, "mode: Flannel", "bgp: true\n    mode: "+mode, 1)
							if encapsulation != "" {
								text = strings.Replace(text, "mode: "+mode, "mode: "+mode+"\n    encapsulation: "+encapsulation, 1)
							}
							text = strings.Replace(text, "\n  webhookPorts: [8443]\n  exposures: [{protocol: TCP, ports: 443/443, cidrs: [0.0.0.0/0]}]", facts, 1)
							if !strings.Contains(text, "etcd: true") || !strings.Contains(text, "mode: "+mode) {
								t.Fatalf("the case is not what it says:\n%s", text)
							}
							return text
						}
						checkTable(t, manifest(fmt.Sprintf("{%s, profile: %s}", group, profile)), manifest(fmt.Sprintf("{name: shop, profile: %s}", profile)), profile)
					})
				}
			}
		}
	}
}
