package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/internal/convert"
)

// An input is what a command reads: files, or the objects of an API server.
type input struct {
	paths []string
	in    io.Reader
	live  live
}

func (i *input) register(c *cobra.Command) {
	c.Flags().StringArrayVarP(&i.paths, "file", "f", nil, "file or directory to read, - for standard input; may be repeated (a directory means every file in it)")
	_ = c.MarkFlagFilename("file", "json", "yaml", "yml")
	i.live.register(c)
}

// given reports whether there is anything to read.
func (i *input) given() bool { return len(i.paths) > 0 || i.live.asked() }

// readFiles reads the files, or the objects of the API server, and converts them.
func (i *input) readFiles(c *cobra.Command) (*convert.Inventory, error) {
	if !i.given() {
		return nil, usageError(c, "nothing to read: name files or directories with -f, or an API server with --kubeconfig")
	}
	files, err := readFiles(i.paths, i.in)
	if err != nil {
		return nil, err
	}
	if i.live.asked() {
		objects, err := i.live.files(c.Context())
		if err != nil {
			return nil, err
		}
		files = append(files, objects...)
	}
	return convert.Parse(files)
}

func readFiles(paths []string, in io.Reader) ([]convert.File, error) {
	var files []convert.File
	for _, p := range paths {
		var more []convert.File
		var err error
		if p == "-" {
			more, err = readStream(in)
		} else {
			more, err = readPath(p)
		}
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	return files, nil
}

func readStream(in io.Reader) ([]convert.File, error) {
	data, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("cannot read standard input: %w", err)
	}
	return []convert.File{{Name: "standard input", Data: data}}, nil
}

func readPath(path string) ([]convert.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read: %w", err)
	}
	if info.IsDir() {
		return readDir(path)
	}
	data, err := os.ReadFile(path) //nolint:gosec // reading what the user names is the job
	if err != nil {
		return nil, fmt.Errorf("cannot read: %w", err)
	}
	return []convert.File{{Name: path, Data: data}}, nil
}

// readDir reads every file of a directory, but not those of directories below,
// pipes and the like, hidden ones, or Markdown, which explains exports and is none.
func readDir(dir string) ([]convert.File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read: %w", err)
	}
	var files []convert.File
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path) // what a link points to counts
		if err != nil {
			return nil, fmt.Errorf("cannot read: %w", err)
		}
		if !info.Mode().IsRegular() || strings.HasPrefix(e.Name(), ".") || strings.EqualFold(filepath.Ext(e.Name()), ".md") {
			continue
		}
		more, err := readPath(path)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: the directory holds no files to read", dir)
	}
	return files, nil
}
