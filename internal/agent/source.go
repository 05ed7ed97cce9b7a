package agent

import (
	"fmt"
	"strings"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/files"
	"ringfence.dev/ringfence/profiles"
)

// A source is a folder of manifests, read for one host.
type source struct {
	dir, host string
	// named are uplinks beside those that are found.
	named  []string
	tables *profiles.Tables
}

// read reads the folder and the machine's interfaces.
func (s *source) read() (*intent, error) {
	list, err := files.Read(s.dir)
	if err != nil {
		return nil, inputError{err}
	}
	inv, err := convert.Parse(list)
	if err != nil {
		return nil, inputError{err}
	}
	in, err := decide(inv, s.tables, s.host)
	if err != nil {
		return nil, err
	}
	in.why = "manifests in " + s.dir
	return in, s.findUplinks(in)
}

// findUplinks fills in the uplinks.
func (s *source) findUplinks(in *intent) error {
	links, err := gatherLinks()
	if err != nil {
		return err
	}
	in.uplinks, err = uplinks(links, in.order.Addresses, s.named)
	return err
}

// look returns a text that is another one once a file is.
func (s *source) look() string {
	list, err := files.In(s.dir)
	if err != nil {
		return err.Error()
	}
	var w strings.Builder
	for _, f := range list {
		fmt.Fprintf(&w, "%s %d %d\n", f.Path, f.Info.Size(), f.Info.ModTime().UnixNano())
	}
	return w.String()
}
