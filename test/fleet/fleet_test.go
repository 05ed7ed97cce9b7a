package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/crds"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/controller"
	"ringfence.dev/ringfence/internal/controlplane"
	"ringfence.dev/ringfence/internal/identity"
	"ringfence.dev/ringfence/internal/testenv"
	"ringfence.dev/ringfence/test/netns"
)

// planeAddress is where the machines of every test reach the control plane.
const planeAddress = "10.60.0.2"

const planePort = 6443

var (
	env   *testenv.Env
	agent string // the program
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ringfence-fleet-")
	if err == nil {
		agent = filepath.Join(dir, "ringfence-agent")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", agent, "ringfence.dev/ringfence/cmd/ringfence-agent").CombinedOutput(); err != nil {
			err = fmt.Errorf("cannot build the agent: %w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil { // they wait for most of their time
		fmt.Fprintln(os.Stderr, err)
	}
	code := testenv.Main(m, config(), &env)
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// config is what the control planes of the tests are started with.
func config() controlplane.Config {
	log := logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	return controlplane.Config{
		CRDs: crds.Files, Names: []string{planeAddress},
		Controllers: []controlplane.Controller{
			func(ctx context.Context, config *rest.Config) error { return controller.Run(ctx, config, log) },
		},
	}
}

// A fleet is a network with a control plane in it, and a namespace there.
type fleet struct {
	t         *testing.T
	env       *testenv.Env
	api       client.Client
	namespace string
	lab       *netns.Lab
	lan       *netns.Switch
	plane     *node
	proxy     *proxy
	nodes     map[string]*node
}

// A node is one machine.
type node struct {
	*netns.Machine
	fleet *fleet
	addr  netip.Addr
	state string
	said  *said
	proc  *netns.Process
}

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	out := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// newFleet makes a network with machines at these addresses, and what more adds.
// It skips the test if it may not make namespaces.
func newFleet(t *testing.T, addresses map[string]string, more ...func(*fleet)) *fleet {
	t.Helper()
	return fleetOf(t, env, addresses, more...)
}

// fleetOf is newFleet with a control plane of its own.
func fleetOf(t *testing.T, e *testenv.Env, addresses map[string]string, more ...func(*fleet)) *fleet {
	t.Helper()
	f := apiOf(t, e)
	f.lab, f.nodes = netns.New(), map[string]*node{}
	t.Cleanup(func() {
		if err := f.lab.Close(); err != nil {
			t.Error(err)
		}
	})
	f.lan = f.lab.Switch("lan")
	f.plane = f.machine("plane", planeAddress)
	for name, address := range addresses {
		f.nodes[name] = f.machine(name, address)
	}
	for _, add := range more {
		add(f)
	}
	if err := f.lab.Ready(); errors.Is(err, os.ErrPermission) {
		t.Skipf("needs root, to make network namespaces: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	f.proxy = f.open()
	return f
}

func (f *fleet) machine(name, address string) *node {
	n := &node{Machine: f.lab.Machine(name), fleet: f, addr: netip.MustParseAddr(address), state: filepath.Join(f.t.TempDir(), name)}
	n.Plug(f.lan, "eth0", netip.PrefixFrom(n.addr, 16))
	return n
}

// A proxy lets machines reach the control plane, which runs outside of them.
type proxy struct {
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn
	all      sync.WaitGroup
}

// open lets machines reach the control plane until the test ends.
func (f *fleet) open() *proxy {
	f.t.Helper()
	p := &proxy{}
	err := f.plane.Do(func() error {
		var err error
		p.listener, err = (&net.ListenConfig{}).Listen(f.t.Context(), "tcp", net.JoinHostPort(planeAddress, fmt.Sprint(planePort)))
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	p.all.Go(func() {
		for {
			from, err := p.listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", strings.TrimPrefix(f.env.URL, "https://"))
			if err != nil {
				_ = from.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, from, to)
			p.mu.Unlock()
			for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
				p.all.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					_, _ = pair[0].Close(), pair[1].Close()
				})
			}
		}
	})
	f.t.Cleanup(p.close)
	return p
}

// close takes the control plane away from all machines.
func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.all.Wait()
}

// create makes the objects of a YAML text.
func (f *fleet) create(text string) {
	f.t.Helper()
	for _, o := range f.objects(text) {
		if err := f.api.Create(f.t.Context(), o); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fleet) objects(text string) []client.Object {
	f.t.Helper()
	var out []client.Object
	for doc := range strings.SplitSeq(text, "\n---\n") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		kind := metav1.TypeMeta{}
		f.check(utilyaml.Unmarshal([]byte(doc), &kind))
		made, err := f.api.Scheme().New(kind.GroupVersionKind())
		f.check(err)
		o, ok := made.(client.Object)
		if !ok {
			f.t.Fatalf("%T is no object", made)
		}
		f.check(utilyaml.UnmarshalStrict([]byte(doc), o))
		o.SetNamespace(f.namespace)
		out = append(out, o)
	}
	return out
}

func (f *fleet) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// change changes an object that others write, too.
func change[T client.Object](f *fleet, name string, o T, how func(T)) {
	f.t.Helper()
	testenv.Eventually(f.t, func(ctx context.Context) string {
		if err := f.api.Get(ctx, client.ObjectKey{Namespace: f.namespace, Name: name}, o); err != nil {
			return err.Error()
		}
		how(o)
		if err := f.api.Update(ctx, o); err != nil {
			return err.Error()
		}
		return ""
	})
}

// token makes a join token.
func (f *fleet) token(bound identity.Token) identity.Token {
	f.t.Helper()
	made := identity.NewToken()
	bound.ID, bound.Secret, bound.Expires, bound.Namespace = made.ID, made.Secret, clock.RealClock{}.Now().Add(time.Hour), f.namespace
	f.check(f.api.Create(f.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: identity.TokenNamespace, Name: bound.SecretName()},
		Type:       identity.TokenSecretType, StringData: bound.Data(),
	}))
	return bound
}

