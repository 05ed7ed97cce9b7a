package live

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/internal/discover"
)

const (
	// A page begins with few objects, since those of some kinds are large, and
	// then comes to about so many bytes.
	firstPage = 50
	pageBytes = 4 << 20
	largest   = 1000
	// watchFor is when the server ends a watch; or up to twice as late, so that
	// not all begin anew at once.
	watchFor = 5 * time.Minute
)

// A page is a part of a list. Its objects are as they came.
type page struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
		Continue        string `json:"continue"`
	} `json:"metadata"`
	Items []jsontext.Value `json:"items"`

	size int
}

// nextPage returns how many objects to ask for after a page of so many and its
// bytes.
func nextPage(limit, size int) int {
	return min(max(limit*pageBytes/max(size, 1), 1), 2*limit, largest)
}

func (s *Source) request(r discover.Resource) *rest.Request {
	path := []string{"/apis", r.Group, r.Version, r.Name}
	if r.Group == "" {
		path = []string{"/api", r.Version, r.Name}
	}
	return s.client.Get().AbsPath(path...)
}

func (s *Source) late() error {
	return fmt.Errorf("the API server has not answered within %s", s.patience)
}

func (s *Source) page(ctx context.Context, r discover.Resource, limit int, next string) (*page, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.patience, s.late())
	defer cancel()
	q := s.request(r).Param("limit", strconv.Itoa(limit))
	if next != "" {
		q.Param("continue", next)
	}
	answer := q.Do(ctx)
	err := answer.Error() // Raw does not say what the server does
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, err
	}
	data, err := answer.Raw()
	if err != nil {
		return nil, err
	}
	p := &page{size: len(data)}
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("cannot read what the API server answers: %w", err)
	}
	return p, nil
}

// The types of events.
const (
	added    = "ADDED"
	modified = "MODIFIED"
	deleted  = "DELETED"
	failed   = "ERROR"
)

// An event is a change that a watch tells. There are also those of type BOOKMARK,
// whose object has a version only.
type event struct {
	Type   string         `json:"type"`
	Object jsontext.Value `json:"object"`
}

// failure returns the error that an event of type ERROR is.
func (e *event) failure() error {
	var status metav1.Status
	if err := json.Unmarshal(e.Object, &status); err != nil {
		return fmt.Errorf("cannot read what the API server answers: %w", err)
	}
	return apierrors.FromObject(&status)
}

// A stream is a watch that is open.
type stream struct {
	body    io.ReadCloser
	decoder *jsontext.Decoder
	cancel  context.CancelCauseFunc
}

func (s *Source) open(ctx context.Context, r discover.Resource, version string) (*stream, error) {
	lasts := watchFor + rand.N(watchFor) //nolint:gosec // it spreads load, and guards nothing
	ctx, cancel := context.WithCancelCause(ctx)
	// The server answers at once, whether or not anything changes.
	late := time.AfterFunc(s.patience, func() { cancel(s.late()) })
	defer late.Stop()
	body, err := s.request(r).Param("watch", "true").Param("allowWatchBookmarks", "true").Param("resourceVersion", version).
		Param("timeoutSeconds", strconv.Itoa(int(lasts.Seconds()))).Stream(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		cancel(nil)
		return nil, err
	}
	return &stream{body, jsontext.NewDecoder(body), cancel}, nil
}

func (s *stream) close() {
	s.cancel(nil)
	_ = s.body.Close() // it was only read
}

// next returns the next event, [io.EOF] when there is none.
func (s *stream) next() (*event, error) {
	var e event
	if err := json.UnmarshalDecode(s.decoder, &e); err != nil {
		return nil, err
	}
	return &e, nil
}

// identify returns which object it is, and its version.
func (f *feed) identify(object jsontext.Value) (discover.Ref, string, error) {
	var o struct {
		Metadata struct {
			Name            string `json:"name"`
			Namespace       string `json:"namespace"`
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(object, &o); err != nil {
		return discover.Ref{}, "", fmt.Errorf("cannot read what the API server answers: %w", err)
	}
	m := &o.Metadata
	return discover.Ref{Kind: f.resource.Kind, Namespace: m.Namespace, Name: m.Name}, m.ResourceVersion, nil
}
