package agent

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/assign"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/upstream"
	"ringfence.dev/ringfence/rules"
)

const (
	// dialFor is how long a host dials the others of a step once it is told of
	// it: they begin their trials then. One that comes later is not dialled.
	dialFor = time.Minute
	// dialHold is how long a connection is held, so that the other end sees it,
	// and how long it takes until the next; dialPatience how long one may take.
	// Both together fit into probeTime, with room for an answer that is slow.
	dialHold     = 300 * time.Millisecond
	dialPatience = time.Second
)

// A dialer dials the other hosts of a step, if the Rollout says so.
type dialer struct {
	client *upstream.Client
	clock  clock.Clock
	// step is the one that was looked at last, stop ends to dial its hosts.
	step string
	stop context.CancelFunc
}

// follow dials those that an assignment says, if the host runs what they try.
func (d *dialer) follow(ctx context.Context, a *upstream.Assignment, running string) {
	spec := &a.Rollout.Spec
	step := fmt.Sprintf("%s/%d", a.Rollout.UID, a.Rollout.Generation)
	if step == d.step {
		return
	}
	if d.stop != nil {
		d.stop()
		d.stop = nil
	}
	d.step = step
	ports := dialledPorts(assign.Keep(a.Host, a.Rollout, a.Ruleset.Keep))
	if spec.CandidateRulesetName == "" || running != spec.CandidateRulesetName || len(ports) == 0 {
		return
	}
	if _, from := assign.Dialled(spec, a.Host.Name, nil); !from.IsValid() {
		return
	}
	ctx, d.stop = context.WithTimeout(ctx, dialFor)
	go d.dial(ctx, spec, a.Host.Name, ports)
}

// dial dials until the context ends.
func (d *dialer) dial(ctx context.Context, spec *v1alpha1.RolloutSpec, self string, ports map[uint16]string) {
	wearing, err := d.client.Wearing(ctx, spec.SecurityGroupNames)
	if err != nil { // then nobody is dialled, and nobody waits for it
		return
	}
	hosts, from := assign.Dialled(spec, self, slices.Collect(maps.Keys(wearing)))
	var all sync.WaitGroup
	for _, h := range hosts {
		i := slices.IndexFunc(wearing[h], func(a netip.Addr) bool { return a.Is4() == from.Is4() })
		if i < 0 {
			continue
		}
		for port := range ports {
			all.Go(func() { d.again(ctx, from, netip.AddrPortFrom(wearing[h][i], port)) })
		}
	}
	all.Wait()
}

// again makes one new connection after the other.
func (d *dialer) again(ctx context.Context, from netip.Addr, to netip.AddrPort) {
	by := net.Dialer{Timeout: dialPatience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	for ctx.Err() == nil {
		c, err := by.DialContext(ctx, "tcp", to.String())
		select {
		case <-ctx.Done():
		case <-d.clock.After(dialHold):
		}
		if err == nil {
			_ = c.Close()
		}
	}
}

// dialledPorts are those of flows to keep that another host can try: TCP ports
// that every host of the cluster is reached at, such as its kubelet's. Each has
// the row that says so.
func dialledPorts(keep []v1alpha1.KeepFlow) map[uint16]string {
	everyones := slices.DeleteFunc(slices.Clone(keep), func(f v1alpha1.KeepFlow) bool { return len(f.Roles) > 0 })
	needs, err := convert.KeepNeeds(everyones)
	if err != nil {
		return nil // who lays the order out says so
	}
	out := map[uint16]string{}
	for i := range needs {
		n := &needs[i]
		if n.Direction == rules.Ingress && n.Protocol == rules.TCP && n.Ports.First == n.Ports.Last {
			out[n.Ports.First] = n.ID
		}
	}
	return out
}

// dialled are the probes that others make: this host sees whether they come in.
// Without somebody who dials, there is none.
func dialled(o *Order, by []assign.Dialer, force []string) []probe {
	var out []probe
	ports := dialledPorts(o.Ruleset.Keep)
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		if slices.Contains(force, ports[port]) {
			continue
		}
		for _, d := range by {
			out = append(out, probe{
				name:    fmt.Sprintf("port %d of this host, dialled by host %s from %s (row %s)", port, d.Host, d.Address, ports[port]),
				try:     func(ctx context.Context) error { return callComes(ctx, d.Address, port) },
				outside: true,
			})
		}
	}
	return out
}

// callComes waits for a new connection from an address.
func callComes(ctx context.Context, from netip.Addr, port uint16) error {
	before, err := gatherCallers(port)
	if err != nil {
		return err
	}
	const every = 100 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no new connection comes in: %w", ctx.Err())
		case <-tick.C:
		}
		now, err := gatherCallers(port)
		if err != nil {
			return err
		}
		for at := range now {
			if at.Addr() == from && !before[at] {
				return nil
			}
		}
	}
}
