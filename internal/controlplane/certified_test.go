package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	requestx509 "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/utils/clock"
	testclock "k8s.io/utils/clock/testing"
)

// An office is an authority, and Kubernetes' authenticator that believes it. It
// counts what that one is asked.
type office struct {
	t     *testing.T
	clock *testclock.FakePassiveClock
	key   *ecdsa.PrivateKey
	root  *x509.Certificate
	asked int
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, clock: testclock.NewFakePassiveClock(clock.RealClock{}.Now())}
	var err error
	if o.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	o.root = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "office"}, NotAfter: o.clock.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	o.root = o.sign(o.root, o.key)
	return o
}

// sign makes what a template says of a key, signed by the office.
func (o *office) sign(template *x509.Certificate, of *ecdsa.PrivateKey) *x509.Certificate {
	o.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, o.root, of.Public(), o.key)
	if err != nil {
		o.t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		o.t.Fatal(err)
	}
	return made
}

// request comes from a user of the office, whose certificate lasts so long.
func (o *office) request(user string, lasts time.Duration) *http.Request {
	o.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		o.t.Fatal(err)
	}
	certificate := o.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: user}, NotAfter: o.clock.Now().Add(lasts),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key)
	return &http.Request{Header: http.Header{}, TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}}}
}

// AuthenticateRequest implements authenticator.Request.
func (o *office) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	o.asked++
	roots := x509.NewCertPool()
	roots.AddCert(o.root)
	options := x509.VerifyOptions{Roots: roots, CurrentTime: o.clock.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	return requestx509.New(options, requestx509.CommonNameUserConversion).AuthenticateRequest(r)
}

// TestCertified: who was verified is known for a minute, and nobody else is.
func TestCertified(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	c := newCertified(o, o.clock)
	ann, short := o.request("ann", time.Hour), o.request("short", 10*time.Second)
	token := ann.Clone(t.Context())
	token.Header.Set("Authorization", "Bearer x")
	proxied := ann.Clone(t.Context())
	proxied.Header.Set("X-Remote-User", "eve")
	stranger := newOffice(t).request("ann", time.Hour)
	twice := o.request("ann", time.Hour)
	twice.TLS.PeerCertificates = append(twice.TLS.PeerCertificates, stranger.TLS.PeerCertificates...)
	for _, step := range []struct {
		reason  string
		request *http.Request
		later   time.Duration
		user    string // empty if refused
		asks    bool
	}{
		{"nobody is known at first", ann, 0, "ann", true},
		{"known", ann, 0, "ann", false},
		{"another certificate", short, 0, "short", true},
		{"of another authority, with the same name", stranger, 0, "", true},
		{"nothing is remembered of who is refused", stranger, 0, "", true},
		{"a token says more than the certificate", token, 0, "ann", true},
		{"and so may a proxy", proxied, 0, "ann", true},
		{"other certificates beside", twice, 0, "ann", true},
		{"no certificate", &http.Request{}, 0, "", true},
		{"still known", short, 9 * time.Second, "short", false},
		{"its time is over, though the minute is not", short, 2 * time.Second, "", true},
		{"still known", ann, 48 * time.Second, "ann", false},
		{"after a minute it is verified anew", ann, 2 * time.Second, "ann", true},
		{"and known again", ann, 0, "ann", false},
	} {
		o.clock.SetTime(o.clock.Now().Add(step.later))
		before := o.asked
		who, ok, _ := c.AuthenticateRequest(step.request)
		got := ""
		if ok {
			got = who.User.GetName()
		}
		if got != step.user || (o.asked > before) != step.asks {
			t.Errorf("%s: it is %q, want %q; verified: %t, want %t", step.reason, got, step.user, o.asked > before, step.asks)
		}
	}
}
