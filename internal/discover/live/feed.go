package live

import (
	"context"
	"errors"
	"io"
	"net/url"
	"path"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
)

const (
	// How long a kind waits before it is asked for again.
	soonest = 100 * time.Millisecond
	latest  = 30 * time.Second
	// orderly is the most after a watch that the server ended by itself.
	orderly = time.Second
)

// A feed lists and watches one kind.
type feed struct {
	source   *Source
	resource discover.Resource
	// poked holds a token when the server may serve what it did not before.
	poked chan struct{}
	// tried is closed once the kind has been read, or could not be.
	tried     chan struct{}
	triedOnce sync.Once

	// version is where the watch goes on; empty means that a list comes first.
	version string
	wait    time.Duration

	// Guarded by the source's lock. Have are the objects that the cluster has from
	// here. Failure is why the kind is unread; nil if it is read, or not served.
	have    map[discover.Ref]bool
	failure error
	served  bool
}

// follow reads and watches until the context ends.
func (f *feed) follow(ctx context.Context) {
	for {
		var err error
		if f.version == "" {
			err = f.list(ctx)
		}
		if err == nil {
			err = f.watch(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		f.end(err)
		f.wait = min(max(2*f.wait, soonest), latest)
		if err == nil {
			f.wait = min(f.wait, orderly)
		}
		if !f.pause(ctx) {
			return
		}
	}
}

// pause waits before the kind is asked for again, not at all if it may be served
// by now.
func (f *feed) pause(ctx context.Context) bool {
	timer := time.NewTimer(f.wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-f.poked:
		f.wait = 0
	}
	return true
}

// read says that what the cluster has of the kind is what the server has.
func (f *feed) read() {
	f.settle(nil)
}

// end says why listing or watching ended; nil means that a watch was over.
func (f *feed) end(err error) {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return
	case expired(err):
		f.version = ""
		return
	case apierrors.IsNotFound(err) && f.resource.Group != "":
		f.version = ""
		f.replace(nil)
		f.settle(errNotServed)
		return
	case errors.As(err, &status):
		f.version = ""
	}
	f.settle(err)
}

// expired reports whether the server has forgotten the version or the page that
// was asked for.
func expired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// errNotServed says that the server has no such kind, which is no failure.
var errNotServed = errors.New("the server does not serve it")

// settle keeps how it stands with the kind.
func (f *feed) settle(failure error) {
	served := !errors.Is(failure, errNotServed)
	if !served {
		failure = nil
	}
	s := f.source
	s.mu.Lock()
	defer s.mu.Unlock()
	if reason(failure) != reason(f.failure) || served != f.served {
		s.stir()
	}
	f.failure, f.served = failure, served
	if failure == nil {
		s.cluster.Read(f.resource)
	} else {
		s.cluster.Unread(f.resource, reason(failure))
	}
	f.triedOnce.Do(func() { close(f.tried) })
}

// reason is the text of an error without the request, which differs each time;
// empty for none.
func reason(err error) string {
	var request *url.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &request):
		return request.Err.Error()
	}
	return err.Error()
}

// list reads all objects of the kind, a page at a time.
func (f *feed) list(ctx context.Context) error {
	select {
	case f.source.lists <- struct{}{}:
		defer func() { <-f.source.lists }()
	case <-ctx.Done():
		return ctx.Err()
	}
	seen := map[discover.Ref]bool{}
	for next, limit := "", firstPage; ; {
		p, err := f.source.page(ctx, f.resource, limit, next)
		if err != nil {
			return err
		}
		for _, o := range p.Items {
			ref, _, err := f.identify(o)
			if err != nil {
				return err
			}
			seen[ref] = true
			f.put(ref, o)
		}
		if next = p.Metadata.Continue; next == "" {
			f.version = p.Metadata.ResourceVersion
			f.replace(seen)
			return nil
		}
		limit = nextPage(limit, p.size)
	}
}

// watch follows the changes since the version, and keeps the version. It returns
// nil if the server ends the watch in good order.
func (f *feed) watch(ctx context.Context) error {
	stream, err := f.source.open(ctx, f.resource, f.version)
	if err != nil {
		return err
	}
	defer stream.close()
	f.read()
	for {
		e, err := stream.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := f.event(e); err != nil {
			return err
		}
		f.wait = 0
	}
}

func (f *feed) event(e *event) error {
	if e.Type == failed {
		return e.failure()
	}
	ref, version, err := f.identify(e.Object)
	if err != nil {
		return err
	}
	switch e.Type {
	case added, modified:
		f.put(ref, e.Object)
	case deleted:
		f.remove(ref)
	}
	f.version = version
	return nil
}

func (f *feed) put(ref discover.Ref, object []byte) {
	s := f.source
	doc := convert.NewForeign(path.Join(f.resource.Group, f.resource.Version), f.resource.Kind, object)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.have == nil {
		f.have = map[discover.Ref]bool{}
	}
	f.have[ref] = true
	if s.cluster.Put(doc) {
		s.stir()
	}
	f.maybeServes()
}

// replace forgets the objects that are not among those seen.
func (f *feed) replace(seen map[discover.Ref]bool) {
	f.source.mu.Lock()
	defer f.source.mu.Unlock()
	for ref := range f.have {
		if !seen[ref] {
			f.forget(ref)
		}
	}
}

func (f *feed) remove(ref discover.Ref) {
	f.source.mu.Lock()
	defer f.source.mu.Unlock()
	f.forget(ref)
	f.maybeServes()
}

// forget takes an object out, unless another group has it too: Calico's are in
// one as they are stored, and in one of its own API server.
func (f *feed) forget(ref discover.Ref) {
	delete(f.have, ref)
	for _, other := range f.source.feeds {
		if other.have[ref] {
			return
		}
	}
	if f.source.cluster.Remove(ref) {
		f.source.stir()
	}
}

// maybeServes has what was not served asked for again after a change that may
// have added it.
func (f *feed) maybeServes() {
	if f.resource.Kind != "CustomResourceDefinition" && f.resource.Kind != "APIService" {
		return
	}
	for _, other := range f.source.feeds {
		if other.served || other.failure != nil {
			continue
		}
		select {
		case other.poked <- struct{}{}:
		default:
		}
	}
}
