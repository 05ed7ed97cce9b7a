package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/internal/nft/seen"
	"ringfence.dev/ringfence/rules"
)

// seenFile is what an agent has seen of its host's traffic; flowsFile the last
// FlowReport, where no control plane takes it.
const (
	seenFile  = "seen.json"
	flowsFile = "flows.json"
)

const (
	// places is how many denied flows are told apart: some 300 KiB.
	places = 1024
	// maxHits bounds how many leaves it is known of when they decided last:
	// those of two versions, with room.
	maxHits = 4096
	// memory is how long a flow is remembered that is not seen again.
	memory = 7 * 24 * time.Hour
	// reportPause is how long the control plane is spared after a FlowReport,
	// reportDelay how long it takes from the first denial to the next: what
	// comes right after it should be told with it.
	reportPause, reportDelay = 10 * time.Minute, 15 * time.Second
	// How long the disk is spared after what was seen was saved, how often the
	// log is asked for if another process has it, and the counters are read.
	beatsPerSave, beatsPerListen, beatsPerCount = 20, 20, 240
)

// A flowSink takes what a host reports of its traffic: at most every 10
// minutes, and only when something was denied. It must return at once; what it
// cannot tell is lost until the next report, which has all that this one has. A
// source that is one gets the reports; else a shelf does.
type flowSink interface {
	flows(r *v1alpha1.FlowReport)
}

// A shelf keeps the last report on the disk, without a control plane.
type shelf struct {
	disk disk
	log  *slog.Logger
}

func (s shelf) flows(r *v1alpha1.FlowReport) {
	if err := s.disk.write(flowsFile, r); err != nil {
		s.log.Warn("cannot save the report of what was denied", "problem", err)
	}
}

// Traffic is what an agent has seen. Its names are a contract.
type Traffic struct {
	// Flows are the denied flows, the most frequent first. They are a sample:
	// the kernel logs 100 packets a second, and the counters of rules have all.
	Flows []DeniedFlow `json:"flows"`
	// Logged counts the packets behind Flows, and those of flows without a place.
	Logged seen.Totals `json:"logged"`
	// Lost is how many messages did not get from the kernel to the agent.
	Lost uint64 `json:"lost"`
	// Hits are when leaves decided last: by the log, or within the minute
	// before, by their counters.
	Hits map[string]time.Time `json:"hits,omitempty"`
	// Problem is why the log is not read; empty if it is.
	Problem string `json:"problem,omitempty"`
	// Reported is when the last FlowReport was handed over; zero if none was.
	Reported time.Time `json:"reported,omitzero"`
}

