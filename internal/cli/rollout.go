package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/kubeapi"
)

const rolloutHelp = `A rollout takes the rules of one set of groups to the hosts that wear it: to one
host first, then to a tenth of them, then to all, each after the ones before have
confirmed that they still reach what they need. The first one that cannot sends
everybody back. Hosts of etcd or the API server change one at a time.

A ROLLOUT is named by its groups, with commas between them, or by its own name.`

func newRollout(s Streams) *cobra.Command {
	c := &cobra.Command{Use: "rollout", Short: "See how far new rules have come, stop them, and take them back", Long: rolloutHelp}
	c.AddCommand(
		newRolloutStatus(s),
		newRolloutChange(s, "pause", "Let no further host run new rules of these groups", pauseHelp, pause),
		newRolloutChange(s, "resume", "Go on after pause or undo, and try again what a host could not confirm", resumeHelp, resume),
		newRolloutChange(s, "undo", "Take the rules back that are being tried, or the last ones", undoHelp, undo),
	)
	return c
}

// A listedRollout is a Rollout as it is shown.
type listedRollout struct {
	Name      string   `json:"name"`
	Groups    []string `json:"groups"`
	NodePools []string `json:"nodePools,omitempty"`
	// State is the reason of the condition Settled: Stable, Stepping or Aborted.
	State     string         `json:"state"`
	Message   string         `json:"message,omitempty"`
	Step      string         `json:"step,omitempty"`
	Confirmed int32          `json:"confirmed"`
	Chosen    int32          `json:"chosen"`
	Hosts     int32          `json:"hosts"`
	Stable    string         `json:"stable,omitempty"`
	Candidate string         `json:"candidate,omitempty"`
	Paused    bool           `json:"paused,omitempty"`
	Undone    string         `json:"undone,omitempty"`
	Failure   *listedFailure `json:"failure,omitempty"`
}

type listedFailure struct {
	Ruleset string    `json:"ruleset"`
	Host    string    `json:"host"`
	Message string    `json:"message"`
	Time    time.Time `json:"time"`
}

func list(r *v1alpha1.Rollout) listedRollout {
	_, paused := r.Annotations[v1alpha1.AnnotationPaused]
	out := listedRollout{
		Name: r.Name, Groups: r.Spec.SecurityGroupNames, NodePools: poolNames(&r.Spec), Step: string(r.Status.Step),
		Confirmed: r.Status.Confirmed, Chosen: r.Status.Chosen, Hosts: r.Status.Hosts,
		Stable: r.Spec.StableRulesetName, Candidate: r.Spec.CandidateRulesetName,
		Paused: paused, Undone: r.Annotations[v1alpha1.AnnotationUndone],
	}
	if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionSettled); c != nil {
		out.State, out.Message = c.Reason, c.Message
	}
	if f := r.Status.Failure; f != nil {
		out.Failure = &listedFailure{f.RulesetName, f.HostName, f.Message, f.Time.Time}
	}
	return out
}

type rolloutStatus struct {
	live
	output
	streams Streams
}

func poolNames(spec *v1alpha1.RolloutSpec) []string {
	var out []string
	for _, p := range spec.NodePools {
		out = append(out, p.Name)
	}
	return out
}

func newRolloutStatus(s Streams) *cobra.Command {
	cmd := &rolloutStatus{output: newOutput("table", "json", "yaml"), streams: s}
	c := &cobra.Command{
		Use:     "status [ROLLOUT...]",
		Short:   "Say how far the rules of each set of groups have come",
		Long:    rolloutHelp + "\n\nExit code 1 if one of them was aborted.",
		Example: "  ringfence rollout status -n prod\n  ringfence rollout status web,db -o json",
		RunE:    func(c *cobra.Command, args []string) error { return cmd.run(c, args) },
	}
	cmd.live.register(c)
	cmd.output.register(c)
	return c
}

