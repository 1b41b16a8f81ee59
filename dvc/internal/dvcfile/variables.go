package dvcfile

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A stage whose templates cannot be resolved has unknown outputs.
// dvc refuses such a dvc.yaml, and so do we, without resolving it.

// variables are what templates can use; open means that a part of them is in a
// file that is not read here, so that nothing can be said to be missing.
type variables struct {
	all  map[string]any
	open bool
}

// reader reads a small file by its path from the root.
type reader func(rel string) ([]byte, error)

// Source: dvc/schema.py, MULTI_STAGE_SCHEMA and STAGE_DEFINITION.
var (
	pipelineKeys = strings.Fields("datasets plots stages vars params metrics artifacts")
	stageKeys    = strings.Fields("cmd wdir deps params vars frozen meta desc always_changed outs metrics plots matrix")
)

// CheckPipeline refuses what dvc would refuse in a dvc.yaml.
func CheckPipeline(rel string, text []byte, read func(rel string) ([]byte, error)) error {
	f := &File{Rel: rel}
	var doc map[string]any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil // keys that are no texts: dvc's concern
	}
	if err := onlyKeys(f, "the file", doc, pipelineKeys); err != nil {
		return err
	}
	stages, ok := doc["stages"].(map[string]any)
	if !ok {
		if doc["stages"] != nil {
			return f.bad(nil, "stages is not a mapping")
		}
		return nil
	}
	global := variables{all: map[string]any{}}
	dir := path.Dir(f.Rel)
	err := global.load(f, read, dir, "params.yaml")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := global.add(f, read, dir, doc["vars"]); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(stages)) {
		if err := checkStage(f, name, stages[name], global, read); err != nil {
			return err
		}
	}
	return nil
}

func checkStage(f *File, name string, def any, vars variables, read reader) error {
	what := "stage " + name
	m, ok := def.(map[string]any)
	if !ok {
		return f.bad(nil, "%s is not a mapping", what)
	}
	if each, made := m["foreach"]; made || m["do"] != nil {
		if err := onlyKeys(f, what, m, []string{"foreach", "do"}); err != nil {
			return err
		}
		if err := vars.check(f, what, each); err != nil {
			return err
		}
		if m, ok = m["do"].(map[string]any); !ok {
			return f.bad(nil, "%s has no mapping do", what)
		}
	}
	if err := onlyKeys(f, what, m, stageKeys); err != nil {
		return err
	}
	if m["cmd"] == nil {
		return f.bad(nil, "%s has no cmd", what)
	}
	if err := vars.check(f, what, m["matrix"]); err != nil {
		return err
	}
	own := variables{maps.Clone(vars.all), vars.open}
	for _, made := range []string{"item", "key"} { // foreach and matrix fill them
		own.all[made] = unknownValue{}
	}
	wdir, _ := m["wdir"].(string)
	own.open = own.open || strings.Contains(wdir, "${") && m["vars"] != nil
	if err := own.add(f, read, path.Join(path.Dir(f.Rel), wdir), m["vars"]); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if key == "vars" || key == "matrix" || key == "desc" || key == "meta" {
			continue
		}
		if err := own.check(f, what, m[key]); err != nil {
			return err
		}
	}
	return nil
}

func onlyKeys(f *File, what string, m map[string]any, known []string) error {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(known, key) {
			return f.bad(nil, "%s has the key %q, which dvc does not know", what, key)
		}
	}
	return nil
}

// add takes the items of a vars list: files, with or without keys, and mappings.
func (v *variables) add(f *File, read reader, dir string, list any) error {
	items, _ := list.([]any)
	for _, item := range items {
		switch item := item.(type) {
		case string:
			name, _, _ := strings.Cut(item, ":")
			err := v.load(f, read, dir, name)
			if errors.Is(err, fs.ErrNotExist) {
				return f.bad(nil, "vars: %s does not exist", item)
			}
			if err != nil {
				return err
			}
		case map[string]any:
			merge(v.all, item)
		}
	}
	return nil
}

// load merges a file of variables.
func (v *variables) load(f *File, read reader, dir, name string) error {
	rel := path.Join(dir, name)
	if path.IsAbs(name) || !fs.ValidPath(rel) {
		v.open = true
		return nil
	}
	text, err := read(rel)
	if err != nil {
		return err
	}
	var m map[string]any
	switch ext := path.Ext(name); {
	case ext == ".toml" || ext == ".py":
		v.open = true
	case yaml.Unmarshal(text, &m) != nil: // JSON, too
		return f.bad(nil, "%s cannot be read", rel)
	}
	merge(v.all, m)
	return nil
}

func merge(into, from map[string]any) {
	for k, val := range from {
		old, a := into[k].(map[string]any)
		val2, b := val.(map[string]any)
		if a && b {
			old = maps.Clone(old)
			merge(old, val2)
			val = old
		}
		into[k] = val
	}
}

// unknownValue is a variable of which any part may exist.
type unknownValue struct{}

var expression = regexp.MustCompile(`(^|[^\\])\$\{(.*?)\}`)

// check refuses templates in a value that name no variable.
func (v variables) check(f *File, what string, val any) error {
	switch val := val.(type) {
	case string:
		for _, m := range expression.FindAllStringSubmatch(val, -1) {
			if !v.has(m[2]) {
				return f.bad(nil, "%s: ${%s} is neither in params.yaml nor in vars", what, m[2])
			}
		}
	case []any:
		for _, e := range val {
			if err := v.check(f, what, e); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(val)) {
			if err := errors.Join(v.check(f, what, k), v.check(f, what, val[k])); err != nil {
				return err
			}
		}
	}
	return nil
}

// has looks an expression up: a.b, a[0].b.
func (v variables) has(expr string) bool {
	if v.open {
		return true
	}
	var at any = v.all
	for part := range strings.SplitSeq(strings.NewReplacer("[", ".", "]", "").Replace(strings.TrimSpace(expr)), ".") {
		switch now := at.(type) {
		case map[string]any:
			next, ok := now[part]
			if !ok {
				return false
			}
			at = next
		case []any:
			i := slices.IndexFunc(countTo(len(now)), func(n string) bool { return n == part })
			if i < 0 {
				return false
			}
			at = now[i]
		case map[any]any, unknownValue:
			return true
		default:
			return false
		}
	}
	return true
}
