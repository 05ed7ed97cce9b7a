package convert

import (
	"fmt"
	"strconv"
	"strings"
)

// A Place is where something stands in the input: a file with a line (YAML)
// or a JSON pointer (JSON).
type Place struct {
	File string
	Line int    // from 1; 0 if unknown
	Path string // JSON pointer such as /Permissions/Permission/3; may be empty
}

// String returns FILE:LINE: PATH, leaving out what is unknown.
func (p Place) String() string {
	s := p.File
	if p.Line > 0 {
		s += ":" + strconv.Itoa(p.Line)
	}
	if p.Path != "" {
		s += ": " + shortened(p.Path)
	}
	return s
}

// shortened returns a text of a few lines at most: the pointer into a document
// of ten thousand levels helps nobody.
func shortened(s string) string {
	const end = 150
	if len(s) <= 2*end {
		return s
	}
	return strings.ToValidUTF8(s[:end], "") + "…" + strings.ToValidUTF8(s[len(s)-end:], "")
}

// An InputError is a mistake in a file, with its place.
type InputError struct {
	Place Place
	Err   error
}

// Error returns "PLACE: what is wrong".
func (e *InputError) Error() string { return e.Place.String() + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Err }

func badInput(at Place, format string, args ...any) error {
	return &InputError{Place: at, Err: fmt.Errorf(format, args...)}
}
