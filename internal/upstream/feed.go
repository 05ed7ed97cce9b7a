package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/assign"
	"ringfence.dev/ringfence/internal/convert"
)

// An Assignment is what the control plane says that this host is to enforce.
type Assignment struct {
	// Host and Rollout are the objects that say so.
	Host    *v1alpha1.Host
	Rollout *v1alpha1.Rollout
	// RulesetName names the Ruleset, whose content Ruleset is. It must not be
	// changed.
	RulesetName string
	Ruleset     *v1alpha1.RulesetSpec
	// Members are the addresses of groups, sorted: of all those that the Ruleset
	// names, and of others that were asked for with Also. One that is missing is
	// not known.
	Members map[string][]netip.Addr
	// Reached is where the control plane was reached lately, Here the ports on
	// which it is on this machine.
	Reached []netip.AddrPort
	Here    []uint16
}

// ErrUnknown says that it is not known yet what the host is to enforce: it keeps
// what it enforces.
var ErrUnknown = errors.New("it is not known yet what this host is to enforce")

// A Feed follows the control plane. It is safe for concurrent use.
type Feed struct {
	client *Client
	// events has something when an object changed, changed when Current did.
	events, changed chan struct{}

	mu       sync.Mutex
	host     one[v1alpha1.Host]
	rollouts *many[v1alpha1.Rollout]
	// among says which Rollouts these are; stop ends to follow them.
	among   [2]string
	stop    context.CancelFunc
	groups  map[string]*group
	also    []string
	current *Assignment
	why     error
	// failed is why the control plane was asked in vain last; nil if it answered.
	failed error

	// ruleset is the one that was read last. Only the feed's own goroutine has it.
	ruleset     *v1alpha1.RulesetSpec
	rulesetName string
}

// Follow begins to follow. It ends with the context.
func (c *Client) Follow(ctx context.Context) *Feed {
	ctx = quiet(ctx, c.log)
	f := &Feed{
		client: c, events: make(chan struct{}, 1), changed: make(chan struct{}, 1), groups: map[string]*group{},
		why: fmt.Errorf("%w: %s has not answered", ErrUnknown, c.Server),
	}
	f.host.changed = f.event
	f.watch(ctx, "hosts", named(c.Host.Name), &v1alpha1.Host{}, &locked{&f.mu, &f.host})
	go f.run(ctx)
	go f.names(ctx)
	return f
}

// Changed has something when Current may say something else than it did.
func (f *Feed) Changed() <-chan struct{} { return f.changed }

// Current returns the assignment. An error says why it is not known, or not
// understood; what is enforced stays then.
func (f *Feed) Current() (*Assignment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current, f.why
}

// Host returns the host's own object, whatever it says; nil if it is not known,
// or not there any more. It must not be changed.
func (f *Feed) Host() *v1alpha1.Host {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.host.object
}

// Also asks for the members of further groups: those of the version in force,
// which follows its members while another one is on trial.
func (f *Feed) Also(groups []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.also, groups) {
		f.also = slices.Clone(groups)
		f.event()
	}
}

func (f *Feed) event() { poke(f.events) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting to be taken
	}
}

// watch lists and watches until the context ends; what fails is tried again,
// later and later.
func (f *Feed) watch(ctx context.Context, resource string, of metav1.ListOptions, kind runtime.Object, into cache.ReflectorStore) {
	var from cache.Getter = plain{f.client.ours}
	if resource == slicesResource {
		from = f.client.ours
	}
	lw := cache.NewFilteredListWatchFromClient(from, resource, f.client.Host.Namespace, func(o *metav1.ListOptions) {
		o.FieldSelector, o.LabelSelector = of.FieldSelector, of.LabelSelector
	})
	r := cache.NewReflectorWithOptions(f.listed(lw), kind, into, cache.ReflectorOptions{Name: resource})
	go r.RunWithContext(ctx)
}

