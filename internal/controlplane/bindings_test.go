package controlplane

import (
	"fmt"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"
)

// A bound is a role binding of the tests: who may look at what.
type bound struct {
	namespace string
	subject   rbacv1.Subject
	role      rbacv1.RoleRef
}

// TestShortcut asks RBAC and the authorizer with the shortcut the same questions.
func TestShortcut(t *testing.T) {
	t.Parallel()
	role, clusterRole := rbacv1.RoleRef{Kind: "Role", Name: "reads"}, rbacv1.RoleRef{Kind: "ClusterRole", Name: "reads-all"}
	plain, first, both := shortened(t, []bound{
		{"a", rbacv1.Subject{Kind: rbacv1.UserKind, Name: "ann"}, role},
		{"b", rbacv1.Subject{Kind: rbacv1.UserKind, Name: "ann"}, clusterRole},
		{"a", rbacv1.Subject{Kind: rbacv1.UserKind, Name: "b/ann"}, role},
		{"a", rbacv1.Subject{Kind: rbacv1.GroupKind, Name: "crew"}, clusterRole},
		{"a", rbacv1.Subject{Kind: rbacv1.GroupKind, Name: "bob"}, clusterRole},
		{"b", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: "robot"}, role},
		{"a", rbacv1.Subject{Kind: rbacv1.UserKind, Name: "cat"}, rbacv1.RoleRef{Kind: "Role", Name: "gone"}},
	})
	asked := map[string]int{}
	for _, who := range []string{"ann", "bob", "cat", "b/ann", serviceaccount.MakeUsername("b", "robot")} {
		for _, groups := range [][]string{nil, {"crew"}} {
			for _, namespace := range []string{"", "a", "b", "c", "a/b"} {
				for _, verb := range []string{"get", "watch", "delete"} {
					for _, resource := range []string{"rulesets", "hosts", "secrets"} {
						q := authorizer.AttributesRecord{
							User: &user.DefaultInfo{Name: who, Groups: groups}, Verb: verb, Namespace: namespace, Resource: resource, ResourceRequest: true,
						}
						want, why, err := plain.Authorize(t.Context(), q)
						got, gotWhy, gotErr := both.Authorize(t.Context(), q)
						if got != want || fmt.Sprint(gotErr) != fmt.Sprint(err) {
							t.Errorf("%s %v %s %s/%s: %v (%s, %v), RBAC alone: %v (%s, %v)", who, groups, verb, namespace, resource, got, gotWhy, gotErr, want, why, err)
						}
						short, _, _ := first.Authorize(t.Context(), q)
						asked[fmt.Sprintf("RBAC %v, shortcut %v", want == authorizer.DecisionAllow, short == authorizer.DecisionAllow)]++
					}
				}
			}
		}
	}
	for _, each := range []string{"RBAC true, shortcut true", "RBAC true, shortcut false", "RBAC false, shortcut false"} {
		if asked[each] == 0 {
			t.Errorf("no question has the answers %s: %v", each, asked)
		}
	}
	if asked["RBAC false, shortcut true"] > 0 {
		t.Errorf("the shortcut allows what RBAC does not: %v", asked)
	}
}

// shortened returns RBAC, the shortcut, and the authorizer of a server that has
// both, which know these bindings and the roles in them.
func shortened(tb testing.TB, bindings []bound) (plain, first, both authorizer.Authorizer) {
	tb.Helper()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "127.0.0.1:0"})
	if err != nil {
		tb.Fatal(err)
	}
	all := informers.NewSharedInformerFactory(client, 0) // never started: the test fills it
	kinds := all.Rbac().V1()
	plain = rbac.New(&rbac.RoleGetter{Lister: kinds.Roles().Lister()}, &rbac.RoleBindingLister{Lister: kinds.RoleBindings().Lister()},
		&rbac.ClusterRoleGetter{Lister: kinds.ClusterRoles().Lister()}, &rbac.ClusterRoleBindingLister{Lister: kinds.ClusterRoleBindings().Lister()})
	config := &server.Config{Authorization: server.AuthorizationInfo{Authorizer: plain}}
	if first, err = shorten(config, all); err != nil {
		tb.Fatal(err)
	}
	look := func(what ...string) []rbacv1.PolicyRule {
		return []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: what, Verbs: []string{"get", "watch"}}}
	}
	add := func(to cache.SharedIndexInformer, object any) {
		if err := to.GetStore().Add(object); err != nil {
			tb.Fatal(err)
		}
	}
	for _, namespace := range []string{"a", "b"} {
		add(kinds.Roles().Informer(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "reads"}, Rules: look("rulesets")})
	}
	add(kinds.ClusterRoles().Informer(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reads-all"}, Rules: look("rulesets", "hosts")})
	for n, b := range bindings {
		add(kinds.RoleBindings().Informer(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: fmt.Sprint(n)}, Subjects: []rbacv1.Subject{b.subject}, RoleRef: b.role,
		})
	}
	return plain, first, config.Authorization.Authorizer
}

// BenchmarkAuthorize asks for one of many hosts, each with a binding of its own.
func BenchmarkAuthorize(b *testing.B) {
	for _, hosts := range []int{100, 10_000} {
		var list []bound
		for n := range hosts {
			list = append(list, bound{"a", rbacv1.Subject{Kind: rbacv1.UserKind, Name: fmt.Sprint("host-", n)}, rbacv1.RoleRef{Kind: "Role", Name: "reads"}})
		}
		plain, _, both := shortened(b, list)
		q := authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: "host-7"}, Verb: "get", Namespace: "a", Resource: "rulesets", ResourceRequest: true,
		}
		for name, a := range map[string]authorizer.Authorizer{"RBAC": plain, "shortcut": both} {
			b.Run(fmt.Sprintf("%s/%d", name, hosts), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if got, _, _ := a.Authorize(b.Context(), q); got != authorizer.DecisionAllow {
						b.Fatal(got)
					}
				}
			})
		}
	}
}
