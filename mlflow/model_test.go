package mlflow

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
)

const echoModel = `import json
import mlflow


class Times(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        path = context.artifacts.get("factor") if context.artifacts else None
        self.factor = json.load(open(path))["factor"] if path else 2

    def predict(self, context, model_input, params=None):
        return [v * self.factor for v in model_input]


mlflow.models.set_model(Times())
`

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	p := filepath.Join(dir, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
	require.NoError(t, os.WriteFile(p, []byte(text), 0o644))
}

func TestAModelFromCodeIsLoadedByPython(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.0", "logged models")
	run, _ := startRun(t, s, c)
	ctx, dir, name := t.Context(), t.TempDir(), s.Name("times")
	write(t, dir, "model.py", echoModel)
	write(t, dir, "data/factor.json", `{"factor": 3}`)
	v, err := run.LogModel(ctx, dir, ModelSpec{Name: name, Aliases: []string{"champion"}, Metadata: map[string]any{"made_by": "test"},
		Flavors: []Flavor{PyFunc{Code: "model.py", Artifacts: map[string]string{"factor": "data/factor.json"}}},
		Params:  map[string]string{"factor": "3"}, Tags: map[string]string{"stage": "test"}})
	require.NoError(t, err)
	require.Equal(t, "1", v.Version)
	require.NoError(t, run.End(ctx, nil))

	logged, err := c.LoggedModels.Get(ctx, v.ModelID)
	require.NoError(t, err)
	require.Equal(t, LoggedModelReady, logged.Status)
	require.Equal(t, map[string]string{"factor": "3"}, logged.Params)
	byAlias, err := c.Models.VersionByAlias(ctx, name, "champion")
	require.NoError(t, err)
	require.Equal(t, v.Version, byAlias.Version)
	require.Equal(t, v.ModelID, byAlias.ModelID)
	require.Equal(t, "test", byAlias.Tags["stage"])
	m, err := c.Models.Get(ctx, name)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"champion": "1"}, m.Aliases)
	models, err := mlops.Collect(c.Models.All(ctx, ModelQuery{Filter: "name = '" + name + "'"}))
	require.NoError(t, err)
	require.Len(t, models, 1)

	to := t.TempDir()
	require.NoError(t, c.DownloadDir(ctx, "models:/"+name+"@champion", "", to))
	got, err := os.ReadFile(filepath.Join(to, "data", "factor.json"))
	require.NoError(t, err)
	require.Equal(t, `{"factor": 3}`, string(got))
	if s.Live {
		require.Equal(t, "[3, 6] [3, 6] {'made_by': 'test'} READY", python(t, s, `
import sys, mlflow
a = mlflow.pyfunc.load_model(f"models:/{sys.argv[1]}/1")
b = mlflow.pyfunc.load_model(f"models:/{sys.argv[1]}@champion")
print(a.predict([1, 2]), b.predict([1, 2]), a.metadata.metadata, mlflow.MlflowClient().get_logged_model(a.metadata.model_id).status)`, name))
	}

	require.NoError(t, c.Models.SetVersionTag(ctx, name, "1", "seen", "yes"))
	got1, err := c.Models.Version(ctx, name, "1")
	require.NoError(t, err)
	require.Equal(t, "yes", got1.Tags["seen"])
	require.NoError(t, c.Models.DeleteAlias(ctx, name, "champion"))
	require.NoError(t, c.Models.DeleteVersion(ctx, name, "1"))
	require.NoError(t, c.Models.Delete(ctx, name))
	_, err = c.Models.Get(ctx, name)
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

// trainer writes a model as a training script does, without MLflow, and prints
// what it predicts.
const trainer = `
import json, sys, pickle
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
import skops.io
X, y = load_wine(as_frame=True, return_X_y=True)
m = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=5, random_state=0)).fit(X, y)
skops.io.dump(m, sys.argv[1] + "/model.skops")
pickle.dump(m, open(sys.argv[2] + "/model.pkl", "wb"))
print(json.dumps([list(X.columns), m.predict(X).tolist(), sys.prefix]))`

