package controlplane

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// TestReplicas runs two servers on one etcd that is neither's.
func TestReplicas(t *testing.T) {
	t.Parallel()
	shared := t.TempDir()
	certs := load(t, filepath.Join(shared, "pki"), clock.RealClock{}.Now())
	store, err := startEtcd(t.Context(), &Config{DataDir: shared}, certs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.close)

	leads := make(chan string, 2)
	replica := func(name string) (stop func() error) {
		dir := t.TempDir()
		if err := os.CopyFS(filepath.Join(dir, "pki"), os.DirFS(filepath.Join(shared, "pki"))); err != nil {
			t.Fatal(err)
		}
		s, err := New(Config{
			DataDir: dir, Listen: "127.0.0.1:0",
			EtcdServers: store.servers, EtcdCAFile: store.caFile, EtcdCertFile: store.certFile, EtcdKeyFile: store.keyFile,
			Controllers: []Controller{func(ctx context.Context, _ *rest.Config) error {
				leads <- name
				<-ctx.Done()
				return nil
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		stop = sync.OnceValue(func() error { cancel(); return <-done })
		t.Cleanup(func() { stop() })
		select {
		case <-s.Ready():
		case err := <-done:
			done <- err
			t.Fatal(err)
		}
		return stop
	}
	stop := replica("a")
	stranger(t, store)
	if got := <-leads; got != "a" {
		t.Fatalf("%s leads, but runs not yet", got)
	}
	replica("b")
	select {
	case got := <-leads:
		t.Fatalf("%s leads too", got)
	default:
	}
	began := clock.RealClock{}.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := <-leads; got != "b" {
		t.Errorf("%s leads after the other has gone", got)
	}
	t.Logf("the other leads %s after the first was told to stop", clock.RealClock{}.Since(began).Round(time.Millisecond))
}

// stranger is a replica that made keys of its own.
func stranger(t *testing.T, store *etcd) {
	t.Helper()
	s, err := New(Config{
		DataDir: t.TempDir(), Listen: "127.0.0.1:0",
		EtcdServers: store.servers, EtcdCAFile: store.caFile, EtcdCertFile: store.certFile, EtcdKeyFile: store.keyFile,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "copy pki/ca.* and pki/sa.* from one of them") {
		t.Errorf("a replica with other keys: want it to end and say what to copy, got %v", err)
	}
}
