package s3store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/mlflow/s3store"
)

// source stands in for a file, and does something once when it was half read.
type source struct {
	*bytes.Reader
	w *wire
}

func (s source) ReadAt(p []byte, at int64) (int, error) {
	n, err := s.Reader.ReadAt(p, at)
	if at%(5<<20) == 0 {
		s.w.note(fmt.Sprint("from ", at))
	}
	s.w.pass(n)
	return n, err
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>13)
	}
	return b
}

func TestAnS3StoreKeepsObjects(t *testing.T) {
	live(t)
	g := startGateway(t)
	s, ctx := g.store(t, s3store.Options{PartSize: 5 << 20}), t.Context()
	root := "s3://" + g.bucket + "/1/run/artifacts"
	big := pattern(12 << 20)
	for name, b := range map[string][]byte{"a/one.txt": []byte("one"), "a/deep/ü b%?#.txt": []byte("two"), "empty": {}, "big.bin": big} {
		require.NoError(t, s.Put(ctx, root+"/"+name, bytes.NewReader(b)), name)
	}
	files, err := mlops.Collect(s.List(ctx, root))
	require.NoError(t, err)
	require.ElementsMatch(t, []mlflow.FileInfo{{Path: "a", IsDir: true}, {Path: "empty"}, {Path: "big.bin", SizeBytes: 12 << 20}}, files)
	files, err = mlops.Collect(s.List(ctx, root+"/a/deep"))
	require.NoError(t, err)
	require.Equal(t, []mlflow.FileInfo{{Path: "ü b%?#.txt", SizeBytes: 3}}, files)

	obj, err := s.Open(ctx, root+"/big.bin", mlflow.Range{From: 6 << 20, To: 6<<20 + 100})
	require.NoError(t, err)
	got, err := io.ReadAll(obj.Body)
	require.NoError(t, err)
	require.NoError(t, obj.Body.Close())
	require.Equal(t, big[6<<20:6<<20+100], got)
	require.Equal(t, int64(6<<20), obj.Offset)
	require.Equal(t, int64(12<<20), obj.Size)
	old := obj.Version
	obj, err = s.Open(ctx, root+"/empty", mlflow.Range{To: 10})
	require.NoError(t, err)
	require.Zero(t, obj.Size)
	require.NoError(t, obj.Body.Close())

	require.NoError(t, s.Put(ctx, root+"/big.bin", strings.NewReader("another")))
	_, err = s.Open(ctx, root+"/big.bin", mlflow.Range{From: 1, Version: old})
	require.ErrorIs(t, err, mlops.ErrConflict)
	_, err = s.Open(ctx, root+"/none", mlflow.Range{})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = s.Open(ctx, "s3://no-such-bucket/x", mlflow.Range{})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	wrong := *g
	wrong.secret = "wrong"
	_, err = mlops.Collect(wrong.store(t, s3store.Options{}).List(ctx, root))
	require.ErrorIs(t, err, mlops.ErrUnauthenticated)

	require.NoError(t, s.Delete(ctx, root+"/a"))
	require.NoError(t, s.Delete(ctx, root+"/a"))
	files, err = mlops.Collect(s.List(ctx, root))
	require.NoError(t, err)
	require.ElementsMatch(t, []mlflow.FileInfo{{Path: "empty"}, {Path: "big.bin", SizeBytes: 7}}, files)
	for _, bad := range []string{"s3://", "gs://b/x", "s3://" + g.bucket} {
		require.ErrorIs(t, s.Delete(ctx, bad), mlops.ErrInvalid, bad)
		require.ErrorIs(t, s.Put(ctx, bad, strings.NewReader("x")), mlops.ErrInvalid, bad)
	}
}

// uploads lists what was begun and neither completed nor taken back.
func (g *gateway) uploads(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(g.dir, g.bucket, ".sgwtmp", "multipart", "*", "*"))
	require.NoError(t, err)
	return found
}