func TestAScikitLearnModelIsLoadedByPython(t *testing.T) {
	if !cassette.Live() {
		t.Skip("needs Python with scikit-learn and a server")
	}
	s, c := connect(t)
	since(t, s, "3.0", "logged models")
	run, _ := startRun(t, s, c)
	ctx, skops, pickled := t.Context(), t.TempDir(), t.TempDir()
	var columns []string
	var want []int
	var venv string
	decode(t, python(t, s, trainer, skops, pickled), &columns, &want, &venv)
	for dir, flavor := range map[string]Flavor{skops: SKLearn("model.skops", "sklearn.tree._tree.Tree"), pickled: SKLearn("model.pkl")} {
		name := s.Name("wine-" + filepath.Base(dir))
		_, err := run.LogModel(ctx, dir, ModelSpec{Name: name, Aliases: []string{"champion"}, Flavors: []Flavor{flavor}, Venv: venv,
			Signature:    &Signature{Inputs: Columns("double", columns...), Outputs: Tensor("int64", -1)},
			InputExample: Frame{Columns: columns, Data: [][]any{{14.23, 1.71, 2.43, 15.6, 127.0, 2.8, 3.06, 0.28, 2.29, 5.64, 1.04, 3.92, 1065.0}}}})
		require.NoError(t, err)
		var byVersion, byAlias, native, example []int
		var requirements []string
		decode(t, python(t, s, `
import json, sys, mlflow, mlflow.sklearn
from sklearn.datasets import load_wine
X, y = load_wine(as_frame=True, return_X_y=True)
n = sys.argv[1]
a = mlflow.pyfunc.load_model(f"models:/{n}/1")
b = mlflow.pyfunc.load_model(f"models:/{n}@champion")
c = mlflow.sklearn.load_model(f"models:/{n}/1")
p = mlflow.artifacts.download_artifacts(f"models:/{n}/1")
assert a.metadata.signature.inputs.input_names() == list(X.columns)
print(json.dumps([a.predict(X).tolist(), b.predict(X).tolist(), c.predict(X).tolist(), a.predict(a.metadata.load_input_example(p)).tolist(), open(p + "/requirements.txt").read().split()]))`, name),
			&byVersion, &byAlias, &native, &example, &requirements)
		require.Equal(t, want, byVersion)
		require.Equal(t, want, byAlias)
		require.Equal(t, want, native)
		require.Equal(t, want[:1], example)
		require.Contains(t, strings.Join(requirements, " "), "scikit-learn==")
	}
	require.NoError(t, run.End(ctx, nil))
}

