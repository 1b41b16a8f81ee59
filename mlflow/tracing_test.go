package mlflow

import (
	"encoding/json"
	"math"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// traced is an experiment with a trace of two spans.
func traced(t *testing.T) (c *Client, exp string, spans []Span, python func(script string, args ...string) string) {
	t.Helper()
	s, c := connect(t)
	since(t, s, "3.17", "spans and assessments as they are there")
	exp, err := c.CreateExperiment(t.Context(), s.Name("exp"), ExperimentOptions{})
	require.NoError(t, err)
	id := "tr-" + c.newUID()
	at := time.Unix(1_700_000_000, 1).UTC()
	spans = []Span{
		{TraceID: id, ID: "00000000000000a1", Name: "answer", Type: "CHAIN", Start: at, End: at.Add(1500 * time.Millisecond), Status: SpanOK,
			Inputs: map[string]any{"question": "why"}, Outputs: []any{"because", int64(42)},
			Attributes: map[string]any{"big": int64(9007199254740993), "half": 0.5, "yes": true, "list": []any{"a", int64(1)}, "text": "plain"},
			Events:     []SpanEvent{{Name: "tick", Time: at.Add(time.Second), Attributes: map[string]any{"k": "v"}}}},
		{TraceID: id, ID: "00000000000000a2", ParentID: "00000000000000a1", Name: "look up", Type: "TOOL", Start: at.Add(time.Millisecond), End: at.Add(2 * time.Millisecond),
			Status: SpanError, Message: "boom", Attributes: map[string]any{}},
	}
	require.NoError(t, c.Traces.LogSpans(t.Context(), exp, spans, SpanOptions{}))
	return c, exp, spans, func(script string, args ...string) string {
		if !s.Live {
			return ""
		}
		return runPython(t, s, script, args...)
	}
}

func TestSpansArriveAsTheyWereAndTwiceIsOnce(t *testing.T) {
	c, exp, spans, python := traced(t)
	ctx := t.Context()
	id := spans[0].TraceID
	require.NoError(t, c.Traces.LogSpans(ctx, exp, spans, SpanOptions{}), "again")
	trace, err := c.Traces.Get(ctx, id, TraceOptions{Partial: true})
	require.NoError(t, err)
	require.Equal(t, spans, trace.Spans)
	require.Equal(t, TraceOK, trace.Info.State)
	require.Equal(t, 1500*time.Millisecond, trace.Info.Duration)
	require.Equal(t, exp, trace.Info.ExperimentID)
	require.JSONEq(t, `{"question":"why"}`, trace.Info.Request)
	whole, err := mlops.Collect(c.Traces.ByID(ctx, id, "tr-none"))
	require.NoError(t, err)
	require.Equal(t, []Trace{trace}, whole)
	if out := python(`
import sys, mlflow
t = mlflow.MlflowClient().get_trace(sys.argv[1])
r, = [s for s in t.data.spans if s.parent_id is None]
print(len(t.data.spans), r.name, r.span_type, r.inputs, r.outputs, r.attributes["big"], r.attributes["half"], r.attributes["yes"], r.attributes["text"], r.events[0].name, t.info.state)`, id); out != "" {
		require.Equal(t, "2 answer CHAIN {'question': 'why'} ['because', 42] 9007199254740993 0.5 True plain tick OK", out)
	}
	raw, err := c.Traces.Data(ctx, id)
	require.NoError(t, err)
	require.True(t, json.Valid(raw))
	require.Contains(t, string(raw), "look up")
	require.NoError(t, c.Do(ctx, "GET", "/ajax-api/3.0/mlflow/get-trace-artifact", url.Values{"request_id": {id}}, nil, nil))

	for name, bad := range map[string]Span{
		"trace":  {TraceID: "x", ID: spans[0].ID},
		"id":     {TraceID: id, ID: "x"},
		"ends":   {TraceID: id, ID: spans[0].ID, Start: time.Unix(1, 0), End: time.Unix(0, 0)},
		"values": {TraceID: id, ID: spans[0].ID, Inputs: func() {}},
		"events": {TraceID: id, ID: spans[0].ID, Events: []SpanEvent{{Attributes: map[string]any{"f": func() {}}}}},
	} {
		is(t, c.Traces.LogSpans(ctx, exp, []Span{bad}, SpanOptions{}), mlops.ErrInvalid)
		require.NotEmpty(t, name)
	}
	require.NoError(t, c.Traces.LogSpans(ctx, exp, nil, SpanOptions{}))
}

func TestTracesAreBegunEndedTaggedSearchedAndDeleted(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.17", "traces as they are there")
	ctx := t.Context()
	run, exp := startRun(t, s, c)
	runID, _ := run.ID(ctx)
	at := time.UnixMilli(1_700_000_000_123).UTC()
	begun, err := c.Traces.Start(ctx, TraceInfo{ExperimentID: exp, Time: at, Request: "why", Metadata: map[string]string{"mlflow.trace.session": "s1"}, Tags: map[string]string{"env": "test"}})
	require.NoError(t, err)
	require.Equal(t, TraceInProgress, begun.State)
	begun.State, begun.Duration, begun.Response = TraceOK, 250*time.Millisecond, "because"
	for range 2 { // an answer that got lost
		_, err = c.Traces.Start(ctx, begun)
		require.NoError(t, err)
	}
	got, err := c.Traces.Info(ctx, begun.ID)
	require.NoError(t, err)
	require.Equal(t, TraceOK, got.State)
	require.Equal(t, 250*time.Millisecond, got.Duration)
	require.Equal(t, at, got.Time)
	require.Equal(t, "why", got.Request)
	require.Equal(t, "because", got.Response)
	require.Equal(t, "s1", got.Metadata["mlflow.trace.session"])
	require.Equal(t, "test", got.Tags["env"])
	second, err := c.Traces.Start(ctx, TraceInfo{ExperimentID: exp, Time: at, State: TraceError})
	require.NoError(t, err)

	require.NoError(t, c.Traces.SetTag(ctx, begun.ID, "k", "v"))
	require.NoError(t, c.Traces.DeleteTag(ctx, begun.ID, "env"))
	is(t, c.Traces.DeleteTag(ctx, begun.ID, "env"), mlops.ErrNotFound)
	is(t, c.Traces.SetTag(ctx, begun.ID, "", "v"), mlops.ErrInvalid)
	list, err := mlops.Collect(c.Traces.All(ctx, TraceQuery{Experiments: []string{exp}, Filter: "tag.k = 'v'", OrderBy: []string{"timestamp_ms DESC"}}))
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, begun.ID, list[0].ID)
	require.NotContains(t, list[0].Tags, "env")
	infos, err := mlops.Collect(c.Traces.InfosByID(ctx, begun.ID, second.ID, "tr-none"))
	require.NoError(t, err)
	require.Len(t, infos, 2)

	require.NoError(t, c.Traces.LinkRun(ctx, runID, begun.ID))
	linked, err := mlops.Collect(c.Traces.All(ctx, TraceQuery{Experiments: []string{exp}, Filter: "trace.run_id = '" + runID + "'"}))
	require.NoError(t, err)
	require.Len(t, linked, 1)
	both, err := c.Traces.Correlation(ctx, TraceQuery{Experiments: []string{exp}, Filter: "timestamp_ms > 0"}, "status = 'OK'", "tag.k = 'v'")
	require.NoError(t, err)
	require.Equal(t, 2, both.Total)
	require.Equal(t, 1, both.Both)
	none, err := c.Traces.Correlation(ctx, TraceQuery{Experiments: []string{exp}}, "status = 'OK'", "tag.k = 'never'")
	require.NoError(t, err)
	require.True(t, math.IsNaN(none.NPMI) || none.NPMI == 0 || none.NPMI == -1, none.NPMI)

	groups, err := mlops.Collect(c.Traces.Metrics(ctx, TraceMetricQuery{Experiments: []string{exp}, Over: TraceViewTraces, Metric: "trace_count", Aggregations: []Aggregation{{Type: "COUNT"}}, Dimensions: []string{"trace_status"}}))
	require.NoError(t, err)
	counts := map[string]float64{}
	for _, g := range groups {
		counts[g.Dimensions["trace_status"]] = g.Values["COUNT"]
	}
	require.Equal(t, map[string]float64{"OK": 1, "ERROR": 1}, counts)
	groups, err = mlops.Collect(c.Traces.Metrics(ctx, TraceMetricQuery{Experiments: []string{exp}, Over: TraceViewTraces, Metric: "latency",
		Aggregations: []Aggregation{{Type: "AVG"}, {Type: "PERCENTILE", Percentile: 50}}, Filters: []string{"trace.status = 'OK'"}, Every: time.Hour, From: at.Add(-time.Hour), To: at.Add(time.Hour)}))
	require.NoError(t, err)
	require.Len(t, groups, 1)
	require.Equal(t, 250.0, groups[0].Values["AVG"])
	require.NotEmpty(t, groups[0].Dimensions["time_bucket"])

	n, err := c.Traces.Delete(ctx, exp, second.ID)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	n, err = c.Traces.DeleteBefore(ctx, exp, at.Add(time.Second), 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = c.Traces.Info(ctx, begun.ID)
	is(t, err, mlops.ErrNotFound)
}

func TestTracesOfMLflow2AreStillWritten(t *testing.T) {
	s, c := connect(t)
	ctx := t.Context()
	exp, err := c.CreateExperiment(ctx, s.Name("exp"), ExperimentOptions{})
	require.NoError(t, err)
	at := time.UnixMilli(1_700_000_000_123).UTC()
	begun, err := c.Traces.StartV2(ctx, TraceInfo{ExperimentID: exp, Time: at, Metadata: map[string]string{"a": "b"}, Tags: map[string]string{"t": "u"}})
	require.NoError(t, err)
	require.Equal(t, TraceInProgress, begun.State)
	begun.State, begun.Duration = TraceOK, 2*time.Second
	ended, err := c.Traces.EndV2(ctx, begun)
	require.NoError(t, err)
	require.Equal(t, TraceOK, ended.State)
	got, err := c.Traces.InfoV2(ctx, begun.ID)
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, got.Duration)
	require.Equal(t, at, got.Time)
	require.Equal(t, "b", got.Metadata["a"])
	require.Equal(t, "u", got.Tags["t"])
	list, err := mlops.Collect(c.Traces.AllV2(ctx, TraceQuery{Experiments: []string{exp}, Filter: "status = 'OK'", OrderBy: []string{"timestamp_ms ASC"}}))
	require.NoError(t, err)
	require.Len(t, list, 1)
	for _, method := range []string{"PATCH", "DELETE"} {
		require.NoError(t, c.Do(ctx, method, "/api/2.0/mlflow/traces/"+begun.ID+"/tags", nil, map[string]string{"key": "x", "value": "y"}, nil))
	}
	var out struct {
		Deleted int `json:"traces_deleted"`
	}
	require.NoError(t, c.Do(ctx, "POST", "/api/2.0/mlflow/traces/delete-traces", nil, map[string]any{"experiment_id": exp, "request_ids": []string{begun.ID}}, &out))
	require.Equal(t, 1, out.Deleted)
}

