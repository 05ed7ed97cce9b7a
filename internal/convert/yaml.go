package convert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// What a document may need. People nest ten levels and repeat a list of ports
// by alias; beyond these limits there is no document but an attack.
const (
	maxYAMLDepth    = 1000
	maxAliasedNodes = 100_000 // values written for all aliases together
	maxAliasedBytes = 4 << 20 // their JSON
	// The parser takes up to 80 bytes of memory for each of the text. JSON, in
	// which large exports come, has no such bound.
	maxYAMLBytes = 16 << 20
)

func yamlDocuments(name string, text []byte) iter.Seq2[document, error] {
	return func(yield func(document, error) bool) {
		if len(text) > maxYAMLBytes {
			yield(document{}, badInput(Place{File: name}, "%d MB of YAML: at most %d; split the file, or write JSON", len(text)>>20, maxYAMLBytes>>20))
			return
		}
		dec := yaml.NewDecoder(bytes.NewReader(text))
		base := &Place{File: name}
		for found := false; ; {
			var root yaml.Node
			err := dec.Decode(&root)
			switch {
			case errors.Is(err, io.EOF) && found:
				return
			case errors.Is(err, io.EOF):
				yield(document{}, badInput(Place{File: name}, "the file holds no document"))
				return
			case err != nil:
				yield(document{}, yamlSyntax(name, err))
				return
			case len(root.Content) == 0 || root.Content[0].Tag == "!!null":
				continue // nothing between two separators
			}
			found = true
			doc, err := yamlDocument(base, root.Content[0])
			if !yield(doc, err) || err != nil {
				return
			}
		}
	}
}

// yamlDocument turns one YAML document into JSON.
func yamlDocument(base *Place, root *yaml.Node) (document, error) {
	w := yamlWriter{file: base.File}
	if err := w.value(root); err != nil {
		return document{}, err
	}
	return document{base: base, json: w.out.Bytes(), root: root, members: memberNames(w.out.Bytes())}, nil
}

func yamlSyntax(file string, err error) error {
	place := Place{File: file}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(text); m != nil {
		place.Line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	return badInput(place, "bad YAML: %s", text)
}

// lineOf returns the line of what a JSON pointer names, or of its nearest
// ancestor that is there.
func lineOf(root *yaml.Node, pointer string) int {
	n, line := root, root.Line
	for token := range jsontext.Pointer(pointer).Tokens() {
		next, at := child(n, token)
		if next == nil {
			break
		}
		n, line = next, at
	}
	return line
}

// child returns the value of a mapping's key or the item at a sequence's
// index, with the line where the key or the item stands; nil if there is none.
func child(n *yaml.Node, token string) (value *yaml.Node, line int) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == token {
				return n.Content[i+1], n.Content[i].Line
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(token); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i].Line
		}
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
	}
	return nil, 0
}

// A yamlWriter writes a YAML document as JSON.
type yamlWriter struct {
	file  string
	out   bytes.Buffer
	depth int
	// aliases is how many aliases the value at hand stands in; aliasStart is
	// where the outermost of them began to write. aliasedNodes and
	// aliasedBytes are what aliases have cost so far.
	aliases, aliasStart        int
	aliasedNodes, aliasedBytes int
}

func (w *yamlWriter) value(n *yaml.Node) error {
	w.depth++
	defer func() { w.depth-- }()
	if w.depth > maxYAMLDepth {
		return w.bad(n, "the document is nested deeper than %d levels", maxYAMLDepth)
	}
	if w.aliases > 0 {
		w.aliasedNodes++
		if w.aliasedNodes > maxAliasedNodes || w.aliasedBytes+w.out.Len()-w.aliasStart > maxAliasedBytes {
			return w.bad(n, "the aliases of the document expand to too much: write it out")
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		return w.alias(n)
	case yaml.MappingNode:
		return w.mapping(n)
	case yaml.SequenceNode:
		return w.sequence(n)
	case yaml.ScalarNode:
		return w.scalar(n)
	case yaml.DocumentNode:
	}
	return w.bad(n, "unexpected YAML node")
}

func (w *yamlWriter) alias(n *yaml.Node) error {
	if w.aliases == 0 {
		w.aliasStart = w.out.Len()
	}
	w.aliases++
	err := w.value(n.Alias)
	w.aliases--
	if w.aliases == 0 {
		w.aliasedBytes += w.out.Len() - w.aliasStart
	}
	return err
}

func (w *yamlWriter) mapping(n *yaml.Node) error {
	seen := make(map[string]bool, len(n.Content)/2)
	w.out.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			return w.bad(key, "a key must be a plain word")
		case key.Tag == "!!merge":
			return w.bad(key, "YAML merge keys are not supported: write the fields out")
		case seen[key.Value]:
			return w.bad(key, "the key %q stands here twice", key.Value)
		}
		seen[key.Value] = true
		if i > 0 {
			w.out.WriteByte(',')
		}
		w.text(key.Value)
		w.out.WriteByte(':')
		if err := w.value(value); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	return nil
}

func (w *yamlWriter) sequence(n *yaml.Node) error {
	w.out.WriteByte('[')
	for i, item := range n.Content {
		if i > 0 {
			w.out.WriteByte(',')
		}
		if err := w.value(item); err != nil {
			return err
		}
	}
	w.out.WriteByte(']')
	return nil
}

// scalar writes numbers, booleans and null as such and all else, dates
// included, as the text that stands there.
func (w *yamlWriter) scalar(n *yaml.Node) error {
	switch n.Tag {
	case "!!null":
		w.out.WriteString("null")
		return nil
	case "!!int", "!!float", "!!bool":
		var v any
		if err := n.Decode(&v); err != nil {
			return w.bad(n, "bad value %q", n.Value)
		}
		text, err := json.Marshal(v)
		if err != nil {
			return w.bad(n, "%q cannot be a number here", n.Value)
		}
		w.out.Write(text)
		return nil
	}
	w.text(n.Value)
	return nil
}

func (w *yamlWriter) text(s string) {
	quoted, err := jsontext.AppendQuote(nil, strings.ToValidUTF8(s, "\ufffd"))
	if err != nil { // cannot happen: the text is valid UTF-8 now
		quoted = []byte(`""`)
	}
	w.out.Write(quoted)
}

func (w *yamlWriter) bad(n *yaml.Node, format string, args ...any) error {
	return badInput(Place{File: w.file, Line: n.Line}, "%s", fmt.Sprintf(format, args...))
}
