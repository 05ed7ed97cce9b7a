// Package apiserver gives tests a real kube-apiserver with an etcd of its own, in
// their own process: every kind of a cluster, with its defaults, validation, RBAC
// and watches. It listens on loopback only and ends with the tests.
//
// No controller runs in it. Nodes, pods and endpoint slices are objects that the
// tests make.
package apiserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/klog/v2"
	aggregator "k8s.io/kube-aggregator/pkg/apiserver"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// Advertised is where the server says in default/kubernetes that it is, with its
// real port. Nothing is there: an endpoint must not be a loopback address.
const Advertised = "192.0.2.1"

// servicesOn are the addresses of Services. They are loopback addresses, so that
// what the server calls by itself (webhooks, aggregated APIs) stays there.
const servicesOn = "127.96.0.0/16"

// startWithin is ten times what a start takes on two busy cores.
const startWithin = 90 * time.Second

// A Server is a kube-apiserver that runs.
type Server struct {
	// Admin connects with every right. Copy it before you change it.
	Admin *rest.Config
	// Port is where it listens.
	Port int

	dir     string
	store   *embed.Etcd
	stop    context.CancelFunc
	stopped chan error
}

// Start runs a server until the test ends.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s, err := start(context.WithoutCancel(tb.Context()), tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// Main runs the tests of a package on one server that they share, and returns
// the exit code. What a test loads goes when it ends.
//
//	func TestMain(m *testing.M) { os.Exit(apiserver.Main(m, &server)) }
func Main(m *testing.M, into **Server) int {
	code, err := shared(m, into)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func shared(m *testing.M, into **Server) (code int, err error) {
	if slices.ContainsFunc(os.Args, func(arg string) bool { return strings.HasPrefix(arg, "-test.list") }) {
		return m.Run(), nil // it only names the tests
	}
	dir, err := os.MkdirTemp("", "ringfence-apiserver-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := start(context.Background(), dir) //nolint:forbidigo // TestMain has no context
	if err != nil {
		return 0, err
	}
	*into = s
	code = m.Run()
	return code, s.Stop()
}

// Stop ends the server and its store, and returns what its run returned.
func (s *Server) Stop() error {
	err := s.halt()
	s.store.Close()
	return err
}

// Restart ends the server, lets meanwhile happen, and starts it again where it was
// with what it had stored.
func (s *Server) Restart(tb testing.TB, meanwhile func()) {
	tb.Helper()
	if err := s.halt(); err != nil {
		tb.Fatal(err)
	}
	meanwhile()
	if err := s.serve(context.WithoutCancel(tb.Context())); err != nil {
		tb.Fatal(err)
	}
}

func (s *Server) halt() error {
	s.stop()
	return <-s.stopped
}

// As connects as somebody who has no rights but those that are bound to them.
func (s *Server) As(user string, groups ...string) *rest.Config {
	c := rest.CopyConfig(s.Admin)
	c.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	return c
}

// Kubeconfig writes a kubeconfig of a connection and returns its path.
func Kubeconfig(tb testing.TB, of *rest.Config) string {
	tb.Helper()
	const name = "test"
	c := clientcmdapi.NewConfig()
	c.Clusters[name] = &clientcmdapi.Cluster{Server: of.Host, CertificateAuthorityData: of.CAData, TLSServerName: of.ServerName}
	c.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: of.BearerToken, Impersonate: of.Impersonate.UserName, ImpersonateGroups: of.Impersonate.Groups}
	c.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	c.CurrentContext = name
	path := filepath.Join(tb.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		tb.Fatal(err)
	}
	return path
}

func start(ctx context.Context, dir string) (*Server, error) {
	// Kubernetes says a thousand lines a start; a failed test should be found.
	klog.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(io.Discard, nil)))
	s := &Server{dir: dir}
	var err error
	if s.store, err = startEtcd(ctx, filepath.Join(dir, "etcd")); err != nil {
		return nil, fmt.Errorf("cannot start etcd: %w", err)
	}
	if err := s.serve(ctx); err != nil {
		s.store.Close()
		return nil, fmt.Errorf("cannot start kube-apiserver: %w", err)
	}
	return s, nil
}

