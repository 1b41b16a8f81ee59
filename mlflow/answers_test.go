package mlflow

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/transport"
)

// counter passes requests on, counts them, and may come under another name.
type counter struct {
	next http.RoundTripper
	host string
	n    atomic.Int32
}

func (c *counter) RoundTrip(req *http.Request) (*http.Response, error) {
	c.n.Add(1)
	if c.host != "" {
		req = req.Clone(req.Context())
		req.Host = c.host
	}
	next := c.next
	if next == nil {
		next = http.DefaultTransport
	}
	return next.RoundTrip(req)
}

// watched is a client whose requests are counter.
func watched(t *testing.T, s *cassette.Session, opt Options) (*Client, *counter) {
	t.Helper()
	count := &counter{next: s.HTTP.Transport}
	opt.URL, opt.HTTP = s.URL, &http.Client{Transport: count}
	opt.Journal.Dir = t.TempDir()
	c, err := New(opt)
	require.NoError(t, err)
	c.pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	c.newUID = uids(s)
	return c, count
}

// inObjectStore reports whether a live server keeps its artifacts in an object
// store, as a stack in containers does; what is recorded kept them in files.
func inObjectStore(t *testing.T, s *cassette.Session, c *Client) bool {
	t.Helper()
	if !s.Live || os.Getenv("MLOPS_RECORD") != "" {
		return false
	}
	_, err := transport.Do[transport.None](t.Context(), c.t, transport.Call{Op: "Call", Method: "GET", Path: escape("presigned", proxied+":/x"), Idempotent: true})
	return !errors.Is(err, mlops.ErrUnsupported)
}

