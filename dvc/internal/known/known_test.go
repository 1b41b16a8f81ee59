package known

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc/internal/object"
)

const anyOID = object.ID("0123456789abcdef0123456789abcdef")

func TestATornStateKnowsNothing(t *testing.T) {
	all := map[string]*record{}
	for i := range 50 {
		all[fmt.Sprint("d/é/", i)] = &record{Stamp: Stamp{Ino: uint64(i), Size: 1 << 40, MTime: -5, CTime: int64(i)}, oid: anyOID.As(i%2 == 0)}
	}
	b := encode(all)
	require.Equal(t, all, decode(b))
	for n := range b {
		require.Empty(t, decode(b[:n]))
		b[n] ^= 4
		require.Empty(t, decode(b))
		b[n] ^= 4
	}
}

func TestDVCsRowsAreReadWhereTheyAreSafe(t *testing.T) {
	old := Stamp{Ino: 11272335, Size: 1, MTime: 1795396823336615257, CTime: 1795396823336615257, Links: 1, Mode: 0o644}
	row := func(s Stamp, hash string) string {
		return fmt.Sprintf(`{"version": 1, "checksum": "%s", "size": 1, "hash_info": {%s}}`, s.checksum(), hash)
	}
	good := `"md5": "` + string(anyOID) + `"`
	with := func(change func(*Stamp)) Stamp { s := old; change(&s); return s }
	now := time.Unix(0, old.MTime).Add(time.Hour)
	for _, tt := range []struct {
		name, row string
		s         Stamp
		now       time.Time
		want      object.ID
	}{
		{"as it was", row(old, good), old, now, anyOID},
		{"of dvc 2.x", row(old, `"md5-dos2unix": "`+string(anyOID)+`"`), old, now, anyOID.As(true)},
		{"changed", row(old, good), with(func(s *Stamp) { s.MTime += 1e6 }), now, ""},
		{"mtime set back", row(old, good), with(func(s *Stamp) { s.CTime += 10e9 }), now, ""},
		{"a new link to an object", row(old, good), with(func(s *Stamp) { s.CTime += 10e9; s.Links, s.Mode = 2, 0o444 }), now, anyOID},
		{"too young", row(old, good), old, time.Unix(0, old.MTime).Add(time.Second), ""},
		{"not a hash", row(old, `"md5": "../../x"`), old, now, ""},
		{"of a directory", row(old, `"md5": "`+string(anyOID)+`.dir"`), old, now, ""},
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
	b := encode(map[string]*record{"d/a": {Stamp: Stamp{Ino: 1, Size: 2}, oid: anyOID}})
	f.Add(b[len(magic) : len(b)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		// Past the checksum, which no random change would pass.
		all := decode(seal(append([]byte(magic), b...)))
		require.Equal(t, all, decode(encode(all)))
	})
}