func (cmd *rolloutStatus) run(c *cobra.Command, names []string) error {
	if err := cmd.checkFormat(c); err != nil {
		return err
	}
	server, err := kubeapi.Open(cmd.options)
	if err != nil {
		return err
	}
	listed, err := rollouts(c.Context(), server, names)
	if err != nil {
		return err
	}
	if done, err := cmd.structured(cmd.streams.Out, listed); !done {
		err = cmd.tell(listed)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if slices.ContainsFunc(listed, func(r listedRollout) bool { return r.State == v1alpha1.ReasonAborted }) {
		return errFindings
	}
	return nil
}

// rollouts reads those that are named; without names, all.
func rollouts(ctx context.Context, server *kubeapi.Server, names []string) ([]listedRollout, error) {
	var found []unstructured.Unstructured
	for _, name := range names {
		one, err := getRollout(ctx, server, name)
		if err != nil {
			return nil, err
		}
		found = append(found, *one)
	}
	if len(names) == 0 {
		all, err := objects(ctx, server, kind("rollouts"))
		if err != nil {
			return nil, fmt.Errorf("cannot list the Rollouts of namespace %s: %w", server.Namespace, server.Explain(err))
		}
		found = all.Items
	}
	listed := make([]listedRollout, 0, len(found))
	for i := range found {
		r, err := readRollout(&found[i])
		if err != nil {
			return nil, err
		}
		listed = append(listed, list(r))
	}
	slices.SortFunc(listed, func(a, b listedRollout) int { return slices.Compare(a.Groups, b.Groups) })
	return listed, nil
}

func readRollout(o *unstructured.Unstructured) (*v1alpha1.Rollout, error) {
	var r v1alpha1.Rollout
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &r); err != nil {
		return nil, fmt.Errorf("cannot read Rollout %s: %w", o.GetName(), err)
	}
	return &r, nil
}

var rolloutName = regexp.MustCompile(`^[0-9a-f]{40}$`)

// getRollout finds one by its name or by its groups.
func getRollout(ctx context.Context, server *kubeapi.Server, arg string) (*unstructured.Unstructured, error) {
	name := arg
	if !rolloutName.MatchString(arg) {
		name = convert.RolloutName(strings.Split(arg, ","))
	}
	o, err := server.Objects(kind("rollouts")).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no Rollout of %s in namespace %s: no host wears exactly these groups; ringfence rollout status lists those that are there", arg, server.Namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the Rollout of %s: %w", arg, server.Explain(err))
	}
	return o, nil
}

// shortLength is how much of a name by content people compare, as with commits.
const shortLength = 12

func shortName(s string) string { return s[:min(shortLength, len(s))] }

func (cmd *rolloutStatus) tell(listed []listedRollout) error {
	p := cmd.printer(cmd.streams.Out)
	if len(listed) == 0 {
		p.printf("no host wears any group here\n")
		return p.err
	}
	rows := make([][]string, 0, len(listed))
	for i := range listed {
		r := &listed[i]
		state := r.State
		if r.Paused {
			state += ", paused"
		}
		rows = append(rows, []string{
			strings.Join(r.Groups, ","), state, cmp.Or(r.Step, "-"), fmt.Sprintf("%d/%d/%d", r.Confirmed, r.Chosen, r.Hosts),
			cmp.Or(shortName(r.Stable), "-"), cmp.Or(shortName(r.Candidate), "-"),
		})
	}
	table(p, []string{"GROUPS", "STATE", "STEP", "CONFIRMED/CHOSEN/HOSTS", "STABLE", "CANDIDATE"}, rows)
	for i := range listed {
		if r := &listed[i]; r.State != v1alpha1.ReasonStable && r.Message != "" {
			p.printf("%s:\n", strings.Join(r.Groups, ","))
			labelled(p, "why", r.Message)
		}
	}
	return p.err
}

// annotations are what is to be written; nil takes one away.
type annotations map[string]any

// A rolloutChange says what a person wants of a Rollout, and in words what
// follows.
type rolloutChange func(r *v1alpha1.Rollout, now time.Time) (annotations, string, error)

