package remotetest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// Live skips a test that needs a real server where there is none.
func Live(t testing.TB) {
	t.Helper()
	if os.Getenv("MLOPS_LIVE") != "1" {
		t.Skip("not live: needs a server of its own (MLOPS_LIVE=1)")
	}
}

// Tools is where what the tests install is kept.
func Tools(t testing.TB) string {
	t.Helper()
	home, err := mlops.Home()
	require.NoError(t, err)
	dir := filepath.Join(home, "tools")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	return dir
}

var installing sync.Mutex

// Install makes Tools/name by way of a temporary folder, once.
func Install(t testing.TB, name string, make func(tmp string)) string {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	dir := filepath.Join(Tools(t), name)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	tmp, err := os.MkdirTemp(Tools(t), "new-*")
	require.NoError(t, err)
	defer os.RemoveAll(tmp)
	make(tmp)
	if err := os.Rename(tmp, dir); err != nil {
		require.DirExists(t, dir, err) // another test program made it meanwhile
	}
	return dir
}

// InstallGo installs a program of a Go module.
func InstallGo(t testing.TB, pkg, version string) string {
	t.Helper()
	name := pkg[strings.LastIndex(pkg, "/")+1:]
	dir := Install(t, name+"-"+version, func(tmp string) {
		Run(t, []string{"GOBIN=" + tmp, "GOFLAGS="}, "go", "install", pkg+"@"+version)
	})
	return filepath.Join(dir, name)
}

// Run runs a program to its end.
func Run(t testing.TB, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	return strings.TrimSpace(string(out))
}

// Server is a process of the test's own.
type Server struct {
	Args []string
	Env  []string
	Log  string

	cmd *exec.Cmd
}

// Start starts the process and waits until ready, asked again and again, says
// so. The process is killed when the test ends.
func (s *Server) Start(t testing.TB, ready func(context.Context) error) {
	t.Helper()
	if s.Log == "" {
		s.Log = filepath.Join(t.TempDir(), "log")
	}
	out, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer out.Close()
	s.cmd = exec.Command(s.Args[0], s.Args[1:]...)
	s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = append(os.Environ(), s.Env...), out, out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, s.cmd.Start())
	t.Cleanup(s.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			b, _ := os.ReadFile(s.Log)
			t.Fatalf("%s does not answer: %v\n%s", s.Args[0], err, b)
		}
	}
}

// Kill ends the process and its children, without a word.
func (s *Server) Kill() {
	if s.cmd != nil {
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// FreePort is a port without a listener.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// Random is a text that cannot be guessed.
func Random() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Answers is a ready function for a server that speaks HTTP.
func Answers(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
}

// S3 is a real S3 server of the test's own, with its files in a folder.
type S3 struct {
	*Server
	URL, Key, Secret, Bucket, Dir string

	access string
}

// Versitygw is the version of the gateway that the tests run.
const Versitygw = "v1.8.0"

// StartS3 starts a versitygw with one bucket.
func StartS3(t testing.TB) *S3 {
	t.Helper()
	Live(t)
	bin := filepath.Join(Tools(t), "versitygw-"+Versitygw, "versitygw")
	require.FileExists(t, bin, "run: mlopsctl setup s3")
	tmp := t.TempDir()
	g := &S3{URL: "http://127.0.0.1:" + FreePort(t), Key: Random(), Secret: Random(), Bucket: "data", Dir: filepath.Join(tmp, "s3"), access: filepath.Join(tmp, "access")}
	require.NoError(t, os.MkdirAll(filepath.Join(g.Dir, g.Bucket), 0o755))
	g.Server = &Server{
		Args: []string{bin, "--quiet", "--port", strings.TrimPrefix(g.URL, "http://"), "--access-log", g.access, "posix", g.Dir},
		Env:  []string{"ROOT_ACCESS_KEY=" + g.Key, "ROOT_SECRET_KEY=" + g.Secret},
	}
	g.Server.Start(t, Answers(g.URL))
	return g
}

// Config is the remote in the gateway's bucket, below prefix.
func (g *S3) Config(prefix string) remote.Config {
	return remote.Config{Name: "s3", URL: "s3://" + g.Bucket + "/" + prefix, Options: map[string]string{
		"endpointurl": g.URL, "access_key_id": g.Key, "secret_access_key": g.Secret, "region": "us-east-1",
	}}
}

// Requests counts what the gateway was asked since the last call, by operation:
// "HeadObject", "ListObjectsV2", "PutObject".
func (g *S3) Requests(t testing.TB) map[string]int {
	t.Helper()
	b, err := os.ReadFile(g.access)
	require.NoError(t, err)
	out := map[string]int{}
	for line := range strings.Lines(string(b)) {
		if _, rest, ok := strings.Cut(line, " s3_"); ok {
			op, _, _ := strings.Cut(rest, " ")
			out[op]++
		}
	}
	require.NoError(t, os.Truncate(g.access, 0))
	return out
}
