package airflow_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
)

// scripted is a client of a server that answers as said says: for moments that
// a real one does not offer on demand. Paths begin after /api/v2.
func scripted(t *testing.T, said func(method, path string) (status int, body any)) *airflow.Client {
	t.Helper()
	answers := &tap{harm: func(_ int, req *http.Request, _ func(*http.Request) (*http.Response, error)) (*http.Response, error) {
		if err := context.Cause(req.Context()); err != nil {
			return nil, err
		}
		status, body := said(req.Method, strings.TrimPrefix(req.URL.Path, "/api/v2"))
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(string(b))), Request: req}, nil
	}}
	c, err := airflow.New(airflow.Options{URL: "http://moments.invalid", Auth: mlops.Auth{Token: "x"}, HTTP: &http.Client{Transport: answers}, PollEvery: time.Microsecond})
	require.NoError(t, err)
	return c
}

type object = map[string]any

func noSuchDAG() (int, any) { return http.StatusNotFound, object{"detail": "no such DAG"} }

// runs is a DAG as the server shows it that runs this version.
func runs(hash string) object {
	return object{"tags": []object{{"name": "mlops-sha:" + hash}}}
}

func importErrors(list ...object) (int, any) {
	return http.StatusOK, object{"import_errors": list, "total_entries": len(list)}
}

func one(id string) airflow.DAGSpec {
	return airflow.DAGSpec{ID: id, Tasks: []airflow.TaskSpec{{ID: "one", Bash: "true"}}}
}

// judgeThatSays is an interpreter that gives this verdict on any file.
func judgeThatSays(t *testing.T, verdict string) string {
	t.Helper()
	b, err := json.Marshal(verdict)
	require.NoError(t, err)
	python := filepath.Join(t.TempDir(), "python")
	require.NoError(t, os.WriteFile(python, []byte("#!/bin/sh\ncat > \"$4\" <<'end'\n"+string(b)+"\nend\n"), 0o755))
	return python
}

// The reading that had begun before the file was written reports its error with
// a new time.
func TestALateErrorOfTheOldContentIsNoVerdict(t *testing.T) {
	d := one("late")
	for name, tt := range map[string]struct {
		stamps  []int // of the import error at each look, in minutes; 0: none
		refused bool
	}{
		"old content, then the new one is good": {[]int{1, 2, 2, 0}, false},
		"no error before":                       {[]int{0, 2, 2, 0}, false},
		"the new content fails as well":         {[]int{1, 2, 3}, true},
	} {
		t.Run(name, func(t *testing.T) {
			look := 0
			c := scripted(t, func(_, path string) (int, any) {
				if path != "/importErrors" {
					if look == len(tt.stamps) {
						return http.StatusOK, runs(d.Hash())
					}
					return noSuchDAG()
				}
				look++
				minute := tt.stamps[look-1]
				if minute == 0 {
					return importErrors()
				}
				return importErrors(object{"filename": "late.py", "stack_trace": "SyntaxError: invalid", "timestamp": day(2026, 1, 1).Add(time.Duration(minute) * time.Minute)})
			})
			_, err := c.WaitDAG(t.Context(), d)
			if tt.refused {
				require.ErrorIs(t, err, mlops.ErrInvalid)
				return
			}
			require.NoError(t, err)
		})
	}
}

