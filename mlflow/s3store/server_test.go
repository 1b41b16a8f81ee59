package s3store_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/mlflow/s3store"
)

// live skips a test that needs servers of its own where there are none.
func live(t *testing.T) {
	t.Helper()
	if !cassette.Live() || os.Getenv("MLOPS_RECORD") != "" {
		t.Skip("needs real servers, and is not recorded")
	}
}

// tools is where what the tests install is kept.
func tools(t *testing.T) string {
	t.Helper()
	home, err := mlops.Home()
	require.NoError(t, err)
	dir := filepath.Join(home, "tools")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	return dir
}

var installing sync.Mutex

// installed makes dir by way of a temporary folder, once.
func installed(t *testing.T, dir string, make func(tmp string)) {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	if _, err := os.Stat(dir); err == nil {
		return
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "new-*")
	require.NoError(t, err)
	defer os.RemoveAll(tmp)
	make(tmp)
	require.NoError(t, os.Rename(tmp, dir))
}

func output(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	return strings.TrimSpace(string(out))
}

// python is MLflow's Python of the stack.
func python(t *testing.T) string {
	t.Helper()
	if p := os.Getenv("MLOPS_LIVE_PYTHON_MLFLOW"); p != "" {
		return p
	}
	home, err := mlops.Home()
	require.NoError(t, err)
	stack, err := stackfile.Read(home)
	require.NoError(t, err)
	return stack.Pythons["mlflow"]
}

// pythonS3 is the same with boto3, in an environment of its own.
func pythonS3(t *testing.T) string {
	t.Helper()
	const boto = "1.44.5"
	dir := filepath.Join(tools(t), "python-boto3-"+boto)
	installed(t, dir, func(tmp string) {
		uv, err := exec.LookPath("uv")
		if err != nil {
			uv = filepath.Join(filepath.Dir(tools(t)), "uv", "bin", "uv")
		}
		output(t, nil, uv, "venv", "-q", "--allow-existing", "--python", python(t), tmp)
		bin := filepath.Join(tmp, "bin", "python")
		output(t, nil, uv, "pip", "install", "-q", "-p", bin, "boto3=="+boto)
		const where = "import sysconfig; print(sysconfig.get_path('purelib'))"
		require.NoError(t, os.WriteFile(filepath.Join(output(t, nil, bin, "-c", where), "mlflow.pth"), []byte(output(t, nil, python(t), "-c", where)+"\n"), 0o644))
	})
	return filepath.Join(dir, "bin", "python")
}

// server is a process of the test's own. It can be killed and started again.
type server struct {
	t     *testing.T
	args  []string
	env   []string
	log   string
	ready func(context.Context) error

	mu  sync.Mutex
	cmd *exec.Cmd
}

func (s *server) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(s.t, err)
	defer out.Close()
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	s.cmd.Env, s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = append(os.Environ(), s.env...), filepath.Dir(s.log), out, out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(s.t, s.cmd.Start())
}

