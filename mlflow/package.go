package mlflow

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// The files that are written beside the model's own.
const (
	modelFile        = "MLmodel"
	requirementsFile = "requirements.txt"
	pythonEnvFile    = "python_env.yaml"
	condaFile        = "conda.yaml"
	exampleFile      = "input_example.json"
	servingFile      = "serving_input_example.json"
)

// pkg is a model on its way into MLflow's form.
type pkg struct {
	dir     string
	model   ModelSpec
	server  string // version of MLflow
	files   []string
	bytes   int64             // of files
	made    map[string][]byte // by name, what is written for it
	flavors map[string]any
	env     Environment
	reqs    []string
	given   bool // reqs are the caller's or the folder's
}

// newPackage looks at dir and prepares all but what names the logged model.
func newPackage(dir string, m ModelSpec, server string) (*pkg, error) {
	const op = "LogModel"
	p := &pkg{dir: dir, model: m, server: server, made: map[string][]byte{}, flavors: map[string]any{}}
	var err error
	if p.files, err = localFiles(dir); err != nil {
		return nil, err
	}
	if len(p.files) == 0 {
		return nil, invalid(op, "%s holds no files", dir)
	}
	for _, f := range p.files {
		info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(f)))
		if err != nil {
			return nil, err
		}
		p.bytes += info.Size()
	}
	switch has := slices.Contains(p.files, modelFile); {
	case has && len(m.Flavors) > 0:
		return nil, invalid(op, "%s holds an MLmodel file and Model.Flavors is set: want one of them", dir)
	case has:
		return p, nil
	case len(m.Flavors) == 0:
		return nil, invalid(op, "%s holds no MLmodel file and Model.Flavors says nothing: MLflow could not load it", dir)
	}
	if m.Venv != "" {
		if p.env, err = ReadEnvironment(m.Venv); err != nil {
			return nil, err
		}
	}
	p.env.Python = cmp.Or(m.Python, p.env.Python)
	if err := p.readRequirements(); err != nil {
		return nil, err
	}
	for _, f := range m.Flavors {
		if err := f.describe(p); err != nil {
			return nil, err
		}
	}
	return p, p.writeEnvironment()
}

// needs checks that a file or folder is in the model's folder.
func (p *pkg) needs(name string) error {
	c, err := cleanPath(name)
	if err == nil && (c == "" || c != name || !slices.ContainsFunc(p.files, func(f string) bool { return f == c || strings.HasPrefix(f, c+"/") })) {
		err = invalid("LogModel", "there is no file %q in %s", name, p.dir)
	}
	return err
}

// readRequirements takes the caller's requirements, or those in the folder.
func (p *pkg) readRequirements() error {
	p.reqs = slices.Clone(p.model.Requirements)
	p.given = p.reqs != nil
	if p.given || !slices.Contains(p.files, requirementsFile) {
		return nil
	}
	f, err := openInside(p.dir, requirementsFile)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	p.given = true
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			p.reqs = append(p.reqs, line)
		}
	}
	return nil
}

// require adds packages in the versions of the environment, unless the caller
// said what is required. It is an error if must is not among them.
func (p *pkg) require(must string, packages ...string) error {
	if p.given {
		return nil
	}
	for _, name := range packages {
		v, ok := p.env.Packages[name]
		switch line := name + "==" + v; {
		case ok && !slices.Contains(p.reqs, line):
			p.reqs = append(p.reqs, line)
		case !ok && name == must:
			return invalid("LogModel", "the version of %s is not known: give Model.Venv, the environment that made the model, or Model.Requirements", name)
		}
	}
	return nil
}

