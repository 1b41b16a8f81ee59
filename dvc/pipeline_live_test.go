package dvc_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

// A pipeline with each way of writing an output.
const pipeline = `vars:
- size: big
- dir: out
stages:
  prep:
    cmd: mkdir -p out/s && cp in.txt out/o.txt && echo 1 > out/s/q && echo '{"a":1}' > m.json && cp in.txt model.bin && echo once > once && cp in.txt kept
    deps: &deps
    - in.txt
    outs:
    - ${dir}
    - model.bin:
        desc: the model
        persist: true
    - once:
        push: false
    - kept:
        cache: false
    metrics:
    - m.json:
        cache: false
  tmpl:
    cmd: cp in.txt ${size}.bin
    deps: *deps
    outs:
    - ${size}.bin:
        push: false
  each:
    foreach: [x, y.z]
    do:
      cmd: echo ${item} > each-${item}.txt
      outs:
      - each-${item}.txt
  grid:
    matrix:
      a: [1, 2]
      b: [p]
    cmd: echo ${item.a} > grid-${item.a}-${item.b}
    plots:
    - grid-${item.a}-${item.b}:
        x: t
  below:
    cmd: cp ../in.txt deep
    wdir: sub
    outs:
    - deep
  never:
    frozen: true
    cmd: echo never > never
    outs:
    - never
`

func TestLiveOutputsOfStagesAreDVCs(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	theirs := w.dir()
	w.git(theirs, "init", "-q", "-b", "main")
	w.dvc(theirs, "init", "-q")
	write(t, theirs, map[string]string{"dvc.yaml": pipeline, "in.txt": "in\n", "sub/x": "", "other/dvc.yaml": "stages:\n  one:\n    cmd: echo 1 > one\n    outs: [one]\n"})
	remA, remB := filepath.Join(w.dir(), "rem"), filepath.Join(w.dir(), "rem")
	w.dvc(theirs, "remote", "add", "-q", "-d", "store", remA)
	w.dvc(theirs, "repro", "-q", "prep", "tmpl", "each", "grid", "below", "other/dvc.yaml:one")
	w.dvc(theirs, "push", "-q")

	r, err := dvc.Open(theirs)
	require.NoError(t, err)
	require.NoError(t, r.AddRemote(bg(t), "second", remB, dvc.AddRemoteOptions{}))
	_, err = r.Push(bg(t), dvc.PushOptions{Remote: "second"})
	require.NoError(t, err)
	same(t, remA, remB, "the remote")

	clone, cr := w.clone(theirs)
	_, err = cr.Pull(bg(t), dvc.PullOptions{Targets: []string{"prep"}})
	require.ErrorContains(t, err, "once", "what is never pushed cannot come")
	_, err = cr.Pull(bg(t), dvc.PullOptions{Targets: []string{"each", "grid@2-p", "dvc.yaml:below", "other/dvc.yaml", "model.bin", "out"}})
	require.NoError(t, err)
	for _, f := range []string{"each-x.txt", "each-y.z.txt", "grid-2-p", "sub/deep", "other/one", "model.bin", "out/o.txt", "out/s/q"} {
		require.Equal(t, read(t, theirs, f), read(t, clone, f))
	}
	require.NoFileExists(t, filepath.Join(clone, "grid-1-p"))

	write(t, theirs, map[string]string{"each-x.txt": "edited", "sub/deep": "edited", "out/new": "n", "never": "x"})
	require.NoError(t, os.Remove(filepath.Join(theirs, "other/one")))
	st, err := r.Status(bg(t), dvc.StatusOptions{})
	require.NoError(t, err)
	got, err := st.MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, w.dvc(theirs, "status", "--json"), string(got))
	write(t, theirs, map[string]string{"other/one": "x"})
	sub, err := dvc.Open(filepath.Join(theirs, "other"))
	require.NoError(t, err)
	st, err = sub.Status(bg(t), dvc.StatusOptions{})
	require.NoError(t, err)
	got, err = st.MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, w.dvc(filepath.Join(theirs, "other"), "status", "--json"), string(got))
}

func TestLivePartsOfDirectoriesMoveAsInDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	src, r := w.repo()
	write(t, src, map[string]string{"d/sub/a": "a", "d/sub/b": "b", "d/c": "c", "d/subx": "x", "e": "e"})
	outs, err := r.Add(bg(t), []string{"d", "e"}, dvc.AddOptions{})
	require.NoError(t, err)
	remA, remB := filepath.Join(w.dir(), "rem"), filepath.Join(w.dir(), "rem")
	require.NoError(t, r.AddRemote(bg(t), "a", remA, dvc.AddRemoteOptions{}))
	require.NoError(t, r.AddRemote(bg(t), "b", remB, dvc.AddRemoteOptions{}))
	// dvc uploads the listing with the first part, and misses the others from
	// then on; ours goes up with the last part.
	w.dvc(src, "push", "-q", "-r", "a", "d")
	for _, target := range []string{"d/sub", "d/c", "d/subx"} {
		require.NoFileExists(t, filepath.Join(remB, "files/md5", outs[0].Hash[:2], outs[0].Hash[2:]))
		_, err = r.Push(bg(t), dvc.PushOptions{Remote: "b", Targets: []string{target}})
		require.NoError(t, err)
	}
	same(t, remA, remB, "push of parts")
	theirs, _ := w.clone(src)
	ours, or := w.clone(src)
	for _, target := range []string{"d/sub/a", "d/sub"} {
		w.dvc(theirs, "pull", "-q", "-r", "a", target)
		_, err = or.Pull(bg(t), dvc.PullOptions{Remote: "b", Targets: []string{target}})
		require.NoError(t, err)
		same(t, theirs, ours, "pull "+target)
	}
	for _, dir := range []string{theirs, ours} {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "d")))
	}
	w.dvc(theirs, "checkout", "-q", "d/sub/b")
	_, err = or.Checkout(bg(t), dvc.CheckoutOptions{Targets: []string{"d/sub/b"}})
	require.NoError(t, err)
	same(t, theirs, ours, "checkout")
}
