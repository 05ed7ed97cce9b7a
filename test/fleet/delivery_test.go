package fleet_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/identity"
	"ringfence.dev/ringfence/internal/statedir"
	"ringfence.dev/ringfence/internal/testenv"
	"ringfence.dev/ringfence/internal/upstream"
)

var feeds = flag.Int("fleet.feeds", 30, "how many hosts TestDelivery follows the control plane as")

// sets is how many sets of groups the hosts of TestDelivery wear: each the base
// group and one other.
const sets = 10

// TestDelivery follows the control plane as many hosts at once, without their
// kernels, and prints how long it takes from a change to the last of them.
func TestDelivery(t *testing.T) {
	f := apiOnly(t)
	f.create("apiVersion: ringfence.dev/v1alpha1\nkind: VPC\nmetadata: {name: prod}\nspec: {cidrBlock: 10.60.0.0/16}")
	f.group("base")
	for n := range sets {
		f.group(fmt.Sprintf("set-%d", n))
	}
	list := make([]*upstream.Feed, *feeds)
	name := func(n int) string { return fmt.Sprintf("host-%d", n) }
	for n := range list {
		address := netip.AddrFrom4([4]byte{10, 60, byte(n >> 8), byte(n)}).Next()
		f.check(f.api.Create(t.Context(), &v1alpha1.Host{
			ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name(n)},
			Spec:       v1alpha1.HostSpec{Addresses: []v1alpha1.Address{address.String()}, SecurityGroupNames: []v1alpha1.Name{"base", fmt.Sprintf("set-%d", n%sets)}},
		}))
	}
	for n := range list {
		f.admitted(name(n))
		list[n] = f.feed(name(n))
	}
	f.all(list, "base", 1000)
	var one, every []time.Duration
	var work time.Duration
	for round := range 5 {
		port := uint16(2000 + round)
		before := f.processor()
		every = append(every, f.timed(list, "base", port)...)
		work += f.processor() - before
		one = append(one, f.timed(list, fmt.Sprintf("set-%d", round), port+1000)...)
	}
	t.Logf("FIGURE %d hosts hear of a rule of all %d sets in %s; both sides take %s of processor time a host",
		len(list), sets, spread(every), (work / time.Duration(max(1, len(every)))).Round(10*time.Microsecond))
	t.Logf("FIGURE %d hosts hear of a rule of one set in %s", len(list)/sets, spread(one))
}

// processor is how much processor time this process has taken.
func (f *fleet) processor() time.Duration {
	f.t.Helper()
	var at unix.Timespec
	f.check(unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &at))
	return time.Duration(at.Nano())
}

// apiOnly is a fleet without machines.
func apiOnly(t *testing.T) *fleet {
	t.Helper()
	return apiOf(t, env)
}

func apiOf(t *testing.T, e *testenv.Env) *fleet {
	t.Helper()
	return &fleet{t: t, env: e, api: testenv.Client(t, e.Admin, scheme(t)), namespace: e.Namespace(t, "fleet-")}
}

// group makes a group that lets a port in.
func (f *fleet) group(name string) {
	f.t.Helper()
	f.create(fmt.Sprintf(`
apiVersion: ringfence.dev/v1alpha1
kind: SecurityGroup
metadata: {name: %s}
spec:
  vpcName: prod
  type: Basic
  innerAccess: Drop
  ingress:
  - {policy: Accept, priority: 1, protocol: TCP, ports: 1000/1000, peer: {cidr: 10.60.0.0/16}}
`, name))
}

// admitted waits until a host may read what is its own, as one that joins does.
func (f *fleet) admitted(name string) {
	f.t.Helper()
	f.slowly(func(ctx context.Context) string {
		if err := f.api.Get(ctx, client.ObjectKey{Namespace: f.namespace, Name: "ringfence:host:" + name}, &rbacv1.RoleBinding{}); err != nil {
			return err.Error()
		}
		return ""
	})
}

// feed follows the control plane as a host.
func (f *fleet) feed(name string) *upstream.Feed {
	f.t.Helper()
	host := identity.Host{Namespace: f.namespace, Name: name}
	config := rest.CopyConfig(env.Signed(f.t, host.User(), identity.HostGroup))
	dir := statedir.Dir(f.memory())
	plane, err := json.Marshal(map[string]any{"server": env.URL, "ca": config.CAData, "namespace": host.Namespace, "name": host.Name})
	f.check(err)
	f.check(dir.Save("host.pem", slices.Concat(config.CertData, config.KeyData)))
	f.check(dir.Save("control-plane.json", plane))
	follower, err := upstream.Open(dir, clock.RealClock{}, slog.New(slog.DiscardHandler))
	f.check(err)
	return follower.Follow(f.t.Context())
}

// memory is a folder that is on no disk, if there is such a thing: elsewhere each
// host has a disk of its own to write to, here they would all wait for one.
func (f *fleet) memory() string {
	dir, err := os.MkdirTemp("/dev/shm", "ringfence-fleet-")
	if err != nil {
		return f.t.TempDir()
	}
	f.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// has reports whether a host is to let a port of a group in.
func has(feed *upstream.Feed, group string, port uint16) bool {
	a, err := feed.Current()
	if err != nil || a == nil {
		return false
	}
	if !slices.Contains(a.Ruleset.SecurityGroupNames, group) {
		return true // it does not concern this host
	}
	return slices.ContainsFunc(a.Ruleset.Ingress, func(r v1alpha1.RulesetRule) bool {
		return r.Ports == fmt.Sprintf("%d/%d", port, port)
	})
}

// all waits until all hosts are to let a port of a group in.
func (f *fleet) all(list []*upstream.Feed, group string, port uint16) {
	f.t.Helper()
	f.slowly(func(context.Context) string {
		for n, feed := range list {
			if !has(feed, group, port) {
				_, err := feed.Current()
				return fmt.Sprintf("host-%d is not told of port %d of group %s: %v", n, port, group, err)
			}
		}
		return ""
	})
}

// timed changes a rule, and returns how long it took until each of the hosts that
// it concerns heard of it.
func (f *fleet) timed(list []*upstream.Feed, group string, port uint16) []time.Duration {
	f.t.Helper()
	var mu sync.Mutex
	var out []time.Duration
	var hear sync.WaitGroup
	var changed time.Time
	watch := clock.RealClock{} // for a figure
	for _, feed := range list {
		if has(feed, group, port) {
			continue
		}
		hear.Go(func() {
			for !has(feed, group, port) {
				select {
				case <-f.t.Context().Done():
					return
				case <-feed.Changed():
				}
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, watch.Since(changed))
		})
	}
	mu.Lock() // nobody takes the time before it has begun
	change(f, group, &v1alpha1.SecurityGroup{}, func(g *v1alpha1.SecurityGroup) {
		g.Spec.Ingress[0].Ports = fmt.Sprintf("%d/%d", port, port)
	})
	changed = watch.Now()
	mu.Unlock()
	hear.Wait()
	f.all(list, group, port)
	return out
}

// spread says how long things took.
func spread(list []time.Duration) string {
	if len(list) == 0 {
		return "no time: nobody was concerned"
	}
	slices.Sort(list)
	at := func(percent int) time.Duration {
		return list[(len(list)-1)*percent/100].Round(time.Millisecond)
	}
	return fmt.Sprintf("%s (median), %s (99 of 100), %s (last)", at(50), at(99), at(100))
}
