package agent

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/conntrack"
	"ringfence.dev/ringfence/internal/nft/apply"
)

const (
	// maxCut is how many flows are cut at once: it bounds the memory that this
	// takes, to some 15 MB. Those beyond it are cut next, which costs to read the
	// table once more.
	maxCut = 32_768
	// maxNamed is how many flows are named one by one.
	maxNamed = 20
	// maxPasses bounds how often the table of connections is read for one change.
	maxPasses = 64
)

// hops knows which addresses lie behind an uplink.
type hops struct {
	routes  *netlink.Handle
	uplinks map[int]bool
	known   map[netip.Addr]bool
}

// maxKnown bounds what hops remembers, in addresses.
const maxKnown = 100_000

func newHops(uplinks []string) (*hops, error) {
	routes, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket to the routes: %w", err)
	}
	h := &hops{routes: routes, uplinks: map[int]bool{}, known: map[netip.Addr]bool{}}
	for _, name := range uplinks {
		l, err := routes.LinkByName(name)
		if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
			continue // no flow passes it any more
		}
		if err != nil {
			routes.Close()
			return nil, fmt.Errorf("cannot find uplink %s: %w", name, err)
		}
		h.uplinks[l.Attrs().Index] = true
	}
	return h, nil
}

func (h *hops) close() { h.routes.Close() }

// byUplink reports whether packets to an address leave by an uplink. Where no
// route leads, they do not.
func (h *hops) byUplink(a netip.Addr) bool {
	by, ok := h.known[a]
	if ok {
		return by
	}
	routes, err := h.routes.RouteGet(a.AsSlice())
	by = err == nil && len(routes) > 0 && h.uplinks[routes[0].LinkIndex]
	if len(h.known) == maxKnown {
		clear(h.known)
	}
	h.known[a] = by
	return by
}

// An omen is what a change does to the flows that are there.
type omen struct {
	flows int
	// first names some of them.
	first []string
}

// look finds flows that a change closes, at most so many, and counts all.
func (c *closing) look(uplinks []string, most int) (omen, []conntrack.Entry, error) {
	var o omen
	if c == nil || c.none {
		return o, nil, nil
	}
	h, err := newHops(uplinks)
	if err != nil {
		return o, nil, err
	}
	defer h.close()
	found, err := conntrack.Find(most, func(e *conntrack.Entry) bool {
		cut := c.cut(e, h.byUplink)
		if len(cut) == 0 {
			return false
		}
		if o.flows++; len(o.first) < maxNamed {
			o.first = append(o.first, cut[0].String())
		}
		return true
	})
	return o, found, errors.Join(c.err(), err)
}

// foresee says which flows a version would cut, once it is confirmed.
func foresee(old, next *layout, uplinks []string) (omen, error) {
	o, _, err := newClosing(old, next).look(uplinks, 0)
	if conntrack.IsInterrupted(err) {
		err = nil
	}
	return o, err
}

// warn says which flows the first version will cut, before anything of it is in
// force: nobody has held them against any rules yet.
func (h *host) warn(next *layout, uplinks []string) {
	o, err := foresee(nil, next, uplinks)
	switch {
	case err != nil:
		h.log.Warn("cannot tell which flows will be cut once this is confirmed", "problem", err)
	case o.flows > 0:
		h.log.Warn("flows will be cut once this is confirmed", "flows", o.flows, "first", o.first)
	}
}

// revoke cuts the flows that were let in by what was enforced when it last did
// so, and that what is enforced now drops; and lets those begin anew that were
// cut, and may pass again. While a version is on trial, or the host is open, it
// waits. What it cannot do is no reason to take a change back: it is said, and
// tried again.
func (h *host) revoke() {
	if h.current == nil || h.judged == h.current {
		return
	}
	state, err := h.kernel.State()
	if err == nil && (h.trial != nil || state.Trial != "") {
		return
	}
	if c := newClosing(h.judged, h.current); c != nil && err == nil {
		err = errors.Join(h.pardon(c), h.cut(c))
	}
	h.uncut = err
	if err != nil {
		h.log.Error("cannot cut the flows that are not let through any more: they go on", "problem", err)
		return
	}
	h.judged = h.current
}

func (h *host) pardon(c *closing) error {
	list, err := h.kernel.Revoked()
	if err != nil {
		return err
	}
	list = c.pardoned(list)
	if err := c.err(); err != nil || len(list) == 0 {
		return err
	}
	h.log.Info("flows that were cut may begin anew", "flows", len(list))
	return h.kernel.Pardon(list)
}

// cut cuts flows: first none of their packets may begin a flow anew, then the
// kernel forgets that they were let in. What the rules before let in is in the
// kernel's table by now: only a part of a table, or more flows than are cut at
// once, make it look again.
func (h *host) cut(c *closing) error {
	for range maxPasses {
		o, found, err := c.look(h.saved.Uplinks, maxCut)
		if c.err() != nil || err != nil && !conntrack.IsInterrupted(err) {
			return err
		}
		if len(found) > 0 {
			h.log.Warn("cutting flows that are not let through any more", "flows", o.flows, "first", o.first)
		}
		if err := h.bar(c, found); err != nil {
			return err
		}
		if err := conntrack.Delete(found); err != nil {
			return err
		}
		if o.flows == len(found) && err == nil {
			return nil
		}
	}
	return fmt.Errorf("after %d times there are still some", maxPasses)
}

// bar lets none of the packets of these flows begin one.
func (h *host) bar(c *closing, found []conntrack.Entry) error {
	var list []apply.Revoked
	for i := range found {
		for _, p := range c.cut(&found[i], func(netip.Addr) bool { return true }) {
			if p.flow.Protocol.HasPorts() {
				list = append(list, p.wire)
			}
		}
	}
	if len(list) == 0 {
		return nil
	}
	err := h.kernel.Revoke(list)
	if errors.Is(err, unix.ENFILE) {
		h.log.Warn("too many flows are cut to remember them all: what this host still sends on some of them may be taken for a new flow", "flows", len(list))
		return nil
	}
	return err
}
