package dvc_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

// What real dvc left after TestLiveAddWritesWhatDVCWrites's first add, recorded
// with MLOPS_RECORD=1, must be what we leave. Objects of data are not recorded:
// their name is their content.
func TestAddLeavesWhatDVCLeft(t *testing.T) {
	w := newWorld(t)
	want := golden(t, "add.json")
	dir, r := w.repo()
	_, err := r.Add(bg(t), plant(t, dir, 0), dvc.AddOptions{})
	require.NoError(t, err)
	have := recordable(snapshot(t, dir))
	for p, v := range want {
		require.Equal(t, v, have[p], p)
	}
	require.Len(t, have, len(want))
}

func recordable(snap map[string]string) map[string]string {
	maps.DeleteFunc(snap, func(p, v string) bool {
		metadata := strings.HasSuffix(p, ".dvc") || strings.HasSuffix(p, ".dir") || strings.HasSuffix(p, ".gitignore")
		return !metadata || strings.HasSuffix(p, "/")
	})
	return snap
}
