package dvc_test

import (
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

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
	"github.com/mlops-integration/mlops/dvc/remote/remotetest"
	_ "github.com/mlops-integration/mlops/dvc/remote/s3"
)

// useS3 makes the gateway's bucket, below prefix, the default remote of the
// repository in dir, for dvc as well.
func useS3(t *testing.T, dir string, g *remotetest.S3, prefix string, options ...string) {
	t.Helper()
	text := "[core]\n    remote = s\n['remote \"s\"']\n    url = s3://" + g.Bucket + "/" + prefix + "\n"
	for k, v := range g.Config(prefix).Options {
		text += "    " + k + " = " + v + "\n"
	}
	for _, o := range options {
		text += "    " + o + "\n"
	}
	write(t, dir, map[string]string{".dvc/config.local": text})
}

// bucket is where the gateway keeps the remote's objects.
func bucket(g *remotetest.S3, prefix string) string { return filepath.Join(g.Dir, g.Bucket, prefix) }

func TestPushAndPullOnS3StayInTheirRequestBudget(t *testing.T) {
	g := remotetest.StartS3(t)
	w := newWorld(t)
	dir, r := w.repo()
	const n = 300
	files := map[string]string{"one": "a single file"}
	for i := range n {
		files["d/"+itoa(i)] = "file " + itoa(i)
	}
	write(t, dir, files)
	_, err := r.Add(bg(t), []string{"d", "one"}, dvc.AddOptions{})
	require.NoError(t, err)
	useS3(t, dir, g, "r")
	g.Requests(t)

	tr, err := r.Push(bg(t), dvc.PushOptions{Targets: []string{"d"}})
	require.NoError(t, err)
	require.Equal(t, n+1, tr.Objects)
	got := g.Requests(t)
	require.Equal(t, map[string]int{"HeadObject": 1, "ListObjectsV2": 1, "PutObject": n + 1}, got, "a new directory: N PUT, its listing, 1 HEAD, 1 listing")

	_, err = r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"HeadObject": 2, "PutObject": 1}, g.Requests(t), "one more file")

	tr, err = r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	require.Zero(t, tr.Objects)
	require.Equal(t, n+2, tr.Present)
	require.Equal(t, map[string]int{"HeadObject": 2}, g.Requests(t), "nothing to do: 1 HEAD per target")

	clone, cr := w.clone(dir)
	useS3(t, clone, g, "r")
	_, err = cr.Pull(bg(t), dvc.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"GetObject": n + 2}, g.Requests(t), "pull: a GET per object")
	require.Equal(t, data(t, dir), data(t, clone))

	// A listing stands for its files, unless they are asked for.
	gone := filepath.Join(bucket(g, "r"), "files/md5", md5hex("file 7")[:2], md5hex("file 7")[2:])
	require.NoError(t, os.Remove(gone))
	tr, err = r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	require.Zero(t, tr.Objects)
	tr, err = r.Push(bg(t), dvc.PushOptions{CheckChildren: true})
	require.NoError(t, err)
	require.Equal(t, 1, tr.Objects)
	require.FileExists(t, gone)
}

func TestLiveS3IsSharedWithDVC(t *testing.T) {
	g := remotetest.StartS3(t)
	w := newWorld(t)
	w.bin = realDVC(t)
	theirs, ours, targets, r := twins(t, w, 11)
	useS3(t, theirs, g, "theirs/sub")
	useS3(t, ours, g, "ours/sub")
	w.dvc(theirs, append([]string{"add", "-q", "--"}, targets...)...)
	w.dvc(theirs, "push", "-q")
	_, err := r.Add(bg(t), targets, dvc.AddOptions{})
	require.NoError(t, err)
	_, err = r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	same(t, bucket(g, "theirs"), bucket(g, "ours"), "the bucket")
	w.dvc(ours, "status", "-q", "-c")

	clone, _ := w.clone(ours)
	useS3(t, clone, g, "ours/sub")
	w.dvc(clone, "pull", "-q")
	require.Equal(t, data(t, ours), data(t, clone))
	clone, cr := w.clone(theirs)
	useS3(t, clone, g, "theirs/sub")
	_, err = cr.Pull(bg(t), dvc.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, data(t, theirs), data(t, clone))
	w.dvc(clone, "status", "-q")
}

