package s3_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
	"github.com/mlops-integration/mlops/dvc/remote/remotetest"
	"github.com/mlops-integration/mlops/dvc/remote/s3"
)

func open(t *testing.T, c remote.Config) *s3.Store {
	t.Helper()
	s, err := s3.New(t.Context(), c)
	require.NoError(t, err)
	return s
}

func TestS3ConformsAsRemote(t *testing.T) {
	g := remotetest.StartS3(t)
	remotetest.Conformance(t, func(t *testing.T) remote.Store { return open(t, g.Config("sub/"+remotetest.Random())) })
}

func TestExistenceCostsFewRequests(t *testing.T) {
	g := remotetest.StartS3(t)
	rnd := rand.New(rand.NewPCG(5, 6))
	hash := func() string { return fmt.Sprintf("%016x%016x", rnd.Uint64(), rnd.Uint64()) }
	var there, absent []string
	for range 12_000 { // the gateway takes files of its folder for objects
		key := remotetest.Key(hash())
		there = append(there, key)
		p := filepath.Join(g.Dir, g.Bucket, "r", key)
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		require.NoError(t, os.WriteFile(p, nil, 0o644))
		absent = append(absent, remotetest.Key(hash()))
	}
	s := open(t, g.Config("r"))
	g.Requests(t)
	for _, tt := range []struct {
		name             string
		there, absent    int
		heads, leastList int
		mostList         int
	}{
		{"one", 1, 0, 1, 0, 0},
		{"a few", 4, 4, 8, 0, 0},
		{"fewer than pages", 5, 5, 10, 1, 1},
		{"many", 500, 500, 0, 12, 32},
		{"all", 12_000, 12_000, 0, 12, 32},
	} {
		t.Run(tt.name, func(t *testing.T) {
			keys := append(slices.Clone(there[:tt.there]), absent[:tt.absent]...)
			missing, err := s.Missing(t.Context(), keys)
			require.NoError(t, err)
			slices.Sort(missing)
			want := slices.Sorted(slices.Values(absent[:tt.absent]))
			require.True(t, slices.Equal(want, missing), "%d are told missing, %d are", len(missing), len(want))
			n := g.Requests(t)
			require.LessOrEqual(t, n["HeadObject"], tt.heads, n)
			require.GreaterOrEqual(t, n["ListObjectsV2"], tt.leastList, n)
			require.LessOrEqual(t, n["ListObjectsV2"], tt.mostList, n)
		})
	}
	t.Run("an empty remote is one listing", func(t *testing.T) {
		missing, err := open(t, g.Config("none")).Missing(t.Context(), absent)
		require.NoError(t, err)
		require.Len(t, missing, len(absent))
		require.Equal(t, map[string]int{"ListObjectsV2": 1}, g.Requests(t))
	})
}

func unfinished(t *testing.T, s *s3.Store) []remote.Upload {
	t.Helper()
	var out []remote.Upload
	for u, err := range s.Unfinished(t.Context()) {
		require.NoError(t, err)
		out = append(out, u)
	}
	return out
}

func TestTheNextPushUsesThePartsOfAKilledOne(t *testing.T) {
	g := remotetest.StartS3(t)
	p := remotetest.StartProxy(t, g.URL)
	c := g.Config("r")
	s := open(t, c)
	c.Options["endpointurl"], c.Options["jobs"] = p.URL, "1"
	broken := open(t, c)
	body, sum := remotetest.Body(1, 100<<20)
	key := remotetest.Key(sum)

	// From the fourth part on nothing gets through, the abort neither: as if
	// the program had been killed.
	var sent atomic.Int64
	p.Do(func(r *http.Request) remotetest.Fault {
		if r.Method == "DELETE" {
			return remotetest.Fault{Status: 403, Code: "AccessDenied"}
		}
		if strings.Contains(r.URL.RawQuery, "partNumber") && sent.Add(1) > 3 {
			return remotetest.Fault{Status: 403, Code: "AccessDenied"}
		}
		return remotetest.Fault{}
	})
	require.ErrorIs(t, broken.Put(t.Context(), key, remote.Blob{Body: body, MD5: sum}), mlops.ErrForbidden)
	left := unfinished(t, s)
	require.Len(t, left, 1)
	require.Equal(t, key, left[0].Key)
	require.False(t, left[0].Began.IsZero())
	missing, err := s.Missing(t.Context(), []string{key})
	require.NoError(t, err)
	require.Equal(t, []string{key}, missing, "parts are no object")

	g.Requests(t)
	var moved atomic.Int64
	require.NoError(t, s.Put(t.Context(), key, remote.Blob{Body: body, MD5: sum, Moved: func(n int64) { moved.Add(n) }}))
	require.Equal(t, int64(100<<20), moved.Load())
	n := g.Requests(t)
	require.Equal(t, 4, n["UploadPart"], "of seven parts three were there: %v", n)
	require.Empty(t, unfinished(t, s))
	r, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	defer r.Close()
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Len(t, got, 100<<20)

	// Parts of uploads that were given up are found and taken back.
	body, sum = remotetest.Body(2, 80<<20)
	sent.Store(0)
	require.ErrorIs(t, broken.Put(t.Context(), remotetest.Key(sum), remote.Blob{Body: body, MD5: sum}), mlops.ErrForbidden)
	left = unfinished(t, s)
	require.Len(t, left, 1)
	require.NoError(t, s.Discard(t.Context(), left[0]))
	require.NoError(t, s.Discard(t.Context(), left[0]), "it is gone, as was wanted")
	require.Empty(t, unfinished(t, s))
}

