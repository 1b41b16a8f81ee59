package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-integration/mlops"
)

// SavedModel is a model in a local folder, as its MLmodel file describes it.
type SavedModel struct {
	Dir     string
	Flavors map[string]map[string]any // by name: "python_function", "sklearn", "onnx"
	// Signature is nil if the model has none. Of nested types (arrays,
	// objects) it tells only "array" or "object".
	Signature    *Signature
	Requirements []string // the lines of requirements.txt
	Python       string   // "3.11.7"; empty when it is not told
	InputExample json.RawMessage
	Metadata     map[string]any

	ID            string // of the logged model, "m-…"; empty before MLflow 3
	RunID         string
	MLflowVersion string
	SizeBytes     int64
	Created       time.Time
}

// Download copies a model into localDir, which is made if need be, and
// reads its MLmodel file. uri is models:/name/version, models:/name@alias,
// models:/m-…, or runs:/run/path for a model that lies in a run's artifacts.
//
// MLflow REST: GET /api/2.0/mlflow-artifacts/artifacts
func (s ModelsService) Download(ctx context.Context, uri, localDir string) (SavedModel, error) {
	if err := s.c.usable("Models.Download"); err != nil {
		return SavedModel{}, err
	}
	if err := s.c.DownloadDir(ctx, uri, "", localDir); err != nil {
		return SavedModel{}, err
	}
	return ReadModel(localDir)
}

// ReadModel reads the MLmodel file of a model in a local folder, and what lies
// beside it. The error matches [mlops.ErrNotFound] if there is none.
func ReadModel(dir string) (SavedModel, error) {
	read := func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }
	b, err := read(modelFile)
	if errors.Is(err, fs.ErrNotExist) {
		return SavedModel{}, &mlops.Error{Kind: mlops.ErrNotFound, Service: "mlflow", Op: "ReadModel", Cause: err, Message: dir + " holds no MLmodel file"}
	}
	if err != nil {
		return SavedModel{}, err
	}
	m, example, err := parseModel(b)
	if err != nil {
		return SavedModel{}, err
	}
	m.Dir = dir
	if b, err := read(requirementsFile); err == nil {
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				m.Requirements = append(m.Requirements, line)
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return SavedModel{}, err
	}
	if example, err := cleanPath(example); err == nil && example != "" {
		if b, err := read(filepath.FromSlash(example)); err == nil && json.Valid(b) {
			m.InputExample = b
		}
	}
	return m, nil
}

// parseModel reads an MLmodel file; example is where its input example lies.
func parseModel(b []byte) (m SavedModel, example string, err error) {
	var doc struct {
		Flavors   map[string]map[string]any `yaml:"flavors"`
		Signature map[string]any            `yaml:"signature"`
		Metadata  map[string]any            `yaml:"metadata"`
		ID        string                    `yaml:"model_id"`
		Run       string                    `yaml:"run_id"`
		Version   string                    `yaml:"mlflow_version"`
		Size      int64                     `yaml:"model_size_bytes"`
		Created   string                    `yaml:"utc_time_created"`
		Example   struct {
			Path string `yaml:"artifact_path"`
		} `yaml:"saved_input_example_info"`
	}
	const op = "ReadModel"
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return m, "", invalid(op, "the MLmodel file is not YAML: %v", err)
	}
	if len(doc.Flavors) == 0 {
		return m, "", invalid(op, "the MLmodel file names no flavor")
	}
	m = SavedModel{Flavors: doc.Flavors, Metadata: doc.Metadata, ID: doc.ID, RunID: doc.Run, MLflowVersion: doc.Version, SizeBytes: doc.Size}
	m.Python, _ = doc.Flavors["python_function"]["python_version"].(string)
	m.Created, _ = time.Parse("2006-01-02 15:04:05", doc.Created) // fractions are read too
	if doc.Signature != nil {
		if m.Signature, err = parseSignature(doc.Signature); err != nil {
			return SavedModel{}, "", err
		}
	}
	return m, doc.Example.Path, nil
}

// parseSignature reads what [Signature.wire] writes, and Python.
func parseSignature(doc map[string]any) (*Signature, error) {
	s := &Signature{}
	for name, into := range map[string]*[]Field{"inputs": &s.Inputs, "outputs": &s.Outputs} {
		text, ok := doc[name].(string)
		if !ok || text == "" {
			continue
		}
		var list []wireField
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return nil, invalid("ReadModel", "the signature's %s cannot be read: %v", name, err)
		}
		for _, w := range list {
			f := Field{Name: w.Name, Type: w.Type, Optional: w.Required != nil && !*w.Required}
			if w.Tensor != nil {
				f.Type, f.Shape = w.Tensor.DType, w.Tensor.Shape
			}
			*into = append(*into, f)
		}
	}
	return s, nil
}
