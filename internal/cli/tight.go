package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/internal/kubeapi"
	"ringfence.dev/ringfence/profiles"
	"ringfence.dev/ringfence/rules"
)

// tight are the flags of rules --from-needs.
type tight struct {
	fromNeeds bool
	class     string
	maxRules  int
}

func (t *tight) register(c *cobra.Command) {
	c.Flags().BoolVar(&t.fromNeeds, "from-needs", false, "print the tightest group for what the running cluster (--needs, --kubeconfig) needs, instead of a profile's rows")
	c.Flags().StringVar(&t.class, "class", "expected", "with --from-needs: the lowest class of need that counts: essential, expected or optional")
	c.Flags().IntVar(&t.maxRules, "max-rules", rules.MaxRulesPerHost, "with --from-needs: how many rules the group may have; addresses are put together to stay within")
	_ = c.RegisterFlagCompletionFunc("class", cobra.FixedCompletions([]string{"essential", "expected", "optional"}, cobra.ShellCompDirectiveNoFileComp))
}

func (t *tight) lowest() (discover.Class, error) {
	for _, c := range []discover.Class{discover.Essential, discover.Expected, discover.Optional} {
		if strings.EqualFold(t.class, c.String()) {
			return c, nil
		}
	}
	return 0, fmt.Errorf("--class %q: want essential, expected or optional", t.class)
}

// runTight makes the group from needs and says what was proved about it.
func (cmd *rulesCommand) runTight(c *cobra.Command) error {
	lowest, err := cmd.lowest()
	if err != nil {
		return usageError(c, "%w", err)
	}
	cluster, inv, err := cmd.tightCluster(c)
	if err != nil {
		return err
	}
	live, err := cmd.reports(c, inv, cluster.ID, cmd.streams.In)
	if err != nil {
		return err
	}
	report := live[cluster.ID]
	if report == nil {
		return usageError(c, "--from-needs: whose needs? Name the objects of the running cluster with --needs, or its API server with --kubeconfig")
	}
	kind, err := cmd.tightType(cluster, inv)
	if err != nil {
		return usageError(c, "%w", err)
	}
	t, err := judge.Tighten(cluster, report, judge.TightWish{Type: kind, Class: lowest, MaxRules: cmd.maxRules})
	if err != nil {
		return fmt.Errorf("cannot make a group from the needs of cluster %s: %w", cluster.Title, err)
	}
	f := profiles.Facts{Group: cmp.Or(cmd.group, cluster.Group), GroupType: kind}
	e := profiles.Expansion{Rules: slices.Concat(t.Group.Ingress, t.Group.Egress)}
	if err := cmd.write(&f, cluster, &e); err != nil {
		return err
	}
	return cmd.proof(t, report)
}

// tightCluster is the cluster of the files that is meant, or one that only its
// own objects describe.
func (cmd *rulesCommand) tightCluster(c *cobra.Command) (*convert.Cluster, *convert.Inventory, error) {
	inv := &convert.Inventory{}
	if cmd.given() || cmd.options != (kubeapi.Options{}) {
		var err error
		if inv, err = cmd.find(c, &cmd.input); err != nil {
			return nil, nil, err
		}
	}
	if len(inv.Clusters)+len(inv.Groups) == 0 {
		name := cmp.Or(cmd.cluster, "cluster")
		inv.Clusters = []convert.Cluster{{ID: name, Title: name, VPC: "vpc"}}
		return &inv.Clusters[0], inv, nil
	}
	cmd.seen = true
	inv, err := cmd.applyFacts(c, inv)
	if err != nil {
		return nil, nil, err
	}
	cluster, err := cmd.meant(c, inv)
	return cluster, inv, err
}

func (cmd *rulesCommand) tightType(cluster *convert.Cluster, inv *convert.Inventory) (rules.GroupType, error) {
	if cmd.groupType != "" {
		return parseGroupType(cmd.groupType)
	}
	if g, ok := inv.Group(cluster.Group); ok && !g.TypeUnknown {
		return g.Type, nil
	}
	return cluster.GroupType, nil
}

// proof says on standard error what was proved, and what was not.
func (cmd *rulesCommand) proof(t *judge.Tight, report *discover.Report) error {
	p := &printer{w: cmd.streams.Err}
	beyond := "nothing beyond them"
	if n := len(t.Widened); n > 0 {
		beyond = fmt.Sprintf("beyond them only what %s for exact addresses to stay within %s: %s",
			map[bool]string{true: "a larger CIDR stands", false: "larger CIDRs stand"}[n == 1], count(cmd.maxRules, "rule", "rules"), someCIDRs(t))
	}
	p.printf("proved: all of %s are let through, and %s\n", count(t.Needs, "end of needs", "ends of needs"), beyond)
	essential := false
	for _, l := range t.Left {
		p.printf("left: %s to %s %s (%s): %s\n", l.Need.From, l.Need.To, protocolPort(l.Need.Protocol, l.Need.Ports), l.Need.Class, l.Why)
		essential = essential || l.Need.Class == discover.Essential
	}
	for i := range report.Unknown {
		p.printf("unknown: %s: %s\n", report.Unknown[i].About, report.Unknown[i].Why)
	}
	if essential {
		return errFindings
	}
	return p.err
}

func someCIDRs(t *judge.Tight) string {
	texts := make([]string, 0, len(t.Widened))
	for _, c := range t.Widened {
		texts = append(texts, c.String())
	}
	return some(texts)
}
