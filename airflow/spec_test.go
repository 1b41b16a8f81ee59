package airflow_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/internal/cassette"
)

var update = flag.Bool("update", false, "rewrite golden files")

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

func importError(t *testing.T, err error) *airflow.ImportError {
	t.Helper()
	ie, ok := errors.AsType[*airflow.ImportError](err)
	require.True(t, ok, "%v holds no import error", err)
	return ie
}

func whole() airflow.DAGSpec {
	return airflow.DAGSpec{
		ID: "lora.retrain-1", Description: hostile, Schedule: "30 2 * * *", Start: day(2026, 3, 1), Tags: []string{"lora", "nightly"},
		Pool: "mlops.lora", MaxActiveRuns: 1, Paused: true,
		DefaultArgs: airflow.DefaultArgs{Owner: "ada", Retries: 2, RetryDelay: 90 * time.Second, Timeout: time.Hour, Env: map[string]string{"A": "1", "B": "2"}, Dir: "/srv/lora"},
		Tasks: []airflow.TaskSpec{
			{ID: "pull", Bash: "mlopsctl dvc-pull"},
			{ID: "train", Bash: "set -e\n" + hostile + "\n./train.sh", Env: map[string]string{"B": "'''"}, After: []string{"pull"}, Retries: -1, Timeout: -1, Pool: "gpu", PoolSlots: 2, Dir: "/"},
		},
	}
}

func TestTheDAGFileIsAsItWas(t *testing.T) {
	got, err := whole().Python()
	require.NoError(t, err)
	const golden = "../testdata/airflow/golden/lora.retrain-1.py"
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
		require.NoError(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

// python reads the declaration out of a DAG file as Python understands it,
// and checks that nothing else in the file depends on it.
const python = `
import ast, json, sys
tree = ast.parse(sys.stdin.buffer.read().decode("ascii"))
kinds = [type(n).__name__ for n in tree.body]
assert kinds == ["Import", "ImportFrom", "Import", "Assign", "Assign"], kinds
call = tree.body[3].value
assert ast.unparse(call.func) == "json.loads" and len(call.args) == 1 and not call.keywords
json.dump(json.loads(call.args[0].value), sys.stdout)
`

func TestPythonReadsTheDeclarationAsGoWroteIt(t *testing.T) {
	py, err := exec.LookPath("python3")
	if err != nil {
		if cassette.Live() {
			t.Fatal("no python3")
		}
		t.Skip("no python3: the file is compared with the golden one only")
	}
	src, err := whole().Python()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), py, "-c", python)
	cmd.Stdin = bytes.NewReader(src)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	require.JSONEq(t, string(declaration(t, src)), string(out))
	require.Contains(t, string(declaration(t, src)), "description")
}

// declaration finds the JSON in a DAG file by the rule of Python's raw strings:
// it ends at the first three quotes.
func declaration(t *testing.T, src []byte) []byte {
	_, rest, ok := bytes.Cut(src, []byte("json.loads(r'''"))
	require.True(t, ok)
	spec, rest, ok := bytes.Cut(rest, []byte("'''"))
	require.True(t, ok)
	require.Regexp(t, regexp.MustCompile(`^\)\n\ndag = mlops_dag_[0-9a-f]{8}\.build\(SPEC, "[0-9a-f]{12}", lambda name: import_module\("airflow\." \+ name\)\)\n$`), string(rest))
	return spec
}

func FuzzADeclarationPassesThroughTheFileUnchanged(f *testing.F) {
	f.Add("retrain", "train", hostile, "K", "v")
	f.Add("a", "b", "'''", "K", "''''''")
	f.Add("a.b-c_d", "t", "\\", "_", "\r\n\t\x7f\u2028\U0001F9CA\\u0027")
	f.Add("a..b", "../x", "x\x00y", "A=B", "\xff")
	f.Fuzz(func(t *testing.T, id, task, text, key, value string) {
		d := airflow.DAGSpec{ID: id, Description: text, Tasks: []airflow.TaskSpec{{ID: task, Bash: text, Env: map[string]string{key: value}}}}
		src, err := d.Python()
		if err != nil {
			require.ErrorIs(t, err, mlops.ErrInvalid)
			return
		}
		for _, b := range src {
			require.Less(t, b, byte(0x7f), "the file is not ASCII")
		}
		var got struct {
			ID          string `json:"id"`
			Description string `json:"description"`
			Tasks       []struct {
				ID   string            `json:"id"`
				Bash string            `json:"bash"`
				Env  map[string]string `json:"env"`
			} `json:"tasks"`
		}
		require.NoError(t, json.Unmarshal(declaration(t, src), &got))
		require.Equal(t, id, got.ID)
		require.Equal(t, text, got.Description)
		require.Equal(t, task, got.Tasks[0].ID)
		require.Equal(t, text, got.Tasks[0].Bash)
		require.Equal(t, map[string]string{key: value}, got.Tasks[0].Env)
		require.Equal(t, 1, strings.Count(string(src), "\nimport json\n"))
	})
}

