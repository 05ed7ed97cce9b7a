package profiles

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed tables/*.yaml
var tables embed.FS

// Load reads the tables that come with this package. Errors mean that the
// data was edited wrongly; they name file, line and row.
func Load() (*Tables, error) { return load(tables) }

func load(fsys fs.FS) (*Tables, error) {
	var t Tables
	var p problems
	for _, file := range []string{"tables/ack.yaml", "tables/extra.yaml"} {
		rows, err := loadRows(fsys, file)
		p.add(err)
		t.rows = append(t.rows, rows...)
	}
	p.add(linkRows(t.rows))
	var err error
	t.keep, err = loadKeep(fsys, "tables/keep.yaml", t.rows)
	p.add(err)
	t.networks, err = loadNetworks(fsys, "tables/modes.yaml")
	p.add(err)
	t.exempt, err = loadExempt(fsys, "tables/exempt.yaml")
	p.add(err)
	if err := p.join(); err != nil {
		return nil, err
	}
	return &t, nil
}

// loadRows reads one table. Rows that are wrong are left out, their errors joined.
func loadRows(fsys fs.FS, file string) ([]Row, error) {
	var table struct {
		Page string      `yaml:"page"`
		Rows []yaml.Node `yaml:"rows"`
	}
	if err := readYAML(fsys, file, &table); err != nil {
		return nil, err
	}
	var rows []Row
	var p problems
	for i := range table.Rows {
		n := &table.Rows[i]
		row, err := parseRow(n, table.Page)
		row.File, row.Line = file, n.Line
		if err != nil {
			p.addf("%s:%d: row %s: %w", file, n.Line, nameOf(n, "id"), err)
			continue
		}
		rows = append(rows, row)
	}
	return rows, p.join()
}

// linkRows checks what concerns several rows and fills in shared peer cells.
func linkRows(rows []Row) error {
	var p problems
	byID := map[string]*Row{}
	for i := range rows {
		r := &rows[i]
		if first := byID[r.ID]; first != nil {
			p.addf("%s:%d: row %s: id is taken by the row at %s:%d", r.File, r.Line, r.ID, first.File, first.Line)
			continue
		}
		byID[r.ID] = r
	}
	for i := range rows {
		r := &rows[i]
		if r.PeersOf == "" {
			continue
		}
		of := byID[r.PeersOf]
		if of == nil || of.PeersOf != "" {
			p.addf("%s:%d: row %s: peersOf %s: want a row that has peers of its own", r.File, r.Line, r.ID, r.PeersOf)
			continue
		}
		if of.exposes() || of.Direction != r.Direction {
			p.addf("%s:%d: row %s: peersOf %s: want a row of the same direction that is not about exposures", r.File, r.Line, r.ID, r.PeersOf)
			continue
		}
		r.Peers = of.Peers
	}
	return p.join()
}

// readYAML decodes the one document of a file, strictly.
func readYAML(fsys fs.FS, file string, into any) error {
	data, err := fs.ReadFile(fsys, file)
	if err != nil {
		return fmt.Errorf("cannot read table: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s:%d: want one document", file, more.Line)
	}
	if err := decodeStrict(doc.Content[0], into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// decodeStrict decodes a mapping into the struct that into points to, and
// refuses keys that the struct does not have. Nested lists are kept as nodes,
// so that their elements are decoded strictly in turn.
func decodeStrict(n *yaml.Node, into any) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: want a mapping", n.Line)
	}
	known := yamlKeys(reflect.TypeOf(into).Elem())
	for i := 0; i < len(n.Content); i += 2 {
		if k := n.Content[i]; !slices.Contains(known, k.Value) {
			return fmt.Errorf("line %d: unknown key %q: want one of %s", k.Line, k.Value, strings.Join(known, ", "))
		}
	}
	return n.Decode(into)
}

func yamlKeys(t reflect.Type) []string {
	var keys []string
	for f := range t.Fields() {
		keys = append(keys, f.Tag.Get("yaml"))
	}
	return keys
}

// nameOf returns the value of a mapping's key for messages, also when the rest
// of the mapping is wrong.
func nameOf(n *yaml.Node, key string) string {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1].Value
		}
	}
	return "without " + key
}
