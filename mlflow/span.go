package mlflow

import (
	"context"
	"encoding"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops/internal/transport"
)

// SpanStatus is how a span ended; empty when it does not say.
type SpanStatus string

// The statuses of a span.
const (
	SpanOK    SpanStatus = "OK"
	SpanError SpanStatus = "ERROR"
)

// Span is one step of a trace, an OpenTelemetry span with MLflow's conventions.
type Span struct {
	TraceID  string // "tr-" and 32 hex digits
	ID       string // 16 hex digits
	ParentID string // empty: the root of its trace
	Name     string
	Type     string // "LLM", "CHAIN", "TOOL", "RETRIEVER", …; may be empty
	Start    time.Time
	End      time.Time
	Status   SpanStatus // empty: unset
	Message  string     // why it is SpanError
	Inputs   any        // whatever JSON can say
	Outputs  any

	// Attributes hold texts, bools, int64s, float64s, and lists and maps of
	// them; what goes in otherwise comes back as one of these.
	Attributes map[string]any
	Events     []SpanEvent
}

// SpanEvent is something that happened within a span.
type SpanEvent struct {
	Name       string
	Time       time.Time
	Attributes map[string]any
}

// Attributes in which MLflow keeps what has a field of its own here.
const (
	attrTrace   = "mlflow.traceRequestId"
	attrType    = "mlflow.spanType"
	attrInputs  = "mlflow.spanInputs"
	attrOutputs = "mlflow.spanOutputs"
)

// SpanOptions are what [TracesService.LogSpans] may be told.
type SpanOptions struct {
	RunID string // show traces whose root is among the spans with this run
}

// LogSpans writes spans of one or several traces into an experiment. The trace
// is made, and its state and duration kept, from its root span. All spans of a
// call are written or none. A span that is there already is replaced.
//
// Programs that use OpenTelemetry need no client for this: their exporter posts
// to the same place, see examples/otlp.
//
// MLflow REST: POST /v1/traces
func (s TracesService) LogSpans(ctx context.Context, experiment string, spans []Span, opt SpanOptions) error {
	if len(spans) == 0 {
		return nil
	}
	list := make([]otlpSpan, 0, len(spans))
	for _, span := range spans {
		w, err := span.otlp()
		if err != nil {
			return invalid("Traces.LogSpans", "span %q: %v", span.Name, err)
		}
		list = append(list, w)
	}
	header := http.Header{"X-Mlflow-Experiment-Id": {experiment}}
	if opt.RunID != "" {
		header.Set("X-Mlflow-Run-Id", opt.RunID)
	}
	type scope struct {
		Spans []otlpSpan `json:"spans"`
	}
	type resource struct {
		Scopes []scope `json:"scopeSpans"`
	}
	_, err := transport.Do[transport.None](ctx, s.c.tracking(), transport.Call{Op: "Traces.LogSpans", Method: "POST", Path: "/v1/traces", Header: header, Idempotent: true,
		Body: map[string]any{"resourceSpans": []resource{{[]scope{{list}}}}}})
	return err
}

// otlpSpan is a span in OTLP's JSON form.
type otlpSpan struct {
	TraceID    string      `json:"traceId"`
	ID         string      `json:"spanId"`
	ParentID   string      `json:"parentSpanId,omitempty"`
	Name       string      `json:"name"`
	Start      int64       `json:"startTimeUnixNano,string"`
	End        int64       `json:"endTimeUnixNano,string"`
	Attributes []otlpValue `json:"attributes,omitempty"`
	Events     []otlpEvent `json:"events,omitempty"`
	Status     struct {
		Code    int    `json:"code"`
		Message string `json:"message,omitempty"`
	} `json:"status"`
}

type otlpEvent struct {
	Time       int64       `json:"timeUnixNano,string"`
	Name       string      `json:"name"`
	Attributes []otlpValue `json:"attributes,omitempty"`
}

type otlpValue struct {
	Key   string         `json:"key"`
	Value map[string]any `json:"value"`
}

func (s Span) otlp() (otlpSpan, error) {
	trace := strings.TrimPrefix(s.TraceID, "tr-")
	switch {
	case !isHex(trace, 32):
		return otlpSpan{}, fmt.Errorf("trace ID %q: want tr- and 32 hex digits", s.TraceID)
	case !isHex(s.ID, 16) || (s.ParentID != "" && !isHex(s.ParentID, 16)):
		return otlpSpan{}, fmt.Errorf("ID %q, parent %q: want 16 hex digits", s.ID, s.ParentID)
	case s.End.Before(s.Start):
		return otlpSpan{}, fmt.Errorf("it ends before it starts")
	}
	w := otlpSpan{TraceID: trace, ID: s.ID, ParentID: s.ParentID, Name: s.Name, Start: s.Start.UnixNano(), End: s.End.UnixNano()}
	w.Status.Message = s.Message
	w.Status.Code = map[SpanStatus]int{SpanOK: 1, SpanError: 2}[s.Status]

	all := maps.Clone(s.Attributes)
	if all == nil {
		all = map[string]any{}
	}
	if s.Type != "" {
		all[attrType] = s.Type
	}
	if s.Inputs != nil {
		all[attrInputs] = s.Inputs
	}
	if s.Outputs != nil {
		all[attrOutputs] = s.Outputs
	}
	var err error
	if w.Attributes, err = otlpAttributes(all); err != nil {
		return w, err
	}
	for _, e := range s.Events {
		attrs, err := otlpAttributes(e.Attributes)
		if err != nil {
			return w, err
		}
		w.Events = append(w.Events, otlpEvent{e.Time.UnixNano(), e.Name, attrs})
	}
	return w, nil
}

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

