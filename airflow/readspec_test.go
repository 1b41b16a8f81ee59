package airflow_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/internal/cassette"
)

const nightly = `
id: retrain
schedule: 0 3 * * *
time_zone: Europe/Berlin
start: 2026-11-01T00:00:00Z
assets: {any: [{asset: {name: labels}}]}
timeout: 2h
params:
  rank: {type: integer, default: 16, maximum: 64}
on: {failure: {webhook: "http://127.0.0.1:9/x"}}
default_args: {retries: 2, retry_delay: 90s, env: {A: "1"}}
tasks:
  - id: pull
    bash: |
      set -e
      mlopsctl dvc-pull
  - id: train
    python: {file: train.py, interpreter: .venv/bin/python, args: ["--fast"]}
    inputs: {DATA: pull}
    each: [1, "a", {b: [true]}]
  - id: sure
    decision: {subject: "Deploy?", timeout: 24h}
    after: [train]
`

func TestADeclarationIsReadFromYAML(t *testing.T) {
	got, err := airflow.ReadSpec(strings.NewReader(nightly))
	require.NoError(t, err)
	require.Equal(t, airflow.DAGSpec{
		ID: "retrain", Schedule: "0 3 * * *", TimeZone: "Europe/Berlin", Start: day(2026, 11, 1), Assets: airflow.AnyOf(airflow.AssetSpec{Name: "labels"}), Timeout: 2 * time.Hour,
		Params:      airflow.Params{"rank": {"type": "integer", "default": 16, "maximum": 64}},
		On:          airflow.Callbacks{Failure: airflow.Callback{Webhook: "http://127.0.0.1:9/x"}},
		DefaultArgs: airflow.DefaultArgs{Retries: 2, RetryDelay: 90 * time.Second, Env: map[string]string{"A": "1"}},
		Tasks: []airflow.TaskSpec{
			{ID: "pull", Bash: "set -e\nmlopsctl dvc-pull\n"},
			{ID: "train", Python: &airflow.PythonTask{File: "train.py", Interpreter: ".venv/bin/python", Args: []string{"--fast"}}, Inputs: map[string]string{"DATA": "pull"}, Each: []any{1, "a", map[string]any{"b": []any{true}}}},
			{ID: "sure", Decision: &airflow.DecisionSpec{Subject: "Deploy?", Timeout: 24 * time.Hour}, After: []string{"train"}},
		},
	}, got)
	require.NoError(t, got.Validate())
	for text, want := range map[string]string{
		"id: a\ntasks:\n- id: b\n  bahs: x\n":   "line 4: there is no key bahs",
		"id: a\nsechdule: x\nretires: 1\n":      "line 2: there is no key sechdule; line 3: there is no key retires",
		"id: [1]\n":                             "cannot unmarshal",
		"id: a\ntimeout: soon\n":                "cannot unmarshal",
		"":                                      "is empty",
		"id: a\n---\nid: b\n":                   "more than one document",
		"\t":                                    "yaml",
		"id: a\ntasks: [{id: b, each: [.nan]}]": "each: json: unsupported value",

		"id: a\ntasks: [{id: b, each: [{day: 2026-11-01}]}]":             `task "b": each: YAML reads a time there; put it in quotes`,
		"id: a\nparams: {from: {default: 2026-11-01T00:00:00Z}}":         `params: "from": YAML reads a time there; put it in quotes`,
		"id: a\nstart: 2026-11-01":                                       `line 2: "2026-11-01": want a time with its zone`,
		"id: a\nstart: 2026-11-01 03:00:00":                              "want a time with its zone",
		"id: a\ntasks:\n- id: b\n  wait: {until: 2026-11-01}":            "line 4:",
		"id: a\ntasks: [{id: b, retry_delay: 0s}]":                       "line 2: there is a 0",
		"x: &none {retry_delay: 0s}\nid: a\ntasks: [{id: b, <<: *none}]": "there is no key x",
		"id: a\nevery: 0s":                                 "there is a 0",
		"id: a\ntimeout: 0s":                               "there is a 0",
		"id: a\ndefault_args: {timeout: 0s}":               "there is a 0",
		"id: a\ntasks: [{id: b, wait: {timeout: 0s}}]":     "there is a 0",
		"id: a\ntasks: [{id: b, decision: {timeout: 0s}}]": "there is a 0",
		"id: a\nmax_active_runs: 0":                        "there is a 0",
		"id: a\ntasks: [{id: b, pool_slots: 0}]":           "there is a 0",
		"id: a\ntasks: [{id: b, wait: {every: 0h0m}}]":     "there is a 0",
	} {
		_, err := airflow.ReadSpec(strings.NewReader(text))
		require.ErrorIs(t, err, mlops.ErrInvalid, "%q", text)
		require.ErrorContains(t, err, want)
	}
}

