package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/internal/kubeapi"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

const observeHelp = `Observe lists the needed flows that a host's groups drop: what it would be cut off
from if it enforced. It joins what the cluster needs with the host's FlowReport,
which says what was seen; a need that nobody has asked for yet is listed as well.
Flows that the groups drop and that nothing needs are only counted.

The FlowReport is that of the API server, or of --report: what ringfence-agent
writes to flows.json in its state folder, or prints with flows -o report.

Exit codes: 0 enforcing would cut no needed flow, 1 it would, 2 there is no answer.`

type observeCommand struct {
	input
	output
	streams Streams
	report  string
}

func newObserve(s Streams) *cobra.Command {
	cmd := &observeCommand{input: input{in: s.In}, output: newOutput("table", "json", "yaml"), streams: s}
	c := &cobra.Command{
		Use:     "observe HOST {-f FILE... [--report FILE] | --kubeconfig FILE}",
		Short:   "List the needed flows that a host would lose if it enforced",
		Long:    observeHelp,
		Example: "  ringfence observe node-1 --kubeconfig admin.kubeconfig -n shop\n  ringfence-agent flows -o report >flows.json && ringfence observe node-1 -f manifests/ --report flows.json",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return cmd.run(c, args[0]) },
	}
	cmd.input.register(c)
	cmd.output.register(c)
	c.Flags().StringVar(&cmd.report, "report", "", "file with the host's FlowReport (default: ask the API server; without one, only needs are looked at)")
	_ = c.MarkFlagFilename("report", "json", "yaml")
	return c
}

func (cmd *observeCommand) run(c *cobra.Command, host string) error {
	if err := cmd.checkFormat(c); err != nil {
		return err
	}
	inv, err := cmd.readFiles(c)
	if err != nil {
		return err
	}
	tables, err := profiles.Load()
	if err != nil {
		return err
	}
	if inv, err = judge.Complete(inv, tables); err != nil {
		return err
	}
	report, err := cmd.flowReport(c.Context(), host)
	if err != nil {
		return err
	}
	flows, err := flowsOf(report)
	if err != nil {
		return err
	}
	judged, err := judge.Host(inv, tables, host, flows)
	if err != nil {
		return err
	}
	answer := observedOf(host, judged, report)
	if done, err := cmd.structured(cmd.streams.Out, answer); !done {
		if err := cmd.tell(answer); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if len(answer.Cut) > 0 {
		return errFindings
	}
	return nil
}

// flowReport reads the FlowReport of a host; nil if there is none.
func (cmd *observeCommand) flowReport(ctx context.Context, host string) (*v1alpha1.FlowReport, error) {
	r := &v1alpha1.FlowReport{}
	switch {
	case cmd.report != "":
		data, err := os.ReadFile(cmd.report)
		if err != nil {
			return nil, fmt.Errorf("cannot read the report: %w", err)
		}
		if err := yaml.UnmarshalStrict(data, r); err != nil {
			return nil, fmt.Errorf("%s: want a FlowReport: %w", cmd.report, err)
		}
		if r.Kind != "FlowReport" || r.Name != host {
			return nil, fmt.Errorf("%s: has a %s called %q: want the FlowReport of host %s", cmd.report, strings.TrimSpace(r.Kind+" object"), r.Name, host)
		}
		return r, nil
	case cmd.live.asked():
		server, err := kubeapi.Open(cmd.live.options)
		if err != nil {
			return nil, err
		}
		o, err := server.Objects(kind("flowreports")).Get(ctx, host, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the FlowReport of host %s: %w", host, server.Explain(err))
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, r); err != nil {
			return nil, fmt.Errorf("cannot read the FlowReport of host %s: %w", host, err)
		}
		return r, nil
	}
	return nil, nil
}

func flowsOf(r *v1alpha1.FlowReport) ([]rules.Flow, error) {
	if r == nil {
		return nil, nil
	}
	var out []rules.Flow
	for i := range r.Denied {
		f, err := convert.ReadDenied(&r.Denied[i])
		if err != nil {
			return nil, fmt.Errorf("FlowReport %s: %w", r.Name, err)
		}
		out = append(out, f)
	}
	return out, nil
}

// observedHost is the answer. Its names are a contract.
type observedHost struct {
	Host    string   `json:"host"`
	Observe bool     `json:"observe"`
	Groups  []string `json:"groups"`
	Needs   int      `json:"needs"`
	// Cut are the needs that the groups do not meet.
	Cut []cutNeed `json:"cut"`
	// NotNeeded are flows that were seen, are dropped and that nothing needs;
	// NowPassing those that the groups let through by now.
	NotNeeded  []seenFlow `json:"notNeeded"`
	NowPassing []seenFlow `json:"nowPassing"`
	// Report is the time that the FlowReport is about; nil without one.
	Report *reportSpan `json:"report,omitempty"`
}

type reportSpan struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Omitted int64     `json:"omitted"`
}

