package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/internal/nft/apply"
)

// drift is what the table has other than it should; while it is open, what
// opens it is not told.
func (h *host) drift(l *layout, state apply.State) ([]string, error) {
	if state.Trial != "" {
		if state.Confirmed != l.version.Name {
			return []string{"another version is confirmed: " + state.Confirmed}, nil
		}
		return nil, nil
	}
	drift, err := h.kernel.Drift(l.version)
	// What once opened the host leads nowhere any more: the next change takes it away.
	return slices.DeleteFunc(drift, func(d string) bool { return strings.HasPrefix(d, "chain v_"+openName+"_") }), err
}

// repair makes the table what it should be, with as little as helps.
func (h *host) repair() error {
	v := h.current.version
	var failed []error
	for _, first := range []func() error{
		func() error { return nil },
		h.kernel.EndTrial,  // what has ended may still hold on to chains
		h.kernel.Uninstall, // nothing else helped: everything passes for a moment
	} {
		err := first()
		if err == nil {
			err = h.kernel.Repair(v, h.saved.Uplinks)
		}
		if err == nil {
			var drift []string
			if drift, err = h.kernel.Drift(v); err == nil && len(drift) == 0 {
				return nil
			}
			err = errors.Join(err, fmt.Errorf("it still differs: %q", drift))
		}
		failed = append(failed, err)
	}
	return fmt.Errorf("cannot repair the table: %w", errors.Join(failed...))
}

// check looks for drift and repairs it, and says what it found.
func (h *host) check() ([]string, error) {
	if h.current == nil || h.trial != nil {
		return nil, nil
	}
	state, err := h.kernel.State()
	if err != nil {
		return nil, err
	}
	h.open = state.Trial == openName
	led, state := h.lead(state)
	drift, err := h.drift(h.current, state)
	if err != nil || len(drift) == 0 {
		return led, err
	}
	// Somebody may have opened the host meanwhile, which is no drift.
	now, err := h.kernel.State()
	if err != nil || now.Trial != state.Trial || now.Confirmed != state.Confirmed {
		return led, err
	}
	drift = append(led, drift...)
	if !slices.ContainsFunc(drift, func(d string) bool { return !strings.HasSuffix(d, " is not ours") }) {
		// Classes that members have left are no drift, and no packet gets there.
		left, err := h.swept(state)
		if err != nil || len(left) == 0 {
			return nil, err
		}
	}
	h.log.Warn("somebody changed our table: repairing it", "drift", drift)
	return drift, h.repair()
}

// lead makes packets take the version in force again if they are led elsewhere:
// the one repair that is worth making before the whole table is compared.
func (h *host) lead(state apply.State) ([]string, apply.State) {
	name := h.current.version.Name
	if state.Confirmed == name || state.Trial != "" {
		return nil, state
	}
	err := h.kernel.Confirm(name)
	if err != nil { // it is not there
		if err = h.kernel.Load(h.current.version, h.saved.Uplinks); err == nil {
			err = h.kernel.Confirm(name)
		}
	}
	if err != nil {
		h.log.Debug("cannot lead packets back: the whole table is compared", "problem", err)
		return nil, state
	}
	led := "no version was in force"
	if state.Confirmed != "" {
		led = "version " + state.Confirmed + " was in force"
	}
	state.Confirmed = name
	h.log.Warn("somebody changed our table: packets take the rules again", "drift", led)
	return []string{led}, state
}

// swept returns the drift that is left after what is too much was deleted.
func (h *host) swept(state apply.State) ([]string, error) {
	if err := h.clean(h.current, state); err != nil {
		h.log.Debug("cannot clean up", "problem", err)
	}
	return h.drift(h.current, state)
}

// setUplinks lets the table judge other uplinks, if they differ.
func (h *host) setUplinks(list []string) error {
	if h.current == nil {
		return nil
	}
	live, err := readUplinks()
	if err != nil {
		return err
	}
	if slices.Equal(live, list) && slices.Equal(h.saved.Uplinks, list) {
		return nil
	}
	if err := h.kernel.SetUplinks(list); err != nil {
		return err
	}
	h.log.Info("uplinks changed", "before", live, "now", list)
	h.saved.Uplinks = list
	return h.disk.write(enforcedFile, h.saved)
}

// auditUplinks makes the uplinks those that were enforced last.
func (h *host) auditUplinks() error {
	if h.current == nil {
		return nil
	}
	return h.setUplinks(h.saved.Uplinks)
}
