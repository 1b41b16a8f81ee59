package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestJournalsOfOneTickAreListedAsTheyWereMade(t *testing.T) {
	dir, at := t.TempDir(), time.Now()
	var want []string
	for i := range 20 {
		name := fmt.Sprintf("run%d", 99-i) // not in the order of names
		j := Create(dir, name, []byte("{}"), Options{})
		require.NoError(t, j.Append([]byte("x")))
		require.NoError(t, j.Close())
		require.NoError(t, os.Chtimes(filepath.Join(j.Path(), lockName), at, at))
		want = append(want, name)
	}
	var got []string
	for i, err := range Peek(t.Context(), dir, "") {
		require.NoError(t, err)
		got = append(got, i.Name)
	}
	require.Equal(t, want, got, "a nested run would be sent before its parent")
}
