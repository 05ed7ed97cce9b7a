package scale_test

import (
	"bufio"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
)

var (
	program  = flag.String("scale.server", "", "the ringfence-server to measure; nothing is measured without")
	hosts    = flag.Int("scale.hosts", 10_000, "how many hosts there are")
	groups   = flag.Int("scale.groups", 200, "how many groups, one of which all hosts wear")
	watchers = flag.Int("scale.watchers", 1_000, "how many agents watch")
)

const (
	namespace = "scale"
	// rulesEach is how many rules each group has.
	rulesEach = 20
	// streams is how many watches share a connection; the server allows 250.
	streams = 100
)

// A rig is a server with its clients.
type rig struct {
	*testing.T
	dataDir    string
	process    *exec.Cmd
	config     *rest.Config
	scheme     *runtime.Scheme
	admin      client.Client
	controller client.Client
	clock      clock.RealClock
}

// TestScale prints figures; it asserts none.
func TestScale(t *testing.T) {
	if *program == "" {
		t.Skip("run make bench-scale: this takes minutes and measures, it asserts nothing")
	}
	r := start(t)
	r.figure("resident memory, no objects", r.memory())
	r.fill()
	r.figure("resident memory, settled", r.memory())
	r.figure("etcd, allocated", r.etcd())

	for _, c := range []struct {
		what, group string
	}{
		{"a rule of a group that 1 set has", groupName(1)},
		{fmt.Sprintf("a rule of a group that all %d sets have", *groups-1), groupName(0)},
		{"the same, once more", groupName(0)},
	} {
		r.ruleChange(c.what, c.group)
	}
	r.join()
	r.confirm()
	r.figure("resident memory, in the end", r.memory())
	r.figure("etcd, allocated", r.etcd())
}

func (r *rig) figure(what string, value any) { r.Logf("FIGURE %-75s %v", what, value) }