func TestWhatCannotRunIsRefused(t *testing.T) {
	good := func() airflow.DAGSpec {
		return airflow.DAGSpec{ID: "ok", Tasks: []airflow.TaskSpec{{ID: "a", Bash: "true"}, {ID: "b", Bash: "true", After: []string{"a"}}}}
	}
	require.NoError(t, good().Validate())
	for _, tt := range []struct {
		want string
		do   func(*airflow.DAGSpec)
	}{
		{"DAG ID", func(d *airflow.DAGSpec) { d.ID = "a b" }},
		{"DAG ID", func(d *airflow.DAGSpec) { d.ID = "../up" }},
		{"DAG ID", func(d *airflow.DAGSpec) { d.ID = strings.Repeat("x", 251) }},
		{"needs a Start", func(d *airflow.DAGSpec) { d.Schedule = "@daily" }},
		{"out of range", func(d *airflow.DAGSpec) { d.Start = day(1, 2, 3) }},
		{"no tasks", func(d *airflow.DAGSpec) { d.Tasks = nil }},
		{"MaxActiveRuns", func(d *airflow.DAGSpec) { d.MaxActiveRuns = -1 }},
		{"tag", func(d *airflow.DAGSpec) { d.Tags = []string{"mlops-sha:abc"} }},
		{"tag", func(d *airflow.DAGSpec) { d.Tags = []string{"x", "x"} }},
		{"not UTF-8", func(d *airflow.DAGSpec) { d.Description = "\xff" }},
		{"DefaultArgs", func(d *airflow.DAGSpec) { d.DefaultArgs.Retries = -1 }},
		{"declared twice", func(d *airflow.DAGSpec) { d.Tasks[1].ID = "a"; d.Tasks[1].After = nil }},
		{"no other task", func(d *airflow.DAGSpec) { d.Tasks[1].After = []string{"c"} }},
		{"no other task", func(d *airflow.DAGSpec) { d.Tasks[1].After = []string{"b"} }},
		{"wait for each other: a, b", func(d *airflow.DAGSpec) { d.Tasks[0].After = []string{"b"} }},
		{"Bash is empty", func(d *airflow.DAGSpec) { d.Tasks[0].Bash = " \n" }},
		{"put it into a script", func(d *airflow.DAGSpec) { d.Tasks[0].Bash = strings.Repeat("x", 128<<10) }},
		{"not UTF-8", func(d *airflow.DAGSpec) { d.Tasks[0].Bash = "a\x00b" }},
		{"cannot name a variable", func(d *airflow.DAGSpec) { d.Tasks[0].Env = map[string]string{"A-B": ""} }},
		{"is set for every task", func(d *airflow.DAGSpec) { d.DefaultArgs.Env = map[string]string{"MLOPS_RUN_ID": "x"} }},
		{"longer than", func(d *airflow.DAGSpec) { d.Tasks[0].Env = map[string]string{"A": strings.Repeat("x", 128<<10)} }},
		{"negative", func(d *airflow.DAGSpec) { d.Tasks[0].PoolSlots = -1 }},
		{"absolute", func(d *airflow.DAGSpec) { d.Tasks[0].Dir = "here" }},
		{"pool", func(d *airflow.DAGSpec) { d.Tasks[0].Pool = strings.Repeat("x", 257) }},
		{"both Schedule", func(d *airflow.DAGSpec) { d.Schedule, d.Every, d.Start = "@daily", time.Hour, day(2026, 1, 1) }},
		{"needs a Start", func(d *airflow.DAGSpec) { d.Every = time.Hour }},
		{"shorter than a second", func(d *airflow.DAGSpec) { d.Every, d.Start = time.Millisecond, day(2026, 1, 1) }},
		{"one of Asset, All and Any", func(d *airflow.DAGSpec) { d.Assets = &airflow.AssetRule{All: []airflow.AssetRule{{}}} }},
		{"an asset has a name", func(d *airflow.DAGSpec) { d.Assets = airflow.AnyOf(airflow.AssetSpec{}) }},
		{"only tasks are retried", func(d *airflow.DAGSpec) { d.On.Retry.Bash = "true" }},
		{"no http URL", func(d *airflow.DAGSpec) { d.On.Failure.Webhook = "file:///etc/passwd" }},
		{"both Bash and Webhook", func(d *airflow.DAGSpec) {
			d.Tasks[0].On.Success = airflow.Callback{Bash: "true", Webhook: "http://localhost"}
		}},
		{"Deadline: want a time", func(d *airflow.DAGSpec) { d.Deadline = &airflow.Deadline{After: time.Hour} }},
		{"is no JSON Schema", func(d *airflow.DAGSpec) { d.Params = airflow.Params{"rank": {"type": 7}} }},
		{"is no JSON Schema", func(d *airflow.DAGSpec) { d.Params = airflow.Params{"rank": {"type": "integer", "default": "x"}} }},
		{"there is a NUL", func(d *airflow.DAGSpec) { d.Params = airflow.Params{"rank": {"default": "a\x00b"}} }},
		{"want one of Bash, Python", func(d *airflow.DAGSpec) { d.Tasks[0].Go = &airflow.GoTask{Program: "a", Task: "b"} }},
		{"want File or Module", func(d *airflow.DAGSpec) { d.Tasks[0].Bash, d.Tasks[0].Python = "", &airflow.PythonTask{} }},
		{"want the program", func(d *airflow.DAGSpec) { d.Tasks[0].Bash, d.Tasks[0].Go = "", &airflow.GoTask{Program: "a"} }},
		{"the command is longer", func(d *airflow.DAGSpec) {
			d.Tasks[0].Bash, d.Tasks[0].Python = "", &airflow.PythonTask{File: "x", Args: []string{strings.Repeat("'", 100<<10)}}
		}},
		{"want one of Until, For", func(d *airflow.DAGSpec) { d.Tasks[0].Bash, d.Tasks[0].Wait = "", &airflow.WaitFor{} }},
		{"is not an absolute path", func(d *airflow.DAGSpec) { d.Tasks[0].Bash, d.Tasks[0].Wait = "", &airflow.WaitFor{File: "x"} }},
		{"is no task", func(d *airflow.DAGSpec) {
			d.Tasks[0].Bash, d.Tasks[0].Wait = "", &airflow.WaitFor{Task: &airflow.TaskOf{DAG: "a b"}}
		}},
		{"are of tasks that run a program", func(d *airflow.DAGSpec) {
			d.Tasks[0].Bash, d.Tasks[0].Wait, d.Tasks[0].Each = "", &airflow.WaitFor{For: 1}, []any{1}
		}},
		{"Subject is empty", func(d *airflow.DAGSpec) { d.Tasks[0].Bash, d.Tasks[0].Decision = "", &airflow.DecisionSpec{} }},
		{"is none of the options", func(d *airflow.DAGSpec) {
			d.Tasks[0].Bash, d.Tasks[0].Decision = "", &airflow.DecisionSpec{Subject: "?", Defaults: []string{"x"}}
		}},
		{"which is no task after it", func(d *airflow.DAGSpec) {
			d.Tasks[0].Bash, d.Tasks[0].Decision = "", &airflow.DecisionSpec{Subject: "?", Options: []string{"x"}, Next: map[string]string{"x": "y"}}
		}},
		{"is in Env and in Inputs", func(d *airflow.DAGSpec) {
			d.Tasks[1].Env, d.Tasks[1].Inputs = map[string]string{"A": ""}, map[string]string{"A": "a"}
		}},
		{"which is no other task", func(d *airflow.DAGSpec) { d.Tasks[1].Inputs = map[string]string{"A": "c"} }},
		{"wait for each other: a, b", func(d *airflow.DAGSpec) { d.Tasks[0].Inputs = map[string]string{"A": "b"} }},
		{"wait for each other: a, b", func(d *airflow.DAGSpec) { d.Tasks[1].Group, d.Tasks[0].After = "g", []string{"g"} }},
		{"its own group", func(d *airflow.DAGSpec) { d.Tasks[0].Group, d.Tasks[0].After = "g.h", []string{"g"} }},
		{"that of a group", func(d *airflow.DAGSpec) { d.Tasks[0].Group = "b" }},
		{"EachOf names", func(d *airflow.DAGSpec) { d.Tasks[0].EachOf = "c" }},
		{"json: unsupported type", func(d *airflow.DAGSpec) { d.Tasks[0].Each = []any{func() {}} }},
		{"no trigger rule", func(d *airflow.DAGSpec) { d.Tasks[0].TriggerRule = "sometimes" }},
		{"no role", func(d *airflow.DAGSpec) { d.Tasks[0].Role = "boss" }},
		{"its own trigger rule", func(d *airflow.DAGSpec) {
			d.Tasks[0].Role, d.Tasks[0].TriggerRule = airflow.RoleTeardown, airflow.TriggerRuleAlways
		}},
		{"what follows a setup", func(d *airflow.DAGSpec) {
			d.Tasks[0].Role, d.Tasks[1].TriggerRule = airflow.RoleSetup, airflow.TriggerRuleAlways
		}},
		{"want 1 to 100", func(d *airflow.DAGSpec) { d.Tasks[0].RetryBackoff = 0.5 }},
		{"want 1 to 100", func(d *airflow.DAGSpec) { d.Tasks[0].RetryBackoff = math.NaN() }},
		{"Each is an empty list", func(d *airflow.DAGSpec) { d.Tasks[0].Each = []any{} }},
		{"below a second", func(d *airflow.DAGSpec) { d.Tasks[0].Timeout = 30 }},
		{"below a second", func(d *airflow.DAGSpec) {
			d.Tasks[0].Bash, d.Tasks[0].Wait = "", &airflow.WaitFor{File: "/x", Every: 30}
		}},
		{"Until is in the year", func(d *airflow.DAGSpec) {
			d.Tasks[0].Bash, d.Tasks[0].Wait = "", &airflow.WaitFor{Until: day(10000, 1, 1)}
		}},
		{"want Wait.Timeout", func(d *airflow.DAGSpec) {
			d.Tasks[0].Bash, d.Tasks[0].Timeout, d.Tasks[0].Wait = "", time.Hour, &airflow.WaitFor{File: "/x"}
		}},
		{"want Decision.Timeout", func(d *airflow.DAGSpec) {
			d.Tasks[0].Bash, d.Tasks[0].Dir, d.Tasks[0].Decision = "", "/x", &airflow.DecisionSpec{Subject: "?"}
		}},
		{"without a user", func(d *airflow.DAGSpec) { d.On.Failure.Webhook = "http://user:pw@localhost/" }},
		{"without a user", func(d *airflow.DAGSpec) { d.On.Failure.Webhook = "http://localhost/ü" }},
	} {
		d := good()
		tt.do(&d)
		err := d.Validate()
		require.ErrorIs(t, err, mlops.ErrInvalid, tt.want)
		require.ErrorContains(t, err, tt.want)
		_, err = airflow.WriteDAG(t.TempDir(), d)
		require.ErrorIs(t, err, mlops.ErrInvalid, "it was written nevertheless")
	}
}

