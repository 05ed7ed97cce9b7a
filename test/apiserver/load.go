package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
)

// within is a hundred times what anything here takes on two busy cores.
const within = 60 * time.Second

// ready waits until the server says so, and has said where it is.
func (s *Server) ready(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(s.Admin)
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		if err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		slices, err := client.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{})
		return err == nil && len(slices.Items) > 0, nil
	})
}

// Load makes the objects of some YAML texts, with their status: namespaces and
// definitions first, webhooks last. Namespaces that are not there are made. It
// deletes the objects, not the namespaces, when the test ends.
func (s *Server) Load(tb testing.TB, texts ...string) {
	tb.Helper()
	var objects []*unstructured.Unstructured
	for _, text := range texts {
		more, err := parse(text)
		if err != nil {
			tb.Fatal(err)
		}
		objects = append(objects, more...)
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	l := &loader{config: s, tb: tb, namespaces: map[string]bool{"default": true, "kube-system": true}}
	tb.Cleanup(l.remove)
	var err error
	if l.client, err = dynamic.NewForConfig(s.Admin); err != nil {
		tb.Fatal(err)
	}
	for _, o := range objects {
		if err := l.load(tb.Context(), o); err != nil {
			tb.Fatalf("cannot load %s %s/%s: %v", o.GetKind(), o.GetNamespace(), o.GetName(), err)
		}
	}
}

// parse reads the objects of a text, those of lists one by one.
func parse(text string) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewBufferString(text), 4096); ; {
		o := &unstructured.Unstructured{}
		switch err := d.Decode(&o.Object); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		case len(o.Object) == 0:
		case o.IsList():
			err := o.EachListItem(func(item runtime.Object) error {
				out = append(out, item.(*unstructured.Unstructured)) //nolint:forcetypeassert // of an unstructured list
				return nil
			})
			if err != nil {
				return nil, err
			}
		default:
			out = append(out, o)
		}
	}
}

// rank says what must be there before what.
func rank(o *unstructured.Unstructured) int {
	switch o.GetKind() {
	case "Namespace":
		return 0
	case definition:
		return 1
	case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration":
		return 3
	}
	return 2
}

const definition = "CustomResourceDefinition"

type loader struct {
	config     *Server
	tb         testing.TB
	client     dynamic.Interface
	mapper     meta.RESTMapper
	namespaces map[string]bool
	made       []made
}

// made is an object that is to go.
type made struct {
	at     dynamic.ResourceInterface
	object *unstructured.Unstructured
}

// find returns where objects of a kind are, asking the server again if there is
// a kind that it did not serve before.
func (l *loader) find(kind schema.GroupVersionKind) (*meta.RESTMapping, error) {
	if l.mapper != nil {
		if m, err := l.mapper.RESTMapping(kind.GroupKind(), kind.Version); err == nil {
			return m, nil
		}
	}
	client, err := discovery.NewDiscoveryClientForConfig(l.config.Admin)
	if err != nil {
		return nil, err
	}
	groups, err := restmapper.GetAPIGroupResources(client)
	if err != nil {
		return nil, err
	}
	l.mapper = restmapper.NewDiscoveryRESTMapper(groups)
	return l.mapper.RESTMapping(kind.GroupKind(), kind.Version)
}

func (l *loader) load(ctx context.Context, o *unstructured.Unstructured) error {
	m, err := l.find(o.GroupVersionKind())
	if err != nil {
		return err
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		if o.GetNamespace() == "" {
			o.SetNamespace("default")
		}
		if err := l.namespace(ctx, o.GetNamespace()); err != nil {
			return err
		}
	}
	at := l.client.Resource(m.Resource).Namespace(o.GetNamespace())
	stored, err := at.Create(ctx, o, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) && (o.GetKind() == "Namespace" || o.GetNamespace() == "default" && o.GetName() == "kubernetes") {
		return nil // the server's own
	}
	if err != nil {
		return err
	}
	if o.GetKind() == "Namespace" {
		return nil // it would never end
	}
	l.made = append(l.made, made{at, o})
	if status, ok := o.Object["status"]; ok && o.GetKind() != definition {
		stored.Object["status"] = status
		if _, err := at.UpdateStatus(ctx, stored, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("its status: %w", err)
		}
	}
	if o.GetKind() == definition {
		return l.established(ctx, o)
	}
	return nil
}

func (l *loader) namespace(ctx context.Context, name string) error {
	if l.namespaces[name] {
		return nil
	}
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}}
	_, err := l.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Create(ctx, o, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	l.namespaces[name] = true
	return nil
}

// established waits until a definition's kinds can be listed: the server cannot
// delete the definition before that.
func (l *loader) established(ctx context.Context, o *unstructured.Unstructured) error {
	group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(o.Object, "spec", "names", "plural")
	versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
	for _, v := range versions {
		m, _ := v.(map[string]any)
		version, _ := m["name"].(string)
		if m["served"] != true {
			continue
		}
		at := l.client.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: plural})
		err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
			_, err := at.List(ctx, metav1.ListOptions{Limit: 1})
			return err == nil, nil
		})
		if err != nil {
			return fmt.Errorf("version %s is not served: %w", version, err)
		}
	}
	return nil
}

// remove deletes the objects, the last first, and waits until they are gone.
func (l *loader) remove() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.tb.Context()), within)
	defer cancel()
	now, background := int64(0), metav1.DeletePropagationBackground
	for _, m := range slices.Backward(l.made) {
		err := m.at.Delete(ctx, m.object.GetName(), metav1.DeleteOptions{GracePeriodSeconds: &now, PropagationPolicy: &background})
		if err != nil && !apierrors.IsNotFound(err) {
			l.tb.Errorf("cannot delete %s %s/%s: %v", m.object.GetKind(), m.object.GetNamespace(), m.object.GetName(), err)
		}
	}
	for _, m := range l.made {
		err := wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			_, err := m.at.Get(ctx, m.object.GetName(), metav1.GetOptions{})
			return apierrors.IsNotFound(err), nil
		})
		if err != nil {
			l.tb.Errorf("%s %s/%s does not go: %v", m.object.GetKind(), m.object.GetNamespace(), m.object.GetName(), err)
		}
	}
}
