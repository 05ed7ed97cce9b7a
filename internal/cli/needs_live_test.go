package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"ringfence.dev/ringfence/internal/cli"
	"ringfence.dev/ringfence/test/apiserver"
)

// guardedLive is what guarded is, as an API server takes it, with who answers.
const guardedLive = `
apiVersion: v1
kind: Node
metadata: {name: worker}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}, {type: InternalIP, address: "2001:db8::2"}], daemonEndpoints: {kubeletEndpoint: {Port: 10250}}}
---
apiVersion: v1
kind: Service
metadata: {name: guard, namespace: guard}
spec: {ports: [{port: 443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: guard-1, namespace: guard, labels: {kubernetes.io/service-name: guard}}
addressType: IPv4
ports: [{name: "", port: 8443}]
endpoints: [{addresses: [192.0.2.2]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: guard}
webhooks:
- name: a.guard.example
  failurePolicy: Fail
  sideEffects: None
  admissionReviewVersions: [v1]
  rules: [{apiGroups: [guard.example], apiVersions: [v1], operations: [CREATE], resources: [things]}]
  clientConfig: {service: {namespace: guard, name: guard}}
`

// A screen is what a command has printed so far.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

// Write implements io.Writer.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	return s.text.Write(b)
}

// until waits for a text.
func (s *screen) until(t *testing.T, want string) {
	t.Helper()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		s.mu.Lock()
		got := s.text.String()
		s.mu.Unlock()
		if strings.Contains(got, want) {
			return
		}
		select {
		case <-s.more:
		case <-late.C:
			t.Fatalf("no %q in:\n%s", want, got)
		}
	}
}

// TestNeedsLive asks a real kube-apiserver.
func TestNeedsLive(t *testing.T) {
	server := apiserver.Start(t)
	server.Load(t, guardedLive)
	config := apiserver.Kubeconfig(t, server.Admin)
	const row = "API server  hosts of Service guard/guard  tcp/8443"
	t.Run("named", func(t *testing.T) {
		r := run(t, "", "needs", "--kubeconfig", config)
		if r.code != 0 || !strings.Contains(r.out, row) || strings.Contains(r.out, "which ") {
			t.Errorf("exit %d, %s: want %q and nothing unread in:\n%s", r.code, r.err, row, r.out)
		}
	})
	t.Run("as kubectl finds it", func(t *testing.T) {
		t.Setenv("KUBECONFIG", config)
		if r := run(t, "", "needs", "-o", "csv"); r.code != 0 || !strings.Contains(r.out, "hosts of Service guard/guard,TCP,8443/8443,essential") {
			t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
		}
	})
	t.Run("as nobody", func(t *testing.T) {
		r := run(t, "", "needs", "--kubeconfig", apiserver.Kubeconfig(t, server.As("nobody")))
		if r.code != 2 || !strings.Contains(r.err, "cannot read anything of the cluster") || !strings.Contains(r.err, "forbidden") {
			t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
		}
	})
	t.Run("watch, in JSON", func(t *testing.T) {
		out := &screen{more: make(chan struct{}, 1)}
		end := watch(t, out, "needs", "--kubeconfig", config, "--watch", "-o", "json")
		out.until(t, `"to":"hosts of Service guard/guard"`)
		end()
		for line := range strings.Lines(out.text.String()) {
			var got struct {
				Change               string
				Need, Unknown, Party map[string]any
			}
			if err := json.Unmarshal([]byte(line), &got); err != nil || got.Change != "came" || (got.Need == nil) == (got.Unknown == nil && got.Party == nil) {
				t.Errorf("%v: want one thing that came in %s", err, line)
			}
		}
	})
	t.Run("watch", func(t *testing.T) { watchNeeds(t, server, config) })
}

// watch runs a command that does not end by itself; the function returned
// interrupts it and waits for its end.
func watch(t *testing.T, out *screen, args ...string) func() {
	t.Helper()
	ended := make(chan int, 1)
	var errs bytes.Buffer
	go func() {
		ended <- cli.Main(append([]string{"ringfence"}, args...), cli.Streams{In: strings.NewReader(""), Out: out, Err: &errs})
	}()
	return func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if code := <-ended; code != 0 {
			t.Errorf("exit %d after Ctrl-C: %s", code, errs.String())
		}
	}
}

