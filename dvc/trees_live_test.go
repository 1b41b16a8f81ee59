package dvc_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

// forest makes random trees of data: the same calls give the same trees in
// every repository.
type forest struct {
	t    testing.TB
	rnd  *rand.Rand
	dirs []string // of the repositories
	used map[string]bool
}

var nameAtoms = []string{
	"a", "B", "7", "-", "+", ".", ",", ":", "#", " ", "'", `"`, `\`, "?", "*", "&", "!", "%", "@", "`", "|", ">", "[", "]", "{", "}", "~", "=", "_", "$", "(", ";",
	"e9", "0x", "null", "caf\u00e9", "cafe\u0301", "\u212b", "\u00c5", "\U0001F600", "\u65e5\u672c", "\ufeff", "\x7f", "\x01", "\t", "\n", "\r", "\u200b", "long words ", strings.Repeat("w", 40),
}

// name invents a name that no other file of the tree has, in any case.
func (f *forest) name() string {
	for {
		name := hostile[f.rnd.IntN(len(hostile))]
		if f.rnd.IntN(2) == 0 {
			name = ""
			for range 1 + f.rnd.IntN(7) {
				name += nameAtoms[f.rnd.IntN(len(nameAtoms))]
			}
		}
		if name == "." || name == ".." || len(name) > 200 || f.used[strings.ToLower(name)] || strings.HasSuffix(name, ".dvc") {
			continue
		}
		f.used[strings.ToLower(name)] = true
		return name
	}
}

func (f *forest) each(do func(dir string) error) {
	for _, dir := range f.dirs {
		require.NoError(f.t, do(dir))
	}
}

func (f *forest) file(rel string) {
	var b []byte
	switch f.rnd.IntN(6) {
	case 0:
	case 1:
		b = []byte(strings.Repeat("line\r\n", 1+f.rnd.IntN(50)))
	case 2:
		b = make([]byte, 1<<20-1+f.rnd.IntN(3)) // around the size that is read in one go
		b[0] = byte(f.rnd.Uint32())
	default:
		b = make([]byte, f.rnd.IntN(5000))
		for i := range b {
			b[i] = byte(f.rnd.Uint32())
		}
	}
	mode := fs.FileMode(0o644)
	if f.rnd.IntN(5) == 0 {
		mode = 0o744
	}
	f.each(func(dir string) error {
		p := filepath.Join(dir, rel)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p, b, mode); err != nil {
			return err
		}
		return os.Chmod(p, mode)
	})
}

// link makes a symlink at rel to a place in the same repository.
func (f *forest) link(to, rel string) {
	f.each(func(dir string) error {
		return os.Symlink(strings.Repeat("../", strings.Count(rel, "/"))+to, filepath.Join(dir, rel))
	})
}

// grow fills a directory.
func (f *forest) grow(rel string, depth int) {
	f.each(func(dir string) error { return os.MkdirAll(filepath.Join(dir, rel), 0o755) })
	for range f.rnd.IntN(8) {
		sub := path.Join(rel, f.name())
		switch n := f.rnd.IntN(12); {
		case n < 3 && depth < 3:
			f.grow(sub, depth+1)
		case n == 3:
			f.each(func(dir string) error { return os.MkdirAll(filepath.Join(dir, sub, "empty"), 0o755) })
		case n == 4: // to a file outside of the data
			f.link("shared", sub)
		case n == 5: // to a directory: passed over
			f.link("folder", sub)
		case n == 6:
			f.each(func(dir string) error {
				return os.WriteFile(filepath.Join(dir, rel, ".gitignore"), []byte("*.tmp\n!keep\nsecret"), 0o644)
			})
		default:
			f.file(sub)
		}
	}
}

// comment adds to a .dvc file what people add. It is written as dvc would write
// it: dvc formats the whole file anew, where ours changes values in place.
func (f *forest) comment(file string) {
	n := f.rnd.IntN(6)
	f.each(func(dir string) error {
		p := filepath.Join(dir, file)
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		text := string(b)
		switch n {
		case 0:
			text = "# top\n\n" + text + "# end\n"
		case 1:
			text = "desc: 'about: it'\nmeta:\n  owner: me   # inline\n\n" + text
		case 2:
			text = strings.Replace(text, "  hash: md5\n", "  hash: md5 # kind\n  desc: it's\n  labels: [a, b]\n", 1)
		case 3:
			text = strings.Replace(text, "  size: ", "  # how big\n  size: ", 1)
		case 4: // another order
			text = strings.Replace(text, "  hash: md5\n", "", 1) + "  hash: md5\n  type: model\n  meta: {k: [1, 2]}\n"
		}
		return os.WriteFile(p, []byte(text), 0o644)
	})
}

