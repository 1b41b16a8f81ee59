// Package cassette lets one test suite run against a real server and, quickly
// and without one, against the answers that the real server gave before.
//
//	s := cassette.Open(t, "mlflow")
//	c, err := mlflow.New(mlflow.Options{URL: s.URL, Auth: s.Auth, HTTP: s.HTTP})
//	name := s.Name("wine")
//
// With MLOPS_LIVE=1 the suite talks to the server of the running stack (or the
// one at MLOPS_LIVE_<TOOL>=http://user:password@host:port). With MLOPS_RECORD=1
// as well, the exchange is written to testdata/<tool>/<test>.json at the top of
// the module. Without MLOPS_LIVE that file is played. Recorded answers are
// never edited by hand. A test that starts a server of its own names it by
// OpenAt. Answered tells what the suites of a process asked and were given.
// Package test code only.
package cassette

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// replayURL is the address under which recorded answers are played.
const replayURL = "http://replay.invalid"

// Session is one test's way to its server.
type Session struct {
	URL  string
	Auth mlops.Auth
	HTTP *http.Client
	Live bool // a real server answers

	t    *testing.T
	file string
	tape tape
	mu   sync.Mutex
	used map[string]int
}

// tape is the form of a cassette file.
type tape struct {
	Names     map[string]string `json:"names,omitempty"` // what Name gave
	Exchanges []exchange        `json:"exchanges"`
}

// exchange is one request and its answer. Request bodies are kept for the
// reader; the answer is found by method, path and query, in order.
type exchange struct {
	Request string `json:"request"` // "GET /api/…?…"
	Body    string `json:"body,omitempty"`
	Status  int    `json:"status"`
	Type    string `json:"type,omitempty"`
	Answer  string `json:"answer"`
	Base64  bool   `json:"base64,omitempty"` // Answer is not text
}

// Live reports whether suites talk to real servers.
func Live() bool { return os.Getenv("MLOPS_LIVE") != "" }

// Open starts the session of a test with a tool: "mlflow", "airflow", "ray"
// or "evidently". A live server that is not there fails the test.
func Open(t *testing.T, tool string) *Session {
	t.Helper()
	s := load(t, tool)
	if s.Live {
		s.URL, s.Auth = address(t, tool)
	}
	return s
}

// OpenAt is Open with a live server of the test's own. Without MLOPS_LIVE the
// address has no say: answers are played.
func OpenAt(t *testing.T, tool, address string, auth mlops.Auth) *Session {
	t.Helper()
	s := load(t, tool)
	if s.Live {
		s.URL, s.Auth = address, auth
	}
	return s
}

func load(t *testing.T, tool string) *Session {
	t.Helper()
	s := &Session{t: t, used: map[string]int{}, tape: tape{Names: map[string]string{}}}
	s.file = filepath.Join(root(t), "testdata", tool, strings.NewReplacer("/", "__", " ", "_").Replace(t.Name())+".json")
	if !Live() {
		b, err := os.ReadFile(s.file)
		if err != nil {
			t.Fatalf("no recorded answers for this test: run it with MLOPS_LIVE=1 MLOPS_RECORD=1 while a stack runs: %v", err)
		}
		if err := json.Unmarshal(b, &s.tape); err != nil {
			t.Fatalf("%s: %v", s.file, err)
		}
		s.URL, s.Auth = replayURL, mlops.Auth{Username: "replay", Password: "replay"}
		s.HTTP = &http.Client{Transport: counter{player{s}, tool}}
		return s
	}

	s.Live = true
	s.HTTP = &http.Client{Transport: counter{http.DefaultTransport, tool}}
	if os.Getenv("MLOPS_RECORD") != "" {
		s.HTTP.Transport = counter{recorder{s}, tool}
		t.Cleanup(s.save)
	}
	return s
}

// answered holds, by tool, what was asked and answered well in this process.
var answered = struct {
	sync.Mutex
	by map[string]map[string]bool
}{by: map[string]map[string]bool{}}

// Answered lists the requests, "GET /api/…" without their queries, that a tool's
// server, live or played, answered with a status from 200 to 299 since the
// process began.
func Answered(tool string) []string {
	answered.Lock()
	defer answered.Unlock()
	return slices.Sorted(maps.Keys(answered.by[tool]))
}

// counter notes for Answered what is answered well.
type counter struct {
	next http.RoundTripper
	tool string
}

func (c counter) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(req)
	if err == nil && resp.StatusCode >= 200 && resp.StatusCode < 300 {
		answered.Lock()
		if answered.by[c.tool] == nil {
			answered.by[c.tool] = map[string]bool{}
		}
		answered.by[c.tool][req.Method+" "+req.URL.EscapedPath()] = true
		answered.Unlock()
	}
	return resp, err
}

