package airflow

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// The bodies are Airflow 3.3.2's own words.
func TestEveryFormOfErrorHasItsKind(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		kind   error // nil: left to the status
		msg    string
		code   string
	}{
		{404, "{\"detail\":\"The Dag with ID: `nope` was not found\"}", nil, "The Dag with ID: `nope` was not found", ""},
		{403, `{"detail":"Forbidden"}`, nil, "Forbidden", ""},
		{403, `{"detail":"Invalid JWT token"}`, mlops.ErrUnauthenticated, "Invalid JWT token", ""},
		{401, `{"detail":"Not authenticated"}`, nil, "Not authenticated", ""},
		{409, "{\"detail\":\"The Variable with key: `v1` already exists\"}", mlops.ErrAlreadyExists, "The Variable with key: `v1` already exists", ""},
		{422, `{"detail":[{"type":"missing","loc":["body","logical_date"],"msg":"Field required","input":{}}]}`, nil, "body.logical_date: Field required", "missing"},
		{409, `{"detail":{"reason":"Unique constraint violation","statement":"hidden","orig_error":"hidden","message":"look for ID hW1XzUuL"}}`, mlops.ErrAlreadyExists, "the name or ID is taken: look for ID hW1XzUuL", "Unique constraint violation"},
		{500, `{"detail":{"reason":"Database error","statement":"hidden","orig_error":"hidden","message":"look for ID x"}}`, nil, "look for ID x", "Database error"},
		{404, `{"error":"API route not found"}`, mlops.ErrUnsupported, "API route not found", ""},
	} {
		e := decodeError(tt.status, "application/json", []byte(tt.body))
		require.NotNil(t, e, tt.body)
		require.Equal(t, &mlops.Error{Kind: tt.kind, Message: tt.msg, Code: tt.code}, e)
	}
	require.Nil(t, decodeError(500, "text/plain", []byte("Internal Server Error")))
	require.Nil(t, decodeError(502, "text/html", []byte("<html>")))
	require.Nil(t, decodeError(400, "application/json", []byte(`{"detail":null}`)))
}

func FuzzDecodeError(f *testing.F) {
	f.Add(422, `{"detail":[{"type":"missing","loc":["body",1],"msg":"m"}]}`)
	f.Add(403, `{"detail":"Invalid JWT token"}`)
	f.Add(409, `{"detail":{"reason":"Unique constraint violation","message":""}}`)
	f.Add(404, `{"error":"x"}`)
	f.Add(500, `Internal Server Error`)
	f.Add(400, `{"detail":{"reason":1}}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		e := decodeError(status, "application/json", []byte(body))
		if e == nil {
			return
		}
		if e.Message == "" && e.Code == "" {
			t.Errorf("%q gives an error that says nothing", body)
		}
		if e.Kind == mlops.ErrUnauthenticated && status != http.StatusForbidden {
			t.Errorf("status %d with %q would log in again", status, body)
		}
	})
}

// The answer of a bulk change that failed has status 200.
func TestABulkAnswerIsReadForErrors(t *testing.T) {
	var w bulkWire
	require.NoError(t, json.Unmarshal([]byte(`{"create":null,"update":{"success":[],"errors":[{"error":"The pools with these pool names: {'zzz'} were not found.","status_code":404}]},"delete":null}`), &w))
	_, err := w.result("Pools.SetAll")
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.EqualError(t, err, "airflow: Pools.SetAll: update: The pools with these pool names: {'zzz'} were not found.")
	require.NoError(t, json.Unmarshal([]byte(`{"create":{"success":["a"],"errors":[]},"update":null,"delete":null}`), &w))
	w.Update = nil
	done, err := w.result("Pools.SetAll")
	require.NoError(t, err)
	require.Equal(t, BulkResult{Created: []string{"a"}}, done)

	require.NoError(t, json.Unmarshal([]byte(`{"create":{"success":["a"],"errors":[{"error":"The Variable with key: `+"`b`"+` already exists","status_code":409}]},"delete":{"success":[],"errors":[{"error":"c is missing","status_code":404}]}}`), &w))
	done, err = w.result("Variables.SetAll")
	require.Equal(t, []string{"a"}, done.Created, "what was done is told beside what was not")
	require.ErrorIs(t, err, mlops.ErrAlreadyExists)
	require.ErrorIs(t, err, mlops.ErrNotFound, "each part has its kind")
	failed, ok := errors.AsType[*BulkError](err)
	require.True(t, ok)
	require.Len(t, failed.Failed, 2)
}

func TestWhatIsSentIsExactlyWhatTheServerTakes(t *testing.T) {
	for want, v := range map[string]any{
		`{"logical_date":null,"dag_run_id":"r"}`:                                             triggerWire{RunID: "r"},
		`{"logical_date":"2026-01-02T00:00:00Z","dag_run_id":"r","conf":{"a":1},"note":"n"}`: triggerWire{LogicalDate: new(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)), RunID: "r", Conf: map[string]any{"a": 1}, Note: "n"},
		`{"name":"p","slots":0,"description":"","include_deferred":false}`:                   Pool{Name: "p", Open: 3, Running: 1}.wire(),
	} {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		require.Equal(t, want, string(b))
	}
}

func TestATokenTellsItsEnd(t *testing.T) {
	// {"exp":1800000000}
	require.Equal(t, int64(1800000000), expiry("e30.eyJleHAiOjE4MDAwMDAwMDB9.x").Unix())
	for _, s := range []string{"", "replayed", "a.b.c", "e30.e30.x", "e30.bnVsbA.x"} {
		require.True(t, expiry(s).IsZero(), s)
	}
}

func TestALogLineIsReadInEveryForm(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`"plain"`, "plain"},
		{`{"event":"e"}`, "e"},
		{`{"event":"e","timestamp":null,"level":null}`, "e"},
		{`{"timestamp":"2026-11-23T06:44:13.361416Z","level":"error","event":"Task failed","error_detail":[{"exc_type":"AirflowException","exc_value":"exit code 3"}]}`,
			"2026-11-23T06:44:13.361Z ERROR   Task failed\n  AirflowException: exit code 3"},
		{`{"timestamp":"2026-11-23T06:44:13","event":"no zone"}`, "2026-11-23T06:44:13.000Z no zone"},
		{`{"timestamp":"soon","event":"e"}`, "e"},
	} {
		var l LogLine
		require.NoError(t, json.Unmarshal([]byte(tt.in), &l))
		require.Equal(t, tt.want, l.String())
	}
	var l LogLine
	require.NoError(t, json.Unmarshal([]byte(`{"timestamp":"soon","event":7,"x":1}`), &l))
	require.Equal(t, map[string]any{"timestamp": "soon", "event": 7.0, "x": 1.0}, l.Fields, "what is not understood is kept")
}

func FuzzLogLine(f *testing.F) {
	f.Add(`{"timestamp":"2026-11-23T06:44:13.361416Z","level":"info","event":"e","logger":"l","n":1}`)
	f.Add(`"text"`)
	f.Add(`{"event":{"a":[1]},"error_detail":[1,{"exc_type":null}]}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, in string) {
		var l LogLine
		if json.Unmarshal([]byte(in), &l) != nil {
			return
		}
		_ = l.String()
		var again LogLine
		require.NoError(t, json.Unmarshal([]byte(in), &again))
		require.Equal(t, l.key(), again.key(), "a line cannot be known again")
	})
}