// A DeniedFlow is a flow that was dropped, or would have been.
type DeniedFlow struct {
	// By is the rule, as verdicts name it, "default", or "unreadable" for packets
	// that lack the field that decides. Empty if no version in force had the leaf.
	By        string     `json:"by,omitempty"`
	Leaf      string     `json:"leaf"`
	Direction string     `json:"direction"`
	Observed  bool       `json:"observed,omitempty"`
	Local     netip.Addr `json:"local"`
	Remote    netip.Addr `json:"remote"`
	Protocol  string     `json:"protocol"`
	Port      uint16     `json:"port,omitempty"`
	// Packets were logged at least, and up to Missed more.
	Packets uint64    `json:"packets"`
	Missed  uint64    `json:"missed,omitempty"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// A traffic is what the log and the counters tell, while the agent runs. What
// is under mu the reader of the log writes; the rest is the loop's.
type traffic struct {
	clock clock.WithTicker
	log   *slog.Logger
	sink  flowSink

	mu   sync.Mutex
	fold *seen.Fold
	hits map[string]time.Time
	lost uint64
	// fresh says that there is something to save.
	fresh bool
	// denied is when the first packet was denied that was not reported; zero if
	// none was.
	denied time.Time
	// reading says that somebody reads the log, failed why nobody does.
	reading bool
	failed  error

	beat     int               // the last one; -1 before the first
	saveAt   int               // the first beat at which it may be saved again
	names    map[string]string // by leaf, of this version and those before
	named    string            // the version whose names they are
	counted  map[string]uint64 // packets of leaves when last looked; nil before the first look
	reported time.Time
}

func newTraffic(c clock.WithTicker, log *slog.Logger, sink flowSink) *traffic {
	return &traffic{
		clock: c, log: log, sink: sink, beat: -1,
		fold: seen.NewFold(places), hits: map[string]time.Time{}, names: map[string]string{},
	}
}

// start goes on from what was seen before, and begins to read the log.
func (t *traffic) start(ctx context.Context, d disk) {
	t.restore(d)
	t.listen(ctx)
}

// step does what is due at a beat.
func (t *traffic) step(ctx context.Context, beat int, h *host) {
	if beat == t.beat {
		return
	}
	t.beat = beat
	t.learn(h.current)
	if beat%beatsPerListen == 0 {
		t.listen(ctx)
	}
	if beat%beatsPerCount == 0 {
		if err := t.count(h); err != nil {
			t.log.Warn("cannot read the counters of rules", "problem", err)
		}
	}
	t.report(h)
	if beat >= t.saveAt && t.save(h.disk) {
		t.saveAt = beat + beatsPerSave
	}
}

// listen reads the log in the background, if nobody does.
func (t *traffic) listen(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reading {
		return
	}
	l, err := seen.Open()
	if err != nil {
		t.fail(err)
		return
	}
	t.reading, t.failed, t.fresh = true, nil, true
	go func() {
		err := l.Read(ctx, t.note)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.reading = false
		if err != nil {
			t.fail(err)
		}
	}()
}

// fail notes why the log is not read; it is tried again.
func (t *traffic) fail(err error) {
	if t.failed == nil || t.failed.Error() != err.Error() {
		t.log.Warn("denied packets are counted, and nobody tells which they are", "problem", err)
		t.fresh = true
	}
	t.failed = err
}

// note takes a denied packet.
func (t *traffic) note(s seen.Sighting) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	t.fold.Add(s.Key, s.Local, now)
	t.lost += s.Lost
	t.hit(s.Key.Leaf, now)
	t.deny(now)
}

func (t *traffic) deny(now time.Time) {
	if t.denied.IsZero() {
		t.denied = now
	}
}

func (t *traffic) hit(leaf string, now time.Time) {
	if _, ok := t.hits[leaf]; ok || len(t.hits) < maxHits {
		t.hits[leaf] = now
	}
	t.fresh = true
}

// learn notes what the leaves of a version stand for.
func (t *traffic) learn(l *layout) {
	if l == nil || l.version.Name == t.named {
		return
	}
	t.named = l.version.Name
	needed := map[string]bool{}
	t.mu.Lock()
	for _, f := range t.fold.Flows() {
		needed[f.Leaf] = true
	}
	t.fresh = true
	t.mu.Unlock()
	for leaf := range t.names {
		if !needed[leaf] {
			delete(t.names, leaf)
		}
	}
	for _, d := range slices.Backward(l.deciders()) { // of equal rules the first one decides
		t.names[d.leaf] = d.by
	}
}

// count looks which counters have moved.
func (t *traffic) count(h *host) error {
	if h.current == nil {
		return nil
	}
	tallies, err := h.kernel.Tallies()
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	t.moved(tallies, now)
	t.fold.Forget(now.Add(-memory))
	return nil
}

// moved compares counters with those of the last look.
func (t *traffic) moved(tallies map[string]apply.Tally, now time.Time) {
	first := t.counted == nil
	before := t.counted
	t.counted = make(map[string]uint64, len(tallies))
	for leaf, tally := range tallies {
		t.counted[leaf] = tally.Packets
		if first || tally.Packets <= before[leaf] {
			continue
		}
		t.hit(leaf, now)
		if nft.Denies(leaf) {
			t.deny(now)
		}
	}
	for leaf := range t.hits {
		if _, ok := tallies[leaf]; !ok { // its version is gone
			delete(t.hits, leaf)
		}
	}
}

// sums are the numbers of what was seen.
type sums struct {
	seen.Totals

	flows   int
	lost    uint64
	reading bool
}

func (t *traffic) sums() sums {
	t.mu.Lock()
	defer t.mu.Unlock()
	return sums{t.fold.Totals(), t.fold.Len(), t.lost, t.reading}
}

// told is what there is to tell.
func (t *traffic) told() *Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := &Traffic{Flows: []DeniedFlow{}, Logged: t.fold.Totals(), Lost: t.lost, Hits: maps.Clone(t.hits), Problem: text(t.failed), Reported: t.reported}
	for _, f := range t.fold.Flows() {
		out.Flows = append(out.Flows, DeniedFlow{
			By: t.names[f.Leaf], Leaf: f.Leaf, Direction: f.Direction.String(), Observed: f.Observed,
			Local: f.Local, Remote: f.Remote, Protocol: f.Protocol.String(), Port: f.Port,
			Packets: f.Packets, Missed: f.Missed, First: f.First, Last: f.Last,
		})
	}
	return out
}

// save writes what was seen, if it is new, and reports whether it was.
func (t *traffic) save(d disk) bool {
	t.mu.Lock()
	fresh := t.fresh
	t.fresh = false
	t.mu.Unlock()
	if !fresh {
		return false
	}
	if err := d.write(seenFile, t.told()); err != nil {
		t.log.Warn("cannot save what was seen of the traffic", "problem", err)
	}
	return true
}

// restore goes on from what an agent before this one has seen. What cannot be
// read is not missed: it is seen again.
func (t *traffic) restore(d disk) {
	var w Traffic
	if _, err := d.load(seenFile, &w); err != nil {
		t.log.Warn("what was seen of the traffic before is lost", "problem", err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reported = w.Reported
	for i := range w.Flows {
		f := &w.Flows[i]
		flow, err := f.flow()
		if err != nil {
			t.log.Warn("a denied flow that was seen before is lost", "problem", err)
			continue
		}
		t.fold.Restore(flow)
		t.names[f.Leaf] = f.By
	}
	for leaf, at := range w.Hits {
		t.hit(leaf, at)
	}
}

// flow is what Traffic.Flows was made from.
func (f *DeniedFlow) flow() (seen.Flow, error) {
	p, err := rules.ParseProtocol(f.Protocol)
	if err != nil {
		return seen.Flow{}, err
	}
	if f.Direction != rules.Ingress.String() && f.Direction != rules.Egress.String() || !f.Remote.IsValid() || !f.Local.IsValid() {
		return seen.Flow{}, fmt.Errorf("%s from %s to %s: want a direction and addresses", f.Direction, f.Remote, f.Local)
	}
	d := rules.Ingress
	if strings.EqualFold(f.Direction, rules.Egress.String()) {
		d = rules.Egress
	}
	return seen.Flow{
		Key:   seen.Key{Denial: nft.Denial{Leaf: f.Leaf, Direction: d, Observed: f.Observed}, Remote: f.Remote, Protocol: p, Port: f.Port},
		Local: f.Local, Packets: f.Packets, Missed: f.Missed, First: f.First, Last: f.Last,
	}, nil
}

// report hands a FlowReport over, if something was denied and it is time.
func (t *traffic) report(h *host) {
	now := t.clock.Now()
	t.mu.Lock()
	due := !t.denied.IsZero() && now.Sub(t.denied) >= reportDelay && now.Sub(t.reported) >= reportPause
	t.mu.Unlock()
	if !due || h.current == nil {
		return
	}
	r, err := h.flowReport(t.told(), now)
	if err != nil {
		t.log.Warn("cannot report what was denied", "problem", err)
		return
	}
	t.sink.flows(r)
	t.mu.Lock()
	t.denied, t.reported, t.fresh = time.Time{}, now, true
	t.mu.Unlock()
}
