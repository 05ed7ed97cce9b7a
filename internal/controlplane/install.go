package controlplane

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

var (
	// basics are installed always.
	//
	//go:embed roles/*.yaml canary/*.yaml
	basics embed.FS

	// policies look into our kinds, so they come with the definitions.
	//
	//go:embed policies/*.yaml
	policies embed.FS
)

const (
	// owner signs what is installed, so that an upgrade takes away fields that
	// are gone.
	owner = "ringfence-server"
	// keepEvery bounds how long a change by someone else to one of our objects
	// lasts. The administrator's role allows none, so this is for accidents.
	keepEvery = time.Minute
	retry     = 50 * time.Millisecond
)

// An installer puts the server's own objects where they belong and keeps them.
type installer struct {
	// definitions come first: policies look into the objects that they define.
	definitions, others []*unstructured.Unstructured
	dynamic             dynamic.Interface
	client              kubernetes.Interface
	log                 logr.Logger
	// guest is set on somebody else's API server, where we may lack rights.
	guest bool
}

func newInstaller(crds fs.FS, log logr.Logger, config *rest.Config) (*installer, error) {
	i := &installer{log: log}
	var err error
	own := []fs.FS{basics}
	if crds != nil {
		if i.definitions, err = readObjects(crds); err != nil {
			return nil, fmt.Errorf("cannot read the resource definitions: %w", err)
		}
		own = []fs.FS{policies, basics} // the canary last
	}
	for _, files := range own {
		objects, err := readObjects(files)
		if err != nil {
			return nil, fmt.Errorf("cannot read the roles and policies: %w", err)
		}
		i.others = append(i.others, objects...)
	}
	if i.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	i.client, err = kubernetes.NewForConfig(config)
	return i, err
}

// untilDone installs everything and returns once it is in force. Each try that
// fails is told; what can never succeed ends it.
func (i *installer) untilDone(ctx context.Context, tell func(error)) error {
	for _, step := range []func(context.Context) error{i.apply, i.inForce} {
		err := wait.PollUntilContextCancel(ctx, retry, true, func(ctx context.Context) (bool, error) {
			err := step(ctx)
			if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
				return false, err
			}
			if err != nil {
				tell(err)
			}
			return err == nil, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// keep puts back what someone changed.
func (i *installer) keep(ctx context.Context) error {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := i.apply(ctx); err != nil && ctx.Err() == nil {
			i.log.Error(err, "cannot put the server's own objects back; trying again")
		}
	}, keepEvery)
	return nil
}

func (i *installer) apply(ctx context.Context) error {
	for _, object := range i.definitions {
		if err := i.put(ctx, object); err != nil {
			return err
		}
	}
	for _, object := range i.definitions {
		if err := i.established(ctx, object); err != nil {
			return err
		}
	}
	for _, object := range i.others {
		if err := i.put(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// put is a server-side apply: no write where nothing differs, and fields of
// others stay theirs.
func (i *installer) put(ctx context.Context, object *unstructured.Unstructured) error {
	_, err := i.resource(object).Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: owner, Force: true})
	if i.guest && apierrors.IsForbidden(err) {
		return i.leave(ctx, object, err)
	}
	if err != nil {
		return fmt.Errorf("cannot install %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return nil
}

// leave makes do with what somebody with more rights has installed.
func (i *installer) leave(ctx context.Context, object *unstructured.Unstructured, refusal error) error {
	if _, err := i.resource(object).Get(ctx, object.GetName(), metav1.GetOptions{}); err != nil {
		return fmt.Errorf("cannot install %s %s, and it is not there: %w; give these credentials more rights, or let an administrator run: ringfence-server manifests | kubectl apply --server-side -f -",
			object.GetKind(), object.GetName(), refusal)
	}
	i.log.V(1).Info("no right to upgrade this; left as it is", "kind", object.GetKind(), "name", object.GetName())
	return nil
}

// resource is where a kind lives. All that we install are cluster-wide and
// have regular plurals.
func (i *installer) resource(object *unstructured.Unstructured) dynamic.ResourceInterface {
	plural, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	return i.dynamic.Resource(plural)
}

func (i *installer) established(ctx context.Context, crd *unstructured.Unstructured) error {
	have, err := i.resource(crd).Get(ctx, crd.GetName(), metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("cannot see whether %s is served: %w", crd.GetName(), err)
	}
	conditions, _, err := unstructured.NestedSlice(have.Object, "status", "conditions")
	if err != nil {
		return err
	}
	for _, c := range conditions {
		condition, ok := c.(map[string]any)
		if ok && condition["type"] == "Established" && condition["status"] == "True" {
			return nil
		}
	}
	return fmt.Errorf("%s is not served yet", crd.GetName())
}

// inForce asks for something that a policy of ours refuses always. The API
// server reads all policies in one go, about once a second, so with the canary
// refused the others are in force too.
func (i *installer) inForce(ctx context.Context) error {
	canary := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "ringfence-canary"}}
	_, err := i.client.CoreV1().ConfigMaps(metav1.NamespaceSystem).
		Create(ctx, canary, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	var refused *apierrors.StatusError
	if i.guest && apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot create resource") {
		i.log.Info("cannot ask whether the policies are in force: no right to create ConfigMaps in kube-system", "answer", err.Error())
		return nil
	}
	if !errors.As(err, &refused) || refused.ErrStatus.Details == nil || len(refused.ErrStatus.Details.Causes) == 0 {
		return errors.Join(errors.New("the policies are not in force yet"), err)
	}
	for _, cause := range refused.ErrStatus.Details.Causes {
		// Another cause is a policy that cannot look into a kind of ours.
		if !strings.Contains(cause.Message, "the policies of Ringfence are in force") {
			return fmt.Errorf("a policy is not in force yet: %s", cause.Message)
		}
	}
	return nil
}

// Manifests writes all that a server installs, as YAML for kubectl: definitions
// first, the canary last. Nil definitions leave out what looks into them.
func Manifests(crds fs.FS, to io.Writer) error {
	sources := []fs.FS{basics}
	if crds != nil {
		sources = []fs.FS{crds, policies, basics}
	}
	for _, files := range sources {
		err := eachFile(files, func(name string, text []byte) error {
			_, err := fmt.Fprintf(to, "---\n# %s\n%s\n", path.Base(name), bytes.TrimSpace(text))
			return err
		})
		if err != nil {
			return fmt.Errorf("cannot write the manifests: %w", err)
		}
	}
	return nil
}

// readObjects reads every object of every YAML file, in the order of the names.
func readObjects(files fs.FS) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	err := eachFile(files, func(name string, text []byte) error {
		found, err := decode(text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		objects = append(objects, found...)
		return nil
	})
	return objects, err
}

// eachFile reads the YAML files, in the order of their names.
func eachFile(files fs.FS, do func(name string, text []byte) error) error {
	return fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".yaml" {
			return err
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		return do(name, text)
	})
}

func decode(text []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		object := &unstructured.Unstructured{}
		switch err := d.Decode(&object.Object); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, err
		case len(object.Object) == 0: // nothing between two separators
			continue
		case object.GetKind() == "" || object.GetName() == "":
			return nil, errors.New("an object without kind or name")
		}
		objects = append(objects, object)
	}
}