// said is what a program says, as it says it.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// run runs the agent on a machine to its end.
func (n *node) run(args ...string) (string, error) {
	n.fleet.t.Helper()
	out := &said{}
	cmd := exec.Command(agent, args...)
	cmd.Stdout, cmd.Stderr = out, out
	err := n.Run(cmd)
	return out.String(), err
}

// joins lets the machine join as the host of the machine's name.
func (n *node) joins(token identity.Token) (string, error) {
	n.fleet.t.Helper()
	return n.run("join", "--server", "https://"+net.JoinHostPort(planeAddress, fmt.Sprint(planePort)), "--token", token.String(),
		"--ca-cert-hash", n.fleet.authority(), "--namespace", n.fleet.namespace, "--name", n.Name, "--state-dir", n.state, "--timeout", "30s")
}

// start starts the agent of a host that has joined.
func (n *node) start(args ...string) {
	n.fleet.t.Helper()
	n.launch(append([]string{agent, "--state-dir", n.state, "--confirm-timeout", "5s"}, args...))
}

// startIn is start by a command that runs another one.
func (n *node) startIn(command ...string) {
	n.fleet.t.Helper()
	n.launch(append(command, agent, "--state-dir", n.state, "--confirm-timeout", "5s"))
}

func (n *node) launch(args []string) {
	n.fleet.t.Helper()
	n.said = &said{}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = n.said, n.said
	var err error
	n.proc, err = n.Start(cmd)
	n.fleet.check(err)
	said := n.said
	n.fleet.t.Cleanup(func() {
		if n.fleet.t.Failed() {
			n.fleet.t.Logf("%s said:\n%s", n.Name, said)
		}
	})
}

// stop ends the agent.
func (n *node) stop(s syscall.Signal) {
	n.fleet.t.Helper()
	n.fleet.check(n.proc.Signal(s))
	_ = n.proc.Wait() // it was told to end
}

// comes joins and starts.
func (n *node) comes() {
	n.fleet.t.Helper()
	if out, err := n.joins(n.fleet.token(identity.Token{HostName: n.Name})); err != nil {
		n.fleet.t.Fatalf("%v\n%s", err, out)
	}
	n.start()
}

func (n *node) host(ctx context.Context) (*v1alpha1.Host, error) {
	h := &v1alpha1.Host{}
	err := n.fleet.api.Get(ctx, client.ObjectKey{Namespace: n.fleet.namespace, Name: n.Name}, h)
	return h, err
}

// says waits until the host's condition has a reason, and its message some words.
func (n *node) says(reason string, words ...string) *v1alpha1.Host {
	n.fleet.t.Helper()
	var h *v1alpha1.Host
	testenv.Eventually(n.fleet.t, func(ctx context.Context) string {
		var err error
		if h, err = n.host(ctx); err != nil {
			return err.Error()
		}
		c := meta.FindStatusCondition(h.Status.Conditions, v1alpha1.ConditionEnforced)
		if c == nil {
			return "host " + n.Name + " says nothing"
		}
		for _, w := range words {
			if !strings.Contains(c.Message, w) {
				return fmt.Sprintf("host %s says %s: %s; want %q in it", n.Name, c.Reason, c.Message, w)
			}
		}
		if c.Reason != reason {
			return fmt.Sprintf("host %s says %s: %s; want %s", n.Name, c.Reason, c.Message, reason)
		}
		return ""
	})
	return h
}

const short = 300 * time.Millisecond

// dials tries a TCP connection. One that is refused has gone there and back.
func (n *node) dials(ctx context.Context, to *node, port uint16, patience time.Duration) bool {
	n.fleet.t.Helper()
	err := n.Do(func() error {
		c, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", netip.AddrPortFrom(to.addr, port).String())
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	if err == nil || errors.Is(err, syscall.ECONNREFUSED) {
		return true
	}
	if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() {
		n.fleet.t.Fatalf("%s to %s:%d: %v", n.Name, to.Name, port, err)
	}
	return false
}

// reaches waits until a flow passes, or does not.
func (n *node) reaches(want bool, to *node, port uint16) {
	n.fleet.t.Helper()
	testenv.Eventually(n.fleet.t, func(ctx context.Context) string {
		if got := n.dials(ctx, to, port, short); got != want {
			return fmt.Sprintf("%s reaches %s at port %d: %t, want %t", n.Name, to.Name, port, got, want)
		}
		return ""
	})
}
