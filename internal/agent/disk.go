package agent

import (
	"encoding/json"
	"fmt"
	"time"

	"ringfence.dev/ringfence/internal/statedir"
	"ringfence.dev/ringfence/profiles"
)

// The files of a state folder.
const (
	// enforcedFile is what the kernel has confirmed; candidateFile what is on
	// its way there, written before the kernel hears of it.
	enforcedFile  = "enforced.json"
	candidateFile = "candidate.json"
	statusFile    = "status.json"
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

// lay lays out what a record has, for who only looks at it.
func (r *record) lay() (*layout, error) {
	tables, err := profiles.Load()
	if err != nil {
		return nil, err
	}
	return lay(&r.Order, tables.Exempt())
}

// A disk is a state folder with records in it.
type disk struct{ statedir.Dir }

// read returns a record; nil if there is none.
func (d disk) read(name string) (*record, error) {
	r := &record{}
	if ok, err := d.load(name, r); !ok || err != nil {
		return nil, err
	}
	return r, nil
}

func (d disk) load(name string, into any) (bool, error) {
	data, err := d.Load(name)
	if data == nil || err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, fmt.Errorf("%s is damaged: %w", d.Path(name), err)
	}
	return true, nil
}

func (d disk) write(name string, content any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	return d.Save(name, data)
}

// promote makes the candidate what is enforced.
func (d disk) promote() error { return d.Rename(candidateFile, enforcedFile) }