// kill ends the process and its children, without a word.
func (s *server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// run starts a server, and waits until it answers.
func run(t *testing.T, s *server) {
	t.Helper()
	s.t, s.log = t, filepath.Join(t.TempDir(), "log")
	s.start()
	t.Cleanup(s.kill)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.ready(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			b, _ := os.ReadFile(s.log)
			t.Fatalf("%s does not answer: %v\n%s", s.args[0], err, b)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func random(t *testing.T) string {
	t.Helper()
	var b [12]byte
	_, err := rand.Read(b[:])
	require.NoError(t, err)
	return hex.EncodeToString(b[:])
}

// gateway is a real S3 server, with its files in a folder.
type gateway struct {
	*server
	url, key, secret, bucket, dir string
}

// env is how a Python program reaches it.
func (g *gateway) env() []string {
	return []string{"MLFLOW_S3_ENDPOINT_URL=" + g.url, "AWS_ACCESS_KEY_ID=" + g.key, "AWS_SECRET_ACCESS_KEY=" + g.secret, "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true"}
}

func startGateway(t *testing.T) *gateway {
	t.Helper()
	const version = "v1.8.0"
	at := filepath.Join(tools(t), "versitygw-"+version)
	require.DirExists(t, at, "run: mlopsctl setup s3")
	g := &gateway{url: "http://127.0.0.1:" + freePort(t), key: random(t), secret: random(t), bucket: "artifacts", dir: t.TempDir()}
	require.NoError(t, os.Mkdir(filepath.Join(g.dir, g.bucket), 0o755))
	g.server = &server{
		args: []string{filepath.Join(at, "versitygw"), "--port", strings.TrimPrefix(g.url, "http://"), "posix", g.dir},
		env:  []string{"ROOT_ACCESS_KEY=" + g.key, "ROOT_SECRET_KEY=" + g.secret},
		ready: func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, "GET", g.url, nil)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err == nil {
				err = resp.Body.Close()
			}
			return err
		},
	}
	run(t, g.server)
	return g
}

func (g *gateway) store(t *testing.T, opt s3store.Options) *s3store.Store {
	t.Helper()
	opt.Endpoint, opt.KeyID, opt.Secret = g.url, g.key, mlopsSecret(g.secret)
	s, err := s3store.New(t.Context(), opt)
	require.NoError(t, err)
	return s
}

// tracking is an MLflow server of the test's own.
type tracking struct {
	*server
	url string
}

func startTracking(t *testing.T, interpreter string, env []string, args ...string) *tracking {
	t.Helper()
	port := freePort(t)
	m := &tracking{url: "http://127.0.0.1:" + port}
	c, err := mlflow.New(mlflow.Options{URL: m.url, Tries: 1})
	require.NoError(t, err)
	m.server = &server{
		args: append([]string{interpreter, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1", "--backend-store-uri", "sqlite:///" + filepath.Join(t.TempDir(), "db")}, args...),
		env:  append([]string{"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", "MLFLOW_DISABLE_TELEMETRY=true"}, env...),
		ready: func(ctx context.Context) error {
			_, err := c.Version(ctx)
			return err
		},
	}
	run(t, m.server)
	return m
}

// newRun makes a run without a sender.
func newRun(t *testing.T, c *mlflow.Client) mlflow.RunInfo {
	t.Helper()
	r, err := c.StartRun(t.Context(), mlflow.Experiment{ID: "0"}, mlflow.RunOptions{})
	require.NoError(t, err)
	require.NoError(t, r.End(t.Context(), nil))
	info, err := c.RunInfo(t.Context(), r.UID)
	require.NoError(t, err)
	return info
}

// wire counts what passes, and does something once when so much has.
type wire struct {
	base  http.RoundTripper
	bytes atomic.Int64
	at    atomic.Int64 // 0: nothing is due
	mu    sync.Mutex
	do    func()
	seen  []string // "GET bytes=5- 206"
}

func (w *wire) when(n int64, do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes.Store(0)
	w.do, w.seen = do, nil
	w.at.Store(n)
}

func (w *wire) pass(n int) {
	sum := w.bytes.Add(int64(n))
	if at := w.at.Load(); at == 0 || sum < at {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at.Swap(0) > 0 {
		w.do()
	}
}

func (w *wire) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, what)
}

func (w *wire) count(like string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, s := range w.seen {
		if ok, _ := filepath.Match(like, s); ok {
			n++
		}
	}
	return n
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		req.Body = &passing{req.Body, w}
	}
	resp, err := w.base.RoundTrip(req)
	status := 0
	if err == nil {
		resp.Body = &passing{resp.Body, w}
		status = resp.StatusCode
	}
	w.note(fmt.Sprintf("%s %s %d", req.Method, req.Header.Get("Range"), status))
	return resp, err
}

type passing struct {
	io.ReadCloser
	w *wire
}

func (p *passing) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	p.w.pass(n)
	return n, err
}

// bigFile writes a file that repeats nowhere, and tells its sum.
func bigFile(t *testing.T, size int64) (path, sum string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "large.bin")
	f, err := os.Create(path)
	require.NoError(t, err)
	h := sha256.New()
	block := make([]byte, 1<<20)
	_, err = rand.Read(block)
	require.NoError(t, err)
	for n := int64(0); n < size; n += int64(len(block)) {
		copy(block, strconv.FormatInt(n, 36))
		b := block[:min(int64(len(block)), size-n)]
		h.Write(b)
		_, err := f.Write(b)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	return path, hex.EncodeToString(h.Sum(nil))
}

func sumOf(t *testing.T, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	_, err := io.Copy(h, r)
	require.NoError(t, err)
	return hex.EncodeToString(h.Sum(nil))
}

func sumOfFile(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	return sumOf(t, f)
}

// peak is the most memory that this process held since the last reset, in
// bytes; it is read where the system tells it.
func peak(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("needs /proc")
	}
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			require.NoError(t, err)
			return n << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

func resetPeak(t *testing.T) {
	t.Helper()
	require.NoError(t, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0))
}

// size is how large large files are.
func size(t *testing.T) int64 {
	t.Helper()
	v := os.Getenv("MLOPS_SOAK_ARTIFACT_BYTES")
	if v == "" {
		return 64 << 20
	}
	n, err := strconv.ParseInt(v, 10, 64)
	require.NoError(t, err)
	return n
}
