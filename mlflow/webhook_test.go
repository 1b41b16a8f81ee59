package mlflow

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// delivery is one that a real server made, as it is kept in testdata.
type delivery struct {
	Header map[string]string `json:"header"`
	Body   string            `json:"body"`
}

const hookSecret = mlops.Secret("not a secret outside of tests")

var deliveryFile = filepath.Join("..", "testdata", "mlflow", "webhook_delivery.json")

func (d delivery) request() *http.Request {
	r := httptest.NewRequest("POST", "/hook", strings.NewReader(d.Body))
	for k, v := range d.Header {
		r.Header.Set(k, v)
	}
	return r
}

func TestWebhooksAreMadeDeliveredAndDeleted(t *testing.T) {
	s, c := connectOwn(t)
	ctx := t.Context()
	got := make(chan delivery, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		d := delivery{Header: map[string]string{}, Body: string(b)}
		for _, k := range []string{"X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"} {
			d.Header[k] = r.Header.Get(k)
		}
		got <- d
		w.WriteHeader(http.StatusTeapot)
	}))
	defer hook.Close()
	name := s.Name("hook")
	w, err := c.Webhooks.Create(ctx, name, hook.URL, []WebhookEvent{"model_version.created", "registered_model.created"}, WebhookOptions{Description: "d", Secret: hookSecret})
	require.NoError(t, err)
	require.Equal(t, WebhookActive, w.Status)
	require.Contains(t, w.Events, WebhookEvent("model_version.created"))
	if s.Live {
		test, err := c.Webhooks.Test(ctx, w.ID, "registered_model.created")
		require.NoError(t, err)
		require.False(t, test.OK, "the address answered 418")
		require.Equal(t, http.StatusTeapot, test.Status)
		d := <-got
		read, err := ReadWebhook(d.request(), hookSecret)
		require.NoError(t, err)
		require.Equal(t, WebhookEvent("registered_model.created"), read.Event)
		if os.Getenv("MLOPS_RECORD") != "" {
			b, err := json.MarshalIndent(d, "", " ")
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(deliveryFile, append(b, '\n'), 0o644))
		}
	} else {
		test, err := c.Webhooks.Test(ctx, w.ID, "registered_model.created")
		require.NoError(t, err)
		require.Equal(t, http.StatusTeapot, test.Status)
	}
	w, err = c.Webhooks.Update(ctx, w.ID, WebhookUpdate{Name: name + "-2", Description: new(""), Events: []WebhookEvent{"prompt.created"}, Status: WebhookDisabled, Secret: hookSecret})
	require.NoError(t, err)
	require.Equal(t, WebhookDisabled, w.Status)
	require.Equal(t, []WebhookEvent{"prompt.created"}, w.Events)
	w, err = c.Webhooks.Get(ctx, w.ID)
	require.NoError(t, err)
	require.Equal(t, name+"-2", w.Name)
	require.Empty(t, w.Description)
	list, err := mlops.Collect(c.Webhooks.All(ctx))
	require.NoError(t, err)
	require.NotEmpty(t, list)
	off, err := c.Webhooks.Create(ctx, s.Name("off"), "https://192.0.2.1/x", []WebhookEvent{"prompt.created"}, WebhookOptions{Disabled: true})
	require.NoError(t, err)
	require.Equal(t, WebhookDisabled, off.Status)
	_, err = c.Webhooks.Create(ctx, "x", "https://192.0.2.1/x", []WebhookEvent{"nonsense"}, WebhookOptions{})
	is(t, err, mlops.ErrInvalid)
	require.NoError(t, c.Webhooks.Delete(ctx, w.ID))
	_, err = c.Webhooks.Get(ctx, w.ID)
	is(t, err, mlops.ErrNotFound)
}

