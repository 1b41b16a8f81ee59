// Command dvc in bench is the least program that adds data; add.sh times it.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/mlops-integration/mlops/dvc"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 1 && args[0] == "init" {
		_, err := dvc.Init(".")
		return err
	}
	if len(args) < 2 || args[0] != "add" {
		return fmt.Errorf("usage: init | add <path>…")
	}
	r, err := dvc.Open(".")
	if err != nil {
		return err
	}
	_, err = r.Add(context.Background(), args[1:]...)
	return err
}
