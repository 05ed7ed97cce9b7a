package cli

import (
	"encoding/xml"
	"fmt"
	"io"

	"ringfence.dev/ringfence/internal/judge"
	"ringfence.dev/ringfence/rules"
)

// The parts of the JUnit XML format that CI systems read.
type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Output  string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// writeJUnit writes a report as test cases: what the exit code counts fails, the
// rest is told as output of a case that passes. The needs that are met are one
// case.
func writeJUnit(w io.Writer, r *judge.Report, fails func(rules.Severity) bool) error {
	all := junitSuites{Suites: []junitSuite{
		junitOf("missing needs", "missing", r.Missing, fails),
		junitOf("excess", "excess", r.Excess, fails),
		junitOf("findings", "finding", r.Findings, fails),
	}}
	met := junitCase{Class: "ringfence.missing needs", Name: fmt.Sprintf("%d of %d needs are met", r.Needs-r.Unmet, r.Needs)}
	all.Suites[0].Cases = append(all.Suites[0].Cases, met)
	all.Suites[0].Tests++
	text, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write XML: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, text)
	return err
}

func junitOf(name, kind string, list []judge.Item, fails func(rules.Severity) bool) junitSuite {
	s := junitSuite{Name: "ringfence " + name, Tests: len(list)}
	for i := range list {
		it := &list[i]
		c := junitCase{Class: "ringfence." + name, Name: fmt.Sprintf("%s %s %s %s%s (%s)", it.ID, it.Direction, flowText(it), preposition(it), it.Peer, it.Group)}
		if fails(it.Severity) {
			s.Failures++
			c.Failure = &junitFailure{Message: it.Why, Type: it.ID, Text: itemText(kind, it)}
		} else {
			c.Output = it.Severity.String() + ": " + itemText(kind, it)
		}
		s.Cases = append(s.Cases, c)
	}
	return s
}
