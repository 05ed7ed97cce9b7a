package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

var (
	kills = flag.Int("crash.kills", 5, "how often TestCrash kills the server")
	seed  = flag.Uint64("crash.seed", 1, "decides when")
)

const writers = 4

// A ledger is what writers were promised: for each object its last value that
// the server acknowledged, and the last one that it was asked to write.
type ledger struct {
	mu           sync.Mutex
	acked, asked map[string]int
	total        atomic.Int64
}

func newLedger() *ledger { return &ledger{acked: map[string]int{}, asked: map[string]int{}} }

func (l *ledger) set(in map[string]int, name string, value int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in[name] = value
}

// write creates objects and counts in them until the server is gone.
func (l *ledger) write(ctx context.Context, maps typed.ConfigMapInterface, name string) {
	for n := 0; ctx.Err() == nil; n++ {
		object := fmt.Sprintf("%s-%d", name, n/10)
		count := n%10 + 1
		content := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: object}, Data: map[string]string{"count": strconv.Itoa(count)}}
		l.set(l.asked, object, count)
		var err error
		if count == 1 {
			_, err = maps.Create(ctx, content, metav1.CreateOptions{})
		} else {
			_, err = maps.Update(ctx, content, metav1.UpdateOptions{})
		}
		if err != nil {
			return
		}
		l.set(l.acked, object, count)
		l.total.Add(1)
	}
}

// check wants everything back that was acknowledged. More than that may be
// there: the last write of each writer, which nobody has confirmed.
func (l *ledger) check(t *testing.T, c kubernetes.Interface) {
	t.Helper()
	list, err := c.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]int{}
	for _, m := range list.Items {
		if have[m.Name], err = strconv.Atoi(m.Data["count"]); err != nil {
			t.Errorf("%s has %q", m.Name, m.Data["count"])
		}
	}
	for name, want := range maps.Clone(l.acked) {
		if got, ok := have[name]; !ok || got < want || got > l.asked[name] {
			t.Errorf("%s: %d was acknowledged and at most %d asked for, %d is there (found: %t)", name, want, l.asked[name], got, ok)
		}
	}
}

// load writes with all writers until stop, and returns how to wait for them.
func (l *ledger) load(ctx context.Context, c kubernetes.Interface, round int) (done func()) {
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() { l.write(ctx, c.CoreV1().ConfigMaps("default"), fmt.Sprintf("r%d-w%d", round, w)) })
	}
	return all.Wait
}

func ringfence(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "ringfence.dev", Version: "v1alpha1", Resource: resource}
}

const usedGroup = `
- {kind: VPC, metadata: {name: prod}, spec: {cidrBlock: 192.168.0.0/16, subnets: [{name: a, cidrBlock: 192.168.0.0/19, zone: a}]}}
- {kind: SecurityGroup, metadata: {name: own}, spec: {vpcName: prod, type: Basic, innerAccess: Accept}}
- kind: Cluster
  metadata: {name: shop}
  spec:
    vpcName: prod
    network: {mode: Flannel, nodeSubnets: [a], podCIDRs: [172.20.0.0/16], serviceCIDRs: [172.21.0.0/20]}
    apiServer: {addresses: [192.168.0.200], port: 6443}
    securityGroup: {name: own}
`

