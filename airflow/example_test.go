package airflow_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
)

// The DAG is declared in Go; Airflow reads the file that WriteDAG makes of it.
func ExampleWriteDAG() {
	dir, err := os.MkdirTemp("", "dags")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	path, err := airflow.WriteDAG(dir, airflow.DAGSpec{
		ID:   "retrain",
		Tags: []string{"lora"},
		Tasks: []airflow.TaskSpec{
			{ID: "pull", Bash: "mlopsctl dvc-pull"},
			{ID: "train", Bash: `python train.py --conf "$MLOPS_CONF_JSON"`, After: []string{"pull"}},
		},
	})
	fmt.Println(filepath.Base(path), err)
	// Output: retrain.py <nil>
}

func ExampleDAGSpec_Validate() {
	fmt.Println(airflow.DAGSpec{ID: "nightly", Schedule: "@daily", Tasks: []airflow.TaskSpec{{ID: "only", Bash: "true"}}}.Validate())
	// Output: airflow: Validate: schedule "@daily" needs a Start
}

// A run from its start to the last line of its log.
func Example() {
	ctx := context.Background()
	c, err := airflow.New(airflow.Options{
		URL:  "http://127.0.0.1:8080",
		Auth: mlops.Auth{Username: "admin", Password: mlops.Secret(os.Getenv("AIRFLOW_PASSWORD"))},
	})
	if err != nil {
		log.Fatal(err)
	}
	run, err := c.Trigger(ctx, "retrain", airflow.TriggerOptions{Conf: map[string]any{"rank": 16}})
	if err != nil {
		log.Fatal(err)
	}
	for line, err := range c.Logs(ctx, "retrain", run.ID, "train", airflow.LogOptions{Follow: true}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(line)
	}
	if _, err := c.Wait(ctx, "retrain", run.ID, airflow.WaitOptions{}); err != nil {
		log.Fatal(err) // names the task that failed
	}
}

// A pool is how much of the machine a project gets.
func ExamplePoolsService_SetSlots() {
	ctx := context.Background()
	c, err := airflow.New(airflow.Options{URL: "http://127.0.0.1:8080"})
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Pools.Ensure(ctx, airflow.Pool{Name: "mlops.lora", Slots: 2}); err != nil {
		log.Fatal(err)
	}
	if err := c.Pools.SetSlots(ctx, "mlops.lora", 1); err != nil {
		log.Fatal(err)
	}
}

// Parameters come from a struct: types, descriptions and defaults.
func ExampleParamsOf() {
	params, err := airflow.ParamsOf(struct {
		Rank int `json:"rank" jsonschema:"of the adapter"`
	}{Rank: 16})
	if err != nil {
		log.Fatal(err)
	}
	params["rank"]["maximum"] = 64
	fmt.Println(params.Check(map[string]any{"rank": 8}))
	fmt.Println(params.Check(map[string]any{"rank": 100}))
	// Output:
	// <nil>
	// airflow: Check: conf: rank is 100, which does not match {"maximum":64,"type":"integer"}
}

// What a redeclaration changes, in words.
func ExampleDiff() {
	before := airflow.DAGSpec{ID: "retrain", Tasks: []airflow.TaskSpec{{ID: "train", Bash: "./train.sh"}}}
	after := before
	after.MaxActiveRuns = 1
	after.Tasks = []airflow.TaskSpec{{ID: "train", Bash: "./train.sh --fast", Retries: 2}, {ID: "score", Bash: "./score.sh"}}
	for _, line := range airflow.Diff(before, after) {
		fmt.Println(line)
	}
	// Output:
	// max_active_runs is set to 1
	// task train: bash changes from "./train.sh" to "./train.sh --fast"
	// task train: retries is set to 2
	// task score is added
}

// A task with an item each, and one that collects what they return.
func ExampleDAGSpec_mapped() {
	d := airflow.DAGSpec{ID: "score", Tasks: []airflow.TaskSpec{
		{ID: "list", Bash: `ls parts | jq -R . | jq -s . > "$MLOPS_RETURN_FILE"`},
		{ID: "part", Bash: `./score.sh "parts/$MLOPS_ITEM"`, EachOf: "list", MaxActive: 4},
		{ID: "report", Bash: `./report.sh "$SCORES"`, Inputs: map[string]string{"SCORES": "part"}},
	}}
	fmt.Println(d.Validate())
	// Output: <nil>
}

func ExampleReadSpec() {
	_, err := airflow.ReadSpec(strings.NewReader("id: nightly\ntasks:\n- {id: train, bahs: ./train.sh}\n"))
	fmt.Println(err)
	// Output: airflow: ReadSpec: line 3: there is no key bahs
}