type cutNeed struct {
	jsonItem

	Seen []seenFlow `json:"seen"`
}

type seenFlow struct {
	jsonPacket

	Direction string    `json:"direction"`
	By        string    `json:"by"`
	Observed  bool      `json:"observed"`
	Packets   int64     `json:"packets"`
	LastTime  time.Time `json:"lastTime"`
}

func observedOf(host string, h *judge.HostReport, r *v1alpha1.FlowReport) *observedHost {
	at := func(places []int) []seenFlow {
		out := []seenFlow{}
		for _, i := range places {
			d := &r.Denied[i]
			out = append(out, seenFlow{
				jsonPacket{Local: d.Local, Remote: d.Remote, Protocol: strings.ToLower(rules.Protocol(d.Protocol).String()), Port: uint16(d.Port)}, //nolint:gosec // convert.ReadDenied has looked
				strings.ToLower(string(d.Direction)), d.By, d.Observed, d.Packets, d.LastTime.Time,
			})
		}
		return out
	}
	out := &observedHost{Host: host, Observe: h.Observe, Groups: h.Groups, Needs: h.Needs, Cut: []cutNeed{}, NotNeeded: at(h.Others), NowPassing: at(h.Passing)}
	for i := range h.Lacks {
		l := &h.Lacks[i]
		out.Cut = append(out.Cut, cutNeed{itemsOf([]judge.Item{l.Item})[0], at(l.Seen)})
	}
	if r != nil {
		out.Report = &reportSpan{r.From.Time, r.To.Time, r.Omitted}
	}
	return out
}

func (cmd *observeCommand) tell(o *observedHost) error {
	p := cmd.printer(cmd.streams.Out)
	verb := "drops"
	if o.Observe {
		verb = "would drop, if it enforced,"
	}
	what := p.paint(styleGreen, "no needed flow")
	if n := len(o.Cut); n > 0 {
		what = p.paint(styleRed, "flows of "+count(n, "need", "needs"))
	}
	p.printf("host %s (groups %s) %s %s; %s looked at\n", o.Host, strings.Join(o.Groups, ", "), verb, what, count(o.Needs, "need", "needs"))
	rows := make([][]string, 0, len(o.Cut))
	for i := range o.Cut {
		n := &o.Cut[i]
		rows = append(rows, []string{n.ID, n.Direction, n.Protocol, n.Ports, n.Peer, n.Component, seenText(n.Seen)})
	}
	if len(rows) > 0 {
		table(p, []string{"ROW", "DIRECTION", "PROTOCOL", "PORTS", "PEER", "BREAKS", "SEEN"}, rows)
	}
	for i := range o.Cut {
		n := &o.Cut[i]
		for k := range n.Seen[:min(maxShown, len(n.Seen))] {
			labelled(p, n.ID, n.Seen[k].text())
		}
	}
	if len(o.Cut) > 0 {
		p.printf("ringfence check tells why each is needed, and what would let it through\n")
	}
	if n := len(o.NotNeeded); n > 0 {
		p.printf("%s seen that nothing needs, and that the groups drop: see -o json\n", count(n, "more flow was", "more flows were"))
	}
	if n := len(o.NowPassing); n > 0 {
		p.printf("%s seen that the groups let through by now\n", count(n, "more flow was", "more flows were"))
	}
	cmd.tellSpan(p, o.Report)
	return p.err
}

func (f *seenFlow) text() string {
	from, to := f.Remote, f.Local
	if f.Direction == rules.Egress.String() {
		from, to = to, from
	}
	port := ""
	if f.Port != 0 {
		port = fmt.Sprintf(" port %d", f.Port)
	}
	return fmt.Sprintf("%s to %s, %s%s, %s, by %s, last %s", from, to, f.Protocol, port, count(int(f.Packets), "packet", "packets"), f.By, f.LastTime.UTC().Format(time.RFC3339))
}

// maxShown is how many of the flows of a need people are shown.
const maxShown = 3

func seenText(list []seenFlow) string {
	if len(list) == 0 {
		return "not yet"
	}
	var packets int64
	last := slices.MaxFunc(list, func(a, b seenFlow) int { return a.LastTime.Compare(b.LastTime) }).LastTime
	for i := range list {
		packets += list[i].Packets
	}
	return fmt.Sprintf("%s, last %s", count(int(packets), "packet", "packets"), last.UTC().Format(time.RFC3339))
}

func (*observeCommand) tellSpan(p *printer, r *reportSpan) {
	if r == nil {
		p.printf("there is no FlowReport: nothing was dropped so far, or no agent has told of it\n")
		return
	}
	p.printf("seen from %s to %s", r.From.UTC().Format(time.RFC3339), r.To.UTC().Format(time.RFC3339))
	if r.Omitted > 0 {
		p.printf("; there was no room for %s", count(int(r.Omitted), "row", "rows"))
	}
	p.printf("\n")
}
