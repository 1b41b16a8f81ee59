package remote_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

func TestFewKeysAreAskedForAndManyAreListed(t *testing.T) {
	there := []string{"a/1", "a/2", "b/1", "top"}
	var asked, listed atomic.Int32
	fault := error(nil)
	has := func(_ context.Context, key string) (bool, error) {
		asked.Add(1)
		return slices.Contains(there, key), fault
	}
	list := func(_ context.Context, dir string) iter.Seq2[remote.Object, error] {
		listed.Add(1)
		return func(yield func(remote.Object, error) bool) {
			for _, k := range there {
				if k[:min(len(k), len(dir))] == dir && !yield(remote.Object{Key: k}, nil) {
					return
				}
			}
			if fault != nil {
				yield(remote.Object{}, fault)
			}
		}
	}
	got, err := remote.Missing(t.Context(), []string{"a/1", "a/2", "a/3", "b/1", "b/2", "top", "none"}, 2, 3, has, list)
	require.NoError(t, err)
	slices.Sort(got)
	require.Equal(t, []string{"a/3", "b/2", "none"}, got)
	require.Equal(t, int32(4), asked.Load(), "b/1, b/2 and what lies in no folder")
	require.Equal(t, int32(1), listed.Load(), "a")

	_, err = remote.Missing(t.Context(), []string{"../x"}, 2, 3, has, list)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	fault = errors.New("away")
	for _, keys := range [][]string{{"b/1"}, {"a/1", "a/2", "a/3"}} {
		_, err = remote.Missing(t.Context(), keys, 2, 3, has, list)
		require.ErrorIs(t, err, fault)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = remote.Missing(ctx, []string{"b/1"}, 2, 3, has, list)
	require.ErrorIs(t, err, context.Canceled)
}
