package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/metrics/legacyregistry"
)

// A GuestConfig says how the controllers run on somebody else's API server.
type GuestConfig struct {
	// Kubeconfig is a file that says where it is and who we are. Required.
	Kubeconfig string
	// HealthListen is the address and port of /readyz, /livez and /metrics,
	// which are plain HTTP and open to all: keep it on loopback, or on a network
	// of your own. Empty means 127.0.0.1:8081. Port 0 lets the kernel choose.
	HealthListen string

	// CRDs, Controllers and Log are as in Config. The controllers are known to
	// the API as the user of the kubeconfig.
	CRDs        fs.FS
	Controllers []Controller
	Log         logr.Logger
	// Metrics adds to what /metrics says of this process. Nil adds nothing.
	Metrics prometheus.Gatherer
}

// defaultHealthListen is reachable from this machine only.
const defaultHealthListen = "127.0.0.1:8081"

// headerTimeout is for a client that never finishes its request.
const headerTimeout = 10 * time.Second

// A Guest runs the controllers on an API server that is there already, on one
// replica at a time. It installs and upgrades definitions, roles and policies
// there, as far as its rights go. NewGuest makes it, Run runs it, once.
type Guest struct {
	cfg   GuestConfig
	ready chan struct{}
	// health is where the listener is. Written before ready is closed.
	health string
	// pending is what /readyz says while something is missing; nil means done.
	pending atomic.Pointer[error]
}

// NewGuest checks a configuration and fills its gaps. It touches nothing yet.
func NewGuest(cfg GuestConfig) (*Guest, error) {
	if cfg.HealthListen == "" {
		cfg.HealthListen = defaultHealthListen
	}
	if cfg.Log.GetSink() == nil {
		cfg.Log = logr.Discard()
	}
	g := &Guest{cfg: cfg, ready: make(chan struct{})}
	g.tell(errors.New("not started yet"))
	if cfg.Kubeconfig == "" {
		return nil, errors.New("cannot use the configuration: kubeconfig is empty: name the file that says where the API server is")
	}
	if _, err := listenAddress(cfg.HealthListen); err != nil {
		return nil, fmt.Errorf("cannot use the configuration: health-%w", err)
	}
	return g, nil
}

// Ready is closed once /readyz answers ok: everything is installed and in force.
func (g *Guest) Ready() <-chan struct{} { return g.ready }

// HealthURL is where /readyz and the others are. Valid once Ready.
func (g *Guest) HealthURL() string { return g.health }

// Run works until the context ends. It returns nil for a stop that was asked
// for.
func (g *Guest) Run(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", g.cfg.Kubeconfig)
	if err != nil {
		return fmt.Errorf("cannot read the kubeconfig: %w", err)
	}
	config.QPS = -1 // the API server meters its clients itself
	config = rest.AddUserAgent(config, "ringfence-server")
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", g.cfg.HealthListen)
	if err != nil {
		return fmt.Errorf("cannot listen for health checks: %w", err)
	}
	g.health = "http://" + listener.Addr().String()
	g.cfg.Log.Info("starting", "url", config.Host, "health", g.health)
	server := &http.Server{Handler: g.handler(), ReadHeaderTimeout: headerTimeout}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("cannot serve health checks: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	group.Go(func() error { return g.work(ctx, config) })
	if err := group.Wait(); err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled)) {
		return err
	}
	return nil
}

// work installs what is ours, then runs the controllers while elected.
func (g *Guest) work(ctx context.Context, config *rest.Config) error {
	install, err := newInstaller(g.cfg.CRDs, g.cfg.Log, config)
	if err != nil {
		return err
	}
	install.guest = true
	lock, err := newLease(config)
	if err != nil {
		return err
	}
	if err := install.untilDone(ctx, g.tell); err != nil {
		return err
	}
	g.tell(nil)
	g.cfg.Log.Info("ready", "url", config.Host)
	close(g.ready)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return install.keep(ctx) })
	group.Go(func() error {
		return elect(ctx, lock, func(ctx context.Context) error { return runAll(ctx, g.cfg.Controllers, config) })
	})
	return group.Wait()
}

// tell says why the guest is not ready, or with nil that it is. What is new is
// logged: with no rights it may stay so for long.
func (g *Guest) tell(err error) {
	before := g.pending.Swap(&err)
	if err != nil && before != nil && (*before == nil || (*before).Error() != err.Error()) {
		g.cfg.Log.Info("not ready", "why", err.Error())
	}
}

func (g *Guest) handler() http.Handler {
	gatherers := prometheus.Gatherers{legacyregistry.DefaultGatherer}
	if g.cfg.Metrics != nil {
		gatherers = append(gatherers, g.cfg.Metrics)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherers, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { say(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { say(w, *g.pending.Load()) })
	return mux
}

func say(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}
