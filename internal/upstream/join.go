package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/internal/identity"
	"ringfence.dev/ringfence/internal/statedir"
)

// A Join is what `ringfence token create` prints.
type Join struct {
	// Server is the URL of the control plane, https. Required.
	Server string
	// Token is the join token. Required.
	Token string
	// Hashes name the authority of the server's certificate, as
	// [identity.PublicKeyHash] does. Authority is that certificate itself, as
	// PEM. One of the two is required: the token is shown to nobody else.
	Hashes    []string
	Authority []byte
	// Host is who joins. Required.
	Host identity.Host
}

// Do joins: it makes sure that the server is the right one, asks for a
// certificate with the token, and keeps what it gets in a state folder. It waits
// until the context ends. What a folder had of another join stays if this one
// fails.
func (j *Join) Do(ctx context.Context, dir statedir.Dir) error {
	authority := j.Authority
	if len(authority) == 0 {
		var err error
		if authority, err = j.authority(ctx); err != nil {
			return err
		}
	}
	p := &plane{Server: j.Server, CA: authority, Namespace: j.Host.Namespace, Name: j.Host.Name}
	config := p.config()
	config.BearerToken = j.Token
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return fmt.Errorf("cannot use %s: %w", j.Server, err)
	}
	pair, err := certify(ctx, client, j.Host)
	if apierrors.IsUnauthorized(err) {
		return fmt.Errorf("cannot join %s as host %s: it does not know the token, or the token has expired: make another one (ringfence token create)", j.Server, j.Host)
	}
	if err != nil {
		return fmt.Errorf("cannot join %s as host %s: %w", j.Server, j.Host, err)
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	// The pair first: a folder that says where the plane is has a way in.
	return errors.Join(dir.Make(), dir.Save(pairFile, pair), dir.Save(planeFile, data))
}

// authority asks the server for its certificates, and returns the one that the
// hashes name, if the server's own was signed with it. The token was not shown
// to anybody yet.
func (j *Join) authority(ctx context.Context) ([]byte, error) {
	u, err := url.Parse(j.Server)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("--server %s: want a URL such as https://192.168.0.10:6443", j.Server)
	}
	if len(j.Hashes) == 0 {
		return nil, errors.New("want --ca-cert-hash or --ca-file: without them any server could pass for the control plane")
	}
	at := u.Host
	if u.Port() == "" {
		at = net.JoinHostPort(u.Hostname(), "443")
	}
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // verified below, by the hash
	conn, err := d.DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, fmt.Errorf("nobody answers at %s: is it the control plane's URL, and does the group of its host let port %s in? %w", j.Server, portOf(at), err)
	}
	defer func() { _ = conn.Close() }()
	c, ok := conn.(*tls.Conn)
	if !ok {
		return nil, errors.New("cannot read the server's certificates")
	}
	return j.trusted(c.ConnectionState().PeerCertificates, u.Hostname())
}

func portOf(at string) string {
	_, port, _ := net.SplitHostPort(at)
	return port
}

// trusted finds the authority among the certificates that a server has shown.
func (j *Join) trusted(shown []*x509.Certificate, name string) ([]byte, error) {
	for _, c := range shown[min(1, len(shown)):] {
		if !slices.ContainsFunc(j.Hashes, func(h string) bool { return strings.EqualFold(h, identity.PublicKeyHash(c)) }) {
			continue
		}
		pool := x509.NewCertPool()
		pool.AddCert(c)
		if _, err := shown[0].Verify(x509.VerifyOptions{Roots: pool, DNSName: name}); err != nil {
			return nil, fmt.Errorf("the server's certificate does not hold: %w (it must name %s: --names of ringfence-server)", err, name)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), nil
	}
	return nil, fmt.Errorf("%s shows no certificate of the authority %s: it is another server than the one that the token is for, or one that does not show its authority (then give it with --ca-file)",
		j.Server, strings.Join(j.Hashes, " or "))
}
