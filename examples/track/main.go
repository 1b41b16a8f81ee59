// Track logs a run with metrics and a model from a Go program.
//
//	mlopsctl start
//	go run ./examples/track
package main

import (
	"context"
	"log"
	"math"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

func main() {
	if err := track(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func track(ctx context.Context) (err error) {
	p, err := client.FromProject(ctx, "lora-finetuning")
	if err != nil {
		return err
	}
	defer p.Close()

	run, err := p.StartRun(ctx, mlflow.RunOptions{Name: "rank-16"})
	if err != nil {
		return err
	}
	defer func() { err = run.End(ctx, err) }()

	if err := run.LogParams(ctx, map[string]any{"rank": 16, "lr": 1e-4, "bf16": true}); err != nil {
		return err
	}
	for step := range int64(100) {
		if err := run.LogMetric(ctx, step, "loss", math.Exp(-float64(step)/20)); err != nil {
			return err
		}
	}
	id, err := run.ID(ctx)
	if err != nil {
		return err
	}
	log.Printf("logged %s to %s", id, p.Config.MLflowURI)
	return nil
}
