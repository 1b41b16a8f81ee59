package dvc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

// Whether a file can be run is kept by dvc for single files alone. What becomes
// of the bits of files in directories, in the workspace and in the cache, is
// compared here bit for bit, through each kind of link. Two things are ours:
//   - dvc puts a copy in the place of a single file, and so makes 0755 and 0444 of
//     it 0744 and 0644. Ours leaves it alone.
//   - The object that a single file is linked to is 0544 after dvc add and
//     checkout, and 0444 after its next status. Ours is 0444, which is trusted.
func modes(t *testing.T, dir, links string) map[string]string {
	out := snapshot(t, dir)
	for p, v := range out {
		mode, text, _ := strings.Cut(v, " ")
		_, single := out[p+".dvc"]
		switch {
		case mode == "->":
			out[p] = strings.ReplaceAll(v, dir, "")
		case links != "copy" && mode == "-r-xr--r--":
			out[p] = "-r--r--r-- " + text
		case links == "copy" && single:
			out[p] = fmt.Sprintf("%v %s", mode[3] == 'x', text)
		}
	}
	return out
}

func TestLiveModesAreDVCs(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	for _, links := range []string{"copy", "hardlink", "symlink"} {
		t.Run(links, func(t *testing.T) {
			w := &world{t: t, bin: w.bin}
			a, _ := w.cacheType(links)
			b, _ := w.cacheType(links)
			each := func(do func(dir string) error) {
				t.Helper()
				for _, dir := range []string{a, b} {
					require.NoError(t, do(dir))
				}
			}
			set := func(mode os.FileMode, names ...string) {
				t.Helper()
				each(func(dir string) error {
					for _, name := range names {
						if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
							return err
						}
					}
					return nil
				})
			}
			write := func(name, text string) {
				t.Helper()
				each(func(dir string) error {
					p := filepath.Join(dir, name)
					_ = os.Remove(p) // it may be a link to an object
					if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
						return err
					}
					return os.WriteFile(p, []byte(text), 0o644)
				})
			}
			same := func(did string, theirs, ours error) {
				t.Helper()
				require.NoError(t, theirs, did)
				require.NoError(t, ours, did)
				require.Empty(t, differ(modes(t, a, links), modes(t, b, links)), did)
			}
			r, err := dvc.Open(b)
			require.NoError(t, err)
			add := func(did string, targets ...string) {
				t.Helper()
				_, theirs := w.try(a, append([]string{"add", "-q"}, targets...)...)
				_, ours := r.Add(bg(t), targets, dvc.AddOptions{})
				same(did, theirs, ours)
			}
			checkout := func(did string) {
				t.Helper()
				_, theirs := w.try(a, "checkout", "-q", "-f")
				_, ours := r.Checkout(bg(t), dvc.CheckoutOptions{Force: true})
				same(did, theirs, ours)
			}
			for _, name := range []string{"d/run", "d/sub/run", "d/user", "d/plain", "d/read", "run", "plain", "user", "read"} {
				write(name, "text of "+name)
			}
			set(0o755, "d/run", "d/sub/run", "run")
			set(0o744, "d/user", "user")
			set(0o444, "d/read", "read")
			add("files that can be run", "d", "run", "plain", "user", "read")
			if links == "copy" { // else the objects themselves would be changed
				set(0o755, "d/plain", "plain")
				set(0o644, "d/sub/run", "run") // dvc makes it 0744 again at its second checkout, against the .dvc file
				add("bits alone changed", "d", "plain", "run")
			}
			each(func(dir string) error { return os.RemoveAll(filepath.Join(dir, "d")) })
			each(func(dir string) error { return os.Remove(filepath.Join(dir, "run")) })
			checkout("an empty workspace")
			write("d/plain", "new")
			write("plain", "new")
			write("run", "new")
			set(0o755, "d/plain", "plain", "run")
			checkout("changed files that can be run")
			write("d/new", "n")
			if links != "copy" { // dvc's copy in its place cannot be run
				set(0o755, "d/new")
			}
			add("one new file", "d/new")
		})
	}
}
