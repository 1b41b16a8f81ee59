package dvc

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// stateRepo is a repository for a test of the state alone.
func stateRepo(t *testing.T) *Repo {
	t.Helper()
	t.Setenv("DVC_SITE_CACHE_DIR", t.TempDir())
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, ".dvc/tmp"), 0o777))
	r, err := Open(dir)
	require.NoError(t, err)
	return r
}

// locked runs a call that holds the lock.
func locked(t *testing.T, r *Repo, do func(c *call, s *known.State)) {
	t.Helper()
	c, err := r.begin(t.Context())
	require.NoError(t, err)
	defer c.end()
	require.NoError(t, c.read(t.Context()))
	do(c, c.state)
}

// listing is what a walk would find at the paths.
func filesAt(t *testing.T, r *Repo, rels ...string) []known.Found {
	t.Helper()
	var out []known.Found
	for _, rel := range rels {
		st, err := known.Stat(r.abs(rel), true)
		require.NoError(t, err)
		out = append(out, known.Found{Path: rel, Link: false, Stamp: st})
	}
	return out
}

const fakeOID = object.ID("0123456789abcdef0123456789abcdef")

// later is when a file that was just written is old.
func later() time.Time { return time.Now().Add(time.Minute) }

func TestAFileIsNotReadAgainUntilItChanges(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(path string, before known.Stamp) error
		known  bool
	}{
		{"untouched", func(string, known.Stamp) error { return nil }, true},
		{"other size", func(p string, _ known.Stamp) error { return os.WriteFile(p, []byte("more text"), 0o644) }, false},
		{"same size, mtime set back", func(p string, st known.Stamp) error {
			if err := os.WriteFile(p, []byte("TEXT"), 0o644); err != nil {
				return err
			}
			return os.Chtimes(p, time.Time{}, time.Unix(0, st.MTime))
		}, false},
		{"another file by rename", func(p string, st known.Stamp) error {
			if err := os.WriteFile(p+".new", []byte("TEXT"), 0o644); err != nil {
				return err
			}
			if err := os.Chtimes(p+".new", time.Time{}, time.Unix(0, st.MTime)); err != nil {
				return err
			}
			return os.Rename(p+".new", p)
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := stateRepo(t)
			require.NoError(t, os.WriteFile(r.abs("f"), []byte("text"), 0o644))
			f := filesAt(t, r, "f")
			// A hash that reading would not give shows whether the file was read.
			locked(t, r, func(c *call, s *known.State) { s.Keep("f", fakeOID, f[0].Stamp, later()) })
			require.NoError(t, tt.change(r.abs("f"), f[0].Stamp))
			locked(t, r, func(c *call, _ *known.State) {
				have, _, ok, err := c.scan(t.Context(), "f", false)
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, tt.known, have[""].oid == fakeOID)
			})
		})
	}
}

func TestAFileThatWasJustWrittenIsReadAgain(t *testing.T) {
	r := stateRepo(t)
	t.Setenv("DVC_SITE_CACHE_DIR", os.DevNull) // dvc's own rows would be believed after two seconds
	require.NoError(t, os.WriteFile(r.abs("f"), []byte("text"), 0o644))
	f := filesAt(t, r, "f")
	locked(t, r, func(c *call, s *known.State) {
		s.Keep("f", fakeOID, f[0].Stamp, later())
		s.Keep("f", fakeOID, f[0].Stamp, time.Now())
		require.Equal(t, []object.ID{""}, s.Recall(t.Context(), ".", f, false), "its times may not tell the next change")
	})
	locked(t, r, func(c *call, s *known.State) {
		require.Equal(t, []object.ID{""}, s.Recall(t.Context(), ".", f, false))
	})
}

