package mlflow

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzAnswers reads what a server may answer into every type that decodes
// itself: none may panic, and what was read can be written again.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"trace_id":"AAAAAAAAAAAAAAkhMyNJBw==","span_id":"AAAAAAAAAKE=","name":"x","start_time_unix_nano":1,"attributes":[{"key":"a","value":{"array_value":{"values":[{"int_value":"1"}]}}}]}`))
	f.Add([]byte(`{"trace_id":"tr-1","request_time":"2023-11-14T22:13:20Z","execution_duration":"1.500s","state":"OK","assessments":[{"feedback":{"value":1}}]}`))
	f.Add([]byte(`{"expectation":{"serialized_value":{"serialization_format":"JSON_FORMAT","value":"[1]"}},"valid":false}`))
	f.Add([]byte(`{"dataset_id":"d-1","tags":"{\"a\":\"b\"}","inputs":{"q":1},"source":{"source_type":"HUMAN","source_data":"{}"}}`))
	f.Add([]byte(`{"experiment_id":7,"scorer_name":"a","entity":"PROMPT","action":"SET","npmi":"NaN"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var (
			span   Span
			info   TraceInfo
			judged Assessment
		)
		for _, v := range []any{new(EvalDataset), new(EvalRecord), new(Scorer), new(Webhook), new(WebhookEvent), new(LoggedModel), new(ModelVersion), new(Model), new(RunMetric), new(TraceCorrelation), new(traceV2)} {
			_ = json.Unmarshal(b, v)
		}
		if json.Unmarshal(b, &span) == nil {
			_, _ = span.otlp()
		}
		if json.Unmarshal(b, &judged) == nil {
			_, err := json.Marshal(judged)
			require.NoError(t, err)
		}
		if json.Unmarshal(b, &info) == nil && info.Time.Year() > 0 && info.Time.Year() < 9999 {
			out, err := json.Marshal(info)
			require.NoError(t, err)
			var again TraceInfo
			require.NoError(t, json.Unmarshal(out, &again))
		}
	})
}

// FuzzReadWebhook takes deliveries from anybody: without the secret none is read.
func FuzzReadWebhook(f *testing.F) {
	f.Add("id", "1700000000", "v1,AAAA", `{"entity":"prompt"}`)
	f.Fuzz(func(t *testing.T, id, stamp, signature, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header["X-Mlflow-Delivery-Id"], r.Header["X-Mlflow-Timestamp"], r.Header["X-Mlflow-Signature"] = []string{id}, []string{stamp}, []string{signature}
		_, err := readWebhook(r, "secret", time.Unix(1700000000, 0))
		require.Error(t, err)
	})
}

// FuzzPromptName takes names of prompts: none may leave its place in a
// filter or a path.
func FuzzPromptName(f *testing.F) {
	f.Add("greeting")
	f.Add("a' OR name LIKE '%")
	f.Fuzz(func(t *testing.T, name string) {
		if promptName.MatchString(name) {
			require.NotContains(t, name, "'")
			require.NotContains(t, name, "/")
		}
	})
}
