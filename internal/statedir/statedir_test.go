package statedir_test

import (
	"errors"
	"os"
	"testing"

	"ringfence.dev/ringfence/internal/statedir"
)

// TestLock: one at a time, and who only looks is in nobody's way.
func TestLock(t *testing.T) {
	d := statedir.Dir(t.TempDir() + "/state")
	if locked, err := d.Locked(); locked || err != nil {
		t.Errorf("without a folder: %t, %v", locked, err)
	}
	if err := d.Make(); err != nil {
		t.Fatal(err)
	}
	unlock, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Lock(); !errors.Is(err, statedir.ErrBusy) {
		t.Error("locked twice")
	}
	if locked, err := d.Locked(); !locked || err != nil {
		t.Errorf("locked: %t, %v", locked, err)
	}
	unlock()
	if locked, err := d.Locked(); locked || err != nil {
		t.Errorf("unlocked: %t, %v", locked, err)
	}
}

// TestSave: a file has its old or its new content, is nobody else's, and one
// that is empty is not absent.
func TestSave(t *testing.T) {
	d := statedir.Dir(t.TempDir())
	if data, err := d.Load("a"); data != nil || err != nil {
		t.Errorf("a file that is not there: %q, %v", data, err)
	}
	for _, want := range []string{"one", ""} {
		if err := d.Save("a", []byte(want)); err != nil {
			t.Fatal(err)
		}
		if data, err := d.Load("a"); data == nil || string(data) != want || err != nil {
			t.Errorf("saved %q, loaded %q, %v", want, data, err)
		}
	}
	if info, err := os.Stat(d.Path("a")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: want it readable for its owner only", info, err)
	}
	if err := os.Mkdir(d.Path("b.new"), 0o700); err != nil { // in the way of a write
		t.Fatal(err)
	}
	if err := d.Save("b", nil); err == nil {
		t.Error("a write that cannot be done is told")
	}
	if err := errors.Join(d.Remove("a", "b", "c"), d.Unlock()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(string(d)); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}
