package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/discover"
	source "ringfence.dev/ringfence/internal/discover/live"
	"ringfence.dev/ringfence/internal/kubeapi"
)

// running are the flags that name a running cluster, whose needs count beside
// those of the tables: by a dump of its objects, or by its API server.
type running struct {
	paths   []string
	options kubeapi.Options

	// server is the running cluster's; nil if there is none to ask.
	server *kubeapi.Server
	// published are the needs that controllers have written down, by cluster.
	published map[string]*discover.Report
}

func (r *running) register(c *cobra.Command) {
	c.Flags().StringArrayVar(&r.paths, "needs", nil, "file or directory with the objects of the running cluster, as kubectl prints them, - for standard input; may be repeated: its needs count too")
	c.Flags().StringVar(&r.options.Kubeconfig, "needs-kubeconfig", "", "kubeconfig of the running cluster, if --kubeconfig is that of Ringfence's API: its needs count too")
	c.Flags().StringVar(&r.options.Context, "needs-context", "", "context of that kubeconfig to use")
	_ = c.MarkFlagFilename("needs", "json", "yaml", "yml")
	_ = c.MarkFlagFilename("needs-kubeconfig")
}

// asked reports whether there is a running cluster to look at.
func (r *running) asked() bool {
	return len(r.paths) > 0 || r.server != nil || len(r.published) > 0
}

// find reads what an input has, and finds the running cluster: an API server
// without Ringfence's objects is one, and the groups are those of files then. One
// with them has the needs that its controllers publish.
func (r *running) find(c *cobra.Command, i *input) (*convert.Inventory, error) {
	if r.options != (kubeapi.Options{}) {
		server, err := kubeapi.Open(r.options)
		if err != nil {
			return nil, err
		}
		r.server = server
	}
	if !i.live.asked() {
		if len(i.paths) == 0 && r.server != nil {
			return &convert.Inventory{}, nil
		}
		return i.readFiles(c)
	}
	server, err := kubeapi.Open(i.live.options)
	if err != nil {
		return nil, err
	}
	published, err := publishedBy(c.Context(), server)
	switch {
	case apierrors.IsNotFound(err) && r.server == nil:
		r.server = server
		if len(i.paths) == 0 {
			return &convert.Inventory{}, nil
		}
		files := input{paths: i.paths, in: i.in}
		return files.readFiles(c)
	case err != nil:
		return nil, err
	}
	r.published = published
	return i.readFiles(c)
}

// publishedBy reads the needs that controllers have published in the namespace. An
// API server that knows nothing of Ringfence is not found; one of an earlier
// version, whose controllers publish none, has none.
func publishedBy(ctx context.Context, server *kubeapi.Server) (map[string]*discover.Report, error) {
	_, err := server.Objects(kind("clusters")).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, explained(server, "clusters", err)
	}
	list, err := objects(ctx, server, kind("clusterneeds"))
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, explained(server, "clusterneeds", err)
	}
	out := map[string]*discover.Report{}
	for i := range list.Items {
		var o v1alpha1.ClusterNeeds
		if err := k8sruntime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &o); err != nil {
			return nil, fmt.Errorf("cannot read ClusterNeeds %s: %w", list.Items[i].GetName(), err)
		}
		if out[o.Name], err = discover.FromObject(&o); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// explained keeps that something is not found, and says what any other error means.
func explained(server *kubeapi.Server, resource string, err error) error {
	if apierrors.IsNotFound(err) {
		return err
	}
	return fmt.Errorf("cannot read the %s of namespace %s: %w", resource, server.Namespace, server.Explain(err))
}

// reports returns the needs by cluster: published ones, and those of the one
// running cluster that is meant.
func (r *running) reports(c *cobra.Command, inv *convert.Inventory, only string, in io.Reader) (map[string]*discover.Report, error) {
	out := map[string]*discover.Report{}
	for name, report := range r.published {
		if _, ok := inv.Cluster(name); ok {
			out[name] = report
		}
	}
	if len(r.paths) == 0 && r.server == nil {
		return out, nil
	}
	cluster := only
	switch {
	case cluster != "":
	case len(inv.Clusters) == 1:
		cluster = inv.Clusters[0].ID
	default:
		return nil, usageError(c, "whose needs are they? There are %d clusters (%s): say which one with --cluster", len(inv.Clusters), clusterNames(inv))
	}
	report, err := r.derive(c.Context(), in)
	out[cluster] = report
	return out, err
}

// derive reads the running cluster, or the dump of it.
func (r *running) derive(ctx context.Context, in io.Reader) (*discover.Report, error) {
	if len(r.paths) > 0 && r.server != nil {
		return nil, errors.New("--needs names a dump of the running cluster, and a kubeconfig its API server: want one of them")
	}
	if len(r.paths) > 0 {
		list, err := readFiles(r.paths, in)
		if err != nil {
			return nil, err
		}
		return deriveNeeds(list)
	}
	from, err := source.Open(r.server.Config())
	if err != nil {
		return nil, err
	}
	report, err := from.Read(ctx)
	return report, r.server.Explain(err)
}
