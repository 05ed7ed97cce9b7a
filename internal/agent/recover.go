package agent

import (
	"errors"
	"fmt"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
)

// recover finds out what is enforced, after whatever happened to the agent or
// the machine, and finishes or undoes what was half done.
func (h *host) recover() error {
	state, err := h.kernel.State()
	if err != nil {
		return err
	}
	enforced, err := h.disk.read(enforcedFile)
	if err != nil {
		return err
	}
	candidate, err := h.disk.read(candidateFile)
	if err != nil {
		return err
	}
	if state.Trial != "" && state.Trial != openName {
		h.log.Info("a trial was left behind: back to the confirmed version", "trial", state.Trial, "confirmed", state.Confirmed)
		if err := h.kernel.EndTrial(); err != nil {
			return err
		}
		state.Trial = ""
	}
	if candidate != nil {
		done, err := h.finished(candidate, state)
		if err != nil {
			return err
		}
		if done {
			h.log.Info("a change was left behind after it was confirmed: it stays", "version", candidate.Version)
			return h.finish(enforced, candidate, state)
		}
		h.log.Warn("a change was left behind before it was confirmed: it is taken back", "version", candidate.Version)
		if err := h.disk.Remove(candidateFile); err != nil {
			return err
		}
	}
	if enforced == nil {
		return nil // what the kernel may have stays until something better is known
	}
	err = h.adopt(enforced, state)
	h.judged = h.current
	return err
}

// finish adopts a change that was confirmed, and does what comes after that;
// before is nil if nothing was enforced.
func (h *host) finish(before, candidate *record, state apply.State) error {
	err := h.adopt(candidate, state)
	if before != nil {
		old, wrong := lay(&before.Order, h.exempt)
		if wrong != nil { // it cannot be told what to cut: nothing is
			old, err = h.current, errors.Join(err, fmt.Errorf("cannot lay out what was enforced before: %w", wrong))
		}
		h.judged = old
	}
	h.revoke()
	return errors.Join(err, h.disk.promote())
}

// finished reports whether the kernel has what a candidate is.
func (h *host) finished(candidate *record, state apply.State) (bool, error) {
	if state.Confirmed != candidate.Version {
		return false, nil
	}
	l, err := lay(&candidate.Order, h.exempt)
	if err != nil || l.version.Name != candidate.Version {
		return false, err
	}
	if err := h.clean(l, state); err != nil {
		return false, nil //nolint:nilerr // other members lead to classes that are not there: not finished
	}
	drift, err := h.drift(l, state)
	return len(drift) == 0, err
}

// adopt makes a record what is enforced, in the kernel too.
func (h *host) adopt(r *record, state apply.State) error {
	l, err := lay(&r.Order, h.exempt)
	if err != nil {
		return fmt.Errorf("cannot lay out what was enforced: %w", err)
	}
	h.current, h.saved = l, r
	if r.Version != l.version.Name { // by an agent that laid things out otherwise
		h.saved.Version = l.version.Name
		if err := h.disk.write(enforcedFile, h.saved); err != nil {
			return err
		}
	}
	if state.Confirmed == l.version.Name {
		if err := h.clean(l, state); err == nil {
			drift, err := h.drift(l, state)
			if err != nil || len(drift) == 0 {
				return err
			}
			return h.repair(drift)
		}
	}
	return h.repair(nil)
}

// clean deletes what l does not need.
func (h *host) clean(l *layout, state apply.State) error {
	keep := []*nft.Version{l.version}
	if h.trial != nil {
		keep = append(keep, h.trial.layout.version)
	}
	switch state.Trial {
	case openName:
		keep = append(keep, openVersion())
	case "":
		// An element that has ended goes after a while only, and holds on to its chain until then.
		if err := h.kernel.EndTrial(); err != nil {
			return err
		}
	}
	return h.kernel.Delete(keep...)
}
