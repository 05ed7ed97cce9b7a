package agent

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/statedir"
)

// TestStatusUnwritten: a status that cannot be written is not told at every beat,
// and is written once it can be.
func TestStatusUnwritten(t *testing.T) {
	dir := statedir.Dir(filepath.Join(t.TempDir(), "state"))
	var said bytes.Buffer
	f := &follower{
		agent:  &agent{host: &host{disk: disk{dir}, log: slog.New(slog.NewTextHandler(&said, nil))}},
		source: &folder{dir: "manifests"},
	}
	for range lastRetry {
		f.report()
		f.turn.beats++
	}
	if n := strings.Count(said.String(), "cannot write the status"); n != 1 {
		t.Errorf("it is said %d times in %d beats; want once:\n%s", n, lastRetry, &said)
	}
	if err := dir.Make(); err != nil {
		t.Fatal(err)
	}
	f.report()
	if data, err := dir.Load(statusFile); err != nil || data == nil {
		t.Errorf("it is not written when it can be: %v", err)
	}
}
