package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The files of a state folder.
const (
	// enforcedFile is what the kernel has confirmed; candidateFile what is on
	// its way there, written before the kernel hears of it.
	enforcedFile  = "enforced.json"
	candidateFile = "candidate.json"
	statusFile    = "status.json"
	lockFile      = "lock"
)

// A record is an order as it is enforced.
type record struct {
	// Version is the name of the version in the kernel.
	Version string `json:"version"`
	// Since is when it was confirmed, Why what brought it here.
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
	// Uplinks are those that were judged then.
	Uplinks []string `json:"uplinks"`
	Order   Order    `json:"order"`
}

// A disk is a state folder.
type disk struct{ dir string }

// errBusy says that another agent has the folder.
var errBusy = errors.New("another ringfence-agent works with this state folder")

// make makes the folder.
func (d disk) make() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the state folder: %w", err)
	}
	return nil
}

// lock takes the folder until the returned function is called or the process
// ends, however it ends.
func (d disk) lock() (func(), error) {
	f, err := os.OpenFile(filepath.Join(d.dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the state folder: %w", err)
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, fmt.Errorf("%s: %w", d.dir, errBusy)
		}
		return nil, fmt.Errorf("cannot lock %s: %w", f.Name(), err)
	}
	return func() { _ = f.Close() }, nil
}

// locked reports whether somebody has the folder, and is in nobody's way.
func (d disk) locked() (bool, error) {
	f, err := os.OpenFile(filepath.Join(d.dir, lockFile), os.O_RDWR, 0)
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

// read returns a record; nil if there is none.
func (d disk) read(name string) (*record, error) {
	r := &record{}
	if ok, err := d.load(name, r); !ok || err != nil {
		return nil, err
	}
	return r, nil
}

func (d disk) load(name string, into any) (bool, error) {
	data, err := os.ReadFile(filepath.Join(d.dir, name)) //nolint:gosec // our own folder
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read the saved state: %w", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, fmt.Errorf("%s is damaged: %w", filepath.Join(d.dir, name), err)
	}
	return true, nil
}

// write replaces a file: after a power cut it has the old or the new content.
func (d disk) write(name string, content any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	path := filepath.Join(d.dir, name)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // our own folder
	if err != nil {
		return fmt.Errorf("cannot save the state: %w", err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cannot save the state: %w", err)
	}
	return d.rename(name+".new", name)
}

// rename is durable.
func (d disk) rename(from, to string) error {
	if err := os.Rename(filepath.Join(d.dir, from), filepath.Join(d.dir, to)); err != nil {
		return fmt.Errorf("cannot save the state: %w", err)
	}
	dir, err := os.Open(d.dir)
	if err != nil {
		return fmt.Errorf("cannot save the state: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("cannot save the state: %w", err)
	}
	return nil
}

// promote makes the candidate what is enforced.
func (d disk) promote() error { return d.rename(candidateFile, enforcedFile) }

// remove takes files away that may be absent.
func (d disk) remove(names ...string) error {
	var failed []error
	for _, n := range names {
		if err := os.Remove(filepath.Join(d.dir, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, fmt.Errorf("cannot remove: %w", err))
		}
	}
	return errors.Join(failed...)
}