// useGroup makes a group that a cluster uses.
func useGroup(t *testing.T, config *rest.Config) {
	t.Helper()
	var list []map[string]any
	if err := yaml.Unmarshal([]byte(usedGroup), &list); err != nil {
		t.Fatal(err)
	}
	for _, content := range list {
		o := &unstructured.Unstructured{Object: content}
		o.SetAPIVersion("ringfence.dev/v1alpha1")
		if _, err := objects(config).Resource(ringfence(strings.ToLower(o.GetKind())+"s")).Namespace("default").Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// stays tries to delete the used group; whatever the server answers, it must
// not have done it. It returns the answer.
func stays(t *testing.T, config *rest.Config) error {
	t.Helper()
	err := objects(config).Resource(ringfence("securitygroups")).Namespace("default").Delete(t.Context(), "own", metav1.DeleteOptions{})
	if err == nil || apierrors.IsNotFound(err) {
		t.Fatalf("the group of a cluster was deleted: %v", err)
	}
	return err
}

// TestCrash kills the server under load, again and again: what it has
// acknowledged is there afterwards, and so is the protection of a used group,
// from the first request on that it answers.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("each kill takes seconds")
	}
	dice := rand.New(rand.NewPCG(*seed, 0))
	dir, l := t.TempDir(), newLedger()
	server := launch(t, dir)
	config := server.ready(t, nil)
	useGroup(t, config)
	for round := range *kills {
		c := kubernetes.NewForConfigOrDie(config)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		done := l.load(ctx, c, round)
		enough := l.total.Load() + 20 + dice.Int64N(200)
		err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, patience, true, func(context.Context) (bool, error) { return l.total.Load() >= enough, nil })
		if err != nil {
			t.Fatalf("no load: %v", err)
		}
		server.kill()
		done()
		cancel()
		server = launch(t, dir)
		config = server.ready(t, func(config *rest.Config) { _ = stays(t, config) })
		if err := stays(t, config); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "security group own") {
			t.Errorf("kill %d: want the protection's own words, got %v", round+1, err)
		}
		l.check(t, kubernetes.NewForConfigOrDie(config))
		if t.Failed() {
			t.Fatalf("kill %d of %d, seed %d", round+1, *kills, *seed)
		}
	}
	t.Logf("%d kills, %d acknowledged writes, none lost", *kills, l.total.Load())
}

// inOwnMounts runs a test once more in a process that may mount, and reports
// whether this is that process.
func inOwnMounts(t *testing.T) bool {
	t.Helper()
	const inside = "RINGFENCE_TEST_OWN_MOUNTS"
	if os.Getenv(inside) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	switch {
	case cmd.Process == nil:
		t.Skipf("this machine lets us have no mounts of our own: %v", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	default:
		t.Logf("%s", out)
	}
	return false
}

// disk mounts a file system of its own, which nobody else sees.
func disk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Skipf("cannot keep mounts to ourselves: %v", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// TestFullDisk: a full disk ends the server, with its name; with room again it
// goes on as if nothing had been.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("takes several starts")
	}
	if !inOwnMounts(t) {
		return
	}
	// etcd reserves two files of 64 MB for its log.
	mount := disk(t, "200m")
	dir, l := filepath.Join(mount, "data"), newLedger()
	server := launch(t, dir)
	config := server.ready(t, nil)
	useGroup(t, config)
	filler := filepath.Join(mount, "filler")
	fill(t, filler)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for round := 0; ; round++ {
		l.load(ctx, kubernetes.NewForConfigOrDie(config), round)()
		select {
		case err := <-server.done:
			if err == nil {
				t.Fatal("a full disk ended the server with exit code 0")
			}
			t.Logf("ended by %v after %d acknowledged writes", err, l.total.Load())
		case <-ctx.Done():
			t.Fatalf("the disk is full, and the server goes on after %d writes", l.total.Load())
		default:
			continue
		}
		break
	}
	for _, part := range []string{"ringfence-server: the embedded etcd in " + dir, "no space left on device", "the disk is full; make room"} {
		if !strings.Contains(server.stderr(), part) {
			t.Errorf("want %q in its last words:\n%s", part, tail(server.stderr()))
		}
	}
	t.Logf("its last words: %s", tail(server.stderr()))
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	config = launch(t, dir).ready(t, nil)
	l.check(t, kubernetes.NewForConfigOrDie(config))
	if err := stays(t, config); !apierrors.IsForbidden(err) {
		t.Error(err)
	}
}

// fill writes until the disk is full, but for the last few pages.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	for {
		if _, err := f.Write(page); err != nil {
			return
		}
	}
}
