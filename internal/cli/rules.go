package cli

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/internal/kubeapi"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

const rulesHelp = `Rules prints the rules that a profile means for a cluster's group, each with the row
of the tables that it comes from.

-o aliyun prints commands, -o terraform resources, -o yaml a SecurityGroup object,
-o json a list of rules. Of a cluster whose group has no id yet, commands name
$SECURITY_GROUP_ID.

With --from-needs the rules are no profile's: they are the tightest legal group for
what a running cluster needs, addresses put together only where the number of rules
asks for it. That it lets every need through, and nothing else, is proved and said on
standard error. Exit code 1 means that essential needs are left which no rule can
stand for, such as those of a host that is only known by name.`

const rulesExample = `  ringfence rules -f cluster.yaml --profile least-privilege
  ringfence rules -f export/ --group-type advanced --profile recommended -o aliyun
  ringfence rules --from-needs --needs dump.yaml --group-type advanced --max-rules 200
  ringfence rules --network-mode Terway --node-subnets 192.168.0.0/19 --pod-subnets 192.168.32.0/19 \
    --api-server 192.168.0.200 --group-type advanced --profile least-privilege -o terraform`

type rulesCommand struct {
	input
	facts
	running
	tight
	output
	streams Streams
	profile string
	skipped bool
	region  string // of the group, if a file tells
}

func newRules(s Streams) *cobra.Command {
	cmd := &rulesCommand{input: input{in: s.In}, output: newOutput("table", "yaml", "json", "aliyun", "terraform"), streams: s}
	c := &cobra.Command{
		Use:     "rules [-f FILE...] [--group-type basic|advanced] [--profile recommended|least-privilege]",
		Short:   "Print the rules that a profile means for a cluster",
		Long:    rulesHelp,
		Example: rulesExample,
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return cmd.run(c) },
	}
	cmd.input.register(c)
	cmd.output.register(c)
	cmd.facts.register(c)
	cmd.running.register(c)
	cmd.tight.register(c)
	registerProfile(c, &cmd.profile)
	c.Flags().BoolVar(&cmd.skipped, "skipped", false, "in the table, say also which rows gave no rule, and why")
	return c
}

func (cmd *rulesCommand) run(c *cobra.Command) error {
	if err := cmd.checkFormat(c); err != nil {
		return err
	}
	if cmd.fromNeeds {
		return cmd.runTight(c)
	}
	if len(cmd.running.paths) > 0 || cmd.options != (kubeapi.Options{}) {
		return usageError(c, "--needs goes with --from-needs: a profile's rows come from facts")
	}
	cluster, inv, err := cmd.oneCluster(c)
	if err != nil {
		return err
	}
	scope, err := parseScope(cmd.profile)
	if err != nil {
		return usageError(c, "%w", err)
	}
	tables, err := profiles.Load()
	if err != nil {
		return err
	}
	if inv, err = judge.Complete(inv, tables); err != nil {
		return err
	}
	f, wants, err := cmd.groupFacts(cluster, inv)
	if err != nil {
		return err
	}
	e, err := tables.Expand(&f, cmp.Or(scope, wants, profiles.Recommended))
	if err != nil {
		return err
	}
	g := groupOf(&f, cluster, e.Rules)
	if err := judge.WithinLimits(&g, inv.PrefixLists); err != nil {
		return fmt.Errorf("the rules are more than a group may have: %w", err)
	}
	return cmd.write(&f, cluster, &e)
}

// oneCluster returns the cluster that the rules are for.
func (cmd *rulesCommand) oneCluster(c *cobra.Command) (*convert.Cluster, *convert.Inventory, error) {
	inv := &convert.Inventory{}
	var err error
	if cmd.given() {
		if inv, err = cmd.readFiles(c); err != nil {
			return nil, nil, err
		}
	}
	if inv, err = cmd.applyFacts(c, inv); err != nil {
		return nil, nil, err
	}
	cluster, err := cmd.meant(c, inv)
	if err != nil {
		return nil, nil, err
	}
	for _, u := range cluster.Unknown {
		if u == convert.FactMode || u == convert.FactNodeSubnets {
			return nil, nil, usageError(c, "no file tells the %s of cluster %s, and no flag does", u, cluster.Title)
		}
		notes := &printer{w: cmd.streams.Err}
		notes.printf("note: no file tells the %s of cluster %s: rows that need it are left out\n", u, cluster.Title)
	}
	return cluster, inv, nil
}

