package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/vishvananda/netlink"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/rules"
)

// A probe is something that this host can try, and that works or does not.
type probe struct {
	name string
	try  func(context.Context) error
	// outside says that others try it, who may stop doing so.
	outside bool
}

const (
	// probeTime is how long one probe may take: a lost SYN is sent again after
	// one second, so that one lost packet fails nothing.
	probeTime = 2500 * time.Millisecond
	// maxProbes is how many connections are tried at most.
	maxProbes = 32
)

// probes lists what the host can try: its default routers, its DNS servers, and
// the TCP connections that it may not lose by any of the orders, which are the
// one in force and the one to come: who forgets the API server has forgotten to
// keep it, too.
func probes(orders ...*Order) ([]probe, error) {
	gates, err := gatherGateways()
	if err != nil {
		return nil, err
	}
	var out []probe
	for _, g := range gates {
		if g.router.IsValid() && !g.router.IsUnspecified() {
			out = append(out, probe{name: "default gateway " + g.router.String(), try: func(context.Context) error { return neighbour(g) }})
		}
	}
	for _, s := range nameservers("/etc/resolv.conf") {
		out = append(out, probe{name: "DNS server " + s, try: func(ctx context.Context) error { return resolve(ctx, s) }})
	}
	targets := map[string]bool{}
	for _, o := range orders {
		needs, err := convert.KeepNeeds(o.Ruleset.Keep)
		if err != nil {
			return nil, err
		}
		for i := range needs {
			for _, at := range endpoints(&needs[i]) {
				if !targets[at] && len(targets) < maxProbes {
					targets[at] = true
					out = append(out, probe{name: fmt.Sprintf("%s (row %s)", at, needs[i].ID), try: func(ctx context.Context) error { return dial(ctx, at) }})
				}
			}
		}
	}
	return out, nil
}

// endpoints are what can be dialled of a flow to keep: the first port of a range
// and the last, for one may be open without the other.
func endpoints(n *rules.Need) []string {
	peer, ok := n.Peer.(rules.CIDR)
	if n.Direction != rules.Egress || n.Protocol != rules.TCP || !ok || !peer.Prefix.IsSingleIP() {
		return nil
	}
	out := []string{netip.AddrPortFrom(peer.Prefix.Addr(), n.Ports.First).String()}
	if n.Ports.Last != n.Ports.First {
		out = append(out, netip.AddrPortFrom(peer.Prefix.Addr(), n.Ports.Last).String())
	}
	return out
}

// run tries all probes at once; the errors are in their order.
func run(ctx context.Context, list []probe) []error {
	out := make([]error, len(list))
	var all sync.WaitGroup
	for i, p := range list {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, probeTime)
			defer cancel()
			out[i] = p.try(ctx)
		})
	}
	all.Wait()
	return out
}

// dial makes a new connection: one that is there already would prove nothing.
func dial(ctx context.Context, at string) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", at)
	if err != nil {
		return err
	}
	return c.Close()
}

// neighbour reports whether the kernel reaches a router.
func neighbour(g gateway) error {
	family := netlink.FAMILY_V4
	if g.router.Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := netlink.NeighList(g.link, family)
	if err != nil {
		return fmt.Errorf("cannot list the neighbours: %w", err)
	}
	const dead = netlink.NUD_FAILED | netlink.NUD_INCOMPLETE
	for i := range list {
		if a, ok := netip.AddrFromSlice(list[i].IP); ok && a.Unmap() == g.router && list[i].State&dead == 0 && list[i].State != netlink.NUD_NONE {
			return nil
		}
	}
	return errors.New("the kernel has no neighbour entry for it")
}

// resolve asks a DNS server. Any answer will do.
func resolve(ctx context.Context, server string) error {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(server, "53"))
	}}
	_, err := r.LookupNS(ctx, ".")
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return nil
	}
	return err
}

