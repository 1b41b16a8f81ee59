package cli

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
)

// nothingThere answers as MLflow, Airflow, Ray and Evidently do that have
// nothing, and keeps the requests that would make something.
type nothingThere struct {
	there map[string]string // answers about what is there all the same, by path

	mu   sync.Mutex
	made []string
}

func (n *nothingThere) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead || strings.HasSuffix(r.URL.Path, "/search")
	answer := `{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such thing", "detail": "no such thing"}`
	status := http.StatusNotFound
	switch {
	case n.there[r.URL.Path] != "":
		status, answer = http.StatusOK, n.there[r.URL.Path]
	case r.URL.Path == "/auth/token":
		status, answer, reads = http.StatusCreated, `{"access_token": "x"}`, true
	case strings.HasPrefix(r.URL.Path, "/api/serve/applications"):
		status, answer = http.StatusOK, `{"applications": {}}`
	case r.URL.Path == "/api/v2/dags":
		status, answer = http.StatusOK, `{"dags": [], "total_entries": 0}`
	case r.URL.Path == "/api/v2/assets":
		status, answer = http.StatusOK, `{"assets": [], "total_entries": 0}`
	case r.URL.Path == "/api/v2/importErrors":
		status, answer = http.StatusOK, `{"import_errors": [], "total_entries": 0}`
	case strings.HasPrefix(r.URL.Path, "/api/projects"):
		status, answer = http.StatusOK, `[]`
	case strings.HasSuffix(r.URL.Path, "/search"):
		status, answer = http.StatusOK, `{}`
	}
	if !reads {
		n.mu.Lock()
		n.made = append(n.made, r.Method+" "+r.URL.Path)
		n.mu.Unlock()
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
}

// ofServers leads all tools to n.
func (n *nothingThere) ofServers(t *testing.T) {
	server := httptest.NewServer(n)
	t.Cleanup(server.Close)
	for _, v := range []string{"MLFLOW_TRACKING_URI", "MLOPS_AIRFLOW_URL", "MLOPS_RAY_ADDRESS", "MLOPS_SERVE_URL", "MLOPS_EVIDENTLY_URL"} {
		t.Setenv(v, server.URL)
	}
	t.Setenv("MLOPS_HOME", t.TempDir())
	t.Setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
	t.Setenv("MLOPS_EVIDENTLY_PYTHON", "/nowhere/python")
	t.Setenv("MLOPS_DAGS_FOLDER", t.TempDir())
	t.Setenv("MLFLOW_RUN_ID", "")
	t.Setenv("MLOPS_PROJECT", "")
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("data.csv", []byte("a,b\n1,2\n"), 0o644))
	require.NoError(t, os.Mkdir("model", 0o755))
	require.NoError(t, os.WriteFile(filepath.Join("model", "model.py"), nil, 0o644))
}

const noRun = "0123456789abcdef0123456789abcdef"