// start runs a server until the test ends.
func start(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, dataDir: t.TempDir(), scheme: runtime.NewScheme()}
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, coordinationv1.AddToScheme} {
		if err := add(r.scheme); err != nil {
			t.Fatal(err)
		}
	}
	r.process = exec.CommandContext(t.Context(), *program, "--data-dir", r.dataDir, "--listen", "127.0.0.1:0")
	r.process.Cancel = func() error { return r.process.Process.Signal(syscall.SIGTERM) }
	r.process.WaitDelay = 30 * time.Second
	out, err := r.process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := r.clock.Now()
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "msg=ready") {
				ready <- true
			}
			if strings.Contains(lines.Text(), "ERROR") && !strings.Contains(lines.Text(), "context canceled") {
				t.Log(lines.Text())
			}
		}
		close(ready)
	}()
	t.Cleanup(func() {
		_ = r.process.Cancel()
		for range ready {
		}
		_ = r.process.Wait() // it was told to end
	})
	if !<-ready {
		t.Fatal("the server ended before it was ready")
	}
	r.figure("exec to ready", r.clock.Since(began).Round(time.Millisecond))
	r.config, err = clientcmd.BuildConfigFromFlags("", filepath.Join(r.dataDir, "admin.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	r.config.QPS = -1
	r.admin = r.client(r.config)
	own := rest.CopyConfig(r.config)
	own.CertFile, own.KeyFile = filepath.Join(r.dataDir, "pki", "controllers.crt"), filepath.Join(r.dataDir, "pki", "controllers.key")
	own.CertData, own.KeyData = nil, nil
	r.controller = r.client(own)
	return r
}

func (r *rig) client(config *rest.Config) client.Client {
	r.Helper()
	c, err := client.New(config, client.Options{Scheme: r.scheme})
	if err != nil {
		r.Fatal(err)
	}
	return c
}

func groupName(n int) string { return fmt.Sprintf("group-%d", n) }
func hostName(n int) string  { return fmt.Sprintf("node-%d", n) }

// setOf is what host n wears: the group of all, and one of the others.
func setOf(n int) []string { return []string{groupName(0), groupName(1 + n%(*groups-1))} }

// fill makes groups and hosts, and waits until all that follows from them is
// there.
func (r *rig) fill() {
	r.Helper()
	ctx := r.Context()
	if err := r.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		r.Fatal(err)
	}
	vpc := &v1alpha1.VPC{ObjectMeta: metav1.ObjectMeta{Name: "prod", Namespace: namespace}, Spec: v1alpha1.VPCSpec{CIDRBlock: "10.0.0.0/8"}}
	if err := r.admin.Create(ctx, vpc); err != nil {
		r.Fatal(err)
	}
	before, began := r.writes(), r.clock.Now()
	r.each(*groups, func(n int) error {
		g := &v1alpha1.SecurityGroup{ObjectMeta: metav1.ObjectMeta{Name: groupName(n), Namespace: namespace}}
		g.Spec.VPCName, g.Spec.Type = "prod", v1alpha1.GroupTypeAdvanced // a basic one has at most 6,000 members
		for i := range rulesEach {
			g.Spec.Ingress = append(g.Spec.Ingress, v1alpha1.Rule{
				Protocol: intstr.FromString("TCP"), Ports: fmt.Sprintf("%d/%d", 1000+i, 1000+i),
				Peer: v1alpha1.Peer{CIDR: fmt.Sprintf("10.%d.%d.0/24", n%250, i)},
			})
		}
		return r.admin.Create(ctx, g)
	})
	r.each(*hosts, func(n int) error { return r.admin.Create(ctx, hostOf(n)) })
	made := r.clock.Now()
	defer r.agentsLive(ctx)
	r.figure(fmt.Sprintf("making %d groups and %d hosts", *groups, *hosts), made.Sub(began).Round(time.Millisecond))
	r.wait("all members and sets", func(ctx context.Context) bool {
		var list v1alpha1.AddressSliceList
		var rollouts v1alpha1.RolloutList
		if r.admin.List(ctx, &list, client.InNamespace(namespace)) != nil || r.admin.List(ctx, &rollouts, client.InNamespace(namespace)) != nil {
			return false
		}
		members := 0
		for i := range list.Items {
			members += len(list.Items[i].Spec.Members)
		}
		return members == 2**hosts && len(rollouts.Items) == *groups-1
	})
	r.figure("from the last host to the last Rollout and AddressSlice", r.clock.Since(made).Round(time.Millisecond))
	r.figure("writes, all in all", r.writes().minus(before))
}

// agentsLive makes the Leases of all hosts. Nobody renews them: for a minute
// after the server has seen them the hosts are there.
func (r *rig) agentsLive(ctx context.Context) {
	r.Helper()
	r.each(*hosts, func(n int) error {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: hostName(n), Namespace: namespace}}
		lease.Spec.RenewTime = &metav1.MicroTime{Time: r.clock.Now().Add(time.Hour)}
		return r.controller.Create(ctx, lease)
	})
}

func hostOf(n int) *v1alpha1.Host {
	return &v1alpha1.Host{
		ObjectMeta: metav1.ObjectMeta{Name: hostName(n), Namespace: namespace},
		Spec: v1alpha1.HostSpec{
			Addresses: []string{fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255)}, SecurityGroupNames: setOf(n),
		},
	}
}

// each calls do for 0 to n-1, sixteen at a time.
func (r *rig) each(n int, do func(int) error) {
	r.Helper()
	var group errgroup.Group
	group.SetLimit(16)
	for i := range n {
		group.Go(func() error { return do(i) })
	}
	if err := group.Wait(); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) wait(what string, done func(context.Context) bool) {
	r.Helper()
	err := wait.PollUntilContextTimeout(r.Context(), 50*time.Millisecond, 5*time.Minute, true,
		func(ctx context.Context) (bool, error) { return done(ctx), nil })
	if err != nil {
		r.Fatalf("no %s: %v", what, err)
	}
}

