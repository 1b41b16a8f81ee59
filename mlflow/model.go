package mlflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// ModelSpec says what the files of a model are, so that MLflow's Python client,
// its scoring server and whatever is built on them can load it.
type ModelSpec struct {
	// Name registers the model under this name; empty: it is only logged.
	Name string
	// LoggedName is shown for the logged model; empty: Name, else "model".
	LoggedName string

	// Flavors are the ways to load it: [SKLearn], [PyFunc], [ONNX], [Loader],
	// [Files]. None: the folder holds an MLmodel file that Python wrote, and is
	// taken as it is.
	Flavors []Flavor

	// Venv is the Python environment that made the model, a folder. From it
	// come the versions in requirements.txt and python_env.yaml, unless
	// Requirements or Python say otherwise. It is read, not run.
	Venv string
	// Requirements are the lines of requirements.txt. Nil: a requirements.txt
	// in the folder, else what the flavors need, in the versions of Venv.
	Requirements []string
	// Python is the version of Python, "3.11.7"; empty: that of Venv.
	Python string

	Signature    *Signature
	InputExample any // a [Frame], or any JSON value

	Params   map[string]string // of the logged model
	Tags     map[string]string // of the logged model and of the version
	Metadata map[string]any    // kept in MLmodel
	Step     int64             // of the run, at which the model came out
	Aliases  []string          // set on the new version
}

// LogModel packages the folder dir, uploads it as a logged model of the run,
// marks it as ready and, if m.Name is set, registers it as the next version of
// that name. dir itself is not changed. The result's ModelID and Source are
// those of the logged model, also if nothing was registered.
//
// MLflow REST: POST /api/2.0/mlflow/logged-models, PUT mlflow-artifacts,
// PATCH logged-models/{model_id}, POST runs/outputs, POST model-versions/create
func (r *Run) LogModel(ctx context.Context, dir string, m ModelSpec) (ModelVersion, error) {
	server, err := r.c.Version(ctx)
	if err != nil {
		return ModelVersion{}, err
	}
	p, err := newPackage(dir, m, server)
	if err != nil {
		return ModelVersion{}, err
	}
	at, err := r.place(ctx)
	if err != nil {
		return ModelVersion{}, err
	}
	logged, err := r.c.LoggedModels.createPending(ctx, at.experiment, at.id, cmp.Or(m.LoggedName, m.Name, "model"), m.Params, m.Tags)
	if errors.Is(err, mlops.ErrUnsupported) {
		return r.logClassic(ctx, at, p, m)
	}
	if err != nil {
		return ModelVersion{}, err
	}
	if err := r.upload(ctx, at, p, logged); err != nil {
		failed, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return ModelVersion{}, errors.Join(fmt.Errorf("model %s: %w", logged.ID, err), r.c.LoggedModels.finalize(failed, logged.ID, LoggedModelFailed))
	}
	if err := r.c.LoggedModels.finalize(ctx, logged.ID, LoggedModelReady); err != nil {
		return ModelVersion{}, err
	}
	if err := (runWriter{r.c, at}).logOutput(ctx, logged.ID, m.Step); err != nil {
		return ModelVersion{}, err
	}
	return r.c.Models.register(ctx, m, ModelVersion{Source: "models:/" + logged.ID, RunID: at.id, ModelID: logged.ID})
}

// register makes what was logged the next version of the model's name, if it
// has one, and points the aliases at it.
func (s ModelsService) register(ctx context.Context, m ModelSpec, v ModelVersion) (ModelVersion, error) {
	if m.Name == "" {
		return v, nil
	}
	if _, err := s.Create(ctx, m.Name, ModelOptions{}); err != nil && !errors.Is(err, mlops.ErrAlreadyExists) {
		return v, err
	}
	made, err := s.CreateVersion(ctx, m.Name, v.Source, ModelVersionOptions{RunID: v.RunID, ModelID: v.ModelID, Tags: m.Tags})
	if err != nil {
		return v, err
	}
	for _, a := range m.Aliases {
		if err := s.SetAlias(ctx, m.Name, a, made.Version); err != nil {
			return made, err
		}
		made.Aliases = append(made.Aliases, a)
	}
	return made, nil
}

