package s3store_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

func mlopsSecret(s string) mlops.Secret { return mlops.Secret(s) }

func TestALargeFileSurvivesTheDeathOfTheServer(t *testing.T) {
	live(t)
	art := t.TempDir()
	srv := startTracking(t, python(t), nil, "--serve-artifacts", "--artifacts-destination", art)
	w := &wire{base: http.DefaultTransport.(*http.Transport).Clone()}
	c, err := mlflow.New(mlflow.Options{URL: srv.url, HTTP: &http.Client{Transport: w}})
	require.NoError(t, err)
	info, n := newRun(t, c), size(t)
	local, sum := bigFile(t, n)
	ctx := t.Context()
	die := func() { srv.kill(); srv.start() }
	resetPeak(t)
	before := peak(t)

	begin := time.Now()
	w.when(n/2, die)
	require.NoError(t, c.UploadFile(ctx, info.ID, local, "big/large.bin"))
	require.GreaterOrEqual(t, w.bytes.Load(), n+n/2, "half went to the server that died, all to the next")
	files, err := mlops.Collect(c.Artifacts(ctx, info.ID, "big"))
	require.NoError(t, err)
	require.Contains(t, files, mlflow.FileInfo{Path: "big/large.bin", SizeBytes: n})
	up := time.Since(begin)

	begin = time.Now()
	w.when(n/2, die)
	body, err := c.Download(ctx, info.ID, "big/large.bin")
	require.NoError(t, err)
	require.Equal(t, sum, sumOf(t, body))
	require.NoError(t, body.Close())
	require.Less(t, w.bytes.Load(), n+n/10, "it went on where it was")
	require.Positive(t, w.count("GET bytes=* 206"))
	down := time.Since(begin)

	begin = time.Now()
	w.when(n/2, die)
	to := filepath.Join(t.TempDir(), "copy.bin")
	require.NoError(t, c.DownloadFile(ctx, info.ID, "big/large.bin", to))
	require.Less(t, w.bytes.Load(), n+n/10, "it went on where it was")
	parts := time.Since(begin)
	grown := peak(t) - before
	require.Equal(t, sum, sumOfFile(t, to))
	t.Logf("%d MiB with a server killed midway and started again: up %.1f s, down %.1f s, down in parts %.1f s; memory grew by %.1f MiB",
		n>>20, up.Seconds(), down.Seconds(), parts.Seconds(), float64(grown)/(1<<20))
	require.Less(t, grown, int64(64<<20))

	// Without a death, for comparison.
	begin = time.Now()
	require.NoError(t, c.UploadFile(ctx, info.ID, local, "big/again.bin"))
	up = time.Since(begin)
	begin = time.Now()
	require.NoError(t, c.DownloadFile(ctx, info.ID, "big/again.bin", to))
	t.Logf("undisturbed: up %.2f s, down in parts %.2f s", up.Seconds(), time.Since(begin).Seconds())
	require.Equal(t, sum, sumOfFile(t, to))

	require.NoError(t, c.DeleteArtifacts(ctx, info.ID, "big"))
	require.NoError(t, c.DeleteArtifacts(ctx, info.ID, "big"), "there is nothing left")
	files, err = mlops.Collect(c.Artifacts(ctx, info.ID, ""))
	require.NoError(t, err)
	require.Empty(t, files)
	require.NoError(t, os.RemoveAll(art))
}
