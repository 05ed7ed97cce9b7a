package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/clock"
)

// predict asks `ringfence explain` about flows, all at once.
func (d *demo) predict(ctx context.Context, s *plane, flows []*flow) error {
	var questions bytes.Buffer
	var asked []*judgement
	for _, f := range flows {
		for i := range f.judged {
			j := &f.judged[i]
			q := map[string]any{"direction": j.direction, "local": j.local, "remote": j.remote, "protocol": j.protocol}
			if j.port > 0 {
				q["port"] = j.port
			}
			line, err := json.Marshal(q)
			if err != nil {
				return err
			}
			questions.Write(append(line, '\n'))
			asked = append(asked, j)
		}
	}
	answers, err := d.ringfence(ctx, &questions, "explain", "--kubeconfig", s.kubeconfig, "--packets", "-")
	if err != nil {
		return err
	}
	lines := json.NewDecoder(bytes.NewReader(answers))
	for _, j := range asked {
		var a struct {
			Action string `json:"action"`
			By     string `json:"by"`
		}
		if err := lines.Decode(&a); err != nil {
			return fmt.Errorf("ringfence explain answers too little: %w", err)
		}
		j.action, j.by = a.Action, a.By
	}
	return nil
}

// ringfence runs the command, and returns what it prints.
func (d *demo) ringfence(ctx context.Context, in io.Reader, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "ringfence"), args...) //nolint:gosec // G204: what we have built
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("ringfence %s: %w\n%s%s", args[0], err, &out, &errs)
	}
	return out.Bytes(), nil
}

// A count is a counter of a host's table: a rule in one direction.
type count struct{ direction, by, action string }

// A status is what `ringfence-agent status -o json` says, as far as we ask.
type status struct {
	Rules []struct {
		By        string `json:"by"`
		Direction string `json:"direction"`
		Action    string `json:"action"`
		Packets   uint64 `json:"packets"`
	} `json:"rules"`
}

// counts asks the agent's program on a node.
func (d *demo) counts(n *node) (map[count]uint64, error) {
	var told, errs bytes.Buffer
	cmd := exec.Command(filepath.Join(d.bin, "ringfence-agent"), "status", "-o", "json", "--state-dir", n.stateDir) //nolint:gosec,noctx // G204: what we have built; it is quick
	cmd.Stdout, cmd.Stderr = &told, &errs
	if err := n.machine.Run(cmd); err != nil {
		return nil, fmt.Errorf("ringfence-agent status on %s: %w\n%s", n.name, err, &errs)
	}
	var s status
	if err := json.Unmarshal(told.Bytes(), &s); err != nil {
		return nil, fmt.Errorf("ringfence-agent status on %s: %w", n.name, err)
	}
	out := map[count]uint64{}
	for _, r := range s.Rules {
		out[count{r.Direction, r.By, r.Action}] += r.Packets
	}
	return out, nil
}

// A measurement is what became of a flow.
type measurement struct {
	// received says that the receiver has got it, dropped that a counter of a
	// drop rose on the way. Neither: it is lost, nobody knows where.
	received, dropped bool
	// by are the counters that rose, in the order of travel.
	by []risen
}

// A risen counter is who decided on the way.
type risen struct {
	node *node
	count
}

