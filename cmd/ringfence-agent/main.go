// Command ringfence-agent enforces security groups on the host it runs on.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"ringfence.dev/ringfence/internal/agent"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := agent.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
