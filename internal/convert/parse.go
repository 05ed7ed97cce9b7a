// Package convert is the only door between the forms that people and clouds
// write (API objects, exports of Alibaba Cloud's API, Terraform's JSON) and the
// pure types of package rules.
//
// Conversion is all or nothing: one mistake anywhere is an [InputError] with its
// place, and no inventory. Nothing here looks anything up.
package convert

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// A File is one input: a name for messages and its content.
type File struct {
	Name string
	Data []byte
}

// Parse reads files of any supported form, told apart by their content, and
// cross-checks what they say together. The order of the files does not matter:
// they are read by name, numbers within names by their value, so that page-10
// comes after page-9.
//
// Errors are *InputError; several are joined, up to a score of them.
func Parse(files []File) (*Inventory, error) {
	ordered := slices.SortedStableFunc(slices.Values(files), func(a, b File) int {
		return cmp.Or(compareNatural(a.Name, b.Name), bytes.Compare(a.Data, b.Data))
	})
	var b builder
	var mistakes []error
	for _, f := range ordered {
		if err := b.file(f); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	if len(mistakes) > 0 {
		return nil, limited(join(mistakes))
	}
	inventory, err := b.finish()
	return inventory, limited(err)
}

// compareNatural orders names as people do: runs of digits by their value.
// Names that differ only in leading zeros are ordered by their text.
func compareNatural(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		m, n := digits(x), digits(y)
		if m > 0 && n > 0 {
			v, w := strings.TrimLeft(x[:m], "0"), strings.TrimLeft(y[:n], "0")
			if c := cmp.Or(cmp.Compare(len(v), len(w)), strings.Compare(v, w)); c != 0 {
				return c
			}
			x, y = x[m:], y[n:]
			continue
		}
		if x[0] != y[0] {
			return cmp.Compare(x[0], y[0])
		}
		x, y = x[1:], y[1:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(a, b))
}

// digits returns the length of the run of digits that s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}
