package client_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

// An Airflow refuses a DAG that has a tag twice.
func TestTheTagsOfADeclaredDAGStandOnce(t *testing.T) {
	folder := t.TempDir()
	hash := regexp.MustCompile(`mlops-sha:[0-9a-f]{12}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		id, ok := strings.CutPrefix(r.URL.Path, "/api/v2/dags/")
		if !ok {
			_, _ = fmt.Fprint(w, `{"access_token": "x", "slots": 4}`) // of the login, of a pool
			return
		}
		src, err := os.ReadFile(filepath.Join(folder, id+".py"))
		if err != nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"dag_id": id, "tags": []map[string]string{{"name": hash.FindString(string(src))}}})
	}))
	t.Cleanup(server.Close)
	python := filepath.Join(t.TempDir(), "python") // takes everything
	require.NoError(t, os.WriteFile(python, []byte("#!/bin/sh\necho '\"\"' > \"$4\"\n"), 0o755))
	for name, value := range map[string]string{"MLOPS_AIRFLOW_URL": server.URL, "MLOPS_DAGS_FOLDER": folder, "MLOPS_AIRFLOW_PYTHON": python, "MLOPS_NAMESPACE": "", "MLOPS_HOME": t.TempDir()} {
		t.Setenv(name, value)
	}
	for project, want := range map[string]string{"mlops": `["mlops","night"]`, "demo": `["mlops","demo","night"]`} {
		p, err := client.FromProject(t.Context(), project, client.In(t.TempDir()))
		require.NoError(t, err)
		d := airflow.DAGSpec{ID: "train", Project: project, Tags: []string{project, "night"}, Tasks: []airflow.TaskSpec{{ID: "one", Bash: "true"}}}
		_, err = p.DeclareDAG(t.Context(), d)
		require.NoError(t, err)
		d.Project = "another"
		_, err = p.DeclareDAG(t.Context(), d)
		require.ErrorIs(t, err, mlops.ErrInvalid)
		require.ErrorContains(t, err, "is declared for project another, not for "+project)
		_, err = p.DiffDAG(d)
		require.ErrorIs(t, err, mlops.ErrInvalid)
		require.NoError(t, p.Close())
		src, err := os.ReadFile(filepath.Join(folder, project+".train.py"))
		require.NoError(t, err)
		require.Contains(t, strings.Join(strings.Fields(string(src)), ""), `"tags":`+want)
	}
}

func TestAConfThatDoesNotMatchTheParametersIsNotSent(t *testing.T) {
	var sent []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method != "GET" && r.URL.Path != "/auth/token" {
			sent = append(sent, r.Method+" "+r.URL.Path)
		}
		// As Airflow 3.3.2 answers to GET /api/v2/dags/{dag_id}/details.
		_, _ = fmt.Fprint(w, `{"access_token": "x", "dag_id": "demo.train", "tags": [{"name": "mlops-sha:0123456789ab"}],
			"params": {"rank": {"value": 16, "description": "of the adapter", "schema": {"type": "integer", "maximum": 64}, "source": "dag"}}, "slots": 4, "dag_run_id": "r", "state": "queued"}`)
	}))
	t.Cleanup(server.Close)
	t.Setenv("MLOPS_AIRFLOW_URL", server.URL)
	t.Setenv("MLOPS_NAMESPACE", "")
	t.Setenv("MLOPS_HOME", t.TempDir())
	p, err := client.FromProject(t.Context(), "demo", client.In(t.TempDir()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	_, err = p.Trigger(t.Context(), "train", airflow.TriggerOptions{Conf: map[string]any{"rank": 100}})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, `rank is 100, which does not match {"maximum":64,"type":"integer"}`)
	require.Empty(t, sent)
	_, err = p.Trigger(t.Context(), "train", airflow.TriggerOptions{Conf: map[string]any{"rank": 8, "other": true}})
	require.NoError(t, err)
	require.NotEmpty(t, sent)
}