func TestWritingADAGTouchesNothingElse(t *testing.T) {
	dir := t.TempDir()
	d := whole()
	path, err := airflow.WriteDAG(dir, d)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "lora.retrain-1.py"), path)
	names := func() (out []string) {
		all, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range all {
			out = append(out, e.Name())
		}
		return out
	}
	require.Len(t, names(), 2, "the DAG and its module, no leftover: %v", names())
	before, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), before.Mode().Perm(), "Airflow may run as another user")

	_, err = airflow.WriteDAG(dir, d)
	require.NoError(t, err)
	after, err := os.Stat(path)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after), "an unchanged file was written again; the server would read it again")

	other := d
	other.ID = "mine"
	mine := filepath.Join(dir, "mine.py")
	require.NoError(t, os.WriteFile(mine, []byte("print('by hand')\n"), 0o600))
	_, err = airflow.WriteDAG(dir, other)
	require.ErrorIs(t, err, mlops.ErrAlreadyExists, "a file written by hand was replaced")
	require.ErrorIs(t, airflow.RemoveDAG(dir, "mine", ""), mlops.ErrAlreadyExists)
	require.FileExists(t, mine)

	require.NoError(t, airflow.RemoveDAG(dir, d.ID, ""))
	require.NoFileExists(t, path)
	require.ErrorIs(t, airflow.RemoveDAG(dir, d.ID, ""), mlops.ErrNotFound)
	require.ErrorIs(t, airflow.RemoveDAG(dir, "../x", ""), mlops.ErrInvalid)
	_, err = airflow.WriteDAG(filepath.Join(dir, "absent"), d)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// The server takes every file with this word in it for one of DAGs.
