package airflow

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
	"unicode/utf16"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/atomicfile"
)

// helper is the Python module that makes a DAG of a declaration.
//
//go:embed mlops_dag.py
var helper []byte

// helperName is the module's name. It tells its content, so that DAG files of
// two versions of this package can live in one folder.
var helperName = "mlops_dag_" + digest(helper)[:8]

// dagFile is the Python file of a DAG: its ID, version and project, the helper's
// name, the declaration, the helper's name again and the version.
const dagFile = `# DAG %s mlops-sha:%s project:%s
# Written by mlops from a declaration. The next write replaces it.
import json
from importlib import import_module

import %s

SPEC = json.loads(r'''
%s
''')

dag = %s.build(SPEC, "%s", lambda name: import_module("airflow." + name))
`

// fileName is the file of a DAG in the DAGs folder.
func fileName(id string) string { return id + ".py" }

// format tells the declaration of a file from those of other versions.
const format = 2

// declaration is what the file holds, with defaults filled in. Durations are
// nanoseconds.
type declaration struct {
	Format int `json:"format"`
	DAGSpec
	ProjectTags []string `json:"project_tags,omitempty"`
}

// resolved returns a task with the defaults of the DAG filled in.
func (d DAGSpec) resolved(i int) TaskSpec {
	t, a := d.Tasks[i], d.DefaultArgs
	t.Retries = max(0, orElse(t.Retries, a.Retries))
	t.RetryDelay = orElse(t.RetryDelay, a.RetryDelay)
	t.Pool = orElse(orElse(t.Pool, d.Pool), "default_pool")
	t.PoolSlots = orElse(t.PoolSlots, 1)
	if t.Wait != nil || t.Decision != nil {
		// apache/airflow#72716; what waits runs no program, and has its own limit.
		t.Retries = max(2, t.Retries)
		t.RetryDelay = orElse(t.RetryDelay, 10*time.Second)
		t.Timeout, t.Dir = 0, ""
		return t
	}
	t.Timeout = max(0, orElse(t.Timeout, a.Timeout))
	t.Dir = orElse(t.Dir, a.Dir)
	env := map[string]string{}
	maps.Copy(env, a.Env)
	maps.Copy(env, t.Env)
	t.Env = env
	return t
}

func orElse[T comparable](v, other T) T {
	if v == *new(T) {
		return other
	}
	return v
}

// Resolved returns the declaration as the file holds it: each task has the
// defaults of the DAG.
func (d DAGSpec) Resolved() DAGSpec {
	tasks := make([]TaskSpec, len(d.Tasks))
	for i := range d.Tasks {
		tasks[i] = d.resolved(i)
	}
	d.Tasks, d.Pool, d.DefaultArgs = tasks, "", DefaultArgs{Owner: d.DefaultArgs.Owner}
	if !d.Start.IsZero() {
		d.Start = d.Start.UTC()
	}
	return d
}

// json is the declaration in ASCII, without two single quotes in a row, whatever
// the texts hold.
func (d DAGSpec) json() []byte {
	w := declaration{Format: format, DAGSpec: d.Resolved()}
	if d.Project != "" {
		w.ProjectTags = []string{projectTag + projectShown(d.Project)}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(w); err != nil {
		panic(err) // Validate has seen that Each and Params encode
	}
	var out strings.Builder
	last := rune(0)
	for _, r := range strings.TrimSpace(b.String()) {
		switch {
		case r == '\'' && last == '\'':
			out.WriteString(`\u0027`)
			r = 0
		case r < 0x7f:
			out.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		last = r
	}
	return []byte(out.String())
}

// Hash identifies the declaration and the way it is carried out: 12 hex
// digits. The DAG shows it in the tag mlops-sha:<hash>.
func (d DAGSpec) Hash() string {
	return digest(helper, []byte(dagFile), d.json())[:12]
}

func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Python returns the DAG's file. The declaration stands in it as JSON, in a
// raw string; nothing of it becomes Python code.
func (d DAGSpec) Python() ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	spec := d.json()
	if bytes.Contains(spec, []byte("'''")) {
		return nil, invalid("Python", "the declaration of %s would end its string early", d.ID)
	}
	hash := d.Hash()
	return fmt.Appendf(nil, dagFile, d.ID, hash, d.Project, helperName, spec, helperName, hash), nil
}

// WriteDAG writes the DAG's file, <ID>.py, and the module it needs into the
// DAGs folder and returns the file's path. Both are written whole or not at
// all. It removes nothing and asks no server: [Client.Declare] judges the
// declaration first.
//
// The error matches [mlops.ErrAlreadyExists] if there is a file of that name
// that this package did not write for this DAG and project.
func WriteDAG(dir string, d DAGSpec) (string, error) {
	src, err := d.Python()
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, fileName(d.ID))
	err = ownedBy(file, d.ID, d.Project)
	isNew := isNotFound(err)
	if err != nil && !isNew {
		return "", err
	}
	if err := replace(filepath.Join(dir, helperName+".py"), helper); err != nil {
		return "", fmt.Errorf("DAG %s: %w", d.ID, err)
	}
	put := replace
	if isNew {
		put = create
	}
	if err := put(file, src); errors.Is(err, fs.ErrExist) {
		return WriteDAG(dir, d) // another was quicker: see whose it is
	} else if err != nil {
		return "", fmt.Errorf("DAG %s: %w", d.ID, err)
	}
	return file, nil
}