func TestArtifactsGoUpAndComeDown(t *testing.T) {
	s, c := connect(t)
	run, _ := startRun(t, s, c)
	ctx, dir := t.Context(), t.TempDir()
	write(t, dir, "a/ü b%?.txt", "one")
	write(t, dir, "a/deep/two.txt", "two")
	write(t, dir, "three.txt", "three")
	require.NoError(t, run.LogDir(ctx, dir, "tree"))
	for _, name := range []string{"a#b.txt", "a%41.txt"} {
		require.ErrorIs(t, run.LogText(ctx, "x", name), mlops.ErrInvalid, name)
	}
	require.NoError(t, run.LogArtifact(ctx, filepath.Join(dir, "three.txt"), ""))
	require.NoError(t, run.LogJSON(ctx, map[string]int{"n": 1}, "n.json"))
	require.NoError(t, run.Flush(ctx))
	uri, err := run.ArtifactURI(ctx)
	require.NoError(t, err)
	require.NoError(t, c.UploadBytes(ctx, uri, []byte("four"), "tree/four.txt"))
	require.NoError(t, c.UploadFile(ctx, uri, filepath.Join(dir, "three.txt"), "tree/five.txt"))
	id, _ := run.ID(ctx)
	require.NoError(t, c.UploadDir(ctx, "runs:/"+id+"/more", dir, ""))
	files, err := mlops.Collect(c.Artifacts(ctx, id, "tree"))
	require.NoError(t, err)
	require.ElementsMatch(t, []FileInfo{{"tree/a", true, 0}, {"tree/three.txt", false, 5}, {"tree/four.txt", false, 4}, {"tree/five.txt", false, 5}}, files)
	body, err := c.Download(ctx, "runs:/"+id+"/tree", "a/ü b%?.txt")
	require.NoError(t, err)
	got, err := io.ReadAll(body)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	require.Equal(t, "one", string(got))

	to := t.TempDir()
	require.NoError(t, c.DownloadDir(ctx, id, "tree", to))
	require.NoError(t, c.DownloadDir(ctx, id, "tree", to), "a second copy replaces the first")
	list, err := localFiles(to)
	require.NoError(t, err)
	require.Equal(t, []string{"a/deep/two.txt", "a/ü b%?.txt", "five.txt", "four.txt", "three.txt"}, list)
	require.NoError(t, os.Remove(filepath.Join(to, "a", "deep", "two.txt")))
	require.NoError(t, os.Remove(filepath.Join(to, "a", "deep")))
	outside := t.TempDir()
	require.NoError(t, os.Symlink(outside, filepath.Join(to, "a", "deep")))
	require.Error(t, c.DownloadDir(ctx, id, "tree", to), "a link must not lead a download out of its folder")
	escaped, err := localFiles(outside)
	require.NoError(t, err)
	require.Empty(t, escaped)
}