func TestTracesAreJudged(t *testing.T) {
	c, _, spans, python := traced(t)
	ctx := t.Context()
	id := spans[0].TraceID
	a, err := c.Traces.CreateAssessment(ctx, id, Assessment{Name: "polite", SpanID: spans[1].ID, SourceType: SourceHuman, SourceID: "me", Feedback: &Feedback{Value: 0.5}, Rationale: "so so", Metadata: map[string]string{"x": "y"}})
	require.NoError(t, err)
	require.Equal(t, 0.5, a.Feedback.Value)
	require.Equal(t, spans[1].ID, a.SpanID)
	want := map[string]any{"answer": "because", "tries": []any{float64(9007199254740991)}}
	e, err := c.Traces.CreateAssessment(ctx, id, Assessment{Name: "expected", SourceType: SourceCode, SourceID: "test", Expectation: &Expectation{Value: want}})
	require.NoError(t, err)
	require.Equal(t, want, e.Expectation.Value)
	text, err := c.Traces.CreateAssessment(ctx, id, Assessment{Name: "text", SourceType: SourceHuman, Expectation: &Expectation{Value: "because"}})
	require.NoError(t, err)
	require.Equal(t, "because", text.Expectation.Value)
	failed, err := c.Traces.CreateAssessment(ctx, id, Assessment{Name: "judge", SourceType: SourceLLM, SourceID: "m", Feedback: &Feedback{Error: &AssessmentError{Code: "TIMEOUT", Message: "too slow"}}})
	require.NoError(t, err)
	require.Equal(t, "TIMEOUT", failed.Feedback.Error.Code)
	if out := python(`
import sys, mlflow
t = mlflow.MlflowClient().get_trace(sys.argv[1])
a = {x.name: x for x in t.info.assessments}
print(a["polite"].feedback.value, a["polite"].source.source_type, a["expected"].expectation.value, a["text"].expectation.value)`, id); out != "" {
		require.Equal(t, "0.5 HUMAN {'answer': 'because', 'tries': [9007199254740991]} because", out)
	}

	a, err = c.Traces.UpdateAssessment(ctx, id, a.ID, AssessmentUpdate{Name: "politeness", Feedback: &Feedback{Value: true}, Rationale: "on reflection", Metadata: map[string]string{"z": "w"}})
	require.NoError(t, err)
	require.Equal(t, "politeness", a.Name)
	require.Equal(t, true, a.Feedback.Value)
	require.Equal(t, "on reflection", a.Rationale)
	require.Len(t, a.Metadata["mlops.assessment_uid"], 32, "by which a repeat finds it")
	delete(a.Metadata, "mlops.assessment_uid")
	require.Equal(t, map[string]string{"x": "y", "z": "w"}, a.Metadata)
	e, err = c.Traces.UpdateAssessment(ctx, id, e.ID, AssessmentUpdate{Expectation: &Expectation{Value: []any{"x"}}})
	require.NoError(t, err)
	require.Equal(t, []any{"x"}, e.Expectation.Value)

	better, err := c.Traces.CreateAssessment(ctx, id, Assessment{Name: "politeness", SourceType: SourceHuman, SourceID: "you", Feedback: &Feedback{Value: "yes"}, Overrides: a.ID})
	require.NoError(t, err)
	old, err := c.Traces.Assessment(ctx, id, a.ID)
	require.NoError(t, err)
	require.True(t, old.Invalid, "it was replaced")
	info, err := c.Traces.Info(ctx, id)
	require.NoError(t, err)
	require.Len(t, info.Assessments, 5)
	require.NoError(t, c.Traces.DeleteAssessment(ctx, id, better.ID))
	old, err = c.Traces.Assessment(ctx, id, a.ID)
	require.NoError(t, err)
	require.False(t, old.Invalid, "it counts again")
	_, err = c.Traces.Assessment(ctx, id, better.ID)
	is(t, err, mlops.ErrNotFound)
	_, err = c.Traces.CreateAssessment(ctx, id, Assessment{Name: "neither"})
	is(t, err, mlops.ErrInvalid)
	_, err = c.Traces.CreateAssessment(ctx, id, Assessment{Name: "bad", Expectation: &Expectation{Value: func() {}}})
	is(t, err, mlops.ErrInvalid)
}

