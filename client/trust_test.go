package client

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/evidently"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/internal/stranger"
	"github.com/mlops-integration/mlops/mlflow"
)

// project writes the mlops.yaml of a repository in dir.
func project(t *testing.T, dir, text string) string {
	t.Helper()
	file := filepath.Join(dir, FileName)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

// own writes the user's file.
func own(t *testing.T, text string) string {
	t.Helper()
	file := UserFile()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

func TestAnAddressOfTheProjectsFileGetsNoCredential(t *testing.T) {
	canary := rand.Text()
	private := func(t *testing.T, text string) string {
		f := filepath.Join(t.TempDir(), "private")
		require.NoError(t, os.WriteFile(f, []byte(text), 0o600))
		return f
	}
	for _, tt := range []struct {
		name, yaml string
		env        map[string]string
		set        func(t *testing.T) // more of the environment
		code       Config
		auth       func(Config) mlops.Auth
	}{
		{"MLflow's password", "mlflow: {uri: URL}", map[string]string{"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": canary}, nil, Config{}, func(c Config) mlops.Auth { return c.MLflowAuth }},
		{"MLflow's token", "mlflow: {uri: URL}", map[string]string{"MLFLOW_TRACKING_TOKEN": canary}, nil, Config{}, func(c Config) mlops.Auth { return c.MLflowAuth }},
		{"our password for MLflow", "mlflow: {uri: URL}", map[string]string{"MLOPS_MLFLOW_USERNAME": "u", "MLOPS_MLFLOW_PASSWORD": canary}, nil, Config{}, func(c Config) mlops.Auth { return c.MLflowAuth }},
		{"our token for MLflow", "mlflow: {uri: URL}", map[string]string{"MLOPS_MLFLOW_TOKEN": canary}, nil, Config{}, func(c Config) mlops.Auth { return c.MLflowAuth }},
		{"MLflow's credentials file", "mlflow: {uri: URL}", nil, func(t *testing.T) {
			home, err := os.UserHomeDir()
			require.NoError(t, err)
			require.NoError(t, os.Mkdir(filepath.Join(home, ".mlflow"), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(home, ".mlflow", "credentials"), []byte("[mlflow]\nmlflow_tracking_username=u\nmlflow_tracking_password="+canary), 0o600))
		}, Config{}, func(c Config) mlops.Auth { return c.MLflowAuth }},
		{"code's password for MLflow", "mlflow: {uri: URL}", nil, nil, Config{MLflowAuth: mlops.Auth{Username: "u", Password: mlops.Secret(canary)}}, func(c Config) mlops.Auth { return c.MLflowAuth }},
		{"Airflow's password", "airflow: {url: URL}", map[string]string{"MLOPS_AIRFLOW_USERNAME": "u", "MLOPS_AIRFLOW_PASSWORD": canary}, nil, Config{}, func(c Config) mlops.Auth { return c.AirflowAuth }},
		{"Airflow's token", "airflow: {url: URL}", map[string]string{"MLOPS_AIRFLOW_TOKEN": canary}, nil, Config{}, func(c Config) mlops.Auth { return c.AirflowAuth }},
		{"Ray's token", "ray: {address: URL}", map[string]string{"RAY_AUTH_TOKEN": canary}, nil, Config{}, func(c Config) mlops.Auth { return c.RayAuth }},
		{"our token for Ray", "ray: {address: URL}", map[string]string{"MLOPS_RAY_TOKEN": canary}, nil, Config{}, func(c Config) mlops.Auth { return c.RayAuth }},
		{"the file of Ray's token", "ray: {address: URL}", nil, func(t *testing.T) { t.Setenv("RAY_AUTH_TOKEN_PATH", private(t, canary)) }, Config{}, func(c Config) mlops.Auth { return c.RayAuth }},
		{"Evidently's secret", "evidently: {url: URL}", map[string]string{"EVIDENTLY_SECRET": canary}, nil, Config{}, func(c Config) mlops.Auth { return c.EvidentlyAuth }},
		{"our secret for Evidently", "evidently: {url: URL}", map[string]string{"MLOPS_EVIDENTLY_SECRET": canary}, nil, Config{}, func(c Config) mlops.Auth { return c.EvidentlyAuth }},
		{"code's secret for Evidently", "evidently: {url: URL}", nil, nil, Config{EvidentlyAuth: mlops.Auth{Token: mlops.Secret(canary)}}, func(c Config) mlops.Auth { return c.EvidentlyAuth }},
		{"a client certificate", "mlflow: {uri: URL}", map[string]string{"MLFLOW_TRACKING_CLIENT_CERT_PATH": "/cert"}, nil, Config{}, nil},
		{"the password for SSH", "dvc: {remote: 'ssh://HOST/data'}", map[string]string{"MLOPS_DVC_SSH_PASSWORD": canary}, nil, Config{}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home, dir := alone(t)
			s := stranger.New(t)
			at := s.URL
			text := strings.ReplaceAll(strings.ReplaceAll(tt.yaml, "URL", s.URL), "HOST", strings.TrimPrefix(s.URL, "http://"))
			if strings.Contains(text, "ssh:") {
				at = strings.Replace(s.URL, "http:", "ssh:", 1)
			}
			file := project(t, dir, text)
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			if tt.set != nil {
				tt.set(t)
			}
			from := []Option{WithHome(home), In(dir), WithConfig(tt.code)}
			_, err := FromProject(t.Context(), "demo", from...)
			require.ErrorIs(t, err, mlops.ErrForbidden)
			require.ErrorContains(t, err, file)
			require.ErrorContains(t, err, "run: export MLOPS_TRUST_HOSTS="+at)
			require.NotContains(t, err.Error(), canary)
			require.NotContains(t, err.Error(), "\n")
			_, err = Open(t.Context(), from...)
			require.ErrorIs(t, err, mlops.ErrForbidden, "nor are projects listed, or journals sent")
			require.Empty(t, s.Got())
			if tt.auth == nil {
				return
			}

			bound := func(where string) {
				t.Helper()
				p, err := FromProject(t.Context(), "demo", from...)
				require.NoError(t, err, where)
				require.Contains(t, []mlops.Secret{tt.auth(p.Config).Password, tt.auth(p.Config).Token}, mlops.Secret(canary), where)
				require.NoError(t, p.Close())
			}
			for _, trusted := range []string{at, "example.com, " + at, strings.TrimPrefix(at, "http://"), "127.0.0.1"} {
				t.Setenv("MLOPS_TRUST_HOSTS", trusted)
				bound(trusted)
			}
			for _, other := range []string{"127.0.0.2", "https" + strings.TrimPrefix(at, "http"), at + "1", "27.0.0.1"} {
				t.Setenv("MLOPS_TRUST_HOSTS", other)
				_, err = FromProject(t.Context(), "demo", from...)
				require.ErrorIs(t, err, mlops.ErrForbidden, other)
				require.ErrorContains(t, err, `MLOPS_TRUST_HOSTS="$MLOPS_TRUST_HOSTS",`+at, "what is trusted stays so")
			}
			t.Setenv("MLOPS_TRUST_HOSTS", "")
			own(t, "trust:\n  hosts: [127.0.0.1]\n")
			bound("the user's file trusts the host")
			own(t, text)
			bound("the user's file has the address itself")
		})
	}
}

func TestADefaultPortGetsNoCredential(t *testing.T) {
	home, dir := alone(t)
	for _, v := range []string{"MLFLOW_TRACKING_TOKEN", "MLOPS_AIRFLOW_TOKEN", "RAY_AUTH_TOKEN", "EVIDENTLY_SECRET"} {
		t.Setenv(v, "canary")
	}
	c := open(t, home, dir).Config
	require.Equal(t, "default", c.Source("mlflow.uri"))
	for _, a := range []mlops.Auth{c.MLflowAuth, c.AirflowAuth, c.RayAuth, c.EvidentlyAuth} {
		require.True(t, a.IsZero(), "nothing runs there that is known to be the user's")
	}
	running(t, home)
	c = open(t, home, dir).Config
	for _, a := range []mlops.Auth{c.MLflowAuth, c.AirflowAuth, c.RayAuth, c.EvidentlyAuth} {
		require.Equal(t, mlops.Secret("canary"), a.Token, "the running stack is")
	}
}

func TestAStrangersBytesHoldNothing(t *testing.T) {
	home, dir := alone(t)
	running(t, home)
	s := stranger.New(t)
	project(t, dir, strings.ReplaceAll("mlflow: {uri: URL}\nairflow: {url: URL}\nray: {address: URL, serve_url: URL}\nevidently: {url: URL}\n", "URL", s.URL))
	p := open(t, home, dir)
	ctx := t.Context()
	_, err := p.Register(ctx)
	require.ErrorIs(t, err, mlops.ErrUnauthenticated)
	_, err = p.Deploy(ctx, "m/1", DeployOptions{})
	require.Error(t, err)
	_, err = p.MLflow.Version(ctx)
	require.Error(t, err)
	for _, err := range p.Serve.Applications(ctx) {
		require.Error(t, err)
	}
	_, err = p.Evidently.AddSnapshot(ctx, "x", []byte("{}"))
	require.Error(t, err)
	require.Contains(t, s.Got(), "HTTP/1.1", "it was asked")
	require.NotContains(t, s.Got(), "secret-of-", "the running stack's secrets went to a stranger")
}

func TestTheStacksPasswordStaysWithTheStackWhenTheRegistryIsElsewhere(t *testing.T) {
	home, dir := alone(t)
	running(t, home)
	s := stranger.New(t)
	t.Setenv("MLFLOW_REGISTRY_URI", s.URL)
	_, err := open(t, home, dir).MLflow.Models.Get(t.Context(), "m")
	require.ErrorIs(t, err, mlops.ErrUnauthenticated)
	require.NotContains(t, s.Got(), "Authorization")

	t.Setenv("MLOPS_MLFLOW_TOKEN", "for-both")
	_, err = open(t, home, dir).MLflow.Models.Get(t.Context(), "m")
	require.Error(t, err)
	require.Contains(t, s.Got(), "Bearer for-both", "the environment names the registry, too")
}

func TestBucketsOfAServerThatNobodyTrustsGetNoCredentials(t *testing.T) {
	home, dir := alone(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "canary")
	s := stranger.New(t)
	t.Setenv("AWS_ENDPOINT_URL_S3", s.URL)
	project(t, dir, "mlflow: {uri: 'http://mlflow.example.com'}\n")
	store := func() mlflow.Store {
		c, _, err := load(settings{dir: dir, home: home})
		require.NoError(t, err)
		return c.mlflowOptions(settings{home: home}).Artifacts.Stores["s3"]
	}
	ctx := t.Context()
	_, err := store().Open(ctx, "s3://theirs/a", mlflow.Range{})
	require.ErrorIs(t, err, mlops.ErrForbidden)
	require.ErrorContains(t, err, "export MLOPS_TRUST_HOSTS=http://mlflow.example.com")
	require.ErrorIs(t, store().Put(ctx, "s3://theirs/a", strings.NewReader("x")), mlops.ErrForbidden)
	require.ErrorIs(t, store().Delete(ctx, "s3://theirs/a"), mlops.ErrForbidden)
	for _, err := range store().List(ctx, "s3://theirs/a") {
		require.ErrorIs(t, err, mlops.ErrForbidden)
	}
	require.Empty(t, s.Got())
	t.Setenv("MLOPS_TRUST_HOSTS", "mlflow.example.com")
	_, err = store().Open(ctx, "s3://theirs/a", mlflow.Range{})
	require.Error(t, err)
	require.Contains(t, s.Got(), "Credential=id")
}

func TestLocalhostIsTheStack(t *testing.T) {
	for _, host := range []string{"localhost", "[::1]", "LOCALHOST", "127.0.0.1"} {
		t.Run(host, func(t *testing.T) {
			home, dir := alone(t)
			running(t, home)
			t.Setenv("MLFLOW_TRACKING_URI", "http://"+host+":5001/")
			project(t, dir, fmt.Sprintf("airflow: {url: 'http://%[1]s:8081'}\nray: {address: 'http://%[1]s:8266', serve_url: 'http://%[1]s:8002'}\nevidently: {url: 'http://%[1]s:8003'}\n", host))
			c := open(t, home, dir).Config
			require.Equal(t, mlops.Auth{Username: "admin", Password: "secret-of-mlflow"}, c.MLflowAuth)
			require.Equal(t, mlops.Auth{Username: "admin", Password: "secret-of-airflow"}, c.AirflowAuth)
			require.Equal(t, mlops.Auth{Token: "secret-of-ray"}, c.RayAuth)
			require.Equal(t, mlops.Auth{Token: "secret-of-evidently", Header: evidently.SecretHeader}, c.EvidentlyAuth)
			require.NotEmpty(t, c.ServeDir)
			for _, at := range []string{c.MLflowURI, c.AirflowURL, c.RayAddress, c.ServeURL, c.EvidentlyURL} {
				require.Contains(t, at, "http://127.0.0.1:", "on ::1, where localhost may lead, another user can listen on that port")
			}
			if host != "127.0.0.1" {
				require.Equal(t, "http://"+host+":5001", c.mlflowOptions(settings{home: home}).Journal.Server, "journals keep the name that programs use")
			}
		})
	}
	for _, two := range [][2]string{{"http://localhost:1", "http://127.0.0.1:2"}, {"http://localhost:1", "https://localhost:1"}, {"http://localhost.example.com", "http://127.0.0.1"}, {"http://127.0.0.2:1", "http://127.0.0.1:1"}, {"", ""}, {"http://%zz", "http://%zz"}} {
		require.False(t, sameOrigin(two[0], two[1]), two)
	}
	require.True(t, sameOrigin("http://A.example.com", "http://a.example.com:80/x"))
}

func TestPrecedenceOfTheUsersFile(t *testing.T) {
	home, dir := alone(t)
	running(t, home)
	project(t, dir, "mlflow: {uri: 'http://project:1'}\nnamespace: theirs\nproject: theirs\n")
	file := own(t, "mlflow: {uri: 'http://mine:1'}\nproject: mine\nevidently: {python: /my/python}\nairflow: {dags_folder: dags}\ndvc: {remote: data}\n")
	p, err := FromProject(t.Context(), "", WithHome(home), In(dir))
	require.NoError(t, err)
	require.Equal(t, "mine", p.Name)
	c := p.Config
	require.Equal(t, "http://mine:1", c.MLflowURI)
	require.Equal(t, file, c.Source("mlflow.uri"))
	require.Equal(t, "theirs", c.Namespace, "what the user's file does not say comes from the project's")
	require.Equal(t, "/my/python", c.EvidentlyPython)
	require.Equal(t, filepath.Join(filepath.Dir(file), "dags"), c.DAGs)
	require.Equal(t, filepath.Join(filepath.Dir(file), "data"), c.DVCRemote)
	t.Setenv("MLFLOW_TRACKING_URI", "http://tool:1")
	require.Equal(t, "http://tool:1", open(t, home, dir).Config.MLflowURI)
	require.NoError(t, p.Close())
}

func TestTheUsersFileMustBeTheirs(t *testing.T) {
	home, dir := alone(t)
	file := own(t, "namespace: mine\n")
	require.Equal(t, "mine", open(t, home, dir).Config.Namespace)
	require.NoError(t, os.Chmod(filepath.Dir(file), 0o777))
	_, err := FromProject(t.Context(), "demo", WithHome(home), In(dir))
	require.ErrorIs(t, err, mlops.ErrForbidden)
	require.ErrorContains(t, err, "chmod go-w "+filepath.Dir(file))
	require.NoError(t, os.Chmod(filepath.Dir(file), 0o755))
	require.NoError(t, os.Chmod(file, 0o666))
	_, err = FromProject(t.Context(), "demo", WithHome(home), In(dir))
	require.ErrorContains(t, err, "chmod go-w "+file)
	require.NoError(t, os.Chmod(file, 0o644))
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(file, 12345, -1))
		_, err = FromProject(t.Context(), "demo", WithHome(home), In(dir))
		require.ErrorContains(t, err, "belongs to the user 12345")
	}
}

