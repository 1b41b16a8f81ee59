package rayserve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// Input is one of the forms in which MLflow's scoring server takes rows:
// [DataframeSplit], [DataframeRecords], [Inputs], [Instances] or [Body].
type Input interface {
	payload() any // sent as JSON, or a *transport.Stream
}

// DataframeSplit is a table by columns' names and rows.
type DataframeSplit struct {
	Columns []string
	Data    [][]any
}

// DataframeRecords is a table as one object per row.
type DataframeRecords []map[string]any

// Inputs is a tensor, or tensors by name, as nested slices; or whatever a
// model that takes no table expects.
type Inputs struct{ Value any }

// Instances are rows in TensorFlow Serving's form.
type Instances []any

// Body is a whole request as MLflow's scoring server takes it, for example a
// table as "text/csv" with a header.
type Body struct {
	ContentType string // empty: "application/json"
	Data        []byte
}

func (in Body) payload() any {
	orDefault(&in.ContentType, "application/json")
	return &transport.Stream{
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(in.Data)), nil },
		Size: int64(len(in.Data)), ContentType: in.ContentType,
	}
}
func (in DataframeSplit) payload() any {
	split := map[string]any{"data": in.Data}
	if in.Columns != nil {
		split["columns"] = in.Columns
	}
	return map[string]any{"dataframe_split": split}
}
func (in DataframeRecords) payload() any { return map[string]any{"dataframe_records": in} }
func (in Inputs) payload() any           { return map[string]any{"inputs": in.Value} }
func (in Instances) payload() any        { return map[string]any{"instances": in} }

// Prediction is what a model answered.
type Prediction struct {
	Predictions json.RawMessage `json:"predictions"`
}

// Decode puts the predictions into v, a pointer.
func (p Prediction) Decode(v any) error {
	if err := json.Unmarshal(p.Predictions, v); err != nil {
		return &mlops.Error{Kind: mlops.ErrInvalid, Service: service, Op: "Decode", Cause: err, Message: fmt.Sprintf("the predictions do not have that form: %v: %.200s", err, p.Predictions)}
	}
	return nil
}

// Floats returns one number per row.
func (p Prediction) Floats() ([]float64, error) {
	var out []float64
	return out, p.Decode(&out)
}

// Strings returns one text per row.
func (p Prediction) Strings() ([]string, error) {
	var out []string
	return out, p.Decode(&out)
}

// target is an application that Invoke found answering.
type target struct {
	route string
	until time.Time // look again then
}

const lookAgain = 10 * time.Second

// Invoke asks a deployed model for predictions. It is not repeated once it has
// reached the model.
//
// An application without a running replica would hold the request until it
// times out; Invoke looks first, at most every 10 s, and its error matches
// [mlops.ErrUnavailable] then, [mlops.ErrNotFound] if there is no application
// of that name, and [mlops.ErrInvalid] with MLflow's words if the model refuses
// the rows.
//
// MLflow's scoring protocol: POST {route}/invocations
func (c *Client) Invoke(ctx context.Context, name string, in Input) (Prediction, error) {
	const op = "Invoke"
	if err := c.usable(op); err != nil {
		return Prediction{}, err
	}
	if v := reflect.ValueOf(in); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return Prediction{}, invalid(op, "nothing was given to predict from")
	}
	route, err := c.route(ctx, op, name)
	if err != nil {
		return Prediction{}, err
	}
	call := transport.Call{Op: op, Method: "POST", Path: route + "/invocations"}
	body := in.payload()
	if raw, ok := body.(*transport.Stream); ok {
		call.Raw = raw
	} else {
		call.Body = body
	}
	out, err := transport.Do[Prediction](ctx, c.serve, call)
	if err == nil && out.Predictions == nil {
		err = failure(mlops.ErrInvalid, op, "%s%s does not answer in MLflow's form: there are no predictions", c.serve.URL(), route)
	}
	if err != nil && !errors.Is(err, mlops.ErrInvalid) {
		c.forget(name) // it may have gone: look again next time
	}
	return out, err
}

// route finds where an application answers, and that it does.
func (c *Client) route(ctx context.Context, op, name string) (string, error) {
	c.mu.Lock()
	t, ok := c.known[name]
	c.mu.Unlock()
	if ok && time.Now().Before(t.until) {
		return t.route, nil
	}
	a, err := c.find(ctx, op, name)
	if err != nil {
		return "", err
	}
	switch {
	case !a.Serving():
		return "", &mlops.Error{Kind: mlops.ErrUnavailable, Service: service, Op: op, Code: string(a.Status), Message: fmt.Sprintf("application %s has no running replica: %s", name, reason(a, "Ray gives no reason"))}
	case a.RoutePrefix == "":
		return "", failure(mlops.ErrUnsupported, op, "application %s has no route", name)
	}
	if a.RoutePrefix == "/" {
		a.RoutePrefix = ""
	}
	c.mu.Lock()
	c.known[name] = target{a.RoutePrefix, time.Now().Add(lookAgain)}
	c.mu.Unlock()
	return a.RoutePrefix, nil
}

func (c *Client) forget(name string) {
	c.mu.Lock()
	delete(c.known, name)
	c.mu.Unlock()
}