// groupFacts returns the facts of the cluster as seen from the group that the
// rules are for, and the profile that the group asks for. The cluster is as the
// files have it; the inventory knows the groups that have yet to be made, too.
func (cmd *rulesCommand) groupFacts(c *convert.Cluster, inv *convert.Inventory) (profiles.Facts, profiles.Scope, error) {
	g := rules.Group{Name: cmp.Or(cmd.group, c.Group), Type: c.GroupType, InnerAccess: c.InnerAccess}
	unknownType := c.Group == "" && c.Origin != convert.Manifest
	if known, ok := inv.Group(g.Name); ok {
		g.Type, g.InnerAccess = known.Type, known.InnerAccess
		unknownType = known.TypeUnknown
		cmd.region = known.Region
	}
	if cmd.groupType != "" {
		t, err := parseGroupType(cmd.groupType)
		if err != nil {
			return profiles.Facts{}, "", err
		}
		if t != g.Type || unknownType {
			g.Type, g.InnerAccess = t, t == rules.Basic
		}
		unknownType = false
	}
	if unknownType {
		return profiles.Facts{}, "", fmt.Errorf("no file tells the type of cluster %s's group: say --group-type basic or advanced", c.Title)
	}
	inner, err := cmd.inner()
	if err != nil {
		return profiles.Facts{}, "", err
	}
	if inner != nil {
		g.InnerAccess = *inner
	}
	if g.InnerAccess && g.Type == rules.Advanced {
		return profiles.Facts{}, "", errors.New("--inner-access accept: an advanced group has no inner access")
	}
	whole, ok := inv.Cluster(c.ID)
	if !ok {
		whole = c
	}
	f, wants := judge.GroupFacts(inv, whole, &g)
	return f, wants, nil
}

// A jsonRule is one rule of -o json. Its names are a contract.
type jsonRule struct {
	Direction string `json:"direction"`
	Policy    string `json:"policy"`
	Priority  uint8  `json:"priority"`
	Protocol  string `json:"protocol"`
	Ports     string `json:"ports"`
	Peer      string `json:"peer"`
	Row       string `json:"row"`
	Note      string `json:"note"`
}

func (cmd *rulesCommand) write(f *profiles.Facts, c *convert.Cluster, e *profiles.Expansion) error {
	switch cmd.format {
	case "json":
		list := make([]jsonRule, 0, len(e.Rules))
		for i := range e.Rules {
			r := &e.Rules[i]
			list = append(list, jsonRule{r.Direction.String(), r.Action.String(), r.Priority, r.Protocol.String(), r.Ports.String(), r.Peer.String(), r.Row, r.Description})
		}
		return writeJSON(cmd.streams.Out, list)
	case "yaml":
		g := groupOf(f, c, e.Rules)
		_, err := fmt.Fprint(cmd.streams.Out, convert.ManifestGroup(&g))
		return err
	case "aliyun":
		return cmd.writeAliyun(cmd.region, cmp.Or(f.Group, "$SECURITY_GROUP_ID"), e.Rules)
	case "terraform":
		return cmd.writeTerraform(cmp.Or(f.Group, "var.security_group_id"), e.Rules)
	}
	return cmd.writeTable(e)
}

func groupOf(f *profiles.Facts, c *convert.Cluster, list []rules.Rule) rules.Group {
	g := rules.Group{Name: cmp.Or(f.Group, c.ID), Type: f.GroupType, InnerAccess: f.InnerAccess, VPC: c.VPC}
	for _, r := range list {
		g.Append(r)
	}
	return g
}

func (cmd *rulesCommand) writeAliyun(region, group string, list []rules.Rule) error {
	p := cmd.printer(cmd.streams.Out)
	// One command a rule: a long list is easier to follow, and to repeat after
	// a failure, in steps.
	for _, r := range list {
		lines, err := convert.AliyunCommands(region, []rules.Edit{{Group: group, Rule: r}})
		if err != nil {
			return fmt.Errorf("row %s: %w", r.Row, err)
		}
		p.printf("%s\n", lines[0])
	}
	return p.err
}

func (cmd *rulesCommand) writeTerraform(group string, list []rules.Rule) error {
	p := cmd.printer(cmd.streams.Out)
	if group == "var.security_group_id" {
		p.printf("variable \"security_group_id\" {\n  type = string\n}\n\n")
	}
	for i := range list {
		block, err := convert.TerraformRule(group, &list[i])
		if err != nil {
			return fmt.Errorf("row %s: %w", list[i].Row, err)
		}
		if i > 0 {
			p.printf("\n")
		}
		p.printf("%s", block)
	}
	return p.err
}

func (cmd *rulesCommand) writeTable(e *profiles.Expansion) error {
	p := cmd.printer(cmd.streams.Out)
	rows := make([][]string, 0, len(e.Rules))
	for i := range e.Rules {
		r := &e.Rules[i]
		rows = append(rows, []string{r.Direction.String(), r.Action.String(), fmt.Sprint(r.Priority), r.Protocol.String(), r.Ports.String(), r.Peer.String(), r.Row})
	}
	table(p, []string{"DIRECTION", "POLICY", "PRIO", "PROTOCOL", "PORTS", "PEER", "ROW"}, rows)
	if !cmd.skipped && len(e.Skipped) > 0 {
		p.printf("%s\n", p.paint(styleDim, fmt.Sprintf("%s or peers of rows gave no rule: --skipped says why", count(len(e.Skipped), "row", "rows"))))
		return p.err
	}
	for _, s := range e.Skipped {
		p.printf("%s: no rule: %s\n", s.Row, s.Reason)
	}
	return p.err
}