// RemoveDAG removes the file that [WriteDAG] wrote for a DAG of a project, which
// is empty if the declaration named none. The error matches
// [mlops.ErrNotFound] if there is no such file, and [mlops.ErrAlreadyExists] if
// it is another's. The server forgets the DAG after a while, and keeps its runs:
// see [Client.Remove].
func RemoveDAG(dir, id, project string) error {
	if !isKey(id) {
		return invalid("RemoveDAG", "%q is no DAG ID", id)
	}
	file := filepath.Join(dir, fileName(id))
	if err := ownedBy(file, id, project); err != nil {
		return err
	}
	return os.Remove(file)
}

// FileProject returns which project a DAG file was written for, by the file's
// first line, and whether [WriteDAG] wrote it at all.
func FileProject(file string) (project string, ok bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", false
	}
	h, ok := headerOf(b)
	return h.project, ok
}

// header is what the first line of a DAG file says.
type header struct{ id, hash, project string }

var headerRule = regexp.MustCompile(`^# DAG (\S+) ` + hashTag + `([0-9a-f]{12})(?: project:(\S*))?\n`)

func headerOf(src []byte) (header, bool) {
	m := headerRule.FindSubmatch(src)
	if m == nil {
		return header{}, false
	}
	return header{string(m[1]), string(m[2]), string(m[3])}, true
}

// ownedBy checks that WriteDAG wrote file for this DAG of this project. A file
// without a project, as earlier versions wrote it, is anyone's.
func ownedBy(file, id, project string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if info, err := os.Lstat(file); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return &mlops.Error{Kind: mlops.ErrAlreadyExists, Service: service, Message: file + " is a symbolic link to a file that is not there: left as it is"}
		}
		return &mlops.Error{Kind: mlops.ErrNotFound, Service: service, Message: file + " does not exist"}
	}
	if err != nil {
		return err
	}
	h, ok := headerOf(b)
	if !ok || h.id != id {
		return &mlops.Error{Kind: mlops.ErrAlreadyExists, Service: service, Message: fmt.Sprintf("%s was not written by mlops for DAG %s: left as it is", file, id)}
	}
	if h.project != "" && h.project != project {
		return &mlops.Error{Kind: mlops.ErrAlreadyExists, Service: service, Message: fmt.Sprintf("DAG %s belongs to project %s: left as it is; choose another ID", id, h.project)}
	}
	return nil
}

// projectShown is a project's name as it fits into a tag, which has up to 100
// characters.
func projectShown(project string) string {
	const longest = 100 - len(projectTag)
	if len(project) <= longest {
		return project
	}
	return project[:longest-9] + "~" + digest([]byte(project))[:8]
}

// public is the mode of files that Airflow reads, which may run as another user.
const public = 0o644

// replace gives file this content; it does nothing if it has it.
func replace(file string, content []byte) error {
	if b, err := os.ReadFile(file); err == nil && bytes.Equal(b, content) {
		return nil
	}
	return atomicfile.Write(file, content, public)
}

// create makes file with this content; the error matches [fs.ErrExist] if it is
// there. File systems without links get a rename.
func create(file string, content []byte) error {
	err := atomicfile.Create(file, content, public)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSYS) {
		return atomicfile.Write(file, content, public)
	}
	return err
}
