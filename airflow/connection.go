package airflow

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// ConnectionSpec says where tasks connect to, and with which credentials.
type ConnectionSpec struct {
	ID          string
	Type        string // "http", "postgres", "aws", …
	Description string
	Host        string
	Port        int // 0: none
	Login       string
	Password    mlops.Secret
	Schema      string
	Extra       map[string]any // what the type of connection knows beside these
}

// Connection is a connection as the server shows it. It hides the password and
// what has a secret-sounding name in Extra.
type Connection struct {
	ID          string `json:"connection_id"`
	Type        string `json:"conn_type"`
	Description string `json:"description"`
	Host        string `json:"host"`
	Port        int    `json:"port"`
	Login       string `json:"login"`
	Password    Masked `json:"password"`
	Schema      string `json:"schema"`
	Extra       Extra  `json:"extra"`
}

// Extra is what a connection holds beside its named parts. Values that the
// server hides are [Masked].
type Extra map[string]any

// UnmarshalJSON reads the server's form, a text that holds JSON. One that holds
// no object stands under the empty key.
func (e *Extra) UnmarshalJSON(b []byte) error {
	var text *string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	*e = nil
	if text == nil || *text == "" {
		return nil
	}
	var m map[string]any
	if json.Unmarshal([]byte(*text), &m) != nil {
		m = map[string]any{"": *text}
	}
	for k := range m {
		m[k] = masking(m[k])
	}
	*e = m
	return nil
}

// connectionWire is a connection as it is written.
type connectionWire struct {
	ID          string `json:"connection_id"`
	Type        string `json:"conn_type"`
	Description string `json:"description,omitempty"`
	Host        string `json:"host,omitempty"`
	Port        int    `json:"port,omitempty"`
	Login       string `json:"login,omitempty"`
	Password    string `json:"password,omitempty"`
	Schema      string `json:"schema,omitempty"`
	Extra       string `json:"extra,omitempty"`
}

func (s ConnectionSpec) wire(op string) (connectionWire, error) {
	w := connectionWire{ID: s.ID, Type: s.Type, Description: s.Description, Host: s.Host, Port: s.Port, Login: s.Login, Password: string(s.Password), Schema: s.Schema}
	if err := unmasked(op, "connection "+s.ID, []any{w.Password, s.Extra}); err != nil {
		return w, err
	}
	if s.Extra != nil {
		b, err := json.Marshal(s.Extra)
		if err != nil {
			return w, invalid(op, "connection %s: %v", s.ID, err)
		}
		w.Extra = string(b)
	}
	return w, nil
}

// All lists the connections by ID.
//
// Airflow REST: GET /api/v2/connections
func (s ConnectionsService) All(ctx context.Context) iter.Seq2[Connection, error] {
	return list[Connection](ctx, s.c, "connections", request{op: "Connections.All", path: "/connections", query: url.Values{"order_by": {"connection_id"}}})
}

// Get returns a connection. The error matches [mlops.ErrNotFound] if there is
// none of this ID.
//
// Airflow REST: GET /api/v2/connections/{connection_id}
func (s ConnectionsService) Get(ctx context.Context, id string) (Connection, error) {
	return get[Connection](ctx, s.c, "Connections.Get", "/connections/%s", id)
}

// Create makes a connection. The error matches [mlops.ErrAlreadyExists] if the
// ID is taken.
//
// Airflow REST: POST /api/v2/connections (201)
func (s ConnectionsService) Create(ctx context.Context, spec ConnectionSpec) error {
	const op = "Connections.Create"
	w, err := spec.wire(op)
	if err != nil {
		return err
	}
	_, err = sendOnce[none](ctx, s.c, op, "POST", "/connections", w)
	return err
}

// Set replaces a connection that exists: what spec leaves out is emptied, but for
// the password, which Airflow only takes away with the connection.
//
// Airflow REST: PATCH /api/v2/connections/{connection_id}
func (s ConnectionsService) Set(ctx context.Context, spec ConnectionSpec) error {
	const op = "Connections.Set"
	w, err := spec.wire(op)
	if err != nil {
		return err
	}
	_, err = send[none](ctx, s.c, op, "PATCH", "/connections/%s", w.whole(), spec.ID)
	return err
}

