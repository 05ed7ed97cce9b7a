package controlplane_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/internal/testenv"
)

const finalizer = "ringfence.dev/in-use"

func ringfence(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "ringfence.dev", Version: "v1alpha1", Resource: resource}
}

func as(t *testing.T, config *rest.Config) dynamic.Interface {
	t.Helper()
	d, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newObject(kind, name string, spec map[string]any) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	object.SetGroupVersionKind(ringfence("").GroupVersion().WithKind(kind))
	object.SetName(name)
	return object
}

// create makes an object of ours and, if it has a status, writes that as the
// controllers do.
func create(t *testing.T, ns, resource, kind, name string, spec, status map[string]any) {
	t.Helper()
	made, err := as(t, env.Admin).Resource(ringfence(resource)).Namespace(ns).Create(t.Context(), newObject(kind, name, spec), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if status == nil {
		return
	}
	made.Object["status"] = status
	if _, err := as(t, env.Controllers).Resource(ringfence(resource)).Namespace(ns).UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func users(protected bool, users ...any) map[string]any {
	status := map[string]any{"protected": protected}
	if len(users) > 0 {
		status["clusters"] = users
	}
	return status
}

// refused wants an error with all the parts.
func refused(t *testing.T, reason string, err error, parts ...string) {
	t.Helper()
	if !apierrors.IsForbidden(err) {
		t.Errorf("%s: want it forbidden, got %v", reason, err)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: want %q in: %v", reason, part, err)
		}
	}
}

func TestGroupsInUseStay(t *testing.T) {
	t.Parallel()
	ns := inNamespace(t)
	groups := as(t, env.Admin).Resource(ringfence("securitygroups")).Namespace(ns)
	group := func(name string, status map[string]any) {
		create(t, ns, "securitygroups", "SecurityGroup", name, map[string]any{}, status)
	}
	group("used", users(true, map[string]any{"name": "shop", "nodePools": []any{"a", "b"}}, map[string]any{"name": "lab"}))
	group("new", nil)
	group("worn", users(true))
	group("free", users(false))
	group("asked", users(false))
	group("status", users(false))
	group("pods", users(false))
	group("pool", users(false))
	group("effective", users(false))
	create(t, ns, "clusters", "Cluster", "c1", map[string]any{"securityGroup": map[string]any{"name": "asked"}}, nil)
	create(t, ns, "clusters", "Cluster", "c2", map[string]any{"network": map[string]any{"podSecurityGroupNames": []any{"pods"}}}, map[string]any{"securityGroupName": "status"})
	create(t, ns, "nodepools", "NodePool", "p1", map[string]any{"clusterName": "c1", "securityGroup": map[string]any{"names": []any{"other", "pool"}}}, nil)
	create(t, ns, "nodepools", "NodePool", "p2", map[string]any{"clusterName": "c1"}, map[string]any{"effectiveSecurityGroupNames": []any{"effective"}})

	for name, tc := range map[string]struct {
		reason string
		parts  []string
	}{
		"used":      {"its users are named", []string{"security group used is in use by cluster shop (node pools a, b), cluster lab;"}},
		"new":       {"a use that nobody computed may be one", []string{"not known yet who uses security group new"}},
		"worn":      {"protected without a cluster", []string{"protected (status.protected)"}},
		"asked":     {"a cluster asks for it, and no status says so yet", []string{"in use by cluster c1;"}},
		"status":    {"a cluster was given it", []string{"in use by cluster c2;"}},
		"pods":      {"a cluster's pods wear it", []string{"in use by cluster c2;"}},
		"effective": {"a node pool wears its cluster's", []string{"in use by node pool p2 of cluster c1;"}},
		"pool":      {"a node pool asks for it", []string{"in use by node pool p1 of cluster c1;"}},
	} {
		refused(t, tc.reason, groups.Delete(t.Context(), name, metav1.DeleteOptions{}), tc.parts...)
	}
	err := groups.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{})
	refused(t, "all at once is no way around", err)
	within(t, "a group that nobody uses goes", func(ctx context.Context) (bool, error) {
		err := groups.Delete(ctx, "free", metav1.DeleteOptions{})
		return err == nil || apierrors.IsNotFound(err), nil
	})
	if _, err := groups.Get(t.Context(), "used", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func TestNamespacesInUseStay(t *testing.T) {
	t.Parallel()
	namespaces := client(t, env.Admin).CoreV1().Namespaces()
	for name, tc := range map[string]struct {
		reason string
		status map[string]any
		parts  []string
	}{
		"Used":  {"the group and its users are named", users(true, map[string]any{"name": "shop"}, map[string]any{"name": "lab"}), []string{"holds security group g, in use by cluster shop, lab;"}},
		"New":   {"a use that nobody computed may be one", nil, []string{"holds security group g, which is protected, or whose use is not known yet"}},
		"Free":  {"nobody uses it", users(false), nil},
		"Worn":  {"hosts wear it", users(true), []string{"which is protected"}},
		"Empty": {"an empty status says nothing", map[string]any{}, []string{"not known yet"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := inNamespace(t)
			create(t, ns, "securitygroups", "SecurityGroup", "g", map[string]any{}, tc.status)
			within(t, tc.reason, func(ctx context.Context) (bool, error) {
				err := namespaces.Delete(ctx, ns, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
				if tc.parts != nil && !apierrors.IsForbidden(err) {
					return false, fmt.Errorf("want it forbidden, got %w", err)
				}
				// The status arrives in the API server's memory an instant later.
				return tc.parts == nil && err == nil || tc.parts != nil && !slices.ContainsFunc(tc.parts, func(part string) bool { return !strings.Contains(err.Error(), part) }), nil
			})
		})
	}
}

// TestTheInstantAfter asks again and again, at once: what the policies see is
// some milliseconds old now and then.
func TestTheInstantAfter(t *testing.T) {
	ns := inNamespace(t)
	groups := as(t, env.Admin).Resource(ringfence("securitygroups")).Namespace(ns)
	clusters := as(t, env.Admin).Resource(ringfence("clusters")).Namespace(ns)
	dry := metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
	create(t, ns, "securitygroups", "SecurityGroup", "g", map[string]any{}, users(false))
	for range 50 {
		if err := groups.Delete(t.Context(), "g", dry); err != nil && strings.Contains(err.Error(), "RingfenceInstant") {
			t.Fatalf("nobody uses it: %v", err)
		}
		create(t, ns, "clusters", "Cluster", "shop", map[string]any{"securityGroup": map[string]any{"name": "g"}}, nil)
		refused(t, "the group, the instant after its cluster was created", groups.Delete(t.Context(), "g", dry), "in use by cluster shop")
		err := client(t, env.Admin).CoreV1().Namespaces().Delete(t.Context(), ns, dry)
		refused(t, "its namespace too", err, "holds cluster shop")
		if err := clusters.Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStatusIsTheControllers(t *testing.T) {
	t.Parallel()
	ns := inNamespace(t)
	create(t, ns, "securitygroups", "SecurityGroup", "g", map[string]any{}, users(true))
	patch := func(config *rest.Config, body string, sub ...string) error {
		_, err := as(t, config).Resource(ringfence("securitygroups")).Namespace(ns).
			Patch(t.Context(), "g", types.MergePatchType, []byte(body), metav1.PatchOptions{}, sub...)
		return err
	}
	const cleared = `{"status":{"protected":false}}`
	refused(t, "the administrator has no right to it", patch(env.Admin, cleared, "status"))
	refused(t, "who has the right is still held by the policy", patch(powerful(t), cleared, "status"), "written by the controllers only")
	if err := patch(env.Admin, cleared); err != nil {
		t.Errorf("a status in a normal write is ignored: %v", err)
	}
	if err := patch(env.Controllers, `{"metadata":{"finalizers":["`+finalizer+`","example.com/other"]}}`); err != nil {
		t.Fatal(err)
	}
	refused(t, "nobody takes the finalizer off", patch(env.Admin, `{"metadata":{"finalizers":["example.com/other"]}}`), "by the controllers only")
	if err := patch(env.Admin, `{"metadata":{"finalizers":["`+finalizer+`"]}}`); err != nil {
		t.Errorf("other finalizers are the user's: %v", err)
	}
	if err := patch(env.Controllers, `{"metadata":{"finalizers":null}}`); err != nil {
		t.Errorf("the controllers take it off: %v", err)
	}
}

func TestNobodyComesFromBehind(t *testing.T) {
	admin := as(t, env.Admin)
	cluster := func(group, resource string) dynamic.NamespaceableResourceInterface {
		return admin.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource})
	}
	for _, what := range [][3]string{
		{"admissionregistration.k8s.io", "validatingadmissionpolicies", "ringfence-group-in-use"},
		{"admissionregistration.k8s.io", "validatingadmissionpolicybindings", "ringfence-group-in-use"},
		{"apiextensions.k8s.io", "customresourcedefinitions", "securitygroups.ringfence.dev"},
		{"apiregistration.k8s.io", "apiservices", "v1alpha1.ringfence.dev"},
	} {
		r := cluster(what[0], what[1])
		refused(t, "delete "+what[1], r.Delete(t.Context(), what[2], metav1.DeleteOptions{}))
		_, err := r.Patch(t.Context(), what[2], types.MergePatchType, []byte(`{"spec":{}}`), metav1.PatchOptions{})
		refused(t, "change "+what[1], err)
		if _, err := r.Get(t.Context(), what[2], metav1.GetOptions{}); err != nil {
			t.Errorf("but the administrator may look: %v", err)
		}
	}
	for _, who := range []rest.ImpersonationConfig{{UserName: "ringfence:controllers"}, {UserName: "x", Groups: []string{"system:masters"}}} {
		config := rest.CopyConfig(env.Admin)
		config.Impersonate = who
		_, err := as(t, config).Resource(ringfence("securitygroups")).Namespace("default").List(t.Context(), metav1.ListOptions{})
		refused(t, "act as "+who.UserName, err, "impersonate")
	}
	_, err := cluster("rbac.authorization.k8s.io", "clusterroles").Patch(t.Context(), "ringfence-admin", types.JSONPatchType,
		[]byte(`[{"op":"add","path":"/rules/-","value":{"apiGroups":["ringfence.dev"],"resources":["securitygroups"],"verbs":["control"]}}]`), metav1.PatchOptions{})
	refused(t, "grant oneself more", err)
	binding := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": map[string]any{"name": "coup"},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
		"subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "ringfence:admins"}},
	}}
	_, err = cluster("rbac.authorization.k8s.io", "clusterrolebindings").Create(t.Context(), binding, metav1.CreateOptions{})
	refused(t, "bind oneself to a stronger role", err)
	_, err = client(t, env.Admin).CoreV1().ServiceAccounts("kube-system").
		CreateToken(t.Context(), "namespace-controller", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	refused(t, "a token for an account with many rights", err)
}

// powerful is a user whose role, unlike any of ours, allows writes to status.
func powerful(t *testing.T) *rest.Config {
	t.Helper()
	const name = "powerful"
	root := client(t, env.Signed(t, "root", "system:masters")).RbacV1()
	meta := metav1.ObjectMeta{Name: name}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"ringfence.dev"}, Resources: []string{"*"}, Verbs: []string{"get", "update", "patch"}}}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	}
	if _, err := root.ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// The API server learns of a role a moment after it has taken it.
	config := env.Signed(t, name)
	groups := as(t, config).Resource(ringfence("securitygroups")).Namespace("default")
	testenv.Eventually(t, func(ctx context.Context) string {
		if _, err := groups.Get(ctx, "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("want not found, got %v", err)
		}
		return ""
	})
	return config
}
