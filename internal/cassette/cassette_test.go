package cassette

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

var binary = []byte{0x1f, 0x8b, 0xff, 0x00, 0xfe}

// lab is a server with a counter, a login, an echo and a file that is not text.
func lab(t *testing.T, home string) *httptest.Server {
	t.Helper()
	n := 0
	mux := http.NewServeMux()
	mux.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"n":%d,"at":"http://%s/x","in":"%s/mlflow"}`, n, r.Host, home)
	})
	mux.HandleFunc("/auth/token", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(201)
		fmt.Fprint(w, `{"access_token": "canary-token"}`)
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(binary) })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// inModule makes a folder with a go.mod the current one, so that cassettes
// land there.
func inModule(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module x\n"), 0o600))
	sub := filepath.Join(dir, "mlflow")
	require.NoError(t, os.Mkdir(sub, 0o700))
	t.Chdir(sub)
	return dir
}

// ask sends one request and returns status, type and body.
func ask(t *testing.T, s *Session, method, path, body string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	s.Auth.Apply(req.Header)
	resp, err := s.HTTP.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

func TestWhatWasRecordedIsPlayed(t *testing.T) {
	dir := inModule(t)
	t.Setenv("MLOPS_HOME", filepath.Join(dir, "home"))
	srv := lab(t, filepath.Join(dir, "home"))
	var name, host string

	suite := func(t *testing.T) {
		s := Open(t, "mlflow")
		if s.Live {
			name, host = s.Name("wine"), strings.TrimPrefix(s.URL, "http://")
			require.Equal(t, mlops.Auth{Username: "u", Password: "canary-password"}, s.Auth)
		}
		require.Equal(t, name, s.Name("wine"), "a name stays what it was")
		require.Regexp(t, `^wine-[0-9a-f]{8}$`, name)
		for n := 1; n <= 2; n++ { // equal requests get their own answers, in order
			status, contentType, body := ask(t, s, "GET", "/count?q="+name, "")
			require.Equal(t, 200, status)
			require.Equal(t, "application/json", contentType)
			require.Contains(t, body, fmt.Sprintf(`"n":%d`, n))
		}
		status, _, body := ask(t, s, "POST", "/auth/token", `{"password":"canary-password"}`)
		require.Equal(t, 201, status)
		require.Contains(t, body, "access_token")
		_, _, body = ask(t, s, "GET", "/file", "")
		require.Equal(t, string(binary), body)
		_, _, body = ask(t, s, "POST", "/echo", name)
		require.Equal(t, name, body)
		_, _, body = ask(t, s, "PUT", "/echo", string(binary))
		require.Equal(t, string(binary), body)
		if !s.Live {
			_, _, body = ask(t, s, "GET", "/count?q="+name, "")
			require.Contains(t, body, `"n":2`, "the last answer is given again and again, to those who poll")
			_, err := s.HTTP.Get(s.URL + "/never")
			require.ErrorContains(t, err, "holds no answer to GET /never: record it again")
			require.ErrorContains(t, err, filepath.Join("testdata", "mlflow"))
		}
	}
	t.Setenv("MLOPS_LIVE", "1")
	t.Setenv("MLOPS_RECORD", "1")
	t.Setenv("MLOPS_LIVE_MLFLOW", strings.Replace(srv.URL, "://", "://u:canary-password@", 1))
	if !t.Run("a suite", suite) {
		return
	}
	require.True(t, Live())
	files, err := filepath.Glob(filepath.Join(dir, "testdata", "mlflow", "*.json"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "testdata", "mlflow", "TestWhatWasRecordedIsPlayed__a_suite.json")}, files)
	tape, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.NotContains(t, string(tape), "canary", "no secret is recorded")
	require.NotContains(t, string(tape), host, "no address of this machine is recorded")
	require.NotContains(t, string(tape), dir, "no folder of this machine is recorded")
	require.Contains(t, string(tape), `"base64": true`)
	require.Contains(t, string(tape), "5 bytes")

	srv.Close()
	t.Setenv("MLOPS_LIVE", "")
	// A test's second run is called "a suite#01", and so is its tape.
	require.NoError(t, os.Rename(files[0], strings.TrimSuffix(files[0], ".json")+"#01.json"))
	t.Run("a suite", suite)
}

func TestTheRunningStackIsUsedWhereNoAddressIsGiven(t *testing.T) {
	dir := inModule(t)
	secret := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("s3"), 0o600))
	require.NoError(t, stackfile.Write(stackfile.Stack{Home: dir, Endpoints: map[string]stackfile.Endpoint{
		"mlflow":    {URL: "http://127.0.0.1:1", Username: "admin", SecretFile: secret},
		"ray":       {URL: "http://127.0.0.1:2", SecretFile: secret},
		"evidently": {URL: "http://127.0.0.1:3", SecretFile: secret},
	}}))
	t.Setenv("MLOPS_HOME", dir)
	t.Setenv("MLOPS_LIVE", "1")
	t.Setenv("MLOPS_RECORD", "")
	for _, tool := range []string{"MLFLOW", "RAY", "EVIDENTLY"} {
		t.Setenv("MLOPS_LIVE_"+tool, "")
	}
	for tool, want := range map[string]mlops.Auth{
		"mlflow":    {Username: "admin", Password: "s3"},
		"ray":       {Token: "s3"},
		"evidently": {Token: "s3", Header: "evidently-secret"},
	} {
		s := Open(t, tool)
		require.True(t, s.Live)
		require.Equal(t, want, s.Auth)
		require.NotEqual(t, replayURL, s.URL)
	}
	require.NoFileExists(t, filepath.Join(dir, "testdata"))
}

func TestAServerOfTheTestsOwnIsRecordedCountedAndGivesNothingAway(t *testing.T) {
	dir := inModule(t)
	t.Setenv("MLOPS_HOME", filepath.Join(dir, "home"))
	srv := lab(t, filepath.Join(dir, "home"))
	suite := func(t *testing.T) {
		s := OpenAt(t, "mlflow", srv.URL, mlops.Auth{})
		require.Equal(t, !s.Live, s.URL != srv.URL)
		_, _, _ = ask(t, s, "GET", "/count?q=1", "")
		_, _, _ = ask(t, s, "POST", "/file", `{"name": "x", "password": "canary-password", "secret":"canary-secret"}`)
		_, _, _ = ask(t, s, "GET", "/never", "")
	}
	t.Setenv("MLOPS_LIVE", "1")
	t.Setenv("MLOPS_RECORD", "1")
	if !t.Run("own", suite) {
		return
	}
	files, err := filepath.Glob(filepath.Join(dir, "testdata", "mlflow", "*.json"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	b, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.NotContains(t, string(b), "canary")
	require.Contains(t, string(b), "redacted")

	live := Answered("mlflow")
	require.Contains(t, live, "GET /count")
	require.Contains(t, live, "POST /file")
	require.NotContains(t, live, "GET /never", "404 is no answer that counts")
	require.Empty(t, Answered("airflow"))
	answered.Lock()
	clear(answered.by)
	answered.Unlock()
	t.Setenv("MLOPS_LIVE", "")
	t.Run("own", func(t *testing.T) {
		require.NoError(t, os.Rename(files[0], filepath.Join(filepath.Dir(files[0]), strings.ReplaceAll(t.Name(), "/", "__")+".json")))
		suite(t)
	})
	require.Contains(t, Answered("mlflow"), "GET /count", "what is played counts too")
}
