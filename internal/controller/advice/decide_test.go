package advice

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/status"
)

// says is a verdict with excess in the group web.
func says(ids ...string) *verdict {
	v := &verdict{excess: map[string]map[string]string{"web": {}}}
	for _, id := range ids {
		v.excess["web"][id] = id
	}
	return v
}

func TestJudgeGroup(t *testing.T) {
	for name, tc := range map[string]struct {
		reason   string
		verdicts []*verdict
		want     string // STATUS: MESSAGE
	}{
		"One":      {"what is in excess for the only user is in excess", []*verdict{says("web/ingress/10", "web/ingress/9")}, "False: web/ingress/9\nweb/ingress/10"},
		"Common":   {"of several, what is so for all", []*verdict{says("web/ingress/1", "web/egress/1"), says("web/egress/1")}, "False: web/egress/1"},
		"Nothing":  {"what one of them needs is needed", []*verdict{says("web/ingress/1"), says("web/egress/1")}, "True: "},
		"NotYet":   {"a verdict is missing", []*verdict{says("web/ingress/1"), nil}, ""},
		"Unjudged": {"nobody can tell for one of them", []*verdict{says("web/ingress/1"), {}}, "Unknown: a cluster that uses the group cannot be judged: see its conditions"},
	} {
		t.Run(name, func(t *testing.T) {
			g := &v1alpha1.SecurityGroup{}
			g.Name = "web"
			got := ""
			if c := judgeGroup(g, tc.verdicts); c != nil {
				got = string(c.Status) + ": " + c.Message
			}
			if got != tc.want {
				t.Errorf("%s\njudgeGroup(...): %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

func TestChanged(t *testing.T) {
	other := says("a")
	other.excess["db"] = map[string]string{}
	for name, tc := range map[string]struct {
		before, after *verdict
		want          []string
	}{
		"First": {nil, says(), []string{"web"}},
		"Last":  {says(), nil, []string{"web"}},
		"Same":  {says("a"), says("a"), nil},
		"More":  {says("a"), says("a", "b"), []string{"web"}},
		"Group": {says("a"), other, []string{"db"}},
		"Never": {nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := changed(tc.before, tc.after); !slices.Equal(got, tc.want) {
				t.Errorf("changed(...): %v, want %v", got, tc.want)
			}
		})
	}
}

func TestNews(t *testing.T) {
	yes := status.True(v1alpha1.ConditionNeedsMet, v1alpha1.ReasonNothingMissing, "", 1)
	no := status.False(v1alpha1.ConditionNeedsMet, v1alpha1.ReasonNeedsMissing, "x", 1)
	maybe := status.Unknown(v1alpha1.ConditionNeedsMet, v1alpha1.ReasonUnknown, "x", 1)
	got := map[string][2]bool{}
	for name, c := range map[string][2]*metav1.Condition{
		"FirstBad": {nil, &no}, "FirstGood": {nil, &yes}, "FirstUnknown": {nil, &maybe},
		"Worse": {&yes, &no}, "Better": {&no, &yes}, "Same": {&no, &no}, "Lost": {&yes, &maybe},
	} {
		var before []metav1.Condition
		if c[0] != nil {
			before = append(before, *c[0])
		}
		v := verdict{needsMet: *c[1], tight: status.True(v1alpha1.ConditionTight, v1alpha1.ReasonNothingInExcess, "", 1)}
		got[name] = [2]bool{newsworthy(before, c[1]), v.worse(before)}
	}
	want := map[string][2]bool{ // an Event, and a wait before it
		"FirstBad": {true, true}, "FirstGood": {false, false}, "FirstUnknown": {false, false},
		"Worse": {true, true}, "Better": {true, false}, "Same": {false, false}, "Lost": {true, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
