// Package cli is the ringfence command line: one file a command. Commands read
// files, ask the rooms that decide, and print; they decide nothing themselves.
package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// Streams are where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// The exit codes of every command.
const (
	exitOK       = 0 // the answer is good
	exitFindings = 1 // the answer is bad: something is missing or wrong
	exitInput    = 2 // there is no answer: bad input or usage
)

// errFindings says that a command did its work and the answer is bad. It has
// been printed already.
var errFindings = errors.New("findings")

// Main runs one command line, args[0] being the program's name, and returns
// its exit code.
func Main(args []string, s Streams) int {
	root := newRoot(args[0], s)
	root.SetArgs(args[1:])
	err := root.Execute()
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFindings):
		return exitFindings
	}
	p := &printer{w: s.Err}
	p.printf("%s: %s\n", root.Name(), indentLines(err.Error()))
	return exitInput // an error writing this has nowhere to go
}

// indentLines sets the lines after the first in from the margin: joined errors
// have one line each.
func indentLines(s string) string { return strings.ReplaceAll(s, "\n", "\n  ") }

const longHelp = `Ringfence knows which flows a Kubernetes cluster cannot do without, and proves
whether its security groups let exactly those through.

It reads, told apart by their content: ringfence.dev/v1alpha1 objects (YAML or
JSON); what the aliyun CLI prints for DescribeSecurityGroups,
DescribeSecurityGroupAttribute, DescribePrefixListAttributes,
DescribeNetworkInterfaces, DescribeInstances, DescribeVpcs, DescribeVSwitches,
CS DescribeClusterDetail and DescribeClusterNodePools; terraform show -json.

Exit codes: 0 all is well, 1 something is missing or wrong, 2 the question could
not be answered (bad input: the message says where and what was expected).`

func newRoot(program string, s Streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "ringfence",
		Short:         "Security groups for Kubernetes clusters: what is missing, what is too open, and how to fix it",
		Long:          longHelp,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		// kubectl runs plugins under their own name; help shows what was typed.
		Annotations: map[string]string{},
	}
	if strings.HasPrefix(filepath.Base(program), "kubectl-") {
		root.Annotations[cobra.CommandDisplayNameAnnotation] = "kubectl ringfence"
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.AddCommand(
		newCheck(s), newRules(s), newExplain(s), newDiff(s), newClusters(s), newRollout(s), newObserve(s), newNeeds(s), newToken(s), newVersion(s),
	)
	return root
}

// usageError is a mistake on the command line, with a hint where help is.
func usageError(c *cobra.Command, format string, args ...any) error {
	return fmt.Errorf("%w\nsee '%s --help'", fmt.Errorf(format, args...), c.CommandPath())
}
