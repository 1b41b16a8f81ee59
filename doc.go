// Package mlops holds the few words that all packages of this module share:
// the kinds of errors, the error type that carries a server's own words,
// credentials, secrets, and Collect for iterators.
//
// Programs start at [github.com/mlops-integration/mlops/client]:
//
//	p, err := client.FromProject(ctx, "lora-finetuning")
//	run, err := p.StartRun(ctx, mlflow.RunOptions{Name: "rank-16"})
//
// The package imports nothing but the standard library.
package mlops
