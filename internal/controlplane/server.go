package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// A Server is one control plane. New makes it, Run runs it, once.
type Server struct {
	cfg   Config
	ready chan struct{}

	// Written before ready is closed, read after it.
	url   string
	certs *pki

	// installing is what /readyz says while something is missing, unreadable what
	// it says while a stored object cannot be decoded; nil means nothing.
	installing, unreadable atomic.Pointer[error]
}

// New checks a configuration and fills its gaps. It touches nothing yet.
func New(cfg Config) (*Server, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("cannot use the configuration: %w", err)
	}
	s := &Server{cfg: cfg, ready: make(chan struct{})}
	s.pending(errors.New("not started yet"))
	s.unread(nil)
	return s, nil
}

// Ready is closed once /readyz answers ok: everything is installed and in force.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// URL is where clients on this machine reach the API. Valid once Ready.
func (s *Server) URL() string { return s.url }

// AdminClient connects as the administrator of admin.kubeconfig. Valid once Ready.
func (s *Server) AdminClient() *rest.Config { return s.certs.client(s.url, s.certs.admin) }

// ControllersClient connects as the controllers. Valid once Ready.
func (s *Server) ControllersClient() *rest.Config { return s.certs.client(s.url, s.certs.controllers) }

// Run serves until the context ends, then drains, stops and frees the port and
// the data folder. It returns nil for a stop that was asked for.
func (s *Server) Run(ctx context.Context) (err error) {
	held, err := lock(s.cfg.DataDir)
	if err != nil {
		return err
	}
	defer func() {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			err = nil // asked for, even if in the middle of a start
		}
		err = errors.Join(err, held.Close())
	}()
	listener, addr, err := s.listen(ctx)
	if err != nil {
		return err
	}
	defer listener.Close() //nolint:errcheck // the API server has closed it before
	s.url = endpoint(addr)
	s.certs, err = loadPKI(filepath.Join(s.cfg.DataDir, "pki"), s.cfg.Clock.Now(), s.cfg.names(addr))
	if err != nil {
		return err
	}
	if err := s.certs.writeKubeconfig(s.cfg.DataDir, s.url); err != nil {
		return err
	}
	store, err := startEtcd(ctx, &s.cfg, s.certs)
	if err != nil {
		return err
	}
	defer store.close()
	api, err := newAPI(ctx, &s.cfg, s.certs, store, listener)
	if err != nil {
		return fmt.Errorf("cannot assemble the API server: %w", err)
	}
	s.cfg.Log.Info("starting", "url", s.url, "data", s.cfg.DataDir, "etcd", store.servers)
	return s.serve(ctx, api, store)
}

func (s *Server) listen(ctx context.Context) (net.Listener, *net.TCPAddr, error) {
	want, err := listenAddress(s.cfg.Listen)
	if err != nil {
		return nil, nil, err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", want.String())
	if err != nil {
		return nil, nil, fmt.Errorf("cannot listen: %w", err)
	}
	addr, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return nil, nil, fmt.Errorf("cannot listen on %s: not TCP", listener.Addr())
	}
	return listener, addr, nil
}

// serve runs the API server and what works on it. The workers stop first, so
// that their last words still reach the API.
func (s *Server) serve(ctx context.Context, api *api, store *etcd) error {
	apiCtx, stopAPI := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAPI()
	serving := make(chan error, 1)
	go func() { serving <- api.run(apiCtx, s.check(), s.why) }()

	work, workCtx := errgroup.WithContext(ctx)
	work.Go(func() error { return store.wait(workCtx) })
	work.Go(func() error {
		select {
		case err := <-serving:
			serving <- err
			return errors.Join(errors.New("the API server stopped by itself"), err)
		case <-workCtx.Done():
			return nil
		}
	})
	work.Go(func() error { return s.work(workCtx, api, store) })
	work.Go(func() error { return s.read(workCtx, api) })
	err := work.Wait()
	s.pending(errors.New("stopping"))
	stopAPI()
	return errors.Join(err, <-serving)
}

// read looks for stored objects that cannot be decoded. It does not wait for
// anything: one of them may be why the server never gets ready.
func (s *Server) read(ctx context.Context, api *api) error {
	r, err := newReader(api.loopback)
	if err != nil {
		return err
	}
	return r.watch(ctx, s.unread)
}

// work installs what is ours, then runs the controllers.
func (s *Server) work(ctx context.Context, api *api, store *etcd) error {
	install, err := newInstaller(s.cfg.CRDs, s.cfg.Log, api.loopback)
	if err != nil {
		return err
	}
	if err := s.compare(ctx, api.loopback); err != nil {
		return err
	}
	if err := install.untilDone(ctx, s.pending); err != nil {
		return err
	}
	s.pending(nil)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return install.keep(ctx) })
	group.Go(func() error { return s.announce(ctx, api.loopback) })
	group.Go(func() error { return s.lead(ctx, api.loopback, store) })
	return group.Wait()
}

// compare returns once this replica is known to have the keys of the others.
func (s *Server) compare(ctx context.Context, loopback *rest.Config) error {
	return wait.PollUntilContextCancel(ctx, retry, true, func(ctx context.Context) (bool, error) {
		different, err := s.sameAuthority(ctx, loopback)
		if different {
			return false, err
		}
		if err != nil {
			s.pending(err)
		}
		return err == nil, nil
	})
}

// pending says why the server is not ready, or with nil that it is.
func (s *Server) pending(err error) { s.installing.Store(&err) }

// unread says which stored objects cannot be decoded, or with nil that all can.
func (s *Server) unread(err error) {
	before := s.unreadable.Swap(&err)
	if err != nil && (before == nil || *before == nil || (*before).Error() != err.Error()) {
		s.cfg.Log.Error(err, "some stored objects cannot be decoded")
	}
}

// why says why the server is not ready; nil if it is.
func (s *Server) why() error { return errors.Join(*s.unreadable.Load(), *s.installing.Load()) }

func (s *Server) check() healthz.HealthChecker {
	return healthz.NamedCheck("ringfence", func(*http.Request) error { return s.why() })
}

// announce closes ready when /readyz says so.
func (s *Server) announce(ctx context.Context, loopback *rest.Config) error {
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return err
	}
	err = wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() == nil, nil
	})
	if err != nil {
		return err
	}
	s.cfg.Log.Info("ready", "url", s.url)
	close(s.ready)
	return nil
}
