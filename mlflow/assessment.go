package mlflow

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"strings"
	"time"
)

// SourceType is the kind of judge that an assessment comes from.
type SourceType string

// The kinds of judges.
const (
	SourceHuman SourceType = "HUMAN"
	SourceLLM   SourceType = "LLM_JUDGE"
	SourceCode  SourceType = "CODE"
)

// Assessment is a judgement on a trace or a span of it: exactly one of Feedback,
// Expectation and Issue is set.
type Assessment struct {
	ID         string // "a-…", made by the server
	Name       string // "correctness"
	TraceID    string
	SpanID     string // empty: the trace as a whole
	SourceType SourceType
	SourceID   string // the person, the model, the function
	Created    time.Time
	Updated    time.Time

	Feedback    *Feedback
	Expectation *Expectation
	Issue       string // the name of an issue

	Rationale string
	Metadata  map[string]string
	Overrides string // ID of the assessment that this one replaces
	Invalid   bool   // it was replaced by another
}

// Feedback is how good something was.
type Feedback struct {
	Value any // a text, float64 or bool, or a list or map of them
	Error *AssessmentError
}

// Expectation is what should have come out.
type Expectation struct {
	Value any // whatever JSON can say
}

// AssessmentError is why a judge came to no judgement.
type AssessmentError struct {
	Code    string `json:"error_code"`
	Message string `json:"error_message,omitempty"`
	Stack   string `json:"stack_trace,omitempty"`
}

