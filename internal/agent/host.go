package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/rules"
)

// A Confirm says what must happen before a change stays.
type Confirm string

// The ways to confirm.
const (
	// ConfirmNever makes changes stay at once.
	ConfirmNever Confirm = "never"
	// ConfirmProbe wants what could be reached before to be reached again.
	ConfirmProbe Confirm = "probe"
	// ConfirmManual waits for a person.
	ConfirmManual Confirm = "manual"
)

// A Policy says how changes come about.
type Policy struct {
	Confirm Confirm
	// Trial is how long a change may go unconfirmed before the kernel takes it
	// back by itself.
	Trial time.Duration
	// Force names rows of flows to keep that may be lost.
	Force []string
}

// A host is the kernel and the disk of one machine, and what both have agreed
// on. It is not safe for concurrent use.
type host struct {
	kernel *apply.Kernel
	disk   disk
	exempt []rules.Exempt
	policy Policy
	clock  clock.WithTicker
	log    *slog.Logger

	// current is what is confirmed, saved its record; nil before the first.
	current *layout
	saved   *record
	// trial is what waits for a person; nil if nothing does.
	trial *trial
	// refused says of versions why they are not tried again.
	refused map[string]error
}

// A trial is a version on trial.
type trial struct {
	layout *layout
	record *record
}

// openName is the version that lets everything pass, for a time.
const openName = "open"

// openVersion lets everything pass through the policies.
func openVersion() *nft.Version {
	v := &nft.Version{Name: openName}
	for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
		for _, family := range []string{"4", "6"} {
			v.Dispatch = append(v.Dispatch, nft.Node{Name: nft.DispatchChain(openName, d, family), Rules: []nft.Rule{nft.Accept{}}})
		}
	}
	return v
}

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
			if err := h.disk.promote(); err != nil {
				return err
			}
			enforced = candidate
		} else if err := h.disk.remove(candidateFile); err != nil {
			return err
		}
	}
	if enforced == nil {
		return nil // what the kernel may have stays until something better is known
	}
	return h.adopt(enforced, state)
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
		}
	}
	return h.repair()
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

// An intent is an order, with the members of all groups: the version before it
// may name others.
type intent struct {
	order   Order
	members map[string][]netip.Addr
	uplinks []string
	why     string
}

// reach brings the host to an order: by element if only members differ, else as
// a new version. The version in force follows the members in any case. An error
// that wraps errWaiting says that nothing is wrong.
func (h *host) reach(ctx context.Context, in *intent) error {
	next, err := lay(&in.order, h.exempt)
	if err != nil {
		return err
	}
	name := next.version.Name
	if h.trial != nil && h.trial.layout.version.Name != name {
		h.log.Warn("the trial ends: the manifests say something else now", "version", h.trial.record.Version)
		if err := h.undo(); err != nil {
			return err
		}
	}
	if err := h.setUplinks(in.uplinks); err != nil {
		return err
	}
	r := &record{Version: name, Since: h.clock.Now(), Why: in.why, Uplinks: in.uplinks, Order: in.order}
	if h.current != nil && h.current.version.Name == name {
		return h.move(&in.order)
	}
	if err := h.follow(in); err != nil {
		return err
	}
	if h.trial != nil {
		return h.moveTrial(r)
	}
	if err := h.refused[name]; err != nil {
		return err
	}
	err = h.swap(ctx, next, r)
	if errors.Is(err, errWithdrawn) {
		h.refused[name] = err // until the agent starts again
	}
	return err
}

// follow gives the version in force the members that its groups have now. A
// group that is no longer known keeps those it had.
func (h *host) follow(in *intent) error {
	if h.current == nil {
		return nil
	}
	o := *h.current.order
	o.Members = map[string][]netip.Addr{}
	for g, had := range h.current.order.Members {
		o.Members[g] = had
		if now, ok := in.members[g]; ok {
			o.Members[g] = now
		}
	}
	if len(changes(h.current.order, &o)) == 0 {
		return nil
	}
	if err := h.move(&o); err != nil {
		return err
	}
	if h.trial != nil {
		return h.disk.write(candidateFile, h.trial.record)
	}
	return nil
}

// move changes members of the version in force by element.
func (h *host) move(o *Order) error {
	next, r := *h.current, *h.saved
	r.Order = *o
	changed := changes(h.current.order, o)
	if len(changed) == 0 {
		if sameButMembers(h.current.order, o) {
			return nil
		}
		next.order = o
		h.current, h.saved = &next, &r
		return h.disk.write(enforcedFile, h.saved)
	}
	if err := next.setMembers(o); err != nil {
		return err
	}
	if err := next.cuts(h.policy.Force); err != nil {
		return fmt.Errorf("a change of %d members: %w", len(changed), err)
	}
	moves, err := next.compiler.Moves(changed)
	if err != nil {
		return err
	}
	if err := h.disk.write(candidateFile, &r); err != nil {
		return err
	}
	if err := h.kernel.Move(next.compiler.Needs(moves), moves); err != nil {
		return errors.Join(err, h.disk.remove(candidateFile))
	}
	before := h.current.version
	h.current, h.saved = &next, &r
	h.log.Info("members changed", "addresses", len(changed), "elements", len(moves))
	if err := h.save(); err != nil || !leaves(before, next.version) {
		return err
	}
	state, err := h.kernel.State()
	if err != nil {
		return err
	}
	return h.clean(&next, state)
}

// leaves reports whether a version has parts that another one does not need.
func leaves(before, after *nft.Version) bool {
	needed := map[string]bool{}
	for _, n := range after.Nodes() {
		needed[n.Name] = true
	}
	return slices.ContainsFunc(before.Nodes(), func(n *nft.Node) bool { return !needed[n.Name] })
}

// save makes what is enforced known to the disk, and that nothing else comes.
func (h *host) save() error {
	if err := h.disk.write(enforcedFile, h.saved); err != nil {
		return err
	}
	return h.disk.remove(candidateFile)
}

// sameButMembers reports whether two orders with the same version differ in
// nothing that is saved beside it.
func sameButMembers(a, b *Order) bool {
	return slices.Equal(a.Addresses, b.Addresses) && reflect.DeepEqual(a.Ruleset, b.Ruleset)
}

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
	return errors.Join(err, h.disk.remove(candidateFile))
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

// moveTrial gives a change of members to the version on trial.
func (h *host) moveTrial(r *record) error {
	t := h.trial
	changed := changes(t.layout.order, &r.Order)
	if len(changed) == 0 {
		return errWaiting
	}
	next := *t.layout
	if err := next.setMembers(&r.Order); err != nil {
		return err
	}
	if err := next.cuts(h.policy.Force); err != nil {
		return err
	}
	moves, err := next.compiler.Moves(changed)
	if err != nil {
		return err
	}
	if err := h.disk.write(candidateFile, r); err != nil {
		return err
	}
	if err := h.kernel.Move(next.compiler.Needs(moves), moves); err != nil {
		return err
	}
	h.trial = &trial{&next, r}
	return errWaiting
}