func TestAProjectsFileNamesNoProgramAndNoFolderToWriteTo(t *testing.T) {
	for text, want := range map[string]string{
		"evidently: {python: ./evil}":                 "evidently.python may not be in a project's file",
		"airflow: {python: ./evil}":                   "airflow.python may not be in a project's file",
		"airflow:\n  dags_folder: /etc/cron.d\n":      "airflow.dags_folder may not be in a project's file",
		"EVIDENTLY:\n  Python: ./evil\n":              "MLOPS_EVIDENTLY_PYTHON",
		"evidently.python: ./evil":                    "MLOPS_EVIDENTLY_PYTHON",
		"trust: {hosts: [evil.example.com]}":          "trust.hosts is for you to say, not for a project",
		"trust: {folders: [/]}":                       "trust.folders is for you to say",
		"base: &b {python: ./evil}\nevidently: *b":    "unknown key base",
		"evidently: {<<: {python: ./evil}, url: 'x'}": "evidently.python may not",
		"evidently: {password: x}":                    "set it in the environment",
	} {
		home, dir := alone(t)
		file := project(t, dir, text)
		_, err := FromProject(t.Context(), "demo", WithHome(home), In(dir))
		require.ErrorContains(t, err, want, text)
		require.ErrorContains(t, err, file)
		t.Setenv("MLOPS_EVIDENTLY_PYTHON", "/mine")
		t.Setenv("MLOPS_DAGS_FOLDER", "/mine")
		_, err = FromProject(t.Context(), "demo", WithHome(home), In(dir))
		require.Error(t, err, "a variable does not make it right")
	}
}

func TestProjectFilesOfOthersDecideNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of other users")
	}
	const another = 12345
	from := func(home, dir string) (*Project, error) {
		return FromProject(t.Context(), "demo", WithHome(home), In(dir))
	}

	t.Run("in a world-writable folder above", func(t *testing.T) {
		home, dir := alone(t)
		above := filepath.Dir(dir)
		file := project(t, above, "namespace: theirs\n")
		require.NoError(t, os.Chown(file, another, -1))
		require.NoError(t, os.Chmod(above, 0o777|os.ModeSticky))
		_, err := from(home, dir)
		require.ErrorIs(t, err, mlops.ErrForbidden)
		require.ErrorContains(t, err, file+" is not read, because "+file+" belongs to the user 12345, not to you")
		require.ErrorContains(t, err, "run: export MLOPS_TRUST_FOLDERS="+above)

		require.NoError(t, os.Mkdir(filepath.Join(dir, ".git"), 0o755))
		p, err := from(home, dir)
		require.NoError(t, err, "it lies outside of the repository")
		require.Empty(t, p.Config.Namespace)
	})

	t.Run("by link", func(t *testing.T) {
		home, dir := alone(t)
		theirs := project(t, t.TempDir(), "namespace: theirs\n")
		require.NoError(t, os.Chown(theirs, another, -1))
		require.NoError(t, os.Symlink(theirs, filepath.Join(dir, FileName)))
		_, err := from(home, dir)
		require.ErrorIs(t, err, mlops.ErrForbidden)
	})

	t.Run("a checkout that is mounted", func(t *testing.T) {
		home, dir := alone(t)
		gitConfig := filepath.Join(t.TempDir(), "gitconfig")
		t.Setenv("GIT_CONFIG_GLOBAL", gitConfig)
		t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
		root := filepath.Dir(dir)
		require.NoError(t, os.Mkdir(filepath.Join(root, ".git"), 0o755))
		file := project(t, root, "namespace: mine\n")
		for _, f := range []string{root, dir, file} {
			require.NoError(t, os.Chown(f, another, -1))
		}
		_, err := from(home, dir)
		require.ErrorIs(t, err, mlops.ErrForbidden)
		trusts := func(want bool, what string) {
			t.Helper()
			p, err := from(home, dir)
			if !want {
				require.ErrorIs(t, err, mlops.ErrForbidden, what)
				return
			}
			require.NoError(t, err, what)
			require.Equal(t, "mine", p.Config.Namespace)
		}
		git := func(args ...string) {
			t.Helper()
			out, err := exec.Command("git", append([]string{"config", "--global"}, args...)...).CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
		for value, want := range map[string]bool{root: true, filepath.Dir(root) + "/*": true, "*": true, dir: false, root + "/*": false, root + "x": false} {
			git("--replace-all", "safe.directory", value)
			trusts(want, "safe.directory="+value)
		}
		git("--replace-all", "safe.directory", root)
		git("--add", "safe.directory", "")
		trusts(false, "an empty entry takes back those before it")
		git("--unset-all", "safe.directory")

		t.Setenv("GIT_CONFIG_COUNT", "1")
		t.Setenv("GIT_CONFIG_KEY_0", "safe.directory")
		t.Setenv("GIT_CONFIG_VALUE_0", "*")
		out, err := exec.Command("git", "-C", root, "init", "-q").CombinedOutput()
		require.NoError(t, err, "%s", out)
		t.Setenv("GIT_CONFIG_COUNT", "")
		out, err = exec.Command("git", "config", "--file", filepath.Join(root, ".git", "config"), "safe.directory", "*").CombinedOutput()
		require.NoError(t, err, "%s", out)
		trusts(false, "the repository cannot trust itself")

		for value, want := range map[string]bool{root: true, filepath.Dir(root): true, "/none:" + root: true, dir: false, root + "x": false, ".": false} {
			t.Setenv("MLOPS_TRUST_FOLDERS", value)
			trusts(want, "MLOPS_TRUST_FOLDERS="+value)
		}
		t.Setenv("MLOPS_TRUST_FOLDERS", "")
		own(t, "trust: {folders: ["+root+"]}\n")
		trusts(true, "the user's file trusts the folder")
	})
}

