package mlflow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// connect opens the way to the server, or to what it answered before. Records
// wait for Flush, so that the requests are the same each time.
func connect(t *testing.T) (*cassette.Session, *Client) {
	t.Helper()
	t.Parallel()
	s := cassette.Open(t, "mlflow")
	return s, clientOf(t, s, s.HTTP)
}

// clientOf is a client of the session's server, with a home of its own.
func clientOf(t *testing.T, s *cassette.Session, hc *http.Client) *Client {
	t.Helper()
	c, err := New(Options{URL: s.URL, Auth: s.Auth, HTTP: hc, Journal: Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	c.linger = time.Hour
	c.pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	c.newUID = uids(s)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// uids makes IDs that are new each time with a real server, and those of the
// recording otherwise: they are part of look-ups.
func uids(s *cassette.Session) func() string {
	var n atomic.Int32
	return func() string {
		sum := sha256.Sum256([]byte(s.Name(fmt.Sprintf("uid-%d", n.Add(1)))))
		return hex.EncodeToString(sum[:16])
	}
}

// plain keeps this machine's user and program out of the recorded requests.
var plain = map[string]string{"mlflow.user": "tester", "mlflow.source.name": "test"}

func startRun(t *testing.T, s *cassette.Session, c *Client) (*Run, string) {
	t.Helper()
	exp, err := c.CreateExperiment(t.Context(), s.Name("exp"), ExperimentOptions{})
	require.NoError(t, err)
	run, err := c.StartRun(t.Context(), Experiment{ID: exp}, RunOptions{Name: "first", Tags: plain})
	require.NoError(t, err)
	return run, exp
}

// pythonEnv is how Python's client reaches the server, as "mlopsctl status
// --env" has it: a stack in containers has a store that we do not reach.
func pythonEnv(s *cassette.Session) []string {
	env := append(os.Environ(), "MLFLOW_TRACKING_URI="+s.URL, "MLFLOW_TRACKING_USERNAME="+s.Auth.Username,
		"MLFLOW_TRACKING_PASSWORD="+string(s.Auth.Password), "MLFLOW_DISABLE_TELEMETRY=true", "PYTHONWARNINGS=ignore")
	if home, err := mlops.Home(); err == nil {
		if stack, err := stackfile.Read(home); err == nil && stack.Runtime == "docker" {
			env = append(env, "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD=false")
		}
	}
	return env
}

// python runs a script with the MLflow client, logged in; live only.
func python(t *testing.T, s *cassette.Session, script string, args ...string) string {
	t.Helper()
	interpreter := os.Getenv("MLOPS_LIVE_PYTHON_MLFLOW")
	if interpreter == "" {
		home, err := mlops.Home()
		require.NoError(t, err)
		stack, err := stackfile.Read(home)
		require.NoError(t, err, "MLOPS_LIVE_PYTHON_MLFLOW names no Python and no stack runs")
		interpreter = stack.Pythons["mlflow"]
	}
	cmd := exec.CommandContext(t.Context(), interpreter, append([]string{"-c", script}, args...)...)
	cmd.Env = pythonEnv(s)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	return strings.TrimSpace(string(out))
}

func TestVersionIsThatOfAnMLflowServer(t *testing.T) {
	_, c := connect(t)
	v, err := c.Version(t.Context())
	require.NoError(t, err)
	require.Regexp(t, `^[23]\.\d+`, v)
}

func TestExperimentsAreMadeFoundTaggedDeletedAndRestored(t *testing.T) {
	s, c := connect(t)
	ctx, name := t.Context(), s.Name("exp")
	id, err := c.CreateExperiment(ctx, name, ExperimentOptions{Tags: map[string]string{"mlops.project": "wine"}})
	require.NoError(t, err)
	require.NoError(t, c.SetExperimentTag(ctx, id, "owner", "team ü"))
	e, err := c.Experiment(ctx, id)
	require.NoError(t, err)
	require.Equal(t, name, e.Name)
	delete(e.Tags, createTag)
	require.Equal(t, Tags{"mlops.project": "wine", "owner": "team ü"}, e.Tags)
	require.False(t, e.Created.IsZero())

	list, err := mlops.Collect(c.Experiments(ctx, ExperimentQuery{Filter: "name = '" + name + "'"}))
	require.NoError(t, err)
	require.Len(t, list, 1)

	_, err = c.CreateExperiment(ctx, name, ExperimentOptions{})
	require.ErrorIs(t, err, mlops.ErrAlreadyExists)
	require.NoError(t, c.DeleteExperiment(ctx, id))
	e, err = c.ExperimentByName(ctx, name)
	require.NoError(t, err)
	require.True(t, e.Deleted, "MLflow finds deleted experiments by name")
	require.NoError(t, c.RestoreExperiment(ctx, id))
	e, err = c.Experiment(ctx, id)
	require.NoError(t, err)
	require.False(t, e.Deleted)
}

func TestEverythingLoggedInOneCallArrivesExactly(t *testing.T) {
	s, c := connect(t)
	run, exp := startRun(t, s, c)
	ctx := t.Context()
	var points []Metric
	for i := range 2500 {
		points = append(points, Metric{Key: fmt.Sprintf("m%d", i%5), Value: float64(i) / 8, Step: int64(i / 5), Time: time.UnixMilli(1_700_000_000_000 + int64(i))})
	}
	params, tags := map[string]any{}, map[string]string{}
	for i := range 250 {
		params[fmt.Sprintf("p%03d", i)] = float64(i)
	}
	for i := range 150 {
		tags[fmt.Sprintf("t%03d", i)] = fmt.Sprint(i)
	}
	require.NoError(t, run.LogPoints(ctx, points...))
	require.NoError(t, run.LogParams(ctx, params))
	require.NoError(t, run.SetTags(ctx, tags))
	require.NoError(t, run.LogInputs(ctx, DatasetInput{Name: "wine", Digest: "abc", SourceType: "dvc", Source: "{}", Context: "training"}))
	require.NoError(t, run.Flush(ctx))
	require.Zero(t, run.Pending())
	require.NoError(t, run.End(ctx, nil))

	info, err := c.RunInfo(ctx, run.UID)
	require.NoError(t, err, "a run is found by its UID too")
	id, err := run.ID(ctx)
	require.NoError(t, err)
	require.Equal(t, id, info.ID)
	require.Equal(t, RunFinished, info.Status)
	require.Equal(t, "first", info.Name)
	require.Equal(t, "tester", info.Tags["mlflow.user"])
	require.Equal(t, exp, info.ExperimentID)
	require.False(t, info.End.Before(info.Start))
	require.Len(t, info.Params, 250)
	require.Equal(t, "17.0", info.Params["p017"])
	require.Len(t, info.Metrics, 5)
	require.Equal(t, "wine", info.Inputs[0].Name)
	require.Equal(t, "training", info.Inputs[0].Context)
	n := 0
	for k := range info.Tags {
		if strings.HasPrefix(k, "t") {
			n++
		}
	}
	require.Equal(t, 150, n)
	total := 0
	for k := range 5 {
		history, err := mlops.Collect(c.MetricHistory(ctx, id, fmt.Sprintf("m%d", k)))
		require.NoError(t, err)
		for _, m := range history {
			i := int(m.Step)*5 + k
			require.Equal(t, Metric{Key: m.Key, Value: float64(i) / 8, Step: int64(i / 5), Time: time.UnixMilli(1_700_000_000_000 + int64(i)).UTC()}, m)
		}
		total += len(history)
	}
	require.Equal(t, 2500, total)
}

func TestNumbersSurviveTheWay(t *testing.T) {
	s, c := connect(t)
	run, _ := startRun(t, s, c)
	ctx := t.Context()
	at := time.UnixMilli(9_007_199_254_740_993) // 2^53+1: a float would lose the 1
	values := map[string]float64{"nan": math.NaN(), "inf": math.Inf(1), "ninf": math.Inf(-1), "max": math.MaxFloat64, "min": -math.MaxFloat64, "tiny": 5e-324}
	for k, v := range values {
		require.NoError(t, run.LogPoints(ctx, Metric{Key: k, Value: v, Time: at, Step: math.MaxInt64}))
	}
	require.NoError(t, run.LogPoints(ctx, Metric{Key: "low", Value: 1, Time: at, Step: math.MinInt64}))
	require.NoError(t, run.Flush(ctx))
	id, err := run.ID(ctx)
	require.NoError(t, err)
	info, err := c.RunInfo(ctx, id)
	require.NoError(t, err)
	for k, v := range values {
		m, ok := info.Metric(k)
		require.True(t, ok, k)
		switch {
		case math.IsNaN(v):
			require.True(t, math.IsNaN(m.Value))
		case math.IsInf(v, 0):
			require.Equal(t, math.Copysign(math.MaxFloat64, v), m.Value, "what MLflow keeps of an infinity")
		default:
			require.Equal(t, v, m.Value, k)
		}
		require.Equal(t, int64(math.MaxInt64), m.Step)
		require.Equal(t, at.UTC(), m.Time)
	}
	low, ok := info.Metric("low")
	require.True(t, ok)
	require.Equal(t, int64(math.MinInt64), low.Step)
	if s.Live {
		require.Equal(t, "nan 1.7976931348623157e+308 -1.7976931348623157e+308 9223372036854775807 9007199254740993", python(t, s, `
import sys, mlflow
c = mlflow.MlflowClient()
h = {k: c.get_metric_history(sys.argv[1], k) for k in ("nan", "inf", "ninf")}
assert all(len(v) == 1 for v in h.values()), h
print(*(v[0].value for v in h.values()), h["nan"][0].step, h["nan"][0].timestamp)`, id))
	}
}

func TestARefusedRecordDoesNotTakeTheOthersWithIt(t *testing.T) {
	s, c := connect(t)
	run, _ := startRun(t, s, c)
	ctx := t.Context()
	require.NoError(t, run.LogParam(ctx, "lr", 0.1))
	require.NoError(t, run.Flush(ctx))

	require.NoError(t, run.LogParams(ctx, map[string]any{"lr": 0.2, "depth": 3, "a": 1, "b": 2, "c": nil}))
	require.NoError(t, run.LogMetrics(ctx, 0, map[string]float64{"loss": 1, "bad!key": 2, "acc": 3}))
	require.NoError(t, run.SetTag(ctx, "kept", "yes"))
	require.Error(t, run.LogParams(ctx, map[string]any{"long": strings.Repeat("é", 6001), "fits": strings.Repeat("é", 6000)}))
	require.ErrorContains(t, run.SetTag(ctx, "long", strings.Repeat("x", 8001)), "8001 characters; MLflow would cut it to 8000")

	err := run.Flush(ctx)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, `param "lr": mlflow: LogBatch: Changing param values is not allowed`)
	require.ErrorContains(t, err, `metric "bad!key" at step 0`)
	require.NotContains(t, err.Error(), "depth")
	require.NoError(t, run.Flush(ctx), "a refusal is reported once")
	require.Zero(t, run.Pending())

	id, _ := run.ID(ctx)
	info, err := c.RunInfo(ctx, id)
	require.NoError(t, err)
	fits := info.Params["fits"]
	delete(info.Params, "fits")
	require.Equal(t, map[string]string{"lr": "0.1", "depth": "3", "a": "1", "b": "2", "c": "None"}, info.Params)
	require.Len(t, []rune(fits), 6000)
	require.Len(t, info.Metrics, 2)
	require.Equal(t, "yes", info.Tags["kept"])
}

func TestTheFirstStartRunGoesOnWithTheRunThatIsNamed(t *testing.T) {
	s, c := connect(t)
	outer, exp := startRun(t, s, c)
	ctx := t.Context()
	id, err := outer.ID(ctx)
	require.NoError(t, err)
	inner := clientOf(t, s, s.HTTP)
	inner.target = Target{RunID: id, ExperimentID: exp}
	begun := func(o RunOptions) string {
		t.Helper()
		run, err := inner.StartRun(ctx, Experiment{ID: exp}, o)
		require.NoError(t, err)
		defer func() { require.NoError(t, run.End(ctx, nil)) }()
		got, err := run.ID(ctx)
		require.NoError(t, err)
		return got
	}
	require.NotEqual(t, id, begun(RunOptions{New: true, Tags: plain}))
	require.NotEqual(t, id, begun(RunOptions{Parent: id, Tags: plain}))
	require.Equal(t, id, begun(RunOptions{Tags: map[string]string{"inner": "yes"}}))
	require.NotEqual(t, id, begun(RunOptions{Tags: plain}), "as in Python, the second is a run of its own")
	info, err := c.RunInfo(ctx, id)
	require.NoError(t, err)
	require.Equal(t, "yes", info.Tags["inner"])
}

func TestARunIsResumedEndedAndNested(t *testing.T) {
	s, c := connect(t)
	run, exp := startRun(t, s, c)
	ctx := t.Context()
	id, _ := run.ID(ctx)
	boom := errors.New("boom")
	require.Equal(t, boom, run.End(ctx, boom), "End returns the caller's error")
	info, err := c.RunInfo(ctx, id)
	require.NoError(t, err)
	require.Equal(t, RunFailed, info.Status)

	again, err := c.ResumeRun(ctx, id, RunOptions{Name: "second", Tags: map[string]string{"try": "2"}})
	require.NoError(t, err)
	require.Equal(t, run.UID, again.UID)
	info, err = c.RunInfo(ctx, id)
	require.NoError(t, err)
	require.Equal(t, RunRunning, info.Status)
	require.Equal(t, "second", info.Name)
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, again.End(stopped, stopped.Err()), context.Canceled)
	info, err = c.RunInfo(ctx, id)
	require.NoError(t, err)
	require.Equal(t, RunKilled, info.Status, "an end is told although its context is done")
	require.Equal(t, "2", info.Tags["try"])

	child, err := c.StartRun(ctx, Experiment{ID: exp}, RunOptions{Parent: id, Description: "inner", Tags: plain})
	require.NoError(t, err)
	require.NoError(t, child.End(ctx, nil))
	childID, _ := child.ID(ctx)
	info, err = c.RunInfo(ctx, childID)
	require.NoError(t, err)
	require.Equal(t, id, info.Tags["mlflow.parentRunId"])
	require.Equal(t, "inner", info.Tags["mlflow.note.content"])
	runs, err := mlops.Collect(c.Runs(ctx, RunQuery{Experiments: []string{exp}, Filter: "tags.try = '2'"}))
	require.NoError(t, err)
	require.Len(t, runs, 1)
}

// dropped passes requests on and loses the answers to some.
type dropped struct {
	next http.RoundTripper
	path string
	mu   sync.Mutex
	left int
	seen int
	lose bool // the request never reaches the server
}

func (d *dropped) RoundTrip(req *http.Request) (*http.Response, error) {
	next := d.next
	if next == nil {
		next = http.DefaultTransport
	}
	if d.lose && d.seen == 0 && strings.HasSuffix(req.URL.Path, d.path) && req.Method == "POST" {
		d.seen++
		return nil, io.ErrUnexpectedEOF
	}
	resp, err := next.RoundTrip(req)
	if err != nil || !strings.HasSuffix(req.URL.Path, d.path) || req.Method != "POST" {
		return resp, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen++; d.left > 0 {
		d.left--
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return nil, io.ErrUnexpectedEOF
	}
	return resp, nil
}

func TestACreateWhoseAnswerGotLostIsNotRepeated(t *testing.T) {
	for _, path := range []string{"runs/create", "model-versions/create", "logged-models", "registered-models/create", "experiments/create"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			s := cassette.Open(t, "mlflow")
			since(t, s, "3.0", "logged models")
			fault := &dropped{next: s.HTTP.Transport, path: path, left: 1}
			c := clientOf(t, s, &http.Client{Transport: fault})
			c.linger = 0
			run, exp := startRun(t, s, c)
			ctx := t.Context()
			require.NoError(t, run.LogMetric(ctx, 1, "loss", 1))
			require.NoError(t, run.Flush(ctx))
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "model.py"), []byte(echoModel), 0o644))
			v, err := run.LogModel(ctx, dir, ModelSpec{Name: s.Name("model"), Flavors: []Flavor{PyFunc{Code: "model.py"}}})
			require.NoError(t, err)
			require.Equal(t, "1", v.Version)
			require.NoError(t, run.End(ctx, nil))

			require.Equal(t, 1, fault.seen, "%s was sent again although the server had acted", path)
			runs, err := mlops.Collect(c.Runs(ctx, RunQuery{Experiments: []string{exp}}))
			require.NoError(t, err)
			require.Len(t, runs, 1)
			require.Equal(t, run.UID, runs[0].UID)
			require.Len(t, runs[0].Models, 1)
			versions, err := mlops.Collect(c.Models.Versions(ctx, ModelQuery{Filter: "name = '" + v.Name + "'"}))
			require.NoError(t, err)
			require.Len(t, versions, 1)
		})
	}
}

