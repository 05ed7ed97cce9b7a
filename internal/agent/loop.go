package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"reflect"
	"runtime/debug"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/internal/statedir"
	"ringfence.dev/ringfence/internal/upstream"
	"ringfence.dev/ringfence/profiles"
)

// A Config is what an agent is told.
type Config struct {
	// StateDir is a folder of the agent's own. Required.
	StateDir string
	// Manifests is the folder with all objects, and Host the name of this
	// host's. Without, the host follows the control plane that it has joined.
	Manifests, Host string
	// Uplinks are interfaces to judge beside those that are found.
	Uplinks []string
	Policy  Policy
	// Metrics is the address and port of the metrics; empty for none.
	Metrics string
}

// An agent is a host with what it is told.
type agent struct {
	host   *host
	config *Config
	pid    int
}

// newAgent opens the kernel and takes the state folder. The returned function
// lets both go; what is enforced stays.
func newAgent(cfg *Config, tables *profiles.Tables, log *slog.Logger) (*agent, func(), error) {
	d := disk{statedir.Dir(cfg.StateDir)}
	if err := d.Make(); err != nil {
		return nil, nil, err
	}
	unlock, err := d.Lock()
	if err != nil {
		return nil, nil, err
	}
	k, err := apply.Open()
	if err != nil {
		unlock()
		return nil, nil, err
	}
	a := &agent{
		host:   &host{kernel: k, disk: d, exempt: tables.Exempt(), policy: cfg.Policy, clock: clock.RealClock{}, log: log, refused: map[string]error{}},
		config: cfg,
		pid:    os.Getpid(),
	}
	return a, func() {
		if err := k.Close(); err != nil {
			log.Debug("cannot close the netlink socket", "problem", err)
		}
		unlock()
	}, nil
}

const (
	// beat is how often the agent looks at what has piled up: bursts fold to one.
	beat = 250 * time.Millisecond
	// The rest counts beats: how often the folder is looked at, and how often
	// the whole table although nobody told of a change.
	beatsPerLook  = 2
	beatsPerAudit = 240
	// Retries back off from the first to the last.
	firstRetry, lastRetry = 4, 240
)

// A turn is what there is to do.
type turn struct {
	// read says that something else may be wanted, apply that the host may not
	// be what is wanted, audit that the table may not be what it should, links
	// that uplinks may be others.
	read, apply, audit, links bool
	beats                     int
	// retryAt is the beat of the next retry; backoff how many until the one after.
	retryAt, backoff int
}

// loop follows a source until the context ends. What is enforced stays.
func (a *agent) loop(ctx context.Context, from source) error {
	table, err := watchTable(ctx)
	if err != nil {
		return err
	}
	links, err := watchLinks(ctx)
	if err != nil {
		return err
	}
	f := &follower{agent: a, source: from}
	if err := f.tell(ctx); err != nil {
		return err
	}
	f.start(ctx)
	defer f.traffic.save(a.host.disk)
	ticker := a.host.clock.NewTicker(beat)
	defer ticker.Stop()
	for {
		f.step(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-table:
			f.turn.audit = true
			f.due = a.host.clock.Since(f.audited) > beat // one at once, a burst with the beat
		case <-links:
			f.turn.links = true
		case <-from.told():
			f.turn.read, f.due = true, true
		case <-ticker.C():
			f.turn.beats++
			f.due = true
		}
	}
}

// A follower is the state of the loop.
type follower struct {
	*agent
	source source
	turn   turn
	// due says that a beat has passed, or that something cannot wait for one.
	due     bool
	audited time.Time
	looked  int // at which beat
	want    *intent
	// reading and applying are what is wrong; nil if nothing is. tries is how
	// often in a row the host could not be brought to what is wanted.
	reading, applying error
	tries             int
	drift             *driftReport
	repairs           int
	relinked          bool
	// bypassed are sentences about what passes without being judged.
	bypassed []string
	// told is the report that was written last; untold the beat before which it
	// is not tried again.
	told   *report
	untold int
	// traffic is what is seen of packets, state what is told of the rest.
	traffic *traffic
	state   atomic.Pointer[standing]
}

// start recovers what was enforced; if it cannot, that is tried again.
func (f *follower) start(ctx context.Context) {
	f.turn.apply, f.due = true, true
	f.host.log.Info("started", "from", f.source, "state", f.host.disk.Dir)
	if err := f.host.recover(); err != nil {
		f.host.log.Error("cannot recover what was enforced", "problem", err)
		f.applying = err
	}
	f.reread(ctx)
}

