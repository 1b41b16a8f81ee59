package airflow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/internal/cassette"
)

// byHand writes a DAG file that this package does not write itself, and waits
// until the server knows its DAGs. NAME in it becomes name.
func byHand(t *testing.T, s *cassette.Session, c *airflow.Client, ctx context.Context, name, source string, ids ...string) {
	t.Helper()
	dir := dags(t, s)
	file := filepath.Join(dir, name+".py")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(source, "NAME", name)), 0o644))
	t.Cleanup(func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		_ = os.Remove(file)
		for _, id := range ids {
			_ = c.DAGs.Delete(end, id)
		}
	})
	for _, id := range ids {
		until(t, s, ctx, "the server knows "+id, func() bool {
			_, err := c.DAGs.Get(ctx, id)
			if !errors.Is(err, mlops.ErrNotFound) {
				require.NoError(t, err)
			}
			return err == nil
		})
	}
}

// until looks again and again whether something has come true.
func until(t *testing.T, s *cassette.Session, ctx context.Context, what string, true func() bool) {
	t.Helper()
	every := time.Microsecond
	if s.Live {
		every = 300 * time.Millisecond
	}
	look := time.NewTicker(every)
	defer look.Stop()
	for !true() {
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatalf("it never came true that %s: %v", what, ctx.Err())
		}
	}
}

func TestConnectionsShowNoSecretsAndTakeNoMasks(t *testing.T) {
	s, c, ctx := open(t)
	id, other := s.Name("conn"), s.Name("conn-other")
	spec := airflow.ConnectionSpec{ID: id, Type: "http", Host: "example.com", Port: 443, Login: "ada", Password: "canary", Description: hostile,
		Extra: map[string]any{"api_key": "canary", "region": "eu", "deep": map[string]any{"password": "canary", "n": 1.0}}}
	require.NoError(t, c.Connections.Create(ctx, spec))
	require.ErrorIs(t, c.Connections.Create(ctx, spec), mlops.ErrAlreadyExists)
	got, err := c.Connections.Get(ctx, id)
	require.NoError(t, err)
	hidden := airflow.Masked{Hidden: true}
	require.Equal(t, airflow.Connection{ID: id, Type: "http", Host: "example.com", Port: 443, Login: "ada", Password: hidden, Description: hostile,
		Extra: airflow.Extra{"api_key": hidden, "region": "eu", "deep": map[string]any{"password": hidden, "n": 1.0}}}, got)

	// What was read cannot be written back as asterisks.
	for _, bad := range []airflow.ConnectionSpec{
		{ID: id, Type: "http", Extra: got.Extra},
		{ID: id, Type: "http", Extra: map[string]any{"key": "***"}},
		{ID: id, Type: "http", Password: "***"},
	} {
		require.ErrorIs(t, c.Connections.Set(ctx, bad), mlops.ErrInvalid)
		_, err := c.Connections.SetAll(ctx, []airflow.ConnectionSpec{bad})
		require.ErrorIs(t, err, mlops.ErrInvalid)
	}
	require.NoError(t, c.Connections.Set(ctx, airflow.ConnectionSpec{ID: id, Type: "http", Host: "example.org"}))
	got, err = c.Connections.Get(ctx, id)
	require.NoError(t, err)
	require.Equal(t, airflow.Connection{ID: id, Type: "http", Host: "example.org", Password: hidden}, got, "what the new one leaves out is emptied, but for the password")

	done, err := c.Connections.SetAll(ctx, []airflow.ConnectionSpec{{ID: id, Type: "http", Password: "canary"}, {ID: other, Type: "postgres", Host: "db"}})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{id, other}, append(done.Created, done.Updated...))
	got, err = c.Connections.Get(ctx, id)
	require.NoError(t, err)
	require.Equal(t, airflow.Connection{ID: id, Type: "http", Password: hidden}, got, "the new password goes to the old host")
	got, err = c.Connections.Get(ctx, other)
	require.NoError(t, err)
	require.Equal(t, airflow.Connection{ID: other, Type: "postgres", Host: "db"}, got)
	found := 0
	for conn, err := range c.Connections.All(ctx) {
		require.NoError(t, err)
		if conn.ID == id || conn.ID == other {
			found++
		}
	}
	require.Equal(t, 2, found)
	_, err = c.Connections.Test(ctx, airflow.ConnectionSpec{ID: id, Type: "http", Host: "127.0.0.1"})
	require.ErrorIs(t, err, mlops.ErrForbidden, "a server of ours tests no connections for others")

	_, err = c.Connections.DeleteAll(ctx, []string{id, "nothing"})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	failed, ok := errors.AsType[*airflow.BulkError](err)
	require.True(t, ok)
	require.Equal(t, airflow.BulkActionDelete, failed.Failed[0].Action)
	require.Contains(t, err.Error(), "nothing")
	done, err = c.Connections.DeleteAll(ctx, []string{other})
	require.NoError(t, err)
	require.Equal(t, []string{other}, done.Deleted)
	require.NoError(t, c.Connections.Delete(ctx, id))
	require.ErrorIs(t, c.Connections.Delete(ctx, id), mlops.ErrNotFound)
	require.NoError(t, c.Connections.CreateDefaults(ctx))
}