type wireAssessment struct {
	ID          string            `json:"assessment_id,omitempty"`
	Name        string            `json:"assessment_name,omitempty"`
	TraceID     string            `json:"trace_id,omitempty"`
	SpanID      string            `json:"span_id,omitempty"`
	Source      *wireSource       `json:"source,omitempty"`
	Created     *time.Time        `json:"create_time,omitempty"`
	Updated     *time.Time        `json:"last_update_time,omitempty"`
	Feedback    *wireFeedback     `json:"feedback,omitempty"`
	Expectation *wireExpectation  `json:"expectation,omitempty"`
	Issue       *wireIssue        `json:"issue,omitempty"`
	Rationale   string            `json:"rationale,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	Overrides   string            `json:"overrides,omitempty"`
	Valid       *bool             `json:"valid,omitempty"` // absent: true
}

type wireSource struct {
	Type SourceType `json:"source_type"`
	ID   string     `json:"source_id"`
}

type wireFeedback struct {
	Value any              `json:"value"`
	Error *AssessmentError `json:"error,omitempty"`
}

type wireExpectation struct {
	Value      any             `json:"value,omitempty"`
	Serialized *wireSerialized `json:"serialized_value,omitempty"`
}

type wireSerialized struct {
	Format string `json:"serialization_format"`
	Value  string `json:"value"`
}

type wireIssue struct {
	Name string `json:"issue_name"`
}

// jsonFormat is what MLflow calls a value that is kept as JSON.
const jsonFormat = "JSON_FORMAT"

// MarshalJSON writes MLflow's form of an assessment.
func (a Assessment) MarshalJSON() ([]byte, error) {
	w, err := a.wire()
	if err != nil {
		return nil, err
	}
	return json.Marshal(w)
}

func (a Assessment) wire() (wireAssessment, error) {
	w := wireAssessment{ID: a.ID, Name: a.Name, TraceID: a.TraceID, SpanID: a.SpanID, Rationale: a.Rationale, Metadata: a.Metadata, Overrides: a.Overrides}
	if a.SourceType != "" || a.SourceID != "" {
		w.Source = &wireSource{a.SourceType, a.SourceID}
	}
	if a.Invalid {
		w.Valid = new(false)
	}
	if !a.Created.IsZero() {
		w.Created = &a.Created
	}
	if !a.Updated.IsZero() {
		w.Updated = &a.Updated
	}
	if a.Issue != "" {
		w.Issue = &wireIssue{a.Issue}
	}
	if f := a.Feedback; f != nil {
		w.Feedback = &wireFeedback{f.Value, f.Error}
	}
	if e := a.Expectation; e != nil {
		// Texts, numbers and bools go as they are, all else as JSON in a text:
		// the server would turn the integers in it into floats.
		b, err := json.Marshal(e.Value)
		switch {
		case err != nil:
			return w, err
		case strings.HasPrefix(string(b), "{") || strings.HasPrefix(string(b), "["):
			w.Expectation = &wireExpectation{Serialized: &wireSerialized{jsonFormat, string(b)}}
		default:
			w.Expectation = &wireExpectation{Value: json.RawMessage(b)}
		}
	}
	return w, nil
}

// UnmarshalJSON reads MLflow's form of an assessment.
func (a *Assessment) UnmarshalJSON(b []byte) error {
	var w wireAssessment
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*a = Assessment{ID: w.ID, Name: w.Name, TraceID: w.TraceID, SpanID: w.SpanID, Rationale: w.Rationale, Metadata: w.Metadata,
		Overrides: w.Overrides, Invalid: w.Valid != nil && !*w.Valid}
	if w.Source != nil {
		a.SourceType, a.SourceID = w.Source.Type, w.Source.ID
	}
	if w.Created != nil {
		a.Created = w.Created.UTC()
	}
	if w.Updated != nil {
		a.Updated = w.Updated.UTC()
	}
	if w.Issue != nil {
		a.Issue = w.Issue.Name
	}
	if w.Feedback != nil {
		a.Feedback = &Feedback{w.Feedback.Value, w.Feedback.Error}
	}
	if e := w.Expectation; e != nil {
		a.Expectation = &Expectation{e.Value}
		if s := e.Serialized; s != nil {
			if s.Format != jsonFormat {
				a.Expectation.Value = s.Value
			} else if err := json.Unmarshal([]byte(s.Value), &a.Expectation.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

type assessmentReply struct {
	Assessment Assessment `json:"assessment"`
}

func assessmentPath(trace, id string) string {
	p := "traces/" + url.PathEscape(trace) + "/assessments"
	if id != "" {
		p += "/" + url.PathEscape(id)
	}
	return p
}

// assessmentKey is where an assessment's client-made ID is kept, in its metadata.
const assessmentKey = "mlops.assessment_uid"

// CreateAssessment judges a trace. An answer that got lost does not lead to a
// second assessment: each carries a client-made ID in its metadata.
//
// MLflow REST: POST /api/3.0/mlflow/traces/{trace_id}/assessments
func (s TracesService) CreateAssessment(ctx context.Context, traceID string, a Assessment) (Assessment, error) {
	const op = "Traces.CreateAssessment"
	set := 0
	for _, is := range []bool{a.Feedback != nil, a.Expectation != nil, a.Issue != ""} {
		if is {
			set++
		}
	}
	if set != 1 {
		return Assessment{}, invalid(op, "assessment %q: want exactly one of Feedback, Expectation and Issue", a.Name)
	}
	a.TraceID = traceID
	uid := newUID()
	a.Metadata = maps.Clone(a.Metadata)
	if a.Metadata == nil {
		a.Metadata = map[string]string{}
	}
	a.Metadata[assessmentKey] = uid
	made, err := once(ctx, s.c, func() (Assessment, error) {
		out, err := sendOnce3[assessmentReply](ctx, s.c, op, "POST", assessmentPath(traceID, ""), map[string]any{"assessment": a})
		return out.Assessment, err
	}, func() (Assessment, bool, error) {
		t, err := s.Info(ctx, traceID)
		for _, there := range t.Assessments {
			if there.Metadata[assessmentKey] == uid {
				return there, true, err
			}
		}
		return Assessment{}, false, err
	})
	return made, err
}

// Assessment returns an assessment of a trace.
//
// MLflow REST: GET /api/3.0/mlflow/traces/{trace_id}/assessments/{assessment_id}
func (s TracesService) Assessment(ctx context.Context, traceID, id string) (Assessment, error) {
	out, err := get3[assessmentReply](ctx, s.c, "Traces.Assessment", assessmentPath(traceID, id), nil)
	return out.Assessment, err
}

// AssessmentUpdate is what may change about an assessment. Zero fields stay as
// they are. Feedback stays feedback, and an expectation an expectation.
type AssessmentUpdate struct {
	Name        string
	Feedback    *Feedback
	Expectation *Expectation
	Rationale   string
	Metadata    map[string]string // added to what is there
}

// UpdateAssessment changes an assessment.
//
// MLflow REST: PATCH /api/3.0/mlflow/traces/{trace_id}/assessments/{assessment_id}
func (s TracesService) UpdateAssessment(ctx context.Context, traceID, id string, u AssessmentUpdate) (Assessment, error) {
	var mask []string
	for _, f := range []struct {
		name string
		set  bool
	}{{"assessment_name", u.Name != ""}, {"feedback", u.Feedback != nil}, {"expectation", u.Expectation != nil}, {"rationale", u.Rationale != ""}, {"metadata", len(u.Metadata) > 0}} {
		if f.set {
			mask = append(mask, f.name)
		}
	}
	a := Assessment{ID: id, TraceID: traceID, Name: u.Name, Feedback: u.Feedback, Expectation: u.Expectation, Rationale: u.Rationale, Metadata: u.Metadata}
	out, err := send3[assessmentReply](ctx, s.c, "Traces.UpdateAssessment", "PATCH", assessmentPath(traceID, id),
		map[string]any{"assessment": a, "update_mask": fieldMask(mask)})
	return out.Assessment, err
}

// DeleteAssessment deletes an assessment; one that it replaced counts again.
//
// MLflow REST: DELETE /api/3.0/mlflow/traces/{trace_id}/assessments/{assessment_id}
func (s TracesService) DeleteAssessment(ctx context.Context, traceID, id string) error {
	return remove3(ctx, s.c, "Traces.DeleteAssessment", assessmentPath(traceID, id), nil)
}

// fieldMask names fields as protocol buffers write them in JSON: joined by
// commas, in camel case.
func fieldMask(fields []string) string {
	var b strings.Builder
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, word := range strings.Split(f, "_") {
			if j > 0 {
				word = strings.ToUpper(word[:1]) + word[1:]
			}
			b.WriteString(word)
		}
	}
	return b.String()
}
