package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/dynamic"
)

// instantName is the plugin's name in Kubernetes' list of them.
const instantName = "RingfenceInstant"

const (
	ringfenceGroup   = "ringfence.dev"
	ringfenceVersion = "v1alpha1"
)

// An instant closes a gap of the policies. What these see of other objects is
// the API server's memory, some milliseconds old, so a cluster that was created
// just now does not hold its group or its namespace yet. An instant asks the
// store itself. It decides as policies/group-named.yaml and
// policies/namespace-in-use.yaml do, and for hosts and rules as the controllers do; on somebody else's API server, these are
// all there is.
type instant struct {
	*admission.Handler
	client dynamic.Interface
}

// newInstant is an admission.Factory.
func newInstant(io.Reader) (admission.Interface, error) {
	return &instant{Handler: admission.NewHandler(admission.Delete)}, nil
}

// SetDynamicClient implements initializer.WantsDynamicClient.
func (i *instant) SetDynamicClient(client dynamic.Interface) { i.client = client }

// ValidateInitialization implements admission.InitializationValidator.
func (i *instant) ValidateInitialization() error {
	if i.client == nil {
		return errors.New("no client")
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (i *instant) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	var held string
	var err error
	switch group := a.GetResource().GroupResource(); {
	case a.GetSubresource() != "" || a.GetName() == "": // of a collection, each object is asked about by itself
	case group == corev1.Resource("namespaces"):
		held, err = i.namespace(ctx, a.GetName())
	case group == schema.GroupResource{Group: ringfenceGroup, Resource: "securitygroups"}:
		held, err = i.group(ctx, a.GetNamespace(), a.GetName())
	}
	switch {
	case err != nil: // what cannot be asked is in use
		return admission.NewForbidden(a, fmt.Errorf("cannot see who uses it: %w", err))
	case held != "":
		return admission.NewForbidden(a, errors.New(held))
	}
	return nil
}

func (i *instant) namespace(ctx context.Context, name string) (string, error) {
	clusters, err := i.list(ctx, "clusters", name)
	for _, c := range clusters {
		return fmt.Sprintf("namespace %s holds cluster %s, and every cluster uses a security group; delete the cluster first", name, c.GetName()), nil
	}
	if err != nil {
		return "", err
	}
	groups, err := i.list(ctx, "securitygroups", name)
	for _, g := range groups {
		if !free(g) {
			return fmt.Sprintf("namespace %s holds security group %s, which is protected, or whose use is not known yet; delete its users first", name, g.GetName()), nil
		}
	}
	return "", err
}

// free reports whether the controllers have said that nobody uses a group.
func free(group unstructured.Unstructured) bool {
	protected, found, err := unstructured.NestedBool(group.Object, "status", "protected")
	return err == nil && found && !protected
}

func (i *instant) group(ctx context.Context, namespace, name string) (string, error) {
	for _, user := range []struct {
		resource, kind string
		one, many      [][]string
	}{
		{"clusters", "cluster", [][]string{{"spec", "securityGroup", "name"}, {"status", "securityGroupName"}}, [][]string{{"spec", "network", "podSecurityGroupNames"}}},
		{"nodepools", "node pool", [][]string{{"status", "securityGroupName"}}, [][]string{{"spec", "securityGroup", "names"}, {"status", "effectiveSecurityGroupNames"}}},
	} {
		objects, err := i.list(ctx, user.resource, namespace)
		if err != nil {
			return "", err
		}
		for _, o := range objects {
			if names(o, user.one, user.many, name) {
				return fmt.Sprintf("security group %s is in use by %s %s%s; delete it or give it another group first", name, user.kind, o.GetName(), of(o)), nil
			}
		}
	}
	return i.held(ctx, namespace, name)
}

// held tells who else holds a group: hosts that wear it, groups whose rules name
// it.
func (i *instant) held(ctx context.Context, namespace, name string) (string, error) {
	hosts, err := i.list(ctx, "hosts", namespace)
	if err != nil {
		return "", err
	}
	for _, h := range hosts {
		if names(h, nil, [][]string{{"spec", "securityGroupNames"}}, name) {
			return fmt.Sprintf("security group %s is worn by host %s; take it off the host first", name, h.GetName()), nil
		}
	}
	groups, err := i.list(ctx, "securitygroups", namespace)
	if err != nil {
		return "", err
	}
	for _, g := range groups {
		if g.GetName() != name && namesPeer(g, name) {
			return fmt.Sprintf("security group %s is named by a rule of security group %s; change that rule first", name, g.GetName()), nil
		}
	}
	return "", nil
}

// namesPeer reports whether a rule of a group names another one. System rules of
// a group that no cluster uses hold nothing.
func namesPeer(group unstructured.Unstructured, name string) bool {
	paths := [][]string{{"spec", "ingress"}, {"spec", "egress"}}
	if users, _, err := unstructured.NestedSlice(group.Object, "status", "clusters"); err != nil || len(users) > 0 {
		paths = append(paths, []string{"status", "systemIngress"}, []string{"status", "systemEgress"})
	}
	return slices.ContainsFunc(paths, func(path []string) bool {
		list, _, err := unstructured.NestedSlice(group.Object, path...)
		return err == nil && slices.ContainsFunc(list, func(rule any) bool {
			fields, _ := rule.(map[string]any)
			peer, _, err := unstructured.NestedString(fields, "peer", "groupName")
			return err == nil && peer == name
		})
	})
}

// of tells the cluster of a node pool.
func of(o unstructured.Unstructured) string {
	if cluster, ok, err := unstructured.NestedString(o.Object, "spec", "clusterName"); ok && err == nil {
		return " of cluster " + cluster
	}
	return ""
}

// names reports whether a field with one name or one with many holds name.
func names(o unstructured.Unstructured, one, many [][]string, name string) bool {
	return slices.ContainsFunc(one, func(path []string) bool {
		has, _, err := unstructured.NestedString(o.Object, path...)
		return err == nil && has == name
	}) || slices.ContainsFunc(many, func(path []string) bool {
		has, _, err := unstructured.NestedStringSlice(o.Object, path...)
		return err == nil && slices.Contains(has, name)
	})
}

// list asks for the newest state: an empty resource version means that the
// memory of the API server has to catch up with the store first. Of a kind that
// is not defined there are no objects.
func (i *instant) list(ctx context.Context, resource, namespace string) ([]unstructured.Unstructured, error) {
	kind := schema.GroupVersionResource{Group: ringfenceGroup, Version: ringfenceVersion, Resource: resource}
	objects, err := i.client.Resource(kind).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return objects.Items, nil
}