// sow plants one repository's worth of data and returns what is to be added.
func (f *forest) sow() (targets []string) {
	f.each(func(dir string) error {
		if err := os.MkdirAll(filepath.Join(dir, "folder"), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "folder", "f"), []byte("in a folder"), 0o644); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "shared"), []byte("shared\r\n"), 0o644)
	})
	ignores := []string{"", "*.tmp", "/skip", "**/cache/", "!keep", "7*", "[aB]?", "# none", "e9", `\#x`, "*.bin\n!a.bin", "d/**/x", "  trimmed  "}
	text := ""
	for range f.rnd.IntN(3) {
		text += ignores[f.rnd.IntN(len(ignores))] + "\n"
	}
	git := []string{"", "*.log\n", "no newline", "/shared\n", "\r\n", "# c\n!x\n"}[f.rnd.IntN(6)]
	f.each(func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, ".dvcignore"), []byte(text), 0o644); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(git), 0o644)
	})
	at := ""
	for range 3 + f.rnd.IntN(6) {
		rel := path.Join(at, f.name())
		switch f.rnd.IntN(3) {
		case 0:
			f.grow(rel, 0)
		case 1:
			f.file(rel)
		default:
			f.file(rel)
			if f.rnd.IntN(2) == 0 {
				at = path.Join([]string{"", "sub", "sub dir/x"}[f.rnd.IntN(3)])
			}
		}
		targets = append(targets, rel)
	}
	return targets
}

// A tool adds, pushes, pulls or checks out in a repository.
type tool struct {
	name string
	run  func(dir, verb string, targets ...string) error
}

func tools(w *world) (theirs, ours tool) {
	theirs = tool{"dvc", func(dir, verb string, targets ...string) error {
		_, err := w.try(dir, append([]string{verb, "-q", "--"}, targets...)...)
		return err
	}}
	ours = tool{"ours", func(dir, verb string, targets ...string) error {
		r, err := dvc.Open(dir)
		if err != nil {
			return err
		}
		switch verb {
		case "add":
			_, err = r.Add(bg(w.t), targets, dvc.AddOptions{})
		case "push":
			_, err = r.Push(bg(w.t), dvc.PushOptions{Targets: targets})
		case "pull":
			_, err = r.Pull(bg(w.t), dvc.PullOptions{Targets: targets})
		}
		return err
	}}
	return theirs, ours
}

// sparse is a snapshot with no more of the modes than dvc keeps: whether a
// single file can be run.
func sparse(t testing.TB, dir string) map[string]string {
	out := snapshot(t, dir)
	for p, v := range out {
		if mode, text, ok := strings.Cut(v, " "); ok && !strings.HasPrefix(v, "->") && !strings.HasPrefix(p, ".dvc/") {
			_, single := out[p+".dvc"]
			out[p] = fmt.Sprintf("%v %s", single && mode[3] == 'x', text)
		}
	}
	return out
}

// clean asks both tools whether a repository is as it should be.
func (w *world) clean(dir string) error {
	out, err := w.try(dir, "data", "status", "--json")
	var ds map[string]json.RawMessage
	switch {
	case err != nil && strings.Contains(err.Error(), "Invalid IPv6 URL"): // dvc takes "//[" in a name for a URL
	case err != nil:
		return err
	default:
		if err := json.Unmarshal([]byte(out), &ds); err != nil {
			return err
		}
	}
	for _, key := range []string{"not_in_cache", "uncommitted"} {
		if v := string(ds[key]); v != "" && v != "{}" && v != "[]" {
			return fmt.Errorf("dvc data status: %s: %s", key, v)
		}
	}
	if out, err = w.try(dir, "status", "--json"); err != nil || strings.TrimSpace(out) != "{}" {
		return fmt.Errorf("dvc status: %s %w", out, err)
	}
	r, err := dvc.Open(dir)
	if err != nil {
		return err
	}
	st, err := r.Status(bg(w.t), dvc.StatusOptions{})
	if err != nil || !st.Clean() {
		return fmt.Errorf("our status: %v %w", st.Changes, err)
	}
	return nil
}

