package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

const diffHelp = `Diff compares two states, each a file or a directory of exports or manifests, by
what they let through: the flows that open, the flows that close, and the needs of
the cluster among them. Rules that are written differently and mean the same are
no difference. With --kubeconfig the old state is that of the API server, and NEW
what it would be.

Exit code 1 means that a flow which the cluster needs closes.`

type diffCommand struct {
	live live
	facts
	output
	streams Streams
}

func newDiff(s Streams) *cobra.Command {
	cmd := &diffCommand{output: newOutput("table", "json", "yaml"), streams: s}
	c := &cobra.Command{
		Use:     "diff {OLD | --kubeconfig FILE} NEW",
		Short:   "Show which flows open and close between two states, and which needs are among them",
		Long:    diffHelp,
		Example: "  ringfence diff export-monday/ export-today/\n  ringfence diff state.json plan.json\n  ringfence diff --kubeconfig admin.kubeconfig manifests/",
		Args:    cobra.RangeArgs(1, 2),
		RunE:    func(c *cobra.Command, args []string) error { return cmd.run(c, args) },
	}
	cmd.live.register(c)
	cmd.output.register(c)
	cmd.facts.register(c)
	return c
}

func (cmd *diffCommand) run(c *cobra.Command, args []string) error {
	if err := cmd.checkFormat(c); err != nil {
		return err
	}
	if cmd.live.asked() == (len(args) == 2) {
		return usageError(c, "want two states: OLD and NEW, or --kubeconfig and NEW")
	}
	tables, err := profiles.Load()
	if err != nil {
		return err
	}
	side := func(path string) (*convert.Inventory, error) {
		return cmd.read(c, &input{paths: []string{path}, in: cmd.streams.In}, tables)
	}
	var old *convert.Inventory
	if cmd.live.asked() {
		old, err = cmd.read(c, &input{live: cmd.live}, tables)
	} else {
		old, err = side(args[0])
	}
	if err != nil {
		return err
	}
	updated, err := side(args[len(args)-1])
	if err != nil {
		return err
	}
	comparison, err := judge.Compare(old, updated, tables)
	if err != nil {
		return err
	}
	if done, err := cmd.structured(cmd.streams.Out, comparisonOf(comparison)); err != nil {
		return err
	} else if !done {
		p := cmd.printer(cmd.streams.Out)
		writeComparison(p, comparison)
		if p.err != nil {
			return p.err
		}
	}
	for i := range comparison.Differences {
		if len(comparison.Differences[i].NeedsCut) > 0 {
			return errFindings
		}
	}
	return nil
}

// read reads one side. Flags describe clusters; a side without any is compared
// group by group.
func (cmd *diffCommand) read(c *cobra.Command, from *input, tables *profiles.Tables) (*convert.Inventory, error) {
	inv, err := from.readFiles(c)
	if err != nil {
		return nil, err
	}
	if len(inv.Clusters) == 0 && cmd.mode == "" {
		return inv, cmd.applyGroups(inv)
	}
	if inv, err = cmd.applyFacts(c, inv); err != nil {
		return nil, err
	}
	if inv, err = judge.Complete(inv, tables); err != nil || cmd.only == "" {
		return inv, err
	}
	one := *inv
	one.Clusters = slices.DeleteFunc(slices.Clone(inv.Clusters), func(c convert.Cluster) bool { return c.ID != cmd.only })
	return &one, nil
}

// The JSON form of a comparison. Its names are a contract.
type jsonComparison struct {
	Changes []jsonDifference `json:"changes"`
	Notes   []string         `json:"notes"`
	// Incomplete is true if something could not be compared.
	Incomplete bool `json:"incomplete"`
}

type jsonDifference struct {
	Who      []string         `json:"who"`
	Old      []string         `json:"oldGroups"`
	New      []string         `json:"newGroups"`
	Opens    []jsonRegion     `json:"opens"`
	Closes   []jsonRegion     `json:"closes"`
	NeedsMet []jsonNeedChange `json:"needsMet"`
	NeedsCut []jsonNeedChange `json:"needsCut"`
}

type jsonRegion struct {
	Direction   string      `json:"direction"`
	Protocol    string      `json:"protocol"`
	Ports       string      `json:"ports"`
	Peers       []string    `json:"peers"`
	Member      string      `json:"member,omitempty"`
	SourcePorts string      `json:"sourcePorts,omitempty"`
	Example     *jsonPacket `json:"example"`
}

