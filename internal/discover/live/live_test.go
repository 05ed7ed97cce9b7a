package live_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/internal/discover/live"
	"ringfence.dev/ringfence/test/apiserver"
)

var server *apiserver.Server

func TestMain(m *testing.M) { os.Exit(apiserver.Main(m, &server)) }

const (
	within = 60 * time.Second

	guard = `
apiVersion: v1
kind: Service
metadata: {name: guard, namespace: guard}
spec: {ports: [{port: 8443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: guard-1, namespace: guard, labels: {kubernetes.io/service-name: guard}}
addressType: IPv4
ports: [{name: "", port: 9443}]
endpoints: [{addresses: [198.51.100.5]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: guard}
webhooks:
- name: a.guard.example
  failurePolicy: Ignore
  sideEffects: None
  admissionReviewVersions: [v1]
  rules: [{apiGroups: [guard.example], apiVersions: [v1], operations: [CREATE], resources: [things]}]
  clientConfig: {service: {namespace: guard, name: guard, port: 8443}}
`
	toGuard = "API server > pods of Service guard/guard: "
)

func clientset(t *testing.T, of *rest.Config) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(of)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// needs writes each need in a few words.
func needs(r *discover.Report) []string {
	var out []string
	for i := range r.Needs {
		n := &r.Needs[i]
		out = append(out, fmt.Sprintf("%s > %s: %d", n.From, n.To, n.Ports.First))
	}
	return out
}

func unknown(r *discover.Report, about string) string {
	for i := range r.Unknown {
		if r.Unknown[i].About == about {
			return r.Unknown[i].Why
		}
	}
	return ""
}

// A follower keeps the last report of a source.
type follower struct {
	mu      sync.Mutex
	report  *discover.Report
	reports int
	changed chan struct{}
}

// follow follows a source until the test ends.
func follow(t *testing.T, config *rest.Config) *follower {
	t.Helper()
	s, err := live.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	return followSource(t, s)
}

func followSource(t *testing.T, s *live.Source) *follower {
	t.Helper()
	f := &follower{changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Follow(ctx, func(r *discover.Report) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.report, f.reports = r, f.reports+1
			select {
			case f.changed <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Follow: %v: want no error when its context ends", err)
		}
	})
	return f
}

// until waits for a report for which check returns nothing.
func (f *follower) until(t *testing.T, what string, check func(*discover.Report) string) {
	t.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		f.mu.Lock()
		why := "there is no report"
		if f.report != nil {
			why = check(f.report)
		}
		f.mu.Unlock()
		if why == "" {
			return
		}
		select {
		case <-f.changed:
		case <-late.C:
			t.Fatalf("%s: not within %s: %s", what, within, why)
		}
	}
}

func has(need string) func(*discover.Report) string {
	return func(r *discover.Report) string {
		if !slices.Contains(needs(r), need) {
			return fmt.Sprintf("%v: want %q among them", needs(r), need)
		}
		return ""
	}
}

func hasNot(need string) func(*discover.Report) string {
	return func(r *discover.Report) string {
		if slices.Contains(needs(r), need) {
			return fmt.Sprintf("%v: want no %q", needs(r), need)
		}
		return ""
	}
}

// TestFollow: what is made, changed and deleted is seen.
func TestFollow(t *testing.T) {
	f := follow(t, server.Admin)
	f.until(t, "the API server itself", has(fmt.Sprintf("nodes > API server: %d", server.Port)))
	t.Run("made", func(t *testing.T) {
		server.Load(t, guard)
		f.until(t, "a webhook that was made", has(toGuard+"9443"))
		_, err := clientset(t, server.Admin).DiscoveryV1().EndpointSlices("guard").
			Patch(t.Context(), "guard-1", types.StrategicMergePatchType, []byte(`{"ports": [{"name": "", "port": 9555, "protocol": "TCP"}]}`), metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f.until(t, "the new port", has(toGuard+"9555"))
		f.until(t, "the old port", hasNot(toGuard+"9443"))
	}) // and deleted
	f.until(t, "a webhook that was deleted", hasNot(toGuard+"9555"))
}

// TestForbidden: what may not be read is unknown until it may be.
func TestForbidden(t *testing.T) {
	server.Load(t, guard, strings.ReplaceAll(live.Role(), "validatingwebhookconfigurations", "nothing")+bound("blind"))
	allowed(t, "blind")
	f := follow(t, server.As("blind"))
	const about = "which validatingwebhookconfigurations.admissionregistration.k8s.io there are"
	f.until(t, "what is forbidden", func(r *discover.Report) string {
		if why := unknown(r, about); !strings.Contains(why, "forbidden") {
			return fmt.Sprintf("%q because %q: want that it is forbidden", about, why)
		}
		return hasNot(toGuard + "9443")(r)
	})
	roles := clientset(t, server.Admin).RbacV1().ClusterRoles()
	role, err := roles.Get(t.Context(), live.RoleName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"validatingwebhookconfigurations"}, Verbs: []string{"list", "watch"}})
	if _, err := roles.Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.until(t, "what is allowed by now", func(r *discover.Report) string { return has(toGuard+"9443")(r) + unknown(r, about) })
}

