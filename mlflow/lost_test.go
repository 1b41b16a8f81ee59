package mlflow

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// dropper is a proxy before the real server. It drops the answer to the first
// request of each kind that changes something, after the server gave it.
type dropper struct {
	*httptest.Server
	mu      sync.Mutex
	dropped map[string]bool
	armed   bool
}

func newDropper(t *testing.T, to string) *dropper {
	t.Helper()
	target, err := url.Parse(to)
	require.NoError(t, err)
	d := &dropper{}
	d.Server = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(resp *http.Response) error {
			if d.drops(resp.Request) && resp.StatusCode < 300 {
				panic(http.ErrAbortHandler) // the connection is closed without an answer
			}
			return nil
		},
	})
	t.Cleanup(d.Close)
	return d
}

func (d *dropper) drops(req *http.Request) bool {
	if req.Method == "GET" || strings.Contains(req.URL.Path, "search") {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	what := req.Method + " " + req.URL.Path
	if !d.armed || d.dropped[what] {
		return false
	}
	d.dropped[what] = true
	return true
}

// arm has the proxy drop answers, and returns how many it dropped.
func (d *dropper) arm(on bool) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.dropped)
	d.armed, d.dropped = on, map[string]bool{}
	return n
}

// count counts what is in a list and fits.
func count[T any](t *testing.T, list iter.Seq2[T, error], is func(T) bool) int {
	t.Helper()
	n := 0
	for v, err := range list {
		require.NoError(t, err)
		if is(v) {
			n++
		}
	}
	return n
}

