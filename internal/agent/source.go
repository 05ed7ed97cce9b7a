package agent

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/files"
	"ringfence.dev/ringfence/profiles"
)

// A source says what this host is to enforce.
type source interface {
	// String says where it is said, for people.
	String() string
	// read returns what is said now, but for the uplinks. An error changes
	// nothing: the host keeps what it enforces.
	read() (*intent, error)
	// told has something as soon as read may return something else. It is nil
	// for a source that has to be looked at.
	told() <-chan struct{}
	// look looks, every so many beats, whether read may return something else.
	look() bool
	// heard tells the source what a host does that follows it until the context
	// ends. A source that is only read once is never told.
	heard(ctx context.Context, n *news)
}

// A folder is a source of manifests. It is read again once its files are others,
// and have stopped changing.
type folder struct {
	dir, host string
	tables    *profiles.Tables
	// seen is the folder as read last, glimpsed as it looked last.
	seen, glimpsed string
}

func (s *folder) String() string { return "manifests in " + s.dir }

func (s *folder) read() (*intent, error) {
	if s.glimpsed == "" {
		s.glimpsed = s.glimpse()
	}
	s.seen = s.glimpsed
	defer debug.FreeOSMemory() // reading takes far more than what it leaves
	list, err := files.Read(s.dir)
	if err != nil {
		return nil, inputError{err}
	}
	inv, err := convert.Parse(list)
	if err != nil {
		return nil, inputError{err}
	}
	in, err := decide(inv, s.tables, s.host)
	if err != nil {
		return nil, err
	}
	in.why = s.String()
	return in, nil
}

func (*folder) told() <-chan struct{} { return nil }

func (s *folder) look() bool {
	now := s.glimpse()
	settled := now == s.glimpsed
	s.glimpsed = now
	return settled && now != s.seen
}

// glimpse returns a text that is another one once a file is.
func (s *folder) glimpse() string {
	list, err := files.In(s.dir)
	if err != nil {
		return err.Error()
	}
	var w strings.Builder
	for _, f := range list {
		fmt.Fprintf(&w, "%s %d %d\n", f.Path, f.Info.Size(), f.Info.ModTime().UnixNano())
	}
	return w.String()
}

func (*folder) heard(context.Context, *news) {}

// aim reads what a source says, and finds the uplinks for it.
func (c *Config) aim(s source) (*intent, error) {
	in, err := s.read()
	if err != nil {
		return nil, err
	}
	return in, c.findUplinks(in)
}

// findUplinks fills in the uplinks.
func (c *Config) findUplinks(in *intent) error {
	links, err := gatherLinks()
	if err != nil {
		return err
	}
	in.uplinks, err = uplinks(links, in.order.Addresses, c.Uplinks)
	return err
}