func TestAnUploadGoesOnByPartAndIsTakenBackOnGivingUp(t *testing.T) {
	live(t)
	g := startGateway(t)
	s, root, ctx := g.store(t, s3store.Options{PartSize: 5 << 20, Parallel: 2}), "s3://"+g.bucket+"/x", t.Context()
	b := pattern(64 << 20)
	var w wire
	w.when(60<<20, func() { g.kill(); g.start() })
	require.NoError(t, s.Put(ctx, root+"/big.bin", source{bytes.NewReader(b), &w}))
	obj, err := s.Open(ctx, root+"/big.bin", mlflow.Range{})
	require.NoError(t, err)
	defer obj.Body.Close()
	got, err := io.ReadAll(obj.Body)
	require.NoError(t, err)
	require.True(t, bytes.Equal(b, got))
	require.Empty(t, g.uploads(t))

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := errors.New("enough")
	w.when(40<<20, func() {
		require.NotEmpty(t, g.uploads(t))
		cancel(stop)
	})
	require.ErrorIs(t, s.Put(ctx, root+"/other.bin", source{bytes.NewReader(b), &w}), stop)
	require.Empty(t, g.uploads(t), "its parts were taken back")
	_, err = s.Open(t.Context(), root+"/other.bin", mlflow.Range{})
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

func TestARunWithItsArtifactsInS3IsTheSameForPython(t *testing.T) {
	live(t)
	g := startGateway(t)
	srv := startTracking(t, pythonS3(t), g.env(), "--no-serve-artifacts", "--default-artifact-root", "s3://"+g.bucket+"/mlruns")
	store := g.store(t, s3store.Options{PartSize: 5 << 20})
	c, err := mlflow.New(mlflow.Options{URL: srv.url, Artifacts: mlflow.ArtifactOptions{Stores: map[string]mlflow.Store{"s3": store}, PartSize: 5 << 20}})
	require.NoError(t, err)
	info, ctx := newRun(t, c), t.Context()
	require.True(t, strings.HasPrefix(info.ArtifactURI, "s3://"), info.ArtifactURI)
	dir, local := t.TempDir(), filepath.Join(t.TempDir(), "big.bin")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ü one.txt"), []byte("one"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "deep"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "deep", "two.txt"), []byte("two"), 0o600))
	b := pattern(23<<20 + 5)
	require.NoError(t, os.WriteFile(local, b, 0o600))
	require.NoError(t, c.UploadDir(ctx, info.ID, dir, "tree"))
	require.NoError(t, c.UploadFile(ctx, info.ID, local, "big.bin"))
	require.NoError(t, c.UploadBytes(ctx, "runs:/"+info.ID+"/tree", []byte("three"), "three.txt"))

	out := output(t, append(g.env(), "MLFLOW_TRACKING_URI="+srv.url, "MLFLOW_DISABLE_TELEMETRY=true"), pythonS3(t), "-c", `
import hashlib, mlflow, os, sys
c = mlflow.MlflowClient()
run = sys.argv[1]
def walk(p):
    for f in c.list_artifacts(run, p):
        if f.is_dir: yield from walk(f.path)
        else: yield f"{f.path} {f.file_size}"
d = mlflow.artifacts.download_artifacts(run_id=run, artifact_path="")
print(sorted(walk("")), hashlib.sha256(open(d + "/big.bin", "rb").read()).hexdigest(), open(d + "/tree/ü one.txt").read())
open("from-python.txt", "w").write("hello")
c.log_artifact(run, "from-python.txt", "py")
os.remove("from-python.txt")`, info.ID)
	require.Equal(t, "['big.bin 24117253', 'tree/deep/two.txt 3', 'tree/three.txt 5', 'tree/ü one.txt 3'] "+sumOfFile(t, local)+" one", out)

	to := t.TempDir()
	require.NoError(t, c.DownloadDir(ctx, info.ID, "", to))
	require.Equal(t, sumOfFile(t, local), sumOfFile(t, filepath.Join(to, "big.bin")))
	got, err := os.ReadFile(filepath.Join(to, "py", "from-python.txt"))
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	body, err := c.DownloadRange(ctx, info.ID, "big.bin", 11<<20, 10)
	require.NoError(t, err)
	part, err := io.ReadAll(body)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	require.Equal(t, b[11<<20:11<<20+10], part)
	require.NoError(t, c.DeleteArtifacts(ctx, info.ID, "tree"))
	require.ErrorIs(t, c.DownloadDir(ctx, info.ID, "tree", t.TempDir()), mlops.ErrNotFound)

	without, err := mlflow.New(mlflow.Options{URL: srv.url})
	require.NoError(t, err)
	_, err = without.Download(ctx, info.ID, "big.bin")
	require.ErrorIs(t, err, mlops.ErrUnsupported)

	// Whoever has no credentials goes by what the server signs.
	up, err := without.PresignUpload(ctx, info.ID, "signed/a.txt", 0)
	require.NoError(t, err)
	require.Equal(t, 200, request(t, "PUT", up, "signed"))
	down, err := without.PresignDownload(ctx, info.ID, "signed/a.txt", time.Minute)
	require.NoError(t, err)
	require.Equal(t, 200, request(t, "GET", down, ""))
	body, err = c.Download(ctx, info.ID, "signed/a.txt")
	require.NoError(t, err)
	got, err = io.ReadAll(body)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	require.Equal(t, "signed", string(got))
	require.NotContains(t, fmt.Sprint(up, down), "Signature")
}

// request does what was signed and returns the status.
func request(t *testing.T, method string, s mlflow.SignedURL, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, string(s.URL), strings.NewReader(body))
	require.NoError(t, err)
	for k, v := range s.Header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

// Behind a proxy on S3 the server signs, and the bytes go past it.
func TestAProxyOnS3SignsForLargeFiles(t *testing.T) {
	live(t)
	g := startGateway(t)
	srv := startTracking(t, pythonS3(t), g.env(), "--serve-artifacts", "--artifacts-destination", "s3://"+g.bucket+"/proxied")
	w := &wire{base: http.DefaultTransport.(*http.Transport).Clone()}
	connect := func(opt mlflow.ArtifactOptions) *mlflow.Client {
		c, err := mlflow.New(mlflow.Options{URL: srv.url, HTTP: &http.Client{Transport: w}, Artifacts: opt})
		require.NoError(t, err)
		return c
	}
	c := connect(mlflow.ArtifactOptions{Presigned: true, PresignedFrom: 8 << 20, PartSize: 5 << 20})
	info, ctx := newRun(t, c), t.Context()
	b := pattern(80<<20 + 3)
	src := &wire{}
	src.when(75<<20, func() { g.kill(); g.start() })
	w.when(0, nil)
	require.NoError(t, c.Upload(ctx, info.ID, source{bytes.NewReader(b), src}, "d/big.bin"))
	require.Less(t, w.bytes.Load(), int64(1<<20), "it did not go through the server")
	require.Zero(t, w.count("PUT *"))
	require.Equal(t, 2, w.count("POST  200"), "one upload is begun and completed")
	once := 0
	for at := 0; at < len(b); at += 5 << 20 {
		if src.count(fmt.Sprint("from ", at)) == 1 {
			once++
		}
	}
	// Eight parts are on their way at a time: of the 15 that were read, at
	// least seven had arrived.
	require.GreaterOrEqual(t, once, 7, "it went on by part")
	require.Empty(t, g.uploads(t))

	to := filepath.Join(t.TempDir(), "copy")
	w.when(0, nil)
	require.NoError(t, c.DownloadFile(ctx, info.ID, "d/big.bin", to))
	require.Less(t, w.bytes.Load(), int64(1<<20))
	got, err := os.ReadFile(to)
	require.NoError(t, err)
	require.True(t, bytes.Equal(b, got))

	stopped, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := errors.New("enough")
	src.when(20<<20, func() { cancel(stop) })
	w.when(0, nil)
	require.ErrorIs(t, c.Upload(stopped, info.ID, source{bytes.NewReader(b), src}, "d/other.bin"), stop)
	// What the gateway keeps is not looked at: a part that is still being taken
	// may outlive the end of its upload, as S3 says of itself.
	require.Equal(t, 2, w.count("POST  200"), "the upload is begun and taken back")

	// Through the server, which cannot begin in the middle here.
	plain := connect(mlflow.ArtifactOptions{})
	require.NoError(t, plain.UploadBytes(ctx, info.ID, b[:9<<20], "d/plain.bin"))
	require.NoError(t, plain.DownloadFile(ctx, info.ID, "d/plain.bin", to))
	got, err = os.ReadFile(to)
	require.NoError(t, err)
	require.True(t, bytes.Equal(b[:9<<20], got))
	body, err := plain.DownloadRange(ctx, info.ID, "d/plain.bin", 5<<20, 4)
	require.NoError(t, err)
	got, err = io.ReadAll(body)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	require.Equal(t, b[5<<20:5<<20+4], got)
	_, err = plain.Download(ctx, info.ID, "d/none.bin")
	require.ErrorIs(t, err, mlops.ErrNotFound, "the server answers 500")
	require.Equal(t, 1, w.count("* 500"), "it is asked for once")
	_, err = plain.Download(ctx, info.ID, "d")
	require.ErrorIs(t, err, mlops.ErrInvalid, "the server answers 200 and nothing")
	to = filepath.Join(t.TempDir(), "d")
	require.ErrorIs(t, plain.DownloadFile(ctx, info.ID, "d", to), mlops.ErrInvalid)
	require.NoFileExists(t, to)
	require.NoError(t, plain.UploadBytes(ctx, info.ID, nil, "empty"))
	require.NoError(t, plain.DownloadFile(ctx, info.ID, "empty", to))
	require.FileExists(t, to)
	files, err := mlops.Collect(plain.Artifacts(ctx, info.ID, "d"))
	require.NoError(t, err)
	require.ElementsMatch(t, []mlflow.FileInfo{{Path: "d/big.bin", SizeBytes: int64(len(b))}, {Path: "d/plain.bin", SizeBytes: 9 << 20}}, files)
}

// A server with its artifacts on its own disk signs nothing.
func TestAServerThatSignsNothingIsAskedOnce(t *testing.T) {
	live(t)
	srv := startTracking(t, python(t), nil, "--serve-artifacts", "--artifacts-destination", t.TempDir())
	w := &wire{base: http.DefaultTransport.(*http.Transport).Clone()}
	c, err := mlflow.New(mlflow.Options{URL: srv.url, HTTP: &http.Client{Transport: w}, Artifacts: mlflow.ArtifactOptions{Presigned: true, PresignedFrom: 1}})
	require.NoError(t, err)
	info, ctx := newRun(t, c), t.Context()
	w.when(0, nil)
	for range 2 {
		require.NoError(t, c.UploadBytes(ctx, info.ID, []byte("some"), "a.txt"))
		body, err := c.Download(ctx, info.ID, "a.txt")
		require.NoError(t, err)
		b, err := io.ReadAll(body)
		require.NoError(t, err)
		require.NoError(t, body.Close())
		require.Equal(t, "some", string(b))
	}
	require.Equal(t, 2, w.count("* 501"), "once for an upload, once for a download")
	_, err = c.PresignUpload(ctx, info.ID, "a.txt", 0)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = c.PresignDownload(ctx, info.ID, "../a.txt", 0)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = c.DownloadRange(ctx, info.ID, "a.txt", 4, 1)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = c.Download(ctx, info.ID, "none.txt")
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.NoError(t, c.UploadBytes(ctx, info.ID, nil, "empty"))
	to := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, c.DownloadFile(ctx, info.ID, "empty", to))
	got, err := os.ReadFile(to)
	require.NoError(t, err)
	require.Empty(t, got)
}
