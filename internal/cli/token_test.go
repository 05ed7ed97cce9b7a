package cli_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"ringfence.dev/ringfence/api/crds"
	"ringfence.dev/ringfence/internal/controlplane"
	"ringfence.dev/ringfence/internal/identity"
	"ringfence.dev/ringfence/internal/testenv"
)

// env is the control plane that the live tests share.
var env *testenv.Env

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, controlplane.Config{CRDs: crds.Files}, &env))
}

func adminFile() string { return filepath.Join(env.DataDir, controlplane.AdminKubeconfig) }

// apply creates objects of ours in a namespace of the test's own.
func namespace(t *testing.T, objects ...map[string]any) string {
	t.Helper()
	ns, err := kubernetes.NewForConfigOrDie(env.Admin).CoreV1().Namespaces().
		Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range objects {
		o := &unstructured.Unstructured{Object: content}
		o.SetAPIVersion("ringfence.dev/v1alpha1")
		resource := schema.GroupVersionResource{Group: "ringfence.dev", Version: "v1alpha1", Resource: strings.ToLower(o.GetKind()) + "s"}
		if _, err := dynamic.NewForConfigOrDie(env.Admin).Resource(resource).Namespace(ns.Name).Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return ns.Name
}

func hostObject(name string) map[string]any {
	return map[string]any{"kind": "Host", "metadata": map[string]any{"name": name}, "spec": map[string]any{}}
}

var joinCommand = regexp.MustCompile(`^ringfence-agent join --server (\S+) --token (([a-z0-9]{6})\.[a-z0-9]{16}) --ca-cert-hash (sha256:[0-9a-f]{64}) --namespace (\S+) --name (\S+)\n$`)

func TestTokenCreate(t *testing.T) {
	ns := namespace(t, hostObject("node-1"))
	r := run(t, "", "token", "create", "--kubeconfig", adminFile(), "-n", ns, "--host", "node-1", "--ttl", "10m")
	m := joinCommand.FindStringSubmatch(r.out)
	if r.code != 0 || m == nil {
		t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	server, token, id, hash := m[1], m[2], m[3], m[4]
	if server != env.URL || m[5] != ns || m[6] != "node-1" {
		t.Errorf("the command names %s, %s, %s", server, m[5], m[6])
	}
	for _, part := range []string{"good for host " + ns + "/node-1, until", "other machines do not reach"} {
		if !strings.Contains(r.err, part) {
			t.Errorf("want %q in: %s", part, r.err)
		}
	}
	provesItself(t, server, hash)
	config := rest.AnonymousClientConfig(env.Admin)
	config.BearerToken = token
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := kubernetes.NewForConfigOrDie(config).CertificatesV1().CertificateSigningRequests().Get(ctx, "none", metav1.GetOptions{})
		return apierrors.IsForbidden(err) && strings.Contains(err.Error(), `"system:bootstrap:`+id+`"`), nil
	})
	if err != nil {
		t.Errorf("the API server does not know the token: %v", err)
	}

	list := run(t, "", "token", "list", "--kubeconfig", adminFile(), "-o", "json")
	var listed []map[string]any
	if err := json.Unmarshal([]byte(list.out), &listed); err != nil {
		t.Fatal(err, list.out, list.err)
	}
	found := false
	for _, l := range listed {
		found = found || l["id"] == id && l["host"] == "node-1" && l["namespace"] == ns
	}
	if !found || strings.Contains(list.out, token[7:]) {
		t.Errorf("want %s without its secret in: %s", id, list.out)
	}
	if table := run(t, "", "token", "list", "--kubeconfig", adminFile()); !strings.Contains(table.out, id) || strings.Contains(table.out, token[7:]) {
		t.Errorf("want %s without its secret in: %s", id, table.out)
	}

	if r := run(t, "", "token", "delete", "--kubeconfig", adminFile(), token); r.code != 0 || r.out != "token "+id+" is deleted\n" {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := run(t, "", "token", "delete", "--kubeconfig", adminFile(), id); r.code != 2 || !strings.Contains(r.err, "not found") {
		t.Errorf("once more: exit %d: %s%s", r.code, r.out, r.err)
	}
}

// provesItself does what a joining host does: it trusts what the server shows
// only if the authority at its end has the key of that hash.
func provesItself(t *testing.T, server, hash string) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", u.Host, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	shown := conn.ConnectionState().PeerCertificates
	last := shown[len(shown)-1]
	if identity.PublicKeyHash(last) != hash {
		t.Fatalf("the server shows %d certificates, and %s is not the last one's hash", len(shown), hash)
	}
	roots := x509.NewCertPool()
	roots.AddCert(last)
	if _, err := shown[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: u.Hostname()}); err != nil {
		t.Error(err)
	}
}

