package mlflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// is asks for an error's kind.
func is(t *testing.T, err, kind error) {
	t.Helper()
	require.ErrorIs(t, err, kind)
}

func TestTheServerTellsHowItIsSetUp(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.17", "a call that tells how it is set up")
	ctx := t.Context()
	require.NoError(t, c.Health(ctx))
	info, err := c.ServerInfo(ctx)
	require.NoError(t, err)
	require.Equal(t, "SqlStore", info.Store)
	require.False(t, info.Workspaces)
	require.Contains(t, info.Features, "gateway")
}

func TestDoReachesWhatHasNoMethod(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.17", "all the calls that are asked here")
	ctx := t.Context()
	run, exp := startRun(t, s, c)
	id, _ := run.ID(ctx)
	require.NoError(t, run.LogText(ctx, "hello", "a/note.txt"))
	require.NoError(t, run.Flush(ctx))

	var info struct {
		Run struct {
			Info struct {
				ID string `json:"run_id"`
			}
		}
	}
	require.NoError(t, c.Do(ctx, "GET", "/api/2.0/mlflow/runs/get", url.Values{"run_id": {id}}, nil, &info))
	require.Equal(t, id, info.Run.Info.ID)
	var raw []byte
	require.NoError(t, c.Do(ctx, "GET", "/get-artifact", url.Values{"run_id": {id}, "path": {"a/note.txt"}}, nil, &raw))
	require.Equal(t, "hello", string(raw))
	require.NoError(t, c.Do(ctx, "POST", "/api/2.0/mlflow/runs/set-tag", nil, map[string]string{"run_id": id, "key": "k", "value": "v"}, nil))

	// The other forms of calls that have a method.
	for path, q := range map[string]url.Values{
		"experiments/search":                    {"max_results": {"1"}},
		"artifacts/list":                        {"run_id": {id}},
		"registered-models/get-latest-versions": nil,
	} {
		if q == nil {
			name := s.Name("model")
			_, err := c.Models.Create(ctx, name, ModelOptions{})
			require.NoError(t, err)
			q = url.Values{"name": {name}}
		}
		require.NoError(t, c.Do(ctx, "GET", "/api/2.0/mlflow/"+path, q, nil, nil), path)
	}
	require.NoError(t, c.Do(ctx, "POST", "/ajax-api/2.0/mlflow/runs/create-promptlab-run", nil, map[string]any{"experiment_id": exp, "prompt_template": "a {{x}}",
		"prompt_parameters": []keyValue{{"x", "y"}}, "model_route": "m", "model_input": "a y", "model_output": "z", "mlflow_version": "3.17.2"}, nil))
	require.NoError(t, c.Do(ctx, "GET", "/api/3.0/mlflow/datasets/search", url.Values{"experiment_ids": {exp}}, nil, nil))

	var count []int
	is(t, c.Do(ctx, "GET", "/api/2.0/mlflow/runs/get", url.Values{"run_id": {id}}, nil, &count), mlops.ErrInvalid)
	is(t, c.Do(ctx, "GET", "/api/2.0/mlflow/runs/get", url.Values{"run_id": {"nope"}}, nil, &count), mlops.ErrNotFound)
	is(t, c.Do(ctx, "GET", "/api/2.0/mlflow/no-such-call", nil, nil, &raw), mlops.ErrUnsupported)
	is(t, c.Do(ctx, "GET", "api", nil, nil, nil), mlops.ErrInvalid)
}

func TestExperimentsAreRenamedAndTellTheirDatasets(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.17", "tags of experiments that can be deleted")
	ctx := t.Context()
	run, exp := startRun(t, s, c)
	require.NoError(t, run.LogInputs(ctx, DatasetInput{Name: "wine", Digest: "abc", SourceType: "dvc", Source: "{}", Context: "training"}))
	require.NoError(t, run.Flush(ctx))
	list, err := mlops.Collect(c.Datasets(ctx, exp))
	require.NoError(t, err)
	require.Equal(t, []DatasetSummary{{exp, "wine", "abc", "training"}}, list)

	other := s.Name("other")
	require.NoError(t, c.RenameExperiment(ctx, exp, other))
	require.NoError(t, c.SetExperimentTag(ctx, exp, "k", "v"))
	require.NoError(t, c.DeleteExperimentTag(ctx, exp, "k"))
	is(t, c.DeleteExperimentTag(ctx, exp, "k"), mlops.ErrNotFound)
	e, err := c.ExperimentByName(ctx, other)
	require.NoError(t, err)
	require.Equal(t, exp, e.ID)
	require.NotContains(t, e.Tags, "k")
	third, err := c.CreateExperiment(ctx, s.Name("third"), ExperimentOptions{})
	require.NoError(t, err)
	is(t, c.RenameExperiment(ctx, third, other), mlops.ErrAlreadyExists)
	is(t, c.RenameExperiment(ctx, third, ""), mlops.ErrInvalid)
}

