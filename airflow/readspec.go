package airflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-integration/mlops"
)

// ReadSpec reads a declaration from YAML, or from JSON, which is YAML. The keys
// are those of [DAGSpec] in lower case with underscores, as in max_active_runs;
// durations are "90s" or "1h30m", times as in "2026-11-01T03:00:00Z". The error
// names each key that is unknown and matches [mlops.ErrInvalid].
func ReadSpec(r io.Reader) (DAGSpec, error) {
	var d DAGSpec
	dec := yaml.NewDecoder(io.LimitReader(r, 16<<20))
	dec.KnownFields(true)
	err := dec.Decode(&d)
	if wrong, ok := errors.AsType[*yaml.TypeError](err); ok {
		for i, line := range wrong.Errors { // "line 3: field foo not found in type airflow.TaskSpec"
			if before, field, ok := strings.Cut(line, ": field "); ok {
				name, _, _ := strings.Cut(field, " not found")
				wrong.Errors[i] = fmt.Sprintf("%s: there is no key %.100s", before, name)
			}
		}
		return DAGSpec{}, invalid("ReadSpec", "%.2000s", strings.Join(wrong.Errors, "; "))
	}
	switch {
	case errors.Is(err, io.EOF):
		return DAGSpec{}, invalid("ReadSpec", "the declaration is empty")
	case err != nil:
		return DAGSpec{}, invalid("ReadSpec", "%.500v", err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return DAGSpec{}, invalid("ReadSpec", "there is more than one document; want one DAG")
	}
	return d, d.textKeys()
}

// textKeys refuses what YAML can say and JSON cannot.
func (d DAGSpec) textKeys() error {
	for _, t := range d.Tasks {
		if err := encodes(t.Each); err != nil {
			return invalid("ReadSpec", "task %.100q: each: %v", t.ID, err)
		}
	}
	if err := encodes(d.Params); err != nil {
		return invalid("ReadSpec", "params: %v", err)
	}
	return nil
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
