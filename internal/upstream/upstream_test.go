package upstream

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/identity"
	"ringfence.dev/ringfence/internal/statedir"
)

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	want := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	return authority{sign(t, want, authority{want, key}, key), key}
}

func sign(t *testing.T, want *x509.Certificate, by authority, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, want, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve serves a certificate for an address, and shows others behind it.
func serve(t *testing.T, address string, by authority, shown ...*x509.Certificate) (url string, asked *int) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), IPAddresses: []net.IP{net.ParseIP(address)},
	}, by, key)
	chain := [][]byte{leaf.Raw}
	for _, c := range shown {
		chain = append(chain, c.Raw)
	}
	asked = new(int)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		*asked++
		w.WriteHeader(http.StatusUnauthorized)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}}}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, asked
}

// TestJoinTrusts: the token is shown to the server that the hash is for, and to
// nobody else.
func TestJoinTrusts(t *testing.T) {
	right, wrong := newAuthority(t), newAuthority(t)
	for name, tc := range map[string]struct {
		reason  string
		address string
		by      authority
		shown   []*x509.Certificate
		want    string
		asked   bool
	}{
		"Right":     {"the authority of the hash, which it shows", "127.0.0.1", right, []*x509.Certificate{right.cert}, "make another one", true},
		"Behind":    {"also behind another certificate", "127.0.0.1", right, []*x509.Certificate{wrong.cert, right.cert}, "make another one", true},
		"Other":     {"another authority", "127.0.0.1", wrong, []*x509.Certificate{wrong.cert}, "another server", false},
		"Borrowed":  {"it shows the right authority, which did not sign its own", "127.0.0.1", wrong, []*x509.Certificate{right.cert}, "does not hold", false},
		"OtherName": {"a certificate for another address", "127.0.0.9", right, []*x509.Certificate{right.cert}, "--names", false},
		"Alone":     {"it does not show its authority", "127.0.0.1", right, nil, "--ca-file", false},
	} {
		t.Run(name, func(t *testing.T) {
			url, asked := serve(t, tc.address, tc.by, tc.shown...)
			dir := statedir.Dir(filepath.Join(t.TempDir(), "state"))
			j := &Join{Server: url, Token: "abcdef.0123456789abcdef", Hashes: []string{identity.PublicKeyHash(right.cert)}, Host: identity.Host{Namespace: "n", Name: "h"}}
			err := j.Do(t.Context(), dir)
			if err == nil || !strings.Contains(err.Error(), tc.want) || (*asked > 0) != tc.asked {
				t.Errorf("%s: want %q, got %v; it was asked %d times", tc.reason, tc.want, err, *asked)
			}
			if _, err := loadPlane(dir); !errors.Is(err, ErrNotJoined) {
				t.Errorf("%s: a join that failed leaves something: %v", tc.reason, err)
			}
		})
	}
}

func slice(name, group string, addresses ...string) *v1alpha1.AddressSlice {
	s := &v1alpha1.AddressSlice{Spec: v1alpha1.AddressSliceSpec{SecurityGroupName: group}}
	s.Name = name
	for _, a := range addresses {
		s.Spec.Members = append(s.Spec.Members, v1alpha1.MemberAddress{Address: a})
	}
	return s
}