// mistakes has, for every command, a command line that is wrong and one that
// is right but names what does not exist; "-" where there is no such thing.
var mistakes = map[string]struct{ usage, missing string }{
	"setup":              {"setup nope-service", "-"},
	"start":              {"start nope-service", "-"},
	"stop":               {"stop nope-service", "-"},
	"restart":            {"restart nope-service", "-"},
	"status":             {"status extra", "-"},
	"logs":               {"logs nope-service", "-"},
	"doctor":             {"doctor extra", "-"},
	"destroy":            {"destroy extra", "-"},
	"register":           {"register Bad_Name", "-"},
	"projects":           {"projects extra", "-"},
	"run start":          {"run start -p Bad_Name", "run start -p demo --data nothing.csv"},
	"run end":            {"run end", "run end --run " + noRun},
	"run exec":           {"run exec -p Bad_Name -- true", "run exec -p demo --data nothing.csv -- true"},
	"run list":           {"run list -p Bad_Name", "run list -p typo"},
	"run show":           {"run show", "run show " + noRun},
	"run compare":        {"run compare x --filter y", "run compare -p typo"},
	"run delete":         {"run delete", "run delete " + noRun},
	"run restore":        {"run restore", "run restore " + noRun},
	"metric log":         {"metric log --run x a=b", "metric log --run " + noRun + " a=1"},
	"param log":          {"param log --run x", "param log --run " + noRun + " --file nothing.json"},
	"tag set":            {"tag set --run x", "tag set --run " + noRun + " a=b"},
	"artifact log":       {"artifact log data.csv", "artifact log --run " + noRun + " nothing.txt"},
	"artifact list":      {"artifact list", "artifact list " + noRun},
	"artifact get":       {"artifact get " + noRun + " --into -", "artifact get " + noRun + " a.txt"},
	"experiment list":    {"experiment list -p Bad_Name", "experiment list -p typo"},
	"experiment create":  {"experiment create mine --tag a", "-"},
	"experiment tag":     {"experiment tag mine a", "experiment tag nothing a=b"},
	"experiment delete":  {"experiment delete", "experiment delete nothing"},
	"experiment restore": {"experiment restore", "experiment restore nothing"},
	"import":             {"import", "import nothing"},
	"sync":               {"sync --discard", "sync --discard " + noRun},
	"agent":              {"agent --listen localhost", "-"},
	"fair status":        {"fair status extra", "-"},
	"fair slots":         {"fair slots none", "-"},
	"fair energy":        {"fair energy -5", "-"},
	"fair simulate":      {"fair simulate --tasks 0", "fair simulate nope.ndjson"},
	"quota set":          {"quota set", "-"},
	"quota list":         {"quota list extra", "-"},
	"heat show":          {"heat show extra", "-"},
	"heat set":           {"heat set mild", "-"},
	"heat clear":         {"heat clear extra", "-"},
	"pool list":          {"pool list extra", "-"},
	"pool set":           {"pool set gpu many", "-"},
	"pool release":       {"pool release Bad_Name", "pool release typo"},
	"apple":              {"apple extra", "apple --replay nothing.ndjson"},
	"model log":          {"model log model --run x", "model log nothing --run " + noRun + " --name x --pyfunc model.py"},
	"model register":     {"model register x", "model register models:/nothing/1 --name x"},
	"model list":         {"model list -p Bad_Name", "model list nothing"},
	"model alias":        {"model alias wine champion", "model alias nothing champion 1"},
	"model tag":          {"model tag wine", "model tag nothing a=b"},
	"model copy":         {"model copy wine 3", "model copy nothing 1 b"},
	"model compare":      {"model compare wine 3", "model compare nothing 1 --metric loss"},
	"model delete":       {"model delete wine", "model delete nothing --all"},
	"dag declare":        {"dag declare -p demo", "dag declare -f nothing.yaml -p typo"},
	"dag diff":           {"dag diff -p demo", "dag diff -f nothing.yaml -p typo"},
	"dag list":           {"dag list -p Bad_Name", "dag list -p typo"},
	"dag show":           {"dag show", "dag show x -p typo"},
	"dag runs":           {"dag runs x -n many", "dag runs x -p typo"},
	"dag tasks":          {"dag tasks x", "dag tasks x y -p typo"},
	"dag rerun":          {"dag rerun x", "dag rerun x y -p typo"},
	"dag decide":         {"dag decide x y z a --input b", "dag decide x y -p typo"},
	"dag xcom":           {"dag xcom x y", "dag xcom x y z -p typo"},
	"asset list":         {"asset list extra", "-"},
	"asset event":        {"asset event x --extra y", "asset event typo"},
	"variable list":      {"variable list extra", "-"},
	"variable get":       {"variable get", "variable get typo"},
	"variable set":       {"variable set bucket s3://lora", "variable set bucket --file nothing.txt"},
	"variable rm":        {"variable rm", "variable rm typo"},
	"connection list":    {"connection list extra", "-"},
	"connection get":     {"connection get", "connection get typo"},
	"connection set":     {"connection set warehouse", "connection set warehouse --file nothing.json"},
	"connection rm":      {"connection rm", "connection rm typo"},
	"dag wait":           {"dag wait x", "dag wait x y -p typo"},
	"dag logs":           {"dag logs x y --level loud", "dag logs x y z -p typo"},
	"dag trigger":        {"dag trigger x -p demo --conf x", "dag trigger x -p typo"},
	"dag explain":        {"dag explain x", "dag explain x y -p typo"},
	"dag pause":          {"dag pause", "dag pause x -p typo"},
	"dag resume":         {"dag resume", "dag resume x -p typo"},
	"dag cancel":         {"dag cancel x", "dag cancel x y -p typo"},
	"dag clear":          {"dag clear x", "dag clear x y -p typo"},
	"dag backfill":       {"dag backfill x -p demo --from 2026-02-01 --to soon", "dag backfill x -p typo --from 2026-02-01 --to 2026-02-02"},
	"dag rm":             {"dag rm", "dag rm x -p typo"},
	"dag errors":         {"dag errors -p Bad_Name", "dag errors -p typo"},
	"deploy":             {"deploy", "deploy nothing@champion -p demo"},
	"predict":            {"predict", "predict nothing -p demo nothing.json"},
	"undeploy":           {"undeploy", "undeploy nothing -p demo"},
	"list-deployments":   {"list-deployments -p Bad_Name", "-"},
	"lineage":            {"lineage", "lineage nothing/7"},
	"why":                {"why", "why nothing"},
	"who-uses":           {"who-uses a b", "who-uses nothing@champion"},
	"drift check":        {"drift check data.csv", "drift check nothing.csv data.csv -p demo"},
	"drift profile":      {"drift profile", "drift profile nothing.csv"},
	"drift list":         {"drift list -p Bad_Name", "drift list -p typo"},
	"demo":               {"demo extra", "-"},
	"version":            {"version extra", "-"},
	"completion":         {"completion tcsh", "-"},
	"man":                {"man a b", "-"},
}

