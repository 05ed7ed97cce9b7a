package judge_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// The objects of a running cluster of two nodes with Flannel over VXLAN, the
// first of which has the API server; and of what it calls there.
const (
	runningCluster = `
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {node-role.kubernetes.io/control-plane: ""}}
spec: {podCIDRs: [172.20.0.0/24]}
status: {addresses: [{type: InternalIP, address: 10.0.0.11}], daemonEndpoints: {kubeletEndpoint: {Port: 10250}}}
---
apiVersion: v1
kind: Node
metadata: {name: node-2}
spec: {podCIDRs: [172.20.1.0/24]}
status: {addresses: [{type: InternalIP, address: 10.0.0.12}], daemonEndpoints: {kubeletEndpoint: {Port: 10250}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
addressType: IPv4
ports: [{name: https, port: 6443, protocol: TCP}]
endpoints: [{addresses: [10.0.0.11]}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-flannel-ds, namespace: kube-flannel}
spec: {template: {spec: {hostNetwork: true, containers: [{command: [flanneld], image: flannel}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-flannel-cfg, namespace: kube-flannel}
data: {net-conf.json: '{"Network": "172.20.0.0/16", "Backend": {"Type": "vxlan"}}'}
---
`
	hostHook = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: guard}
webhooks:
- {name: a.guard.example, failurePolicy: %POLICY%, timeoutSeconds: 5, clientConfig: {service: {namespace: guard, name: guard}}}
---
apiVersion: v1
kind: Service
metadata: {name: guard, namespace: guard}
spec: {selector: {app: guard}, ports: [{port: 443, targetPort: 9443}]}
---
apiVersion: v1
kind: Pod
metadata: {name: guard, namespace: guard, labels: {app: guard}}
spec: {nodeName: node-2, hostNetwork: true, containers: [{image: guard}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.12}]}
---
`
)

func report(t *testing.T, texts ...string) *discover.Report {
	t.Helper()
	var c discover.Cluster
	for _, text := range texts {
		for f, err := range convert.Foreigners(convert.File{Name: "dump.yaml", Data: []byte(text)}) {
			if err != nil {
				t.Fatal(err)
			}
			c.Add(f)
		}
	}
	r, err := c.Derive()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func strict() string { return strings.ReplaceAll(hostHook, "%POLICY%", "Fail") }

// liveWorld is the cluster's own group with some rules, and two hosts that wear it.
func liveWorld(t *testing.T, kind string, ingress ...string) *convert.Inventory {
	t.Helper()
	return parse(t, vpcObject()+
		object("Cluster", "shop", "vpcName: prod", "network: {mode: Flannel, encapsulation: VXLAN, nodeSubnets: [nodes], podCIDRs: [172.20.0.0/16]}", "apiServer: {addresses: [10.0.0.11]}", "securityGroup: {name: nodes}")+
		object("SecurityGroup", "nodes", "vpcName: prod", "type: "+kind, "ingress: ["+strings.Join(ingress, ", ")+"]", "egress: ["+rule("Accept", 1, "ALL", "-1/-1", "0.0.0.0/0")+"]")+
		hostObject("node-1", "10.0.0.11", "clusterName: shop", "securityGroupNames: [nodes]")+hostObject("node-2", "10.0.0.12", "clusterName: shop", "securityGroupNames: [nodes]"))
}

func check(t *testing.T, inv *convert.Inventory, r *discover.Report) *judge.Report {
	t.Helper()
	live := map[string]*discover.Report{}
	if r != nil {
		live["shop"] = r
	}
	out, err := judge.Check(judge.Observe(inv, live), load(t), judge.Options{Live: live})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// demands lists what is missing or found about needs of the running cluster.
func demands(r *judge.Report) []string {
	var out []string
	for _, list := range [][]judge.Item{r.Missing, r.Findings} {
		for _, it := range list {
			if strings.HasSuffix(it.ID, "-need") && it.ID != "unknown-need" {
				out = append(out, strings.Join([]string{it.ID, it.Severity.String(), it.Direction.String(), it.Protocol, it.Ports, it.Component}, " "))
			}
		}
	}
	return out
}

func TestNeedsOfARunningCluster(t *testing.T) {
	const inner = "{policy: Accept, priority: 1, protocol: ALL, peer: {cidr: 10.0.0.0/24}}"
	webhook := "essential-need high ingress TCP 9443/9443 API server to hosts of Service guard/guard"
	for name, tc := range map[string]struct {
		reason  string
		kind    string
		ingress []string
		objects []string
		want    []string
	}{
		"Closed": {
			"what nobody lets in is missing, with the packet", "Advanced", []string{
				rule("Accept", 1, "TCP", "10250/10250", "10.0.0.11"), rule("Accept", 1, "TCP", "6443/6443", "10.0.0.0/24"), rule("Accept", 1, "UDP", "8472/8472", "10.0.0.0/24"),
			}, []string{runningCluster, strict()}, []string{webhook},
		},
		"Ignored": {
			"a webhook that may fail breaks itself only", "Advanced",
			[]string{
				rule("Accept", 1, "TCP", "10250/10250", "10.0.0.11"), rule("Accept", 1, "TCP", "6443/6443", "10.0.0.0/24"), rule("Accept", 1, "UDP", "8472/8472", "10.0.0.0/24"),
			},
			[]string{runningCluster, strings.ReplaceAll(hostHook, "%POLICY%", "Ignore")},
			[]string{"expected-need medium ingress TCP 9443/9443 API server to hosts of Service guard/guard"},
		},
		"Exact": {
			"the very addresses are enough: nothing asks for a whole subnet", "Advanced", []string{
				rule("Accept", 1, "TCP", "10250/10250", "10.0.0.11"), rule("Accept", 1, "TCP", "6443/6443", "10.0.0.11"), rule("Accept", 1, "TCP", "6443/6443", "10.0.0.12"),
				rule("Accept", 1, "UDP", "8472/8472", "10.0.0.11"), rule("Accept", 1, "UDP", "8472/8472", "10.0.0.12"), rule("Accept", 1, "TCP", "9443/9443", "10.0.0.11"),
			}, []string{runningCluster, strict()}, nil,
		},
		"Nobody": {"an empty group has none of them", "Advanced", nil, []string{runningCluster, strict()}, []string{
			"essential-need high ingress TCP 6443/6443 nodes to API server", "essential-need high ingress TCP 10250/10250 API server to nodes",
			"essential-need high ingress UDP 8472/8472 nodes to nodes", webhook,
		}},
		"Inner":  {"members of a basic group reach each other", "Basic", nil, []string{runningCluster, strict()}, nil},
		"Subnet": {"one rule may meet many", "Advanced", []string{inner}, []string{runningCluster, strict()}, nil},
		"NodePort": {
			"that the world reaches a Service is somebody's wish", "Basic", nil, []string{runningCluster, `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
