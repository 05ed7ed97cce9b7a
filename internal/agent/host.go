package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/assign"
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
	// judged is what the flows that are there were last held against; nil if it
	// is not known. Another one than current says that there may be some to cut.
	judged *layout
	// uncut is why those could not be cut; nil if nothing was in the way.
	uncut error
	// trial is what waits for a person; nil if nothing does.
	trial *trial
	// open says that the kernel lets everything pass for a time.
	open bool
	// dialers dial this host from outside while it tries what is wanted.
	dialers []assign.Dialer
	// probes are the results of the last trial.
	probes []v1alpha1.Probe
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

// An intent is an order, with the members of all groups: the version before it
// may name others.
type intent struct {
	order   Order
	members map[string][]netip.Addr
	uplinks []string
	why     string
	// dialers dial the host while it tries the order.
	dialers []assign.Dialer
}

// reach brings the host to an order. An error that wraps errWaiting says that
// nothing is wrong. What was refused before may be tried again once something
// else was reached.
func (h *host) reach(ctx context.Context, in *intent) error {
	err := h.bring(ctx, in)
	if err == nil {
		clear(h.refused)
	}
	return err
}

// bring changes by element if only members differ, else to a new version. The
// version in force follows the members in any case.
func (h *host) bring(ctx context.Context, in *intent) error {
	next, err := lay(&in.order, h.exempt)
	if err != nil {
		return err
	}
	name := next.version.Name
	if h.trial != nil && h.trial.layout.version.Name != name {
		h.log.Warn("the trial ends: something else is wanted now", "version", h.trial.record.Version)
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
	h.dialers = in.dialers
	err = h.swap(ctx, next, r)
	if errors.Is(err, errWithdrawn) {
		h.refused[name] = err
	}
	return err
}
