package controlplane

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// AdminKubeconfig is the file below the data folder with which kubectl reaches
// this control plane.
const AdminKubeconfig = "admin.kubeconfig"

// endpoint is where clients on this machine reach a listener.
func endpoint(addr *net.TCPAddr) string {
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

// names are all that the serving certificate must be good for.
func (c *Config) names(addr *net.TCPAddr) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if !addr.IP.IsUnspecified() {
		names = append(names, addr.IP.String())
	}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	return append(names, c.Names...)
}

// client is a connection as the user of a certificate.
func (p *pki) client(url string, as pair) *rest.Config {
	return &rest.Config{
		Host:            url,
		QPS:             -1, // the server meters its clients itself
		TLSClientConfig: rest.TLSClientConfig{CAData: p.ca.certPEM, CertData: as.certPEM, KeyData: as.keyPEM},
	}
}

// writeKubeconfig writes what the administrator needs.
func (p *pki) writeKubeconfig(dir, url string) error {
	data, err := kubeconfig(url, p.ca.certPEM, adminUser, p.admin)
	if err == nil {
		err = writeFile(filepath.Join(dir, AdminKubeconfig), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", AdminKubeconfig, err)
	}
	return nil
}

// kubeconfig is all that a user needs, and nothing else: no file names inside,
// so that it may be copied to another machine.
func kubeconfig(url string, authority []byte, user string, as pair) ([]byte, error) {
	const name = "ringfence"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: authority}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: as.certPEM, ClientKeyData: as.keyPEM}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: user, Namespace: "default"}
	config.CurrentContext = name
	return clientcmd.Write(*config)
}

// A Person is somebody who gets a kubeconfig.
type Person struct {
	// Name is the user name. Required; "system:" and "ringfence:" are taken.
	Name string
	// Groups are those of the user, of which "ringfence:admins" is the
	// administrators'. Others that begin with the two words are taken.
	Groups []string
	// Life is how long the certificate is good for. Nothing ends it sooner.
	Life time.Duration
	// Server is the URL of the API. Empty means that of admin.kubeconfig.
	Server string
}

// What the names of Kubernetes' users and groups begin with, and of ours.
const (
	systemPrefix = "system:"
	ownPrefix    = "ringfence:"
)

// maxLife bounds the certificates of people, which cannot be revoked.
const maxLife = 365 * 24 * time.Hour

// Validate tells all that is wrong at once.
func (p Person) Validate() error {
	var errs []error
	taken := func(name string) bool {
		return strings.HasPrefix(name, systemPrefix) || strings.HasPrefix(name, ownPrefix)
	}
	if p.Name == "" || taken(p.Name) {
		errs = append(errs, fmt.Errorf("the name %q: want some, and not one of those that begin with %q or %q", p.Name, systemPrefix, ownPrefix))
	}
	for _, group := range p.Groups {
		if group == "" || taken(group) && group != adminGroup {
			errs = append(errs, fmt.Errorf("the group %q: want %q, or one that does not begin with %q or %q", group, adminGroup, systemPrefix, ownPrefix))
		}
	}
	if p.Life < time.Minute || p.Life > maxLife {
		errs = append(errs, fmt.Errorf("the life of %s: want 1m to %s", p.Life, maxLife))
	}
	return errors.Join(errs...)
}

// UserKubeconfig makes a kubeconfig for a person, by the keys in a data folder.
// What the person may do is said by roles that are bound to its name or groups.
func UserKubeconfig(dataDir string, p Person, now time.Time) ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("cannot make a kubeconfig: %w", err)
	}
	i := issuer{filepath.Join(dataDir, "pki"), now}
	ca, err := i.load("ca")
	if err != nil {
		return nil, fmt.Errorf("cannot make a kubeconfig: no server has run on the data folder: %w", err)
	}
	if p.Server == "" {
		admin, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dataDir, AdminKubeconfig))
		if err != nil {
			return nil, fmt.Errorf("cannot make a kubeconfig: say where the server is: %w", err)
		}
		p.Server = admin.Host
	}
	want := calls(p.Name, "")
	want.Subject.Organization = p.Groups
	want.KeyUsage = x509.KeyUsageDigitalSignature
	as, err := i.sign(&ca, &want, p.Life)
	if err != nil {
		return nil, fmt.Errorf("cannot make a kubeconfig: %w", err)
	}
	return kubeconfig(p.Server, ca.certPEM, p.Name, as)
}
