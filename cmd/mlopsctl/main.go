// Command mlopsctl starts the servers, and tracks, versions, trains, serves
// and watches models with them. See mlopsctl --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/mlops-integration/mlops/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