func TestALargeArtifactStaysOutOfMemory(t *testing.T) {
	if !cassette.Live() || os.Getenv("MLOPS_RECORD") != "" {
		t.Skip("needs a server, and is not recorded")
	}
	s, c := connect(t)
	run, _ := startRun(t, s, c)
	ctx, size := t.Context(), 300<<20
	if testing.Short() {
		size = 32 << 20
	}
	local := filepath.Join(t.TempDir(), "large.bin")
	f, err := os.Create(local)
	require.NoError(t, err)
	sum := sha256.New()
	block := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for n := 0; n < size; n += len(block) {
		block[n/len(block)%len(block)]++
		sum.Write(block)
		_, err := f.Write(block)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.NoError(t, run.LogArtifact(ctx, local, ""))
	require.NoError(t, run.Flush(ctx))
	id, _ := run.ID(ctx)
	body, err := c.Download(ctx, id, "large.bin")
	require.NoError(t, err)
	back := sha256.New()
	n, err := io.Copy(back, body)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	runtime.ReadMemStats(&after)
	require.EqualValues(t, size, n)
	require.Equal(t, sum.Sum(nil), back.Sum(nil))
	grown := int64(after.Sys) - int64(before.Sys)
	t.Logf("%d MB up and down: memory grew by %d KB", size>>20, grown>>10)
	require.Less(t, grown, int64(32<<20))
}

// A model that Go logged, behind MLflow's own scoring server.
func TestAModelFromGoIsServedByMLflow(t *testing.T) {
	if !cassette.Live() || os.Getenv("MLOPS_RECORD") != "" {
		t.Skip("starts a scoring server, and is not recorded")
	}
	s, c := connect(t)
	since(t, s, "3.0", "a scoring server that goes with the FastAPI of its lock")
	run, _ := startRun(t, s, c)
	ctx, dir, name := t.Context(), t.TempDir(), s.Name("served")
	write(t, dir, "model.py", echoModel)
	_, err := run.LogModel(ctx, dir, ModelSpec{Name: name, Aliases: []string{"champion"}, Flavors: []Flavor{PyFunc{Code: "model.py"}}, Signature: &Signature{Inputs: Tensor("int64", -1)}, InputExample: []int{1, 2}})
	require.NoError(t, err)
	require.NoError(t, run.End(ctx, nil))

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	require.NoError(t, l.Close())
	cmd := pythonCommand(t, s, "-m", "mlflow", "models", "serve", "-m", "models:/"+name+"@champion", "--env-manager", "local", "--host", "127.0.0.1", "--port", port)
	// The scoring server starts another program, by name.
	cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(cmd.Path)+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Dir = t.TempDir()
	log := filepath.Join(cmd.Dir, "log")
	out, err := os.Create(log)
	require.NoError(t, err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		_ = cmd.Cancel()
		<-ended
	}()
	ask := func() (string, error) {
		req, err := http.NewRequestWithContext(ctx, "POST", "http://127.0.0.1:"+port+"/invocations", strings.NewReader(`{"inputs": [3, 4]}`))
		if err != nil {
			return "", err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for range 900 {
		got, err := ask()
		if err == nil {
			require.JSONEq(t, `{"predictions": [6, 8]}`, got)
			return
		}
		select {
		case <-tick.C:
		case err := <-ended:
			ended <- err
			b, _ := os.ReadFile(log)
			t.Fatalf("the scoring server ended: %v\n%s", err, b)
		}
	}
	b, _ := os.ReadFile(log)
	t.Fatalf("the scoring server does not answer: %s", b)
}

// Wants a Python with mlflow, onnx and onnxruntime: MLOPS_LIVE_PYTHON_ONNX.
func TestAnONNXModelIsLoadedByPython(t *testing.T) {
	interpreter := os.Getenv("MLOPS_LIVE_PYTHON_ONNX")
	if !cassette.Live() || interpreter == "" {
		t.Skip("MLOPS_LIVE_PYTHON_ONNX names no Python with onnxruntime")
	}
	t.Setenv("MLOPS_LIVE_PYTHON_MLFLOW", interpreter)
	s := cassette.Open(t, "mlflow")
	c, err := New(Options{URL: s.URL, Auth: s.Auth, HTTP: s.HTTP})
	require.NoError(t, err)
	run, _ := startRun(t, s, c)
	ctx, dir, name := t.Context(), t.TempDir(), s.Name("onnx")
	version := python(t, s, `
import sys, onnx
from onnx import TensorProto, helper
x, y = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None]), helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])
g = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "twice", [x], [y])
onnx.save(helper.make_model(g, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), sys.argv[1] + "/model.onnx")
print(onnx.__version__)`, dir)
	_, err = run.LogModel(ctx, dir, ModelSpec{Name: name, Aliases: []string{"best"}, Flavors: []Flavor{ONNX{File: "model.onnx"}}, Requirements: []string{"onnx==" + version, "onnxruntime"},
		Signature: &Signature{Inputs: []Field{{Name: "x", Type: "float32", Shape: []int{-1}}}}})
	require.NoError(t, err)
	require.NoError(t, run.End(ctx, nil))
	require.Equal(t, "[2.0, 5.0] [2.0, 5.0] twice", python(t, s, `
import sys, numpy, mlflow, mlflow.onnx
n = sys.argv[1]
x = {"x": numpy.array([1, 2.5], dtype="float32")}
p = lambda m: mlflow.pyfunc.load_model(m).predict(x)["y"].tolist()
print(p(f"models:/{n}/1"), p(f"models:/{n}@best"), mlflow.onnx.load_model(f"models:/{n}/1").graph.name)`, name))
}

// pythonCommand is a program of the Python with the MLflow client, logged in.
func pythonCommand(t *testing.T, s *cassette.Session, args ...string) *exec.Cmd {
	t.Helper()
	interpreter := python(t, s, "import sys; print(sys.executable)")
	cmd := exec.CommandContext(t.Context(), interpreter, args...)
	cmd.Env = pythonEnv(s)
	return cmd
}
