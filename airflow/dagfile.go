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
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/mlops-integration/mlops"
)

// helper is the Python module that makes a DAG of a declaration.
//
//go:embed mlops_dag.py
var helper []byte

// helperName is the module's name. It tells its content, so that DAG files of
// two versions of this package can live in one folder.
var helperName = "mlops_dag_" + digest(helper)[:8]

// dagFile is the Python file of a DAG: its ID and version, twice the helper's
// name, the declaration, the version.
const dagFile = `# DAG %s mlops-sha:%s
# Written by mlops from a declaration in Go. The next write replaces it.
import json

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, literal

import %s

SPEC = json.loads(r'''
%s
''')

dag = %s.build(SPEC, "%s", DAG, BashOperator, literal)
`

// fileName is the file of a DAG in the DAGs folder.
func fileName(id string) string { return id + ".py" }

// specWire is the declaration as the file holds it, defaults filled in.
type specWire struct {
	ID            string     `json:"id"`
	Description   string     `json:"description,omitempty"`
	Schedule      string     `json:"schedule,omitempty"`
	Start         string     `json:"start,omitempty"`
	Tags          []string   `json:"tags,omitempty"`
	MaxActiveRuns int        `json:"max_active_runs,omitempty"`
	Paused        bool       `json:"paused,omitempty"`
	Owner         string     `json:"owner,omitempty"`
	Tasks         []taskWire `json:"tasks"`
}

type taskWire struct {
	ID         string            `json:"id"`
	Bash       string            `json:"bash"`
	Env        map[string]string `json:"env,omitempty"`
	After      []string          `json:"after,omitempty"`
	Retries    int               `json:"retries"`
	RetryDelay float64           `json:"retry_delay,omitempty"` // seconds
	Timeout    float64           `json:"timeout,omitempty"`     // seconds
	Pool       string            `json:"pool"`
	PoolSlots  int               `json:"pool_slots"`
	Dir        string            `json:"dir,omitempty"`
}

func (d DAGSpec) wire() specWire {
	w := specWire{ID: d.ID, Description: d.Description, Schedule: d.Schedule, Tags: d.Tags, MaxActiveRuns: d.MaxActiveRuns, Paused: d.Paused, Owner: d.DefaultArgs.Owner}
	if !d.Start.IsZero() {
		w.Start = d.Start.UTC().Format("2006-01-02T15:04:05-07:00")
	}
	for i := range d.Tasks {
		t := d.resolved(i)
		w.Tasks = append(w.Tasks, taskWire{t.ID, t.Bash, t.Env, t.After, t.Retries, seconds(t.RetryDelay), seconds(t.Timeout), t.Pool, t.PoolSlots, t.Dir})
	}
	return w
}

func seconds(d time.Duration) float64 { return d.Seconds() }

// json is the declaration in ASCII, without ”' in it, whatever the texts hold.
func (d DAGSpec) json() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(d.wire()); err != nil {
		panic(err) // strings, numbers and maps of them always encode
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
	return fmt.Appendf(nil, dagFile, d.ID, hash, helperName, spec, helperName, hash), nil
}

// WriteDAG writes the DAG's file, <ID>.py, and the module it needs into the
// DAGs folder and returns the file's path. Both are written whole or not at
// all. It removes nothing; a file of that name that this package did not write
// for this DAG is an error that matches [mlops.ErrAlreadyExists].
//
// The server meets the file after a while: see [Client.WaitDAG].
func WriteDAG(dir string, d DAGSpec) (string, error) {
	src, err := d.Python()
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, fileName(d.ID))
	if err := ownedBy(file, d.ID); err != nil && !isNotFound(err) {
		return "", err
	}
	if err := replace(filepath.Join(dir, helperName+".py"), helper); err != nil {
		return "", fmt.Errorf("DAG %s: %w", d.ID, err)
	}
	if err := replace(file, src); err != nil {
		return "", fmt.Errorf("DAG %s: %w", d.ID, err)
	}
	return file, nil
}

// RemoveDAG removes the file that [WriteDAG] wrote for a DAG. The error matches
// [mlops.ErrNotFound] if there is none. The server forgets the DAG after a
// while, and keeps its runs: see [Client.DeleteDAG].
func RemoveDAG(dir, id string) error {
	if !isKey(id) {
		return invalid("RemoveDAG", "%q is no DAG ID", id)
	}
	file := filepath.Join(dir, fileName(id))
	if err := ownedBy(file, id); err != nil {
		return err
	}
	return os.Remove(file)
}

// ownedBy checks that file was written by WriteDAG for the DAG.
func ownedBy(file, id string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &mlops.Error{Kind: mlops.ErrNotFound, Service: service, Message: file + " does not exist"}
	}
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(b, []byte("# DAG "+id+" "+hashTag)) {
		return &mlops.Error{Kind: mlops.ErrAlreadyExists, Service: service, Message: fmt.Sprintf("%s was not written by mlops for DAG %s: left as it is", file, id)}
	}
	return nil
}

// replace gives file this content by a rename; it does nothing if it has it.
// Airflow may run as another user: everybody may read.
func replace(file string, content []byte) error {
	if b, err := os.ReadFile(file); err == nil && bytes.Equal(b, content) {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".mlops-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
