package upstream

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// apply is a server-side apply of the object with the host's name. It returns
// what was taken: a control plane that is older than this agent refuses an
// object for a field that it does not know, so that is said without the field.
func (c *Client) apply(ctx context.Context, resource, sub string, object any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	body, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	for {
		if body, err = c.strange.without(resource, body, c.clock.Now()); err != nil {
			return nil, err
		}
		err = c.put(ctx, resource, sub, body)
		if err == nil || !c.strange.learn(resource, err, c.clock.Now()) {
			return body, err
		}
		c.log.Info("the control plane is older than this agent, and does not know all that it says", "of", resource, "problem", err)
	}
}

func (c *Client) put(ctx context.Context, resource, sub string, body []byte) error {
	q := c.ours.Patch(types.ApplyYAMLPatchType).Namespace(c.Host.Namespace).Resource(resource).Name(c.Host.Name).
		Param("fieldManager", manager).Param("force", "true").Body(body)
	if sub != "" {
		q = q.SubResource(sub)
	}
	return q.Do(ctx).Error()
}

const (
	// strangeFor is how long it is remembered what the control plane does not
	// know: it may be upgraded.
	strangeFor = time.Hour
	// maxStrange is how many fields of one kind are left out at most: beyond, it
	// is no older control plane.
	maxStrange = 32
)

// strange are the fields that the control plane does not know, by the plural of
// their kind.
type strange struct {
	mu     sync.Mutex
	since  time.Time
	fields map[string][][]string
}

// A fieldPath is one as server-side apply writes it: names behind dots, and items
// of lists in brackets, in which there may be any text in quotes.
var fieldPath = regexp.MustCompile(`((?:\.[A-Za-z0-9_]+|\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])+): field not declared in schema`)

var listItem = regexp.MustCompile(`\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\]`)

// learn notes the fields that an error is about. It reports whether there is one
// that was not known to be strange.
func (s *strange) learn(resource string, err error, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	learned := false
	for _, m := range fieldPath.FindAllStringSubmatch(err.Error(), -1) {
		path := strings.Split(strings.Trim(listItem.ReplaceAllString(m[1], ""), "."), ".")
		known := s.fields[resource]
		if len(known) >= maxStrange || slices.ContainsFunc(known, func(k []string) bool { return slices.Equal(k, path) }) {
			continue
		}
		if s.fields == nil {
			s.fields, s.since = map[string][][]string{}, now
		}
		s.fields[resource] = append(known, path)
		learned = true
	}
	return learned
}

// without returns an object without the strange fields.
func (s *strange) without(resource string, body []byte, now time.Time) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.since) >= strangeFor {
		s.fields = nil
	}
	if len(s.fields[resource]) == 0 {
		return body, nil
	}
	object := map[string]any{}
	if err := json.Unmarshal(body, &object); err != nil {
		return nil, err
	}
	for _, path := range s.fields[resource] {
		take(object, path)
	}
	return json.Marshal(object)
}

// take takes a field away, from all items where there is a list.
func take(from any, path []string) {
	switch from := from.(type) {
	case []any:
		for _, item := range from {
			take(item, path)
		}
	case map[string]any:
		if len(path) == 1 {
			delete(from, path[0])
			return
		}
		take(from[path[0]], path[1:])
	}
}
