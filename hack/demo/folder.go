package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// folders is what the folders of demos are called.
const folders = "ringfence-demo-"

// takeFolder makes a folder for everything that this demo writes, and takes away
// those of demos that were killed. The function that it returns takes this one
// away.
func takeFolder() (dir string, done func() error, err error) {
	old, err := filepath.Glob(filepath.Join(os.TempDir(), folders+"*"))
	if err != nil {
		return "", nil, err
	}
	for _, dir := range old {
		// Whoever lives holds its lock; what is another user's stays.
		if f, err := lock(dir, unix.LOCK_NB); err == nil {
			_ = os.RemoveAll(dir)
			_ = f.Close()
		}
	}
	for {
		if dir, err = os.MkdirTemp("", folders); err != nil {
			return "", nil, err
		}
		f, err := lock(dir, 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", nil, errors.Join(err, os.RemoveAll(dir))
		}
		if _, gone := os.Stat(dir); err == nil && gone == nil {
			return dir, func() error { return errors.Join(os.RemoveAll(dir), f.Close()) }, nil
		}
		_ = f.Close() // another demo that starts just now took it for a dead one's
	}
}

// lock takes a folder for one process, as long as it lives.
func lock(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir) //nolint:gosec // G304: ours
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
