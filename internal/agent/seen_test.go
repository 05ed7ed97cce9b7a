package agent

import (
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/nft"
	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/internal/nft/seen"
	"ringfence.dev/ringfence/internal/statedir"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// TestLastHit looks at counters twice, as once a minute: what moved was hit.
func TestLastHit(t *testing.T) {
	clock := testclock.NewFakeClock(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC))
	w := newTraffic(clock, slog.New(slog.DiscardHandler), nil)
	look := func(tallies map[string]apply.Tally) { w.moved(tallies, clock.Now()) }
	look(map[string]apply.Tally{"rule_1_in_accept": {Packets: 5}, "rule_2_in_accept": {Packets: 9}})
	if len(w.hits) != 0 || !w.denied.IsZero() {
		t.Errorf("the first look tells of hits, and nobody knows when they were: %v", w.hits)
	}
	clock.Step(time.Minute)
	look(map[string]apply.Tally{"rule_1_in_accept": {Packets: 6}, "rule_2_in_accept": {Packets: 9}, "rule_3_in_accept": {Packets: 1}})
	minute := clock.Now()
	if len(w.hits) != 2 || w.hits["rule_1_in_accept"] != minute || w.hits["rule_3_in_accept"] != minute || !w.denied.IsZero() {
		t.Errorf("hits %v, denied %s; want rules 1 and 3 a minute later, and nothing denied", w.hits, w.denied)
	}
	clock.Step(time.Minute)
	look(map[string]apply.Tally{"rule_1_in_accept": {Packets: 6}, "rule_2_in_accept": {Packets: 2}, "default_in_would": {Packets: 1}})
	if w.hits["rule_1_in_accept"] != minute || len(w.hits) != 2 || w.hits["default_in_would"] != clock.Now() || w.denied.IsZero() {
		t.Errorf("hits %v, denied %s; want rule 1 as before, rule 3 gone with its version, the default now", w.hits, w.denied)
	}
	for i := range 2 * maxHits {
		w.hit(fmt.Sprint(i), clock.Now())
	}
	if len(w.hits) > maxHits {
		t.Errorf("%d hits are kept, want no more than %d", len(w.hits), maxHits)
	}
}

// sighted is a packet from the n-th source.
func sighted(n int, leaf string, d rules.Direction) seen.Sighting {
	remote := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
	return seen.Sighting{Local: netip.MustParseAddr("10.50.0.11"), Key: seen.Key{
		Denial: nft.Denial{Leaf: leaf, Direction: d, Observed: strings.HasSuffix(leaf, "_would")}, Remote: remote, Protocol: rules.TCP, Port: 22,
	}}
}

// TestSavedTraffic saves what was seen, bounded, and another agent goes on with it.
func TestSavedTraffic(t *testing.T) {
	clock := testclock.NewFakeClock(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC))
	d := disk{statedir.Dir(t.TempDir())}
	w := newTraffic(clock, slog.New(slog.DiscardHandler), nil)
	w.names["default_out_would"] = "default"
	for i := range 10 * places {
		w.note(sighted(i, "default_in_drop", rules.Ingress))
	}
	for range 20 {
		w.note(sighted(7, "default_out_would", rules.Egress))
	}
	if !w.save(d) || w.save(d) {
		t.Error("want it saved once, since nothing is new afterwards")
	}
	if data, err := d.Load(seenFile); err != nil || len(data) > 400*places {
		t.Errorf("%v: %d bytes were saved, want no more than %d", err, len(data), 400*places)
	}
	again := newTraffic(clock, slog.New(slog.DiscardHandler), nil)
	again.restore(d)
	before, after := w.told(), again.told()
	if len(after.Flows) != places || after.Flows[0] != before.Flows[0] || after.Hits["default_out_would"] != before.Hits["default_out_would"] {
		t.Errorf("%d flows, the first %+v; want %d and %+v", len(after.Flows), after.Flows[0], places, before.Flows[0])
	}
	if f := after.Flows[0]; f.By != "default" || f.Packets != 20 || !f.Observed || f.Direction != "egress" {
		t.Errorf("the most frequent flow is %+v", f)
	}
	if err := d.Save(seenFile, []byte(`{"flows":[{"leaf":"x","protocol":"TCP","direction":"up"},{"protocol":"nonsense"}],"hits":{}}`)); err != nil {
		t.Fatal(err)
	}
	odd := newTraffic(clock, slog.New(slog.DiscardHandler), nil)
	if odd.restore(d); odd.fold.Len() != 0 {
		t.Errorf("nonsense was restored: %+v", odd.told())
	}
	if err := d.Save(seenFile, []byte("{")); err != nil {
		t.Fatal(err)
	}
	odd.restore(d) // it goes on
}

// The rules of the API for names, see api/v1alpha1/flowreport.go.
var deniedBy, hitBy = regexp.MustCompile(`^(default|[a-z0-9.-]+/(ingress|egress)/[1-9][0-9]*)$`),
	regexp.MustCompile(`^(default|inner-access|exempt|[a-z0-9.-]+/(ingress|egress)/[1-9][0-9]*)$`)

