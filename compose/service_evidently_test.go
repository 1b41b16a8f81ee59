package compose

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/internal/stackfile"
)

// guarded asks evidently_ui.py's Guard without a server: its clock is the
// test's, and what it lets through answers 299.
const guarded = `
import asyncio, json, sys
source = sys.stdin.read()
space = {"__name__": "evidently_ui"}
exec(compile(source, "evidently_ui.py", "exec"), space)
now = [0.0]

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b""})

guard = space["Guard"](app, "s3cret", lambda: now[0])

def ask(method, path, query=b"", kind="http", **headers):
    sent = []
    async def send(m): sent.append(m)
    scope = {"type": kind, "method": method, "path": path, "query_string": query,
             "headers": [(k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in headers.items()]}
    asyncio.run(guard(scope, None, send))
    return sent

def status(*a, **k): return ask(*a, **k)[0]["status"]
S = {"evidently_secret": "s3cret"}
def address():
    return json.loads(ask("POST", "/mlops/once", **S)[1]["body"])["path"].split("?")[1].encode()
def enter(query):
    head = ask("GET", "/mlops/open", query)[0]
    return head["status"], dict(head["headers"]).get(b"set-cookie", b"").decode().split(";")[0]

out = {}
for name, got in {
    "version": status("GET", "/api/version"),
    "change of version": status("DELETE", "/api/version"),
    "near version": status("GET", "/api/version/"),
    "doubled slash": status("GET", "//api/version"),
    "page": status("GET", "/"),
    "schema": status("GET", "/schema/openapi.json"),
    "secret": status("GET", "/api/projects", **S),
    "wrong secret": status("GET", "/api/projects", evidently_secret="s3cre"),
    "no text": status("GET", "/api/projects", evidently_secret="\xff\xfe"),
    "empty secret": status("GET", "/api/projects", evidently_secret=""),
    "another header": status("GET", "/api/projects", authorization="Bearer s3cret"),
    "in the query": status("GET", "/api/projects", b"evidently-secret=s3cret"),
    "offer to a stranger": status("POST", "/mlops/once"),
    "websocket": ask("GET", "/ws", kind="websocket", **S)[0]["type"],
}.items(): out[name] = got
q = address()
out["entered"], cookie = enter(q)
out["again"] = enter(q)[0]
out["cookie"] = status("GET", "/api/projects", cookie="a=b; " + cookie)
out["offer to a cookie"] = status("POST", "/mlops/once", cookie=cookie)
out["forged cookie"] = status("GET", "/api/projects", cookie=guard.cookie + "=s3cret")
out["empty cookie"] = status("GET", "/api/projects", cookie=guard.cookie + "=")
out["the address as a cookie"] = status("GET", "/api/projects", cookie=guard.cookie + "=" + q.decode().split("=")[1])
late = address()
now[0] += 60
out["late"] = enter(late)[0]
now[0] += 12 * 3600
out["old cookie"] = status("GET", "/api/projects", cookie=cookie)
address(); enter(address())
out["kept"] = len(guard.once) + len(guard.sessions)
print(json.dumps(out))
`

func TestEvidentlysGuardRefusesRequestsWithoutTheSecret(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3: the guard is tested where Evidently runs only")
	}
	c := exec.Command(python, "-I", "-c", guarded)
	c.Stdin, c.Stderr = strings.NewReader(evidentlyUI), os.Stderr
	b, err := c.Output()
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(b, &got))
	const through, refused = 299.0, 401.0
	require.Equal(t, map[string]any{
		"version": through, "change of version": refused, "near version": refused, "doubled slash": refused,
		"page": refused, "schema": refused,
		"secret": through, "wrong secret": refused, "no text": refused, "empty secret": refused, "another header": refused, "in the query": refused,
		"offer to a stranger": refused, "websocket": "websocket.close",
		"entered": 303.0, "again": refused, "cookie": through, "offer to a cookie": through, // upstream has no such route: 405
		"forged cookie": refused, "empty cookie": refused, "the address as a cookie": refused,
		"late": refused, "old cookie": refused, "kept": 2.0,
	}, got)
}