func TestTokenForAPool(t *testing.T) {
	ns := namespace(t, map[string]any{"kind": "NodePool", "metadata": map[string]any{"name": "workers"}, "spec": map[string]any{"clusterName": "shop"}})
	r := run(t, "", "token", "create", "--kubeconfig", adminFile(), "-n", ns, "--pool", "workers", "--server", "https://ringfence.example:6443")
	if r.code != 0 || !strings.HasSuffix(r.out, ` --name "$(hostname)"`+"\n") || !strings.Contains(r.out, "--server https://ringfence.example:6443 ") || strings.Contains(r.err, "other machines") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// TestTokenRefusals: each message says what is wrong and what to do.
func TestTokenRefusals(t *testing.T) {
	ns := namespace(t, hostObject("node-1"))
	t.Setenv("KUBECONFIG", "")
	t.Setenv("HOME", t.TempDir())
	admin, err := clientcmd.LoadFromFile(adminFile())
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := func(change func(server, ca *string)) string {
		copied := admin.DeepCopy()
		c := copied.Clusters["ringfence"]
		ca := string(c.CertificateAuthorityData)
		change(&c.Server, &ca)
		c.CertificateAuthorityData = []byte(ca)
		path := filepath.Join(t.TempDir(), "kubeconfig")
		if err := clientcmd.WriteToFile(*copied, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	nobody := admin.DeepCopy()
	nobody.AuthInfos["ringfence:admin"].ClientCertificateData, nobody.AuthInfos["ringfence:admin"].ClientKeyData = nil, nil
	strangers := filepath.Join(t.TempDir(), "stranger")
	if err := clientcmd.WriteToFile(*nobody, strangers); err != nil {
		t.Fatal(err)
	}
	etcdCA, err := os.ReadFile(filepath.Join(env.DataDir, "pki", "etcd-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no kubeconfig anywhere":   {[]string{"create", "--host", "node-1"}, "name its kubeconfig with --kubeconfig"},
		"a kubeconfig not there":   {[]string{"create", "--host", "node-1", "--kubeconfig", "/does/not/exist"}, "cannot read the kubeconfig"},
		"a context not in it":      {[]string{"create", "--host", "node-1", "--kubeconfig", adminFile(), "--context", "x"}, `"x"`},
		"nobody listens":           {[]string{"list", "--kubeconfig", kubeconfig(func(s, _ *string) { *s = "https://" + closed.Addr().String() })}, "nobody answers at https://127.0.0.1:"},
		"another authority":        {[]string{"list", "--kubeconfig", kubeconfig(func(_, ca *string) { *ca = string(etcdCA) })}, "a certificate that the kubeconfig does not trust"},
		"no authority":             {[]string{"create", "--host", "node-1", "--kubeconfig", kubeconfig(func(_, ca *string) { *ca = "" })}, "the kubeconfig has none"},
		"a stranger":               {[]string{"list", "--kubeconfig", strangers}, "does not know who asks"},
		"neither host nor pool":    {[]string{"create", "--kubeconfig", adminFile()}, "want --host or --pool"},
		"both":                     {[]string{"create", "--kubeconfig", adminFile(), "--host", "a", "--pool", "b"}, "want --host or --pool"},
		"too long a life":          {[]string{"create", "--kubeconfig", adminFile(), "--host", "a", "--ttl", "25h"}, "want 1m to 24h"},
		"a host that is not there": {[]string{"create", "--kubeconfig", adminFile(), "-n", ns, "--host", "node-2"}, "there is no Host node-2 in namespace " + ns},
		"a pool that is not there": {[]string{"create", "--kubeconfig", adminFile(), "-n", ns, "--pool", "node-1"}, "there is no NodePool node-1 in namespace " + ns},
		"a token that is not ours": {[]string{"delete", "--kubeconfig", adminFile(), "kube01"}, "none of ours"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "a token that is not ours" {
				secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-kube01"}, Type: identity.TokenSecretType, StringData: map[string]string{"token-id": "kube01"}}
				if _, err := kubernetes.NewForConfigOrDie(env.Admin).CoreV1().Secrets("kube-system").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			r := run(t, "", append([]string{"token"}, tc.args...)...)
			if r.code != 2 || !strings.Contains(r.err, tc.want) || r.out != "" {
				t.Errorf("exit %d, want 2 and %q in: %s%s", r.code, tc.want, r.out, r.err)
			}
		})
	}
}
