package airflow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-integration/mlops"
)

// ReadSpec reads a declaration from YAML, or from JSON, which is YAML. The keys
// are those of [DAGSpec] in lower case with underscores, as in max_active_runs;
// durations are "90s" or "1h30m", times as in "2026-11-01T03:00:00Z", with their
// zone. In each and params a time is a text and stands in quotes. A 0 in the text
// is not the default: retries and a task's timeout of 0 are none; any other limit,
// interval or timeout of 0 is refused. The error names each key that is
// unknown and matches [mlops.ErrInvalid].
func ReadSpec(r io.Reader) (DAGSpec, error) {
	src, err := io.ReadAll(io.LimitReader(r, 16<<20))
	if err != nil {
		return DAGSpec{}, err
	}
	var d DAGSpec
	dec := yaml.NewDecoder(bytes.NewReader(src))
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil {
		return DAGSpec{}, unread(err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return DAGSpec{}, invalid("ReadSpec", "there is more than one document; want one DAG")
	}
	var w written
	if err := yaml.Unmarshal(src, &w); err != nil {
		return DAGSpec{}, unread(err)
	}
	for i, t := range w.Tasks {
		if t.Retries != nil && *t.Retries == 0 {
			d.Tasks[i].Retries = -1
		}
		if t.Timeout != nil && *t.Timeout == 0 {
			d.Tasks[i].Timeout = -1
		}
	}
	return d, d.jsonValues()
}

// unread is the error for a text that is no declaration.
func unread(err error) error {
	if errors.Is(err, io.EOF) {
		return invalid("ReadSpec", "the declaration is empty")
	}
	wrong, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return invalid("ReadSpec", "%.500v", err)
	}
	for i, line := range wrong.Errors { // "line 3: field foo not found in type airflow.TaskSpec"
		if before, field, ok := strings.Cut(line, ": field "); ok {
			name, _, _ := strings.Cut(field, " not found")
			wrong.Errors[i] = fmt.Sprintf("%s: there is no key %.100s", before, name)
		}
	}
	return invalid("ReadSpec", "%.2000s", strings.Join(wrong.Errors, "; "))
}

// written is what a [DAGSpec] does not show of a text: zeros that stand there,
// and how moments are written.
type written struct {
	Start          moment `yaml:"start"`
	Every          some   `yaml:"every"`
	Timeout        some   `yaml:"timeout"`
	MaxActiveRuns  some   `yaml:"max_active_runs"`
	MaxActiveTasks some   `yaml:"max_active_tasks"`
	DefaultArgs    struct {
		RetryDelay some `yaml:"retry_delay"`
		Timeout    some `yaml:"timeout"`
	} `yaml:"default_args"`
	Tasks []struct {
		Retries       *int           `yaml:"retries"`
		Timeout       *time.Duration `yaml:"timeout"`
		RetryDelay    some           `yaml:"retry_delay"`
		MaxRetryDelay some           `yaml:"max_retry_delay"`
		PoolSlots     some           `yaml:"pool_slots"`
		MaxActive     some           `yaml:"max_active"`
		Wait          struct {
			Until   moment `yaml:"until"`
			Every   some   `yaml:"every"`
			Timeout some   `yaml:"timeout"`
		} `yaml:"wait"`
		Decision struct {
			Timeout some `yaml:"timeout"`
		} `yaml:"decision"`
	} `yaml:"tasks"`
}

// some refuses a 0 that would be taken for the default.
type some struct{}

func (*some) UnmarshalYAML(n *yaml.Node) error {
	if strings.Trim(n.Value, "+-0.hmsnu") == "" {
		return fmt.Errorf("line %d: there is a 0: want more, or leave the key out for the default", n.Line)
	}
	return nil
}

// moment refuses a time without a zone, which YAML would take for UTC.
type moment struct{}

func (*moment) UnmarshalYAML(n *yaml.Node) error {
	if _, err := time.Parse(time.RFC3339, n.Value); err != nil {
		return fmt.Errorf("line %d: %.100q: want a time with its zone, as in 2026-11-01T03:00:00Z or 2026-11-01T03:00:00+01:00", n.Line, n.Value)
	}
	return nil
}

// jsonValues refuses what YAML can say and JSON cannot.
func (d DAGSpec) jsonValues() error {
	check := func(where string, v any) error {
		err := encodes(v)
		if err == nil && holdsTime(v) {
			err = errors.New("YAML reads a time there; put it in quotes")
		}
		if err != nil {
			return invalid("ReadSpec", "%s: %v", where, err)
		}
		return nil
	}
	for _, t := range d.Tasks {
		if err := check(fmt.Sprintf("task %.100q: each", t.ID), t.Each); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Params)) {
		if err := check(fmt.Sprintf("params: %.100q", name), map[string]any(d.Params[name])); err != nil {
			return err
		}
	}
	return nil
}

func holdsTime(v any) bool {
	switch v := v.(type) {
	case time.Time:
		return true
	case []any:
		return slices.ContainsFunc(v, holdsTime)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), holdsTime)
	}
	return false
}

// ReadDAG returns the declaration that a DAG file was written for, with the
// defaults of the DAG filled in, as [DAGSpec.Resolved] does. It reads the files
// of earlier versions, too. The error matches [mlops.ErrNotFound] if there is no
// file and [mlops.ErrInvalid] if [WriteDAG] did not write it.
func ReadDAG(file string) (DAGSpec, error) {
	src, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return DAGSpec{}, &mlops.Error{Kind: mlops.ErrNotFound, Service: service, Op: "ReadDAG", Message: file + " does not exist"}
	}
	if err != nil {
		return DAGSpec{}, err
	}
	_, rest, begun := strings.Cut(string(src), "json.loads(r'''")
	spec, _, ended := strings.Cut(rest, "'''")
	if _, ok := headerOf(src); !ok || !begun || !ended {
		return DAGSpec{}, invalid("ReadDAG", "%s was not written by mlops", file)
	}
	var version struct {
		Format int `json:"format"`
	}
	err = json.Unmarshal([]byte(spec), &version)
	switch {
	case err == nil && version.Format > format:
		return DAGSpec{}, &mlops.Error{Kind: mlops.ErrUnsupported, Service: service, Op: "ReadDAG", Message: file + " was written by a later version of mlops"}
	case err == nil && version.Format < format:
		spec, err = fromFirstFormat(spec)
	}
	var w declaration
	if err == nil {
		err = json.Unmarshal([]byte(spec), &w)
	}
	if err != nil {
		return DAGSpec{}, invalid("ReadDAG", "%s: %v", file, err)
	}
	return w.DAGSpec, nil
}

// fromFirstFormat makes of a declaration without a format, in which times are
// seconds, one of today.
func fromFirstFormat(spec string) (string, error) {
	var w map[string]any
	if err := json.Unmarshal([]byte(spec), &w); err != nil {
		return "", err
	}
	if owner, ok := w["owner"]; ok {
		w["default_args"] = map[string]any{"owner": owner}
	}
	if tags, ok := w["tags"].([]any); ok {
		w["tags"] = slices.DeleteFunc(tags, func(tag any) bool {
			text, _ := tag.(string)
			return strings.HasPrefix(text, projectTag)
		})
	}
	tasks, _ := w["tasks"].([]any)
	for _, task := range tasks {
		t, _ := task.(map[string]any)
		for _, name := range []string{"retry_delay", "timeout"} {
			if seconds, ok := t[name].(float64); ok {
				t[name] = int64(seconds * 1e9)
			}
		}
	}
	b, err := json.Marshal(w)
	return string(b), err
}