func TestAWrittenZeroIsNotTheDefault(t *testing.T) {
	got, err := airflow.ReadSpec(strings.NewReader(`
id: a
default_args: {retries: 3, timeout: 1h}
tasks:
  - {id: none, bash: "true", retries: 0, timeout: 0s}
  - {id: default, bash: "true"}
  - {id: wait, wait: {for: 1m}, retries: 0}
`))
	require.NoError(t, err)
	tasks := got.Resolved().Tasks
	require.Equal(t, 0, tasks[0].Retries)
	require.Zero(t, tasks[0].Timeout)
	require.Equal(t, 3, tasks[1].Retries)
	require.Equal(t, time.Hour, tasks[1].Timeout)
	require.Equal(t, 2, tasks[2].Retries, "apache/airflow#72716")
}

func TestADAGFileOfTheFirstFormatIsReadAndReplaced(t *testing.T) {
	src, err := os.ReadFile("../testdata/airflow/golden/first-format.py")
	require.NoError(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "lora.retrain-1.py")
	require.NoError(t, os.WriteFile(file, src, 0o644))
	old, err := airflow.ReadDAG(file)
	require.NoError(t, err)
	require.Empty(t, airflow.Diff(old, whole()), "times are seconds there")

	_, err = airflow.WriteDAG(dir, whole())
	require.NoError(t, err)
	again, err := airflow.ReadDAG(file)
	require.NoError(t, err)
	require.Equal(t, whole().Resolved(), again)

	_, err = airflow.ReadDAG(filepath.Join(dir, "none.py"))
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.NoError(t, os.WriteFile(file, []byte("print('by hand')\n"), 0o644))
	_, err = airflow.ReadDAG(file)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(src), "{\n", "{\"format\": 99,\n", 1)), 0o644))
	_, err = airflow.ReadDAG(file)
	require.ErrorIs(t, err, mlops.ErrUnsupported)
}

func TestDiffSaysWhatChanges(t *testing.T) {
	before, after := whole(), whole()
	require.Empty(t, airflow.Diff(before, after))
	after.Schedule, after.DefaultArgs.Retries, after.MaxActiveRuns, after.Params = "@daily", 5, 0, airflow.Params{"rank": {"type": "integer"}}
	after.Tasks[1].Bash = strings.Replace(after.Tasks[1].Bash, "train.sh", "run.sh", 1)
	after.Tasks[1].Env = map[string]string{"B": "x", "C": "y"}
	after.Tasks[1].After = nil
	after.Tasks[1].RetryDelay = time.Minute
	after.Tasks = append(after.Tasks, airflow.TaskSpec{ID: "new", Bash: "true"})
	require.Equal(t, []string{
		`max_active_runs is no longer set (it was 1)`,
		`params.rank.type is set to "integer"`,
		`schedule changes from "30 2 * * *" to "@daily"`,
		`task pull: retries changes from 2 to 5`,
		`task train: after is no longer set (it was ["pull"])`,
		`task train: bash changes in line 3 from "./train.sh" to "./run.sh"`,
		`task train: env.B changes from "'''" to "x"`,
		`task train: env.C is set to "y"`,
		`task train: retry_delay changes from "1m30s" to "1m0s"`,
		`task new is added`,
	}, airflow.Diff(before, after))
	require.Contains(t, airflow.Diff(after, before), "task new is removed")
	moved := before
	moved.Pool, moved.Tasks = "", append([]airflow.TaskSpec{}, before.Tasks...)
	moved.Tasks[0].Pool = "mlops.lora"
	require.Empty(t, airflow.Diff(before, moved), "a default that is now said is no change")
}