// ruleChange changes a rule, and measures until the last of the agents whose
// hosts wear the group has the new Ruleset.
func (r *rig) ruleChange(what, group string) {
	r.Helper()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	agents := r.agents(ctx)
	waiting := 0
	for _, a := range agents {
		if a.wears(group) {
			waiting++
		}
	}
	var g v1alpha1.SecurityGroup
	if err := r.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: group}, &g); err != nil {
		r.Fatal(err)
	}
	n := 2000 + rand.IntN(60_000)
	g.Spec.Ingress[0].Ports = fmt.Sprintf("%d/%d", n, n)
	before, began := r.writes(), r.clock.Now()
	if err := r.admin.Update(ctx, &g); err != nil {
		r.Fatal(err)
	}
	var first, last, fetched time.Duration
	r.wait("news for all agents", func(context.Context) bool {
		first, last, fetched = 0, 0, 0
		done := 0
		for _, a := range agents {
			told, has := a.told.Load(), a.has.Load()
			if !a.wears(group) || told == nil || has == nil {
				continue
			}
			done++
			if d := told.Sub(began); first == 0 || d < first {
				first = d
			}
			last, fetched = max(last, told.Sub(began)), max(fetched, has.Sub(began))
		}
		return done == waiting
	})
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	r.figure(fmt.Sprintf("%s: first, last of %d watchers of %d, last Ruleset fetched", what, waiting, len(agents)),
		fmt.Sprint(ms(first), " ", ms(last), " ", ms(fetched)))
	r.figure(what+": writes", r.writes().minus(before))
	r.figure("resident memory, with the watchers", r.memory())
}

// An agent watches the Rollout of its host's set, and fetches the Ruleset.
type agent struct {
	number int
	// told is when the watch told of another Ruleset, has when it was there.
	told, has atomic.Pointer[time.Time]
}

func (a *agent) wears(group string) bool {
	set := setOf(a.number)
	return set[0] == group || set[1] == group
}

// agents starts watches and returns when all are open.
func (r *rig) agents(ctx context.Context) []*agent {
	r.Helper()
	agents := make([]*agent, *watchers)
	clients := make([]client.WithWatch, (*watchers+streams-1)/streams)
	for i := range clients {
		own := rest.CopyConfig(r.config)
		// A dialler of its own keeps it from sharing the others' connection.
		own.Dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
		c, err := client.NewWithWatch(own, client.Options{Scheme: r.scheme})
		if err != nil {
			r.Fatal(err)
		}
		clients[i] = c
	}
	var open sync.WaitGroup
	for i := range agents {
		agents[i] = &agent{number: i}
		open.Add(1)
		go agents[i].run(ctx, clients[i/streams], r.clock, sync.OnceFunc(open.Done))
	}
	open.Wait()
	return agents
}

func (a *agent) run(ctx context.Context, c client.WithWatch, now clock.Clock, opened func()) {
	var list v1alpha1.RolloutList
	w, err := c.Watch(ctx, &list, client.InNamespace(namespace),
		client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", convert.RolloutName(setOf(a.number)))})
	if err != nil {
		return // the test waits in vain and says so
	}
	defer w.Stop()
	newest := ""
	for event := range w.ResultChan() {
		rollout, ok := event.Object.(*v1alpha1.Rollout)
		if !ok || newestOf(rollout) == newest {
			continue
		}
		news := newest != ""
		newest = newestOf(rollout)
		if !news {
			opened()
			continue
		}
		told := now.Now()
		a.told.Store(&told)
		var ruleset v1alpha1.Ruleset
		if c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: newest}, &ruleset) == nil {
			has := now.Now()
			a.has.Store(&has)
		}
	}
}

// newestOf names the candidate, or the stable Ruleset if there is none. Every
// watcher fetches it as soon as it is told, chosen or not: what is measured is
// the delivery.
func newestOf(r *v1alpha1.Rollout) string {
	return cmp.Or(r.Spec.CandidateRulesetName, r.Spec.StableRulesetName)
}

