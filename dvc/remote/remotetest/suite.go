// Package remotetest holds what every driver of a DVC remote must do, as one
// suite that runs against real servers, and starts such servers. Package test
// code only.
package remotetest

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// Body is n bytes, the same for one seed, and their md5.
func Body(seed uint64, n int) (*io.SectionReader, string) {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 7})
	_, _ = r.Read(b)
	sum := md5.Sum(b)
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(n)), hex.EncodeToString(sum[:])
}

// Key is where DVC keeps an object.
func Key(sum string) string { return "files/md5/" + sum[:2] + "/" + sum[2:] }

func read(t *testing.T, s remote.Store, key string) []byte {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return got
}

// Conformance runs the suite on remotes that open makes, each empty.
func Conformance(t *testing.T, open func(*testing.T) remote.Store) {
	t.Run("an object comes back as it was put", func(t *testing.T) {
		s := open(t)
		for i, n := range []int{0, 1, 4096, 1<<20 + 1, 20<<20 + 3} {
			body, sum := Body(uint64(i), n)
			key := Key(sum)
			missing, err := s.Missing(t.Context(), []string{key})
			require.NoError(t, err)
			require.Equal(t, []string{key}, missing)
			_, err = s.Get(t.Context(), key)
			require.ErrorIs(t, err, mlops.ErrNotFound)
			for range 2 { // the second replaces the first
				require.NoError(t, s.Put(t.Context(), key, remote.Blob{Body: body, MD5: sum}), "%d bytes", n)
			}
			got := md5.Sum(read(t, s, key))
			require.Equal(t, sum, hex.EncodeToString(got[:]), "%d bytes", n)
			missing, err = s.Missing(t.Context(), []string{key})
			require.NoError(t, err)
			require.Empty(t, missing)
		}
	})
	t.Run("bytes that are not their md5 are refused and leave nothing", func(t *testing.T) {
		s := open(t)
		for i, n := range []int{5, 20<<20 + 3} {
			body, _ := Body(uint64(i), n)
			_, other := Body(99, 5)
			require.ErrorIs(t, s.Put(t.Context(), Key(other), remote.Blob{Body: body, MD5: other}), mlops.ErrInvalid, "%d bytes", n)
			_, err := s.Get(t.Context(), Key(other))
			require.ErrorIs(t, err, mlops.ErrNotFound, "%d bytes", n)
		}
		nothingUnfinished(t, s)
	})
	t.Run("of many keys just the missing ones are told", func(t *testing.T) {
		s := open(t)
		var there, all []string
		for i := range 24 {
			body, sum := Body(uint64(i), 10)
			key := Key(sum)
			switch {
			case i%8 == 1:
				key = sum[:2] + "/" + sum[2:] // dvc 2.x
			case i%8 == 2:
				key += ".dir"
			}
			require.NoError(t, s.Put(t.Context(), key, remote.Blob{Body: body, MD5: sum}))
			there = append(there, key)
		}
		rnd := rand.New(rand.NewPCG(1, 2))
		var absent []string
		for i := range 1500 {
			sum := fmt.Sprintf("%016x%016x", rnd.Uint64(), rnd.Uint64())
			absent = append(absent, Key(sum))
			if i%50 == 0 {
				absent = append(absent, sum[:2]+"/"+sum[2:], Key(sum)+".dir")
			}
		}
		absent = append(absent, Key(strings.Repeat("0", 32)), Key(strings.Repeat("f", 32)), there[0][:len(there[0])-1])
		all = append(slices.Clone(there), absent...)
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, keys := range [][]string{all, all[:100], all[:3], there, there[:1], absent[:40], nil} {
			missing, err := s.Missing(t.Context(), keys)
			require.NoError(t, err)
			want := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return slices.Contains(there, k) })
			slices.Sort(want)
			slices.Sort(missing)
			require.Equal(t, len(want), len(missing))
			require.True(t, slices.Equal(want, missing))
		}
	})
	t.Run("an object tells its size, and by its ETag that it has changed", func(t *testing.T) {
		s := open(t)
		st, ok := s.(remote.Stater)
		if !ok {
			t.Skip("cannot tell about one object")
		}
		_, err := st.Stat(t.Context(), "dir/a")
		require.ErrorIs(t, err, mlops.ErrNotFound)
		_, err = st.Stat(t.Context(), "../a")
		require.ErrorIs(t, err, mlops.ErrInvalid)
		var tags []string
		for _, n := range []int{5, 6} {
			body, sum := Body(uint64(n), n)
			require.NoError(t, s.Put(t.Context(), "dir/a", remote.Blob{Body: body, MD5: sum}))
			o, err := st.Stat(t.Context(), "dir/a")
			require.NoError(t, err)
			require.Equal(t, int64(n), o.SizeBytes)
			tags = append(tags, o.ETag)
			if l, ok := s.(remote.Lister); ok {
				for listed, err := range l.List(t.Context(), "dir/") {
					require.NoError(t, err)
					require.Equal(t, o.ETag, listed.ETag)
				}
			}
		}
		require.True(t, tags[0] != tags[1] || tags[0] == "", "%v", tags)
		if _, folders := s.(remote.Lister); folders {
			_, err = st.Stat(t.Context(), "dir")
			require.ErrorIs(t, err, mlops.ErrNotFound, "a folder is no object")
		}
	})
	t.Run("many at once do not mix", func(t *testing.T) {
		s := open(t)
		g, ctx := errgroup.WithContext(t.Context())
		g.SetLimit(16)
		for i := range 64 {
			g.Go(func() error {
				body, sum := Body(uint64(i), 3000+i)
				if err := s.Put(ctx, Key(sum), remote.Blob{Body: body, MD5: sum}); err != nil {
					return err
				}
				r, err := s.Get(ctx, Key(sum))
				if err != nil {
					return err
				}
				defer r.Close()
				h := md5.New()
				if _, err := io.Copy(h, r); err != nil {
					return err
				}
				if got := hex.EncodeToString(h.Sum(nil)); got != sum {
					return fmt.Errorf("object %s came back as %s", sum, got)
				}
				return nil
			})
		}
		require.NoError(t, g.Wait())
	})
	t.Run("no key leads out of the remote", func(t *testing.T) {
		s := open(t)
		for _, key := range []string{"../x", "/etc/hostname", "a/../../x", "", "a//b", `a\b`, "a\x00b", "."} {
			body, sum := Body(1, 1)
			require.ErrorIs(t, s.Put(t.Context(), key, remote.Blob{Body: body, MD5: sum}), mlops.ErrInvalid, "%q", key)
			_, err := s.Get(t.Context(), key)
			require.ErrorIs(t, err, mlops.ErrInvalid, "%q", key)
			_, err = s.Missing(t.Context(), []string{key})
			require.ErrorIs(t, err, mlops.ErrInvalid, "%q", key)
			if r, ok := s.(remote.Remover); ok {
				require.ErrorIs(t, r.Remove(t.Context(), key), mlops.ErrInvalid, "%q", key)
			}
		}
	})
	t.Run("a call ends with its context", func(t *testing.T) {
		s := open(t)
		body, sum := Body(1, 10)
		require.NoError(t, s.Put(t.Context(), Key(sum), remote.Blob{Body: body, MD5: sum}))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, n := range []int{10, 20 << 20} {
			body, sum := Body(2, n)
			require.ErrorIs(t, s.Put(ctx, Key(sum), remote.Blob{Body: body, MD5: sum}), context.Canceled)
			_, err := s.Get(t.Context(), Key(sum))
			require.ErrorIs(t, err, mlops.ErrNotFound)
		}
		_, err := s.Get(ctx, Key(sum))
		require.ErrorIs(t, err, context.Canceled)
		_, err = s.Missing(ctx, []string{Key(sum)})
		require.ErrorIs(t, err, context.Canceled)
		nothingUnfinished(t, s)
	})
	t.Run("a reader may be closed early", func(t *testing.T) {
		s := open(t)
		body, sum := Body(5, 24<<20)
		require.NoError(t, s.Put(t.Context(), Key(sum), remote.Blob{Body: body, MD5: sum}))
		for range 3 {
			r, err := s.Get(t.Context(), Key(sum))
			require.NoError(t, err)
			_, err = io.CopyN(io.Discard, r, 10)
			require.NoError(t, err)
			require.NoError(t, r.Close())
		}
		require.Len(t, read(t, s, Key(sum)), 24<<20)
	})
	t.Run("what is listed is what is there, until it is removed", func(t *testing.T) {
		s := open(t)
		l, ok := s.(remote.Lister)
		if !ok {
			t.Skip("does not list")
		}
		want := map[string]int64{}
		for i, key := range []string{"files/md5/00/aa", "files/md5/00/ab.dir", "files/md5/ff/x", "files/md5x/00/a", "runs/ab/cd/ef", "00/legacy"} {
			body, sum := Body(uint64(i), i)
			require.NoError(t, s.Put(t.Context(), key, remote.Blob{Body: body, MD5: sum}))
			want[key] = int64(i)
		}
		listed := func(prefix string) map[string]int64 {
			got := map[string]int64{}
			for o, err := range l.List(t.Context(), prefix) {
				require.NoError(t, err)
				got[o.Key] = o.SizeBytes
			}
			return got
		}
		require.Equal(t, want, listed(""))
		require.Equal(t, map[string]int64{"files/md5/00/aa": 0, "files/md5/00/ab.dir": 1, "files/md5/ff/x": 2}, listed("files/md5/"))
		require.Empty(t, listed("files/md5/77/"))
		for range l.List(t.Context(), "") {
			break // a caller may have seen enough
		}
		r, ok := s.(remote.Remover)
		if !ok {
			return
		}
		for range 2 { // the second finds nothing, which is what was wanted
			require.NoError(t, r.Remove(t.Context(), "files/md5/00/aa"))
		}
		require.Equal(t, map[string]int64{"files/md5/00/ab.dir": 1, "files/md5/ff/x": 2}, listed("files/md5/"))
	})
}

func nothingUnfinished(t *testing.T, s remote.Store) {
	t.Helper()
	u, ok := s.(remote.Uploads)
	if !ok {
		return
	}
	for up, err := range u.Unfinished(t.Context()) {
		require.NoError(t, err)
		t.Errorf("upload %s of %s was left behind", up.ID, up.Key)
	}
}