func TestTheModuleOfDAGFilesIsNotTakenForOne(t *testing.T) {
	b, err := os.ReadFile("mlops_dag.py")
	require.NoError(t, err)
	require.NotContains(t, strings.ToLower(string(b)), "airflow")
}

func TestTheHashFollowsTheDeclaration(t *testing.T) {
	a, b := whole(), whole()
	require.Equal(t, a.Hash(), b.Hash())
	require.Regexp(t, `^[0-9a-f]{12}$`, a.Hash())
	b.Tasks[1].Env = map[string]string{"B": "''"}
	require.NotEqual(t, a.Hash(), b.Hash())
}

func TestADAGOfAnotherProjectIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	first := airflow.DAGSpec{ID: "a.b.train", Project: "a/b", Tasks: []airflow.TaskSpec{{ID: "one", Bash: "true"}}}
	file, err := airflow.WriteDAG(dir, first)
	require.NoError(t, err)
	was, err := os.ReadFile(file)
	require.NoError(t, err)
	owner, ok := airflow.FileProject(file)
	require.True(t, ok)
	require.Equal(t, "a/b", owner)

	second := first
	second.Project = "a"
	for _, err := range []error{
		func() error { _, err := airflow.WriteDAG(dir, second); return err }(),
		airflow.RemoveDAG(dir, first.ID, "a"), airflow.RemoveDAG(dir, first.ID, ""),
	} {
		require.ErrorIs(t, err, mlops.ErrAlreadyExists)
		require.ErrorContains(t, err, "DAG a.b.train belongs to project a/b")
	}
	now, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(was), string(now))
	require.Contains(t, string(was), `"mlops-project:a/b"`)
	require.NoError(t, airflow.RemoveDAG(dir, first.ID, "a/b"))

	t.Run("at once", func(t *testing.T) {
		errs := make(chan error)
		for i := range 20 {
			d := first
			d.Project = []string{"a", "a/b"}[i%2]
			go func() { _, err := airflow.WriteDAG(dir, d); errs <- err }()
		}
		refused := 0
		for range 20 {
			if err := <-errs; err != nil {
				require.ErrorIs(t, err, mlops.ErrAlreadyExists)
				refused++
			}
		}
		require.Equal(t, 10, refused, "the first decides whose it is")
	})
	t.Run("a file without a project is taken over", func(t *testing.T) {
		d := first
		d.ID, d.Project = "old", ""
		_, err := airflow.WriteDAG(dir, d)
		require.NoError(t, err)
		d.Project = "a"
		_, err = airflow.WriteDAG(dir, d)
		require.NoError(t, err)
	})
	t.Run("a long name is cut for the tag", func(t *testing.T) {
		d := first
		d.ID, d.Project = "long", strings.Repeat("n", 63)+"/"+strings.Repeat("p", 63)
		src, err := d.Python()
		require.NoError(t, err)
		tag := regexp.MustCompile(`"mlops-project:([^"]*)"`).FindSubmatch(src)
		require.NotNil(t, tag)
		require.Len(t, string(tag[1]), 86)
		require.True(t, airflow.DAG{Tags: []string{"mlops-project:" + string(tag[1])}}.OfProject(d.Project))
		require.False(t, airflow.DAG{Tags: []string{"mlops-project:" + string(tag[1])}}.OfProject(d.Project+"q"))
	})
}