// random makes a declaration of every kind of part, from texts that hurt.
func random(r *rand.Rand, id string) airflow.DAGSpec {
	texts := []string{hostile, "'''", "''''''\\", "{{ x }}", "\u2028\u2029", "\x7f\x1b[31m", "\U0001F9CA", "\u202eabc", "a'b\"c\\", "$(touch marker)", "`touch marker`", "\r\n\t", "x"}
	text := func() string { return texts[r.IntN(len(texts))] + fmt.Sprint(r.IntN(100)) }
	some := func(n int) bool { return r.IntN(n) == 0 }
	d := airflow.DAGSpec{ID: id, Project: "p/q", Description: text(), Tags: []string{text()}, MaxActiveRuns: r.IntN(3), MaxActiveTasks: r.IntN(3), Paused: true, Timeout: time.Duration(r.IntN(9)) * time.Minute}
	switch r.IntN(4) {
	case 0:
		d.Schedule, d.Start, d.TimeZone = fmt.Sprintf("%d %d * * *", r.IntN(60), r.IntN(24)), day(2026, 1, 1+r.IntN(28)), "Europe/Berlin"
	case 1:
		d.Every, d.Start, d.Catchup = time.Duration(1+r.IntN(9))*time.Hour, day(2026, 1, 1), some(2)
	case 2:
		d.Assets = &airflow.AssetRule{All: []airflow.AssetRule{{Asset: &airflow.AssetSpec{Name: fmt.Sprintf("a%d", r.IntN(9))}}, *airflow.AnyOf(airflow.AssetSpec{URI: "s3://b/c"}, airflow.AssetSpec{Name: "d"})}}
	}
	if some(2) {
		d.Params = airflow.Params{"rank": {"type": "integer", "default": r.IntN(9), "description": text()}, "name": {"enum": []any{text(), "x"}, "default": "x"}}
	}
	if some(2) {
		d.Deadline = &airflow.Deadline{After: time.Hour, Call: airflow.Callback{Bash: text()}}
		d.On.Failure.Webhook = "http://127.0.0.1:1/x"
	}
	for i := range 1 + r.IntN(12) {
		t := airflow.TaskSpec{ID: fmt.Sprintf("t%d", i), Retries: r.IntN(3), RetryDelay: time.Duration(r.IntN(100)) * time.Second, RetryBackoff: float64(r.IntN(2) * 2), PoolSlots: 1, MaxActive: r.IntN(2)}
		runs := true
		switch r.IntN(8) {
		case 0:
			t.Python = &airflow.PythonTask{Module: "m", Args: []string{text(), text()}}
		case 1:
			t.Go = &airflow.GoTask{Program: "/bin/" + text(), Task: "t"}
		case 2:
			t.Wait, runs = []*airflow.WaitFor{{Until: day(2026, 2, 3)}, {For: time.Hour}, {File: "/" + text()}, {Asset: &airflow.AssetSpec{Name: "a"}}, {Task: &airflow.TaskOf{DAG: "other", Task: "x"}}}[r.IntN(5)], false
		case 3:
			t.Decision, runs = &airflow.DecisionSpec{Subject: text(), Body: text(), Options: []string{"a", "b"}, Defaults: []string{"b"}}, false
		default:
			t.Bash = text()
		}
		if runs {
			t.Env = map[string]string{"A": text(), "B": text()}
			t.Role = []airflow.Role{"", "", "", airflow.RoleBranch, airflow.RoleShortCircuit, airflow.RoleSetup}[r.IntN(6)]
			if i > 0 && some(3) {
				t.Inputs = map[string]string{"IN": fmt.Sprintf("t%d", r.IntN(i))}
			}
			switch {
			case t.Role == "" && some(4):
				t.Each = []any{text(), r.IntN(9), map[string]any{"k": []any{text(), nil, true}}}
			case t.Role == "" && i > 0 && some(4) && d.Tasks[i-1].Each == nil && d.Tasks[i-1].EachOf == "":
				t.EachOf = fmt.Sprintf("t%d", i-1)
			}
		}
		if i > 0 && some(2) {
			t.After = []string{fmt.Sprintf("t%d", r.IntN(i))}
			t.TriggerRule = airflow.TriggerRuleAllDone
		}
		for _, o := range d.Tasks { // what follows a setup has no rule of its own
			if o.Role == airflow.RoleSetup && (slices.Contains(t.After, o.ID) || t.Inputs["IN"] == o.ID || t.EachOf == o.ID) {
				t.TriggerRule = ""
			}
		}
		if some(3) {
			t.Group = "g.h"
		}
		if some(3) {
			t.Outlets = []airflow.AssetSpec{{Name: "o"}}
			t.On = airflow.Callbacks{Retry: airflow.Callback{Bash: text()}}
		}
		d.Tasks = append(d.Tasks, t)
	}
	return d
}

