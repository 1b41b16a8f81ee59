package airflow_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
)

func TestAReadValueIsNotToldAsJSON(t *testing.T) {
	var v airflow.Variable
	require.NoError(t, json.Unmarshal([]byte(`{"key": "dsn", "value": "canary"}`), &v))
	require.Equal(t, "canary", string(v.Value.Value))
	b, err := json.Marshal(v)
	require.NoError(t, err)
	require.JSONEq(t, `{"key": "dsn", "value": "[redacted]", "description": "", "is_encrypted": false}`, string(b))

	// Nor is what stands for it written.
	sent := 0
	c := scripted(t, func(string, string) (int, any) { sent++; return http.StatusOK, object{} })
	for _, value := range []any{v.Value, airflow.Masked{Hidden: true}, mlops.Secret("canary"), map[string]any{"deep": []any{v.Value}}} {
		err := c.Variables.Set(t.Context(), airflow.VariableSpec{Key: "dsn", Value: value})
		require.ErrorIs(t, err, mlops.ErrInvalid)
		require.NotContains(t, err.Error(), "canary")
		require.ErrorIs(t, c.Connections.Set(t.Context(), airflow.ConnectionSpec{ID: "dsn", Type: "http", Extra: map[string]any{"dsn": value}}), mlops.ErrInvalid)
	}
	require.Zero(t, sent)
	require.NoError(t, c.Variables.Set(t.Context(), airflow.VariableSpec{Key: "dsn", Value: string(v.Value.Value)}))
}

func TestAPartlyHiddenTextIsHiddenAndNotWrittenBack(t *testing.T) {
	const dsn = "postgres://etl:***@db"
	var v airflow.Variable
	require.NoError(t, json.Unmarshal([]byte(`{"key": "dsn", "value": "`+dsn+`"}`), &v))
	require.True(t, v.Value.Hidden)
	var e airflow.Extra
	require.NoError(t, json.Unmarshal([]byte(`"{\"deep\": [\"`+dsn+`\"]}"`), &e))
	require.Equal(t, airflow.Extra{"deep": []any{airflow.Masked{Hidden: true}}}, e)

	sent := 0
	c := scripted(t, func(string, string) (int, any) { sent++; return http.StatusOK, object{} })
	for _, value := range []any{dsn, `{"dsn": "` + dsn + `"}`, map[string]any{"deep": []any{dsn}}, "key=" + mlops.Redacted} {
		require.ErrorIs(t, c.Variables.Set(t.Context(), airflow.VariableSpec{Key: "dsn", Value: value}), mlops.ErrInvalid)
		require.ErrorIs(t, c.Connections.Set(t.Context(), airflow.ConnectionSpec{ID: "dsn", Type: "http", Extra: map[string]any{"dsn": value}}), mlops.ErrInvalid)
	}
	require.Zero(t, sent)
}
