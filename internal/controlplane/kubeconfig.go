package controlplane

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

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

// writeKubeconfig writes what the administrator needs, and nothing else: no
// file names inside, so that it may be copied to another machine.
func (p *pki) writeKubeconfig(dir, url string) error {
	const name = "ringfence"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: p.ca.certPEM}
	config.AuthInfos[adminUser] = &clientcmdapi.AuthInfo{ClientCertificateData: p.admin.certPEM, ClientKeyData: p.admin.keyPEM}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: adminUser, Namespace: "default"}
	config.CurrentContext = name
	data, err := clientcmd.Write(*config)
	if err == nil {
		err = writeFile(filepath.Join(dir, AdminKubeconfig), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", AdminKubeconfig, err)
	}
	return nil
}
