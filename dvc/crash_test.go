package dvc_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

// TestMain runs one operation instead of the tests when the crash test starts
// this program again.
func TestMain(m *testing.M) {
	op, dir := os.Getenv("DVC_TEST_OP"), os.Getenv("DVC_TEST_DIR")
	if op == "" {
		os.Exit(m.Run())
	}
	r, err := dvc.Open(dir, dvc.LockTimeout(time.Minute))
	if err == nil {
		err = operate(context.Background(), r, op)
	}
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

func operate(ctx context.Context, r *dvc.Repo, op string) error {
	var err error
	switch op {
	case "add":
		_, err = r.Add(ctx, []string{"d"}, dvc.AddOptions{})
	case "checkout":
		_, err = r.Checkout(ctx, dvc.CheckoutOptions{})
	case "push":
		_, err = r.Push(ctx, dvc.PushOptions{})
	case "pull":
		_, err = r.Pull(ctx, dvc.PullOptions{})
	case "gc":
		_, err = r.GC(ctx, dvc.GCOptions{Workspace: true, Yes: true})
	}
	return err
}

// whole checks what must hold however a program was stopped: what has mode
// 0444 is what its name says, and a listing in the remote has all its files.
func whole(t *testing.T, store string, children bool) {
	t.Helper()
	base := filepath.Join(store, "files/md5")
	_ = filepath.WalkDir(base, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(p, ".tmp") {
			return nil
		}
		fi, err := d.Info()
		require.NoError(t, err)
		name := filepath.Base(filepath.Dir(p)) + filepath.Base(p)
		require.Equal(t, fs.FileMode(0o444), fi.Mode().Perm(), name)
		text := read(t, p)
		require.Equal(t, strings.TrimSuffix(name, ".dir"), md5hex(text), "an object that dvc would trust is torn")
		if children && strings.HasSuffix(name, ".dir") {
			for _, part := range strings.Split(text, `"md5": "`)[1:] {
				require.FileExists(t, filepath.Join(base, part[:2], part[2:32]))
			}
		}
		return nil
	})
}

// objects lists what the cache holds, and with it what lies in its trash.
func objects(t *testing.T, dir string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	cache := filepath.Join(dir, ".dvc/cache")
	for _, pattern := range []string{"files/md5/??/*", "trash/*/*"} {
		found, err := filepath.Glob(filepath.Join(cache, pattern))
		require.NoError(t, err)
		for _, p := range found {
			name := filepath.Base(p)
			if pattern[0] == 'f' {
				name = filepath.Base(filepath.Dir(p)) + name
			}
			require.Equal(t, strings.TrimSuffix(name, ".dir"), md5hex(read(t, p)), "%s is torn", p)
			out[name] = true
		}
	}
	return out
}

// tidy checks that killed programs left nothing that will not be cleaned.
func tidy(t *testing.T, dir string) {
	t.Helper()
	for _, at := range []string{".dvc/cache", ".dvc/tmp/mlops"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(dir, at), func(p string, d fs.DirEntry, err error) error {
			require.False(t, strings.HasSuffix(p, ".tmp"), "%s was left behind", p)
			return err
		}))
	}
	require.NoDirExists(t, filepath.Join(dir, ".dvc/cache/mlops"))
}

// number is a count that a variable may raise.
func number(t *testing.T, name string, or int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return or
	}
	n, err := strconv.Atoi(v)
	require.NoError(t, err, name)
	return n
}

// killer runs operations in processes of their own and kills some of them, each
// at a random moment of the time that it took before.
type killer struct {
	t      *testing.T
	self   string
	rnd    *rand.Rand
	took   map[string]time.Duration
	killed int
}

// run runs an operation; with kill it is a race whether it ends by itself.
func (k *killer) run(dir, op string, kill bool) {
	k.t.Helper()
	cmd := exec.Command(k.self)
	cmd.Env = append(os.Environ(), "DVC_TEST_OP="+op, "DVC_TEST_DIR="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	begin := time.Now()
	require.NoError(k.t, cmd.Start())
	if kill {
		span := max(k.took[op], 20*time.Millisecond)
		timer := time.AfterFunc(time.Duration(k.rnd.Int64N(int64(span))), func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
	}
	err := cmd.Wait()
	switch {
	case err == nil:
		k.took[op] = time.Since(begin)
	case kill && cmd.ProcessState.ExitCode() == -1:
		k.killed++
	default:
		require.NoError(k.t, err, "%s: %s", op, stderr.String())
	}
}

// holds checks that what lies in a tracked directory is whole, and nothing else
// lies there; with all, that nothing is missing.
func holds(t *testing.T, dir string, files map[string]string, all bool) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(filepath.Join(dir, "d"), func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.IsDir() {
			return nil
		}
		require.NoError(t, err)
		rel, err := filepath.Rel(dir, p)
		require.NoError(t, err)
		text, ours := files[filepath.ToSlash(rel)]
		require.True(t, ours, "%s was left in the data", rel)
		require.True(t, text == read(t, p), "%s is torn or lost its content", rel)
		seen++
		return nil
	})
	require.NoError(t, err)
	if all {
		require.Equal(t, len(files), seen, "files are missing")
	}
}

