package dvc

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
func locked(t *testing.T, r *Repo, do func(c *call, s *state)) {
	t.Helper()
	c, err := r.begin(t.Context())
	require.NoError(t, err)
	defer c.end()
	require.NoError(t, c.read(t.Context()))
	do(c, c.state)
}

// listing is what a walk would find at the paths.
func filesAt(t *testing.T, r *Repo, rels ...string) []dataFile {
	t.Helper()
	var out []dataFile
	for _, rel := range rels {
		st, err := statPath(r.abs(rel), true)
		require.NoError(t, err)
		out = append(out, dataFile{rel, false, st})
	}
	return out
}

const fakeOID = object.ID("0123456789abcdef0123456789abcdef")

// later is when a file that was just written is old.
func later() time.Time { return time.Now().Add(time.Minute) }

func TestAFileIsNotReadAgainUntilItChanges(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(path string, before stamp) error
		known  bool
	}{
		{"untouched", func(string, stamp) error { return nil }, true},
		{"other size", func(p string, _ stamp) error { return os.WriteFile(p, []byte("more text"), 0o644) }, false},
		{"same size, mtime set back", func(p string, st stamp) error {
			if err := os.WriteFile(p, []byte("TEXT"), 0o644); err != nil {
				return err
			}
			return os.Chtimes(p, time.Time{}, time.Unix(0, st.mtime))
		}, false},
		{"another file by rename", func(p string, st stamp) error {
			if err := os.WriteFile(p+".new", []byte("TEXT"), 0o644); err != nil {
				return err
			}
			if err := os.Chtimes(p+".new", time.Time{}, time.Unix(0, st.mtime)); err != nil {
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
			locked(t, r, func(c *call, s *state) { s.keep("f", fakeOID, f[0].stamp, later()) })
			require.NoError(t, tt.change(r.abs("f"), f[0].stamp))
			locked(t, r, func(c *call, _ *state) {
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
	require.NoError(t, os.WriteFile(r.abs("f"), []byte("text"), 0o644))
	f := filesAt(t, r, "f")
	locked(t, r, func(c *call, s *state) {
		s.keep("f", fakeOID, f[0].stamp, later())
		s.keep("f", fakeOID, f[0].stamp, time.Now())
		require.Equal(t, []object.ID{""}, s.recall(t.Context(), ".", f, false), "its times may not tell the next change")
	})
	locked(t, r, func(c *call, s *state) {
		require.Equal(t, []object.ID{""}, s.recall(t.Context(), ".", f, false))
	})
}

func TestKindsOfHashesAreKeptApart(t *testing.T) {
	r := stateRepo(t)
	require.NoError(t, os.WriteFile(r.abs("f"), []byte("a\r\n"), 0o644))
	f := filesAt(t, r, "f")
	locked(t, r, func(c *call, s *state) { s.keep("f", fakeOID.As(true), f[0].stamp, later()) })
	locked(t, r, func(c *call, s *state) {
		require.Equal(t, []object.ID{""}, s.recall(t.Context(), ".", f, false))
		require.Equal(t, []object.ID{fakeOID.As(true)}, s.recall(t.Context(), ".", f, true))
	})
}

func TestAnotherLinkToAnObjectChangesNothing(t *testing.T) {
	r := stateRepo(t)
	require.NoError(t, os.WriteFile(r.abs("f"), []byte("text"), 0o444))
	require.NoError(t, os.Link(r.abs("f"), r.abs("object")))
	f := filesAt(t, r, "f")
	locked(t, r, func(c *call, s *state) { s.keep("f", fakeOID, f[0].stamp, later()) })
	require.NoError(t, os.Link(r.abs("f"), r.abs("elsewhere")))
	now := filesAt(t, r, "f")
	require.NotEqual(t, f[0].stamp, now[0].stamp)
	locked(t, r, func(c *call, s *state) {
		require.Equal(t, []object.ID{fakeOID}, s.recall(t.Context(), ".", now, false))
	})
}

func TestWhatIsGoneFromADirectoryIsForgotten(t *testing.T) {
	r := stateRepo(t)
	require.NoError(t, os.Mkdir(r.abs("d"), 0o777))
	for _, p := range []string{"d/a", "d/b", "e"} {
		require.NoError(t, os.WriteFile(r.abs(p), []byte("text"), 0o644))
	}
	all := filesAt(t, r, "d/a", "d/b", "e")
	locked(t, r, func(c *call, s *state) {
		for _, f := range all {
			s.keep(f.path, fakeOID, f.stamp, later())
		}
	})
	require.NoError(t, os.Remove(r.abs("d/a")))
	locked(t, r, func(c *call, s *state) {
		f := filesAt(t, r, "d/b")
		f[0].path = "b"
		require.Equal(t, []object.ID{fakeOID}, s.recall(t.Context(), "d", f, false))
		s.keep("e", fakeOID, all[2].stamp, later())
	})
	locked(t, r, func(c *call, s *state) {
		s.load()
		require.Len(t, s.old, 2)
		require.Contains(t, s.old, "d/b")
		require.Contains(t, s.old, "e", "other directories were not looked at")
	})
}

func TestATornStateKnowsNothing(t *testing.T) {
	all := map[string]*known{}
	for i := range 50 {
		all[fmt.Sprint("d/é/", i)] = &known{stamp: stamp{ino: uint64(i), size: 1 << 40, mtime: -5, ctime: int64(i)}, oid: fakeOID.As(i%2 == 0)}
	}
	b := encodeState(all)
	require.Equal(t, all, decodeState(b))
	for n := range b {
		require.Empty(t, decodeState(b[:n]))
		b[n] ^= 4
		require.Empty(t, decodeState(b))
		b[n] ^= 4
	}
}

func TestAStateThatCannotBeKeptFailsNothing(t *testing.T) {
	r := stateRepo(t)
	require.NoError(t, os.WriteFile(r.abs(".dvc/tmp/mlops"), nil, 0o644))
	t.Setenv("DVC_SITE_CACHE_DIR", r.abs("f"))
	require.NoError(t, os.WriteFile(r.abs("f"), []byte("text"), 0o644))
	locked(t, r, func(c *call, s *state) {
		h, err := c.hashFile(t.Context(), "f", false)
		require.NoError(t, err)
		s.keep("f", h.oid, filesAt(t, r, "f")[0].stamp, later())
	})
	locked(t, r, func(*call, *state) {})
}

func TestTheStateIsNotWrittenThroughASymlink(t *testing.T) {
	r := stateRepo(t)
	out := t.TempDir()
	require.NoError(t, os.Symlink(out, r.abs(".dvc/tmp/mlops")))
	require.NoError(t, os.WriteFile(r.abs("f"), []byte("text"), 0o644))
	locked(t, r, func(c *call, s *state) { s.keep("f", fakeOID, filesAt(t, r, "f")[0].stamp, later()) })
	entries, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestDVCsRowsAreReadWhereTheyAreSafe(t *testing.T) {
	old := stamp{ino: 11272335, size: 1, mtime: 1795396823336615257, ctime: 1795396823336615257, links: 1, mode: 0o644}
	row := func(s stamp, hash string) string {
		return fmt.Sprintf(`{"version": 1, "checksum": "%s", "size": 1, "hash_info": {%s}}`, s.checksum(), hash)
	}
	good := `"md5": "` + string(fakeOID) + `"`
	with := func(change func(*stamp)) stamp { s := old; change(&s); return s }
	now := time.Unix(0, old.mtime).Add(time.Hour)
	for _, tt := range []struct {
		name, row string
		s         stamp
		now       time.Time
		want      object.ID
	}{
		{"as it was", row(old, good), old, now, fakeOID},
		{"of dvc 2.x", row(old, `"md5-dos2unix": "`+string(fakeOID)+`"`), old, now, fakeOID.As(true)},
		{"changed", row(old, good), with(func(s *stamp) { s.mtime += 1e6 }), now, ""},
		{"mtime set back", row(old, good), with(func(s *stamp) { s.ctime += 10e9 }), now, ""},
		{"a new link to an object", row(old, good), with(func(s *stamp) { s.ctime += 10e9; s.links, s.mode = 2, 0o444 }), now, fakeOID},
		{"too young", row(old, good), old, time.Unix(0, old.mtime).Add(time.Second), ""},
		{"not a hash", row(old, `"md5": "../../x"`), old, now, ""},
		{"of a directory", row(old, `"md5": "`+string(fakeOID)+`.dir"`), old, now, ""},
		{"not JSON", "x", old, now, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, trusted(tt.row, tt.s, tt.now))
		})
	}
}

func TestPythonPrintsTimesAndPathsLikeThis(t *testing.T) {
	for ns, want := range map[int64]string{
		1795396823336615257: "1795396823.3366153", // measured: st_mtime of a file that dvc hashed
		1795396821370339405: "1795396821.3703394",
		1795396821000000000: "1795396821.0",
		0:                   "0.0",
		-500000000:          "-0.5",
		1:                   "0.000000001", // Python: 1e-09; no file is that old
	} {
		require.Equal(t, want, pyFloat(ns))
	}
	for s, want := range map[string]string{`/a b/é`: `'/a b/é'`, `it's`: `"it's"`, `'"`: `'\'"'`, `a\b`: `'a\\b'`} {
		got, ok := pyString(s)
		require.True(t, ok)
		require.Equal(t, want, got)
	}
	for _, s := range []string{"a\nb", "\xff", "\u200b"} {
		_, ok := pyString(s)
		require.False(t, ok, "%q", s)
	}
}

func FuzzState(f *testing.F) {
	b := encodeState(map[string]*known{"d/a": {stamp: stamp{ino: 1, size: 2}, oid: fakeOID}})
	f.Add(b[len(stateMagic) : len(b)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		// Past the checksum, which no random change would pass.
		all := decodeState(sealState(append([]byte(stateMagic), b...)))
		require.Equal(t, all, decodeState(encodeState(all)))
	})
}
