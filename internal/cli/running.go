package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
)

// running are the flags that name a running cluster, whose needs count beside
// those of the tables.
type running struct {
	paths []string
}

func (r *running) register(c *cobra.Command) {
	c.Flags().StringArrayVar(&r.paths, "needs", nil, "file or directory with the objects of the running cluster, as kubectl prints them, - for standard input; may be repeated: its needs count too")
	_ = c.MarkFlagFilename("needs", "json", "yaml", "yml")
}

// asked reports whether there is a running cluster to look at.
func (r *running) asked() bool { return len(r.paths) > 0 }

// reports derives the needs, by cluster: those of objects are of the one cluster
// that is meant.
func (r *running) reports(c *cobra.Command, inv *convert.Inventory, only string, in io.Reader) (map[string]*discover.Report, error) {
	if !r.asked() {
		return nil, nil
	}
	cluster := only
	switch {
	case cluster != "":
	case len(inv.Clusters) == 1:
		cluster = inv.Clusters[0].ID
	default:
		return nil, usageError(c, "whose needs are they? The files hold %d clusters (%s): say which one with --cluster", len(inv.Clusters), clusterNames(inv))
	}
	list, err := readFiles(r.paths, in)
	if err != nil {
		return nil, err
	}
	report, err := deriveNeeds(list)
	if err != nil {
		return nil, err
	}
	return map[string]*discover.Report{cluster: report}, nil
}

// published reads the needs that controllers have published, by cluster.
func published(list []v1alpha1.ClusterNeeds) (map[string]*discover.Report, error) {
	out := map[string]*discover.Report{}
	for i := range list {
		report, err := discover.FromObject(&list[i])
		if err != nil {
			return nil, fmt.Errorf("cannot read the published needs: %w", err)
		}
		out[list[i].Name] = report
	}
	return out, nil
}
