package controlplane_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/internal/controlplane"
)

var ha = flag.Bool("ha", false, "run TestHA: three etcd members and two servers as processes")

// What a process of this test is, when it is not the test itself.
const (
	asEtcd   = "RINGFENCE_TEST_ETCD"
	asServer = "RINGFENCE_TEST_SERVER"
)

// act plays another part than the test's, if this process was started for it.
func act() (acted bool) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM) //nolint:forbidigo // TestMain has no context
	defer stop()
	var err error
	switch {
	case os.Getenv(asEtcd) != "":
		err = runEtcd(ctx, os.Getenv(asEtcd))
	case os.Getenv(asServer) != "":
		err = runServer(ctx, os.Getenv(asServer))
	default:
		return false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return true
}

// A member is one etcd of a cluster.
type member struct {
	Name, Dir, Client, Peer, Cluster string
	PKI                              string
}

func runEtcd(ctx context.Context, text string) error {
	var m member
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return err
	}
	file := func(name string) string { return filepath.Join(m.PKI, name) }
	tls := transport.TLSInfo{
		CertFile: file("etcd-server.crt"), KeyFile: file("etcd-server.key"), ClientCertFile: file("etcd-client.crt"), ClientKeyFile: file("etcd-client.key"),
		TrustedCAFile: file("etcd-ca.crt"), ClientCertAuth: true,
	}
	at := func(address string) []url.URL { return []url.URL{{Scheme: "https", Host: address}} }
	c := embed.NewConfig()
	c.Name, c.Dir, c.InitialCluster, c.LogLevel = m.Name, m.Dir, m.Cluster, "error"
	c.ListenClientUrls, c.AdvertiseClientUrls, c.ClientTLSInfo = at(m.Client), at(m.Client), tls
	c.ListenPeerUrls, c.AdvertisePeerUrls, c.PeerTLSInfo = at(m.Peer), at(m.Peer), tls
	e, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	defer e.Close()
	select {
	case err := <-e.Err():
		return err
	case <-ctx.Done():
		return nil
	}
}

const ticks = "ticks"

// runServer runs a server whose only controller counts in an object, as whoever
// it is, without a look at who else does: two of them would show.
func runServer(ctx context.Context, text string) error {
	var cfg controlplane.Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	cfg.CRDs = config().CRDs
	cfg.Controllers = []controlplane.Controller{func(ctx context.Context, _ *rest.Config) error {
		// The controllers' own user may not write ConfigMaps; the administrator may.
		file, err := clientcmd.BuildConfigFromFlags("", filepath.Join(cfg.DataDir, controlplane.AdminKubeconfig))
		if err != nil {
			return err
		}
		file.QPS = -1
		admin, err := kubernetes.NewForConfig(file)
		if err != nil {
			return err
		}
		return wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			tick(ctx, admin, cfg.DataDir)
			return false, nil
		})
	}}
	s, err := controlplane.New(cfg)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// tick writes one tick; what fails is tried with the next one.
func tick(ctx context.Context, c kubernetes.Interface, by string) {
	maps := c.CoreV1().ConfigMaps("default")
	have, err := maps.Get(ctx, ticks, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, _ = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: ticks}}, metav1.CreateOptions{})
		return
	}
	if err != nil {
		return
	}
	n, _ := strconv.Atoi(have.Data["n"])
	have.Data = map[string]string{"n": strconv.Itoa(n + 1), "by": by}
	have.ResourceVersion = "" // whatever is there now
	_, _ = maps.Update(ctx, have, metav1.UpdateOptions{})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// spawn runs this binary in another part, until the test ends or it is killed.
func spawn(t *testing.T, part string, settings any) (kill func()) {
	t.Helper()
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), part+"="+string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := os.CreateTemp(t.TempDir(), "said-")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		text, _ := os.ReadFile(said.Name())
		if t.Failed() {
			t.Logf("%s said: %s", part, text[max(0, len(text)-2000):])
		}
	})
	t.Cleanup(kill)
	return kill
}

// A writer writes through the first server, or where that fails through the
// other, and keeps what was acknowledged and the longest time without.
type writer struct {
	servers []kubernetes.Interface

	mu      sync.Mutex
	acked   int
	longest time.Duration
}

func (w *writer) run(ctx context.Context) {
	last, at := clock.RealClock{}.Now(), 0
	for n := 0; ctx.Err() == nil; {
		one, cancel := context.WithTimeout(ctx, time.Second)
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("write-%d", n)}}
		_, err := w.servers[at%len(w.servers)].CoreV1().ConfigMaps("default").Create(one, object, metav1.CreateOptions{})
		cancel()
		if err != nil && !apierrors.IsAlreadyExists(err) { // it may have been done, and the answer lost
			at++
			continue
		}
		n, at = n+1, 0
		w.mu.Lock()
		now := clock.RealClock{}.Now()
		w.acked, w.longest, last = n, max(w.longest, now.Sub(last)), now
		w.mu.Unlock()
	}
}

// gap returns the longest time between two acknowledged writes since the last
// call, and how many there are by now.
func (w *writer) gap() (time.Duration, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	longest := w.longest
	w.longest = 0
	return longest, w.acked
}

