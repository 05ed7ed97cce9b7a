package controlplane_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/internal/controlplane"
)

// TestPeople binds the roles as an administrator does, and tries them.
func TestPeople(t *testing.T) {
	t.Parallel()
	ns, other := inNamespace(t), inNamespace(t)
	for _, role := range []string{"editor", "viewer"} {
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role + "s"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "ringfence-" + role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: role + "s-" + ns}},
		}
		if _, err := client(t, env.Admin).RbacV1().RoleBindings(ns).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
			t.Fatalf("the administrator binds the role %s: %v", role, err)
		}
	}
	editor, viewer := person(t, "eve", "editors-"+ns), person(t, "vic", "viewers-"+ns)
	list := func(who *rest.Config, ns, resource string) error {
		_, err := as(t, who).Resource(ringfence(resource)).Namespace(ns).List(t.Context(), metav1.ListOptions{})
		return err
	}
	within(t, "the bindings are known", func(context.Context) (bool, error) {
		return list(editor, ns, "clusters") == nil && list(viewer, ns, "clusters") == nil, nil
	})
	makes := func(who *rest.Config, ns, kind, resource string) error {
		_, err := as(t, who).Resource(ringfence(resource)).Namespace(ns).Create(t.Context(), newObject(kind, "x", map[string]any{}), metav1.CreateOptions{})
		return err
	}
	if err := makes(editor, ns, "SecurityGroup", "securitygroups"); err != nil {
		t.Errorf("an editor makes a group: %v", err)
	}
	if err := makes(editor, ns, "Cluster", "clusters"); err != nil {
		t.Errorf("an editor makes a cluster: %v", err)
	}
	_, status := as(t, editor).Resource(ringfence("securitygroups")).Namespace(ns).UpdateStatus(t.Context(), newObject("SecurityGroup", "x", nil), metav1.UpdateOptions{})
	_, token := client(t, editor).CoreV1().Secrets("kube-system").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-abcdef"}}, metav1.CreateOptions{})
	_, bind := client(t, editor).RbacV1().RoleBindings(ns).List(t.Context(), metav1.ListOptions{})
	_, secrets := client(t, viewer).CoreV1().Secrets(ns).List(t.Context(), metav1.ListOptions{})
	for what, err := range map[string]error{
		"an editor elsewhere":         makes(editor, other, "SecurityGroup", "securitygroups"),
		"an editor looks elsewhere":   list(editor, other, "securitygroups"),
		"an editor writes status":     status,
		"an editor makes a token":     token,
		"an editor sees bindings":     bind,
		"a viewer makes a group":      makes(viewer, ns, "SecurityGroup", "securitygroups"),
		"a viewer looks elsewhere":    list(viewer, other, "clusters"),
		"a viewer reads secrets":      secrets,
		"a stranger looks":            list(env.Signed(t, "nobody"), ns, "clusters"),
		"a host that is none of ours": list(env.Signed(t, "ringfence:host:"+ns+":x", "ringfence:hosts"), ns, "clusters"),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s: want it forbidden, got %v", what, err)
		}
	}
}

// person connects with a kubeconfig that the server's own command makes.
func person(t *testing.T, name string, groups ...string) *rest.Config {
	t.Helper()
	text, err := controlplane.UserKubeconfig(env.DataDir, controlplane.Person{Name: name, Groups: groups, Life: time.Hour}, clock.RealClock{}.Now())
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestTakenNames(t *testing.T) {
	for want, p := range map[string]controlplane.Person{
		`the name ""`:                       {Life: time.Hour},
		`the name "ringfence:controllers"`:  {Name: "ringfence:controllers", Life: time.Hour},
		`the name "ringfence:host:a:b"`:     {Name: "ringfence:host:a:b", Life: time.Hour},
		`the group "system:masters"`:        {Name: "a", Groups: []string{"ringfence:admins", "system:masters"}, Life: time.Hour},
		`the group "ringfence:controllers"`: {Name: "a", Groups: []string{"ringfence:controllers"}, Life: time.Hour},
		"the life of 9000h0m0s":             {Name: "a", Life: 9000 * time.Hour},
	} {
		if _, err := controlplane.UserKubeconfig(env.DataDir, p, clock.RealClock{}.Now()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	_, err := controlplane.UserKubeconfig(t.TempDir(), controlplane.Person{Name: "a", Life: time.Hour}, clock.RealClock{}.Now())
	if err == nil || !strings.Contains(err.Error(), "no server has run on the data folder") {
		t.Errorf("an empty folder: %v", err)
	}
	config := person(t, "second", "ringfence:admins")
	if _, err := client(t, config).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("a second administrator: %v", err)
	}
}
