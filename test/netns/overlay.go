package netns

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A VXLAN is one end of a tunnel between two machines.
type VXLAN struct {
	// Name is that of the interface.
	Name          string
	Local, Remote netip.Addr
	Port          uint16
	// Address is that of the interface, Peer that of the other end's, and Far
	// what is behind it.
	Address, Peer netip.Addr
	Far           netip.Prefix
}

// vni is the network's number on the wire: there is one.
const vni = 1

// Tunnel builds one end of a tunnel.
func (m *Machine) Tunnel(v VXLAN) {
	m.Change("build tunnel "+v.Name, func() error {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = v.Name
		link := &netlink.Vxlan{LinkAttrs: attributes, VxlanId: vni, SrcAddr: v.Local.AsSlice(), Group: v.Remote.AsSlice(), Port: int(v.Port)}
		if err := netlink.LinkAdd(link); err != nil {
			return err
		}
		if err := assign(v.Name, netip.PrefixFrom(v.Address, v.Address.BitLen())); err != nil {
			return err
		}
		if err := route(netip.PrefixFrom(v.Peer, v.Peer.BitLen()), netip.Addr{}, v.Name); err != nil {
			return err
		}
		return route(v.Far, v.Peer, v.Name)
	})
}

// The tables in which address translation is done are named as what does it
// elsewhere, and hold nothing else.
const (
	hookPriorityDNAT = -100
	hookPrioritySNAT = 100
)

// Masquerade makes what comes from an IPv4 range leave through an interface with
// the machine's own address.
func (m *Machine) Masquerade(from netip.Prefix, out string) {
	m.Change("masquerade "+from.String(), func() error {
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, out)
		mask := ipNet(from).Mask
		return translate("masquerade", nftables.ChainHookPostrouting, hookPrioritySNAT, []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, // the source
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, len(mask))},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: from.Masked().Addr().AsSlice()},
			&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
			&expr.Masq{},
		})
	})
}

// NodePort sends TCP connections to a port of the machine on to somebody behind
// it, as kube-proxy does.
func (m *Machine) NodePort(port uint16, to netip.AddrPort) {
	m.Change(fmt.Sprintf("publish port %d", port), func() error {
		return translate("nodeport", nftables.ChainHookPrerouting, hookPriorityDNAT, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, // the destination port
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
			&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(to.Port())},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
		})
	})
}

func translate(name string, hook *nftables.ChainHook, priority nftables.ChainPriority, rule []expr.Any) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: name})
	chain := c.AddChain(&nftables.Chain{Table: table, Name: name, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: &priority})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rule})
	return c.Flush()
}
