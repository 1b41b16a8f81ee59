// Command mlopsctl starts the servers, and tracks, versions, trains, serves
// and watches models with them. See mlopsctl --help.
package main

import (
	"os"

	"github.com/mlops-integration/mlops/cli"
)

func main() {
	os.Exit(cli.Main(cli.Signals(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
