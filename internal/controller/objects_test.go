package controller_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/testenv"
)

// A room is a namespace of a test.
type room struct {
	client.WithWatch // as the administrator
	t                *testing.T
	ns               string
}

func clientOf(t *testing.T, config *rest.Config) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, clientgoscheme.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newRoom makes a namespace. It stays: what is in use keeps it, and the whole
// control plane goes after the tests.
func newRoom(t *testing.T) room {
	t.Helper()
	return newRoomOn(t, env)
}

func newRoomOn(t *testing.T, on *testenv.Env) room {
	t.Helper()
	r := room{clientOf(t, on.Admin), t, ""}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "room-"}}
	if err := r.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	r.ns = ns.Name
	return r
}

// apply writes manifests as a GitOps tool does.
func (r room) apply(manifests string) {
	r.t.Helper()
	for doc := range bytes.SplitSeq([]byte(manifests), []byte("\n---\n")) {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(doc, &u.Object); err != nil {
			r.t.Fatalf("%v in %s", err, doc)
		}
		u.SetNamespace(r.ns)
		if err := r.Apply(r.t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("gitops"), client.ForceOwnership); err != nil {
			r.t.Fatal(err)
		}
	}
}

func manifest(kind, name, spec string) string {
	return fmt.Sprintf("apiVersion: ringfence.dev/v1alpha1\nkind: %s\nmetadata: {name: %s}\nspec: %s", kind, name, spec)
}

func all(manifests ...string) string { return strings.Join(manifests, "\n---\n") }

const patience = 20 * time.Second

// within waits until something holds. The condition says what is still wrong.
func (r room) within(what string, holds func(context.Context) error) {
	r.t.Helper()
	last := fmt.Errorf("never asked")
	err := wait.PollUntilContextTimeout(r.t.Context(), 20*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		last = holds(ctx)
		return last == nil, nil
	})
	if err != nil {
		r.t.Fatalf("%s: not within %s: %v", what, patience, last)
	}
}

func fetch[T any, P interface {
	*T
	client.Object
}](ctx context.Context, r room, name string) (P, error) {
	o := P(new(T))
	err := r.Get(ctx, client.ObjectKey{Namespace: r.ns, Name: name}, o)
	return o, err
}

func (r room) group(name string) *v1alpha1.SecurityGroup {
	r.t.Helper()
	g, err := fetch[v1alpha1.SecurityGroup](r.t.Context(), r, name)
	if err != nil {
		r.t.Fatal(err)
	}
	return g
}

// conditionsOf returns the conditions of an object of ours.
func conditionsOf(o client.Object) []metav1.Condition {
	switch o := o.(type) {
	case *v1alpha1.SecurityGroup:
		return o.Status.Conditions
	case *v1alpha1.Cluster:
		return o.Status.Conditions
	case *v1alpha1.NodePool:
		return o.Status.Conditions
	case *v1alpha1.Host:
		return o.Status.Conditions
	}
	return nil
}

// says waits for a condition of an object, for its generation of now, and
// returns its message. What is wanted is TYPE=STATUS/REASON.
func (r room) says(o client.Object, name, want string) string {
	r.t.Helper()
	kind, rest, _ := strings.Cut(want, "=")
	var message string
	r.within(fmt.Sprintf("%T %s says %s", o, name, want), func(ctx context.Context) error {
		if err := r.Get(ctx, client.ObjectKey{Namespace: r.ns, Name: name}, o); err != nil {
			return err
		}
		c := meta.FindStatusCondition(conditionsOf(o), kind)
		if c == nil {
			return fmt.Errorf("no condition %s", kind)
		}
		message = c.Message
		if got := string(c.Status) + "/" + c.Reason; got != rest || c.ObservedGeneration != o.GetGeneration() {
			return fmt.Errorf("%s=%s of generation %d, object of %d: %s", kind, got, c.ObservedGeneration, o.GetGeneration(), c.Message)
		}
		return nil
	})
	return message
}

func (r room) ready(clusters ...string) {
	r.t.Helper()
	for _, name := range clusters {
		r.says(&v1alpha1.Cluster{}, name, "Ready=True/GroupInUse")
	}
}

// gone waits until an object is there no more.
func (r room) gone(o client.Object, name string) {
	r.t.Helper()
	r.within(fmt.Sprintf("%T %s is gone", o, name), func(ctx context.Context) error {
		err := r.Get(ctx, client.ObjectKey{Namespace: r.ns, Name: name}, o)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("it is there: finalizers %v, deleted %v", o.GetFinalizers(), o.GetDeletionTimestamp())
		}
		return err
	})
}

func (r room) delete(o client.Object, name string) {
	r.t.Helper()
	o.SetNamespace(r.ns)
	o.SetName(name)
	if err := r.Delete(r.t.Context(), o); err != nil {
		r.t.Fatal(err)
	}
}
