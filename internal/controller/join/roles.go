package join

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/identity"
)

// A role cannot say "its own": it names objects. So each Host has one, which
// goes with it. All that a host may do stands in it, so deleting the Host object
// takes every right from its certificate at once.

func look() []string  { return []string{"get", "list", "watch"} }
func write() []string { return []string{"get", "update", "patch"} }
func add() []string   { return []string{"create"} }

// hostRules are what a host may do in its namespace. What it creates carries its
// own name: a policy sees to that.
func hostRules(name string) []rbacv1.PolicyRule {
	ours, leases := []string{v1alpha1.GroupName}, []string{coordinationv1.GroupName}
	own := []string{name}
	return []rbacv1.PolicyRule{
		{APIGroups: ours, Resources: []string{"rollouts", "rulesets", "addressslices"}, Verbs: look()},
		{APIGroups: ours, Resources: []string{"hosts"}, ResourceNames: own, Verbs: look()},
		{APIGroups: ours, Resources: []string{"hosts/status", "flowreports"}, ResourceNames: own, Verbs: write()},
		{APIGroups: ours, Resources: []string{"flowreports"}, Verbs: add()},
		{APIGroups: leases, Resources: []string{"leases"}, ResourceNames: own, Verbs: write()},
		{APIGroups: leases, Resources: []string{"leases"}, Verbs: add()},
	}
}

// hostRole is the role of one host and its binding to the host's user.
func hostRole(host *v1alpha1.Host) (*rbacv1.Role, *rbacv1.RoleBinding) {
	user := identity.Host{Namespace: host.Namespace, Name: host.Name}.User()
	meta := metav1.ObjectMeta{
		Namespace: host.Namespace, Name: "ringfence:host:" + host.Name,
		OwnerReferences: []metav1.OwnerReference{ownedBy(v1alpha1.GroupVersion.String(), "Host", host)},
	}
	return &rbacv1.Role{ObjectMeta: meta, Rules: hostRules(host.Name)},
		&rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: roleRef("Role", meta.Name), Subjects: []rbacv1.Subject{subject(user)}}
}

// askerRole lets who made a request read it, and no other.
func askerRole(csr *certificatesv1.CertificateSigningRequest) (*rbacv1.ClusterRole, *rbacv1.ClusterRoleBinding) {
	meta := metav1.ObjectMeta{
		Name:            "ringfence:request:" + csr.Name,
		OwnerReferences: []metav1.OwnerReference{ownedBy(certificatesv1.SchemeGroupVersion.String(), "CertificateSigningRequest", csr)},
	}
	rule := rbacv1.PolicyRule{
		APIGroups: []string{certificatesv1.GroupName}, Resources: []string{"certificatesigningrequests"},
		ResourceNames: []string{csr.Name}, Verbs: look(),
	}
	return &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{rule}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: roleRef("ClusterRole", meta.Name), Subjects: []rbacv1.Subject{subject(csr.Spec.Username)}}
}

func ownedBy(version, kind string, owner client.Object) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: version, Kind: kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: new(true)}
}

func roleRef(kind, name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
}

func subject(user string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}
}

// put creates an object or makes it what is wanted again. Have is an empty
// object of the same kind; set copies into it what ours is to say.
func put[T client.Object](ctx context.Context, c client.Client, want, have T, set func(have, want T)) error {
	err := c.Get(ctx, client.ObjectKeyFromObject(want), have)
	if apierrors.IsNotFound(err) {
		if err = c.Create(ctx, want); err == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("cannot make %s: %w", want.GetName(), err)
	}
	before := have.DeepCopyObject()
	set(have, want)
	have.SetOwnerReferences(want.GetOwnerReferences())
	if equality.Semantic.DeepEqual(before, have) {
		return nil
	}
	if err := c.Update(ctx, have); err != nil {
		return fmt.Errorf("cannot change %s: %w", want.GetName(), err)
	}
	return nil
}

func putHostRole(ctx context.Context, c client.Client, host *v1alpha1.Host) error {
	role, binding := hostRole(host)
	err := put(ctx, c, role, &rbacv1.Role{}, func(have, want *rbacv1.Role) { have.Rules = want.Rules })
	if err != nil {
		return err
	}
	return put(ctx, c, binding, &rbacv1.RoleBinding{}, func(have, want *rbacv1.RoleBinding) { have.Subjects, have.RoleRef = want.Subjects, want.RoleRef })
}

func putAskerRole(ctx context.Context, c client.Client, csr *certificatesv1.CertificateSigningRequest) error {
	role, binding := askerRole(csr)
	err := put(ctx, c, role, &rbacv1.ClusterRole{}, func(have, want *rbacv1.ClusterRole) { have.Rules = want.Rules })
	if err != nil {
		return err
	}
	return put(ctx, c, binding, &rbacv1.ClusterRoleBinding{}, func(have, want *rbacv1.ClusterRoleBinding) { have.Subjects, have.RoleRef = want.Subjects, want.RoleRef })
}
