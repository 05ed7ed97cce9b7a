package cli

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
	source "ringfence.dev/ringfence/internal/discover/live"
	"ringfence.dev/ringfence/rules"
)

const needsHelp = `Needs reads the objects of a Kubernetes cluster and lists who must reach whom, on
which port, because of which object: webhooks, kubelets, the API server, DNS, the
network of pods, Services, and the components that it knows. It asks the API server
of your kubeconfig, in all namespaces, or with -f reads files: what kubectl get
-o yaml or -o json prints, or manifests. --rbac prints the role that it takes.

It makes a difference between what nothing needs and what the objects do not tell:
the latter is listed as unknown, with what would tell. A field that makes no sense is
a finding, and what hangs on it is unknown.

WIRE says what a host's firewall sees: host (addresses of hosts), routed-pod (pods'
own addresses), in OVERLAY (nothing but the overlay, which is a need of its own).

With --watch it goes on, and tells what comes, goes and changes, and why, until you
press Ctrl-C; with -o json a JSON object a line. -o nft writes an nftables script
that accepts the needs on a host's uplink and counts the rest, for hosts without an
agent.

Exit codes: 0 the needs were derived, 2 there is no answer.`

type needsCommand struct {
	output
	streams     Streams
	paths       []string
	live        live
	watch, rbac bool
}

func newNeeds(s Streams) *cobra.Command {
	cmd := &needsCommand{output: newOutput("table", "json", "yaml", "csv", "nft"), streams: s}
	c := &cobra.Command{
		Use:   "needs [-f FILE...]",
		Short: "List which flows a cluster cannot do without, and because of which objects",
		Long:  needsHelp,
		Example: "  ringfence needs --kubeconfig ~/.kube/config --watch\n  kubectl get -A -o yaml nodes,svc,endpointslices,pods,ds,deploy,rs,sts,cm,crd,apiservices,\\\n" +
			"    validatingwebhookconfigurations,mutatingwebhookconfigurations > dump.yaml\n  ringfence needs -f dump.yaml",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return cmd.run(c) },
	}
	c.Flags().StringArrayVarP(&cmd.paths, "file", "f", nil, "file or directory of cluster objects, - for standard input; may be repeated")
	_ = c.MarkFlagFilename("file", "json", "yaml", "yml")
	c.Flags().BoolVarP(&cmd.watch, "watch", "w", false, "go on and tell what changes, until Ctrl-C")
	c.Flags().BoolVar(&cmd.rbac, "rbac", false, "print the ClusterRole that may read what is read here, and ask nobody")
	cmd.live.registerServer(c)
	cmd.register(c)
	return c
}

func (cmd *needsCommand) run(c *cobra.Command) error {
	if err := cmd.checkFormat(c); err != nil {
		return err
	}
	switch {
	case cmd.rbac:
		_, err := io.WriteString(cmd.streams.Out, source.Role())
		return err
	case len(cmd.paths) > 0 && (cmd.watch || cmd.live.asked()):
		return usageError(c, "-f names files, and --kubeconfig, --context and --watch an API server: want one of them")
	case cmd.watch && cmd.format != "table" && cmd.format != "json":
		return usageError(c, "-o %s with --watch: want table or json", cmd.format)
	case cmd.watch:
		return cmd.follow(c.Context())
	}
	report, err := cmd.read(c.Context())
	if err != nil {
		return err
	}
	if done, err := cmd.structured(cmd.streams.Out, needsOf(report)); done {
		return err
	}
	switch cmd.format {
	case "csv":
		return cmd.csv(report)
	case "nft":
		return writeNft(cmd.streams.Out, report)
	}
	return cmd.tell(report)
}

// read reads the files, or the cluster.
func (cmd *needsCommand) read(ctx context.Context) (*discover.Report, error) {
	if len(cmd.paths) > 0 {
		list, err := readFiles(cmd.paths, cmd.streams.In)
		if err != nil {
			return nil, err
		}
		return deriveNeeds(list)
	}
	server, from, err := cmd.open()
	if err != nil {
		return nil, err
	}
	report, err := from.Read(ctx)
	return report, server.Explain(err)
}

func deriveNeeds(list []convert.File) (*discover.Report, error) {
	var cluster discover.Cluster
	for _, file := range list {
		for object, err := range convert.Foreigners(file) {
			if err != nil {
				return nil, err
			}
			cluster.Add(object)
		}
	}
	return cluster.Derive()
}

// The JSON form of a report. Its names are a contract.
type jsonNeeds struct {
	Needs    []jsonNeed        `json:"needs"`
	Unknown  []jsonUnknown     `json:"unknown"`
	Findings []jsonBadField    `json:"findings"`
	Parties  []jsonPartyPlaces `json:"parties"`
}

type jsonNeed struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Protocol string `json:"protocol"`
	// Ports is FROM/TO, -1/-1 for a protocol without.
	Ports string `json:"ports"`
	Class string `json:"class"`
	Wire  string `json:"wire"`
	// In is the overlay that carries the need, which makes no rule then.
	In          string         `json:"in,omitempty"`
	Why         string         `json:"why"`
	Logs        string         `json:"logs,omitempty"`
	Because     []jsonEvidence `json:"because"`
	MoreBecause int            `json:"moreBecause,omitzero"`
}

type jsonEvidence struct {
	Object string `json:"object"`
	Field  string `json:"field,omitempty"`
	Place  string `json:"place,omitempty"`
}

