package client

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
	"github.com/mlops-integration/mlops/mlflow"
)

func TestARunNamesTheDataItUsed(t *testing.T) {
	dir, git := repository(t)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("DVC_SITE_CACHE_DIR", t.TempDir())
	p, err := FromProject(t.Context(), "wine", In(dir), WithHome(t.TempDir()))
	require.NoError(t, err)
	defer p.Close()
	require.NoError(t, p.Data.Init(t.Context()))
	put(t, dir, "data/x.csv", "hello\n")
	put(t, dir, "data/y.csv", "world\n")
	_, err = p.Data.Add(t.Context(), "data")
	require.NoError(t, err)
	r, err := p.Data.Repo(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.AddRemote(t.Context(), "far", "https://me:hunter2@example.com/d", dvc.AddRemoteOptions{Default: true, Level: dvc.LevelLocal}))
	git("add", "-A")
	git("commit", "-q", "-m", "data")

	v, err := p.Data.Version(t.Context(), "data/x.csv")
	require.NoError(t, err)
	in, err := dataInput("data/x.csv", v)
	require.NoError(t, err)
	require.Equal(t, mlflow.DatasetInput{Name: "data/x.csv", Digest: "b1946ac92492d2347c6235b4d2611184", SourceType: "dvc", Source: in.Source}, in)
	require.JSONEq(t, `{"path":"data/x.csv","md5":"b1946ac92492d2347c6235b4d2611184","size":6,"remote":"far","url":"https://example.com/d","commit":"`+git("rev-parse", "HEAD")+`"}`, in.Source)

	v, err = p.Data.Version(t.Context(), filepath.Join(dir, "data"))
	require.NoError(t, err)
	in, err = dataInput("data", v)
	require.NoError(t, err)
	require.Len(t, in.Digest, 36, "MLflow takes no longer digest")

	require.ErrorIs(t, p.LogData(t.Context(), nil, "nope"), mlops.ErrNotFound)
}
