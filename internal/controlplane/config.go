package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strconv"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// A Config says how one control plane runs. The zero value with a DataDir is
// complete once Defaults was called.
type Config struct {
	// DataDir holds everything that must survive: certificates in pki/, the
	// embedded etcd in etcd/, and admin.kubeconfig. Made with mode 0700 when it
	// does not exist. Required. One server at a time.
	DataDir string
	// Listen is the address and port of the API. Port 0 lets the kernel choose.
	// Empty means 127.0.0.1:6443.
	Listen string
	// Names are further DNS names and addresses under which clients reach the
	// API; they go into the serving certificate. The address of Listen,
	// localhost, the loopback addresses and the host's name are always in it.
	Names []string

	// EtcdServers are the URLs of an external etcd. Empty runs one inside. All
	// replicas that share one etcd must share pki/ca.* and pki/sa.key as well.
	EtcdServers []string
	// EtcdCAFile verifies them. Required for https.
	EtcdCAFile string
	// EtcdCertFile and EtcdKeyFile are shown to them. Both or neither.
	EtcdCertFile, EtcdKeyFile string

	// AuditLog is a file to which every write is logged, one JSON line each,
	// without bodies. Empty logs none; "-" is standard output.
	AuditLog string

	// CRDs holds the definitions to install, every *.yaml in it. Nil installs
	// none. What the server finds changed, it puts back.
	CRDs fs.FS
	// Controllers run on one replica at a time, after everything is installed,
	// until their context ends. They are known to the API as User
	// "ringfence:controllers", the only one that the policies let write status.
	Controllers []Controller

	// Log is where the control plane tells what it does. The zero value is silent.
	Log logr.Logger
	// Clock judges the certificates. Nil is the real one.
	Clock clock.PassiveClock
}

// A Controller works on the API until the context ends. An error ends the
// server: a control plane without its controllers protects nothing.
type Controller func(context.Context, *rest.Config) error

// defaultListen is reachable from this machine only: who wants more says so.
const defaultListen = "127.0.0.1:6443"

// Defaults fills what was left empty.
func (c *Config) Defaults() {
	if c.Listen == "" {
		c.Listen = defaultListen
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log.GetSink() == nil {
		c.Log = logr.Discard()
	}
}

// Validate tells everything that is wrong with the configuration at once.
func (c *Config) Validate() error {
	var errs []error
	if c.DataDir == "" {
		errs = append(errs, errors.New("data-dir is empty: name the folder that holds the state"))
	}
	if _, err := listenAddress(c.Listen); err != nil {
		errs = append(errs, err)
	}
	if (c.EtcdCertFile == "") != (c.EtcdKeyFile == "") {
		errs = append(errs, errors.New("etcd-cert-file and etcd-key-file belong together: name both or neither"))
	}
	if len(c.EtcdServers) == 0 && (c.EtcdCAFile != "" || c.EtcdCertFile != "") {
		errs = append(errs, errors.New("certificates for etcd without etcd-servers: the embedded etcd has its own"))
	}
	for _, server := range c.EtcdServers {
		errs = append(errs, c.validateEtcd(server))
	}
	return errors.Join(errs...)
}

func (c *Config) validateEtcd(server string) error {
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return fmt.Errorf("etcd-servers: %q is not a URL such as https://192.0.2.10:2379", server)
	case u.Scheme == "https" && c.EtcdCAFile == "":
		return fmt.Errorf("etcd-servers: %s needs etcd-ca-file to verify it", server)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		// Whoever reads that wire reads every secret, and may change it.
		return fmt.Errorf("etcd-servers: %s is neither https nor on this machine", server)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip.IsLoopback()
}

// listenAddress wants an address, not a name: a name may resolve to several,
// and only one would be served.
func listenAddress(listen string) (*net.TCPAddr, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %q is not ADDRESS:PORT, such as %s", listen, defaultListen)
	}
	ip := net.ParseIP(host)
	if host == "" {
		ip = net.IPv6unspecified
	}
	if ip == nil {
		return nil, fmt.Errorf("listen: %q is not an address; 0.0.0.0 or [::] listens on all", host)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("listen: port %q is not a number from 0 to 65535", port)
	}
	return &net.TCPAddr{IP: ip, Port: int(number)}, nil
}
