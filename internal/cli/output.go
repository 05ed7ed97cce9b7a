package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/rules"
)

// An output is the -o and --color flags of a command.
type output struct {
	format string
	color  string
	// formats are the legal values of -o; the first is the default.
	formats []string
}

func newOutput(formats ...string) output { return output{formats: formats} }

func (o *output) register(c *cobra.Command) {
	c.Flags().StringVarP(&o.format, "output", "o", o.formats[0], "output format: "+strings.Join(o.formats, ", "))
	c.Flags().StringVar(&o.color, "color", "auto", "colour the table: auto (on a terminal), always or never")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(o.formats, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
}

// checkFormat reports a value of a flag that is not among the legal ones.
func (o *output) checkFormat(c *cobra.Command) error {
	if !slices.Contains([]string{"auto", "always", "never"}, o.color) {
		return usageError(c, "--color %s: want auto, always or never", o.color)
	}
	if slices.Contains(o.formats, o.format) {
		return nil
	}
	return usageError(c, "-o %s: want %s", o.format, strings.Join(o.formats, ", "))
}

// structured writes v as JSON or YAML and reports whether the format is one of these.
func (o *output) structured(w io.Writer, v any) (done bool, err error) {
	switch o.format {
	case "json":
		return true, writeJSON(w, v)
	case "yaml":
		return true, writeYAML(w, v)
	}
	return false, nil
}

func writeJSON(w io.Writer, v any) error {
	text, err := json.Marshal(v, jsontext.WithIndent("  "))
	if err != nil {
		return fmt.Errorf("cannot write JSON: %w", err)
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// writeYAML writes what writeJSON would, in YAML: one set of names for both.
func writeYAML(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot write YAML: %w", err)
	}
	var n yaml.Node
	if err := yaml.Unmarshal(text, &n); err != nil {
		return fmt.Errorf("cannot write YAML: %w", err)
	}
	blockStyle(&n)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&n); err != nil {
		return fmt.Errorf("cannot write YAML: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// blockStyle undoes the braces and quotes of JSON where YAML needs none.
func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// A printer writes for people. The first error of its writer sticks: whoever
// made the printer returns it in the end.
type printer struct {
	w      io.Writer
	colour bool
	err    error
	// fixes are the edits that were written already.
	fixes map[rules.Edit]bool
}

func (o *output) printer(w io.Writer) *printer {
	p := &printer{w: w, fixes: map[rules.Edit]bool{}}
	switch o.color {
	case "always":
		p.colour = true
	case "auto":
		p.colour = isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return p
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// The styles, as parameters of the terminal's SGR sequence.
const (
	styleBold   = "1"
	styleDim    = "2"
	styleRed    = "31;1"
	styleGreen  = "32;1"
	styleYellow = "33"
	styleCyan   = "36"
)

func (p *printer) paint(style, text string) string {
	if !p.colour || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// lineWidth is what a table takes at most, as far as its words can be broken.
const lineWidth = 100

// wrap breaks text into lines of at most width characters, at spaces.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// labelled writes "label  text", the text wrapped beside its label.
func labelled(p *printer, label, text string) {
	const indent, labelWidth = 4, 8
	pad := strings.Repeat(" ", indent+labelWidth+1)
	for i, line := range wrap(text, lineWidth-len(pad)) {
		if i == 0 {
			p.printf("%s%s %s\n", strings.Repeat(" ", indent), p.paint(styleDim, fmt.Sprintf("%-*s", labelWidth, label)), line)
			continue
		}
		p.printf("%s%s\n", pad, line)
	}
}

// command writes a shell command, or another fix, so that it can be copied:
// long commands continue after a backslash, blocks keep their lines.
func command(p *printer, label, text string) {
	const pad = "             "
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) == 1 && strings.HasPrefix(text, "aliyun ") {
		lines = breakCommand(text, lineWidth-len(pad)-2)
	} else if len(lines) == 1 {
		lines = wrap(text, lineWidth-len(pad))
	}
	for i, line := range lines {
		if i == 0 {
			p.printf("    %s %s\n", p.paint(styleDim, fmt.Sprintf("%-8s", label)), p.paint(styleCyan, line))
			continue
		}
		p.printf("%s%s\n", pad, p.paint(styleCyan, line))
	}
}

// breakCommand breaks a command before its flags.
func breakCommand(text string, width int) []string {
	var lines []string
	line := ""
	for i, part := range strings.Split(text, " --") {
		if i > 0 {
			part = "--" + part
		}
		switch {
		case line == "":
			line = part
		case len(line)+1+len(part) <= width:
			line += " " + part
		default:
			lines = append(lines, line+" \\")
			line = "  " + part
		}
	}
	return append(lines, line)
}

// table writes rows of cells in aligned columns under a header.
func table(p *printer, header []string, rows [][]string) {
	widths := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	line := func(row []string) string {
		var b strings.Builder
		for i, cell := range row {
			if i == len(row)-1 {
				b.WriteString(cell)
				break
			}
			fmt.Fprintf(&b, "%s%s  ", cell, strings.Repeat(" ", widths[i]-len([]rune(cell))))
		}
		return strings.TrimRight(b.String(), " ")
	}
	p.printf("%s\n", p.paint(styleBold, line(header)))
	for _, row := range rows {
		p.printf("%s\n", line(row))
	}
}