func TestOneThingIsWrittenToARunThatHasEnded(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.0", "outputs, nor the same NaN twice")
	ctx := t.Context()
	run, _ := startRun(t, s, c)
	id, _ := run.ID(ctx)
	require.NoError(t, run.End(ctx, nil))

	at := time.UnixMilli(1_700_000_000_123).UTC()
	for range 2 { // twice is once
		require.NoError(t, c.LogRunMetric(ctx, id, Metric{Key: "loss", Value: math.NaN(), Step: 3, Time: at}))
		require.NoError(t, c.LogRunParam(ctx, id, "lr", 1.0))
		require.NoError(t, c.SetRunTag(ctx, id, "k", "v"))
	}
	is(t, c.LogRunParam(ctx, id, "lr", 2.0), mlops.ErrInvalid)
	is(t, c.LogRunMetric(ctx, id, Metric{}), mlops.ErrInvalid)
	is(t, c.SetRunTag(ctx, id, "", "v"), mlops.ErrInvalid)
	is(t, c.LogRunParam(ctx, id, "", 1), mlops.ErrInvalid)
	require.NoError(t, c.RecordRunModel(ctx, id, json.RawMessage(`{"artifact_path":"model","run_id":"`+id+`","flavors":{"python_function":{"loader_module":"x"}},"utc_time_created":"2026-01-01 00:00:00.000000"}`)))

	info, err := c.RunInfo(ctx, id)
	require.NoError(t, err)
	require.Equal(t, RunFinished, info.Status, "writing does not begin a run again")
	require.Equal(t, "v", info.Tags["k"])
	require.Equal(t, "1.0", info.Params["lr"])
	require.Contains(t, info.Tags["mlflow.log-model.history"], `"artifact_path": "model"`)
	points, err := mlops.Collect(c.MetricHistory(ctx, id, "loss"))
	require.NoError(t, err)
	require.Len(t, points, 1)
	require.True(t, math.IsNaN(points[0].Value))
	require.Equal(t, at, points[0].Time)
	require.NoError(t, c.DeleteRunTag(ctx, id, "k"))
	is(t, c.DeleteRunTag(ctx, id, "k"), mlops.ErrNotFound)
}

func TestHistoriesOfSeveralRunsAreReadWhole(t *testing.T) {
	s, c := connect(t)
	ctx := t.Context()
	var ids []string
	for i := range 3 {
		exp, err := c.CreateExperiment(ctx, s.Name(fmt.Sprintf("exp%d", i)), ExperimentOptions{})
		require.NoError(t, err)
		run, err := c.StartRun(ctx, Experiment{ID: exp}, RunOptions{Tags: plain})
		require.NoError(t, err)
		var points []Metric
		for step := range 20 {
			points = append(points, Metric{Key: "loss", Value: float64(100*i + step), Step: int64(step), Time: time.UnixMilli(1_700_000_000_000 + int64(step))})
		}
		require.NoError(t, run.LogPoints(ctx, points...))
		require.NoError(t, run.End(ctx, nil))
		id, err := run.ID(ctx)
		require.NoError(t, err)
		ids = append(ids, id)
	}
	check := func(list []RunMetric, err error) {
		t.Helper()
		require.NoError(t, err)
		require.Len(t, list, 60)
		sums := map[string]float64{}
		for _, m := range list {
			sums[m.RunID] += m.Value
		}
		require.Equal(t, map[string]float64{ids[0]: 190, ids[1]: 2190, ids[2]: 4190}, sums)
	}
	check(mlops.Collect(c.MetricHistories(ctx, ids, "loss")))
	check(mlops.Collect(histories(ctx, c, ids, "loss", 7)))
	for range histories(ctx, c, ids, "loss", 7) {
		break
	}

	few, err := mlops.Collect(c.SampledHistories(ctx, ids, "loss", SampleOptions{FirstStep: 5, LastStep: 14, MaxPoints: 3}))
	require.NoError(t, err)
	require.NotEmpty(t, few)
	require.Less(t, len(few), 20)
	for _, m := range few {
		require.GreaterOrEqual(t, m.Step, int64(5))
		require.LessOrEqual(t, m.Step, int64(14))
	}
	check(mlops.Collect(c.SampledHistories(ctx, ids, "loss", SampleOptions{})))
	_, err = mlops.Collect(c.SampledHistories(ctx, ids, "loss", SampleOptions{FirstStep: 9, LastStep: 3}))
	is(t, err, mlops.ErrInvalid)
}