// slicesResource is the one kind of which there may be megabytes. They are worth
// compressing.
const slicesResource = "addressslices"

// plain asks for answers that are not compressed. Left alone, the control plane
// compresses each change for each of its hosts anew, which costs both sides more
// than the kilobyte that it saves, and the host 40 KB for as long as it watches.
type plain struct{ of cache.Getter }

// Get implements cache.Getter.
func (p plain) Get() *rest.Request { return p.of.Get().SetHeader("Accept-Encoding", "identity") }

// named selects the one object with a name.
func named(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}
}

const (
	// fold is how long changes are gathered before the host hears of them.
	fold = 100 * time.Millisecond
	// What could not be read is tried again after firstRetry, and twice as long
	// each time, up to lastRetry.
	firstRetry, lastRetry = time.Second, time.Minute
)

func (f *Feed) run(ctx context.Context) {
	backoff := firstRetry
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.events:
			folded := f.client.clock.After(fold)
			f.ahead(ctx)
			select {
			case <-ctx.Done():
			case <-folded:
			}
			backoff = firstRetry
		case <-retry:
			backoff = min(2*backoff, lastRetry) //nolint:mnd // twice as long
		}
		retry = nil
		if again := f.turn(ctx); again {
			retry = f.client.clock.After(backoff)
		}
	}
}

// resolveEvery is how often the name of the control plane is looked up: the host
// must let its next address through before it goes there.
const resolveEvery = 30 * time.Second

// names looks the name up until the context ends, beside all else: a DNS server
// that does not answer holds nothing up.
func (f *Feed) names(ctx context.Context) {
	for ctx.Err() == nil {
		look, cancel := context.WithTimeout(ctx, dialTime)
		if f.client.reached.resolve(look, f.client.Server) {
			f.event()
		}
		cancel()
		f.pause(ctx, resolveEvery)
	}
}

func (f *Feed) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-f.client.clock.After(d):
	}
}

