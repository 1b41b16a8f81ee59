package mlflow_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

// settings of the long counts, from the environment.
func setting(t testing.TB, name string, quick int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return quick
	}
	n, err := strconv.Atoi(v)
	require.NoError(t, err, name)
	return n
}

// figures writes a line for people, also to the file that make soak collects.
func figures(t testing.TB, format string, args ...any) {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	t.Log(line)
	name := os.Getenv("MLOPS_SOAK_FIGURES")
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	_, err = fmt.Fprintln(f, line)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// expectation is what must be true of a run.
type expectation struct {
	acked  map[int]bool       // numbers that must be there
	maybe  map[int]bool       // numbers that may be there
	status []mlflow.RunStatus // one of these
}

func expect(p ...*program) expectation {
	e := expectation{acked: map[int]bool{}, maybe: map[int]bool{}}
	for _, p := range p {
		for _, n := range p.acknowledged() {
			e.acked[n] = true
		}
	}
	return e
}

// verify compares a run with what was acknowledged: each number exactly once,
// none that was not logged.
func (e expectation) verify(t testing.TB, c *mlflow.Client, r mlflow.RunInfo) {
	t.Helper()
	ctx := context.Background()
	require.Contains(t, e.status, r.Status, "run %s ended otherwise", r.UID)
	seen := map[int]int{}
	for _, key := range []string{"m", "a", "b", "c"} {
		for p, err := range c.MetricHistory(ctx, r.ID, key) {
			require.NoError(t, err)
			n := int(p.Step)
			want := map[string]float64{"m": float64(n) / 4, "a": 1, "b": float64(n), "c": -1}[key]
			require.Equal(t, want, p.Value, "metric %s at step %d", key, n)
			switch {
			case key == "m" && kindOf(n) == "one", key == "a" && kindOf(n) == "three":
				seen[n]++
			case kindOf(n) == "three":
				seen[n] += 10
			default:
				t.Errorf("metric %s at step %d was never logged", key, n)
			}
		}
	}
	for k, v := range r.Params {
		require.Equal(t, "p"+v, k)
		n, err := strconv.Atoi(v)
		require.NoError(t, err)
		seen[n]++
	}
	latest := -1
	for k, v := range r.Tags {
		if n, err := strconv.Atoi(v); err == nil && k == "t"+v {
			seen[n]++
			latest = max(latest, n)
		}
	}
	if latest >= 0 {
		e.latest(t, r, latest)
	}
	for _, d := range r.Inputs {
		n, err := strconv.Atoi(d.Digest)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("d%d", n), d.Name)
		seen[n]++
	}
	for f, err := range c.Artifacts(ctx, "runs:/"+r.ID, "files") {
		require.NoError(t, err)
		var n int
		_, err = fmt.Sscanf(f.Path, "files/%d.txt", &n)
		require.NoError(t, err, f.Path)
		in, err := c.Download(ctx, "runs:/"+r.ID, f.Path)
		require.NoError(t, err)
		b, err := io.ReadAll(in)
		require.NoError(t, err)
		require.NoError(t, in.Close())
		require.True(t, artifactText(n) == string(b), "artifact %s came otherwise", f.Path)
		seen[n]++
	}
	for n := range e.acked {
		want := 1
		if kindOf(n) == "three" {
			want = 21
		}
		require.Equal(t, want, seen[n], "%s %d of run %s was acknowledged: it must be there once", kindOf(n), n, r.UID)
	}
	for n, times := range seen {
		require.True(t, e.acked[n] || e.maybe[n], "%s %d of run %s is there %d times, though no program logged it", kindOf(n), n, r.UID, times)
	}
}

// latest checks that the last of the tags with one name won, where one program set them all.
func (e expectation) latest(t testing.TB, r mlflow.RunInfo, n int) {
	t.Helper()
	if e.maybe[-1] { // several programs: none is the last
		return
	}
	require.Equal(t, strconv.Itoa(n), r.Tags["latest"], "an older value of the tag came last")
}

// runOf returns the one run with a UID.
func runOf(t testing.TB, c *mlflow.Client, experiment, uid string) mlflow.RunInfo {
	t.Helper()
	found, err := runsOf(c, experiment, uid)
	require.NoError(t, err)
	require.Len(t, found, 1, "there must be one run with the UID %s", uid)
	return found[0]
}

func runsOf(c *mlflow.Client, experiment, uid string) ([]mlflow.RunInfo, error) {
	return mlops.Collect(c.Runs(context.Background(), mlflow.RunQuery{Experiments: []string{experiment}, Filter: "tags.`mlops.run_uid` = '" + uid + "'"}))
}

// grows waits until the server is given more of a run.
func grows(t testing.TB, c *mlflow.Client, experiment, uid string) {
	t.Helper()
	before := ""
	require.Eventually(t, func() bool {
		found, err := runsOf(c, experiment, uid)
		if err != nil || len(found) == 0 {
			return false
		}
		now := fmt.Sprint(found[0].Metrics)
		defer func() { before = now }()
		return before != "" && now != before
	}, 2*time.Minute, 100*time.Millisecond)
}

// empty tells that no journal is left.
func empty(t testing.TB, dir string) {
	t.Helper()
	list, err := mlops.Collect(mlflow.Backlogs(dir))
	require.NoError(t, err)
	for _, b := range list {
		var why []string
		for r, err := range b.Refusals() {
			require.NoError(t, err)
			why = append(why, r)
		}
		t.Errorf("the journal %s stayed: %d waiting, %d refused, %d lost, %d dropped: %v", b.Path, b.Waiting, b.Refused, b.Lost, b.Dropped, why)
	}
	require.Empty(t, list)
}

// syncAll sends all journals from a process of its own: once is enough.
func syncAll(t testing.TB, j job) {
	t.Helper()
	j.Do = "sync"
	require.NoError(t, startProgram(t, j).wait(), "one Sync has to be enough")
}

// syncPatiently is syncAll where answers get lost: as often as it takes.
func syncPatiently(t testing.TB, j job) {
	t.Helper()
	j.Do = "sync"
	var err error
	begin := time.Now()
	for try := 0; try < 40 && time.Since(begin) < 2*time.Minute; try++ {
		if err = startProgram(t, j).wait(); err == nil {
			return
		}
	}
	require.NoError(t, err, "it does not get through")
}
