package join

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/identity"
)

var (
	node = identity.Host{Namespace: "prod", Name: "node-1"}
	noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
)

func forHost(name string) *identity.Token {
	return &identity.Token{ID: "abcdef", Namespace: "prod", HostName: name, Expires: noon.Add(time.Hour)}
}

func forPool(name string) *identity.Token {
	return &identity.Token{ID: "abcdef", Namespace: "prod", PoolName: name, Expires: noon.Add(time.Hour)}
}

func inPool(pool v1alpha1.Name) *v1alpha1.Host {
	return &v1alpha1.Host{Spec: v1alpha1.HostSpec{NodePoolName: pool}}
}

func leaseOf(ago time.Duration) *coordinationv1.Lease {
	return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
		RenewTime: new(metav1.NewMicroTime(noon.Add(-ago))), LeaseDurationSeconds: new(int32(60)),
	}}
}

func TestDecide(t *testing.T) {
	leaving := inPool("workers")
	leaving.DeletionTimestamp = new(metav1.NewTime(noon))
	expired := forHost("node-1")
	expired.Expires = noon
	elsewhere := forHost("node-1")
	elsewhere.Namespace = "test"
	pool := &v1alpha1.NodePool{}
	for name, tc := range map[string]struct {
		world    world
		approved bool
		reason   string
		create   bool
	}{
		"a host with its own token":                      {world{token: forHost("node-1"), host: inPool("")}, true, reasonJoined, false},
		"a host token before its Host exists":            {world{token: forHost("node-1")}, false, reasonNoHost, false},
		"a token of another host":                        {world{token: forHost("node-2"), host: inPool("")}, false, reasonOtherHost, false},
		"a token of another namespace":                   {world{token: elsewhere, host: inPool("")}, false, reasonOtherHost, false},
		"a token that is gone":                           {world{host: inPool("")}, false, reasonTokenGone, false},
		"a token that ends this second":                  {world{token: expired, host: inPool("")}, false, reasonTokenExpired, false},
		"a new host of a pool is made":                   {world{token: forPool("workers"), pool: pool}, true, reasonJoined, true},
		"a pool's host comes back":                       {world{token: forPool("workers"), pool: pool, host: inPool("workers")}, true, reasonJoined, false},
		"a pool token for another pool's host":           {world{token: forPool("workers"), pool: pool, host: inPool("masters")}, false, reasonOtherPool, false},
		"a pool token for a host of no pool":             {world{token: forPool("workers"), pool: pool, host: inPool("")}, false, reasonOtherPool, false},
		"a pool that is gone":                            {world{token: forPool("workers"), host: inPool("workers")}, false, reasonNoPool, false},
		"a name that runs is not taken over":             {world{token: forPool("workers"), pool: pool, host: inPool("workers"), lease: leaseOf(time.Second)}, false, reasonFreshLease, false},
		"nor with a token for that very host":            {world{token: forHost("node-1"), host: inPool(""), lease: leaseOf(59 * time.Second)}, false, reasonFreshLease, false},
		"nor by a clock that runs behind":                {world{token: forHost("node-1"), host: inPool(""), lease: leaseOf(-time.Hour)}, false, reasonFreshLease, false},
		"a name whose Lease has ended":                   {world{token: forHost("node-1"), host: inPool(""), lease: leaseOf(time.Minute)}, true, reasonJoined, false},
		"a Lease that was never renewed":                 {world{token: forHost("node-1"), host: inPool(""), lease: &coordinationv1.Lease{}}, true, reasonJoined, false},
		"a host that is being deleted":                   {world{token: forHost("node-1"), host: leaving}, false, reasonHostLeaves, false},
		"a host renews while it runs":                    {world{asker: asker{host: node}, host: inPool(""), lease: leaseOf(0)}, true, reasonRenewed, false},
		"a host does not ask for its neighbour":          {world{asker: asker{host: identity.Host{Namespace: "prod", Name: "node-2"}}, host: inPool("")}, false, reasonOtherHost, false},
		"nor for its namesake in another namespace":      {world{asker: asker{host: identity.Host{Namespace: "test", Name: "node-1"}}, host: inPool("")}, false, reasonOtherHost, false},
		"a host whose object was deleted does not renew": {world{asker: asker{host: node}}, false, reasonNoHost, false},
		"nor one that is being deleted":                  {world{asker: asker{host: node}, host: leaving}, false, reasonHostLeaves, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := tc.world
			w.wanted, w.now = node, noon
			if w.asker.host == (identity.Host{}) {
				w.asker.tokenID = "abcdef"
			}
			got := decide(&w)
			if got.approved != tc.approved || got.reason != tc.reason || got.create != tc.create || (got.host != nil) != tc.approved {
				t.Errorf("want approved %t, %s, create %t; got %+v", tc.approved, tc.reason, tc.create, got)
			}
			if got.message == "" {
				t.Error("no message")
			}
		})
	}
}