func newRolloutChange(s Streams, verb, what, help string, change rolloutChange) *cobra.Command {
	l := &live{}
	c := &cobra.Command{
		Use:     verb + " ROLLOUT...",
		Short:   what,
		Long:    help + "\n\nA ROLLOUT is named by its groups, with commas between them, or by its own name.",
		Example: "  ringfence rollout " + verb + " web,db -n prod",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return changeRollouts(c.Context(), l, s, args, change)
		},
	}
	l.register(c)
	return c
}

func changeRollouts(ctx context.Context, l *live, s Streams, names []string, change rolloutChange) error {
	server, err := kubeapi.Open(l.options)
	if err != nil {
		return err
	}
	p := &printer{w: s.Out}
	for _, name := range names {
		said, err := changeOne(ctx, server, name, change)
		if err != nil {
			return err
		}
		p.printf("%s: %s\n", name, said)
	}
	return p.err
}

func changeOne(ctx context.Context, server *kubeapi.Server, name string, change rolloutChange) (string, error) {
	o, err := getRollout(ctx, server, name)
	if err != nil {
		return "", err
	}
	r, err := readRollout(o)
	if err != nil {
		return "", err
	}
	wanted, said, err := change(r, clock.RealClock{}.Now())
	if err != nil {
		return "", fmt.Errorf("cannot change the Rollout of %s: %w", name, err)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": wanted}})
	if err != nil {
		return "", err
	}
	if _, err := server.Objects(kind("rollouts")).Patch(ctx, o.GetName(), types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return "", fmt.Errorf("cannot change the Rollout of %s: %w", name, server.Explain(err))
	}
	return said, nil
}

const pauseHelp = `Pause stops a rollout where it is: no further host runs new rules, and none
become the stable ones. Rules that a host cannot confirm are taken back all the
same. It lasts until resume.`

func pause(r *v1alpha1.Rollout, now time.Time) (annotations, string, error) {
	said := "paused; nothing new begins until ringfence rollout resume"
	if c := r.Spec.CandidateRulesetName; c != "" {
		said = fmt.Sprintf("paused with %d of %d hosts on %s, until ringfence rollout resume", r.Status.Chosen, r.Status.Hosts, shortName(c))
	}
	return annotations{v1alpha1.AnnotationPaused: now.UTC().Format(time.RFC3339)}, said, nil
}

const resumeHelp = `Resume takes pause and undo back, and lets rules be tried again that a host could
not confirm.`

func resume(r *v1alpha1.Rollout, now time.Time) (annotations, string, error) {
	out := annotations{v1alpha1.AnnotationPaused: nil, v1alpha1.AnnotationUndone: nil}
	said := "goes on"
	c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionSettled)
	held := c != nil && c.Reason == v1alpha1.ReasonStepping && r.Spec.CandidateRulesetName != "" && r.Status.Chosen == 0
	if f := r.Status.Failure; f != nil {
		said = fmt.Sprintf("goes on, and tries %s again, which host %s could not confirm", shortName(f.RulesetName), f.HostName)
	}
	if r.Status.Failure != nil || held {
		out[v1alpha1.AnnotationRetry] = now.UTC().Format(time.RFC3339)
	}
	return out, said, nil
}

const undoHelp = `Undo takes back the rules that are being tried: everybody runs the stable ones
again. If none are being tried, the rules that were stable before are tried, in
the same steps. It lasts until the rules of the groups change, or until resume.`

var errNothingBefore = errors.New("its rules are the first ones: there are none to go back to; change the groups instead")

func undo(r *v1alpha1.Rollout, _ time.Time) (annotations, string, error) {
	if c := r.Spec.CandidateRulesetName; c != "" {
		return annotations{v1alpha1.AnnotationUndone: c}, fmt.Sprintf("%s is taken back, until the groups change or ringfence rollout resume", shortName(c)), nil
	}
	before := r.Status.PreviousRulesetName
	if before == "" {
		return nil, "", errNothingBefore
	}
	return annotations{v1alpha1.AnnotationUndone: r.Spec.StableRulesetName},
		fmt.Sprintf("goes back from %s to %s in steps, until the groups change or ringfence rollout resume", shortName(r.Spec.StableRulesetName), shortName(before)), nil
}
