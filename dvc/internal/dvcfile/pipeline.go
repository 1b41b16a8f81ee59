package dvcfile

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
)

// pipelineStage is what is read of a stage in a dvc.yaml. With foreach or
// matrix it makes many stages, whose names follow an @.
type pipelineStage struct {
	Foreach any            `yaml:"foreach"`
	Do      *pipelineStage `yaml:"do"`
	Matrix  any            `yaml:"matrix"`
	Wdir    string         `yaml:"wdir"`
	Frozen  bool           `yaml:"frozen"`
	Always  bool           `yaml:"always_changed"`
	Params  []any          `yaml:"params"`
	Deps    []any          `yaml:"deps"`
	Outs    []any          `yaml:"outs"`
	Metrics []any          `yaml:"metrics"`
	Plots   []any          `yaml:"plots"`
}

// ParsePipeline reads the stages of a dvc.yaml, with the hashes that its
// dvc.lock (which may be empty) has. Templates are not evaluated: a path with
// ${…} is found in the lock, and so are the names that foreach and matrix make.
// Outputs that are only in dvc.lock are none of dvc's either.
func ParsePipeline(rel string, text, lock []byte) ([]*File, error) {
	top := &File{Rel: rel}
	if len(text) > MaxSize {
		return nil, top.bad(nil, "%d bytes are too many", len(text))
	}
	var y struct {
		Stages map[string]*pipelineStage `yaml:"stages"`
	}
	// The decoder expands anchors, which people write, within limits of its own.
	if err := yaml.Unmarshal(text, &y); err != nil {
		return nil, top.unreadable(text, err)
	}
	locked, err := parseLock(strings.TrimSuffix(rel, ".yaml")+".lock", lock)
	if err != nil {
		return nil, err
	}
	var files []*File
	add := func(name string, s *pipelineStage) error {
		f, err := s.load(rel, name, locked[name])
		if err == nil {
			f.Text = lock
			files = append(files, f)
		}
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(y.Stages)) {
		s := y.Stages[name]
		if s == nil {
			continue
		}
		if s.Foreach == nil && s.Matrix == nil {
			if err := add(name, s); err != nil {
				return nil, err
			}
			continue
		}
		body := s
		if s.Do != nil {
			body = s.Do
		}
		keys := s.keys()
		for _, full := range slices.Sorted(maps.Keys(locked)) {
			group, key, made := strings.Cut(full, "@")
			if !made || group != name || keys != nil && !slices.Contains(keys, key) {
				continue
			}
			if err := add(full, body); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

// keys returns what foreach makes names of, nil if that takes a template.
func (s *pipelineStage) keys() []string {
	out := []string{}
	switch each := s.Foreach.(type) {
	case []any:
		for _, v := range each {
			switch v := v.(type) {
			case string, int, bool:
				out = append(out, fmt.Sprint(v))
			case float64, nil: // written as Python writes it
				return nil
			default: // with a mapping or list among them they are counted
				return countTo(len(each))
			}
		}
	case map[string]any:
		out = slices.Collect(maps.Keys(each))
	default:
		return nil
	}
	if slices.ContainsFunc(out, func(k string) bool { return strings.Contains(k, "${") }) {
		return nil
	}
	return out
}

func countTo(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strconv.Itoa(i)
	}
	return out
}

type lockedStage struct {
	file *File
	outs []*yaml.Node
	deps []string
}

// parseLock returns the outputs that a dvc.lock holds, by stage.
func parseLock(rel string, text []byte) (map[string]lockedStage, error) {
	f := &File{Rel: rel}
	top, err := f.parseYAML(text)
	if err != nil || top == nil {
		return nil, err
	}
	if v := top["schema"]; v == nil || v.Value != "2.0" {
		return nil, fault.New(mlops.ErrUnsupported, "%s: schema is not '2.0'; run: dvc commit", rel)
	}
	out := map[string]lockedStage{}
	if top["stages"] == nil {
		return out, nil
	}
	stages, err := f.mapping(top["stages"])
	if err != nil {
		return nil, err
	}
	for name, n := range stages {
		s, err := f.mapping(n)
		if err != nil {
			return nil, err
		}
		l := lockedStage{file: f}
		if s["outs"] != nil {
			l.outs = s["outs"].Content
		}
		if s["deps"] != nil {
			for _, d := range s["deps"].Content {
				if m, _ := mapping(d); m["path"] != nil {
					l.deps = append(l.deps, m["path"].Value)
				}
			}
		}
		out[name] = l
	}
	return out, nil
}

// load makes the outputs of one stage.
func (s *pipelineStage) load(rel, name string, lock lockedStage) (*File, error) {
	f := &File{Rel: rel, Stage: name, frozen: s.Frozen, Deps: true}
	f.Always = s.Always || len(s.Deps)+len(s.Params)+len(s.Outs)+len(s.Metrics)+len(s.Plots) == 0
	wdir := s.Wdir
	if strings.Contains(wdir, "${") {
		return nil, fault.New(mlops.ErrUnsupported, "%s: stage %s: wdir is a template", rel, name)
	}
	dir := path.Join(path.Dir(rel), wdir)
	f.Needs = s.depsOf(dir, lock)
	byPath := map[string]*yaml.Node{}
	for _, n := range lock.outs {
		m, err := lock.file.mapping(n)
		if err != nil {
			return nil, err
		}
		if p := m["path"]; p != nil {
			byPath[p.Value] = n
		}
	}
	flags, err := s.flags()
	if err != nil {
		return nil, fmt.Errorf("dvc: %s: stage %s: %w: %w", rel, name, err, mlops.ErrInvalid)
	}
	byName := map[string]outFlags{}
	for _, fl := range flags {
		if !strings.Contains(fl.path, "${") {
			byName[fl.path] = fl
		}
	}
	unsure := map[string]bool{}
	for _, fl := range flags {
		if byName[fl.path].path != "" {
			continue
		}
		glob := template(fl.path)
		for p := range byPath {
			if !glob.MatchString(p) {
				continue
			}
			if was, known := byName[p]; !known {
				byName[p] = fl
			} else if was.path != p {
				unsure[p] = unsure[p] || was.cache != fl.cache || was.push != fl.push || was.remote != fl.remote
			}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(byName)) {
		fl, n := byName[p], byPath[p]
		if !fl.cache && (strings.Contains(p, "://") || strings.HasPrefix(p, "/")) {
			continue // only watched by dvc, and never stored
		}
		if n == nil {
			n = &yaml.Node{Kind: yaml.MappingNode}
			for _, text := range []string{"path", p, "hash", "md5"} {
				n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: text})
			}
		}
		o, err := f.parseOut(dir, n)
		if err != nil {
			return nil, err
		}
		o.Cache, o.Push, o.Remote = fl.cache, fl.push, fl.remote
		o.Metric, o.Plot = fl.metric, fl.plot
		if unsure[p] {
			o.Odd = "may be one of two templates, with other flags"
		}
		f.Outs = append(f.Outs, o)
	}
	return f, nil
}

// depsOf lists what a stage depends on, as dvc.lock has it, or the dvc.yaml
// where that has no template.
func (s *pipelineStage) depsOf(dir string, lock lockedStage) []string {
	names := lock.deps
	if len(names) == 0 {
		for _, d := range s.Deps {
			switch d := d.(type) {
			case string:
				names = append(names, d)
			case map[string]any:
				for name := range d {
					names = append(names, name)
				}
			}
		}
	}
	var out []string
	for _, name := range names {
		if !strings.Contains(name, "${") && !strings.Contains(name, "://") && !strings.HasPrefix(name, "/") {
			out = append(out, path.Join(dir, name))
		}
	}
	return out
}

// outFlags is an output as a dvc.yaml has it.
type outFlags struct {
	path        string
	cache, push bool
	remote      string
	metric      bool
	plot        bool
}

// flags lists the outputs in outs, metrics and plots: names, or names with
// flags.
func (s *pipelineStage) flags() ([]outFlags, error) {
	var out []outFlags
	for i, list := range [][]any{s.Outs, s.Metrics, s.Plots} {
		for _, item := range list {
			if name, ok := item.(string); ok {
				out = append(out, outFlags{path: name, cache: true, push: true, metric: i == 1, plot: i == 2})
				continue
			}
			m, ok := item.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("output %v", item)
			}
			for _, name := range slices.Sorted(maps.Keys(m)) {
				f := outFlags{path: name, cache: true, push: true, metric: i == 1, plot: i == 2}
				switch v := m[name].(type) {
				case map[string]any:
					if err := f.set(v); err != nil {
						return nil, err
					}
				case []any: // several plots of one file
					for _, one := range v {
						if err := f.set(one); err != nil {
							return nil, err
						}
					}
				case nil:
				default:
					return nil, fmt.Errorf("output %s: %v", name, v)
				}
				out = append(out, f)
			}
		}
	}
	return out, nil
}

func (f *outFlags) set(v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return errors.New("flags are not a mapping")
	}
	for key, dst := range map[string]*bool{"cache": &f.cache, "push": &f.push} {
		if v, ok := m[key]; ok {
			if *dst, ok = v.(bool); !ok {
				return fmt.Errorf("output %s: %s: %v", f.path, key, v)
			}
		}
	}
	if v, ok := m["remote"]; ok {
		f.remote = fmt.Sprint(v)
	}
	return nil
}

var placeholder = regexp.MustCompile(`\\\$\\\{[^}]*\\\}`)

// template returns what a path with ${…} can have become.
func template(p string) *regexp.Regexp {
	return regexp.MustCompile("^" + placeholder.ReplaceAllString(regexp.QuoteMeta(p), ".*") + "$")
}