// measure sends a flow, and waits for a sign that it has come or that somebody
// has dropped it. A drop may be somebody else's: one that is predicted is
// believed if nothing has come a moment later, another one when time is up. With
// no agents on the way there are no counters.
func (d *demo) measure(ctx context.Context, f *flow) (*measurement, error) {
	counts, err := d.allCounts(f)
	if err != nil {
		return nil, err
	}
	p, err := f.parcel()
	if err != nil {
		return nil, err
	}
	came, done, err := p.send(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	m := &measurement{}
	deadline := clock.RealClock{}.NewTimer(signTime)
	defer deadline.Stop()
	look := time.NewTicker(poll)
	defer look.Stop()
	for {
		select {
		case <-came:
			m.received = true
		case <-look.C:
		case <-deadline.C():
			return m, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		before := m.dropped
		if m.by, err = d.risen(f, counts); err != nil {
			return nil, err
		}
		m.dropped = slices.ContainsFunc(m.by, func(r risen) bool { return r.action == "drop" })
		if m.received || before && f.predicted() == "drop" {
			return m, nil
		}
	}
}

// signTime is how long a flow may leave no sign at all.
const signTime = 20 * time.Second

func (d *demo) allCounts(f *flow) ([]map[count]uint64, error) {
	out := make([]map[count]uint64, len(f.judged))
	for i := range f.judged {
		var err error
		if f.judged[i].node.agent == nil {
			continue
		}
		if out[i], err = d.counts(f.judged[i].node); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// risen lists the counters that rose since.
func (d *demo) risen(f *flow, before []map[count]uint64) ([]risen, error) {
	now, err := d.allCounts(f)
	if err != nil {
		return nil, err
	}
	var out []risen
	for i := range f.judged {
		j := &f.judged[i]
		for _, c := range slices.SortedFunc(maps.Keys(now[i]), func(a, b count) int { return strings.Compare(a.by, b.by) }) {
			if c.direction == j.direction && now[i][c] > before[i][c] {
				out = append(out, risen{j.node, c})
			}
		}
	}
	return out, nil
}

// agrees reports whether a measurement is what was predicted: come or dropped,
// and by the very rules that the prediction names. Counters of others may rise
// too: hosts have other things to do.
func (m *measurement) agrees(f *flow) bool {
	if m.received != (f.predicted() == "accept") {
		return false
	}
	for _, want := range f.deciders() {
		if !slices.Contains(m.by, want) {
			return false
		}
	}
	return true
}

// deciders are the counters that must rise: those of all who judge, up to the
// first who drops. What is exempt has none.
func (f *flow) deciders() []risen {
	var out []risen
	for i := range f.judged {
		j := &f.judged[i]
		if j.by != "exempt" {
			out = append(out, risen{j.node, count{j.direction, j.by, j.action}})
		}
		if j.action != "accept" {
			break
		}
	}
	return out
}

// A table prints flows as they are measured.
type table struct {
	out  io.Writer
	rows map[string]string // of each rule, by its name in verdicts
	// bad counts flows that did something else.
	flows, bad int
	decided    map[string]bool
}

func (t *table) head() {
	t.line("FLOW", "ROW", "PREDICTED", "MEASURED", "")
}

func (t *table) line(cells ...string) {
	_, _ = fmt.Fprintf(t.out, "%s\n", strings.TrimRight(fmt.Sprintf("%-42s %-13s %-30s %-32s %s", cells[0], cells[1], cells[2], cells[3], cells[4]), " "))
}

// names is how the table names several.
func (t *table) names(list []risen) string {
	var out []string
	for _, r := range list {
		name := t.rows[r.by]
		if name == "" {
			name = fmt.Sprintf("%s (%s)", r.by, r.direction)
		}
		out = append(out, name)
	}
	return strings.Join(out, " > ")
}

// add adds a flow. One that ends as it must, by the rules that were predicted,
// is shown without what else was counted meanwhile.
func (t *table) add(f *flow, m *measurement) {
	t.flows++
	row, verdict, by := f.row, "", m.by
	if row == "" && f.wish == "accept" {
		row = t.names(f.deciders()[len(f.judged)-1:])
	}
	if m.agrees(f) && f.predicted() == f.wish {
		by = f.deciders()
	} else {
		t.bad++
		verdict = "WRONG"
	}
	for _, r := range by {
		t.decided[r.by] = true
	}
	became := "no sign of it"
	switch {
	case m.received:
		became = "received"
	case m.dropped:
		became = "dropped"
	}
	t.line(f.String(), cmp.Or(row, "forbidden"), with(f.predicted(), t.names(f.deciders())), with(became, t.names(by)), verdict)
}

// with adds who decided, if anybody did.
func with(what, names string) string {
	if names == "" {
		return what
	}
	return what + ", " + names
}
