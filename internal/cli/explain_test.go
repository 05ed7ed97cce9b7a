package cli_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// manifests is a small world: a basic group with inner access, an advanced
// one, hosts of both, a prefix list, and a Flannel cluster with one pool.
const manifests = `apiVersion: ringfence.dev/v1alpha1
kind: VPC
metadata: {name: prod}
spec: {cidrBlock: 10.0.0.0/16, subnets: [{name: nodes, cidrBlock: 10.0.0.0/24}]}
---
apiVersion: ringfence.dev/v1alpha1
kind: PrefixList
metadata: {name: offices}
spec: {addressFamily: IPv4, entries: [{cidr: 203.0.113.0/24}]}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: web}
spec:
  vpcName: prod
  type: Basic
  innerAccess: Accept
  ingress:
  - {policy: Accept, priority: 1, protocol: TCP, ports: 443/443, peer: {cidr: 0.0.0.0/0}}
  - {policy: Drop, priority: 2, protocol: TCP, ports: 1/65535, peer: {prefixListName: offices}}
  egress:
  - {policy: Drop, priority: 100, protocol: ALL, peer: {prefixListName: offices}}
---
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: db}
spec:
  vpcName: prod
  type: Basic
  innerAccess: Drop
  ingress:
  - {policy: Accept, priority: 1, protocol: TCP, ports: 5432/5432, peer: {groupName: web}}
---
apiVersion: ringfence.dev/v1alpha1
kind: Cluster
metadata: {name: shop}
spec:
  vpcName: prod
  network: {mode: Flannel, nodeSubnets: [nodes], podCIDRs: [172.20.0.0/16], serviceCIDRs: [172.21.0.0/20]}
  apiServer: {addresses: [10.0.0.200]}
  securityGroup: {name: web}
---
apiVersion: ringfence.dev/v1alpha1
kind: NodePool
metadata: {name: workers}
spec: {clusterName: shop, subnets: [nodes], securityGroup: {}}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-1}
spec: {addresses: [10.0.0.11], clusterName: shop, nodePoolName: workers, roles: [Worker]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: node-2}
spec: {addresses: [10.0.0.12], clusterName: shop, nodePoolName: workers, roles: [Worker]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Host
metadata: {name: db-1}
spec: {addresses: [10.0.0.21], securityGroupNames: [db]}
`

func TestExplainPackets(t *testing.T) {
	file := write(t, t.TempDir(), "all.yaml", manifests)
	cases := []struct{ reason, packet, want string }{
		{"a rule by CIDR", `{"direction":"ingress","local":"10.0.0.11","remote":"198.51.100.1","protocol":"tcp","port":443}`, `{"action":"accept","by":"web/ingress/1"}`},
		{"a rule by prefix list", `{"direction":"ingress","local":"10.0.0.11","remote":"203.0.113.1","protocol":"tcp","port":80}`, `{"action":"drop","by":"web/ingress/2"}`},
		{"inner access comes first", `{"direction":"ingress","local":"10.0.0.11","remote":"10.0.0.12","protocol":"udp","port":53}`, `{"action":"accept","by":"inner-access"}`},
		{"a rule by group", `{"direction":"ingress","local":"10.0.0.21","remote":"10.0.0.12","protocol":"tcp","port":5432}`, `{"action":"accept","by":"db/ingress/1"}`},
		{"not a member", `{"direction":"ingress","local":"10.0.0.21","remote":"10.0.0.13","protocol":"tcp","port":5432}`, `{"action":"drop","by":"default"}`},
		{"basic egress passes", `{"direction":"egress","local":"10.0.0.21","remote":"8.8.8.8","protocol":"udp","port":53}`, `{"action":"accept","by":"default"}`},
		{"echo request is the default type", `{"direction":"ingress","local":"10.0.0.11","remote":"198.51.100.1","protocol":"icmp"}`, `{"action":"drop","by":"default"}`},
		{"unreachable is exempt on own hosts", `{"direction":"ingress","local":"10.0.0.11","remote":"198.51.100.1","protocol":"icmp","icmpType":3}`, `{"action":"accept","by":"exempt"}`},
		{"DHCP too", `{"direction":"ingress","local":"10.0.0.11","remote":"10.0.0.1","protocol":"udp","port":68}`, `{"action":"accept","by":"exempt"}`},
		{"a pod's address wears its pool's groups", `{"direction":"ingress","local":"172.20.3.4","remote":"198.51.100.1","protocol":"tcp","port":443}`, `{"action":"accept","by":"web/ingress/1"}`},
		{"groups given", `{"direction":"ingress","local":"10.9.9.9","remote":"10.0.0.12","protocol":"tcp","port":5432,"groups":["db","web"]}`, `{"action":"accept","by":"inner-access"}`},
		{"protocols by number", `{"direction":"egress","local":"10.0.0.11","remote":"203.0.113.9","protocol":47}`, `{"action":"drop","by":"web/egress/1"}`},
	}
	var in strings.Builder
	for _, tc := range cases {
		fmt.Fprintln(&in, tc.packet)
	}
	r := run(t, in.String(), "explain", "-f", file, "--packets", "-")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	got := strings.Split(strings.TrimSpace(r.out), "\n")
	if len(got) != len(cases) {
		t.Fatalf("%d answers to %d questions", len(got), len(cases))
	}
	for i, tc := range cases {
		if got[i] != tc.want {
			t.Errorf("%s: %s\ngot  %s\nwant %s", tc.reason, tc.packet, got[i], tc.want)
		}
	}
}