// TestHA kills one of three etcd members and one of two servers: writes go on,
// and the controllers go over to the other server without working twice.
func TestHA(t *testing.T) {
	if !*ha {
		t.Skip("five processes for half a minute; make ha runs it")
	}
	pki := t.TempDir()
	controlplane.StoreForTest(t, pki) // for its certificates
	pki = filepath.Join(pki, "pki")
	var members [3]member
	cluster := ""
	for i := range members {
		members[i] = member{Name: fmt.Sprintf("m%d", i), Dir: t.TempDir(), Client: freeAddress(t), Peer: freeAddress(t), PKI: pki}
		cluster += fmt.Sprintf("%s=https://%s,", members[i].Name, members[i].Peer)
	}
	var killEtcd, killServer []func()
	var urls []string
	for _, m := range members {
		m.Cluster = cluster[:len(cluster)-1]
		killEtcd = append(killEtcd, spawn(t, asEtcd, m))
		urls = append(urls, "https://"+m.Client)
	}
	w := &writer{}
	var dirs []string
	for range 2 {
		dir := t.TempDir()
		if err := os.CopyFS(filepath.Join(dir, "pki"), os.DirFS(pki)); err != nil {
			t.Fatal(err)
		}
		killServer = append(killServer, spawn(t, asServer, controlplane.Config{
			DataDir: dir, Listen: freeAddress(t), EtcdServers: urls,
			EtcdCAFile: filepath.Join(pki, "etcd-ca.crt"), EtcdCertFile: filepath.Join(pki, "etcd-client.crt"), EtcdKeyFile: filepath.Join(pki, "etcd-client.key"),
		}))
		within(t, "a server is ready", func(ctx context.Context) (bool, error) {
			if _, err := os.Stat(filepath.Join(dir, controlplane.AdminKubeconfig)); err != nil {
				return false, nil //nolint:nilerr // not yet
			}
			return readyz(ctx, t, kubeconfig(t, dir)) == "ok", nil
		})
		w.servers = append(w.servers, client(t, kubeconfig(t, dir)))
		dirs = append(dirs, dir)
	}
	if t.Failed() {
		t.FailNow()
	}
	second := w.servers[1]
	by := func() string {
		m, err := second.CoreV1().ConfigMaps("default").Get(t.Context(), ticks, metav1.GetOptions{})
		if err != nil {
			return ""
		}
		return m.Data["by"]
	}
	within(t, "the first server's controllers work", func(context.Context) (bool, error) { return by() == dirs[0], nil })

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	history := follow(ctx, t, second)
	var done sync.WaitGroup
	done.Go(func() { w.run(ctx) })
	more := func(what string) {
		t.Helper()
		_, have := w.gap()
		within(t, "writes go on", func(context.Context) (bool, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.acked >= have+1000, nil
		})
		longest, n := w.gap()
		t.Logf("%s: the longest time without an acknowledged write is %s (%d writes so far)", what, longest.Round(time.Millisecond), n)
	}
	more("all there")
	for i, kill := range killEtcd[:1] {
		kill()
		more(fmt.Sprintf("etcd member %d killed", i))
	}
	began := clock.RealClock{}.Now()
	killServer[0]()
	more("and the server that leads killed")
	within(t, "the second server's controllers work", func(context.Context) (bool, error) { return by() == dirs[1], nil })
	t.Logf("the controllers work again %s after the kill", clock.RealClock{}.Since(began).Round(time.Millisecond))
	more("and the controllers on the other server")
	cancel()
	done.Wait()

	_, acked := w.gap()
	for n := range acked {
		if _, err := second.CoreV1().ConfigMaps("default").Get(t.Context(), fmt.Sprintf("write-%d", n), metav1.GetOptions{}); err != nil {
			t.Errorf("an acknowledged write is lost: %v", err)
		}
	}
	history(dirs)
}

// follow watches the ticks. The returned function ends that, and wants each
// number once, and the two servers one after the other.
func follow(ctx context.Context, t *testing.T, c kubernetes.Interface) func(dirs []string) {
	t.Helper()
	watching, err := c.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + ticks})
	if err != nil {
		t.Fatal(err)
	}
	type seen struct {
		n  int
		by string
	}
	var all []seen
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range watching.ResultChan() {
			if m, ok := event.Object.(*corev1.ConfigMap); ok {
				n, _ := strconv.Atoi(m.Data["n"])
				all = append(all, seen{n, m.Data["by"]})
			}
		}
	}()
	return func(dirs []string) {
		t.Helper()
		watching.Stop()
		<-done
		changes := 0
		for i := 1; i < len(all); i++ {
			if all[i].n != all[i-1].n+1 {
				t.Errorf("after tick %d of %s comes %d of %s: a tick was done twice or lost", all[i-1].n, all[i-1].by, all[i].n, all[i].by)
			}
			if all[i].by != all[i-1].by {
				changes++
			}
		}
		if changes != 1 || all[0].by != dirs[0] || all[len(all)-1].by != dirs[1] {
			t.Errorf("the controllers changed places %d times, want once", changes)
		}
		t.Logf("%d ticks, each once, by one server and then the other", len(all))
	}
}
