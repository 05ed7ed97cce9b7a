package join_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"ringfence.dev/ringfence/api/crds"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/controller/join"
	"ringfence.dev/ringfence/internal/controlplane"
	"ringfence.dev/ringfence/internal/identity"
	"ringfence.dev/ringfence/internal/testenv"
)

// patience is for what takes a second when the machine has nothing else to do.
const patience = 60 * time.Second

var env *testenv.Env

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(testenv.Main(m, controlplane.Config{CRDs: crds.Files, Controllers: []controlplane.Controller{run}}, &env))
}

// run runs this job alone.
func run(ctx context.Context, config *rest.Config) error {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	m, err := ctrl.NewManager(config, manager.Options{Scheme: scheme, Metrics: server.Options{BindAddress: "0"}})
	if err != nil {
		return err
	}
	if err := join.Add(m); err != nil {
		return err
	}
	return m.Start(ctx)
}

func within(t *testing.T, reason string, ok func(context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true, ok); err != nil {
		t.Fatalf("%s: %v", reason, err)
	}
}

// as connects with typed access to our kinds and Kubernetes'.
func as(t *testing.T, config *rest.Config) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func inNamespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := as(t, env.Admin).Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

func create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := as(t, env.Admin).Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func pool(ns, name string) *v1alpha1.NodePool {
	return &v1alpha1.NodePool{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1alpha1.NodePoolSpec{ClusterName: "shop"}}
}

func host(ns, name, pool string) *v1alpha1.Host {
	return &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1alpha1.HostSpec{NodePoolName: pool}}
}

// token stores a join token and connects with it.
func token(t *testing.T, bound identity.Token) *rest.Config {
	t.Helper()
	made := identity.NewToken()
	bound.ID, bound.Secret, bound.Expires = made.ID, made.Secret, clock.RealClock{}.Now().Add(time.Hour)
	create(t, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: identity.TokenNamespace, Name: bound.SecretName()},
		Type:       identity.TokenSecretType, StringData: bound.Data(),
	})
	config := rest.AnonymousClientConfig(env.Admin)
	config.BearerToken = bound.String()
	within(t, "the API server knows the token", func(context.Context) (bool, error) {
		_, err := kubernetes.NewForConfigOrDie(config).Discovery().ServerVersion()
		return err == nil, nil
	})
	return config
}

// ask asks for a certificate for a subject, and returns the request and the key.
func ask(t *testing.T, config *rest.Config, subject pkix.Name) (*certificatesv1.CertificateSigningRequest, []byte, error) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	csr := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "join-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: certificatesv1.KubeAPIServerClientSignerName,
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature},
		},
	}
	err = as(t, config).Create(t.Context(), csr)
	return csr, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), err
}

// answer waits, as the asker itself, for the decision about its request.
func answer(t *testing.T, config *rest.Config, csr *certificatesv1.CertificateSigningRequest) certificatesv1.CertificateSigningRequestCondition {
	t.Helper()
	c := as(t, config)
	within(t, "a decision that the asker can read", func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(csr), csr)
		if apierrors.IsForbidden(err) {
			return false, nil // its right to read it comes in a moment
		}
		if err != nil || len(csr.Status.Conditions) == 0 {
			return false, err
		}
		return csr.Status.Conditions[0].Type == certificatesv1.CertificateDenied || len(csr.Status.Certificate) > 0, nil
	})
	return csr.Status.Conditions[0]
}

// enter joins and connects as the host.
func enter(t *testing.T, config *rest.Config, h identity.Host) *rest.Config {
	t.Helper()
	csr, key, err := ask(t, config, h.Subject())
	if err != nil {
		t.Fatal(err)
	}
	if got := answer(t, config, csr); got.Type != certificatesv1.CertificateApproved {
		t.Fatalf("%s is refused: %s: %s", h, got.Reason, got.Message)
	}
	config = rest.AnonymousClientConfig(env.Admin)
	config.CertData, config.KeyData = csr.Status.Certificate, key
	within(t, "the API server knows the host's role", func(ctx context.Context) (bool, error) {
		err := as(t, config).Get(ctx, client.ObjectKey{Namespace: h.Namespace, Name: h.Name}, &v1alpha1.Host{})
		return err == nil, client.IgnoreNotFound(ignoreForbidden(err))
	})
	return config
}

func ignoreForbidden(err error) error {
	if apierrors.IsForbidden(err) {
		return nil
	}
	return err
}