// startEtcd starts a lone member that has no peers and no need to wait for any.
func startEtcd(ctx context.Context, dir string) (*embed.Etcd, error) {
	local := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	c := embed.NewConfig()
	c.Dir = dir
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.ListenPeerUrls, c.ListenClientUrls, c.AdvertiseClientUrls = nil, []url.URL{local}, []url.URL{local}
	c.TickMs, c.ElectionMs = 20, 100
	c.UnsafeNoFsync = true // it does not outlive its tests
	c.EnableGRPCGateway = false
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	store, err := embed.StartEtcd(c)
	if err != nil {
		return nil, err
	}
	select {
	case <-store.Server.ReadyNotify():
		return store, nil
	case err = <-store.Err():
	case <-ctx.Done():
		err = ctx.Err()
	}
	store.Close()
	return nil, err
}

// serve starts the server on its store, and waits until it is ready.
func (s *Server) serve(ctx context.Context) error {
	o, err := s.flags(ctx)
	if err != nil {
		return err
	}
	chain, err := assemble(ctx, o)
	if err != nil {
		return err
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return err
	}
	if err := s.connect(o); err != nil {
		return err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.stop, s.stopped = cancel, make(chan error, 1)
	go func() { s.stopped <- prepared.Run(running) }()
	if err := s.ready(ctx); err != nil {
		return errors.Join(err, s.halt())
	}
	return nil
}

func assemble(ctx context.Context, o *options.ServerRunOptions) (*aggregator.APIAggregator, error) {
	completed, err := o.Complete(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(completed.Validate()...); err != nil {
		return nil, err
	}
	// The names of informers are those of the process; several servers may run.
	if completed.InformerName, err = cache.NewInformerName("kube-apiserver-" + rand.Text()); err != nil {
		return nil, err
	}
	config, err := app.NewConfig(completed)
	if err != nil {
		return nil, err
	}
	whole, err := config.Complete()
	if err != nil {
		return nil, err
	}
	return app.CreateServerChain(whole)
}

// flags are those that kube-apiserver would be started with.
func (s *Server) flags(ctx context.Context) (*options.ServerRunOptions, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
	if err != nil {
		return nil, err
	}
	s.Port = listener.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // of a TCP listener
	key, tokens, err := s.secrets()
	if err != nil {
		return nil, err
	}
	o := options.NewServerRunOptions()
	o.SecureServing.Listener, o.SecureServing.BindPort = listener, s.Port
	o.SecureServing.ServerCert.CertDirectory = s.dir
	o.GenericServerRunOptions.AdvertiseAddress = net.ParseIP(Advertised)
	o.GenericServerRunOptions.ShutdownSendRetryAfter = true
	o.GenericServerRunOptions.ShutdownWatchTerminationGracePeriod = time.Second
	o.ServiceClusterIPRanges = servicesOn
	o.AllowPrivileged = true
	o.Etcd.StorageConfig.Transport.ServerList = []string{"http://" + s.store.Clients[0].Addr().String()}
	o.Authorization.Modes = []string{"RBAC"}
	o.Authentication.TokenFile.TokenFile = tokens
	o.Authentication.ServiceAccounts.Issuers = []string{"https://test.internal"}
	o.Authentication.ServiceAccounts.KeyFiles = []string{key}
	o.ServiceAccountSigningKeyFile = key
	// Nobody makes the service accounts that pods would need.
	o.Admission.GenericAdmission.DisablePlugins = []string{"ServiceAccount"}
	o.Metrics, o.Logs = nil, nil // they are set for the whole process
	return o, nil
}

// secrets writes the key for tokens of service accounts, and the administrator's
// own token, which outlive a restart, and returns the files.
func (s *Server) secrets() (key, tokens string, err error) {
	key, tokens = filepath.Join(s.dir, "service-accounts.key"), filepath.Join(s.dir, "tokens.csv")
	if s.Admin != nil {
		return key, tokens, nil
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	pem, err := keyutil.MarshalPrivateKeyToPEM(private)
	if err != nil {
		return "", "", err
	}
	s.Admin = &rest.Config{BearerToken: rand.Text(), QPS: -1}
	return key, tokens, errors.Join(
		os.WriteFile(key, pem, 0o600),
		os.WriteFile(tokens, []byte(s.Admin.BearerToken+",admin,admin,system:masters\n"), 0o600),
	)
}

// connect says where the server is, and by which certificate to know it.
func (s *Server) connect(o *options.ServerRunOptions) error {
	ca, err := os.ReadFile(o.SecureServing.ServerCert.CertKey.CertFile)
	if err != nil {
		return err
	}
	s.Admin.Host = fmt.Sprintf("https://127.0.0.1:%d", s.Port)
	s.Admin.CAData, s.Admin.ServerName = ca, "kubernetes.default.svc"
	return nil
}
