package mlflow

import (
	"errors"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
)

// fixture is a folder that MLflow wrote: see mlruns.py beside it.
const fixture = "../testdata/mlflow/mlruns"

// oldStore is a copy of the fixture in the working folder, which is a new one:
// with names and IDs that the server has not seen. Its runs are returned by name.
func oldStore(t *testing.T, s *cassette.Session) (FileStore, map[string]storedRun) {
	t.Helper()
	from, err := OpenFileStore(fixture)
	require.NoError(t, err)
	renamed := []string{"old work", s.Name("old work")}
	id := uids(s)
	byName := map[string]storedRun{}
	for _, r := range storedRuns(t, from) {
		byName[r.Name] = r
	}
	for _, name := range []string{"first", "child", "gone", "still going"} {
		renamed = append(renamed, byName[name].ID, id())
	}
	t.Chdir(t.TempDir())
	copyOf := strings.NewReplacer(renamed...)
	require.NoError(t, fs.WalkDir(os.DirFS(from.dir), ".", func(p string, d fs.DirEntry, err error) error {
		to := filepath.Join("mlruns", copyOf.Replace(p))
		if err != nil || d.IsDir() {
			return errors.Join(err, os.MkdirAll(to, 0o755))
		}
		b, err := os.ReadFile(filepath.Join(from.dir, p))
		return errors.Join(err, os.WriteFile(to, []byte(copyOf.Replace(string(b))), 0o644))
	}))
	from = FileStore{"mlruns"} // not by its whole path, which is recorded
	clear(byName)
	for _, r := range storedRuns(t, from) {
		byName[r.Name] = r
	}
	return from, byName
}

func storedRuns(t *testing.T, from FileStore) []storedRun {
	t.Helper()
	var out []storedRun
	for dir, err := range from.experiments() {
		require.NoError(t, err)
		for r, err := range from.runs(dir) {
			require.NoError(t, err)
			out = append(out, r)
		}
	}
	return out
}

func TestAnMlrunsFolderIsImportedOnce(t *testing.T) {
	s := cassette.Open(t, "mlflow") // not beside others: the working folder changes
	c := clientOf(t, s, s.HTTP)
	from, old := oldStore(t, s)
	ctx := t.Context()

	dry, err := c.Import(ctx, from, ImportOptions{DryRun: true})
	require.NoError(t, err)
	require.Equal(t, map[ImportOutcome]int{ImportNew: 3, ImportDeleted: 2}, outcomes(dry))
	_, err = c.ExperimentByName(ctx, s.Name("old work"))
	require.ErrorIs(t, err, mlops.ErrNotFound, "a dry run made something")

	var told []string
	done, err := c.Import(ctx, from, ImportOptions{Progress: func(d Imported) { told = append(told, d.Name) }})
	require.NoError(t, err)
	require.Equal(t, map[ImportOutcome]int{ImportDone: 3, ImportDeleted: 2}, outcomes(done))
	require.Less(t, slices.Index(told, "first"), slices.Index(told, "child"), "the parent has to be there first")
	first, child, going := imported(t, done, "first"), imported(t, done, "child"), imported(t, done, "still going")
	require.Equal(t, Imported{Experiment: s.Name("old work"), OldID: old["first"].ID, RunID: first.RunID, Name: "first", Outcome: ImportDone, Points: 5, Params: 3, Artifacts: 1}, first)

	e, err := c.ExperimentByName(ctx, s.Name("old work"))
	require.NoError(t, err)
	require.Equal(t, "a", e.Tags["team"])
	r, err := c.RunInfo(ctx, first.RunID)
	require.NoError(t, err)
	require.Equal(t, []string{old["first"].ID, "first", string(RunFinished), e.ID, "unknown"}, []string{r.UID, r.Name, string(r.Status), r.ExperimentID, r.Tags["mlflow.user"]})
	require.Equal(t, []int64{1700000000000, 1700000009000}, []int64{r.Start.UnixMilli(), r.End.UnixMilli()})
	require.Equal(t, map[string]string{"lr": "0.1", "multi/line": "a\nb", "empty": ""}, r.Params)
	require.Equal(t, "v two\nlines", r.Tags["k"]+" "+r.Tags["mlflow.note.content"])
	require.Regexp(t, "^file://mlruns/[0-9]+/"+old["first"].ID+"$", r.Tags[importedTag])
	require.Equal(t, []DatasetInput{{"wine", "abc123", "local", `{"uri": "wine.csv"}`, "{}", "{}", "training", nil}}, r.Inputs)
	at := time.UnixMilli(1700000001000).UTC()
	require.Equal(t, []Metric{{Key: "loss", Value: 1, Time: at}, {Key: "loss", Value: 0.5, Time: at.Add(time.Millisecond), Step: 1}, {Key: "loss", Value: 1.0 / 3, Time: at.Add(2 * time.Millisecond), Step: 2}}, history(t, c, r.ID, "loss"))
	nan, inf := history(t, c, r.ID, "odd/nan"), history(t, c, r.ID, "odd/inf")
	require.True(t, len(nan) == 1 && math.IsNaN(nan[0].Value), nan)
	require.Equal(t, []Metric{{Key: "odd/inf", Value: math.MaxFloat64, Time: at.Add(time.Second), Step: -1}}, inf, "what MLflow keeps of an infinity")
	b, err := c.Download(ctx, r.ID, "notes/hello.txt")
	require.NoError(t, err)
	require.NoError(t, b.Close())

	r, err = c.RunInfo(ctx, child.RunID)
	require.NoError(t, err)
	require.Equal(t, first.RunID, r.Tags["mlflow.parentRunId"], "the parent has a new ID")
	require.Equal(t, RunFailed, r.Status)
	require.EqualValues(t, 1700000109000, r.End.UnixMilli())
	r, err = c.RunInfo(ctx, going.RunID)
	require.NoError(t, err)
	require.Equal(t, RunRunning, r.Status)
	require.True(t, r.End.IsZero())

	require.NoError(t, c.DeleteRun(ctx, going.RunID))
	again, err := c.Import(ctx, from, ImportOptions{})
	require.NoError(t, err)
	require.Equal(t, map[ImportOutcome]int{ImportPresent: 3, ImportDeleted: 2}, outcomes(again), "runs that are there, or were deleted there")
	all, err := mlops.Collect(c.Runs(ctx, RunQuery{Experiments: []string{e.ID}, View: ViewAll}))
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.Len(t, history(t, c, first.RunID, "loss"), 3)
}