`}, []string{"expected-need low ingress TCP 30080/30080 anywhere to nodes"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := demands(check(t, liveWorld(t, tc.kind, tc.ingress...), report(t, tc.objects...)))
			slices.Sort(got)
			slices.Sort(tc.want)
			if !slices.Equal(got, tc.want) {
				t.Errorf("%s\ngot:\n%s\nwant:\n%s", tc.reason, strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}

// TestWebhookThatNobodyAdmits: the packet that fails, what the API server will
// log, and a fix that mends it and nothing else.
func TestWebhookThatNobodyAdmits(t *testing.T) {
	inv := liveWorld(t, "Advanced", rule("Accept", 1, "TCP", "10250/10250", "10.0.0.11"), rule("Accept", 1, "TCP", "6443/6443", "10.0.0.0/24"), rule("Accept", 1, "UDP", "8472/8472", "10.0.0.0/24"))
	r := check(t, inv, report(t, runningCluster, strict()))
	i := slices.IndexFunc(r.Missing, func(it judge.Item) bool { return it.ID == judge.EssentialNeed })
	if i < 0 {
		t.Fatalf("not found among %d missing needs", len(r.Missing))
	}
	it := r.Missing[i]
	if it.Example == nil || it.Example.Remote.String() != "10.0.0.11" || it.Example.Port != 9443 || it.Example.Protocol != rules.TCP {
		t.Errorf("example %+v: want a packet from 10.0.0.11 to port 9443", it.Example)
	}
	if want := `failed calling webhook "a.guard.example": failed to call webhook: Post "https://guard.guard.svc:443/?timeout=5s": context deadline exceeded`; it.Logs != want {
		t.Errorf("logs %s\nwant %s", it.Logs, want)
	}
	if it.Source != "ValidatingWebhookConfiguration guard /webhooks/0/clientConfig/service" || !strings.Contains(it.Why, "webhook a.guard.example fails") {
		t.Errorf("source %q, why %q", it.Source, it.Why)
	}
	if len(it.Fix) != 1 || it.Fix[0].Rule.Peer != rules.Peer(rules.CIDR{Prefix: netip.MustParsePrefix("10.0.0.11/32"), Text: "10.0.0.11"}) {
		t.Errorf("fix %+v: want one rule for 10.0.0.11", it.Fix)
	}
}

// TestNeedsAreNoExcess: a rule that only a running cluster needs is not too much;
// one for a Service that somebody exposed is.
func TestNeedsAreNoExcess(t *testing.T) {
	inv := liveWorld(t, "Advanced", rule("Accept", 1, "TCP", "9443/9443", "10.0.0.11"), rule("Accept", 1, "TCP", "30080/30080", "0.0.0.0/0"))
	objects := []string{runningCluster, strict(), "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: web}\nspec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}\n"}
	excess := func(r *judge.Report) []string {
		var out []string
		for _, it := range r.Excess {
			if it.Direction == rules.Ingress {
				out = append(out, it.ID)
			}
		}
		slices.Sort(out)
		return out
	}
	if got := excess(check(t, inv, nil)); !slices.Equal(got, []string{"nodes/ingress/1", "nodes/ingress/2"}) {
		t.Errorf("without the cluster: %v", got)
	}
	if got := excess(check(t, inv, report(t, objects...))); !slices.Equal(got, []string{"nodes/ingress/2"}) {
		t.Errorf("with the cluster: %v", got)
	}
}

// TestSomeHostsOnly: what only some hosts are asked for is not asked of others.
func TestSomeHostsOnly(t *testing.T) {
	inv := parse(t, vpcObject()+
		object("Cluster", "shop", "vpcName: prod", "network: {mode: Flannel, encapsulation: VXLAN, nodeSubnets: [nodes], podCIDRs: [172.20.0.0/16]}", "apiServer: {addresses: [10.0.0.11]}", "securityGroup: {name: nodes}")+
		poolObject("shop", "masters", "{names: [masters]}")+
		object("SecurityGroup", "nodes", "vpcName: prod", "type: Advanced", "ingress: ["+rule("Accept", 1, "UDP", "8472/8472", "10.0.0.0/24")+", "+rule("Accept", 1, "TCP", "10250/10250", "10.0.0.0/24")+"]", "egress: ["+rule("Accept", 1, "ALL", "-1/-1", "0.0.0.0/0")+"]")+
		object("SecurityGroup", "masters", "vpcName: prod", "type: Advanced", "ingress: ["+rule("Accept", 1, "ALL", "-1/-1", "10.0.0.0/24")+"]", "egress: ["+rule("Accept", 1, "ALL", "-1/-1", "0.0.0.0/0")+"]")+
		hostObject("node-1", "10.0.0.11", "clusterName: shop", "nodePoolName: masters")+hostObject("node-2", "10.0.0.12", "clusterName: shop", "securityGroupNames: [nodes]"))
	got := demands(check(t, inv, report(t, runningCluster, strict())))
	want := []string{"essential-need high ingress TCP 9443/9443 API server to hosts of Service guard/guard"}
	if !slices.Equal(got, want) { // and not that nodes reach the API server, which is with the masters
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestObserve: facts that no file tells come from the running cluster, those that
// files tell stay.
func TestObserve(t *testing.T) {
	r := report(t, runningCluster)
	inv := &convert.Inventory{Clusters: []convert.Cluster{{
		ID: "shop", Title: "shop", Unknown: []convert.Fact{convert.FactMode, convert.FactNodeSubnets, convert.FactPodCIDRs, convert.FactAPIServer, convert.FactVPC},
	}}}
	c := judge.Observe(inv, map[string]*discover.Report{"shop": r}).Clusters[0]
	if !slices.Equal(c.Unknown, []convert.Fact{convert.FactVPC}) || c.Facts.Mode != profiles.Flannel || c.Facts.Encapsulation != profiles.VXLAN || c.Facts.EncapsulationPort != 8472 || c.Facts.APIServerPort != 6443 {
		t.Errorf("%+v", c)
	}
	texts := func(list []rules.CIDR) (out []string) {
		for _, c := range list {
			out = append(out, c.Text)
		}
		return out
	}
	if got := slices.Concat(texts(c.Facts.NodeSubnets), texts(c.Facts.PodCIDRs), texts(c.Facts.APIServer)); !slices.Equal(got, []string{"10.0.0.11", "10.0.0.12", "172.20.0.0/16", "10.0.0.11"}) {
		t.Errorf("addresses %v", got)
	}
	if len(inv.Clusters[0].Unknown) != 5 {
		t.Error("the inventory that was given has changed")
	}
	differs := check(t, parse(t, vpcObject()+object("Cluster", "shop", "vpcName: prod", "network: {mode: Calico, encapsulation: IPIP, nodeSubnets: [nodes]}", "apiServer: {addresses: [10.0.0.200]}", "securityGroup: {name: nodes}")+groupObject("nodes")), r)
	if !slices.ContainsFunc(differs.Findings, func(it judge.Item) bool { return it.ID == "fact-differs" }) {
		t.Error("nobody says that the facts are wrong")
	}
}

// TestMembersOfARunningCluster: of a group whose members no file knows it is the
// nodes of the cluster that wear it, so inner access lets them in.
func TestMembersOfARunningCluster(t *testing.T) {
	inv := parse(t, vpcObject()+
		object("Cluster", "shop", "vpcName: prod", "network: {mode: Flannel, encapsulation: VXLAN, nodeSubnets: [nodes]}", "apiServer: {addresses: [10.0.0.11]}", "securityGroup: {name: nodes}")+
		object("SecurityGroup", "nodes", "vpcName: prod", "type: Basic"))
	if got := demands(check(t, inv, report(t, runningCluster, strict()))); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}
