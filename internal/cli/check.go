package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

const checkHelp = `Check holds the groups that clusters use against the flows that the clusters need.

It reports what is missing (with a packet that fails, what breaks, and how to fix
it), what is too open, and what is wrong with the rules themselves. Needs are the
least-privilege rows of Alibaba Cloud's tables for the type of group, plus what
you declare (--expose, --webhook-ports, ...). What the chosen profile's own rows
let through beyond that is reported with severity info.

With the running cluster (--kubeconfig, or --needs with a dump of its objects) its own needs count too: the ports
that its webhooks, kubelets, overlay and components really have. What the cluster
breaks without is missing, told with the words that the API server will log; what a
component breaks without is a finding.

Exit code 1 means that needs are missing or findings are of severity --fail-on or
higher.`

const checkExample = `  # what aliyun printed, one file each, in a directory
  ringfence check -f export/

  # with the webhook port of Gatekeeper, which no export tells
  ringfence check -f export/ --webhook-ports 8443

  # with the needs of the running cluster: read now, from a dump (see ringfence needs), or
  # as the controllers of Ringfence have published them
  ringfence check -f export/ --kubeconfig ~/.kube/config
  ringfence check -f export/ --needs dump.yaml
  ringfence check --kubeconfig ringfence/admin.kubeconfig

  # as a gate for a pull request
  terraform show -json plan.out | ringfence check -f - -o sarif`

type checkCommand struct {
	input
	facts
	running
	output
	streams Streams
	profile string
	failOn  string
	exempt  bool
}

func newCheck(s Streams) *cobra.Command {
	cmd := &checkCommand{input: input{in: s.In}, output: newOutput("table", "json", "yaml", "sarif", "junit"), streams: s}
	c := &cobra.Command{
		Use:     "check -f FILE...",
		Short:   "Find what a cluster's groups lack, and what they let through without need",
		Long:    checkHelp,
		Example: checkExample,
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return cmd.run(c) },
	}
	cmd.input.register(c)
	cmd.output.register(c)
	cmd.facts.register(c)
	cmd.running.register(c)
	registerProfile(c, &cmd.profile)
	c.Flags().StringVar(&cmd.failOn, "fail-on", "high", "exit 1 from this severity on: info, low, medium, high, or never (missing needs are high)")
	_ = c.RegisterFlagCompletionFunc("fail-on", cobra.FixedCompletions([]string{"info", "low", "medium", "high", "never"}, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().BoolVar(&cmd.exempt, "exempt", false, "take as let through what own hosts always let through (default: for ringfence.dev groups only)")
	return c
}

func registerProfile(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "profile", "", "the profile that the group is meant to have: recommended or least-privilege (default: what the cluster says, else recommended)")
	_ = c.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions([]string{"recommended", "least-privilege"}, cobra.ShellCompDirectiveNoFileComp))
}

func parseScope(s string) (profiles.Scope, error) {
	switch strings.ToLower(strings.ReplaceAll(s, "-", "")) {
	case "":
		return "", nil
	case "recommended":
		return profiles.Recommended, nil
	case "leastprivilege":
		return profiles.LeastPrivilege, nil
	}
	return "", fmt.Errorf("--profile %q: want recommended or least-privilege", s)
}

func (cmd *checkCommand) run(c *cobra.Command) error {
	if err := cmd.checkFormat(c); err != nil {
		return err
	}
	failAt, fails, err := parseFailOn(cmd.failOn)
	if err != nil {
		return usageError(c, "%w", err)
	}
	report, err := cmd.judge(c)
	if err != nil {
		return err
	}
	if err := cmd.write(report, failAt, fails); err != nil {
		return err
	}
	if fails && report.Fails(failAt) {
		return errFindings
	}
	return nil
}

func (cmd *checkCommand) judge(c *cobra.Command) (*judge.Report, error) {
	scope, err := parseScope(cmd.profile)
	if err != nil {
		return nil, usageError(c, "%w", err)
	}
	inv, err := cmd.find(c, &cmd.input)
	if err != nil {
		return nil, err
	}
	if cmd.seen = cmd.asked(); cmd.server != nil && len(inv.Groups) == 0 {
		return nil, usageError(c, "%s has no groups of Ringfence: name those that its cluster uses with -f (manifests, what aliyun prints, or a Terraform plan)", cmd.server.URL)
	}
	if inv, err = cmd.applyFacts(c, inv); err != nil {
		return nil, err
	}
	live, err := cmd.reports(c, inv, cmd.only, cmd.streams.In)
	if err != nil {
		return nil, err
	}
	inv = judge.Observe(inv, live)
	tables, err := profiles.Load()
	if err != nil {
		return nil, err
	}
	if inv, err = judge.Complete(inv, tables); err != nil {
		return nil, err
	}
	report, err := judge.Check(inv, tables, judge.Options{Profile: scope, Exempt: exemptChoice(c, cmd.exempt), Cluster: cmd.only, Live: live})
	if err == nil && report.Groups == 0 && len(report.Findings) == 0 {
		return nil, usageError(c, "nothing to check: no cluster of the files (%s) uses a group", clusterNames(inv))
	}
	return report, err
}

// exemptChoice says for which groups --exempt speaks: for all, for none, or, not
// given, for those on own hosts.
func exemptChoice(c *cobra.Command, exempt bool) judge.ExemptChoice {
	switch {
	case !c.Flags().Changed("exempt"):
		return judge.ExemptOwnHosts
	case exempt:
		return judge.ExemptAlways
	}
	return judge.ExemptNever
}

func parseFailOn(s string) (at rules.Severity, fails bool, err error) {
	for _, severity := range []rules.Severity{rules.Info, rules.Low, rules.Medium, rules.High} {
		if strings.EqualFold(s, severity.String()) {
			return severity, true, nil
		}
	}
	if s == "never" {
		return 0, false, nil
	}
	return 0, false, fmt.Errorf("--fail-on %q: want info, low, medium, high or never", s)
}

func (cmd *checkCommand) write(r *judge.Report, failAt rules.Severity, fails bool) error {
	out := cmd.streams.Out
	switch cmd.format {
	case "sarif":
		return writeSARIF(out, r)
	case "junit":
		return writeJUnit(out, r, func(s rules.Severity) bool { return fails && s >= failAt })
	}
	if done, err := cmd.structured(out, reportOf(r)); done {
		return err
	}
	p := cmd.printer(out)
	writeReport(p, r)
	return p.err
}
