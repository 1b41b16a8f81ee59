// Pipeline declares a DAG in Go, waits until Airflow shows it, runs it and
// prints the log of its last task.
//
//	mlopsctl start
//	go run ./examples/pipeline
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

func main() {
	if err := pipeline(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func pipeline(ctx context.Context) error {
	p, err := client.FromProject(ctx, "lora-finetuning")
	if err != nil {
		return err
	}
	defer p.Close()

	_, err = p.DeclareDAG(ctx, airflow.DAGSpec{
		ID: "nightly", Description: "fetch, then count",
		Tasks: []airflow.TaskSpec{
			{ID: "fetch", Bash: `seq 1 1000 > "/tmp/$MLOPS_RUN_ID"`},
			{ID: "count", Bash: `wc -l < "/tmp/$MLOPS_RUN_ID"; rm "/tmp/$MLOPS_RUN_ID"`, After: []string{"fetch"}},
		},
	})
	if err != nil {
		return err
	}
	r, err := p.Trigger(ctx, "nightly", airflow.TriggerOptions{})
	if err != nil {
		return err
	}
	if r, err = p.Airflow.Wait(ctx, r.DAGID, r.ID, airflow.WaitOptions{}); err != nil {
		return err
	}
	for line, err := range p.Airflow.Logs(ctx, r.DAGID, r.ID, "count", airflow.LogOptions{}) {
		if err != nil {
			return err
		}
		fmt.Println(line)
	}
	return nil
}