func TestLoggedModelsAreMadeSearchedAndDeleted(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.0", "logged models")
	ctx := t.Context()
	run, exp := startRun(t, s, c)
	id, _ := run.ID(ctx)
	m, err := c.LoggedModels.Create(ctx, exp, LoggedModelOptions{Name: "wine", Type: "Agent", RunID: id, Params: map[string]string{"depth": "3"}, Tags: map[string]string{"stage": "test"}})
	require.NoError(t, err)
	require.Equal(t, LoggedModelPending, m.Status)
	require.Equal(t, "Agent", m.Type)
	require.NoError(t, c.LoggedModels.LogParams(ctx, m.ID, map[string]any{"lr": 1.0}))
	is(t, c.LoggedModels.LogParams(ctx, m.ID, map[string]any{"": 1.0}), mlops.ErrInvalid)
	require.NoError(t, c.LoggedModels.SetTags(ctx, m.ID, map[string]string{"a": "b", "c": "d"}))
	require.NoError(t, c.LoggedModels.DeleteTag(ctx, m.ID, "a"))
	is(t, c.LoggedModels.DeleteTag(ctx, m.ID, "a"), mlops.ErrNotFound)
	require.NoError(t, c.LogRunMetric(ctx, id, Metric{Key: "acc", Value: 0.9, Time: time.UnixMilli(1_700_000_000_000), ModelID: m.ID}))
	m, err = c.LoggedModels.Finalize(ctx, m.ID, LoggedModelReady)
	require.NoError(t, err)
	require.Equal(t, LoggedModelReady, m.Status)

	_, err = c.LoggedModels.Create(ctx, exp, LoggedModelOptions{Name: "other"})
	require.NoError(t, err)
	list, err := mlops.Collect(c.LoggedModels.All(ctx, LoggedModelQuery{Experiments: []string{exp}, Filter: "metrics.acc > 0.5", OrderBy: []LoggedModelSort{{Field: "metrics.acc"}}}))
	require.NoError(t, err)
	require.Len(t, list, 1)
	got := list[0]
	require.Equal(t, m.ID, got.ID)
	require.Equal(t, map[string]string{"depth": "3", "lr": "1.0"}, got.Params)
	require.Equal(t, "test", got.Tags["stage"])
	require.NotContains(t, got.Tags, "a")
	require.Len(t, got.Metrics, 1)
	require.Equal(t, 0.9, got.Metrics[0].Value)
	require.False(t, got.Updated.IsZero())
	list, err = mlops.Collect(c.LoggedModels.All(ctx, LoggedModelQuery{Experiments: []string{exp}, Filter: "metrics.acc > 0.5", Datasets: []DatasetSummary{{Name: "none"}}}))
	require.NoError(t, err)
	require.Empty(t, list, "the point is on no data set")

	// Its files.
	files, err := mlops.Collect(c.LoggedModels.Artifacts(ctx, m.ID, ""))
	require.NoError(t, err)
	require.Empty(t, files)
	folder := "/api/2.0/mlflow-artifacts/artifacts" + strings.TrimPrefix(m.ArtifactURI, "mlflow-artifacts:")
	require.NoError(t, c.Do(ctx, "PUT", folder+"/sub/config.json", nil, map[string]int{"depth": 3}, nil))
	files, err = mlops.Collect(c.LoggedModels.Artifacts(ctx, m.ID, "sub"))
	require.NoError(t, err)
	require.Equal(t, []FileInfo{{"sub/config.json", false, 11}}, files)
	var file struct{ Depth int }
	require.NoError(t, c.Do(ctx, "GET", "/ajax-api/2.0/mlflow/logged-models/"+m.ID+"/artifacts/files", url.Values{"artifact_file_path": {"sub/config.json"}}, nil, &file))
	require.Equal(t, 3, file.Depth)
	require.NoError(t, c.Do(ctx, "DELETE", folder+"/sub/config.json", nil, nil, nil))

	require.NoError(t, c.LoggedModels.Delete(ctx, m.ID))
	_, err = c.LoggedModels.Get(ctx, m.ID)
	is(t, err, mlops.ErrNotFound)
	require.NoError(t, c.LoggedModels.Delete(ctx, m.ID), "twice is no error")
}

