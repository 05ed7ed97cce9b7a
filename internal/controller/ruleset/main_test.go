package ruleset_test

import (
	"os"
	"testing"

	"ringfence.dev/ringfence/api/crds"
	"ringfence.dev/ringfence/internal/controlplane"
	"ringfence.dev/ringfence/internal/testenv"
)

// env is the control plane that the tests of this package share.
var env *testenv.Env

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, controlplane.Config{CRDs: crds.Files}, &env))
}
