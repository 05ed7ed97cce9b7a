// Package status writes what controllers know into the status of objects: the
// fields that they own, by server-side apply, and only if something differs.
package status

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// An Owner is the name under which one controller owns fields.
type Owner string

// Apply makes the fields of a status the owner's, and no others: a field that
// it owned and that is not there any more goes. The status is a pointer to a
// struct of v1alpha1; its zero fields are not there. An object that was made
// anew since it was read is left alone: the error is a conflict.
func (w Owner) Apply(ctx context.Context, to client.Client, o client.Object, status any) error {
	_, err := w.apply(ctx, to, o, "", status)
	return err
}

// ApplyTo is Apply to one version of an object, and returns the next: whatever
// somebody else has written meanwhile is a conflict.
func (w Owner) ApplyTo(ctx context.Context, to client.Client, o client.Object, version string, status any) (string, error) {
	return w.apply(ctx, to, o, version, status)
}

func (w Owner) apply(ctx context.Context, to client.Client, o client.Object, version string, status any) (string, error) {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	kind, err := to.GroupVersionKindFor(o)
	if err == nil {
		u.Object["status"], err = runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	}
	if err == nil {
		u.SetGroupVersionKind(kind)
		u.SetNamespace(o.GetNamespace())
		u.SetName(o.GetName())
		u.SetUID(o.GetUID())
		u.SetResourceVersion(version)
		err = to.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(w), client.ForceOwnership)
	}
	if err != nil {
		return "", fmt.Errorf("cannot write the status of %s %s: %w", kind.Kind, o.GetName(), err)
	}
	return u.GetResourceVersion(), nil
}

// Conditions completes conditions with the time since when each has its status:
// that of the one before, if it said the same, or else now. Sorted by type.
func Conditions(before []metav1.Condition, now metav1.Time, want ...metav1.Condition) []metav1.Condition {
	for i := range want {
		c := &want[i]
		c.LastTransitionTime = now
		if old := meta.FindStatusCondition(before, c.Type); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
	}
	slices.SortFunc(want, byType)
	return want
}

// Owned returns the conditions of the types, sorted by type.
func Owned(all []metav1.Condition, types ...string) []metav1.Condition {
	var list []metav1.Condition
	for i := range all {
		if slices.Contains(types, all[i].Type) {
			list = append(list, all[i])
		}
	}
	slices.SortFunc(list, byType)
	return list
}

func byType(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) }

// True is a condition that is well, False one that is not, and Unknown one that
// nobody can tell.
func True(kind, reason, message string, generation int64) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: generation}
}

// False is True's opposite.
func False(kind, reason, message string, generation int64) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message, ObservedGeneration: generation}
}

// Unknown is neither.
func Unknown(kind, reason, message string, generation int64) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionUnknown, Reason: reason, Message: message, ObservedGeneration: generation}
}

// Lines joins texts, one a line, up to a number of bytes; what does not fit is
// counted in a last line, which has room beyond.
func Lines(texts []string, limit int) string {
	var b strings.Builder
	for i, text := range texts {
		if i == 0 && len(text) > limit {
			return strings.ToValidUTF8(text[:limit], "") + "…"
		}
		if b.Len()+len(text) > limit {
			fmt.Fprintf(&b, "and %d more", len(texts)-i)
			return b.String()
		}
		b.WriteString(text)
		if i < len(texts)-1 {
			b.WriteByte('\n')
		}
	}
	return b.String()
}