func TestTheSameBrokenDeclarationIsNotPutBack(t *testing.T) {
	dir, d := t.TempDir(), one("same")
	_, err := airflow.WriteDAG(dir, d)
	require.NoError(t, err)
	c := scripted(t, func(_, path string) (int, any) {
		switch path {
		case "/importErrors":
			return importErrors(object{"filename": "same.py", "stack_trace": "ValueError: mlops-sha:" + d.Hash() + " mlops-project:: no"})
		case "/dags/same":
			return noSuchDAG()
		}
		return http.StatusOK, object{"slots": 4}
	})
	_, err = c.Declare(t.Context(), dir, d, airflow.DeclareOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.NotContains(t, err.Error(), "put back")
}

func TestTheCallerEndsTheWaitingForWhatWasPutBack(t *testing.T) {
	dir, d := t.TempDir(), one("ended")
	file, err := airflow.WriteDAG(dir, d)
	require.NoError(t, err)
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	hash := d.Hash()
	d.Description = "refused"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := scripted(t, func(_, path string) (int, any) {
		switch path {
		case "/importErrors":
			return importErrors(object{"filename": "ended.py", "stack_trace": "ValueError: mlops-sha:" + d.Hash() + " mlops-project:: no"})
		case "/dags/ended":
			if now, err := os.ReadFile(file); err == nil && string(now) == string(before) {
				cancel()
			}
			return http.StatusOK, runs(hash)
		}
		return http.StatusOK, object{"slots": 4}
	})
	_, err = c.Declare(ctx, dir, d, airflow.DeclareOptions{Python: judgeThatSays(t, "")})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, "has not read yet")
	now, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(before), string(now), "the file is put back all the same")
}

func TestTheInterpretersVerdictIsKept(t *testing.T) {
	c := scripted(t, func(_, path string) (int, any) { return http.StatusOK, object{"slots": 4} })
	dir := t.TempDir()
	_, err := c.Declare(t.Context(), dir, one("judged"), airflow.DeclareOptions{Python: judgeThatSays(t, "Traceback\nValueError: of the judge")})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.Contains(t, importError(t, err).StackTrace, "of the judge")
	require.NoFileExists(t, filepath.Join(dir, "judged.py"))
}

// folderServer answers for the DAG files of a folder: a DAG whose file is gone
// is stale until it is deleted.
func folderServer(t *testing.T, dir string, seen func(id string, dag object), remove func(id string) int) *airflow.Client {
	known := map[string]object{}
	hash := regexp.MustCompile(`mlops-sha:([0-9a-f]{12})`)
	return scripted(t, func(method, path string) (int, any) {
		id, ok := strings.CutPrefix(path, "/dags/")
		switch {
		case path == "/importErrors":
			return importErrors()
		case !ok:
			return http.StatusOK, object{"slots": 4}
		case method == http.MethodDelete:
			status := remove(id)
			if status == http.StatusNoContent {
				delete(known, id)
			}
			return status, object{"detail": "no"}
		}
		if src, err := os.ReadFile(filepath.Join(dir, id+".py")); err == nil {
			known[id] = runs(hash.FindStringSubmatch(string(src))[1])
			seen(id, known[id])
		} else if known[id] != nil {
			known[id]["is_stale"] = true
		} else {
			return noSuchDAG()
		}
		return http.StatusOK, known[id]
	})
}

func TestATrialThatTheServerKeepsDoesNotRefuseAGoodDeclaration(t *testing.T) {
	dir := t.TempDir()
	refused := 0
	c := folderServer(t, dir, func(string, object) {}, func(string) int { refused++; return http.StatusForbidden })
	dag, err := c.Declare(t.Context(), dir, one("kept"), airflow.DeclareOptions{})
	require.NoError(t, err)
	require.Equal(t, one("kept").Hash(), dag.Hash())
	require.Positive(t, refused)
	left, err := filepath.Glob(filepath.Join(dir, "mlops-trial.*.py"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestATrialThatWasBrokenOffIsForgotten(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var forgotten []string
	c := folderServer(t, dir, func(_ string, dag object) {
		dag["has_import_errors"] = true // no verdict yet
		cancel()
	}, func(id string) int {
		forgotten = append(forgotten, id)
		return http.StatusNoContent
	})
	_, err := c.Declare(ctx, dir, one("off"), airflow.DeclareOptions{})
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, forgotten, 1, "the server still knows the trial")
	require.Contains(t, forgotten[0], "mlops-trial.")
}
