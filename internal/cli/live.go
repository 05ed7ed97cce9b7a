package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/kubeapi"
)

// live are the flags of a command that asks an API server.
type live struct{ options kubeapi.Options }

func (l *live) register(c *cobra.Command) {
	l.registerServer(c)
	c.Flags().StringVarP(&l.options.Namespace, "namespace", "n", "", "namespace (default: that of the kubeconfig)")
}

// registerServer is register for what is in no namespace, or in all.
func (l *live) registerServer(c *cobra.Command) {
	c.Flags().StringVar(&l.options.Kubeconfig, "kubeconfig", "", "file that says where the API server is and who you are (default: $KUBECONFIG, then ~/.kube/config)")
	c.Flags().StringVar(&l.options.Context, "context", "", "context of the kubeconfig to use")
	_ = c.MarkFlagFilename("kubeconfig")
}

// asked reports whether any of the flags names an API server.
func (l *live) asked() bool { return l.options != kubeapi.Options{} }

// pageSize is how many objects are asked for at once, as kubectl does.
const pageSize = 500

// files reads all objects of the namespace that people write, one file a kind.
func (l *live) files(ctx context.Context) ([]convert.File, error) {
	server, err := kubeapi.Open(l.options)
	if err != nil {
		return nil, err
	}
	var files []convert.File
	for _, resource := range []string{"vpcs", "prefixlists", "securitygroups", "clusters", "nodepools", "hosts"} {
		list, err := objects(ctx, server, kind(resource))
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("%s does not know %s of %s: want the API of ringfence-server, or a cluster in which it has installed its definitions", server.URL, resource, v1alpha1.GroupName)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the %s of namespace %s: %w", resource, server.Namespace, server.Explain(err))
		}
		data, err := json.Marshal(list)
		if err != nil {
			return nil, fmt.Errorf("cannot read the %s of namespace %s: %w", resource, server.Namespace, err)
		}
		files = append(files, convert.File{Name: server.Namespace + "/" + resource, Data: data})
	}
	return files, nil
}

// objects lists one resource, page by page. Who manages which field is nobody's
// question here, and most of the text.
func objects(ctx context.Context, server *kubeapi.Server, resource schema.GroupVersionResource) (*unstructured.UnstructuredList, error) {
	var all *unstructured.UnstructuredList
	for next := ""; ; {
		page, err := server.Objects(resource).List(ctx, metav1.ListOptions{Limit: pageSize, Continue: next})
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			page.Items[i].SetManagedFields(nil)
		}
		if all == nil {
			all = page
		} else {
			all.Items = append(all.Items, page.Items...)
		}
		if next = page.GetContinue(); next == "" {
			all.SetContinue("")
			return all, nil
		}
	}
}
