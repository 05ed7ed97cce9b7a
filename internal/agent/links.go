package agent

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// A link is an interface as far as it matters.
type link struct {
	name         string
	loopback     bool
	virtual      bool // holds addresses of services, as kube-proxy's ipvs mode has them
	addresses    []netip.Addr
	defaultRoute bool
}

// uplinks returns the interfaces whose traffic is judged, sorted: those that
// hold one of the host's addresses, carry a default route, or are named.
func uplinks(links []link, own []netip.Addr, named []string) ([]string, error) {
	found := map[string]bool{}
	for _, n := range named {
		if !slices.ContainsFunc(links, func(l link) bool { return l.name == n }) {
			return nil, fmt.Errorf("uplink %s: there is no such interface", n)
		}
		found[n] = true
	}
	for _, l := range links {
		holds := slices.ContainsFunc(l.addresses, func(a netip.Addr) bool { return slices.Contains(own, a) })
		if !l.loopback && (holds || l.defaultRoute) {
			found[l.name] = true
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no uplink: no interface holds one of the host's addresses %v or carries a default route, so nothing would be judged: name one with --uplink", own)
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// gatherLinks reads the interfaces of the network namespace.
func gatherLinks() ([]link, error) {
	list, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("cannot list the interfaces: %w", err)
	}
	at := map[int]*link{}
	for _, l := range list {
		at[l.Attrs().Index] = &link{name: l.Attrs().Name, loopback: l.Type() == "loopback" || l.Attrs().Name == "lo", virtual: l.Type() == "dummy"}
	}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("cannot list the addresses: %w", err)
	}
	for _, a := range addresses {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && at[a.LinkIndex] != nil {
			at[a.LinkIndex].addresses = append(at[a.LinkIndex].addresses, ip.Unmap())
		}
	}
	gates, err := gatherGateways()
	if err != nil {
		return nil, err
	}
	for _, g := range gates {
		if at[g.link] != nil {
			at[g.link].defaultRoute = true
		}
	}
	var out []link
	for _, l := range at {
		out = append(out, *l)
	}
	slices.SortFunc(out, func(a, b link) int { return cmp.Compare(a.name, b.name) })
	return out, nil
}

// A gateway is where a default route leads: an interface, and on it a router,
// or the zero address for what is on the link.
type gateway struct {
	link   int
	router netip.Addr
}

// gatherGateways reads the default routes of the main table.
func gatherGateways() ([]gateway, error) {
	var out []gateway
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		if errors.Is(err, netlink.ErrDumpInterrupted) { // it changes just now: asked again when it has
			err = nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list the routes: %w", err)
		}
		for i := range routes {
			r := &routes[i]
			if ones, ok := prefixLength(r); ok && ones > 0 || r.Dst != nil && !ok {
				continue
			}
			out = append(out, hop(r.LinkIndex, r.Gw))
			for _, n := range r.MultiPath {
				out = append(out, hop(n.LinkIndex, n.Gw))
			}
		}
	}
	return out, nil
}

func hop(index int, ip []byte) gateway {
	a, _ := netip.AddrFromSlice(ip)
	return gateway{index, a.Unmap()}
}

func prefixLength(r *netlink.Route) (int, bool) {
	if r.Dst == nil {
		return 0, false
	}
	ones, bits := r.Dst.Mask.Size()
	return ones, bits > 0
}
