package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/kubeapi"
	"ringfence.dev/ringfence/test/netns"
)

const (
	// patience is far beyond what each step takes on a slow machine.
	patience = 2 * time.Minute
	poll     = 50 * time.Millisecond
	owner    = "ringfence-demo"
)

// A plane is a control plane in a process of its own.
type plane struct {
	*kubeapi.Server
	process    *netns.Process
	log        string
	kubeconfig string
	startup    time.Duration
}

// startServer runs the program on this machine until it is ready. Hosts reach it
// by another name.
func startServer(ctx context.Context, program, dir string, on *netns.Machine, name string) (*plane, error) {
	s := &plane{log: filepath.Join(dir, "server.log"), kubeconfig: filepath.Join(dir, "admin.kubeconfig")}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()                                                                           //nolint:errcheck // the process writes, not we
	cmd := exec.Command(program, "--data-dir", dir, "--listen", "127.0.0.1:0", "--names", name) //nolint:gosec,noctx // G204: what we have built; it is stopped gently
	cmd.Stdout, cmd.Stderr = log, log
	watch := clock.RealClock{} // for a figure to print, and patience
	began := watch.Now()
	if s.process, err = on.Start(cmd); err != nil {
		return nil, err
	}
	if err := s.untilReady(ctx); err != nil {
		return nil, errors.Join(err, stop(s.process))
	}
	s.startup = watch.Since(began)
	return s, nil
}

func (s *plane) untilReady(ctx context.Context) error {
	// Each time is a new connection, for which a server that starts has no time.
	return wait.PollUntilContextTimeout(ctx, 10*poll, patience, true, func(ctx context.Context) (bool, error) {
		select {
		case <-s.process.Ended():
			text, _ := os.ReadFile(s.log)
			return false, fmt.Errorf("the server ended: %w\n%s", s.process.Wait(), text)
		default:
		}
		if s.Server == nil {
			opened, err := kubeapi.Open(kubeapi.Options{Kubeconfig: s.kubeconfig})
			if err != nil {
				return false, nil //nolint:nilerr // not written yet
			}
			s.Server = opened
		}
		return s.Ready(ctx), nil
	})
}

// stop asks a program to end, and waits for it.
func stop(p *netns.Process) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.Ended():
		return p.Wait()
	case <-clock.RealClock{}.After(patience):
		return errors.Join(errors.New("it does not end"), p.Signal(syscall.SIGKILL))
	}
}

func resource(name string) schema.GroupVersionResource {
	return v1alpha1.GroupVersion.WithResource(name)
}

func (s *plane) apply(ctx context.Context, o *unstructured.Unstructured) error {
	plural, _ := meta.UnsafeGuessKindToResource(o.GroupVersionKind())
	_, err := s.Objects(plural).Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: owner})
	return s.Explain(err)
}

func (s *plane) remove(ctx context.Context, resources, name string) error {
	return s.Objects(resource(resources)).Delete(ctx, name, metav1.DeleteOptions{})
}

func (s *plane) patch(ctx context.Context, resources, name, merge string) error {
	_, err := s.Objects(resource(resources)).Patch(ctx, name, types.MergePatchType, []byte(merge), metav1.PatchOptions{FieldManager: owner})
	return s.Explain(err)
}

// list reads a list of objects into one of ours.
func (s *plane) list(ctx context.Context, resources string, into any) error {
	list, err := s.Objects(resource(resources)).List(ctx, metav1.ListOptions{})
	if err != nil {
		return s.Explain(err)
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(list.UnstructuredContent(), into)
}

// until reads an object into one of ours until it is as wanted.
func (s *plane) until(ctx context.Context, resources, name string, into any, wanted func() bool) error {
	err := wait.PollUntilContextTimeout(ctx, poll, patience, true, func(ctx context.Context) (bool, error) {
		o, err := s.Objects(resource(resources)).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, s.Explain(err)
		}
		if err := decode(o, into); err != nil {
			return false, err
		}
		return wanted(), nil
	})
	if err != nil {
		return fmt.Errorf("%s %s is not as it should be; it is %+v: %w", resources, name, into, err)
	}
	return nil
}

func isTrue(conditions []metav1.Condition, kind string) bool {
	return slices.ContainsFunc(conditions, func(c metav1.Condition) bool { return c.Type == kind && c.Status == metav1.ConditionTrue })
}

// namesUser checks that a refusal is one, and says who uses the group.
func namesUser(err error) error {
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "shop") {
		return fmt.Errorf("want a refusal that names cluster shop, got: %w", err)
	}
	return nil
}

// readObjects reads the documents of a manifest.
func readObjects(file string) ([]*unstructured.Unstructured, error) {
	text, err := os.ReadFile(file) //nolint:gosec // G304: the example
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), len(text)); ; {
		o := &unstructured.Unstructured{}
		switch err := d.Decode(&o.Object); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", file, err)
		case len(o.Object) > 0:
			objects = append(objects, o)
		}
	}
}