func watchNeeds(t *testing.T, server *apiserver.Server, config string) {
	t.Helper()
	client, err := kubernetes.NewForConfig(server.Admin)
	if err != nil {
		t.Fatal(err)
	}
	out := &screen{more: make(chan struct{}, 1)}
	end := watch(t, out, "needs", "--kubeconfig", config, "-w")
	out.until(t, "FROM")
	_, err = client.DiscoveryV1().EndpointSlices("guard").
		Patch(t.Context(), "guard-1", types.StrategicMergePatchType, []byte(`{"ports": [{"name": "", "port": 9443, "protocol": "TCP"}]}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out.until(t, "came     API server > hosts of Service guard/guard: tcp/9443, essential, host; because of EndpointSlice guard/guard-1, ")
	out.until(t, "went     API server > hosts of Service guard/guard: tcp/8443, essential, host; because of ")
	_, err = client.CoreV1().Nodes().Patch(t.Context(), "worker", types.StrategicMergePatchType,
		[]byte(`{"status": {"addresses": [{"type": "ExternalIP", "address": "203.0.113.2"}, {"type": "InternalIP", "address": "192.0.2.3"}]}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	out.until(t, "changed  addresses of nodes: ")
	end()
	if text := out.text.String(); strings.Count(text, "FROM") != 1 {
		t.Errorf("want one table, and lines after it: %s", text)
	}
}

// TestNeedsNowhere: without files and without a kubeconfig both ways are named.
func TestNeedsNowhere(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	for _, c := range []struct{ args, want string }{
		{"needs", "-f"},
		{"needs", "--kubeconfig"},
		{"needs -f - --watch", "want one of them"},
		{"needs -f - --context x", "want one of them"},
		{"needs --watch -o csv", "want table or json"},
		{"needs --kubeconfig /nowhere/kubeconfig", "cannot read the kubeconfig"},
	} {
		if r := run(t, "", strings.Fields(c.args)...); r.code != 2 || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: exit %d, %q: want 2 and %q", c.args, r.code, r.err, c.want)
		}
	}
}

// TestNeedsRole: the role in the repository is the one that is printed.
func TestNeedsRole(t *testing.T) {
	r := run(t, "", "needs", "--rbac")
	shipped, err := os.ReadFile(filepath.Join("..", "..", "deploy", "needs-role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(shipped), r.out) || r.out == "" {
		t.Errorf("deploy/needs-role.yaml has:\n%s\nwant at its end what ringfence needs --rbac prints:\n%s", shipped, r.out)
	}
}

// A nasty name must not end a comment; the API server would refuse it.
const forNft = guardedLive + `
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: shop}
spec: {type: NodePort, ports: [{port: 80, nodePort: 30080, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
addressType: IPv4
ports: [{name: https, port: 6443}]
endpoints: [{addresses: [192.0.2.1]}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: flannel, namespace: kube-flannel}
spec: {template: {spec: {hostNetwork: true, containers: [{command: [/opt/bin/flanneld], image: flannel}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-flannel-cfg, namespace: kube-flannel}
data: {net-conf.json: '{"Network": "10.244.0.0/16", "Backend": {"Type": "host-gw"}}'}
---
apiVersion: v1
kind: Service
metadata: {name: "bad\n} drop #", namespace: shop}
spec: {type: LoadBalancer, ports: [{port: 81, nodePort: 30081}]}
`

// TestNeedsNft: the script is one that nft takes, accepts what has addresses, and
// says why it does not accept the rest.
func TestNeedsNft(t *testing.T) {
	r := run(t, forNft, "needs", "-f", "-", "-o", "nft")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	ingress, egress, ok := strings.Cut(r.out, "chain egress")
	if !ok {
		t.Fatalf("no chain egress in:\n%s", r.out)
	}
	set := func(party string) string {
		_, after, _ := strings.Cut(r.out, "# "+party+"\n  set ")
		name, _, _ := strings.Cut(after, " ")
		return name
	}
	nodes, api := set("nodes"), set("API server")
	toKubelet := "ip saddr @" + api + " ip daddr @" + nodes + " tcp dport 10250 counter accept"
	for _, c := range []struct {
		what, in, want string
	}{
		{"what the API server asks of kubelets", ingress, toKubelet},
		{"the same on its own host", egress, toKubelet},
		{"a node port", ingress, "\n    ip daddr @" + nodes + " udp dport 30080 counter accept"},
		{"a node port, by IPv6", ingress, "\n    ip6 daddr @" + strings.Replace(nodes, "_v4", "_v6", 1) + " udp dport 30080 counter accept"},
		{"routed pods", ingress, "ip saddr @" + set("all pods") + " ip daddr @" + set("all pods") + " counter accept"},
		{"who is not known", ingress, "# No rule: the addresses of load balancer of shop/bad } drop # are not known."},
		{"neighbour discovery", ingress, "ip6 hoplimit 255 icmpv6 type 133-136 accept"},
	} {
		if !strings.Contains(c.in, c.want) {
			t.Errorf("%s: no %q in:\n%s", c.what, c.want, c.in)
		}
	}
	if strings.Contains(egress, "dport 30080") {
		t.Error("a node port on the way out: want none")
	}
	for line := range strings.Lines(r.out) {
		if strings.HasPrefix(strings.TrimSpace(line), "} drop") {
			t.Errorf("a name ends a comment: %q", line)
		}
	}
	checkNft(t, r.out)
}

// checkNft has the kernel look at a script, which changes nothing.
func checkNft(t *testing.T, script string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED with nft: only root may ask the kernel")
	}
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skipf("NOT TESTED with nft: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), nft, "--check", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("nft --check: %v: %s of:\n%s", err, out, script)
	}
}

// TestCheckReadsTheCluster: --kubeconfig of a running cluster joins its needs to
// the groups of files; that of Ringfence's API has what its controllers publish.
func TestCheckReadsTheCluster(t *testing.T) {
	server := apiserver.Start(t)
	server.Load(t, guardedLive)
	kubeconfig := apiserver.Kubeconfig(t, server.Admin)
	group := write(t, t.TempDir(), "group.yaml", strings.NewReplacer("10.0.0.0/24", "192.0.2.0/24", "10.0.0.0/16", "192.0.2.0/24", "1/9000", "1/8000").Replace(dumpGroup))
	r := run(t, "", "check", "-f", group, "--kubeconfig", kubeconfig, "--network-mode", "Other", "-o", "json")
	if r.code != 1 || !strings.Contains(r.out, `failed calling webhook \"a.guard.example\"`) || !strings.Contains(r.out, `"source": "ValidatingWebhookConfiguration guard /webhooks/0/clientConfig/service"`) {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := run(t, "", "check", "--kubeconfig", kubeconfig); r.code != 2 || !strings.Contains(r.err, "has no groups of Ringfence") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r := run(t, "", "rules", "--from-needs", "--kubeconfig", kubeconfig, "--group-type", "advanced"); r.code != 0 || !strings.Contains(r.out, "8443/8443") || !strings.Contains(r.err, "proved: all of") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}