func bound(user string) string {
	return fmt.Sprintf(`---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %s}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %s}]
`, user, live.RoleName, user)
}

// allowed waits until the server knows by its roles that somebody may read.
func allowed(t *testing.T, user string) {
	t.Helper()
	nodes := clientset(t, server.As(user)).CoreV1().Nodes()
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		_, err := nodes.List(ctx, metav1.ListOptions{})
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("%s may not read: %v", user, err)
	}
}

// TestRole: the role allows all that is read, and no Secrets.
func TestRole(t *testing.T) {
	server.Load(t, guard, live.Role()+bound("reader"))
	allowed(t, "reader")
	s, err := live.Open(server.As("reader"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range discover.Resources() {
		if why := unknown(r, "which "+res.String()+" there are"); why != "" {
			t.Errorf("%s are unread: %s", res, why)
		}
	}
	if why := has(toGuard + "9443")(r); why != "" {
		t.Error(why)
	}
	if _, err := clientset(t, server.As("reader")).CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("Secrets: %v: want that they are forbidden", err)
	}
}

// TestNobody: who may read nothing gets an error and no empty report.
func TestNobody(t *testing.T) {
	for _, config := range []*rest.Config{server.As("nobody"), {Host: "https://127.0.0.1:1"}} {
		s, err := live.Open(config)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := s.Read(t.Context()); err == nil {
			t.Errorf("Read as nobody: %+v: want an error", r)
		}
		if s, err = live.Open(config); err != nil {
			t.Fatal(err)
		}
		if err := s.Follow(t.Context(), func(*discover.Report) { t.Error("a report for nobody") }); err == nil {
			t.Error("Follow as nobody: want an error")
		}
	}
}

const pool = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: bgppeers.crd.projectcalico.org}
spec:
  group: crd.projectcalico.org
  scope: Cluster
  names: {kind: BGPPeer, plural: bgppeers, singular: bgppeer, listKind: BGPPeerList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
---
apiVersion: crd.projectcalico.org/v1
kind: BGPPeer
metadata: {name: rack}
spec: {peerIP: 198.51.100.1}
---
apiVersion: crd.projectcalico.org/v1
kind: BGPPeer
metadata: {name: broken}
spec: {peerIP: nowhere}
`

// TestDefinitions: a kind that is not served is not unknown, is found once it
// is served, and forgotten when it is not any more.
func TestDefinitions(t *testing.T) {
	f := follow(t, server.Admin)
	check := func(found bool) func(*discover.Report) string {
		return func(r *discover.Report) string {
			if why := unknown(r, "which bgppeers.crd.projectcalico.org there are"); why != "" {
				return "unread: " + why
			}
			if unknown(r, "BGPPeer broken") != "" != found {
				return fmt.Sprintf("findings %v: want the broken peer: %t", r.Findings, found)
			}
			return ""
		}
	}
	f.until(t, "before the definition", check(false))
	t.Run("served", func(t *testing.T) {
		server.Load(t, pool)
		f.until(t, "with the definition", check(true))
	})
	f.until(t, "after the definition", check(false))
}

// A tap lets requests through, counts them, and can cut what is open and
// leave what is asked without an answer.
type tap struct {
	next  http.RoundTripper
	lists atomic.Int64
	watch atomic.Int64
	// hang is a part of the paths that are never answered.
	hang atomic.Pointer[string]

	mu   sync.Mutex
	open map[context.Context]context.CancelFunc
}

func tapped(of *rest.Config, t *tap) *rest.Config {
	c := rest.CopyConfig(of)
	c.Wrap(func(next http.RoundTripper) http.RoundTripper {
		t.next = next
		return t
	})
	return c
}

// RoundTrip implements http.RoundTripper.
func (t *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	if part := t.hang.Load(); part != nil && strings.Contains(r.URL.Path, *part) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if r.URL.Query().Get("watch") == "" {
		answer, err := t.next.RoundTrip(r)
		if err == nil && answer.StatusCode == http.StatusOK {
			t.lists.Add(1) // of what is served
		}
		return answer, err
	}
	t.watch.Add(1)
	ctx, cancel := context.WithCancel(r.Context())
	t.mu.Lock()
	if t.open == nil {
		t.open = map[context.Context]context.CancelFunc{}
	}
	t.open[ctx] = cancel
	t.mu.Unlock()
	return t.next.RoundTrip(r.Clone(ctx))
}

// cut ends all watches.
func (t *tap) cut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, cancel := range t.open {
		cancel()
	}
	clear(t.open)
}

// TestCut: a watch that is cut goes on where it was, without a new list, and
// nothing that changed meanwhile is missed.
func TestCut(t *testing.T) {
	var wire tap
	f := follow(t, tapped(server.Admin, &wire))
	f.until(t, "before", has(fmt.Sprintf("nodes > API server: %d", server.Port)))
	lists, watches := wire.lists.Load(), wire.watch.Load()
	wire.cut()
	server.Load(t, guard)
	f.until(t, "after the cut", has(toGuard+"9443"))
	if got := wire.lists.Load(); got != lists {
		t.Errorf("%d lists: want %d as before", got, lists)
	}
	if got := wire.watch.Load(); got == watches {
		t.Error("no new watch: want that the cut ones go on")
	}
}

// TestRestart: an API server that was away does not know the versions of before,
// and what went while nobody watched is gone.
func TestRestart(t *testing.T) {
	own := apiserver.Start(t)
	var wire tap
	s, err := live.Open(tapped(own.Admin, &wire))
	if err != nil {
		t.Fatal(err)
	}
	s.SetPatience(time.Second)
	f := followSource(t, s)
	const about = "which services there are"
	t.Run("loaded", func(t *testing.T) {
		own.Load(t, guard)
		f.until(t, "before", has(toGuard+"9443"))
		everything := "/"
		wire.hang.Store(&everything)
		wire.cut()
	}) // and deleted, which no watch tells
	lists := wire.lists.Load()
	own.Restart(t, func() {
		wire.hang.Store(nil)
		f.until(t, "while the server is away", func(r *discover.Report) string {
			if unknown(r, about) == "" {
				return "nothing is unknown: want " + about
			}
			return has(toGuard + "9443")(r)
		})
	})
	f.until(t, "with the server back", func(r *discover.Report) string { return hasNot(toGuard+"9443")(r) + unknown(r, about) })
	if got := wire.lists.Load(); got == lists {
		t.Errorf("%d lists as before: want more, since no watch could tell", got)
	}
}

// TestHang: a kind that is not answered is unknown, and what was read of it stays.
func TestHang(t *testing.T) {
	server.Load(t, guard)
	var wire tap
	s, err := live.Open(tapped(server.Admin, &wire))
	if err != nil {
		t.Fatal(err)
	}
	s.SetPatience(200 * time.Millisecond)
	f := followSource(t, s)
	f.until(t, "before", has(toGuard+"9443"))
	path := "/validatingwebhookconfigurations"
	wire.hang.Store(&path)
	wire.cut()
	const about = "which validatingwebhookconfigurations.admissionregistration.k8s.io there are"
	f.until(t, "while it hangs", func(r *discover.Report) string {
		if why := unknown(r, about); !strings.Contains(why, "has not answered within") {
			return fmt.Sprintf("%q because %q: want that the server has not answered", about, why)
		}
		return has(toGuard + "9443")(r)
	})
	wire.hang.Store(nil)
	f.until(t, "afterwards", func(r *discover.Report) string { return unknown(r, about) + has(toGuard+"9443")(r) })
}

// TestPages: a list of many pages is read as a whole.
func TestPages(t *testing.T) {
	const many = 230
	c := clientset(t, server.Admin)
	for i := range many {
		name := fmt.Sprintf("page-%d", i)
		_, err := c.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.CoreV1().Services("default").Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	s, err := live.Open(server.Admin)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	nodePorts := slices.DeleteFunc(needs(r), func(s string) bool { return !strings.HasPrefix(s, "anywhere > nodes: ") })
	if len(nodePorts) != many {
		t.Errorf("%d node ports: want %d", len(nodePorts), many)
	}
}

func TestNextPage(t *testing.T) {
	for _, c := range []struct{ limit, size, want int }{
		{50, 0, 100},          // an empty page
		{50, 50 << 10, 100},   // small objects: twice as many at most
		{1000, 1 << 20, 1000}, // never more than that
		{50, 50 << 20, 4},     // objects of a megabyte
		{1, 100 << 20, 1},     // larger than a page alone
		{500, 4 << 20, 500},   // just right
	} {
		if got := live.NextPage(c.limit, c.size); got != c.want {
			t.Errorf("after a page of %d with %d bytes: %d, want %d", c.limit, c.size, got, c.want)
		}
	}
}