func TestALinkToNothingIsLeftAsItIs(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "linked.py")
	require.NoError(t, os.Symlink(filepath.Join(dir, "nothing"), file))
	_, err := airflow.WriteDAG(dir, airflow.DAGSpec{ID: "linked", Tasks: []airflow.TaskSpec{{ID: "one", Bash: "true"}}})
	require.ErrorIs(t, err, mlops.ErrAlreadyExists)
	require.ErrorIs(t, airflow.RemoveDAG(dir, "linked", ""), mlops.ErrAlreadyExists)
	_, err = os.Lstat(file)
	require.NoError(t, err)
}

func TestAParameterWhoseDefaultIsNullNeedNotBeGiven(t *testing.T) {
	params := airflow.DAGSettings{Params: map[string]any{
		"note": map[string]any{"value": nil, "schema": map[string]any{"type": []any{"string", "null"}}},
		"rank": map[string]any{"value": nil, "schema": map[string]any{"type": "integer"}},
	}}.Schemas()
	require.NoError(t, params.Check(map[string]any{"rank": 8}))
	require.ErrorContains(t, params.Check(map[string]any{"note": "x"}), "conf lacks rank")
}

func TestDiffTakesValuesOfAnyType(t *testing.T) {
	odd := func(n int) airflow.DAGSpec {
		return airflow.DAGSpec{ID: "d", Tasks: []airflow.TaskSpec{{ID: "a", Bash: "true", Each: []any{struct{ x int }{n}}}}}
	}
	require.NotPanics(t, func() { airflow.Diff(odd(1), odd(2)) })
}
