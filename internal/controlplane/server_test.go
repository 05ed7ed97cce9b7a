package controlplane_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/internal/controlplane"
	"ringfence.dev/ringfence/internal/testenv"
)

// patience is for what takes a second when the machine has nothing else to do.
const patience = 60 * time.Second

// within polls until ok, and fails with the reason if that never comes.
func within(t *testing.T, reason string, ok func(context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, ok); err != nil {
		t.Errorf("%s: %v", reason, err)
	}
}

func client(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func kubeconfig(t *testing.T, dir string) *rest.Config {
	t.Helper()
	path := filepath.Join(dir, controlplane.AdminKubeconfig)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v: it opens everything", path, info.Mode())
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1 // not the client is tested
	return config
}

// inNamespace makes a namespace for one test.
func inNamespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	ns, err := client(t, env.Admin).CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

func TestStartup(t *testing.T) {
	t.Logf("ready after %s, first start, definitions served and policies in force", env.Startup.Round(time.Millisecond))
}

func TestKubeconfig(t *testing.T) {
	c := client(t, kubeconfig(t, env.DataDir))
	if _, err := c.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/readyz", "/livez", "/metrics"} {
		if err := c.Discovery().RESTClient().Get().AbsPath(path).Do(t.Context()).Error(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	groups, err := c.Discovery().ServerResourcesForGroupVersion("ringfence.dev/v1alpha1")
	if err != nil || len(groups.APIResources) == 0 {
		t.Errorf("the kinds of the definitions are not served: %v", err)
	}
}

// TestVersion checks that clients can read the version: kubectl warns of one
// that is too far from its own, and gives up over one that is none.
func TestVersion(t *testing.T) {
	got, err := kubernetes.NewForConfigOrDie(env.Admin).Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	v, err := version.ParseSemantic(got.GitVersion)
	if err != nil || v.Major() != 1 || v.Minor() < 37 {
		t.Errorf("version %q: %v", got.GitVersion, err)
	}
}

func TestStrangers(t *testing.T) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(env.Admin.CAData)
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer stranger.CloseIdleConnections()
	for _, path := range []string{"/", "/api", "/readyz", "/metrics", "/openapi/v2", "/api/v1/namespaces", "/apis/ringfence.dev/v1alpha1/securitygroups", "/.well-known/openid-configuration"} {
		resp, err := stranger.Get(env.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: a request without credentials got %s", path, resp.Status)
		}
	}
	plain, err := http.Get(strings.Replace(env.URL, "https", "http", 1))
	if err == nil {
		plain.Body.Close()
		if plain.StatusCode != http.StatusBadRequest {
			t.Errorf("without TLS: %s", plain.Status)
		}
	}
}

// TestOwnedObjectsGo also proves that a namespace ends, with what is in it.
func TestOwnedObjectsGo(t *testing.T) {
	t.Parallel()
	ns, c := inNamespace(t), client(t, env.Admin)
	maps := c.CoreV1().ConfigMaps(ns)
	owner, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owned", OwnerReferences: []metav1.OwnerReference{{
		APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID,
	}}}}
	if _, err := maps.Create(t.Context(), owned, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(t.Context(), "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "an object whose owner is gone goes too", func(ctx context.Context) (bool, error) {
		_, err := maps.Get(ctx, "owned", metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	if err := c.CoreV1().Namespaces().Delete(t.Context(), ns, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "a deleted namespace ends", func(ctx context.Context) (bool, error) {
		_, err := c.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

func TestRestart(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.DataDir = t.TempDir()
	first := testenv.Start(t, cfg)
	maps := client(t, first.Admin).CoreV1().ConfigMaps("default")
	if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, first.Admin).CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "test"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	serving, err := os.ReadFile(filepath.Join(cfg.DataDir, "pki", "serving.crt"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := controlplane.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another server runs on it") {
		t.Errorf("two servers on one folder: %v", err)
	}
	watching, err := maps.Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()

	began := clock.RealClock{}.Now()
	if err := first.Stop(); err != nil {
		t.Errorf("a stop that was asked for is no error: %v", err)
	}
	t.Logf("stopped after %s, with a watch open", clock.RealClock{}.Since(began).Round(time.Millisecond))
	addr := strings.TrimPrefix(first.URL, "https://")
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("the port is not free: %v", err)
	}
	listener.Close()

	cfg.Listen = addr
	again := testenv.Start(t, cfg)
	if err := client(t, again.Admin).CoreV1().Namespaces().Delete(t.Context(), "test", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Errorf("ready, but a policy does not find its kind: %v", err)
	}
	t.Logf("ready after %s, second start", again.Startup.Round(time.Millisecond))
	if _, err := client(t, first.Admin).CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Errorf("an object from before, by a certificate from before: %v", err)
	}
	if now, err := os.ReadFile(filepath.Join(cfg.DataDir, "pki", "serving.crt")); err != nil || string(now) != string(serving) {
		t.Errorf("the serving certificate changed: %v", err)
	}
}
