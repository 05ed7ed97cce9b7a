package convert

import (
	"fmt"
	"iter"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// A Foreign is an object of Kubernetes that is not ours: a document with its
// kind, of which others read the fields that they know.
type Foreign struct {
	APIVersion, Kind string

	d document
}

// NewForeign returns an object that an API server has told of, by its JSON text,
// which is not looked at before Decode. What an item of a list leaves out is in
// apiVersion and kind. Its places are JSON pointers within the object.
func NewForeign(apiVersion, kind string, text []byte) *Foreign {
	return &Foreign{APIVersion: apiVersion, Kind: kind, d: document{base: &Place{}, json: text}}
}

// Decode fills out, a pointer to a struct. Unknown fields are ignored. An error
// is an [*InputError] at the field that is of another kind than expected.
func (f *Foreign) Decode(out any) error { return f.d.decode(out) }

// At returns the place of a JSON pointer within the object, or of what should
// hold it.
func (f *Foreign) At(pointer string) Place { return f.d.at(pointer) }

// Foreigners reads the objects of a file, those of lists one by one. What is no
// object of Kubernetes, or cannot be read at all, is an [*InputError], the last
// thing that it yields.
func Foreigners(file File) iter.Seq2[*Foreign, error] {
	return func(yield func(*Foreign, error) bool) {
		for d, err := range documents(file) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !d.foreigners(foreignHead{}, yield) {
				return
			}
		}
	}
}

// foreignHead is what tells what an object is.
type foreignHead struct {
	APIVersion string           `json:"apiVersion"`
	Kind       string           `json:"kind"`
	Items      []jsontext.Value `json:"items"`
}

// foreigners yields the object, or those of the list. Items of a list of one
// kind may leave out what outer says.
func (d *document) foreigners(outer foreignHead, yield func(*Foreign, error) bool) bool {
	var head foreignHead
	if err := d.decode(&head); err != nil {
		yield(nil, err)
		return false
	}
	if head.APIVersion == "" && head.Kind == "" {
		head.APIVersion, head.Kind = outer.APIVersion, outer.Kind
	}
	switch {
	case head.APIVersion == "" || head.Kind == "":
		yield(nil, d.bad("", "no object of Kubernetes: want apiVersion and kind"))
		return false
	case !strings.HasSuffix(head.Kind, "List") || !d.members["items"]:
		return yield(&Foreign{APIVersion: head.APIVersion, Kind: head.Kind, d: *d}, nil)
	case d.base.Path != "":
		yield(nil, d.bad("/kind", "a list within a list: write its items out"))
		return false
	}
	head.Kind = strings.TrimSuffix(head.Kind, "List")
	if head.Kind == "" { // kind List: each item says what it is
		head.APIVersion = ""
	}
	for i, v := range head.Items {
		item := d.item(fmt.Sprintf("/items/%d", i), v)
		if !item.foreigners(head, yield) {
			return false
		}
	}
	return true
}
