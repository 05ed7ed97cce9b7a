// Package testenv gives tests a real control plane in their own process: real
// validation, policies, roles and watches, on a port and in a folder of its own.
// Nothing is mocked and nothing has to be downloaded.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"ringfence.dev/ringfence/internal/controlplane"
)

// startWithin is ten times what a start takes on two busy cores.
const startWithin = 90 * time.Second

// An Env is a control plane that runs.
type Env struct {
	// URL is where it listens.
	URL string
	// DataDir holds its certificates and its objects.
	DataDir string
	// Admin connects as the user of admin.kubeconfig, Controllers as the
	// controllers. Copy them before you change them.
	Admin, Controllers *rest.Config
	// Startup is the time from Run to ready.
	Startup time.Duration

	cancel  context.CancelFunc
	stopped chan error
}

// Start runs a control plane until the test ends. A config without a folder
// gets a new one, and without an address a port of the kernel's choice.
func Start(t *testing.T, cfg controlplane.Config) *Env {
	t.Helper()
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	env, err := start(context.WithoutCancel(t.Context()), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	return env
}

// Main runs the tests of a package on one control plane that they share, and
// returns the exit code. A test keeps to a namespace of its own.
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Main(m, cfg, &env)) }
func Main(m *testing.M, cfg controlplane.Config, into **Env) int {
	code, err := shared(m, cfg, into)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func shared(m *testing.M, cfg controlplane.Config, into **Env) (code int, err error) {
	// Kubernetes says a thousand lines a start; a failed test should be found.
	klog.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	ctrl.SetLogger(logr.Discard()) // each manager has its own
	if slices.ContainsFunc(os.Args, func(arg string) bool { return strings.HasPrefix(arg, "-test.list") }) {
		return m.Run(), nil // it only names the tests
	}
	cfg.DataDir, err = os.MkdirTemp("", "ringfence-testenv-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cfg.DataDir)) }()
	env, err := start(context.Background(), cfg) //nolint:forbidigo // TestMain has no context
	if err != nil {
		return 0, err
	}
	*into = env
	code = m.Run()
	return code, env.Stop()
}

func start(ctx context.Context, cfg controlplane.Config) (*Env, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	server, err := controlplane.New(cfg)
	if err != nil {
		return nil, err
	}
	watch := clock.RealClock{} // for a figure to print; nothing decides by it
	began := watch.Now()
	ctx, cancel := context.WithCancel(ctx)
	env := &Env{DataDir: cfg.DataDir, cancel: cancel, stopped: make(chan error, 1)}
	go func() { env.stopped <- server.Run(ctx) }()
	late := time.NewTimer(startWithin)
	defer late.Stop()
	select {
	case <-server.Ready():
		env.Startup = watch.Since(began)
		env.URL, env.Admin, env.Controllers = server.URL(), server.AdminClient(), server.ControllersClient()
		return env, nil
	case err := <-env.stopped:
		cancel()
		return nil, fmt.Errorf("cannot start the control plane: %w", err)
	case <-late.C:
		return nil, errors.Join(fmt.Errorf("cannot start the control plane within %s", startWithin), env.Stop())
	}
}

// Stop ends the control plane and returns what Run returned. Only the first
// call does anything.
func (e *Env) Stop() error {
	e.cancel()
	err, first := <-e.stopped
	if !first {
		return nil
	}
	close(e.stopped)
	return err
}