// pinned is the version that the requirements give a package.
func (p *pkg) pinned(name string) string {
	for _, r := range p.reqs {
		if n, v, ok := strings.Cut(r, "=="); ok && normal(n) == name {
			v, _, _ = strings.Cut(v, ";")
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// pyfunc describes how mlflow.pyfunc loads the model. The first flavor wins.
func (p *pkg) pyfunc(loader string, conf map[string]any) {
	if _, ok := p.flavors["python_function"]; ok {
		return
	}
	conf["loader_module"] = loader
	if p.env.Python != "" {
		conf["python_version"] = p.env.Python
		conf["env"] = map[string]string{"conda": condaFile, "virtualenv": pythonEnvFile}
	}
	p.flavors["python_function"] = conf
}

// writeEnvironment writes what a server needs to build the model's environment.
// Where packages come from is not written: that is the server's business.
func (p *pkg) writeEnvironment() error {
	for _, r := range p.reqs {
		if strings.Contains(r, "://") || strings.HasPrefix(r, "-") {
			return invalid("LogModel", "requirement %q: options and addresses do not belong into a model", r)
		}
	}
	if !slices.ContainsFunc(p.reqs, func(r string) bool { return requirementName(r) == "mlflow" }) {
		p.reqs = append([]string{"mlflow==" + p.server}, p.reqs...)
	}
	p.made[requirementsFile] = []byte(strings.Join(p.reqs, "\n") + "\n")
	if p.env.Python == "" {
		return nil
	}
	var err error
	if p.made[pythonEnvFile], err = toYAML(map[string]any{
		"python": p.env.Python, "build_dependencies": []string{"pip", "setuptools", "wheel"}, "dependencies": []string{"-r " + requirementsFile},
	}); err != nil {
		return err
	}
	p.made[condaFile], err = toYAML(map[string]any{
		"name": "mlflow-env", "channels": []string{"conda-forge"},
		"dependencies": []any{"python=" + p.env.Python, "pip", map[string]any{"pip": p.reqs}},
	})
	return err
}

// finish writes MLmodel, which names the logged model and the run.
func (p *pkg) finish(runID string, logged LoggedModel) error {
	if len(p.flavors) == 0 {
		return nil // Python wrote it
	}
	doc := map[string]any{
		"artifact_path": logged.ArtifactURI, "flavors": p.flavors, "mlflow_version": p.server,
		"model_id": logged.ID, "model_uuid": logged.ID, "run_id": runID,
		"utc_time_created": time.Now().UTC().Format("2006-01-02 15:04:05.000000"),
	}
	if len(p.model.Metadata) > 0 {
		doc["metadata"] = p.model.Metadata
	}
	if err := p.example(doc); err != nil {
		return err
	}
	if p.model.Signature != nil {
		s, err := p.model.Signature.wire()
		if err != nil {
			return err
		}
		doc["signature"] = s
		doc["is_signature_from_type_hint"], doc["type_hint_from_example"] = false, false
	}
	size := p.bytes
	for name, b := range p.made {
		if !slices.Contains(p.files, name) {
			size += int64(len(b))
		}
	}
	doc["model_size_bytes"] = size
	var err error
	p.made[modelFile], err = toYAML(doc)
	return err
}

// order lists what was written, MLmodel last.
func (p *pkg) order() []string {
	names := slices.Sorted(maps.Keys(p.made))
	if i := slices.Index(names, modelFile); i >= 0 {
		names = append(slices.Delete(names, i, i+1), modelFile)
	}
	return names
}

// Frame is a table: an input example, or what [Run.LogTable] stores.
type Frame struct {
	Columns []string `json:"columns"`
	Data    [][]any  `json:"data"` // rows
}

// example writes the input example in the forms that pyfunc and the scoring
// server read.
func (p *pkg) example(doc map[string]any) error {
	var value, serving any
	info := map[string]any{"artifact_path": exampleFile, "serving_input_path": servingFile}
	switch x := p.model.InputExample.(type) {
	case nil:
		return nil
	case Frame:
		value, serving = x, map[string]any{"dataframe_split": x}
		info["type"], info["pandas_orient"] = "dataframe", "split"
	default:
		value, serving = x, map[string]any{"inputs": x}
		info["type"] = "json_object"
	}
	for name, v := range map[string]any{exampleFile: value, servingFile: serving} {
		b, err := json.Marshal(v)
		if err != nil {
			return invalid("LogModel", "the input example is not JSON: %v", err)
		}
		p.made[name] = b
	}
	doc["saved_input_example_info"] = info
	return nil
}

func toYAML(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("mlflow: LogModel: %w", err)
	}
	return b.Bytes(), enc.Close()
}
