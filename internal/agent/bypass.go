package agent

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/rules"
)

// A way is an interface as far as traffic may pass it that nobody judges.
type way struct {
	name string
	kind string
	// index is the interface's own number, master that of the bond or bridge
	// that it is part of, below that of the one that it stands on; 0 for none.
	index, master, below int
	// device says that there is hardware behind it, or what a hypervisor gives
	// for hardware. Elsewhere says that what it stands on is in another network
	// namespace.
	device, elsewhere bool
	up                bool
	// global says that it has an address that others may reach.
	global bool
	// programs are where BPF programs see its packets before or after us.
	programs []string
	// blind says that this process may not ask for those by tcx.
	blind bool
}

// The kinds of interfaces whose packets leave by the one that they stand on as
// they are, not in packets of another flow, which would be judged.
var stacked = []string{"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"} //nolint:gochecknoglobals // a constant

// bypassed says what passes this host without being judged, or may: nothing if
// the list is empty. Untracked is how many packets came or went for which the
// kernel follows no flow.
//
// It knows of what can be known: that a veth leads out of the machine, and not
// to a pod, cannot, so none is told of; nor can what a BPF program does, so
// every one on an uplink is.
func bypassed(ways []way, uplinks []string, untracked uint64) []string {
	s := surroundings{ways, uplinks}
	var out []string
	for i := range ways {
		w := &ways[i]
		if s.isUplink(w) {
			for _, p := range w.programs {
				out = append(out, fmt.Sprintf("a BPF program at %s of uplink %s sees packets that the rules may not: it can let them through, change them, or lead them elsewhere", p, w.name))
			}
			if w.blind {
				out = append(out, fmt.Sprintf("whether a BPF program at tcx of uplink %s sees packets that the rules may not cannot be told: this process may not call bpf(2)", w.name))
			}
			continue
		}
		if !w.up || !s.leadsOut(w) {
			continue
		}
		master := s.at(w.master)
		switch {
		case w.global:
			out = append(out, fmt.Sprintf("interface %s leads out of this host, has an address, and is no uplink: what passes it is not judged; name it with --uplink", w.name))
		case master != nil && !master.global && !s.belowUplink(w):
			out = append(out, fmt.Sprintf("interface %s leads out of this host as a part of %s, which is no uplink: what passes it is not judged; name %s with --uplink", w.name, master.name, master.name))
		}
	}
	if untracked > 0 {
		out = append(out, "packets came or went that the kernel follows no flow for (somebody has a rule with notrack): the rules judge them both ways, so that answers need rules of their own")
	}
	return out
}

type surroundings struct {
	ways    []way
	uplinks []string
}

func (s *surroundings) isUplink(w *way) bool { return slices.Contains(s.uplinks, w.name) }

// at returns the interface with a number; nil if there is none.
func (s *surroundings) at(index int) *way {
	i := slices.IndexFunc(s.ways, func(w way) bool { return index != 0 && w.index == index })
	if i < 0 {
		return nil
	}
	return &s.ways[i]
}

// maxStack is how many interfaces stand on each other at most: the kernel
// allows 8.
const maxStack = 8

// leadsOut reports whether packets get out of the machine by an interface: by
// itself, by a part of it, or by what it stands on.
func (s *surroundings) leadsOut(w *way) bool { return s.leads(w, maxStack) }

func (s *surroundings) leads(w *way, depth int) bool {
	switch {
	case w == nil || depth == 0:
		return false
	case w.device:
		return true
	case slices.Contains(stacked, w.kind):
		return w.elsewhere || s.leads(s.at(w.below), depth-1)
	}
	for i := range s.ways {
		if part := &s.ways[i]; part.master == w.index && w.index != 0 && s.leads(part, depth-1) {
			return true
		}
	}
	return false
}

// belowUplink reports whether an interface is part of an uplink.
func (s *surroundings) belowUplink(w *way) bool {
	for range maxStack {
		if w = s.at(w.master); w == nil {
			return false
		}
		if s.isUplink(w) {
			return true
		}
	}
	return false
}