// leaves are the commands that do something, by name.
func leaves(at string, list []*cli.Command, visit func(string, *cli.Command)) {
	for _, c := range list {
		name := strings.TrimSpace(at + " " + c.Name)
		switch {
		case c.Hidden:
		case len(c.Subcommands) > 0:
			leaves(name, c.Subcommands, visit)
		default:
			visit(name, c)
		}
	}
}

// call runs a command line within this process.
func call(t *testing.T, line string) (code int, stdout, stderr string) {
	var out, talk bytes.Buffer
	code = Main(t.Context(), strings.Fields(line), strings.NewReader(""), &out, &talk)
	return code, out.String(), talk.String()
}

func TestTheSameMistakeHasTheSameCodeInEveryCommand(t *testing.T) {
	new(nothingThere).ofServers(t)
	e := newEnv(strings.NewReader(""), io.Discard, io.Discard, commands)
	leaves("", e.app.Commands, func(name string, c *cli.Command) {
		if c.Name == "dvc" || strings.HasPrefix(name, "dvc") {
			code, out, _ := call(t, name+" --nope-flag")
			require.Equal(t, exitUsage, code, name)
			require.Empty(t, out, name)
			return // dvc.txtar: the codes are dvc's
		}
		m, ok := mistakes[name]
		require.True(t, ok, "%s has no line in the table of mistakes", name)
		for line, want := range map[string]int{name + " --nope-flag": exitUsage, m.usage: exitUsage, m.missing: exitNotFound} {
			if line == "-" {
				continue
			}
			code, out, talk := call(t, line)
			if code != want {
				t.Errorf("%s exits with %d, want %d: %s", line, code, want, talk)
			}
			if out != "" {
				t.Errorf("%s: data on stdout of a command that failed: %s", line, out)
			}
		}
	})
}

func TestEachKindOfErrorHasACode(t *testing.T) {
	for _, kind := range mlops.Kinds() {
		_, ok := exitOf[kind]
		require.Equal(t, kind != mlops.ErrInvalid, ok, "%v", kind)
	}
}

