package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// engine stands a program on PATH in for the engine's client. It answers what a
// real engine answered (testdata/docker), writes down what it is asked, and has
// no image but those that are pulled or built. The live suite is in package cli.
type engine struct{ dir string }

func engineOf(t *testing.T) engine {
	t.Helper()
	e := engine{t.TempDir()}
	e.containers(t, nil)
	require.NoError(t, os.WriteFile(filepath.Join(e.dir, "docker"), []byte(`#!/bin/sh
cd "$(dirname "$0")"
echo "$@" >>calls
env | grep '^MLOPS_\|^DOCKER_HOST' | sort >environment
while [ "$1 $2" = "compose -f" ]; do shift 3 && set -- compose "$@"; done
[ "$1 $2" = "compose --project-directory" ] && shift 5 && set -- compose "$@"
case "$1 $2" in
"ps --all") cat ids ;;
inspect\ *) cat inspect.json ;;
image\ inspect) grep -qxF "$5" images ;;
image\ rm) exit 1 ;;
pull\ *) echo "Status: Downloaded $2" && echo "$2" >>images ;;
build\ *) echo "Step 1/24 : ARG IMAGE_DEBIAN" && echo "$5" >>images ;;
"version --format") echo '{"Version":"20.10.24+dfsg1","APIVersion":"1.41"}' ;;
"compose version") echo v5.5.1 ;;
"info --format") echo 25282084864 ;;
"compose logs") echo "the last words" ;;
"compose up") [ -e up ] && . ./up; true ;;
compose\ *) ;;
*) echo "unknown: $*" >&2; exit 1 ;;
esac
`), 0o755))
	t.Setenv("PATH", e.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return e
}

// containers are what the engine has from now on.
func (e engine) containers(t *testing.T, all []map[string]any) {
	t.Helper()
	b, err := json.Marshal(all)
	require.NoError(t, err)
	var ids strings.Builder
	for _, c := range all {
		ids.WriteString(c["Id"].(string) + "\n")
	}
	require.NoError(t, os.WriteFile(filepath.Join(e.dir, "inspect.json"), b, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(e.dir, "ids"), []byte(ids.String()), 0o600))
}

// recorded is what Docker 20.10 told of the whole stack with two workers.
func recorded(t *testing.T) []map[string]any {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "docker", "20.10", "inspect.json"))
	require.NoError(t, err)
	var all []map[string]any
	require.NoError(t, json.Unmarshal(b, &all))
	require.Len(t, all, 13)
	return all
}

func (e engine) calls(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(e.dir, "calls"))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	require.NoError(t, err)
	return string(b)
}

func dockerStack(t *testing.T) *Stack {
	t.Helper()
	s, err := New(Options{Home: filepath.Join(t.TempDir(), "home"), Runtime: DockerRuntime})
	require.NoError(t, err)
	s.timing = testTiming
	s.timing.snapshot = 10 * time.Millisecond
	return s
}

func TestAnEngineThatHasNothingIsAStoppedStack(t *testing.T) {
	engineOf(t)
	st, err := dockerStack(t).Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, StateStopped, st.State)
	require.Len(t, st.Services, 12)
}

func TestWhatTheEngineTellsBecomesTheStatus(t *testing.T) {
	e := engineOf(t)
	e.containers(t, recorded(t))
	st, err := dockerStack(t).Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, StateHealthy, st.State)
	for _, v := range st.Services {
		require.Equal(t, StateReady, v.State, v.Name)
		require.NotZero(t, v.PID, v.Name)
		require.False(t, v.Since.IsZero(), v.Name)
	}
	require.Equal(t, "2 of 2 containers", of(st, "airflow-worker").Message)
}

func TestTheGravestContainerIsTheServices(t *testing.T) {
	e := engineOf(t)
	for _, tt := range []struct {
		status, health string
		want           State
		message        string
	}{
		{"created", "", StateWaiting, "for what it depends on"},
		{"running", "starting", StateStarting, ""},
		{"running", "unhealthy", StateUnhealthy, ""},
		{"restarting", "", StateBackoff, "ended with code 3; restart 7"},
		{"dead", "", StateFailed, "dead"},
	} {
		all := recorded(t)
		for _, c := range all {
			if strings.HasSuffix(c["Name"].(string), "airflow-worker-1") {
				state := c["State"].(map[string]any)
				state["Status"], state["ExitCode"], c["RestartCount"] = tt.status, 3, 7
				state["Health"].(map[string]any)["Status"] = tt.health
			}
		}
		e.containers(t, all)
		st, err := dockerStack(t).Status(t.Context())
		require.NoError(t, err)
		w := of(st, "airflow-worker")
		require.Equal(t, tt.want, w.State)
		require.Equal(t, joinNotes("1 of 2 containers", tt.message), w.Message)
		require.NotEqual(t, StateHealthy, st.State)
	}
}

