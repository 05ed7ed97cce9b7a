// Package live reads the objects of a running cluster from its API server, lists
// them and watches them, and derives from them what the cluster needs.
//
// It asks for exactly what [discover.Resources] names, and keeps nothing of an
// object but what discover keeps. What it may not read, or cannot, is unknown in
// the report, and what it read of that before is kept. What the server does not
// serve is not there, until it is.
package live

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/internal/discover"
)

const (
	// fold is how long changes wait for others: a rollout makes many.
	fold = 100 * time.Millisecond
	// patience is how long a page of a list may take.
	patience = 30 * time.Second
	// atOnce is how many kinds are listed at a time, which bounds the pages in
	// memory.
	atOnce = 4
)

// A Source is an API server and what was read from it. Open makes it. Read and
// Follow are each called once, and not both.
type Source struct {
	client   rest.Interface
	patience time.Duration
	lists    chan struct{} // slots
	feeds    []*feed
	// changed holds a token while there is something to derive anew.
	changed chan struct{}

	mu      sync.Mutex
	cluster discover.Cluster
}

// Open prepares to read from an API server, and connects to nobody yet.
func Open(config *rest.Config) (*Source, error) {
	own := dynamic.ConfigFor(config)
	own.AcceptContentTypes = "application/json"
	// There is one list and one watch a kind; the server meters them itself.
	own.QPS = -1
	client, err := rest.UnversionedRESTClientFor(own)
	if err != nil {
		return nil, fmt.Errorf("cannot use the connection to the cluster: %w", err)
	}
	s := &Source{client: client, patience: patience, lists: make(chan struct{}, atOnce), changed: make(chan struct{}, 1)}
	for _, r := range discover.Resources() {
		s.cluster.Unread(r, "they have not been read yet")
		s.feeds = append(s.feeds, &feed{source: s, resource: r, poked: make(chan struct{}, 1), tried: make(chan struct{})})
	}
	return s, nil
}

// Read reads everything once. It fails only if nothing can be read at all.
func (s *Source) Read(ctx context.Context) (*discover.Report, error) {
	var done sync.WaitGroup
	for _, f := range s.feeds {
		done.Go(func() {
			err := f.list(ctx)
			if err == nil {
				f.read()
			}
			f.end(err)
		})
	}
	done.Wait()
	if err := s.hopeless(ctx); err != nil {
		return nil, err
	}
	return s.derive()
}

// Follow reads everything and then what changes, until the context ends. It calls
// changed with each report that may differ from the one before, from one
// goroutine; the first once every kind has been tried. It fails only if nothing
// can be read at all at first; what fails later is unknown in the report, and
// tried again.
func (s *Source) Follow(ctx context.Context, changed func(*discover.Report)) error {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	defer done.Wait()
	defer cancel()
	for _, f := range s.feeds {
		done.Go(func() { f.follow(ctx) })
	}
	for _, f := range s.feeds {
		select {
		case <-f.tried:
		case <-ctx.Done():
			return nil
		}
	}
	if err := s.hopeless(ctx); err != nil {
		return err
	}
	for s.wait(ctx) {
		report, err := s.derive()
		if err != nil {
			return err
		}
		changed(report)
	}
	return nil
}

// wait waits for a change, and for others that come with it; false if the
// context ends.
func (s *Source) wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-s.changed:
	}
	timer := time.NewTimer(fold)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	select { // what has come meanwhile is derived too
	case <-s.changed:
	default:
	}
	return true
}

func (s *Source) derive() (*discover.Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster.Derive()
}

// hopeless returns why nothing could be read, nil if something was.
func (s *Source) hopeless(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.feeds {
		if f.failure == nil && f.served {
			return nil
		}
	}
	return fmt.Errorf("cannot read anything of the cluster: %w", s.feeds[0].failure)
}

// stir says that there is something to derive.
func (s *Source) stir() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
