package mlflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"iter"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
)

func TestTablesGrowAsPythonLetsThem(t *testing.T) {
	s, c := connect(t)
	run, _ := startRun(t, s, c)
	ctx := t.Context()
	first := Frame{Columns: []string{"question", "score"}, Data: [][]any{{"what is ü?", 0.25}, {"why", math.NaN()}}}
	require.NoError(t, run.LogTable(ctx, first, "eval/answers.json"))
	require.NoError(t, run.LogTable(ctx, Frame{Columns: []string{"score", "n", "at"}, Data: [][]any{{1.5, int64(math.MaxInt64), time.UnixMilli(1_700_000_000_123)}}}, "eval/answers.json"))
	require.NoError(t, run.LogTable(ctx, first, "other.json"))
	require.NoError(t, run.Flush(ctx))
	id, err := run.ID(ctx)
	require.NoError(t, err)
	got, err := c.Table(ctx, id, "eval/answers.json")
	require.NoError(t, err)
	require.Equal(t, Frame{Columns: []string{"question", "score", "n", "at"}, Data: [][]any{
		{"what is ü?", 0.25, nil, nil}, {"why", nil, nil, nil}, {nil, 1.5, int64(math.MaxInt64), "2023-11-14T22:13:20.123Z"},
	}}, got)
	info, err := c.RunInfo(ctx, id)
	require.NoError(t, err)
	require.Equal(t, `[{"path":"eval/answers.json","type":"table"},{"path":"other.json","type":"table"}]`, info.Tags[tableTag])
	if s.Live {
		require.Equal(t, "['question', 'score', 'n', 'at'] 3 0.25 4", python(t, s, `
import sys, mlflow
run = mlflow.get_run(sys.argv[1])
t = mlflow.MlflowClient().load_table(run.info.experiment_id, "eval/answers.json", run_ids=[run.info.run_id])
mlflow.MlflowClient().log_table(run.info.run_id, {"question": ["from python"], "score": [2.0]}, "eval/answers.json")
again = mlflow.MlflowClient().load_table(run.info.experiment_id, "eval/answers.json", run_ids=[run.info.run_id])
print(list(t.columns), len(t), t["score"][0], len(again))`, id))
	}
	for _, bad := range []string{"", "a.csv", "a:b.json", "../a.json"} {
		require.ErrorIs(t, run.LogTable(ctx, first, bad), mlops.ErrInvalid, bad)
	}
	require.ErrorIs(t, run.LogTable(ctx, Frame{Columns: []string{"a", "a"}}, "a.json"), mlops.ErrInvalid)
	require.ErrorIs(t, run.LogTable(ctx, Frame{Columns: []string{"a"}, Data: [][]any{{1, 2}}}, "a.json"), mlops.ErrInvalid)
	_, err = c.Table(ctx, id, "none.json")
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

// picture is an image whose every pixel tells where it is.
func picture(w, h int, alpha uint8) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetNRGBA(x, y, color.NRGBA{uint8(x), uint8(y), uint8(x * y), alpha})
		}
	}
	return img
}

func TestFiguresAndImagesAreStored(t *testing.T) {
	s, c := connect(t)
	run, _ := startRun(t, s, c)
	ctx := t.Context()
	require.NoError(t, run.LogFigure(ctx, bytes.NewBufferString("<svg/>"), "plots/loss.svg"))
	for _, ext := range []string{"png", "jpg", "gif"} {
		require.NoError(t, run.LogImage(ctx, picture(3, 2, 255), "images/small."+ext))
	}
	require.NoError(t, run.Flush(ctx))
	id, err := run.ID(ctx)
	require.NoError(t, err)
	files, err := mlops.Collect(c.Artifacts(ctx, id, "images"))
	require.NoError(t, err)
	require.Len(t, files, 3)
	require.ErrorIs(t, run.LogFigure(ctx, &bytes.Buffer{}, "a.svg"), mlops.ErrInvalid)
	require.ErrorIs(t, run.LogFigure(ctx, bytes.NewBufferString("x"), "a.txt"), mlops.ErrInvalid)
	require.ErrorIs(t, run.LogImage(ctx, picture(1, 1, 1), "a.bmp"), mlops.ErrInvalid)
	require.ErrorIs(t, run.LogImage(ctx, picture(0, 1, 1), "a.png"), mlops.ErrInvalid)
	require.ErrorIs(t, run.LogImageAt(ctx, 1, "a#b", picture(1, 1, 1)), mlops.ErrInvalid)
}