func TestAContainerThatNeededTooMuchMemorySaysSo(t *testing.T) {
	var c container
	c.State.Status, c.State.OOMKilled = "restarting", true
	state, why := c.state()
	require.Equal(t, StateBackoff, state)
	require.Contains(t, why, "more memory than it may")
}

func TestAStartMakesTheImagesThatAreMissingAndAsksForWhatIsWanted(t *testing.T) {
	e := engineOf(t)
	s := dockerStack(t)
	var events []string
	s.progress = func(ev Event) { events = append(events, joinNotes(ev.Service, ev.Message)) }
	_, err := s.Start(t.Context(), StartOptions{Services: []string{"redis", "s3"}})
	require.ErrorContains(t, err, "s3: its container is healthy, but from outside: no answer", "no S3 runs here")
	calls := e.calls(t)
	require.Regexp(t, `(?m)^pull redis:7-bookworm$`, calls)
	require.Regexp(t, `(?m)^build --target s3 --tag mlops/s3:[0-9a-f]{12} `, calls)
	require.NotContains(t, calls, "--target mlflow")
	require.Regexp(t, `(?m) -p mlops-[0-9a-f]{8} up --detach --no-build --wait --wait-timeout 600 s3 redis$`, calls)
	require.Contains(t, strings.Join(events, "\n"), "s3; Step 1/24")
	b, err := os.ReadFile(filepath.Join(e.dir, "environment"))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^MLOPS_PORT_S3=\d+$`, string(b))

	require.NoError(t, os.Remove(filepath.Join(e.dir, "calls")))
	_, err = s.Start(t.Context(), StartOptions{Services: []string{"redis", "s3"}})
	require.ErrorContains(t, err, "from outside")
	require.NotRegexp(t, `(?m)^(pull|build)`, e.calls(t), "images that are there were made again")
}

func TestTheRuntimeIsRememberedAndNotMixed(t *testing.T) {
	e := engineOf(t)
	s := dockerStack(t)
	_, err := s.Start(t.Context(), StartOptions{Services: []string{"redis"}})
	require.NoError(t, err)
	e.containers(t, recorded(t))

	plain, err := New(Options{Home: s.home})
	require.NoError(t, err)
	st, err := plain.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, DockerRuntime, st.Runtime)
	p, err := plain.Plan(t.Context(), StartOptions{})
	require.NoError(t, err)
	require.False(t, p.Changes(), "%v", p)

	other, err := New(Options{Home: s.home, Runtime: ProcessRuntime})
	require.NoError(t, err)
	_, err = other.Start(t.Context(), StartOptions{})
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.ErrorContains(t, err, "runs with --runtime docker; run: mlopsctl stop")

	odd, err := New(Options{Home: s.home, Runtime: "podman"})
	require.NoError(t, err)
	_, err = odd.Status(t.Context())
	require.ErrorIs(t, err, mlops.ErrInvalid)
}

func TestScaleIsForWorkersAndRemembered(t *testing.T) {
	e := engineOf(t)
	s := dockerStack(t)
	_, err := s.Start(t.Context(), StartOptions{Scale: map[string]int{"postgres": 2}})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	d, err := s.containers()
	require.NoError(t, err)
	require.NoError(t, d.setScale(map[string]int{"ray-worker": 3}))
	require.NoError(t, makeHome(s.home))
	require.NoError(t, d.record.write(s.home))
	d, err = s.containers()
	require.NoError(t, err)
	require.NoError(t, d.up(t.Context(), []string{"ray-worker"}, time.Minute))
	require.Contains(t, e.calls(t), "--scale ray-worker=3 ray-worker")

	_, err = s.Start(t.Context(), StartOptions{Light: true})
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	process, err := New(Options{Home: t.TempDir()})
	require.NoError(t, err)
	_, err = process.Start(t.Context(), StartOptions{Scale: map[string]int{"ray-worker": 2}})
	require.ErrorIs(t, err, mlops.ErrUnsupported)
}

func TestAStartEndsWhenAContainerDiesAgainAndAgain(t *testing.T) {
	e := engineOf(t)
	s := dockerStack(t)
	all := recorded(t)
	e.containers(t, all)
	for _, c := range all {
		if strings.HasSuffix(c["Name"].(string), "redis-1") {
			c["RestartCount"] = mostDeaths
			c["State"].(map[string]any)["Status"] = "restarting"
		}
	}
	b, err := json.Marshal(all)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(e.dir, "dying.json"), b, 0o600))
	// It is replaced while "up" waits, which only the interruption ends.
	require.NoError(t, os.WriteFile(filepath.Join(e.dir, "up"), []byte("cp dying.json new && mv new inspect.json\ntrap 'exit 130' INT\nwhile :; do sleep 0.05; done\n"), 0o600))
	_, err = s.Start(t.Context(), StartOptions{Services: []string{"redis"}})
	var failed *StartError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "redis", failed.Service)
	require.Contains(t, failed.Reason, "dies again and again")
	require.Equal(t, []string{"the last words"}, failed.Log)
	require.ErrorIs(t, err, mlops.ErrUnavailable)
}

func TestAStartOutlivesADeathThatTheEngineMends(t *testing.T) {
	e := engineOf(t)
	s := dockerStack(t)
	all := recorded(t)
	e.containers(t, all)
	for _, c := range all {
		if strings.HasSuffix(c["Name"].(string), "redis-1") {
			c["RestartCount"] = 1
		}
	}
	b, err := json.Marshal(all)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(e.dir, "again.json"), b, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(e.dir, "up"), []byte("[ -e again.json ] || exit 0\nmv again.json inspect.json\necho 'container exited (1)' >&2\nexit 1\n"), 0o600))
	st, err := s.Start(t.Context(), StartOptions{Services: []string{"redis"}})
	require.NoError(t, err)
	require.Equal(t, StateReady, of(st, "redis").State)
	require.Equal(t, 2, strings.Count(e.calls(t), " up --detach"))
}

func TestAStartThatFailsNamesTheServiceAndStopsWhatItStarted(t *testing.T) {
	e := engineOf(t)
	s := dockerStack(t)
	require.NoError(t, os.WriteFile(filepath.Join(e.dir, "up"), []byte("echo 'container is unhealthy' >&2\nexit 1\n"), 0o600))
	_, err := s.Start(t.Context(), StartOptions{Services: []string{"redis"}})
	require.ErrorContains(t, err, "redis: stopped")
	require.ErrorContains(t, err, "container is unhealthy")
	require.Regexp(t, `(?m) stop redis$`, e.calls(t))
}

func TestAHealthyContainerThatIsNotOursFromOutsideIsAFailure(t *testing.T) {
	engineOf(t)
	s := dockerStack(t)
	d, err := s.containers()
	require.NoError(t, err)
	d.record.Ports["mlflow/http"] = freePort(t)
	want, err := resolve(d.services(false), []string{"mlflow"}, false)
	require.NoError(t, err)
	require.ErrorContains(t, d.confirm(t.Context(), want), "its container is healthy, but from outside")
}

func TestStopKeepsAndDestroyRemoves(t *testing.T) {
	e := engineOf(t)
	s := dockerStack(t)
	require.NoError(t, s.Stop(t.Context(), StopOptions{}), "nothing was ever started")
	require.Empty(t, e.calls(t))
	require.NoError(t, s.Setup(t.Context(), SetupOptions{}))
	require.Equal(t, 5, strings.Count(e.calls(t), "build --target"))
	require.NoError(t, s.Stop(t.Context(), StopOptions{}))
	require.NotContains(t, e.calls(t), "down")
	var out bytes.Buffer
	require.NoError(t, s.Logs(t.Context(), &out, LogOptions{Services: []string{"redis"}, Tail: 5, Since: time.Minute}))
	require.Equal(t, "the last words\n", out.String())
	require.Contains(t, e.calls(t), "logs --no-color --no-log-prefix --since 1m0s --tail 5 redis")
	require.NoError(t, s.Destroy(t.Context()))
	require.Contains(t, e.calls(t), "down --volumes --remove-orphans")
	require.NoDirExists(t, filepath.Join(s.home, "docker"))
	require.NoDirExists(t, filepath.Join(s.home, "docker-secrets"))
	process, err := New(Options{Home: s.home})
	require.NoError(t, err)
	require.ErrorIs(t, process.Destroy(t.Context()), mlops.ErrUnsupported)
}

func TestOnlyWhatIsReadyIsInTheStackFile(t *testing.T) {
	e := engineOf(t)
	s := dockerStack(t)
	e.containers(t, recorded(t))
	d, err := s.containers()
	require.NoError(t, err)
	require.NoError(t, d.writeFiles())
	for key := range publishedPorts() {
		d.record.Ports[key] = 20000 + len(key)
	}
	st, _, err := d.observe(t.Context())
	require.NoError(t, err)
	require.NoError(t, d.publishStack(st))
	f, err := stackfile.Read(s.home)
	require.NoError(t, err)
	require.Equal(t, DockerRuntime, f.Runtime)
	require.Equal(t, []string{"airflow", "airflow-reader", "evidently", "mlflow", "ray", "s3", "serve"}, slices.Sorted(maps.Keys(f.Endpoints)))
	for _, name := range []string{stackfile.Ray, stackfile.S3} {
		_, err = f.Endpoints[name].Secret()
		require.NoError(t, err)
	}
	vars, err := s.Env(t.Context())
	require.NoError(t, err)
	require.Contains(t, vars, Var{Name: "AWS_ENDPOINT_URL_S3", Value: f.Endpoints[stackfile.S3].URL})
	require.Contains(t, vars, Var{Name: "MLOPS_DVC_REMOTE", Value: stackfile.DVCInS3})
	e.containers(t, nil)
	st, _, err = d.observe(t.Context())
	require.NoError(t, err)
	require.NoError(t, d.publishStack(st))
	require.NoFileExists(t, stackfile.Path(s.home))
}

func TestSecretsOfContainersAreReachedByTheirOwnerAlone(t *testing.T) {
	engineOf(t)
	d, err := dockerStack(t).containers()
	require.NoError(t, err)
	require.NoError(t, d.writeFiles())
	info, err := os.Stat(d.secrets())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	before, err := os.Stat(filepath.Join(d.secrets(), "mlflow"))
	require.NoError(t, err)
	require.NoError(t, d.writeFiles())
	after, err := os.Stat(filepath.Join(d.secrets(), "mlflow"))
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after), "a file that is mounted was replaced")
	for _, name := range dockerSecrets {
		own, _, err := d.siteOf(nil, false, nil).secret(name)
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(d.secrets(), name))
		require.NoError(t, err)
		require.Equal(t, string(own), string(b))
	}
}

// TestTheComposeFileAndThisPackageSayTheSame reads compose.yaml as a person
// would check it.
func TestTheComposeFileAndThisPackageSayTheSame(t *testing.T) {
	b, err := dockerFiles.ReadFile("docker/compose.yaml")
	require.NoError(t, err)
	agree(t, b)
}

// agree compares a compose.yaml with what this package has of it.
func agree(t *testing.T, b []byte) {
	t.Helper()
	var f struct {
		Services map[string]struct {
			User     string
			Restart  string
			Memory   string `yaml:"mem_limit"`
			CPUs     any    `yaml:"cpus"`
			Networks []string
			Ports    []string
			Secrets  []string
			Health   any               `yaml:"healthcheck"`
			After    map[string]any    `yaml:"depends_on"`
			Env      map[string]string `yaml:"environment"`
		}
		Secrets  map[string]any
		Networks map[string]struct{ Internal bool }
	}
	require.NoError(t, yaml.Unmarshal(b, &f))
	d := &docker{base: &base{}}
	var names []string
	for _, v := range d.services(false) {
		names = append(names, v.name)
		s := f.Services[v.name]
		require.Equal(t, "unless-stopped", s.Restart, v.name)
		require.NotEmpty(t, s.Memory, v.name)
		require.NotEmpty(t, s.CPUs, v.name)
		require.NotNil(t, s.Health, v.name)
		require.ElementsMatch(t, v.after, slices.Collect(maps.Keys(s.After)), v.name)
		require.Len(t, s.Ports, len(v.ports), v.name)
		for _, p := range s.Ports {
			require.True(t, strings.HasPrefix(p, "127.0.0.1:${MLOPS_PORT_"), "%s publishes %s", v.name, p)
		}
		for k := range s.Env {
			require.NotRegexp(t, `(?i)(password|secret|token|key)$`, k, v.name)
		}
	}
	require.ElementsMatch(t, names, slices.Collect(maps.Keys(f.Services)))
	require.ElementsMatch(t, dockerSecrets, slices.Collect(maps.Keys(f.Secrets)))
	require.True(t, f.Networks["back"].Internal)
	for _, name := range []string{"postgres", "redis"} {
		require.Equal(t, []string{"back"}, f.Services[name].Networks)
	}
	twin, err := dockerFiles.ReadFile("docker/twin.yaml")
	require.NoError(t, err)
	known := slices.Concat(slices.Collect(maps.Values(imageVariables)),
		[]string{"MLOPS_IMAGE_POSTGRES", "MLOPS_IMAGE_REDIS", "MLOPS_IMAGE_S3", "MLOPS_IMAGE_DEBIAN"})
	for _, m := range regexp.MustCompile(`\$\{(MLOPS_IMAGE_[A-Z0-9_]+)`).FindAllStringSubmatch(string(b), -1) {
		require.Contains(t, known, m[1])
	}
	var ports []string
	for _, p := range publishedPorts() {
		ports = append(ports, fmt.Sprintf("%s:%d", p.variable, p.inside))
	}
	var inFiles []string
	for _, m := range regexp.MustCompile(`"127\.0\.0\.1:\$\{(MLOPS_PORT_[A-Z0-9_]+):-\d+\}:(\d+)"`).FindAllStringSubmatch(string(b)+string(twin), -1) {
		inFiles = append(inFiles, m[1]+":"+m[2])
	}
	require.ElementsMatch(t, ports, inFiles)
}

func TestWhatTheClientSaysBecomesOneSentence(t *testing.T) {
	failed := errors.New("exit status 1")
	for _, tt := range []struct {
		said string
		kind error
		want string
	}{
		{"Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", mlops.ErrUnavailable, "no Docker engine answers"},
		{"permission denied while trying to connect to the docker API", mlops.ErrForbidden, "you may not use"},
		{"docker: 'compose' is not a docker command.", mlops.ErrUnsupported, "no compose plugin"},
		{"unknown flag: --short", mlops.ErrUnsupported, "no compose plugin"},
		{"a\nb\nc\nd", mlops.ErrUnavailable, "docker compose up: b; c; d"},
	} {
		err := dockerError([]string{"compose", "up", "x"}, failed, tt.said)
		require.ErrorIs(t, err, tt.kind)
		require.ErrorContains(t, err, tt.want)
	}
	require.NoError(t, dockerError(nil, nil, "a warning"))
}

func TestWithoutAClientTheOtherRuntimeIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := dockerStack(t).Status(t.Context())
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	require.ErrorContains(t, err, "--runtime process")
}

func TestDoctorJudgesEnginePluginAndMemory(t *testing.T) {
	engineOf(t)
	s := dockerStack(t)
	found, err := s.Doctor(t.Context())
	require.NoError(t, err)
	byName := map[string]Severity{}
	for _, f := range found {
		byName[f.Check] = f.Severity
	}
	require.Equal(t, SeverityOK, byName["engine"])
	require.Equal(t, SeverityOK, byName["compose plugin"])
	require.Equal(t, SeverityOK, byName["engine memory"])

	require.Equal(t, SeverityFail, engineFinding("19.03", "1.40").Severity)
	require.Equal(t, SeverityOK, engineFinding("29.0", "1.52").Severity)
	require.Equal(t, SeverityFail, pluginFinding("v2.17.3").Severity)
	require.Equal(t, SeverityOK, pluginFinding("dev").Severity)
	require.Equal(t, SeverityWarn, engineMemoryFinding(4<<30).Severity)

	t.Setenv("PATH", t.TempDir())
	found, err = s.Doctor(t.Context())
	require.NoError(t, err)
	require.Equal(t, SeverityFail, found[0].Severity)
}

func TestAnImageOfTheUsersIsPulledAndNotBuilt(t *testing.T) {
	e := engineOf(t)
	t.Setenv("MLOPS_IMAGE_MLFLOW", "registry.example.com/mlflow:7")
	t.Setenv("MLOPS_IMAGE_POSTGRES", "postgres:17")
	s := dockerStack(t)
	d, err := s.containers()
	require.NoError(t, err)
	want, err := resolve(d.services(false), []string{"mlflow"}, true)
	require.NoError(t, err)
	require.NoError(t, d.makeImages(t.Context(), want))
	calls := e.calls(t)
	require.Contains(t, calls, "pull registry.example.com/mlflow:7\n")
	require.Contains(t, calls, "pull postgres:17\n")
	require.NotContains(t, calls, "--target mlflow")
}

func TestAnInterruptedStartSaysThatItWas(t *testing.T) {
	e := engineOf(t)
	require.NoError(t, os.WriteFile(filepath.Join(e.dir, "up"), []byte("touch waits\ntrap 'exit 130' INT\nwhile :; do sleep 0.05; done\n"), 0o600))
	s := dockerStack(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if _, err := os.Stat(filepath.Join(e.dir, "waits")); err == nil || ctx.Err() != nil {
				cancel()
				return
			}
		}
	}()
	_, err := s.Start(ctx, StartOptions{Services: []string{"redis"}})
	require.ErrorIs(t, err, context.Canceled)
}