func TestOnS3WhatIsWrongIsRefusedAndNamed(t *testing.T) {
	g := remotetest.StartS3(t)
	w := newWorld(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"a": "right", "d/x": "x", "d/y": "y"})
	outs, err := r.Add(bg(t), []string{"a", "d"}, dvc.AddOptions{})
	require.NoError(t, err)
	useS3(t, dir, g, "r")

	cached := filepath.Join(dir, ".dvc/cache/files/md5", md5hex("y")[:2], md5hex("y")[2:])
	require.NoError(t, os.Remove(cached))
	_, err = r.Push(bg(t), dvc.PushOptions{})
	require.ErrorIs(t, err, dvc.ErrNotCached)
	require.ErrorContains(t, err, md5hex("y"))
	require.ErrorContains(t, err, "d/y")
	require.NoFileExists(t, filepath.Join(bucket(g, "r"), "files/md5", outs[1].Hash[:2], outs[1].Hash[2:]), "the listing stays back")
	object(t, filepath.Join(dir, ".dvc/cache"), md5hex("y"), "Y")
	_, err = r.Push(bg(t), dvc.PushOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid, "a damaged object of the cache does not go up")
	object(t, filepath.Join(dir, ".dvc/cache"), md5hex("y"), "y")
	_, err = r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)

	object(t, bucket(g, "r"), md5hex("right"), "wrong")
	clone, cr := w.clone(dir)
	useS3(t, clone, g, "r")
	_, err = cr.Pull(bg(t), dvc.PullOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, md5hex("right"))
	require.NoFileExists(t, filepath.Join(clone, "a"))
	require.FileExists(t, filepath.Join(clone, "d/y"), "the rest comes all the same")

	require.NoError(t, os.Remove(filepath.Join(bucket(g, "r"), "files/md5", md5hex("right")[:2], md5hex("right")[2:])))
	_, err = cr.Pull(bg(t), dvc.PullOptions{})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.ErrorContains(t, err, md5hex("right"))
	require.ErrorContains(t, err, `remote "s"`)

	useS3(t, clone, g, "r", "secret_access_key = wrong-"+g.Secret)
	_, err = cr.Pull(bg(t), dvc.PullOptions{})
	require.Error(t, err)
	require.NotContains(t, err.Error(), g.Secret)
}

func TestTheRunCacheTravelsWithTheData(t *testing.T) {
	g := remotetest.StartS3(t)
	w := newWorld(t)
	dir, r := w.repo()
	hash := strings.Repeat("0123456789abcdef", 4)
	record := "runs/01/" + hash + "/" + strings.Repeat("fedcba9876543210", 4)
	write(t, filepath.Join(dir, ".dvc/cache"), map[string]string{record: "cmd: true\n", "runs/note": "not a record"})
	write(t, dir, map[string]string{"a": "1"})
	_, err := r.Add(bg(t), []string{"a"}, dvc.AddOptions{})
	require.NoError(t, err)
	useS3(t, dir, g, "r")
	tr, err := r.Push(bg(t), dvc.PushOptions{RunCache: true})
	require.NoError(t, err)
	require.Equal(t, 2, tr.Objects)
	tr, err = r.Push(bg(t), dvc.PushOptions{RunCache: true})
	require.NoError(t, err)
	require.Zero(t, tr.Objects)
	require.Equal(t, "cmd: true\n", read(t, bucket(g, "r"), record))
	require.NoFileExists(t, filepath.Join(bucket(g, "r"), "runs/note"))

	write(t, bucket(g, "r"), map[string]string{"runs/01/" + hash + "/x": "not a record either"})
	clone, cr := w.clone(dir)
	useS3(t, clone, g, "r")
	_, err = cr.Pull(bg(t), dvc.PullOptions{RunCache: true})
	require.NoError(t, err)
	require.Equal(t, "cmd: true\n", read(t, clone, ".dvc/cache", record))
	require.NoFileExists(t, filepath.Join(clone, ".dvc/cache/runs/01", hash, "x"))
}