// upload stores the folder's files, then what was written for it, MLmodel last:
// a model without it cannot be loaded by mistake.
func (r *Run) upload(ctx context.Context, at whereabouts, p *pkg, logged LoggedModel) error {
	root, err := r.c.art.root(ctx, logged.ArtifactURI)
	if err != nil {
		return err
	}
	if err := p.finish(at.id, logged); err != nil {
		return err
	}
	ctx = journey(ctx)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, f := range p.files {
		if _, replaced := p.made[f]; replaced || f == modelFile {
			continue
		}
		g.Go(func() error {
			_, err := r.c.art.putInside(gctx, root, p.dir, f, f)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if _, ours := p.made[modelFile]; !ours {
		_, err := r.c.art.putInside(ctx, root, p.dir, modelFile, modelFile)
		return err
	}
	for _, f := range p.order() {
		if err := r.c.art.putBytes(ctx, root, p.made[f], f); err != nil {
			return err
		}
	}
	return nil
}

// logOutput records that a logged model came out of the run.
//
// MLflow REST: POST /api/2.0/mlflow/runs/outputs
func (w runWriter) logOutput(ctx context.Context, model string, step int64) error {
	_, err := once(ctx, w.c, func() (transport.None, error) {
		return sendOnce[transport.None](ctx, w.c, "LogOutputs", "POST", "runs/outputs", map[string]any{
			"run_id": w.at.id, "models": []map[string]any{{"model_id": model, "step": step}}})
	}, func() (transport.None, bool, error) {
		there, err := w.hasOutput(ctx, model)
		return transport.None{}, there, err
	})
	if hopeless(err) { // a repeat, by this program or the next, is answered with the database's own words
		if there, ferr := w.hasOutput(ctx, model); there && ferr == nil {
			return nil
		}
	}
	return err
}

// hasOutput reports whether a logged model is among the outputs of a run.
func (w runWriter) hasOutput(ctx context.Context, model string) (bool, error) {
	r, err := w.c.RunInfo(ctx, w.at.id)
	return slices.Contains(r.Models, model), err
}

// Flavor is one way to load a model: [SKLearn], [PyFunc], [ONNX], [Loader] or
// [Files].
type Flavor interface {
	// describe adds the flavor to p.
	describe(p *pkg) error
}

// SKLearnModel is a scikit-learn model in a file that Python saved.
// [SKLearn] makes one.
type SKLearnModel struct {
	File    string   // within the folder: "model.skops"
	Format  string   // "skops", "pickle", "cloudpickle"; empty: by the file's ending, .skops or pickle
	Trusted []string // types that skops may load although it does not know them
	Predict string   // the method that pyfunc calls; empty: "predict"
	Version string   // of scikit-learn; empty: as in the requirements
}

// SKLearn is the flavor of a scikit-learn model that a script saved with skops
// (or pickle) as file, in the folder that is logged. Trusted names the types
// that skops is to load although it does not know them: models of trees need
// "sklearn.tree._tree.Tree". In Python, skops.io.get_untrusted_types lists them.
//
// Form: what mlflow.sklearn.save_model of MLflow 3.17 writes.
func SKLearn(file string, trusted ...string) SKLearnModel {
	return SKLearnModel{File: file, Trusted: trusted}
}

func (s SKLearnModel) describe(p *pkg) error {
	const op = "LogModel"
	format := s.Format
	if format == "" {
		format = "pickle"
		if strings.HasSuffix(s.File, ".skops") {
			format = "skops"
		}
	}
	switch format {
	case "skops", "pickle", "cloudpickle":
	default:
		return invalid(op, "scikit-learn models have the format skops, pickle or cloudpickle, not %q", format)
	}
	if err := p.needs(s.File); err != nil {
		return err
	}
	need := []string{"numpy", "pandas", "scikit-learn", "scipy"}
	if format != "pickle" {
		need = append(need, format)
	}
	if err := p.require("scikit-learn", need...); err != nil {
		return err
	}
	v := cmp.Or(s.Version, p.pinned("scikit-learn"))
	if v == "" {
		return invalid(op, "the version of scikit-learn is not known: give Model.Venv, or scikit-learn==… in Model.Requirements")
	}
	var trusted any // null when there are none, as Python writes it
	if len(s.Trusted) > 0 {
		trusted = s.Trusted
	}
	p.pyfunc("mlflow.sklearn", map[string]any{"model_path": s.File, "predict_fn": cmp.Or(s.Predict, "predict")})
	p.flavors["sklearn"] = map[string]any{
		"code": nil, "pickled_model": s.File, "serialization_format": format,
		"sklearn_version": v, "skops_trusted_types": trusted,
	}
	return nil
}

// PyFunc is a model as Python code: no pickle, only a file that defines a
// PythonModel and calls mlflow.models.set_model.
//
// Form: what mlflow.pyfunc.save_model(python_model="model.py") of MLflow 3.17
// writes.
type PyFunc struct {
	Code string // within the folder: "model.py"

	// Artifacts are what load_context finds in context.artifacts, by name: a
	// file or folder within the model's folder.
	Artifacts map[string]string

	// Streaming says that the model has a predict_stream.
	Streaming bool
}

func (f PyFunc) describe(p *pkg) error {
	if err := p.needs(f.Code); err != nil {
		return err
	}
	if strings.Contains(f.Code, "/") {
		return invalid("LogModel", "code %q: MLflow looks for it at the top of the model's folder", f.Code)
	}
	if err := p.require(""); err != nil {
		return err
	}
	conf := map[string]any{"model_code_path": f.Code, "code": nil, "streamable": f.Streaming}
	if len(f.Artifacts) > 0 {
		list := map[string]any{}
		for name, at := range f.Artifacts {
			if err := p.needs(at); err != nil {
				return fmt.Errorf("artifact %q: %w", name, err)
			}
			list[name] = map[string]string{"path": at, "uri": at}
		}
		conf["artifacts"] = list
	}
	p.pyfunc("mlflow.pyfunc.loaders.code_model", conf)
	return nil
}
