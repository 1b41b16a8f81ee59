package mlflow

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTagsOfInputsAreReadAndWritten(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"1/meta.yaml":              "experiment_id: '1'\nname: old\n",
		"1/datasets/d1/meta.yaml":  "name: wine\ndigest: abc\nsource_type: local\nsource: '{}'\nschema: ''\nprofile: ''\n",
		"1/r1/meta.yaml":           "run_id: r1\nrun_name: first\nartifact_uri: s3://user:pass@bucket/1/r1/artifacts\n",
		"1/r1/inputs/i1/meta.yaml": "source_id: d1\ntags:\n  mlflow.data.context: training\n  split: even\n",
		"1/r2/meta.yaml":           "run_id: r2\nrun_name: moved\nartifact_uri: file:///before/mlruns/1/r2/artifacts\n",
		"1/r3/meta.yaml":           "run_id: r3\nrun_name: outside\nartifact_uri: /data/artifacts/r3\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	from, err := OpenFileStore(dir)
	require.NoError(t, err)
	runs := map[string]storedRun{}
	for _, r := range storedRuns(t, from) {
		runs[r.ID] = r
	}
	want := DatasetInput{Name: "wine", Digest: "abc", SourceType: "local", Source: "{}", Context: "training", Tags: Tags{"split": "even"}}
	require.Equal(t, []DatasetInput{want}, runs["r1"].Inputs)
	b, err := json.Marshal(want)
	require.NoError(t, err)
	var back DatasetInput
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, want, back)
	require.Equal(t, "s3://user:xxxxx@bucket/1/r1/artifacts", from.elsewhere(runs["r1"]))
	require.Empty(t, from.elsewhere(runs["r2"]), "nothing was logged, in a store that was moved")
	require.Equal(t, "/data/artifacts/r3", from.elsewhere(runs["r3"]))
}
