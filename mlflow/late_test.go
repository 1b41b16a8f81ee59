package mlflow

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/internal/cassette"
)

func TestARunThatTheServerMakesAfterItsProgramIsGoneIsDeleted(t *testing.T) {
	s := cassette.Open(t, "mlflow")
	c := clientOf(t, s, s.HTTP)
	ctx := t.Context()
	exp, err := c.CreateExperiment(ctx, s.Name("late"), ExperimentOptions{})
	require.NoError(t, err)
	uid, other := c.newUID(), c.newUID()
	const start = 1_700_000_000_000
	leave(t, c, head{UID: uid, Owner: true, Create: &create{Experiment: experimentRef{ID: exp}, Start: start}}, record{kind: metricRecord, key: "loss", value: 1, millis: start},
		record{kind: endRecord, text: string(RunFinished), millis: start + 1})
	_, err = c.Sync(ctx, SyncOptions{})
	require.NoError(t, err)
	first, err := c.RunInfo(ctx, uid)
	require.NoError(t, err)
	late := func(uid string) string { // as the killed program had asked
		out, err := sendOnce[struct{ Run RunInfo }](ctx, c, "StartRun", "POST", "runs/create", map[string]any{"experiment_id": exp, "start_time": start, "tags": Tags{uidTag: uid}})
		require.NoError(t, err)
		return out.Run.ID
	}
	empty, used, file, foreign := late(uid), late(uid), late(uid), late(other)
	require.NoError(t, c.LogRunParam(ctx, used, "lr", 1))
	require.NoError(t, c.UploadBytes(ctx, "runs:/"+file, []byte("x"), "a.txt"))
	_, err = c.Sync(ctx, SyncOptions{})
	require.NoError(t, err)
	for id, deleted := range map[string]bool{first.ID: false, empty: true, used: false, file: false, foreign: false} {
		r, err := c.RunInfo(ctx, id)
		require.NoError(t, err)
		require.Equal(t, deleted, r.Deleted, "%+v", r)
	}

	notes, err := filepath.Glob(filepath.Join(c.out.opt.Dir, lateFolder, "*"))
	require.NoError(t, err)
	require.Len(t, notes, 1, "the server may take longer")
	b, err := os.ReadFile(notes[0])
	require.NoError(t, err)
	var n lateRun
	require.NoError(t, json.Unmarshal(b, &n))
	n.Noted = n.Noted.Add(-lateFor)
	b, err = json.Marshal(n)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(notes[0], b, 0o600))
	again := late(uid)
	_, err = c.Sync(ctx, SyncOptions{})
	require.NoError(t, err)
	r, err := c.RunInfo(ctx, again)
	require.NoError(t, err)
	require.True(t, r.Deleted, "it is looked for once more before the note goes")
	require.NoFileExists(t, notes[0])
}
