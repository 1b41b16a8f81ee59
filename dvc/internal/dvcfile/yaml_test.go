package dvcfile

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// The real dvc writes through ruamel.yaml of its own Python: thousands of texts
// in one start.
func TestLiveScalarsAreRuamels(t *testing.T) {
	bin := os.Getenv("MLOPS_DVC")
	if home := os.Getenv("MLOPS_HOME"); bin == "" && home != "" {
		bin = filepath.Join(home, "venvs", "dvc", "bin", "dvc")
	}
	python := filepath.Join(filepath.Dir(bin), "python")
	if _, err := os.Stat(python); bin == "" || err != nil {
		if os.Getenv("MLOPS_LIVE") == "1" {
			t.Fatal("no python beside dvc: set MLOPS_DVC")
		}
		t.Skip("not live: no dvc to compare with (MLOPS_DVC)")
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	atoms := []string{"a", "B", "1", "0", "-", "+", ".", ":", "#", " ", " ", "'", `"`, `\`, "?", "*", "&", "!", "%", "@", "`", "|", ">", "[", "]", "{", "}", ",", "~", "=", "<", "_",
		"e", "x", "o", "null", "true", "nan", "inf", "\t", "\n", "\u00e9", "\U0001F600", "\ufeff", "\x7f", "\u200b", "2020-01-01", "long words ", "0b1", strings.Repeat("w", 30)}
	texts := make([]string, 1200)
	for i := range texts {
		for range 1 + rnd.IntN(6+i%20) {
			texts[i] += atoms[rnd.IntN(len(atoms))]
		}
	}
	in, err := json.Marshal(texts)
	require.NoError(t, err)
	cmd := exec.Command(python, "-c", `
import sys, json
from dvc.utils.serialize._yaml import dumps_yaml, parse_yaml
def write(s):
    text = dumps_yaml({"outs": [{"md5": "x", "path": s}]})
    return text if parse_yaml(text, "x")["outs"][0]["path"] == s else ""
print(json.dumps([write(s) for s in json.load(sys.stdin)]))`)
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(in)), os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	var want []string
	require.NoError(t, json.Unmarshal(out, &want))
	for i, s := range texts {
		got := "outs:\n- md5: x\n  path:" + yamlValue(s, 7, 4) + "\n"
		if want[i] != "" && got != want[i] { // dvc does not read some of what it writes
			t.Errorf("%q\n ours   %q\n ruamel %q", s, got, want[i])
		}
	}
}

func FuzzYAMLValueIsReadBack(f *testing.F) {
	for _, s := range []string{"a", "it's: x", "1e3", strings.Repeat("long words ", 20) + "x", "t\t" + strings.Repeat("z y ", 40), " lead", "new\nline", "\ufeff", strings.Repeat("0", 45) + strings.Repeat("\x18", 7) + "0 0", strings.Repeat("0", 71) + "  0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" || strings.ContainsAny(s, "\u0085\u2028\u2029\r") || strings.ToValidUTF8(s, "") != s || len(s) > 400 {
			return
		}
		text := "outs:\n- md5: x\n  path:" + yamlValue(s, 7, 4) + "\n"
		var got struct {
			Outs []struct{ Path yaml.Node }
		}
		if err := yaml.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%q: %v\n%s", s, err, text)
		}
		if got.Outs[0].Path.Value != s {
			t.Errorf("%q is read as %q\n%s", s, got.Outs[0].Path.Value, text)
		}
	})
}

func TestDVCFilesArePatchedInPlace(t *testing.T) {
	const before = `# top comment
desc: hello desc
outs:
- md5: 4d45ba347c2a7067e81c8aa03c93cc76.dir   # the hash
  nfiles: 5
  hash: md5
  path: d   # the path
  labels: [1, 2]
  size: 5 # bytes
  isexec: true

# the end
`
	f, err := Parse("d.dvc", []byte(before))
	require.NoError(t, err)
	id := object.ID(strings.Repeat("1", 32) + ".dir")
	got, err := f.Outs[0].Patch(Content{ID: id, Size: -1, NFiles: 12})
	require.NoError(t, err)
	require.Equal(t, strings.NewReplacer("4d45ba347c2a7067e81c8aa03c93cc76.dir", string(id), "nfiles: 5", "nfiles: 12", "  size: 5 # bytes\n", "", "  isexec: true\n", "").Replace(before), string(got))

	f, err = Parse("d.dvc", got)
	require.NoError(t, err)
	got, err = f.Outs[0].Patch(Content{ID: id, Size: 77, NFiles: 12})
	require.NoError(t, err)
	require.Contains(t, string(got), "  labels: [1, 2]\n\n# the end\n  size: 77\n", "as dvc does")

	f, err = Parse("x.dvc", []byte("outs: [{md5: d41d8cd98f00b204e9800998ecf8427e, hash: md5, path: x}]\n"))
	require.NoError(t, err)
	_, err = f.Outs[0].Patch(Content{ID: id, Size: 1, NFiles: -1})
	require.Error(t, err)
}