func TestProgressOfATransferAddsUp(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"d/big": strings.Repeat("0123456789abcdef", 1<<18), "d/b": "2", "a": "1"})
	_, err := r.Add(bg(t), []string{"d", "a"}, dvc.AddOptions{})
	require.NoError(t, err)
	require.NoError(t, r.AddRemote(bg(t), "r", w.dir(), dvc.AddRemoteOptions{Default: true}))
	var last dvc.Progress
	calls := 0
	see := func(p dvc.Progress) {
		calls++
		require.LessOrEqual(t, p.Done, p.Total)
		require.GreaterOrEqual(t, p.DoneBytes, last.DoneBytes)
		last = p
	}
	tr, err := r.Push(bg(t), dvc.PushOptions{Transfers: dvc.Transfers{Progress: see}})
	require.NoError(t, err)
	require.Equal(t, dvc.Progress{Done: 4, Total: 4, DoneBytes: tr.SizeBytes, TotalBytes: tr.SizeBytes, Path: "d"}, last)
	clone, cr := w.clone(dir)
	write(t, clone, map[string]string{".dvc/config.local": read(t, dir, ".dvc/config")})
	calls, last = 0, dvc.Progress{}
	tr, err = cr.Pull(bg(t), dvc.PullOptions{Transfers: dvc.Transfers{Progress: see, Jobs: 1}})
	require.NoError(t, err)
	require.Equal(t, 4, last.Done)
	require.Equal(t, tr.SizeBytes, last.DoneBytes)
	require.Equal(t, int64(4<<20+2), last.TotalBytes, "as the .dvc files tell it")
	require.Greater(t, calls, 6, "the large file is told of on its way")
}

// kills is how often the kill tests kill: MLOPS_DVC_KILLS, else 10.
func kills(t *testing.T) (n int, rnd *rand.Rand) {
	t.Helper()
	number := func(name string, def uint64) uint64 {
		v := os.Getenv(name)
		if v == "" {
			return def
		}
		n, err := strconv.ParseUint(v, 10, 64)
		require.NoError(t, err)
		return n
	}
	return int(number("MLOPS_DVC_KILLS", 10)), rand.New(rand.NewPCG(number("MLOPS_SEED", 1), 8))
}

// trusted checks what must hold in a bucket at any time: an object is what its
// name says, and a listing has all its files.
func trusted(t *testing.T, store string) {
	t.Helper()
	base := filepath.Join(store, "files/md5")
	_ = filepath.WalkDir(base, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		name := filepath.Base(filepath.Dir(p)) + filepath.Base(p)
		text := read(t, p)
		require.Equal(t, strings.TrimSuffix(name, ".dir"), md5hex(text), "a torn object in the remote")
		if strings.HasSuffix(name, ".dir") {
			for _, part := range strings.Split(text, `"md5": "`)[1:] {
				require.FileExists(t, filepath.Join(base, part[:2], part[2:32]), "a listing without its file")
			}
		}
		return nil
	})
}

func TestKilledPushesAndPullsOnS3LeaveNothingTorn(t *testing.T) {
	g := remotetest.StartS3(t)
	w := newWorld(t)
	self, err := os.Executable()
	require.NoError(t, err)
	count, rnd := kills(t)
	run := func(dir, op string, after time.Duration) error {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "DVC_TEST_OP="+op, "DVC_TEST_DIR="+dir)
		require.NoError(t, cmd.Start())
		if after > 0 {
			timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
			defer timer.Stop()
		}
		return cmd.Wait()
	}
	killed, took := 0, 600*time.Millisecond
	for round := 0; killed < count; round++ {
		prefix := fmt.Sprint("r", round)
		dir, r := w.repo()
		files := map[string]string{"d/big": strings.Repeat(fmt.Sprintf("%015d\n", round), 5<<18)} // in parts
		for i := range 200 {
			files["d/"+itoa(i)] = strings.Repeat(itoa(i+round), 500)
		}
		write(t, dir, files)
		_, err := r.Add(bg(t), []string{"d"}, dvc.AddOptions{})
		require.NoError(t, err)
		useS3(t, dir, g, prefix)
		for range 5 {
			if run(dir, "push", time.Duration(rnd.Int64N(int64(took)))) != nil {
				killed++
			}
			trusted(t, bucket(g, prefix))
		}
		begin := time.Now()
		require.NoError(t, run(dir, "push", 0), "the next push completes")
		took = max(100*time.Millisecond, time.Since(begin))
		trusted(t, bucket(g, prefix))
		clone, cr := w.clone(dir)
		useS3(t, clone, g, prefix)
		for range 5 {
			if run(clone, "pull", time.Duration(rnd.Int64N(int64(took)))) != nil {
				killed++
			}
			whole(t, filepath.Join(clone, ".dvc/cache"), false)
			for p, v := range files {
				if b, err := os.ReadFile(filepath.Join(clone, p)); err == nil {
					require.True(t, v == string(b), "%s in the workspace is whole or absent", p)
				}
			}
		}
		require.NoError(t, run(clone, "pull", 0), "the next pull completes")
		st, err := cr.Status(bg(t), dvc.StatusOptions{})
		require.NoError(t, err)
		require.True(t, st.Clean(), "%v", st)
		require.Less(t, round, 20*count+20, "nothing is killed: the delays are too long for this machine")
	}
	t.Logf("%d kills", killed)
}