func TestFaultsEndInSuccessOrAClearError(t *testing.T) {
	g := remotetest.StartS3(t)
	type fault = remotetest.Fault
	some := func(f fault) func(*http.Request) fault { // the first two of each request, then it passes
		n := map[string]int{}
		return func(r *http.Request) fault {
			var from int64
			_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d", &from)
			key := fmt.Sprint(r.Method, r.URL, from>>23)
			if n[key]++; n[key] <= 2 {
				return f
			}
			return fault{}
		}
	}
	all := func(f fault) func(*http.Request) fault { return func(*http.Request) fault { return f } }
	expired := fault{Status: 403, Code: "ExpiredToken"}
	for i, tt := range []struct {
		name string
		do   func(*http.Request) fault
		size int
		put  error // nil is success
		get  error
	}{
		{"500 now and then", some(fault{Status: 500, Code: "InternalError"}), 4096, nil, nil},
		{"503 now and then, in parts", some(fault{Status: 503, Code: "SlowDown"}), 40 << 20, nil, nil},
		{"resets now and then", some(fault{Reset: true}), 4096, nil, nil},
		{"resets now and then, in parts", some(fault{Reset: true}), 40 << 20, nil, nil},
		{"answers get lost", some(fault{Lost: true}), 4096, nil, nil},
		{"answers get lost, in parts", some(fault{Lost: true}), 20 << 20, nil, nil},
		{"bodies are cut", some(fault{Cut: 100}), 4096, nil, nil},
		{"bodies are cut, in spans", all(fault{Cut: 3 << 20}), 20 << 20, nil, nil},
		{"bodies fall silent", some(fault{Cut: 100, Silent: true}), 4096, nil, nil},
		{"500 for ever", all(fault{Status: 500, Code: "InternalError"}), 4096, mlops.ErrUnavailable, mlops.ErrUnavailable},
		{"resets for ever", all(fault{Reset: true}), 4096, mlops.ErrUnavailable, mlops.ErrUnavailable},
		{"bodies are cut at one place for ever", all(fault{Cut: 1}), 1, nil, nil},
		{"nobody ever says anything", all(fault{Silent: true}), 4096, nil, mlops.ErrUnavailable},
		{"the token has expired", all(expired), 4096, mlops.ErrUnauthenticated, mlops.ErrUnauthenticated},
		{"the token has expired, in parts", all(expired), 20 << 20, mlops.ErrUnauthenticated, mlops.ErrUnauthenticated},
		{"the token expires midway", func(r *http.Request) fault {
			if strings.Contains(r.URL.RawQuery, "partNumber=3") || strings.Contains(r.Header.Get("Range"), "=8388608") {
				return expired
			}
			return fault{}
		}, 40 << 20, mlops.ErrUnauthenticated, mlops.ErrUnauthenticated},
		{"forbidden", all(fault{Status: 403, Code: "AccessDenied"}), 4096, mlops.ErrForbidden, mlops.ErrForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := remotetest.StartProxy(t, g.URL)
			c := g.Config(fmt.Sprint("r", i))
			direct := open(t, c)
			c.Options["endpointurl"], c.Options["read_timeout"] = p.URL, "20"
			if silence := tt.do(httptest.NewRequest("GET", "/", nil)).Silent; silence {
				c.Options["read_timeout"] = "0.5" // how long it takes until silence is one
			}
			s := open(t, c)
			body, sum := remotetest.Body(uint64(100+i), tt.size)
			key := remotetest.Key(sum)
			p.Do(tt.do)
			err := s.Put(t.Context(), key, remote.Blob{Body: body, MD5: sum})
			p.Do(nil)
			missing, merr := direct.Missing(t.Context(), []string{key})
			require.NoError(t, merr)
			if tt.put != nil {
				require.ErrorIs(t, err, tt.put)
				require.Len(t, missing, 1, "no object without success")
			} else {
				require.NoError(t, err)
				require.Empty(t, missing)
			}
			require.Empty(t, unfinished(t, direct), "its parts were taken back")

			require.NoError(t, direct.Put(t.Context(), key, remote.Blob{Body: body, MD5: sum}))
			p.Do(tt.do)
			r, err := s.Get(t.Context(), key)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(r)
				require.NoError(t, r.Close())
			}
			if tt.get != nil {
				require.ErrorIs(t, err, tt.get)
				return
			}
			require.NoError(t, err)
			want, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
			require.NoError(t, err)
			require.True(t, slices.Equal(want, got), "%d of %d bytes, or others", len(got), len(want))
		})
	}
}
