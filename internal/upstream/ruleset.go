package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/statedir"
)

// keptRulesets is how many Rulesets stay in the state folder: the one in force,
// the one before, and two that were tried.
const keptRulesets = 4

// readTime is how long one object may take to be read.
const readTime = 15 * time.Second

// ErrRuleset says that a Ruleset is not what its name says: this agent does not
// understand all of it, or somebody changed it.
var ErrRuleset = errors.New("this agent does not read the Ruleset as it was written")

// ruleset returns a Ruleset, from the state folder or from the control plane.
// Its name is its content, so it is never read again.
func (c *Client) ruleset(ctx context.Context, name string) (*v1alpha1.RulesetSpec, error) {
	file := path.Join(rulesetFolder, name+".json")
	if data, err := c.dir.Load(file); err == nil && data != nil {
		spec := &v1alpha1.RulesetSpec{}
		if json.Unmarshal(data, spec) == nil && isNamed(spec, name) == nil {
			return spec, nil
		}
		c.log.Warn("a saved Ruleset is damaged: it is fetched again", "ruleset", name)
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	object, err := c.fetch(ctx, name, "0") // from the server's memory: a name is its content, however old
	if apierrors.IsNotFound(err) {
		object, err = c.fetch(ctx, name, "")
	}
	if err != nil {
		return nil, c.explain("Ruleset "+name, err)
	}
	if err := isNamed(&object.Spec, name); err != nil {
		return nil, err
	}
	if err := saveRuleset(c.dir, file, &object.Spec); err != nil {
		c.log.Warn("cannot keep the Ruleset on disk: it is fetched again after a restart", "problem", err)
	}
	return &object.Spec, nil
}

// fetch reads a Ruleset as it was at a version or later; empty for the newest.
func (c *Client) fetch(ctx context.Context, name, version string) (*v1alpha1.Ruleset, error) {
	object := &v1alpha1.Ruleset{}
	return object, c.ours.Get().Namespace(c.Host.Namespace).Resource("rulesets").Name(name).
		VersionedParams(&metav1.GetOptions{ResourceVersion: version}, metav1.ParameterCodec).Do(ctx).Into(object)
}

func isNamed(spec *v1alpha1.RulesetSpec, name string) error {
	got, err := convert.RulesetName(spec)
	if err != nil {
		return err
	}
	if got != name {
		return fmt.Errorf("%w: Ruleset %s: the content that it understands has the name %s; is the agent older than the control plane?", ErrRuleset, name, got)
	}
	return nil
}

func saveRuleset(dir statedir.Dir, file string, spec *v1alpha1.RulesetSpec) error {
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	folder := statedir.Dir(dir.Path(rulesetFolder))
	if err := folder.Make(); err != nil {
		return err
	}
	if err := dir.Save(file, data); err != nil {
		return err
	}
	return prune(folder, path.Base(file))
}

// prune removes the oldest files, but for one that has just been written: the
// clock may have been put back since the others were.
func prune(folder statedir.Dir, newest string) error {
	entries, err := os.ReadDir(string(folder))
	if err != nil {
		return fmt.Errorf("cannot look through the saved Rulesets: %w", err)
	}
	age := map[string]time.Time{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			age[e.Name()] = info.ModTime()
		}
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == newest })
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return age[b.Name()].Compare(age[a.Name()]) })
	for _, e := range entries[min(keptRulesets-1, len(entries)):] {
		if err := folder.Remove(e.Name()); err != nil {
			return err
		}
	}
	return nil
}
