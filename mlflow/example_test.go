package mlflow_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

var (
	ctx = context.Background()
	c   *mlflow.Client
)

func ExamplePyString() {
	fmt.Println(mlflow.PyString(1.0), mlflow.PyString(1e16), mlflow.PyString(0.00001), mlflow.PyString(true), mlflow.PyString(nil), mlflow.PyString([]any{1, "a"}))
	// Output: 1.0 1e+16 1e-05 True None [1, 'a']
}

func ExampleNew() {
	_, err := mlflow.New(mlflow.Options{URL: "127.0.0.1:5000"})
	fmt.Println(errors.Is(err, mlops.ErrInvalid))
	// Output: true
}

func ExampleClient_StartRun() {
	train := func() (err error) {
		run, err := c.StartRun(ctx, mlflow.Experiment{Name: "wine"}, mlflow.RunOptions{Name: "rank-16"})
		if err != nil {
			return err
		}
		defer func() { err = run.End(ctx, err) }()
		if err := run.LogParams(ctx, map[string]any{"lr": 1e-5, "epochs": 3}); err != nil {
			return err
		}
		return run.LogMetric(ctx, 1, "loss", 0.31)
	}
	if err := train(); err != nil {
		log.Fatal(err)
	}
}

func ExampleClient_Runs() {
	best := mlflow.RunQuery{Experiments: []string{"1"}, Filter: "metrics.loss < 0.1", OrderBy: []string{"metrics.loss ASC"}}
	for run, err := range c.Runs(ctx, best) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(run.ID, run.Params["lr"])
	}
}

func ExampleRun_LogModel() {
	run, err := c.ResumeRun(ctx, os.Getenv("MLFLOW_RUN_ID"), mlflow.RunOptions{})
	if err != nil {
		log.Fatal(err)
	}
	v, err := run.LogModel(ctx, "out", mlflow.ModelSpec{
		Name:    "wine",
		Flavors: []mlflow.Flavor{mlflow.SKLearn("model.skops", "sklearn.tree._tree.Tree")},
		Venv:    ".venv",
		Signature: &mlflow.Signature{
			Inputs:  mlflow.Columns("double", "alcohol", "hue"),
			Outputs: mlflow.Tensor("int64", -1),
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Models.SetAlias(ctx, v.Name, "champion", v.Version); err != nil {
		log.Fatal(err)
	}
}

func ExampleModelsService_VersionByAlias() {
	v, err := c.Models.VersionByAlias(ctx, "wine", "champion")
	switch {
	case errors.Is(err, mlops.ErrNotFound):
		fmt.Println("there is no champion yet")
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Println(v.Version, v.Source)
	}
}

func ExampleClient_DownloadDir() {
	if err := c.DownloadDir(ctx, "models:/wine@champion", "", "model"); err != nil {
		log.Fatal(err)
	}
}
