package spool

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestTwoRefusedPartsOfOneRecordAreBothKept(t *testing.T) {
	dir := t.TempDir()
	j := Create(dir, "run", []byte("head"), Options{})
	require.NoError(t, j.Append([]byte("ab")))
	for range 2 { // the second time as after a crash
		require.NoError(t, j.Refuse(Entry{Seq: 1, Data: []byte("a")}, "no a"))
		require.NoError(t, j.Refuse(Entry{Seq: 1, Data: []byte("b")}, "no b"))
	}
	require.NoError(t, j.Ack(1))
	require.Equal(t, 2, j.Stats().Refused)
	require.NoError(t, j.Archive())
	path := j.Path()
	require.NoError(t, j.Close())
	list, err := mlops.Collect(Peek(t.Context(), dir, ""))
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.True(t, list[0].Archived)
	require.Equal(t, "head", string(list[0].Head))
	all, err := mlops.Collect(List(dir))
	require.NoError(t, err)
	require.Equal(t, 2, all[0].Refused)
	refused, err := mlops.Collect(Refusals(path))
	require.NoError(t, err)
	require.Len(t, refused, 2)
	require.Equal(t, "no b", refused[1].Why)
}
