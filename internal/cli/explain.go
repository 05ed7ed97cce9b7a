package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

const explainHelp = `Explain says what happens to a flow, and which rule decides.

One flow, seen from one side, by --direction, --local and --remote; both sides at
once by --from and --to (egress of the one, ingress of the other, and which of
them drops); or many, as JSON Lines, by --packets:

  {"direction":"ingress","local":"10.0.0.5","remote":"10.0.1.7","protocol":"tcp","port":443}

with "icmpType" (default: echo request), "sourcePort" and "groups" optional.
Answers come in the same order, one a line:

  {"action":"accept","by":"sg-1/ingress/3"}

"by" is a rule (positions count from 1 in the order written, system rules first),
"inner-access", "exempt" or "default". A line that has no answer gets {"error":…},
and the exit code is 2.

Groups are found by the local address unless they are given. What own hosts always
let through is exempt for ringfence.dev groups; for exports of a cloud only with
--exempt. Without a flow, the exempt traffic is listed.`

const explainExample = `  ringfence explain -f export/ --from 192.168.0.11 --to 192.168.0.12 --port 10250
  ringfence explain -f export/ --direction ingress --local 192.168.0.11 --remote 198.51.100.7 --port 22
  ringfence explain -f manifests/ --packets - < packets.jsonl
  ringfence explain                     # what is always let through on own hosts`

type explainCommand struct {
	input
	output
	streams                  Streams
	packets                  string
	direction, local, remote string
	from, to                 string
	protocol                 string
	port, icmpType, source   int
	groups                   []string
	exempt                   bool
	groupType                string
}