type jsonNeedChange struct {
	ID        string      `json:"id"`
	Direction string      `json:"direction"`
	Protocol  string      `json:"protocol"`
	Ports     string      `json:"ports"`
	Peer      string      `json:"peer"`
	Component string      `json:"component"`
	Why       string      `json:"why"`
	Example   *jsonPacket `json:"example"`
}

func comparisonOf(c *judge.Comparison) jsonComparison {
	out := jsonComparison{Changes: []jsonDifference{}, Notes: append([]string{}, c.Notes...), Incomplete: c.Incomplete}
	for i := range c.Differences {
		d := &c.Differences[i]
		out.Changes = append(out.Changes, jsonDifference{
			d.Who, d.Old, d.New, regionsOf(d.Opens), regionsOf(d.Closes), needChangesOf(d.NeedsMet), needChangesOf(d.NeedsCut),
		})
	}
	return out
}

func regionsOf(list []rules.Region) []jsonRegion {
	out := make([]jsonRegion, 0, len(list))
	for i := range list {
		r := &list[i]
		out = append(out, jsonRegion{r.Direction.String(), r.Protocols, r.Ports, r.Peers, r.Member, r.SourcePorts, packetOf(&r.Example)})
	}
	return out
}

func needChangesOf(list []judge.NeedChange) []jsonNeedChange {
	out := make([]jsonNeedChange, 0, len(list))
	for i := range list {
		n := &list[i].Need
		out = append(out, jsonNeedChange{
			n.ID, n.Direction.String(), n.Protocol.String(), n.Ports.String(), n.Peer.String(), n.Component, n.Why, packetOf(&list[i].Example),
		})
	}
	return out
}

// maxPeers is how many peers of a region a table shows.
const maxPeers = 6

func writeComparison(p *printer, c *judge.Comparison) {
	changed := false
	for i := range c.Differences {
		d := &c.Differences[i]
		if d.IsEmpty() {
			continue
		}
		changed = true
		writeDifference(p, d)
	}
	switch {
	case changed:
	case c.Incomplete:
		p.printf("%s\n", p.paint(styleYellow, "no flow opens or closes in what could be compared, and some could not"))
	default:
		p.printf("%s\n", p.paint(styleGreen, "no flow opens or closes"))
	}
	for _, n := range c.Notes {
		p.printf("note: %s\n", n)
	}
}

func writeDifference(p *printer, d *judge.Difference) {
	p.printf("%s\n", p.paint(styleBold, strings.Join(wrap(some(d.Who), lineWidth), "\n")))
	p.printf("  groups %s", strings.Join(d.Old, ", "))
	if strings.Join(d.Old, " ") != strings.Join(d.New, " ") {
		p.printf(" -> %s", strings.Join(d.New, ", "))
	}
	p.printf("\n")
	writeRegions(p, p.paint(styleYellow, "opens "), d.Opens)
	writeRegions(p, p.paint(styleCyan, "closes"), d.Closes)
	for _, n := range d.NeedsMet {
		writeNeedChange(p, p.paint(styleGreen, "meets "), &n)
	}
	for _, n := range d.NeedsCut {
		writeNeedChange(p, p.paint(styleRed, "BREAKS"), &n)
	}
	p.printf("\n")
}

func writeNeedChange(p *printer, label string, n *judge.NeedChange) {
	p.printf("  %s  %s need %s: %s %s %s\n", label, n.Need.Direction, n.Need.ID, n.Need.Protocol, n.Need.Ports, n.Need.Peer)
	for _, line := range wrap(n.Need.Component+": "+n.Need.Why, lineWidth-10) {
		p.printf("          %s\n", line)
	}
}

func writeRegions(p *printer, label string, list []rules.Region) {
	for i := range list {
		r := &list[i]
		peers := strings.Join(r.Peers[:min(len(r.Peers), maxPeers)], ", ")
		if more := len(r.Peers) - maxPeers; more > 0 {
			peers += fmt.Sprintf(" and %d more", more)
		}
		text := fmt.Sprintf("%s %s %s: %s", r.Direction, r.Protocols, r.Ports, peers)
		if r.Member != "" {
			text += ", member " + r.Member
		}
		if r.SourcePorts != "" {
			text += ", source ports " + r.SourcePorts
		}
		for k, line := range wrap(text, lineWidth-10) {
			if k == 0 {
				p.printf("  %s  %s\n", label, line)
				continue
			}
			p.printf("          %s\n", line)
		}
	}
}