func TestTheSearchForTheProjectsFileEndsAtTheRepositoryAndAtHome(t *testing.T) {
	home, dir := alone(t)
	above := filepath.Dir(dir)
	project(t, filepath.Dir(above), "namespace: outside\n")
	require.Equal(t, "outside", open(t, home, dir).Config.Namespace)
	require.NoError(t, os.WriteFile(filepath.Join(above, ".git"), []byte("gitdir: elsewhere\n"), 0o644))
	require.Empty(t, open(t, home, dir).Config.Namespace, "above is the root of a work tree")
	require.NoError(t, os.Remove(filepath.Join(above, ".git")))
	t.Setenv("HOME", above)
	require.Empty(t, open(t, home, dir).Config.Namespace, "above is the user's home")
	project(t, above, "namespace: athome\n")
	require.Equal(t, "athome", open(t, home, dir).Config.Namespace)
}

func TestFilesThatAreNoConfigurationAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"- project: demo\n": "has a list at its root, and needs keys there",
		"demo\n":            "has a single value at its root",
		"[":                 "cannot be read",
		"mlflow: http://x":  "unknown key mlflow;",
		"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n": "cannot be read",
	} {
		home, dir := alone(t)
		file := project(t, dir, text)
		_, err := FromProject(t.Context(), "demo", WithHome(home), In(dir))
		require.ErrorIs(t, err, mlops.ErrInvalid, text)
		require.ErrorContains(t, err, file)
		require.ErrorContains(t, err, want)
	}
	home, dir := alone(t)
	for _, empty := range []string{"", "# nothing yet\n", "---\n"} {
		project(t, dir, empty)
		open(t, home, dir)
	}
	file := project(t, dir, "namespace: x\n")
	require.NoError(t, os.Truncate(file, 200<<20))
	_, err := FromProject(t.Context(), "demo", WithHome(home), In(dir))
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, file+" has 209715200 bytes; at most 1048576 are read")
}

func TestAnotherUsersHomeIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of other users")
	}
	home, dir := alone(t)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("canary"), 0o600))
	s := stranger.New(t)
	require.NoError(t, stackfile.Write(stackfile.Stack{Home: home, Endpoints: map[string]stackfile.Endpoint{stackfile.MLflow: {URL: s.URL, Username: "admin", SecretFile: secret}}}))
	_, err := FromProject(t.Context(), "demo", WithHome(home), In(dir))
	require.ErrorContains(t, err, secret, "the secret is in no home")
	require.NoError(t, os.Chown(home, 12345, -1))
	_, err = FromProject(t.Context(), "demo", WithHome(home), In(dir))
	require.ErrorIs(t, err, mlops.ErrForbidden)
	require.ErrorContains(t, err, home+" belongs to the user 12345")
	require.Empty(t, s.Got())
}
