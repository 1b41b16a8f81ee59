package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/airflow"
)

func TestWhatIsNoValueIsNotSet(t *testing.T) {
	t.Setenv("MLOPS_AIRFLOW_URL", "http://127.0.0.1:9")
	t.Setenv("MLOPS_HOME", t.TempDir())
	for _, tt := range []struct{ stdin, args, says string }{
		{"", "variable set bucket", "there is no value"},
		{"\n", "variable set bucket", "there is no value"},
		{"caf\xe9", "variable set bucket", "not UTF-8"},
		{"{\"conn_type\": \"caf\xe9\"}", "connection set db", "not UTF-8"},
		{"", "connection set db", "want a JSON object"},
		{"null", "connection set db", "conn_type is missing"},
		{"{}", "connection set db", "conn_type is missing"},
		{`{"password": "canary"}`, "connection set db", "conn_type is missing"},
		{`{"conn_type": "http"} {"conn_type": "ftp"}`, "connection set db", "something follows"},
		{`{"conn_type": "http"} x`, "connection set db", "something follows"},
	} {
		var out, talk bytes.Buffer
		code := Main(t.Context(), strings.Fields(tt.args), strings.NewReader(tt.stdin), &out, &talk)
		require.Equal(t, exitUsage, code, "%q: %s", tt.stdin, talk.String())
		require.Contains(t, talk.String(), tt.says)
		require.NotContains(t, talk.String(), "canary")
	}
}

func TestNumbersInAConnectionAreNotRounded(t *testing.T) {
	spec, err := readConnection("db", []byte(`{"conn_type": "http", "extra": {"account": 9007199254740993}}`))
	require.NoError(t, err)
	b, err := json.Marshal(spec.Extra)
	require.NoError(t, err)
	require.JSONEq(t, `{"account": 9007199254740993}`, string(b))
	require.Contains(t, string(b), "9007199254740993")
}

// Airflow 3.3.2 shows a number whatever its key.
func TestANumberUnderASecretKeyIsNotShown(t *testing.T) {
	require.Equal(t, hidden, variableOf(airflow.Variable{Key: "Bank_Password", Value: airflow.Masked{Value: "1234"}}).Value)
	require.Equal(t, "1234", variableOf(airflow.Variable{Key: "port", Value: airflow.Masked{Value: "1234"}}).Value)
	require.Empty(t, variableOf(airflow.Variable{Key: "api_key"}).Value)
	shown := connectionOf(airflow.Connection{Extra: airflow.Extra{"api_key": 1234.0, "deep": map[string]any{"token": 5.0, "rows": 3.0}}})
	require.Equal(t, map[string]any{"api_key": hidden, "deep": map[string]any{"token": hidden, "rows": 3.0}}, shown.Extra)
}
