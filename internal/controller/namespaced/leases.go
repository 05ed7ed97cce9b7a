package namespaced

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/internal/identity"
)

// LeaseLife is how long a host counts as there after its agent last renewed its
// Lease, which has the host's name and namespace. What the Lease itself says
// about its duration does not count: a host could claim a year.
const LeaseLife = identity.LeaseSeconds * time.Second

// listAgainAfter bounds how often all Leases are listed. Watching them would
// cost a message a renewal, a thousand a second with 10,000 hosts.
const listAgainAfter = 15 * time.Second

// Leases tells which hosts are there. It asks the API server, not a cache.
//
// A host writes into its Lease when it renewed it, by its own clock. That counts
// only as far as it can be true by ours: a renewal that is new in a listing
// happened after the listing before. So a host whose clock runs behind is there,
// and one whose clock runs ahead is not there for longer than it is.
type Leases struct {
	Reader client.Reader
	Clock  clock.PassiveClock

	mu     sync.Mutex
	listed map[string]listing // by namespace
}

type listing struct {
	at      time.Time
	renewed map[string]time.Time
	// said is what the hosts wrote.
	said map[string]time.Time
}

// Renewed returns when the hosts of a namespace last renewed, as far as that
// was known at most 15 s ago.
func (l *Leases) Renewed(ctx context.Context, namespace string) (map[string]time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have, ok := l.listed[namespace]; ok && l.Clock.Since(have.at) < listAgainAfter {
		return have.renewed, nil
	}
	return l.list(ctx, namespace)
}

func (l *Leases) list(ctx context.Context, namespace string) (map[string]time.Time, error) {
	var list coordinationv1.LeaseList
	if err := l.Reader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("cannot list the Leases of namespace %s: %w", namespace, err)
	}
	before := l.listed[namespace]
	have := listing{at: l.Clock.Now(), renewed: make(map[string]time.Time, len(list.Items)), said: make(map[string]time.Time, len(list.Items))}
	for i := range list.Items {
		name, said := list.Items[i].Name, renewed(&list.Items[i])
		have.said[name], have.renewed[name] = said, before.seen(name, said, have.at)
	}
	if l.listed == nil {
		l.listed = map[string]listing{}
	}
	l.listed[namespace] = have
	return have.renewed, nil
}

// seen returns when a host can have renewed that says now that it did then. The
// zero listing is none.
func (before *listing) seen(name string, said, now time.Time) time.Time {
	was, known := before.said[name]
	switch {
	case said.IsZero():
		return said // it was never renewed
	case known && was.Equal(said):
		return before.renewed[name]
	case said.After(now):
		return now
	case said.Before(before.at):
		return before.at
	}
	return said
}

// manyHosts is from how many on one list is cheaper than asking one by one.
const manyHosts = 50

// Fresh tells which of some hosts are there now.
func (l *Leases) Fresh(ctx context.Context, namespace string, hosts []string) (map[string]bool, error) {
	if len(hosts) >= manyHosts {
		l.mu.Lock()
		times, err := l.list(ctx, namespace)
		l.mu.Unlock()
		if err != nil {
			return nil, err
		}
		return l.fresh(times), nil
	}
	times := make(map[string]time.Time, len(hosts))
	for _, name := range hosts {
		var lease coordinationv1.Lease
		err := l.Reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &lease)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("cannot read the Lease of host %s: %w", name, err)
		}
		if !apierrors.IsNotFound(err) {
			times[name] = renewed(&lease)
		}
	}
	return l.fresh(times), nil
}

func (l *Leases) fresh(times map[string]time.Time) map[string]bool {
	out := make(map[string]bool, len(times))
	for name, at := range times {
		out[name] = l.Clock.Since(at) < LeaseLife
	}
	return out
}

func renewed(l *coordinationv1.Lease) time.Time {
	if l.Spec.RenewTime == nil {
		return time.Time{}
	}
	return l.Spec.RenewTime.Time
}