// gatherWays reads the interfaces of the network namespace, and the programs on
// uplinks.
func gatherWays(uplinks []string) ([]way, error) {
	list, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("cannot list the interfaces: %w", err)
	}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("cannot list the addresses: %w", err)
	}
	global := map[int]bool{}
	for _, a := range addresses {
		ip, ok := netip.AddrFromSlice(a.IP)
		ip = ip.Unmap()
		global[a.LinkIndex] = global[a.LinkIndex] || ok && !ip.IsLinkLocalUnicast() && !ip.IsLoopback()
	}
	var out []way
	for _, l := range list {
		a := l.Attrs()
		w := way{
			name: a.Name, kind: l.Type(), index: a.Index, master: a.MasterIndex, below: a.ParentIndex,
			device: a.ParentDev != "", elsewhere: a.NetNsID >= 0, up: a.RawFlags&unix.IFF_UP != 0, global: global[a.Index],
		}
		if slices.Contains(uplinks, w.name) {
			err := w.findPrograms(l)
			if w.blind = errors.Is(err, unix.EPERM); err != nil && !w.blind {
				return nil, err
			}
		}
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b way) int { return cmp.Compare(a.name, b.name) })
	return out, nil
}

// findPrograms fills in where BPF programs are attached to an interface.
func (w *way) findPrograms(l netlink.Link) error {
	if x := l.Attrs().Xdp; x != nil && x.Attached {
		w.programs = append(w.programs, "XDP")
	}
	var refused error
	for _, side := range []struct {
		name   string
		parent uint32
		tcx    uint32
	}{{"ingress", netlink.HANDLE_MIN_INGRESS, tcxIngress}, {"egress", netlink.HANDLE_MIN_EGRESS, tcxEgress}} {
		filters, err := netlink.FilterList(l, side.parent)
		// Without a qdisc for it, some kernels say that there is nothing to list.
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cannot list the tc filters of %s: %w", w.name, err)
		}
		if slices.ContainsFunc(filters, hasProgram) {
			w.programs = append(w.programs, "tc "+side.name)
		}
		n, err := countTCX(w.index, side.tcx)
		if err != nil {
			refused = fmt.Errorf("cannot list the tcx programs of %s: %w", w.name, err)
		}
		if n > 0 {
			w.programs = append(w.programs, "tcx "+side.name)
		}
	}
	return refused
}

// hasProgram reports whether a filter is a BPF program, or runs one.
func hasProgram(f netlink.Filter) bool {
	var actions []netlink.Action
	switch f := f.(type) {
	case *netlink.BpfFilter:
		return true
	case *netlink.U32:
		actions = f.Actions
	case *netlink.MatchAll:
		actions = f.Actions
	case *netlink.Flower:
		actions = f.Actions
	}
	return slices.ContainsFunc(actions, func(a netlink.Action) bool {
		_, ok := a.(*netlink.BpfAction)
		return ok
	})
}

// What the system call bpf(2) is asked with: the query, where it may be asked
// about, and how long its attributes are.
const (
	progQuery             = 16
	tcxIngress, tcxEgress = 46, 47
	queryLength           = 64
	queryCount            = 24 // where the answer is
)

// countTCX returns how many programs tcx runs, for which the netlink library has
// no words. A kernel that does not know tcx runs none.
func countTCX(index int, where uint32) (uint32, error) {
	var attributes [queryLength / 4]uint32
	attributes[0], attributes[1] = uint32(index), where                                                        //nolint:gosec // the kernel counts from 1
	_, _, errno := unix.Syscall(unix.SYS_BPF, progQuery, uintptr(unsafe.Pointer(&attributes[0])), queryLength) //nolint:gosec // no library for one number
	if errno == 0 {
		return attributes[queryCount/4], nil
	}
	if slices.Contains([]unix.Errno{unix.EINVAL, unix.ENOSYS, unix.ENOENT, unix.EOPNOTSUPP}, errno) {
		return 0, nil
	}
	return 0, errno
}

// gatherBypassed says what passes the host without being judged.
func gatherBypassed(k *apply.Kernel, uplinks []string) ([]string, error) {
	ways, err := gatherWays(uplinks)
	if err != nil {
		return nil, err
	}
	counts, err := k.Tallies()
	if err != nil {
		return nil, err
	}
	untracked := counts[nft.Untracked(rules.Ingress)].Packets + counts[nft.Untracked(rules.Egress)].Packets
	return bypassed(ways, uplinks, untracked), nil
}

// lookAround notes what passes the host without being judged, and says it once.
func (f *follower) lookAround() {
	if f.host.current == nil {
		return
	}
	now, err := gatherBypassed(f.host.kernel, f.host.saved.Uplinks)
	if err != nil {
		f.host.log.Warn("cannot tell whether anything passes without being judged", "problem", err)
		return
	}
	if f.host.uncut != nil {
		now = append(now, fmt.Sprintf("flows that are not let through any more go on: %v", f.host.uncut))
	}
	if !slices.Equal(now, f.bypassed) {
		f.host.log.Warn("what passes without being judged has changed", "now", strings.Join(now, "; "))
	}
	f.bypassed = now
}
