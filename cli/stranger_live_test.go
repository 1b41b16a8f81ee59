package cli_test

import (
	"bytes"
	"crypto/rand"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/internal/stranger"
)

// newStackSuite has secrets for an environment, made for this run alone.
func newStackSuite(t *testing.T, home string) *stackSuite {
	s := &stackSuite{suite: t, home: home, left: map[int]string{}, strangers: map[string]*stranger.Server{}, environment: map[string]string{}}
	for _, v := range []string{"MLFLOW_TRACKING_PASSWORD", "MLOPS_AIRFLOW_PASSWORD", "RAY_AUTH_TOKEN", "EVIDENTLY_SECRET", "AWS_SECRET_ACCESS_KEY", "MLOPS_DVC_SSH_PASSWORD"} {
		s.environment[v] = rand.Text()
	}
	return s
}

// canaries are the secrets of the stack and those of the environment that
// hostile repositories are used in, with where each belongs.
func (s *stackSuite) canaries(t *testing.T) map[string]string {
	t.Helper()
	secrets := map[string]string{}
	for v, secret := range s.environment {
		secrets[secret] = v
	}
	require.NoError(t, filepath.WalkDir(filepath.Join(s.home, "secrets"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), "%s may be read by others", p)
		b, err := os.ReadFile(p)
		for _, word := range strings.Fields(string(b)) {
			if len(word) >= 16 {
				secrets[strings.Trim(word, `"',`)] = filepath.Base(p)
			}
		}
		return err
	}))
	require.GreaterOrEqual(t, len(secrets), len(s.environment)+2)
	return secrets
}

// look fails the test if text, which is from where, holds a secret.
func (s *stackSuite) look(t *testing.T, where string, text []byte) {
	t.Helper()
	for secret, of := range s.canaries(t) {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("the secret of %s is in %s", of, where)
		}
	}
}

// lookAround looks for secrets in the logs, the journals, what servers keep and
// what ps shows.
func (s *stackSuite) lookAround(t *testing.T) {
	t.Helper()
	files := 0
	for _, dir := range []string{"logs", "spool", "data/airflow/dags", "data/airflow/logs", "data/serve", "demo"} {
		err := filepath.WalkDir(filepath.Join(s.home, dir), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !d.Type().IsRegular() {
				return nil // what is gone while we look is not a leak
			}
			b, err := os.ReadFile(p)
			if err == nil {
				files++
				s.look(t, p, b)
			}
			return nil
		})
		require.NoError(t, err)
	}
	require.Positive(t, files)
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, f := range lines {
		b, _ := os.ReadFile(f) // a process that is gone has no arguments
		s.look(t, f+" "+strings.ReplaceAll(string(b[:min(len(b), 60)]), "\x00", " "), b)
	}
}

// takeLeftPorts gives each port that a service had to a stranger who asks for
// credentials, until the suite ends.
func (s *stackSuite) takeLeftPorts(t *testing.T) {
	require.NotEmpty(t, s.left, "no service left a port")
	for port, owner := range s.left {
		l, err := stranger.Listen(s.suite, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Logf("%s's port %d is taken already: %v", owner, port, err)
			continue
		}
		s.strangers[owner+"'s old port"] = l
	}
	require.NotEmpty(t, s.strangers)
}

// hostile works in a repository whose files name strangers as the servers, with
// secrets in the environment and without.
func (s *stackSuite) hostile(t *testing.T) {
	dir := t.TempDir()
	at := map[string]string{}
	for _, name := range []string{"mlflow", "airflow", "ray", "serve", "evidently", "dvc"} {
		if s.strangers["hostile "+name] == nil {
			l, err := stranger.Listen(s.suite, "127.0.0.1:0")
			require.NoError(t, err)
			s.strangers["hostile "+name] = l
		}
		at[name] = s.strangers["hostile "+name].URL
	}
	write := func(file, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
	}
	out, err := exec.CommandContext(t.Context(), "git", "-C", dir, "init", "-q").CombinedOutput()
	require.NoError(t, err, "%s", out)
	s.ctl(t, 0, "dvc", "init", "-C", dir)
	write("data.csv", "x\n1\n")
	s.ctl(t, 0, "dvc", "add", "-C", dir, "data.csv")
	write(".dvc/config", "[core]\n    remote = evil\n['remote \"evil\"']\n    url = "+at["dvc"]+"\n['remote \"ssh\"']\n    url = "+strings.Replace(at["dvc"], "http:", "ssh:", 1)+"/data\n")
	write("mlops.yaml", "project: evil\nmlflow:\n  uri: "+at["mlflow"]+"\nairflow:\n  url: "+at["airflow"]+"\nray:\n  address: "+at["ray"]+"\n  serve_url: "+at["serve"]+"\nevidently:\n  url: "+at["evidently"]+"\n")
	var secrets []string
	for v, secret := range s.environment {
		secrets = append(secrets, v+"="+secret)
	}
	secrets = append(secrets, "MLFLOW_TRACKING_USERNAME=u", "MLOPS_AIRFLOW_USERNAME=u", "AWS_ACCESS_KEY_ID=u")

	for _, command := range []string{
		"projects", "register", "run list", "sync", "dag list", "dag trigger x", "list-deployments", "deploy m@champion", "model list", "drift list", "experiment list",
		"dvc push", "dvc pull", "dvc push -r ssh", "dvc status -c",
	} {
		for _, env := range [][]string{nil, secrets} {
			cmd := exec.CommandContext(t.Context(), "mlopsctl", append(strings.Fields(command), "-C", dir)...)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
			out, err := cmd.CombinedOutput()
			s.look(t, "the output of "+command, out)
			if env != nil && !strings.HasPrefix(command, "dvc status") {
				require.Error(t, err, "%s: %s", command, out)
			}
			if env != nil && !strings.Contains(command, "dvc") {
				require.Equal(t, 4, cmd.ProcessState.ExitCode(), "%s: %s", command, out)
				require.Contains(t, string(out), "export MLOPS_TRUST_HOSTS=", command)
			}
		}
	}
	require.Contains(t, s.strangers["hostile mlflow"].Got(), "HTTP/1.1", "without secrets the file's server is asked, as a stranger")
}

// strangersLearnedNothing ends the suite: nobody but the stack's servers was
// sent a secret.
func (s *stackSuite) strangersLearnedNothing(t *testing.T) {
	asked := 0
	for name, l := range s.strangers {
		got := l.Got()
		s.look(t, "what "+name+" was sent", []byte(got))
		if got != "" {
			asked++
		}
	}
	t.Logf("%d strangers listened, %d of them were sent something", len(s.strangers), asked)
	s.lookAround(t)
}
