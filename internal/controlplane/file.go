package controlplane

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// writeFile replaces a file as a whole: after a crash there is the old or the
// new one, never half of it. It leaves a file alone that already says data.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	have, err := os.ReadFile(path) //nolint:gosec // G304: below the data folder
	if err == nil && bytes.Equal(have, data) {
		return os.Chmod(path, mode)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