func TestVariablesHoldWhatJSONHolds(t *testing.T) {
	s, c, ctx := open(t)
	plain, secret, many := s.Name("plain"), s.Name("api_key"), s.Name("many")
	require.NoError(t, c.Variables.Create(ctx, airflow.VariableSpec{Key: plain, Value: hostile, Description: "a text"}))
	require.ErrorIs(t, c.Variables.Create(ctx, airflow.VariableSpec{Key: plain, Value: ""}), mlops.ErrAlreadyExists)
	got, err := c.Variables.Get(ctx, plain)
	require.NoError(t, err)
	require.Equal(t, hostile, string(got.Value.Value))
	require.Equal(t, "a text", got.Description)

	require.NoError(t, c.Variables.Set(ctx, airflow.VariableSpec{Key: plain, Value: map[string]any{"rank": 16, "on": []any{true, nil}}}))
	got, err = c.Variables.Get(ctx, plain)
	require.NoError(t, err)
	require.JSONEq(t, `{"rank": 16, "on": [true, null]}`, string(got.Value.Value))
	require.Empty(t, got.Description)

	require.NoError(t, c.Variables.Set(ctx, airflow.VariableSpec{Key: plain, Value: "x", Description: "again"}))
	_, err = c.Variables.SetAll(ctx, []airflow.VariableSpec{{Key: plain, Value: "y"}})
	require.NoError(t, err)
	got, err = c.Variables.Get(ctx, plain)
	require.NoError(t, err)
	require.Equal(t, airflow.Variable{Key: plain, Value: airflow.Masked{Value: "y"}, Encrypted: true}, got, "what SetAll leaves out is emptied, too")

	done, err := c.Variables.SetAll(ctx, []airflow.VariableSpec{{Key: secret, Value: "canary"}, {Key: many, Value: "x"}})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{secret, many}, done.Created)
	got, err = c.Variables.Get(ctx, secret)
	require.NoError(t, err)
	require.Equal(t, airflow.Masked{Hidden: true}, got.Value)
	for _, v := range []any{got.Value, "***", map[string]any{"a": []any{"***"}}} {
		require.ErrorIs(t, c.Variables.Set(ctx, airflow.VariableSpec{Key: secret, Value: v}), mlops.ErrInvalid)
	}
	found := 0
	for v, err := range c.Variables.All(ctx) {
		require.NoError(t, err)
		if v.Key == plain || v.Key == secret || v.Key == many {
			found++
		}
	}
	require.Equal(t, 3, found)
	_, err = c.Variables.DeleteAll(ctx, []string{secret, "nothing"})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = c.Variables.DeleteAll(ctx, []string{secret, many})
	require.NoError(t, err)
	require.NoError(t, c.Variables.Delete(ctx, plain))
	_, err = c.Variables.Get(ctx, plain)
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