// join makes one host more, and measures until it is a member.
func (r *rig) join() {
	r.Helper()
	before, began := r.writes(), r.clock.Now()
	if err := r.admin.Create(r.Context(), hostOf(*hosts)); err != nil {
		r.Fatal(err)
	}
	r.wait("member", func(ctx context.Context) bool {
		var list v1alpha1.AddressSliceList
		if r.admin.List(ctx, &list, client.InNamespace(namespace)) != nil {
			return false
		}
		found := 0
		for i := range list.Items {
			for _, m := range list.Items[i].Spec.Members {
				if m.HostName == hostName(*hosts) {
					found++
				}
			}
		}
		return found == 2
	})
	r.figure("a host joins two groups, until both have it (folded for 1 s)", r.clock.Since(began).Round(time.Millisecond))
	r.figure("a host joins: writes", r.writes().minus(before))
}

// confirm has every host say that it runs its newest Ruleset.
func (r *rig) confirm() {
	r.Helper()
	newest := map[string]string{}
	var rollouts v1alpha1.RolloutList
	if err := r.admin.List(r.Context(), &rollouts, client.InNamespace(namespace)); err != nil {
		r.Fatal(err)
	}
	for i := range rollouts.Items {
		newest[rollouts.Items[i].Name] = newestOf(&rollouts.Items[i])
	}
	before, began := r.writes(), r.clock.Now()
	r.each(*hosts, func(n int) error {
		text := fmt.Sprintf(`{"status":{"rulesetName":%q,"conditions":[{"type":"Enforced","status":"True","reason":"Confirmed","message":"","lastTransitionTime":%q}]}}`,
			newest[convert.RolloutName(setOf(n))], began.UTC().Format(time.RFC3339))
		h := &v1alpha1.Host{ObjectMeta: metav1.ObjectMeta{Name: hostName(n), Namespace: namespace}}
		return r.controller.Status().Patch(r.Context(), h, client.RawPatch("application/merge-patch+json", []byte(text)))
	})
	r.figure(fmt.Sprintf("%d hosts confirm", *hosts), r.clock.Since(began).Round(time.Millisecond))
	r.figure("all hosts confirm: writes, their own included", r.writes().minus(before))
}

// writes are the answered writes to our kinds.
type writes map[string]int

var counted = regexp.MustCompile(`^apiserver_request_total\{(.*)\} (\S+)$`)

func (r *rig) writes() writes {
	r.Helper()
	out := writes{}
	for line := range strings.SplitSeq(r.get("/metrics"), "\n") {
		m := counted.FindStringSubmatch(line)
		if m == nil || !strings.Contains(m[1], `group="ringfence.dev"`) {
			continue
		}
		label := func(name string) string {
			_, after, _ := strings.Cut(m[1], name+`="`)
			value, _, _ := strings.Cut(after, `"`)
			return value
		}
		verb := label("verb")
		if verb == "GET" || verb == "LIST" || verb == "WATCH" {
			continue
		}
		what := label("resource")
		if sub := label("subresource"); sub != "" {
			what += "/" + sub
		}
		n, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			r.Fatal(err)
		}
		out[verb+" "+what] += int(n)
	}
	return out
}

func (w writes) minus(before writes) string {
	var list []string
	for what, n := range w {
		if n -= before[what]; n > 0 {
			list = append(list, fmt.Sprintf("%d %s", n, what))
		}
	}
	return strings.Join(list, ", ")
}

func (r *rig) get(path string) string {
	r.Helper()
	c, err := rest.HTTPClientFor(r.config)
	if err != nil {
		r.Fatal(err)
	}
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, r.config.Host+path, nil)
	if err != nil {
		r.Fatal(err)
	}
	answer, err := c.Do(request)
	if err != nil {
		r.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		r.Fatal(err)
	}
	return string(text)
}

// memory is the resident memory of the server.
func (r *rig) memory() string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.process.Process.Pid))
	if err != nil {
		return err.Error()
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	kib, _ := strconv.Atoi(strings.Fields(after)[0])
	return fmt.Sprintf("%d MB", kib/1024)
}

// etcd is the size of the file that holds everything.
func (r *rig) etcd() string {
	size := int64(0)
	_ = filepath.WalkDir(r.dataDir, func(_ string, d os.DirEntry, err error) error {
		if info, e := d.Info(); err == nil && e == nil && d.Name() == "db" {
			size += info.Size()
		}
		return nil
	})
	return fmt.Sprintf("%d MB", size>>20)
}
