package compose

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose/internal/proc"
)

// environment is what the engine's client was last started with.
func (e engine) environment(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(e.dir, "environment"))
	require.NoError(t, err)
	return string(b)
}

// bound are the recorded containers, which publish the ports from first on.
func bound(t *testing.T, first int) []map[string]any {
	t.Helper()
	all := recorded(t)
	for _, c := range all {
		service := c["Config"].(map[string]any)["Labels"].(map[string]any)["com.docker.compose.service"].(string)
		ports := map[string]any{}
		for key, p := range publishedPorts() {
			if strings.HasPrefix(key, service+"/") {
				ports[strconv.Itoa(p.inside)+"/tcp"] = []map[string]string{{"HostIp": "127.0.0.1", "HostPort": strconv.Itoa(first + p.inside)}}
			}
		}
		c["HostConfig"] = map[string]any{"PortBindings": ports}
		c["Mounts"] = []map[string]string{{"Source": "/ours", "Destination": "/projects"}}
	}
	return all
}

func TestARecordThatWasDeletedIsReadFromWhatRuns(t *testing.T) {
	t.Setenv("MLOPS_PROJECTS", "")
	e := engineOf(t)
	s := dockerStack(t)
	e.containers(t, bound(t, 20000))
	d, err := s.containers()
	require.NoError(t, err)
	require.NoError(t, d.writeFiles())
	st, _, err := d.observe(t.Context())
	require.NoError(t, err)
	require.NoError(t, d.publishStack(st))
	require.NoError(t, os.RemoveAll(dockerRecordPath(s.home)))

	again, err := New(Options{Home: s.home})
	require.NoError(t, err)
	st, err = again.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, DockerRuntime, st.Runtime, "the stack file still says so")
	require.Equal(t, 25000, of(st, "mlflow").Ports["http"])
	below := filepath.Join(t.TempDir(), "ours")
	t.Setenv("MLOPS_PROJECTS", below) // /ours is not to be made
	_, err = again.Start(t.Context(), StartOptions{Services: []string{"redis", "airflow-worker"}})
	require.Error(t, err, "no server answers as Airflow here")
	require.Contains(t, e.environment(t), "MLOPS_PORT_SERVE=28000\n")
	require.Contains(t, e.calls(t), "--scale airflow-worker=2 ")
	r, err := readDockerRecord(s.home)
	require.NoError(t, err)
	require.False(t, r.lost)
	require.Equal(t, DockerRuntime, r.Runtime)
	require.Equal(t, 27070, r.Ports["s3/http"])
}

func TestTheFolderOfProjectsIsReadFromWhatRuns(t *testing.T) {
	r := dockerRecord{Ports: map[string]int{}, Scale: map[string]int{}}
	var c container
	c.Mounts = append(c.Mounts, struct{ Source, Destination string }{"/ours", "/projects"})
	r.recover([]container{c})
	require.Equal(t, "/ours", r.Projects)
}

func TestATwinInContainersHasThemForItselfAndKeepsTheImages(t *testing.T) {
	e := engineOf(t)
	s := dockerStack(t)
	s.engine = "unix:///elsewhere.sock"
	home := filepath.Join(t.TempDir(), "twin")
	twin, err := s.Twin(home)
	require.NoError(t, err)
	require.NoFileExists(t, dockerRecordPath(s.home), "the original's runtime was changed")

	_, err = twin.Start(t.Context(), StartOptions{Services: []string{"postgres"}})
	require.ErrorContains(t, err, "postgres: its container is healthy, but from outside", "it is to be reached from this machine, and nothing runs here")
	require.Contains(t, e.calls(t), "docker/compose.yaml -f ")
	require.Contains(t, e.calls(t), "docker/twin.yaml --project-directory ")
	require.Regexp(t, `(?m)^MLOPS_PORT_POSTGRES=\d+$`, e.environment(t))
	require.Contains(t, e.environment(t), "DOCKER_HOST=unix:///elsewhere.sock\n")
	require.FileExists(t, filepath.Join(s.home, "setup.lock"), "images of twins are made one after the other")

	later, err := New(Options{Home: home})
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(e.dir, "environment")))
	require.NoError(t, os.WriteFile(filepath.Join(e.dir, "images"), []byte("everything\n"), 0o600))
	require.NoError(t, later.Destroy(t.Context()))
	require.Contains(t, e.environment(t), "DOCKER_HOST=unix:///elsewhere.sock\n", "the engine was forgotten")
	require.Contains(t, e.calls(t), "down --volumes --remove-orphans")
	require.NotContains(t, e.calls(t), "image rm")
	require.True(t, gone(home))
	require.DirExists(t, s.home)
}

func TestOfATwinThatComesBackMeanwhileTheHomeStays(t *testing.T) {
	e := engineOf(t)
	home := filepath.Join(t.TempDir(), "twin")
	twin, err := dockerStack(t).Twin(home)
	require.NoError(t, err)
	e.containers(t, recorded(t))
	err = twin.Destroy(t.Context())
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.ErrorContains(t, err, "13 containers came")
	require.FileExists(t, dockerRecordPath(home), "the containers could not be removed any more")
}

func TestAClientThatOutlivedItsProgramIsEndedBeforeItsContainers(t *testing.T) {
	e := engineOf(t)
	home := filepath.Join(t.TempDir(), "twin")
	twin, err := dockerStack(t).Twin(home)
	require.NoError(t, err)
	patience, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	orphan := exec.CommandContext(patience, "/bin/sh", "-c", "while :; do sleep 0.05; done")
	orphan.Env = append(os.Environ(), proc.Mark(home, engineClient))
	require.NoError(t, orphan.Start())
	ended := make(chan error, 1)
	go func() { ended <- orphan.Wait() }()
	require.NoError(t, twin.Destroy(t.Context()))
	require.Error(t, <-ended)
	require.NoError(t, patience.Err(), "it went on")
	require.Contains(t, e.calls(t), "down")
	require.Contains(t, e.environment(t), proc.Mark(home, engineClient), "clients are not marked")
}

func TestTwoStacksThatStartAtOnceDoNotChooseOnePort(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	engineOf(t)
	a, err := dockerStack(t).containers()
	require.NoError(t, err)
	b, err := dockerStack(t).containers()
	require.NoError(t, err)
	ours, theirs := reserved{}, reserved{}
	require.NoError(t, a.choosePorts(Status{}, a.services(false), ours))
	require.NoError(t, b.choosePorts(Status{}, b.services(false), theirs))
	for key, n := range a.record.Ports {
		require.NotEqual(t, n, b.record.Ports[key], key)
	}
	ours.giveBack()
	theirs.giveBack()
}

func TestWithoutMlopsctlTheImagesHaveTagsAllTheSame(t *testing.T) {
	engineOf(t)
	s := dockerStack(t)
	s.command = filepath.Join(t.TempDir(), "none")
	d, err := s.containers()
	require.NoError(t, err)
	tags, err := d.tags()
	require.NoError(t, err)
	require.Regexp(t, `^mlops/airflow:[0-9a-f]{12}$`, tags["airflow"])
}
