package compose

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

func TestTasksOfProcessesSeeTheProjectWhereItLies(t *testing.T) {
	s := stackOf(t)
	below, err := s.Projects()
	require.NoError(t, err)
	require.Empty(t, below)
	python := filepath.Join(s.home, "venvs", "train", "bin", "python")
	require.NoError(t, os.MkdirAll(filepath.Dir(python), 0o755))
	require.NoError(t, os.WriteFile(python, nil, 0o755))
	at, err := s.Workplace("/projects/sentiment")
	require.NoError(t, err)
	require.Equal(t, Workplace{"/projects/sentiment", "/projects/sentiment/out", python}, at)
}

func TestTasksInContainersSeeTheProjectsOfOneFolder(t *testing.T) {
	t.Setenv("MLOPS_PROJECTS", "")
	s := dockerStack(t)
	below, err := s.Projects()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(s.home, "projects"), below)
	at, err := s.Workplace(filepath.Join(below, "team", "sentiment"))
	require.NoError(t, err)
	require.Equal(t, Workplace{"/projects/team/sentiment", "/opt/airflow/work/team/sentiment", "/opt/train/bin/python"}, at)
	for _, outside := range []string{filepath.Dir(below), below + "-of-others", "/"} {
		_, err = s.Workplace(outside)
		require.ErrorIs(t, err, mlops.ErrInvalid, outside)
		require.ErrorContains(t, err, below)
	}
}

func TestTheFolderOfProjectsIsRemembered(t *testing.T) {
	e := engineOf(t)
	e.containers(t, recorded(t))
	s := dockerStack(t)
	own := filepath.Join(t.TempDir(), "ours")
	t.Setenv("MLOPS_PROJECTS", own)
	_, _ = s.Start(t.Context(), StartOptions{Services: []string{"redis"}})
	info, err := os.Stat(own)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode().Perm(), "the user in the container is another")
	t.Setenv("MLOPS_PROJECTS", "")
	below, err := s.Projects()
	require.NoError(t, err)
	require.Equal(t, own, below)
}

func TestProgramsOfThisMachineGetALoginForS3(t *testing.T) {
	e := engineOf(t)
	s := dockerStack(t)
	e.containers(t, recorded(t))
	d, err := s.containers()
	require.NoError(t, err)
	require.NoError(t, d.writeFiles())
	d.record.Ports["s3/http"] = 7071
	st, _, err := d.observe(t.Context())
	require.NoError(t, err)
	require.NoError(t, d.publishStack(st))
	f, err := stackfile.Read(s.home)
	require.NoError(t, err)
	require.Equal(t, "s3://mlops/dvc", f.DVCRemote)
	require.Equal(t, "http://127.0.0.1:7071", f.DVCOptions["endpointurl"])
	login := f.DVCOptions["credentialpath"]
	info, err := os.Stat(login)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "others may read the login")
	secret, err := os.ReadFile(filepath.Join(d.secrets(), "s3"))
	require.NoError(t, err)
	b, err := os.ReadFile(login)
	require.NoError(t, err)
	require.Equal(t, "[mlops]\naws_access_key_id = mlops\naws_secret_access_key = "+string(secret)+"\n", string(b))
}
