package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/internal/identity"
)

func TestHostOf(t *testing.T) {
	want := identity.Host{Namespace: "prod", Name: "node-1.example"}
	if got, ok := identity.HostOf(want.User()); !ok || got != want {
		t.Errorf("a host's own user name: got %v %t", got, ok)
	}
	for _, user := range []string{
		"", "ringfence:host:", "ringfence:host:prod", "ringfence:host:prod:", "ringfence:host::node",
		"ringfence:host:prod:a:b", "ringfence:host:prod:a/b", "ringfence:host:p/q:a", "ringfence:admin", "system:node:a",
	} {
		if got, ok := identity.HostOf(user); ok {
			t.Errorf("%q is no host, got %v", user, got)
		}
	}
}

func request(t *testing.T, want x509.CertificateRequest) *x509.CertificateRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &want, key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestClaim(t *testing.T) {
	host := identity.Host{Namespace: "prod", Name: "node-1"}
	got, err := identity.Claim(request(t, x509.CertificateRequest{Subject: host.Subject()}))
	if err != nil || got != host {
		t.Errorf("a host's own request: %v, %v", got, err)
	}
	more := host.Subject()
	more.Organization = append(more.Organization, "system:masters")
	unit := host.Subject()
	unit.OrganizationalUnit = []string{"x"}
	for reason, tc := range map[string]struct {
		ask  x509.CertificateRequest
		want string
	}{
		"another user":             {x509.CertificateRequest{Subject: pkix.Name{CommonName: "ringfence:controllers", Organization: []string{identity.HostGroup}}}, "the common name"},
		"no group":                 {x509.CertificateRequest{Subject: pkix.Name{CommonName: host.User()}}, "the organizations"},
		"one more group":           {x509.CertificateRequest{Subject: more}, "the organizations"},
		"something else in it":     {x509.CertificateRequest{Subject: unit}, "3 attributes"},
		"good for a server's name": {x509.CertificateRequest{Subject: host.Subject(), DNSNames: []string{"localhost"}}, "alternative names"},
		"good for an address":      {x509.CertificateRequest{Subject: host.Subject(), IPAddresses: []net.IP{{127, 0, 0, 1}}}, "alternative names"},
	} {
		if _, err := identity.Claim(request(t, tc.ask)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: want an error about %s, got %v", reason, tc.want, err)
		}
	}
}

func TestTokens(t *testing.T) {
	made := identity.NewToken()
	if !regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`).MatchString(made.String()) {
		t.Errorf("Kubernetes refuses the form of %q", made)
	}
	if other := identity.NewToken(); other.Secret == made.Secret || other.ID == made.ID {
		t.Error("two tokens are one")
	}
	made.Namespace, made.Expires = "prod", time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	if made.Validate() == nil {
		t.Error("a token that is bound to nothing")
	}
	for _, bound := range []identity.Token{{HostName: "node-1"}, {PoolName: "workers"}} {
		want := made
		want.HostName, want.PoolName = bound.HostName, bound.PoolName
		got, err := identity.ReadToken(want.Data())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("written and read: %v\n%s", err, diff)
		}
		if id, ok := identity.TokenID(got.User()); !ok || id != got.ID {
			t.Errorf("its user is not known again: %q", id)
		}
	}
	made.HostName, made.PoolName = "a", "b"
	if made.Validate() == nil {
		t.Error("bound to two things")
	}
}

func TestReadTokenRefuses(t *testing.T) {
	good := identity.Token{ID: "abcdef", Secret: "0123456789abcdef", Namespace: "prod", HostName: "a", Expires: time.Unix(0, 0)}
	for key, values := range map[string][]string{
		"token-id":            {"", "ABCDEF", "abcdefg"},
		"ringfence-namespace": {""},
		"ringfence-host":      {""},
		"ringfence-pool":      {"also"},
		"expiration":          {"", "tomorrow"},
	} {
		for _, value := range values {
			data := good.Data()
			data[key] = value
			if got, err := identity.ReadToken(data); err == nil {
				t.Errorf("%s=%q: want it refused, got %v", key, value, got)
			}
		}
	}
	if _, ok := identity.TokenID("system:bootstrap:../../x"); ok {
		t.Error("an ID that is none became part of a name")
	}
}

func TestFresh(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for reason, tc := range map[string]struct {
		ago     time.Duration
		seconds int32
		want    bool
	}{
		"just renewed":                      {0, 60, true},
		"a moment before the end":           {60*time.Second - 1, 60, true},
		"the end":                           {60 * time.Second, 60, false},
		"no longer than a minute":           {61 * time.Second, 3600, false},
		"as short as it likes":              {5 * time.Second, 5, false},
		"a duration that makes no sense":    {0, -1, false},
		"a clock that runs a little ahead":  {-time.Hour, 60, true},
		"never: an hour is longer than any": {time.Hour, 60, false},
	} {
		if got := identity.Fresh(now.Add(-tc.ago), tc.seconds, now); got != tc.want {
			t.Errorf("%s: got %t", reason, got)
		}
	}
	if identity.Fresh(time.Time{}, 60, time.Time{}) {
		t.Error("a Lease that was never renewed is not fresh")
	}
}
