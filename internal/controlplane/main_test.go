package controlplane_test

import (
	"os"
	"testing"

	"ringfence.dev/ringfence/internal/controlplane"
	"ringfence.dev/ringfence/internal/testenv"
)

// env is the control plane that the tests of this package share.
var env *testenv.Env

func TestMain(m *testing.M) {
	if act() {
		return
	}
	os.Exit(testenv.Main(m, config(), &env))
}

// config has the three kinds that the policies look into, with any content.
func config() controlplane.Config {
	return controlplane.Config{CRDs: os.DirFS("testdata/crds")}
}
