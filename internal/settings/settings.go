// Package settings lets a program that runs for long be told the same things by
// flag, by environment and by file, under the same names. What is nearer to the
// person wins: the flag, then the environment, then the file, then the default.
package settings

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// prefix begins the names of the environment.
const prefix = "RINGFENCE_"

// Variable is the name in the environment of what a flag says: data-dir is
// RINGFENCE_DATA_DIR.
func Variable(flag string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Environment sets each flag that was not given and whose variable lookup
// knows. Lists are written with commas. Other variables are not looked at:
// Kubernetes makes some with our prefix for every Service of that name.
func Environment(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		value, ok := lookup(Variable(f.Name))
		if !ok || f.Changed {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("cannot use %s: %w", Variable(f.Name), err))
		}
	})
	return errors.Join(errs...)
}

// File sets each flag that neither a flag nor the environment has set, from a
// YAML map of flag names to a value or a list of values. It tells all that is
// wrong at once.
func File(flags *pflag.FlagSet, text []byte) error {
	var file map[string]values
	if err := yaml.Unmarshal(text, &file); err != nil {
		return fmt.Errorf("cannot read the settings: %w", err)
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(file)) {
		f := flags.Lookup(name)
		switch {
		case f == nil:
			errs = append(errs, fmt.Errorf("%s is no setting; there are %s", name, strings.Join(names(flags), ", ")))
		case !f.Changed:
			errs = append(errs, set(flags, f, file[name]))
		}
	}
	return errors.Join(errs...)
}

func set(flags *pflag.FlagSet, f *pflag.Flag, to values) error {
	list, isList := f.Value.(pflag.SliceValue)
	if !isList && len(to) != 1 {
		return fmt.Errorf("%s takes one value, not %d", f.Name, len(to))
	}
	if !isList {
		return flags.Set(f.Name, to[0])
	}
	f.Changed = true
	return list.Replace(to)
}

func names(flags *pflag.FlagSet) []string {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// values reads one value as a list of one.
type values []string

// UnmarshalYAML implements yaml.Unmarshaler.
func (v *values) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*v = values{node.Value}
		return nil
	}
	return node.Decode((*[]string)(v))
}
