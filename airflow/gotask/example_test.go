package gotask_test

import (
	"context"

	"github.com/mlops-integration/mlops/airflow/gotask"
)

// The program's main is os.Exit(tasks.Main(os.Args[1:])); the declaration names
// it: airflow.GoTask{Program: "/srv/lora/tasks", Task: "train"}.
func Example() {
	tasks := gotask.Tasks{
		"train": func(ctx context.Context, t *gotask.Task) (any, error) {
			var conf struct{ Rank int }
			if err := t.Conf(&conf); err != nil {
				return nil, err
			}
			return map[string]float64{"loss": 1 / float64(conf.Rank)}, nil
		},
	}
	_ = tasks
}