func TestADeliveryThatMLflowMadeIsReadAndNoOther(t *testing.T) {
	b, err := os.ReadFile(deliveryFile)
	require.NoError(t, err)
	var d delivery
	require.NoError(t, json.Unmarshal(b, &d))
	seconds, err := strconv.ParseInt(d.Header["X-MLflow-Timestamp"], 10, 64)
	require.NoError(t, err)
	at := time.Unix(seconds, 0)
	got, err := readWebhook(d.request(), hookSecret, at.Add(time.Minute))
	require.NoError(t, err)
	require.Equal(t, WebhookEvent("registered_model.created"), got.Event)
	require.Equal(t, d.Header["X-MLflow-Delivery-Id"], got.ID)
	require.WithinDuration(t, at, got.Time, 2*time.Second)
	require.True(t, json.Valid(got.Data))

	_, err = ReadWebhook(d.request(), hookSecret)
	require.ErrorIs(t, err, mlops.ErrForbidden, "it is long ago")
	for name, tt := range map[string]struct {
		change func(r *http.Request)
		secret mlops.Secret
		now    time.Time
	}{
		"no secret":       {secret: "", now: at},
		"other secret":    {secret: "guess", now: at},
		"old":             {secret: hookSecret, now: at.Add(6 * time.Minute)},
		"from the future": {secret: hookSecret, now: at.Add(-6 * time.Minute)},
		"other body":      {secret: hookSecret, now: at, change: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(d.Body + " ")) }},
		"other time":      {secret: hookSecret, now: at, change: func(r *http.Request) { r.Header.Set("X-MLflow-Timestamp", strconv.FormatInt(seconds+1, 10)) }},
		"other ID":        {secret: hookSecret, now: at, change: func(r *http.Request) { r.Header.Set("X-MLflow-Delivery-Id", "x") }},
		"not signed":      {secret: hookSecret, now: at, change: func(r *http.Request) { r.Header.Del("X-MLflow-Signature") }},
		"other version":   {secret: hookSecret, now: at, change: func(r *http.Request) { r.Header.Set("X-MLflow-Signature", "v2,aaaa") }},
	} {
		r := d.request()
		if tt.change != nil {
			tt.change(r)
		}
		_, err := readWebhook(r, tt.secret, tt.now)
		require.ErrorIs(t, err, mlops.ErrForbidden, name)
	}
	r := d.request()
	r.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", webhookBody+1)))
	_, err = readWebhook(r, hookSecret, at)
	require.ErrorIs(t, err, mlops.ErrInvalid)
}

func TestWorkspacesKeepThingsApart(t *testing.T) {
	s, c := connectOwn(t)
	ctx := t.Context()
	name := s.Name("team")
	w, err := c.Workspaces.Create(ctx, Workspace{Name: name, Description: "d"})
	require.NoError(t, err)
	require.Equal(t, name, w.Name)
	_, err = c.Workspaces.Create(ctx, Workspace{Name: name})
	is(t, err, mlops.ErrAlreadyExists)
	_, err = c.Workspaces.Create(ctx, Workspace{Name: "No Good"})
	is(t, err, mlops.ErrInvalid)
	w, err = c.Workspaces.Update(ctx, name, WorkspaceUpdate{Description: new("e"), Retention: new("30d")})
	require.NoError(t, err)
	require.Equal(t, "e", w.Description)
	require.Equal(t, "30d", w.TraceArchive.Retention)
	w, err = c.Workspaces.Get(ctx, name)
	require.NoError(t, err)
	require.Equal(t, "e", w.Description)
	names := map[string]bool{}
	for w, err := range c.Workspaces.All(ctx) {
		require.NoError(t, err)
		names[w.Name] = true
	}
	require.True(t, names[name] && names["default"])

	within, err := New(Options{URL: s.URL, HTTP: &http.Client{Transport: inWorkspace{s.HTTP.Transport, name}}})
	require.NoError(t, err)
	exp := s.Name("exp")
	a, err := within.CreateExperiment(ctx, exp, ExperimentOptions{})
	require.NoError(t, err)
	b, err := c.CreateExperiment(ctx, exp, ExperimentOptions{})
	require.NoError(t, err, "the same name in another workspace")
	require.NotEqual(t, a, b)
	is(t, c.Workspaces.Delete(ctx, "default", ""), mlops.ErrInvalid)
	require.Error(t, c.Workspaces.Delete(ctx, name, WorkspaceRestrict), "there is something in it")
	require.NoError(t, c.Workspaces.Delete(ctx, name, WorkspaceCascade))
	_, err = c.Workspaces.Get(ctx, name)
	is(t, err, mlops.ErrNotFound)
	info, err := c.ServerInfo(ctx)
	require.NoError(t, err)
	require.True(t, info.Workspaces)
}

// inWorkspace names a workspace with every request.
type inWorkspace struct {
	next http.RoundTripper
	name string
}

func (w inWorkspace) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("X-MLFLOW-WORKSPACE", w.name)
	return w.next.RoundTrip(req)
}
