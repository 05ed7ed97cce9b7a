package cli

import (
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"

	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/rules"
)

// The parts of SARIF 2.1.0 (OASIS standard, schema sarif-schema-2.1.0.json)
// that a report needs.
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool    sarifTool     `json:"tool"`
	Results []sarifResult `json:"results"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID               string    `json:"id"`
	ShortDescription sarifText `json:"shortDescription"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID    string          `json:"ruleId"`
	RuleIndex int             `json:"ruleIndex"`
	Level     string          `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

type sarifLocation struct {
	Physical sarifPhysical  `json:"physicalLocation"`
	Logical  []sarifLogical `json:"logicalLocations,omitempty"`
}

type sarifPhysical struct {
	Artifact sarifArtifact `json:"artifactLocation"`
	Region   *sarifRegion  `json:"region"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
}

type sarifRegion struct {
	StartLine int `json:"startLine"`
}

type sarifLogical struct {
	FullyQualifiedName string `json:"fullyQualifiedName"`
}

// sarifKind is what SARIF calls a rule: missing needs by row, excess as one
// kind, findings by their own.
func sarifKind(kind string, it *judge.Item) (id, description string) {
	switch kind {
	case "missing":
		return "missing/" + it.ID, "a flow that the cluster needs is not let through: " + it.Source
	case "excess":
		return "excess", "a rule lets through more than the cluster needs"
	}
	return it.ID, "finding " + it.ID
}

func writeSARIF(w io.Writer, r *judge.Report) error {
	run := sarifRun{
		Tool:    sarifTool{sarifDriver{Name: "ringfence", InformationURI: "https://ringfence.dev", Rules: []sarifRule{}}},
		Results: []sarifResult{},
	}
	for _, part := range []struct {
		kind string
		list []judge.Item
	}{{"missing", r.Missing}, {"excess", r.Excess}, {"finding", r.Findings}} {
		for i := range part.list {
			run.add(part.kind, &part.list[i])
		}
	}
	return writeJSON(w, sarifLog{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0",
		Runs:    []sarifRun{run},
	})
}

func (run *sarifRun) add(kind string, it *judge.Item) {
	id, description := sarifKind(kind, it)
	rulesList := &run.Tool.Driver.Rules
	index := slices.IndexFunc(*rulesList, func(r sarifRule) bool { return r.ID == id })
	if index < 0 {
		index = len(*rulesList)
		*rulesList = append(*rulesList, sarifRule{id, sarifText{description}})
	}
	// Viewers want a line; where only a JSON pointer is known it is the first,
	// and the pointer is the logical location.
	location := sarifLocation{Physical: sarifPhysical{
		Artifact: sarifArtifact{URI: fileURI(it.Place.File)},
		Region:   &sarifRegion{max(it.Place.Line, 1)},
	}}
	if it.Place.Path != "" {
		location.Logical = []sarifLogical{{it.Place.Path}}
	}
	run.Results = append(run.Results, sarifResult{
		RuleID: id, RuleIndex: index, Level: sarifLevel(it.Severity),
		Message: sarifText{itemText(kind, it)}, Locations: []sarifLocation{location},
	})
}

// fileURI returns a path as a relative or absolute URI reference.
func fileURI(path string) string { return (&url.URL{Path: filepath.ToSlash(path)}).String() }

func sarifLevel(s rules.Severity) string {
	return [...]string{"note", "note", "warning", "error"}[s]
}

// itemText is an item as a paragraph.
func itemText(kind string, it *judge.Item) string {
	text := it.Why
	if it.Protocol != "" {
		text = fmt.Sprintf("%s: %s %s %s%s (group %s): %s", kind, it.Direction, flowText(it), preposition(it), it.Peer, it.Group, it.Why)
	}
	if it.Component != "" {
		text += ". Breaks: " + it.Component
	}
	if it.Example != nil {
		text += ". Packet: " + packetText(it.Example)
	}
	for _, fix := range fixesOf(it) {
		text += "\nFix: " + fix
	}
	return text
}