func otlpAttributes(m map[string]any) ([]otlpValue, error) {
	var out []otlpValue
	for _, k := range slices.Sorted(maps.Keys(m)) {
		v, err := otlpAny(m[k])
		if err != nil {
			return nil, fmt.Errorf("attribute %q: %w", k, err)
		}
		out = append(out, otlpValue{k, v})
	}
	return out, nil
}

// otlpAny writes a value as OTLP tells types apart.
func otlpAny(v any) (map[string]any, error) {
	if v == nil {
		return map[string]any{}, nil
	}
	if _, ok := v.(encoding.TextMarshaler); ok { // a Secret, a time
		return otlpJSON(v)
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.String:
		if n, ok := v.(json.Number); ok {
			if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
				return otlpAny(i)
			}
			f, err := n.Float64()
			return map[string]any{"doubleValue": number(f)}, err
		}
		return map[string]any{"stringValue": r.String()}, nil
	case reflect.Bool:
		return map[string]any{"boolValue": r.Bool()}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return map[string]any{"intValue": strconv.FormatInt(r.Int(), 10)}, nil
	case reflect.Float32, reflect.Float64:
		return map[string]any{"doubleValue": number(r.Float())}, nil
	}
	switch v := v.(type) {
	case []any:
		values := make([]map[string]any, 0, len(v))
		for _, e := range v {
			w, err := otlpAny(e)
			if err != nil {
				return nil, err
			}
			values = append(values, w)
		}
		return map[string]any{"arrayValue": map[string]any{"values": values}}, nil
	case map[string]any:
		values, err := otlpAttributes(v)
		return map[string]any{"kvlistValue": map[string]any{"values": values}}, err
	}
	return otlpJSON(v)
}

// otlpJSON writes by way of JSON what is neither plain nor made of plain values:
// a struct, a slice of something.
func otlpJSON(v any) (map[string]any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return nil, err
	}
	return otlpAny(plain)
}

// spanValue is an attribute's value as the server answers it.
type spanValue struct {
	String *string  `json:"string_value"`
	Bool   *bool    `json:"bool_value"`
	Int    *wireInt `json:"int_value"`
	Double *number  `json:"double_value"`
	Bytes  []byte   `json:"bytes_value"`
	Array  *struct {
		Values []spanValue `json:"values"`
	} `json:"array_value"`
	Map *struct {
		Values []spanAttribute `json:"values"`
	} `json:"kvlist_value"`
}

type spanAttribute struct {
	Key   string    `json:"key"`
	Value spanValue `json:"value"`
}

func (v spanValue) plain() any {
	switch {
	case v.String != nil:
		return *v.String
	case v.Bool != nil:
		return *v.Bool
	case v.Int != nil:
		return int64(*v.Int)
	case v.Double != nil:
		return float64(*v.Double)
	case v.Bytes != nil:
		return v.Bytes
	case v.Array != nil:
		list := make([]any, 0, len(v.Array.Values))
		for _, e := range v.Array.Values {
			list = append(list, e.plain())
		}
		return list
	case v.Map != nil:
		return attributes(v.Map.Values)
	}
	return nil
}

func attributes(list []spanAttribute) map[string]any {
	m := make(map[string]any, len(list))
	for _, a := range list {
		m[a.Key] = a.Value.plain()
	}
	return m
}

// UnmarshalJSON reads MLflow's form of a span.
func (s *Span) UnmarshalJSON(b []byte) error {
	var w struct {
		TraceID    string          `json:"trace_id"`
		ID         string          `json:"span_id"`
		ParentID   string          `json:"parent_span_id"`
		Name       string          `json:"name"`
		Start      wireInt         `json:"start_time_unix_nano"`
		End        wireInt         `json:"end_time_unix_nano"`
		Attributes []spanAttribute `json:"attributes"`
		Events     []struct {
			Name       string          `json:"name"`
			Time       wireInt         `json:"time_unix_nano"`
			Attributes []spanAttribute `json:"attributes"`
		} `json:"events"`
		Status struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"status"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	attrs := attributes(w.Attributes)
	*s = Span{Name: w.Name, Start: nanos(w.Start), End: nanos(w.End), Message: w.Status.Message, Attributes: attrs}
	for _, id := range []struct {
		from string
		to   *string
	}{{w.TraceID, &s.TraceID}, {w.ID, &s.ID}, {w.ParentID, &s.ParentID}} {
		raw, err := base64.StdEncoding.DecodeString(id.from)
		if err != nil {
			return fmt.Errorf("span %q has an ID %q that is not base64", w.Name, id.from)
		}
		*id.to = hex.EncodeToString(raw)
	}
	s.TraceID = "tr-" + s.TraceID
	if id, ok := attrs[attrTrace].(string); ok && id != "" {
		s.TraceID = id
	}
	s.Type, _ = attrs[attrType].(string)
	s.Inputs, s.Outputs = attrs[attrInputs], attrs[attrOutputs]
	for _, k := range []string{attrTrace, attrType, attrInputs, attrOutputs} {
		delete(attrs, k)
	}
	switch w.Status.Code {
	case "STATUS_CODE_OK":
		s.Status = SpanOK
	case "STATUS_CODE_ERROR":
		s.Status = SpanError
	}
	for _, e := range w.Events {
		s.Events = append(s.Events, SpanEvent{e.Name, nanos(e.Time), attributes(e.Attributes)})
	}
	return nil
}

func nanos(n wireInt) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(n)).UTC()
}