// TestExplainBadPackets checks that a line without an answer keeps its place
// and spoils no other.
func TestExplainBadPackets(t *testing.T) {
	file := write(t, t.TempDir(), "all.yaml", manifests)
	good := `{"direction":"ingress","local":"10.0.0.11","remote":"198.51.100.1","protocol":"tcp","port":443}`
	for name, tc := range map[string]struct{ packet, want string }{
		"NoJSON":        {`hello`, "no JSON object"},
		"Direction":     {`{"direction":"in","local":"10.0.0.11","remote":"10.0.0.12","protocol":"tcp","port":1}`, `direction \"in\": want ingress or egress`},
		"Local":         {`{"direction":"ingress","local":"10.0.0","remote":"10.0.0.12","protocol":"tcp","port":1}`, `local \"10.0.0\": want an IP address`},
		"Families":      {`{"direction":"ingress","local":"10.0.0.11","remote":"::1","protocol":"tcp","port":1}`, "different address families"},
		"Protocol":      {`{"direction":"ingress","local":"10.0.0.11","remote":"10.0.0.12","protocol":"http","port":1}`, "unknown protocol"},
		"ProtocolALL":   {`{"direction":"ingress","local":"10.0.0.11","remote":"10.0.0.12","protocol":"all"}`, "ALL is for rules"},
		"ProtocolList":  {`{"direction":"ingress","local":"10.0.0.11","remote":"10.0.0.12","protocol":["tcp"],"port":1}`, "/protocol: want a protocol's name or number"},
		"NoPort":        {`{"direction":"ingress","local":"10.0.0.11","remote":"10.0.0.12","protocol":"tcp"}`, "needs a destination port"},
		"PortTooLarge":  {`{"direction":"ingress","local":"10.0.0.11","remote":"10.0.0.12","protocol":"tcp","port":70000}`, "port 70000: want 0 to 65535"},
		"SourcePort":    {`{"direction":"ingress","local":"10.0.0.11","remote":"10.0.0.12","protocol":"tcp","port":1,"sourcePort":-1}`, "sourcePort -1"},
		"ICMPType":      {`{"direction":"ingress","local":"10.0.0.11","remote":"10.0.0.12","protocol":"icmp","icmpType":256}`, "icmpType 256"},
		"PortIsText":    {`{"direction":"ingress","local":"10.0.0.11","remote":"10.0.0.12","protocol":"tcp","port":"80"}`, "/port"},
		"UnknownField":  {`{"direction":"ingress","local":"10.0.0.11","remote":"10.0.0.12","protocol":"tcp","dport":80}`, "/dport: unknown field"},
		"UnknownGroup":  {`{"direction":"ingress","local":"10.0.0.11","remote":"10.0.0.12","protocol":"tcp","port":1,"groups":["gone"]}`, `no group \"gone\"`},
		"UnknownHost":   {`{"direction":"ingress","local":"10.0.0.99","remote":"10.0.0.12","protocol":"tcp","port":1}`, "no file tells which groups 10.0.0.99 wears"},
		"RemoteMissing": {`{"direction":"ingress","local":"10.0.0.11","protocol":"tcp","port":1}`, `remote \"\"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, good+"\n"+tc.packet+"\n\n"+good+"\n", "explain", "-f", file, "--packets", "-")
			lines := strings.Split(strings.TrimSpace(r.out), "\n")
			if r.code != 2 || len(lines) != 3 || !strings.Contains(r.err, "1 of 3 lines") {
				t.Fatalf("exit %d, %d answers, %s", r.code, len(lines), r.err)
			}
			if !strings.HasPrefix(lines[1], `{"error":`) || !strings.Contains(lines[1], tc.want) || lines[0] != lines[2] {
				t.Errorf("got %s, want an error with %q, and its neighbours answered", lines[1], tc.want)
			}
		})
	}
}

func TestExplainExemptFlag(t *testing.T) {
	packet := `{"direction":"ingress","local":"192.168.0.10","remote":"198.51.100.1","protocol":"icmp","icmpType":3}`
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"CloudExport": {nil, `"by":"default"`},
		"Exempt":      {[]string{"--exempt"}, `"by":"exempt"`},
		"NotExempt":   {[]string{"--exempt=false"}, `"by":"default"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, packet, append([]string{"explain", "-f", examples + "ack-terway-advanced", "--packets", "-"}, tc.args...)...)
			if r.code != 0 || !strings.Contains(r.out, tc.want) {
				t.Errorf("exit %d: %s%s, want %s", r.code, r.out, r.err, tc.want)
			}
		})
	}
	if r := run(t, "", "explain"); r.code != 0 || !strings.Contains(r.out, "neighbour-discovery") {
		t.Errorf("explain alone lists what is exempt: exit %d: %s%s", r.code, r.out, r.err)
	}
}

