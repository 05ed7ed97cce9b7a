package addresses

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *metav1.Time { at := metav1.NewTime(now.Add(-d)); return &at }
	// Host N has the address 10.0.0.N.
	address := func(n int) string { return fmt.Sprintf("10.0.0.%d", n) }
	host := func(n int) string { return fmt.Sprintf("node-%d", n) }
	type hosts = map[string]bool

	for name, tc := range map[string]struct {
		reason  string
		members int                  // hosts 1 to this are in the slices
		leaving map[int]*metav1.Time // of them, those that are marked
		gone    []int                // of them, those that no longer wear the group
		fresh   []int                // of the gone ones, those whose agents live
		unsure  []int
		deleted []int // those of the gone ones that have no object any more
		joining []int
		held    []int
		left    map[string]time.Time
		release time.Duration // ago; 0 for no annotation

		wantGone   []int // out of the slices
		wantMarked []int
		wantHeld   []int
		wantLeft   int
		wantNext   time.Duration
	}{
		"Steady": {reason: "nothing happens", members: 3},
		"Join":   {reason: "a host that joins is there at once", members: 1, joining: []int{2}},
		"LeaseEnded": {
			reason: "a host whose agent is gone leaves without a question, and so does a whole group of them", members: 4, gone: []int{1, 2, 3, 4}, wantGone: []int{1, 2, 3, 4},
		},
		"Marked": {
			reason: "a host whose agent lives stays a minute", members: 3, gone: []int{1}, fresh: []int{1}, wantMarked: []int{1}, wantNext: leaveAfter,
		},
		"NotYet": {
			reason: "59 seconds are no minute", members: 3, gone: []int{1}, fresh: []int{1}, leaving: map[int]*metav1.Time{1: ago(59 * time.Second)}, wantMarked: []int{1}, wantNext: time.Second,
		},
		"Leaves": {
			reason: "one host may always leave, even half of a group", members: 2, gone: []int{1}, fresh: []int{1}, leaving: map[int]*metav1.Time{1: ago(leaveAfter)}, wantGone: []int{1}, wantLeft: 1,
		},
		"AgentEndsMeanwhile": {
			reason: "a marked host whose agent stops leaves at once", members: 3, gone: []int{1}, leaving: map[int]*metav1.Time{1: ago(time.Second)}, wantGone: []int{1},
		},
		"ComesBack": {
			reason: "a host that is back has no mark", members: 3, leaving: map[int]*metav1.Time{1: ago(30 * time.Second)},
		},
		"TwoOfTwenty": {
			reason: "a tenth may leave", members: 20, gone: []int{1, 2}, fresh: []int{1, 2}, leaving: map[int]*metav1.Time{1: ago(leaveAfter), 2: ago(leaveAfter)}, wantGone: []int{1, 2}, wantLeft: 2,
		},
		"TwoOfNineteen": {
			reason: "more than a tenth is held", members: 19, gone: []int{1, 2}, fresh: []int{1, 2}, leaving: map[int]*metav1.Time{1: ago(leaveAfter), 2: ago(leaveAfter)},
			wantMarked: []int{1, 2}, wantHeld: []int{1, 2}, wantNext: leaveAfter,
		},
		"ThoseBehindCount": {
			reason: "the first of many that go one after the other is held too", members: 19, gone: []int{1, 2}, fresh: []int{1, 2}, leaving: map[int]*metav1.Time{1: ago(leaveAfter), 2: ago(time.Second)},
			wantMarked: []int{1, 2}, wantHeld: []int{1}, wantNext: 59 * time.Second,
		},
		"ThoseBeforeCount": {
			reason: "who left within ten minutes counts", members: 10, gone: []int{1}, fresh: []int{1}, leaving: map[int]*metav1.Time{1: ago(leaveAfter)}, left: map[string]time.Time{"old": now.Add(-9 * time.Minute)},
			wantMarked: []int{1}, wantHeld: []int{1}, wantLeft: 1, wantNext: leaveAfter,
		},
		"LongAgo": {
			reason: "ten minutes are over", members: 10, gone: []int{1}, fresh: []int{1}, leaving: map[int]*metav1.Time{1: ago(leaveAfter)}, left: map[string]time.Time{"old": now.Add(-window)},
			wantGone: []int{1}, wantLeft: 1,
		},
		"HeldStays": {
			reason: "what is held waits for a person, also when the ten minutes are over", members: 10, gone: []int{1}, fresh: []int{1}, leaving: map[int]*metav1.Time{1: ago(time.Hour)}, held: []int{1},
			wantMarked: []int{1}, wantHeld: []int{1}, wantNext: leaveAfter,
		},
		"Released": {
			reason: "a person let them go", members: 4, gone: []int{1, 2, 3}, fresh: []int{1, 2, 3}, release: time.Minute, held: []int{1, 2, 3},
			leaving:  map[int]*metav1.Time{1: ago(time.Hour), 2: ago(time.Hour), 3: ago(2 * time.Minute)},
			wantGone: []int{1, 2, 3},
		},
		"ReleasedBefore": {
			reason: "what is held later is not released by a manifest that is applied for ever", members: 4, gone: []int{1, 2}, fresh: []int{1, 2}, release: time.Hour,
			leaving:    map[int]*metav1.Time{1: ago(10 * time.Minute), 2: ago(10 * time.Minute)},
			wantMarked: []int{1, 2}, wantHeld: []int{1, 2}, wantNext: leaveAfter,
		},
		"ReleasedInFuture": {
			reason: "a time to come releases nothing yet", members: 4, gone: []int{1, 2}, fresh: []int{1, 2}, release: -30 * time.Second,
			leaving:    map[int]*metav1.Time{1: ago(10 * time.Minute), 2: ago(10 * time.Minute)},
			wantMarked: []int{1, 2}, wantHeld: []int{1, 2}, wantNext: 30 * time.Second,
		},
		"HeldAgentEnds": {
			reason: "a held host whose agent stops leaves, the others stay", members: 4, gone: []int{1, 2, 3}, fresh: []int{2, 3}, held: []int{1, 2, 3},
			leaving:  map[int]*metav1.Time{1: ago(time.Hour), 2: ago(time.Hour), 3: ago(time.Hour)},
			wantGone: []int{1}, wantMarked: []int{2, 3}, wantHeld: []int{2, 3}, wantNext: leaveAfter,
		},
		"DeletedAndSilenced": {
			reason: "whose object is gone may not renew its Lease: that this ends lets nobody go", members: 4, gone: []int{1, 2}, deleted: []int{1, 2},
			leaving:    map[int]*metav1.Time{1: ago(leaveAfter), 2: ago(leaveAfter)},
			wantMarked: []int{1, 2}, wantHeld: []int{1, 2}, wantNext: leaveAfter,
		},
		"DeletedWhenDead": {
			reason: "who was deleted after its agent had ended leaves without a question", members: 4, gone: []int{1, 2, 3}, deleted: []int{1, 2, 3}, wantGone: []int{1, 2, 3},
		},
		"Unsure": {
			reason: "a host of which nothing is known stays what it is", members: 3, gone: []int{1}, unsure: []int{1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := roster{wanted: map[string]string{}, unsure: hosts{}, fresh: hosts{}, there: hosts{}, held: hosts{}, left: tc.left, now: now}
			for n := range tc.members {
				r.there[host(n+1)] = !slices.Contains(tc.deleted, n+1)
			}
			if tc.release != 0 {
				r.release = now.Add(-tc.release)
			}
			want := map[string]v1alpha1.MemberAddress{}
			for n := 1; n <= tc.members; n++ {
				m := v1alpha1.MemberAddress{Address: address(n), HostName: host(n), LeavingSince: tc.leaving[n]}
				r.members = append(r.members, m)
				if !slices.Contains(tc.gone, n) {
					r.wanted[m.Address] = m.HostName
				}
				if m.LeavingSince = nil; slices.Contains(tc.wantMarked, n) {
					if m.LeavingSince = tc.leaving[n]; m.LeavingSince == nil {
						m.LeavingSince = ago(0)
					}
				}
				if !slices.Contains(tc.wantGone, n) {
					want[m.Address] = m
				}
			}
			for _, n := range tc.joining {
				r.wanted[address(n)] = host(n)
				want[address(n)] = v1alpha1.MemberAddress{Address: address(n), HostName: host(n)}
			}
			for from, to := range map[*[]int]hosts{&tc.fresh: r.fresh, &tc.unsure: r.unsure, &tc.held: r.held} {
				for _, n := range *from {
					to[host(n)] = true
				}
			}
			got := r.decide()
			if diff := cmp.Diff(want, got.members); diff != "" {
				t.Errorf("%s\nmembers: -want +got:\n%s", tc.reason, diff)
			}
			var held, wantHeld []string
			for _, h := range got.held {
				held = append(held, h.HostName)
			}
			for _, n := range tc.wantHeld {
				wantHeld = append(wantHeld, host(n))
			}
			if diff := cmp.Diff(wantHeld, held); diff != "" {
				t.Errorf("%s\nheld: -want +got:\n%s", tc.reason, diff)
			}
			if len(got.left) != tc.wantLeft {
				t.Errorf("%s\nleft: %v, want %d", tc.reason, slices.Sorted(maps.Keys(got.left)), tc.wantLeft)
			}
			if got.next.IsZero() != (tc.wantNext == 0) || tc.wantNext != 0 && !got.next.Equal(now.Add(tc.wantNext)) {
				t.Errorf("%s\nnext: %s, want in %s", tc.reason, got.next, tc.wantNext)
			}
		})
	}
}