// TestFlowReport chooses the rows, whatever there is too much of.
func TestFlowReport(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	flow := func(i int) DeniedFlow {
		return DeniedFlow{
			By: fmt.Sprintf("db/ingress/%d", i+1), Leaf: "rule", Direction: "ingress", Protocol: "TCP", Port: 22, Packets: uint64(i + 1),
			Local: netip.MustParseAddr("10.0.0.1"), Remote: netip.MustParseAddr("fd00::1"), First: now.Add(-time.Duration(i) * time.Second), Last: now,
		}
	}
	for name, tc := range map[string]struct{ flows, hits, wantFlows, wantHits int }{
		"Nothing":   {},
		"FewOfBoth": {3, 4, 3, 4},
		"Full":      {48, 16, 48, 16},
		"Flows":     {1000, 0, 64, 0},
		"FewHits":   {1000, 5, 59, 5},
		"Both":      {1000, 1000, 48, 16},
		"Hits":      {0, 1000, 0, 64},
		"FewFlows":  {10, 1000, 10, 54},
	} {
		var flows []DeniedFlow
		var counts []RuleCount
		for i := range tc.flows {
			flows = append(flows, flow(i))
		}
		for i := range tc.hits {
			counts = append(counts, RuleCount{By: fmt.Sprintf("db/egress/%d", i+1), Direction: "egress", Packets: uint64(i + 1)})
		}
		r := reportFlows(&Traffic{Flows: flows, Logged: seen.Totals{Replaced: 100}}, counts, now)
		if len(r.Denied) != tc.wantFlows || len(r.Hits) != tc.wantHits || r.Omitted != int64(100+tc.flows+tc.hits-tc.wantFlows-tc.wantHits) {
			t.Errorf("%s: %d flows, %d hits, %d omitted; want %d and %d, and the rest with 100 more", name, len(r.Denied), len(r.Hits), r.Omitted, tc.wantFlows, tc.wantHits)
		}
		if len(r.Denied) > 0 && (r.Denied[0].Packets != int64(tc.flows) || !r.From.Time.Equal(now.Add(-time.Duration(tc.flows-1)*time.Second))) || r.To.Time != now {
			t.Errorf("%s: the first has %d packets; from %s to %s", name, r.Denied[0].Packets, r.From, r.To)
		}
		if len(r.Hits) > 0 && r.Hits[0].Packets != int64(tc.hits) {
			t.Errorf("%s: the first rule has %d packets", name, r.Hits[0].Packets)
		}
	}
	odd := []DeniedFlow{flow(0), flow(1), flow(2), flow(3), flow(4)}
	odd[0].By, odd[1].By, odd[2].By = "default", "", unreadable
	odd[3].Remote, odd[4].Protocol = netip.MustParseAddr("::ffff:10.0.0.9"), "51"
	r := reportFlows(&Traffic{Flows: odd}, []RuleCount{{By: "inner-access", Direction: "ingress", Packets: 1}, {By: unreadable, Packets: 1}, {By: "default", Direction: "egress"}}, now)
	if len(r.Denied) != 2 || r.Omitted != 3 || len(r.Hits) != 1 {
		t.Errorf("what the API has no name for is told, or what it has is not: %+v", r)
	}
	for _, d := range r.Denied {
		if !deniedBy.MatchString(d.By) || d.Direction != v1alpha1.DirectionIngress || d.Packets < 1 {
			t.Errorf("the API would refuse %+v", d)
		}
	}
	for _, h := range r.Hits {
		if !hitBy.MatchString(h.By) {
			t.Errorf("the API would refuse %+v", h)
		}
	}
	if r.Denied[0].Protocol != 51 {
		t.Errorf("protocol %d, want 51", r.Denied[0].Protocol)
	}
}

// A pile keeps all reports.
type pile []*v1alpha1.FlowReport

func (p *pile) flows(r *v1alpha1.FlowReport) { *p = append(*p, r) }

// TestReportPause reports once something was denied, and then not for 10
// minutes.
func TestReportPause(t *testing.T) {
	t.Parallel()
	node1, _, _ := three(t)
	dir := t.TempDir()
	write(t, dir, groupsText("other", 80))
	node1.must(node1.flags(dir, "--once", "--confirm=never")...)
	err := in(node1.ns, func() error {
		k, err := apply.Open()
		if err != nil {
			return err
		}
		defer func() { _ = k.Close() }()
		tables, err := profiles.Load()
		if err != nil {
			return err
		}
		clock := testclock.NewFakeClock(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC))
		h := &host{kernel: k, disk: disk{statedir.Dir(node1.state)}, exempt: tables.Exempt(), clock: clock, log: slog.New(slog.DiscardHandler)}
		if err := h.recover(); err != nil {
			return err
		}
		s := &pile{}
		w := newTraffic(clock, h.log, s)
		w.learn(h.current)
		for i, step := range []struct {
			wait    time.Duration
			sent    bool
			reports int
		}{
			{0, false, 0},              // nothing was denied
			{time.Minute, true, 0},     // something was, and more may be
			{reportDelay, false, 1},    // it is told
			{9 * time.Minute, true, 1}, // too soon
			{time.Minute, false, 2},    // what was denied meanwhile
			{time.Hour, false, 2},      // nothing new
			{time.Minute, true, 2},     // something is
			{time.Second, true, 2},     // too soon
			{reportDelay, false, 3},    // both
			{9 * time.Minute, true, 3}, // too soon
		} {
			clock.Step(step.wait)
			if step.sent {
				w.note(sighted(i, "default_in_drop", rules.Ingress))
			}
			if w.report(h); len(*s) != step.reports {
				t.Errorf("step %d: %d reports, want %d", i, len(*s), step.reports)
			}
		}
		last := (*s)[len(*s)-1]
		if len(last.Denied) != 4 || last.Denied[0].By != "default" || last.Name != "node-1" {
			t.Errorf("the last report is %+v", last)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