// ask makes a request for a certificate in PEM.
func ask(t *testing.T, subject pkix.Name) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func TestClaim(t *testing.T) {
	const signer, client = certificatesv1.KubeAPIServerClientSignerName, certificatesv1.UsageClientAuth
	usages := func(u ...certificatesv1.KeyUsage) []certificatesv1.KeyUsage { return u }
	good := ask(t, node.Subject())
	for name, tc := range map[string]struct {
		signer  string
		usages  []certificatesv1.KeyUsage
		request []byte
		want    string // "" for a request of the right form
	}{
		"the least":                {signer, usages(client), good, ""},
		"the most":                 {signer, usages(client, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment), good, ""},
		"for a kubelet":            {certificatesv1.KubeAPIServerClientKubeletSignerName, usages(client), good, "spec.signerName"},
		"for a server":             {signer, usages(client, certificatesv1.UsageServerAuth), good, "spec.usages"},
		"for no client":            {signer, usages(certificatesv1.UsageDigitalSignature), good, "spec.usages"},
		"no PEM":                   {signer, usages(client), []byte("x"), "spec.request: want a PEM block"},
		"no request inside":        {signer, usages(client), []byte("-----BEGIN X-----\nAAAA\n-----END X-----\n"), "spec.request"},
		"somebody else's subject":  {signer, usages(client), ask(t, pkix.Name{CommonName: "ringfence:admin", Organization: []string{identity.HostGroup}}), "ringfence:host:NAMESPACE:NAME"},
		"one more group than ours": {signer, usages(client), ask(t, pkix.Name{CommonName: node.User(), Organization: []string{identity.HostGroup, "ringfence:admins"}}), "organizations"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := claim(&certificatesv1.CertificateSigningRequestSpec{SignerName: tc.signer, Usages: tc.usages, Request: tc.request})
			if tc.want == "" && (err != nil || got != node) {
				t.Errorf("got %v, %v", got, err)
			}
			if tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("want an error about %s, got %v", tc.want, err)
			}
		})
	}
}

func TestAskers(t *testing.T) {
	for name, tc := range map[string]struct {
		user   string
		groups []string
		ours   bool
	}{
		"a join token":                    {"system:bootstrap:abcdef", []string{"system:bootstrappers", identity.TokenGroup}, true},
		"another bootstrap token":         {"system:bootstrap:abcdef", []string{"system:bootstrappers", "system:bootstrappers:kubeadm"}, false},
		"a host":                          {node.User(), []string{identity.HostGroup, "system:authenticated"}, true},
		"a host's name without its group": {node.User(), []string{"system:authenticated"}, false},
		"the administrator":               {"ringfence:admin", []string{"ringfence:admins"}, false},
		"a kubelet":                       {"system:node:a", []string{"system:nodes", identity.HostGroup}, false},
	} {
		if _, ours := askerOf(&certificatesv1.CertificateSigningRequestSpec{Username: tc.user, Groups: tc.groups}); ours != tc.ours {
			t.Errorf("%s: ours %t", name, ours)
		}
	}
}
