package controlplane

import (
	"bytes"
	"crypto/x509"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func load(t *testing.T, dir string, now time.Time, names ...string) *pki {
	t.Helper()
	p, err := loadPKI(dir, now, names)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCertificatesAreKept(t *testing.T) {
	dir := t.TempDir()
	first := load(t, dir, start, "localhost", "127.0.0.1")
	for name, tc := range map[string]struct {
		reason       string
		now          time.Time
		names        []string
		sameLeaf     bool
		wantVerified string
	}{
		"Again":      {"a restart changes nothing", start.Add(time.Hour), []string{"localhost", "127.0.0.1"}, true, "127.0.0.1"},
		"FewerNames": {"a certificate may be good for more than is asked", start, []string{"localhost"}, true, "localhost"},
		"NewName":    {"a new name needs a new certificate", start, []string{"ringfence.example"}, false, "ringfence.example"},
		"Old":        {"in its last third it is renewed", start.Add(leafLife - leafRenew), []string{"localhost"}, false, "localhost"},
		"Expired":    {"one that has expired is renewed too", start.Add(2 * leafLife), []string{"localhost"}, false, "localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			copied := t.TempDir()
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			got := load(t, copied, tc.now, tc.names...)
			if !bytes.Equal(got.ca.certPEM, first.ca.certPEM) || !bytes.Equal(got.serviceAccounts.keyPEM, first.serviceAccounts.keyPEM) {
				t.Errorf("%s: but an authority was replaced", tc.reason)
			}
			if same := bytes.Equal(got.serving.certPEM, first.serving.certPEM); same != tc.sameLeaf {
				t.Errorf("%s: kept = %t", tc.reason, same)
			}
			roots := x509.NewCertPool()
			roots.AddCert(got.ca.cert)
			if _, err := got.serving.cert.Verify(x509.VerifyOptions{DNSName: tc.wantVerified, Roots: roots, CurrentTime: tc.now}); err != nil {
				t.Errorf("%s: %v", tc.reason, err)
			}
		})
	}
}

func TestKeysAreSecret(t *testing.T) {
	dir := t.TempDir()
	load(t, dir, start)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".key") {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestClientsOfTheAPIAreNoneOfEtcd(t *testing.T) {
	p := load(t, t.TempDir(), start)
	if p.admin.cert.CheckSignatureFrom(p.etcdCA.cert) == nil {
		t.Error("etcd would take the administrator's certificate, and with it writes that no policy sees")
	}
}

func TestDamageIsNotRepairedInSilence(t *testing.T) {
	for name, damage := range map[string]func(key string) error{
		"KeyGone":  os.Remove,
		"KeyEmpty": func(key string) error { return os.WriteFile(key, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			load(t, dir, start)
			if err := damage(filepath.Join(dir, "ca.key")); err != nil {
				t.Fatal(err)
			}
			if _, err := loadPKI(dir, start, nil); err == nil || !strings.Contains(err.Error(), "ca.crt") {
				t.Errorf("a new authority would lock every client out: want an error that names the file, got %v", err)
			}
		})
	}
}
