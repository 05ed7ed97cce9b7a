package bench_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"ringfence.dev/ringfence/test/netns"
)

var (
	program = flag.String("bench.agent", "", "the ringfence-agent to measure; nothing is measured without")
	rounds  = flag.Int("bench.rounds", 5, "how often each figure is taken; its median counts")
	only    = flag.String("bench.only", "", "parts to take, separated by commas: udp, walk, tcp, load, move, agent; all without")
)

// A report is the figures of one run.
type report struct {
	*testing.T
	lines  []string
	broken int
}

// TestBounds takes all figures, prints them, and fails if one is out of its
// bound.
func TestBounds(t *testing.T) {
	if *program == "" {
		t.Skip("run make bench: this takes minutes, and needs root and a quiet machine")
	}
	r := &report{T: t}
	for _, part := range []struct {
		name string
		take func(*report)
	}{{"udp", udp}, {"walk", walk}, {"tcp", tcp}, {"load", load}, {"move", move}, {"agent", agent}} {
		if *only == "" || slices.Contains(strings.Split(*only, ","), part.name) {
			part.take(r)
		}
	}
	r.print()
	if r.broken > 0 {
		t.Errorf("%d of %d bounds are not held", r.broken, len(r.lines))
	}
}

// atMost and atLeast add a figure with its bound, notef one that has none.
func (r *report) atMost(what string, figure, bound float64, unit string) {
	r.add(what, figure, "at most", bound, unit, figure <= bound)
}

func (r *report) atLeast(what string, figure, bound float64, unit string) {
	r.add(what, figure, "at least", bound, unit, figure >= bound)
}

func (r *report) add(what string, figure float64, side string, bound float64, unit string, held bool) {
	answer := "held"
	if !held {
		answer = "NOT HELD"
		r.broken++
	}
	r.lines = append(r.lines, fmt.Sprintf("%s\t%.4g%s\t%s %.4g%s\t%s", what, figure, unit, side, bound, unit, answer))
	r.Logf("%s: %.4g%s (%s %.4g%s): %s", what, figure, unit, side, bound, unit, answer)
}

func (r *report) notef(what, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	r.lines = append(r.lines, fmt.Sprintf("%s\t%s\t\t", what, line))
	r.Logf("%s: %s", what, line)
}

func (r *report) print() {
	var w strings.Builder
	fmt.Printf("\n%d processors, load %s\n", runtime.NumCPU(), loadAverage()) //nolint:forbidigo // as below
	table := tabwriter.NewWriter(&w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "what\tfigure\tbound\theld?")
	for _, l := range r.lines {
		_, _ = fmt.Fprintln(table, l)
	}
	_ = table.Flush()
	fmt.Println(w.String()) //nolint:forbidigo // the report is what this is run for
}

// loadAverage says how busy the machine is: above the number of processors,
// what others do shows in the figures.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

func (r *report) check(err error) {
	r.Helper()
	if errors.Is(err, os.ErrPermission) {
		r.Skipf("needs root: %v", err)
	}
	if err != nil {
		r.Fatal(err)
	}
}

// lab makes machines; they are gone when the part is over.
func (r *report) lab(names ...string) (map[string]*netns.Machine, func()) {
	r.Helper()
	l := netns.New()
	out := map[string]*netns.Machine{}
	for _, n := range names {
		out[n] = l.Machine(n)
	}
	r.check(l.Ready())
	return out, func() { r.check(l.Close()) }
}

// nft runs nft on a machine, and returns how much processor time it took, and
// how long.
func (r *report) nft(m *netns.Machine, text string) (cpu, wall time.Duration) {
	r.Helper()
	cmd := exec.CommandContext(r.Context(), "nft", "--file", "-")
	cmd.Stdin = strings.NewReader(text)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	start := now()
	err := m.Run(cmd)
	wall = now() - start
	if err != nil {
		r.Fatalf("nft: %v\n%.500s", err, out.String())
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), wall
}

// taken is the processor time that this process takes for f, and how long it is.
func taken(f func()) (cpu, wall time.Duration) {
	c, w := clock(unix.CLOCK_PROCESS_CPUTIME_ID), now()
	f()
	return clock(unix.CLOCK_PROCESS_CPUTIME_ID) - c, now() - w
}

func now() time.Duration { return clock(unix.CLOCK_MONOTONIC) }

func clock(id int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		panic(err) // it is always there
	}
	return time.Duration(t.Nano())
}

func median[T float64 | time.Duration](list []T) T {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}