func TestATriggerOfNothingMakesNothing(t *testing.T) {
	var n nothingThere
	n.ofServers(t)
	code, _, talk := call(t, "dag trigger x -p typo")
	require.Equal(t, exitNotFound, code, talk)
	require.Contains(t, talk, `there is no project "typo"`)
	require.Empty(t, n.made)
}

func TestReadingCommandsMakeNothing(t *testing.T) {
	var n nothingThere
	n.ofServers(t)
	for _, line := range []string{
		"run list -p typo", "run compare -p typo", "run show " + noRun, "run compare " + noRun, "experiment list -p typo", "experiment list", "model list -p typo", "model list",
		"artifact list " + noRun, "artifact get " + noRun, "dag list -p typo", "dag errors -p typo", "dag errors", "dag wait x y -p typo", "dag logs x y z -p typo",
		"list-deployments -p typo", "list-deployments --all", "drift list -p typo", "projects", "sync --status -p typo",
	} {
		code, _, talk := call(t, line)
		require.Contains(t, []int{exitDone, exitNotFound}, code, "%s: %s", line, talk)
		require.Empty(t, n.made, line)
	}
}

func TestAServerThatNeverAnswersIsBoundedByTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // the system accepts, nobody answers
	require.NoError(t, err)
	defer l.Close()
	new(nothingThere).ofServers(t)
	for _, v := range []string{"MLFLOW_TRACKING_URI", "MLOPS_AIRFLOW_URL", "MLOPS_RAY_ADDRESS", "MLOPS_EVIDENTLY_URL"} {
		t.Setenv(v, "http://"+l.Addr().String())
	}
	for _, line := range []string{"experiment list", "run show " + noRun, "dag list -p demo", "drift list -p demo", "list-deployments --all", "model list", "projects", "artifact list " + noRun} {
		code, out, talk := call(t, line+" --timeout 200ms")
		require.Equal(t, exitUnavailable, code, "%s: %s", line, talk)
		require.Contains(t, talk, "not done within 200ms (--timeout)", line)
		require.Empty(t, out, line)
	}
	code, out, talk := call(t, "run start -p demo --timeout 200ms")
	require.Equal(t, exitDone, code, talk)
	require.Regexp(t, "^[0-9a-f]{32}\n$", out)
	require.Contains(t, talk, "MLflow is slow to answer; ", "it is not away")
	require.NotContains(t, talk, "away")
	code, _, talk = call(t, "run exec -p demo --timeout 200ms -- false")
	require.Equal(t, 1, code, talk)
}

func TestModelLogSpeaksOfFlagsAndNamesTheFolder(t *testing.T) {
	new(nothingThere).ofServers(t)
	require.NoError(t, os.Mkdir("packaged", 0o755))
	require.NoError(t, os.WriteFile("packaged/MLmodel", nil, 0o644))
	for line, want := range map[string]string{
		"model log model --run x":                    "model has no MLmodel file: say by --sklearn or --pyfunc",
		"model log packaged --run x --pyfunc a.py":   "--pyfunc: packaged has an MLmodel file",
		"model log model --run x --sklearn no.skops": "--sklearn: there is no file \"no.skops\" in model",
		"model log model --run x --pyfunc model.py":  "the versions that model needs are not known: give --venv",
		"model log data.csv --run x":                 "data.csv is a file; name the folder",
	} {
		_, _, talk := call(t, line)
		require.Contains(t, talk, want, line)
		require.NotContains(t, talk, "Model.", line)
	}
}

func TestOneFlagHasOneName(t *testing.T) {
	e := newEnv(strings.NewReader(""), io.Discard, io.Discard, commands)
	leaves("", e.app.Commands, func(name string, c *cli.Command) {
		for _, f := range c.Flags {
			for _, n := range f.Names() {
				switch _, number := f.(*cli.IntFlag); {
				case n == "n" && !number:
					t.Errorf("%s: -n is not how many", name)
				case n == "limit":
					require.Contains(t, f.Names(), "n", name)
				case n == "C" || n == "dir" || n == "cd":
					require.Subset(t, f.Names(), []string{"C", "dir", "cd"}, name)
				}
			}
		}
	})
}