// Each way in which a server says no has one kind and is asked once: none of
// them goes away by asking again, also those with the status 500 and 503.
func TestEachRefusalHasItsKindAndIsAskedForOnce(t *testing.T) {
	s, admin := connect(t)
	since(t, s, "3.17", "users, workspaces, multipart uploads and artifact errors as they are there")
	ctx := t.Context()
	c, count := watched(t, s, Options{Auth: s.Auth})
	run, exp := startRun(t, s, c)
	id, err := run.ID(ctx)
	require.NoError(t, err)
	uri, err := run.ArtifactURI(ctx)
	require.NoError(t, err)
	require.NoError(t, run.LogParam(ctx, "lr", 1))
	require.NoError(t, run.Flush(ctx))
	require.NoError(t, run.LogText(ctx, "x", "dir/file.txt"))
	require.NoError(t, run.Flush(ctx)) // requests of the background would be counted
	name := s.Name("model")
	_, err = c.Models.Create(ctx, name, ModelOptions{})
	require.NoError(t, err)
	expName, gone := s.Name("taken"), s.Name("gone")
	_, err = c.CreateExperiment(ctx, expName, ExperimentOptions{})
	require.NoError(t, err)
	goneID, err := c.CreateExperiment(ctx, gone, ExperimentOptions{})
	require.NoError(t, err)
	require.NoError(t, c.DeleteExperiment(ctx, goneID))
	deleted, err := c.StartRun(ctx, Experiment{ID: exp}, RunOptions{Tags: plain})
	require.NoError(t, err)
	t.Cleanup(func() { _ = deleted.Close() })
	deletedID, _ := deleted.ID(ctx)
	require.NoError(t, c.DeleteRun(ctx, deletedID))

	reader := mlops.Auth{Username: s.Name("reader"), Password: "only-for-this-test"}
	call := func(c *Client, method, path string, body any) error {
		_, err := transport.Do[transport.None](ctx, c.t, transport.Call{Op: "Call", Method: method, Path: path, Body: body, Idempotent: true})
		return err
	}
	require.NoError(t, call(admin, "POST", "/api/2.0/mlflow/users/create", map[string]string{"username": reader.Username, "password": string(reader.Password)}))
	t.Cleanup(func() {
		_, err := transport.Do[transport.None](context.WithoutCancel(ctx), admin.t, transport.Call{
			Op: "Call", Method: "DELETE", Path: "/api/2.0/mlflow/users/delete", Body: map[string]string{"username": reader.Username}})
		require.NoError(t, err)
	})

	raw := func(auth mlops.Auth, method, path string, body any) func() (int32, error) {
		return func() (int32, error) {
			c, count := watched(t, s, Options{Auth: auth})
			err := call(c, method, path, body)
			return count.n.Load(), err
		}
	}
	typed := func(do func() error) func() (int32, error) {
		return func() (int32, error) {
			before := count.n.Load()
			err := do()
			return count.n.Load() - before, err
		}
	}
	c.out.adopting.Wait()
	store := inObjectStore(t, s, admin)
	folder := 400
	if store {
		folder = 200 // it had begun to answer
	}
	form := &transport.Stream{Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("a=b")), nil }, Size: 3, ContentType: "application/x-www-form-urlencoded"}
	param := map[string]any{"run_id": id, "key": "lr", "value": "2"}
	for _, tt := range []struct {
		name   string
		do     func() (int32, error)
		kind   error // nil: done, whatever was asked
		status int
		code   string
	}{
		{"no such run", typed(func() error { _, err := c.RunInfo(ctx, "nope"); return err }), mlops.ErrNotFound, 404, "RESOURCE_DOES_NOT_EXIST"},
		{"no such experiment", typed(func() error { _, err := c.Experiment(ctx, "999999"); return err }), mlops.ErrNotFound, 404, "RESOURCE_DOES_NOT_EXIST"},
		{"no such model", typed(func() error { _, err := c.Models.Get(ctx, "nope"); return err }), mlops.ErrNotFound, 404, "RESOURCE_DOES_NOT_EXIST"},
		{"no such version", typed(func() error { _, err := c.Models.Version(ctx, name, "7"); return err }), mlops.ErrNotFound, 404, "RESOURCE_DOES_NOT_EXIST"},
		{"no such tag", raw(s.Auth, "POST", "/api/2.0/mlflow/runs/delete-tag", map[string]string{"run_id": id, "key": "nope"}), mlops.ErrNotFound, 404, "RESOURCE_DOES_NOT_EXIST"},
		{"no such alias", typed(func() error { _, err := c.Models.VersionByAlias(ctx, name, "nope"); return err }), mlops.ErrNotFound, 400, "INVALID_PARAMETER_VALUE"},
		{"experiment twice", typed(func() error { _, err := c.CreateExperiment(ctx, expName, ExperimentOptions{}); return err }), mlops.ErrAlreadyExists, 400, "RESOURCE_ALREADY_EXISTS"},
		{"model twice", typed(func() error { _, err := c.Models.Create(ctx, name, ModelOptions{}); return err }), mlops.ErrAlreadyExists, 400, "RESOURCE_ALREADY_EXISTS"},
		{"name of a deleted experiment", typed(func() error { _, err := c.CreateExperiment(ctx, gone, ExperimentOptions{}); return err }), mlops.ErrAlreadyExists, 400, "RESOURCE_ALREADY_EXISTS"},
		{"a param changed", raw(s.Auth, "POST", "/api/2.0/mlflow/runs/log-parameter", param), mlops.ErrInvalid, 400, "INVALID_PARAMETER_VALUE"},
		{"write to a deleted run", raw(s.Auth, "POST", "/api/2.0/mlflow/runs/set-tag", map[string]string{"run_id": deletedID, "key": "a", "value": "b"}), mlops.ErrInvalid, 400, "INVALID_PARAMETER_VALUE"},
		{"unknown status", raw(s.Auth, "POST", "/api/2.0/mlflow/runs/update", map[string]string{"run_id": id, "status": "DONE"}), nil, 200, ""},
		{"unknown status, typed", typed(func() error { return c.UpdateRun(ctx, id, RunUpdate{Status: "DONE"}) }), mlops.ErrInvalid, 0, ""},
		{"unknown field", raw(s.Auth, "POST", "/api/2.0/mlflow/runs/update", map[string]string{"run_id": id, "colour": "blue"}), nil, 200, ""},
		{"camel case", raw(s.Auth, "POST", "/api/2.0/mlflow/runs/set-tag", map[string]string{"runId": id, "key": "a", "value": "b"}), mlops.ErrInvalid, 400, "INVALID_PARAMETER_VALUE"},
		{"unknown route", raw(s.Auth, "GET", "/api/2.0/mlflow/no-such-call", nil), mlops.ErrUnsupported, 404, ""},
		{"wrong method", raw(s.Auth, "GET", "/api/2.0/mlflow/runs/create", nil), mlops.ErrUnsupported, 405, ""},
		{"wrong content type", typed(func() error {
			_, err := transport.Do[transport.None](ctx, c.t, transport.Call{Op: "Call", Method: "POST", Path: "/api/2.0/mlflow/runs/set-tag", Raw: form, Idempotent: true})
			return err
		}), mlops.ErrInvalid, 400, "INVALID_PARAMETER_VALUE"},
		{"an artifact that is a folder", typed(func() error { _, err := c.Download(ctx, uri, "dir"); return err }), mlops.ErrInvalid, folder, ""},
		{"a path that leads out", raw(s.Auth, "GET", "/api/2.0/mlflow-artifacts/artifacts/%252e%252e/x", nil), mlops.ErrInvalid, 400, "INVALID_PARAMETER_VALUE"},
		{"multipart upload to files", raw(s.Auth, "POST", "/api/2.0/mlflow-artifacts/mpu/create/1/x", map[string]any{"path": "x", "num_parts": 1}), mlops.ErrUnsupported, 501, "NOT_IMPLEMENTED"},
		{"no credentials", raw(mlops.Auth{}, "GET", "/api/2.0/mlflow/users/current", nil), mlops.ErrUnauthenticated, 401, ""},
		{"wrong password", raw(mlops.Auth{Username: "admin", Password: "wrong"}, "POST", "/api/2.0/mlflow/runs/log-model", map[string]string{}), mlops.ErrUnauthenticated, 401, ""},
		{"no permission", raw(reader, "POST", "/api/2.0/mlflow/runs/create", map[string]any{"experiment_id": exp}), mlops.ErrForbidden, 403, ""},
		{"a workspace where there are none", func() (int32, error) {
			c, count := watched(t, s, Options{Auth: s.Auth, Workspace: "team"})
			_, err := c.ExperimentByName(ctx, s.Name("in-a-workspace"))
			return count.n.Load(), err
		}, mlops.ErrUnsupported, 500, "FEATURE_DISABLED"},
		{"the list of workspaces where there are none", func() (int32, error) {
			c, count := watched(t, s, Options{Auth: s.Auth, Workspace: "team"})
			err := call(c, "GET", "/api/3.0/mlflow/workspaces", nil)
			return count.n.Load(), err
		}, mlops.ErrUnsupported, 503, ""},
		{"a server that does not know its name", func() (int32, error) {
			c, count := watched(t, s, Options{Auth: s.Auth})
			count.host = "another-name:5000"
			_, err := c.ExperimentByName(ctx, s.Name("by-another-name"))
			if err != nil {
				require.ErrorContains(t, err, "--allowed-hosts (or MLFLOW_SERVER_ALLOWED_HOSTS)")
			}
			return count.n.Load(), err
		}, mlops.ErrForbidden, 403, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.code == "NOT_IMPLEMENTED" && store {
				t.Skip("of the process runtime: this server's store takes parts")
			}
			asked, err := tt.do()
			if tt.kind == nil {
				require.NoError(t, err)
				require.EqualValues(t, 1, asked)
				return
			}
			require.ErrorIs(t, err, tt.kind)
			e, ok := errors.AsType[*mlops.Error](err)
			require.True(t, ok)
			require.Equal(t, tt.status, e.Status)
			require.Equal(t, tt.code, e.Code)
			require.NotContains(t, err.Error(), "\n")
			want := int32(1)
			switch tt.status {
			case 0:
				want = 0 // found before anything was sent
			case 200:
				want = 2 // the second tells that it is a folder
			}
			require.Equal(t, want, asked, "%v does not go away by asking again", err)
		})
	}

	e, err := c.ExperimentByName(ctx, gone)
	require.NoError(t, err)
	require.True(t, e.Deleted)
	require.NoError(t, run.End(ctx, nil))
	require.NoError(t, call(c, "POST", "/api/2.0/mlflow/runs/set-tag", map[string]string{"run_id": id, "key": "late", "value": "yes"}), "a run that ended takes more")
	info, err := c.RunInfo(ctx, id)
	require.NoError(t, err)
	require.Equal(t, "yes", info.Tags["late"])
	require.Equal(t, RunFinished, info.Status, "an unknown status changes nothing")
}

func TestACreateThatSentNothingHasAnError(t *testing.T) {
	for _, older := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		got, err := onceNamed(ctx, &Client{}, func() (string, error) { t.Error("it was sent"); return "made", nil }, func() (string, bool, error) {
			cancel() // just after the answer of the look
			return "older", older, nil
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, got)
	}
}
