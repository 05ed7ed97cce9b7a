// Command ringfence judges the security groups of Kubernetes clusters. Put
// into the PATH as kubectl-ringfence it is also `kubectl ringfence`.
package main

import (
	"os"

	"ringfence.dev/ringfence/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
