package convert

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// A Place is where something stands in the input: a file with a line (YAML)
// or a JSON pointer (JSON), or a JSON pointer within an object of the API.
type Place struct {
	File string
	// Object is what the API holds; zero for files.
	Object Object
	Line   int    // from 1; 0 if unknown
	Path   string // JSON pointer such as /Permissions/Permission/3; may be empty
}

// An Object is the identity of an object of the API within its namespace.
type Object struct{ Kind, Name string }

// String returns the words for messages, such as "SecurityGroup web".
func (o Object) String() string { return o.Kind + " " + o.Name }

// String returns FILE:LINE: PATH or KIND NAME: PATH, leaving out what is unknown.
// It is empty for a whole object without any of them.
func (p Place) String() string {
	s := p.File
	if p.Object != (Object{}) {
		s = p.Object.String()
	}
	if p.Line > 0 {
		s += ":" + strconv.Itoa(p.Line)
	}
	switch {
	case p.Path == "":
		return s
	case s == "":
		return shortened(p.Path)
	}
	return s + ": " + shortened(p.Path)
}

// A site is a Place in few bytes. A file may hold tens of thousands of hosts,
// with places that nobody asks for unless there is a mistake.
type site struct {
	// base is where the document begins, shared by its sites.
	base *Place
	path string // within the document
	line int    // 0: that of base
}

func (s site) place() Place {
	p := *s.base
	p.Path += s.path
	p.Line = cmp.Or(s.line, p.Line)
	return p
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

// An InputError is a mistake in a file or an object, with its place.
type InputError struct {
	Place Place
	Err   error
	// Reason is what the condition Accepted of the object says, one of
	// v1alpha1's reasons. Empty for a mistake that the object alone shows.
	Reason string
}

// Error returns "PLACE: what is wrong".
func (e *InputError) Error() string { return e.Place.String() + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Err }

// mistake is badInput for what only several objects together show.
func mistake(reason string, at Place, format string, args ...any) error {
	return &InputError{Place: at, Err: fmt.Errorf(format, args...), Reason: reason}
}

func badInput(at Place, format string, args ...any) error {
	return &InputError{Place: at, Err: fmt.Errorf(format, args...)}
}