// severed breaks connections before what is sent on them arrives.
type severed struct {
	next http.RoundTripper
	path string
	on   bool
}

func (c *severed) RoundTrip(req *http.Request) (*http.Response, error) {
	if c.on && strings.Contains(req.URL.Path, c.path) {
		return nil, errors.New("cut")
	}
	return c.next.RoundTrip(req)
}

func TestAnImportThatWasBrokenOffIsGoneOnWith(t *testing.T) {
	for _, path := range []string{"mlflow-artifacts", "runs/update"} {
		t.Run(path, func(t *testing.T) {
			s := cassette.Open(t, "mlflow")
			fault := &severed{next: s.HTTP.Transport, path: path, on: true}
			c := clientOf(t, s, &http.Client{Transport: fault})
			from, old := oldStore(t, s)
			ctx := t.Context()

			done, err := c.Import(ctx, from, ImportOptions{})
			require.ErrorIs(t, err, mlops.ErrUnavailable)
			broken := imported(t, done, "first")
			require.Equal(t, ImportFailed, broken.Outcome)
			require.NotContains(t, outcomes(done), ImportDone, "nothing is tried at a server that is away")

			fault.on = false
			done, err = c.Import(ctx, from, ImportOptions{})
			require.NoError(t, err)
			require.Equal(t, map[ImportOutcome]int{ImportDone: 3, ImportDeleted: 2}, outcomes(done))
			require.Equal(t, broken.RunID, imported(t, done, "first").RunID, "the run was made a second time")
			r, err := c.RunInfo(ctx, old["first"].ID)
			require.NoError(t, err)
			require.Equal(t, RunFinished, r.Status)
			require.Len(t, history(t, c, r.ID, "loss"), 3)
			files, err := mlops.Collect(c.Artifacts(ctx, r.ID, "notes"))
			require.NoError(t, err)
			require.Len(t, files, 1)
		})
	}
}

func TestWhatTheServerRefusesOfAnImportedRunIsTold(t *testing.T) {
	s := cassette.Open(t, "mlflow")
	c := clientOf(t, s, s.HTTP)
	from, old := oldStore(t, s)
	dir := filepath.Join(from.dir, old["first"].dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "metrics", "bad!key"), []byte("1700000001000 1 0\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "metrics", "torn"), []byte("1700000001000 1 0\n17000"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "params", "long"), []byte(strings.Repeat("x", 6001)), 0o644))

	done, err := c.Import(t.Context(), from, ImportOptions{})
	require.NoError(t, err, "the other runs have nothing to do with it")
	require.Equal(t, map[ImportOutcome]int{ImportDone: 3, ImportDeleted: 2}, outcomes(done))
	first := imported(t, done, "first")
	require.ErrorIs(t, first.Err, mlops.ErrInvalid)
	require.ErrorContains(t, first.Err, "bad!key")
	require.ErrorContains(t, first.Err, "torn:2: ")
	require.ErrorContains(t, first.Err, "6001 characters")
	require.Len(t, history(t, c, first.RunID, "torn"), 1)
}

func outcomes(list []Imported) map[ImportOutcome]int {
	out := map[ImportOutcome]int{}
	for _, d := range list {
		out[d.Outcome]++
	}
	return out
}

func imported(t *testing.T, list []Imported, name string) Imported {
	t.Helper()
	i := slices.IndexFunc(list, func(d Imported) bool { return d.Name == name })
	require.GreaterOrEqual(t, i, 0, "nothing is told of run %q", name)
	return list[i]
}

func history(t *testing.T, c *Client, run, key string) []Metric {
	t.Helper()
	list, err := mlops.Collect(c.MetricHistory(t.Context(), run, key))
	require.NoError(t, err)
	return list
}