func TestRegisteredModelsAreRenamedDescribedCopiedAndStaged(t *testing.T) {
	s, c := connect(t)
	ctx := t.Context()
	run, _ := startRun(t, s, c)
	id, _ := run.ID(ctx)
	require.NoError(t, run.LogText(ctx, "x", "model/MLmodel"))
	require.NoError(t, run.Flush(ctx))
	info, err := c.RunInfo(ctx, id)
	require.NoError(t, err)
	name, renamed, prod := s.Name("dev"), s.Name("renamed"), s.Name("prod")
	_, err = c.Models.Create(ctx, name, ModelOptions{})
	require.NoError(t, err)
	v, err := c.Models.CreateVersion(ctx, name, info.ArtifactURI+"/model", ModelVersionOptions{RunID: id, Tags: map[string]string{"a": "b"}, Description: "first"})
	require.NoError(t, err)

	m, err := c.Models.Rename(ctx, name, renamed)
	require.NoError(t, err)
	require.Equal(t, renamed, m.Name)
	_, err = c.Models.Get(ctx, name)
	is(t, err, mlops.ErrNotFound)
	m, err = c.Models.Describe(ctx, renamed, "about wine")
	require.NoError(t, err)
	require.Equal(t, "about wine", m.Description)
	require.NoError(t, c.Models.SetTag(ctx, renamed, "k", "v"))
	require.NoError(t, c.Models.SetTag(ctx, renamed, "l", "w"))
	require.NoError(t, c.Models.DeleteTag(ctx, renamed, "l"))
	require.NoError(t, c.Models.DeleteTag(ctx, renamed, "l"), "a tag that is not there is no error")
	v, err = c.Models.DescribeVersion(ctx, renamed, v.Version, "second")
	require.NoError(t, err)
	require.Equal(t, "second", v.Description)
	require.NoError(t, c.Models.SetVersionTag(ctx, renamed, "1", "k", "v"))
	require.NoError(t, c.Models.DeleteVersionTag(ctx, renamed, "1", "k"))

	cp, err := c.Models.CopyVersion(ctx, renamed, "1", prod)
	require.NoError(t, err)
	require.Equal(t, "1", cp.Version)
	require.Equal(t, "models:/"+renamed+"/1", cp.Source)
	require.Equal(t, "second", cp.Description)
	require.Equal(t, id, cp.RunID)
	require.Equal(t, "b", cp.Tags["a"])
	require.NotEqual(t, v.Tags[versionTag], cp.Tags[versionTag], "the copy has an ID of its own")
	uri, err := c.Models.VersionURI(ctx, prod, "1")
	require.NoError(t, err)
	require.Equal(t, info.ArtifactURI+"/model", uri)
	var raw []byte
	require.NoError(t, c.Do(ctx, "GET", "/model-versions/get-artifact", url.Values{"name": {prod}, "version": {"1"}, "path": {"MLmodel"}}, nil, &raw))
	require.Equal(t, "x", string(raw))
	_, err = c.Models.CopyVersion(ctx, renamed, "9", prod)
	is(t, err, mlops.ErrNotFound)

	v, err = c.Models.TransitionStage(ctx, prod, "1", "Production", true)
	require.NoError(t, err)
	require.Equal(t, StageProduction, v.Stage)
	latest, err := c.Models.LatestVersions(ctx, prod, "Production")
	require.NoError(t, err)
	require.Len(t, latest, 1)
	models, err := mlops.Collect(c.Models.All(ctx, ModelQuery{Filter: "name = '" + renamed + "'"}))
	require.NoError(t, err)
	require.Len(t, models, 1)
	require.Equal(t, "v", models[0].Tags["k"])
	require.Len(t, models[0].Tags, 2, "its own and the ID of its making")
	require.NoError(t, c.Models.DeleteVersion(ctx, prod, "1"))
	for _, n := range []string{prod, renamed} {
		require.NoError(t, c.Models.Delete(ctx, n))
	}
}

