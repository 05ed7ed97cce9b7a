package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/internal/controlplane"
	"ringfence.dev/ringfence/internal/testenv"
)

// connect connects to the etcd of a server, past the API.
func connect(t *testing.T, cfg controlplane.Config) *clientv3.Client {
	t.Helper()
	info := transport.TLSInfo{CertFile: cfg.EtcdCertFile, KeyFile: cfg.EtcdKeyFile, TrustedCAFile: cfg.EtcdCAFile}
	config, err := info.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: cfg.EtcdServers, TLS: config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// unready starts a server that may not get ready, and connects as its
// administrator.
func unready(t *testing.T, cfg controlplane.Config) *rest.Config {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	file := filepath.Join(cfg.DataDir, controlplane.AdminKubeconfig)
	if err := os.Remove(file); err != nil { // it names the port of before
		t.Fatal(err)
	}
	s, err := controlplane.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	within(t, "admin.kubeconfig is there", func(context.Context) (bool, error) {
		_, err := os.Stat(file)
		return err == nil, nil
	})
	return kubeconfig(t, cfg.DataDir)
}

func put(t *testing.T, c *clientv3.Client, key, value string) {
	t.Helper()
	if _, err := c.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func readyz(ctx context.Context, t *testing.T, config *rest.Config) string {
	t.Helper()
	text, err := client(t, config).Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Raw()
	var status *apierrors.StatusError
	if err != nil && !errors.As(err, &status) {
		return err.Error()
	}
	return string(text)
}

// TestDamage writes into the store what today's API would not take.
func TestDamage(t *testing.T) {
	t.Parallel()
	cfg := controlplane.StoreForTest(t, t.TempDir())
	cfg.CRDs, cfg.DataDir = config().CRDs, t.TempDir()
	damaged := testenv.Start(t, cfg)
	groups := as(t, damaged.Admin).Resource(ringfence("securitygroups")).Namespace("default")
	if _, err := groups.Create(t.Context(), newObject("SecurityGroup", "good", map[string]any{}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const prefix = "/registry/ringfence.dev/securitygroups/default/"
	object := func(name, more string) string {
		return fmt.Sprintf(`{"apiVersion":"ringfence.dev/v1alpha1","kind":"SecurityGroup","metadata":{"name":%q,"namespace":"default","uid":%q,"creationTimestamp":"2026-01-01T00:00:00Z"}%s}`, name, name, more)
	}
	c := connect(t, cfg)
	put(t, c, prefix+"unknown", object("unknown", `,"spec":{},"tomorrow":{"field":1}`))
	put(t, c, prefix+"refused", object("refused", `,"spec":"of another form"`))
	wantListed(t, damaged.Admin, "good", "unknown", "refused")

	put(t, c, prefix+"broken", `{"apiVersion":"ringfence.dev/v1alpha1","kind":`)
	command := "/apis/ringfence.dev/v1alpha1/namespaces/default/securitygroups/broken?ignoreStoreReadErrorWithClusterBreakingPotential=true"
	named := func(config *rest.Config) {
		t.Helper()
		var text string
		within(t, "/readyz names the key and the command", func(ctx context.Context) (bool, error) {
			text = readyz(ctx, t, config)
			return strings.Contains(text, prefix+"broken") && strings.Contains(text, "kubectl delete --raw '"+command+"'"), nil
		})
		if t.Failed() {
			t.Fatal(text)
		}
	}
	// A server that runs goes on with what it has in memory for up to a minute.
	if err := damaged.Stop(); err != nil {
		t.Fatal(err)
	}
	again := unready(t, cfg)
	named(again)
	admin := client(t, again)
	err := admin.Discovery().RESTClient().Delete().RequestURI(strings.Replace(command, "broken", "good", 1)).Do(t.Context()).Error()
	if err == nil || !strings.Contains(err.Error(), "good") {
		t.Errorf("the command for an object that is not damaged: %v", err)
	}
	if err := admin.Discovery().RESTClient().Delete().RequestURI(command).Do(t.Context()).Error(); err != nil {
		t.Fatalf("the command: %v", err)
	}
	within(t, "ready again", func(ctx context.Context) (bool, error) { return readyz(ctx, t, again) == "ok", nil })
	wantListed(t, again, "good", "unknown", "refused")
}

func wantListed(t *testing.T, config *rest.Config, names ...string) {
	t.Helper()
	within(t, fmt.Sprintf("%v are all there", names), func(ctx context.Context) (bool, error) {
		list, err := as(t, config).Resource(ringfence("securitygroups")).Namespace("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, nil //nolint:nilerr // tried again
		}
		var have []string
		for _, g := range list.Items {
			have = append(have, g.GetName())
		}
		for _, name := range names {
			if !strings.Contains(strings.Join(have, " "), name) {
				return false, nil
			}
		}
		return len(have) == len(names), nil
	})
}