func TestKindsOfHashesAreKeptApart(t *testing.T) {
	r := stateRepo(t)
	require.NoError(t, os.WriteFile(r.abs("f"), []byte("a\r\n"), 0o644))
	f := filesAt(t, r, "f")
	locked(t, r, func(c *call, s *known.State) { s.Keep("f", fakeOID.As(true), f[0].Stamp, later()) })
	locked(t, r, func(c *call, s *known.State) {
		require.Equal(t, []object.ID{""}, s.Recall(t.Context(), ".", f, false))
		require.Equal(t, []object.ID{fakeOID.As(true)}, s.Recall(t.Context(), ".", f, true))
	})
}

func TestAnotherLinkToAnObjectChangesNothing(t *testing.T) {
	r := stateRepo(t)
	require.NoError(t, os.WriteFile(r.abs("f"), []byte("text"), 0o444))
	require.NoError(t, os.Link(r.abs("f"), r.abs("object")))
	f := filesAt(t, r, "f")
	locked(t, r, func(c *call, s *known.State) { s.Keep("f", fakeOID, f[0].Stamp, later()) })
	require.NoError(t, os.Link(r.abs("f"), r.abs("elsewhere")))
	now := filesAt(t, r, "f")
	require.NotEqual(t, f[0].Stamp, now[0].Stamp)
	locked(t, r, func(c *call, s *known.State) {
		require.Equal(t, []object.ID{fakeOID}, s.Recall(t.Context(), ".", now, false))
	})
}

func TestWhatIsGoneFromADirectoryIsForgotten(t *testing.T) {
	r := stateRepo(t)
	t.Setenv("DVC_SITE_CACHE_DIR", os.DevNull) // dvc's own rows would be believed after two seconds
	require.NoError(t, os.Mkdir(r.abs("d"), 0o777))
	for _, p := range []string{"d/a", "d/b", "e"} {
		require.NoError(t, os.WriteFile(r.abs(p), []byte("text"), 0o644))
	}
	all := filesAt(t, r, "d/a", "d/b", "e")
	locked(t, r, func(c *call, s *known.State) {
		for _, f := range all {
			s.Keep(f.Path, fakeOID, f.Stamp, later())
		}
	})
	require.NoError(t, os.Remove(r.abs("d/a")))
	locked(t, r, func(c *call, s *known.State) {
		f := filesAt(t, r, "d/b")
		f[0].Path = "b"
		require.Equal(t, []object.ID{fakeOID}, s.Recall(t.Context(), "d", f, false))
		s.Keep("e", fakeOID, all[2].Stamp, later())
	})
	locked(t, r, func(c *call, s *known.State) {
		require.Equal(t, []object.ID{"", fakeOID, fakeOID}, s.Recall(t.Context(), ".", all, false), "d/a is forgotten; other directories than d were not looked at")
	})
}

func TestAStateThatCannotBeKeptFailsNothing(t *testing.T) {
	r := stateRepo(t)
	require.NoError(t, os.WriteFile(r.abs(".dvc/tmp/mlops"), nil, 0o644))
	t.Setenv("DVC_SITE_CACHE_DIR", r.abs("f"))
	require.NoError(t, os.WriteFile(r.abs("f"), []byte("text"), 0o644))
	locked(t, r, func(c *call, s *known.State) {
		h, err := c.hashFile(t.Context(), "f", false)
		require.NoError(t, err)
		s.Keep("f", h.ID, filesAt(t, r, "f")[0].Stamp, later())
	})
	locked(t, r, func(*call, *known.State) {})
}

func TestTheStateIsNotWrittenThroughASymlink(t *testing.T) {
	r := stateRepo(t)
	out := t.TempDir()
	require.NoError(t, os.Symlink(out, r.abs(".dvc/tmp/mlops")))
	require.NoError(t, os.WriteFile(r.abs("f"), []byte("text"), 0o644))
	locked(t, r, func(c *call, s *known.State) { s.Keep("f", fakeOID, filesAt(t, r, "f")[0].Stamp, later()) })
	entries, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Empty(t, entries)
}
