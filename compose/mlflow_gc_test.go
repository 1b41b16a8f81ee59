package compose

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

func TestGCNeverTakesWhatIsUsed(t *testing.T) {
	s, _ := liveProcesses(t)
	cmd, err := processes{s}.collector(t.Context())
	require.NoError(t, err)
	script := cmd.Args[len(cmd.Args)-1]
	driver, err := os.ReadFile("testdata/mlflow_gc_live.py")
	require.NoError(t, err)
	var out, talk bytes.Buffer
	cmd.Args = []string{cmd.Path, "-I", "-c", string(driver), script}
	cmd.Stdout, cmd.Stderr = &out, &talk
	require.NoError(t, cmd.Run(), talk.String())
	var got map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &got), out.String())
	none, file := []any{}, []any{"weights"}
	require.Equal(t, map[string]any{
		"found although used":               none,
		"removed although used":             none,
		"removed although changed":          none,
		"files lost":                        none,
		"others' runs and open ones":        []any{"not listed", "not listed"},
		"younger":                           none,
		"restored in the midst":             true,
		"plain":                             []any{"removed", none, file, file, file},
		"files that could not go are named": true,
	}, got)
}

func TestWhatIsDeployedIsKnownOrNothingIsRemoved(t *testing.T) {
	kept, live := strings.Repeat("a1", 16), strings.Repeat("b2", 16)
	answer := `{"applications":{"x":{"deployed_app_config":{"args":{"model":"runs:/` + live + `/model"}}}}}`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
	defer srv.Close()
	home := t.TempDir()
	dir := filepath.Join(home, "data", "serve")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "applications.json"), []byte(`{"mlops.run_id":"`+kept+`"}`), 0o600))
	s := &Stack{base: base{home: home}}
	got, err := s.deployedRuns(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{kept}, got, "Ray is not there, and starts with what is kept")
	require.NoError(t, stackfile.Write(stackfile.Stack{Runtime: "process", Home: home, ServeDir: dir, Endpoints: map[string]stackfile.Endpoint{stackfile.Ray: {URL: srv.URL}}}))
	got, err = s.deployedRuns(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{kept, live}, got)
	answer = "<html>"
	_, err = s.deployedRuns(t.Context())
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	require.ErrorContains(t, err, "it is not known which runs are deployed")
}

func TestAnErrorOfGCNamesTheException(t *testing.T) {
	for talk, want := range map[string]string{
		"TimeoutError: inner\n\nrequests.exceptions.ConnectTimeout: outer\n": "requests.exceptions.ConnectTimeout: outer",
		"": "",
		"Traceback (most recent call last):\n  File \"x\", line 1\nKeyError: 'collect'\n": "KeyError: 'collect'",
		"warning\n/bin/python: can't open file\n":                                         "/bin/python: can't open file",
		"sqlalchemy.exc.OperationalError: inner\n\nmlflow.exceptions.MlflowException: (psycopg2.errors.UndefinedTable) relation \"runs\" does not exist\nDETAIL:  none\n[SQL: x\n]\n": "mlflow.exceptions.MlflowException: (psycopg2.errors.UndefinedTable) relation \"runs\" does not exist",
	} {
		require.Equal(t, want, exception(talk))
	}
}
