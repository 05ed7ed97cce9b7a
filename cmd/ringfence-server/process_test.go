package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"ringfence.dev/ringfence/internal/controlplane"
)

// asServer makes the test's own binary the server: the same code as the
// program's, without a second one to link.
const asServer = "RINGFENCE_TEST_AS_SERVER"

// patience is for what takes some seconds when the machine has nothing else to do.
const patience = 90 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		main()
		return
	}
	logging(slog.LevelError) // the API servers in this process say thousands of lines
	os.Exit(m.Run())
}

// A process is the server as a process of its own.
type process struct {
	dir  string
	cmd  *exec.Cmd
	done chan error
	mu   sync.Mutex
	said bytes.Buffer
}

// Write keeps what the server says.
func (p *process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(text)
}

func (p *process) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// launch starts a server on a folder. It is killed when the test ends.
func launch(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := &process{dir: dir, done: make(chan error, 1)}
	// A kubeconfig from before would lead to the port of before.
	if err := os.Remove(p.kubeconfig()); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	p.cmd = exec.Command(os.Args[0], append([]string{"--data-dir", dir, "--listen", "127.0.0.1:0"}, args...)...)
	p.cmd.Env = append(os.Environ(), asServer+"=1")
	p.cmd.Stderr = p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the server said:\n%s", tail(p.stderr()))
		}
	})
	return p
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

func (p *process) kubeconfig() string { return filepath.Join(p.dir, controlplane.AdminKubeconfig) }

// kill ends the server as a power cut does, and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// connect waits for admin.kubeconfig, which is there before the server listens.
func (p *process) connect(t *testing.T) *rest.Config {
	t.Helper()
	var config *rest.Config
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		select {
		case err := <-p.done:
			return false, fmt.Errorf("the server ended: %w", err)
		default:
		}
		var err error
		config, err = clientcmd.BuildConfigFromFlags("", p.kubeconfig())
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("no admin.kubeconfig: %v\n%s", err, tail(p.stderr()))
	}
	config.QPS = -1
	config.Timeout = 20 * time.Second
	return config
}

// ready waits until /readyz says ok, and calls meanwhile, if given, in between.
func (p *process) ready(t *testing.T, meanwhile func(*rest.Config)) *rest.Config {
	t.Helper()
	config := p.connect(t)
	c := kubernetes.NewForConfigOrDie(config)
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		select {
		case err := <-p.done:
			return false, fmt.Errorf("the server ended: %w", err)
		default:
		}
		if meanwhile != nil {
			meanwhile(config)
		}
		return c.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() == nil, nil
	})
	if err != nil {
		t.Fatalf("not ready: %v\n%s", err, tail(p.stderr()))
	}
	return config
}

func objects(config *rest.Config) dynamic.Interface { return dynamic.NewForConfigOrDie(config) }