func TestEachAnswerThatGetsLostLeavesExactlyOne(t *testing.T) {
	s := live(t)
	d := newDropper(t, s.URL)
	c, err := New(Options{URL: d.URL, Auth: s.Auth, Journal: Journal{Dir: t.TempDir()}, Backoff: -1})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	c.pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	c.linger = 0
	ctx, n := t.Context(), s.Name("lost")
	exp, err := c.CreateExperiment(ctx, n+"-exp", ExperimentOptions{})
	require.NoError(t, err)
	r, err := c.StartRun(ctx, Experiment{ID: exp}, RunOptions{})
	require.NoError(t, err)
	id, err := r.ID(ctx)
	require.NoError(t, err)
	_, err = c.Models.Create(ctx, n+"-model", ModelOptions{})
	require.NoError(t, err)
	v, err := c.Models.CreateVersion(ctx, n+"-model", "s3://nowhere/1", ModelVersionOptions{})
	require.NoError(t, err)
	logged, err := c.LoggedModels.Create(ctx, exp, LoggedModelOptions{Name: "base", RunID: id})
	require.NoError(t, err)
	trace, err := c.Traces.Start(ctx, TraceInfo{ExperimentID: exp})
	require.NoError(t, err)
	data, err := c.EvalDatasets.Create(ctx, n+"-base", EvalDatasetOptions{Experiments: []string{exp}})
	require.NoError(t, err)
	user, role := n+"-u", n+"-r"
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "model.py"), []byte("import mlflow\n"), 0o600))
	rid := int64(0)
	isName := func(want string) func(Model) bool {
		return func(m Model) bool { return m.Name == want }
	}
	run := func() RunInfo {
		info, err := c.RunInfo(ctx, id)
		require.NoError(t, err)
		return info
	}
	bool1 := func(is bool) int {
		if is {
			return 1
		}
		return 0
	}
	judge := json.RawMessage(`{"name":"polite","aggregations":null,"is_session_level_scorer":false,"mlflow_version":"3.17.2","serialization_version":1,"instructions_judge_pydantic_data":{"instructions":"Is {{ outputs }} polite?","model":"openai:/gpt-4o-mini"},"builtin_scorer_class":null,"builtin_scorer_pydantic_data":null,"call_source":null,"call_signature":null,"original_func_name":null}`)
	for _, tt := range []struct {
		name string
		do   func() error
		n    func() int // how many of it there are
	}{
		{"experiment", func() error { return second(c.CreateExperiment(ctx, n+"-e", ExperimentOptions{})) },
			func() int {
				return count(t, c.Experiments(ctx, ExperimentQuery{Filter: "name = '" + n + "-e'"}), func(Experiment) bool { return true })
			}},
		{"experiment tag", func() error { return c.SetExperimentTag(ctx, exp, "k", "v") },
			func() int { e, _ := c.Experiment(ctx, exp); return bool1(e.Tags["k"] == "v") }},
		{"experiment's name", func() error { return c.RenameExperiment(ctx, exp, n+"-exp2") },
			func() int { e, _ := c.Experiment(ctx, exp); return bool1(e.Name == n+"-exp2") }},
		{"run", func() error {
			r, err := c.StartRun(ctx, Experiment{ID: exp}, RunOptions{Name: n + "-run", New: true})
			require.NoError(t, err)
			require.NoError(t, r.LogMetric(ctx, 1, "m", 1))
			return r.End(ctx, nil)
		}, func() int {
			return count(t, c.Runs(ctx, RunQuery{Experiments: []string{exp}, View: ViewAll}), func(i RunInfo) bool { return i.Name == n+"-run" })
		}},
		{"run restored", func() error { require.NoError(t, c.DeleteRun(ctx, id)); return c.RestoreRun(ctx, id) }, func() int { return bool1(!run().Deleted) }},
		{"metric", func() error { return c.LogRunMetric(ctx, id, Metric{Key: "one", Value: 1}) },
			func() int { return count(t, c.MetricHistory(ctx, id, "one"), func(Metric) bool { return true }) }},
		{"param", func() error { return c.LogRunParam(ctx, id, "p", 1) }, func() int { return bool1(run().Params["p"] == "1") }},
		{"tag", func() error { return c.SetRunTag(ctx, id, "t", "1") }, func() int { return bool1(run().Tags["t"] == "1") }},
		{"tag deleted", func() error { return c.DeleteRunTag(ctx, id, "t") }, func() int { return bool1(run().Tags["t"] == "") }},
		{"everything a run logs", func() error {
			for _, err := range []error{r.LogMetric(ctx, 1, "journaled", 1), r.LogParam(ctx, "journaled", 1), r.SetTag(ctx, "journaled", "1"),
				r.LogInputs(ctx, DatasetInput{Name: "d", Digest: "1", SourceType: "local", Source: "{}"}), r.LogText(ctx, "x", "journaled.txt"),
				r.LogTable(ctx, Frame{Columns: []string{"a"}, Data: [][]any{{1}}}, "journaled.json")} {
				require.NoError(t, err)
			}
			return r.Flush(ctx)
		}, func() int {
			info := run()
			table, err := c.Table(ctx, id, "journaled.json")
			require.NoError(t, err)
			require.Len(t, table.Data, 1, "the rows are there once")
			require.Len(t, info.Inputs, 1)
			require.Equal(t, "1", info.Params["journaled"])
			return count(t, c.MetricHistory(ctx, id, "journaled"), func(Metric) bool { return true })
		}},
		{"output, by the journal", func() error { require.NoError(t, r.LogOutput(ctx, 1, logged.ID)); return r.Flush(ctx) },
			func() int { return count(t, seq(run().Models), func(m string) bool { return m == logged.ID }) }},
		{"output that is there", func() error { require.NoError(t, r.LogOutput(ctx, 1, logged.ID)); return r.Flush(ctx) },
			func() int { return count(t, seq(run().Models), func(m string) bool { return m == logged.ID }) }},
		{"model of MLflow 2", func() error {
			return c.RecordRunModel(ctx, id, json.RawMessage(`{"run_id":"`+id+`","artifact_path":"old","utc_time_created":"2026-01-01 00:00:00","flavors":{"a":{}},"model_uuid":"u"}`))
		}, func() int { return strings.Count(run().Tags[historyTag], `"old"`) }},
		{"logged model", func() error {
			return second(c.LoggedModels.Create(ctx, exp, LoggedModelOptions{Name: "lost", RunID: id}))
		},
			func() int {
				return count(t, c.LoggedModels.All(ctx, LoggedModelQuery{Experiments: []string{exp}}), func(m LoggedModel) bool { return m.Name == "lost" })
			}},
		{"logged model's params", func() error { return c.LoggedModels.LogParams(ctx, logged.ID, map[string]any{"a": 1, "b": 2}) },
			func() int { m, _ := c.LoggedModels.Get(ctx, logged.ID); return len(m.Params) - 1 }},
		{"logged model's tags", func() error { return c.LoggedModels.SetTags(ctx, logged.ID, map[string]string{"a": "1"}) },
			func() int { m, _ := c.LoggedModels.Get(ctx, logged.ID); return bool1(m.Tags["a"] == "1") }},
		{"logged model's status", func() error { return second(c.LoggedModels.Finalize(ctx, logged.ID, LoggedModelReady)) },
			func() int { m, _ := c.LoggedModels.Get(ctx, logged.ID); return bool1(m.Status == LoggedModelReady) }},
		{"model log --alias", func() error {
			return second(r.LogModel(ctx, folder, ModelSpec{Name: n + "-logged", LoggedName: "whole", Flavors: []Flavor{PyFunc{Code: "model.py"}}, Aliases: []string{"champion"}}))
		}, func() int {
			require.Equal(t, 1, count(t, c.LoggedModels.All(ctx, LoggedModelQuery{Experiments: []string{exp}}), func(m LoggedModel) bool { return m.Name == "whole" }))
			v, err := c.Models.VersionByAlias(ctx, n+"-logged", "champion")
			require.NoError(t, err)
			require.Equal(t, "1", v.Version)
			return count(t, c.Models.Versions(ctx, ModelQuery{Filter: "name = '" + n + "-logged'"}), func(ModelVersion) bool { return true })
		}},
		{"registered model", func() error { return second(c.Models.Create(ctx, n+"-m", ModelOptions{})) }, func() int { return count(t, c.Models.All(ctx, ModelQuery{}), isName(n+"-m")) }},
		{"registered model's name", func() error { return second(c.Models.Rename(ctx, n+"-m", n+"-m2")) }, func() int { return count(t, c.Models.All(ctx, ModelQuery{}), isName(n+"-m2")) }},
		{"version", func() error { return second(c.Models.CreateVersion(ctx, n+"-m2", "s3://x/1", ModelVersionOptions{})) },
			func() int {
				return count(t, c.Models.Versions(ctx, ModelQuery{Filter: "name = '" + n + "-m2'"}), func(ModelVersion) bool { return true })
			}},
		{"copy of a version", func() error { return second(c.Models.CopyVersion(ctx, n+"-m2", "1", n+"-copy")) },
			func() int {
				return count(t, c.Models.Versions(ctx, ModelQuery{Filter: "name = '" + n + "-copy'"}), func(ModelVersion) bool { return true })
			}},
		{"stage", func() error { return second(c.Models.TransitionStage(ctx, n+"-model", v.Version, "Staging", false)) },
			func() int { v, _ := c.Models.Version(ctx, n+"-model", v.Version); return bool1(v.Stage == "Staging") }},
		{"alias", func() error { return c.Models.SetAlias(ctx, n+"-model", "best", v.Version) }, func() int { m, _ := c.Models.Get(ctx, n+"-model"); return len(m.Aliases) }},
		{"prompt", func() error {
			return second(c.Prompts.Register(ctx, PromptVersion{Name: n + "-prompt", Text: "Hello {{ name }}"}))
		},
			func() int {
				return count(t, c.Prompts.Versions(ctx, n+"-prompt"), func(PromptVersion) bool { return true })
			}},
		{"artifact", func() error { return c.UploadBytes(ctx, id, []byte("x"), "up.txt") },
			func() int {
				return count(t, c.Artifacts(ctx, id, ""), func(f FileInfo) bool { return f.Path == "up.txt" })
			}},
		{"trace", func() error {
			return second(c.Traces.Start(ctx, TraceInfo{ExperimentID: exp, Tags: map[string]string{"which": n}}))
		},
			func() int {
				return count(t, c.Traces.All(ctx, TraceQuery{Experiments: []string{exp}}), func(i TraceInfo) bool { return i.Tags["which"] == n })
			}},
		{"trace of the second form", func() error {
			return second(c.Traces.StartV2(ctx, TraceInfo{ExperimentID: exp, Tags: map[string]string{"which": n + "2"}}))
		},
			func() int {
				return count(t, c.Traces.AllV2(ctx, TraceQuery{Experiments: []string{exp}}), func(i TraceInfo) bool { return i.Tags["which"] == n+"2" })
			}},
		{"trace's tag", func() error { return c.Traces.SetTag(ctx, trace.ID, "k", "v") }, func() int { i, _ := c.Traces.Info(ctx, trace.ID); return bool1(i.Tags["k"] == "v") }},
		{"trace of a run", func() error { return c.Traces.LinkRun(ctx, id, trace.ID) },
			func() int {
				return count(t, c.Traces.All(ctx, TraceQuery{Experiments: []string{exp}, Filter: "attributes.run_id = '" + id + "'"}), func(i TraceInfo) bool { return i.ID == trace.ID })
			}},
		{"assessment", func() error {
			return second(c.Traces.CreateAssessment(ctx, trace.ID, Assessment{Name: "good", Feedback: &Feedback{Value: true}, SourceType: SourceHuman, SourceID: "t"}))
		},
			func() int { i, _ := c.Traces.Info(ctx, trace.ID); return len(i.Assessments) }},
		{"evaluation dataset", func() error {
			return second(c.EvalDatasets.Create(ctx, n+"-d", EvalDatasetOptions{Experiments: []string{exp}}))
		},
			func() int {
				return count(t, c.EvalDatasets.All(ctx, EvalDatasetQuery{Experiments: []string{exp}}), func(d EvalDataset) bool { return d.Name == n+"-d" })
			}},
		{"evaluation records", func() error {
			return second(c.EvalDatasets.UpsertRecords(ctx, data.ID, EvalRecord{Inputs: map[string]any{"q": "a"}}))
		},
			func() int {
				return count(t, c.EvalDatasets.Records(ctx, data.ID), func(EvalRecord) bool { return true })
			}},
		{"evaluation dataset's experiment", func() error { return c.EvalDatasets.AddTo(ctx, data.ID, "0") },
			func() int { list, _ := c.EvalDatasets.Experiments(ctx, data.ID); return len(list) - 1 }},
		{"scorer", func() error { return second(c.Scorers.Register(ctx, exp, "polite", judge)) },
			func() int { return count(t, c.Scorers.Versions(ctx, exp, "polite"), func(Scorer) bool { return true }) }},
		{"webhook", func() error {
			return second(c.Webhooks.Create(ctx, n+"-hook", "https://1.1.1.1/h", []WebhookEvent{"model_version.created"}, WebhookOptions{Disabled: true}))
		},
			func() int { return count(t, c.Webhooks.All(ctx), func(w Webhook) bool { return w.Name == n+"-hook" }) }},
		{"user", func() error { return second(c.Users.Create(ctx, user, "correct horse battery")) }, func() int { return count(t, c.Users.All(ctx), func(u User) bool { return u.Name == user }) }},
		{"permission", func() error { return c.Users.Grant(ctx, user, Grant{"experiment", exp, PermissionEdit}) },
			func() int { return count(t, c.Users.Permissions(ctx, user), func(UserPermission) bool { return true }) }},
		{"role", func() error { made, err := c.Roles.Create(ctx, "default", role, ""); rid = made.ID; return err }, func() int { return count(t, c.Roles.All(ctx, "default"), func(r Role) bool { return r.Name == role }) }},
		{"grant of a role", func() error { return second(c.Roles.AddPermission(ctx, rid, Grant{"experiment", "*", PermissionRead})) }, func() int { return count(t, c.Roles.Permissions(ctx, rid), func(RolePermission) bool { return true }) }},
		{"role of a user", func() error { return second(c.Roles.Assign(ctx, user, rid)) }, func() int { return count(t, c.Roles.Assignments(ctx, rid), func(Assignment) bool { return true }) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d.arm(true)
			err := tt.do()
			dropped := d.arm(false)
			require.NoError(t, err)
			require.NotZero(t, dropped, "no answer was dropped: the test proves nothing")
			require.Equal(t, 1, tt.n())
		})
	}
	for _, err := range []error{c.Roles.Delete(ctx, rid), c.Users.Delete(ctx, user)} {
		require.NoError(t, err)
	}
	for w, err := range c.Webhooks.All(ctx) {
		require.NoError(t, err)
		if w.Name == n+"-hook" {
			require.NoError(t, c.Webhooks.Delete(ctx, w.ID))
		}
	}
}

