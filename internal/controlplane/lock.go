package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lock keeps a second server off the data folder. Without it the second one
// waits for etcd's file without a word. The kernel lets go when the process
// ends, however it ends.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // G304: below the data folder
	if err != nil {
		return nil, fmt.Errorf("cannot lock the data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot lock the data folder %s: another server runs on it", dir)
	}
	return f, nil
}
