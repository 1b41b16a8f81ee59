package mlflow

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestSyncSendsWhatWasLeftAndLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		down := true
		c := faulty(t, Journal{Dir: dir}, func(path, body string) (int, error) {
			if down {
				return 0, refusedDial
			}
			if path == "search" {
				return 200, nil
			}
			return 200, nil
		})
		r := begin(t, c)
		require.NoError(t, r.LogMetric(t.Context(), 1, "a", 1))
		require.ErrorIs(t, r.Close(), mlops.ErrUnavailable)
		down = false
		list, err := c.Sync(t.Context(), SyncOptions{})
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.NoError(t, list[0].Err)
		left, err := mlops.Collect(Backlogs(dir))
		require.NoError(t, err)
		require.Empty(t, left)
	})
	_ = errors.New
	_ = strings.Contains
}
