package netns

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// cable makes an interface whose other end is in another namespace, and brings
// both up.
func cable(name, peer string, ns int, addresses []netip.Prefix) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = name
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: peer, PeerNamespace: netlink.NsFd(ns)}); err != nil {
		return err
	}
	for _, a := range addresses {
		if err := assign(name, a); err != nil {
			return err
		}
	}
	return up(name)
}

// join puts a port of the bridge on it.
func join(port string) error {
	link, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	master, err := netlink.LinkByName(bridge)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMaster(link, master); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// carries waits until an interface does: what is sent before is lost, and the
// kernel takes up to a second to notice that the other end is up.
func carries(name string) error {
	const beats, beat = 1000, 5 * time.Millisecond
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for range beats {
		link, err := netlink.LinkByName(name)
		if err != nil || link.Attrs().OperState == netlink.OperUp {
			return err
		}
		<-ticker.C
	}
	return fmt.Errorf("%s is not operational after %s", name, beats*beat)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// assign gives an interface an address, usable at once, and brings it up: what
// is down cannot have routes.
func assign(name string, address netip.Prefix) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	a := &netlink.Addr{IPNet: ipNet(address)}
	if address.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(link, a); err != nil {
		return fmt.Errorf("cannot give %s the address %s: %w", name, address, err)
	}
	return netlink.LinkSetUp(link)
}

// route adds a route through a neighbour, or straight out of an interface, or both.
func route(to netip.Prefix, via netip.Addr, out string) error {
	r := &netlink.Route{Dst: ipNet(to.Masked())}
	if via.IsValid() {
		r.Gw = via.AsSlice()
	} else {
		r.Scope = netlink.SCOPE_LINK
	}
	if out != "" {
		link, err := netlink.LinkByName(out)
		if err != nil {
			return err
		}
		r.LinkIndex = link.Attrs().Index
	}
	return netlink.RouteAdd(r)
}