func TestAModelWhoseRenamingGotNoAnswerIsNotRenamedTwice(t *testing.T) {
	s, c := connect(t)
	ctx := t.Context()
	name, renamed := s.Name("old"), s.Name("new")
	_, err := c.Models.Create(ctx, name, ModelOptions{})
	require.NoError(t, err)
	fault := &dropped{next: s.HTTP.Transport, path: "registered-models/rename", left: 1}
	shaky := lossy(t, s, fault)
	m, err := shaky.Models.Rename(ctx, name, renamed)
	require.NoError(t, err)
	require.Equal(t, renamed, m.Name)
	require.Equal(t, 1, fault.seen)
	require.NoError(t, c.Models.Delete(ctx, renamed))
}

func TestEvaluationDatasetsKeepTheirRecords(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.17", "evaluation data sets as they are there")
	ctx := t.Context()
	exp, err := c.CreateExperiment(ctx, s.Name("exp"), ExperimentOptions{})
	require.NoError(t, err)
	other, err := c.CreateExperiment(ctx, s.Name("other"), ExperimentOptions{})
	require.NoError(t, err)
	name := s.Name("questions")
	d, err := c.EvalDatasets.Create(ctx, name, EvalDatasetOptions{Experiments: []string{exp}, Tags: map[string]string{"team": "x"}})
	require.NoError(t, err)
	require.Equal(t, name, d.Name)
	require.Equal(t, "x", d.Tags["team"])

	records := []EvalRecord{
		{Inputs: map[string]any{"q": "1+1"}, Outputs: map[string]any{"a": "2"}, Expectations: map[string]any{"answer": "2"}, Tags: map[string]string{"t": "u"}, Source: &EvalSource{Type: "HUMAN", Data: map[string]any{"user": "me"}}},
		{Inputs: map[string]any{"q": "capital"}},
	}
	n, err := c.EvalDatasets.UpsertRecords(ctx, d.ID, records...)
	require.NoError(t, err)
	require.Equal(t, EvalUpsert{Inserted: 2}, n)
	n, err = c.EvalDatasets.UpsertRecords(ctx, d.ID, EvalRecord{Inputs: map[string]any{"q": "capital"}, Expectations: map[string]any{"answer": "Paris"}})
	require.NoError(t, err)
	require.Equal(t, EvalUpsert{Updated: 1}, n, "the same inputs are the same record")
	_, err = c.EvalDatasets.UpsertRecords(ctx, d.ID, EvalRecord{Inputs: map[string]any{"f": func() {}}})
	is(t, err, mlops.ErrInvalid)

	list, err := mlops.Collect(c.EvalDatasets.Records(ctx, d.ID))
	require.NoError(t, err)
	require.Len(t, list, 2)
	byQuestion := map[any]EvalRecord{}
	for _, r := range list {
		byQuestion[r.Inputs["q"]] = r
	}
	first := byQuestion["1+1"]
	require.Equal(t, map[string]any{"a": "2"}, first.Outputs)
	require.Equal(t, map[string]any{"answer": "2"}, first.Expectations)
	require.Equal(t, "u", first.Tags["t"])
	require.Equal(t, &EvalSource{Type: "HUMAN", Data: map[string]any{"user": "me"}}, first.Source)
	require.False(t, first.Created.IsZero())
	require.Equal(t, "Paris", byQuestion["capital"].Expectations["answer"])

	gone, err := c.EvalDatasets.DeleteRecords(ctx, d.ID, first.ID)
	require.NoError(t, err)
	require.Equal(t, 1, gone)
	got, err := c.EvalDatasets.Get(ctx, d.ID)
	require.NoError(t, err)
	require.NotEqual(t, d.Digest, got.Digest)
	found, err := mlops.Collect(c.EvalDatasets.All(ctx, EvalDatasetQuery{Filter: "name = '" + name + "'", OrderBy: []string{"name"}}))
	require.NoError(t, err)
	require.Len(t, found, 1)

	require.NoError(t, c.EvalDatasets.AddTo(ctx, d.ID, other))
	ids, err := c.EvalDatasets.Experiments(ctx, d.ID)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{exp, other}, ids)
	require.NoError(t, c.EvalDatasets.RemoveFrom(ctx, d.ID, other))
	ids, err = c.EvalDatasets.Experiments(ctx, d.ID)
	require.NoError(t, err)
	require.Equal(t, []string{exp}, ids)

	require.NoError(t, c.EvalDatasets.SetTags(ctx, d.ID, map[string]string{"k": "v"}))
	require.NoError(t, c.EvalDatasets.DeleteTag(ctx, d.ID, "team"))
	got, err = c.EvalDatasets.Get(ctx, d.ID)
	require.NoError(t, err)
	require.Equal(t, "v", got.Tags["k"])
	require.NotContains(t, got.Tags, "team")
	require.NoError(t, c.EvalDatasets.Delete(ctx, d.ID))
	_, err = c.EvalDatasets.Get(ctx, d.ID)
	is(t, err, mlops.ErrNotFound)
}