func refused(t *testing.T, config *rest.Config, subject pkix.Name, reason string) {
	t.Helper()
	csr, _, err := ask(t, config, subject)
	if err != nil {
		t.Fatal(err)
	}
	if got := answer(t, config, csr); got.Type != certificatesv1.CertificateDenied || got.Reason != reason || got.Message == "" {
		t.Errorf("%s: want it denied for %s, got %s %s: %s", subject.CommonName, reason, got.Type, got.Reason, got.Message)
	}
}

func renew(t *testing.T, config *rest.Config, ns, name string) error {
	t.Helper()
	return as(t, config).Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new(name), LeaseDurationSeconds: new(int32(60)), RenewTime: new(metav1.NewMicroTime(clock.RealClock{}.Now())),
		},
	})
}

func TestAHostJoins(t *testing.T) {
	t.Parallel()
	ns := inNamespace(t)
	create(t, host(ns, "node-1", ""), host(ns, "node-2", ""))
	node := identity.Host{Namespace: ns, Name: "node-1"}
	byToken := token(t, identity.Token{Namespace: ns, HostName: "node-1"})

	refused(t, byToken, identity.Host{Namespace: ns, Name: "node-2"}.Subject(), "RingfenceOtherHost")
	refused(t, byToken, pkix.Name{CommonName: "ringfence:controllers", Organization: []string{identity.HostGroup}}, "RingfenceWrongForm")
	asHost := enter(t, byToken, node)
	if err := renew(t, asHost, ns, "node-1"); err != nil {
		t.Fatal(err)
	}
	refused(t, byToken, node.Subject(), "RingfenceFreshLease")
	again := enter(t, asHost, node)
	if err := as(t, again).Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "node-1"}, &v1alpha1.Host{}); err != nil {
		t.Errorf("the renewed certificate: %v", err)
	}
	refused(t, asHost, identity.Host{Namespace: ns, Name: "node-2"}.Subject(), "RingfenceOtherHost")

	if err := as(t, env.Admin).Delete(t.Context(), host(ns, "node-1", "")); err != nil {
		t.Fatal(err)
	}
	within(t, "a deleted Host takes every right from its certificate", func(ctx context.Context) (bool, error) {
		err := as(t, again).List(ctx, &v1alpha1.RulesetList{}, client.InNamespace(ns))
		return apierrors.IsForbidden(err), nil
	})
	refused(t, again, node.Subject(), "RingfenceNoHost")
}

func TestAPoolJoins(t *testing.T) {
	t.Parallel()
	ns := inNamespace(t)
	create(t, pool(ns, "workers"), host(ns, "master-1", "masters"), host(ns, "old", "workers"))
	byToken := token(t, identity.Token{Namespace: ns, PoolName: "workers"})
	fresh := identity.Host{Namespace: ns, Name: "fresh"}
	asHost := enter(t, byToken, fresh)
	got := &v1alpha1.Host{}
	if err := as(t, asHost).Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "fresh"}, got); err != nil {
		t.Errorf("the host cannot read its object: %v", err)
	}
	if got.Spec.NodePoolName != "workers" || len(got.Spec.SecurityGroupNames) > 0 {
		t.Errorf("a host that its pool's token brought: %+v", got.Spec)
	}
	enter(t, byToken, identity.Host{Namespace: ns, Name: "old"})
	refused(t, byToken, identity.Host{Namespace: ns, Name: "master-1"}.Subject(), "RingfenceOtherPool")
	refused(t, byToken, identity.Host{Namespace: "default", Name: "fresh"}.Subject(), "RingfenceOtherHost")
	refused(t, token(t, identity.Token{Namespace: ns, PoolName: "none"}), identity.Host{Namespace: ns, Name: "x"}.Subject(), "RingfenceNoNodePool")
}

