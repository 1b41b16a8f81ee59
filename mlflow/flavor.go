package mlflow

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// ONNX is a model in an ONNX file, from any tool. Python loads it with
// mlflow.onnx and mlflow.pyfunc; it needs onnx and onnxruntime there.
//
// Form: what mlflow.onnx.save_model of MLflow 3.17 writes.
type ONNX struct {
	File string // within the folder: "model.onnx"; at its top, where onnxruntime looks for MLmodel
	// Providers are those of onnxruntime that run it, the first that is there;
	// nil: CUDA, then the processor, as Python writes it.
	Providers []string
	// Session are options of onnxruntime: "intra_op_num_threads", "execution_mode".
	Session map[string]any
	Version string // of onnx; empty: as in the requirements
}

func (o ONNX) describe(p *pkg) error {
	if err := p.top(o.File); err != nil {
		return err
	}
	if err := p.require("onnx", "onnx", "onnxruntime", "numpy", "pandas"); err != nil {
		return err
	}
	v := cmp.Or(o.Version, p.pinned("onnx"))
	if v == "" {
		return invalid("LogModel", "the version of onnx is not known: give Model.Venv, or onnx==… in Model.Requirements")
	}
	providers := o.Providers
	if providers == nil {
		providers = []string{"CUDAExecutionProvider", "CPUExecutionProvider"}
	}
	var session any // null when there are none, as Python writes it
	if len(o.Session) > 0 {
		session = o.Session
	}
	p.pyfunc("mlflow.onnx", map[string]any{"data": o.File})
	p.flavors["onnx"] = map[string]any{"onnx_version": v, "data": o.File, "providers": providers, "onnx_session_options": session, "code": nil}
	return nil
}

// Loader is a model of any files, with a Python module that loads them: its
// function _load_pyfunc(path) returns something with a method predict.
//
// Form: what mlflow.pyfunc.save_model(loader_module=…, data_path=…,
// code_paths=…) of MLflow 3.17 writes.
type Loader struct {
	Module string // "my_loader"
	Code   string // the folder, within the model's, that Module is in: "code"; empty: Module is installed
	Data   string // the file or folder that _load_pyfunc gets; empty: the model's folder
}

var moduleName = regexp.MustCompile(`^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$`)

func (l Loader) describe(p *pkg) error {
	if !moduleName.MatchString(l.Module) {
		return invalid("LogModel", "%q is no name of a Python module", l.Module)
	}
	conf := map[string]any{}
	for key, name := range map[string]string{"code": l.Code, "data": l.Data} {
		if name == "" {
			continue
		}
		if err := p.needs(name); err != nil {
			return err
		}
		conf[key] = name
	}
	if err := p.require(""); err != nil {
		return err
	}
	p.pyfunc(l.Module, conf)
	return nil
}

// Files is a model that MLflow's Python keeps but does not load: weights for a
// Swift or C++ program, a GGUF file, an adapter. It is registered, versioned and
// downloaded like any other, with [ModelsService.Download] or with
// mlflow.artifacts.download_artifacts("models:/…").
type Files struct {
	Name   string         // of the flavor: "gguf", "coreml"; empty: "files"
	Files  []string       // within the folder, those that matter; nil: all
	Config map[string]any // whatever its reader wants to know
}

var flavorName = regexp.MustCompile(`^[a-z][a-z0-9_.-]*$`)

func (f Files) describe(p *pkg) error {
	name := cmp.Or(f.Name, "files")
	if !flavorName.MatchString(name) || name == "python_function" {
		return invalid("LogModel", "a flavor cannot be named %q", name)
	}
	for _, file := range f.Files {
		if err := p.needs(file); err != nil {
			return err
		}
	}
	files := f.Files
	if files == nil {
		files = slices.Clone(p.files)
	}
	conf := map[string]any{}
	for k, v := range f.Config {
		conf[k] = v
	}
	if _, taken := conf["files"]; taken {
		return invalid("LogModel", "Config of flavor %q holds files, which is the list of them", name)
	}
	conf["files"] = files
	if err := p.require(""); err != nil {
		return err
	}
	p.flavors[name] = conf
	return nil
}

// top checks that a file lies at the top of the model's folder.
func (p *pkg) top(name string) error {
	if err := p.needs(name); err != nil {
		return err
	}
	if !slices.Contains(p.files, name) || strings.Contains(name, "/") {
		return invalid("LogModel", "%q has to be a file at the top of the model's folder", name)
	}
	return nil
}
