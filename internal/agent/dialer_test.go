package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"ringfence.dev/ringfence/profiles"
)

// TestSilentDialer: a probe that only others can make says something against a
// version only if it passes again without it.
func TestSilentDialer(t *testing.T) {
	t.Parallel()
	node1, node2, _ := three(t)
	dir := t.TempDir()
	write(t, dir, groupsText("other", 80))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	tables, err := profiles.Load()
	if err != nil {
		t.Fatal(err)
	}
	err = in(node1.ns, func() error {
		a, done, err := newAgent(&Config{StateDir: node1.state, Policy: Policy{Confirm: ConfirmProbe, Trial: 20 * time.Second}}, tables, slog.New(slog.NewTextHandler(io.Discard, nil)))
		if err != nil {
			return err
		}
		defer done()
		return silences(t, a.host)
	})
	if err != nil {
		t.Fatal(err)
	}
	node2.wantPasses("confirmed in the end", node1, 81)
	node1.wantNoDrift("in the end")
}

func silences(t *testing.T, h *host) error {
	t.Helper()
	if err := h.recover(); err != nil {
		return err
	}
	o := *h.current.order
	o.Ruleset.Ingress[0].Ports = "81/81"
	next, err := lay(&o, h.exempt)
	if err != nil {
		return err
	}
	lost := errors.New("lost")
	always := func(context.Context) error { return lost }
	onTrial := func(context.Context) error {
		if s, err := h.kernel.State(); err != nil || s.Trial != "" {
			return errors.Join(lost, err)
		}
		return nil
	}
	for _, tc := range []struct {
		name  string
		list  []probe
		stays bool
	}{
		{"its own probe is lost", []probe{{name: "own", try: always}, {name: "dialled", try: always, outside: true}}, false},
		{"only without it somebody gets in", []probe{{name: "dialled", try: onTrial, outside: true}}, false},
		{"nobody dials any more", []probe{{name: "dialled", try: always, outside: true}}, true},
	} {
		if err := h.kernel.Build(next.version, h.saved.Uplinks); err != nil {
			return err
		}
		r := &record{Version: next.version.Name, Since: h.clock.Now(), Why: "a test", Uplinks: h.saved.Uplinks, Order: o}
		err := h.proven(t.Context(), r, tc.list)
		if tc.stays {
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			return h.settle(next, r)
		}
		if !errors.Is(err, errWithdrawn) {
			t.Errorf("%s: %v; want it withdrawn", tc.name, err)
		}
		if err := h.undo(); err != nil {
			return err
		}
	}
	return nil
}
