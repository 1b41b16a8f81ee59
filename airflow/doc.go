// Package airflow drives Apache Airflow: it declares DAGs as Go values, starts
// runs, waits for them, reads their logs to the end and sets pools.
//
//	c, err := airflow.New(airflow.Options{
//		URL:  "http://127.0.0.1:8080",
//		Auth: mlops.Auth{Username: "admin", Password: mlops.Secret(os.Getenv("AIRFLOW_PASSWORD"))},
//	})
//	dag := airflow.DAGSpec{ID: "retrain", Tasks: []airflow.TaskSpec{
//		{ID: "pull", Bash: "mlopsctl dvc-pull"},
//		{ID: "train", Python: &airflow.PythonTask{File: "train.py"}, Dir: "/srv/lora", After: []string{"pull"}},
//		{ID: "sure", Decision: &airflow.DecisionSpec{Subject: "Deploy?"}, After: []string{"train"}},
//		{ID: "deploy", Bash: `mlopsctl deploy lora "$VERSION"`, Inputs: map[string]string{"VERSION": "train"}, After: []string{"sure"}},
//	}}
//	// A declaration that Airflow cannot read is an error here and changes nothing.
//	if _, err := c.Declare(ctx, "/opt/airflow/dags", dag, airflow.DeclareOptions{}); err != nil { … }
//	run, err := c.Trigger(ctx, "retrain", airflow.TriggerOptions{Conf: map[string]any{"rank": 16}})
//	run, err = c.Wait(ctx, "retrain", run.ID, airflow.WaitOptions{})
//	for line, err := range c.Logs(ctx, "retrain", run.ID, "train", airflow.LogOptions{}) { … }
//
// A DAG becomes one generated Python file that holds its declaration as JSON;
// there is no upload over REST, so Declare writes into the folder that Airflow
// reads. [TaskSpec] tells which kinds of tasks there are and what they find in
// their environment; package gotask is for those that are written in Go.
//
// The package speaks the REST API v2 of Airflow 3. What differs between the
// versions of the API lies in wire.go.
package airflow
