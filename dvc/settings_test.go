package dvc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

const twoRemotes = `# ours
[cache]
    type = hardlink,copy   # fast
[core]
    remote = a
['remote "a"']
    url = ../data
    jobs = 3
['remote "b"']
    url = s3://bucket/b
`

func configText(t *testing.T, r *Repo, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.Root(), ".dvc", file))
	require.NoError(t, err)
	return string(b)
}

func TestAChangeOfTheConfigurationTouchesItsLinesOnly(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Repo) error
		old    string
		new    string
	}{
		{"set", func(r *Repo) error { return r.Set(t.Context(), "cache.shared", "group", "") }, "   # fast\n", "   # fast\n    shared = group\n"},
		{"set of a path", func(r *Repo) error { return r.Set(t.Context(), "cache.dir", "../shared", "") }, "   # fast\n", "   # fast\n    dir = ../../shared\n"},
		{"modify", func(r *Repo) error { return r.Set(t.Context(), "remote.A.jobs", "8", LevelRepo) }, "jobs = 3", "jobs = 8"},
		{"unset", func(r *Repo) error { return r.Unset(t.Context(), "remote.a.jobs", "") }, "    jobs = 3\n", ""},
		{"unset of a section's last", func(r *Repo) error { return r.Unset(t.Context(), "core.remote", "") }, "[core]\n    remote = a\n", ""},
		{"remove", func(r *Repo) error { return r.RemoveRemote(t.Context(), "B", "") }, "['remote \"b\"']\n    url = s3://bucket/b\n", ""},
		{"default", func(r *Repo) error { return r.SetDefaultRemote(t.Context(), "B", "") }, "remote = a", "remote = b"},
		{"no default", func(r *Repo) error { return r.SetDefaultRemote(t.Context(), "", "") }, "[core]\n    remote = a\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := configured(t, twoRemotes)
			require.NoError(t, tt.change(r))
			require.Equal(t, strings.Replace(twoRemotes, tt.old, tt.new, 1), configText(t, r, "config"))
		})
	}
}

func TestARenamedRemoteStaysTheDefaultOne(t *testing.T) {
	r := configured(t, twoRemotes)
	require.NoError(t, r.Set(t.Context(), "core.remote", "A", LevelLocal))
	require.NoError(t, r.Set(t.Context(), "remote.a.password", "x", LevelLocal))
	require.NoError(t, r.RenameRemote(t.Context(), "a", "Z", ""))
	require.Equal(t, `# ours
[cache]
    type = hardlink,copy   # fast
[core]
    remote = z
['remote "b"']
    url = s3://bucket/b
['remote "z"']
    url = ../data
    jobs = 3
`, configText(t, r, "config"))
	require.Equal(t, "[core]\n    remote = z\n['remote \"z\"']\n    password = x\n", configText(t, r, "config.local"))
	require.ErrorIs(t, r.RenameRemote(t.Context(), "b", "z", ""), mlops.ErrAlreadyExists)
	require.ErrorIs(t, r.RenameRemote(t.Context(), "nope", "y", ""), mlops.ErrNotFound)

	require.NoError(t, r.RemoveRemote(t.Context(), "z", ""))
	require.NotContains(t, configText(t, r, "config"), "core", "nothing names a remote that is gone")
	require.Empty(t, configText(t, r, "config.local"))
}

func TestOptionsThatDVCWouldRefuseAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name, val string
		kind      error
	}{
		{"core.remotee", "x", mlops.ErrInvalid},
		{"nope.key", "x", mlops.ErrInvalid},
		{"remote.a", "x", mlops.ErrInvalid},
		{"remote..url", "x", mlops.ErrInvalid},
		{"core", "x", mlops.ErrInvalid},
		{"core.autostage", "yes", mlops.ErrInvalid},
		{"remote.a.jobs", "0", mlops.ErrInvalid},
		{"cache.type", "hardlink,softlink", mlops.ErrInvalid},
		{"cache.shared", "all", mlops.ErrInvalid},
		{"remote.a.region", "a\nb", mlops.ErrInvalid},
		{"remote.a.secret_access_key", "hunter2", mlops.ErrInvalid},
		{"remote.a.url", "https://me:hunter2@example.com", mlops.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := configured(t, twoRemotes)
			err := r.Set(t.Context(), tt.name, tt.val, "")
			require.ErrorIs(t, err, tt.kind)
			require.NotContains(t, err.Error(), "hunter2")
			require.Equal(t, twoRemotes, configText(t, r, "config"))
		})
	}
	r := configured(t, twoRemotes)
	require.ErrorIs(t, r.Set(t.Context(), "core.remote", "a", "nope"), mlops.ErrInvalid)
	require.ErrorIs(t, r.Unset(t.Context(), "core.autostage", ""), mlops.ErrNotFound)
	require.ErrorIs(t, r.RemoveRemote(t.Context(), "a", LevelLocal), mlops.ErrNotFound)
	require.ErrorIs(t, r.SetDefaultRemote(t.Context(), "nope", ""), mlops.ErrNotFound)
	_, err := r.Setting("core.autostage", "")
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

func TestASecretIsKeptButNotShown(t *testing.T) {
	r := configured(t, twoRemotes)
	require.NoError(t, r.Set(t.Context(), "remote.b.secret_access_key", `hun"ter'2,x`, LevelLocal))
	c, err := r.remoteConfig("b")
	require.NoError(t, err)
	require.Equal(t, `hun"ter'2,x`, c.Options["secret_access_key"])
	all, err := r.Settings("")
	require.NoError(t, err)
	var shown []string
	for _, s := range all {
		shown = append(shown, string(s.Level)+" "+s.Name+"="+s.Value)
	}
	require.Equal(t, []string{
		"repo cache.type=hardlink,copy", "repo core.remote=a", "repo remote.a.url=" + filepath.Join(r.Root(), "data"), "repo remote.a.jobs=3",
		"repo remote.b.url=s3://bucket/b", "local remote.b.secret_access_key=[redacted]",
	}, shown)
	s, err := r.Setting("remote.B.secret_access_key", "")
	require.NoError(t, err)
	require.Equal(t, mlops.Redacted, s.Value)
	require.NoError(t, r.Set(t.Context(), "core.checksum_jobs", "4", LevelGlobal))
	s, err = r.Setting("core.checksum_jobs", "")
	require.NoError(t, err)
	require.Equal(t, LevelGlobal, s.Level)
}
