// Package client is the front door: one project on the shared infrastructure,
// with MLflow, DVC, Airflow, Ray Serve and Evidently behind it.
//
//	p, err := client.FromProject(ctx, "lora-finetuning")
//	if err != nil {
//		return err
//	}
//	defer p.Close()
//
//	run, err := p.StartRun(ctx, mlflow.RunOptions{Name: "rank-16"})
//	if err != nil {
//		return err
//	}
//	defer func() { err = run.End(ctx, err) }()
//	run.LogMetric(ctx, 10, "loss", 0.31)
//
// [Open] is the infrastructure without a project: the projects on it, what
// waits to be sent, imports, and the tools' clients.
//
// Open and FromProject read configuration and make no request. What a project needs
// on a server (an experiment, a pool, a remote) is made when that server is
// first used, or all at once by [Project.Register].
//
// This is the only package where two tools meet: it resolves what one tool
// needs of another and passes plain values down.
package client