type jsonUnknown struct {
	About       string         `json:"about"`
	Why         string         `json:"why"`
	Tell        string         `json:"tell"`
	Because     []jsonEvidence `json:"because"`
	MoreBecause int            `json:"moreBecause,omitzero"`
}

type jsonBadField struct {
	Object string `json:"object"`
	Place  string `json:"place"`
	Why    string `json:"why"`
}

type jsonPartyPlaces struct {
	Party string   `json:"party"`
	CIDRs []string `json:"cidrs"`
}

func needsOf(r *discover.Report) jsonNeeds {
	out := jsonNeeds{Needs: []jsonNeed{}, Unknown: []jsonUnknown{}, Findings: []jsonBadField{}, Parties: []jsonPartyPlaces{}}
	for i := range r.Needs {
		out.Needs = append(out.Needs, needOf(&r.Needs[i]))
	}
	for i := range r.Unknown {
		out.Unknown = append(out.Unknown, unknownOf(&r.Unknown[i]))
	}
	for _, f := range r.Findings {
		out.Findings = append(out.Findings, jsonBadField{f.Object.String(), f.Place, f.Why})
	}
	for i := range r.Parties {
		out.Parties = append(out.Parties, placesOf(&r.Parties[i]))
	}
	return out
}

func needOf(n *discover.Need) jsonNeed {
	return jsonNeed{
		n.From.String(), n.To.String(), n.Protocol.String(), n.Ports.String(), n.Class.String(), n.Wire.String(), n.In, n.Why, n.Logs,
		evidenceOf(&n.Because), n.Because.More,
	}
}

func unknownOf(u *discover.Unknown) jsonUnknown {
	return jsonUnknown{u.About, u.Why, u.Tell, evidenceOf(&u.Because), u.Because.More}
}

func placesOf(l *discover.Located) jsonPartyPlaces {
	places := jsonPartyPlaces{Party: l.Party.String()}
	for _, p := range l.Prefixes {
		places.CIDRs = append(places.CIDRs, p.String())
	}
	return places
}

func evidenceOf(b *discover.Because) []jsonEvidence {
	out := make([]jsonEvidence, 0, len(b.Evidence))
	for _, e := range b.Evidence {
		out = append(out, jsonEvidence{e.Object.String(), e.Field, e.Place})
	}
	return out
}

func (cmd *needsCommand) csv(r *discover.Report) error {
	w := csv.NewWriter(cmd.streams.Out)
	_ = w.Write([]string{"from", "to", "protocol", "ports", "class", "wire", "in", "why", "because"}) // Error has it
	for _, n := range needsOf(r).Needs {
		objects := make([]string, 0, len(n.Because))
		for _, e := range n.Because {
			objects = append(objects, strings.TrimSpace(e.Object+" "+e.Field))
		}
		_ = w.Write([]string{n.From, n.To, n.Protocol, n.Ports, n.Class, n.Wire, n.In, n.Why, strings.Join(objects, "; ")})
	}
	w.Flush()
	return w.Error()
}

func (cmd *needsCommand) tell(r *discover.Report) error {
	p := cmd.printer(cmd.streams.Out)
	rows := make([][]string, 0, len(r.Needs))
	for i := range r.Needs {
		n := &r.Needs[i]
		rows = append(rows, []string{n.From.String(), n.To.String(), protocolPort(n.Protocol, n.Ports), n.Class.String(), wireText(n), becauseText(&n.Because)})
	}
	if len(rows) > 0 {
		table(p, []string{"FROM", "TO", "PORT", "CLASS", "WIRE", "BECAUSE OF"}, rows)
	} else {
		p.printf("these objects need nothing that is known\n")
	}
	for i := range r.Unknown {
		u := &r.Unknown[i]
		p.printf("\n%s %s\n", p.paint(styleYellow, "unknown:"), u.About)
		labelled(p, "why", u.Why)
		labelled(p, "tell", u.Tell)
		if len(u.Because.Evidence) > 0 {
			labelled(p, "because", becauseText(&u.Because))
		}
	}
	for _, f := range r.Findings {
		p.printf("\n%s %s\n", p.paint(styleRed, "finding:"), f.Object)
		labelled(p, "where", f.Place)
		labelled(p, "why", f.Why)
	}
	return p.err
}

// wireText names the overlay that carries a need.
func wireText(n *discover.Need) string {
	if n.In != "" {
		return "in " + n.In
	}
	return n.Wire.String()
}

// protocolPort returns the words for people, such as tcp/8443.
func protocolPort(proto rules.Protocol, ports rules.PortRange) string {
	name := strings.ToLower(proto.String())
	if name == strconv.Itoa(int(proto)) {
		name = "protocol " + name
	}
	switch {
	case ports.IsZero():
		return name
	case ports.First == ports.Last:
		return fmt.Sprintf("%s/%d", name, ports.First)
	}
	return fmt.Sprintf("%s/%d-%d", name, ports.First, ports.Last)
}

// becauseText names the first object of each kind, and how many more there are.
func becauseText(b *discover.Because) string {
	var names []string
	more, kind := b.More, ""
	for _, e := range b.Evidence {
		if e.Object.Kind == kind {
			more++
			continue
		}
		kind = e.Object.Kind
		names = append(names, e.Object.String())
	}
	text := strings.Join(names, ", ")
	if more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