func TestKilledOperationsLeaveNothingTorn(t *testing.T) {
	w := newWorld(t)
	kills := number(t, "MLOPS_DVC_KILLS", 10)
	seed := number(t, "MLOPS_SEED", 1)
	self, err := os.Executable()
	require.NoError(t, err)
	k := &killer{t: t, self: self, rnd: rand.New(rand.NewPCG(uint64(seed), 4)), took: map[string]time.Duration{}}
	links := []string{"copy", "hardlink", "symlink"}[seed%3]
	dir, r := w.cacheType(links)
	rem := w.dir()
	require.NoError(t, r.AddRemote(bg(t), "r", rem, dvc.AddRemoteOptions{Default: true}))
	write(t, dir, map[string]string{"d/x": ""})
	k.run(dir, "add", false)
	clone, _ := w.clone(dir)
	clean := func(dir string) {
		t.Helper()
		// Without what is remembered: the bytes are what the .dvc file says.
		require.NoError(t, os.RemoveAll(filepath.Join(dir, ".dvc/tmp/mlops")))
		require.NoError(t, os.RemoveAll(os.Getenv("DVC_SITE_CACHE_DIR")))
		repo, err := dvc.Open(dir)
		require.NoError(t, err)
		st, err := repo.Status(bg(t), dvc.StatusOptions{})
		require.NoError(t, err)
		require.True(t, st.Clean(), "%v", st)
		if os.Getenv("MLOPS_LIVE") == "1" {
			w.dvc(dir, "status", "-q")
		}
	}
	for round := 0; k.killed < kills; round++ {
		require.Less(t, round, 4*kills, "operations end before they are killed")
		files := map[string]string{"d/big": strings.Repeat(itoa(round)+"123456789abcdef", 1<<17), "d/same": "same"}
		for i := range 150 {
			files["d/"+itoa(i%7)+"/"+itoa(i)] = strings.Repeat(itoa(round)+" "+itoa(i), 500)
		}
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "d")))
		write(t, dir, files)

		k.run(dir, "add", true)
		holds(t, dir, files, true)
		whole(t, filepath.Join(dir, ".dvc/cache"), false)
		k.run(dir, "add", false)
		holds(t, dir, files, true)
		clean(dir)

		require.NoError(t, os.RemoveAll(filepath.Join(dir, "d")))
		k.run(dir, "checkout", true)
		holds(t, dir, files, false)
		k.run(dir, "checkout", false)
		holds(t, dir, files, true)
		clean(dir)

		// What is not used any more is in the cache or in its trash.
		before := objects(t, dir)
		k.run(dir, "gc", true)
		require.Equal(t, before, objects(t, dir), "gc lost objects")
		clean(dir)
		k.run(dir, "gc", false)
		require.Equal(t, before, objects(t, dir), "gc lost objects")
		tidy(t, dir)
		clean(dir)
		if round%3 == 2 {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, ".dvc/cache/trash")))
		}

		k.run(dir, "push", true)
		whole(t, rem, true)
		k.run(dir, "push", false)

		write(t, clone, map[string]string{"d.dvc": read(t, dir, "d.dvc")})
		if round%2 == 1 {
			require.NoError(t, os.RemoveAll(filepath.Join(clone, "d")))
			k.run(clone, "pull", true)
			holds(t, clone, files, false)
		} else {
			k.run(clone, "pull", true)
		}
		whole(t, filepath.Join(clone, ".dvc/cache"), false)
		k.run(clone, "pull", false)
		holds(t, clone, files, true)
		clean(clone)
		k.run(clone, "gc", false)
		tidy(t, clone)
	}
	figure(t, fmt.Sprintf("kills of add, checkout, gc, push and pull, seed %d, %s: %d", seed, links, k.killed))
}

// figure notes a count of a soak run.
func figure(t *testing.T, line string) {
	t.Helper()
	t.Log(line)
	file := os.Getenv("MLOPS_SOAK_FIGURES")
	if file == "" {
		return
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString(line + "\n")
	require.NoError(t, err)
}

func TestLiveBothToolsAtOnceDamageNothing(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	self, err := os.Executable()
	require.NoError(t, err)
	dir, _ := w.repo()
	k := &killer{t: t, self: self, took: map[string]time.Duration{}}
	rounds, refused := number(t, "MLOPS_DVC_TOGETHER", 2), 0
	for round := range rounds {
		files := map[string]string{"d/same": "same"}
		for i := range 100 {
			files["d/"+itoa(i)] = strings.Repeat(itoa(round)+" "+itoa(i), 500)
		}
		write(t, dir, files)
		theirs := make(chan error, 1)
		go func() {
			_, err := w.try(dir, "add", "-q", "d")
			theirs <- err
		}()
		for done := false; !done; {
			k.run(dir, "add", false)
			select {
			case err := <-theirs:
				if done = true; err != nil { // we held the lock each time that it looked
					require.ErrorContains(t, err, "lock")
					refused++
				}
			default:
			}
		}
		holds(t, dir, files, true)
		whole(t, filepath.Join(dir, ".dvc/cache"), false)
		w.dvc(dir, "status", "-q")
		k.run(dir, "checkout", false)
	}
	figure(t, fmt.Sprintf("rounds of both tools at once: %d, dvc refused for the lock in %d", rounds, refused))
}
