package convert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// A document is one JSON value of a file: a JSON text, or a YAML document
// turned into one.
type document struct {
	// base is where the document begins: of a file with lines that is the file,
	// and what stands inside another document, such as an item of a List, has a
	// path. Of an object of the API, in memory, it is the object, and there is no
	// json.
	base *Place
	json jsontext.Value
	// root is what the document was before it became JSON, and knows the
	// lines; nil for JSON files, whose places are pointers.
	root *yaml.Node
	// members are the names of the top-level object's members; nil if the
	// document is no object.
	members map[string]bool
}

// item returns the document that stands at a pointer inside d.
func (d *document) item(pointer string, v jsontext.Value) document {
	base := *d.base
	base.Path += pointer
	return document{base: &base, json: v, root: d.root, members: memberNames(v)}
}

// at returns the place of a JSON pointer within the document. A field that is
// missing stands where what should hold it begins.
func (d *document) at(pointer string) Place { return d.site(pointer).place() }

// site is at in few bytes, which do not hold on to the document.
func (d *document) site(pointer string) site {
	s := site{base: d.base, path: pointer}
	if d.root != nil {
		s.line = lineOf(d.root, d.base.Path+pointer)
	}
	return s
}

// bad returns an input error at a JSON pointer within the document.
func (d *document) bad(pointer, format string, args ...any) error {
	return badInput(d.at(pointer), format, args...)
}

// badBelow returns bad for the members of what stands at a pointer; the empty
// name is that value itself.
func (d *document) badBelow(pointer string) func(name, format string, args ...any) error {
	return func(name, format string, args ...any) error { return d.bad(member(pointer, name), format, args...) }
}

// member appends a member's name to a pointer; the empty name is the value itself.
func member(pointer, name string) string {
	if name == "" {
		return pointer
	}
	return pointer + "/" + name
}

// decode fills out, a pointer to a struct, from the document. Unknown members
// are ignored: clouds add some every year.
func (d *document) decode(out any) error { return d.decodeWith(out) }

// decodeStrict is decode that refuses unknown members: people mistype.
func (d *document) decodeStrict(out any, opts ...json.Options) error {
	return d.decodeWith(out, append(opts, json.RejectUnknownMembers(true))...)
}

func (d *document) decodeWith(out any, opts ...json.Options) error {
	err := json.Unmarshal(d.json, out, opts...)
	if err == nil {
		return nil
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		if len(semantic.JSONValue) == 0 && semantic.ByteOffset <= int64(len(d.json)) {
			// Not every error carries the value that it is about.
			semantic.JSONValue, _ = jsontext.NewDecoder(bytes.NewReader(d.json[semantic.ByteOffset:])).ReadValue()
		}
		return d.bad(string(semantic.JSONPointer), "%s", describe(semantic))
	}
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return d.bad(string(syntactic.JSONPointer), "%w", syntactic.Err)
	}
	return d.bad("", "%w", err)
}

// describe says in words of the input, not of Go, what is wrong with a value.
func describe(e *json.SemanticError) string {
	switch {
	case errors.Is(e.Err, json.ErrUnknownName):
		return "unknown field"
	case e.GoType != nil && e.GoType.Name() == "Time":
		return fmt.Sprintf("found %s, want a time such as 2006-01-02T15:04:05Z", found(e))
	case errors.Is(e.Err, strconv.ErrRange), errors.Is(e.Err, strconv.ErrSyntax), e.Err == nil,
		strings.Contains(e.Err.Error(), "Go"):
	default:
		return e.Err.Error()
	}
	want := "another kind of value"
	if e.GoType != nil {
		want = wanted(e.GoType.Kind().String())
	}
	return fmt.Sprintf("found %s, want %s", found(e), want)
}

