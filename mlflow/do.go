package mlflow

import (
	"context"
	"net/url"

	"github.com/mlops-integration/mlops/internal/transport"
)

// Do reaches any operation of the server, also those that have no method here.
// path lies below the server's root and is escaped already; in, unless nil, is
// sent as JSON; the answer is decoded into out. With out nil the answer is
// dropped, with out a *[]byte it is kept as it came.
//
//	var info map[string]any
//	err := c.Do(ctx, "GET", "/api/3.0/mlflow/server-info", nil, nil, &info)
//
// GET, HEAD and PUT are repeated like every call that may be; other methods
// only if the server cannot have acted on them. Errors are those of the typed
// methods.
//
// MLflow REST: any
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	return transport.Any(ctx, c.tracking(), method, path, query, in, out)
}

const api3 = "/api/3.0/mlflow/"

// get3 is get for the newer half of the API.
func get3[T any](ctx context.Context, c *Client, op, path string, query url.Values) (T, error) {
	if err := storable(op, query); err != nil {
		return *new(T), err
	}
	return transport.Do[T](ctx, c.tracking(), transport.Call{Op: op, Method: "GET", Path: api3 + path, Query: query, Idempotent: true})
}

// send3 is send for the newer half of the API.
func send3[T any](ctx context.Context, c *Client, op, method, path string, body any) (T, error) {
	return call[T](ctx, c.tracking(), transport.Call{Op: op, Method: method, Path: api3 + path, Body: body, Idempotent: true})
}

// sendOnce3 is sendOnce for the newer half of the API.
func sendOnce3[T any](ctx context.Context, c *Client, op, method, path string, body any) (T, error) {
	return call[T](ctx, c.tracking(), transport.Call{Op: op, Method: method, Path: api3 + path, Body: body})
}

// remove3 deletes by sendOnce3, once.
func remove3(ctx context.Context, c *Client, op, path string, body any) error {
	return remove(ctx, c, func() error {
		_, err := sendOnce3[transport.None](ctx, c, op, "DELETE", path, body)
		return err
	})
}

// page adds a page's token to a query.
func page(q url.Values, token string) url.Values {
	if token != "" {
		q.Set("page_token", token)
	}
	return q
}
