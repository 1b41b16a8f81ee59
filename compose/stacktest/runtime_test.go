package stacktest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose"
)

const chosenVariable = "MLOPS_STACKTEST_CHOSEN"

// TestChoice is the test binary that says what it would choose: the engine is
// looked for once in a process.
func TestChoice(t *testing.T) {
	to := os.Getenv(chosenVariable)
	if to == "" {
		t.Skip("is run by another test")
	}
	r, err := choose(t.Context())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, []byte(r.String()), 0o600))
}

// chosen is what a test binary chooses in an environment.
func chosen(t *testing.T, env ...string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "chosen")
	cmd := exec.Command(os.Args[0], "-test.run=^TestChoice$")
	cmd.Env = append(append(os.Environ(), "MLOPS_RUNTIME=", "HOME="+t.TempDir(), chosenVariable+"="+to), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	b, err := os.ReadFile(to)
	require.NoError(t, err)
	return string(b)
}

func TestAWishDecidesWithoutALook(t *testing.T) {
	require.Equal(t, "servers are processes: MLOPS_RUNTIME=process", chosen(t, "MLOPS_RUNTIME=process", "DOCKER_HOST=unix:///nowhere.sock"))
	require.Equal(t, "servers are containers: MLOPS_RUNTIME=docker", chosen(t, "MLOPS_RUNTIME=docker", "DOCKER_HOST=unix:///nowhere.sock"))
	t.Setenv("MLOPS_RUNTIME", "process")
	r, err := choose(t.Context())
	require.NoError(t, err)
	require.Equal(t, "servers are processes: MLOPS_RUNTIME=process", r.String())
	t.Setenv("MLOPS_RUNTIME", "podman")
	_, err = choose(t.Context())
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, "there are process and docker")
}

func TestWithoutAnEngineServersAreProcesses(t *testing.T) {
	if _, err := os.Stat("/var/run/docker.sock"); err == nil {
		t.Skip("this machine has an engine of its own")
	}
	require.Contains(t, chosen(t, "DOCKER_HOST="), "servers are processes: no container engine answers")
}

func TestASocketOnWhichNobodyAnswersIsNoEngine(t *testing.T) {
	if _, err := os.Stat("/var/run/docker.sock"); err == nil {
		t.Skip("this machine has an engine of its own")
	}
	dir, err := os.MkdirTemp("", "s") // a socket's path is short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	require.Contains(t, chosen(t, "DOCKER_HOST=unix://"+l.Addr().String()), "servers are processes: no container engine answers")
}

func TestAnEngineThatAnswersIsTakenIfDockerHasCompose(t *testing.T) {
	containers(t)
	at := os.Getenv("DOCKER_HOST")
	require.Equal(t, "servers are containers: the engine "+at+" answers", chosen(t))
	require.Equal(t, "servers are processes: compose: there is no docker on PATH; install Docker, or use --runtime process, which needs none",
		chosen(t, "PATH="+t.TempDir()))
	require.Contains(t, chosen(t, "DOCKER_CONFIG="+t.TempDir()), "servers are processes: compose: docker has no compose plugin")
}

func TestWhatIsLeftOfAnEngineThatIsAwayWaits(t *testing.T) {
	below := filepath.Join(t.TempDir(), "stacktest")
	original, err := compose.New(compose.Options{Home: filepath.Dir(below), Runtime: compose.DockerRuntime, Engine: "unix:///nowhere.sock"})
	require.NoError(t, err)
	dead, held, err := claim(t.Context(), original, below, t.Logf)
	require.NoError(t, err)
	require.NoError(t, held.Close())
	said := 0
	require.NoError(t, sweep(t.Context(), below, func(format string, args ...any) {
		said++
		require.Contains(t, format, "what is left")
		require.Contains(t, args[0], filepath.Base(dead))
	}))
	require.Equal(t, 1, said)
	require.DirExists(t, dead)
	require.FileExists(t, dead+lockSuffix)

	t.Setenv("PATH", t.TempDir()) // without docker, nothing says that its containers are gone
	s, err := compose.New(compose.Options{Home: dead})
	require.NoError(t, err)
	require.ErrorIs(t, destroy(t.Context(), s, dead), mlops.ErrUnsupported)
	require.DirExists(t, dead)
}