func TestAPrefixSelectsWhatBeginsWithItOnly(t *testing.T) {
	s, c, ctx := open(t)
	dir, name := dags(t, s), s.Name("lora")
	mine := airflow.DAGSpec{ID: name + ".train", Paused: true, Tasks: []airflow.TaskSpec{{ID: "one", Bash: "true"}}}
	other, another := mine, mine
	other.ID, another.ID = name+"-finetuning.train", name+"2.train"
	for _, d := range []airflow.DAGSpec{mine, other, another} {
		deploy(t, ctx, c, dir, d)
	}
	q := airflow.DAGQuery{Prefix: name + "."}
	found, err := mlops.Collect(c.DAGs.All(ctx, q))
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, mine.ID, found[0].ID)

	n, err := c.DAGs.PauseAll(ctx, q, false)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	for id, paused := range map[string]bool{mine.ID: false, other.ID: true, another.ID: true} {
		dag, err := c.DAGs.Get(ctx, id)
		require.NoError(t, err)
		require.Equal(t, paused, dag.Paused, id)
	}
}

func TestTheServerTellsWhatItIsMadeOf(t *testing.T) {
	s, c, ctx := open(t)
	d := airflow.DAGSpec{ID: s.Name("parts"), Description: "first", Paused: true, Tags: []string{s.Name("tag")}, Tasks: []airflow.TaskSpec{{ID: "one", Bash: "true", Retries: 2}, {ID: "two", Bash: "true", After: []string{"one"}}}}
	dag := deploy(t, ctx, c, dags(t, s), d)

	details, err := c.DAGs.Details(ctx, d.ID)
	require.NoError(t, err)
	require.Equal(t, d.ID, details.ID)
	require.Equal(t, d.Hash(), details.Hash())
	require.Equal(t, "UTC", details.Timezone)
	require.NotNil(t, details.LatestVersion)
	tags, err := mlops.Collect(c.DAGs.Tags(ctx))
	require.NoError(t, err)
	require.Contains(t, tags, d.Tags[0])
	versions, err := mlops.Collect(c.DAGs.Versions(ctx, d.ID))
	require.NoError(t, err)
	require.NotEmpty(t, versions)
	v, err := c.DAGs.Version(ctx, d.ID, versions[0].Number)
	require.NoError(t, err)
	require.Equal(t, versions[0], v)
	src, err := d.Python()
	require.NoError(t, err)
	got, err := c.DAGs.Source(ctx, d.ID, 0)
	require.NoError(t, err)
	require.Equal(t, string(src), got)
	require.NoError(t, c.DAGs.Favorite(ctx, d.ID))
	require.NoError(t, c.DAGs.Unfavorite(ctx, d.ID))
	require.ErrorIs(t, c.DAGs.Unfavorite(ctx, d.ID), mlops.ErrConflict)
	tasks, err := c.DAGs.Tasks(ctx, d.ID)
	require.NoError(t, err)
	require.Len(t, tasks, 2)
	one, err := c.DAGs.Task(ctx, d.ID, "one")
	require.NoError(t, err)
	require.Equal(t, []string{"two"}, one.Downstream)
	require.Equal(t, 2.0, one.Retries)
	require.Equal(t, "BashOperator", one.Operator)
	require.NoError(t, c.DAGs.Reparse(ctx, dag.FileToken))
	require.ErrorIs(t, c.DAGs.Reparse(ctx, "nonsense"), mlops.ErrNotFound)
	for _, q := range []airflow.DAGQuery{{Tags: d.Tags}, {Prefix: d.ID}} {
		for _, paused := range []bool{false, true} {
			n, err := c.DAGs.PauseAll(ctx, q, paused)
			require.NoError(t, err)
			require.Equal(t, 1, n)
			dag, err := c.DAGs.Get(ctx, d.ID)
			require.NoError(t, err)
			require.Equal(t, paused, dag.Paused)
		}
	}
	_, err = mlops.Collect(c.DAGs.Warnings(ctx, d.ID))
	require.NoError(t, err)
	_, err = c.DAGs.ImportError(ctx, 1<<30)
	require.ErrorIs(t, err, mlops.ErrNotFound)

	run, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{RunID: s.Name("run")})
	require.NoError(t, err)
	stats, err := c.DAGs.Stats(ctx, d.ID)
	require.NoError(t, err)
	require.Equal(t, 1, stats[d.ID][airflow.StateQueued])
	events, err := mlops.Collect(c.Server.Events(ctx, airflow.EventQuery{DAGID: d.ID, Events: []string{"trigger_dag_run"}}))
	require.NoError(t, err)
	require.NotEmpty(t, events, "who triggered %s is not in the log", run.ID)
	e, err := c.Server.Event(ctx, events[0].ID)
	require.NoError(t, err)
	require.Equal(t, events[0], e)

	for job, err := range c.Server.Jobs(ctx, airflow.JobQuery{Type: "SchedulerJob", Alive: true}) {
		require.NoError(t, err)
		require.Equal(t, airflow.StateRunning, job.State)
	}
	_, err = mlops.Collect(c.Server.Plugins(ctx))
	require.NoError(t, err)
	_, err = c.Server.PluginErrors(ctx)
	require.NoError(t, err)
	providers, err := mlops.Collect(c.Server.Providers(ctx))
	require.NoError(t, err)
	require.NotEmpty(t, providers)
	_, err = c.Server.Config(ctx, "core")
	require.ErrorIs(t, err, mlops.ErrForbidden, "the stack's server shows no configuration")
	_, err = c.Server.ConfigValue(ctx, "core", "parallelism")
	require.ErrorIs(t, err, mlops.ErrForbidden)

	var version struct{ Version string }
	require.NoError(t, c.Do(ctx, "GET", "/api/v2/version", nil, nil, &version))
	require.Regexp(t, `^3\.`, version.Version)
	var raw []byte
	require.NoError(t, c.Do(ctx, "GET", "/api/v2/version", nil, nil, &raw))
	require.True(t, json.Valid(raw))
	require.NoError(t, c.Do(ctx, "GET", "/api/v2/version", nil, nil, nil))
	require.ErrorIs(t, c.Do(ctx, "GET", "/api/v2/version", nil, nil, new([]int)), mlops.ErrInvalid)
	require.ErrorIs(t, c.Do(ctx, "GET", "/api/v2/nothing", nil, nil, nil), mlops.ErrUnsupported)
}

