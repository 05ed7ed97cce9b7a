package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/internal/nft/apply"
	"ringfence.dev/ringfence/internal/statedir"
)

const flowsHelp = `Flows prints which flows the host's rules dropped, or would have dropped where it
only observes, the most frequent first, as the running agent has seen them up to
a few seconds ago, in the last seven days.

The kernel logs no more than 100 packets a second, so PACKETS are those that were
logged. The exact number for each rule is in ringfence-agent status -o json.

-o report prints a FlowReport, for ringfence observe HOST --report FILE.`

func (c *command) newFlows() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "flows", Short: "List what was dropped, or would have been, and by which rule", Long: flowsHelp, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, out := disk{statedir.Dir(c.StateDir)}, cmd.OutOrStdout()
			w, err := gatherFlows(d)
			if err != nil {
				return err
			}
			switch format {
			case "table":
				return w.write(out)
			case "json":
				return printJSON(out, w)
			case "report":
				return printReport(out, d, &w.Traffic)
			}
			return inputError{fmt.Errorf("-o %s: want table, json or report", format)}
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table, json or report")
	return cmd
}

// seenFlows is the answer of `ringfence-agent flows`. Its names are a contract.
type seenFlows struct {
	Traffic

	// Running says whether an agent runs, which sees more.
	Running bool `json:"running"`
}

func gatherFlows(d disk) (*seenFlows, error) {
	w := &seenFlows{Traffic: Traffic{Flows: []DeniedFlow{}}}
	if _, err := d.load(seenFile, &w.Traffic); err != nil {
		return nil, err
	}
	var err error
	w.Running, err = d.Locked()
	return w, err
}

// write prints w for people.
func (w *seenFlows) write(out io.Writer) error {
	var b strings.Builder
	if len(w.Flows) > 0 {
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(t, "LAST\tPACKETS\tRESULT\tDIRECTION\tPROTOCOL\tREMOTE\tLOCAL\tPORT\tBY") // a Builder takes everything
		for i := range w.Flows {
			f := &w.Flows[i]
			_, _ = fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Last.Format(time.DateTime), f.Packets, f.result(), f.Direction, f.Protocol, f.Remote, f.Local, f.port(), f.by())
		}
		_ = t.Flush()
	} else {
		b.WriteString("nothing that was dropped was seen\n")
	}
	if w.Logged.LeftOut > 0 {
		fmt.Fprintf(&b, "%d more packets were of flows that gave up their place\n", w.Logged.LeftOut)
	}
	if w.Lost > 0 {
		fmt.Fprintf(&b, "%d messages were lost between the kernel and the agent\n", w.Lost)
	}
	if w.Problem != "" {
		fmt.Fprintf(&b, "nobody reads the log: %s\n", w.Problem)
	}
	if !w.Running {
		b.WriteString("the agent does not run: this is what it saw before\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (f *DeniedFlow) result() string {
	if f.Observed {
		return "would drop"
	}
	return "dropped"
}

func (f *DeniedFlow) port() string {
	if f.Port == 0 {
		return "-"
	}
	return fmt.Sprint(f.Port)
}

func (f *DeniedFlow) by() string {
	if f.By == "" {
		return "a rule of before (" + f.Leaf + ")"
	}
	return f.By
}

// printReport prints the FlowReport that would be made now.
func printReport(out io.Writer, d disk, t *Traffic) error {
	saved, err := d.read(enforcedFile)
	if err != nil {
		return err
	}
	if saved == nil {
		return errors.New("nothing is enforced: there is nothing to report")
	}
	l, err := saved.lay()
	if err != nil {
		return err
	}
	return withKernel(func(k *apply.Kernel, _ apply.State) error {
		r, err := (&host{kernel: k, current: l}).flowReport(t, clock.RealClock{}.Now())
		if err != nil {
			return err
		}
		return printJSON(out, r)
	})
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