// TestGroup: what was not read, or cannot be, is unknown; it is never empty.
func TestGroup(t *testing.T) {
	g := &group{changed: func() {}}
	want := func(reason, addresses string) {
		t.Helper()
		list, err := g.members()
		got := fmt.Sprint(list)
		if err != nil {
			got = "unknown"
		}
		if got != addresses {
			t.Errorf("%s: %s, want %s", reason, got, addresses)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want("before the first list", "unknown")
	must(g.put(slice("a", "web", "10.0.0.2")))
	want("a part of the first list", "unknown")
	must(g.replace([]any{slice("a", "web", "10.0.0.2"), slice("b", "web", "10.0.0.1", "10.0.0.3")}))
	want("the list", "[10.0.0.1 10.0.0.2 10.0.0.3]")
	must(g.put(slice("b", "web", "10.0.0.1", "10.0.0.x")))
	want("one address that cannot be read", "unknown")
	must(g.put(slice("b", "web", "10.0.0.1", "10.0.0.2")))
	want("it can again, and two slices have the same", "[10.0.0.1 10.0.0.2]")
	must(g.drop(slice("a", "web")))
	must(g.drop(slice("b", "web")))
	want("nobody is left", "[]")
	if err := g.put(&v1alpha1.Host{}); !errors.Is(err, errKind) {
		t.Errorf("a host among slices: %v", err)
	}
	must(g.replace(nil))
	want("a list without slices", "[]")
}

// TestRulesetsAreTheirNames: what an agent does not understand all of has
// another name, and is not enforced.
func TestRulesetsAreTheirNames(t *testing.T) {
	spec := &v1alpha1.RulesetSpec{SecurityGroupNames: []string{"web"}, Type: v1alpha1.GroupTypeBasic}
	name, err := convert.RulesetName(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := isNamed(spec, name); err != nil {
		t.Errorf("its own name: %v", err)
	}
	other := *spec
	other.Type = v1alpha1.GroupTypeAdvanced
	if err := isNamed(&other, name); !errors.Is(err, ErrRuleset) || !strings.Contains(err.Error(), name) {
		t.Errorf("another content under this name: %v", err)
	}
}

// TestSavedRulesets: the last few stay.
func TestSavedRulesets(t *testing.T) {
	dir := statedir.Dir(t.TempDir())
	for i := range 7 {
		file := fmt.Sprintf("%s/%d.json", rulesetFolder, i)
		if err := saveRuleset(dir, file, &v1alpha1.RulesetSpec{SecurityGroupNames: []string{fmt.Sprint(i)}}); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(int64(1000+i), 0)
		if err := os.Chtimes(dir.Path(file), at, at); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir.Path(rulesetFolder))
	if err != nil || len(entries) != keptRulesets || !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "6.json" }) {
		t.Errorf("left: %v, %v", entries, err)
	}
	for _, e := range entries { // of a time that is to come: the clock was put back
		at := time.Unix(1<<33, 0)
		if err := os.Chtimes(dir.Path(rulesetFolder+"/"+e.Name()), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := saveRuleset(dir, rulesetFolder+"/new.json", &v1alpha1.RulesetSpec{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir.Path(rulesetFolder + "/new.json")); err != nil {
		t.Errorf("the one that was saved last is gone: %v", err)
	}
}

// TestReached: what goes to another machine is the host's way to the control
// plane; what goes to this one says that it is here; a tunnel says nothing.
func TestReached(t *testing.T) {
	var r reached
	tcp := func(text string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)) }
	r.note(tcp("10.0.0.1:40000"), tcp("10.0.0.2:6443"))
	r.note(tcp("10.0.0.1:40001"), tcp("10.0.0.2:6443"))
	r.note(tcp("127.0.0.1:40002"), tcp("127.0.0.1:6443"))
	r.note(tcp("[::ffff:10.0.0.1]:40003"), tcp("[::ffff:10.0.0.1]:6444"))
	for i := range 2 * maxReached {
		r.note(tcp("10.0.0.1:40000"), tcp(fmt.Sprintf("10.0.1.%d:6443", i)))
	}
	list, here := r.get()
	if len(list) != maxReached || !slices.Equal(here, []uint16{6444}) {
		t.Errorf("reached %v, here %v", list, here)
	}
	c, err := r.dial(context.Background(), "tcp", "127.0.0.1:1") //nolint:forbidigo // nothing outlives it
	if err == nil {
		_ = c.Close()
		t.Skip("something listens at port 1")
	}
}

// TestQuiet: what Kubernetes' libraries call an error is for who looks for it.
func TestQuiet(t *testing.T) {
	for level, want := range map[slog.Level]bool{slog.LevelDebug: true, slog.LevelInfo: false, slog.LevelWarn: false, slog.LevelError: false} {
		var said bytes.Buffer
		ctx := quiet(t.Context(), slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: level})))
		utilruntime.HandleErrorWithContext(ctx, io.ErrUnexpectedEOF, "Failed to watch")
		if got := strings.Contains(said.String(), "level=DEBUG") && strings.Contains(said.String(), "Failed to watch"); got != want || strings.Contains(said.String(), "ERROR") {
			t.Errorf("at level %s: %q", level, &said)
		}
	}
}

// TestMissingIsAskedForAgain: a Ruleset that is not there yet may come, and no
// other object changes when it does.
func TestMissingIsAskedForAgain(t *testing.T) {
	err := (&Client{}).explain("Ruleset r", apierrors.NewNotFound(schema.GroupResource{Resource: "rulesets"}, "r"))
	if !errors.Is(err, errTryAgain) || !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

// TestDamagedPlane: what joining has left is whole, or it is told.
func TestDamagedPlane(t *testing.T) {
	for name, text := range map[string]string{
		"half": `{"server":"https://a`, "empty": `{}`, "nobody": `{"server":"https://a:6443","ca":"eA==","namespace":"n"}`,
	} {
		dir := statedir.Dir(t.TempDir())
		if err := dir.Save(planeFile, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, err := loadPlane(dir); err == nil || errors.Is(err, ErrNotJoined) || !strings.Contains(err.Error(), "join again") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