func TestLiveEvidentlyAsksForItsSecretOnEveryRoute(t *testing.T) {
	s := liveStack(t)
	st, err := stackfile.Read(s.home)
	require.NoError(t, err)
	e, ok := st.Endpoints[stackfile.Evidently]
	require.True(t, ok, "the stack has no Evidently")
	secret, err := e.Secret()
	require.NoError(t, err)
	ask := func(c *http.Client, method, path, secret string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, e.URL+path, nil)
		require.NoError(t, err)
		if secret != "" {
			req.Header.Set("evidently-secret", secret)
		}
		resp, err := c.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(b)
	}
	stranger := &http.Client{}

	_, schema := ask(stranger, "GET", "/schema/openapi.json", string(secret))
	var doc struct {
		Paths map[string]map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(schema), &doc))
	routes := []string{"GET /", "GET /manifest.json", "GET /schema", "GET /schema/openapi.json", "GET /projects/x"}
	for path, methods := range doc.Paths {
		for m := range methods {
			if path != "/api/version" {
				routes = append(routes, strings.ToUpper(m)+" "+strings.NewReplacer("{", "", "}", "").Replace(path))
			}
		}
	}
	require.Greater(t, len(routes), 60, "Evidently describes 66 operations")
	slices.Sort(routes)
	for _, r := range routes {
		method, path, _ := strings.Cut(r, " ")
		for _, wrong := range []string{"", "wrong"} {
			status, body := ask(stranger, method, path, wrong)
			require.Equal(t, http.StatusUnauthorized, status, "%s with secret %q", r, wrong)
			require.Contains(t, body, "mlopsctl status --open evidently", "what to do next is said")
		}
	}
	status, _ := ask(stranger, "GET", "/api/version", "")
	require.Equal(t, http.StatusOK, status)

	at, err := s.BrowserURL(t.Context(), "evidently")
	require.NoError(t, err)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	browser := &http.Client{Jar: jar}
	status, page := ask(browser, "GET", strings.TrimPrefix(at, e.URL), "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, "<html", "the browser stands before Evidently's first page")
	status, _ = ask(browser, "GET", "/api/projects", "")
	require.Equal(t, http.StatusOK, status)
	status, _ = ask(browser, "DELETE", "/api/projects/00000000-0000-0000-0000-000000000000", "")
	require.Equal(t, http.StatusForbidden, status, "the cookie opens reading; changes want the secret")
	status, _ = ask(stranger, "GET", strings.TrimPrefix(at, e.URL), "")
	require.Equal(t, http.StatusUnauthorized, status, "the address works once")

	out := upstream(t, st, string(secret), `
import os
import pandas
from evidently import Dataset, Report
from evidently.metrics import RowCount
from evidently.sdk.models import ProjectModel
from evidently.ui.workspace import RemoteWorkspace
at = os.environ["AT"]
w = RemoteWorkspace(at, secret=os.environ["SECRET"])
p = w.add_project(ProjectModel(name="guarded"))
w.add_run(p.id, Report([RowCount()]).run(Dataset.from_pandas(pandas.DataFrame({"a": [1, 2]})), None))
found = [q.id for q in w.list_projects() + w.search_project("guarded")]
w.delete_project(p.id)
try:
    RemoteWorkspace(at).list_projects()
    print("open")
except Exception as e:
    print("found", found.count(p.id), "refused", getattr(getattr(e, "response", None), "status_code", e))
`)
	require.Contains(t, out, "found 2 refused Evidently asks for", "upstream's own client works with the secret and only with it")
}

// upstream runs a program in the Python of the stack's Evidently.
func upstream(t *testing.T, st stackfile.Stack, secret, program string) string {
	t.Helper()
	python := st.Pythons["evidently"]
	require.NotEmpty(t, python)
	c := exec.Command(python, "-I", "-c", program)
	c.Env = append(os.Environ(), "AT="+st.Endpoints[stackfile.Evidently].URL, "SECRET="+secret, "DO_NOT_TRACK=1")
	out, err := c.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}
