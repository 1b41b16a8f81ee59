package airflow_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/internal/cassette"
)

func TestTheServerTellsVersionAndHealth(t *testing.T) {
	_, c, ctx := open(t)
	v, err := c.Version(ctx)
	require.NoError(t, err)
	require.Regexp(t, `^3\.\d+`, v)
	h, err := c.Health(ctx)
	require.NoError(t, err)
	require.True(t, h.Healthy(), "%+v", h)
	require.False(t, h.Scheduler.Heartbeat.IsZero())
}

func TestADamagedTokenIsReplacedOnce(t *testing.T) {
	s, _, ctx := open(t)
	for _, tt := range []struct {
		name, bearer string
		damaged      int // requests that carry the damaged token
		logins, gets int
		want         error
	}{
		{"one damaged token", "Bearer x.y.z", 1, 2, 2, nil},
		{"no token", "", 1, 2, 2, nil},
		{"every token damaged", "Bearer x.y.z", 9, 2, 2, mlops.ErrUnauthenticated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			break1 := &tap{next: s.HTTP.Transport}
			break1.harm = func(n int, req *http.Request, send func(*http.Request) (*http.Response, error)) (*http.Response, error) {
				if req.Method == "GET" && n <= tt.damaged {
					req = req.Clone(req.Context())
					req.Header.Del("Authorization")
					if tt.bearer != "" {
						req.Header.Set("Authorization", tt.bearer)
					}
				}
				return send(req)
			}
			c := client(t, s, break1, s.Auth)
			_, err := c.Pools.Get(ctx, "default_pool")
			if tt.want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, tt.want)
			}
			require.Equal(t, tt.logins, break1.count("POST /auth/token"))
			require.Equal(t, tt.gets, break1.count("GET /api/v2/pools/default_pool"))
		})
	}
}

func TestWrongCredentialsAreToldAsSuch(t *testing.T) {
	s, _, ctx := open(t)
	pass := &tap{next: s.HTTP.Transport}
	c := client(t, s, pass, mlops.Auth{Username: s.Auth.Username, Password: "wrong"})
	_, err := c.Pools.Get(ctx, "default_pool")
	require.ErrorIs(t, err, mlops.ErrUnauthenticated)
	require.ErrorContains(t, err, "Invalid credentials")
	require.NotContains(t, err.Error(), "wrong")

	_, err = client(t, s, s.HTTP.Transport, mlops.Auth{Token: "a.b.c"}).Pools.Get(ctx, "default_pool")
	require.ErrorIs(t, err, mlops.ErrUnauthenticated, "a given token cannot be renewed")
}

// The account of a viewer is given as MLOPS_LIVE_AIRFLOW_VIEWER=name:password;
// without it the recorded answers are played.
func TestAMissingRoleIsAskedForOnce(t *testing.T) {
	viewer := os.Getenv("MLOPS_LIVE_AIRFLOW_VIEWER")
	if viewer == "" {
		t.Setenv("MLOPS_LIVE", "")
	}
	s := cassette.Open(t, "airflow")
	if s.Live {
		name, pw, _ := strings.Cut(viewer, ":")
		s.Auth = mlops.Auth{Username: name, Password: mlops.Secret(pw)}
	}
	pass := &tap{next: s.HTTP.Transport}
	c := client(t, s, pass, s.Auth)
	err := c.Do(t.Context(), "POST", "/api/v2/pools", nil, map[string]any{"name": "mlops.none", "slots": 1}, nil)
	require.ErrorIs(t, err, mlops.ErrForbidden)
	require.NotErrorIs(t, err, mlops.ErrUnauthenticated)
	require.Equal(t, 1, pass.count("POST /api/v2/pools"), "a new login does not give a role")
	require.Equal(t, 1, pass.count("POST /auth/token"))
	_, err = c.Pools.Get(t.Context(), "default_pool")
	require.NoError(t, err, "a viewer may read")
}

func TestABrokenDAGIsAnErrorThatNamesItsFile(t *testing.T) {
	s, c, ctx := open(t)
	dir := dags(t, s)
	d := airflow.DAGSpec{ID: s.Name("broken"), Schedule: "every other tuesday", Start: day(2026, 1, 1),
		Tasks: []airflow.TaskSpec{{ID: "only", Bash: "true"}}}
	_, err := airflow.WriteDAG(dir, d)
	require.NoError(t, err)
	t.Cleanup(func() { remove(ctx, c, dir, d.ID) })

	_, err = c.WaitDAG(ctx, d)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	ie := importError(t, err)
	require.Equal(t, d.ID+".py", ie.File)
	require.ErrorContains(t, err, d.ID+".py cannot be imported")
	require.Contains(t, err.Error(), "Timetable", "what Python said is not told")

	listed := false
	for e, err := range c.DAGs.ImportErrors(ctx) {
		require.NoError(t, err)
		listed = listed || e.File == ie.File
	}
	require.True(t, listed)

	// Mended, the old error does not stand in the way.
	d.Schedule = "0 3 * * 2"
	dag := deploy(t, ctx, c, dir, d)
	require.Equal(t, "0 3 * * 2", dag.Schedule)
	require.False(t, dag.NextRun.IsZero())
}

func TestErrorsHaveTheirKinds(t *testing.T) {
	_, c, ctx := open(t)
	_, err := c.DAGs.Get(ctx, "no-such-dag")
	require.EqualError(t, err, "airflow: DAGs.Get: The Dag with ID: `no-such-dag` was not found")
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = c.Trigger(ctx, "no-such-dag", airflow.TriggerOptions{RunID: "r"})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = c.Trigger(ctx, "x", airflow.TriggerOptions{RunID: "has space"})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = c.DAGs.Get(ctx, "")
	require.ErrorIs(t, err, mlops.ErrInvalid, "an empty ID would ask for the list")
	for _, err := range c.Runs.All(ctx, "~", airflow.DAGRunQuery{States: []airflow.State{"nonsense"}}) {
		require.ErrorIs(t, err, mlops.ErrInvalid)
	}
	err = c.Pools.Delete(ctx, "default_pool")
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = airflow.New(airflow.Options{URL: "localhost:8080"})
	require.ErrorIs(t, err, mlops.ErrInvalid)
}