func TestImagesOfStepsAreThoseOfPython(t *testing.T) {
	if !cassette.Live() || os.Getenv("MLOPS_RECORD") != "" {
		t.Skip("needs a server and Python; names hold the time, so that it is not recorded")
	}
	s, c := connect(t)
	since(t, s, "3.0", "images named with plus signs")
	run, _ := startRun(t, s, c)
	ctx := t.Context()
	require.NoError(t, run.LogImageAt(ctx, 3, "val/dogs", picture(512, 256, 255)))
	require.NoError(t, run.LogImageAt(ctx, 4, "val/dogs", picture(30, 20, 128)))
	require.NoError(t, run.End(ctx, nil))
	id, err := run.ID(ctx)
	require.NoError(t, err)
	require.Equal(t, `True
images/val~dogs+step+3+timestamp+T+U.png PNG (512, 256) (87, 44, 244)
images/val~dogs+step+3+timestamp+T+U+compressed.webp WEBP (256, 128) True
images/val~dogs+step+4+timestamp+T+U.png PNG (30, 20) (7, 4, 28)
images/val~dogs+step+4+timestamp+T+U+compressed.webp WEBP (30, 20) True
['val~dogs+step+9+timestamp+T+U+compressed.webp', 'val~dogs+step+9+timestamp+T+U.png']`, python(t, s, `
import os, re, sys, mlflow
from PIL import Image
c = mlflow.MlflowClient()
run = c.get_run(sys.argv[1])
form = lambda p: re.sub(r"timestamp\+\d{13}\+[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "timestamp+T+U", p)
print(run.data.tags["mlflow.loggedImages"])
d = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="images")
for f in sorted(c.list_artifacts(run.info.run_id, "images"), key=lambda f: (f.path.split("+")[2], f.path.endswith("webp"))):
    i = Image.open(os.path.join(d, os.path.basename(f.path)))
    i.load()
    w, h = i.size
    full = Image.open(os.path.join(d, os.path.basename(f.path).replace("+compressed.webp", ".png"))).convert("RGBA").resize(i.size, Image.BOX)
    here, there = i.convert("RGBA").getpixel((7, 4)), full.getpixel((7, 4))
    print(form(f.path), i.format, i.size, i.convert("RGB").getpixel((87, 44) if w > 100 else (7, 4)) if i.format == "PNG" else max(abs(a - b) for a, b in zip(here, there)) <= 3)
c.log_image(run.info.run_id, Image.new("RGB", (5, 5)), key="val/dogs", step=9)
print(sorted(form(f.path)[7:] for f in c.list_artifacts(run.info.run_id, "images") if "step+9" in f.path))`, id))
}

func TestPlainFilesAreAModelThatComesBack(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.0", "logged models")
	run, _ := startRun(t, s, c)
	ctx, dir, name := t.Context(), t.TempDir(), s.Name("adapter")
	write(t, dir, "weights/adapter.bin", "weights")
	write(t, dir, "code/my_loader.py", `
class Model:
    def __init__(self, text): self.text = text
    def predict(self, data, params=None): return [self.text + str(v) for v in data]

def _load_pyfunc(path):
    return Model(open(path).read())
`)
	sig := &Signature{Inputs: Tensor("int64", -1), Outputs: []Field{{Name: "out", Type: "string", Optional: true}}}
	v, err := run.LogModel(ctx, dir, ModelSpec{Name: name, Aliases: []string{"best"}, Signature: sig, InputExample: []int{1, 2}, Requirements: []string{"numpy==2.4.6"}, Python: "3.11.7",
		Metadata: map[string]any{"rank": 16}, Flavors: []Flavor{Loader{Module: "my_loader", Code: "code", Data: "weights/adapter.bin"}, Files{Name: "swift", Config: map[string]any{"layers": 4}}}})
	require.NoError(t, err)
	id, err := run.ID(ctx)
	require.NoError(t, err)
	for _, uri := range []string{"models:/" + name + "/1", "models:/" + name + "@best", "models:/" + v.ModelID} {
		to := t.TempDir()
		m, err := c.Models.Download(ctx, uri, to)
		require.NoError(t, err, uri)
		require.Equal(t, to, m.Dir)
		require.Equal(t, v.ModelID, m.ID)
		require.Equal(t, id, m.RunID)
		require.Equal(t, sig, m.Signature)
		require.Equal(t, "numpy==2.4.6", m.Requirements[len(m.Requirements)-1])
		require.Equal(t, "3.11.7", m.Python)
		require.Equal(t, map[string]any{"rank": 16}, m.Metadata)
		require.Equal(t, "my_loader", m.Flavors["python_function"]["loader_module"])
		require.Equal(t, 4, m.Flavors["swift"]["layers"])
		require.JSONEq(t, "[1,2]", string(m.InputExample))
		require.False(t, m.Created.IsZero())
		got, err := os.ReadFile(filepath.Join(to, "weights", "adapter.bin"))
		require.NoError(t, err)
		require.Equal(t, "weights", string(got))
	}
	if s.Live {
		require.Equal(t, "['weights7'] weights", python(t, s, `
import sys, mlflow, numpy
n = sys.argv[1]
p = mlflow.artifacts.download_artifacts(f"models:/{n}@best")
print(mlflow.pyfunc.load_model(f"models:/{n}@best").predict(numpy.array([7])), open(p + "/weights/adapter.bin").read())`, name))
	}
	require.NoError(t, c.UploadDir(ctx, id, dir, "no-model"))
	_, err = c.Models.Download(ctx, "runs:/"+id+"/no-model", t.TempDir())
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.NoError(t, c.DeleteArtifacts(ctx, id, "no-model"))
	_, err = c.Models.Download(ctx, "runs:/"+id+"/no-model", t.TempDir())
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.ErrorIs(t, c.DeleteArtifacts(ctx, id, ""), mlops.ErrInvalid)
}

