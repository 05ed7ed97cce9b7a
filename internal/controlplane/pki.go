package controlplane

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	caLife = 10 * 365 * 24 * time.Hour
	// leafLife is short of what clients refuse (398 days for some). A leaf is
	// renewed at a start within the last third, so a server that is restarted
	// twice a year never runs out.
	leafLife  = 365 * 24 * time.Hour
	leafRenew = leafLife / 3
	// backdate forgives clocks that lag.
	backdate = 5 * time.Minute
)

// The users that the server makes certificates for. Not system:masters, which
// no policy and no role can hold back.
const (
	adminUser        = "ringfence:admin"
	adminGroup       = "ringfence:admins"
	controllersUser  = "ringfence:controllers"
	controllersGroup = "ringfence:controllers"
)

// A pair is a certificate with its key, and the files that hold them.
type pair struct {
	cert              *x509.Certificate
	key               crypto.Signer
	certPEM, keyPEM   []byte
	certFile, keyFile string
}

// A pki is every certificate of one data folder. etcd has an authority of its
// own, so that a client of the API is none of etcd's.
type pki struct {
	ca, serving, admin, controllers, serviceAccounts pair
	etcdCA, etcdServer, etcdClient                   pair
}

// An issuer makes what is missing in one folder and keeps what is there.
type issuer struct {
	dir string
	now time.Time
}

// loadPKI reads the certificates of a folder, and makes those that are missing,
// will expire soon, or do not fit the names.
func loadPKI(dir string, now time.Time, names []string) (*pki, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the folder of certificates: %w", err)
	}
	i, p := issuer{dir, now}, &pki{}
	var err error
	authority := func(into *pair, file, name string) {
		if err == nil {
			*into, err = i.authority(file, name)
		}
	}
	leaf := func(into *pair, file string, by *pair, want x509.Certificate) {
		if err == nil {
			*into, err = i.leaf(file, by, &want)
		}
	}
	authority(&p.ca, "ca", "ringfence")
	authority(&p.etcdCA, "etcd-ca", "ringfence-etcd")
	authority(&p.serviceAccounts, "sa", "ringfence-service-accounts")
	leaf(&p.serving, "serving", &p.ca, serves("ringfence-server", names))
	leaf(&p.admin, "admin", &p.ca, calls(adminUser, adminGroup))
	leaf(&p.controllers, "controllers", &p.ca, calls(controllersUser, controllersGroup))
	leaf(&p.etcdServer, "etcd-server", &p.etcdCA, serves("etcd", []string{"127.0.0.1"}))
	leaf(&p.etcdClient, "etcd-client", &p.etcdCA, calls("ringfence-server", ""))
	if err != nil {
		return nil, fmt.Errorf("cannot prepare the certificates in %s: %w", dir, err)
	}
	return p, nil
}

// serves is what a certificate for a server under these names looks like.
func serves(cn string, names []string) x509.Certificate {
	want := x509.Certificate{Subject: pkix.Name{CommonName: cn}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			want.IPAddresses = append(want.IPAddresses, ip)
		} else {
			want.DNSNames = append(want.DNSNames, name)
		}
	}
	return want
}

// calls is what a certificate for a client looks like: user, then group.
func calls(user, group string) x509.Certificate {
	want := x509.Certificate{Subject: pkix.Name{CommonName: user}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if group != "" {
		want.Subject.Organization = []string{group}
	}
	return want
}

// authority loads or makes a self-signed certificate. It never replaces one:
// every client would be locked out.
func (i issuer) authority(file, name string) (pair, error) {
	p, err := i.load(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	return i.make(file, nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}, caLife)
}

// leaf loads a certificate, or makes one where the old one does not do.
func (i issuer) leaf(file string, by *pair, want *x509.Certificate) (pair, error) {
	p, err := i.load(file)
	if err == nil && i.fits(p.cert, by.cert, want) && bytes.HasSuffix(p.certPEM, chain(by, want)) {
		return p, nil
	}
	want.KeyUsage = x509.KeyUsageDigitalSignature
	return i.make(file, by, want, leafLife)
}

// chain is what a server shows after its own certificate: the authority's, so
// that who knows only the hash of that one's key (a joining host) can verify both.
func chain(by *pair, want *x509.Certificate) []byte {
	if !slices.Contains(want.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		return nil
	}
	return by.certPEM
}

func (i issuer) fits(have, by, want *x509.Certificate) bool {
	for _, ip := range want.IPAddresses {
		if have.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	for _, name := range want.DNSNames {
		if have.VerifyHostname(name) != nil {
			return false
		}
	}
	return have.Subject.CommonName == want.Subject.CommonName &&
		slices.Equal(have.Subject.Organization, want.Subject.Organization) &&
		have.CheckSignatureFrom(by) == nil &&
		i.now.After(have.NotBefore) && i.now.Add(leafRenew).Before(have.NotAfter)
}

func (i issuer) load(file string) (pair, error) {
	p := i.files(file)
	var err error
	if p.certPEM, err = os.ReadFile(p.certFile); err != nil {
		return pair{}, err
	}
	if p.keyPEM, err = os.ReadFile(p.keyFile); err != nil {
		// Not %w: a certificate without its key is damage, not a first start.
		return pair{}, fmt.Errorf("%s is there but its key is not readable; restore it from a backup: %s", p.certFile, err.Error())
	}
	both, err := tls.X509KeyPair(p.certPEM, p.keyPEM)
	if err != nil {
		return pair{}, fmt.Errorf("%s and its key do not fit: %w", p.certFile, err)
	}
	signer, ok := both.PrivateKey.(crypto.Signer)
	if !ok {
		return pair{}, fmt.Errorf("%s: a key that cannot sign", p.keyFile)
	}
	p.cert, p.key = both.Leaf, signer
	return p, nil
}

func (i issuer) files(file string) pair {
	return pair{certFile: filepath.Join(i.dir, file+".crt"), keyFile: filepath.Join(i.dir, file+".key")}
}

// make signs and writes. The key is written first: a certificate on disk means
// that its key is there.
func (i issuer) make(file string, by *pair, want *x509.Certificate, life time.Duration) (pair, error) {
	p, err := i.sign(by, want, life)
	if err != nil {
		return pair{}, err
	}
	files := i.files(file)
	p.certFile, p.keyFile = files.certFile, files.keyFile
	if err := writeFile(p.keyFile, p.keyPEM, 0o600); err != nil {
		return pair{}, err
	}
	return p, writeFile(p.certFile, bytes.Clone(p.certPEM), 0o644)
}

// sign signs want with by, or with its own key where by is nil.
func (i issuer) sign(by *pair, want *x509.Certificate, life time.Duration) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	// 20 octets is what RFC 5280 allows; 16 random ones never meet again.
	want.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return pair{}, err
	}
	want.NotBefore, want.NotAfter = i.now.Add(-backdate), i.now.Add(life)
	p := pair{key: key}
	if by == nil {
		by = &pair{cert: want, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, want, by.cert, key.Public(), by.key)
	if err != nil {
		return pair{}, err
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		return pair{}, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return pair{}, err
	}
	p.certPEM = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), chain(by, want)...)
	p.keyPEM = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	return p, nil
}