func differ(theirs, ours map[string]string) string {
	var out []string
	for p, v := range theirs {
		if ours[p] != v {
			out = append(out, fmt.Sprintf("%q\n  dvc:  %.300s\n  ours: %.300s", p, v, orNone(ours[p])))
		}
	}
	for p, v := range ours {
		if _, ok := theirs[p]; !ok {
			out = append(out, fmt.Sprintf("%q only ours: %.300s", p, v))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// Random trees come out of dvc and of ours with the same bytes: .dvc files,
// .gitignore, cache, remote, and what the other one pulls. MLOPS_TREES is how
// many (25), MLOPS_SEED the first one's seed.
func TestLiveTreesComeOutAsDVCs(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	n, seed := 25, 0
	if v, err := strconv.Atoi(os.Getenv("MLOPS_TREES")); err == nil {
		n = v
	}
	if v, err := strconv.Atoi(os.Getenv("MLOPS_SEED")); err == nil {
		seed = v * n
	}
	for i := range n {
		t.Run("seed "+itoa(seed+i), func(t *testing.T) { w.compareTree(t, uint64(seed+i)) })
	}
}

func (w *world) compareTree(t *testing.T, seed uint64) {
	w = &world{t: t, bin: w.bin}
	a, b := w.dir(), w.dir()
	for _, dir := range []string{a, b} {
		w.git(dir, "init", "-q", "-b", "main")
	}
	w.dvc(a, "init", "-q")
	_, err := dvc.Init(b)
	require.NoError(t, err)
	f := &forest{t: t, rnd: rand.New(rand.NewPCG(seed, 9)), dirs: []string{a, b}, used: map[string]bool{"shared": true, "folder": true, "sub": true, "sub dir": true, "old": true}}
	targets := f.sow()
	if f.rnd.IntN(3) == 0 {
		for _, rel := range []string{"old/crlf", "old/d/x"} {
			f.file(rel)
		}
		f.each(func(dir string) error { legacy(t, dir, "old/crlf"); legacy(t, dir, "old/d"); return nil })
	}
	theirs, ours := tools(w)
	// In every other tree the tools change places after the first step.
	doA, doB := theirs, ours
	step := func(verb string, targets ...string) bool {
		t.Helper()
		before := sparse(t, b)
		errA, errB := doA.run(a, verb, targets...), doB.run(b, verb, targets...)
		if errA != nil || errB != nil {
			if errA == nil || errB == nil {
				t.Fatalf("seed %d: %s %q: %s says %v, %s says %v", seed, verb, targets, doA.name, errA, doB.name, errB)
			}
			if doB.name == "ours" {
				if d := differ(before, sparse(t, b)); d != "" {
					t.Fatalf("seed %d: %s %q was refused and changed %s", seed, verb, targets, d)
				}
			}
			return false
		}
		if d := differ(sparse(t, a), sparse(t, b)); d != "" {
			t.Fatalf("seed %d: %s %q by %s, and by %s:\n%s", seed, verb, targets, doA.name, doB.name, d)
		}
		return true
	}
	if !step("add", targets...) { // one is refused: without those that dvc refuses
		kept := targets[:0]
		for _, target := range targets {
			if step("add", target) {
				kept = append(kept, target)
			}
		}
		targets = kept
	}
	if seed%2 == 1 {
		doA, doB = ours, theirs
	}
	var again []string
	for _, target := range targets {
		if strings.ContainsAny(target, "\n") || strings.HasSuffix(target, " ") || strings.HasSuffix(target, "\r") {
			continue // dvc writes another .gitignore entry each time, since git reads the first without its end
		}
		if f.rnd.IntN(2) == 0 {
			f.comment(target + ".dvc")
		}
		fi, err := os.Lstat(filepath.Join(a, target))
		require.NoError(t, err)
		switch n := f.rnd.IntN(4); {
		case n == 0:
		case n == 1 && fi.IsDir():
			f.grow(target, 2)
			again = append(again, target)
		case n == 1 || !fi.IsDir():
			f.each(func(dir string) error { return os.Chmod(filepath.Join(dir, target), fi.Mode()|0o200) })
			if !fi.IsDir() {
				f.file(target)
			}
			again = append(again, target)
		default: // a part of a directory
			sub := path.Join(target, f.name())
			f.file(sub)
			if _, err := w.try(a, "check-ignore", "-q", "--", sub); err == nil {
				continue // dvc takes it, and calls the directory modified from then on; ours refuses it
			}
			again = append(again, sub)
		}
	}
	if len(again) > 0 {
		step("add", again...)
	}
	remA, remB := filepath.Join(w.dir(), "rem"), filepath.Join(w.dir(), "rem")
	for dir, rem := range map[string]string{a: remA, b: remB} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".dvc/config"), []byte("[core]\n    remote = s\n['remote \"s\"']\n    url = "+rem+"\n"), 0o644))
	}
	require.NoError(t, doA.run(a, "push"))
	require.NoError(t, doB.run(b, "push"))
	if d := differ(snapshot(t, remA), snapshot(t, remB)); d != "" {
		t.Fatalf("seed %d: the remotes of %s and %s:\n%s", seed, doA.name, doB.name, d)
	}
	cloneA, _ := w.clone(a)
	cloneB, _ := w.clone(b)
	require.NoError(t, doB.run(cloneA, "pull"), "seed %d: %s pulls what %s pushed", seed, doB.name, doA.name)
	require.NoError(t, doA.run(cloneB, "pull"), "seed %d: %s pulls what %s pushed", seed, doA.name, doB.name)
	for _, clone := range []string{cloneA, cloneB} {
		require.NoError(t, w.clean(clone), "seed %d", seed)
	}
	if d := differ(drop(sparse(t, cloneA)), drop(sparse(t, cloneB))); d != "" {
		t.Fatalf("seed %d: after the pulls:\n%s", seed, d)
	}
}

// drop leaves out the configuration, which names the remote.
func drop(snap map[string]string) map[string]string {
	delete(snap, ".dvc/config")
	return snap
}
