package dvc

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// configured is a repository whose .dvc/config holds text.
func configured(t *testing.T, text string) *Repo {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
	t.Setenv("DVC_GLOBAL_CONFIG_DIR", filepath.Join(home, "global"))
	t.Setenv("DVC_SYSTEM_CONFIG_DIR", filepath.Join(home, "system"))
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "git", "-C", dir, "init", "-q").CombinedOutput()
	require.NoError(t, err, "%s", out)
	r, err := Init(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".dvc", "config"), []byte(text), 0o644))
	return r
}

func TestARemoteMayStandOnAnother(t *testing.T) {
	r := configured(t, `[core]
    remote = sub
['remote "base"']
    url = s3://bucket/dvc
    endpointurl = http://127.0.0.1:9000
    credentialpath = keys
['remote "sub"']
    url = remote://Base/projects/a
['remote "home"']
    url = ~/data
`)
	track(t, r, ".dvc/keys", "[default]\nregion = eu\n")
	c, err := r.remoteConfig("")
	require.NoError(t, err)
	require.Equal(t, "s3://bucket/dvc/projects/a", c.URL)
	require.Equal(t, map[string]string{"endpointurl": "http://127.0.0.1:9000", "credentialpath": filepath.Join(r.Root(), ".dvc", "keys")}, c.Options)
	c, err = r.remoteConfig("home")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(os.Getenv("HOME"), "data"), c.URL)
	def, err := r.DefaultRemote()
	require.NoError(t, err)
	require.Equal(t, "sub", def.Name)
}

func TestARemoteThatCannotWorkIsToldSo(t *testing.T) {
	for _, tt := range []struct {
		name, config, remote string
		kind                 error
	}{
		{"none", "", "", mlops.ErrNotFound},
		{"the default is not there", "[core]\n    remote = x\n", "", mlops.ErrNotFound},
		{"not there", "", "x", mlops.ErrNotFound},
		{"stands on itself", "['remote \"x\"']\n    url = remote://x/a\n", "x", mlops.ErrInvalid},
		{"stands on nothing", "['remote \"x\"']\n    url = remote://y/a\n", "x", mlops.ErrNotFound},
		{"keeps versions in the cloud", "['remote \"x\"']\n    url = s3://b\n    version_aware = true\n", "x", mlops.ErrUnsupported},
		{"a broken file", "[core\n", "x", mlops.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := configured(t, tt.config).remoteConfig(tt.remote)
			require.ErrorIs(t, err, tt.kind)
		})
	}
}

func TestARemoteIsAddedOnceAndNotWithAPassword(t *testing.T) {
	r := configured(t, "# ours\n")
	ctx := t.Context()
	for _, bad := range []string{"", " x", "a\"b", "a]b", "a\nb"} {
		require.ErrorIs(t, r.AddRemote(ctx, bad, "/data", AddRemoteOptions{}), mlops.ErrInvalid, bad)
	}
	require.ErrorIs(t, r.AddRemote(ctx, "a", "", AddRemoteOptions{}), mlops.ErrInvalid)
	err := r.AddRemote(ctx, "a", "https://me:hunter2@example.com/x", AddRemoteOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.NotContains(t, err.Error(), "hunter2")

	require.NoError(t, r.AddRemote(ctx, "A", "data", AddRemoteOptions{Default: true}))
	require.ErrorIs(t, r.AddRemote(ctx, "a", "other", AddRemoteOptions{}), mlops.ErrAlreadyExists)
	require.NoError(t, r.AddRemote(ctx, "a", "/other", AddRemoteOptions{Force: true}))
	require.NoError(t, r.AddRemote(ctx, "b", "https://me:hunter2@example.com/x", AddRemoteOptions{Level: LevelLocal}))
	all, err := r.Remotes()
	require.NoError(t, err)
	require.Equal(t, []Remote{{Name: "a", URL: "/other", Level: "repo", Default: true}, {Name: "b", URL: all[1].URL, Level: "local"}}, all)
	require.NotContains(t, all[1].URL, "hunter2")
	text, err := os.ReadFile(filepath.Join(r.Root(), ".dvc", "config"))
	require.NoError(t, err)
	require.Contains(t, string(text), "# ours\n")
	require.NotContains(t, string(text), "hunter2")
}

func TestAnotherRepositoryDoesNotChooseOurCredentials(t *testing.T) {
	const text = `[core]
    remote = s
    site_cache_dir = /elsewhere
[cache]
    dir = /elsewhere
['remote "s"']
    url = s3://theirs/x
    endpointurl = http://127.0.0.1:9000
    credentialpath = ../keys
    configpath = ../keys
    profile = production
['remote "near"']
    url = ../near
`
	r := configured(t, text)
	global := filepath.Join(os.Getenv("DVC_GLOBAL_CONFIG_DIR"), "config")
	require.NoError(t, os.MkdirAll(filepath.Dir(global), 0o755))
	require.NoError(t, os.WriteFile(global, []byte("['remote \"s\"']\n    secret_access_key = ours\n"), 0o600))
	r.foreign = &foreign{}
	c, err := r.remoteConfig("")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"endpointurl": "http://127.0.0.1:9000"}, c.Options)
	_, err = r.remoteConfig("near")
	require.ErrorIs(t, err, mlops.ErrForbidden)
	cfg, err := r.config()
	require.NoError(t, err)
	_, set := cfg.Get("cache", "dir")
	require.False(t, set)

	r.foreign.trust = true
	c, err = r.remoteConfig("")
	require.NoError(t, err)
	require.Equal(t, "production", c.Options["profile"])
	require.Equal(t, "ours", c.Options["secret_access_key"])
	_, err = r.remoteConfig("near")
	require.NoError(t, err)
}