func TestScorersHaveVersionsAndOnlineSettings(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.17", "scorers as they are there")
	ctx := t.Context()
	exp, err := c.CreateExperiment(ctx, s.Name("exp"), ExperimentOptions{})
	require.NoError(t, err)
	judge := json.RawMessage(`{"name":"polite","aggregations":[],"is_session_level_scorer":false,"mlflow_version":"3.17.2","serialization_version":1,"instructions_judge_pydantic_data":{"instructions":"Is {{ outputs }} polite?","model":"openai:/gpt-4o-mini","feedback_value_type":{"type":"boolean"}}}`)
	one, err := c.Scorers.Register(ctx, exp, "polite", judge)
	require.NoError(t, err)
	require.Equal(t, 1, one.Version)
	require.Equal(t, exp, one.ExperimentID)
	two, err := c.Scorers.Register(ctx, exp, "polite", judge)
	require.NoError(t, err)
	require.Equal(t, 2, two.Version)
	_, err = c.Scorers.Register(ctx, exp, "bad", json.RawMessage("no json"))
	is(t, err, mlops.ErrInvalid)

	newest, err := c.Scorers.Get(ctx, exp, "polite", 0)
	require.NoError(t, err)
	require.Equal(t, 2, newest.Version)
	require.Equal(t, one.ID, newest.ID)
	require.JSONEq(t, string(judge), string(newest.Serialized))
	list, err := mlops.Collect(c.Scorers.All(ctx, exp))
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, exp, list[0].ExperimentID)
	versions, err := mlops.Collect(c.Scorers.Versions(ctx, exp, "polite"))
	require.NoError(t, err)
	require.Len(t, versions, 2)

	set, err := c.Scorers.SetOnline(ctx, exp, "polite", 0, "trace.status = 'OK'")
	require.NoError(t, err)
	require.Equal(t, one.ID, set.ScorerID)
	settings, err := mlops.Collect(c.Scorers.Online(ctx, one.ID))
	require.NoError(t, err)
	require.Equal(t, []OnlineScoring{set}, settings)

	require.NoError(t, c.Scorers.Delete(ctx, exp, "polite", 1))
	_, err = c.Scorers.Get(ctx, exp, "polite", 1)
	is(t, err, mlops.ErrNotFound)
	require.NoError(t, c.Scorers.Delete(ctx, exp, "polite", 0))
}

func TestListsThatCannotBeMadeSayWhy(t *testing.T) {
	_, c := connect(t)
	ctx := t.Context()
	for name, list := range map[string]func() error{
		"traces": func() error {
			_, err := mlops.Collect(c.Traces.All(ctx, TraceQuery{Experiments: []string{"1"}, Filter: "a OR b"}))
			return err
		},
		"infos":      func() error { _, err := mlops.Collect(c.Traces.AllV2(ctx, TraceQuery{})); return err },
		"models":     func() error { _, err := mlops.Collect(c.LoggedModels.All(ctx, LoggedModelQuery{})); return err },
		"prompts":    func() error { _, err := mlops.Collect(c.Prompts.All(ctx, PromptQuery{Filter: "x"})); return err },
		"versions":   func() error { _, err := mlops.Collect(c.Prompts.Versions(ctx, "a'b")); return err },
		"workspaces": func() error { _, err := mlops.Collect(c.Workspaces.All(ctx)); return err },
		"metrics":    func() error { _, err := mlops.Collect(c.Traces.Metrics(ctx, TraceMetricQuery{})); return err },
	} {
		err := list()
		require.True(t, errors.Is(err, mlops.ErrInvalid) || errors.Is(err, mlops.ErrUnsupported), "%s: %v", name, err)
	}
}
