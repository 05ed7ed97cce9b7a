package controlplane_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"ringfence.dev/ringfence/internal/controlplane"
	"ringfence.dev/ringfence/internal/testenv"
)

// fileOf writes a connection as a kubeconfig.
func fileOf(t *testing.T, config *rest.Config) string {
	t.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["x"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	c.AuthInfos["x"] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "x", AuthInfo: "x"}
	c.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// startGuest runs a guest until the returned function is called, or the test ends.
func startGuest(t *testing.T, connect *rest.Config, leads chan<- string, log logr.Logger) (g *controlplane.Guest, stop func() error) {
	t.Helper()
	g, err := controlplane.NewGuest(controlplane.GuestConfig{
		Kubeconfig: fileOf(t, connect), HealthListen: "127.0.0.1:0", CRDs: config().CRDs, Log: log,
		Controllers: []controlplane.Controller{func(ctx context.Context, config *rest.Config) error {
			leads <- config.Host
			<-ctx.Done()
			return nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx); close(done) }()
	stop = func() error { cancel(); return <-done }
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return g, stop
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestGuest runs the controllers on an API server that is not ours: one without
// our definitions, policies and controllers.
func TestGuest(t *testing.T) {
	t.Parallel()
	theirs := testenv.Start(t, controlplane.Config{})
	leads := make(chan string, 3)

	// Without rights it says what is missing and what to do, and does nothing.
	said := make(chan string, 100)
	_, stopPoor := startGuest(t, theirs.Signed(t, "poor"), leads, funcr.New(func(_, args string) {
		select {
		case said <- args:
		default: // enough was said
		}
	}, funcr.Options{}))
	within(t, "a guest without rights says what is missing, who was refused, and what to do", func(context.Context) (bool, error) {
		select {
		case line := <-said:
			return strings.Contains(line, "CustomResourceDefinition clusters.ringfence.dev") && strings.Contains(line, "poor") &&
				strings.Contains(line, "ringfence-server manifests | kubectl apply --server-side -f -"), nil
		default:
			return false, nil
		}
	})
	if err := stopPoor(); err != nil {
		t.Error(err)
	}

	// An administrator of that API server installs all.
	root := theirs.Signed(t, "root", "system:masters")
	first, stop := startGuest(t, root, leads, logr.Discard())
	<-first.Ready()
	if got := <-leads; got != theirs.URL {
		t.Errorf("the controllers got a connection to %s", got)
	}
	for path, want := range map[string]string{"/livez": "ok", "/readyz": "ok", "/metrics": "go_goroutines"} {
		if code, text := get(t, first.HealthURL()+path); code != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: %d, want %q", path, code, want)
		}
	}
	ns := "default"
	admin := as(t, theirs.Signed(t, "ringfence:admin", "ringfence:admins"))
	group, err := as(t, root).Resource(ringfence("securitygroups")).Namespace(ns).Create(t.Context(), newObject("SecurityGroup", "used", map[string]any{}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "the policies hold there too", admin.Resource(ringfence("securitygroups")).Namespace(ns).Delete(t.Context(), "used", metav1.DeleteOptions{}), "not known yet who uses security group used")
	group.Object["status"] = users(false)
	if _, err := as(t, root).Resource(ringfence("securitygroups")).Namespace(ns).UpdateStatus(t.Context(), group, metav1.UpdateOptions{}); err != nil {
		t.Errorf("a user with the verb control writes status: %v", err)
	}

	// What somebody changes is put back at the next start.
	policies := as(t, root).Resource(schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"})
	if _, err := policies.Patch(t.Context(), "ringfence-group-in-use", types.MergePatchType, []byte(`{"spec":{"failurePolicy":"Ignore"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	// A second one, with the role of the controllers and nothing else, makes do
	// with what is installed, and takes over when the first one stops.
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "second"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "ringfence-controllers"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "second"}},
	}
	if _, err := client(t, root).RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	second, _ := startGuest(t, theirs.Signed(t, "second"), leads, logr.Discard())
	<-second.Ready()
	select {
	case <-leads:
		t.Error("two run the controllers at once")
	default:
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	<-leads

	third, _ := startGuest(t, root, leads, logr.Discard())
	<-third.Ready()
	policy, err := policies.Get(t.Context(), "ringfence-group-in-use", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if spec := policy.Object["spec"].(map[string]any); spec["failurePolicy"] != "Fail" {
		t.Errorf("a policy that somebody weakened: %v", spec["failurePolicy"])
	}
}

// TestManifests: what an administrator applies by hand is what the server does.
func TestManifests(t *testing.T) {
	var text bytes.Buffer
	if err := controlplane.Manifests(config().CRDs, &text); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"name: clusters.ringfence.dev", "name: ringfence-group-in-use", "name: ringfence-host-writes-own", "name: ringfence-controllers", "name: ringfence-canary"} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("%q is missing", part)
		}
	}
}
