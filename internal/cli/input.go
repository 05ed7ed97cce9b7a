package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/internal/convert"
	"ringfence.dev/ringfence/internal/files"
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
	list, err := readFiles(i.paths, i.in)
	if err != nil {
		return nil, err
	}
	if i.live.asked() {
		objects, err := i.live.files(c.Context())
		if err != nil {
			return nil, err
		}
		list = append(list, objects...)
	}
	return convert.Parse(list)
}

func readFiles(paths []string, in io.Reader) ([]convert.File, error) {
	var list []convert.File
	for _, p := range paths {
		var more []convert.File
		var err error
		if p == "-" {
			more, err = readStream(in)
		} else {
			more, err = files.Read(p)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

func readStream(in io.Reader) ([]convert.File, error) {
	data, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("cannot read standard input: %w", err)
	}
	return []convert.File{{Name: "standard input", Data: data}}, nil
}