// turn finds out what the host is to enforce, and tells. It reports whether to
// try again although nothing changes.
func (f *Feed) turn(ctx context.Context) bool {
	a, err := f.assignment(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		if reflect.DeepEqual(a, f.current) && f.why == nil {
			return false
		}
		f.current = a
	}
	if text(err) != text(f.why) || err == nil {
		f.why = err
		poke(f.changed)
	}
	return errors.Is(err, errTryAgain)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// errTryAgain says that asking again may help.
var errTryAgain = errors.New("tried again soon")

// ahead fetches what will be needed while changes are gathered. What goes wrong
// shows in the turn.
func (f *Feed) ahead(ctx context.Context) {
	a, err := f.told(ctx)
	if err == nil {
		_ = f.read(ctx, a.RulesetName)
	}
}

// assignment reads what is known.
func (f *Feed) assignment(ctx context.Context) (*Assignment, error) {
	a, err := f.told(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.read(ctx, a.RulesetName); err != nil {
		return nil, err
	}
	a.Ruleset = f.ruleset
	if a.Members, err = f.members(ctx, convert.RulesetGroups(f.ruleset)); err != nil {
		return nil, err
	}
	a.Reached, a.Here = f.client.reached.get()
	return a, nil
}

// told returns which Ruleset the host is to run, and who says so.
func (f *Feed) told(ctx context.Context) (*Assignment, error) {
	host, rollouts, err := f.known(ctx)
	if err != nil {
		return nil, err
	}
	rollout, ok := assign.Rollout(host, rollouts)
	if !ok {
		return nil, fmt.Errorf("%w: no Rollout is for the groups that host %s wears (yet)", ErrUnknown, f.client.Host)
	}
	name := assign.Ruleset(&rollout.Spec, assign.FollowerOf(host))
	if name == "" {
		return nil, fmt.Errorf("%w: the first rules of groups %v are tried on another host", ErrUnknown, rollout.Spec.SecurityGroupNames)
	}
	return &Assignment{Host: host, Rollout: rollout, RulesetName: name}, nil
}

// read reads a Ruleset, unless it is the one that was read last.
func (f *Feed) read(ctx context.Context, name string) error {
	if name == f.rulesetName {
		return nil
	}
	spec, err := f.client.ruleset(ctx, name)
	if err != nil {
		return err
	}
	f.ruleset, f.rulesetName = spec, name
	return nil
}

// known returns what says which Ruleset the host runs.
func (f *Feed) known(ctx context.Context) (*v1alpha1.Host, []v1alpha1.Rollout, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	silent := fmt.Errorf("%w: %s has not answered", ErrUnknown, f.client.Server)
	if f.failed != nil {
		silent = fmt.Errorf("%w: %w", ErrUnknown, f.failed)
	}
	switch {
	case !f.host.known:
		return nil, nil, silent
	case f.host.object == nil:
		return nil, nil, fmt.Errorf("%w: there is no Host %s any more; it has to join again", ErrUnknown, f.client.Host)
	}
	f.followRollouts(ctx)
	if f.rollouts == nil {
		return nil, nil, fmt.Errorf("%w: Host %s wears no group", ErrUnknown, f.client.Host)
	}
	if !f.rollouts.known {
		return nil, nil, silent
	}
	var list []v1alpha1.Rollout
	for _, r := range f.rollouts.objects {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b v1alpha1.Rollout) int { return compareNames(&a, &b) })
	return f.host.object, list, nil
}

// followRollouts follows those that the host's own may be among.
func (f *Feed) followRollouts(ctx context.Context) {
	name, label := assign.Among(f.host.object)
	if f.among == [2]string{name, label} {
		return
	}
	if f.stop != nil {
		f.stop()
	}
	f.among, f.stop, f.rollouts = [2]string{name, label}, nil, nil
	of := metav1.ListOptions{LabelSelector: label}
	switch {
	case name != "":
		of = named(name)
	case label == "":
		return
	}
	ctx, f.stop = context.WithCancel(ctx)
	f.rollouts = &many[v1alpha1.Rollout]{changed: f.event}
	f.watch(ctx, "rollouts", of, &v1alpha1.Rollout{}, &locked{&f.mu, f.rollouts})
}

func compareNames(a, b metav1.Object) int {
	switch {
	case a.GetName() < b.GetName():
		return -1
	case a.GetName() > b.GetName():
		return 1
	}
	return 0
}

// members returns the addresses of all groups that are known, which must have
// the named ones. It begins and ends to follow groups.
func (f *Feed) members(ctx context.Context, named []string) (map[string][]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted := slices.Compact(slices.Sorted(slices.Values(slices.Concat(named, f.also))))
	for name, g := range f.groups {
		if !slices.Contains(wanted, name) {
			g.stop()
			delete(f.groups, name)
		}
	}
	out := map[string][]netip.Addr{}
	var unknown []error
	for _, name := range wanted {
		g := f.groups[name]
		if g == nil {
			ctx, stop := context.WithCancel(ctx)
			g = &group{stop: stop, changed: f.event}
			f.groups[name] = g
			of := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.securityGroupName", name).String()}
			f.watch(ctx, slicesResource, of, &v1alpha1.AddressSlice{}, &locked{&f.mu, g})
		}
		list, err := g.members()
		switch {
		case err == nil:
			out[name] = list
		case slices.Contains(named, name):
			unknown = append(unknown, fmt.Errorf("members of group %s: %w", name, err))
		}
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, errors.Join(unknown...))
	}
	return out, nil
}

// explain says what an error of a request means for a host.
func (c *Client) explain(what string, err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: there is no %s (yet): %w", ErrUnknown, what, errTryAgain)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w: %s does not know this host's certificate: join again: %w", errTryAgain, c.Server, err)
	}
	return fmt.Errorf("%w: cannot read %s: %w", errTryAgain, what, err)
}
