package discovery

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/internal/discover/live"
)

// How long a cluster that cannot be read at all waits before it is tried again.
const (
	soonest = time.Second
	latest  = 2 * time.Minute
)

// A follower reads one running cluster and follows it, until it is stopped.
type follower struct {
	// key tells by whose eyes, and where.
	key  string
	stop context.CancelFunc
	done chan struct{}

	mu sync.Mutex
	// report is the last one; nil before there is one. It stays when the cluster
	// cannot be read any more.
	report *discover.Report
	// failure is why nothing can be read; nil if something can.
	failure error
}

// start follows a cluster. Changed is called, from one goroutine, after each
// report and each failure.
func start(ctx context.Context, key string, config *rest.Config, changed func()) *follower {
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{key: key, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.run(ctx, config, changed)
	}()
	return f
}

// failed is a follower that never had anything to follow.
func failed(key string, failure error) *follower {
	f := &follower{key: key, stop: func() {}, done: make(chan struct{}), failure: failure}
	close(f.done)
	return f
}

func (f *follower) run(ctx context.Context, config *rest.Config, changed func()) {
	for wait := soonest; ; wait = min(2*wait, latest) {
		err := follow(ctx, config, func(r *discover.Report) {
			wait = soonest
			f.set(r, nil)
			changed()
		})
		if ctx.Err() != nil {
			return
		}
		f.set(nil, err)
		changed()
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func follow(ctx context.Context, config *rest.Config, told func(*discover.Report)) error {
	source, err := live.Open(config)
	if err != nil {
		return err
	}
	return source.Follow(ctx, told)
}

// set keeps a report, or a failure beside the report that was there.
func (f *follower) set(r *discover.Report, failure error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failure = failure; r != nil {
		f.report = r
	}
}

func (f *follower) get() (*discover.Report, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.report, f.failure
}

// end stops it and waits until it has.
func (f *follower) end() {
	f.stop()
	<-f.done
}
