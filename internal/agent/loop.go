package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"reflect"
	"runtime/debug"
	"time"

	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/profiles"
)

// A Config is what an agent is told.
type Config struct {
	// Manifests is the folder with all objects, Host the name of this host's,
	// StateDir a folder of the agent's own. Required.
	Manifests, Host, StateDir string
	// Uplinks are interfaces to judge beside those that are found.
	Uplinks []string
	Policy  Policy
}

// An agent is a host with what it listens to.
type agent struct {
	host   *host
	source *source
	pid    int
}

// newAgent opens the kernel and takes the state folder. The returned function
// lets both go; what is enforced stays.
func newAgent(cfg *Config, c clock.WithTicker, log *slog.Logger) (*agent, func(), error) {
	tables, err := profiles.Load()
	if err != nil {
		return nil, nil, err
	}
	d := disk{cfg.StateDir}
	if err := d.make(); err != nil {
		return nil, nil, err
	}
	unlock, err := d.lock()
	if err != nil {
		return nil, nil, err
	}
	k, err := apply.Open()
	if err != nil {
		unlock()
		return nil, nil, err
	}
	a := &agent{
		host:   &host{kernel: k, disk: d, exempt: tables.Exempt(), policy: cfg.Policy, clock: c, log: log, refused: map[string]error{}},
		source: &source{cfg.Manifests, cfg.Host, cfg.Uplinks, tables},
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
	// apply says that the host may not be what is wanted, audit that the table
	// may not be what it should, links that uplinks may be others.
	apply, audit, links bool
	beats               int
	// retryAt is the beat of the next retry; backoff how many until the one after.
	retryAt, backoff int
}

// loop follows the folder until the context ends. What is enforced stays.
func (a *agent) loop(ctx context.Context) error {
	table, err := watchTable(ctx)
	if err != nil {
		return err
	}
	links, err := watchLinks(ctx)
	if err != nil {
		return err
	}
	f := &follower{agent: a}
	f.start()
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
		case <-ticker.C():
			f.turn.beats++
			f.due = true
		}
	}
}

// A follower is the state of the loop.
type follower struct {
	*agent
	turn turn
	// due says that a beat has passed, or that something cannot wait for one.
	due     bool
	audited time.Time
	// seen is the folder as read last, glimpsed as it looked last.
	seen, glimpsed string
	looked         int // at which beat
	want           *intent
	// manifests and applying are what is wrong; nil if nothing is.
	manifests, applying error
	drift               *driftReport
	// bypassed are sentences about what passes without being judged.
	bypassed []string
	told     *report
}

// start recovers what was enforced; if it cannot, that is tried again.
func (f *follower) start() {
	f.turn.apply, f.due = true, true
	f.host.log.Info("started", "host", f.source.host, "manifests", f.source.dir, "state", f.host.disk.dir)
	if err := f.host.recover(); err != nil {
		f.host.log.Error("cannot recover what was enforced", "problem", err)
		f.applying = err
	}
	f.seen = f.source.look()
	f.glimpsed = f.seen
	f.reread()
}

// step does what is due.
func (f *follower) step(ctx context.Context) {
	if !f.due {
		return
	}
	f.due = false
	if f.turn.beats > f.looked && f.turn.beats%beatsPerLook == 0 {
		f.looked = f.turn.beats
		f.look()
		f.turn.audit = f.turn.audit || f.turn.beats%beatsPerAudit == 0
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
}

// look reads the folder if it changed, once it has stopped changing.
func (f *follower) look() {
	now := f.source.look()
	settled := now == f.glimpsed
	f.glimpsed = now
	if !settled || now == f.seen {
		return
	}
	f.seen = now
	f.reread()
}

func (f *follower) reread() {
	in, err := f.source.read()
	debug.FreeOSMemory() // reading takes far more than what it leaves
	if err != nil {
		if f.manifests == nil || f.manifests.Error() != err.Error() {
			f.host.log.Error("the manifests change nothing: they are wrong", "problem", err)
		}
		f.manifests = err
		return
	}
	if f.manifests != nil {
		f.host.log.Info("the manifests are right again")
	}
	f.manifests, f.want = nil, in
	f.turn.apply, f.turn.backoff = true, 0
}

func (f *follower) relink() {
	next := *f.want
	err := f.source.findUplinks(&next)
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
	if err == nil {
		err = f.host.auditUplinks()
	}
	if len(drift) > 0 {
		f.drift = &driftReport{At: f.host.clock.Now(), What: drift, Repaired: err == nil}
	}
	if err != nil {
		f.host.log.Error("cannot keep the table as it should be", "problem", err)
		f.applying = err
		f.retry()
	}
}

func (f *follower) retry() {
	f.turn.backoff = min(max(firstRetry, f.turn.backoff*2), lastRetry)
	f.turn.retryAt = f.turn.beats + f.turn.backoff
}

func (f *follower) reach(ctx context.Context) {
	f.turn.retryAt = 0
	err := f.host.reach(ctx, f.want)
	switch {
	case err == nil:
		f.turn.backoff = 0
	case errors.Is(err, errWaiting):
		f.turn.retryAt = f.turn.beats + firstRetry
		if f.host.trial != nil {
			err = f.host.awaited()
		}
	case errors.Is(err, errWithdrawn): // until the manifests change
	default:
		f.retry()
	}
	if err != nil && !errors.Is(err, errWaiting) && (f.applying == nil || f.applying.Error() != err.Error()) {
		f.host.log.Error("the host keeps what it enforces", "problem", err)
	}
	f.applying = err
}