func seq[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range list {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// TestALostAnswerMakesNoOlderThingOurs loses the first answer to each operation
// that makes something, whatever it says.
func TestALostAnswerMakesNoOlderThingOurs(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.17", "users, roles, webhooks and scorers as they are there")
	ctx := t.Context()
	exp, err := c.CreateExperiment(ctx, s.Name("exp"), ExperimentOptions{})
	require.NoError(t, err)
	user, role, model, hook := s.Name("user"), s.Name("role"), s.Name("model"), s.Name("hook")
	const password = "correct horse battery"
	judge := json.RawMessage(`{"name":"polite","aggregations":null,"is_session_level_scorer":false,"mlflow_version":"3.17.2","serialization_version":1,"instructions_judge_pydantic_data":{"instructions":"Is {{ outputs }} polite?","model":"openai:/gpt-4o-mini"},"builtin_scorer_class":null,"builtin_scorer_pydantic_data":null,"call_source":null,"call_signature":null,"original_func_name":null}`)
	fault := &dropped{next: s.HTTP.Transport}
	shaky := lossy(t, s, fault)
	rid := int64(0)
	var hooks []string
	for _, tt := range []struct {
		path  string
		make  func(c *Client) (string, error) // what was made
		twice error                           // what comes of a second time; nil: another one
	}{
		{"experiments/create", func(c *Client) (string, error) { return c.CreateExperiment(ctx, s.Name("e"), ExperimentOptions{}) }, mlops.ErrAlreadyExists},
		{"registered-models/create", func(c *Client) (string, error) {
			m, err := c.Models.Create(ctx, model, ModelOptions{})
			return m.Name, err
		}, mlops.ErrAlreadyExists},
		{"registered-models/rename", func(c *Client) (string, error) {
			m, err := c.Models.Rename(ctx, model, model+"2")
			return m.Name, err
		}, mlops.ErrNotFound},
		{"users/create", func(c *Client) (string, error) {
			u, err := c.Users.Create(ctx, user, password)
			return u.Name, err
		}, mlops.ErrAlreadyExists},
		{"roles/create", func(c *Client) (string, error) {
			r, err := c.Roles.Create(ctx, "default", role, "")
			if err == nil {
				rid = r.ID
			}
			return r.Name, err
		}, mlops.ErrAlreadyExists},
		{"roles/permissions/add", func(c *Client) (string, error) {
			p, err := c.Roles.AddPermission(ctx, rid, Grant{"experiment", "*", PermissionRead})
			return p.Pattern, err
		}, mlops.ErrAlreadyExists},
		{"roles/assign", func(c *Client) (string, error) {
			a, err := c.Roles.Assign(ctx, user, rid)
			return strconv.FormatInt(a.RoleID, 10), err
		}, mlops.ErrAlreadyExists},
		{"webhooks", func(c *Client) (string, error) {
			w, err := c.Webhooks.Create(ctx, hook, "https://1.1.1.1/h", []WebhookEvent{"model_version.created"}, WebhookOptions{Disabled: true})
			hooks = append(hooks, w.ID)
			return w.ID, err
		}, nil},
		{"scorers/register", func(c *Client) (string, error) {
			v, err := c.Scorers.Register(ctx, exp, "polite", judge)
			return strconv.Itoa(v.Version), err
		}, nil},
	} {
		t.Run(strings.ReplaceAll(tt.path, "/", " "), func(t *testing.T) {
			fault.path, fault.left, fault.seen, fault.lose = tt.path, 1, 0, false
			made, err := tt.make(shaky)
			require.NoError(t, err, "the server made it, and it is the only one")
			require.NotEmpty(t, made)
			require.Equal(t, 1, fault.seen, "it was sent again although the server had acted")
			fault.left, fault.seen = 1, 0
			fault.lose = tt.twice == nil // else the server's refusal gets lost
			other, err := tt.make(shaky)
			if tt.twice == nil {
				require.NoError(t, err)
				require.NotEqual(t, made, other, "the older one was taken for the one that was made")
			} else {
				require.ErrorIs(t, err, tt.twice, "the older one was taken for the one that was made")
			}
			require.Equal(t, 2, fault.seen)
		})
	}
	require.NoError(t, c.Roles.Delete(ctx, rid))
	require.NoError(t, c.Users.Delete(ctx, user))
	for _, id := range hooks {
		require.NoError(t, c.Webhooks.Delete(ctx, id))
	}
}