// TestWhoAsks: a token lets nobody do more than ask.
func TestWhoAsks(t *testing.T) {
	t.Parallel()
	ns := inNamespace(t)
	create(t, host(ns, "a", ""))
	first, second := token(t, identity.Token{Namespace: ns, HostName: "a"}), token(t, identity.Token{Namespace: ns, HostName: "b"})
	csr, _, err := ask(t, first, identity.Host{Namespace: ns, Name: "a"}.Subject())
	if err != nil {
		t.Fatal(err)
	}
	answer(t, first, csr)
	if err := as(t, second).Get(t.Context(), client.ObjectKeyFromObject(csr), csr); !apierrors.IsForbidden(err) {
		t.Errorf("somebody else's request: want it forbidden, got %v", err)
	}
	for _, list := range []client.ObjectList{
		&certificatesv1.CertificateSigningRequestList{}, &v1alpha1.HostList{}, &v1alpha1.RulesetList{}, &corev1.SecretList{}, &corev1.NamespaceList{},
	} {
		if err := as(t, first).List(t.Context(), list); !apierrors.IsForbidden(err) {
			t.Errorf("%T with a join token: want it forbidden, got %v", list, err)
		}
	}
	if err := as(t, first).Create(t.Context(), host(ns, "c", "")); !apierrors.IsForbidden(err) {
		t.Errorf("a Host by a join token: %v", err)
	}
	// The rights to read requests go with them.
	if err := as(t, env.Admin).Delete(t.Context(), csr); err != nil {
		t.Fatal(err)
	}
	within(t, "the role goes with its request", func(ctx context.Context) (bool, error) {
		err := as(t, env.Admin).Get(ctx, client.ObjectKey{Name: "ringfence:request:" + csr.Name}, &rbacv1.ClusterRole{})
		return apierrors.IsNotFound(err), nil
	})
}

func TestWhatAHostMayDo(t *testing.T) {
	t.Parallel()
	ns, other := inNamespace(t), inNamespace(t)
	create(t, pool(ns, "workers"), host(ns, "b", "workers"), host(other, "a", ""))
	config := enter(t, token(t, identity.Token{Namespace: ns, PoolName: "workers"}), identity.Host{Namespace: ns, Name: "a"})
	me := as(t, config)
	own := client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", "a")}
	allowed := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	forbidden := func(what string, err error) {
		t.Helper()
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s: want it forbidden, got %v", what, err)
		}
	}
	watch := func(list client.ObjectList, opts ...client.ListOption) error {
		w, err := me.Watch(t.Context(), list, opts...)
		if err == nil {
			w.Stop()
		}
		return err
	}

	allowed("list itself", me.List(t.Context(), &v1alpha1.HostList{}, client.InNamespace(ns), own))
	allowed("watch itself", watch(&v1alpha1.HostList{}, client.InNamespace(ns), own))
	forbidden("list all hosts", me.List(t.Context(), &v1alpha1.HostList{}, client.InNamespace(ns)))
	forbidden("watch all hosts", watch(&v1alpha1.HostList{}, client.InNamespace(ns)))
	forbidden("read its neighbour", me.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "b"}, &v1alpha1.Host{}))
	forbidden("read its namesake", me.Get(t.Context(), client.ObjectKey{Namespace: other, Name: "a"}, &v1alpha1.Host{}))
	for _, list := range []client.ObjectList{&v1alpha1.RolloutList{}, &v1alpha1.RulesetList{}, &v1alpha1.AddressSliceList{}} {
		allowed("list of its namespace", me.List(t.Context(), list, client.InNamespace(ns)))
		allowed("watch of its namespace", watch(list, client.InNamespace(ns)))
		forbidden("list of another namespace", me.List(t.Context(), list, client.InNamespace(other)))
		forbidden("list of everything", me.List(t.Context(), list))
	}
	for _, list := range []client.ObjectList{
		&v1alpha1.SecurityGroupList{}, &v1alpha1.ClusterList{}, &v1alpha1.NodePoolList{}, &v1alpha1.VPCList{}, &v1alpha1.PrefixListList{},
		&v1alpha1.FlowReportList{}, &coordinationv1.LeaseList{}, &corev1.SecretList{}, &corev1.ConfigMapList{}, &rbacv1.RoleList{},
	} {
		forbidden(fmt.Sprintf("list %T", list), me.List(t.Context(), list, client.InNamespace(ns)))
	}

	allowed("its Lease", renew(t, config, ns, "a"))
	forbidden("its neighbour's Lease", renew(t, config, ns, "b"))
	forbidden("a Lease elsewhere", renew(t, config, other, "a"))
	now := metav1.NewTime(clock.RealClock{}.Now())
	report := func(ns, name string) *v1alpha1.FlowReport {
		return &v1alpha1.FlowReport{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, From: now, To: now}
	}
	allowed("its report", me.Create(t.Context(), report(ns, "a")))
	forbidden("its neighbour's report", me.Create(t.Context(), report(ns, "b")))
	forbidden("a report elsewhere", me.Create(t.Context(), report(other, "a")))
	forbidden("a Host", me.Create(t.Context(), host(ns, "c", "workers")))
	forbidden("its own Host", me.Delete(t.Context(), host(ns, "a", "")))
	mine := &v1alpha1.Host{}
	allowed("read itself", me.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "a"}, mine))
	mine.Spec.SecurityGroupNames = []v1alpha1.Name{"db"}
	forbidden("wear another group", me.Update(t.Context(), mine))
	neighbour := &v1alpha1.Host{}
	allowed("the administrator reads", as(t, env.Admin).Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "b"}, neighbour))
	forbidden("its neighbour's status", me.Status().Update(t.Context(), neighbour))
}

