package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/assign"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/statedir"
	"ringfence.dev/ringfence/internal/upstream"
)

// A joined host follows a control plane, and tells it what it does.
type joined struct {
	client   *upstream.Client
	feed     *upstream.Feed
	reporter *upstream.Reporter // nil before the host was heard
	dialer   dialer
	clock    clock.PassiveClock
	log      *slog.Logger
	facts    facts
	// looked is when facts were gathered last.
	looked time.Time
	// seen is the version of the Host that was looked at last, saved what was in
	// force when its groups were asked for.
	seen  string
	saved *record
}

// follow follows the control plane that a state folder belongs to, until the
// context ends.
func follow(ctx context.Context, dir statedir.Dir, log *slog.Logger) (*joined, error) {
	client, err := upstream.Open(dir, clock.RealClock{}, log)
	if errors.Is(err, upstream.ErrNotJoined) {
		return nil, inputError{fmt.Errorf("--manifests is missing, and %w by state folder %s: see ringfence-agent join --help", err, dir)}
	}
	if err != nil {
		return nil, err
	}
	return &joined{client: client, feed: client.Follow(ctx), dialer: dialer{client: client, clock: clock.RealClock{}}, clock: clock.RealClock{}, log: log}, nil
}

// live begins to be heard.
func (j *joined) live(ctx context.Context) {
	j.reporter = j.client.Report(ctx)
	go j.client.KeepAlive(ctx)
}

func (j *joined) String() string { return "the control plane " + j.client.Server }

func (j *joined) told() <-chan struct{} { return j.feed.Changed() }

func (*joined) look() bool { return false }

func (j *joined) read() (*intent, error) {
	a, err := j.feed.Current()
	if err != nil {
		return nil, err
	}
	return ordered(j.client.Host.Name, a)
}

// ordered makes an intent of an assignment.
func ordered(name string, a *upstream.Assignment) (*intent, error) {
	o := Order{
		Host: name, Ruleset: *a.Ruleset, RulesetName: a.RulesetName, Observe: assign.Observes(a.Host, a.Rollout),
		Members: map[string][]netip.Addr{}, Plane: a.Reached, Serves: a.Here,
	}
	for _, text := range a.Rollout.Spec.VPCCIDRBlocks {
		cidr, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("spec.vpcCIDRBlocks of the Rollout: %w", err)
		}
		o.Around = append(o.Around, cidr)
	}
	o.Ruleset.Keep = append(assign.Keep(a.Host, a.Rollout, a.Ruleset.Keep), keepPlane(a.Reached)...)
	for _, text := range a.Host.Spec.Addresses {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("spec.addresses of host %s: %w", name, err)
		}
		o.Addresses = append(o.Addresses, addr)
	}
	for _, g := range convert.RulesetGroups(&o.Ruleset) {
		list, ok := a.Members[g]
		if !ok {
			return nil, fmt.Errorf("%w: members of group %s", upstream.ErrUnknown, g)
		}
		o.Members[g] = list
	}
	why := fmt.Sprintf("Ruleset %s of groups %s", a.RulesetName, strings.Join(a.Ruleset.SecurityGroupNames, ", "))
	in := &intent{order: o, members: a.Members, why: why}
	if a.RulesetName == a.Rollout.Spec.CandidateRulesetName {
		in.dialers = assign.Dialers(&a.Rollout.Spec, name)
	}
	return in, nil
}

// keepPlane are the flows to the control plane, which told the host what to
// enforce and must be able to tell it otherwise.
func keepPlane(reached []netip.AddrPort) []v1alpha1.KeepFlow {
	var out []v1alpha1.KeepFlow
	for _, at := range reached {
		out = append(out, v1alpha1.KeepFlow{
			Row: rowControlPlane, Direction: v1alpha1.DirectionEgress, Protocol: intstr.FromString("TCP"),
			Ports: fmt.Sprintf("%d/%d", at.Port(), at.Port()),
			CIDRs: []v1alpha1.CIDR{netip.PrefixFrom(at.Addr(), at.Addr().BitLen()).String()},
		})
	}
	return out
}

// factsEvery is how often a host looks what runs on it.
const factsEvery = 10 * time.Second

// heard tells the control plane, which hears from the host from then on.
func (j *joined) heard(ctx context.Context, n *news) {
	if j.reporter == nil {
		j.live(ctx)
	}
	if n.saved != nil && n.saved != j.saved {
		j.saved = n.saved
		j.feed.Also(convert.RulesetGroups(&n.saved.Order.Ruleset))
	}
	if a, err := j.feed.Current(); err == nil && n.saved != nil {
		j.dialer.follow(ctx, a, n.saved.Order.RulesetName)
	}
	host := j.feed.Host()
	if host == nil { // nobody to tell
		return
	}
	if host.ResourceVersion != j.seen {
		j.seen = host.ResourceVersion
		j.reporter.Seen(&host.Status)
	}
	if now := j.clock.Now(); n.links || now.Sub(j.looked) >= factsEvery {
		j.looked = now
		if found, err := gatherFacts(); err != nil {
			j.log.Warn("the control plane hears nothing new of addresses and roles", "problem", err)
		} else {
			j.facts = found
		}
	}
	j.reporter.Status(hostStatus(n, &j.facts, &host.Status, j.clock.Now()))
}

// A facts is what a host sees of itself.
type facts struct {
	// addresses are those of its interfaces, sorted.
	addresses []netip.Addr
	// roles are what listens on it, sorted.
	roles []v1alpha1.HostRole
}

// maxAddresses is how many a status has room for.
const maxAddresses = 64

func gatherFacts() (facts, error) {
	links, err := gatherLinks()
	if err != nil {
		return facts{}, err
	}
	var f facts
	for _, l := range links {
		if l.loopback || l.virtual {
			continue
		}
		for _, a := range l.addresses {
			if a.IsGlobalUnicast() {
				f.addresses = append(f.addresses, a.WithZone(""))
			}
		}
	}
	slices.SortFunc(f.addresses, netip.Addr.Compare)
	f.addresses = slices.Compact(f.addresses)
	f.addresses = f.addresses[:min(maxAddresses, len(f.addresses))]
	ports, err := gatherListeners()
	f.roles = rolesOf(ports)
	return f, err
}

// The ports by which etcd and an API server are known, as kubeadm and all
// others that were looked at set them.
const (
	portEtcdClient = 2379
	portEtcdPeer   = 2380
	portAPIServer  = 6443
)

// rolesOf says what a host is there for that listens on these TCP ports.
func rolesOf(ports map[uint16]bool) []v1alpha1.HostRole {
	var out []v1alpha1.HostRole
	if ports[portAPIServer] {
		out = append(out, v1alpha1.RoleAPIServer)
	}
	if ports[portEtcdClient] || ports[portEtcdPeer] {
		out = append(out, v1alpha1.RoleEtcd)
	}
	return out
}

// flows implements flowSink.
func (j *joined) flows(r *v1alpha1.FlowReport) { j.reporter.Flows(r) }
