package mlflow

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestAFileStoreTellsWhatItHolds(t *testing.T) {
	from, err := OpenFileStore(fixture)
	require.NoError(t, err)
	list, err := mlops.Collect(from.Experiments())
	require.NoError(t, err)
	byName := map[string]Experiment{}
	for _, e := range list {
		byName[e.Name] = e
	}
	require.Len(t, byName, 3)
	old := byName["old work"]
	require.Equal(t, Tags{"team": "a"}, old.Tags)
	require.Equal(t, "file:///old/mlruns/"+old.ID, old.ArtifactLocation)
	require.False(t, old.Created.IsZero() || old.Updated.IsZero() || old.Deleted)
	require.True(t, byName["thrown away"].Deleted, "it is in the folder .trash")
	left, err := from.LeftOut()
	require.NoError(t, err)
	require.Equal(t, map[string]int{"registered models": 1, "logged models": 1}, left)
}

func TestWhatIsNoFileStoreIsNotOpened(t *testing.T) {
	_, err := OpenFileStore(filepath.Join(t.TempDir(), "nothing"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = OpenFileStore("mlruns_test.go")
	require.ErrorContains(t, err, "mlruns_test.go")
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "0"), 0o755))
	_, err = OpenFileStore(dir)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, "is no mlruns folder: no folder in it has a meta.yaml")
}

// store writes files into a new folder and opens it.
func store(t *testing.T, files map[string]string) FileStore {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		require.NoError(t, os.WriteFile(p, []byte(text), 0o644))
	}
	from, err := OpenFileStore(dir)
	require.NoError(t, err)
	return from
}

func TestABrokenFileOfAFileStoreIsNamed(t *testing.T) {
	c := awayClient(t)
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"an experiment", map[string]string{"0/meta.yaml": "name: [", "0/r/meta.yaml": ""}, "0/meta.yaml: yaml: "},
		{"a run", map[string]string{"0/meta.yaml": "name: a", "0/r/meta.yaml": "\trun_id: x"}, "0/r/meta.yaml: yaml: "},
		{"an input", map[string]string{"0/meta.yaml": "name: a", "0/r/meta.yaml": "run_id: x", "0/r/inputs/i/meta.yaml": ": :"}, "0/r/inputs/i/meta.yaml: yaml: "},
		{"a data set", map[string]string{"0/meta.yaml": "name: a", "0/r/meta.yaml": "run_id: x", "0/r/inputs/i/meta.yaml": "source_id: d", "0/datasets/d/meta.yaml": "name: {"}, "0/datasets/d/meta.yaml: yaml: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.Import(t.Context(), store(t, tt.files), ImportOptions{DryRun: true})
			require.ErrorContains(t, err, filepath.FromSlash(tt.want))
		})
	}
	for _, err := range store(t, map[string]string{"0/meta.yaml": "name: ["}).Experiments() {
		require.ErrorContains(t, err, "yaml: ")
	}
}

// awayClient is a client of a server that is not there.
func awayClient(t *testing.T) *Client {
	t.Helper()
	c, err := New(Options{URL: "http://127.0.0.1:9", Tries: 1, Journal: Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	return c
}

func TestAnImportStopsWhereTheServerIsAway(t *testing.T) {
	from := store(t, map[string]string{"0/meta.yaml": "name: Default", "0/a/meta.yaml": "run_id: a", "0/b/meta.yaml": "run_id: b"})
	list, err := awayClient(t).Import(t.Context(), from, ImportOptions{DryRun: true})
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	require.Len(t, list, 1, "the second run is not tried")
	require.Equal(t, ImportFailed, list[0].Outcome)
}

// Folders of MLflow before 1.0: run_uuid, the status as a word or number, no steps.
func TestOldFoldersAreReadToo(t *testing.T) {
	from := store(t, map[string]string{
		"7/meta.yaml":             "name: ancient",
		"7/models/meta.yaml":      "", // of no run
		"7/r/meta.yaml":           "run_uuid: abc\nstatus: FINISHED\nstart_time: 1500000000000\nend_time: null\nartifact_uri: file:///nowhere",
		"7/r/tags/mlflow.runName": "by tag",
		"7/r/metrics/loss":        "1500000001000 0.5\n\n1500000002000 1e999\n",
		"7/r/inputs/i/meta.yaml":  "source_id: lost\ntags: {}",
	})
	for e, err := range from.Experiments() {
		require.NoError(t, err)
		require.Equal(t, "7", e.ID, "the folder's name, if the file has none")
	}
	runs := storedRuns(t, from)
	require.Len(t, runs, 1)
	r := runs[0]
	require.Equal(t, []string{"abc", "by tag", string(RunFinished), ""}, []string{r.ID, r.Name, string(r.Status), from.artifacts(r)})
	require.True(t, r.End.IsZero())
	require.Empty(t, r.Inputs, "its data set is gone")
	points, err := mlops.Collect(from.points(r.dir))
	require.NoError(t, err)
	require.Len(t, points, 2)
	require.Equal(t, Metric{Key: "loss", Value: 0.5, Time: time.UnixMilli(1500000001000).UTC()}, points[0])
	require.Greater(t, points[1].Value, 1e308)
	require.True(t, isUID(importUID(r.ID)) && importUID(r.ID) == importUID("abc"))
}

func TestParentsComeBeforeTheirChildren(t *testing.T) {
	run := func(id, parent string, start int64) storedRun {
		return storedRun{RunInfo: RunInfo{ID: id, Start: time.UnixMilli(start), Tags: Tags{parentTag: parent}}}
	}
	var got []string
	for _, r := range ordered([]storedRun{run("c", "b", 1), run("b", "a", 2), run("z", "", 4), run("a", "none", 3), run("x", "y", 5), run("y", "x", 6)}) {
		got = append(got, r.ID)
	}
	require.Equal(t, "a z b c x y", strings.Join(got, " "), "also where two are each other's parents")
}

func TestPointsAreReadAsMLflowWritesThem(t *testing.T) {
	for _, line := range []string{"", "1", "x 1 1", "1 x 1", "1 1 x", "1 1 1 1", "1 1 1 1 1 1", "1 1 a b 3", "1.5 1 1"} {
		_, err := readPoint(line)
		require.Error(t, err, line)
	}
	m, err := readPoint("1700000001000 -0.25 -3")
	require.NoError(t, err)
	require.Equal(t, Metric{Value: -0.25, Step: -3, Time: time.UnixMilli(1700000001000).UTC()}, m)
	m, err = readPoint("1700000001000 1 3 wine abc123")
	require.NoError(t, err)
	require.EqualValues(t, 3, m.Step, "of a point that tells of its data set")
}

// FuzzReadPoint: no line may panic, and what is read is read again the same
// from the form in which MLflow writes it.
func FuzzReadPoint(f *testing.F) {
	for _, line := range []string{"1700000001000 0.3333333333333333 2", "1700000002000 nan 0", "1700000002000 inf -1", "1500000001000 1e999", "1 2 3 a b", "", "1 0x1p-2 9223372036854775807"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		m, err := readPoint(line)
		if err != nil {
			return
		}
		again, err := readPoint(fmt.Sprint(m.Time.UnixMilli(), m.Value, m.Step))
		require.NoError(t, err)
		require.Equal(t, m.Time, again.Time)
		require.Equal(t, m.Step, again.Step)
		require.True(t, m.Value == again.Value || m.Value != m.Value && again.Value != again.Value)
	})
}
