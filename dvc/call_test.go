package dvc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/lock"

	_ "github.com/mlops-integration/mlops/dvc/remote/local"
)

// tracking makes a repository with n outputs in a folder, which ignore files
// stand above and beside, and with a remote. Its files are those of names.
func tracking(t testing.TB, n int) (r *Repo, names []string) {
	t.Helper()
	home := t.TempDir()
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"} {
		t.Setenv(name, filepath.Join(home, name))
	}
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	dir := t.TempDir()
	require.NoError(t, exec.Command("git", "init", "-q", dir).Run())
	r, err := Init(dir)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "data"), 0o777))
	for _, file := range []string{".gitignore", ".dvcignore", "data/.gitignore", "data/.dvcignore"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte("*.log\n"), 0o666))
	}
	for i := range n {
		names = append(names, fmt.Sprintf("data/f%03d", i))
		require.NoError(t, os.WriteFile(filepath.Join(dir, names[i]), []byte(names[i]), 0o666))
	}
	require.NoError(t, r.AddRemote(t.Context(), "store", t.TempDir(), AddRemoteOptions{Default: true}))
	return r, names
}

func TestACallReadsConfigurationAndIgnoreFilesOnce(t *testing.T) {
	r, names := tracking(t, 50)
	var mu sync.Mutex // git's configuration is asked for beside the rest
	read := map[string]int{}
	r.readFile = func(name string) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		rel, err := filepath.Rel(r.dir, name)
		if err != nil {
			return nil, err
		}
		read[rel]++
		return os.ReadFile(name)
	}
	for _, verb := range []struct {
		name string
		do   func() error
	}{
		{"add", func() error { _, err := r.Add(t.Context(), names, AddOptions{}); return err }},
		{"status", func() error {
			s, err := r.Status(t.Context(), StatusOptions{})
			require.True(t, s.Clean(), "%v", s)
			return err
		}},
		{"push", func() error {
			done, err := r.Push(t.Context(), PushOptions{})
			require.Equal(t, 50, done.Objects)
			return err
		}},
		{"cloud status", func() error { _, err := r.Status(t.Context(), StatusOptions{Cloud: true}); return err }},
		{"checkout", func() error {
			for _, name := range names {
				require.NoError(t, os.Remove(r.abs(name)))
			}
			done, err := r.Checkout(t.Context(), CheckoutOptions{})
			require.Len(t, done.Added, 50)
			return err
		}},
	} {
		mu.Lock()
		clear(read)
		mu.Unlock()
		require.NoError(t, verb.do(), verb.name)
		mu.Lock()
		for _, file := range []string{".dvc/config", ".dvcignore", "data/.dvcignore", ".gitignore", "data/.gitignore", ".git/info/exclude"} {
			require.Contains(t, read, file, "%s reads it through this", verb.name)
		}
		for file, n := range read {
			require.Equal(t, 1, n, "%s reads %s", verb.name, file)
		}
		mu.Unlock()
	}
}

// BenchmarkStatus is what a status of many small outputs takes when nothing has
// changed.
func BenchmarkStatus(b *testing.B) {
	r, names := tracking(b, 200)
	_, err := r.Add(b.Context(), names, AddOptions{})
	require.NoError(b, err)
	status := func() {
		s, err := r.Status(b.Context(), StatusOptions{})
		require.NoError(b, err)
		require.True(b, s.Clean())
	}
	for begun := time.Now(); time.Since(begun) < 2*known.Racy; { // until the files are old enough to be known
		status()
	}
	for b.Loop() {
		status()
	}
}

func TestTheConfigurationIsTheOneOfTheLocksTurn(t *testing.T) {
	r, names := tracking(t, 1)
	_, err := r.Add(t.Context(), names, AddOptions{})
	require.NoError(t, err)
	other := t.TempDir()
	require.NoError(t, r.AddRemote(t.Context(), "other", other, AddRemoteOptions{}))
	held, err := os.OpenFile(filepath.Join(r.dir, ".dvc", "tmp", "lock"), os.O_RDWR|os.O_CREATE, 0o666)
	require.NoError(t, err)
	require.NoError(t, lock.Wait(t.Context(), held, time.Minute))
	r.lockTimeout = time.Minute
	asked := make(chan struct{})
	var once sync.Once
	r.readFile = func(name string) ([]byte, error) {
		if strings.HasSuffix(name, "config.local") { // the last level
			once.Do(func() { close(asked) })
		}
		return os.ReadFile(name)
	}
	pushed := make(chan error, 1)
	go func() {
		_, err := r.Push(t.Context(), PushOptions{})
		pushed <- err
	}()
	<-asked // the lock is another's still
	config := filepath.Join(r.dir, ".dvc", "config")
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	require.Contains(t, string(text), "remote = store")
	require.NoError(t, os.WriteFile(config, []byte(strings.Replace(string(text), "remote = store", "remote = other", 1)), 0o666))
	lock.Release(held)
	require.NoError(t, <-pushed)
	got, err := os.ReadDir(other)
	require.NoError(t, err)
	require.NotEmpty(t, got, "it was pushed to the remote that had been replaced before its turn")
}