// TestMessages: what is refused says which field, what is wrong and what would
// be right.
func TestMessages(t *testing.T) {
	t.Parallel()
	ns := inNamespace(t)
	create(t, host(ns, "a", ""))
	config := enter(t, token(t, identity.Token{Namespace: ns, HostName: "a"}), identity.Host{Namespace: ns, Name: "a"})
	lease := func(seconds int32) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a"}, Spec: coordinationv1.LeaseSpec{LeaseDurationSeconds: &seconds}}
	}
	for _, tc := range []struct {
		err  error
		want []string
	}{
		{renew(t, config, ns, "b"), []string{"metadata.name", ns + "/b is not " + ns + "/a", "a host writes only what has its own name"}},
		{as(t, config).Create(t.Context(), lease(3600)), []string{"spec.leaseDurationSeconds: want 1 to 60"}},
		{as(t, config).Create(t.Context(), lease(60)), []string{"spec.renewTime: want the time"}},
	} {
		for _, part := range tc.want {
			if tc.err == nil || !strings.Contains(tc.err.Error(), part) {
				t.Errorf("want %q in: %v", part, tc.err)
			}
		}
	}
}

func TestConditionsAreShared(t *testing.T) {
	t.Parallel()
	ns := inNamespace(t)
	create(t, host(ns, "a", ""))
	asHost := as(t, enter(t, token(t, identity.Token{Namespace: ns, HostName: "a"}), identity.Host{Namespace: ns, Name: "a"}))
	say := func(c client.Client, kind string, status metav1.ConditionStatus) error {
		h := &v1alpha1.Host{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "a"}, h); err != nil {
			t.Fatal(err)
		}
		meta.SetStatusCondition(&h.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: "Test"})
		return c.Status().Update(t.Context(), h)
	}
	controllers := as(t, env.Controllers)
	steps := []struct {
		reason, kind string
		status       metav1.ConditionStatus
		by           client.Client
		want         string // "" for allowed
	}{
		{"a host says what it enforces", v1alpha1.ConditionEnforced, metav1.ConditionTrue, asHost, ""},
		{"and what passes by it", v1alpha1.ConditionEnforcementBypassed, metav1.ConditionTrue, asHost, ""},
		{"not that it makes sense", v1alpha1.ConditionAccepted, metav1.ConditionTrue, asHost, "status.conditions: a host writes its conditions Enforced and EnforcementBypassed only"},
		{"the controllers say that it does not", v1alpha1.ConditionAccepted, metav1.ConditionFalse, controllers, ""},
		{"a host does not change that", v1alpha1.ConditionAccepted, metav1.ConditionTrue, asHost, "status.conditions"},
		{"and goes on with its own", v1alpha1.ConditionEnforced, metav1.ConditionFalse, asHost, ""},
		{"the administrator says neither", v1alpha1.ConditionEnforced, metav1.ConditionTrue, as(t, env.Admin), "cannot update resource"},
	}
	for _, s := range steps {
		err := say(s.by, s.kind, s.status)
		if s.want == "" && err != nil {
			t.Errorf("%s: %v", s.reason, err)
		}
		if s.want != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), s.want)) {
			t.Errorf("%s: want it forbidden with %q, got %v", s.reason, s.want, err)
		}
	}
	h := &v1alpha1.Host{}
	if err := asHost.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "a"}, h); err != nil {
		t.Fatal(err)
	}
	h.Status.Conditions = nil
	if err := asHost.Status().Update(t.Context(), h); !apierrors.IsForbidden(err) {
		t.Errorf("a host does not take away what the controllers said: %v", err)
	}
}
