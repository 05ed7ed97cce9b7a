package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ringfence.dev/ringfence/internal/nft/apply"
)

// swap brings a new version in: build, trial, confirm, delete.
func (h *host) swap(ctx context.Context, next *layout, r *record) error {
	if err := next.cuts(h.policy.Force); err != nil {
		return err
	}
	state, err := h.kernel.State()
	if err != nil {
		return err
	}
	if state.Trial == openName {
		return fmt.Errorf("the host is open for %s more: %w", state.Left.Round(time.Second), errWaiting)
	}
	if state == (apply.State{}) {
		if err := h.kernel.Probe(); err != nil {
			return fmt.Errorf("this kernel lacks something: %w", err)
		}
	}
	if err := h.disk.write(candidateFile, r); err != nil {
		return err
	}
	if err := h.kernel.Build(next.version, r.Uplinks); err != nil {
		return h.back(err)
	}
	if h.current == nil {
		h.warn(next, r.Uplinks)
	}
	switch h.policy.Confirm {
	case ConfirmNever:
		if err := h.kernel.Confirm(next.version.Name); err != nil {
			return h.back(err)
		}
	case ConfirmProbe:
		if err := h.probed(ctx, next, r); err != nil {
			return h.back(err)
		}
	case ConfirmManual:
		if err := h.kernel.Trial(next.version.Name, h.policy.Trial); err != nil {
			return h.back(err)
		}
		h.trial = &trial{next, r}
		h.log.Warn("on trial: say `ringfence-agent confirm`, or the kernel goes back by itself", "version", r.Version, "after", h.policy.Trial)
		return errWaiting
	}
	return h.settle(next, r)
}

var (
	// errWaiting says that a change has to wait, and that nothing is wrong.
	errWaiting = errors.New("waiting")
	// errWithdrawn says that a version did not pass its trial.
	errWithdrawn = errors.New("withdrawn: the version before it is in force")
)

// settle notes what the kernel has confirmed, and deletes what was before.
func (h *host) settle(next *layout, r *record) error {
	h.trial = nil
	r.Since = h.clock.Now()
	h.current, h.saved = next, r
	h.revoke() // before the disk forgets what was in force
	if err := h.save(); err != nil {
		return err
	}
	if err := h.kernel.Delete(next.version); err != nil {
		return err
	}
	if err := h.setUplinks(r.Uplinks); err != nil { // the table may have had others
		return err
	}
	drift, err := h.kernel.Drift(next.version)
	if err != nil {
		return err
	}
	if len(drift) > 0 {
		return fmt.Errorf("the kernel has other rules than it was given: %q", drift)
	}
	h.log.Info("enforced", "version", r.Version, "why", r.Why, "uplinks", r.Uplinks, "observe", r.Order.Observe)
	return nil
}

// back leaves a change that failed: what was confirmed stays in force.
func (h *host) back(cause error) error { return errors.Join(cause, h.undo()) }

// undo takes a candidate away, and ends its trial; not what a person opened.
func (h *host) undo() error {
	h.trial = nil
	state, err := h.kernel.State()
	if err != nil {
		return err
	}
	if state.Trial != "" && state.Trial != openName {
		if err := h.kernel.EndTrial(); err != nil {
			return err
		}
		state.Trial = ""
	}
	switch {
	case h.current != nil:
		err = h.clean(h.current, state)
	case state == apply.State{}:
		err = h.kernel.Uninstall()
	}
	h.revoke() // members may have left during the trial
	return errors.Join(err, h.disk.Remove(candidateFile))
}

// awaited looks at a trial that waits for a person: has one confirmed, or has
// the kernel gone back?
func (h *host) awaited() error {
	if h.trial == nil {
		return nil
	}
	state, err := h.kernel.State()
	if err != nil {
		return err
	}
	t := h.trial
	switch t.record.Version {
	case state.Confirmed:
		t.record.Why += "; confirmed by a person"
		return h.settle(t.layout, t.record)
	case state.Trial:
		return errWaiting
	}
	cause := fmt.Errorf("%w: nobody confirmed version %s within %s", errWithdrawn, t.record.Version, h.policy.Trial)
	h.refused[t.record.Version] = cause
	return h.back(cause)
}