func TestErrorsAreOfTheRightKind(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.0", "kinds for what is wrong with an artifact or a model's alias")
	ctx := t.Context()
	run, exp := startRun(t, s, c)
	id, _ := run.ID(ctx)
	name := s.Name("model")
	_, err := c.Models.Create(ctx, name, ModelOptions{Description: "d", Tags: map[string]string{"a": "b"}})
	require.NoError(t, err)
	require.NoError(t, run.LogText(ctx, "x", "dir/file.txt"))
	require.NoError(t, run.Flush(ctx))
	nobody, err := New(Options{URL: s.URL, HTTP: s.HTTP, Auth: mlops.Auth{Username: "admin", Password: "wrong"}})
	require.NoError(t, err)
	for _, tt := range []struct {
		name string
		do   func() error
		kind error
		code string
	}{
		{"run", func() error { _, err := c.RunInfo(ctx, "nope"); return err }, mlops.ErrNotFound, "RESOURCE_DOES_NOT_EXIST"},
		{"experiment", func() error { _, err := c.Experiment(ctx, "999999"); return err }, mlops.ErrNotFound, "RESOURCE_DOES_NOT_EXIST"},
		{"model", func() error { _, err := c.Models.Get(ctx, "nope"); return err }, mlops.ErrNotFound, "RESOURCE_DOES_NOT_EXIST"},
		{"version", func() error { _, err := c.Models.Version(ctx, name, "7"); return err }, mlops.ErrNotFound, "RESOURCE_DOES_NOT_EXIST"},
		{"alias", func() error { _, err := c.Models.VersionByAlias(ctx, name, "nope"); return err }, mlops.ErrNotFound, "INVALID_PARAMETER_VALUE"},
		{"alias of no model", func() error { _, err := c.Models.VersionByAlias(ctx, "nope", "nope"); return err }, mlops.ErrNotFound, "RESOURCE_DOES_NOT_EXIST"},
		{"model twice", func() error { _, err := c.Models.Create(ctx, name, ModelOptions{}); return err }, mlops.ErrAlreadyExists, "RESOURCE_ALREADY_EXISTS"},
		{"reserved alias", func() error { return c.Models.SetAlias(ctx, name, "latest", "1") }, mlops.ErrInvalid, "INVALID_PARAMETER_VALUE"},
		{"filter", func() error {
			_, err := mlops.Collect(c.Runs(ctx, RunQuery{Experiments: []string{exp}, Filter: "a OR b"}))
			return err
		}, mlops.ErrInvalid, "INVALID_PARAMETER_VALUE"},
		{"artifact", func() error { _, err := c.Download(ctx, id, "none.txt"); return err }, mlops.ErrNotFound, ""},
		{"artifact is a folder", func() error { _, err := c.Download(ctx, id, "dir"); return err }, mlops.ErrInvalid, ""},
		{"artifact outside", func() error { _, err := c.Download(ctx, id, "../../x"); return err }, mlops.ErrInvalid, ""},
		{"unknown call", func() error { _, err := get[struct{}](ctx, c, "X", "no-such-call", nil); return err }, mlops.ErrUnsupported, ""},
		{"wrong method", func() error { _, err := get[struct{}](ctx, c, "X", "runs/create", nil); return err }, mlops.ErrUnsupported, ""},
		{"status", func() error { return c.UpdateRun(ctx, id, RunUpdate{Status: "DONE"}) }, mlops.ErrInvalid, ""},
		{"nowhere", func() error { return c.DownloadDir(ctx, id, "none", t.TempDir()) }, mlops.ErrNotFound, ""},
		{"credentials", func() error { _, err := nobody.Models.Get(ctx, name+"-x"); return err }, mlops.ErrUnauthenticated, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.do()
			require.ErrorIs(t, err, tt.kind)
			if tt.code != "" {
				e, ok := errors.AsType[*mlops.Error](err)
				require.True(t, ok)
				require.Equal(t, tt.code, e.Code)
			}
		})
	}
	require.NoError(t, c.DeleteRun(ctx, id))
	require.NoError(t, run.LogMetric(ctx, 0, "loss", 1))
	require.ErrorIs(t, run.Flush(ctx), mlops.ErrInvalid, "MLflow takes nothing for a deleted run")
	require.NoError(t, c.RestoreRun(ctx, id))
}