// address finds the real server.
func address(t *testing.T, tool string) (string, mlops.Auth) {
	t.Helper()
	auth := func(user string, secret mlops.Secret) mlops.Auth {
		switch tool {
		case stackfile.Ray:
			return mlops.Auth{Token: secret}
		case stackfile.Evidently:
			return mlops.Auth{Token: secret, Header: "evidently-secret"}
		}
		return mlops.Auth{Username: user, Password: secret}
	}
	if v := os.Getenv("MLOPS_LIVE_" + strings.ToUpper(tool)); v != "" {
		u, err := url.Parse(v)
		if err != nil {
			t.Fatalf("MLOPS_LIVE_%s is not a URL", strings.ToUpper(tool))
		}
		pw, _ := u.User.Password()
		user := u.User.Username()
		u.User = nil
		return u.String(), auth(user, mlops.Secret(pw))
	}
	home, err := mlops.Home()
	if err != nil {
		t.Fatal(err)
	}
	stack, err := stackfile.Read(home)
	if err != nil {
		t.Fatalf("MLOPS_LIVE is set but no stack runs: %v", err)
	}
	e, ok := stack.Endpoints[tool]
	if !ok {
		t.Fatalf("the running stack has no %s", tool)
	}
	secret, err := e.Secret()
	if err != nil {
		t.Fatal(err)
	}
	return e.URL, auth(e.Username, secret)
}

// Name returns base with a random ending, so that a suite can run again and
// again against one server; when played it is the name that was recorded.
func (s *Session) Name(base string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.tape.Names[base]; ok {
		return n
	}
	if !s.Live {
		s.t.Fatalf("%s knows no name for %q: record it again", s.file, base)
	}
	n := fmt.Sprintf("%s-%08x", base, rand.Uint32())
	s.tape.Names[base] = n
	return n
}

func (s *Session) save() {
	if s.t.Failed() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(s.tape)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(s.file), 0o755)
	}
	if err == nil {
		err = os.WriteFile(s.file, b.Bytes(), 0o644)
	}
	if err != nil {
		s.t.Error(err)
	}
}

// password finds what a request gives away.
var password = regexp.MustCompile(`("(?:password|current_password|secret)"\s*:\s*)"[^"]*"`)

// token finds what a login answers.
var token = regexp.MustCompile(`("access_token"\s*:\s*)"[^"]*"`)

// pythonPath finds where an interpreter lies, in a traceback.
var pythonPath = regexp.MustCompile(`/[^\s"'\\:]+/lib/python3\.`)

// recorder passes requests on and keeps them. A streamed answer is read whole.
type recorder struct{ s *Session }

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	var sent []byte
	if req.Body != nil {
		var err error
		if sent, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body = io.NopCloser(bytes.NewReader(sent))
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(got))

	e := exchange{Request: req.Method + " " + req.URL.RequestURI(), Status: resp.StatusCode, Type: resp.Header.Get("Content-Type")}
	if !strings.Contains(req.URL.Path, "/token") {
		e.Body = password.ReplaceAllString(r.s.portable(sent), `$1"redacted"`)
		if !utf8.Valid(sent) || len(sent) > 4096 {
			e.Body = fmt.Sprintf("%d bytes", len(sent))
		}
	}
	if utf8.Valid(got) {
		e.Answer = token.ReplaceAllString(r.s.portable(got), `$1"replayed"`)
	} else {
		e.Answer, e.Base64 = base64.StdEncoding.EncodeToString(got), true
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.s.tape.Exchanges = append(r.s.tape.Exchanges, e)
	return resp, nil
}

// portable takes this machine's address and folder out of a recorded text.
func (s *Session) portable(b []byte) string {
	out := string(b)
	if u, err := url.Parse(s.URL); err == nil {
		out = strings.ReplaceAll(out, u.Host, "replay.invalid")
	}
	if home, err := mlops.Home(); err == nil {
		out = strings.ReplaceAll(out, home, "/mlops-home")
	}
	return pythonPath.ReplaceAllString(out, "/python/lib/python3.")
}

// player answers from the tape: equal requests get their answers in the order
// in which they were recorded, the last one again and again.
type player struct{ s *Session }

func (p player) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_, err := io.Copy(io.Discard, req.Body)
		req.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	key := req.Method + " " + req.URL.RequestURI()
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	var found *exchange
	seen := 0
	for i := range p.s.tape.Exchanges {
		if p.s.tape.Exchanges[i].Request != key {
			continue
		}
		found = &p.s.tape.Exchanges[i]
		if seen == p.s.used[key] {
			break
		}
		seen++
	}
	if found == nil {
		return nil, fmt.Errorf("%s holds no answer to %s: record it again", p.s.file, key)
	}
	p.s.used[key]++
	body := []byte(found.Answer)
	if found.Base64 {
		var err error
		if body, err = base64.StdEncoding.DecodeString(found.Answer); err != nil {
			return nil, err
		}
	}
	resp := &http.Response{
		StatusCode: found.Status, Status: fmt.Sprintf("%d %s", found.Status, http.StatusText(found.Status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
	if found.Type != "" {
		resp.Header.Set("Content-Type", found.Type)
	}
	return resp, nil
}

// root is the module's folder.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
}
