package dvc_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

func TestLiveConfigurationHasTheBytesThatDVCWrites(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	theirs := w.dir()
	w.git(theirs, "init", "-q", "-b", "main")
	w.dvc(theirs, "init", "-q")
	ours, r := w.repo()
	for _, tt := range []struct {
		args []string
		do   func() error
	}{
		{[]string{"remote", "add", "-d", "One", "../data"}, func() error { return r.AddRemote(bg(t), "One", "../data", dvc.AddRemoteOptions{Default: true}) }},
		{[]string{"remote", "add", "two", "s3://bucket/x"}, func() error { return r.AddRemote(bg(t), "two", "s3://bucket/x", dvc.AddRemoteOptions{}) }},
		{[]string{"remote", "add", "three", "/abs/x"}, func() error { return r.AddRemote(bg(t), "three", "/abs/x", dvc.AddRemoteOptions{}) }},
		{[]string{"remote", "modify", "TWO", "region", "eu, west # 1"}, func() error { return r.Set(bg(t), "remote.TWO.region", "eu, west # 1", "") }},
		{[]string{"remote", "modify", "two", "credentialpath", "keys/k"}, func() error { return r.Set(bg(t), "remote.two.credentialpath", "keys/k", "") }},
		{[]string{"remote", "default", "two"}, func() error { return r.SetDefaultRemote(bg(t), "two", "") }},
		{[]string{"config", "cache.type", "hardlink,copy"}, func() error { return r.Set(bg(t), "cache.type", "hardlink,copy", "") }},
		{[]string{"config", "core.autostage", "true"}, func() error { return r.Set(bg(t), "core.autostage", "true", "") }},
		{[]string{"config", "--global", "core.checksum_jobs", "4"}, func() error { return nil }},
		{[]string{"remote", "rename", "two", "four"}, func() error { return r.RenameRemote(bg(t), "two", "four", "") }},
		{[]string{"remote", "modify", "--local", "four", "secret_access_key", `s#e"c ret,x`}, func() error { return r.Set(bg(t), "remote.four.secret_access_key", `s#e"c ret,x`, dvc.LevelLocal) }},
		{[]string{"remote", "modify", "four", "--unset", "region"}, func() error { return r.Unset(bg(t), "remote.four.region", "") }},
		{[]string{"remote", "remove", "one"}, func() error { return r.RemoveRemote(bg(t), "one", "") }},
		{[]string{"config", "--unset", "core.autostage"}, func() error { return r.Unset(bg(t), "core.autostage", "") }},
		{[]string{"remote", "default", "--unset"}, func() error { return r.SetDefaultRemote(bg(t), "", "") }},
	} {
		w.dvc(theirs, append(append([]string{tt.args[0]}, tt.args[1:]...), "-q")...)
		require.NoError(t, tt.do(), "%v", tt.args)
		require.Equal(t, read(t, theirs, ".dvc/config"), read(t, ours, ".dvc/config"), "after %v", tt.args)
	}
	require.Equal(t, read(t, theirs, ".dvc/config.local"), read(t, ours, ".dvc/config.local"))
	w.dvc(ours, "config", "-q", "-l")
	require.FileExists(t, filepath.Join(ours, ".dvc/config"))
}
