package rayserve

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

const startupFailed = "The deployment failed to start 3 times in a row. This may be due to a problem with its constructor or initial health check failing. See controller logs for details. Error:\n" +
	"\x1b[36mray::ServeReplica:lin:model.initialize_and_get_metadata()\x1b[39m (pid=1, ip=127.0.0.1)\n" +
	"  File \"/srv/venv/lib/python3.11/concurrent/futures/_base.py\", line 449, in result\n    return self.__get_result()\n           ^^^^^^^^^^^^^^^^^^^\n" +
	"mlflow.exceptions.RestException: RESOURCE_DOES_NOT_EXIST: Model Version (name=lin, version=99) not found"

func TestATracebackBecomesItsLastLine(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"a replica that cannot start", startupFailed, "The deployment failed to start 3 times in a row: mlflow.exceptions.RestException: RESOURCE_DOES_NOT_EXIST: Model Version (name=lin, version=99) not found"},
		{"a traceback in a traceback", "Deploying app 'lin' failed with exception:\nTraceback (most recent call last):\n  File \"/a/b/c.py\", line 9, in f\n    x\nray.exceptions.RayTaskError(RuntimeError): \x1b[36mray::build()\x1b[39m (pid=1)\nRuntimeError: Traceback (most recent call last):\n  File \"/a/b/d.py\", line 7, in g\nModuleNotFoundError: No module named 'x.y'\n", "Deploying app 'lin' failed with exception:\nModuleNotFoundError: No module named 'x.y'"},
		{"paths", "OSError: cannot read '/srv/ray/session_1/model.bin'", "OSError: cannot read 'model.bin'"},
		{"an address is no path", "GET http://127.0.0.1:5000/api/2.0/mlflow failed", "GET http://127.0.0.1:5000/api/2.0/mlflow failed"},
		{"plain words", "waiting for 1 replica", "waiting for 1 replica"},
		{"nothing", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, readable(tt.in)) })
	}
}

func TestErrorsOfTheDashboardHaveTheRightKind(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		kind   error
		code   string
		words  string
	}{
		{"Serve is going down", 500, "Traceback (most recent call last):\n  File \"/a/b/c.py\", line 1\nray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.\n", mlops.ErrUnavailable, "ActorDiedError", "ray.exceptions.ActorDiedError: The actor died"},
		{"malformed body", 500, "Traceback (most recent call last):\n  File \"/a/b/c.py\", line 1\njson.decoder.JSONDecodeError: Expecting value: line 1\n", mlops.ErrInvalid, "", "Expecting value"},
		{"schema", 400, "1 validation error for ServeDeploySchema\napplications\n  Value error, x [type=value_error]\nValidationError", mlops.ErrInvalid, "ValidationError", "1 validation error"},
		{"scale", 404, `{"error":"Application or Deployment not found"}`, nil, "", "Application or Deployment not found"},
		{"no token", 401, "Unauthorized: Missing authentication token", nil, "", "RAY_AUTH_TOKEN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := decodeDashboard(tt.status, "text/plain", []byte(tt.body))
			require.NotNil(t, e)
			require.Equal(t, tt.kind, e.Kind)
			require.Equal(t, tt.code, e.Code)
			require.Contains(t, e.Message, tt.words)
			require.NotContains(t, e.Message, "/a/b")
		})
	}
	require.Nil(t, decodeDashboard(502, "text/html", []byte("<html>")), "a proxy's page is told as such by the transport")
}

func TestErrorsOfModelsKeepMLflowsWords(t *testing.T) {
	e := decodeModel(400, "application/json", []byte(`{"error_code":"BAD_REQUEST","message":"Incompatible input types"}`))
	require.Equal(t, "BAD_REQUEST", e.Code)
	require.Equal(t, "Incompatible input types", e.Message)
	e = decodeModel(500, "text/plain", []byte("Internal Server Error"))
	require.ErrorIs(t, e, mlops.ErrUnavailable)
	e = decodeModel(408, "text/plain", []byte("Request timed out after 120s."))
	require.True(t, errors.Is(e, mlops.ErrUnavailable))
	e = decodeModel(422, "application/json", []byte(`{"detail":"no"}`))
	require.Equal(t, "no", e.Message)
}

func FuzzReadable(f *testing.F) {
	for _, s := range []string{startupFailed, "", "\x1b[", "Traceback (most recent call last):", "ray::x\nE: y\n", "a: /b/c/d", "\xff\x1b[0m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := readable(s)
		if len(got) > len(s) {
			t.Errorf("%q grew to %q", s, got)
		}
		if ansi.MatchString(got) && !ansi.MatchString(strings.ToValidUTF8(ansi.ReplaceAllString(s, ""), "")) {
			t.Errorf("%q still has colours: %q", s, got)
		}
		for _, status := range []int{400, 401, 500} {
			for _, decode := range []func(int, string, []byte) *mlops.Error{decodeDashboard, decodeModel} {
				if e := decode(status, "text/plain", []byte(s)); e != nil {
					_ = e.Error()
				}
			}
		}
	})
}

func TestAnUpgradeThatIsBeingBuiltStillServes(t *testing.T) {
	for _, tt := range []struct {
		name string
		app  App
		want bool
	}{
		{"running", App{Status: StateRunning}, true},
		{"first build: a request would hang", App{Status: StateDeploying}, false},
		{"build of an upgrade: the old replicas answer", App{Status: StateDeploying, routed: true}, true},
		{"build of an upgrade failed: likewise", App{Status: StateDeployFailed, routed: true}, true},
		{"upgrade failed, one old replica", App{Status: StateDeployFailed, routed: true, Deployments: []Deployment{{Replicas: 1}}}, true},
		{"none came up", App{Status: StateDeployFailed, routed: true, Deployments: []Deployment{{}}}, false},
		{"on its way out", App{Status: StateDeleting, routed: true}, false},
	} {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, tt.app.Serving()) })
	}
}
