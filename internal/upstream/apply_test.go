package upstream

import (
	"errors"
	"testing"
	"time"
)

// TestStrange: what a control plane says that it does not know is left out, in
// lists too, and said again after a while.
func TestStrange(t *testing.T) {
	const object = `{"denied":[{"by":"a","observed":true},{"by":"b"}],"status":{"driftRepairs":1,"probes":[{"name":"[fd00::1]:6443 (row \"A\")","new":1}]}}`
	now := time.Unix(1000, 0)
	var s strange
	for _, tc := range []struct {
		says  string
		learn bool
		want  string
	}{
		{"connection refused", false, object},
		{
			"failed to create typed patch object (/n; v1, Kind=Host): .status.driftRepairs: field not declared in schema", true,
			`{"denied":[{"by":"a","observed":true},{"by":"b"}],"status":{"probes":[{"name":"[fd00::1]:6443 (row \"A\")","new":1}]}}`,
		},
		{
			"errors:\n  .denied[0].observed: field not declared in schema\n  .status.probes[name=\"[fd00::1]:6443 (row \\\"A\\\")\"].new: field not declared in schema", true,
			`{"denied":[{"by":"a"},{"by":"b"}],"status":{"probes":[{"name":"[fd00::1]:6443 (row \"A\")"}]}}`,
		},
		{
			".status.driftRepairs: field not declared in schema", false,
			`{"denied":[{"by":"a"},{"by":"b"}],"status":{"probes":[{"name":"[fd00::1]:6443 (row \"A\")"}]}}`,
		},
	} {
		if got := s.learn("hosts", errors.New(tc.says), now); got != tc.learn {
			t.Errorf("%s: learned %t, want %t", tc.says, got, tc.learn)
		}
		if got, err := s.without("hosts", []byte(object), now); err != nil || string(got) != tc.want {
			t.Errorf("%s: %v\ngot  %s\nwant %s", tc.says, err, got, tc.want)
		}
	}
	for _, tc := range []struct {
		of string
		at time.Time
	}{{"flowreports", now}, {"hosts", now.Add(strangeFor)}} {
		if got, err := s.without(tc.of, []byte(object), tc.at); err != nil || string(got) != object {
			t.Errorf("%s at %s: %s, %v; want all of it", tc.of, tc.at, got, err)
		}
	}
}
