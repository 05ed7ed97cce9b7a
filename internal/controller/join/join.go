// Package join lets hosts in: it decides about their requests for certificates,
// and gives each Host the one role that its certificate is good for.
//
// A request comes from who shows a join token, or from a host that renews. It
// is approved when its form is exactly that of a host's certificate, the token
// is bound to that host or its node pool, and no host of that name runs (a
// fresh Lease). Every other request of theirs is denied, with the reason; those
// of anybody else are left alone.
package join

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/identity"
)

// Add adds the job to a manager, and the kinds that it needs to its scheme.
func Add(m manager.Manager) error {
	for _, add := range []func(*runtime.Scheme) error{
		certificatesv1.AddToScheme, coordinationv1.AddToScheme, corev1.AddToScheme, rbacv1.AddToScheme,
	} {
		if err := add(m.GetScheme()); err != nil {
			return fmt.Errorf("cannot name the kinds: %w", err)
		}
	}
	roles := &roles{m.GetClient()}
	err := ctrl.NewControllerManagedBy(m).Named("join-roles").
		// A host's status changes often; its name and identity never do.
		For(&v1alpha1.Host{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&rbacv1.Role{}).Owns(&rbacv1.RoleBinding{}).
		WithOptions(controller.Options{MaxConcurrentReconciles: atOnce}).
		Complete(roles)
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(m).Named("join").
		For(&certificatesv1.CertificateSigningRequest{}).
		Complete(&requests{m.GetClient(), m.GetAPIReader(), clock.RealClock{}})
}

// atOnce is how many hosts get their roles at once. For each of them the API
// server waits up to a tenth of a second, twice, until it is sure to know every
// role, so that nobody hands out more than they have.
const atOnce = 16

// roles gives each Host its role.
type roles struct{ client client.Client }

// Reconcile implements reconcile.Reconciler.
func (r *roles) Reconcile(ctx context.Context, key reconcile.Request) (reconcile.Result, error) {
	host := &v1alpha1.Host{}
	err := r.client.Get(ctx, key.NamespacedName, host)
	if err != nil || host.DeletionTimestamp != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err) // the role goes with its owner
	}
	return quietly(putHostRole(ctx, r.client, host))
}

// requests decides about requests for certificates.
type requests struct {
	client client.Client
	// live reads past the cache: a decision for 30 days is made on what is true
	// now, and no Secret is kept in memory.
	live  client.Reader
	clock clock.PassiveClock
}

// Reconcile implements reconcile.Reconciler.
func (r *requests) Reconcile(ctx context.Context, key reconcile.Request) (reconcile.Result, error) {
	csr := &certificatesv1.CertificateSigningRequest{}
	if err := r.client.Get(ctx, key.NamespacedName, csr); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	by, ours := askerOf(&csr.Spec)
	if !ours {
		return reconcile.Result{}, nil
	}
	if err := putAskerRole(ctx, r.client, csr); err != nil {
		return quietly(err)
	}
	if decided(csr) {
		return reconcile.Result{}, nil
	}
	v, err := r.verdict(ctx, csr, by)
	if err != nil {
		return reconcile.Result{}, err
	}
	return quietly(r.tell(ctx, csr, v))
}

// retry is how soon a lost race is run again.
const retry = 100 * time.Millisecond

// quietly leaves a race to the next try: the event that told of the other
// writer's change is on its way.
func quietly(err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return reconcile.Result{RequeueAfter: retry}, nil
	}
	return reconcile.Result{}, err
}

func decided(csr *certificatesv1.CertificateSigningRequest) bool {
	for _, c := range csr.Status.Conditions {
		if c.Type == certificatesv1.CertificateApproved || c.Type == certificatesv1.CertificateDenied {
			return true
		}
	}
	return false
}

// verdict gathers, then decides.
func (r *requests) verdict(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, by asker) (verdict, error) {
	wanted, err := claim(&csr.Spec)
	if err != nil {
		return denied(reasonWrongForm, "%s", err.Error()), nil
	}
	w := &world{asker: by, wanted: wanted, now: r.clock.Now()}
	key := client.ObjectKey{Namespace: wanted.Namespace, Name: wanted.Name}
	if w.host, err = read(ctx, r.live, key, &v1alpha1.Host{}); err != nil {
		return verdict{}, err
	}
	if w.lease, err = read(ctx, r.live, key, &coordinationv1.Lease{}); err != nil {
		return verdict{}, err
	}
	if by.tokenID == "" {
		return decide(w), nil
	}
	if w.token, err = r.token(ctx, by.tokenID); err != nil {
		return verdict{}, err
	}
	if w.token != nil && w.token.PoolName != "" {
		pool := client.ObjectKey{Namespace: w.token.Namespace, Name: w.token.PoolName}
		if w.pool, err = read(ctx, r.live, pool, &v1alpha1.NodePool{}); err != nil {
			return verdict{}, err
		}
	}
	return decide(w), nil
}

// token reads a join token. One that cannot be understood is bound to nothing.
func (r *requests) token(ctx context.Context, id string) (*identity.Token, error) {
	key := client.ObjectKey{Namespace: identity.TokenNamespace, Name: identity.TokenSecretPrefix + id}
	secret, err := read(ctx, r.live, key, &corev1.Secret{})
	if err != nil || secret == nil {
		return nil, err
	}
	data := map[string]string{}
	for k, v := range secret.Data {
		data[k] = string(v)
	}
	token, err := identity.ReadToken(data)
	if err != nil || token.ID != id {
		return nil, nil //nolint:nilerr,nilnil // as if it were not there: it lets nobody in
	}
	return &token, nil
}

// read returns nil for an object that is not there.
func read[T client.Object](ctx context.Context, from client.Reader, key client.ObjectKey, into T) (T, error) {
	var none T
	err := from.Get(ctx, key, into)
	switch {
	case apierrors.IsNotFound(err):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("cannot read %s: %w", key, err)
	}
	return into, nil
}

// tell writes a verdict: the Host and its role first, so that a certificate is
// good for something from its first second on.
func (r *requests) tell(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, v verdict) error {
	condition := certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue,
		Reason: v.reason, Message: v.message, LastUpdateTime: metav1.NewTime(r.clock.Now()),
	}
	if v.approved {
		condition.Type = certificatesv1.CertificateApproved
	}
	if v.create {
		if err := r.client.Create(ctx, v.host); err != nil {
			return fmt.Errorf("cannot make the Host: %w", err)
		}
	}
	if v.host != nil {
		if err := putHostRole(ctx, r.client, v.host); err != nil {
			return err
		}
	}
	csr = csr.DeepCopy()
	csr.Status.Conditions = append(csr.Status.Conditions, condition)
	if err := r.client.SubResource("approval").Update(ctx, csr); err != nil {
		return fmt.Errorf("cannot decide about request %s: %w", csr.Name, err)
	}
	return nil
}
