package spool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestASealedJournalHoldsEachRecordThatWasTaken(t *testing.T) {
	dir := t.TempDir()
	j := Create(dir, "run", nil, Options{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := map[string]bool{}
	for g := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				text := fmt.Sprintf("%d/%d", g, n)
				if err := j.Append([]byte(text)); err != nil {
					require.ErrorIs(t, err, ErrSealed)
					require.ErrorIs(t, err, mlops.ErrInvalid)
					return
				}
				mu.Lock()
				taken[text] = true
				mu.Unlock()
			}
		})
	}
	for j.Stats().Last < 100 {
		<-j.More()
	}
	before, err := j.Seal([]byte("end"))
	require.NoError(t, err)
	wg.Wait()
	require.EqualValues(t, len(taken), before, "a record was taken behind the seal")
	again, err := j.Seal([]byte("end"))
	require.ErrorIs(t, err, ErrSealed, "the second seal adds nothing")
	require.Equal(t, before+1, again)
	all := payloads(rest(j))
	require.Equal(t, "end", all[len(all)-1])
	require.Len(t, all, len(taken)+1)
	require.Zero(t, j.Stats().Dropped, "what was refused is not lost")
	require.NoError(t, j.Close())
}

func TestAJournalOfANewerFormIsLeftAlone(t *testing.T) {
	for text, newer := range map[string]bool{"": false, "1": false, " 1\n": false, "2": true, "3\n": true, "one": true, "1.5": true} {
		j := Create(t.TempDir(), "run", []byte("head"), Options{})
		path := j.Path()
		appendAll(t, j, "one")
		require.NoError(t, j.Close())
		require.NoError(t, os.WriteFile(filepath.Join(path, formName), []byte(text), 0o600))
		j, err := Open(path, Options{})
		if !newer {
			require.NoError(t, err, text)
			require.Equal(t, []string{"one"}, payloads(rest(j)))
			require.NoError(t, j.Close())
			continue
		}
		require.ErrorIs(t, err, mlops.ErrUnsupported, text)
		require.ErrorContains(t, err, "a newer program wrote the journal "+path)
		require.DirExists(t, path)
		_, err = os.Stat(filepath.Join(path, "000001.seg"))
		require.NoError(t, err, "form %q: the records are gone", text)
		require.Len(t, infos(t, filepath.Dir(path)), 1, "and it is listed")
	}
}

func TestTheLabelOfAJournalIsListed(t *testing.T) {
	dir := t.TempDir()
	j := Create(dir, "run", nil, Options{})
	appendAll(t, j, "one")
	require.NoError(t, j.SetLabel("first and longer"))
	require.NoError(t, j.SetLabel("7f3a"))
	require.NoError(t, j.Close())
	require.Equal(t, "7f3a", infos(t, dir)[0].Label)
	for i, err := range Peek(t.Context(), dir, "") {
		require.NoError(t, err)
		require.Equal(t, "7f3a", i.Label)
	}
}

func TestPeekLooksAtTheJournalsOfOneNameAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "a b", "b", "b"} {
		j := Create(dir, name, []byte(name), Options{})
		appendAll(t, j, "one")
		require.NoError(t, j.Close())
	}
	for name, want := range map[string]int{"": 4, "a": 1, "a b": 1, "b": 2, "c": 0} {
		list, err := mlops.Collect(Peek(t.Context(), dir, name))
		require.NoError(t, err)
		require.Len(t, list, want, "%q", name)
	}
}

func TestReadingAJournalEndsWithItsContext(t *testing.T) {
	j := Create(t.TempDir(), "run", nil, Options{})
	path := j.Path()
	appendAll(t, j, strings.Repeat("x", 100), "two")
	require.NoError(t, j.Close())
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fmt.Errorf("enough"))
	_, err := Open(path, Options{Context: ctx})
	require.ErrorContains(t, err, "enough")
	list, err := mlops.Collect(Peek(ctx, filepath.Dir(path), ""))
	require.NoError(t, err)
	require.Empty(t, list)
	j, err = Open(path, Options{})
	require.NoError(t, err, "the lock was given back")
	require.NoError(t, j.Close())
}

// fewLooks is a context that ends when it was asked so many times.
type fewLooks struct {
	context.Context
	left int
}

func (c *fewLooks) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestOpenOfALargeJournalEndsWithItsContext(t *testing.T) {
	j := Create(t.TempDir(), "large", []byte("head"), Options{SegmentBytes: 1 << 16})
	for range 2000 {
		require.NoError(t, j.Append(make([]byte, 1<<10)))
	}
	path := j.Path()
	require.NoError(t, j.Close())
	ctx := &fewLooks{context.Background(), 10}
	_, err := Open(path, Options{Context: ctx})
	require.Error(t, err)
	require.GreaterOrEqual(t, ctx.left, -2, "it read on, segment after segment")
}
