package status

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestLines(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		texts  []string
		limit  int
		want   string
	}{
		"Nothing":  {"nothing is wrong", nil, 10, ""},
		"Fits":     {"all of them, one a line", []string{"a", "b"}, 10, "a\nb"},
		"Counted":  {"what does not fit is counted", []string{"aaaa", "bbbb", "cccc"}, 9, "aaaa\nbbbb\nand 1 more"},
		"TooLong":  {"one text that is too long is cut", []string{"abcdef"}, 3, "abc…"},
		"Unicode":  {"but never within a character", []string{"aéé"}, 2, "a…"},
		"LastFits": {"a list that just fits is whole", []string{"aaaa", "bbbb"}, 9, "aaaa\nbbbb"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Lines(tc.texts, tc.limit); got != tc.want {
				t.Errorf("%s\nLines(...): %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
	if got := Lines([]string{strings.Repeat("x", 100), "y"}, 50); len(got) > 53 {
		t.Errorf("%d bytes", len(got))
	}
}

func TestConditions(t *testing.T) {
	then, now := metav1.Unix(1, 0), metav1.Unix(2, 0)
	old := True("Ready", "Fine", "", 1)
	old.LastTransitionTime = then
	got := Conditions([]metav1.Condition{old}, now, True("Ready", "Better", "", 2), False("Accepted", "Bad", "x", 2))
	want := []metav1.Condition{False("Accepted", "Bad", "x", 2), True("Ready", "Better", "", 2)}
	want[0].LastTransitionTime, want[1].LastTransitionTime = now, then
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the time is that of the last change of status: -want +got:\n%s", diff)
	}
	got = Conditions(got, metav1.Unix(3, 0), Unknown("Ready", "Lost", "", 2))
	if !got[0].LastTransitionTime.Equal(&metav1.Time{Time: time.Unix(3, 0)}) {
		t.Errorf("another status has another time: %v", got)
	}
	if owned := Owned(want, "Ready"); len(owned) != 1 || owned[0].Type != "Ready" {
		t.Errorf("Owned(...): %v", owned)
	}
}

func TestResult(t *testing.T) {
	groups := schema.GroupResource{Resource: "securitygroups"}
	boom := errors.New("boom")
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for name, tc := range map[string]struct {
		reason string
		ctx    context.Context
		err    error
		want   error
		again  bool
	}{
		"Nothing":  {"done", t.Context(), nil, nil, false},
		"Conflict": {"somebody was faster", t.Context(), apierrors.NewConflict(groups, "x", boom), nil, true},
		"Gone":     {"somebody deleted it", t.Context(), apierrors.NewNotFound(groups, "x"), nil, true},
		"There":    {"somebody made it", t.Context(), apierrors.NewAlreadyExists(groups, "x"), nil, true},
		"Broken":   {"anything else is an error", t.Context(), boom, boom, false},
		"Stopping": {"a stop is none", stopped, boom, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := Result(tc.ctx, tc.err)
			if !errors.Is(err, tc.want) || (result.RequeueAfter > 0) != tc.again {
				t.Errorf("%s\nResult(...): %v, %v", tc.reason, result, err)
			}
		})
	}
}
