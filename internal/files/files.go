// Package files reads what people name on a command line: files, and folders
// of files. What they say is for package convert.
package files

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ringfence.dev/ringfence/internal/convert"
)

// Read reads a file, or every file of a folder: not those of folders below,
// pipes and the like, hidden ones, or Markdown, which explains exports and is
// none. A folder without any is an error.
func Read(path string) ([]convert.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read: %w", err)
	}
	if !info.IsDir() {
		return one(nil, path)
	}
	found, err := In(path)
	if err != nil {
		return nil, err
	}
	var out []convert.File
	for _, f := range found {
		if out, err = one(out, f.Path); err != nil {
			return nil, err
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: the directory holds no files to read", path)
	}
	return out, nil
}

func one(list []convert.File, path string) ([]convert.File, error) {
	data, err := os.ReadFile(path) //nolint:gosec // reading what the user names is the job
	if err != nil {
		return nil, fmt.Errorf("cannot read: %w", err)
	}
	return append(list, convert.File{Name: path, Data: data}), nil
}

// A Found is a file that Read would read.
type Found struct {
	Path string
	// Info is that of what a link points to.
	Info os.FileInfo
}

// In lists the files of a folder that [Read] reads, by name.
func In(dir string) ([]Found, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read: %w", err)
	}
	var out []Found
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path) // what a link points to counts
		if err != nil {
			return nil, fmt.Errorf("cannot read: %w", err)
		}
		if info.Mode().IsRegular() && !strings.HasPrefix(e.Name(), ".") && !strings.EqualFold(filepath.Ext(e.Name()), ".md") {
			out = append(out, Found{path, info})
		}
	}
	return out, nil
}
