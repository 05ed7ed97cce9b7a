package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"ringfence.dev/ringfence/internal/nft"
)

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
		return errors.Join(err, h.disk.Remove(candidateFile))
	}
	before := h.current.version
	h.current, h.saved = &next, &r
	h.log.Info("members changed", "addresses", len(changed), "elements", len(moves))
	h.revoke()
	if err := h.disk.promote(); err != nil || !leaves(before, next.version) { // megabytes, perhaps: written once
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
	return h.disk.Remove(candidateFile)
}

// sameButMembers reports whether two orders with the same version differ in
// nothing that is saved beside it.
func sameButMembers(a, b *Order) bool {
	return slices.Equal(a.Addresses, b.Addresses) && a.RulesetName == b.RulesetName && reflect.DeepEqual(a.passes(), b.passes()) &&
		reflect.DeepEqual(a.Ruleset, b.Ruleset)
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