func TestARandomDeclarationIsReadBackFromItsFileAndFromYAML(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	for i := range 200 {
		d := random(r, fmt.Sprintf("d%d", i))
		file, err := airflow.WriteDAG(dir, d)
		require.NoError(t, err, "seed %d", seed)
		got, err := airflow.ReadDAG(file)
		require.NoError(t, err)
		want, err := json.Marshal(d.Resolved())
		require.NoError(t, err)
		have, err := json.Marshal(got)
		require.NoError(t, err)
		require.Equal(t, string(want), string(have), "seed %d", seed)
		require.Empty(t, airflow.Diff(d, got), "seed %d", seed)
	}
}

// The server's own interpreter reads many declarations at once, without a server.
const readMany = `
import json, os, sys
from importlib import import_module
sys.path.insert(0, sys.argv[1])
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
faults = {}
for name in sorted(os.listdir(sys.argv[1])):
    if name.startswith("mlops_dag_") or not name.endswith(".py"):
        continue
    bag = DagBag(dag_folder=os.path.join(sys.argv[1], name), safe_mode=False, load_op_links=False)
    faults.update(bag.import_errors)
    for dag in bag.dags.values():
        spec = import_module(name[:-3]).SPEC
        with open(os.path.join(sys.argv[1], name + ".json"), "w") as out:
            json.dump(spec, out)
        again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        if sorted(again.task_dict) != sorted(task["id"] for task in spec["tasks"]):
            faults[name] = "tasks: " + str(sorted(again.task_dict))
json.dump(faults, open(sys.argv[2], "w"))
`

func TestLiveRandomDeclarationsAreReadByAirflowAsTheyWereWritten(t *testing.T) {
	if !cassette.Live() {
		t.Skip("needs the interpreter of the stack's Airflow: only with MLOPS_LIVE=1")
	}
	python := interpreter(t)
	if python == "" {
		t.Skip("Airflow runs in containers: its interpreter cannot be called")
	}
	seed, dir := uint64(time.Now().UnixNano()), t.TempDir()
	r := rand.New(rand.NewPCG(seed, 0))
	specs := map[string]airflow.DAGSpec{}
	for i := range 60 {
		d := random(r, fmt.Sprintf("d%d", i))
		file, err := airflow.WriteDAG(dir, d)
		require.NoError(t, err)
		specs[file] = d
	}
	verdict := filepath.Join(t.TempDir(), "verdict.json")
	cmd := exec.CommandContext(t.Context(), python, "-I", "-c", readMany, dir, verdict)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "AIRFLOW_HOME=" + filepath.Join(t.TempDir(), "airflow"), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=sqlite:////" + filepath.Join(dir, "none.db")}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "seed %d: %s", seed, out)
	b, err := os.ReadFile(verdict)
	require.NoError(t, err)
	require.Equal(t, "{}", string(b), "seed %d", seed)
	for file, d := range specs {
		b, err := os.ReadFile(file + ".json")
		require.NoError(t, err)
		var got airflow.DAGSpec
		require.NoError(t, json.Unmarshal(b, &got))
		want, err := json.Marshal(d.Resolved())
		require.NoError(t, err)
		have, err := json.Marshal(got)
		require.NoError(t, err)
		require.Equal(t, string(want), string(have), "seed %d", seed)
	}
	marker, err := filepath.Glob(filepath.Join(dir, "marker*"))
	require.NoError(t, err)
	require.Empty(t, marker, "a text was run, seed %d", seed)
}
