package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ringfence.dev/ringfence/internal/nft/apply"
)

// A standing is what the loop says of itself to whoever asks from outside. It
// does not change once it is published.
type standing struct {
	// layout and since are what is enforced; nil and zero before the first.
	layout  *layout
	since   time.Time
	uplinks int
	// applied says that the host is what is wanted, repairs how often the table
	// was put right since then.
	applied bool
	repairs int
}

// publish tells of what is now.
func (f *follower) publish() {
	now := &standing{applied: f.applying == nil && f.reading == nil, repairs: f.repairs}
	if f.host.current != nil {
		now.layout, now.since, now.uplinks = f.host.current, f.host.saved.Since, len(f.host.saved.Uplinks)
	}
	f.state.Store(now)
}

// A collector answers scrapes. It has a socket of its own, for the loop's is
// not to be shared. There are at most as many series as the host has rules,
// 1,000, and groups whose members matter, and some 30 more.
type collector struct {
	state   *atomic.Pointer[standing]
	traffic *traffic

	mu     sync.Mutex
	kernel *apply.Kernel
}

const (
	// scrapes is how many are answered at a time; scrapeTime how long one, or
	// its request, may take.
	scrapes    = 2
	scrapeTime = 10 * time.Second
)

// tell prepares what is told of the host beside its status.
func (f *follower) tell(ctx context.Context) error {
	var sink flowSink = shelf{f.host.disk, f.host.log}
	if s, ok := f.source.(flowSink); ok {
		sink = s
	}
	f.traffic = newTraffic(f.host.clock, f.host.log, sink)
	f.traffic.start(ctx, f.host.disk)
	if f.config.Metrics == "" {
		return nil
	}
	return f.serveMetrics(ctx)
}

// serveMetrics answers scrapes as plain HTTP, until the context ends.
func (f *follower) serveMetrics(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.config.Metrics)
	if err != nil {
		return fmt.Errorf("cannot serve metrics: %w", err)
	}
	k, err := apply.Open()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	c := &collector{state: &f.state, traffic: f.traffic, kernel: k}
	registry := prometheus.NewRegistry()
	registry.MustRegister(c, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: scrapes, Timeout: scrapeTime}))
	server := &http.Server{Handler: mux, ReadTimeout: scrapeTime, WriteTimeout: 2 * scrapeTime, MaxHeaderBytes: 16 << 10} //nolint:mnd // bounds
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() {
		if err := server.Serve(l); ctx.Err() == nil {
			f.host.log.Error("metrics are not served any more", "problem", err)
		}
	}()
	f.host.log.Info("serving metrics", "address", l.Addr().String())
	return nil
}

// The metrics. Counters of rules begin again at zero when their rule changes;
// one that moves in its list keeps its count under another name.
//
//nolint:gochecknoglobals // constants
var (
	ruleLabels       = []string{"rule", "direction", "action"}
	metricPackets    = desc("rule_packets_total", "Packets that a rule decided about: the first ones of flows, and those of flows that it drops.", ruleLabels...)
	metricBytes      = desc("rule_bytes_total", "Bytes of these packets.", ruleLabels...)
	metricMembers    = desc("group_members", "Addresses of a group on which the rules depend.", "group")
	metricVersion    = desc("version_info", "The version of the rules that is confirmed; always 1.", "version")
	metricSince      = desc("version_confirmed_timestamp_seconds", "When that version was confirmed.")
	metricApplied    = desc("applied", "1 if the host is what was last asked for, 0 if it could not be read or applied.")
	metricTrial      = desc("trial", "1 while a version is on trial.")
	metricOpen       = desc("open", "1 while everything passes because a person said ringfence-agent open.")
	metricObserve    = desc("observe", "1 if nothing is dropped, only counted.")
	metricUplinks    = desc("uplinks", "Interfaces whose traffic is judged.")
	metricRepairs    = desc("drift_repairs_total", "How often somebody else's change of the table was repaired since this version was confirmed.")
	metricLogged     = desc("denied_packets_logged_total", "Denied packets that the kernel logged, at most 100 a second. rule_packets_total has all.")
	metricLost       = desc("denied_messages_lost_total", "Log messages that did not get from the kernel to the agent.")
	metricFlows      = desc("denied_flows", "Denied flows that ringfence-agent flows lists.")
	metricReplaced   = desc("denied_flows_replaced_total", "Denied flows that gave up their place in that list to others.")
	metricLogReading = desc("denied_log_reading", "1 if the log of denied packets is read.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName("ringfence", "agent", name), help, labels, nil)
}

// Describe implements prometheus.Collector: the series depend on the rules.
func (*collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	number := map[bool]float64{true: 1}
	sums := c.traffic.sums()
	gauge(metricFlows, float64(sums.flows))
	counter(metricLogged, sums.Packets)
	counter(metricReplaced, sums.Replaced)
	counter(metricLost, sums.lost)
	gauge(metricLogReading, number[sums.reading])
	f := c.state.Load()
	if f == nil {
		return
	}
	gauge(metricApplied, number[f.applied])
	counter(metricRepairs, uint64(f.repairs)) //nolint:gosec // not negative
	if f.layout == nil {
		return
	}
	gauge(metricVersion, 1, f.layout.version.Name)
	gauge(metricSince, float64(f.since.Unix()))
	gauge(metricObserve, number[f.layout.order.Observe])
	gauge(metricUplinks, float64(f.uplinks))
	for group, list := range f.layout.order.Members {
		gauge(metricMembers, float64(len(list)), group)
	}
	state, tallies, err := c.ask()
	if err != nil {
		out <- prometheus.NewInvalidMetric(metricPackets, err)
		return
	}
	gauge(metricTrial, number[state.Trial != "" && state.Trial != openName])
	gauge(metricOpen, number[state.Trial == openName])
	for _, r := range f.layout.counts(tallies, nil) {
		action := r.Action
		if f.layout.order.Observe && action == "drop" {
			action = "would-drop"
		}
		counter(metricPackets, r.Packets, r.By, r.Direction, action)
		counter(metricBytes, r.Bytes, r.By, r.Direction, action)
	}
}

// ask asks the kernel.
func (c *collector) ask() (apply.State, map[string]apply.Tally, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, err := c.kernel.State()
	if err != nil {
		return state, nil, err
	}
	tallies, err := c.kernel.Tallies()
	return state, tallies, err
}