func TestAttributesKeepTheirTypes(t *testing.T) {
	type answer struct {
		Text  string  `json:"text"`
		Score float64 `json:"score"`
		Rank  int64   `json:"rank"`
	}
	for _, tt := range []struct {
		in   any
		want string
	}{
		{nil, `{}`},
		{int8(3), `{"intValue":"3"}`},
		{int64(math.MaxInt64), `{"intValue":"9223372036854775807"}`},
		{math.NaN(), `{"doubleValue":"NaN"}`},
		{1.0, `{"doubleValue":1}`},
		{mlops.Secret("x"), `{"stringValue":"[redacted]"}`},
		{answer{"a", 0.5, 9007199254740993}, `{"kvlistValue":{"values":[{"key":"rank","value":{"intValue":"9007199254740993"}},{"key":"score","value":{"doubleValue":0.5}},{"key":"text","value":{"stringValue":"a"}}]}}`},
		{[]int{1}, `{"arrayValue":{"values":[{"intValue":"1"}]}}`},
	} {
		v, err := otlpAny(tt.in)
		require.NoError(t, err)
		b, err := json.Marshal(v)
		require.NoError(t, err)
		require.Equal(t, tt.want, string(b))
	}
	_, err := otlpAny([]any{func() {}})
	require.Error(t, err)
	_, err = otlpAny(map[string]any{"f": func() {}})
	require.ErrorContains(t, err, `attribute "f"`)
}

func TestIDsOfSpansAreBase64(t *testing.T) {
	var s Span
	require.NoError(t, json.Unmarshal([]byte(`{"trace_id":"+/+/+/+/+/+/+/+/+/+/+w==","span_id":"/////////wE="}`), &s))
	require.Equal(t, "tr-fbffbffbffbffbffbffbffbffbffbffb", s.TraceID)
	require.Equal(t, "ffffffffffffff01", s.ID)
	require.Error(t, json.Unmarshal([]byte(`{"span_id":"-_"}`), &s))
}