func TestABackfillMakesTheRunsOfThePast(t *testing.T) {
	s, c, ctx := open(t)
	d := airflow.DAGSpec{ID: s.Name("past"), Schedule: "@daily", Start: day(2026, 1, 1), Paused: true, Tasks: []airflow.TaskSpec{{ID: "one", Bash: "true"}}}
	deploy(t, ctx, c, dags(t, s), d)
	spec := airflow.BackfillSpec{DAGID: d.ID, From: day(2026, 2, 1), To: day(2026, 2, 3), Conf: map[string]any{"why": "late data"}, MaxActiveRuns: 1, Reprocess: airflow.BackfillReprocessFailed}
	dates, err := c.Backfills.DryRun(ctx, spec)
	require.NoError(t, err)
	require.Equal(t, []time.Time{day(2026, 2, 1), day(2026, 2, 2), day(2026, 2, 3)}, dates)
	b, err := c.Backfills.Create(ctx, spec)
	require.NoError(t, err)
	require.Equal(t, d.ID, b.DAGID)
	_, err = c.Backfills.Create(ctx, spec)
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.ErrorContains(t, err, fmt.Sprintf("it is backfill %d", b.ID))
	b, err = c.Backfills.Pause(ctx, b.ID)
	require.NoError(t, err)
	require.True(t, b.Paused)
	b, err = c.Backfills.Unpause(ctx, b.ID)
	require.NoError(t, err)
	require.False(t, b.Paused)
	got, err := c.Backfills.Get(ctx, b.ID)
	require.NoError(t, err)
	require.Equal(t, airflow.BackfillReprocessFailed, got.Reprocess)
	all, err := mlops.Collect(c.Backfills.All(ctx, d.ID))
	require.NoError(t, err)
	require.Len(t, all, 1)
	runs, err := mlops.Collect(c.Runs.All(ctx, d.ID, airflow.DAGRunQuery{Type: "backfill"}))
	require.NoError(t, err)
	require.Len(t, runs, 3)
	require.Equal(t, spec.Conf, runs[0].Conf)
	b, err = c.Backfills.Cancel(ctx, b.ID)
	require.NoError(t, err)
	require.False(t, b.Completed.IsZero())
	_, err = c.Backfills.Cancel(ctx, b.ID)
	require.ErrorIs(t, err, mlops.ErrConflict)

	d.Schedule, d.ID = "", s.Name("manual")
	deploy(t, ctx, c, dags(t, s), d)
	spec.DAGID = d.ID
	_, err = c.Backfills.Create(ctx, spec)
	require.ErrorIs(t, err, mlops.ErrInvalid, "a DAG without a schedule has no past")
}
