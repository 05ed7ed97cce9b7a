// Package statedir is a folder in which one process keeps its state: files that
// are replaced as a whole, and a lock that says who has the folder.
package statedir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Dir is the path of a state folder.
type Dir string

// lockFile is what the lock is on. It is empty.
const lockFile = "lock"

// ErrBusy says that another process has the folder.
var ErrBusy = errors.New("another ringfence-agent works with this state folder")

// Make makes the folder, for its owner only. One that is there stays as it is.
func (d Dir) Make() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("cannot make the state folder: %w", err)
	}
	return nil
}

// Path is where a file of the folder is.
func (d Dir) Path(name string) string { return filepath.Join(string(d), name) }

// Lock takes the folder until the returned function is called or the process
// ends, however it ends. It returns an error that wraps ErrBusy if another one
// has it.
func (d Dir) Lock() (func(), error) {
	f, err := os.OpenFile(d.Path(lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the state folder: %w", err)
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, fmt.Errorf("%s: %w", string(d), ErrBusy)
		}
		return nil, fmt.Errorf("cannot lock %s: %w", f.Name(), err)
	}
	return func() { _ = f.Close() }, nil
}

// Locked reports whether somebody has the folder, and is in nobody's way.
func (d Dir) Locked() (bool, error) {
	f, err := os.OpenFile(d.Path(lockFile), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot look at the lock of the state folder: %w", err)
	}
	defer func() { _ = f.Close() }()
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
		return false, fmt.Errorf("cannot look at the lock of the state folder: %w", err)
	}
	return l.Type != unix.F_UNLCK, nil
}

// Load returns a file's content; nil if there is no such file. One that is
// there and empty is not nil.
func (d Dir) Load(name string) ([]byte, error) {
	data, err := os.ReadFile(d.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the saved state: %w", err)
	}
	if data == nil {
		data = []byte{}
	}
	return data, nil
}

// Save replaces a file, which only the owner may read: after a power cut it has
// the old or the new content.
func (d Dir) Save(name string, data []byte) error {
	f, err := os.OpenFile(d.Path(name+unfinished), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot save the state: %w", err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cannot save the state: %w", err)
	}
	return d.Rename(name+unfinished, name)
}

// unfinished is what the name of a file ends with that is being written.
const unfinished = ".new"

// Rename gives a file another name, durably.
func (d Dir) Rename(from, to string) error {
	if err := os.Rename(d.Path(from), d.Path(to)); err != nil {
		return fmt.Errorf("cannot save the state: %w", err)
	}
	dir, err := os.Open(filepath.Dir(d.Path(to)))
	if err != nil {
		return fmt.Errorf("cannot save the state: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("cannot save the state: %w", err)
	}
	return nil
}

// Remove takes files and folders away that may be absent, and what a write of
// them has left half done.
func (d Dir) Remove(names ...string) error {
	var failed []error
	for _, n := range names {
		for _, path := range []string{d.Path(n), d.Path(n + unfinished)} {
			if err := os.RemoveAll(path); err != nil {
				failed = append(failed, fmt.Errorf("cannot remove: %w", err))
			}
		}
	}
	return errors.Join(failed...)
}

// Unlock takes the lock's file away, as the last one of a folder that is left.
func (d Dir) Unlock() error { return d.Remove(lockFile) }
