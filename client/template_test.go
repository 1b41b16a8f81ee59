package client_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

func TestTemplatesAreDeclarationsThatHold(t *testing.T) {
	train := client.TrainOptions{PipelineOptions: client.PipelineOptions{Dir: "/srv/lora"}, Data: []string{"data/a b.csv"}, Command: "./train.sh", Model: "sentiment"}
	whole := client.RetrainOptions{TrainOptions: train, Reference: "ref.csv", Current: "now.csv", Metric: "loss", Ask: true, Deploy: true}
	bare := client.RetrainOptions{TrainOptions: train, Reference: "ref.csv", Current: "now.csv"}
	bare.Data = nil
	retrain := func(o client.RetrainOptions) airflow.DAGSpec {
		d, err := client.RetrainOnDrift(o)
		require.NoError(t, err)
		return d
	}
	for _, tt := range []struct {
		name  string
		dag   airflow.DAGSpec
		order []string // each task after the one before
	}{
		{"train", client.Train(train), []string{"pull", "train"}},
		{"retrain", retrain(whole), []string{"pull", "drift", "train", "compare", "ask", "deploy", "promote"}},
		{"retrain, bare", retrain(bare), []string{"drift", "train", "promote"}},
		{"refresh", client.DataRefresh(client.RefreshOptions{Command: "./make.sh", Data: []string{"data"}, Asset: &airflow.AssetSpec{Name: "a"}}), []string{"make", "track", "push"}},
		{"score", client.BatchScore(client.ScoreOptions{Data: []string{"data"}, Command: "./score.sh", Parts: []string{"a", "b"}, Collect: "cat"}), []string{"pull", "score", "collect"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.NoError(t, tt.dag.Validate())
			var ids []string
			for i, task := range tt.dag.Tasks {
				ids = append(ids, task.ID)
				if i > 0 {
					require.Equal(t, []string{tt.order[i-1]}, task.After)
				}
			}
			require.Equal(t, tt.order, ids)
		})
	}
}
