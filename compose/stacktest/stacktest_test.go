package stacktest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/lockfile"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

func live(t *testing.T) {
	t.Helper()
	if !cassette.Live() {
		t.Skip("not live: starts servers of its own (make test)")
	}
}

// containers needs an engine, which answers and has the images of the stack, or
// can make them.
func containers(t *testing.T) {
	t.Helper()
	if os.Getenv("MLOPS_LIVE_DOCKER") == "" {
		t.Skip("starts containers: set MLOPS_LIVE_DOCKER=1 (make test-docker does)")
	}
}

func TestServersAreSharedAndNamesAreNot(t *testing.T) {
	if os.Getenv("MLOPS_LIVE_DOCKER") == "" {
		live(t)
	}
	a, b := Start(t, MLflow, S3), Start(t, S3)
	require.Equal(t, a.Home, b.Home)
	require.NotEqual(t, a.Project, b.Project)
	require.Equal(t, a.Endpoint(S3), b.Endpoint(S3))

	st, err := a.stack.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, shared.runtime.name, st.Runtime)
	if os.Getenv("MLOPS_LIVE_DOCKER") != "" {
		require.Equal(t, compose.DockerRuntime, st.Runtime, "an engine is there, and %s", shared.runtime)
	}
	for of, path := range map[Service]string{MLflow: "/version", S3: "/" + Bucket} {
		at := a.Endpoint(of)
		require.NotEmpty(t, at.Auth.Password)
		resp, err := http.Get(at.URL + path)
		require.NoError(t, err)
		resp.Body.Close()
		require.Contains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, resp.StatusCode, "%s lets strangers in", of)
	}
	a.Setenv()
	require.Equal(t, a.Home, os.Getenv("MLOPS_HOME"))
	require.Equal(t, "s3://mlops/dvc", os.Getenv("MLOPS_DVC_REMOTE"))
	require.Equal(t, a.Endpoint(MLflow).URL, os.Getenv("MLFLOW_TRACKING_URI"))
	require.Contains(t, a.Env(), "AWS_ENDPOINT_URL_S3="+a.Endpoint(S3).URL)
	require.Equal(t, a.Home, Start(t, S3).Home, "with the servers' MLOPS_HOME in the environment, they are not found again")
}

func TestEveryServiceOfTheStackCanBeAskedFor(t *testing.T) {
	s, err := compose.New(compose.Options{Home: t.TempDir(), Runtime: compose.ProcessRuntime})
	require.NoError(t, err)
	for v := range needs {
		p, err := s.Plan(t.Context(), compose.StartOptions{Services: []string{string(v)}})
		require.NoError(t, err, v)
		require.NotEmpty(t, p.Steps)
	}
}

func TestAWrongWishIsRefusedBeforeAnythingIsDone(t *testing.T) {
	t.Setenv("MLOPS_HOME", filepath.Join(t.TempDir(), "none"))
	_, err := start(t.Context(), t, nil)
	require.ErrorContains(t, err, "no service is named")
	_, err = start(t.Context(), t, []Service{"mlfow"})
	require.ErrorContains(t, err, `no service is called "mlfow"`)
	require.NoDirExists(t, os.Getenv("MLOPS_HOME"))
	f := &fatal{TB: t}
	require.PanicsWithValue(t, f, func() { Start(f, "mlfow") })
	require.Equal(t, `stacktest: no service is called "mlfow"`, f.said)
}

// fatal is a test that wants to go on although it failed.
type fatal struct {
	testing.TB
	said string
}

func (f *fatal) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	panic(f)
}

func TestCredentialsComeAsTheServersWantThem(t *testing.T) {
	dir := t.TempDir()
	f := &fatal{TB: t}
	s := &Stack{t: f, file: stackfile.Stack{Endpoints: map[string]stackfile.Endpoint{}}}
	for _, name := range []string{"mlflow", "ray", "evidently"} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte("secret of "+name), 0o600))
		s.file.Endpoints[name] = stackfile.Endpoint{URL: "http://" + name, Username: "admin", SecretFile: file}
	}
	s.file.Endpoints[stackfile.Serve] = stackfile.Endpoint{URL: "http://models"}
	headers := func(of Service) string {
		h := http.Header{}
		s.Endpoint(of).Auth.Apply(h)
		b, err := json.Marshal(h)
		require.NoError(t, err)
		return string(b)
	}
	require.Contains(t, headers(MLflow), "Basic ")
	require.Contains(t, headers(RayServe), "Bearer secret of ray")
	require.Equal(t, `{"Evidently-Secret":["secret of evidently"]}`, headers(Evidently))
	require.Equal(t, "http://models", s.ServeURL())
	require.PanicsWithValue(t, f, func() { s.Endpoint(Airflow) })
	require.Contains(t, f.said, "airflow was not started; name it in Start")
	require.NoError(t, os.Chmod(filepath.Join(dir, "mlflow"), 0o644))
	require.PanicsWithValue(t, f, func() { s.Endpoint(MLflow) })
	require.Contains(t, f.said, "may be read by others")
}

