package client_test

import (
	"context"
	"log"
	"time"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/evidently"
	"github.com/mlops-integration/mlops/mlflow"
)

// The README's first program.
func Example() {
	ctx := context.Background()
	train := func(step int) float64 { return 1 / float64(step+1) }

	work := func() (err error) {
		p, err := client.FromProject(ctx, "lora-finetuning") // reads configuration, asks no server
		if err != nil {
			return err
		}
		defer p.Close()

		run, err := p.StartRun(ctx, mlflow.RunOptions{Name: "rank-16"}) // git commit and the machine are recorded with it
		if err != nil {
			return err
		}
		defer func() { err = run.End(ctx, err) }() // finished, failed or killed, as err says

		for step := range 100 {
			if err := run.LogMetric(ctx, int64(step), "loss", train(step)); err != nil { // journaled: survives a dead server and kill -9
				return err
			}
		}
		_, err = run.LogModel(ctx, "out/model", mlflow.ModelSpec{
			Name: "sentiment", Flavors: []mlflow.Flavor{mlflow.SKLearn("model.skops")}, Venv: ".venv",
		})
		return err
	}
	if err := work(); err != nil {
		log.Print(err)
	}
}

func ExampleProject_DeclareDAG() {
	ctx := context.Background()
	p, err := client.FromProject(ctx, "lora-finetuning")
	if err != nil {
		log.Print(err)
		return
	}
	defer p.Close()
	_, err = p.DeclareDAG(ctx, airflow.DAGSpec{
		ID:       "retrain",
		Schedule: "0 3 * * *",
		Start:    time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
		Tasks: []airflow.TaskSpec{
			{ID: "pull", Bash: "cd /srv/lora && mlopsctl dvc-pull"},
			{ID: "train", Bash: "cd /srv/lora && mlopsctl run exec -- python train.py", After: []string{"pull"}},
		},
	})
	if err != nil {
		log.Print(err)
	}
}

func ExampleRetrainOnDrift() {
	ctx := context.Background()
	p, err := client.FromProject(ctx, "lora-finetuning")
	if err != nil {
		log.Print(err)
		return
	}
	defer p.Close()
	retrain, err := client.RetrainOnDrift(client.RetrainOptions{
		TrainOptions: client.TrainOptions{
			PipelineOptions: client.PipelineOptions{Dir: "/srv/lora", Schedule: "0 3 * * *", Start: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
			Command:         "python train.py", // its last line on standard output is the number of the new version
			Model:           "sentiment",
		},
		Reference: "data/train.csv", Current: "data/today.csv",
		Metric: "val_accuracy", Margin: 0.01, Ask: true, Deploy: true,
	})
	if err != nil {
		log.Print(err)
		return
	}
	_, err = p.DeclareDAG(ctx, retrain)
	if err != nil {
		log.Print(err)
	}
}

func ExampleProject_Deploy() {
	ctx := context.Background()
	p, err := client.FromProject(ctx, "lora-finetuning")
	if err != nil {
		log.Print(err)
		return
	}
	defer p.Close()
	app, err := p.Deploy(ctx, "sentiment@champion", client.DeployOptions{Replicas: 2})
	if err != nil {
		log.Print(err) // the version before it keeps answering
		return
	}
	log.Print(app.URL)
}

func ExampleProject_Drift() {
	ctx := context.Background()
	p, err := client.FromProject(ctx, "lora-finetuning")
	if err != nil {
		log.Print(err)
		return
	}
	defer p.Close()
	r, err := p.Drift(ctx, "data/train.csv", "data/today.csv", evidently.DriftOptions{})
	if err != nil {
		log.Print(err)
		return
	}
	log.Print(r.Drifted, r.DriftedColumns)
}

func ExampleOpen() {
	ctx := context.Background()
	c, err := client.Open(ctx) // the infrastructure, without a project
	if err != nil {
		log.Print(err)
		return
	}
	defer c.Close()
	for w, err := range c.Projects(ctx) {
		if err != nil {
			log.Print(err)
			return
		}
		p, err := c.Project(w.Project)
		if err != nil {
			log.Print(err)
			continue
		}
		for r, err := range p.Runs(ctx, "attributes.status = 'RUNNING'") {
			if err != nil {
				log.Print(err)
				break
			}
			log.Print(w.Project, " ", r.Name)
		}
	}
}

func ExampleClient_Import() {
	ctx := context.Background()
	c, err := client.Open(ctx)
	if err != nil {
		log.Print(err)
		return
	}
	defer c.Close()
	runs, err := c.Import(ctx, "mlruns", mlflow.ImportOptions{DryRun: true})
	if err != nil {
		log.Print(err)
		return
	}
	for _, r := range runs {
		log.Print(r.Experiment, " ", r.Name, ": ", r.Outcome, ", ", r.Points, " points of metrics")
	}
}