// nameservers reads the DNS servers of a resolv.conf, but for those on this
// machine, which no uplink is asked about. A file that is not there has none.
func nameservers(file string) []string {
	f, err := os.Open(file) //nolint:gosec // a constant
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	var out []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil && !a.IsLoopback() {
			out = append(out, a.String())
		}
	}
	return out
}

// probed confirms a version that was built if what could be reached before can
// be reached by it.
func (h *host) probed(ctx context.Context, next *layout, r *record) error {
	orders := []*Order{next.order}
	if h.current != nil {
		orders = append(orders, h.current.order)
	}
	list, err := probes(orders...)
	if err != nil {
		return err
	}
	list = append(list, dialled(next.order, h.dialers, h.policy.Force)...)
	return h.proven(ctx, r, passing(list, run(ctx, list)))
}

// proven confirms a version if these probes, which have passed, pass again.
func (h *host) proven(ctx context.Context, r *record, list []probe) error {
	for {
		lost, err := h.tried(ctx, r.Version, list)
		if err != nil {
			return err
		}
		if len(lost) == 0 {
			break
		}
		silent, err := h.silent(ctx, lost)
		if err != nil {
			return err
		}
		if len(silent) == 0 {
			return fmt.Errorf("%w: with version %s the host does not reach what it reached before: %s", errWithdrawn, r.Version, strings.Join(reasons(lost), "; "))
		}
		h.log.Info("nobody dials this host any more: it is tried without", "probes", slices.Sorted(maps.Keys(silent)))
		list = slices.DeleteFunc(list, func(p probe) bool { return silent[p.name] })
	}
	if err := h.kernel.ConfirmTrial(r.Version); err != nil {
		return err
	}
	r.Why += "; " + tally(list)
	return nil
}

// A loss is a probe that passed before a change, and not by it.
type loss struct {
	probe probe
	err   error
}

// tried puts a version on trial, and returns what is lost by it.
func (h *host) tried(ctx context.Context, version string, list []probe) ([]loss, error) {
	if err := h.kernel.Trial(version, h.policy.Trial); err != nil {
		return nil, err
	}
	after := run(ctx, list)
	h.probes = results(list, after)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("stopped during the trial: %w", err)
	}
	var lost []loss
	for i, err := range after {
		if err != nil {
			lost = append(lost, loss{list[i], err})
		}
	}
	return lost, nil
}

// silent returns those of the probes that were lost which say nothing: all that
// was lost is tried by others, and without the new version it is lost as well.
// It ends the trial to find out. None means that the version is to blame.
func (h *host) silent(ctx context.Context, lost []loss) (map[string]bool, error) {
	var again []probe
	for _, l := range lost {
		if !l.probe.outside {
			return nil, nil
		}
		again = append(again, l.probe)
	}
	if err := h.kernel.EndTrial(); err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for i, err := range run(ctx, again) {
		if err == nil {
			return nil, nil
		}
		out[again[i].name] = true
	}
	return out, nil
}

func reasons(lost []loss) []string {
	var out []string
	for _, l := range lost {
		out = append(out, fmt.Sprintf("%s: %v", l.probe.name, l.err))
	}
	return out
}

// maxMessage is how long a text in a status of the API may be.
const maxMessage = 1024

// results are what probes have said, for the status.
func results(list []probe, errs []error) []v1alpha1.Probe {
	out := make([]v1alpha1.Probe, len(list))
	for i, p := range list {
		out[i] = v1alpha1.Probe{Name: p.name, Passed: errs[i] == nil, Message: cut(text(errs[i]), maxMessage)}
	}
	return out
}

// cut cuts a text to so many bytes, between two characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

func tally(passed []probe) string {
	if len(passed) == 0 {
		return "nothing could be reached before, so nothing was probed"
	}
	names := make([]string, len(passed))
	for i, p := range passed {
		names[i] = p.name
	}
	return "reached before and after: " + strings.Join(names, ", ")
}

func passing(list []probe, results []error) []probe {
	var out []probe
	for i, err := range results {
		if err == nil {
			out = append(out, list[i])
		}
	}
	return slices.Clip(out)
}
