package assign_test

import (
	"fmt"
	"slices"
	"testing"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/assign"
)

// TestDialled: the dialers share those that try a candidate, and nobody else is
// dialled.
func TestDialled(t *testing.T) {
	var hosts []string
	for i := range 1000 {
		hosts = append(hosts, fmt.Sprintf("host-%03d", i))
	}
	r := &v1alpha1.RolloutSpec{
		CandidateRulesetName: "new", Bound: assign.Above(assign.Digest("new", "host-500")), CriticalHostNames: []string{"host-007", "host-008"},
		Dialers: []v1alpha1.RolloutDialer{{HostName: "host-001", Address: "10.0.0.1"}, {HostName: "host-002", Address: "fd00::2"}, {HostName: "host-003", Address: "nowhere"}},
	}
	var all []string
	for i, from := range []string{"10.0.0.1", "fd00::2", "invalid IP"} {
		dialled, at := assign.Dialled(r, r.Dialers[i].HostName, hosts)
		if at.String() != from {
			t.Errorf("%s dials from %s, want %s", r.Dialers[i].HostName, at, from)
		}
		all = append(all, dialled...)
	}
	if len(all) == 0 || len(all) > 200 {
		t.Fatalf("%d hosts are dialled", len(all))
	}
	for _, h := range all {
		if chosen := assign.Digest("new", h) < r.Bound || slices.Contains(r.CriticalHostNames, h); !chosen {
			t.Errorf("%s is dialled, and runs what it ran", h)
		}
	}
	if !slices.Contains(all, "host-007") || !slices.Contains(all, "host-008") {
		t.Error("critical hosts come first, and are not dialled")
	}
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Error("one is dialled by two")
	}
	if dialled, at := assign.Dialled(r, "host-004", hosts); len(dialled) > 0 || at.IsValid() {
		t.Error("who is no dialer dials")
	}
	if by := assign.Dialers(r, "host-001"); len(by) != 1 || by[0].Host != "host-002" {
		t.Errorf("host-001 is dialled by %v", by)
	}
}
