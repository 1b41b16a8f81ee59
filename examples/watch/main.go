// Watch compares current data with reference data and says which columns have
// drifted.
//
//	mlopsctl demo
//	go run ./examples/watch ~/.mlops/demo/data/train.csv ~/.mlops/demo/drift/shifted.csv
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/evidently"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: watch <reference.csv> <current.csv>")
	}
	if err := watch(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func watch(ctx context.Context, reference, current string) error {
	p, err := client.FromProject(ctx, "breast-cancer")
	if err != nil {
		return err
	}
	defer p.Close()

	r, err := p.Drift(ctx, reference, current, evidently.DriftOptions{})
	if err != nil {
		return err
	}
	for _, c := range r.Columns {
		if c.Drifted {
			fmt.Printf("%-30s %s %.4f\n", c.Column, c.MethodName, c.Value)
		}
	}
	fmt.Println(r)
	return r.Unsent // the verdict stands; the snapshot waits on this machine
}