func TestFlavorsAreDescribedAsPythonDoes(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "model.onnx", "x")
	write(t, dir, "deep/model.onnx", "x")
	reqs := []string{"onnx==1.20.0", "onnxruntime==1.24.0"}
	p, err := newPackage(dir, ModelSpec{Flavors: []Flavor{ONNX{File: "model.onnx", Session: map[string]any{"intra_op_num_threads": 1}}}, Requirements: reqs}, "3.17.2")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"onnx_version": "1.20.0", "data": "model.onnx", "providers": []string{"CUDAExecutionProvider", "CPUExecutionProvider"},
		"onnx_session_options": map[string]any{"intra_op_num_threads": 1}, "code": nil}, p.flavors["onnx"])
	for name, f := range map[string]Flavor{
		"not at the top": ONNX{File: "deep/model.onnx"}, "no file": ONNX{File: "none"}, "no module": Loader{Module: "a b"},
		"no data": Loader{Module: "a", Data: "none"}, "a taken name": Files{Name: "python_function"}, "no such file": Files{Files: []string{"none"}},
		"a taken key": Files{Config: map[string]any{"files": 1}},
	} {
		_, err := newPackage(dir, ModelSpec{Flavors: []Flavor{f}, Requirements: reqs}, "3.17.2")
		require.ErrorIs(t, err, mlops.ErrInvalid, name)
	}
	_, err = newPackage(dir, ModelSpec{Flavors: []Flavor{ONNX{File: "model.onnx"}}, Requirements: []string{}}, "3.17.2")
	require.ErrorIs(t, err, mlops.ErrInvalid, "no version")
}

// memory is a Store whose connections can be cut.
type memory struct {
	mu    sync.Mutex
	files map[string][]byte
	cuts  []int // bytes after which the next connections end
	down  int   // how many opens find no server, once there was one
	whole bool  // it can only begin at the start, and tells neither size nor version
	opens []Range
}

func (m *memory) List(_ context.Context, uri string) iter.Seq2[FileInfo, error] {
	return func(yield func(FileInfo, error) bool) {
		for name, b := range m.files {
			if rest, ok := strings.CutPrefix(name, uri+"/"); ok && !yield(FileInfo{Path: rest, SizeBytes: int64(len(b))}, nil) {
				return
			}
		}
	}
}

func (m *memory) Open(_ context.Context, uri string, span Range) (*Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opens = append(m.opens, span)
	if m.down > 0 && len(m.opens) > 1 {
		m.down--
		return nil, &mlops.Error{Kind: mlops.ErrUnavailable, Message: "no server is there"}
	}
	b, ok := m.files[uri]
	if !ok {
		return nil, gone("Download", "no %s", uri)
	}
	version := fmt.Sprintf("%x", b)
	if span.Version != "" && span.Version != version {
		return nil, changed("Download", uri)
	}
	obj := &Object{Offset: span.From, Size: int64(len(b)), Version: version}
	if m.whole {
		obj.Offset, obj.Size, obj.Version = 0, -1, ""
	} else {
		if span.To > 0 {
			b = b[:min(span.To, int64(len(b)))]
		}
		b = b[min(span.From, int64(len(b))):]
	}
	var body io.Reader = bytes.NewReader(b)
	if len(m.cuts) > 0 {
		if m.cuts[0] < len(b) {
			body = io.MultiReader(bytes.NewReader(b[:m.cuts[0]]), cut500{})
		}
		m.cuts = m.cuts[1:]
	}
	obj.Body = io.NopCloser(body)
	return obj, nil
}