func newExplain(s Streams) *cobra.Command {
	cmd := &explainCommand{input: input{in: s.In}, output: newOutput("table", "json", "yaml"), streams: s}
	c := &cobra.Command{
		Use:     "explain -f FILE... (--from IP --to IP | --local IP --remote IP | --packets FILE)",
		Short:   "Say what happens to a flow and which rule decides",
		Long:    explainHelp,
		Example: explainExample,
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return cmd.run(c) },
	}
	cmd.input.register(c)
	cmd.output.register(c)
	fl := c.Flags()
	fl.StringVar(&cmd.packets, "packets", "", "JSON Lines of flows to answer, - for standard input")
	fl.StringVar(&cmd.direction, "direction", "ingress", "ingress or egress, seen from --local")
	fl.StringVar(&cmd.local, "local", "", "address of the host that wears the groups")
	fl.StringVar(&cmd.remote, "remote", "", "address of its peer")
	fl.StringVar(&cmd.from, "from", "", "source address: both sides are asked")
	fl.StringVar(&cmd.to, "to", "", "destination address: both sides are asked")
	fl.StringVar(&cmd.protocol, "protocol", "tcp", "protocol: tcp, udp, icmp, icmpv6, gre, ... or a number")
	fl.IntVar(&cmd.port, "port", -1, "destination port")
	fl.IntVar(&cmd.icmpType, "icmp-type", -1, "ICMP type (default: echo request)")
	fl.IntVar(&cmd.source, "source-port", -1, "source port (default: unknown)")
	fl.StringSliceVar(&cmd.groups, "groups", nil, "groups that --local wears (default: those that the files tell)")
	fl.BoolVar(&cmd.exempt, "exempt", false, "take as let through what own hosts always let through (default: for ringfence.dev groups only)")
	fl.StringVar(&cmd.groupType, "group-type", "", "basic or advanced, for groups whose type no file tells")
	_ = c.RegisterFlagCompletionFunc("direction", cobra.FixedCompletions([]string{"ingress", "egress"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (cmd *explainCommand) run(c *cobra.Command) error {
	if err := cmd.checkFormat(c); err != nil {
		return err
	}
	tables, err := profiles.Load()
	if err != nil {
		return err
	}
	asked := cmd.packets != "" || cmd.local != "" || cmd.remote != "" || cmd.from != "" || cmd.to != ""
	if !asked && !cmd.given() {
		return cmd.listExempt(tables.Exempt())
	}
	if !asked {
		return usageError(c, "no flow: say --from and --to, --local and --remote, or --packets")
	}
	if err := cmd.oneWay(c); err != nil {
		return err
	}
	if cmd.packets == "-" && slices.Contains(cmd.paths, "-") {
		return usageError(c, "standard input can be read once: -f - and --packets - do not go together")
	}
	inv, err := cmd.readFiles(c)
	if err != nil {
		return err
	}
	if err := (&facts{groupType: cmd.groupType}).applyGroups(inv); err != nil {
		return err
	}
	if inv, err = judge.Complete(inv, tables); err != nil {
		return err
	}
	answerer := judge.NewAnswerer(inv, tables.Exempt(), exemptChoice(c, cmd.exempt))
	switch {
	case cmd.packets != "":
		return cmd.answerLines(answerer)
	case cmd.from != "" || cmd.to != "":
		return cmd.bothSides(c, answerer)
	}
	return cmd.oneSide(answerer)
}

// oneWay refuses flags of two ways to ask in one command: one of them would not
// count, silently.
func (cmd *explainCommand) oneWay(c *cobra.Command) error {
	given := func(flags ...string) string {
		for _, f := range flags {
			if c.Flags().Changed(f) {
				return f
			}
		}
		return ""
	}
	both, one := given("from", "to"), given("local", "remote", "direction", "groups")
	flow := given("from", "to", "local", "remote", "direction", "groups", "protocol", "port", "icmp-type", "source-port")
	switch {
	case both != "" && one != "":
		return usageError(c, "--%s asks both sides, --%s is about one: want either", both, one)
	case cmd.packets != "" && flow != "":
		return usageError(c, "--packets has its flows in the file: --%s does not go with it", flow)
	}
	for flag, value := range map[string]int{"port": cmd.port, "icmp-type": cmd.icmpType, "source-port": cmd.source} {
		if c.Flags().Changed(flag) && value < 0 {
			return usageError(c, "--%s %d: want 0 or more", flag, value)
		}
	}
	return nil
}

// listExempt prints the exempt traffic: the part of every verdict on own hosts
// that no user wrote.
func (cmd *explainCommand) listExempt(list []rules.Exempt) error {
	type entry struct {
		Name     string `json:"name"`
		Protocol string `json:"protocol"`
		What     string `json:"what"`
		Why      string `json:"why"`
	}
	var entries []entry
	var rows [][]string
	for i := range list {
		e := &list[i]
		entries = append(entries, entry{e.Name, e.Protocol.String(), exemptText(e), e.Why})
		rows = append(rows, []string{e.Name, e.Protocol.String(), exemptText(e)})
	}
	if done, err := cmd.structured(cmd.streams.Out, entries); done {
		return err
	}
	p := cmd.printer(cmd.streams.Out)
	p.printf("Own hosts let this through in both directions before any group is asked:\n")
	table(p, []string{"NAME", "PROTOCOL", "WHAT"}, rows)
	return p.err
}

func exemptText(e *rules.Exempt) string {
	var parts []string
	if e.Protocol == rules.ICMP || e.Protocol == rules.ICMPv6 {
		parts = append(parts, fmt.Sprintf("types %d-%d", e.FirstType, e.LastType))
	}
	if !e.Ports.IsZero() {
		parts = append(parts, "ports "+e.Ports.String())
	}
	if e.HopLimit255 {
		parts = append(parts, "hop limit 255")
	}
	if e.Peer != nil {
		parts = append(parts, "with "+e.Peer.String())
	}
	return strings.Join(parts, ", ")
}

// A lineAnswer is one answer of --packets. Its names are a contract.
type lineAnswer struct {
	Action string `json:"action,omitempty"`
	By     string `json:"by,omitempty"`
	Error  string `json:"error,omitempty"`
}

func (cmd *explainCommand) answerLines(a *judge.Answerer) error {
	in := cmd.streams.In
	if cmd.packets != "-" {
		f, err := os.Open(cmd.packets)
		if err != nil {
			return fmt.Errorf("cannot read packets: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read from
		in = f
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), 16<<20)
	out := bufio.NewWriter(cmd.streams.Out)
	failed, n := 0, 0
	for lines.Scan() {
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		n++
		answer := answerLine(a, text)
		if answer.Error != "" {
			failed++
		}
		if err := json.MarshalWrite(out, answer, jsontext.AllowInvalidUTF8(true)); err != nil {
			return err
		}
		if err := out.WriteByte('\n'); err != nil {
			return err
		}
	}
	if err := errors.Join(lines.Err(), out.Flush()); err != nil {
		return fmt.Errorf("cannot read packets after line %d: %w", n, err)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d lines have no answer: see \"error\" in their place", failed, n)
	}
	return nil
}

func answerLine(a *judge.Answerer, text []byte) lineAnswer {
	var l packetLine
	if err := json.Unmarshal(text, &l, json.RejectUnknownMembers(true)); err != nil {
		return lineAnswer{Error: short(lineError(err))}
	}
	f, err := l.flow()
	if err != nil {
		return lineAnswer{Error: short(err.Error())}
	}
	groups, err := groupsOf(a, l.Groups, &f)
	if err != nil {
		return lineAnswer{Error: err.Error()}
	}
	v, err := a.Verdict(groups, &f)
	if err != nil {
		return lineAnswer{Error: err.Error()}
	}
	return lineAnswer{Action: v.Action.String(), By: v.By()}
}

// groupsOf returns the groups that were said, or else those that the files tell.
func groupsOf(a *judge.Answerer, said []string, f *rules.Flow) ([]string, error) {
	if len(said) > 0 {
		return said, nil
	}
	return a.GroupsOf(f.Local)
}

// short cuts a message that quotes a long input.
func short(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// lineError says what is wrong with a line in the words of JSON.
func lineError(err error) string {
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		if errors.Is(semantic.Err, json.ErrUnknownName) {
			return fmt.Sprintf("%s: unknown field: want direction, local, remote, protocol, port, icmpType, sourcePort or groups", semantic.JSONPointer)
		}
		if semantic.Err != nil {
			return fmt.Sprintf("%s: %v", semantic.JSONPointer, semantic.Err)
		}
		return strings.TrimPrefix(fmt.Sprintf("%s: wrong kind of value: want an object with direction, local, remote and so on", semantic.JSONPointer), ": ")
	}
	return "no JSON object: " + err.Error()
}

// A sideAnswer is what one side says about a flow.
type sideAnswer struct {
	Direction string   `json:"direction"`
	Local     string   `json:"local"`
	Remote    string   `json:"remote"`
	Groups    []string `json:"groups"`
	Action    string   `json:"action"`
	By        string   `json:"by"`
	Why       string   `json:"why"`
	Hidden    []string `json:"hidden,omitempty"`
	Unknown   []string `json:"unknown,omitempty"`
}

func (cmd *explainCommand) line(direction, local, remote string) *packetLine {
	l := &packetLine{Direction: direction, Local: local, Remote: remote, Protocol: protocol(cmd.protocol)}
	for _, v := range []struct {
		value int
		to    **int
	}{{cmd.port, &l.Port}, {cmd.icmpType, &l.ICMPType}, {cmd.source, &l.SourcePort}} {
		if v.value >= 0 {
			*v.to = &v.value
		}
	}
	return l
}

func (cmd *explainCommand) oneSide(a *judge.Answerer) error {
	f, err := cmd.line(cmd.direction, cmd.local, cmd.remote).flow()
	if err != nil {
		return err
	}
	groups, err := groupsOf(a, cmd.groups, &f)
	if err != nil {
		return err
	}
	answer, err := explainSide(a, groups, &f)
	if err != nil {
		return err
	}
	if done, err := cmd.structured(cmd.streams.Out, answer); done {
		return err
	}
	p := cmd.printer(cmd.streams.Out)
	writeSide(p, &answer)
	return p.err
}

func explainSide(a *judge.Answerer, groups []string, f *rules.Flow) (sideAnswer, error) {
	e, err := a.Explain(groups, f)
	if err != nil {
		return sideAnswer{}, err
	}
	out := sideAnswer{
		Direction: f.Direction.String(), Local: f.Local.String(), Remote: f.Remote.String(), Groups: groups,
		Action: e.Verdict.Action.String(), By: e.Verdict.By(), Why: verdictWhy(&e.Verdict, f.Direction),
	}
	for _, r := range e.Hidden {
		out.Hidden = append(out.Hidden, r.String())
	}
	for _, r := range e.Unknown {
		out.Unknown = append(out.Unknown, fmt.Sprintf("%s (members of %s)", r, r.Peer))
	}
	return out, nil
}

func verdictWhy(v *rules.Verdict, d rules.Direction) string {
	switch v.Cause {
	case rules.ByRule:
		r := v.Rule
		return fmt.Sprintf("%s %s %s %s, priority %d", r.Action, r.Protocol, r.Ports, r.Peer, r.Priority)
	case rules.ByInnerAccess:
		return "both are members of a basic group with inner access, which comes before all rules"
	case rules.ByExempt:
		return "always let through on own hosts: " + v.Exempt.Why
	case rules.ByDefault:
	}
	return fmt.Sprintf("no rule matches, and the default for %s is %s", d, v.Action)
}

func writeSide(p *printer, a *sideAnswer) {
	style := map[string]string{"accept": styleGreen, "drop": styleRed}[a.Action]
	p.printf("%s  %s of %s: %s by %s\n", p.paint(style, strings.ToUpper(a.Action)), a.Direction, a.Local, a.Action, p.paint(styleBold, a.By))
	labelled(p, "why", a.Why)
	labelled(p, "groups", strings.Join(a.Groups, ", "))
	if len(a.Hidden) > 0 {
		labelled(p, "hides", some(a.Hidden))
	}
	if len(a.Unknown) > 0 {
		labelled(p, "unsure", "taken as not matching, since no file lists the members: "+some(a.Unknown))
	}
}

// some joins the first of many.
func some(list []string) string {
	const most = 10
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

// A pathAnswer is what both sides say about a flow.
type pathAnswer struct {
	Action    string      `json:"action"`
	DroppedBy []string    `json:"droppedBy,omitempty"`
	Egress    *sideAnswer `json:"egress,omitempty"`
	Ingress   *sideAnswer `json:"ingress,omitempty"`
	Notes     []string    `json:"notes,omitempty"`
}

func (cmd *explainCommand) bothSides(c *cobra.Command, a *judge.Answerer) error {
	if cmd.from == "" || cmd.to == "" {
		return usageError(c, "--from and --to go together")
	}
	path := pathAnswer{Action: rules.Accept.String()}
	for _, side := range []struct {
		direction, local, remote string
		to                       **sideAnswer
	}{{"egress", cmd.from, cmd.to, &path.Egress}, {"ingress", cmd.to, cmd.from, &path.Ingress}} {
		f, err := cmd.line(side.direction, side.local, side.remote).flow()
		if err != nil {
			return err
		}
		groups, err := a.GroupsOf(f.Local)
		if err != nil {
			path.Notes = append(path.Notes, fmt.Sprintf("%s was not asked: %v", side.direction, err))
			continue
		}
		answer, err := explainSide(a, groups, &f)
		if err != nil {
			return err
		}
		*side.to = &answer
		if answer.Action == rules.Drop.String() {
			path.Action = answer.Action
			path.DroppedBy = append(path.DroppedBy, side.direction)
		}
	}
	if path.Egress == nil && path.Ingress == nil {
		return fmt.Errorf("neither side can be asked:\n%s", strings.Join(path.Notes, "\n"))
	}
	if done, err := cmd.structured(cmd.streams.Out, path); done {
		return err
	}
	p := cmd.printer(cmd.streams.Out)
	writePath(p, &path)
	return p.err
}

func writePath(p *printer, path *pathAnswer) {
	for _, side := range []*sideAnswer{path.Egress, path.Ingress} {
		if side != nil {
			writeSide(p, side)
		}
	}
	for _, n := range path.Notes {
		labelled(p, "note", n)
	}
	if len(path.DroppedBy) > 0 {
		p.printf("%s by %s\n", p.paint(styleRed, "dropped"), strings.Join(path.DroppedBy, " and "))
		return
	}
	p.printf("%s\n", p.paint(styleGreen, "let through"))
}
