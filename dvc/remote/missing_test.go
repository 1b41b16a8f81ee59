package remote_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// shelf is a store that counts what it is asked.
type shelf struct {
	keys          []string
	fault         error
	asked, listed atomic.Int32
}

func (s *shelf) Stat(_ context.Context, key string) (remote.Object, error) {
	s.asked.Add(1)
	if s.fault == nil && !slices.Contains(s.keys, key) {
		return remote.Object{}, mlops.ErrNotFound
	}
	return remote.Object{Key: key}, s.fault
}

func (s *shelf) List(_ context.Context, dir string) iter.Seq2[remote.Object, error] {
	s.listed.Add(1)
	return func(yield func(remote.Object, error) bool) {
		for _, k := range s.keys {
			if strings.HasPrefix(k, dir) && !yield(remote.Object{Key: k}, nil) {
				return
			}
		}
		if s.fault != nil {
			yield(remote.Object{}, s.fault)
		}
	}
}

func TestFewKeysAreAskedForAndManyAreListed(t *testing.T) {
	s := &shelf{keys: []string{"a/1", "a/2", "b/1", "top"}}
	all := []string{"a/1", "a/2", "a/3", "b/1", "b/2", "top", "none"}
	got, err := remote.Missing(t.Context(), all, s, remote.Search{Few: 0, Alone: 2, Jobs: 3})
	require.NoError(t, err)
	slices.Sort(got)
	require.Equal(t, []string{"a/3", "b/2", "none"}, got)
	require.Equal(t, int32(4), s.asked.Load(), "b/1, b/2 and what lies in no folder")
	require.Equal(t, int32(1), s.listed.Load(), "a")

	got, err = remote.Missing(t.Context(), all, s, remote.Search{Few: 7, Alone: 2, Jobs: 3})
	require.NoError(t, err)
	require.Len(t, got, 3)
	require.Equal(t, int32(1), s.listed.Load(), "seven are few")

	_, err = remote.Missing(t.Context(), []string{"../x"}, s, remote.Search{Few: 0, Alone: 2, Jobs: 3})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	s.fault = errors.New("away")
	for _, keys := range [][]string{{"b/1"}, {"a/1", "a/2", "a/3"}} {
		_, err = remote.Missing(t.Context(), keys, s, remote.Search{Few: 0, Alone: 2, Jobs: 3})
		require.ErrorIs(t, err, s.fault)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = remote.Missing(ctx, []string{"b/1"}, s, remote.Search{Few: 0, Alone: 2, Jobs: 3})
	require.ErrorIs(t, err, context.Canceled)
}