// found names the kind of value that is there, and a short one itself.
func found(e *json.SemanticError) string {
	short := len(e.JSONValue) > 0 && len(e.JSONValue) <= 40
	switch kind := e.JSONKind; {
	case kind == '"' && short:
		return "the text " + string(e.JSONValue)
	case kind == '"':
		return "a text"
	case kind == '0' && short:
		return "the number " + string(e.JSONValue)
	case kind == '0':
		return "a number"
	case kind == '{':
		return "an object"
	case kind == '[':
		return "a list"
	case kind == 't' || kind == 'f' || kind == 'n':
		return kind.String()
	}
	return "this value"
}

func wanted(goKind string) string {
	switch {
	case goKind == "string":
		return "a text"
	case goKind == "bool":
		return "true or false"
	case goKind == "slice" || goKind == "array":
		return "a list"
	case goKind == "struct" || goKind == "map" || goKind == "ptr":
		return "an object"
	case strings.HasPrefix(goKind, "uint"):
		return "a number that is not negative and in range"
	case strings.HasPrefix(goKind, "int") || strings.HasPrefix(goKind, "float"):
		return "a number in range"
	}
	return "a " + goKind
}

// documents splits a file into its documents, one or more. An error is the
// last that it yields. JSON may be a sequence of values.
func documents(f File) iter.Seq2[document, error] {
	text := bytes.TrimPrefix(f.Data, []byte("\ufeff"))
	trimmed := bytes.TrimLeft(text, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return func(yield func(document, error) bool) {
			yield(document{}, badInput(Place{File: f.Name}, "the file is empty"))
		}
	case trimmed[0] == '{' || trimmed[0] == '[':
		return jsonDocuments(f.Name, text)
	}
	return yamlDocuments(f.Name, text)
}

func jsonDocuments(name string, text []byte) iter.Seq2[document, error] {
	return func(yield func(document, error) bool) {
		dec := jsontext.NewDecoder(bytes.NewBuffer(text))
		line, counted := 1, 0
		for dec.PeekKind() != 0 {
			before := int(dec.InputOffset())
			members, err := readMembers(dec)
			if err != nil {
				yield(document{}, jsonSyntax(name, text, err))
				return
			}
			value := bytes.TrimLeft(text[before:dec.InputOffset()], " \t\r\n")
			doc := document{base: &Place{File: name}, json: value, members: members}
			end := int(dec.InputOffset())
			start := end - len(value)
			line += bytes.Count(text[counted:start], []byte("\n"))
			if before > 0 {
				doc.base.Line = line // a file's only value has pointers enough
			}
			counted = start
			if !yield(doc, nil) {
				return
			}
		}
		// PeekKind is 0 at the end and where no value can start.
		if rest := bytes.TrimSpace(text[dec.InputOffset():]); len(rest) > 0 {
			_, err := dec.ReadToken()
			yield(document{}, jsonSyntax(name, text, err))
		}
	}
}

func jsonSyntax(name string, text []byte, err error) error {
	place := Place{File: name, Line: 1 + bytes.Count(text, []byte("\n"))}
	syntactic, ok := errors.AsType[*jsontext.SyntacticError](err)
	if ok {
		offset := min(int(syntactic.ByteOffset), len(text))
		place.Line = 1 + bytes.Count(text[:offset], []byte("\n"))
		place.Path = string(syntactic.JSONPointer)
		err = syntactic.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return badInput(place, "the JSON ends too early: is the file cut off?")
	}
	return badInput(place, "bad JSON: %w", err)
}

// memberNames lists the top-level names of a JSON object; nil if v is none.
func memberNames(v jsontext.Value) map[string]bool {
	members, err := readMembers(jsontext.NewDecoder(bytes.NewBuffer(v)))
	if err != nil {
		return nil
	}
	return members
}

// readMembers reads the next value and returns the names in it if it is an
// object.
func readMembers(dec *jsontext.Decoder) (map[string]bool, error) {
	if dec.PeekKind() != '{' {
		return nil, dec.SkipValue()
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		names[token.String()] = true
		if err := dec.SkipValue(); err != nil {
			return nil, err
		}
	}
	_, err := dec.ReadToken()
	return names, err
}