// whole is the connection with null for what it leaves out: null empties a
// field, and one that is left out stays, as an empty password is to.
func (w connectionWire) whole() map[string]any {
	all := map[string]any{"connection_id": w.ID, "conn_type": w.Type, "port": nil}
	for field, text := range map[string]string{"description": w.Description, "host": w.Host, "login": w.Login, "schema": w.Schema, "extra": w.Extra} {
		all[field] = nil
		if text != "" {
			all[field] = text
		}
	}
	if w.Password != "" {
		all["password"] = w.Password
	}
	if w.Port != 0 {
		all["port"] = w.Port
	}
	return all
}

// SetAll writes connections in one request, new ones and existing ones, the
// latter as [ConnectionsService.Set] does.
//
// Airflow REST: PATCH /api/v2/connections (200 even if it fails)
func (s ConnectionsService) SetAll(ctx context.Context, specs []ConnectionSpec) (BulkResult, error) {
	const op = "Connections.SetAll"
	var all []map[string]any
	for _, spec := range specs {
		w, err := spec.wire(op)
		if err != nil {
			return BulkResult{}, err
		}
		all = append(all, w.whole())
	}
	return s.c.bulk(ctx, op, "/connections", nil, true, bulkAction{Action: BulkActionCreate, Existing: "overwrite", Entities: all})
}

// Delete removes a connection.
//
// Airflow REST: DELETE /api/v2/connections/{connection_id} (204)
func (s ConnectionsService) Delete(ctx context.Context, id string) error {
	return s.c.remove(ctx, request{op: "Connections.Delete", path: "/connections/%s", ids: []string{id}})
}

// DeleteAll removes connections in one request: all of them or, if one is not
// there, none.
//
// Airflow REST: PATCH /api/v2/connections (200 even if it fails)
func (s ConnectionsService) DeleteAll(ctx context.Context, ids []string) (BulkResult, error) {
	return s.c.bulk(ctx, "Connections.DeleteAll", "/connections", nil, false, bulkAction{Action: BulkActionDelete, Missing: "fail", Entities: ids})
}

// CreateDefaults makes the connections that Airflow comes with. Existing ones
// stay.
//
// Airflow REST: POST /api/v2/connections/defaults (204)
func (s ConnectionsService) CreateDefaults(ctx context.Context) error {
	_, err := send[none](ctx, s.c, "Connections.CreateDefaults", "POST", "/connections/defaults", nil)
	return err
}

// ConnectionTest is what a try of a connection came to.
type ConnectionTest struct {
	OK      bool   `json:"status"`
	Message string `json:"message"`
}

// Test tries a connection from the server; it is not stored. The error matches
// [mlops.ErrForbidden] unless the server's core.test_connection is "Enabled".
//
// Airflow REST: POST /api/v2/connections/test
func (s ConnectionsService) Test(ctx context.Context, spec ConnectionSpec) (ConnectionTest, error) {
	const op = "Connections.Test"
	w, err := spec.wire(op)
	if err != nil {
		return ConnectionTest{}, err
	}
	return send[ConnectionTest](ctx, s.c, op, "POST", "/connections/test", w)
}

// QueuedTest is a try of a connection by a worker.
type QueuedTest struct {
	Token   mlops.Secret `json:"token"`
	ID      string       `json:"connection_id"`
	State   string       `json:"state"`
	Message string       `json:"result_message"`
}

// EnqueueTest has a worker try a connection: see [ConnectionsService.QueuedTest].
//
// Airflow REST: POST /api/v2/connections/enqueue-test (202)
func (s ConnectionsService) EnqueueTest(ctx context.Context, spec ConnectionSpec) (QueuedTest, error) {
	const op = "Connections.EnqueueTest"
	w, err := spec.wire(op)
	if err != nil {
		return QueuedTest{}, err
	}
	return sendOnce[QueuedTest](ctx, s.c, op, "POST", "/connections/enqueue-test", w)
}

// QueuedTest returns how a try is that EnqueueTest began.
//
// Airflow REST: GET /api/v2/connections/enqueue-test
func (s ConnectionsService) QueuedTest(ctx context.Context, token mlops.Secret) (QueuedTest, error) {
	return transport.Do[QueuedTest](ctx, s.c.way(), transport.Call{Op: "Connections.QueuedTest", Method: "GET", Path: apiRoot + "/connections/enqueue-test", Idempotent: true,
		Header: map[string][]string{"Airflow-Connection-Test-Token": {string(token)}}})
}
