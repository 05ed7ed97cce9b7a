package agent

import (
	"context"
	"errors"
	"fmt"

	"ringfence.dev/ringfence/internal/statedir"
	"ringfence.dev/ringfence/internal/upstream"
)

// alone is the source of a host that has joined and cannot tell any more whom, or
// as whom: a file that joining left is damaged. It keeps and repairs what it
// enforces until it has joined again, which takes a restart.
type alone struct{ why error }

func (*alone) String() string { return "no control plane" }

func (s *alone) read() (*intent, error) {
	return nil, fmt.Errorf("only what is enforced is kept: %w", s.why)
}

func (*alone) told() <-chan struct{} { return nil }

func (*alone) look() bool { return false }

func (*alone) heard(context.Context, *news) {}

// orAlone is what an agent follows that cannot follow a control plane for a
// reason; the error is that reason if nothing is enforced, or it never joined.
func (c *command) orAlone(why error) (source, error) {
	if c.Manifests != "" || errors.Is(why, upstream.ErrNotJoined) {
		return nil, why
	}
	saved, err := disk{statedir.Dir(c.StateDir)}.read(enforcedFile)
	if err != nil || saved == nil {
		return nil, errors.Join(why, err)
	}
	return &alone{why}, nil
}