func TestExplainBothSides(t *testing.T) {
	file := write(t, t.TempDir(), "all.yaml", manifests)
	type side struct{ Action, By string }
	for name, tc := range map[string]struct {
		reason  string
		args    []string
		action  string
		dropped string
		egress  string
		ingress string
	}{
		"BothAccept":   {"web may call the database", []string{"--from", "10.0.0.11", "--to", "10.0.0.21", "--port", "5432"}, "accept", "", "default", "db/ingress/1"},
		"IngressDrops": {"but not its SSH", []string{"--from", "10.0.0.11", "--to", "10.0.0.21", "--port", "22"}, "drop", "ingress", "default", "default"},
		"OneSideOnly":  {"nobody knows the outside", []string{"--from", "203.0.113.5", "--to", "10.0.0.11", "--port", "22"}, "drop", "ingress", "", "web/ingress/2"},
		"EgressDrops":  {"the office is cut off", []string{"--from", "10.0.0.11", "--to", "203.0.113.5", "--port", "22"}, "drop", "egress", "web/egress/1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, "", append([]string{"explain", "-f", file, "-o", "json"}, tc.args...)...)
			var got struct {
				Action          string
				DroppedBy       []string
				Egress, Ingress side
			}
			if err := json.Unmarshal([]byte(r.out), &got); err != nil {
				t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
			}
			if r.code != 0 || got.Action != tc.action || strings.Join(got.DroppedBy, " ") != tc.dropped || got.Egress.By != tc.egress || got.Ingress.By != tc.ingress {
				t.Errorf("%s: got %+v, want %s, dropped by %q, egress by %q, ingress by %q", tc.reason, got, tc.action, tc.dropped, tc.egress, tc.ingress)
			}
			if table := run(t, "", append([]string{"explain", "-f", file}, tc.args...)...); !strings.Contains(table.out, map[string]string{"accept": "let through", "drop": "dropped by"}[tc.action]) {
				t.Errorf("the table does not say so: %s", table.out)
			}
		})
	}
}

// TestExplainRefusesTwoQuestions has flags of which one would not count.
func TestExplainRefusesTwoQuestions(t *testing.T) {
	file := write(t, t.TempDir(), "all.yaml", manifests)
	for name, args := range map[string][]string{
		"BothAndOne":   {"--from", "10.0.0.11", "--to", "10.0.0.12", "--local", "10.0.0.11"},
		"BothAndGroup": {"--from", "10.0.0.11", "--to", "10.0.0.12", "--groups", "web"},
		"LinesAndPort": {"--packets", "-", "--port", "443"},
		"NegativePort": {"--local", "10.0.0.11", "--remote", "10.0.0.12", "--port", "-5"},
	} {
		if r := run(t, "", append([]string{"explain", "-f", file}, args...)...); r.code != 2 || r.out != "" || !strings.Contains(r.err, "--") {
			t.Errorf("%s: exit %d: %s%s", name, r.code, r.out, r.err)
		}
	}
}

func TestExplainOneSide(t *testing.T) {
	file := write(t, t.TempDir(), "all.yaml", manifests)
	r := run(t, "", "explain", "-f", file, "--local", "10.0.0.11", "--remote", "203.0.113.5", "--port", "443")
	for _, want := range []string{"ACCEPT", "web/ingress/1", "hides", "web/ingress/2"} {
		if r.code != 0 || !strings.Contains(r.out, want) {
			t.Errorf("exit %d, no %q in %s%s", r.code, want, r.out, r.err)
		}
	}
	for name, args := range map[string][]string{
		"Nothing":        {"explain", "-f", file},
		"HalfAPath":      {"explain", "-f", file, "--from", "10.0.0.11", "--port", "1"},
		"NobodyKnown":    {"explain", "-f", file, "--from", "8.8.8.8", "--to", "9.9.9.9", "--port", "1"},
		"NoSuchGroup":    {"explain", "-f", file, "--local", "10.0.0.11", "--remote", "8.8.8.8", "--port", "1", "--groups", "gone"},
		"NoPort":         {"explain", "-f", file, "--local", "10.0.0.11", "--remote", "8.8.8.8"},
		"StandardInput":  {"explain", "-f", "-", "--packets", "-"},
		"NoSuchPackets":  {"explain", "-f", file, "--packets", "gone.jsonl"},
		"UnknownFormat":  {"explain", "-f", file, "-o", "xml", "--local", "10.0.0.11"},
		"NoFiles":        {"explain", "--local", "10.0.0.11", "--remote", "8.8.8.8", "--port", "1"},
		"UnknownAddress": {"explain", "-f", file, "--local", "10.0.0.99", "--remote", "8.8.8.8", "--port", "1"},
	} {
		if r := run(t, "", args...); r.code != 2 || r.err == "" || r.out != "" {
			t.Errorf("%s: exit %d, output %q, message %q; want 2 and a message alone", name, r.code, r.out, r.err)
		}
	}
}
