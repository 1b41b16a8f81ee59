// Package mlflow speaks to an MLflow tracking server: experiments, runs,
// artifacts, models and the registry.
//
//	package main
//
//	import (
//		"context"
//		"log"
//
//		"github.com/mlops-integration/mlops/mlflow"
//	)
//
//	func main() {
//		ctx := context.Background()
//		c, err := mlflow.New(mlflow.Options{URL: "http://127.0.0.1:5000"})
//		if err != nil {
//			log.Fatal(err)
//		}
//		run, err := c.StartRun(ctx, mlflow.Experiment{Name: "wine"}, mlflow.RunOptions{Name: "first"})
//		if err != nil {
//			log.Fatal(err)
//		}
//		for step := range int64(100) {
//			run.LogMetric(ctx, step, "loss", 1/float64(step+1))
//		}
//		if err := run.End(ctx, nil); err != nil {
//			log.Fatal(err)
//		}
//	}
//
// Logging does not wait for the server: see [Run]. A number arrives as it was,
// NaN included; a parameter is spelled as Python spells it. What would make a
// second run, version or model if it were sent twice carries a client-made ID,
// and is looked up before it is sent again.
//
// Tested against MLflow 3.17.
package mlflow
