package controlplane

import (
	"path/filepath"
	"testing"

	"k8s.io/utils/clock"
)

// StoreForTest starts an etcd of its own, and returns the settings of a server
// that uses it. The certificates of both are below the folder.
func StoreForTest(t *testing.T, dir string) Config {
	t.Helper()
	store, err := startEtcd(t.Context(), &Config{DataDir: dir}, load(t, filepath.Join(dir, "pki"), clock.RealClock{}.Now()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.close)
	return Config{EtcdServers: store.servers, EtcdCAFile: store.caFile, EtcdCertFile: store.certFile, EtcdKeyFile: store.keyFile}
}