func FuzzDVCFile(f *testing.F) {
	f.Add("outs:\n- md5: d41d8cd98f00b204e9800998ecf8427e\n  size: 0\n  hash: md5\n  path: a\n")
	f.Add("wdir: ..\nouts:\n- path: ../../x\n")
	f.Add("outs: [{path: a, hash: md5}]\nfrozen: true # x\n")
	f.Add("md5: x\nfrozen: true\ndeps:\n- path: data\n  repo:\n    url: ../x\n    rev_lock: 5e70bb5444b84c85537a2dae58e180fd9fb74d58\nouts:\n- hash: md5\n  path: a\n")
	f.Add("deps:\n- etag: x\n  size: 1\n  hash: md5\n  path: s3://b/k\n  fs_config:\n    endpointurl: x\nouts:\n- md5: d41d8cd98f00b204e9800998ecf8427e\n  size: 0\n  path: a\n  hash: md5\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse("s/x.dvc", []byte(text))
		if err != nil {
			return
		}
		for _, o := range d.Outs {
			if object.UnsafePath(o.Path) != "" {
				t.Fatalf("path %q", o.Path)
			}
			c := Content{ID: object.ID(strings.Repeat("a", 32)), Size: 3, NFiles: -1}
			if got, err := o.Patch(c); err == nil {
				n, err := Parse("s/x.dvc", got)
				if err != nil || len(n.Outs) != len(d.Outs) {
					t.Fatalf("%q became %q: %v", text, got, err)
				}
			}
		}
		if d.Imports == nil || d.Outs[0].Legacy {
			return
		}
		to := *d.Imports
		to.Size = 7
		c := Content{ID: object.ID(strings.Repeat("a", 32)), Size: 3, NFiles: -1}
		if got, err := Import("s/x.dvc", "x", d, &to, c, "", true); err == nil {
			n, err := Parse("s/x.dvc", got)
			if err != nil || n.Imports == nil || n.Sum != n.StageSum() || n.Imports.Path != to.Path {
				t.Fatalf("%q became %q: %v", text, got, err)
			}
		}
	})
}

func TestUnsafeDVCFilesAreRefused(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"path leaves the repository", "outs:\n- {path: ../../x, hash: md5}\n"},
		{"absolute path", "outs:\n- path: /etc/passwd\n  hash: md5\n"},
		{"url", "outs:\n- path: s3://x/y\n  hash: md5\n"},
		{"git's folder", "outs:\n- path: ../.git/hooks/pre-commit\n  hash: md5\n"},
		{"dvc's folder", "wdir: ..\nouts:\n- path: .dvc/config\n  hash: md5\n"},
		{"the repository itself", "wdir: ..\nouts:\n- path: .\n  hash: md5\n"},
		{"hash with a path", "outs:\n- path: a\n  md5: ../../../x\n"},
		{"short hash", "outs:\n- path: a\n  md5: abc\n"},
		{"upper case hash", "outs:\n- path: a\n  md5: D41D8CD98F00B204E9800998ECF8427E\n"},
		{"key twice", "outs:\n- path: a\n  path: b\n"},
		{"alias", "outs:\n- &x\n  path: a\n- *x\n"},
		{"negative size", "outs:\n- path: a\n  size: -1\n"},
		{"not yaml", "outs: [\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Parse("s/x.dvc", []byte(tt.text))
			if err == nil {
				t.Errorf("accepted: %v", fmt.Sprint(f.Outs[0].Path, f.Outs[0].ID))
			}
		})
	}
	f, err := Parse("s/x.dvc", []byte("outs:\n- path: ../up.bin\n  hash: md5\n"))
	require.NoError(t, err, "a path above the .dvc file but inside the repository is legal")
	require.Equal(t, "up.bin", f.Outs[0].Path)
}