type cut500 struct{}

func (cut500) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func (m *memory) Put(_ context.Context, uri string, src Source) error {
	b := make([]byte, src.Size())
	_, err := src.ReadAt(b, 0)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[uri] = b
	if err == io.EOF {
		err = nil
	}
	return err
}

func (m *memory) Delete(_ context.Context, uri string) error {
	delete(m.files, uri)
	return nil
}

func inMemory(t *testing.T, m *memory) *Client {
	t.Helper()
	m.files = map[string][]byte{"mem://x/a.bin": []byte("0123456789abcdef")}
	c, err := New(Options{URL: "http://127.0.0.1:1", Artifacts: ArtifactOptions{Stores: map[string]Store{"mem": m}, PartSize: 5}})
	require.NoError(t, err)
	c.pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return c
}

func TestADownloadGoesOnWhereItWasCut(t *testing.T) {
	ctx := t.Context()
	for _, whole := range []bool{false, true} {
		m := &memory{whole: whole, cuts: []int{4, 9, 0, 11}}
		c := inMemory(t, m)
		body, err := c.DownloadRange(ctx, "mem://x", "a.bin", 2, 12)
		require.NoError(t, err)
		b, err := io.ReadAll(body)
		require.NoError(t, err)
		require.NoError(t, body.Close())
		require.Equal(t, "23456789abcd", string(b))
		require.Greater(t, len(m.opens), 1)
		if !whole {
			require.Equal(t, int64(6), m.opens[1].From)
		}

		m.cuts = []int{3, 1, 0, 2, 3}
		to := filepath.Join(t.TempDir(), "a")
		require.NoError(t, c.DownloadFile(ctx, "mem://x", "a.bin", to))
		b, err = os.ReadFile(to)
		require.NoError(t, err)
		require.Equal(t, "0123456789abcdef", string(b))
		dir := t.TempDir()
		require.NoError(t, c.DownloadDir(ctx, "mem://x", "", dir))
		files, err := localFiles(dir)
		require.NoError(t, err)
		require.Equal(t, []string{"a.bin"}, files)
	}
}

func TestADirectoryThatHasBegunWaitsForTheServer(t *testing.T) {
	m := &memory{}
	c := inMemory(t, m)
	for i := range 20 {
		m.files[fmt.Sprintf("mem://x/%02d", i)] = []byte("x")
	}
	m.down = 30
	to := t.TempDir()
	// One file is through before the others begin, so that the way is known.
	ctx := journey(t.Context())
	begin(ctx)
	require.NoError(t, c.art.downloadDir(ctx, "mem://x", "mem://x", "", to))
	files, err := localFiles(to)
	require.NoError(t, err)
	require.Len(t, files, 21)

	m.down = 1 << 30
	_, err = c.Download(t.Context(), "mem://x", "a.bin")
	require.ErrorIs(t, err, mlops.ErrUnavailable, "what has not begun does not wait")
}

func TestAFileThatIsReplacedWhileItIsReadIsAConflict(t *testing.T) {
	for _, whole := range []bool{false, true} {
		m := &memory{whole: whole, cuts: []int{7}}
		c := inMemory(t, m)
		body, err := c.Download(t.Context(), "mem://x", "a.bin")
		require.NoError(t, err)
		first := make([]byte, 7)
		_, err = io.ReadFull(body, first)
		require.NoError(t, err)
		m.files["mem://x/a.bin"] = []byte("0123456X89abcdef"[:6] + "another")
		m.files["mem://x/a.bin"][2] = 'X'
		_, err = io.ReadAll(body)
		require.ErrorIs(t, err, mlops.ErrConflict)
	}
}

