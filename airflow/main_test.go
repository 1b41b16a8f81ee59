package airflow_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/internal/cassette"
)

// least is the share of Airflow's operations that the suites have to see answered.
const least = 0.90

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if code == 0 {
		code = cassette.Report("airflow", least)
	}
	os.Exit(code)
}

func TestRequestsAreCountedForTheOperationTheyAre(t *testing.T) {
	all, err := cassette.ReadOperations("airflow")
	require.NoError(t, err)
	counted := 0
	for _, o := range all {
		if o.LeftOut == "" {
			counted++
		}
	}
	require.Equal(t, 126, counted)
	for request, want := range map[string]string{
		"GET /api/v2/assets/aliases":                                    "GET /api/v2/assets/aliases",
		"GET /api/v2/assets/7":                                          "GET /api/v2/assets/{asset_id}",
		"GET /api/v2/dags/~/dagRuns":                                    "GET /api/v2/dags/{dag_id}/dagRuns",
		"GET /api/v2/dags/d/dagRuns/r/taskInstances/t/tries":            "GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/tries",
		"GET /api/v2/dags/d/dagRuns/r/taskInstances/t/0":                "GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}",
		"DELETE /api/v2/dags/d/dagRuns/r/taskInstances/t/state-store/k": "DELETE /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key}",
	} {
		o := all.Find(request)
		require.NotNil(t, o, request)
		require.Equal(t, want, o.String())
	}
	require.Nil(t, all.Find("GET /api/v2/no/such/call"))
}

func TestEveryMethodNamesAnOperationThatAirflowHas(t *testing.T) {
	all, err := cassette.ReadOperations("airflow")
	require.NoError(t, err)
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	line := regexp.MustCompile(`(?m)^// Airflow REST: (.*)$`)
	named := map[string]bool{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range line.FindAllStringSubmatch(string(b), -1) {
			for part := range strings.SplitSeq(m[1], ", ") {
				methods, path, _ := strings.Cut(part, " /")
				path, _, _ = strings.Cut(path, " ")
				if path == "" || strings.HasPrefix(path, "auth/") {
					continue // "any", or the login
				}
				for method := range strings.SplitSeq(methods, " and ") {
					o := all.Find(method + " /" + path)
					require.NotNil(t, o, "%s: %q is not in operations.tsv", file, part)
					require.Equal(t, o.Path, "/"+path, "%s names the operation otherwise", file)
					named[o.String()] = true
				}
			}
		}
	}
	var without []string
	for _, o := range all {
		if o.LeftOut == "" && !named[o.String()] {
			without = append(without, o.String())
		}
	}
	// Experimental, and a stream: Client.Wait asks for the run instead.
	require.Equal(t, []string{"GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/wait"}, without)
}
