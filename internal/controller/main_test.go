package controller_test

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/api/crds"
	"ringfence.dev/ringfence/internal/controller"
	"ringfence.dev/ringfence/internal/controlplane"
	"ringfence.dev/ringfence/internal/testenv"
)

// env is the control plane with all controllers that the tests of this package
// share. Each test keeps to a namespace of its own.
var env *testenv.Env

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, config(), &env))
}

func config() controlplane.Config {
	log := logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	return controlplane.Config{CRDs: crds.Files, Controllers: []controlplane.Controller{
		func(ctx context.Context, config *rest.Config) error { return controller.Run(ctx, config, log) },
	}}
}
