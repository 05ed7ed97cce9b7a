package agent

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"ringfence.dev/ringfence/internal/nft/apply"
)

// A report is what an agent that runs says of itself.
type report struct {
	PID int `json:"pid"`
	// From is where the agent reads what is wanted.
	From string `json:"from"`
	// Reading and Applying are what is wrong; empty if nothing is.
	Reading  string `json:"reading,omitempty"`
	Applying string `json:"applying,omitempty"`
	// Bypassed is what passes without being judged.
	Bypassed []string `json:"bypassed,omitempty"`
	// Drift is the last that was found; nil if none was.
	Drift *driftReport `json:"drift,omitempty"`
}

// A driftReport is what somebody changed in our table.
type driftReport struct {
	At       time.Time `json:"at"`
	What     []string  `json:"what"`
	Repaired bool      `json:"repaired"`
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// report writes the report, if it says something new.
func (f *follower) report() {
	r := &report{f.pid, f.source.String(), text(f.reading), text(f.applying), f.bypassed, f.drift}
	if reflect.DeepEqual(r, f.told) {
		return
	}
	if f.turn.beats < f.untold {
		return
	}
	if err := f.host.disk.write(statusFile, r); err != nil {
		f.untold = f.turn.beats + lastRetry // a disk that is full stays so for a while
		f.host.log.Error("cannot write the status", "problem", err)
		return
	}
	f.told, f.untold = r, 0
}

// A Status is the answer of `ringfence-agent status`. Its names are a contract.
type Status struct {
	// Host, Version, Since, Why, Groups and Observe are what is enforced, by
	// the disk; zero if nothing is.
	Host    string `json:"host,omitempty"`
	Version string `json:"version,omitempty"`
	// Ruleset names what the version enforces in the control plane; empty if it
	// comes from manifests.
	Ruleset string     `json:"ruleset,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	Why     string     `json:"why,omitempty"`
	Groups  []string   `json:"groups,omitempty"`
	Observe bool       `json:"observe,omitempty"`
	Members int        `json:"members"`
	// Uplinks are those in the kernel.
	Uplinks []string `json:"uplinks,omitempty"`
	// Trial is the version that packets take for a time, "open" if everything
	// passes; Left how long.
	Trial string `json:"trial,omitempty"`
	Left  string `json:"left,omitempty"`
	// Drift is what the table has other than it should.
	Drift []string `json:"drift"`
	// From is where the agent that ran last reads what is wanted.
	From string `json:"from,omitempty"`
	// Running says whether an agent runs, Problems what is wrong.
	Running  bool     `json:"running"`
	Problems []string `json:"problems"`
	// LastDrift is what somebody changed last; nil if nobody did.
	LastDrift *driftReport `json:"lastDrift,omitempty"`
	// Rules are the counts of each rule, by its name.
	Rules []RuleCount `json:"rules,omitempty"`
}

// gatherStatus asks the disk and the kernel.
func gatherStatus(d disk) (*Status, error) {
	s := &Status{Drift: []string{}, Problems: []string{}}
	var err error
	if s.Running, err = d.Locked(); err != nil {
		return nil, err
	}
	var r report
	if told, err := d.load(statusFile, &r); err != nil {
		return nil, err
	} else if told {
		s.LastDrift, s.From = r.Drift, r.From
		if s.Running {
			s.problem(r.Reading)
			s.problem(r.Applying)
		}
	}
	saved, err := d.read(enforcedFile)
	if err != nil {
		return nil, err
	}
	var w Traffic
	if _, err := d.load(seenFile, &w); err != nil {
		return nil, err
	}
	if s.Running {
		s.problem(w.Problem)
	}
	if !s.Running {
		candidate, err := d.read(candidateFile)
		if err != nil {
			return nil, err
		}
		if candidate != nil {
			s.problem("the agent ended in the middle of a change to version " + candidate.Version + ": unless it was confirmed, the kernel goes back by itself, and the next start takes the change back")
		}
	}
	const attempts = 3 // somebody may change the table between two questions
	for range attempts {
		asked := *s
		if err = asked.kernel(saved, w.Hits); err == nil {
			return &asked, nil
		}
	}
	return nil, err
}

func (s *Status) problem(what string) {
	if what != "" {
		s.Problems = append(s.Problems, what)
	}
}

// kernel fills in what is enforced, and how the kernel differs.
func (s *Status) kernel(saved *record, hits map[string]time.Time) error {
	k, err := apply.Open()
	if err != nil {
		return err
	}
	defer func() { _ = k.Close() }()
	state, err := k.State()
	if err != nil {
		return err
	}
	if s.Trial = state.Trial; s.Trial != "" {
		s.Left = state.Left.Round(time.Second).String()
	}
	if saved == nil {
		if state.Confirmed != "" {
			s.Drift = append(s.Drift, "version "+state.Confirmed+" is in the kernel, and the state folder knows nothing of it")
		}
		return nil
	}
	l, err := saved.lay()
	if err != nil {
		return err
	}
	s.Ruleset = saved.Order.RulesetName
	s.Host, s.Version, s.Since, s.Why = saved.Order.Host, saved.Version, &saved.Since, saved.Why
	s.Groups, s.Observe, s.Members = saved.Order.Ruleset.SecurityGroupNames, saved.Order.Observe, len(groupsOf(&saved.Order))
	h := &host{kernel: k}
	drift, err := h.drift(l, state)
	if err != nil {
		return err
	}
	s.Drift = append(s.Drift, words(drift)...)
	if state.Confirmed == "" {
		return nil
	}
	if s.Uplinks, err = readUplinks(); err != nil {
		return err
	}
	around, err := gatherBypassed(k, s.Uplinks)
	if err != nil {
		return err
	}
	s.Problems = append(s.Problems, around...)
	tallies, err := k.Tallies()
	s.Rules = l.counts(tallies, hits)
	return err
}

// write prints s for people.
func (s *Status) write(out io.Writer) error {
	var w strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&w, "%-10s "+format+"\n", append([]any{name}, args...)...)
	}
	if s.Version == "" {
		line("enforces", "nothing")
	} else {
		mode := "Enforce"
		if s.Observe {
			mode = "Observe (nothing is dropped)"
		}
		line("host", "%s, groups %s, %s", s.Host, strings.Join(s.Groups, ", "), mode)
		line("enforces", "version %s, %d members, since %s", s.Version, s.Members, s.Since.Format(time.RFC3339))
		line("because", "%s", s.Why)
		line("uplinks", "%s", strings.Join(s.Uplinks, ", "))
	}
	switch s.Trial {
	case "":
	case openName:
		line("OPEN", "everything passes for %s more: ringfence-agent resume ends it", s.Left)
	default:
		line("trial", "version %s for %s more", s.Trial, s.Left)
	}
	for _, d := range s.Drift {
		line("drift", "%s", d)
	}
	if s.LastDrift != nil {
		line("changed", "at %s by somebody else, repaired: %t: %s", s.LastDrift.At.Format(time.RFC3339), s.LastDrift.Repaired, strings.Join(s.LastDrift.What, "; "))
	}
	if s.Running {
		line("agent", "runs, and follows %s", s.From)
	} else {
		line("agent", "does not run: the rules stay, nothing follows changes")
	}
	for _, p := range s.Problems {
		line("problem", "%s", strings.ReplaceAll(p, "\n", "\n           "))
	}
	_, err := io.WriteString(out, w.String())
	return err
}

// A RuleCount is what a rule has decided since it first came into the kernel.
type RuleCount struct {
	// By is the rule, as verdicts name it, or "default".
	By        string `json:"by"`
	Direction string `json:"direction"`
	Action    string `json:"action"`
	Packets   uint64 `json:"packets"`
	Bytes     uint64 `json:"bytes"`
	// LastHit is when it last decided, to the minute where only the counter
	// tells; nil if no agent was there to see it.
	LastHit *time.Time `json:"lastHit,omitempty"`
}
