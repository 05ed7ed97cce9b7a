package controlplane

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/registry/rbac/validation"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"
)

// A shortcut asks Kubernetes' RBAC about a user with only those role bindings that
// name the user. Each host has one of its own, and without it every request of a
// host walks over those of all hosts of its namespace: with ten thousand of them
// that takes longer than all else that the request does.
//
// It says yes or nothing. RBAC knows no rule that takes a right away, so what some
// of the bindings allow, all of them do; what they do not, RBAC is asked about
// again with all of them.
type shortcut struct {
	bindings     cache.Indexer
	roles        validation.RoleGetter
	clusterRoles validation.ClusterRoleGetter
}

// shorten puts a shortcut before the authorizer of a server that does not run yet,
// and returns it.
func shorten(c *server.Config, all informers.SharedInformerFactory) (*shortcut, error) {
	kinds := all.Rbac().V1()
	bindings := kinds.RoleBindings().Informer()
	if err := bindings.AddIndexers(cache.Indexers{byUser: usersOf}); err != nil {
		return nil, fmt.Errorf("cannot index role bindings by user: %w", err)
	}
	first := &shortcut{
		bindings: bindings.GetIndexer(),
		roles:    &rbac.RoleGetter{Lister: kinds.Roles().Lister()}, clusterRoles: &rbac.ClusterRoleGetter{Lister: kinds.ClusterRoles().Lister()},
	}
	both, err := union.New(
		union.NamedAuthorizer{AuthorizerName: "bindings-of-the-user", Authorizer: first},
		union.NamedAuthorizer{AuthorizerName: "all", Authorizer: c.Authorization.Authorizer},
	)
	if err != nil {
		return nil, err
	}
	c.Authorization.Authorizer = both
	return first, nil
}

// byUser is the index of role bindings by namespace and user.
const byUser = "user"

func userKey(namespace, user string) string { return namespace + "/" + user }

// usersOf is a cache.IndexFunc. Groups and service accounts are left to RBAC.
func usersOf(object any) ([]string, error) {
	binding, ok := object.(*rbacv1.RoleBinding)
	if !ok {
		return nil, fmt.Errorf("%T is no RoleBinding", object)
	}
	var out []string
	for _, s := range binding.Subjects {
		if s.Kind == rbacv1.UserKind {
			out = append(out, userKey(binding.Namespace, s.Name))
		}
	}
	return out, nil
}

// Authorize implements authorizer.Authorizer.
func (s *shortcut) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetNamespace() == "" || a.GetUser() == nil {
		return authorizer.DecisionNoOpinion, "", nil
	}
	own := ownBindings{s.bindings, userKey(a.GetNamespace(), a.GetUser().GetName())}
	decision, reason, err := rbac.New(s.roles, own, s.clusterRoles, own).Authorize(ctx, a)
	if decision != authorizer.DecisionAllow {
		return authorizer.DecisionNoOpinion, "", nil // RBAC is asked again, and says why
	}
	return decision, reason, err
}

// ConditionsAwareAuthorize implements authorizer.Authorizer.
func (s *shortcut) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(s.Authorize(ctx, a))
}

// EvaluateConditions implements authorizer.Authorizer: there are none.
func (*shortcut) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// ownBindings lists the bindings of one user in one namespace.
type ownBindings struct {
	from cache.Indexer
	key  string
}

// ListRoleBindings implements validation.RoleBindingLister.
func (o ownBindings) ListRoleBindings(context.Context, string) ([]*rbacv1.RoleBinding, error) {
	found, err := o.from.ByIndex(byUser, o.key)
	if err != nil {
		return nil, err
	}
	out := make([]*rbacv1.RoleBinding, 0, len(found))
	for _, object := range found {
		if binding, ok := object.(*rbacv1.RoleBinding); ok {
			out = append(out, binding)
		}
	}
	return out, nil
}

// ListClusterRoleBindings implements validation.ClusterRoleBindingLister: those are
// few, and RBAC's.
func (ownBindings) ListClusterRoleBindings(context.Context) ([]*rbacv1.ClusterRoleBinding, error) {
	return nil, nil
}