func TestATransferThatGetsNowhereIsGivenUp(t *testing.T) {
	m := &memory{cuts: make([]int, 1<<20)}
	c := inMemory(t, m)
	c.art.opt.Patience = time.Nanosecond
	body, err := c.Download(t.Context(), "mem://x", "a.bin")
	require.NoError(t, err)
	_, err = io.ReadAll(body)
	require.ErrorContains(t, err, "connection reset")
	to := t.TempDir()
	require.Error(t, c.DownloadFile(t.Context(), "mem://x", "a.bin", filepath.Join(to, "a")))
	files, err := localFiles(to)
	require.NoError(t, err)
	require.Empty(t, files, "no half file is left")
}

func TestAStoreIsFoundByItsScheme(t *testing.T) {
	c := inMemory(t, &memory{})
	ctx := t.Context()
	require.NoError(t, c.UploadBytes(ctx, "mem://x/deep/", []byte("b"), "b.txt"))
	files, err := mlops.Collect(c.Artifacts(ctx, "mem://x", "deep"))
	require.NoError(t, err)
	require.Equal(t, []FileInfo{{"deep/b.txt", false, 1}}, files)
	require.NoError(t, c.DeleteArtifacts(ctx, "mem://x", "deep/b.txt"))
	_, err = c.Download(ctx, "mem://x", "deep/b.txt")
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = c.Download(ctx, "mem://x/../y", "a")
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = c.Download(ctx, "other://x", "a")
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	_, err = c.DownloadRange(ctx, "mem://x", "a.bin", -1, 1)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = c.DownloadRange(ctx, "mem://x", "a.bin", 16, 1)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	body, err := c.DownloadRange(ctx, "mem://x", "a.bin", 1, 0)
	require.NoError(t, err)
	b, err := io.ReadAll(body)
	require.NoError(t, err)
	require.Empty(t, b)
}

// A server, or something before it, that says yes without having it all.
func TestAHalfWrittenObjectIsNeverReportedAsStored(t *testing.T) {
	listed := `{"files":[{"path":"a.bin","is_dir":false,"file_size":5}]}`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			fmt.Fprint(w, listed)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer srv.Close()
	c, err := New(Options{URL: srv.URL})
	require.NoError(t, err)
	c.pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	ctx := t.Context()
	err = c.UploadBytes(ctx, "mlflow-artifacts:/1", make([]byte, verifyFrom), "a.bin")
	require.ErrorContains(t, err, "has 5 of the 1048576 bytes")
	err = c.UploadBytes(ctx, "mlflow-artifacts:/1", make([]byte, verifyFrom), "b.bin")
	require.ErrorContains(t, err, `does not list "b.bin"`)
	dir := t.TempDir()
	write(t, dir, "a.bin", "four")
	require.ErrorContains(t, c.UploadDir(ctx, "mlflow-artifacts:/1", dir, ""), "has 5 of the 4 bytes")
	write(t, dir, "a.bin", "fiver")
	require.NoError(t, c.UploadDir(ctx, "mlflow-artifacts:/1", dir, ""))
}

func TestArtifactOptionsComeFromPythonsVariables(t *testing.T) {
	t.Setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
	t.Setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", "10485760")
	o, err := ArtifactOptionsFromEnv()
	require.NoError(t, err)
	require.True(t, o.Presigned)
	require.Equal(t, int64(10<<20), o.PartSize)
	t.Setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", "10M")
	_, err = ArtifactOptionsFromEnv()
	require.ErrorIs(t, err, mlops.ErrInvalid)
	t.Setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "perhaps")
	_, err = ArtifactOptionsFromEnv()
	require.ErrorIs(t, err, mlops.ErrInvalid)
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 5-9/10")
	f.Add("bytes 0-0/*")
	f.Fuzz(func(t *testing.T, s string) {
		if from, size, err := contentRange(s); err == nil && (from < 0 || from >= size) {
			t.Errorf("%q gives byte %d of %d", s, from, size)
		}
	})
}

func FuzzParseModel(f *testing.F) {
	f.Add("flavors:\n  sklearn: {}\nsignature:\n  inputs: '[{\"type\": \"long\", \"name\": \"a\"}]'\n")
	f.Fuzz(func(t *testing.T, s string) {
		if m, _, err := parseModel([]byte(s)); err == nil && len(m.Flavors) == 0 {
			t.Error("a model without flavors")
		}
		_ = decodeS3(400, "", []byte(s))
	})
}

func FuzzParseTable(f *testing.F) {
	f.Add(`{"columns":["a"],"data":[[1],[null]]}`)
	f.Fuzz(func(t *testing.T, s string) {
		if tab, err := parseTable("t", []byte(s)); err == nil {
			tab.with(tab)
		}
	})
}
