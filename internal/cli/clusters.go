package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/judge"
)

const clustersHelp = `Clusters lists who uses a group, in the order in which to delete or change them
before the group itself can be deleted: node pools, then their cluster. It also
names what else holds the group: rules of other groups and network interfaces.`

type clustersCommand struct {
	input
	output
	streams Streams
}

func newClusters(s Streams) *cobra.Command {
	cmd := &clustersCommand{input: input{in: s.In}, output: newOutput("table", "json", "yaml"), streams: s}
	c := &cobra.Command{
		Use:     "clusters GROUP {-f FILE... | --kubeconfig FILE}",
		Short:   "List the clusters and node pools that use a group, in the order to delete",
		Long:    clustersHelp,
		Example: "  ringfence clusters sg-bp1fg655nh68xyz9i8w1 -f export/\n  ringfence clusters shop --kubeconfig admin.kubeconfig",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return cmd.run(c, args[0]) },
	}
	cmd.input.register(c)
	cmd.output.register(c)
	return c
}

func (cmd *clustersCommand) run(c *cobra.Command, group string) error {
	if err := cmd.checkFormat(c); err != nil {
		return err
	}
	inv, err := cmd.readFiles(c)
	if err != nil {
		return err
	}
	g, ok := inv.Group(group)
	if !ok {
		i := slices.IndexFunc(inv.Groups, func(g convert.Group) bool { return g.Title == group })
		if i < 0 {
			return fmt.Errorf("no group %q in the files", group)
		}
		g = &inv.Groups[i]
	}
	uses := judge.Uses(inv, g.Name)
	if done, err := cmd.structured(cmd.streams.Out, uses); done {
		return err
	}
	p := cmd.printer(cmd.streams.Out)
	if len(uses.Users) == 0 {
		p.printf("no cluster of these files uses group %s\n", g.Name)
	} else {
		p.printf("group %s is used by, in the order to delete:\n", g.Name)
		rows := make([][]string, 0, len(uses.Users))
		for i, u := range uses.Users {
			rows = append(rows, []string{fmt.Sprint(i + 1), u.Kind, u.Name, u.ID, u.Cluster})
		}
		table(p, []string{"#", "KIND", "NAME", "ID", "CLUSTER"}, rows)
	}
	for _, n := range uses.AlsoHeldBy {
		labelled(p, "also", n)
	}
	return p.err
}