func TestProjectsOfATestAreNamesThatEveryToolTakes(t *testing.T) {
	for _, name := range []string{"TestX", "TestÄrger/mit Öl", strings.Repeat("Test", 40), "TestA/b_c#01", "_"} {
		p := project(name)
		require.Regexp(t, `^[a-z0-9][a-z0-9-]{0,62}$`, p, name)
		require.NotContains(t, p, "--")
		require.NotEqual(t, p, project(name))
	}
}

// claimed makes the folder of a stack whose test binary is this one.
func claimed(t *testing.T, below string) (home string, held *os.File) {
	t.Helper()
	original, err := compose.New(compose.Options{Home: filepath.Dir(below), Runtime: compose.ProcessRuntime})
	require.NoError(t, err)
	home, held, err = claim(t.Context(), original, below, t.Logf)
	require.NoError(t, err)
	t.Cleanup(func() { held.Close() }) // and until then it is not closed as garbage
	return home, held
}

func TestOnlyWhatWasStartedToGuardAStackDoes(t *testing.T) {
	home, _ := claimed(t, filepath.Join(t.TempDir(), "stacktest"))
	require.True(t, isGuard([]string{"x.test", "supervise"}, home))
	require.False(t, isGuard([]string{"x.test"}, home))
	require.False(t, isGuard([]string{"x.test", "-test.v"}, home))
	require.False(t, isGuard([]string{"x.test", "supervise", "all"}, home), "a user's own command line")
	require.False(t, isGuard([]string{"x.test", "supervise"}, home+"-other"), "no process claimed it")
	require.False(t, isGuard([]string{"x.test", "supervise"}, t.TempDir()), "no stack of a test")
}

func TestAFolderThatCannotBeClaimedIsAnError(t *testing.T) {
	dir := t.TempDir()
	original, err := compose.New(compose.Options{Home: dir, Runtime: compose.ProcessRuntime})
	require.NoError(t, err)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, _, err = claim(t.Context(), original, file, t.Logf)
	require.ErrorIs(t, err, unix.ENOTDIR)
	below := filepath.Join(dir, "stacktest")
	require.NoError(t, os.MkdirAll(filepath.Join(below, "claims"), 0o700))
	_, _, err = claim(t.Context(), original, below, t.Logf)
	require.ErrorIs(t, err, unix.EISDIR)
}

func TestAGuardDeletesTheStackWhenItsTestBinaryIsGone(t *testing.T) {
	home, held := claimed(t, filepath.Join(t.TempDir(), "stacktest"))
	ended := make(chan error, 1)
	go func() { ended <- guard(t.Context(), home) }()
	until(t, "the guard supervises", func() bool {
		_, err := os.Stat(filepath.Join(home, "run", "supervisor.lock"))
		return err == nil
	})
	select {
	case err := <-ended:
		t.Fatalf("the guard ended before its test binary: %v", err)
	default:
	}
	require.DirExists(t, home)
	require.NoError(t, held.Close()) // as the system does
	require.NoError(t, <-ended)
	require.NoDirExists(t, home)
	require.NoFileExists(t, home+lockSuffix)
}

func TestWhatNobodyHoldsIsDeletedByTheNextTestBinary(t *testing.T) {
	below := filepath.Join(t.TempDir(), "stacktest")
	dead, held := claimed(t, below)
	living, _ := claimed(t, below)
	require.DirExists(t, dead, "it was held")
	require.NoError(t, held.Close())
	half := filepath.Join(below, "half-made")
	require.NoError(t, os.Mkdir(half, 0o700))
	require.NoError(t, os.WriteFile(half+lockSuffix, nil, 0o600))

	next, _ := claimed(t, below)
	require.NoDirExists(t, dead)
	require.NoFileExists(t, dead+lockSuffix)
	require.NoDirExists(t, half)
	require.DirExists(t, living)
	require.NotEqual(t, living, next)
}

func TestAGuardThatComesTooLateHasNothingToDo(t *testing.T) {
	home, held := claimed(t, filepath.Join(t.TempDir(), "stacktest"))
	s, err := compose.New(compose.Options{Home: home, Runtime: compose.ProcessRuntime})
	require.NoError(t, err)
	late, err := os.Open(home + lockSuffix)
	require.NoError(t, err)
	defer late.Close()
	require.ErrorIs(t, lockfile.Try(late), lockfile.ErrHeld)
	require.NoError(t, held.Close())
	require.NoError(t, destroy(context.Background(), s, home))
	require.NoError(t, lockfile.Wait(t.Context(), late, poll, nil))
	require.NoError(t, destroy(context.Background(), s, home))
	require.NoDirExists(t, home)
}
