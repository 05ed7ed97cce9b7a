package namespaced

import (
	"testing"
	"time"
)

func TestSeen(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 11, 24, 12, 0, s, 0, time.UTC) }
	before := &listing{at: at(10), said: map[string]time.Time{"a": at(5), "ahead": at(50)}, renewed: map[string]time.Time{"a": at(5), "ahead": at(10)}}
	for name, tc := range map[string]struct {
		reason     string
		before     *listing
		host       string
		said, want time.Time
	}{
		"First":       {"of the first listing there is nothing but what the host says", &listing{}, "a", at(3), at(3)},
		"FirstAhead":  {"but not what lies ahead", &listing{}, "a", at(90), at(25)},
		"Same":        {"nothing new", before, "a", at(5), at(5)},
		"SameAhead":   {"nor with a clock that runs ahead", before, "ahead", at(50), at(10)},
		"Renewed":     {"it is as it says", before, "a", at(20), at(20)},
		"Behind":      {"it renewed since, whatever its clock says", before, "a", at(7), at(10)},
		"Ahead":       {"and not later than now", before, "a", at(40), at(25)},
		"NewBehind":   {"a Lease that was not there before was made since", before, "new", at(1), at(10)},
		"Never":       {"a Lease that nobody renewed", before, "new", time.Time{}, time.Time{}},
		"BackInClock": {"a clock that was put back", before, "ahead", at(0), at(10)},
	} {
		if got := tc.before.seen(tc.host, tc.said, at(25)); !got.Equal(tc.want) {
			t.Errorf("%s: %s: seen = %s, want %s", name, tc.reason, got.Format(time.TimeOnly), tc.want.Format(time.TimeOnly))
		}
	}
}