// step does what is due.
func (f *follower) step(ctx context.Context) {
	if !f.due {
		return
	}
	f.due = false
	if f.turn.beats > f.looked && f.turn.beats%beatsPerLook == 0 {
		f.looked = f.turn.beats
		f.turn.read = f.source.look() || f.turn.read
		// The kernel does not tell when the time is over for which it is open.
		f.turn.audit = f.turn.audit || f.turn.beats%beatsPerAudit == 0 || f.host.open
	}
	if f.turn.read {
		f.turn.read = false
		f.reread(ctx)
	}
	around := f.turn.links && f.want != nil || f.turn.audit || f.turn.apply
	if f.turn.links && f.want != nil {
		f.turn.links = false
		f.relink()
	}
	if f.turn.audit {
		f.turn.audit = false
		f.audit()
	}
	if f.want != nil && (f.turn.apply || f.turn.retryAt > 0 && f.turn.beats >= f.turn.retryAt) {
		f.turn.apply = false
		f.reach(ctx)
	}
	if around {
		f.lookAround()
	}
	f.report()
	f.source.heard(ctx, f.news())
	f.traffic.step(ctx, f.turn.beats, f.host)
	f.publish()
}

// reread reads what is wanted.
func (f *follower) reread(ctx context.Context) {
	in, err := f.config.aim(f.source)
	if err != nil {
		if text(f.reading) != err.Error() {
			level := slog.LevelError
			if errors.Is(err, upstream.ErrUnknown) {
				level = slog.LevelInfo // it comes, or the control plane is away
			}
			f.host.log.Log(ctx, level, "the host keeps what it enforces: it cannot be read what else is wanted", "from", f.source, "problem", err)
		}
		f.reading = err
		return
	}
	if f.reading != nil {
		f.host.log.Info("it can be read again what is wanted", "from", f.source)
	}
	f.reading, f.want = nil, in
	f.turn.apply, f.turn.backoff = true, 0
}

func (f *follower) relink() {
	f.relinked = true
	next := *f.want
	err := f.config.findUplinks(&next)
	if err != nil {
		f.host.log.Warn("the uplinks stay what they were", "problem", err)
		return
	}
	if !reflect.DeepEqual(next.uplinks, f.want.uplinks) {
		f.want = &next
		f.turn.apply = true
	}
}

// audit looks whether the table is what it should be.
func (f *follower) audit() {
	defer func() { f.audited = f.host.clock.Now() }()
	if err := f.host.awaited(); err != nil && !errors.Is(err, errWaiting) {
		f.host.log.Error("the trial is over", "problem", err)
		f.applying = err
	}
	drift, err := f.host.check()
	f.host.revoke() // what had to wait, or could not be done before
	if err == nil {
		err = f.host.auditUplinks()
	}
	if len(drift) > 0 {
		f.drift = &driftReport{At: f.host.clock.Now(), What: words(drift), Repaired: err == nil}
		f.repairs++
	}
	if err != nil {
		f.host.log.Error("cannot keep the table as it should be", "problem", err)
		f.applying = err
		f.retry()
	}
}

// news is what the host does just now.
func (f *follower) news() *news {
	n := &news{
		saved: f.host.saved, reading: f.reading, applying: f.applying, tries: f.tries,
		probes: f.host.probes, repairs: f.repairs, open: f.host.open, links: f.relinked, bypassed: f.bypassed,
	}
	f.relinked = false
	if f.want != nil {
		n.wanted = f.want.order.RulesetName
	}
	return n
}

func (f *follower) retry() {
	f.turn.backoff = min(max(firstRetry, f.turn.backoff*2), lastRetry)
	f.turn.retryAt = f.turn.beats + f.turn.backoff
}

func (f *follower) reach(ctx context.Context) {
	f.turn.retryAt = 0
	before := f.host.saved
	err := f.host.reach(ctx, f.want)
	if before == nil || f.host.saved != nil && f.host.saved.Version != before.Version {
		f.repairs = 0
		debug.FreeOSMemory() // as after reading
	}
	switch {
	case err == nil:
		f.turn.backoff, f.tries = 0, 0
	case errors.Is(err, errWaiting):
		f.turn.retryAt = f.turn.beats + firstRetry
		if f.host.trial != nil {
			err = f.host.awaited()
		}
	case errors.Is(err, errWithdrawn): // until something else is wanted
	default:
		f.tries++
		f.retry()
	}
	if err != nil && !errors.Is(err, errWaiting) && (f.applying == nil || f.applying.Error() != err.Error()) {
		f.host.log.Error("the host keeps what it enforces", "problem", err)
	}
	f.applying = err
}
